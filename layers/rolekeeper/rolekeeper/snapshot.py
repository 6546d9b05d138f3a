"""What was read of a row at one moment, and what follows from it alone: numbers, approvals, put-back rows. Pure.

A revision that is held is known by its number: whoever writes that number into the row approves the very content that
was held, and nothing else. So no number is ever given to two contents, and none that the row says already.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from rolekeeper.columns import Attributes
from rolekeeper.mapping_table import number_in
from rolekeeper.mappings import ParsedRow, content, row_of
from rolekeeper.model import MappingKey, MappingSpec, PublishedMapping
from rolekeeper.revisions import StoredMapping
from rolekeeper.scan import Scan


@dataclass(frozen=True, slots=True)
class Trigger:
    """Why a row is judged.

    Attributes:
        cause: in words, for the history.
        correlation_id: ties together what one event caused.
        by: who edited the row, where the stream knows it.
        recheck: nobody need have edited it.
        scan: what the sweep counted for the mapping as it is published.
        seen: whether the sweep just saw the row.
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
    def by(self) -> str:
        """Who made the edit, where that is known."""
        return self.parsed.edited_by or self.trigger.by

    def numbered(self, mapping: PublishedMapping) -> PublishedMapping:
        """A candidate under its own number: the held one's if it says the same, or else the next that is free.

        A number that the row's `approve` says already isn't free: nobody can have approved what wasn't held yet.
        """
        if held := self._held_like(mapping):
            return held
        last = self.stored.last
        return replace(mapping, revision=last + (2 if self.parsed.approve == last + 1 else 1))

    def candidate(self, spec: MappingSpec, profile_arn: str, profile_id: str) -> PublishedMapping:
        """What would be published for this row."""
        before = self.stored.published
        mapping = PublishedMapping(spec, 0, profile_arn)
        if before and before.profile_arn == profile_arn:
            mapping = replace(mapping, profile_id=before.profile_id, former_profile_ids=before.former_profile_ids)
        return self.numbered(mapping.with_profile_id(profile_id) if profile_id else mapping)

    def is_published(self, mapping: PublishedMapping) -> bool:
        """Whether this is in effect already."""
        now = self.published
        return bool(now and (now.spec, now.profile_arn) == (mapping.spec, mapping.profile_arn))

    def tombstone(self) -> PublishedMapping | None:
        """What would be published in the place of what is, if its row were deleted; None when nothing is."""
        return self.numbered(replace(self.published, deleted=True, suspended="")) if self.published else None

    # ---- held ----

    def holds(self, candidate: PublishedMapping) -> bool:
        """Whether this very candidate is stored as held."""
        return self._held_like(candidate) == candidate

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
        held = self.stored.held
        return bool(
            self.published
            and held
            and held.mapping.deleted
            and self.holds(held.mapping)
            and held.mapping == replace(self.published, revision=held.revision, deleted=True, suspended="")
            and self._put_back(held.mapping)
        )

    @property
    def deletion_approved(self) -> bool:
        """Whether the tombstone of such a row is published already, as approved, and only the row is left."""
        stored = self.stored.published
        return bool(stored and stored.deleted and self.parsed.approve == stored.revision and self._put_back(stored))

    def _put_back(self, tombstone: PublishedMapping) -> bool:
        shown = "status" in self.row and number_in(self.row, "held_revision") == tombstone.revision
        return shown and content(self.row) == content(row_of(tombstone.spec))

    def _held_like(self, mapping: PublishedMapping) -> PublishedMapping | None:
        held = self.stored.held
        published = self.stored.published.revision if self.stored.published else 0
        if held is None or held.revision <= published:
            return None
        return held.mapping if held.mapping == replace(mapping, revision=held.revision) else None
