"""The state table: its items, their form, and what is kept of instances."""
