"""What to put around a deployment: policies as documents."""
