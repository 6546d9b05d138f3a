"""What holds for every decision, whatever happened before: laws written from docs/mappings.md and docs/concepts.md.

They know nothing of how `decide` works. Each takes what `decide` was shown and what it said.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rolekeeper.model.instance import (
    Action,
    Association,
    AssociationState,
    Candidates,
    Decision,
    DesiredChange,
    Grant,
    Instance,
    InstanceState,
)
from rolekeeper.model.mapping import PublishedMapping, WhenOccupied, WhenStopped, WhenUnmatched
from rolekeeper.settings import Ownership

CONCEPTS = Path(__file__).parents[2] / "docs" / "concepts.md"
_ROW = re.compile(r"^\| `([a-z-]+)` \| ([A-Z][A-Za-z, ]*) \|", re.MULTILINE)
DOCUMENTED = {code: set(actions.split(", ")) for code, actions in _ROW.findall(CONCEPTS.read_text(encoding="utf-8"))}
# What is decided around `decide`, by what else was observed or by what AWS answers.
_ELSEWHERE = {"gone", "propagating", "window", "contested", "unswept", "observed", "control-unclear", "paused"}
_ELSEWHERE |= {"denied", "refused", "throttled"}
FROM_DECIDE = {(action, code) for code in DOCUMENTED.keys() - _ELSEWHERE for action in DOCUMENTED[code]}
_SETTLED = (InstanceState.RUNNING, InstanceState.STOPPED)
_OVER = (InstanceState.SHUTTING_DOWN, InstanceState.TERMINATED)


@dataclass(frozen=True)
class View:
    """What `decide` is shown, and what only the model knows.

    Attributes:
        managed: the ARNs of all profiles under the role path.
        lost: whether the published record of the mapping that gave the role is gone, and nobody deleted its row.
    """

    instance: Instance
    association: Association | None
    grant: Grant | None
    candidates: Candidates
    owner: PublishedMapping | None
    ownership: Ownership
    managed: frozenset[str]
    lost: bool

    @property
    def arguments(self) -> tuple[Any, ...]:
        return self.instance, self.association, self.grant, self.candidates, self.owner, self.ownership

    @property
    def winner(self) -> PublishedMapping | None:
        return self.candidates.winner

    @property
    def carries(self) -> str:
        return self.association.profile_arn if self.association else ""

    @property
    def foreign(self) -> bool:
        """It carries a profile outside the role path."""
        return self.association is not None and self.carries not in self.managed

    @property
    def kept(self) -> bool:
        """It carries a foreign role that a mapping governs and may not take over.

        A mapping needs the stack's word (`TakeOver`) and its own (`when_occupied`); a pin is a person's own word.
        """
        if not (self.foreign and self.winner):
            return False
        says_so = self.winner.key.pins or self.winner.spec.when_occupied is WhenOccupied.REPLACE
        return not (self.ownership.take_over and says_so)

    @property
    def left_alone(self) -> bool:
        """Nobody may change anything, whatever the mappings say."""
        suspended = self.winner is not None and bool(self.winner.suspended_because)
        return (
            self.instance.state in _OVER
            or bool(self.instance.managed_by)
            or self.candidates.exclusion is not None
            or bool(self.candidates.in_conflict)
            or suspended
        )

    @property
    def damaged(self) -> bool:
        """The mapping that gave the role, or took it, can't be found, and nobody meant that (docs/concepts.md, rule 5).

        Without it nobody knows what to do with the role. Once the instance no longer carries its tag, another mapping
        may take over, and so may a pin before that.
        """
        if not (self.lost and self.grant):
            return False
        if self.winner is None and self.association:
            return True
        pinned = self.winner is not None and self.winner.key.pins
        return not pinned and self.grant.mapping.matches(self.instance.tags)


# ---- the laws ----


def says_one_documented_thing(view: View, decision: Decision) -> None:
    del view
    assert decision.action.value in DOCUMENTED[decision.code]
    assert decision.reason.strip()


def names_the_mappings(view: View, decision: Decision) -> None:
    assert decision.overridden == view.candidates.overridden
    for each in view.candidates.in_conflict if decision.code == "tie" else ():
        assert str(each.key) in decision.reason
        assert each.spec.role in decision.reason
    if decision.mapping and (decision.action.mutates or decision.action is Action.HOLD):
        named = view.grant.mapping if decision.code == "mapping-missing" and view.grant else decision.mapping
        assert str(named) in decision.reason


def desires_what_the_winner_wants(view: View, decision: Decision) -> None:
    """It is the same for as long as its mapping is: by it we know whether another actor reverts our change."""
    if view.winner and not view.left_alone and decision.code != "disassociating":
        assert decision.desired == DesiredChange(view.winner.key, view.winner.revision, view.winner.profile_arn)


def desires_no_profile_for_a_mapping_that_is_over(view: View, decision: Decision) -> None:
    """Of the mapping that gave the role, as it reads now: a new revision of it is another change."""
    if view.winner is None and decision.action.mutates:
        assert view.grant
        assert view.owner
        assert decision.desired == DesiredChange(view.grant.mapping, view.owner.revision, "")


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


def gives_only_managed_profiles(view: View, decision: Decision) -> None:
    if decision.action.mutates and decision.profile_arn:
        assert decision.profile_arn in view.managed


def leaves_alone_what_is_to_be_left_alone(view: View, decision: Decision) -> None:
    if view.left_alone or view.damaged:
        assert not decision.action.mutates


def says_whose_record_is_lost(view: View, decision: Decision) -> None:
    wanted = view.winner.profile_arn if view.winner else None
    if _free(view) and view.damaged and view.carries != wanted:
        assert view.grant
        assert (decision.action, decision.code) == (Action.HOLD, "mapping-missing")
        assert str(view.grant.mapping) in decision.reason


def leaves_an_instance_to_the_service_that_manages_it(view: View, decision: Decision) -> None:
    if view.instance.managed_by and view.instance.state not in _OVER:
        assert (decision.action, decision.code) == (Action.NOTHING, "service-managed")
        assert view.instance.managed_by in decision.reason


def takes_over_a_foreign_role_only_when_stack_and_mapping_say_so(view: View, decision: Decision) -> None:
    assert decision.takes_over == (decision.action.mutates and view.foreign)
    if decision.takes_over:
        assert view.winner
        assert not view.kept


def says_how_to_hand_over_what_is_occupied(view: View, decision: Decision) -> None:
    if decision.code == "occupied":
        assert view.winner
        assert view.carries in decision.reason
        assert f"--association-id {decision.association_id})" in decision.reason
        assert ("TakeOver=true" in decision.reason) != view.ownership.take_over
        asks = view.winner.key.pins or view.winner.spec.when_occupied is WhenOccupied.REPLACE
        assert ("when_occupied=replace" in decision.reason) != asks


def is_content_with_what_is_wanted(view: View, decision: Decision) -> None:
    there = view.association is None or view.association.state is AssociationState.ASSOCIATED
    if view.winner and not view.left_alone and there and view.carries == view.winner.profile_arn:
        assert (decision.action, decision.code) == (Action.NOTHING, "converged")


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
    if not view.kept:
        wanted = Action.REPLACE if view.carries else Action.ATTACH
        assert decision.action is (wanted if view.winner.profile_arn else Action.DETACH)
        assert decision.profile_arn == view.winner.profile_arn


def honours_when_occupied(view: View, decision: Decision) -> None:
    if _free(view) and view.kept:
        assert (decision.action, decision.code) == (Action.HOLD, "occupied")


def honours_when_stopped(view: View, decision: Decision) -> None:
    stopped = view.instance.state is InstanceState.STOPPED
    if not (_free(view) and stopped and view.winner and view.winner.profile_arn and view.carries):
        return
    if view.kept or view.damaged or view.carries == view.winner.profile_arn:
        return
    if view.winner.spec.when_stopped is WhenStopped.SWAP:
        assert (decision.action, decision.swap) == (Action.REPLACE, True)
    else:
        assert (decision.action, decision.code) == (Action.WAIT, "stopped")


def honours_when_unmatched(view: View, decision: Decision) -> None:
    """What nothing governs is given up as the mapping that gave it says, if a grant explains it at all."""
    if not _free(view) or view.winner or view.damaged:
        return
    said = decision.action, decision.code
    if view.association is None:
        assert said == (Action.NOTHING, "unmatched")
    elif view.foreign:
        assert said == (Action.NOTHING, "not-ours")
        assert view.carries in decision.reason
    elif view.grant is None:
        assert said == (Action.HOLD, "unexplained")
        assert view.carries in decision.reason
        assert decision.reason.endswith(f"--association-id {decision.association_id}")
    elif view.owner and view.owner.spec.when_unmatched is WhenUnmatched.KEEP:
        assert said == (Action.NOTHING, "kept")
    else:
        assert said == (Action.DETACH, "unmatched")


def _free(view: View) -> bool:
    """EC2 takes changes, and nothing forbids them."""
    leaving = view.association is not None and view.association.state is AssociationState.DISASSOCIATING
    return view.instance.state in _SETTLED and not view.left_alone and not leaving


LAWS: tuple[Callable[[View, Decision], None], ...] = (
    says_one_documented_thing,
    names_the_mappings,
    desires_what_the_winner_wants,
    desires_no_profile_for_a_mapping_that_is_over,
    changes_only_what_ec2_takes,
    gives_only_managed_profiles,
    leaves_alone_what_is_to_be_left_alone,
    says_whose_record_is_lost,
    leaves_an_instance_to_the_service_that_manages_it,
    takes_over_a_foreign_role_only_when_stack_and_mapping_say_so,
    says_how_to_hand_over_what_is_occupied,
    is_content_with_what_is_wanted,
    waits_in_a_loop_only_for_ec2,
    gives_what_the_winner_wants,
    honours_when_occupied,
    honours_when_stopped,
    honours_when_unmatched,
)
