"""Reading the truth about instances, in the order that makes the association id a lock.

The association first, then tags and state, then the mappings. So a decision by older tags has an older id, which EC2
refuses.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from rolekeeper.aws import Ec2
from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper.instances.decide import Case, decide, mapping_keys, resolve
from rolekeeper.instances.deferral import waits_for_room
from rolekeeper.instances.window import ChangeLimiter
from rolekeeper.model.instance import (
    NO_PROFILE,
    Action,
    Association,
    Candidates,
    Condition,
    Decision,
    Grant,
    Instance,
    InstanceKey,
    InstanceRecord,
)
from rolekeeper.model.mapping import IGNORE_TAG, PIN_TAG, Control, MappingKey, MappingSpec, Pin, PublishedMapping
from rolekeeper.settings import Settings
from rolekeeper.storage import State
from rolekeeper.storage.state import Snapshot

if TYPE_CHECKING:
    from rolekeeper.permissions.roles import Roles  # to check a pin, which few instances have

# How long after a change its follow-up is due: EC2 associates within seconds, and then shows it everywhere.
FOLLOW_UP = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class Observation:
    """All that one decision depends on. `instance` is None if EC2 doesn't know it, yet or no longer.

    `asked_at` is when EC2 was asked for the association, before everything else. `published` are the mappings for its
    tags. `grant` explains what it carries, `owner` is the grant's mapping.
    """

    key: InstanceKey
    asked_at: datetime
    instance: Instance | None
    association: Association | None
    recorded: bool
    record: InstanceRecord
    control: Control
    grant: Grant | None = None
    candidates: Candidates = field(default_factory=Candidates)
    owner: PublishedMapping | None = None
    published: tuple[PublishedMapping, ...] = ()
    pin: Pin | None = None

    def decision(self, settings: Settings) -> Decision:
        """What to do: the pure decision; on hold if it is contested, or while paused, observing or not yet swept."""
        if self.instance is None:
            return Decision(Action.NOTHING, "gone", "EC2 doesn't know the instance")
        case = Case(
            self.instance,
            self.association,
            self.grant,
            candidates=self.candidates,
            owner=self.owner,
            ownership=settings.ownership,
        )
        decided = decide(case)
        would = f"would {decided.action.value.lower()}: {decided.reason}"
        same = self.record.repeated(decided.desired)
        if decided.action.mutates and settings.contention.contended(same):
            reason = (
                f"another actor reverted this change {len(same)} times; it is left alone until its mapping, its tags "
                f"or a pin changes, or rolekeeper release. It {would}"
            )
            decided = replace(decided, action=Action.HOLD, code="contested", reason=reason)
        withheld = self.control.withholds(settings.mode)
        if withheld and decided.action.mutates:
            reason, arguments = f"{withheld.reason}; it {would}", (*decided.arguments, self.control.unclear)
            return replace(decided, action=Action.HOLD, code=withheld.code, reason=reason, arguments=arguments)
        if withheld and self.control.paused:
            # The reason says that Rolekeeper is paused, even if there is nothing to do.
            return replace(decided, reason=f"{withheld.reason}; {decided.reason}")
        return decided

    @property
    def tags_read(self) -> frozenset[str]:
        """The keys of the tags that a mapping for it reads, or Rolekeeper itself; any other may hold a secret."""
        mappings = [*self.published, *([self.owner] if self.owner else [])]
        read = (name for each in mappings for name in (each.key.tag_key, *each.spec.require_tags))
        return frozenset({IGNORE_TAG, *read})

    @property
    def outdated(self) -> bool:
        """Whether a later observation already wrote what the instance shows: the record is read last."""
        condition = self.record.condition
        return condition is not None and condition.since > self.asked_at

    def shown(self, decision: Decision) -> Condition | None:
        """What the instance shows, if that is exactly this decision."""
        condition = self.record.condition
        return condition if condition and condition.fingerprint == decision.fingerprint else None

    def watched_until(self, now: datetime) -> datetime | None:
        """Until when a retry loop or a timer watches it; None where none does."""
        until = self.record.condition.watched_until if self.record.condition else None
        return until if until and until > now else None

    def turn(self, decision: Decision, now: datetime) -> datetime | None:
        """When exactly this change has its turn, if it waits for room in the window."""
        until = self.watched_until(now)
        return until if until and self.shown(waits_for_room(decision, until)) else None

    def left_turn(self, ended: Decision, now: datetime) -> datetime | None:
        """The turn for which it waited and doesn't any longer, as a look ended with another decision."""
        condition = self.record.condition
        waited = condition is not None and condition.code == "window" and not self.shown(ended)
        return self.watched_until(now) if waited else None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An instance that can't be decided on. `published` are the mappings for its tags, where all can be read."""

    key: InstanceKey
    instance: Instance | None
    error: AwsRefusalError
    published: tuple[PublishedMapping, ...] | None = None


type Observed = Observation | Unreadable


def observe(  # noqa: PLR0913  # what is read, and for whom
    keys: Sequence[InstanceKey],
    ec2: Ec2,
    state: State,
    now: datetime,
    described: Mapping[str, Instance] | None = None,
    *,
    counters: ChangeLimiter | None = None,
) -> dict[InstanceKey, Observed]:
    """Two EC2 reads, or one of what is `described`; one DynamoDB read, and a second where a mapping lost its tag.

    The same read brings what `counters` count.
    """
    ids = [key.id for key in keys]
    associations = ec2.associations(ids)
    instances = ec2.instances(ids) if described is None else described
    wanted = {mapping: None for each in instances.values() for mapping in mapping_keys(each.tags)}
    snapshot = state.read(keys, wanted, checked=True, counters=counters.keys if counters else ())
    if counters:
        counters.observed(snapshot.counters)
    observed = {
        key: _joined(snapshot, key, instances.get(key.id), association=associations.get(key.id), now=now)
        for key in keys
    }
    return _with_owners(observed, wanted.keys(), snapshot, state=state)


def observe_page(page: Sequence[Instance], ec2: Ec2, state: State, now: datetime) -> list[Observed]:
    """Observe instances that EC2 has just described: before their associations, so what is decided is a hint only."""
    described = {each.key.id: each for each in page}
    return list(observe([each.key for each in page], ec2, state, now=now, described=described).values()) if page else []


def _joined(
    snapshot: Snapshot, key: InstanceKey, instance: Instance | None, association: Association | None, now: datetime
) -> Observed:
    mappings = mapping_keys(instance.tags) if instance else []
    published = tuple(found for mapping in mappings if (found := snapshot.published.get(mapping)))
    if damaged := next((snapshot.damaged[mapping] for mapping in mappings if mapping in snapshot.damaged), None):
        return Unreadable(key, instance, damaged)
    if key in snapshot.damaged:
        return Unreadable(key, instance, snapshot.damaged[key], published=published)
    record, pin = snapshot.record(key), snapshot.pins.get(key)
    return Observation(
        key=key,
        asked_at=now,
        instance=instance,
        association=association,
        recorded=key in snapshot.records,
        record=record,
        control=snapshot.control,
        grant=record.grants.get(association.profile_arn if association else NO_PROFILE),
        candidates=resolve(instance, published, now, pin=pin) if instance else Candidates(),
        published=published,
        pin=pin,
    )


def _with_owners(
    observed: dict[InstanceKey, Observed], asked: AbstractSet[MappingKey], snapshot: Snapshot, state: State
) -> dict[InstanceKey, Observed]:
    """Add the mapping of each grant, with a second read if no mapping governs the instance now.

    No mapping is read twice: one published between the reads would own an instance that it doesn't seem to govern.
    """
    owned = [(each, each.grant.mapping) for each in observed.values() if isinstance(each, Observation) and each.grant]
    orphans = {owner for each, owner in owned if not each.candidates.winner and not each.candidates.in_conflict}
    # A pin that was released or has expired leaves nothing else; a person meant that.
    over = {owner: PublishedMapping(MappingSpec(owner, ""), 0, "") for _, owner in owned if owner.pins}
    unread = sorted(orphans - asked - set(over))
    late = state.read((), unread) if unread else Snapshot()
    published = {**snapshot.published, **over, **late.published}
    damaged = {**snapshot.damaged, **late.damaged}
    for each, owner in owned:
        if error := damaged.get(owner):
            observed[each.key] = Unreadable(each.key, each.instance, error, published=each.published)
        else:
            observed[each.key] = replace(each, owner=published.get(owner))
    return observed


def checked_pin(pin: Pin, roles: "Roles", now: datetime) -> Pin:
    """The same, `unclear` if its role can't be given or isn't its profile's, as a row would be rejected for that."""
    if pin.unclear or not pin.profile_arn or pin.expired(now):
        return pin
    name = pin.profile_arn.rpartition("/")[2]
    check = roles.check(MappingSpec(MappingKey(PIN_TAG, ""), pin.role, name, allow_broad=pin.allow_broad))
    other = check.missing or check.profile_arn != pin.profile_arn
    problem = check.problem or (f"{pin.profile_arn} doesn't hold role '{pin.role}'" if other else "")
    return replace(pin, unclear=f"the pin can't be used: {problem}" if problem else "")
