"""What a role may do, how two differ, and whether a role can be given at all."""
