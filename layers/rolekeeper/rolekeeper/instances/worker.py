"""A worker: starts changes, with room in the window and at its pace; the only one that changes instances."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from rolekeeper.aws import WorkQueue, errors
from rolekeeper.aws.errors import RetryableError
from rolekeeper.aws.pace import Pace
from rolekeeper.instances import records
from rolekeeper.instances.observe import Observation
from rolekeeper.instances.retry import RetryLoop
from rolekeeper.instances.window import ChangeLimiter, Reservation
from rolekeeper.model.instance import Decision, ReconcileRequest
from rolekeeper.storage import State
from rolekeeper.storage.layout import STARTED, Key

# How much denser turns are than the pace: those that come while their worker has none left go to the end again, and at
# the very pace a share of a worker that nobody came to would be lost.
DENSER = 1.1
# Seconds between attempts to count a change while other workers count theirs; in each attempt one of them succeeds.
CROWDED = (0.05, 0.1, 0.1, 0.2, 0.2, 0.4, 0.4, 0.8)


@dataclass(frozen=True, slots=True)
class Started:
    """A change that is about to be made: its history entry's key, the room that it took, and the updated record."""

    entry: Key
    room: Reservation | None
    observed: Observation


@dataclass(frozen=True, slots=True)
class Worker:
    """Changes instances, with room in the window and at its pace, the share that it has of `per_second`.

    What EC2 can't change yet waits in a retry loop; what is beyond the pace, in the queue.
    """

    state: State
    window: ChangeLimiter
    pace: Pace
    per_second: float
    queue: WorkQueue
    retries: RetryLoop
    now: Callable[[], datetime]
    sleep: Callable[[float], None]

    def line_up(self, number: int, now: datetime) -> list[datetime]:
        """Turns for a number of changes that go beyond the pace, behind all that wait in the target's line."""
        each = timedelta(seconds=1 / (self.per_second * DENSER))
        ends = self.window.lengthen_line(number * each, now)
        return [ends - place * each for place in reversed(range(number))]

    def start(self, request: ReconcileRequest, observed: Observation, decision: Decision) -> Started | datetime:
        """Write the grant, the history entry and the room that the change takes; or return when it has its turn."""
        mapping = decision.counted_for
        entry = records.history_entry(request, observed, decision, answer={}) | {"outcome": STARTED}
        for wait in (*CROWDED, None):
            now = self.now()
            room = (
                self.window.reserve_or_wait(mapping, decision.revision, now, quarantines=decision.quarantines)
                if mapping
                else None
            )
            if isinstance(room, datetime):
                return room
            change = records.starting(observed, decision, now)
            try:
                at = self.state.save(request.instance, change, now, entry=entry, also=(room.take,) if room else ())
            except errors.ConflictError:
                if mapping is None:
                    raise
                self.window.observed({})
            except RetryableError as error:
                # Of workers that count at the same time DynamoDB lets one through: try again. But if no answer came,
                # it may have been written, and a second attempt would count it twice.
                if mapping is None or wait is None or isinstance(error, errors.NoResponseError):
                    raise
                self.sleep(wait * random.Random().uniform(0.5, 1))  # noqa: S311  # spreads load, guards nothing
            else:
                if room:
                    self.window.took(room, now)
                record = replace(observed.record, writes=observed.record.writes + bool(change))
                return Started(at, room, replace(observed, record=record))
        raise RetryableError("WindowBusy", "the change could not be counted", "dynamodb:UpdateItem")
