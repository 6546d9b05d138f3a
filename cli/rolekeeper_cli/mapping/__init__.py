"""A mapping: its edits, with what they would change before they are made."""
