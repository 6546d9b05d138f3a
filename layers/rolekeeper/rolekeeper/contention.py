"""Whether another actor keeps reverting our change on an instance: pure.

They do when the very same change (mapping, revision and profile) was made several times in a while, with no other
change of ours in between, and is to be made once more: neither tags nor mappings changed, so each was undone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from rolekeeper.model import AppliedChange, DesiredChange


@dataclass(frozen=True, slots=True)
class ContentionRule:
    """How often within which time the same change may be made before the instance is left alone."""

    after: int = 3
    within: timedelta = timedelta(minutes=30)

    def contended(self, same: Sequence[AppliedChange]) -> bool:
        """Whether these changes, each the same and the oldest first, are too many.

        They are one after the other: it stays so however long they are past.
        """
        times = [each.at for each in same]
        return any(last - first <= self.within for first, last in zip(times, times[self.after - 1 :], strict=False))


def repeated(changes: Sequence[AppliedChange], desired: DesiredChange | None) -> tuple[AppliedChange, ...]:
    """The last changes, as far back as each was this very one; oldest first."""
    found: list[AppliedChange] = []
    for each in reversed(changes):
        if each.change != desired:
            break
        found.append(each)
    return tuple(reversed(found))
