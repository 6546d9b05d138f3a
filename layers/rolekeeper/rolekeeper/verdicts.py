"""What becomes of a row: its status, and the words in which the row says so. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from rolekeeper.errors import DeniedError
from rolekeeper.model import MappingKey, PublishedMapping

# The longest reason that goes into a row.
REASON = 1_000


class Status(StrEnum):
    """What we write into a row (docs/mappings.md, "Status")."""

    PUBLISHED = "Published"
    EXPIRED = "Expired"
    REJECTED = "Rejected"
    CONFLICT = "Conflict"
    HELD = "Held"
    WAITING = "Waiting"
    REMOVED = "Removed"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a row. `revision` is the one being served, 0 for none; `changed` when this is news.

    `held` is the revision that waits for approval, 0 for none. `tied` are the rows that were in a tie with the mapping.
    `Removed` is never written: there is no row left to say it.
    """

    key: MappingKey
    status: Status
    reason: str = ""
    revision: int = 0
    matched: int | None = None
    held: int = 0
    changed: bool = False
    sent: int = 0
    tied: frozenset[MappingKey] = frozenset()


def sentence(parts: Iterable[str], ending: str = "") -> str:
    """One reason from its parts, cut to what a row shows; the ending stays whole."""
    text = "; ".join(part for part in parts if part)
    room = REASON - len(ending) - 1
    text = f"{text[: room - 1]}…" if len(text) > room else text
    return f"{text} {ending}".strip()


def what_serves(served: PublishedMapping | None) -> str:
    """What goes on being served while an edit isn't, in brackets; empty when nothing is."""
    if served is None:
        return ""
    if served.suspended:
        return f"(revision {served.revision} is suspended: its instances stay as they are)"
    return f"(revision {served.revision} keeps serving)"


def denial(error: DeniedError) -> str:
    """What to do about a missing permission."""
    return f"Rolekeeper isn't allowed {error.action} on {error.resource}; allow it, the next sweep tries again"
