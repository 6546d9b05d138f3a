"""A row as it was read with what is stored of its mapping: the one value that assessing it looks at.

Signing the number of a held revision approves exactly its content. So a number never identifies two different edits,
and a new one is never a number that the row's `approve` already says.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from rolekeeper.instances.window import counted_with
from rolekeeper.mappings.impact import Impact, Scan
from rolekeeper.mappings.revisions import Entry, StoredMapping
from rolekeeper.mappings.rollout import Rollout
from rolekeeper.mappings.rows import Attributes, ParsedRow, changes, content, fingerprint, quote, row_of
from rolekeeper.mappings.table import number_in
from rolekeeper.mappings.verdict import Ending, Refresh, Status, Verdict
from rolekeeper.model.mapping import Held, MappingKey, Outgrown, PublishedMapping, same_person
from rolekeeper.storage import layout

# Why the sweep publishes an edit that was held, and that nobody approved.
NO_LONGER_HELD = "it no longer needs approval"


@dataclass(frozen=True, slots=True)
class Trigger:
    """Why a row is judged: `cause` in words, for the history; `claimed_by` is the editor that a deleted row named.

    With `recheck` there may be no edit. `scan` and `row_listed` are what the sweep found (`Publisher.recheck`). If what
    is published has `ended`, its instances are sent whatever the verdict is.
    """

    cause: str
    correlation_id: str
    claimed_by: str = ""
    recheck: bool = False
    scan: Scan | None = None
    row_listed: bool = False
    ended: bool = False


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
        """Of what is in effect; 0 if nothing is."""
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
        home, unsent = self.stored.home, self.stored.unsent or refresh.entry is not None
        records = {**self.stored.records, home: replace(self.stored.records[home], mapping=refresh.mapping)}
        return replace(self, stored=replace(self.stored, records=records, unsent=unsent))

    @property
    def tombstone(self) -> PublishedMapping | None:
        """The tombstone that is published, or would be if the row were deleted; None if nothing was ever published."""
        if self.published is None:
            return self.stored.published
        return self.numbered(replace(self.published, deleted=True))

    def numbered(self, mapping: PublishedMapping) -> PublishedMapping:
        """A candidate, as usable, with its number: the held revision's if that says the same, else the next.

        Never the number that `approve` says.
        """
        held, mapping = self._held, mapping.suspended_for(None)
        if held and held == replace(mapping, revision=held.revision):
            # Its profile may have been deleted and made anew since it was held: the ids are those of now.
            return replace(mapping, revision=held.revision)
        return replace(mapping, revision=self.next_number)

    @property
    def next_number(self) -> int:
        last = self.stored.last
        return last + (2 if self.parsed.approve == last + 1 else 1)

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

    def others_took(self, candidate: PublishedMapping, minutes: int, moments: Iterable[datetime]) -> int:
        """Return how many changes of other edits count with a candidate, now or at one of its later `moments`.

        Those are what others change within `minutes`. For the sweep also those that counted when it was held: otherwise
        time alone would publish it.
        """
        took, held = counted_with(self.stored.edits, minutes, self.at, moments=moments), self.stored.held
        return max(took, held.took) if held and self.trigger.recheck and self.holds(candidate) else took

    def outgrown(self, candidate: PublishedMapping, impact: Impact, rollout: Rollout) -> Outgrown | None:
        """What a held candidate was shown to do, if by now it would do more, beyond what may be done unapproved."""
        held = self.stored.held
        if held is None or not self.holds(candidate):
            return None
        more = beyond(held, impact, rollout.assumed)
        took = counted_with(self.stored.edits, impact.minutes, self.at, moments=impact.changes_at) if more else 0
        if more + took <= impact.allowed and held.severe.issuperset(impact.severe):
            return None
        return Outgrown(candidate.revision, held.changes, frozenset(rollout.records.keys() - held.counted_in))

    @property
    def holds_deletion(self) -> bool:
        """Whether the row was put back because its deletion is held, or is left after that deletion took effect.

        This compares the raw content: so a row that only an older version could read can be deleted too.
        """
        tombstone = self.tombstone
        if tombstone is None or "status" not in self.row or number_in(self.row, "held_revision") != tombstone.revision:
            return False
        # A sweep that ended after it had deleted the mapping leaves the row to the next one.
        left = self.published is None and self.trigger.recheck
        asked = left or self.holds(tombstone) or self.parsed.approve == tombstone.revision
        return asked and content(self.row) == content(row_of(tombstone.spec))

    @property
    def deletes(self) -> bool:
        """Whether a deletion is judged: the row is gone, or was put back as its deletion is held."""
        return not self.row or self.holds_deletion

    @property
    def is_published(self) -> bool:
        """Whether the row says what is published."""
        return bool(self.row and self.published and self.parsed.spec == self.published.spec)

    @property
    def is_kept(self) -> bool:
        """Whether it says what is published, and nothing of that was lost."""
        return self.is_published and not self.deletes and not self.stored.overtaken

    def stamp(self, account: str = "") -> str:
        """What is asked about a row, in short; with an `account`, there."""
        stored = [self.stored.published, *(each.mapping for at, each in self.stored.records.items() if at == account)]
        asked = [self.deletes, layout.encode(self.parsed.spec), *(map(layout.encode, stored) if account else ())]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()[:32]

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

    def editor_of(self, mapping: PublishedMapping) -> str:
        """Return who claims to have made an edit: who is named now, or was when the same content was held before."""
        named, held = self.parsed.edited_by or self.trigger.claimed_by, self.stored.held
        same = held and (held.mapping.spec, held.mapping.deleted) == (mapping.spec, mapping.deleted)
        return named or (held.by if held and same else "")

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
        held, swept = self.stored.held, self.trigger.recheck and verdict.ending in (Ending.PUBLISH, Ending.REMOVE)
        if held and swept and verdict.mapping and self.holds(verdict.mapping) and not entry["approved_by"]:
            entry |= {"cause": NO_LONGER_HELD, "claimed_by": held.by}
        if verdict.mapping and verdict.impact:
            entry |= {"changes": changes(self.stored.published, verdict.mapping), "effect": verdict.impact.document()}
        return entry


def beyond(held: Held, impact: Impact, assumed: Impact) -> int:
    """How many more instances than shown change, or lose a role, where it is published now: not as `assumed`."""
    more = impact.changes - assumed.changes - held.changes
    return max(0, more, impact.takes - assumed.takes - held.takes)
