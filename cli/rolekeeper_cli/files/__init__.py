"""Mappings as files: YAML and CSV, read and written."""
