"""The commands: what they take and say. Their work is in the modules beside, imported when a command runs."""
