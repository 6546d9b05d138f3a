"""Which instance types the zones offer; ministack doesn't know the call.

As ministack has images for x86_64 only, that is what the types are: a Region without Graviton.
"""

from ministack.core.responses import get_region

from rolekeeper_local import ec2_wire
from rolekeeper_local.ec2_wire import Params, Response

_TYPES = ("t3.nano", "t3.micro", "t3.small", "t3.medium", "t3.large")
_ZONES = "abc"  # of ministack's default subnets


def describe(params: Params) -> Response:
    """DescribeInstanceTypeOfferings, of zones; with its filters `instance-type` and `location`."""
    wanted = dict(ec2_wire.page(params)["filters"])
    offers = [(name, f"{get_region()}{zone}") for name in _TYPES for zone in _ZONES]
    items = "".join(
        f"<item><instanceType>{name}</instanceType><locationType>availability-zone</locationType>"
        f"<location>{zone}</location></item>"
        for name, zone in offers
        if name in wanted.get("instance-type", [name]) and zone in wanted.get("location", [zone])
    )
    return ec2_wire.answer(params["Action"], f"<instanceTypeOfferingSet>{items}</instanceTypeOfferingSet>")
