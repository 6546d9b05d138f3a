"""What looks at all instances, or at what is due: the sweep, expiries, what operators write."""
