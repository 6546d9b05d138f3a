"""Rows in a tie: mending either one clears both, without waiting for the sweep.

A row that is in a tie notes that beside its rival, in the very item that is read and written when the rival is
published. So it costs nothing where there is no tie, and of a rival that is published at the same moment one of the two
looks again.
"""

from collections.abc import Callable, Iterable

from rolekeeper.announce import Announcer
from rolekeeper.conflicts import Survey
from rolekeeper.errors import AwsRefusalError, ObserveAgainError, RetryableError
from rolekeeper.look import Look
from rolekeeper.model import MappingKey
from rolekeeper.revisions import Revisions
from rolekeeper.verdicts import Status, Verdict

# The most rivals that a row notes itself beside, and the most rows beside one rival; the sweep looks at all.
RIVALS, ROWS = 5, 20


class Ties:
    """Remembers which rows are in a tie with which."""

    def __init__(self, revisions: Revisions, announcer: Announcer) -> None:
        self._revisions = revisions
        self._announcer = announcer

    def note(self, look: Look, survey: Survey) -> None:
        """Note a row beside its rivals.

        Raises:
            ObserveAgainError: one of them is published anew: look whether there still is a tie.
        """
        for tie in survey.told[:RIVALS]:
            kept = self._revisions.read(tie.rival.key)
            if kept.published is None or kept.published.revision != tie.rival.revision:
                raise ObserveAgainError("RivalChanged", f"{tie.rival.key} is published anew")
            if look.key not in kept.blocks and len(kept.blocks) < ROWS:
                self._revisions.block(kept.published, look.key)

    def look_again(
        self, key: MappingKey, rows: Iterable[MappingKey], correlation_id: str, judge: Callable[[MappingKey], Verdict]
    ) -> None:
        """Judge the rows that were in a tie with a mapping, now that it changed; drop those that are so no more.

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
                self._put_off(row, error, correlation_id)
        if over:
            try:
                self._revisions.unblock(key, over)
            except AwsRefusalError as error:
                self._put_off(key, error, correlation_id)
        if unanswered:
            raise unanswered

    def _put_off(self, key: MappingKey, error: AwsRefusalError, correlation_id: str) -> None:
        said = {"mapping": str(key), "error": str(error), "correlation_id": correlation_id}
        self._announcer.failed("a tie was not looked at again", **said)
