"""A clock that only the test moves."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

START = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)


class Clock:
    """Time for everything in a test: seconds for EC2's truth, `datetime` for Rolekeeper. A sleep moves it."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._at: list[tuple[float, Callable[[], object]]] = []

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def sleep(self, seconds: float) -> None:
        """Let time pass; what was planned for it happens at its moment."""
        until = self.seconds + seconds
        while self._at and self._at[0][0] <= until:
            at, action = self._at.pop(0)
            self.seconds = max(self.seconds, at)
            action()
        self.seconds = until

    def after(self, seconds: float, action: Callable[[], object]) -> None:
        """Plan something that happens while somebody sleeps."""
        self._at.append((self.seconds + seconds, action))
        self._at.sort(key=lambda planned: planned[0])
