"""Keeps the pace of a target's changes: what EC2 takes there in a second, over all workers together.

An item for each target says until when its changes are `taken`, one after another at the pace. A worker that is about
to make some takes the moments of all of them in one conditional write, and makes each at its moment or a little later.
So one busy target gets nearly its whole rate from however many workers there are, and many targets go side by side.

What finds no moment soon goes back to the queue, until its turn in the target's line, whose end the item says too
(`ends`). EC2's throttles slow the target for all workers: by `slower` steps, of which one ends when it `eases`.
"""

from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from rolekeeper.aws import errors
from rolekeeper.aws.errors import RetryableError
from rolekeeper.model.instance import Target
from rolekeeper.storage import Store, Update, layout
from rolekeeper.storage.layout import Key

# How many changes a target that was at rest makes at once.
BURST = 10
# After EC2 throttled a change its target goes at four fifths of its pace for a while, and so on, so many times.
SLOWER, SLOWED, SLOWEST = 0.8, timedelta(seconds=30), 15
# How late a change may be made after its moment, as what comes before it takes its time: the bound on what is made at
# once. And how far ahead moments may be taken: an item that says more was written by a clock that was wrong.
LATE, AHEAD = timedelta(seconds=5), timedelta(minutes=1)
# A wait of fewer seconds isn't waited for: clocks may round it away.
ROUNDED = 1e-3
# How often a worker tries again to write an item that others write at the same time.
ATTEMPTS = 5


@dataclass
class Pace:
    """Says when a target's next changes may be made: at most `per_second`, and a burst after a rest.

    It relies on the item that the last read of instances brought (`known`), until a write fails because that changed.
    """

    store: Store
    target: Target
    per_second: float
    known: dict[Key, Mapping[str, Any]] = field(default_factory=dict)
    _moments: deque[float] = field(default_factory=deque, init=False)
    _each: float = field(default=0, init=False)

    @property
    def keys(self) -> tuple[Key]:
        return (layout.pace_key(self.target),)

    def ready(self, number: int, now: datetime, until: datetime) -> datetime:
        """Return when the next change may be made; take the moments of at most `number` changes that come by `until`.

        A moment later than `until` isn't taken: it is when to look again.
        """
        at = now.timestamp()
        for _ in range(ATTEMPTS):
            steps = self._steps(at)
            each = self._each = 1 / (self.per_second * SLOWER**steps)
            while self._moments and self._moments[0] < at - max(LATE.total_seconds(), BURST * each):
                self._moments.popleft()
            if not self._moments:
                taken = self._number("taken") / 1000
                # EC2's bucket is empty after a throttle: then nothing goes at once.
                rested = at if steps else at - BURST * each
                since = max(taken if taken < at + AHEAD.total_seconds() else 0, rested)
                fit = int((until.timestamp() + ROUNDED - since) / each)
                if fit < 1:
                    return now + timedelta(seconds=since + each - at)
                moments = [since + each * place for place in range(1, min(number, fit) + 1)]
                last = {"taken": round(moments[-1] * 1000)}
                if self._wrote(Update().set(last).only_as(self._item, "taken"), last):
                    self._moments.extend(moments)
            if self._moments:
                wait = self._moments[0] - at
                return now + timedelta(seconds=wait) if wait > ROUNDED else now
        return now + timedelta(seconds=BURST / self.per_second)  # behind the others, which take them all

    def rest(self, now: datetime) -> float:
        """Return the seconds until all changes whose moments are taken may be made."""
        return max(0, self._moments[-1] - now.timestamp()) if self._moments else 0

    def spend(self) -> None:
        """Use the moment of a change, which is made now, whether EC2 takes it or not."""
        self._moments.popleft()

    def throttled(self, now: datetime) -> None:
        """Slow down for a while: EC2 refused a call, and others use its bucket too."""
        self._moments.clear()
        steps, eases = self._steps(now.timestamp()) + 1, int((now + SLOWED).timestamp() * 1000)
        slower = {"slower": min(SLOWEST, steps), "eases": eases}
        # Of workers that are throttled at once one slows down all.
        with suppress(errors.AwsRefusalError):
            self._write(Update().set(slower).only_as(self._item, "slower", "eases"))
            self.known[self.keys[0]] = {**self._item, **slower}

    def give_back(self) -> None:
        """Leave to others the moments of changes that weren't made after all, unless others took those behind them."""
        if not self._moments:
            return
        before, last = self._moments[0] - self._each, self._moments[-1]
        self._moments.clear()
        with suppress(errors.AwsRefusalError):
            self._write(Update().set({"taken": int(before * 1000)}).only_if("taken", "=", round(last * 1000)))

    def lengthen_line(self, by: timedelta, now: datetime) -> datetime:
        """Lengthen the target's line of changes that wait for the pace; returns when it ends then.

        It only says when to look again: of two that read it at the same time both get the same turns.
        """
        for _ in range(ATTEMPTS):
            ends = self._number("ends")
            since = max(ends, int(now.timestamp() * 1000))
            longer = since + int(by / timedelta(milliseconds=1))
            update = Update().add("ends", longer - ends)
            if ends < since:
                update.only_if("ends", "=", ends, or_absent=True)  # of workers that restart it only one adds the gap
            if self._wrote(update, {"ends": longer}):
                return datetime.fromtimestamp(longer / 1000, UTC)
        raise RetryableError("LineBusy", "the change got no turn", "dynamodb:UpdateItem")

    def _steps(self, at: float) -> int:
        if "slower" not in self._item:
            return 0
        eased = (at - self._number("eases") / 1000) // SLOWED.total_seconds() + 1
        return max(0, self._number("slower") - max(0, int(eased)))

    @property
    def _item(self) -> Mapping[str, Any]:
        return self.known.get(self.keys[0], {})

    def _number(self, name: str) -> int:
        return int(self._item.get(name, 0))

    def _wrote(self, update: Update, values: Mapping[str, int]) -> bool:
        """Write these values, unless another worker wrote since the item was read: then read it again."""
        try:
            self._write(update)
        except errors.ConflictError:
            self.known = {**self.store.get(self.keys)}
            return False
        self.known[self.keys[0]] = {**self._item, **values}
        return True

    def _write(self, update: Update) -> None:
        self.store.write(self.store.update(self.keys[0], update))
