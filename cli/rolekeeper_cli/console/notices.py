"""What a write says on the page that follows it: kept under a random id, so that no link makes a page say anything."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

from rolekeeper.model.problem import Advice

_KEPT = 200


@dataclass(frozen=True, slots=True)
class Notice:
    """What happened: `kind` as a box has it (info, good, warn, bad), a sentence, and details, one a line."""

    kind: str
    text: str
    lines: tuple[str | Advice, ...] = ()


class Notices:
    """The last notices, each by its id. Threads may share it."""

    def __init__(self) -> None:
        self._kept: dict[str, Notice] = {}
        self._lock = Lock()

    def keep(self, kind: str, text: str, lines: Sequence[str | Advice] = ()) -> str:
        """Keep a notice; the id by which a page shows it. The oldest goes where there are too many."""
        made = secrets.token_urlsafe(9)
        with self._lock:
            self._kept[made] = Notice(kind, text, tuple(lines))
            while len(self._kept) > _KEPT:
                del self._kept[next(iter(self._kept))]
        return made

    def get(self, id_: str) -> Notice | None:
        """The notice of this id; None where there is none, or it went."""
        with self._lock:
            return self._kept.get(id_)
