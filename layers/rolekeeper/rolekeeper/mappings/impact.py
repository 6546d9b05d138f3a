"""What a new revision would do to the instances that it concerns, and whether that needs approval.

`decide` runs twice for each: with what is published now, and with the candidate in its place; and twice more for each
later moment at which another mapping may govern the instance, because something expires. The instance counts as running
and its association as settled, so a change that would only wait, or is withheld, counts too.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from itertools import chain
from typing import Any

from rolekeeper.aws import Ec2
from rolekeeper.instances.decide import Observation, asked_for, exclusion, pin_over, resolve
from rolekeeper.instances.nodes import node_of
from rolekeeper.instances.observe import Observed, observe_page
from rolekeeper.mappings.revisions import StoredMapping
from rolekeeper.mappings.table import MappingTable
from rolekeeper.model.instance import (
    NO_PROFILE,
    Action,
    Association,
    AssociationState,
    Candidates,
    Decision,
    Grant,
    Instance,
    InstanceState,
    Target,
    in_account,
)
from rolekeeper.model.mapping import (
    ANY_VALUE,
    IGNORED,
    PINNED,
    MappingKey,
    MappingSpec,
    PublishedMapping,
    WhenUnmatched,
)
from rolekeeper.model.problem import NAMED, Reason, ReasonCode
from rolekeeper.permissions.comparison import Difference, Gain, PolicyReader, as_many, in_words
from rolekeeper.settings import Limits, Ownership
from rolekeeper.storage import State

# The most pairs of profiles that are counted separately; instances with others are still counted.
MOVES = 50
# Pairs of profiles whose roles are compared, those of the most instances first: each costs a few calls to IAM.
COMPARED = 5
# The most characters of a reason about permissions.
WORDS = 500
# The most phrases about permissions that history and events keep, and the characters of each.
PHRASES, PHRASE = 50, 500
# The most later moments that a reason names, and that history and events keep: those of the most changes.
MOMENTS, KEPT_MOMENTS = 3, 50

_COUNTED = (Action.ATTACH, Action.REPLACE, Action.DETACH)

type Ranked = tuple[PublishedMapping | None, Candidates]
"""A mapping (or its tombstone), and the mappings for an instance ranked with it."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A later time at which another mapping may govern an instance: a mapping, a pin or an ignore tag expires then.

    `expires` is None for the mapping that is edited, and names no instance for its pin.
    """

    at: datetime
    expires: MappingKey | None = None

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%dT%H:%M:%SZ}, when {self.expires or 'it'} expires"


@dataclass(frozen=True, slots=True)
class Edit:
    """A mapping or tombstone that is published, the candidate for its place, and when that is judged."""

    published: PublishedMapping | None
    candidate: PublishedMapping
    at: datetime

    def moments(self, observed: Observation) -> list[Moment]:
        """Return when another mapping may govern an instance, in order, with the edit or without it."""
        assert observed.instance is not None  # EC2 knows it
        excluded, pin = exclusion(observed.instance.tags, self.at), observed.pin
        ends: dict[datetime | None, MappingKey | None] = {excluded.until if excluded else None: IGNORED}
        ends[pin.expires_at if pin else None] = PINNED
        for mapping in (*observed.published, self.candidate):
            if not mapping.is_idle(self.at):
                ends[mapping.spec.expires_at] = None if mapping.key == self.candidate.key else mapping.key
        return [Moment(at, ends[at]) for at in sorted(at for at in ends if at and at > self.at)]

    def ranked(self, observed: Observed, mapping: PublishedMapping | None, at: datetime) -> Candidates:
        """Rank the mappings for an instance at a time, with one of the two in the other's place."""
        assert observed.instance is not None  # EC2 knows it
        assert observed.published is not None  # they can be read
        rest = [other for other in observed.published if other.key != self.candidate.key]
        pin = observed.pin if isinstance(observed, Observation) else None
        return resolve(observed.instance, [*rest, mapping] if mapping else rest, at, pin=pin)


def gives_up(before: MappingSpec, then: MappingSpec) -> bool:
    """Return whether an edit takes the roles that the mapping left with instances that it no longer matches."""
    return before.when_unmatched is WhenUnmatched.KEEP and then.when_unmatched is WhenUnmatched.DETACH


@dataclass(slots=True)
class _SimulatedInstance:
    """What one instance carries as time goes on, if a mapping is published in the place of an edit's."""

    edit: Edit
    mapping: PublishedMapping | None
    observed: Observation

    @property
    def carries(self) -> str:
        return self.observed.association.profile_arn if self.observed.association else ""

    def decided(self, at: datetime, ownership: Ownership) -> Decision:
        """Decide at a time; the instance then carries what follows."""
        observed = self.observed
        mappings = (*observed.published, observed.owner, self.mapping)
        known = {mapping.key: mapping for mapping in mappings if mapping}
        giver = observed.grant.mapping if observed.grant else None
        owner = pin_over(giver) if giver and giver.pins else known.get(giver) if giver else None
        candidates = self.edit.ranked(observed, self.mapping, at)
        decision = asked_for(replace(observed, candidates=candidates, owner=owner), ownership)
        if decision.action.mutates and decision.mapping:
            arn, gave = decision.profile_arn, decision.code != "unmatched"
            settled = Association("", observed.key.id, arn, state=AssociationState.ASSOCIATED)
            grant = Grant(arn, decision.role, decision.mapping, revision=decision.revision, at=at)
            self.observed = replace(observed, association=settled if arn else None, grant=grant if gave else None)
        elif decision.code == "converged" and decision.mapping and observed.grant:
            # The grant is handed over to the mapping that gives the same role now.
            self.observed = replace(observed, grant=replace(observed.grant, mapping=decision.mapping))
        return decision


@dataclass(slots=True)
class Impact:
    """How many of the instances that were `seen` a revision would change, and from which profile to which, by ARN.

    `later` counts what it would do at each later moment; `only_later` are the instances that change only then.
    Comparing it sets the rest: the permissions gained and lost, which of the gained are `severe`, how many other
    edits `took` in the same `minutes`, how many are `allowed` without approval, and the size of the `fleet`, if that
    matters. `alone` says in which single target it would change too many.
    """

    attach: int = 0
    replace: int = 0
    detach: int = 0
    later: dict[Moment, Counter[Action]] = field(default_factory=dict)
    only_later: int = 0
    moves: Counter[tuple[str, str]] = field(default_factory=Counter)
    difference: Difference = Difference()  # noqa: RUF009  # frozen
    severe: tuple[str, ...] = ()
    took: int = 0
    minutes: int = 0
    fleet: int | None = None
    allowed: int = 0
    alone: str = ""
    seen: int = field(default=0, compare=False)

    @property
    def now(self) -> int:
        return self.attach + self.replace + self.detach

    @property
    def changes(self) -> int:
        """How many instances it would change, now or later."""
        return self.now + self.only_later

    @property
    def takes(self) -> int:
        """How many roles are taken away, now and later."""
        later = sum(counts[Action.REPLACE] + counts[Action.DETACH] for counts in self.later.values())
        return self.replace + self.detach + later

    @property
    def changes_at(self) -> Counter[datetime]:
        """How many instances it would change at each later time."""
        totals = (Counter({moment.at: counts.total()}) for moment, counts in self.later.items())
        return sum(totals, Counter[datetime]())

    @property
    def moments(self) -> list[Moment]:
        """The later moments, those of the most changes first."""
        return sorted(self.later, key=lambda moment: (-self.later[moment].total(), moment.at, str(moment)))

    @property
    def later_in_words(self) -> list[str]:
        """What it would do at the later moments of the most changes, and at all others together."""
        named, others = self.moments[:MOMENTS], self.moments[MOMENTS:]
        rest = sum((self.later[moment] for moment in others), Counter[Action]())
        phrases = [f"{moment}, {_counts_of(self.later[moment])}" for moment in named]
        return [*phrases, f"{len(others):,} more moments, {_counts_of(rest)}"] if others else phrases

    def add(self, observed: Observation, edit: Edit, ownership: Ownership) -> None:
        """Add one instance, deciding with what is published and with the candidate in its place."""
        if observed.instance is None or observed.instance.ended:
            return
        self.seen += 1
        association, grant = observed.association, observed.grant
        if association and association.state is AssociationState.DISASSOCIATING:
            # As it will be once EC2 is done.
            association, grant = None, observed.record.grants.get(NO_PROFILE)
        running = replace(observed.instance, state=InstanceState.RUNNING)
        observed = replace(observed, instance=running, association=association, grant=grant)
        changed = False
        for moment, action, move in _changes(edit, observed, ownership):
            self.count(action, moment, only=not changed)
            changed = True
            if move:
                self._moved(move)

    def count(self, action: Action, moment: Moment | None, count: int = 1, *, only: bool) -> None:
        """Count a change now, or at a later moment, which is the `only` one of its instances so far."""
        if not moment:
            self.attach += action is Action.ATTACH
            self.replace += action is Action.REPLACE
            self.detach += action is Action.DETACH
        elif count:
            self.later.setdefault(moment, Counter())[action] += count
            self.only_later += count if only else 0

    def include(self, other: "Impact") -> None:
        self.seen += other.seen
        self.attach += other.attach
        self.replace += other.replace
        self.detach += other.detach
        for moment, counts in other.later.items():
            self.later.setdefault(moment, Counter()).update(counts)
        self.only_later += other.only_later
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
        return f"{self.extent}; {self.permissions}" if self.changes else self.extent

    @property
    def permissions(self) -> str:
        """Which permissions instances would gain and lose."""
        return in_words(self.difference, WORDS)

    @property
    def extent(self) -> str:
        """What it would do to how many instances, without the permissions."""
        now = Counter({Action.ATTACH: self.attach, Action.REPLACE: self.replace, Action.DETACH: self.detach})
        counts = f"{_counts_of(now) or 'change no'} {'instances' if now.total() > 1 else 'instance'}"
        counts += "".join(f", and at {text}" for text in self.later_in_words)
        if self.fleet is not None:
            number = f"{self.changes:,} of {self.fleet:,}; {self.allowed:,}"
            if self.took:
                counts += f", and other edits change {self.took:,} within the same {self.minutes} minutes"
                number = f"{self.changes + self.took:,} together; {self.allowed:,} of {self.fleet:,}"
            counts += f" ({number} may change without approval)"
        counts += f"; {self.alone}" if self.alone else ""
        if self.severe:
            counts = f"{as_many('give severe permissions:', self.severe, WORDS)}; it would {counts}"
        return counts

    def document(self) -> dict[str, Any]:
        counts: dict[str, Any] = {"attach": self.attach, "replace": self.replace, "detach": self.detach}
        if self.later:
            counts["only_later"] = self.only_later
            counts["later"] = [
                {"at": moment.at.isoformat(), "expires": str(moment.expires or "")}
                | {action.value.lower(): self.later[moment][action] for action in _COUNTED}
                for moment in self.moments[:KEPT_MOMENTS]
            ]
        gained, lost, unknown = self.difference.gained, self.difference.lost, self.difference.unknown
        named = {"gained": gained, "lost": lost, **({"severe": self.severe} if self.severe else {})}
        shown = {name: [phrase[:PHRASE] for phrase in phrases[:PHRASES]] for name, phrases in named.items()}
        return counts | shown | ({"unknown": unknown[:PHRASE]} if unknown else {})


def _changes(
    edit: Edit, observed: Observation, ownership: Ownership
) -> Iterator[tuple[Moment | None, Action, tuple[str, str] | None]]:
    """Yield when and how an edit changes an instance, and from what to what, beyond what comes by then anyway.

    An edit that only delays a change isn't counted for it. A candidate whose role can't be used in this account yet
    takes the former role once it can, when nobody is asked again; its own permissions aren't known.
    """
    usable, owed = replace(edit.candidate, suspended_because=""), Counter[tuple[str, str, bool]]()
    was, would = _SimulatedInstance(edit, edit.published, observed), _SimulatedInstance(edit, usable, observed)
    for moment in (None, *edit.moments(observed)):
        at, carried, met = moment.at if moment else edit.at, would.carries, would.observed
        before, after = was.decided(at, ownership), would.decided(at, ownership)
        if before.action.mutates:
            owed[before.action, before.profile_arn, before.quarantines] += 1
        if after.code == "mapping-missing" != before.code and carried:
            # The mapping that gave the role can't be found. Once its record is repaired, this candidate detaches.
            after = replace(after, action=Action.DETACH, profile_arn="")
            would.observed = replace(would.observed, association=None, grant=None)
        suspended = edit.candidate.suspended_because and after.mapping == edit.candidate.key
        if suspended and after.action is Action.ATTACH:
            would.observed = met  # nothing is taken
        elif after.action.mutates and not _spent(owed, after):
            yield moment, after.action, None if suspended else (carried, would.carries)


def _spent(owed: Counter[tuple[str, str, bool]], decision: Decision) -> bool:
    """Spend a change that is owed, if it is. A quarantine is more than a role that is given up."""
    for quarantines in (decision.quarantines, True):
        if owed[what := (decision.action, decision.profile_arn, quarantines)]:
            owed[what] -= 1
            return True
    return False


def _counts_of(counts: Counter[Action]) -> str:
    """Return such as `attach 3 and detach 1`; empty if nothing changes."""
    found = [f"{action.value.lower()} {counts[action]:,}" for action in _COUNTED if counts[action]]
    return " and ".join(filter(None, (", ".join(found[:-1]), *found[-1:])))


def gains(
    policies: PolicyReader,
    candidate: PublishedMapping,
    published: PublishedMapping | None,
    *,
    impact: Impact,
    gives: bool,
) -> tuple[Gain, ...]:
    """Return what comes and goes, in one account, with each move from a role to another that an edit makes.

    And with the move of an instance that comes to match, if the candidate `gives` its role there: without consent in
    what is `published`, none had a broad role. What IAM refuses is no error: the difference says it.
    """
    consented = published.profile_arn if published and published.spec.allow_broad else ""
    moves = [move for move, _ in impact.moves.most_common()]
    compared = set(moves[:COMPARED])
    if gives and not candidate.deleted:
        moves.append((consented, candidate.profile_arn))
    found: list[Gain] = []
    for was, to in dict.fromkeys(moves):
        # The candidate's own profile may not exist yet; it will hold the candidate's role.
        then = candidate.spec.role if to and to == candidate.profile_arn else to
        difference = policies.difference(was, then) if (was, to) in compared else Difference()
        found.append(Gain(was, to, policies.severe_gain(was, then), difference=difference))
    return tuple(found)


def with_permissions(impact: Impact, gained: Collection[Gain]) -> Impact:
    """Return the impact with the permissions gained and lost in all accounts."""
    known = {(gain.before, gain.after): gain.difference for gain in gained}
    found = [known[move] for move, _ in impact.moves.most_common(COMPARED) if move in known]
    severe = tuple(dict.fromkeys(chain.from_iterable(gain.severe for gain in gained)))
    return replace(impact, difference=Difference.of_all(found), severe=severe)


def within_limits(
    impact: Impact, limits: Limits, took: int, *, shares: Mapping[Target, int], sizes: Mapping[Target, int]
) -> Impact:
    """Return the impact with what may change without approval, of the `sizes` of all targets.

    Other edits `took` this many changes in the window; `shares` of the changes are each target's, if there are several.
    """
    impact = replace(impact, took=took, minutes=limits.minutes, allowed=limits.per_edit)
    if not impact.exceeds:
        return impact
    fleet = sum(sizes.values())
    beyond: list[str] = []
    for target, changes in shares.items():
        if changes > limits.per_edit and changes > (allowed := limits.allowed(sizes[target])):
            text = f"of the {sizes[target]:,} in {target} it would change {changes:,}"
            beyond.append(f"{text} ({allowed:,} may change without approval)")
    alone, more = "".join(beyond[:1]), len(beyond) - 1
    alone += f", and too many in {more:,} more target{'s' if more > 1 else ''}" if more > 0 else ""
    return replace(impact, fleet=fleet, allowed=limits.allowed(fleet), alone=alone)


@dataclass(slots=True)
class Conflict:
    """Another mapping of equal priority wants another role for `count` instances; a `new` one isn't there yet.

    `elsewhere`: only in other targets, so `other` may be published for another account.
    """

    other: PublishedMapping
    instances: list[str] = field(default_factory=list)
    count: int = 0
    new: bool = False
    elsewhere: bool = False

    @property
    def reason(self) -> Reason:
        spec, on = self.other.spec, self.instances if self.count else []
        more = self.count - NAMED if self.count > NAMED else None
        named = {"mapping": str(spec.key), "priority": spec.priority, "role": spec.role}
        return ReasonCode.CONFLICT(**named, instances=on, more=more)

    def add(self, *instance_ids: str, new: bool, count: int = 1) -> None:
        self.count += count
        self.new |= new
        # The first by id: the same conflict then reads the same in whatever order EC2's pages come.
        self.instances = sorted([*self.instances, *instance_ids])[:NAMED]


class Conflicts(dict[MappingKey, Conflict]):
    """The conflicts of one mapping, by the other mapping's key."""

    @property
    def new(self) -> bool:
        return any(conflict.new for conflict in self.values())

    @property
    def largest_first(self) -> list[Conflict]:
        return sorted(self.values(), key=lambda conflict: (-conflict.count, conflict.other.key))

    @property
    def reasons(self) -> list[Reason]:
        more = [ReasonCode.MORE_CONFLICTS(number=len(self) - NAMED)] if len(self) > NAMED else []
        return [*(conflict.reason for conflict in self.largest_first[:NAMED]), *more, ReasonCode.GIVE_PRIORITY()]

    def add_possible(
        self,
        candidate: PublishedMapping,
        published: PublishedMapping | None,
        rivals: Iterable[PublishedMapping],
        *,
        now: datetime,
    ) -> None:
        """Add the conflicts with rivals that an instance could meet, though none does today."""
        for other in rivals:
            if could_conflict(candidate, other, now):
                self.of(other).new |= not (published and could_conflict(published, other, now))

    def of(self, other: PublishedMapping) -> Conflict:
        return self.setdefault(other.key, Conflict(other))

    def include(self, others: "Conflicts") -> None:
        for conflict in others.values():
            known = self.setdefault(conflict.other.key, Conflict(conflict.other, elsewhere=True))
            known.add(*conflict.instances, new=conflict.new, count=conflict.count)


def could_conflict(one: PublishedMapping, other: PublishedMapping, now: datetime) -> bool:
    """Return whether some instance could carry the tags of both and be in the scope of both."""
    a, b = one.spec, other.spec
    if a.key == b.key or a.priority != b.priority or one.wants == other.wants:
        return False
    if one.is_idle(now) or other.is_idle(now):
        return False
    if not a.could_meet(b):
        return False
    # One set of tags has to satisfy every demand of both.
    asked: dict[str, str] = {}
    for spec in (a, b):
        for key, value in ((spec.key.tag_key, spec.key.tag_value), *spec.require_tags.items()):
            if value != ANY_VALUE and asked.setdefault(key, value) != value:
                return False
    return True


@dataclass(slots=True)
class Scan:
    """What a pass over the instances that a mapping concerns found.

    The candidate would govern `matched` of them, what is published governs `published_matched`. Of the former `foreign`
    carry a foreign role, some as `nodes` of these services; `profile_ids` are carried under the candidate's own ARN.
    """

    matched: int = 0
    published_matched: int = 0
    conflicts: Conflicts = field(default_factory=Conflicts)
    foreign: int = 0
    nodes: set[str] = field(default_factory=set)
    profile_ids: set[str] = field(default_factory=set)
    impact: Impact = field(default_factory=Impact)

    def add(self, observed: Observed, published: Ranked, candidate: Ranked, *, ownership: Ownership) -> None:
        """Add one instance that the candidate concerns: what it carries, and how its mappings rank."""
        (present, before), (mapping, after), instance = published, candidate, observed.instance
        assert mapping is not None  # it is what this is about
        assert instance is not None  # EC2 knows it
        # What one with a damaged record carries isn't looked at.
        association = observed.association if isinstance(observed, Observation) else None
        self.published_matched += present is not None and before.winner is present
        carries = association is not None and association.profile_arn == mapping.profile_arn
        if association and carries:
            # Whichever mapping governs it now: this one may after the next edit.
            self.profile_ids.add(association.profile_id)
        if after.winner is mapping:
            self.matched += 1
            # A role that is going isn't in the way, and an AWS service's instance isn't the mapping's.
            stays = association and association.state is not AssociationState.DISASSOCIATING and not instance.managed_by
            if association and not carries and stays and not ownership.manages(association.profile_arn):
                self.foreign += 1
                self.nodes |= {node_of(instance, association.profile_arn)} - {""}
        if mapping in after.in_conflict:
            for other in after.in_conflict:
                if other.wants != mapping.wants:
                    there_already = present in before.in_conflict and other in before.in_conflict
                    self.conflicts.of(other).add(instance.key.id, new=not there_already)

    @property
    def counts(self) -> tuple[int, int]:
        """How many instances it would govern, and how many of those carry a foreign role."""
        return self.matched, self.foreign

    def include(self, other: "Scan") -> None:
        """Add what was found in another target; the profiles are each account's own."""
        self.matched += other.matched
        self.published_matched += other.published_matched
        self.foreign += other.foreign
        self.nodes |= other.nodes
        self.conflicts.include(other.conflicts)
        self.impact.include(other.impact)

    def about_foreign(self, *, taken: bool) -> list[Reason]:
        """Describe the foreign roles without a number, as that changes with the fleet."""
        code = ReasonCode.FOREIGN_ROLES_TAKEN_OVER if taken else ReasonCode.FOREIGN_ROLES_STAY
        return [code(nodes=" and ".join(sorted(self.nodes)))] if self.foreign else []


@dataclass(frozen=True)
class ImpactScanner:
    """Scans for mappings that are about to be published; made for each invocation, as it counts the fleet once."""

    ec2: Ec2
    state: State
    table: MappingTable
    limits: Limits
    ownership: Ownership

    @cached_property
    def fleet(self) -> int:
        """How many instances of the account and Region haven't ended."""
        return sum(not instance.ended for page in self.ec2.fleet() for instance in page)

    def scan(self, edit: Edit, given: Collection[str] = ()) -> Scan:
        """Scan every instance that an edit concerns.

        Those are the instances with its tag, and if `given` names profiles, by the ARN in any account, those that carry
        one of them.
        """
        found, published, candidate = Scan(), edit.published, edit.candidate
        for page in self._concerned(edit, given):
            for observed in observe_page(page, self.ec2, self.state, now=edit.at):
                # One with a damaged record can't be reconciled, so it has no impact. It counts as governed all the
                # same, if its mappings can be read.
                if observed.published is None:
                    continue
                before, after = (edit.ranked(observed, mapping, edit.at) for mapping in (published, candidate))
                found.add(observed, (published, before), (candidate, after), ownership=self.ownership)
                if isinstance(observed, Observation):
                    found.impact.add(observed, edit, self.ownership)
        return found

    def _concerned(self, edit: Edit, given: Collection[str]) -> Iterator[list[Instance]]:
        key, account = edit.candidate.key, self.ec2.account
        yield from self.ec2.tagged(key)
        present = edit.published.profile_arn if edit.published else ""
        if given and (profiles := {present, *(in_account(arn, account) for arn in given)} - {""}):
            for page in self.ec2.carrying(sorted(profiles)):
                yield [instance for instance in page if not key.matches(instance.tags)]

    def rivals(self, key: MappingKey, stored: StoredMapping) -> Iterator[PublishedMapping]:
        """Read the other published mappings of a tag key that an instance could meet together with this one.

        An exact row meets only the `*` row, but that one meets them all.
        """
        if key.tag_value != ANY_VALUE:
            yield from filter(None, [stored.any_value])
            return
        for keys in self.table.keys_of(key.tag_key):
            snapshot = self.state.read([], keys)
            for damaged in snapshot.damaged.values():
                raise damaged
            yield from snapshot.published.values()
