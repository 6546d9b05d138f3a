"""Reading the truth about instances, in the order that makes the association id a lock.

The association first, then tags and state, then the mappings: a decision by older tags has an older id, which EC2
refuses.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from rolekeeper.aws import Ec2
from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper.instances.decide import Observation, mapping_keys, pin_over, resolve
from rolekeeper.instances.pace import Pace
from rolekeeper.instances.window import ChangeLimiter
from rolekeeper.model.instance import NO_PROFILE, Association, Candidates, Instance, InstanceKey
from rolekeeper.model.mapping import PIN_TAG, MappingKey, MappingSpec, Pin, PublishedMapping
from rolekeeper.storage import State
from rolekeeper.storage.state import Snapshot

if TYPE_CHECKING:
    from rolekeeper.permissions.roles import Roles  # to check a pin, which few instances have


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An instance that can't be decided on. `published` are the mappings for its tags, if all can be read."""

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
    counters: Sequence[ChangeLimiter | Pace] = (),
) -> dict[InstanceKey, Observed]:
    """Read EC2 twice, once if instances are `described`, and DynamoDB with its `counters`, twice for a lost tag."""
    ids = [key.id for key in keys]
    associations = ec2.associations(ids)
    instances = ec2.instances(ids) if described is None else described
    wanted = {mapping: None for instance in instances.values() for mapping in mapping_keys(instance.tags)}
    snapshot = state.read(keys, wanted, checked=True, counters=[key for each in counters for key in each.keys])
    for each in counters:
        each.known = {key: snapshot.counters[key] for key in each.keys}
    observed = {
        key: _joined(snapshot, key, instances.get(key.id), association=associations.get(key.id), now=now)
        for key in keys
    }
    orphans = [seen for seen in observed.values() if isinstance(seen, Observation) and seen.grant and not seen.owner]
    return observed | _with_owners(orphans, wanted.keys(), snapshot, state=state) if orphans else observed


def observe_page(page: Sequence[Instance], ec2: Ec2, state: State, now: datetime) -> list[Observed]:
    """Observe instances that EC2 has just described, before their associations: a decision on them is only a hint."""
    if not page:
        return []
    described = {instance.key.id: instance for instance in page}
    return list(observe([instance.key for instance in page], ec2, state, now=now, described=described).values())


def _joined(
    snapshot: Snapshot, key: InstanceKey, instance: Instance | None, association: Association | None, now: datetime
) -> Observed:
    mappings = mapping_keys(instance.tags) if instance else []
    published = tuple(found for mapping in mappings if (found := snapshot.published.get(mapping)))
    if snapshot.damaged:  # nearly never: a look-up of each mapping takes its time
        if damaged := next((snapshot.damaged[mapping] for mapping in mappings if mapping in snapshot.damaged), None):
            return Unreadable(key, instance, damaged)
        if key in snapshot.damaged:
            return Unreadable(key, instance, snapshot.damaged[key], published=published)
    record, pin = snapshot.record(key), snapshot.pins.get(key)
    grant = record.grants.get(association.profile_arn if association else NO_PROFILE)
    return Observation(
        key=key,
        asked_at=now,
        instance=instance,
        association=association,
        record=record,
        control=snapshot.control,
        grant=grant,
        candidates=resolve(instance, published, now, pin=pin) if instance else Candidates(),
        owner=snapshot.published.get(grant.mapping) if grant else None,
        published=published,
        pin=pin,
        rollouts=snapshot.rollouts,
    )


def _with_owners(
    orphans: Sequence[Observation], asked: AbstractSet[MappingKey], snapshot: Snapshot, state: State
) -> dict[InstanceKey, Observed]:
    """Add the mapping of each grant that wasn't read, with a second read if no mapping governs the instance now.

    No mapping is read twice: one published between the reads would look like the owner of an instance that it doesn't
    govern.
    """
    owners = {orphan.key: orphan.grant.mapping for orphan in orphans if orphan.grant}
    pins = {owner: pin_over(owner) for owner in owners.values() if owner.pins}
    unread = sorted({owners[orphan.key] for orphan in orphans if not orphan.candidates.best} - asked - pins.keys())
    late = state.read((), unread) if unread else Snapshot()
    found = {**pins, **late.published}
    damaged, rollouts = {**snapshot.damaged, **late.damaged}, {**snapshot.rollouts, **late.rollouts}
    observed: dict[InstanceKey, Observed] = {}
    for orphan in orphans:
        owner = owners[orphan.key]
        if error := damaged.get(owner):
            observed[orphan.key] = Unreadable(orphan.key, orphan.instance, error, published=orphan.published)
        else:
            observed[orphan.key] = replace(orphan, owner=found.get(owner), rollouts=rollouts)
    return observed


def checked_pin(pin: Pin, roles: "Roles", now: datetime) -> Pin:
    """Check a pin as a row is checked: it is `unclear` if its role can't be given or isn't its profile's."""
    if pin.unclear or not pin.profile_arn or pin.expired(now):
        return pin
    name = pin.profile_arn.rpartition("/")[2]
    check = roles.check(MappingSpec(MappingKey(PIN_TAG, ""), pin.role, name, allow_broad=pin.allow_broad))
    other = check.missing or check.profile_arn != pin.profile_arn
    problem = check.problem or (f"{pin.profile_arn} doesn't hold role '{pin.role}'" if other else "")
    return replace(pin, unclear=f"the pin can't be used: {problem}" if problem else "")
