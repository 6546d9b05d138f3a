"""Deploying, upgrading and destroying the stack and the spokes, from the wheel or from a clone."""
