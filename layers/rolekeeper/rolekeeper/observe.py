"""Reading the truth about instances, in the order that makes the association id a lock.

The association first, then tags and state, then the mappings: whoever read an older wish holds an older id, and EC2
refuses it. A batch costs two EC2 reads and one DynamoDB read, however many mappings there are.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from rolekeeper.contest import ContestRule, undoings
from rolekeeper.decide import ENDED, decide
from rolekeeper.ec2 import Ec2, ids_of
from rolekeeper.errors import DamagedError
from rolekeeper.model import (
    IGNORE_TAG,
    Action,
    Assignment,
    Association,
    Candidates,
    Control,
    Decision,
    Instance,
    InstanceKey,
    InstanceRecord,
    Intent,
    MappingKey,
    Mode,
    Pin,
    PublishedMapping,
    Undone,
    Withheld,
)
from rolekeeper.ownership import NOTHING, assignment_for, settled_intents
from rolekeeper.pins import ended
from rolekeeper.resolve import mapping_keys, resolve
from rolekeeper.state import Snapshot, State

NO_CANDIDATES = Candidates()


@dataclass(frozen=True, slots=True)
class Observation:
    """All that one decision rests on. `instance` is None when EC2 doesn't know it (yet, or any more).

    `asked_at` is when EC2 was asked for the association, before all else. `published` are the mappings for its tags,
    `candidates` the same ranked, under its `pin`; `owner` is the mapping of its assignment.
    """

    key: InstanceKey
    asked_at: datetime
    instance: Instance | None
    association: Association | None
    recorded: bool
    record: InstanceRecord
    control: Control
    assignment: Assignment | None = None
    candidates: Candidates = NO_CANDIDATES
    owner: PublishedMapping | None = None
    published: tuple[PublishedMapping, ...] = ()
    pin: Pin | None = None

    def decision(self, deployed_mode: Mode, contest: ContestRule) -> Decision:
        """What to do: the pure decision, withheld where somebody else contests it, while paused or only observing."""
        if self.instance is None:
            return Decision(Action.NOTHING, "gone", "EC2 doesn't know the instance")
        decided = decide(self.instance, self.association, self.assignment, self.candidates, self.owner)
        if decided.action.mutates and contest.contested(undone := self.undoings(decided)):
            decided = _contested(decided, undone)
        withheld = self.control.withholds(deployed_mode)
        if withheld and decided.action.mutates:
            return _withheld(decided, withheld)
        if withheld and self.control.paused:
            # Whoever asks why sees that Rolekeeper is paused, even where there is nothing to do.
            return replace(decided, reason=f"{withheld.reason}; {decided.reason}")
        return decided

    def undoings(self, decision: Decision) -> tuple[Undone, ...]:
        """How often somebody else undid this very change, oldest first."""
        return undoings(self.record, decision, self.association, self.asked_at)

    @property
    def tags_read(self) -> frozenset[str]:
        """The keys of the tags that a mapping for this instance reads, or Rolekeeper itself."""
        mapped = {name for each in self.published for name in (each.key.tag_key, *each.spec.require_tags)}
        return frozenset(mapped | {IGNORE_TAG})

    @property
    def ended(self) -> bool:
        """Whether EC2 shows the instance as ended: nothing that was written for it is of use any more."""
        return self.instance is not None and self.instance.state in ENDED

    @property
    def outdated(self) -> bool:
        """Whether somebody who looked later already said what the instance shows: the record is read last."""
        standing = self.record.standing
        return standing is not None and standing.since > self.asked_at

    @property
    def settled(self) -> list[Intent]:
        """The open intents that can no longer change anything."""
        return settled_intents(self.record, self.association, self.asked_at)

    @property
    def unrecorded(self) -> Assignment | None:
        """An assignment that only an open intent proves: a crash lost its record."""
        ours = self.assignment
        return ours if ours and ours.association_id not in self.record.assignments else None

    def to_record(self, decision: Decision) -> Assignment | None:
        """The assignment to write although nothing has to change at EC2, if any."""
        ours = self.assignment
        if ours and decision.code == "converged" and decision.mapping and decision.mapping != ours.mapping:
            return replace(ours, mapping=decision.mapping, revision=decision.revision)
        return None if _in_vain(ours, decision) else self.unrecorded

    def shows(self, decision: Decision) -> bool:
        """Whether the instance already shows this very decision."""
        standing = self.record.standing
        return standing is not None and standing.fingerprint == decision.fingerprint

    def remembers_in_vain(self, decision: Decision) -> bool:
        """Whether the record still holds what a mapping to `NONE` took, although nothing will put it back."""
        remembered = self.record.assignments.get(NOTHING)
        return remembered is not None and (self.association is not None or _in_vain(remembered, decision))

    def given_up(self, decision: Decision) -> bool:
        """Whether the record still tells of changes and who undid them, though nothing governs the instance now."""
        return decision.wish is None and bool(self.record.made or self.record.undone)

    def _has_its_turn(self, decision: Decision, now: datetime) -> bool:
        """Whether this very change waits for room in its mapping's window: its timer rings when its turn comes."""
        standing = self.record.standing
        if standing is None or standing.loop_until is None or standing.loop_until <= now:
            return False
        return self.shows(waits_for_room(decision, standing.loop_until))

    def needs_work(self, decision: Decision, now: datetime) -> bool:
        """Whether a reconcile would do or write anything: what the sweep sends."""
        standing = self.record.standing
        if decision.action.mutates:
            return not self._has_its_turn(decision, now)
        if decision.code in ("gone", "ended"):
            return self.recorded or (self.ended and self.pin is not None)
        if self.settled or self.to_record(decision):
            return True
        if decision.action is Action.NOTHING:
            return bool(standing or self.remembers_in_vain(decision) or self.given_up(decision))
        if decision.polls:
            return not (standing and standing.loop_until and standing.loop_until > now)
        return not self.shows(decision)


def _in_vain(ours: Assignment | None, decision: Decision) -> bool:
    """Whether an assignment to carry no role has ended: its mapping governs no more and gives nothing back."""
    return ours is not None and ours.association_id == NOTHING and decision.code == "unmatched"


def observe(keys: Sequence[InstanceKey], ec2: Ec2, state: State, now: datetime) -> dict[InstanceKey, Observation]:
    """Observe these instances: two EC2 reads, one DynamoDB read (a second one only where a mapping lost its tag)."""
    ids = [key.id for key in keys]
    associations = ec2.associations(ids)
    return complete(keys, associations, ec2.instances(ids), state, now)


def observe_page(
    page: Sequence[Instance],
    ec2: Ec2,
    state: State,
    now: datetime,
    damaged: Callable[[Instance, DamagedError], None],
) -> Iterator[Observation]:
    """Observe a page of instances that EC2 just described: one more EC2 read, one DynamoDB read.

    The association is read after tags and state here, so a change that is decided on it is a hint and no more.

    Args:
        page: the instances.
        ec2: for their associations.
        state: the state table.
        now: when the page was asked for.
        damaged: takes each instance with an item in the state table that isn't what we wrote; the others are observed.
    """
    if not page:
        return
    associations, known = ec2.associations(ids_of(page)), {each.key.id: each for each in page}
    try:
        yield from complete([each.key for each in page], associations, known, state, now).values()
    except DamagedError:
        # One damaged item must not keep the others from being seen: each by itself.
        for each in page:
            try:
                yield complete([each.key], associations, {each.key.id: each}, state, now)[each.key]
            except DamagedError as error:
                damaged(each, error)


def complete(
    keys: Iterable[InstanceKey],
    associations: Mapping[str, Association],
    instances: Mapping[str, Instance],
    state: State,
    now: datetime,
) -> dict[InstanceKey, Observation]:
    """Add what the state table knows to what EC2 answered since `now`."""
    keys = list(keys)
    wanted = {mapping for each in instances.values() for mapping in mapping_keys(each.tags)}
    snapshot = state.read(keys, sorted(wanted))
    observations = {
        key: _with_candidates(snapshot, key, instances.get(key.id), associations.get(key.id), now) for key in keys
    }
    return _with_owners(observations, wanted, snapshot, state)


def _with_candidates(
    snapshot: Snapshot, key: InstanceKey, instance: Instance | None, association: Association | None, now: datetime
) -> Observation:
    published: tuple[PublishedMapping, ...] = ()
    if instance:
        read = (snapshot.published.get(mapping) for mapping in mapping_keys(instance.tags))
        published = tuple(mapping for mapping in read if mapping)
    record, pin = snapshot.record(key), snapshot.pins.get(key)
    return Observation(
        key=key,
        asked_at=now,
        instance=instance,
        association=association,
        recorded=key in snapshot.records,
        record=record,
        control=snapshot.control,
        assignment=assignment_for(record, association, now),
        candidates=resolve(instance, published, now, pin) if instance else NO_CANDIDATES,
        published=published,
        pin=pin,
    )


def _with_owners(
    observations: dict[InstanceKey, Observation], asked: set[MappingKey], snapshot: Snapshot, state: State
) -> dict[InstanceKey, Observation]:
    """Add the mapping of each assignment; where no mapping governs any more, it may have to be read by itself.

    One that was asked for already is never read again: what was published since would make an owner whose instances
    it doesn't seem to govern.
    """
    owned = {key: each.assignment.mapping for key, each in observations.items() if each.assignment}
    orphans = {
        mapping
        for key, mapping in owned.items()
        if not observations[key].candidates.winner and not observations[key].candidates.tied
    }
    over = {mapping: ended(mapping) for mapping in owned.values() if mapping.pins}
    unread = sorted(orphans - asked - set(over))
    published = {**snapshot.published, **over, **(state.read((), unread).published if unread else {})}
    return observations | {
        key: replace(observations[key], owner=published.get(mapping)) for key, mapping in owned.items()
    }


def _contested(decision: Decision, undone: Sequence[Undone]) -> Decision:
    others = {each.association_id: each.profile_arn for each in undone}
    left = ", ".join(f"{id_} with {arn}" if id_ else "no association" for id_, arn in others.items())
    reason = (
        f"somebody else undid this change {len(undone)} times, leaving {left}; it is left alone until its mapping, "
        f"its tags or a pin changes, or rolekeeper release. It would {decision.action.value.lower()}: {decision.reason}"
    )
    return replace(decision, action=Action.HOLD, code="contested", reason=reason)


def waits_for_room(decision: Decision, until: datetime) -> Decision:
    """The same, waiting until its mapping may change more instances."""
    reason = (
        f"{decision.mapping} has changed as many instances in a while as it may without approval; this one waits "
        f"until there is room, and then: {decision.reason}"
    )
    return replace(decision, action=Action.WAIT, code="window", reason=reason, until=until)


def _withheld(decision: Decision, withheld: Withheld) -> Decision:
    return replace(
        decision,
        action=Action.HOLD,
        code=withheld.code,
        reason=f"{withheld.reason}; it would {decision.action.value.lower()}: {decision.reason}",
    )
