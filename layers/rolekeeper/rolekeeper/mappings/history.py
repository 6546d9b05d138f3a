"""What the history says of a mapping: an entry for what becomes of it, and what an edit changes, in words. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rolekeeper.mappings.rows.columns import COLUMNS
from rolekeeper.mappings.rows.reader import fingerprint
from rolekeeper.mappings.verdict import RowSnapshot, Status, Verdict
from rolekeeper.model.mapping import MappingSpec, PublishedMapping

type Entry = dict[str, Any]


def entry_of(seen: RowSnapshot, event: str, reason: str, mapping: PublishedMapping | None) -> Entry:
    """A history entry; the event carries the same."""
    entry: Entry = {
        "event": event,
        "status": "",
        "reason": reason,
        "revision": mapping.revision if mapping else 0,
        "role": mapping.spec.role if mapping else "",
        "profile_arn": mapping.profile_arn if mapping else "",
        "fingerprint": fingerprint(seen.row) if seen.row else "",
        "cause": seen.trigger.cause,
        "by": seen.by,
        "changes": [],
        "correlation_id": seen.trigger.correlation_id,
    }
    if mapping and seen.stored.held and seen.approves(mapping):
        # The edit is whose it was when it was held; who is known now approved it.
        entry |= {"cause": "approved", "by": seen.stored.held.by, "approved_by": seen.by}
    return entry


def entry_for(seen: RowSnapshot, verdict: Verdict) -> Entry:
    entry = entry_of(seen, f"Mapping {verdict.status}", verdict.reason, verdict.mapping)
    if verdict.status is not Status.REMOVED:
        entry["status"] = verdict.status.value
    if verdict.mapping and verdict.report:
        changed = changes(seen.stored.published, verdict.mapping)
        entry |= {"changes": changed, "effect": verdict.report.document()}
    return entry


def shows(entry: Mapping[str, Any], seen: RowSnapshot, verdict: Verdict) -> bool:
    """Whether an entry says the same already. What is held is said once for its number: its counts may change daily."""
    shown: dict[str, object] = {"status": verdict.status.value, "fingerprint": fingerprint(seen.row)}
    shown |= {"revision": verdict.held} if verdict.held else {"reason": verdict.reason}
    return all(entry.get(name) == value for name, value in shown.items())


# The longest value that is told whole.
SHOWN = 80


def changes(before: PublishedMapping | None, after: PublishedMapping) -> list[str]:
    """The columns that differ between two revisions or tombstones, each as `role: web → db`; None before the first."""
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
