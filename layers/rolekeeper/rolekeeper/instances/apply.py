"""A worker: the only one that changes instances, with room in the window and at its pace.

A change is one write, one mutation, one write: the grant, the start of a history entry and the room in the window; the
call; its outcome. An entry that stays "started" means that the outcome is unknown: what the instance carries shows it.
"""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from rolekeeper.aws import Ec2, WorkQueue
from rolekeeper.aws.errors import AwsRefusalError, ConflictError, NoResponseError, RetryableError
from rolekeeper.aws.queue import LONGEST_DELAY
from rolekeeper.instances import records
from rolekeeper.instances.decide import Observation
from rolekeeper.instances.records import Started
from rolekeeper.instances.window import ChangeLimiter
from rolekeeper.model.instance import Action, Association, Decision, InstanceKey, ReconcileRequest
from rolekeeper.storage import State
from rolekeeper.storage.layout import STARTED

# How many changes a worker may make at once; how long it goes at half its pace after EC2 throttled it.
BURST, SLOWED = 5, timedelta(minutes=1)
SLOWEST, ROUNDED = 5, 1e-3  # halvings; the part of a change that clocks may round away
# How much denser turns are than the pace: those that come while their worker has none left go to the end again, and at
# the very pace a share of a worker that nobody came to would be lost.
DENSER = 1.1
# Seconds between attempts to count a change while other workers count theirs; in each attempt one of them succeeds.
CROWDED = (0.05, 0.1, 0.1, 0.2, 0.2, 0.4, 0.4, 0.8)


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
        # If the clock went backwards, add no tokens.
        self._tokens += max(0, (now - self._at).total_seconds()) * rate
        self._tokens, self._at = min(self._burst, self._tokens), now
        missing = min(number, self._burst) - self._tokens
        return missing / rate if missing > ROUNDED else 0.0

    def rest(self, number: int, now: datetime) -> float:
        """Seconds until some of these changes may be made: a random part of a burst, so workers don't run in step."""
        some = random.Random().randint(self._burst // 2, self._burst)  # noqa: S311  # spreads load, guards nothing
        return self.wait(min(number, some), now)

    def take(self) -> None:
        self._tokens -= 1

    def throttled(self, now: datetime) -> None:
        """EC2 refused: others use its bucket too, so go at half the pace for a while."""
        self._tokens, self._at = 0, now
        self._halvings, self._eases_at = min(SLOWEST, self._halvings + 1), now + SLOWED


@dataclass(frozen=True, slots=True)
class Worker:
    """Its pace is its share of `per_second`; what goes beyond that is put back into the queue."""

    ec2: Ec2
    state: State
    window: ChangeLimiter
    pace: Pace
    per_second: float
    queue: WorkQueue
    now: Callable[[], datetime]
    sleep: Callable[[float], None]

    def start(self, request: ReconcileRequest, observed: Observation, decision: Decision) -> Started | datetime:
        """Write the grant, the history entry and the room that the change takes; or return when it has its turn."""
        mapping = decision.counted_for
        entry = records.history_entry(request, observed, decision) | {"outcome": STARTED}
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
            except ConflictError:
                if mapping is None:
                    raise
                self.window.known = {}
            except RetryableError as error:
                # Of workers that count at the same time DynamoDB lets one through: try again. But if no answer came,
                # it may have been written, and a second attempt would count it twice.
                if mapping is None or wait is None or isinstance(error, NoResponseError):
                    raise
                self.sleep(wait * random.Random().uniform(0.5, 1))  # noqa: S311  # spreads load, guards nothing
            else:
                if room:
                    self.window.took(room, now)
                record = replace(observed.record, writes=observed.record.writes + bool(change))
                return Started(at, room, replace(observed, record=record))
        raise RetryableError("WindowBusy", "the change could not be counted", "dynamodb:UpdateItem")

    def ask(self, instance: InstanceKey, decision: Decision) -> Association:
        """Ask EC2 for a change that was started. What it throttled slows the pace."""
        self.pace.take()
        try:
            if decision.action is Action.ATTACH:
                made = self.ec2.associate(instance, decision.profile_arn)
            elif decision.action is Action.REPLACE and not decision.swap:
                made = self.ec2.replace(instance, decision.association_id, decision.profile_arn)
            else:
                made = self.ec2.disassociate(instance, decision.association_id)
        except AwsRefusalError as error:
            if error.throttled or error.possibly_applied:
                self.pace.throttled(self.now())
            raise
        if made.retries:
            self.pace.throttled(self.now())
        return made

    def put_back(self, requests: Mapping[InstanceKey, ReconcileRequest], times: int) -> dict[InstanceKey, datetime]:
        """Send requests back to the queue until their turns; returns those whose turns are too late for that.

        The turns are behind all changes that wait in the target's line. `times`: how often they were put back then.
        """
        now, each = self.now(), timedelta(seconds=1 / (self.per_second * DENSER))
        ends = self.window.lengthen_line(len(requests) * each, now)
        turns = {key: ends - place * each for key, place in zip(requests, reversed(range(len(requests))), strict=True)}
        delays = {key: math.ceil((turn - now).total_seconds()) for key, turn in turns.items()}
        soon = {key: delay for key, delay in delays.items() if delay <= LONGEST_DELAY}
        self.queue.put_back((replace(requests[key], put_back=times), delay) for key, delay in soon.items())
        return {key: turn for key, turn in turns.items() if key not in soon}
