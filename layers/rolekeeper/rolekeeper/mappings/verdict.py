"""What follows from assessing a row: the values that the functions commit, and that `plan` only shows."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

from rolekeeper.mappings.impact import Impact, Scan
from rolekeeper.mappings.revisions import AccountRecord, Entry
from rolekeeper.mappings.rows import Attributes, fingerprint
from rolekeeper.mappings.table import VERDICT
from rolekeeper.model.mapping import Approval, Held, MappingKey, PublishedMapping
from rolekeeper.model.problem import Reason, ReasonCode, details, sentence
from rolekeeper.model.waves import Progress
from rolekeeper.storage import layout

# Only in the mapping's history: each instance's replace is an event.
PROFILE_RECREATED = "Profile Recreated"


class Status(StrEnum):
    """What a row says (docs/mappings.md, "Status"); never `Removed` or `Discarded`, which history and events say."""

    PUBLISHED = "Published"
    ROLLING_OUT = "Rolling out"
    HALTED = "Halted"
    EXPIRED = "Expired"
    REJECTED = "Rejected"
    CONFLICT = "Conflict"
    HELD = "Held"
    WAITING = "Waiting"
    REMOVED = "Removed"
    DISCARDED = "Discarded"


class Ending(StrEnum):
    """What a verdict asks to be done."""

    NOTHING = "nothing"
    SAY = "say why not"
    KEEP = "keep"
    PUBLISH = "publish"
    HOLD = "hold"
    REMOVE = "remove, with its row"


@dataclass(frozen=True, slots=True)
class Refresh:
    """What IAM now says of a published mapping, with a history `entry` if that is new; `missing` as in a `Verdict`."""

    mapping: PublishedMapping
    entry: Entry | None = None
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Late:
    """What is published, judged in an account in which it wasn't counted: the record there, and what it changes.

    It is `held` back; or it is `covered`: it was counted, or approved, already while the account gave no answer.
    """

    record: AccountRecord
    impact: Impact
    covered: bool
    held: bool


@dataclass(frozen=True)
class Verdict:
    """What our columns of a row should say, and what has to be done for it.

    Attributes:
        matched: how many instances it governs, `occupied` how many of them carry a foreign role; None: unchanged.
        held: the revision that waits for approval; 0: none does, and the column goes. None: unchanged.
        shown: what is kept of an edit that is held.
        moved: how many instances a rollout has moved; None: there is none, and the column goes.
        progress: the rollout that begins with what is published.
        judging: how many accounts are asked, before there is a verdict; 0: the column goes.
        done: columns that are done with: they go, if they still say what was read.
        approval: by which a held revision is published.
        mapping: the revision that this is about; `impact` is what it would change, if it isn't in effect yet.
        missing: what of the profile has to be made first (`RoleCheck.missing`), as `refresh` has to be written first.
        records: what has to be published for each account; None: what the published mapping needs.
        assumed: the part of the impact in accounts for which nothing is published yet, as they gave no answer.
        ends_soon: what to report once, as the mapping will soon expire.
        changed: whether this was news, and `in_conflict` the rows to judge again; set once it is committed.
        freed: the verdicts on those that are no longer in conflict.
    """

    status: Status
    reasons: tuple[Reason, ...] = ()
    revision: int = 0
    matched: int | None = None
    occupied: int | None = None
    held: int | None = 0
    done: tuple[str, ...] = ()
    _: KW_ONLY
    ending: Ending = Ending.NOTHING
    mapping: PublishedMapping | None = None
    impact: Impact | None = None
    scan: Scan | None = None
    missing: str = ""
    refresh: Refresh | None = None
    records: Mapping[str, AccountRecord] | None = None
    assumed: Impact = field(default_factory=Impact)
    ends_soon: Reason | None = None
    shown: Held | None = None
    approval: Approval | None = None
    judging: int = 0
    moved: int | None = None
    progress: Progress | None = None
    changed: bool = False
    in_conflict: frozenset[MappingKey] = frozenset()
    freed: Mapping[MappingKey, "Verdict"] = field(default_factory=dict)

    @cached_property
    def reason(self) -> str:
        return sentence(self.reasons)

    @property
    def is_in_effect(self) -> bool:
        return self.revision > 0 and self.status is not Status.REMOVED

    @cached_property
    def columns(self) -> dict[str, Any]:
        known: dict[str, Any] = {"status": self.status.value, "status_reason": self.reason}
        known |= {"status_details": details(self.reasons), "status_revision": self.revision}
        counts = {"matched": self.matched, "occupied": self.occupied, "held_revision": self.held or None}
        counts |= {"judging": self.judging or None, "moved": self.moved}
        return known | {name: value for name, value in counts.items() if value is not None}

    def gone(self, row: Attributes) -> list[str]:
        over = {"held_revision": self.held == 0, "judging": not self.judging, "moved": self.moved is None}
        return [name for name in (*(name for name in over if over[name]), *self.done) if name in row]

    def is_in(self, row: Attributes) -> bool:
        return not self.gone(row) and not self._differs(row, *self.columns)

    def is_news(self, row: Attributes) -> bool:
        """Return whether a row says another status, reason, revision or held revision; counts aren't news.

        The reason of a held revision says counts, so it isn't compared.
        """
        return self._differs(row, *(("status", "held_revision") if self.held else VERDICT))

    def only_reason(self, row: Attributes) -> bool:
        return not self._differs(row, "status", "status_revision", "held_revision")

    def _differs(self, row: Attributes, *names: str) -> bool:
        return any((layout.plain(row[name]) if row.get(name) else None) != self.columns.get(name) for name in names)

    def is_shown(self, entry: Mapping[str, Any], row: Attributes) -> bool:
        """Return whether a history entry says the same of a row. A held revision has one: counts change daily."""
        shown: dict[str, object] = {"status": self.status.value, "fingerprint": fingerprint(row)}
        shown |= {"revision": self.held} if self.held else {"reason": self.reason}
        return all(entry.get(name) == value for name, value in shown.items())


def approval_steps(key: MappingKey, revision: int, *, deletes: bool) -> tuple[Reason, ...]:
    """Return what can be done about a held revision."""
    named = {"tag_key": key.tag_key, "tag_value": key.tag_value}
    approve = ReasonCode.TO_APPROVE(**named, revision=revision, what="delete" if deletes else "approve")
    return (approve, ReasonCode.TO_KEEP(**named)) if deletes else (approve,)


def in_waves(mapping: PublishedMapping, progress: Progress | None) -> tuple[Status, list[Reason]]:
    """Return the status of a mapping that goes out in waves, and how far it has come or what halted it."""
    key, former = mapping.key, mapping.former
    named = {"tag_key": key.tag_key, "tag_value": key.tag_value}
    back = [ReasonCode.TO_GO_BACK(**named, former=former.revision)] if former and not former.deleted else []
    if progress is None:
        return Status.HALTED, [ReasonCode.ROLLOUT_LOST(), *back]
    counts = progress.counts
    far = {"wave": progress.wave, "waves": len(counts), "total": progress.total, "counts": ", ".join(map(str, counts))}
    if progress.halted:
        why = {name: value for name, value in progress.halted.items() if name != "code"}
        return Status.HALTED, [ReasonCode[progress.halted["code"]](**far, **why), ReasonCode.TO_RESUME(**named), *back]
    far |= {"may": counts[progress.wave - 1], "accounts": [*progress.first]}
    far["ends_at" if progress.is_last else "next_at"] = f"{layout.timestamp(progress.next_at)[:19]}Z"
    return Status.ROLLING_OUT, [ReasonCode.ROLLING_OUT(**far)]
