"""One edit over many targets, in virtual time: when the last of their instances has changed.

Each target has EC2's token buckets of its own, so they could all change side by side. Nothing goes wrong in it but what
load itself makes go wrong: Lambda runs no more at once than the account may, and DynamoDB throttles by partition.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from fakes.dynamodb import FakeDynamoDB
from fakes.dynamodb_values import RefusedError
from fixtures.state_table import swept_item
from rolekeeper.model.instance import Target
from rolekeeper.model.mapping import MappingSpec, PublishedMapping
from rolekeeper.settings import Limits
from rolekeeper.storage import layout
from simulation.account import HUB, PATH, Account, Maker, target_at
from simulation.actors import Habits
from simulation.burst import FIRST, Table, calm, carries
from simulation.deployment import Deployment
from simulation.engine import Engine
from simulation.invariants import ROWS, STATE
from simulation.spokes import ORGANIZATION, join, register
from support.table_capacity import GROWN, Capacity

TAG = {FIRST.tag_key: FIRST.tag_value}
REFILL = 5.0  # changes a second in a target, by EC2's token bucket (AWS_FACTS.md, "Throttles")
LONGEST, GROUP = 3 * 3600.0, 200
RUNS = 1_000  # at once, by Lambda's default quota
APART = 0.7  # seconds between two tags


@dataclass(frozen=True)
class Edited:
    """What became of an edit.

    Attributes:
        instances: how many it moves, and `changed` how many it moved.
        begins: seconds from the edit until the first change; `seconds` until the last, and `at_hub` in the hub itself.
        at_once: the most runs of functions at the same time.
        units: the most write units in a second, and how many writes were `throttled`.
        tag_to_role: the mean of the seconds from a tag in a quiet target until its change.
        broken: promises of docs/guarantees.md that were broken; `dead_letters` are messages that were given up.
    """

    instances: int
    changed: int
    begins: float
    seconds: float
    at_hub: float
    at_once: int
    units: int
    throttled: int
    tag_to_role: float
    broken: tuple[str, ...]
    dead_letters: int


class _Counting(Deployment):
    """Counts the runs that are under way; one that is too much is tried again after a second."""

    going = at_once = 0

    def run(self, function: str, event: dict[str, Any], ended: Callable[[str, Any], None], *rest: Any) -> None:
        if self.going == RUNS:
            self._engine.after(1, lambda: self.run(function, event, ended, *rest))
            return

        def over(how: str, answer: Any) -> None:
            self.going -= 1
            ended(how, answer)

        self.going += 1
        self.at_once = max(self.at_once, self.going)
        super().run(function, event, over, *rest)


class _Partitioned(Table):
    """A table that takes what its `capacity` does."""

    def __init__(self, *world: Any, **parts: Any) -> None:
        super().__init__(*world, **parts)
        self.capacity = Capacity(lambda: self._clock.seconds, self._clock.pause)

    def _write(self, operation: str, act: Callable[[], Any], writes: list[dict[str, Any]]) -> Any:
        keys = [given.get("Key") or given["Item"] for write in writes for given in write.values()]
        try:
            self.capacity.take([key["pk"]["S"] for key in keys if "pk" in key])  # the rows' table is another
        except RefusedError as refused:
            raise refused.for_client(operation) from None
        return super()._write(operation, act, writes)


def floor(instances: int) -> float:
    """Return the seconds that EC2's refill alone takes for so many changes in a target."""
    return instances / REFILL


def edited(sizes: Sequence[int], *, workers: int, seed: int = 1, partitions: int = GROWN, tags: int = 0) -> Edited:
    """Edit the role of so many instances of the hub's own target, and of so many of each spoke.

    While these change, so many `tags` are set in one more spoke, on instances that nothing governed.
    """
    engine, sizes = Engine(seed, tells=False), [*sizes, *[0] * bool(tags)]
    limits = Limits(sum(sizes) + tags, 100)
    world = calm(engine, seed, limits, organization=ORGANIZATION, deployed=_Counting, stored=_Partitioned)
    deployment, table = world.deployment, world.table
    assert isinstance(deployment, _Counting)
    assert isinstance(table, _Partitioned)
    deployment.kept[:], table.capacity.partitions = [{} for _ in range(workers)], partitions
    accounts, parts = {HUB: world.account}, (world.promises, deployment, world.tables)
    for target in map(target_at, range(1, len(sizes))):
        account = accounts[target] = join(seed, engine, world.weather, *parts, Habits(), target).account
        for role in ("first", "former"):
            account.roles[role] = PATH
            account.profile(role)
    targets = [world.promises, *world.promises.spokes]
    with deployment.installed(seed):
        fleet = _launched(engine, accounts, sizes)
        quiet = [*accounts.values()][-1]
        untagged = [quiet.launch({}) for _ in range(tags)]
        _publish(world.tables, engine, accounts, sizes)
        deployment.settle(LONGEST)  # what the launches sent
        world.listen()
        began = engine.seconds
        tagged = _tagged(engine, quiet, untagged, lambda: not sum(sizes) or any(of.changes for of in targets))
        world.tables.put_item(TableName=ROWS, Item=layout.to_attributes(_row("first")))
        times = _play(engine, accounts, fleet, began)
        engine.play(engine.seconds + 60)
    changed_at = {asked.instance: asked.at for asked, _ in reversed(targets[-1].changes)}
    return Edited(
        instances=sum(sizes),
        changed=sum(carries(accounts[target], one, "first") for target, ones in fleet.items() for one in ones),
        begins=min((first for first, _ in times.values()), default=began) - began,
        seconds=max((last for _, last in times.values()), default=began) - began,
        at_hub=times[HUB][1] - began if HUB in times else 0,
        at_once=deployment.at_once,
        units=table.capacity.most,
        throttled=table.capacity.throttled,
        tag_to_role=mean(changed_at[one] - at for one, at in tagged.items()) if tagged else 0,
        broken=tuple(str(one) for of in targets for one in of.violations),
        dead_letters=len(deployment.dead_letters),
    )


def _tagged(engine: Engine, account: Account, instances: Sequence[str], begun: Callable[[], bool]) -> dict[str, float]:
    """Tag these one after another, once the changes have begun; says when each was, in the end."""
    left, tagged = list(instances), dict[str, float]()

    def one() -> None:
        if begun():
            tagged[left[-1]] = engine.seconds
            account.truth.create_tags(left.pop(), TAG)
        if left:
            engine.after(APART, one)

    if left:
        engine.after(APART, one)
    return tagged


def _row(role: str) -> dict[str, Any]:
    return {"tag_key": FIRST.tag_key, "tag_value": FIRST.tag_value, "role": role}


def _launched(engine: Engine, accounts: Mapping[Target, Account], sizes: Sequence[int]) -> dict[Target, list[str]]:
    """Instances that carry the role of the former revision."""
    fleet = dict[Target, list[str]]()
    for (target, account), size in zip(accounts.items(), sizes, strict=True):
        fleet[target] = []
        for first in range(0, size, GROUP):  # what is pending all at once takes its square
            some = [account.launch(TAG) for _ in range(first, min(first + GROUP, size))]
            engine.play(engine.seconds + 60)
            for one in some:
                account.associate(one, account.profiles["former"].arn, Maker.US)
            fleet[target] += some
    engine.play(engine.seconds + 60)
    return fleet


def _publish(tables: FakeDynamoDB, engine: Engine, accounts: Mapping[Target, Account], sizes: Sequence[int]) -> None:
    """The former revision, as published in each account; and the markers of their sweeps."""
    spec, at = MappingSpec(FIRST, "former"), layout.timestamp(engine.now())
    for target, account in accounts.items():
        profile = account.profiles["former"]
        item = layout.published_item(PublishedMapping(spec, 1, profile.arn, profile_id=profile.id), target.account)
        tables.put_item(TableName=STATE, Item=layout.to_attributes(item))
        if target != HUB:
            register(tables, at, target)
    tables.put_item(TableName=STATE, Item=swept_item(HUB, engine.now(), sizes[0], sum(sizes)))
    row = {**_row("former"), "status": "Published", "status_revision": 1}
    tables.put_item(TableName=ROWS, Item=layout.to_attributes(row))


def _play(
    engine: Engine, accounts: Mapping[Target, Account], fleet: Mapping[Target, list[str]], began: float
) -> dict[Target, tuple[float, float]]:
    """Play until all instances have the new role; when the first of each target had, and the last."""
    left = {target: set(ones) for target, ones in fleet.items()}
    times = dict[Target, tuple[float, float]]()
    while any(left.values()) and engine.seconds < began + LONGEST:
        engine.play(engine.seconds + 1)
        for target, ones in left.items():
            if done := {one for one in ones if carries(accounts[target], one, "first")}:
                first, _ = times.get(target, (engine.seconds, 0.0))
                times[target], left[target] = (first, engine.seconds), ones - done
    return times
