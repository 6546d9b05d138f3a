"""An instance's way: a request, what EC2 shows, the decision, the change, the record."""
