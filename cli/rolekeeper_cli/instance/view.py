"""An instance: its name, its history, what software does with its roles, and why it carries what it carries."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from rolekeeper_cli.row.view import NotInEffectView
from rolekeeper_cli.shell.view import View


class InstanceNameView(View):
    instance: Annotated[str, "the instance's id"]
    account: Annotated[str, "its account"]
    region: Annotated[str, "its Region"]


# A history entry's outcome until AWS's answer is written, and if that is a refusal.
_STARTED, _REFUSED = "started", "refused"
# The codes whose reasons give AWS's answer.
_GIVE_ANSWERS = frozenset({"propagating", "throttled", "denied", "refused"})
# What EC2 answers where another worker or actor was faster; but a profile of the instance itself isn't ready.
_OVERTAKEN = re.compile(
    "IncorrectState:(?!.*identity ?profile)|StaleAssociation|Invalid(Association|Instance)ID.NotFound", re.IGNORECASE
)


class CallerView(View):
    """Who made a call, as CloudTrail says; what it doesn't say is empty."""

    arn: Annotated[str, "the user's or the session's ARN"]
    role: Annotated[str, "the role's ARN"]
    session: Annotated[str, "the session's name"]
    invoked_by: Annotated[str, "the AWS service that made the call"]

    def words(self, account: str) -> str:
        """Who it is; an ARN of this account is shown without the account."""
        who = _short(self.role or self.arn, account) + (f", session {self.session}" if self.session else "")
        if not who:
            return self.invoked_by or "nobody that CloudTrail names"
        return f"{who}, for {self.invoked_by}" if self.invoked_by else who


class WhoView(View):
    """Who did a thing to an instance."""

    what: Annotated[str, "tagged, untagged, attached, detached or reverted"]
    about: Annotated[str, "the tag, the instance profile or the association"]
    by: Annotated[CallerView | None, "who did it"]
    event: Annotated[str | None, "the call"]
    event_id: Annotated[str | None, "CloudTrail's id of it"]
    at: Annotated[datetime | None, "when it was made"]
    unknown_because: Annotated[str | None, "why that isn't known"]


class AnswerView(View):
    """What AWS answered to a change; nothing if it wasn't asked, or its answer is unknown."""

    association_id: Annotated[str | None, "the new association"] = None
    state: Annotated[str | None, "its state"] = None
    code: Annotated[str | None, "the code of the error"] = None
    message: Annotated[str | None, "its message"] = None
    action: Annotated[str | None, "the action that was refused"] = None
    resource: Annotated[str | None, "on what"] = None


class SeenView(View):
    state: Annotated[str, "the instance's state"]
    tags: Annotated[Mapping[str, str], "those of its tags that mappings read"]
    association_id: Annotated[str | None, "its association"]
    association_state: Annotated[str | None, "that one's state"]
    profile_arn: Annotated[str | None, "the instance profile that it carried"]


class LoserView(View):
    """A mapping for an instance's tags that doesn't govern it."""

    mapping: Annotated[str, "the mapping"]
    why: Annotated[str, "why it doesn't"]


class DecisionView(View):
    action: Annotated[str, "Attach, Replace, Detach, Wait, Hold or Nothing"]
    code: Annotated[str, "the decision's code"]
    reason: Annotated[str, "why"]
    mapping: Annotated[str | None, "the mapping that governs it"]
    revision: Annotated[int, "that mapping's revision; 0 for none"]
    role: Annotated[str | None, "the role that it should carry"]
    profile_arn: Annotated[str | None, "the instance profile that it should carry"]
    takes_over: Annotated[bool, "whether it takes a foreign role over"]
    losers: Annotated[Sequence[LoserView], "the mappings for its tags that don't govern it"]


class EntryView(DecisionView):
    """A decision about an instance: of its history, or of the log."""

    at: Annotated[str, "when it was made"]
    instance: Annotated[str, "the instance's id"]
    account: Annotated[str, "its account"]
    region: Annotated[str, "its Region"]
    cause: Annotated[str, "what triggered it"]
    from_: Annotated[str | None, "the instance profile that it carried"]
    to: Annotated[str | None, "the one that it should carry"]
    answer: Annotated[AnswerView, "what AWS answered"]
    outcome: Annotated[str | None, "done, refused, or started while the answer is unknown; null if AWS wasn't asked"]
    seconds: Annotated[int | None, "how long after the event the change was made"]
    seen: Annotated[SeenView, "what was seen"]
    correlation_id: Annotated[str, "the id in logs and events"]
    who: Annotated[Sequence[WhoView] | None, "with --who: who did what led to it"] = None

    @property
    def answered(self) -> str:
        """What AWS answered; empty if it wasn't asked for a change."""
        if self.answer.code:
            return f"{self.answer.code}: {self.answer.message or ''}"
        return self.answer.association_id or ("started; the answer is unknown" if self.outcome == _STARTED else "")

    @property
    def overtaken(self) -> bool:
        """Whether a refused change harmed nobody: another one was made first, and Rolekeeper looked again."""
        return self.outcome == _REFUSED and bool(_OVERTAKEN.match(self.answered))

    @property
    def why(self) -> str:
        """The cause, the reason, and AWS's answer if that is an error or unknown."""
        failed = self.answer.code or self.outcome == _STARTED
        answer = f"AWS: {self.answered}" if failed and self.code not in _GIVE_ANSWERS else ""
        return " → ".join(filter(None, (self.cause, self.reason, answer)))


class ControlEntryView(View):
    """A write of the control item: pause, resume or mode."""

    at: Annotated[str, "when it was written"]
    from_: Annotated[str | None, "what it said before"]
    to: Annotated[str | None, "what it said then"]
    in_effect: Annotated[str | None, "what was in effect then"]
    claimed_by: Annotated[str | None, "who claims to have written it"]
    claimed_reason: Annotated[str | None, "why, as they claim"]
    correlation_id: Annotated[str | None, "the id in logs and events"]


def _short(arn: str, account: str) -> str:
    parts = arn.split(":", 5)
    return parts[5] if len(parts) == 6 and parts[4] == account else arn  # noqa: PLR2004 - of an ARN


class UseStatus(StrEnum):
    """How far a role got on an instance; the last three are a former role's."""

    IN_USE = "in-use"
    DELIVERED = "delivered"
    NOT_SEEN = "not-seen"
    STILL_USED = "still-used"
    STILL_VALID = "still-valid"
    CUT_OFF = "cut-off"


class CallView(View):
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


class StepView(View):
    command: Annotated[str, "a command to type, or an attribute to write"]
    does: Annotated[str, "what it does"]


class AssociationView(View):
    """The instance profile that an instance carries."""

    instance_profile: Annotated[str | None, "its name"]
    profile_arn: Annotated[str, "its ARN"]
    association: Annotated[str, "the association"]
    state: Annotated[str, "the association's state"]
    managed: Annotated[bool, "whether it is under the role path"]
    attached_by: Annotated[str, "Rolekeeper or another actor"]
    for_: Annotated[str | None, "the mapping for which Rolekeeper attached it"]
    revision: Annotated[int | None, "that mapping's revision"]


class GoverningView(View):
    mapping: Annotated[str, "the mapping"]
    revision: Annotated[int, "its revision"]
    role: Annotated[str, "its role"]
    priority: Annotated[int, "its priority"]
    owner: Annotated[str, "who answers for it"]
    description: Annotated[str, "what it is for"]


class PinView(View):
    role: Annotated[str, "its role"]
    expires_at: Annotated[datetime | None, "when it ends; null for not until it is released"]
    claimed_by: Annotated[str, "who claims to have set it"]
    claimed_reason: Annotated[str, "why, as they claim"]
    unclear: Annotated[str, "why it can't be read; empty if it can"]


class ConditionView(View):
    """What an instance waits for, or what blocks it."""

    action: Annotated[str, "Wait or Hold"]
    code: Annotated[str, "its code"]
    reason: Annotated[str, "why"]
    since: Annotated[datetime, "since when"]
    parked: Annotated[bool, "whether it is no longer retried"]


class TakenOverView(View):
    """The foreign role that the last take-over replaced."""

    profile_arn: Annotated[str, "its instance profile"]
    at: Annotated[str, "when"]


class FormerView(View):
    """What an instance carried before the last change."""

    instance_profile: Annotated[str | None, "the instance profile"]
    profile_arn: Annotated[str | None, "its ARN"]
    until: Annotated[str | None, "until when; null while it still carries it"]

    @property
    def title(self) -> str:
        return self.instance_profile or "no role"


class ExplanationView(InstanceNameView):
    name: Annotated[str, "its Name tag"]
    state: Annotated[str, "EC2's state"]
    carries: Annotated[AssociationView | None, "the instance profile that it carries"]
    should_carry: Annotated[str | None, "the one that it should carry"]
    decision: Annotated[DecisionView, "what is decided"]
    because: Annotated[str | None, "why it has its status"]
    withheld: Annotated[str | None, "why no changes are made now; empty if they are"]
    mapping: Annotated[GoverningView | None, "the mapping that governs it"]
    losers: Annotated[Sequence[LoserView], "the mappings for its tags that don't govern it"]
    not_in_effect: Annotated[Sequence[NotInEffectView] | None, "what concerns it and isn't in effect"]
    unknown_because: Annotated[str | None, "why it isn't known whether edits are in effect"]
    pin: Annotated[PinView | None, "its pin"]
    condition: Annotated[ConditionView | None, "what it waits for, or what blocks it"]
    took_over_from: Annotated[TakenOverView | None, "the foreign role that it carried"]
    who: Annotated[Sequence[WhoView], "who did what led to it"]
    uptake: Annotated[UptakeView | None, "what software does with its roles"]
    last: Annotated[EntryView | None, "the newest entry of its history"]
    former: Annotated[FormerView | None, "what it carried before the last change"]
    undo: Annotated[Sequence[StepView], "how to undo that change"]
