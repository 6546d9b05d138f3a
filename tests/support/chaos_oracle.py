"""What an instance should carry, told by its tags and the mapping rows alone: written anew, without Rolekeeper's rules.

Only for the columns that the chaos story uses: role, priority, enabled, when_occupied.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rolekeeper.model import Standing

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
    """An instance that doesn't carry what it should."""

    seen: Seen
    wanted: str


def difference(seen: Seen, rows: Iterable[Row], theirs: Collection[str]) -> Difference | None:
    """Compare one instance with its tags.

    Args:
        seen: the instance.
        rows: the mapping table.
        theirs: the associations that somebody else made.
    """
    row = governing(seen.tags, rows)
    if row is None:
        right, wanted = not seen.profile or seen.association in theirs, "no role, unless somebody else's"
    elif row["role"] == "NONE":
        right, wanted = not seen.profile, "no role"
    else:
        right, wanted = seen.profile.endswith(f"/{row['role']}"), f"role {row['role']}"
        if row.get("when_occupied") == "keep":
            right, wanted = right or seen.association in theirs, f"{wanted}, unless somebody else's"
    return None if right else Difference(seen, wanted)


def governing(tags: Mapping[str, str], rows: Iterable[Row]) -> Row | None:
    """The row for these tags with the lowest priority number, if any."""
    fitting = [
        row
        for row in rows
        if row.get("enabled", True) and row["tag_key"] in tags and row["tag_value"] in ("*", tags[row["tag_key"]])
    ]
    return min(fitting, key=lambda row: row.get("priority", 100), default=None)


def why_not(found: Difference, standing: Standing | None, meddled: int, contested_after: int) -> str:
    """Why the instance doesn't carry it, if what it shows is true by what we know ourselves; else empty.

    Args:
        found: the difference.
        standing: what the instance's record shows.
        meddled: how often somebody else changed its role.
        contested_after: how often they may.
    """
    code = standing.code if standing else ""
    if code == "contested" and meddled >= contested_after:
        return f"contested: somebody else changed it {meddled} times"
    if code == "stopped" and found.seen.state == "stopped" and found.seen.profile:
        return "stopped: EC2 replaces only running instances"
    return ""
