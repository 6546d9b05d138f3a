"""What holds for every decision, whatever happened before: laws written from docs/mappings.md and docs/concepts.md.

They know nothing of how `decide` works. Each takes what `decide` was shown and what it said.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rolekeeper.model import (
    Action,
    Assignment,
    Association,
    AssociationState,
    Candidates,
    Decision,
    Instance,
    InstanceState,
    PublishedMapping,
    WhenOccupied,
    WhenStopped,
    WhenUnmatched,
    Wish,
)

CONCEPTS = Path(__file__).parents[2] / "docs" / "concepts.md"
_ROW = re.compile(r"^\| `([a-z-]+)` \| ([A-Z][A-Za-z, ]*) \|", re.MULTILINE)
DOCUMENTED = {code: set(actions.split(", ")) for code, actions in _ROW.findall(CONCEPTS.read_text(encoding="utf-8"))}
# What is decided around `decide`, by what else was observed or by what AWS answers.
_ELSEWHERE = {"gone", "propagating", "window", "contested", "ceiling", "observed", "control-unclear", "paused"}
_ELSEWHERE |= {"denied", "refused"}
FROM_DECIDE = {(action, code) for code in DOCUMENTED.keys() - _ELSEWHERE for action in DOCUMENTED[code]}
_SETTLED = (InstanceState.RUNNING, InstanceState.STOPPED)
_OVER = (InstanceState.SHUTTING_DOWN, InstanceState.TERMINATED)


@dataclass(frozen=True)
class View:
    """What `decide` is shown, and what only the model knows.

    Attributes:
        before: what the instance carried before our first role, by the model's own account.
        lost: whether the published record of the mapping that gave the role is gone, and nobody deleted its row.
    """

    instance: Instance
    association: Association | None
    assignment: Assignment | None
    candidates: Candidates
    owner: PublishedMapping | None
    before: str
    lost: bool

    @property
    def arguments(self) -> tuple[Any, ...]:
        return self.instance, self.association, self.assignment, self.candidates, self.owner

    @property
    def winner(self) -> PublishedMapping | None:
        return self.candidates.winner

    @property
    def carries(self) -> str:
        return self.association.profile_arn if self.association else ""

    @property
    def foreign(self) -> bool:
        """Somebody else attached what it carries."""
        return self.association is not None and self.assignment is None

    @property
    def left_alone(self) -> bool:
        """Nobody may change anything, whatever the mappings say."""
        suspended = self.winner is not None and bool(self.winner.suspended)
        return (
            self.instance.state in _OVER
            or self.candidates.exclusion is not None
            or bool(self.candidates.tied)
            or suspended
        )

    @property
    def damaged(self) -> bool:
        """The mapping that gave the role can't be found, and nobody meant that (docs/concepts.md, rule 5).

        Another mapping may take over only from one whose tag the instance no longer carries; a pin from any.
        """
        if not (self.lost and self.assignment):
            return False
        if self.winner is None:
            return True
        return not self.winner.key.pins and self.assignment.mapping.matches(self.instance.tags)


# ---- the laws ----


def says_one_documented_thing(view: View, decision: Decision) -> None:
    del view
    assert decision.action.value in DOCUMENTED[decision.code]
    assert decision.reason.strip()


def names_the_mappings(view: View, decision: Decision) -> None:
    assert decision.losers == view.candidates.losers
    for each in view.candidates.tied if decision.code == "tie" else ():
        assert str(each.key) in decision.reason
        assert each.spec.role in decision.reason
    if decision.mapping and (decision.action.mutates or decision.action is Action.HOLD):
        named = view.assignment.mapping if decision.code == "mapping-missing" and view.assignment else decision.mapping
        assert str(named) in decision.reason


def wishes_what_the_winner_wants(view: View, decision: Decision) -> None:
    """A wish is the same for as long as its mapping is: by it we know whether somebody undid our change."""
    if view.winner and not view.left_alone and decision.code != "disassociating":
        assert decision.wish == Wish(view.winner.key, view.winner.revision, view.winner.profile_arn)


def remembers_what_was_there_first(view: View, decision: Decision) -> None:
    """What `restore` gives back is "what was there before our first role", through all that we did since."""
    if view.winner and decision.action.mutates:
        assert decision.restore_profile_arn == (view.before if view.assignment else view.carries)


def changes_only_what_ec2_takes(view: View, decision: Decision) -> None:
    if not decision.action.mutates:
        return
    assert view.instance.state in _SETTLED
    assert decision.mapping
    if decision.action is Action.ATTACH:
        assert view.association is None
    else:
        assert view.association
        assert view.association.state is not AssociationState.DISASSOCIATING
        assert decision.association_id == view.association.id
    if decision.action is not Action.DETACH:
        assert decision.profile_arn not in ("", view.carries)
    if decision.action is Action.REPLACE:
        assert decision.swap == (view.instance.state is InstanceState.STOPPED)


def leaves_alone_what_is_to_be_left_alone(view: View, decision: Decision) -> None:
    if view.left_alone or view.damaged:
        assert not decision.action.mutates


def touches_a_role_of_others_only_when_told(view: View, decision: Decision) -> None:
    if view.foreign and decision.action.mutates:
        assert view.winner
        assert view.winner.spec.when_occupied is WhenOccupied.REPLACE


def is_content_with_what_is_wished(view: View, decision: Decision) -> None:
    there = view.association is None or view.association.state is AssociationState.ASSOCIATED
    if view.winner and not view.left_alone and there and view.carries == view.winner.profile_arn:
        assert decision.action is Action.NOTHING


def waits_in_a_loop_only_for_ec2(view: View, decision: Decision) -> None:
    """A stopped instance is waited for by its `running` event, an ignored one by its timer: neither is polled."""
    passing = view.instance.state in (InstanceState.PENDING, InstanceState.STOPPING)
    passing |= view.association is not None and view.association.state is not AssociationState.ASSOCIATED
    assert not decision.polls or (decision.action is Action.WAIT and passing)
    if decision.action is Action.WAIT and decision.code not in ("stopped", "ignored"):
        assert decision.polls


def gives_what_the_winner_wants(view: View, decision: Decision) -> None:
    """Where nothing forbids it, a running instance gets it at once; from a pin also where the former record is lost."""
    running = view.instance.state is InstanceState.RUNNING
    if not (_free(view) and running and view.winner) or view.damaged or view.carries == view.winner.profile_arn:
        return
    if not (view.foreign and view.winner.spec.when_occupied is WhenOccupied.KEEP):
        wanted = Action.REPLACE if view.carries else Action.ATTACH
        assert decision.action is (wanted if view.winner.profile_arn else Action.DETACH)
        assert decision.profile_arn == view.winner.profile_arn


def honours_when_occupied(view: View, decision: Decision) -> None:
    if not (_free(view) and view.foreign and view.winner) or view.carries == view.winner.profile_arn:
        return
    if view.winner.spec.when_occupied is WhenOccupied.KEEP:
        assert (decision.action, decision.code) == (Action.HOLD, "occupied")
        assert view.carries in decision.reason


def honours_when_stopped(view: View, decision: Decision) -> None:
    stopped = view.instance.state is InstanceState.STOPPED
    if not (_free(view) and stopped and view.winner and view.winner.profile_arn and view.carries):
        return
    kept = view.foreign and view.winner.spec.when_occupied is WhenOccupied.KEEP
    if kept or view.damaged or view.carries == view.winner.profile_arn:
        return
    if view.winner.spec.when_stopped is WhenStopped.SWAP:
        assert (decision.action, decision.swap) == (Action.REPLACE, True)
    else:
        assert (decision.action, decision.code) == (Action.WAIT, "stopped")


def honours_when_unmatched(view: View, decision: Decision) -> None:
    if not (_free(view) and view.winner is None and view.assignment and view.owner):
        return
    policy, state = view.owner.spec.when_unmatched, view.instance.state
    restores = policy is WhenUnmatched.RESTORE and view.before
    if view.association is None:
        assert (decision.action is Action.ATTACH) == bool(restores)
    elif policy is WhenUnmatched.KEEP or (restores and view.before == view.carries):
        assert (decision.action, decision.code) == (Action.NOTHING, "kept")
    elif not restores:
        assert (decision.action, decision.code) == (Action.DETACH, "unmatched")
    elif state is InstanceState.STOPPED:
        assert (decision.action, decision.code) == (Action.WAIT, "stopped")
    else:
        assert (decision.action, decision.code) == (Action.REPLACE, "restored")
    if restores and decision.action.mutates:
        assert (decision.profile_arn, decision.gives_back) == (view.before, True)


def _free(view: View) -> bool:
    """EC2 takes changes, and nothing forbids them."""
    leaving = view.association is not None and view.association.state is AssociationState.DISASSOCIATING
    return view.instance.state in _SETTLED and not view.left_alone and not leaving


LAWS: tuple[Callable[[View, Decision], None], ...] = (
    says_one_documented_thing,
    names_the_mappings,
    wishes_what_the_winner_wants,
    remembers_what_was_there_first,
    changes_only_what_ec2_takes,
    leaves_alone_what_is_to_be_left_alone,
    touches_a_role_of_others_only_when_told,
    is_content_with_what_is_wished,
    waits_in_a_loop_only_for_ec2,
    gives_what_the_winner_wants,
    honours_when_occupied,
    honours_when_stopped,
    honours_when_unmatched,
)


def where_it_ends(view: View) -> str:
    """What the instance carries when our decisions were followed until nothing is left to do: an ARN, or nothing."""
    stays, stopped = view.carries, view.instance.state is InstanceState.STOPPED
    if view.instance.state in _OVER:
        return ""
    if view.left_alone or view.damaged:
        return stays
    if view.winner:
        wanted, spec = view.winner.profile_arn, view.winner.spec
        if view.foreign and spec.when_occupied is WhenOccupied.KEEP:
            return stays
        waits = stopped and stays and wanted and spec.when_stopped is WhenStopped.WAIT
        return stays if waits else wanted
    if view.assignment is None or view.owner is None or view.owner.spec.when_unmatched is WhenUnmatched.KEEP:
        return stays
    if view.owner.spec.when_unmatched is WhenUnmatched.RESTORE and view.before:
        return stays if stopped and stays else view.before
    return ""
