"""What a new revision would do to the instances with its tag, and whether that needs approval.

`decide` runs twice for each: with what is published now, and with the candidate in its place. The instance counts as
running and its association as settled, so a change that would only wait, or is withheld, counts too.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from rolekeeper.aws import Each
from rolekeeper.instances.decide import ENDED, Case, decide
from rolekeeper.instances.observe import Observation
from rolekeeper.model.instance import NO_PROFILE, Action, AssociationState, Candidates, Decision, InstanceState, Target
from rolekeeper.model.mapping import ANY_VALUE, MappingKey, PublishedMapping
from rolekeeper.permissions import Difference, PolicyReader
from rolekeeper.permissions.compare import as_many, in_words
from rolekeeper.settings import Limits, Ownership

# Instance ids, and other mappings, that a reason names.
NAMED = 5
# The most pairs of profiles that are counted separately; instances with others are still counted.
MOVES = 50
# Pairs of profiles whose roles are compared, those of the most instances first: each costs a few calls to IAM.
COMPARED = 5
# The most characters of a reason about permissions; and of those, about why some couldn't be compared.
WORDS, UNKNOWN = 500, 150
# The most phrases about permissions that history and events keep, and the characters of each.
PHRASES, PHRASE = 50, 500

type Ranked = tuple[PublishedMapping | None, Candidates]
"""A mapping (or its tombstone), and the mappings for an instance ranked with it."""


@dataclass(slots=True)
class Impact:
    """How many instances a revision would change, and from which profile to which, by ARN.

    Comparing it sets the rest: the permissions gained and lost, which of the gained are `severe`, how many other
    edits `took` in the last `minutes`, how many are `allowed` without approval, and the size of the `fleet`, if that
    matters. `alone` says in which single target it would change too many.
    """

    attach: int = 0
    replace: int = 0
    detach: int = 0
    moves: Counter[tuple[str, str]] = field(default_factory=Counter)
    difference: Difference = Difference()  # noqa: RUF009  # frozen
    severe: tuple[str, ...] = ()
    took: int = 0
    minutes: int = 0
    fleet: int | None = None
    allowed: int = 0
    alone: str = ""

    @property
    def changes(self) -> int:
        return self.attach + self.replace + self.detach

    @property
    def takes(self) -> int:
        """How many of them would lose the role that they carry."""
        return self.replace + self.detach

    def add(self, observed: Observation, published: Ranked, candidate: Ranked, ownership: Ownership) -> None:
        """Add one instance, deciding with what is published and with the candidate in its place."""
        if observed.instance is None or observed.instance.state in ENDED:
            return
        association, grant = observed.association, observed.grant
        if association and association.state is AssociationState.DISASSOCIATING:
            # As it will be once EC2 is done.
            association, grant = None, observed.record.grants.get(NO_PROFILE)
        running = replace(observed.instance, state=InstanceState.RUNNING)

        def decided(mapping: PublishedMapping | None, candidates: Candidates) -> Decision:
            known = {each.key: each for each in (*observed.published, observed.owner, mapping) if each}
            owner = known.get(grant.mapping) if grant else None
            return decide(Case(running, association, grant, candidates, owner, ownership))

        now, then = decided(*published), decided(*candidate)
        action = then.action
        if then.code == "mapping-missing" and now.code != then.code and association:
            # The mapping that gave the role can't be found. Once its record is repaired, this candidate detaches.
            action = Action.DETACH
        elif not action.mutates or (action, then.profile_arn) == (now.action, now.profile_arn):
            # It would happen anyway, or nothing would.
            return
        self.attach += action is Action.ATTACH
        self.replace += action is Action.REPLACE
        self.detach += action is Action.DETACH
        self._moved(
            (association.profile_arn if association else "", "" if action is Action.DETACH else then.profile_arn)
        )

    def include(self, other: "Impact") -> None:
        """Add what would change in another target."""
        self.attach += other.attach
        self.replace += other.replace
        self.detach += other.detach
        for move, count in other.moves.items():
            self._moved(move, count)

    def _moved(self, move: tuple[str, str], count: int = 1) -> None:
        # Beyond the limit only the profile that is gained is kept.
        self.moves[move if move in self.moves or len(self.moves) < MOVES else ("", move[1])] += count

    @property
    def needs_approval(self) -> bool:
        return bool(self.severe or self.alone) or self.exceeds

    @property
    def exceeds(self) -> bool:
        """Whether it, with other edits, changes more instances than may change without approval."""
        return self.changes > 0 and self.changes + self.took > self.allowed

    def __str__(self) -> str:
        counts = f"attach {self.attach:,}, replace {self.replace:,} and detach {self.detach:,} instances"
        if self.fleet is not None:
            others = f", and other edits changed {self.took:,} in the last {self.minutes} minutes" if self.took else ""
            number = f"{self.changes + self.took:,} of {self.fleet:,}"
            counts += f"{others} ({number}; {self.allowed:,} may change without approval)"
        counts += f"; {self.alone}" if self.alone else ""
        if self.severe:
            counts = f"{as_many('give severe permissions:', self.severe, WORDS)}; it would {counts}"
        return f"{counts}; {_words(self.difference)}" if self.changes else counts

    def document(self) -> dict[str, Any]:
        """For the history and the event."""
        counts = {"attach": self.attach, "replace": self.replace, "detach": self.detach}
        gained, lost, unknown = self.difference.gained, self.difference.lost, self.difference.unknown
        named = {"gained": gained, "lost": lost, **({"severe": self.severe} if self.severe else {})}
        shown = {name: [each[:PHRASE] for each in phrases[:PHRASES]] for name, phrases in named.items()}
        return counts | shown | ({"unknown": unknown[:PHRASE]} if unknown else {})


@dataclass(frozen=True, slots=True)
class Side:
    """An edit in one account: whose policies are compared, the candidate there, and what is `published` there now.

    It `gives` its role there: it is in the scope, and can be used.
    """

    policies: PolicyReader
    candidate: PublishedMapping
    published: PublishedMapping | None
    gives: bool = True

    def move(self, was: str, to: str) -> tuple[str, str]:
        # The candidate's own profile may not exist yet; it will hold the candidate's role.
        own = self.candidate.profile_arn
        return was, (self.candidate.spec.role if own else "") if to == own else to

    def severe(self, moves: Iterable[tuple[str, str]]) -> list[str]:
        """The severe permissions that instances gain now, or once some match: without consent none had a broad role."""
        consented = self.published.profile_arn if self.published and self.published.spec.allow_broad else ""
        gives = self.gives and not self.candidate.deleted
        later = self.move(consented, self.candidate.profile_arn) if gives else ("", "")
        return [each for move in dict.fromkeys([*moves, later]) for each in self.policies.severe_gain(*move)]


@dataclass(frozen=True)
class Comparison:
    """Compares edits by the `limits`, and by the `fleet` over all targets, which is counted only if it matters."""

    limits: Limits
    fleet: Callable[[], int]
    each: Each

    def compared(self, impact: Impact, sides: Mapping[str, Side], took: int) -> Impact:
        """The impact with permissions, and with the fleet's size if that matters.

        `sides` are by account, the hub's own first; other edits `took` this many changes in the window. A refusal by
        IAM is no error: the difference says it.
        """
        own, *_ = sides
        moves: dict[str, list[tuple[str, str]]] = {account: [] for account in sides}
        found: list[Difference] = []
        for at, (move, _) in enumerate(impact.moves.most_common()):
            account = next((arn.split(":")[4] for arn in move if arn.startswith("arn:")), own)
            side = account if account in sides else own
            moves[side].append(sides[side].move(*move))
            if at < COMPARED:
                found.append(sides[side].policies.difference(*moves[side][-1]))
        difference = Difference(
            gained=tuple(dict.fromkeys(phrase for each in found for phrase in each.gained)),
            lost=tuple(dict.fromkeys(phrase for each in found for phrase in each.lost)),
            unknown="; ".join(dict.fromkeys(each.unknown for each in found if each.unknown)),
        )
        gains = self.each(lambda account: sides[account].severe(moves[account]), list(sides))
        limits, severe = self.limits, tuple(dict.fromkeys(phrase for each in gains for phrase in each))
        known = replace(impact, difference=difference, severe=severe)
        impact = replace(known, took=took, minutes=limits.minutes, allowed=limits.per_edit)
        if not impact.exceeds:
            return impact
        fleet = self.fleet()
        return replace(impact, fleet=fleet, allowed=limits.allowed(fleet))

    def alone(self, shares: Mapping[Target, int], instances: Callable[[Target], int]) -> str:
        """In which single targets an edit would change too many, though perhaps not over all; empty if in none."""
        beyond: list[str] = []
        for target, changes in shares.items():
            if changes > self.limits.per_edit and changes > (allowed := self.limits.allowed(all_ := instances(target))):
                text = f"of the {all_:,} in {target} it would change {changes:,}"
                beyond.append(f"{text} ({allowed:,} may change without approval)")
        more = len(beyond) - 1
        others = f", and too many in {more:,} more target{'s' if more > 1 else ''}" if more > 0 else ""
        return f"{beyond[0]}{others}" if beyond else ""


def _words(difference: Difference) -> str:
    if not difference.unknown or not (difference.gained or difference.lost):
        return in_words(difference, WORDS)
    known = in_words(Difference(difference.gained, difference.lost), WORDS - UNKNOWN)
    return f"{known}; {in_words(Difference(unknown=difference.unknown), UNKNOWN)}"


@dataclass(slots=True)
class Conflict:
    """Another mapping of equal priority wants another role for `count` instances; a `new` one isn't there yet.

    `elsewhere`: only in other targets, so `other` may be the copy of another account.
    """

    other: PublishedMapping
    instances: list[str] = field(default_factory=list)
    count: int = 0
    new: bool = False
    elsewhere: bool = False

    def __str__(self) -> str:
        spec = self.other.spec
        text = f"conflicts with {spec.key} (priority {spec.priority}, role {spec.role})"
        if not self.count:
            return text
        more = f" and {self.count - NAMED:,} more" if self.count > NAMED else ""
        return f"{text} on {', '.join(self.instances)}{more}"

    def add(self, *instance_ids: str, new: bool, count: int = 1) -> None:
        self.count += count
        self.new |= new
        # The first by id: the same conflict then reads the same in whatever order EC2's pages come.
        self.instances = sorted([*self.instances, *instance_ids])[:NAMED]


class Conflicts(dict[MappingKey, Conflict]):
    """The conflicts of one mapping, by the other mapping's key."""

    @property
    def new(self) -> bool:
        return any(each.new for each in self.values())

    @property
    def largest_first(self) -> list[Conflict]:
        return sorted(self.values(), key=lambda each: (-each.count, each.other.key))

    def __str__(self) -> str:
        named = self.largest_first[:NAMED]
        more = f"; and with {len(self) - NAMED} more mappings" if len(self) > NAMED else ""
        return f"{'; '.join(map(str, named))}{more}; give one of them a lower number as its priority"

    def of(self, other: PublishedMapping) -> Conflict:
        """The conflict with another mapping, begun when there is none yet."""
        return self.setdefault(other.key, Conflict(other))

    def include(self, others: "Conflicts") -> None:
        """Add those in another target."""
        for each in others.values():
            known = self.setdefault(each.other.key, Conflict(each.other, elsewhere=True))
            known.add(*each.instances, new=each.new, count=each.count)


def could_conflict(one: PublishedMapping, other: PublishedMapping, now: datetime) -> bool:
    """Whether some instance could carry the tags of both and be in the scope of both, and so meet the conflict."""
    a, b = one.spec, other.spec
    if a.key == b.key or a.priority != b.priority or one.wants == other.wants:
        return False
    if one.is_idle(now) or other.is_idle(now):
        return False
    scopes = ((a.accounts, b.accounts), (a.regions, b.regions), (a.units, b.units))
    if any(mine and theirs and not mine & theirs for mine, theirs in scopes):
        return False
    # One set of tags has to satisfy every demand of both.
    asked: dict[str, str] = {}
    for spec in (a, b):
        for key, value in ((spec.key.tag_key, spec.key.tag_value), *spec.require_tags.items()):
            if value != ANY_VALUE and asked.setdefault(key, value) != value:
                return False
    return True
