"""Rows in conflict with a mapping: editing either of the two clears both, without waiting for the sweep.

A row that is in conflict notes that beside the other mapping, in the very item that is read and written when that is
published. So it costs nothing where there is no conflict, and of two that are published at the same moment one looks
again.
"""

from collections.abc import Callable, Iterable

from rolekeeper.announce import Announcer
from rolekeeper.conflicts import Conflicts
from rolekeeper.errors import AwsRefusalError, ObserveAgainError, RetryableError
from rolekeeper.model import MappingKey
from rolekeeper.revisions import Revisions
from rolekeeper.verdicts import Status, Verdict

# The most mappings that a row notes itself beside, and the most rows beside one mapping; the sweep looks at all.
OTHERS, ROWS = 5, 20


class ConflictNotes:
    """Remembers which rows are in conflict with which mappings."""

    def __init__(self, revisions: Revisions, announcer: Announcer) -> None:
        self._revisions = revisions
        self._announcer = announcer

    def write(self, row: MappingKey, conflicts: Conflicts) -> None:
        """Note a row beside the mappings that it is in conflict with.

        Raises:
            ObserveAgainError: one of them is published anew: look whether there still is a conflict.
        """
        for conflict in conflicts.largest_first[:OTHERS]:
            stored = self._revisions.read(conflict.other.key)
            if stored.published is None or stored.published.revision != conflict.other.revision:
                raise ObserveAgainError("OtherChanged", f"{conflict.other.key} is published anew")
            if row not in stored.in_conflict and len(stored.in_conflict) < ROWS:
                self._revisions.add_conflict(stored.published, row)

    def recheck(
        self, key: MappingKey, rows: Iterable[MappingKey], correlation_id: str, judge: Callable[[MappingKey], Verdict]
    ) -> None:
        """Judge the rows that were in conflict with a mapping, now that it changed; drop those that are so no more.

        What is wrong with one of them is no fault of the mapping's: it is logged, and the sweep comes by.

        Raises:
            RetryableError: AWS gave no answer for one of them, after all were looked at. Try again.
        """
        over: list[MappingKey] = []
        unanswered: RetryableError | None = None
        for row in sorted(rows)[:ROWS]:
            try:
                if judge(row).status not in {Status.CONFLICT, Status.WAITING}:
                    over.append(row)
            except RetryableError as error:
                unanswered = unanswered or error
            except AwsRefusalError as error:
                self._log(row, error, correlation_id)
        if over:
            try:
                self._revisions.remove_conflicts(key, over)
            except AwsRefusalError as error:
                self._log(key, error, correlation_id)
        if unanswered:
            raise unanswered

    def _log(self, row: MappingKey, error: AwsRefusalError, correlation_id: str) -> None:
        text = {"mapping": str(row), "error": str(error), "correlation_id": correlation_id}
        self._announcer.failed("a conflict was not checked again", **text)
