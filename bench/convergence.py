"""A thousand instances that all want a role at once, under EC2's token buckets, in virtual time with the real handlers.

The world is the simulation's without its faults: five workers at the queue, a call takes up to a tenth of a second, and
the SDK sends a throttled call again as it does (botocore.retries.standard). Two transactions that meet at one item
conflict (DynamoDB developer guide, "Transactions").
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

from bench.rows import Row, Target
from fakes.ec2 import client_error
from rolekeeper.settings import Limits
from rolekeeper.storage import codec, layout
from simulation import schedule
from simulation.account import PATH
from simulation.clients import DynamoDbClient
from simulation.engine import Engine
from simulation.faulty_clients import Call, Outside, conflict
from simulation.invariants import STATE

INSTANCES, SEED = 1_000, 1
ATTEMPTS, LONGEST_PAUSE = 4, 20.0
# No item is hot: of a hundred changes at most one meets another.
COLD = Target(0.01, "ours")
# Seconds in which all that follows a change has happened.
FOLLOWS = 300
# Seconds of virtual time after which what hasn't converged never will.
PATIENCE = 4 * 3_600


@dataclass
class Bucket:
    """A token bucket of EC2's (docs/AWS_FACTS.md "Throttles"): so many at most, so many more a second."""

    capacity: float
    refill: float
    tokens: float = field(init=False)
    at: float = 0

    def __post_init__(self) -> None:
        self.tokens = self.capacity

    def takes(self, now: float) -> bool:
        """Whether there is a token; it is taken."""
        self.tokens = min(self.capacity, self.tokens + (now - self.at) * self.refill)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def least_seconds(self, calls: int) -> float:
        """How long so many calls take at least, from a full bucket on."""
        return max(0.0, (calls - self.capacity) / self.refill)


class Throttled(Outside):
    """The border to AWS, where EC2 throttles; `attempts` and `refused` count by operation."""

    def __init__(self, engine: Engine, weather: Any) -> None:
        super().__init__(engine, weather)
        describes = Bucket(100, 20)
        self.buckets: Mapping[str, Bucket] = {
            "Associate": Bucket(100, 5),
            "Disassociate": Bucket(100, 5),
            "Replace": Bucket(50, 5),
            "DescribeInstances": describes,
            "DescribeIamInstanceProfileAssociations": describes,
        }
        self.attempts: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    def call[Answer](self, call: Call[Answer]) -> Answer:
        bucket = self.buckets.get(call.operation) if call.service == "ec2" else None
        if bucket is None or self._engine.running is None:
            return super().call(call)
        for attempt in range(ATTEMPTS):
            self.attempts[call.operation] += 1
            if bucket.takes(self._engine.seconds):
                return super().call(call)
            self.refused[call.operation] += 1
            self._engine.pause(self._weather.latency())
            if attempt < ATTEMPTS - 1:
                self._engine.pause(min(self._weather.rng.random() * 2**attempt, LONGEST_PAUSE))
        raise client_error("RequestLimitExceeded", "The bucket is empty.", call.operation, status=503)


class MeetingTables(DynamoDbClient):
    """DynamoDB, where transactions that are under way at the same item conflict."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.conflicts = 0
        self._busy: Counter[tuple[str, ...]] = Counter()

    def transact_write_items(self, TransactItems: Any) -> Any:  # noqa: N803  # boto3's own name
        items = [_item(each) for each in TransactItems]
        if any(self._busy[each] for each in items):
            self.conflicts += 1
            self._engine.pause(self._weather.latency())
            raise conflict("TransactWriteItems")
        self._busy.update(items)
        try:
            return super().transact_write_items(TransactItems)
        finally:
            self._busy.subtract(items)


class Burst(schedule.Schedule):
    """A schedule in which nothing goes wrong but that everybody wants something at once."""

    def _connect(self) -> None:
        self.deployment.outside = self.outside = Throttled(self.engine, self.weather)
        super()._connect()
        parts = self.engine, self.weather, self.outside, self.tables, self.promises
        self.dynamodb = self.deployment.clients["dynamodb"] = MeetingTables(*parts)

    def converge(self, change: str) -> "Figures":
        """Have every instance attached or replaced at once, and follow it to the end."""
        with self.deployment.installed(SEED):
            self._prepare()
            if change == "replace":
                self._launch_all("app=web")
                self._settle("web")
                self.engine.play(self.engine.seconds + 600)
                self._clear()
                began = self.engine.seconds
                self.people.retag_all("app=db")
                self._settle("db")
            else:
                began = self.engine.seconds + self.plan.timings.pending
                self._launch_all("app=web")
                self._settle("web")
            took = max(asked.at for asked, _ in self.promises.changes) - began
            # What follows the changes is written too.
            self.engine.play(self.engine.seconds + FOLLOWS)
        operation = {"attach": "Associate", "replace": "Replace"}[change]
        tried, refused = self.outside.attempts[operation], self.outside.refused[operation]
        return Figures(
            rate=self.outside.buckets[operation].least_seconds(INSTANCES) / took,
            throttled=refused / tried,
            others=sum(self.outside.refused.values()) - refused,
            writes=(self.promises.writes + self.dynamodb.conflicts) / INSTANCES,
            conflicts=self.dynamodb.conflicts / INSTANCES,
        )

    def _prepare(self) -> None:
        for (pk, sk), said in (
            (layout.DEPLOYED, {"mode": "enforce"}),
            (layout.FLEET, {"instances": 0, "mappings": 0, "at": layout.timestamp(self.engine.now())}),
        ):
            self.tables.put_item(TableName=STATE, Item=codec.to_attributes({"pk": pk, "sk": sk, **said}))
        for role in ("web", "db"):
            self.account.roles[role] = PATH
            self.account.profile(role)
            self.people.put(f"app={role}", role=role)
        self.engine.play(60)
        self._clear()

    def _launch_all(self, tag: str) -> None:
        key, _, value = tag.partition("=")
        for _ in range(INSTANCES):
            self.account.launch({key: value})

    def _settle(self, role: str) -> None:
        """Play until every instance carries the role."""
        until = self.engine.seconds + PATIENCE
        while not all(self._carries(each, role) for each in self.account.instances):
            if self.engine.seconds > until:
                raise RuntimeError(f"not every instance carries {role} after {PATIENCE} s")
            self.engine.play(self.engine.seconds + 5)
        if self.promises.violations:
            raise RuntimeError(f"a promise was broken: {self.promises.violations[0]}")

    def _carries(self, instance: str, role: str) -> bool:
        row = self.account.truth.association_of(instance)
        return row is not None and row.profile_arn.endswith(f"/{role}")

    def _clear(self) -> None:
        """Count from here on."""
        self.outside.attempts.clear()
        self.outside.refused.clear()
        self.promises.changes.clear()
        self.promises.writes = self.dynamodb.conflicts = 0


@dataclass(frozen=True)
class Figures:
    """A burst: the share of the bucket's rate, and of attempts throttled; other calls to EC2 that were refused.

    Writes and conflicts are for one change; a write that met another one counts, too.
    """

    rate: float
    throttled: float
    others: int
    writes: float
    conflicts: float


def rows(say: Callable[[str], None]) -> Iterator[Row]:
    """Attaching and replacing all at once."""
    for change in ("attach", "replace"):
        say(f"{change}, {INSTANCES:,} at once")
        found = burst().converge(change)
        name = f"{change} of {INSTANCES:,} at once"
        yield Row(f"{name}, share of EC2's rate", found.rate, "of 1", target=Target(0.95, "ours", least=True))
        yield Row(f"{name}, attempts throttled", found.throttled, "of 1", target=Target(0.03, "ours"))
        yield Row(f"{name}, other calls to EC2 refused", found.others, "calls")
        yield Row(f"{name}, writes for one change", found.writes, "writes", target=Target(3, "ours"))
        yield Row(f"{name}, conflicts for one change", found.conflicts, "conflicts", target=COLD)


def burst() -> Burst:
    """A calm schedule, with limits that keep nobody waiting."""
    drawn = schedule.plan(SEED)
    weather = replace(drawn.weather, stale=0, skew=0)
    timings = replace(drawn.timings, pending=2, associating=0.2, disassociating=0.2, propagation=schedule.QUICK)
    wide = Limits(per_edit=10 * INSTANCES, percent=100)
    calm = replace(drawn, weather=weather, timings=timings, limits=wide, take_over=False, storm=False)
    with mock.patch.object(schedule, "plan", return_value=calm):
        return Burst(SEED)


def _item(write: Mapping[str, Any]) -> tuple[str, ...]:
    [said] = write.values()
    key = said.get("Key") or said["Item"]
    return said["TableName"], key["pk"]["S"], key["sk"]["S"]
