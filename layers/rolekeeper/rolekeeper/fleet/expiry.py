"""Each minute's work: whatever expires is seen at its moment, not at the next sweep.

The instances of a timer that is about to ring are sent with a delay, so that they arrive just after the moment; once it
has passed, which is waited for when it comes within this minute, a mapping's row says `Expired` and its instances are
sent again, for those that got their tag in between.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from itertools import batched, groupby
from operator import itemgetter
from typing import Any

from rolekeeper.aws import Ec2, WorkQueue
from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError, CorruptItemError
from rolekeeper.instances.resolve import mapping_keys
from rolekeeper.mappings import Publisher
from rolekeeper.model import InstanceKey, MappingKey, PublishedMapping, Timer
from rolekeeper.storage import State, Timers
from rolekeeper.storage.state import PAGE
from rolekeeper.telemetry import Telemetry

CAUSE = "expiry"
# Each timer is met twice before it rings, so that a minute may be missed (throttled, say).
AHEAD = timedelta(minutes=2)
# How long after the moment an instance is looked at and a timer has passed: by then it is past on every clock, that of
# the function which reconciles too.
MARGIN = timedelta(seconds=2)
# A minute leaves the rest to the next one, so that two hardly ever work side by side.
WORK = timedelta(seconds=50)


@dataclass(slots=True)
class ExpiryResult:
    """What a minute saw and did. `finished` is False when its time ran out first."""

    timers: int = 0
    sent: int = 0
    mappings: int = 0
    finished: bool = True
    problems: list[str] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Expiries:
    """One minute's work with what it works on.

    Attributes:
        now: the clock (UTC).
        waits: whether to wait for the moments of this minute. The schedule's one does; those that are started between,
            of which there may be many, don't.
        sleep: waits, in seconds.
    """

    ec2: Ec2
    state: State
    timers: Timers
    publisher: Publisher
    queue: WorkQueue
    telemetry: Telemetry
    correlation_id: str
    now: Callable[[], datetime]
    waits: bool = True
    sleep: Callable[[float], None] = time.sleep

    def run(self) -> ExpiryResult:
        """Ring the timers that are due soon, or were.

        What can't be rung now keeps its timer and the next minute tries again, so no refusal of AWS is raised: each is
        logged and counted, and a missing permission has its alarm.
        """
        rung, began = ExpiryResult(), self.now()
        expired: dict[Timer, MappingKey] = {}
        # All instances first: they are what matters, and rows take longer.
        with self._attempt(rung, "the timers can't be read"):
            for page in batched(self.timers.due(began + AHEAD), PAGE, strict=False):
                if self._out_of_time(began, rung):
                    break
                expired |= self._ring(page, began + WORK if self.waits else began, rung)
        for timer, key in expired.items():
            self.sleep(max(0, (timer.due + MARGIN - self.now()).total_seconds()))
            if self._out_of_time(began, rung):
                break
            with self._attempt(rung, f"the row of {key} can't be checked"):
                self._show(timer, key, rung)
        return rung

    def _ring(
        self, page: Sequence[Timer | CorruptItemError], until: datetime, rung: ExpiryResult
    ) -> dict[Timer, MappingKey]:
        """Send the instances of these timers; returns those of mappings whose rows are to say so, by `until`."""
        at = self.now()
        instances: dict[Timer, InstanceKey] = {}
        mappings: dict[Timer, MappingKey] = {}
        for each in page:
            with self._attempt(rung, "a timer can't be read; delete that item"):
                if isinstance(each, CorruptItemError):
                    raise each
                rung.timers += 1
                if isinstance(each.subject, InstanceKey):
                    instances[each] = each.subject
                else:
                    mappings[each] = each.subject
        if instances:
            with self._attempt(rung, "instances can't be sent"):
                self._ring_instances(instances, at, rung)
        if mappings:
            with self._attempt(rung, "the instances of mappings can't be sent"):
                return self._ring_mappings(mappings, at, until, rung)
        return {}

    def _ring_instances(self, timers: Mapping[Timer, InstanceKey], at: datetime, rung: ExpiryResult) -> None:
        # A pin that was changed or released since costs a look that finds nothing to do.
        self._send([(_delay(timer, at), key) for timer, key in timers.items()], rung)
        self.timers.clear(*(timer for timer in timers if _passed(timer, at)))

    def _ring_mappings(
        self, timers: Mapping[Timer, MappingKey], at: datetime, until: datetime, rung: ExpiryResult
    ) -> dict[Timer, MappingKey]:
        served, unread = self._served(timers.values(), rung)
        meant = {timer: key for timer, key in timers.items() if _meant(timer, served.get(key))}
        delays = {key: _delay(timer, at) for timer, key in meant.items()}
        for page in self.ec2.tagged(*delays):
            sends = {(delays[key], one.key) for one in page for key in mapping_keys(one.tags) if key in delays}
            self._send(sends, rung)
        # An overtaken timer goes only once it passed: until then the same date may be written again, and must find it.
        overtaken = [each for each in timers if each not in meant and _passed(each, at)]
        self.timers.clear(*(each for each in overtaken if timers[each] not in unread))
        return {each: key for each, key in meant.items() if _passed(each, until)}

    def _served(
        self, keys: Iterable[MappingKey], rung: ExpiryResult
    ) -> tuple[Mapping[MappingKey, PublishedMapping], set[MappingKey]]:
        """What is published under these keys, and those that can't be read: a damaged item must not hide the others."""
        keys = list(keys)
        snapshot = self.state.read((), keys)
        unread = {key for key in keys if key in snapshot.damaged}
        for key in sorted(unread):
            with self._attempt(rung, f"mapping {key} can't be read"):
                raise snapshot.damaged[key]
        return snapshot.published, unread

    def _send(self, instances: Iterable[tuple[int, InstanceKey]], rung: ExpiryResult) -> None:
        """Send instances, each after so many seconds."""
        for delay, group in groupby(sorted(instances), key=itemgetter(0)):
            keys = [key for _, key in group]
            rung.sent += self.queue.send(keys, CAUSE, self.correlation_id, delay_seconds=delay)

    def _show(self, timer: Timer, key: MappingKey, rung: ExpiryResult) -> None:
        """Have a mapping's row say that it expired; the sweep comes back to a row that can't be judged for long."""
        self.publisher.recheck(key, self.correlation_id)
        self.timers.clear(timer)
        rung.mappings += 1

    def _out_of_time(self, began: datetime, rung: ExpiryResult) -> bool:
        rung.finished = self.now() - began < WORK
        return not rung.finished

    @contextmanager
    def _attempt(self, rung: ExpiryResult, problem: str) -> Iterator[None]:
        """What AWS refuses in here is noted, and the work goes on behind it."""
        try:
            yield
        except AccessDeniedError as error:
            # The alarm rings; a mail each minute would say no more.
            self.telemetry.denied(error, correlation_id=self.correlation_id, news=False)
            rung.problems.append(f"{problem}: {error}")
        except AwsRefusalError as error:
            self.telemetry.will_retry(problem, error=str(error))
            rung.problems.append(f"{problem}: {error}")


def _passed(timer: Timer, at: datetime) -> bool:
    return timer.due + MARGIN <= at


def _delay(timer: Timer, at: datetime) -> int:
    """In how many seconds the timer's instances are to be looked at."""
    return max(0, math.ceil((timer.due + MARGIN - at).total_seconds()))


def _meant(timer: Timer, served: PublishedMapping | None) -> bool:
    """Whether the mapping as it is served still expires then."""
    return served is not None and not served.deleted and served.spec.expires_at == timer.due
