"""Edits that would change too much: held, until somebody approves that very revision by its number.

The candidate lies in the state table, and the row says its number. It is written there before the row says so: whoever
reads a number can be sure of what it stands for.
"""

from collections.abc import Iterable

from rolekeeper.look import Look
from rolekeeper.mapping_table import Columns
from rolekeeper.model import PublishedMapping
from rolekeeper.scribe import Scribe
from rolekeeper.verdicts import Status, Verdict, sentence, what_serves
from rolekeeper.weight import Weight

EVENT = f"Mapping {Status.HELD}"


class Holder:
    """Holds candidates, and tombstones of deleted rows: then the row is put back, so that there is one to approve."""

    def __init__(self, scribe: Scribe) -> None:
        self._scribe = scribe

    def hold(
        self, look: Look, candidate: PublishedMapping, weight: Weight, serving: int, notes: Iterable[str] = ()
    ) -> Verdict:
        """Keep a candidate, say in the row what it would do and how to approve it, and go on serving what is served.

        Args:
            look: what was read; without a row, it is put back.
            candidate: what is held.
            weight: what it would do.
            serving: how many instances are governed by what is served.
            notes: what else there is to say.

        Raises:
            ObserveAgainError: somebody edited the row, or held another revision, meanwhile.
        """
        number, served = candidate.revision, look.served
        ending = "; ".join(each for each in (what_serves(served), look.about_approval(number)) if each)
        reason = sentence([_summary(candidate, weight), *notes], ending)
        revision = served.revision if served else 0
        columns = Columns(Status.HELD.value, reason, revision, serving, held=number, done=look.acted_on())
        news = self._scribe.news(look, columns)
        entry = self._scribe.entry(look, EVENT, Status.HELD.value, reason, candidate, weight=weight)
        if news or not look.keeps(candidate):
            self._scribe.hold(look, candidate, entry)
        if look.row:
            self._scribe.write(look, columns)
        else:
            self._scribe.put_back(look, candidate.spec, columns)
        if news:
            self._scribe.tell(look, entry)
        return Verdict(look.key, Status.HELD, reason, revision, serving, held=number, changed=news)


def _summary(candidate: PublishedMapping, weight: Weight) -> str:
    if candidate.deleted:
        return (
            f"deleting it would {weight}; to delete it, write {candidate.revision} into approve; "
            f"to keep it, remove status"
        )
    return f"it would {weight}; to serve it, write {candidate.revision} into approve"
