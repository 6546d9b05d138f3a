"""The console's search, over everything that was read."""
