"""How the domain's values are stored in the state table: DynamoDB attribute values, and back.

Keys encode their parts unambiguously: a tag key may hold any separator, so its length is written before it.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from rolekeeper.model import (
    NO_ROLE,
    Action,
    Assignment,
    Control,
    Held,
    InstanceKey,
    InstanceRecord,
    Intent,
    Made,
    MappingKey,
    MappingSpec,
    Mode,
    Pin,
    PublishedMapping,
    Standing,
    Timer,
    Undone,
    WhenOccupied,
    WhenStopped,
    WhenUnmatched,
    Wish,
)

type Key = tuple[str, str]
type Item = dict[str, Any]

CONTROL: Key = ("control", "control")
FLEET: Key = ("fleet", "fleet")
DEPLOYED: Key = ("deployed", "deployed")
TIMERS, PIN = "timers", "pin"
# A pin that expired is kept for a week, to be looked at.
PIN_KEPT = timedelta(days=7)
# DynamoDB "Service quotas": a sort key holds at most 1,024 bytes. The longest tags make a longer name than this.
SUBJECT_BYTES = 900
INTENT, ASSIGNMENT, UNDONE = "intent:", "assignment:", "undone:"
PARTITION_KEY_BYTES = 2_048


class _Deserializer(TypeDeserializer):
    """boto3's own counts the zeros at a number's end as digits: it can't read 1E+39 of DynamoDB, boto3 issue 2500."""

    # A number's 38 significant digits are all kept.
    _context = Context(prec=38)

    def _deserialize_n(self, value: str) -> Decimal:
        return self._context.create_decimal(value)


_serialize = TypeSerializer().serialize
plain: Callable[[Any], Any] = _Deserializer().deserialize
"""A DynamoDB attribute value to a plain one."""


def instance_pk(key: InstanceKey) -> str:
    """The partition of one instance: its record and its history."""
    return f"instance#{key.account}#{key.region}#{key.id}"


def instance_key_from(pk: str) -> InstanceKey | None:
    """The instance whose partition this is; None when it is no instance's."""
    kind, *parts = pk.split("#")
    return InstanceKey(*parts) if kind == "instance" and len(parts) == 3 and all(parts) else None  # noqa: PLR2004  # as `instance_pk` makes it


def record_key(key: InstanceKey) -> Key:
    """Where an instance's record lies."""
    return instance_pk(key), "record"


def pin_key(key: InstanceKey) -> Key:
    """Where an instance's pin lies."""
    return instance_pk(key), PIN


def mapping_pk(key: MappingKey) -> str:
    """The partition of one mapping: what is published, its revisions and its history."""
    return f"mapping#{len(key.tag_key)}:{key.tag_key}#{key.tag_value}"


def mapping_of(pk: str) -> MappingKey:
    """The mapping whose partition this is."""
    length, _, rest = pk.removeprefix("mapping#").partition(":")
    return MappingKey(rest[: int(length)], rest[int(length) + 1 :])


def fits_partition(key: MappingKey) -> bool:
    """Whether a mapping can have a partition: a key holds at most 2,048 bytes (DynamoDB, "Service quotas").

    A row's own key may be longer than that; no tag is, so nothing was ever published under it.
    """
    return len(mapping_pk(key).encode("utf-8", "surrogatepass")) <= PARTITION_KEY_BYTES


def published_key(key: MappingKey) -> Key:
    """Where the published mapping lies."""
    return mapping_pk(key), "published"


def held_key(key: MappingKey) -> Key:
    """Where the revision that waits for approval lies."""
    return mapping_pk(key), "held"


def window_key(key: MappingKey) -> Key:
    """Where a mapping's recent changes are counted."""
    return mapping_pk(key), "window"


def revision_sk(revision: int) -> str:
    """The sort key of one revision; text order is number order."""
    return f"revision#{revision:08d}"


def key_of(item: Mapping[str, Any]) -> Key:
    """An item's own key."""
    return item["pk"], item["sk"]


def to_attributes(item: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values to DynamoDB attribute values."""
    return {name: _serialize(value) for name, value in item.items()}


def from_attributes(attributes: Mapping[str, Any]) -> Item:
    """DynamoDB attribute values to plain ones."""
    return {name: plain(value) for name, value in attributes.items()}


def timestamp(at: datetime) -> str:
    """UTC in ISO 8601 with microseconds, so that text order is time order."""
    # Not strftime: on Linux its %Y writes the year 999 with three digits, which nobody can read back.
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_time(text: str) -> datetime:
    """What `timestamp` wrote."""
    return datetime.fromisoformat(text)


def control_from(item: Mapping[str, Any]) -> Control:
    """The control item, which people write. Absent attributes mean: as deployed, not paused."""
    mode, paused = item.get("mode") or None, item.get("paused", False)
    if mode not in (None, *Mode):
        return Control(unclear=f"the control item's mode is {mode!r:.40}; write {' or '.join(Mode)}")
    if not isinstance(paused, bool):
        return Control(unclear=f"the control item's paused is {paused!r:.40}; write a Boolean")
    return Control(Mode(mode) if mode else None, paused)


def mapping_text(key: MappingKey) -> Item:
    """A mapping's key as a map."""
    return {"tag_key": key.tag_key, "tag_value": key.tag_value}


def mapping_key_from(item: Mapping[str, Any]) -> MappingKey:
    """The key that `mapping_text` wrote."""
    return MappingKey(item["tag_key"], item["tag_value"])


def assignment_item(assignment: Assignment) -> Item:
    """An assignment as a map."""
    return {
        "association_id": assignment.association_id,
        "profile_arn": assignment.profile_arn,
        "role": assignment.role,
        "mapping": mapping_text(assignment.mapping),
        "revision": assignment.revision,
        "restore_profile_arn": assignment.restore_profile_arn,
    }


def intent_item(intent: Intent) -> Item:
    """An intent as a map."""
    return {
        "id": intent.id,
        "action": intent.action.value,
        "target_profile_arn": intent.target_profile_arn,
        "role": intent.role,
        "mapping": mapping_text(intent.mapping),
        "revision": intent.revision,
        "from_association_id": intent.from_association_id,
        "at": timestamp(intent.at),
        "restore_profile_arn": intent.restore_profile_arn,
        "gives_back": intent.gives_back,
        "swap": intent.swap,
    }


def standing_item(standing: Standing) -> Item:
    """A standing as a map."""
    return {
        "action": standing.action.value,
        "code": standing.code,
        "reason": standing.reason,
        "since": timestamp(standing.since),
        "fingerprint": standing.fingerprint,
        "loop_until": timestamp(standing.loop_until) if standing.loop_until else "",
        "parked": standing.parked,
    }


def made_item(made: Made) -> Item:
    """Our last change as a map."""
    return {**_wish_item(made.wish), "association_id": made.association_id, "at": timestamp(made.at)}


def _made_from(item: Mapping[str, Any]) -> Made:
    return Made(_wish_from(item), item["association_id"], parse_time(item["at"]))


def undone_name(undone: Undone) -> str:
    """The attribute that holds an undoing: named after the change that was undone, so it is there once."""
    return UNDONE + timestamp(undone.made_at)


def undone_item(undone: Undone) -> Item:
    """An undoing as a map."""
    return {
        **_wish_item(undone.wish),
        "made_at": timestamp(undone.made_at),
        "at": timestamp(undone.at),
        "association_id": undone.association_id,
        "left_profile_arn": undone.profile_arn,
    }


def _undone_from(item: Mapping[str, Any]) -> Undone:
    made_at, at = parse_time(item["made_at"]), parse_time(item["at"])
    return Undone(_wish_from(item), made_at, at, item["association_id"], item["left_profile_arn"])


def _wish_item(wish: Wish) -> Item:
    return {"mapping": mapping_text(wish.mapping), "revision": wish.revision, "profile_arn": wish.profile_arn}


def _wish_from(item: Mapping[str, Any]) -> Wish:
    return Wish(mapping_key_from(item["mapping"]), int(item["revision"]), item["profile_arn"])


def record_from(item: Mapping[str, Any]) -> InstanceRecord:
    """An instance's record."""
    intents = [_intent_from(value) for name, value in item.items() if name.startswith(INTENT)]
    assignments = [_assignment_from(value) for name, value in item.items() if name.startswith(ASSIGNMENT)]
    undone = [_undone_from(value) for name, value in item.items() if name.startswith(UNDONE)]
    standing, made = item.get("standing"), item.get("made")
    return InstanceRecord(
        assignments={each.association_id: each for each in assignments},
        intents={each.id: each for each in intents},
        standing=_standing_from(standing) if standing else None,
        made=_made_from(made) if made else None,
        undone=tuple(sorted(undone, key=lambda each: each.at)),
    )


def _intent_from(item: Mapping[str, Any]) -> Intent:
    return Intent(
        id=item["id"],
        action=Action(item["action"]),
        target_profile_arn=item["target_profile_arn"],
        role=item["role"],
        mapping=mapping_key_from(item["mapping"]),
        revision=int(item["revision"]),
        from_association_id=item["from_association_id"],
        at=parse_time(item["at"]),
        restore_profile_arn=item["restore_profile_arn"],
        gives_back=item["gives_back"],
        swap=item["swap"],
    )


def _assignment_from(item: Mapping[str, Any]) -> Assignment:
    return Assignment(
        association_id=item["association_id"],
        profile_arn=item["profile_arn"],
        role=item["role"],
        mapping=mapping_key_from(item["mapping"]),
        revision=int(item["revision"]),
        restore_profile_arn=item["restore_profile_arn"],
    )


def _standing_from(item: Mapping[str, Any]) -> Standing:
    return Standing(
        action=Action(item["action"]),
        code=item["code"],
        reason=item["reason"],
        since=parse_time(item["since"]),
        fingerprint=item["fingerprint"],
        loop_until=parse_time(item["loop_until"]) if item["loop_until"] else None,
        parked=item["parked"],
        item=item,
    )


def spec_item(spec: MappingSpec) -> Item:
    """A mapping's columns as a map, without its key."""
    return {
        "role": spec.role,
        "instance_profile": spec.instance_profile,
        "priority": spec.priority,
        "enabled": spec.enabled,
        "when_occupied": spec.when_occupied.value,
        "when_unmatched": spec.when_unmatched.value,
        "when_stopped": spec.when_stopped.value,
        "require_tags": dict(spec.require_tags),
        "accounts": sorted(spec.accounts),
        "regions": sorted(spec.regions),
        "expires_at": timestamp(spec.expires_at) if spec.expires_at else "",
        "owner": spec.owner,
        "description": spec.description,
    }


def spec_from(key: MappingKey, item: Mapping[str, Any]) -> MappingSpec:
    """The columns that `spec_item` wrote."""
    return MappingSpec(
        key=key,
        role=item["role"],
        instance_profile=item["instance_profile"],
        priority=int(item["priority"]),
        enabled=item["enabled"],
        when_occupied=WhenOccupied(item["when_occupied"]),
        when_unmatched=WhenUnmatched(item["when_unmatched"]),
        when_stopped=WhenStopped(item["when_stopped"]),
        require_tags=dict(item["require_tags"]),
        accounts=frozenset(item["accounts"]),
        regions=frozenset(item["regions"]),
        expires_at=parse_time(item["expires_at"]) if item["expires_at"] else None,
        owner=item["owner"],
        description=item["description"],
    )


def published_item(mapping: PublishedMapping) -> Item:
    """A published mapping as it lies in the state table."""
    pk, sk = published_key(mapping.key)
    return {
        "pk": pk,
        "sk": sk,
        **mapping_text(mapping.key),
        "spec": spec_item(mapping.spec),
        "revision": mapping.revision,
        "profile_arn": mapping.profile_arn,
        "suspended": mapping.suspended,
        "deleted": mapping.deleted,
        "profile_id": mapping.profile_id,
        "former_profile_ids": sorted(mapping.former_profile_ids),
    }


def published_from(item: Mapping[str, Any]) -> PublishedMapping:
    """The published mapping that `published_item` wrote."""
    return PublishedMapping(
        spec=spec_from(mapping_key_from(item), item["spec"]),
        revision=int(item["revision"]),
        profile_arn=item["profile_arn"],
        suspended=item["suspended"],
        deleted=item["deleted"],
        # Older items have neither.
        profile_id=item.get("profile_id", ""),
        former_profile_ids=frozenset(item.get("former_profile_ids", ())),
    )


def fleet_item(instances: int, at: datetime) -> Item:
    """How many instances there were."""
    pk, sk = FLEET
    return {"pk": pk, "sk": sk, "instances": instances, "at": timestamp(at)}


def held_item(held: Held) -> Item:
    """A held revision as it lies in the state table."""
    pk, sk = held_key(held.key)
    return {**published_item(held.mapping), "pk": pk, "sk": sk, "at": timestamp(held.at), "by": held.by}


def held_from(item: Mapping[str, Any]) -> Held:
    """The held revision that `held_item` wrote."""
    return Held(published_from(item), parse_time(item["at"]), item["by"])


def pin_item(key: InstanceKey, pin: Pin) -> Item:
    """A pin as it lies in the state table; `expires` lets DynamoDB drop it, long after it ended."""
    pk, sk = pin_key(key)
    item: Item = {
        "pk": pk,
        "sk": sk,
        "role": pin.role,
        "profile_arn": pin.profile_arn,
        "expires_at": timestamp(pin.expires_at) if pin.expires_at else "",
        "at": pin.at,
        "by": pin.by,
        "reason": pin.reason,
    }
    if pin.expires_at:
        item["expires"] = int((pin.expires_at + PIN_KEPT).timestamp())
    return item


def pin_from(item: Mapping[str, Any]) -> Pin:
    """A pin, which people write too; what can't be read of it is `unclear`."""
    texts = {name: item.get(name, "") for name in ("role", "profile_arn", "expires_at", "at", "by", "reason")}
    if wrong := next((name for name, text in texts.items() if not isinstance(text, str)), ""):
        return Pin("", unclear=f"the pin's {wrong} isn't a String")
    until = texts.pop("expires_at")
    try:
        expires_at = datetime.fromisoformat(until) if until else None
    except ValueError:
        expires_at = None
    if until and (expires_at is None or expires_at.tzinfo is None):
        return Pin("", unclear=f"the pin's expires_at is {until!r:.60}; write date, time and zone in ISO 8601")
    if not texts["role"]:
        return Pin("", unclear=f"the pin names no role; write one, or {NO_ROLE}")
    if (texts["role"] == NO_ROLE) == bool(texts["profile_arn"]):
        return Pin("", unclear=f"the pin's profile_arn must be the profile of its role, and absent for {NO_ROLE}")
    return Pin(expires_at=expires_at, **texts)


def timer_item(timer: Timer) -> Item:
    """A timer as it lies in the state table: one partition, in the order in which they ring."""
    due, subject = timestamp(timer.due), timer.subject
    if isinstance(subject, InstanceKey):
        pk, named = instance_pk(subject), {"instance": asdict(subject)}
    else:
        pk, named = mapping_pk(subject), {"mapping": mapping_text(subject)}
    name = pk.encode("utf-8", "surrogatepass")
    shown = pk if len(name) <= SUBJECT_BYTES else hashlib.sha256(name).hexdigest()
    return {"pk": TIMERS, "sk": f"{due}#{shown}", "due": due, **named}


def due_from(sk: str) -> datetime:
    """When a timer rings, by its sort key."""
    return parse_time(sk.partition("#")[0])


def timer_from(item: Mapping[str, Any]) -> Timer:
    """The timer that `timer_item` wrote."""
    due = parse_time(item["due"])
    return Timer(due, InstanceKey(**item["instance"]) if "instance" in item else mapping_key_from(item["mapping"]))
