"""Why an instance carries what it carries."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from rolekeeper_cli.instance.history_view import DecisionView, EntryView, LoserView, WhoView
from rolekeeper_cli.instance.uptake_view import UptakeView
from rolekeeper_cli.instance.view import InstanceNameView
from rolekeeper_cli.row.view import NotInEffectView
from rolekeeper_cli.shell.view import View


class StepView(View):
    """What to do."""

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
    """The mapping that governs an instance."""

    mapping: Annotated[str, "the mapping"]
    revision: Annotated[int, "its revision"]
    role: Annotated[str, "its role"]
    priority: Annotated[int, "its priority"]
    owner: Annotated[str, "who answers for it"]
    description: Annotated[str, "what it is for"]


class PinView(View):
    """A pin."""

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
    """An instance explained."""

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
