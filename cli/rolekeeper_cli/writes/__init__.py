"""What changes something, as functions that return results: they print nothing and ask nobody."""
