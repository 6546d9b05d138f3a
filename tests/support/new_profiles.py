"""Launching with an instance profile that EC2 may not know yet: it takes a while after IAM made it."""

from botocore.exceptions import ClientError

from rolekeeper_local.account import EmulatedAccount
from support.waiting import eventually


def launch_with(world: EmulatedAccount, name: str, profile: str, **tags: str) -> str:
    """Launch an instance with a profile, once EC2 knows that; its id."""

    def launched() -> str:
        try:
            return world.launch(name, profile=profile, **tags)
        except ClientError as error:
            if "Invalid IAM Instance Profile name" not in str(error):
                raise
            return ""

    return eventually(launched)
