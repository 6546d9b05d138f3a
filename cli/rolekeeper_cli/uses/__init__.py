"""What the command and the console do, as functions that return values: they print nothing and ask nobody."""
