"""What was read of a row (`RowSnapshot`), and what is to become of it (`Verdict`): values, without I/O.

`assess` makes a verdict of a snapshot, `publish` carries it out. A revision that is held is known by its number:
whoever writes that number into the row approves the very content that was held, and nothing else. So no number is ever
given to two contents, and none that the row says already.
"""

from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass, replace
from datetime import datetime
from enum import StrEnum

from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError
from rolekeeper.mappings.impact import ImpactReport
from rolekeeper.mappings.revisions import StoredMapping
from rolekeeper.mappings.rows.columns import Attributes
from rolekeeper.mappings.rows.reader import ParsedRow, content, row_of
from rolekeeper.mappings.scan import Scan
from rolekeeper.mappings.table import Columns, number_in
from rolekeeper.model.mapping import MappingKey, MappingSpec, PublishedMapping
from rolekeeper.permissions import RoleCheck


@dataclass(frozen=True, slots=True)
class Trigger:
    """Why a row is judged: `cause` in words, for the history, and `by` who edited the row, where the stream knows it.

    With `recheck`, nobody need have edited it. `scan` is what the sweep counted for the mapping as it is published,
    `seen` whether it just saw the row.
    """

    cause: str
    correlation_id: str
    by: str = ""
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

    @property
    def published(self) -> PublishedMapping | None:
        """What the reconciler obeys; a tombstone isn't it."""
        return None if self.stored.published is None or self.stored.published.deleted else self.stored.published

    @property
    def revision(self) -> int:
        """The number of what is in effect, 0 for nothing."""
        return self.published.revision if self.published else 0

    @property
    def still_in_effect(self) -> str:
        """What stays in effect while an edit doesn't come into it, in brackets; empty when nothing is."""
        if self.published is None:
            return ""
        if self.published.suspended_because:
            return f"(revision {self.revision} is suspended: its instances stay as they are)"
        return f"(revision {self.revision} stays in effect)"

    @property
    def by(self) -> str:
        """Who made the edit, where that is known."""
        return self.parsed.edited_by or self.trigger.by

    def with_published(self, mapping: PublishedMapping) -> "RowSnapshot":
        return replace(self, stored=replace(self.stored, published=mapping))

    def candidate(self, spec: MappingSpec, profile_arn: str, profile_id: str) -> PublishedMapping:
        """What would be published for this row."""
        before = self.stored.published
        mapping = PublishedMapping(spec, 0, profile_arn)
        if before and before.profile_arn == profile_arn:
            mapping = replace(mapping, profile_id=before.profile_id, former_profile_ids=before.former_profile_ids)
        return self._numbered(mapping.with_profile_id(profile_id) if profile_id else mapping)

    def tombstone(self) -> PublishedMapping | None:
        """What would be published in the place of what is, if its row were deleted; None when nothing is."""
        return self._numbered(replace(self.published, deleted=True, suspended_because="")) if self.published else None

    def _numbered(self, mapping: PublishedMapping) -> PublishedMapping:
        """A candidate under its own number: the held one's if it says the same, or else the next that is free.

        A number that the row's `approve` says already isn't free: nobody can have approved what wasn't held yet.
        """
        held = self._held
        if held and held == replace(mapping, revision=held.revision):
            return held
        last = self.stored.last
        return replace(mapping, revision=last + (2 if self.parsed.approve == last + 1 else 1))

    def is_published(self, mapping: PublishedMapping) -> bool:
        now = self.published
        return bool(now and (now.spec, now.profile_arn) == (mapping.spec, mapping.profile_arn))

    # ---- held ----

    @property
    def _held(self) -> PublishedMapping | None:
        """The revision that waits for approval: not one that was published or overtaken since."""
        held, published = self.stored.held, self.stored.published
        return held.mapping if held and held.revision > (published.revision if published else 0) else None

    def holds(self, candidate: PublishedMapping) -> bool:
        """Whether this very candidate is stored as held."""
        return self._held == candidate

    def approves(self, candidate: PublishedMapping) -> bool:
        """Whether a person approved this very candidate after it was held."""
        return self.holds(candidate) and self.parsed.approve == candidate.revision

    def shows_held(self, candidate: PublishedMapping) -> bool:
        """Whether the row shows this very candidate as held: so it stays, even when it would change less by now."""
        return self.holds(candidate) and number_in(self.row, "held_revision") == candidate.revision

    def acted_on(self, revision: int = 0) -> tuple[str, ...]:
        """The columns that are done: who edited is noted, and where this revision is published, its approval."""
        edited_by = ("edited_by",) if self.parsed.edited_by else ()
        return (*edited_by, "approve") if revision and self.parsed.approve == revision else edited_by

    def about_approval(self, held: int) -> str:
        """What is wrong with the number in the row's `approve`, in words; empty when nothing is."""
        approve = self.parsed.approve
        if approve in (0, held):
            return ""
        return f"approve is {approve}, but {f'{held} is held' if held else 'nothing is held'}"

    # ---- a deletion that is held: its row was put back ----

    @property
    def holds_deletion(self) -> bool:
        """Whether the row was put back because its deletion is held. Put again, or without `status`, it isn't that.

        It is known by its content, not by what can be read of it: so a row that an older version published can go too.
        """
        tombstone = self.tombstone()
        return tombstone is not None and self.holds(tombstone) and self._put_back(tombstone)

    @property
    def deletion_approved(self) -> bool:
        """Whether the tombstone of such a row is published already, as approved, and only the row is left."""
        stored = self.stored.published
        return bool(stored and stored.deleted and self.parsed.approve == stored.revision and self._put_back(stored))

    def _put_back(self, tombstone: PublishedMapping) -> bool:
        shown = "status" in self.row and number_in(self.row, "held_revision") == tombstone.revision
        return shown and content(self.row) == content(row_of(tombstone.spec))


# The longest reason that goes into a row.
REASON = 1_000
# What a row says when all is well.
IN_EFFECT = "in effect"


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
    """What IAM says of a published mapping by now, as it is to be stored: whether it can be used, its profile's ids.

    `event` is what the history calls it, empty where it is no news. `missing` says what has to be made of its profile,
    which was to wait when it was published.
    """

    mapping: PublishedMapping
    event: str = ""
    reason: str = ""
    missing: RoleCheck | None = None


@dataclass(frozen=True, slots=True)
class Verdict(Columns):
    """What is to become of a row: what it is to say, and what has to be done for it.

    Attributes:
        mapping: the revision that this is about.
        report: what it would change, for one that isn't in effect yet.
        scan: what was found among the instances.
        missing: what has to be made of the profile first.
        refresh: what is to be written of the published mapping first.
        changed: whether this is news; known once it is committed, as are the rest.
        sent: how many instances were asked to be reconciled.
        in_conflict: the rows to judge again, as they were in conflict with this one.
    """

    status: Status
    _: KW_ONLY
    ending: Ending = Ending.NOTHING
    mapping: PublishedMapping | None = None
    report: ImpactReport | None = None
    scan: Scan | None = None
    missing: RoleCheck | None = None
    refresh: Refresh | None = None
    changed: bool = False
    sent: int = 0
    in_conflict: frozenset[MappingKey] = frozenset()


def waiting(seen: RowSnapshot, error: AwsRefusalError) -> Verdict:
    """The verdict on a row for which AWS gave no answer, or refused it: unless what it says is in effect or held."""
    slow = f"AWS gave no answer ({error.code} to {error.action}); it is asked again"
    why = denial(error) if isinstance(error, AccessDeniedError) else slow
    reason, matched = sentence([why], seen.still_in_effect), None if seen.published else 0
    held = seen.trigger.recheck and "held_revision" in seen.row
    stays = held or not seen.row or bool(seen.published and seen.parsed.spec == seen.published.spec)
    ending = Ending.NOTHING if stays else Ending.SAY
    return Verdict(Status.WAITING, reason, seen.revision, matched, held=None, ending=ending)


def denial(error: AccessDeniedError) -> str:
    """What to do about a missing permission."""
    return f"Rolekeeper isn't allowed {error.action} on {error.resource}; allow it, the next sweep tries again"


def sentence(parts: Iterable[str], ending: str = "") -> str:
    """One reason from its parts, cut to what a row shows; the ending stays whole."""
    text = "; ".join(part for part in parts if part)
    room = REASON - len(ending) - 1
    text = f"{text[: room - 1]}…" if len(text) > room else text
    return f"{text} {ending}".strip()
