"""What launches instances, and which role they will get."""
