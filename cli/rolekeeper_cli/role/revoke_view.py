"""Credentials of former roles that are cut off."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

from rolekeeper_cli.instance.view import InstanceNameView
from rolekeeper_cli.shell.view import View


class RevokedRoleView(View):
    """A role whose policy denies what the instance got of it."""

    role: Annotated[str, "its name"]
    role_arn: Annotated[str, "its ARN"]
    policy: Annotated[str, "the inline policy's name"]
    before: Annotated[datetime, "what the instance got before is denied"]
    document: Annotated[Mapping[str, Any], "the policy"]


class RevokedView(InstanceNameView):
    """An instance whose credentials are cut off."""

    revoked: Annotated[Sequence[RevokedRoleView], "the roles of which that was written"]
    left: Annotated[Sequence[str], "what couldn't be written, and what to do"]
    unknown_because: Annotated[str | None, "why roles that another actor attached aren't known"]


class CleanedView(View):
    """A role whose policy lost the entries that are over."""

    role: Annotated[str, "its name"]
    removed: Annotated[Sequence[str], "the instances of these entries"]
    left: Annotated[int, "how many statements the policy still has"]
    deleted: Annotated[bool, "whether the policy is deleted"]
