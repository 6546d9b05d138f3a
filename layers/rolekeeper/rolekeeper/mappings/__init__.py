"""A mapping's way: its row, the verdict on it, and what is published."""
