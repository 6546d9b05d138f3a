"""What every command shares: its options and arguments, tables, documents, errors. It knows no noun."""
