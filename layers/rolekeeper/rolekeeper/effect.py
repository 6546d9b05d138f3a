"""What a new revision would do to the instances that carry its tag, before it is served: pure.

`decide` itself is asked twice for each instance: with what is published now, and with the candidate in its place. The
instance counts as running and its association as settled, so that what would only wait is counted too; whether changes
are withheld now doesn't matter.
"""

from collections import Counter
from dataclasses import dataclass, field, replace

from rolekeeper.decide import ENDED, decide
from rolekeeper.model import (
    NO_PROFILE,
    Action,
    Association,
    AssociationState,
    Candidates,
    Decision,
    Grant,
    InstanceState,
    PublishedMapping,
)
from rolekeeper.observe import Observation
from rolekeeper.rules import Ownership

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
        ownership: Ownership,
    ) -> None:
        """Add one instance.

        Args:
            observed: the instance, with its association and what is recorded of it.
            present: the published mapping or tombstone that the candidate takes the place of, if there is one, and the
                mappings ranked with it.
            candidate: the candidate (or tombstone), and the mappings ranked with it.
            ownership: which profiles are managed.
        """
        if observed.instance is None or observed.instance.state in ENDED:
            return
        association, grant = _settled(observed)
        now = _decision(observed, association, grant, *present, ownership)
        then = _decision(observed, association, grant, *candidate, ownership)
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


def _settled(observed: Observation) -> tuple[Association | None, Grant | None]:
    """The association as it will be once EC2 is done, and the grant that explains it."""
    association = observed.association
    if association and association.state is AssociationState.DISASSOCIATING:
        return None, observed.record.grants.get(NO_PROFILE)
    return association, observed.grant


def _decision(  # noqa: PLR0913, PLR0917  # all that a decision depends on
    observed: Observation,
    association: Association | None,
    grant: Grant | None,
    mapping: PublishedMapping | None,
    candidates: Candidates,
    ownership: Ownership,
) -> Decision:
    assert observed.instance is not None  # `count` leaves out the others
    running = replace(observed.instance, state=InstanceState.RUNNING)
    return decide(running, association, grant, candidates, _owner(observed, grant, mapping), ownership)


def _owner(observed: Observation, grant: Grant | None, mapping: PublishedMapping | None) -> PublishedMapping | None:
    """The mapping of a grant: what takes the place of the published one, where it is that."""
    if grant is None:
        return None
    known = {each.key: each for each in observed.published}
    if observed.owner:
        known[observed.owner.key] = observed.owner
    if mapping:
        known[mapping.key] = mapping
    return known.get(grant.mapping)
