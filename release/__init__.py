"""How a release is made: what goes into the wheel beside the modules."""
