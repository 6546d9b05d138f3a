"""What a new revision would do to the instances that carry its tag, before it is served: pure.

`decide` itself is asked twice for each instance: with what is published now, and with the candidate in its place. The
instance counts as running and its association as settled, so that what would only wait is counted too; whether changes
are withheld now doesn't matter.
"""

from collections import Counter
from dataclasses import dataclass, field, replace

from rolekeeper.decide import ENDED, decide
from rolekeeper.model import (
    Action,
    Assignment,
    Association,
    AssociationState,
    Candidates,
    Decision,
    InstanceState,
    PublishedMapping,
)
from rolekeeper.observe import Observation
from rolekeeper.ownership import assignment_for

# The most pairs of profiles that are told apart; instances beyond them are counted all the same.
MOVES = 50


@dataclass(frozen=True, slots=True)
class Move:
    """Instances that go from one instance profile to another, by ARN; empty for none."""

    before: str
    after: str


@dataclass(slots=True)
class Effect:
    """How many instances a revision would change, and from which profile to which. Memory: bounded by `MOVES`."""

    attach: int = 0
    replace: int = 0
    detach: int = 0
    moves: Counter[Move] = field(default_factory=Counter)

    @property
    def changes(self) -> int:
        """The instances that would change."""
        return self.attach + self.replace + self.detach

    @property
    def takes(self) -> int:
        """Those of them that carry a role which they would lose."""
        return self.replace + self.detach

    def count(
        self,
        observed: Observation,
        present: tuple[PublishedMapping | None, Candidates],
        candidate: tuple[PublishedMapping, Candidates],
    ) -> None:
        """Add one instance.

        Args:
            observed: the instance, with its association and what is recorded of it.
            present: the published mapping or tombstone that the candidate takes the place of, if there is one, and the
                mappings ranked with it.
            candidate: the candidate (or tombstone), and the mappings ranked with it.
        """
        if observed.instance is None or observed.instance.state in ENDED:
            return
        association, assignment = _settled(observed)
        now = _decision(observed, association, assignment, *present)
        then = _decision(observed, association, assignment, *candidate)
        action = _change(now, then, association)
        if action is None:
            return
        match action:
            case Action.ATTACH:
                self.attach += 1
            case Action.REPLACE:
                self.replace += 1
            case _:
                self.detach += 1
        move = Move(association.profile_arn if association else "", "" if action is Action.DETACH else then.profile_arn)
        if move in self.moves or len(self.moves) < MOVES:
            self.moves[move] += 1


def _change(now: Decision, then: Decision, association: Association | None) -> Action | None:
    """What the candidate does to an instance that would not happen anyway."""
    if then.code == "mapping-missing" and now.code != then.code and association:
        # What gave the role can't be found, and the candidate no longer keeps it: whoever mends that record detaches.
        return Action.DETACH
    if not then.action.mutates or (then.action, then.profile_arn) == (now.action, now.profile_arn):
        return None
    return then.action


def _settled(observed: Observation) -> tuple[Association | None, Assignment | None]:
    """The association as it will be once EC2 is done, and our record of it."""
    association = observed.association
    if association is None or association.state is AssociationState.ASSOCIATED:
        return association, observed.assignment
    if association.state is AssociationState.ASSOCIATING:
        return replace(association, state=AssociationState.ASSOCIATED), observed.assignment
    return None, assignment_for(observed.record, None, observed.asked_at)


def _decision(
    observed: Observation,
    association: Association | None,
    assignment: Assignment | None,
    mapping: PublishedMapping | None,
    candidates: Candidates,
) -> Decision:
    assert observed.instance is not None  # `count` leaves out the others
    running = replace(observed.instance, state=InstanceState.RUNNING)
    return decide(running, association, assignment, candidates, _owner(observed, assignment, mapping))


def _owner(
    observed: Observation, assignment: Assignment | None, mapping: PublishedMapping | None
) -> PublishedMapping | None:
    """The mapping of an assignment: what takes the place of the published one, where it is that."""
    if assignment is None:
        return None
    known = {each.key: each for each in observed.published}
    if observed.owner:
        known[observed.owner.key] = observed.owner
    if mapping:
        known[mapping.key] = mapping
    return known.get(assignment.mapping)
