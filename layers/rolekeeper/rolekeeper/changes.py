"""What differs between two revisions of a mapping, in words: for its history. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rolekeeper.columns import COLUMNS
from rolekeeper.model import MappingSpec, PublishedMapping

# The longest value that is told whole.
SHOWN = 80


def changes(before: PublishedMapping | None, after: PublishedMapping) -> list[str]:
    """The columns that differ, each as `role: web → db`.

    Args:
        before: what was published last, or its tombstone; None for the first revision.
        after: the new revision, or a tombstone.
    """
    if after.deleted:
        return ["the row was deleted"]
    if before is None or before.deleted:
        plain = MappingSpec(after.key, "")
        said = ["a new row" if before is None else "the row is back"]
        return said + [f"{name}: {_shown(now)}" for name, _, now in _differing(plain, after.spec)]
    said = [f"{name}: {_shown(was)} → {_shown(now)}" for name, was, now in _differing(before.spec, after.spec)]
    if before.profile_arn != after.profile_arn and before.spec.profile_name == after.spec.profile_name:
        said.append(f"the instance profile: {before.profile_arn or 'none'} → {after.profile_arn or 'none'}")
    return said


def _differing(before: MappingSpec, after: MappingSpec) -> list[tuple[str, Any, Any]]:
    both = [(column.name, getattr(before, column.name), getattr(after, column.name)) for column in COLUMNS]
    return [(name, was, now) for name, was, now in both if was != now]


def _shown(value: Any) -> str:
    match value:
        case bool():
            text = str(value).lower()
        case datetime():
            text = value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case frozenset():
            text = ", ".join(sorted(value))
        case Mapping():
            text = ", ".join(f"{key}={each}" for key, each in sorted(value.items()))
        case None:
            text = ""
        case _:
            text = str(value)
    return (text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…") or "none"
