"""The console's server, and what all its pages share. It knows no noun."""
