"""How the domain's values are stored in the state table: DynamoDB attribute values, and back.

Keys encode their parts unambiguously: a tag key may hold any separator, so its length is written before it.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from rolekeeper.model import (
    Action,
    Assignment,
    Control,
    InstanceKey,
    InstanceRecord,
    Intent,
    MappingKey,
    MappingSpec,
    Mode,
    PublishedMapping,
    Standing,
    WhenOccupied,
    WhenStopped,
    WhenUnmatched,
)

type Key = tuple[str, str]
type Item = dict[str, Any]

CONTROL: Key = ("control", "control")
INTENT, ASSIGNMENT = "intent:", "assignment:"

_serialize = TypeSerializer().serialize
_deserialize = TypeDeserializer().deserialize


def instance_pk(key: InstanceKey) -> str:
    """The partition of one instance: its record and its history."""
    return f"instance#{key.account}#{key.region}#{key.id}"


def record_key(key: InstanceKey) -> Key:
    """Where an instance's record lies."""
    return instance_pk(key), "record"


def mapping_pk(key: MappingKey) -> str:
    """The partition of one mapping: what is published, its revisions and its history."""
    return f"mapping#{len(key.tag_key)}:{key.tag_key}#{key.tag_value}"


def published_key(key: MappingKey) -> Key:
    """Where the published mapping lies."""
    return mapping_pk(key), "published"


def key_of(item: Mapping[str, Any]) -> Key:
    """An item's own key."""
    return item["pk"], item["sk"]


def to_attributes(item: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values to DynamoDB attribute values."""
    return {name: _serialize(value) for name, value in item.items()}


def from_attributes(attributes: Mapping[str, Any]) -> Item:
    """DynamoDB attribute values to plain ones."""
    return {name: _deserialize(value) for name, value in attributes.items()}


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


def record_from(item: Mapping[str, Any]) -> InstanceRecord:
    """An instance's record."""
    intents = [_intent_from(value) for name, value in item.items() if name.startswith(INTENT)]
    assignments = [_assignment_from(value) for name, value in item.items() if name.startswith(ASSIGNMENT)]
    standing = item.get("standing")
    return InstanceRecord(
        assignments={each.association_id: each for each in assignments},
        intents={each.id: each for each in intents},
        standing=_standing_from(standing) if standing else None,
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
    }


def published_from(item: Mapping[str, Any]) -> PublishedMapping:
    """The published mapping that `published_item` wrote."""
    return PublishedMapping(
        spec=spec_from(mapping_key_from(item), item["spec"]),
        revision=int(item["revision"]),
        profile_arn=item["profile_arn"],
        suspended=item["suspended"],
        deleted=item["deleted"],
    )
