"""Each minute's work: handle what expires at its moment, not at the next sweep; and follow up what changed.

The instances of a timer that is about to ring are sent with a delay, to arrive just after the moment. Once that has
passed, a mapping's row says `Expired`, and its instances are sent again, because some may have got their tag meanwhile,
and because those of other targets weren't sent ahead: no timer waits for a target that gives no answer.
Some minutes after a deletion its mapping is judged again: this finishes one that was cut off. So is the mapping of any
other timer, because an earlier run may have published another revision, and failed then.

Follow-ups are sent ahead too, and gone then, so that each arrives at its own moment. Sent all at once, most of those of
a large edit would find no moment of their target's pace.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import batched, chain, groupby
from operator import itemgetter

from rolekeeper.aws import Ec2, WorkQueue
from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError, CorruptItemError
from rolekeeper.instances.decide import mapping_keys
from rolekeeper.mappings.publish import Publisher
from rolekeeper.mappings.waves import Rollouts
from rolekeeper.model.instance import InstanceKey, Timer
from rolekeeper.model.mapping import MappingKey
from rolekeeper.storage import State, Update, layout
from rolekeeper.storage.state import MOST_WRITES
from rolekeeper.telemetry import Telemetry

CAUSE, FOLLOWS = "expiry", "follow-up"
AHEAD = timedelta(minutes=2)  # two runs see each timer before it rings: one may be throttled
NEXT = timedelta(minutes=1)  # until the next run, which sends the follow-ups after those
# How long after the moment an instance is reconciled, so that it has passed on the reconciler's clock too.
MARGIN = timedelta(seconds=2)
WORK = timedelta(seconds=50)  # the rest is left to the next minute, so that two runs rarely overlap


@dataclass(slots=True)
class ExpiryResult:
    """What a minute did; it isn't `finished` if its time ran out first."""

    timers: int = 0
    sent: int = 0
    mappings: int = 0
    finished: bool = True
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Expiries:
    """One minute's work. The schedule's run `waits` for its moments; other runs don't. `rolling` are due `rollouts`."""

    ec2: Ec2
    state: State
    publisher: Publisher
    queue: WorkQueue
    telemetry: Telemetry
    correlation_id: str
    now: Callable[[], datetime]
    waits: bool
    sleep: Callable[[float], None]
    rollouts: Callable[[], Rollouts]
    result: ExpiryResult = field(default_factory=ExpiryResult, init=False)
    rolling: dict[Timer, MappingKey] = field(default_factory=dict, init=False)

    def run(self) -> ExpiryResult:
        """Ring the timers that are due or due soon. If AWS refuses something, its timer stays for a retry."""
        began = self.now()
        rung: dict[Timer, tuple[MappingKey, bool]] = {}
        # Instances come first: rows take longer.
        with self._attempt("the timers can't be read"):
            follow_ups = self.state.timers_due(began + NEXT - MARGIN, layout.FOLLOW_UPS)
            for page in batched(chain(self.state.timers_due(began + AHEAD), follow_ups), MOST_WRITES):
                if self._is_late(began):
                    self.result.finished = False
                    break
                rung |= self._ring(page, began + WORK if self.waits else began)
        if self.rolling:
            with self._attempt("rollouts can't be looked at"):
                self._roll()
        for timer, (key, ended) in rung.items():
            self.sleep(_seconds_left(timer, self.now()))
            if self._is_late(began):
                self.result.finished = False
                break
            with self._attempt(f"the row of {key} can't be checked"):
                # The sweep comes back to a row that can't be judged for long.
                self.publisher.recheck(key, self.correlation_id, ended=ended)
                self.state.clear_timers(timer)
                self.result.mappings += 1
        return self.result

    def _roll(self) -> None:
        """Take the rollouts on that go on, and have the next minute look at them again."""
        for key in self.rollouts().step(frozenset(self.rolling.values()), self.correlation_id):
            self.state.arm(Timer(self.now(), key, follows=True))
        self.state.clear_timers(*self.rolling)

    def _ring(self, page: Sequence[Timer | CorruptItemError], until: datetime) -> dict[Timer, tuple[MappingKey, bool]]:
        """Send the instances of these timers; return the mappings to judge again by `until`, and which have ended."""
        at = self.now()
        for timer in page:
            if isinstance(timer, CorruptItemError):
                self._note("a timer can't be read; delete that item", timer)
        timers = {timer: timer.subject for timer in page if isinstance(timer, Timer)}
        instances = {timer: key for timer, key in timers.items() if isinstance(key, InstanceKey)}
        of_mappings = {timer: key for timer, key in timers.items() if isinstance(key, MappingKey)}
        self.rolling.update({timer: key for timer, key in of_mappings.items() if timer.follows})
        mappings = {timer: key for timer, key in of_mappings.items() if not timer.follows}
        self.result.timers += len(timers)
        with self._attempt("instances can't be sent"):
            # A pin that was changed or released since causes one reconcile that does nothing.
            left = {timer: math.ceil(_seconds_left(timer, at)) for timer in instances}
            for follows, cause in ((False, CAUSE), (True, FOLLOWS)):
                self._send({(left[each], key) for each, key in instances.items() if each.follows is follows}, cause)
            rung = {timer: key for timer, key in instances.items() if timer.follows or not left[timer]}
            self.state.clear_timers(*rung)
            self._count(rung, at)
        if mappings:
            with self._attempt("the instances of mappings can't be sent"):
                return self._ring_mappings(mappings, at, until)
        return {}

    def _count(self, rung: Mapping[Timer, InstanceKey], at: datetime) -> None:
        """Count the changes that these followed, in one write for each target."""
        made = Counter((key.target, timer.did) for timer, key in rung.items() if timer.did)
        for target, counted in groupby(sorted(made), key=itemgetter(0)):
            update = Update()
            for _, did in counted:
                update.add(did, made[target, did])
            with self._attempt(f"changes in {target} can't be counted"):
                self.state.note_activity(target, update, at)

    def _ring_mappings(
        self, timers: dict[Timer, MappingKey], at: datetime, until: datetime
    ) -> dict[Timer, tuple[MappingKey, bool]]:
        """Send the instances of mappings that expire; return those to assess by `until`, and which have ended."""
        snapshot = self.state.read((), timers.values())
        for damaged, error in snapshot.damaged.items():
            self._note(f"mapping {damaged} can't be read", error)
        readable = {timer: key for timer, key in timers.items() if key not in snapshot.damaged}
        published = {timer: snapshot.published.get(key) for timer, key in readable.items()}
        # Its row may have been edited or deleted since.
        ending = {each: of and not of.deleted and of.spec.expires_at == each.due for each, of in published.items()}
        delays = {timers[timer]: math.ceil(_seconds_left(timer, at)) for timer, ends in ending.items() if ends}
        for page in self.ec2.tagged(*delays):
            tagged = ((key, instance.key) for instance in page for key in mapping_keys(instance.tags))
            self._send({(delays[key], instance) for key, instance in tagged if key in delays})
        # An overtaken timer goes only once it has passed: until then somebody may write the same date again.
        due = ((timer, ends) for timer, ends in ending.items() if not _seconds_left(timer, until if ends else at))
        return {timer: (timers[timer], bool(ends)) for timer, ends in due}

    def _send(self, instances: Iterable[tuple[int, InstanceKey]], cause: str = CAUSE) -> None:
        self.result.sent += self.queue.send_later(sorted(instances), cause, self.correlation_id)

    def _is_late(self, began: datetime) -> bool:
        return self.now() - began >= WORK

    @contextmanager
    def _attempt(self, problem: str) -> Iterator[None]:
        """Note what AWS refuses within, and go on."""
        try:
            yield
        except AwsRefusalError as error:
            self._note(problem, error)

    def _note(self, problem: str, error: AwsRefusalError) -> None:
        if isinstance(error, AccessDeniedError):
            # The alarm rings; a mail each minute would say no more.
            self.telemetry.denied(error, correlation_id=self.correlation_id, news=False)
        else:
            self.telemetry.will_retry(problem, error=str(error))
        self.result.problems.append(f"{problem}: {error}")


def _seconds_left(timer: Timer, at: datetime) -> float:
    """Return the seconds until a timer's instances are due; 0 once it has passed."""
    return max(0, (timer.due + MARGIN - at).total_seconds())
