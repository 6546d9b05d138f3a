"""What software on an instance does with its roles."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from rolekeeper_cli.instance.view import InstanceNameView
from rolekeeper_cli.shell.view import View


class UseStatus(StrEnum):
    """How far a role got on an instance; the last three are a former role's."""

    IN_USE = "in-use"
    DELIVERED = "delivered"
    NOT_SEEN = "not-seen"
    STILL_USED = "still-used"
    STILL_VALID = "still-valid"
    CUT_OFF = "cut-off"


class CallView(View):
    """A call with a role's credentials."""

    at: Annotated[datetime, "when it was made"]
    action: Annotated[str, "the action, as sts:GetCallerIdentity"]
    agent: Annotated[str, "the program that called, as it names itself"]
    refused: Annotated[str | None, "the error code, if AWS refused it"]


class FirstCallView(CallView):
    """The first call since a role was attached."""

    after_seconds: Annotated[float | None, "how long after that; null if it was too long ago to tell"]


class RoleUseView(View):
    """A role that an instance carries or carried."""

    role: Annotated[str, "its name"]
    role_arn: Annotated[str | None, "its ARN"]
    instance_profile: Annotated[str | None, "the instance profile"]
    carried: Annotated[bool, "whether the instance carries it"]
    status: Annotated[UseStatus, "how far it got"]
    since: Annotated[datetime | None, "when Rolekeeper attached it"]
    until: Annotated[datetime | None, "when it was taken"]
    delivered_at: Annotated[datetime | None, "when EC2 got its credentials: first, since it was attached, or last"]
    delivered_after_seconds: Annotated[float | None, "how long after it was attached"]
    first_use: Annotated[FirstCallView | None, "the first call since it was attached"]
    last_use: Annotated[CallView | None, "the last call; of a former role, since it was taken"]
    last_accepted_use: Annotated[CallView | None, "the last of these that AWS didn't refuse"]
    earlier_use: Annotated[CallView | None, "the last call with credentials from before it was attached again"]
    valid_until: Annotated[datetime | None, "until when its credentials are valid, at the latest"]
    valid_until_is_recorded: Annotated[bool, "whether CloudTrail says so; else it is the latest that it can be"]
    denied_before: Annotated[datetime | None, "what the instance got of it before is denied"]


class UptakeView(InstanceNameView):
    """What software on an instance does with its roles."""

    name: Annotated[str, "its Name tag"]
    roles: Annotated[Sequence[RoleUseView], "the role that it carries, then former ones that may be valid"]
    looked_since: Annotated[datetime | None, "since when calls were looked for; null if they weren't"]
    looked_through: Annotated[bool, "whether all calls since then were looked through"]
    unknown_because: Annotated[str | None, "why CloudTrail says nothing; null if it answered"]

    @property
    def carried(self) -> RoleUseView | None:
        return next((role for role in self.roles if role.carried), None)

    @property
    def former(self) -> list[RoleUseView]:
        return [role for role in self.roles if not role.carried]
