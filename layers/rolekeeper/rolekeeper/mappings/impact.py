"""What a new revision would do to the instances with its tag, and whether that needs approval.

`decide` itself is asked twice for each instance: with what is published now, and with the candidate in its place. The
instance counts as running and its association as settled, so that what would only wait is counted too; whether changes
are withheld now doesn't matter.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from rolekeeper.instances.decide import ENDED, Case, decide
from rolekeeper.instances.observe import Observation
from rolekeeper.model.instance import (
    NO_PROFILE,
    Action,
    Association,
    AssociationState,
    Candidates,
    Decision,
    Grant,
    InstanceState,
)
from rolekeeper.model.mapping import PublishedMapping
from rolekeeper.permissions import Difference, PolicyReader
from rolekeeper.permissions.compare import in_words
from rolekeeper.settings import Limits, Ownership

# The most pairs of profiles that are told apart; instances beyond them are counted all the same.
MOVES = 50
# Pairs of profiles whose roles are compared, those of the most instances first: each costs a few calls to IAM.
COMPARED = 5
# The most that a reason says of permissions, in characters; of that, why some couldn't be compared.
WORDS, UNKNOWN = 500, 150
# The most phrases of permissions that the history keeps.
PHRASES = 50

type Ranked = tuple[PublishedMapping | None, Candidates]
"""A mapping (or its tombstone), and the mappings for an instance ranked with it."""


@dataclass(frozen=True, slots=True)
class Move:
    """Instances that go from one instance profile to another, by ARN; empty for none."""

    before: str
    after: str


@dataclass(slots=True)
class Impact:
    """How many instances a revision would change, and from which profile to which. Memory: bounded by `MOVES`."""

    attach: int = 0
    replace: int = 0
    detach: int = 0
    moves: Counter[Move] = field(default_factory=Counter)

    @property
    def changes(self) -> int:
        return self.attach + self.replace + self.detach

    @property
    def takes(self) -> int:
        """Those of them that carry a role which they would lose."""
        return self.replace + self.detach

    def add(self, observed: Observation, published: Ranked, candidate: Ranked, ownership: Ownership) -> None:
        """Add one instance, as it is decided with what is published and with the candidate in its place."""
        if observed.instance is None or observed.instance.state in ENDED:
            return
        association, grant = _settled(observed)
        running = replace(observed.instance, state=InstanceState.RUNNING)

        def decided(mapping: PublishedMapping | None, candidates: Candidates) -> Decision:
            known = {each.key: each for each in (*observed.published, observed.owner, mapping) if each}
            owner = known.get(grant.mapping) if grant else None
            return decide(Case(running, association, grant, candidates, owner, ownership))

        now, then = decided(*published), decided(*candidate)
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
        # What gave the role can't be found, and the candidate no longer keeps it: whoever repairs that record detaches.
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


@dataclass(frozen=True, slots=True)
class ImpactReport:
    """An edit's impact, with the permissions that instances would gain and lose.

    `fleet` and `allowed` are None as long as the number alone lets it pass, which needs no count of the fleet.
    """

    impact: Impact
    difference: Difference
    fleet: int | None = None
    allowed: int | None = None

    @property
    def needs_approval(self) -> bool:
        return self.allowed is not None and self.impact.changes > self.allowed

    def __str__(self) -> str:
        impact = self.impact
        counts = f"attach {impact.attach:,}, replace {impact.replace:,} and detach {impact.detach:,} instances"
        if self.fleet is not None:
            counts += f" ({impact.changes:,} of {self.fleet:,}; {self.allowed:,} may change without approval)"
        return f"{counts}; {_words(self.difference)}" if impact.changes else counts

    def document(self) -> dict[str, Any]:
        impact, difference = self.impact, self.difference
        shown = {
            "attach": impact.attach,
            "replace": impact.replace,
            "detach": impact.detach,
            "gained": list(difference.gained[:PHRASES]),
            "lost": list(difference.lost[:PHRASES]),
        }
        return shown | ({"unknown": difference.unknown} if difference.unknown else {})


@dataclass(frozen=True)
class ImpactAssessor:
    """Assesses the edits of one invocation. `fleet` counts all instances."""

    limits: Limits
    fleet: Callable[[], int]
    policies: PolicyReader

    def report(self, candidate: PublishedMapping, impact: Impact) -> ImpactReport:
        """What a candidate (or a tombstone) would do.

        Raises:
            AwsRefusalError: the fleet can't be counted. IAM's refusals are no error: the report says them.
        """
        difference = self._difference(candidate, impact)
        if impact.changes <= self.limits.per_edit:
            return ImpactReport(impact, difference)
        fleet = self.fleet()
        return ImpactReport(impact, difference, fleet, self.limits.allowed(fleet))

    def _difference(self, candidate: PublishedMapping, impact: Impact) -> Difference:
        found: list[Difference] = []
        for move, _ in impact.moves.most_common(COMPARED):
            # The candidate's own profile may have still to be made; it will hold the candidate's role.
            role = candidate.spec.role if move.after and move.after == candidate.profile_arn else ""
            found.append(self.policies.profile_difference(move.before, move.after, role))
        return Difference(
            gained=_once(phrase for each in found for phrase in each.gained),
            lost=_once(phrase for each in found for phrase in each.lost),
            unknown="; ".join(_once(each.unknown for each in found if each.unknown)),
        )


def _words(difference: Difference) -> str:
    if not difference.unknown or not (difference.gained or difference.lost):
        return in_words(difference, WORDS)
    known = in_words(Difference(difference.gained, difference.lost), WORDS - UNKNOWN)
    return f"{known}; {in_words(Difference(unknown=difference.unknown), UNKNOWN)}"


def _once(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))
