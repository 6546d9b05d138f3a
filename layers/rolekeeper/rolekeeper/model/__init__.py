"""The values that everything works with, without I/O."""
