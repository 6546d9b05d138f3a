"""Deleted rows: a deliberate act, by which instances give up what the mapping gave them.

A tombstone takes the mapping's place. Where that would change too many instances, the row is put back instead, and goes
for good when somebody approves it.
"""

from collections.abc import Callable

from rolekeeper.holding import Holder
from rolekeeper.look import Look
from rolekeeper.model import PublishedMapping
from rolekeeper.revisions import Revisions
from rolekeeper.scribe import Scribe
from rolekeeper.surveyor import Surveyor
from rolekeeper.verdicts import Status, Verdict
from rolekeeper.weight import Scales, Weight

EVENT = f"Mapping {Status.REMOVED}"


class Removal:
    """Removes mappings. `fan_out` has every instance that carries the tag reconciled."""

    def __init__(  # noqa: PLR0913, PLR0917  # its collaborators, each once
        self,
        revisions: Revisions,
        surveyor: Surveyor,
        scales: Scales,
        scribe: Scribe,
        holder: Holder,
        fan_out: Callable[[Look], int],
    ) -> None:
        self._revisions = revisions
        self._surveyor = surveyor
        self._scales = scales
        self._scribe = scribe
        self._holder = holder
        self._fan_out = fan_out

    def of_gone(self, look: Look) -> Verdict:
        """The row is gone: leave a tombstone, or put the row back."""
        tombstone = look.tombstone()
        if tombstone is None:
            # A tombstone met on the way of an edit may be one whose instances weren't sent before a crash.
            sent = self._fan_out(look) if look.kept.published and not look.occasion.recheck else 0
            return Verdict(look.key, Status.REMOVED, sent=sent)
        weight, serving = self._weigh(look, tombstone)
        if weight.too_heavy:
            return self._holder.hold(look, tombstone, weight, serving)
        return self._publish(look, tombstone, weight)

    def of_put_back(self, look: Look) -> Verdict:
        """The row is one that we put back: keep it, or delete it for good once that is approved."""
        if look.deletion_approved:
            return self._finish(look)
        tombstone = look.tombstone()
        assert tombstone is not None  # the deletion of nothing is never held
        weight, serving = self._weigh(look, tombstone)
        if not look.approves(tombstone):
            return self._holder.hold(look, tombstone, weight, serving)
        verdict = self._publish(look, tombstone, weight, credit=weight.effect.takes)
        self._scribe.delete(look)
        return verdict

    def _weigh(self, look: Look, tombstone: PublishedMapping) -> tuple[Weight, int]:
        found = self._surveyor.find(tombstone, look.served, look.at)
        return self._scales.weigh(tombstone, found.effect), found.serving

    def _publish(self, look: Look, tombstone: PublishedMapping, weight: Weight, *, credit: int = 0) -> Verdict:
        reason = "its row was deleted" + (", as approved" if look.approves(tombstone) else "")
        entry = self._scribe.entry(look, EVENT, "", reason, tombstone, weight=weight)
        self._revisions.publish(tombstone, entry, look.at, credit=credit, blocks=look.kept.blocks)
        sent = self._fan_out(look)
        self._scribe.tell(look, entry)
        return Verdict(look.key, Status.REMOVED, revision=tombstone.revision, changed=True, sent=sent)

    def _finish(self, look: Look) -> Verdict:
        """What a crash left: the tombstone is published, and only the row is still there."""
        sent = self._fan_out(look)
        self._scribe.delete(look)
        return Verdict(look.key, Status.REMOVED, sent=sent)
