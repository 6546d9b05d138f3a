"""What an on-demand table takes in a second: each of its partitions throttles, and the SDK sends again.

DynamoDB developer guide, "On-demand capacity mode" and "Best practices for designing and using partition keys": a
partition takes 1,000 write units a second, and a new table, which takes 4,000, has four. Here none are saved up.
"""

import random
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fakes.dynamodb_values import RefusedError

UNITS, NEW, GROWN = 1_000, 4, 16
SENT = 4  # times, at most, that the SDK sends a call (rolekeeper.aws.CONFIG)


@dataclass
class Capacity:
    """The write units of so many partitions; `throttled` counts what was sent in vain."""

    now: Callable[[], float]
    sleep: Callable[[float], object]
    partitions: int = NEW
    units: int = UNITS
    throttled: int = 0
    _taken: Counter[tuple[int, int]] = field(default_factory=Counter)
    _rng: random.Random = field(default_factory=lambda: random.Random(1))

    def take(self, names: Sequence[str]) -> None:
        """Take the units of writes under these partition keys, for which the SDK waits, or raise a RefusedError."""
        wanted = Counter(zlib.crc32(name.encode("utf-8", "surrogatepass")) % self.partitions for name in names)
        each = 2 if len(names) > 1 else 1  # a transaction writes twice
        for attempt in range(SENT):
            taken = {(int(self.now()), at): each * number for at, number in wanted.items()}
            if all(self._taken[at] + more <= self.units for at, more in taken.items()):
                self._taken.update(taken)
                return
            self.throttled += 1
            self.sleep(self._rng.uniform(0, 2**attempt))
        raise RefusedError("Throughput exceeds the current capacity of your table", "ThrottlingException")

    @property
    def most(self) -> int:
        """The most units in a second."""
        seconds = Counter[int]()
        for (second, _), units in self._taken.items():
            seconds[second] += units
        return max(seconds.values(), default=0)
