"""What Rolekeeper did to an instance, who led to it, and the writes of the control item."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated

from rolekeeper_cli.shell.view import View

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
    """What a decision was made by."""

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
    """What is decided about an instance."""

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
