"""What would change in the fleet, and applying exactly that."""
