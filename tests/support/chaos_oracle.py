"""The chaos story's instances that don't carry what they should, by EC2's own answer; `spec` says what that is."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rolekeeper.model.instance import InstanceRecord
from rolekeeper.model.mapping import NO_ROLE, MappingKey, MappingSpec, PublishedMapping, WhenOccupied, WhenStopped
from spec.carries import Situation, Wanted, wanted

type Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """An instance as EC2 shows it; `association` and `profile` (its ARN) are empty where nothing is attached."""

    id: str
    state: str
    tags: Mapping[str, str]
    association: str = ""
    profile: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """An instance that doesn't carry what it should; `shown` is the code of its condition, if it has one."""

    seen: Seen
    wanted: Wanted
    shown: str = ""


def difference(seen: Seen, rows: Iterable[Row], record: InstanceRecord, path_arn: str) -> Difference | None:
    """Compare one instance with its tags, in a deployment that takes foreign roles over; `rows` is the mapping table.

    The grants in its record say which roles Rolekeeper gives up when nothing asks for them. The ARNs of profiles under
    the role path begin with `path_arn`.
    """
    situation = Situation(
        tags=seen.tags,
        carries=seen.profile,
        mappings=[_mapping(row, path_arn) for row in rows],
        now=datetime.now(UTC),
        grants={arn: grant.mapping for arn, grant in record.grants.items()},
        state=seen.state,
        take_over=True,
    )
    found = wanted(situation)
    shown = record.condition.code if record.condition else ""
    right = found.carries == seen.profile and found.shows in ("", shown)
    return None if right else Difference(seen, found, shown)


def _mapping(row: Row, path_arn: str) -> PublishedMapping:
    spec = MappingSpec(
        MappingKey(row["tag_key"], row["tag_value"]),
        row["role"],
        priority=int(row.get("priority", 100)),
        enabled=row.get("enabled", True),
        when_occupied=WhenOccupied(row.get("when_occupied", WhenOccupied.KEEP)),
        when_stopped=WhenStopped(row.get("when_stopped", WhenStopped.WAIT)),
    )
    return PublishedMapping(spec, 1, "" if spec.role == NO_ROLE else f"{path_arn}{spec.role}")


def is_contested(found: Difference, record: InstanceRecord, meddled: int, contested_after: int) -> bool:
    """Whether the instance shows `contested`, and truly is: another actor `meddled` with its role so often."""
    code = record.condition.code if record.condition else ""
    return code == "contested" and not found.wanted.shows and meddled >= contested_after
