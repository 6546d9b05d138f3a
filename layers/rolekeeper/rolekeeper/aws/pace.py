"""The pace at which a worker changes instances."""

import random
from datetime import datetime, timedelta

# How many changes a worker may make at once; how long it goes at half its pace after EC2 throttled it.
BURST, SLOWED = 5, timedelta(minutes=1)
SLOWEST, ROUNDED = 5, 1e-3  # halvings; the part of a change that clocks may round away


class Pace:
    """A worker's share of the changes that EC2 takes in a second: a token bucket that lives as long as its process.

    Changes per second need no counter: only the work queue's function changes instances, a fixed number of it run at
    once, and each process has its share of `ChangesPerSecond`.
    """

    def __init__(self, per_second: float, now: datetime, burst: int = BURST) -> None:
        self._per_second, self._burst, self._tokens, self._at = per_second, burst, float(burst), now
        self._halvings, self._eases_at = 0, now

    def wait(self, number: int, now: datetime) -> float:
        """Seconds until that number of changes, or a full burst, may be made; 0 if they may now."""
        while self._halvings and now >= self._eases_at:
            self._halvings, self._eases_at = self._halvings - 1, self._eases_at + SLOWED
        rate = self._per_second / (1 << self._halvings)
        # A clock that was set back gives nothing.
        self._tokens += max(0, (now - self._at).total_seconds()) * rate
        self._tokens, self._at = min(self._burst, self._tokens), now
        missing = min(number, self._burst) - self._tokens
        return missing / rate if missing > ROUNDED else 0.0

    def rest(self, number: int, now: datetime) -> float:
        """Seconds until some of these changes may be made: a random part of a burst, so workers don't run in step."""
        some = random.Random().randint(self._burst // 2, self._burst)  # noqa: S311  # spreads load, guards nothing
        return self.wait(min(number, some), now)

    def take(self) -> None:
        """Make one change."""
        self._tokens -= 1

    def throttled(self, now: datetime) -> None:
        """EC2 refused: others use its bucket too, so go at half the pace for a while."""
        self._tokens, self._at = 0, now
        self._halvings, self._eases_at = min(SLOWEST, self._halvings + 1), now + SLOWED
