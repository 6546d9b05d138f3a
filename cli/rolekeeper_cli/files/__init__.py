"""Mappings as YAML files, read and written."""
