"""Rolekeeper's domain: tag an EC2 instance, and it gets the role. `app` builds it; docs/architecture.md draws it."""
