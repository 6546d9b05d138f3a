"""Pins as mappings: an operator's word on one instance goes the same way as a mapping's, above them all. Pure.

The grant of a pinned role names the pin in the place of a mapping. When the pin is over, the role is given up as
if the tag of a mapping had gone.
"""

from rolekeeper.model import PIN_TAG, InstanceKey, MappingKey, MappingSpec, Pin, PublishedMapping


def as_mapping(pin: Pin, instance: InstanceKey) -> PublishedMapping:
    """The mapping that a pin amounts to, for its one instance."""
    return PublishedMapping(MappingSpec(MappingKey(PIN_TAG, instance.id), pin.role), 0, pin.profile_arn)


def ended(key: MappingKey) -> PublishedMapping:
    """What is left of a pin that was released or has expired: it says that a person meant it."""
    return PublishedMapping(MappingSpec(key, ""), 0, "")
