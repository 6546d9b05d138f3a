"""Requests to reconcile: hints that name an instance, read from messages."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rolekeeper.aws.queue import RECONCILE_REQUESTED, SOURCE
from rolekeeper.model.instance import InstanceKey, ReconcileRequest, Target, partition_of

# EC2's ids: eight hex digits until 2016, seventeen since (EC2 user guide, "Resource IDs").
_INSTANCE_ID = re.compile(r"i-(?:[0-9a-f]{8}|[0-9a-f]{17})")
_INSTANCE_ARN = re.compile(r"arn:[a-z-]+:ec2:(?P<region>[a-z0-9-]+):(?P<account>\d{12}):instance/(?P<id>[^/]+)")
# Both become part of names and keys.
_ACCOUNT, _REGION = re.compile(r"[0-9]{12}"), re.compile(r"[a-z]{2,5}(?:-[a-z]+)+-[0-9]{1,2}")
# The kinds of event that name an instance, by source and detail-type.
STATE_CHANGE = ("aws.ec2", "EC2 Instance State-change Notification")
TAG_CHANGE = ("aws.tag", "Tag Change on Resource")
REQUESTED = (SOURCE, RECONCILE_REQUESTED)
# The daily event of a spoke's rule (spoke.yaml): it names no instance.
PRESENT = ("aws.events", "Scheduled Event")
KINDS = (STATE_CHANGE, TAG_CHANGE, REQUESTED)


class DroppedError(Exception):
    """What came names nothing of ours to act on; `args[0]` says why."""


def parse(message: Any, *, only: Target | None, now: datetime, message_id: str = "") -> ReconcileRequest:
    """Read a message of the work queue, or raise a `DroppedError`; `now` replaces a time that can't be read."""
    if not isinstance(message, Mapping):
        raise DroppedError("not a JSON object")
    kind = message.get("source"), message.get("detail-type")
    if kind not in KINDS:
        raise DroppedError(f"unknown kind of event: {kind[0]!s:.60} / {kind[1]!s:.60}")
    detail = message.get("detail")
    if not isinstance(detail, Mapping):
        raise DroppedError("it has no detail")
    changed = detail.get("changed-tag-keys")
    tags = frozenset(map(str, changed)) if isinstance(changed, list) else frozenset[str]()
    put_back = detail.get("put-back") if kind == REQUESTED else 0
    if kind == TAG_CHANGE:
        key, cause = _tagged(message, detail), "tags changed"
    else:
        key = InstanceKey(_text(message, "account"), _text(message, "region"), _text(detail, "instance-id"))
        cause = _text(detail, "cause") if kind == REQUESTED else f"instance {_text(detail, 'state')}"
    require_ours(key, only)
    correlation = detail.get("correlation-id") if kind == REQUESTED else message.get("id")
    return ReconcileRequest(
        instance=key,
        cause=cause,
        correlation_id=str(correlation or message_id),
        at=_time(message.get("time"), now),
        message_id=message_id,
        put_back=put_back if isinstance(put_back, int) else 0,
        # The loop failed, or handed the instance over when it was ready for a change.
        loop_over=kind == REQUESTED and any(detail.get(name) is True for name in ("loop-failed", "loop-over")),
        changed_tags=tags,
    )


def require_ours(key: InstanceKey, only: Target | None) -> None:
    """Raise a `DroppedError` unless a key from outside names an instance, and of the `only` target, if there is one.

    A hub takes any target: only its organization's events reach it, and only a spoke's roles let it act there.
    """
    if not _INSTANCE_ID.fullmatch(key.id):
        raise DroppedError(f"not an instance id: {key.id:.60}")
    if only is None:
        target_from({"account": key.account, "region": key.region})
    elif key.account != only.account:
        raise DroppedError(f"from another account: {key.account:.60}")
    elif key.region != only.region:
        raise DroppedError(f"from another region: {key.region:.60}")


def present(message: Any, namespace: str) -> Target | None:
    """Return the target whose spoke sends this daily message; None for any other message."""
    if not isinstance(message, Mapping) or (message.get("source"), message.get("detail-type")) != PRESENT:
        return None
    try:
        target = target_from(message)
    except DroppedError:
        return None
    prefix = f"arn:{partition_of(target.region)}:events:{target.region}:{target.account}"
    return target if message.get("resources") == [f"{prefix}:rule/{namespace}-present"] else None


def target_from(values: Mapping[str, Any]) -> Target:
    """Read the target whose account and Region these values name; DroppedError if they name none."""
    target = Target(_text(values, "account"), _text(values, "region"))
    if not (_ACCOUNT.fullmatch(target.account) and _REGION.fullmatch(target.region)):
        raise DroppedError(f"not an account and a region: {target.account:.60} {target.region:.60}")
    return target


def _tagged(message: Mapping[str, Any], detail: Mapping[str, Any]) -> InstanceKey:
    if (detail.get("service"), detail.get("resource-type")) != ("ec2", "instance"):
        raise DroppedError("tags of something that is no instance")
    resources = message.get("resources")
    if not isinstance(resources, list) or len(resources) != 1:
        raise DroppedError("it doesn't name exactly one resource")
    found = _INSTANCE_ARN.fullmatch(str(resources[0]))
    if not found:
        raise DroppedError(f"not an instance's ARN: {resources[0]!s:.100}")
    key = InstanceKey(found["account"], found["region"], found["id"])
    # AWS writes both; whose event it is says its own account and Region.
    if (key.account, key.region) != (_text(message, "account"), _text(message, "region")):
        raise DroppedError(f"it names an instance of another account or region than its own: {resources[0]:.100}")
    return key


def _text(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    if not isinstance(value, str):
        raise DroppedError(f"{name} is missing or not text")
    return value


def _time(text: Any, now: datetime) -> datetime:
    try:
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError):
        return now
