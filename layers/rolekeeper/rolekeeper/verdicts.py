"""What is to become of a row: a value, without I/O. `assess` makes it, `commit` carries it out."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from rolekeeper.errors import AwsRefusalError, DeniedError
from rolekeeper.impact import ImpactReport
from rolekeeper.mapping_table import Columns
from rolekeeper.model import MappingKey, PublishedMapping
from rolekeeper.roles import RoleCheck
from rolekeeper.scan import Scan
from rolekeeper.snapshot import RowSnapshot

# The longest reason that goes into a row.
REASON = 1_000
# What a row says when all is well.
SERVING = "serving"


class Status(StrEnum):
    """What a row says (docs/mappings.md, "Status"). `Removed` is never written: there is no row left to say it."""

    PUBLISHED = "Published"
    EXPIRED = "Expired"
    REJECTED = "Rejected"
    CONFLICT = "Conflict"
    HELD = "Held"
    WAITING = "Waiting"
    REMOVED = "Removed"


class Ending(StrEnum):
    """What a verdict asks to be done."""

    NOTHING = "nothing"
    SAY = "say why not"
    KEEP = "keep"
    PUBLISH = "publish"
    HOLD = "hold"
    REMOVE = "remove"
    DELETE_ROW = "delete row"


@dataclass(frozen=True, slots=True)
class Refresh:
    """What IAM says of a published mapping by now: whether it can be used, and its profile's ids. `event` if news."""

    mapping: PublishedMapping
    event: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to become of a row.

    Attributes:
        ending: what has to be done for it.
        revision: the one in effect, 0 for none; `held` the one that waits for approval.
        matched: how many instances the mapping governs; None: as the row says.
        changed: whether this is news.
        columns: what the row is to say; None where there is no row.
        mapping: the revision that this is about.
        report: what it would change, for one that isn't in effect yet; `approved` whether a person approved it.
        scan: what was found among the instances.
        missing: what has to be made of the profile first.
        refresh: what is to be written of the published mapping first.
        sent: how many instances were asked to be reconciled, once it is committed.
    """

    key: MappingKey
    status: Status
    ending: Ending = Ending.NOTHING
    reason: str = ""
    revision: int = 0
    held: int = 0
    matched: int | None = None
    changed: bool = False
    columns: Columns | None = None
    mapping: PublishedMapping | None = None
    report: ImpactReport | None = None
    approved: bool = False
    scan: Scan | None = None
    missing: RoleCheck | None = None
    refresh: Refresh | None = None
    sent: int = 0
    in_conflict: frozenset[MappingKey] = frozenset()


def waiting(seen: RowSnapshot, error: AwsRefusalError) -> Verdict:
    """The verdict on a row for which AWS gave no answer, or refused it: unless what it says is in effect or held."""
    why = f"AWS gave no answer ({error.code} to {error.action}); it is asked again"
    if isinstance(error, DeniedError):
        why = denial(error)
    published = seen.published
    reason = sentence([why], what_is_in_effect(published))
    revision = revision_of(published)
    columns = Columns(Status.WAITING.value, reason, revision, None if published else 0, held=None)
    held = seen.trigger.recheck and "held_revision" in seen.row
    stays = held or (published is not None and seen.parsed.spec == published.spec) or not seen.row
    ending = Ending.NOTHING if stays else Ending.SAY
    return Verdict(seen.key, Status.WAITING, ending, reason, revision, columns=None if stays else columns)


def denial(error: DeniedError) -> str:
    """What to do about a missing permission."""
    return f"Rolekeeper isn't allowed {error.action} on {error.resource}; allow it, the next sweep tries again"


def sentence(parts: Iterable[str], ending: str = "") -> str:
    """One reason from its parts, cut to what a row shows; the ending stays whole."""
    text = "; ".join(part for part in parts if part)
    room = REASON - len(ending) - 1
    text = f"{text[: room - 1]}…" if len(text) > room else text
    return f"{text} {ending}".strip()


def what_is_in_effect(published: PublishedMapping | None) -> str:
    """What stays in effect while an edit doesn't come into it, in brackets; empty when nothing is."""
    if published is None:
        return ""
    if published.suspended:
        return f"(revision {published.revision} is suspended: its instances stay as they are)"
    return f"(revision {published.revision} keeps serving)"


def revision_of(published: PublishedMapping | None) -> int:
    """The number of what is in effect, 0 for nothing."""
    return published.revision if published else 0
