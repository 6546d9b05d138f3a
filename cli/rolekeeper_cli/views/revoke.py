"""Credentials of former roles that are cut off."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from rolekeeper_cli.views.instances import InstanceNameView


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokedRoleView:
    """A role whose policy denies what the instance got of it."""

    role: Annotated[str, "its name"]
    role_arn: Annotated[str, "its ARN"]
    policy: Annotated[str, "the inline policy's name"]
    before: Annotated[datetime, "what the instance got before is denied"]
    document: Annotated[Mapping[str, Any], "the policy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokedView(InstanceNameView):
    """An instance whose credentials are cut off."""

    revoked: Annotated[Sequence[RevokedRoleView], "the roles of which that was written"]
    left: Annotated[Sequence[str], "what couldn't be written, and what to do"]
    unknown_because: Annotated[str | None, "why roles that another actor attached aren't known"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanedView:
    """A role whose policy lost the entries that are over."""

    role: Annotated[str, "its name"]
    removed: Annotated[Sequence[str], "the instances of these entries"]
    left: Annotated[int, "how many statements the policy still has"]
    deleted: Annotated[bool, "whether the policy is deleted"]
