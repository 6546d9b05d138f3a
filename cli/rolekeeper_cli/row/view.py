"""The mappings: this tag means this role."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Self

from rolekeeper_cli.shell.view import View


class NotInEffectView(View):
    """Something that concerns an instance or a row and isn't in effect."""

    code: Annotated[str, "what it is, as rejected, held, paused or ignored"]
    mapping: Annotated[str | None, "the mapping"]
    status: Annotated[str | None, "its row's status"]
    revision: Annotated[int | None, "its revision"]
    in_effect: Annotated[int | None, "the revision that is in effect instead"]
    reason: Annotated[str, "why, in words"]
    brief: Annotated[str, "the same, in short"]
    until: Annotated[datetime | None, "until when"]


class ColumnView(View):
    """A column of the mapping table; of one that Rolekeeper writes, only what it means."""

    column: Annotated[str, "its name"]
    means: Annotated[str, "what it means"]
    takes: Annotated[str | None, "which values"] = None
    default: Annotated[str | None, "what it means to leave it out"] = None
    required: Annotated[bool | None, "whether every row needs it"] = None
    type: Annotated[str | None, "DynamoDB's type"] = None
    written_by: Annotated[str, "who writes it"]
    example: Annotated[str | None, "a command that writes it"] = None


class InEffectView(View):
    role: Annotated[str, "its role"]
    revision: Annotated[int, "its revision"]


class WaitingEditView(View):
    what: Annotated[str, "edit or deletion"]
    role: Annotated[str, "the role that it asks for"]
    because: Annotated[str, "why it isn't in effect"]


class MappingView(View):
    mapping: Annotated[str, "the mapping, as tag_key=tag_value"]
    columns: Annotated[Mapping[str, Any], "the columns that people write (docs/mappings.md)"]
    status: Annotated[str | None, "the result of the last edit"]
    status_reason: Annotated[str | None, "why it has this status"]
    status_details: Annotated[Sequence[Any] | None, "the same for programs: codes with arguments"]
    status_revision: Annotated[int | None, "the revision that is in effect; 0 for none"]
    held_revision: Annotated[int | None, "the revision that waits for approval"]
    matched: Annotated[int | None, "how many instances it governed when it was last counted"]
    occupied: Annotated[int | None, "how many of these carry a foreign role"]
    moved: Annotated[int | None, "how many instances its rollout has moved; null without one"]
    in_effect: Annotated[InEffectView | None, "what is in effect"]
    idle_because: Annotated[str | None, "why it governs no instance"]
    waits: Annotated[WaitingEditView | None, "the edit that isn't in effect"]
    not_in_effect: Annotated[Sequence[NotInEffectView] | None, "all that isn't in effect"]


class LaterImpactView(View):
    """What an edit changes at a later moment."""

    at: Annotated[str, "when"]
    expires: Annotated[str, "the mapping that expires then; empty if it is the edit's own time"]
    attach: Annotated[int, "how many instances get a role then"]
    replace: Annotated[int, "how many get another role"]
    detach: Annotated[int, "how many lose their role"]


class ImpactView(View):
    attach: Annotated[int, "how many instances get a role"]
    replace: Annotated[int, "how many get another role"]
    detach: Annotated[int, "how many lose their role"]
    gained: Annotated[Sequence[str], "the permissions that they gain"]
    lost: Annotated[Sequence[str], "the permissions that they lose"]
    severe: Annotated[Sequence[str], "the severe ones of those gained"] = ()
    unknown: Annotated[str, "why permissions couldn't be compared"] = ""
    only_later: Annotated[int, "how many instances change only later"] = 0
    later: Annotated[Sequence[LaterImpactView], "what changes at later moments, the largest first"] = ()

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Self:
        """Read what the functions counted, as a history or a verdict has it; former versions wrote less of it."""
        known = {"attach": 0, "replace": 0, "detach": 0, "gained": (), "lost": (), "later": (), **stored}
        moments = [known["later"]] if isinstance(known["later"], Mapping) else known["later"]
        later = tuple(LaterImpactView(**{"expires": "", **each}) for each in moments)
        return cls(**{name: known[name] for name in cls.fields if name in known} | {"later": later})


class EditEntryView(View):
    at: Annotated[str | None, "when"]
    event: Annotated[str | None, "what happened"]
    status: Annotated[str | None, "the row's status then"]
    reason: Annotated[str | None, "why"]
    details: Annotated[Sequence[Any] | None, "the same for programs: codes with arguments"]
    revision: Annotated[int | None, "its revision"]
    role: Annotated[str | None, "its role"]
    profile_arn: Annotated[str | None, "its instance profile"]
    cause: Annotated[str | None, "what triggered it"]
    claimed_by: Annotated[str | None, "who claims to have made it"]
    approved_by: Annotated[str | None, "the aws:userid of who approved it"]
    approver_claims: Annotated[str | None, "who that claims to be"]
    changes: Annotated[Sequence[str] | None, "what it changed"]
    effect: Annotated[ImpactView | None, "what it changed on instances, and their permissions"]
    correlation_id: Annotated[str | None, "the id in logs and events"]


class ColumnChangeView(View):
    """A column that changes; a default is its text."""

    from_: Annotated[str, "its value before"]
    to: Annotated[str, "its new value"]


class RowChangeView(View):
    mapping: Annotated[str, "the mapping"]
    kind: Annotated[str, "new, changed or deleted"]
    columns: Annotated[Mapping[str, ColumnChangeView], "the columns that change"]


class VerdictView(View):
    mapping: Annotated[str, "the mapping"]
    status: Annotated[str | None, "its status"]
    reason: Annotated[str | None, "why it has this status"]


class RowPlanView(View):
    changes: Annotated[Sequence[RowChangeView], "the rows that change"]
    unchanged: Annotated[int, "how many rows say already what is wanted"]
    not_in_effect: Annotated[Sequence[VerdictView], "the rows that say already what is wanted, without effect"]


class PlannedEditView(RowChangeView):
    kind: Annotated[str, "new, changed, deleted or unchanged"]
    status: Annotated[str, "the status that it would have"]
    takes_effect: Annotated[bool, "whether it would take effect"]
    needs_approval: Annotated[bool, "whether it would be held"]
    own_edit: Annotated[bool, "whether it is your own, so that another person has to approve it"]
    reason: Annotated[str, "why it would have this status"]
    note: Annotated[str | None, "what else there is to know"]
    effect: Annotated[ImpactView | None, "what it changes on instances, and their permissions"]
    foreign: Annotated[int, "how many instances with its tag carry a foreign role"]


class PacedView(View):
    """A mapping whose changes don't all go at once."""

    mapping: Annotated[str, "the mapping"]
    changes: Annotated[int, "how many changes it makes"]
    approved: Annotated[int, "how many of these are approved, and go at once"]
    at_once: Annotated[int, "how many of all mappings go at once besides"]
    minutes: Annotated[int, "in this many minutes"]


class HeldEditView(View):
    mapping: Annotated[str, "the mapping"]
    revision: Annotated[int, "its revision"]
    deletes: Annotated[bool, "whether it deletes the mapping"]
    reason: Annotated[str, "why it is held"]


class ValidatedView(View):
    mappings: Annotated[int, "how many it has"]
    warnings: Annotated[Sequence[str], "what is doubtful"]
