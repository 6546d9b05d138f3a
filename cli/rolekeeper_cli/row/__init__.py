"""A row of the mapping table: as it is written, read and edited, and what of it is in effect."""
