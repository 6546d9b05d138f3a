"""What holds for every decision, whatever happened before: it goes where `spec.carries` says, and says why.

The laws know nothing of how `decide` works. Each takes what `decide` was shown and what it said.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rolekeeper.instances.decide import Observation
from rolekeeper.model.instance import Action, AssociationState, Decision, DesiredChange, Instance, InstanceState
from rolekeeper.model.mapping import WhenOccupied
from rolekeeper.settings import Ownership
from spec.carries import Situation, managed, wanted

CONCEPTS = Path(__file__).parents[2] / "docs" / "concepts.md"
_ROW = re.compile(r"^\| `([a-z-]+)` \| ([A-Z][A-Za-z, ]*) \|", re.MULTILINE)
DOCUMENTED = {code: set(actions.split(", ")) for code, actions in _ROW.findall(CONCEPTS.read_text(encoding="utf-8"))}


@dataclass(frozen=True)
class View:
    """What `decide` is shown of an instance that EC2 knows."""

    seen: Observation
    ownership: Ownership

    @property
    def instance(self) -> Instance:
        assert self.seen.instance
        return self.seen.instance

    @property
    def situation(self) -> Situation:
        owner = [self.seen.owner] if self.seen.owner and self.seen.owner not in self.seen.published else []
        return Situation(
            tags=self.instance.tags,
            carries=self.carries,
            mappings=[*self.seen.published, *owner],
            now=self.seen.asked_at,
            grants={self.carries: self.seen.grant.mapping} if self.seen.grant else {},
            pin=self.seen.pin,
            state=str(self.instance.state),
            service=bool(self.instance.managed_by),
            take_over=self.ownership.take_over,
            account=self.instance.key.account,
            region=self.instance.key.region,
        )

    @property
    def carries(self) -> str:
        return self.seen.association.profile_arn if self.seen.association else ""

    @property
    def ended(self) -> bool:
        return self.instance.state in (InstanceState.SHUTTING_DOWN, InstanceState.TERMINATED)

    @property
    def leaving(self) -> bool:
        """Whether EC2 still detaches what the instance carries."""
        return self.seen.association is not None and self.seen.association.state is AssociationState.DISASSOCIATING


def goes_where_it_should_or_says_why_not(view: View, decision: Decision) -> None:
    should = wanted(view.situation)
    if view.ended or (view.leaving and decision.code == "disassociating"):
        assert not decision.action.mutates
    elif decision.action.mutates:
        assert (decision.profile_arn, should.shows) == (should.carries, "")
        assert should.carries != view.carries
    elif decision.code == "changing":
        assert should.carries != view.carries
    else:
        assert should.carries == view.carries
        assert should.shows in ("", decision.code)


def says_one_documented_thing(view: View, decision: Decision) -> None:
    del view
    assert decision.action.value in DOCUMENTED[decision.code]
    assert decision.reason.strip()


def names_the_mappings(view: View, decision: Decision) -> None:
    assert decision.overridden == view.seen.candidates.overridden
    for each in view.seen.candidates.in_conflict if decision.code == "tie" else ():
        assert str(each.key) in decision.reason
        assert each.spec.role in decision.reason
    if decision.mapping and (decision.action.mutates or decision.action is Action.HOLD):
        named = view.seen.grant.mapping if decision.code == "mapping-missing" and view.seen.grant else decision.mapping
        assert str(named) in decision.reason


def names_what_it_leaves(view: View, decision: Decision) -> None:
    if decision.code in ("not-ours", "unexplained", "occupied"):
        assert view.carries in decision.reason
    if decision.code == "unexplained" and not _is_node(view):
        assert decision.reason.endswith(f"--association-id {decision.association_id}")
    if decision.code == "service-managed":
        assert view.instance.managed_by in decision.reason


def desires_what_the_winner_wants(view: View, decision: Decision) -> None:
    """It is the same for as long as its mapping is: by it we know whether another actor reverts our change."""
    winner = view.seen.candidates.winner
    free = not (view.ended or view.instance.managed_by or view.seen.candidates.exclusion or view.leaving)
    if winner and free and not winner.suspended_because:
        assert decision.desired == DesiredChange(winner.key, winner.revision, winner.profile_arn)


def desires_no_profile_for_a_mapping_that_is_over(view: View, decision: Decision) -> None:
    """Of the mapping that gave the role, as it reads now: a new revision of it is another change."""
    if view.seen.candidates.winner is None and decision.action.mutates:
        assert view.seen.grant
        assert view.seen.owner
        assert decision.desired == DesiredChange(view.seen.grant.mapping, view.seen.owner.revision, "")


def changes_only_what_ec2_takes(view: View, decision: Decision) -> None:
    foreign = bool(view.carries) and not managed(view.carries)
    assert decision.takes_over == (decision.action.mutates and foreign)
    if not decision.action.mutates:
        return
    assert view.instance.state in (InstanceState.RUNNING, InstanceState.STOPPED)
    assert decision.mapping
    if decision.action is Action.ATTACH:
        assert view.seen.association is None
    else:
        assert view.seen.association
        assert not view.leaving
        assert decision.association_id == view.seen.association.id
    assert (decision.action is Action.DETACH) == (decision.profile_arn == "")
    if decision.action is Action.REPLACE:
        assert decision.swap == (view.instance.state is InstanceState.STOPPED)


def says_how_to_hand_over_what_is_occupied(view: View, decision: Decision) -> None:
    if decision.code == "occupied" and not _is_node(view):
        winner = view.seen.candidates.winner
        assert winner
        assert f"--association-id {decision.association_id})" in decision.reason
        assert ("TakeOver=true" in decision.reason) != view.ownership.take_over
        asks = winner.key.pins or winner.spec.when_occupied is WhenOccupied.REPLACE
        assert ("when_occupied=replace" in decision.reason) != asks


def _is_node(view: View) -> bool:
    return "eks:cluster-name" in view.instance.tags


def names_no_remedy_that_changes_a_node(view: View, decision: Decision) -> None:
    if _is_node(view) and decision.code in ("occupied", "unexplained"):
        assert "aws ec2" not in decision.reason
        assert "TakeOver" not in decision.reason
        assert decision.reason.endswith("leave it, or change the role in its node group or NodeClass")


def waits_in_a_loop_only_for_ec2(view: View, decision: Decision) -> None:
    """A stopped instance is waited for by its `running` event, an ignored one by its timer: neither is polled."""
    passing = view.instance.state in (InstanceState.PENDING, InstanceState.STOPPING)
    passing |= view.seen.association is not None and view.seen.association.state is not AssociationState.ASSOCIATED
    assert not decision.polls or (decision.action is Action.WAIT and passing)
    if decision.action is Action.WAIT and decision.code not in ("stopped", "ignored"):
        assert decision.polls


LAWS: tuple[Callable[[View, Decision], None], ...] = (
    goes_where_it_should_or_says_why_not,
    says_one_documented_thing,
    names_the_mappings,
    names_what_it_leaves,
    desires_what_the_winner_wants,
    desires_no_profile_for_a_mapping_that_is_over,
    changes_only_what_ec2_takes,
    says_how_to_hand_over_what_is_occupied,
    names_no_remedy_that_changes_a_node,
    waits_in_a_loop_only_for_ec2,
)
