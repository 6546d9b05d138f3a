"""What was read of a mapping at one moment, and what follows from it alone: numbers, approvals, put-back rows. Pure.

A revision that is held is known by its number: whoever writes that number into the row approves the very content that
was held, and nothing else. So no number is ever given to two contents, and none that the row says already.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from rolekeeper.columns import Attributes
from rolekeeper.conflicts import Survey
from rolekeeper.mapping_table import number_in
from rolekeeper.mappings import RowVerdict, content, row_of
from rolekeeper.model import MappingKey, MappingSpec, PublishedMapping
from rolekeeper.revisions import Kept


@dataclass(frozen=True, slots=True)
class Occasion:
    """Why a row is judged.

    Attributes:
        cause: in words, for the history.
        correlation_id: ties together what one happening caused.
        by: who edited the row, where the stream knows it.
        recheck: nobody need have edited it.
        survey: what the sweep counted for the mapping as it is served.
        seen: whether the sweep just saw the row.
    """

    cause: str
    correlation_id: str
    by: str = ""
    recheck: bool = False
    survey: Survey | None = None
    seen: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """A row, what it says, and what is kept of its mapping. `row` is empty when there is none."""

    key: MappingKey
    row: Attributes
    reading: RowVerdict
    kept: Kept
    at: datetime
    occasion: Occasion

    @property
    def served(self) -> PublishedMapping | None:
        """What the reconciler obeys; a tombstone isn't it."""
        return None if self.kept.published is None or self.kept.published.deleted else self.kept.published

    @property
    def by(self) -> str:
        """Who made the edit, where that is known."""
        return self.reading.edited_by or self.occasion.by

    def numbered(self, mapping: PublishedMapping) -> PublishedMapping:
        """A candidate under its own number: the held one's if it says the same, or else the next that is free.

        A number that the row's `approve` says already isn't free: nobody can have approved what wasn't held yet.
        """
        if held := self._held_like(mapping):
            return held
        last = self.kept.last
        return replace(mapping, revision=last + (2 if self.reading.approve == last + 1 else 1))

    def candidate(self, spec: MappingSpec, profile_arn: str, profile_id: str) -> PublishedMapping:
        """What would be published for this row."""
        before = self.kept.published
        mapping = PublishedMapping(spec, 0, profile_arn)
        if before and before.profile_arn == profile_arn:
            mapping = replace(mapping, profile_id=before.profile_id, former_profile_ids=before.former_profile_ids)
        return self.numbered(mapping.with_profile_id(profile_id) if profile_id else mapping)

    def serves(self, mapping: PublishedMapping) -> bool:
        """Whether this is what is served already."""
        served = self.served
        return bool(served and (served.spec, served.profile_arn) == (mapping.spec, mapping.profile_arn))

    def tombstone(self) -> PublishedMapping | None:
        """What would be published in the place of what is served, if its row were deleted; None when nothing is."""
        return self.numbered(replace(self.served, deleted=True, suspended="")) if self.served else None

    # ---- held ----

    def keeps(self, candidate: PublishedMapping) -> bool:
        """Whether this very candidate is kept as held."""
        return self._held_like(candidate) == candidate

    def approves(self, candidate: PublishedMapping) -> bool:
        """Whether somebody approved this very candidate after it was held."""
        return self.keeps(candidate) and self.reading.approve == candidate.revision

    def shows_held(self, candidate: PublishedMapping) -> bool:
        """Whether the row shows this very candidate as held: so it stays, even when it would change less by now."""
        return self.keeps(candidate) and number_in(self.row, "held_revision") == candidate.revision

    def acted_on(self, revision: int = 0) -> tuple[str, ...]:
        """The columns by which people asked for what is done now: who edited is noted, this revision is served."""
        edited_by = ("edited_by",) if self.reading.edited_by else ()
        return (*edited_by, "approve") if revision and self.reading.approve == revision else edited_by

    def about_approval(self, held: int) -> str:
        """What is wrong with the number in the row's `approve`, in words; empty when nothing is."""
        approve = self.reading.approve
        if approve in (0, held):
            return ""
        return f"approve is {approve}, but {f'{held} is held' if held else 'nothing is held'}"

    # ---- a deletion that is held: we put its row back ----

    @property
    def holds_deletion(self) -> bool:
        """Whether the row is one that we put back, as its deletion is held. Put again, or without `status`, it isn't.

        It is told by its content, not by what can be read of it: so a row that an older version published can go too.
        """
        held = self.kept.held
        return bool(
            self.served
            and held
            and held.mapping.deleted
            and self.keeps(held.mapping)
            and held.mapping == replace(self.served, revision=held.revision, deleted=True, suspended="")
            and self._put_back(held.mapping)
        )

    @property
    def deletion_approved(self) -> bool:
        """Whether the tombstone of such a row is published already, as approved, and only the row is left."""
        published = self.kept.published
        return bool(
            published and published.deleted and self.reading.approve == published.revision and self._put_back(published)
        )

    def _put_back(self, tombstone: PublishedMapping) -> bool:
        shown = "status" in self.row and number_in(self.row, "held_revision") == tombstone.revision
        return shown and content(self.row) == content(row_of(tombstone.spec))

    def _held_like(self, mapping: PublishedMapping) -> PublishedMapping | None:
        held = self.kept.held
        if held is None or held.revision <= self._published:
            return None
        return held.mapping if held.mapping == replace(mapping, revision=held.revision) else None

    @property
    def _published(self) -> int:
        return self.kept.published.revision if self.kept.published else 0
