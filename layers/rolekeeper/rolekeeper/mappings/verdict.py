"""What was read of a row (`RowSnapshot`), and what follows from it (`Verdict`): values, without I/O.

A held revision is known by its number: signing the number approves exactly the content that was held. So a number never
identifies two different edits, and a new one is never a number that the row's `approve` already says.
"""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from rolekeeper.mappings.impact import Impact
from rolekeeper.mappings.revisions import AccountRecord, Entry, StoredMapping
from rolekeeper.mappings.rows.columns import Attributes, quote
from rolekeeper.mappings.rows.reader import ParsedRow, changes, content, fingerprint, row_of
from rolekeeper.mappings.scan import Scan
from rolekeeper.mappings.table import VERDICT, number_in
from rolekeeper.model.mapping import MappingKey, MappingSpec, PublishedMapping, same_person
from rolekeeper.model.problem import Advice, Kind, advice
from rolekeeper.storage import codec, layout


@dataclass(frozen=True, slots=True)
class Trigger:
    """Why a row is judged: `cause` in words, for the history; `claimed_by` is the editor that a deleted row named.

    With `recheck` there may be no edit. `scan` and `seen` are what the sweep found (`Publisher.recheck`).
    """

    cause: str
    correlation_id: str
    claimed_by: str = ""
    recheck: bool = False
    scan: Scan | None = None
    seen: bool = False


@dataclass(frozen=True, slots=True)
class RowSnapshot:
    """A row, what it says, and what is stored of its mapping. `row` is empty when there is none."""

    key: MappingKey
    row: Attributes
    parsed: ParsedRow
    stored: StoredMapping
    at: datetime
    trigger: Trigger
    signed_as: str | None = None  # as `Revisions.signed_as` has it

    @property
    def published(self) -> PublishedMapping | None:
        """What the reconciler obeys; None for a tombstone."""
        return None if self.stored.published is None or self.stored.published.deleted else self.stored.published

    @property
    def revision(self) -> int:
        """The number of the revision in effect; 0 if there is none."""
        return self.published.revision if self.published else 0

    @property
    def still_in_effect(self) -> str:
        if self.published is None:
            return ""
        mappings = [each.mapping for each in self.stored.records.values()]
        everywhere = all(each.suspended_because or each.deleted for each in mappings)
        suspended = "is suspended: its instances stay as they are" if everywhere else ""
        return f"(revision {self.revision} {suspended or 'stays in effect'})"

    def refreshed(self, refresh: "Refresh") -> "RowSnapshot":
        unsent = self.stored.unsent or refresh.entry is not None
        return replace(self, stored=replace(self.stored.with_published(refresh.mapping), unsent=unsent))

    def candidate(self, spec: MappingSpec, profile_arn: str, profile_id: str) -> PublishedMapping:
        before = self.stored.published
        mapping = PublishedMapping(spec, 0, profile_arn)
        if before and before.profile_arn == profile_arn:
            mapping = replace(mapping, profile_id=before.profile_id, former_profile_ids=before.former_profile_ids)
        return self._numbered(mapping.with_profile_id(profile_id))

    @property
    def tombstone(self) -> PublishedMapping | None:
        """The tombstone that is published, or would be if the row were deleted; None if nothing was ever published."""
        if self.published is None:
            return self.stored.published
        return self._numbered(replace(self.published, deleted=True).suspended_for(None))

    def _numbered(self, mapping: PublishedMapping) -> PublishedMapping:
        """The same with its number: the held revision's if that says the same, else the next that isn't `approve`."""
        held = self._held
        if held and held == replace(mapping, revision=held.revision):
            return held
        last = self.stored.last
        return replace(mapping, revision=last + (2 if self.parsed.approve == last + 1 else 1))

    @property
    def _held(self) -> PublishedMapping | None:
        """The revision that waits for approval; not one that was discarded, published or overtaken since."""
        return None if self.stored.held and self.stored.held.outcome else self._unpublished

    @property
    def _unpublished(self) -> PublishedMapping | None:
        held, published = self.stored.held, self.stored.published
        return held.mapping if held and held.mapping.revision > (published.revision if published else 0) else None

    @property
    def to_discard(self) -> PublishedMapping | None:
        """The held revision, if the row says the same and asks by its number to discard it."""
        stored, held = self.stored.held, self._unpublished
        if not (stored and held) or stored.outcome == layout.PUBLISHED or self.parsed.discard != held.revision:
            return None
        says_it = self.parsed.spec == held.spec or content(self.row) == content(row_of(held.spec))
        return held if says_it else None

    def holds(self, candidate: PublishedMapping) -> bool:
        """Whether exactly this candidate is held, no matter whether the hub's own account can use its role now."""
        return self._held == candidate.suspended_for(None)

    def approves(self, candidate: PublishedMapping) -> bool:
        """Whether a person signed exactly this candidate after it was held, and the row says so."""
        number = candidate.revision
        if self.parsed.discard == number:
            return False
        return self.holds(candidate) and self.parsed.approve == number and not self.about_approval(number)

    def shows_held(self, candidate: PublishedMapping) -> bool:
        """Whether the row shows exactly this candidate as held. It stays held, even if it would change less by now."""
        return self.holds(candidate) and number_in(self.row, "held_revision") == candidate.revision

    @property
    def holds_deletion(self) -> bool:
        """Whether the row was put back because its deletion is held, or is left after that deletion was approved.

        This compares the raw content: so a row that only an older version could read can be deleted too.
        """
        tombstone = self.tombstone
        if tombstone is None or "status" not in self.row or number_in(self.row, "held_revision") != tombstone.revision:
            return False
        asked = self.holds(tombstone) or self.parsed.approve == tombstone.revision
        return asked and content(self.row) == content(row_of(tombstone.spec))

    def acted_on(self, revision: int = 0) -> tuple[str, ...]:
        """The columns to remove as done: editor and discard; and the approval, if this revision is published."""
        # A number to discard works once: otherwise it would drop what is held under it later.
        done = tuple(name for name in ("discard", "edited_by") if getattr(self.parsed, name))
        return (*done, "approve", "approved_by") if revision and self.parsed.approve == revision else done

    def about_approval(self, held: int) -> str:
        """Why the row's `approve` doesn't approve the revision `held`, in words; empty if it does, or says nothing."""
        approve, by, edit = self.parsed.approve, self.parsed.approved_by, self.stored.held
        if approve != held:
            return f"approve is {approve}, but {held or 'nothing'} is held" if approve else ""
        if edit is None or self.signed_as is None:
            return (
                f"approve is {approve}, but {f'{quote(by)} has not' if by else 'nobody has'} signed it" if held else ""
            )
        same = same_person(edit.by, self.signed_as)
        return "edited_by says that the approver made this edit: another person has to approve it" if same else ""

    def entry(self, event: str, reason: str, mapping: PublishedMapping | None) -> Entry:
        held = self.stored.held if mapping and self.approves(mapping) else None
        return {
            "event": event,
            "status": "",
            "reason": reason,
            "revision": mapping.revision if mapping else 0,
            "role": mapping.spec.role if mapping else "",
            "profile_arn": mapping.profile_arn if mapping else "",
            "fingerprint": fingerprint(self.row) if self.row else "",
            "cause": "approved" if held else self.trigger.cause,
            # The editor is the one who made the edit that was held.
            "claimed_by": held.by if held else self.parsed.edited_by or self.trigger.claimed_by,
            "approved_by": self.parsed.approved_by if held else "",
            "approver_claims": (self.signed_as if held else None) or "",
            "changes": [],
            "correlation_id": self.trigger.correlation_id,
        }

    def entry_for(self, verdict: "Verdict") -> Entry:
        entry = self.entry(f"Mapping {verdict.status}", verdict.reason, verdict.mapping)
        entry["status"] = "" if verdict.status is Status.REMOVED else verdict.status.value
        if verdict.mapping and verdict.impact:
            entry |= {"changes": changes(self.stored.published, verdict.mapping), "effect": verdict.impact.document()}
        return entry


def approval_steps(key: MappingKey, revision: int, *, deletes: bool) -> tuple[Advice, ...]:
    """What can be done about a held revision, as the reason of its status says it."""
    approve = key.remedy(Kind.APPROVE, str(revision))
    if deletes:
        return advice("to delete it: ", approve), advice("to keep it: ", key.remedy(Kind.DISCARD))
    return (advice("to approve it: ", approve),)


class Status(StrEnum):
    """What a row says (docs/mappings.md, "Status"); never `Removed` or `Discarded`, which history and events say."""

    PUBLISHED = "Published"
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
    DISCARD = "put the row back as it is published"


@dataclass(frozen=True, slots=True)
class Refresh:
    """What IAM now says of a published mapping, with a history `entry` if that is new; `missing` as in a `Verdict`."""

    mapping: PublishedMapping
    entry: Entry | None = None
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What our columns of a row should say, and what has to be done for it.

    Attributes:
        besides: the reason of a held revision without its permissions and steps, for who shows those anyway.
        matched: how many instances it governs, `occupied` how many of them carry a foreign role; None: unchanged.
        held: the revision that waits for approval; 0: none does, and the column goes. None: unchanged.
        done: columns in which people asked for something that is done: they go, if they still say what was read.
        mapping: the revision that this is about; `impact` is what it would change, if it isn't in effect yet.
        missing: what of the profile has to be made first (`RoleCheck.missing`), as `refresh` has to be written first.
        records: what has to be published for each account; None: what the published mapping needs.
        ends_soon: what to report once, as the mapping will soon expire.
        changed: whether this was news, and `in_conflict` the rows to judge again; set once it is committed.
    """

    status: Status
    reason: str = ""
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
    ends_soon: str = ""
    besides: str = ""
    changed: bool = False
    in_conflict: frozenset[MappingKey] = frozenset()

    @property
    def columns(self) -> dict[str, Any]:
        said = {"status": self.status.value, "status_reason": self.reason, "status_revision": self.revision}
        counts = {"matched": self.matched, "occupied": self.occupied, "held_revision": self.held or None}
        return said | {name: value for name, value in counts.items() if value is not None}

    def gone(self, row: Attributes) -> list[str]:
        """The columns to take away from a row."""
        held = ("held_revision",) if self.held == 0 else ()
        return [name for name in (*held, *self.done) if name in row]

    def is_in(self, row: Attributes) -> bool:
        """Whether a row already says exactly this."""
        return not self.gone(row) and all(_said(row, name) == value for name, value in self.columns.items())

    def is_news(self, row: Attributes) -> bool:
        """Whether a row says another status, reason or revision, or another held revision; a new count isn't news.

        The reason of a held revision says counts, so it isn't compared.
        """
        names = ("status", "held_revision") if self.held else VERDICT
        return any(_said(row, name) != self.columns[name] for name in names)

    def only_reason(self, row: Attributes) -> bool:
        """Whether nothing but the reason differs from what a row says."""
        return all(
            _said(row, name) == self.columns.get(name) for name in ("status", "status_revision", "held_revision")
        )

    def is_shown(self, entry: Mapping[str, Any], row: Attributes) -> bool:
        """Whether a history entry says the same of a row. A held revision has one entry: its counts change daily."""
        shown: dict[str, object] = {"status": self.status.value, "fingerprint": fingerprint(row)}
        shown |= {"revision": self.held} if self.held else {"reason": self.reason}
        return all(entry.get(name) == value for name, value in shown.items())


def _said(row: Attributes, name: str) -> Any:
    return codec.plain(row[name]) if row.get(name) else None
