"""Reading messages: each becomes the name of an instance to reconcile, or an explicit drop with its reason.

A message is a hint. Its state and tags are not looked at: the reconciler reads the truth again.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from rolekeeper.announce import SOURCE
from rolekeeper.model import InstanceKey, Wake
from rolekeeper.work import RECONCILE_REQUESTED

# EC2's ids: eight hex digits until 2016, seventeen since (EC2 user guide, "Resource IDs").
_INSTANCE_ID = re.compile(r"i-(?:[0-9a-f]{8}|[0-9a-f]{17})")
_INSTANCE_ARN = re.compile(r"arn:[a-z-]+:ec2:(?P<region>[a-z0-9-]+):(?P<account>\d{12}):instance/(?P<id>[^/]+)")


class DroppedError(Exception):
    """The message names no instance of ours; `args[0]` says why."""


def parse(message: Any, *, account: str, region: str, now: datetime, message_id: str = "") -> Wake:
    """Read one message of the work queue.

    Args:
        message: an EventBridge event, or one of our own in the same shape (see `work.request`).
        account: ours; others' messages are dropped.
        region: ours.
        now: stands in for a missing or unreadable time.
        message_id: SQS's id, to answer with.

    Raises:
        DroppedError: it names no instance of ours, and why.
    """
    if not isinstance(message, Mapping):
        raise DroppedError("not a JSON object")
    kind = (message.get("source"), message.get("detail-type"))
    # Compared, not looked up: JSON may say a list here, which can't be hashed.
    reader = next((reader for known, reader in _READERS.items() if known == kind), None)
    if reader is None:
        raise DroppedError(f"unknown kind of event: {kind[0]!s:.60} / {kind[1]!s:.60}")
    detail = message.get("detail")
    if not isinstance(detail, Mapping):
        raise DroppedError("it has no detail")
    key, cause = reader(message, detail)
    if not _INSTANCE_ID.fullmatch(key.id):
        raise DroppedError(f"not an instance id: {key.id:.60}")
    if key.account != account:
        raise DroppedError(f"from another account: {key.account:.60}")
    if key.region != region:
        raise DroppedError(f"from another region: {key.region:.60}")
    correlation = detail.get("correlation-id") if kind[0] == SOURCE else message.get("id")
    return Wake(
        instance=key,
        cause=cause,
        correlation_id=str(correlation or message_id),
        at=_time(message.get("time"), now),
        message_id=message_id,
        loop_failed=kind[0] == SOURCE and detail.get("loop-failed") is True,
    )


def _state_change(message: Mapping[str, Any], detail: Mapping[str, Any]) -> tuple[InstanceKey, str]:
    key = InstanceKey(_text(message, "account"), _text(message, "region"), _text(detail, "instance-id"))
    return key, f"instance {_text(detail, 'state')}"


def _tag_change(message: Mapping[str, Any], detail: Mapping[str, Any]) -> tuple[InstanceKey, str]:
    if (detail.get("service"), detail.get("resource-type")) != ("ec2", "instance"):
        raise DroppedError("tags of something that is no instance")
    resources = message.get("resources")
    if not isinstance(resources, list) or len(resources) != 1:
        raise DroppedError("it doesn't name exactly one resource")
    found = _INSTANCE_ARN.fullmatch(str(resources[0]))
    if not found:
        raise DroppedError(f"not an instance's ARN: {resources[0]!s:.100}")
    changed = detail.get("changed-tag-keys")
    names = ", ".join(sorted(map(str, changed))) if isinstance(changed, list) else ""
    return InstanceKey(found["account"], found["region"], found["id"]), f"tags changed: {names}"[:200]


def _requested(message: Mapping[str, Any], detail: Mapping[str, Any]) -> tuple[InstanceKey, str]:
    key = InstanceKey(_text(message, "account"), _text(message, "region"), _text(detail, "instance-id"))
    return key, _text(detail, "cause")


type _Reader = Callable[[Mapping[str, Any], Mapping[str, Any]], tuple[InstanceKey, str]]

_READERS: Mapping[tuple[str, str], _Reader] = {
    ("aws.ec2", "EC2 Instance State-change Notification"): _state_change,
    ("aws.tag", "Tag Change on Resource"): _tag_change,
    (SOURCE, RECONCILE_REQUESTED): _requested,
}


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
