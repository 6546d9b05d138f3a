"""Many changes at once, in virtual time: the real functions, EC2's token buckets, DynamoDB's transactions that meet.

`converge` is what tests and the benchmark call. Nothing goes wrong in it but what load itself makes go wrong.
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from fakes.dynamodb import FakeDynamoDB
from fixtures.state_table import swept_item
from rolekeeper.model.mapping import MappingKey, MappingSpec, PublishedMapping
from rolekeeper.settings import Limits
from rolekeeper.storage import layout
from rolekeeper_local.ec2_model import Event, Timings
from simulation.account import ACCOUNT, HUB, PATH, Account, Maker
from simulation.clients import Budget, DynamoDbClient, Ec2Client, IamClient, Senders
from simulation.deployment import Deployment, settings
from simulation.engine import Engine
from simulation.faults import Kind, Weather
from simulation.faulty_clients import Outside, conflict
from simulation.invariants import ROWS, STATE, Promises

HOUR = 3600.0
HOLDS = (0.01, 0.03)  # seconds that a transaction holds its items
FIRST = MappingKey("role", "first")


class Change(StrEnum):
    ATTACH = "attach"
    REPLACE = "replace"


@dataclass(frozen=True)
class Burst:
    """What became of a burst.

    Attributes:
        instances: how many needed a change, and `changed` how many got it.
        seconds: from the first message to the last change.
        attempts: the calls to change that EC2 got, those of the SDK too; `throttled` of them it refused.
        writes: calls that write to the state table, by those that change instances; refused ones too.
        conflicts: of those, transactions that met another at the same item.
        dead_letters: messages that were given up.
        broken: promises of docs/guarantees.md that were broken.
        calls: of those that change instances, by operation.
    """

    instances: int
    changed: int
    seconds: float
    attempts: int
    throttled: int
    writes: int
    conflicts: int
    dead_letters: int
    broken: tuple[str, ...]
    calls: Counter[str]

    @property
    def rate(self) -> float:
        return self.changed / self.seconds

    @property
    def writes_a_change(self) -> float:
        return self.writes / self.changed


class Table(DynamoDbClient):
    def __init__(self, *world: Any, calls: Counter[str], engine: Engine, rng: random.Random) -> None:
        super().__init__(engine, *world)
        self.conflicts = 0
        self._calls, self._clock, self._rng = calls, engine, rng
        self._busy: Counter[str] = Counter()

    def transact_write_items(self, TransactItems: Any) -> Any:  # noqa: N803  # boto3's own name
        keys = [_key(each) for each in TransactItems]
        if any(self._busy[key] for key in keys):
            self.conflicts += 1
            self._calls["TransactWriteItems"] += 1
            self._clock.pause(self._rng.uniform(*HOLDS))
            raise conflict("TransactWriteItems")
        self._busy.update(keys)
        self._clock.pause(self._rng.uniform(*HOLDS))
        self._busy -= Counter(keys)  # keeps none that nobody holds
        return super().transact_write_items(TransactItems)


def _key(write: dict[str, Any]) -> str:
    ((_, arguments),) = write.items()
    named = arguments.get("Key") or arguments["Item"]
    return f"{named['pk']['S']} {named['sk']['S']}"


class Counting(Outside):
    def __init__(self, engine: Engine, weather: Weather, calls: Counter[str]) -> None:
        super().__init__(engine, weather)
        self._calls = calls
        self._at = engine

    def call(self, call: Any) -> Any:
        run = self._at.running
        if run and run.name.startswith(("reconcile", "retry")):
            self._calls[call.operation] += 1
        return super().call(call)


WRITES = ("TransactWriteItems", "PutItem", "UpdateItem", "DeleteItem")


@dataclass
class Calm:
    """An account with Rolekeeper deployed, in which nothing goes wrong but what load itself makes go wrong."""

    engine: Engine
    account: Account
    tables: FakeDynamoDB
    promises: Promises
    deployment: Deployment
    budget: Budget
    table: Table
    calls: Counter[str]
    weather: Weather
    _told: list[Callable[[Event], None]]

    def listen(self) -> None:
        """From now on the rules forward what EC2 tells."""
        self._told.append(self.deployment.emitted)

    def play_until_all_carry(self, role: str, fleet: Sequence[str], until: float) -> float:
        """Returns when the last of them was changed; at `until` some may not be."""
        changes, left, last, seen = self.promises.changes, set(fleet), self.engine.seconds, 0
        while left and self.engine.seconds < until:
            self.engine.play(self.engine.seconds + 1)
            # Only what was changed since: to look at all of them each second takes the square of their number.
            lately, seen = changes[seen:], len(changes)
            if got := {asked.instance for asked, _ in lately if carries(self.account, asked.instance, role)}:
                last, left = self.engine.seconds, left - got
        return last


def calm(  # the knobs of one experiment
    engine: Engine,
    seed: int,
    limits: Limits,
    *,
    window_minutes: int = 10,
    changes_per_second: float = 4.8,
    others: float = 0,
    outside: Callable[[Engine, Weather, Counter[str]], Outside] = Counting,
    deployed: type[Deployment] = Deployment,
    stored: type[Table] = Table,
    organization: str = "",
) -> Calm:
    """Make one, with a role and a profile for each of two mappings. Its rules forward nothing yet."""
    calls = Counter[str]()
    weather = Weather(
        random.Random(seed),
        dict.fromkeys(Kind, 0),
        dict.fromkeys(Kind, ()),
        *(0.0,) * 9,  # latencies
    )
    keys = {STATE: ("pk", "sk"), ROWS: ("tag_key", "tag_value")}
    tables = FakeDynamoDB(keys, page_items=None, guarded={STATE})
    told: list[Callable[[Event], None]] = []

    def tell(event: Event) -> None:
        for each in told:
            each(event)

    account = Account(engine, Timings(), tell, keeps_past=False, take_over=False, allow_broad=False)
    window = timedelta(minutes=window_minutes)
    promises = Promises(engine=engine, account=account, limits=limits, window=window, skew=0, lag=0)
    configured = settings(
        limits,
        window_minutes,
        take_over=False,
        allow_broad=False,
        changes_per_second=changes_per_second,
        organization=organization,
    )
    deployment = deployed(engine, weather, account, tables, promises, configured)
    border = deployment.outside = outside(engine, weather, calls)
    budget = Budget(lambda: engine.seconds, others)
    table = stored(weather, border, tables, promises, calls=calls, engine=engine, rng=weather.rng)
    deployment.clients.update(
        {
            "ec2": Ec2Client(engine, weather, border, account, promises, budget),
            "dynamodb": table,
            "iam": IamClient(weather, border, account),
            **Senders.of(deployment),
        }
    )
    for role in ("first", "former"):
        account.roles[role] = PATH
        account.profile(role)
    return Calm(engine, account, tables, promises, deployment, budget, table, calls, weather, told)


def converge(
    instances: int,
    change: Change,
    *,
    changes_per_second: float = 4.8,
    others: float = 0,
    limits: Limits | None = None,
    window_minutes: int = 10,
    seed: int = 1,
    hours: float = 2,
) -> Burst:
    """Have so many instances need a change at the same moment, and play until all have it or the hours are over.

    Args:
        others: tokens that others take from each of EC2's buckets in a second.
        limits: how many may be replaced in a window; all of them, if not given.
    """
    engine = Engine(seed, tells=False)
    world = calm(
        engine,
        seed,
        limits or Limits(instances, 100),
        window_minutes=window_minutes,
        changes_per_second=changes_per_second,
        others=others,
    )
    account, promises, deployment = world.account, world.promises, world.deployment
    _publish(world.tables, account, engine, instances)
    fleet = [account.launch({"Name": f"i{number}"}) for number in range(instances)]
    engine.play(10)
    if change is Change.REPLACE:
        for each in fleet:
            account.associate(each, account.profiles["former"].arn, Maker.US)
        engine.play(20)
    began = engine.seconds
    world.listen()
    with deployment.installed(seed):
        for each in fleet:
            account.truth.create_tags(each, {"role": "first"})
        last = world.play_until_all_carry("first", fleet, began + hours * HOUR)
        engine.play(engine.seconds + 180)
    return Burst(
        instances=instances,
        changed=sum(carries(account, each, "first") for each in fleet),
        seconds=last - began,
        attempts=world.budget.asked,
        throttled=world.budget.refused,
        writes=sum(world.calls[each] for each in WRITES),
        conflicts=world.table.conflicts,
        dead_letters=len(deployment.dead_letters),
        broken=tuple(map(str, promises.violations)),
        calls=world.calls,
    )


def carries(account: Account, instance: str, role: str) -> bool:
    row = account.truth.association_of(instance)
    return row is not None and row.profile_arn.endswith(f"/{role}")


def _publish(tables: FakeDynamoDB, account: Account, engine: Engine, instances: int) -> None:
    """One mapping, as published; and the marker of a sweep."""
    mapping = PublishedMapping(MappingSpec(FIRST, "first"), 1, account.profiles["first"].arn)
    published = layout.to_attributes(layout.published_item(mapping, ACCOUNT))
    for item in (published, swept_item(HUB, engine.now(), instances)):
        tables.put_item(TableName=STATE, Item=item)
