"""What goes wrong at outside calls: which faults there are, how likely each is in a schedule, and how often it struck.

The faults are those that AWS_FACTS.md and the SDK know: a refusal before the call, a call whose answer is lost, one
that botocore sends twice, one that lands late, and a process that ends before or after it.
"""

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """The outside calls, by what can go wrong at them."""

    READ = "read"
    EFFECT = "effect"
    RECORD = "record"
    SEND = "send"


class Fault(StrEnum):
    """What can go wrong at a call. `EFFECT` is a call that changes EC2, `RECORD` a write to our tables."""

    THROTTLE = "throttle"
    SERVER_ERROR = "server error"
    TIMEOUT_BEFORE = "timeout before the call"
    TIMEOUT_AFTER_SUCCESS = "timeout after success"
    LANDS_LATE = "call lands after its caller gave up"
    SENT_TWICE = "sent twice by the SDK"
    DENIED = "permission missing"
    CONFLICT = "transaction conflict"
    PARTIAL_BATCH = "partial batch"
    CRASH_BEFORE_READ = "crash before a read"
    CRASH_AFTER_READ = "crash after a read"
    CRASH_BEFORE_EFFECT = "crash before an effect"
    CRASH_AFTER_EFFECT = "crash after an effect"
    CRASH_BEFORE_RECORD = "crash before a record"
    CRASH_AFTER_RECORD = "crash after a record"
    CRASH_BEFORE_SEND = "crash before a send"
    CRASH_AFTER_SEND = "crash after a send"
    STALE_EC2 = "stale read of EC2"
    STALE_IAM = "stale read of IAM"
    OUTAGE = "outage of a service"
    CLOCK_SKEW = "clock skew"
    PROPAGATION = "a new profile propagates slowly"
    EVENT_DROPPED = "event dropped"
    EVENT_COPIED = "event duplicated"
    EVENT_LATE = "event delayed"
    EVENT_REORDERED = "event reordered"
    EDIT_MIDWAY = "mapping edited midway"
    FLAPPING = "state flapping"
    TERMINATION = "termination midway"
    OTHER_ATTACHES = "another actor attaches"
    OTHER_REPLACES = "another actor replaces"
    OTHER_DETACHES = "another actor detaches"
    ROLE_SWAPPED = "role swapped inside a profile"
    ROLE_DELETED = "role deleted"
    ROLE_BROADENED = "role made broad"
    PROFILE_RECREATED = "profile deleted and made anew"
    POISON_ROW = "poison row"
    POISON_MESSAGE = "poison message"
    EMPTY_TABLE = "mapping table empty"
    PUBLISHED_LOST = "published record lost"
    STATE_LOST = "state table empty"
    RECORD_GARBLED = "record garbled"
    DEAD_LETTER = "dead letter"
    RETAGGED = "500 instances retagged at once"
    TIME_UP = "a run's time is up midway"
    RUN_TWICE = "a run is made twice"
    TOKEN_LOST = "EC2 takes a token no longer"
    DROPPED = "EC2 drops a change that it took"
    ROLES_REFUSED = "a spoke refuses its roles"
    SILENT_AT_EDIT = "a spoke refuses its roles just as a row is edited"
    UNIT_MOVED = "an account moves to another unit"
    BUDGET_DRY = "EC2's budget of changes is used up"
    HUB_AWAY = "the hub's Region is down"
    TARGET_AWAY = "another target's Region is down"


CRASHES_BEFORE = frozenset(
    {Fault.CRASH_BEFORE_READ, Fault.CRASH_BEFORE_EFFECT, Fault.CRASH_BEFORE_RECORD, Fault.CRASH_BEFORE_SEND}
)
CRASHES_AFTER = frozenset(
    {Fault.CRASH_AFTER_READ, Fault.CRASH_AFTER_EFFECT, Fault.CRASH_AFTER_RECORD, Fault.CRASH_AFTER_SEND}
)
_REFUSALS = (Fault.THROTTLE, Fault.SERVER_ERROR, Fault.TIMEOUT_BEFORE)
_IN_DOUBT = (Fault.TIMEOUT_AFTER_SUCCESS, Fault.LANDS_LATE, Fault.SENT_TWICE)
# What can strike a call of each kind.
STRIKES: Mapping[Kind, tuple[Fault, ...]] = {
    Kind.READ: (*_REFUSALS, Fault.CRASH_BEFORE_READ, Fault.CRASH_AFTER_READ),
    Kind.EFFECT: (*_REFUSALS, *_IN_DOUBT, Fault.DENIED, Fault.CRASH_BEFORE_EFFECT, Fault.CRASH_AFTER_EFFECT),
    Kind.RECORD: (*_REFUSALS, *_IN_DOUBT, Fault.CONFLICT, Fault.CRASH_BEFORE_RECORD, Fault.CRASH_AFTER_RECORD),
    Kind.SEND: (
        *(Fault.THROTTLE, Fault.TIMEOUT_BEFORE, Fault.TIMEOUT_AFTER_SUCCESS, Fault.SENT_TWICE, Fault.PARTIAL_BATCH),
        *(Fault.CRASH_BEFORE_SEND, Fault.CRASH_AFTER_SEND),
    ),
}


@dataclass(frozen=True)
class Hurry:
    """How little time a run of a sweep or a fan-out has, so that it takes several.

    Attributes:
        rng: for what this alone decides.
        seconds: how long a run works before it hands over, at most.
        page: how many instances EC2 shows at once.
        twice: the chance that the machine has a run made twice.
        lost: the chance that EC2 takes a token no longer that another run got.
    """

    rng: random.Random
    seconds: float
    page: int
    twice: float
    lost: float


@dataclass
class Weather:
    """How rough one schedule is.

    Attributes:
        rng: the schedule's.
        chances: that a call of a kind is struck.
        strikes: the faults that are abroad in this schedule, by kind.
        stale: the chance that a describe call shows the past.
        lag: how far in the past at most, in seconds.
        unread: the chance that a batch read leaves some keys unread.
        skew: how far a function's clock is off at most, in seconds.
        slow: how long a slow call takes at most, in seconds.
        drop_changes: the chance that EC2 drops a change that it took.
        drop, copy, late: the chances that an event is lost, comes twice, or is delayed; `delay` in seconds at most.
        rough: whether anything goes wrong at the moment.
        hurry: how little time runs have, if they have too little for all.
        down: the calls of which none gets through at the moment.
        away: whether no call gets an answer, as the whole Region is down.
        met: how often each fault happened.
    """

    rng: random.Random
    chances: Mapping[Kind, float]
    strikes: Mapping[Kind, tuple[Fault, ...]]
    stale: float
    lag: float
    unread: float
    skew: float
    slow: float
    drop: float
    copy: float
    late: float
    delay: float
    hurry: Hurry | None = None
    drop_changes: float = 0
    rough: bool = False
    down: Kind | None = None
    away: bool = False
    met: Counter[Fault] = field(default_factory=Counter)

    def strike(self, kind: Kind) -> Fault | None:
        """What strikes the next call of a kind, if anything."""
        if self.away:
            return Fault.TIMEOUT_BEFORE
        if self.rough and kind is self.down:
            return Fault.SERVER_ERROR
        chance = self.chances[kind] if self.rough else 0
        if not chance or self.rng.random() >= chance:
            return None
        return self.rng.choice(self.strikes[kind])

    def count(self, fault: Fault) -> None:
        self.met[fault] += 1

    def latency(self) -> float:
        """How long the way to AWS, or back, takes now (seconds)."""
        chance = self.rng.random()
        if not self.rough or chance < 0.7:
            return self.rng.uniform(0.001, 0.05)
        return self.rng.uniform(0.05, 1) if chance < 0.95 else self.rng.uniform(1, self.slow)

    def lags(self, fault: Fault) -> float:
        """How far in the past the next describe call reads (seconds)."""
        if not self.rough or not self.stale or self.rng.random() >= self.stale:
            return 0
        self.count(fault)
        return self.rng.uniform(0, self.lag)

    def skewed(self) -> float:
        """How far the clock of the next function is off (seconds)."""
        if not self.rough or not self.skew:
            return 0
        self.count(Fault.CLOCK_SKEW)
        return self.rng.uniform(-self.skew, self.skew)

    def drops(self) -> bool:
        """Whether EC2 drops the change that it just took."""
        return self.rough and bool(self.drop_changes) and self.rng.random() < self.drop_changes

    def arrivals(self) -> list[float]:
        """When the copies of an event arrive, in seconds: none if it is lost."""
        usual = self.rng.uniform(0, 0.5)
        if not self.rough:
            return [usual]
        if self.rng.random() < self.drop:
            self.count(Fault.EVENT_DROPPED)
            return []
        delays = [usual]
        if self.rng.random() < self.late:
            self.count(Fault.EVENT_LATE)
            delays = [self.rng.uniform(0, self.delay)]
        if self.rng.random() < self.copy:
            self.count(Fault.EVENT_COPIED)
            delays.append(self.rng.uniform(0, self.delay))
        return delays
