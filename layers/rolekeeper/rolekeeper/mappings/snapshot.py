"""A row as it was read with what is stored of its mapping: the one value that assessing it looks at.

An approval names the number of a held revision and the digest of what was shown: it approves exactly that content.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property

from rolekeeper.instances.window import counted_with
from rolekeeper.mappings.impact import Impact, Scan
from rolekeeper.mappings.revisions import Entry, StoredMapping
from rolekeeper.mappings.rollout import Rollout
from rolekeeper.mappings.rows import Attributes, ParsedRow, changes, content, fingerprint, quote, row_of
from rolekeeper.mappings.table import number_in
from rolekeeper.mappings.verdict import Ending, Refresh, Status, Verdict
from rolekeeper.model.mapping import Approval, Held, MappingKey, Outgrown, PublishedMapping, same_person
from rolekeeper.model.problem import Reason, ReasonCode, details, sentence
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


@dataclass(frozen=True)
class RowSnapshot:
    """A row, what it says, and what is stored of its mapping. `row` is empty when there is none."""

    key: MappingKey
    row: Attributes
    parsed: ParsedRow
    stored: StoredMapping
    at: datetime
    trigger: Trigger
    approvals: tuple[Approval, ...] = ()  # by those who signed what is held

    @cached_property
    def published(self) -> PublishedMapping | None:
        """What the reconciler obeys; None for a tombstone."""
        return None if self.stored.published is None or self.stored.published.deleted else self.stored.published

    @property
    def revision(self) -> int:
        """Of what is in effect; 0 if nothing is."""
        return self.published.revision if self.published else 0

    @property
    def still_in_effect(self) -> list[Reason]:
        """Return that what is published stays, if anything is."""
        if self.published is None:
            return []
        mappings = [record.mapping for record in self.stored.records.values()]
        everywhere = all(mapping.suspended_because or mapping.deleted for mapping in mappings)
        return [(ReasonCode.STAYS_SUSPENDED if everywhere else ReasonCode.STAYS_IN_EFFECT)(revision=self.revision)]

    def refreshed(self, refresh: "Refresh") -> "RowSnapshot":
        home, unsent = self.stored.home, self.stored.unsent or refresh.entry is not None
        records = {**self.stored.records, home: replace(self.stored.records[home], mapping=refresh.mapping)}
        return replace(self, stored=replace(self.stored, records=records, unsent=unsent))

    @cached_property
    def tombstone(self) -> PublishedMapping | None:
        """The tombstone that is published, or would be if the row were deleted; None if nothing was ever published."""
        if self.published is None:
            return self.stored.published
        return self.numbered(replace(self.published, deleted=True, former=None))

    def numbered(self, mapping: PublishedMapping) -> PublishedMapping:
        """Number a candidate, as usable: the held revision's number if that says the same, otherwise the next."""
        held, mapping = self.stored.pending, mapping.suspended_for(None)
        if held and held == replace(mapping, revision=held.revision):
            # Its profile may have been deleted and made anew since it was held: the ids are those of now.
            return replace(mapping, revision=held.revision)
        return replace(mapping, revision=self.stored.last + 1)

    @cached_property
    def taken_back(self) -> PublishedMapping | None:
        """The held revision, if the row was written as it is published, or deleted before it ever was."""
        held = self.stored.pending
        if held is None or self.holds_deletion or self.stored.held_again:
            return None
        gone = not (self.row or self.published or self.trigger.recheck)
        return held if self.is_published or gone else None

    def discarded(self, held: PublishedMapping) -> tuple["RowSnapshot", Entry]:
        """Return the same without what is held, and the history entry of that."""
        what = ReasonCode.DISCARDED(what="deletion" if held.deleted else "edit")
        entry = {**self.entry("Mapping Discarded", held, what), "status": Status.DISCARDED.value}
        assert self.stored.held is not None  # it is what is held
        ended = replace(self.stored.held, outcome=layout.DISCARDED)
        # What is noted next comes after it in the history.
        after = self.at + timedelta(microseconds=1)
        return replace(self, stored=replace(self.stored, held=ended), at=after), entry

    def holds(self, candidate: PublishedMapping) -> bool:
        """Return whether exactly this candidate is held, whether or not the hub's account can use its role."""
        return self.stored.pending == candidate.suspended_for(None)

    def approval(
        self, candidate: PublishedMapping, impact: Impact, rollout: Rollout
    ) -> tuple[Approval | None, list[Reason]]:
        """Return who approved exactly this candidate, for what it would do now; or why those who signed did not."""
        signed = self.approvals if self.holds(candidate) else ()
        refused = {approval: self._refusal(approval, impact, rollout) for approval in signed}
        approved = next((approval for approval, why in refused.items() if not why), None)
        return approved, [] if approved else [*{str(why): why for why in refused.values() if why}.values()]

    def _refusal(self, approval: Approval, impact: Impact, rollout: Rollout) -> Reason | None:
        """Return why an approval doesn't approve what is held; None if it does."""
        held, by = self.stored.held, quote(approval.by)
        assert held is not None  # approvals are read of what is held
        if (number := held.mapping.revision) != approval.revision:
            return ReasonCode.APPROVED_ANOTHER_REVISION(by=by, approved=approval.revision, revision=number)
        if held.digest != approval.digest:
            return ReasonCode.APPROVED_OTHER_CONTENT(by=by, revision=number)
        if same_person(held.by, approval.arn):
            return ReasonCode.APPROVED_OWN_EDIT()
        if self._exceeds(approval, impact, rollout):
            approved, now = approval.changes, impact.changes
            return ReasonCode.APPROVED_FEWER_CHANGES(by=by, approved=approved, changes=now)
        return None

    def others_took(self, candidate: PublishedMapping, minutes: int, moments: Iterable[datetime]) -> int:
        """Return how many changes of other edits count with a candidate, now or at one of its later `moments`.

        Those are what others change within `minutes`. For the sweep also those that counted when it was held: otherwise
        time alone would publish it.
        """
        took, held = counted_with(self.stored.edits, minutes, self.at, moments=moments), self.stored.held
        return max(took, held.took) if held and self.trigger.recheck and self.holds(candidate) else took

    def outgrown(self, candidate: PublishedMapping, impact: Impact, rollout: Rollout) -> Outgrown | None:
        """Return what a held candidate was shown to do, if it would do more than may be done unapproved."""
        held = self.stored.held
        if held is None or not self.holds(candidate):
            return None
        if not self._exceeds(held, impact, rollout) and held.severe.issuperset(impact.severe):
            return None
        return Outgrown(candidate.revision, held.changes, frozenset(rollout.records.keys() - held.counted_in))

    def _exceeds(self, shown: Held | Approval, impact: Impact, rollout: Rollout) -> bool:
        """Return whether it would do more than was shown and, with other edits, may be done unapproved."""
        more = beyond(shown, impact, rollout.assumed)
        took = counted_with(self.stored.edits, impact.minutes, self.at, moments=impact.changes_at) if more else 0
        return more + took > impact.allowed

    @cached_property
    def holds_deletion(self) -> bool:
        """Whether the row was put back because its deletion is held, or is left after that deletion took effect.

        This compares the raw content: so a row that only an older version could read can be deleted too.
        """
        tombstone = self.tombstone
        if tombstone is None or "status" not in self.row or number_in(self.row, "held_revision") != tombstone.revision:
            return False
        # A run that ended after it had deleted the mapping leaves the row to the next one.
        asked = self.published is None or self.holds(tombstone)
        return asked and content(self.row) == content(row_of(tombstone.spec))

    @cached_property
    def goes_back(self) -> bool:
        """Whether it says what was published before a rollout that goes on: that needs no approval and no waves."""
        spec, former = self.parsed.spec, self.published.former if self.published else None
        if former is None or former.deleted:
            return former is not None and (self.deletes or bool(spec and not spec.enabled))
        return spec is not None and not self.deletes and spec.gives_as(former.spec)

    @cached_property
    def deletes(self) -> bool:
        """Whether a deletion is judged: the row is gone, or was put back as its deletion is held."""
        return not self.row or self.holds_deletion

    @cached_property
    def is_published(self) -> bool:
        """Whether the row says what is published."""
        return bool(self.row and self.published and self.parsed.spec == self.published.spec)

    @cached_property
    def is_kept(self) -> bool:
        """Whether it says what is published, and nothing of that was lost."""
        return self.is_published and not self.deletes and not self.stored.overtaken

    def stamp(self, account: str = "") -> str:
        """Return what is asked about a row, in short; with an `account`, there."""
        stored = [self.stored.published, *(one.mapping for at, one in self.stored.records.items() if at == account)]
        asked = [self.deletes, layout.encode(self.parsed.spec), *(map(layout.encode, stored) if account else ())]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def editor_of(self, mapping: PublishedMapping) -> str:
        """Return who claims to have made an edit: who is named now, or was when the same content was held before."""
        named, held = self.parsed.edited_by or self.trigger.claimed_by, self.stored.held
        same = held and (held.mapping.spec, held.mapping.deleted) == (mapping.spec, mapping.deleted)
        return named or (held.by if held and same else "")

    def entry(
        self, event: str, mapping: PublishedMapping | None, *reasons: Reason, approval: Approval | None = None
    ) -> Entry:
        held = self.stored.held if approval else None
        return {
            "event": event,
            "status": "",
            "reason": sentence(reasons),
            "details": details(reasons),
            "revision": mapping.revision if mapping else 0,
            "role": mapping.spec.role if mapping else "",
            "profile_arn": mapping.profile_arn if mapping else "",
            "fingerprint": fingerprint(self.row) if self.row else "",
            "cause": "approved" if held else self.trigger.cause,
            # The editor is the one who made the edit that was held.
            "claimed_by": held.by if held else self.parsed.edited_by or self.trigger.claimed_by,
            "approved_by": approval.by if approval else "",
            "approver_claims": approval.arn if approval else "",
            "changes": [],
            "correlation_id": self.trigger.correlation_id,
        }

    def entry_for(self, verdict: "Verdict") -> Entry:
        entry = self.entry(f"Mapping {verdict.status}", verdict.mapping, *verdict.reasons, approval=verdict.approval)
        entry["status"] = "" if verdict.status is Status.REMOVED else verdict.status.value
        held, swept = self.stored.held, self.trigger.recheck and verdict.ending in (Ending.PUBLISH, Ending.REMOVE)
        if held and swept and verdict.mapping and self.holds(verdict.mapping) and not entry["approved_by"]:
            entry |= {"cause": NO_LONGER_HELD, "claimed_by": held.by}
        if verdict.mapping and verdict.impact:
            entry |= {"changes": changes(self.stored.published, verdict.mapping), "effect": verdict.impact.document()}
        return entry


def beyond(shown: Held | Approval, impact: Impact, assumed: Impact) -> int:
    """Return how many more instances than shown change, or lose a role, where it is published now: not as `assumed`."""
    return max(0, impact.changes - assumed.changes - shown.changes, impact.takes - assumed.takes - shown.takes)


def digest_of(held: PublishedMapping, accounts: Iterable[str]) -> str:
    """Return the digest of what is shown of a held revision: its content, and the accounts that it was counted in."""
    shown = [layout.encode(held.spec), held.profile_arn, held.deleted, sorted(accounts)]
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()
