"""Calls with an instance profile that EC2 may not know yet: it takes a while after IAM made it."""

from collections.abc import Callable
from functools import partial

from botocore.exceptions import ClientError

from rolekeeper_local.account import EmulatedAccount
from support.waiting import eventually


def launch_with(world: EmulatedAccount, name: str, profile: str, **tags: str) -> str:
    """Launch an instance with a profile, once EC2 knows that; its id."""
    return eventually(partial(once_known, partial(world.launch, name, profile=profile, **tags)))


def once_known[T](call: Callable[[], T]) -> T | None:
    """Make a call; None while EC2 doesn't know the profile."""
    try:
        return call()
    except ClientError as error:
        if "Invalid IAM Instance Profile name" not in str(error):
            raise
        return None
