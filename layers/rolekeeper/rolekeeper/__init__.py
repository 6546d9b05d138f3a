"""Rolekeeper's domain: tag an EC2 instance, and it gets the role.

The way through: `events` reads a message, `reconcile` observes (`observe`), decides (`decide`) and applies (`ec2`),
`state` remembers, `announce` tells. `publish` checks and serves mappings; `sweep` finds what events missed.
"""
