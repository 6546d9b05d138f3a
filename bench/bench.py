"""`make bench`: what a decision costs, and whether it grows with the number of mappings. Prints; asserts nothing.

Times are of this machine, and noisy; the ratios within one run are what holds. AWS is the tests' own, in this process:
no network is in these figures. The time from a tag to a role is measured by `make demo`.
"""

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import cycle

from rich.console import Console
from rich.table import Table

from fixtures.account import ACCOUNT, REGION, FakeAccount, new_account
from fixtures.mappings import MappingsFixture
from fixtures.state_table import STATE_TABLE
from rolekeeper.instances.decide import Case, decide
from rolekeeper.instances.resolve import resolve
from rolekeeper.model.instance import Instance, InstanceKey, InstanceState
from rolekeeper.model.mapping import MappingKey, MappingSpec, PublishedMapping
from rolekeeper.storage import codec
from strategies.values import OWNERSHIP

ROUNDS = 15
FEW, MANY = 1, 10_000
INSTANCES = 10


def published(tag: str, number: int) -> PublishedMapping:
    """A published mapping of one role."""
    return PublishedMapping(MappingSpec(MappingKey(tag, str(number)), f"role-{number}"), 1, f"arn:role-{number}")


def median_ms(action: Callable[[], object], rounds: int = ROUNDS) -> float:
    """The median time of an action, in milliseconds."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        action()
        times.append((time.perf_counter() - began) * 1_000)
    return statistics.median(times)


def one_decision() -> float:
    """Resolving and deciding for an instance with 50 tags, each with a mapping, in milliseconds."""
    tags = {f"tag-{number}": str(number) for number in range(50)}
    instance = Instance(InstanceKey(ACCOUNT, REGION, "i-0abc"), InstanceState.RUNNING, tags)
    mappings = [published(f"tag-{number}", number) for number in range(50)]
    now = datetime.now(UTC)
    return median_ms(
        lambda: decide(Case(instance, None, None, resolve(instance, mappings, now), None, OWNERSHIP)), rounds=200
    )


def fill(world: FakeAccount, count: int) -> None:
    """Put published mappings straight into the state table."""
    for number in range(count):
        item = codec.to_attributes(codec.published_item(published("filler", number)))
        world.dynamodb.put_item(TableName=STATE_TABLE, Item=item)


def no_op(mappings: int) -> tuple[float, dict[str, int]]:
    """A no-op reconcile of a batch: its time, and its calls."""
    with new_account() as world:
        world.publish("app=web", "web")
        instances = [world.running(app="web") for _ in range(INSTANCES)]
        world.reconcile_all(*instances)
        fill(world, mappings - 1)
        world.quiet()
        world.reconcile_all(*instances)
        calls = world.calls.counted()
        return median_ms(lambda: world.reconcile_all(*instances)), calls


def one_edit(rows: int) -> tuple[float, dict[str, int]]:
    """Judging and publishing one edit beside other rows: its time, and its calls."""
    with new_account() as world:
        desk = MappingsFixture(world)
        for role in ("web", "db"):
            desk.role(role)
            world.profile(role)
        world.running(app="web")
        fill(world, rows - 1)
        for number in range(rows - 1):
            desk.put(f"filler={number}", role=f"role-{number}")
        roles = cycle(("web", "db"))
        desk.edit("app=web", role=next(roles))
        desk.quiet()
        desk.edit("app=web", role=next(roles))
        # The edit itself is the operator's.
        calls = {name: number for name, number in world.calls.counted().items() if name != "PutItem"}
        return median_ms(lambda: desk.edit("app=web", role=next(roles))), calls


def main() -> None:
    """Run and print."""
    console = Console()
    table = Table("what", "median")
    table.add_column("calls to AWS", overflow="fold")
    with console.status("measuring"):
        table.add_row("one decision, 50 tags with a mapping each", f"{one_decision():.2f} ms", "none")
        few, few_calls = no_op(FEW)
        many, many_calls = no_op(MANY)
        edit_few, edit_few_calls = one_edit(FEW)
        edit_many, edit_many_calls = one_edit(MANY)
    for count, took, calls in ((FEW, few, few_calls), (MANY, many, many_calls)):
        said = "\n".join(f"{number} {name}" for name, number in sorted(calls.items()))
        table.add_row(f"no-op reconcile of {INSTANCES} instances, {count:,} mappings", f"{took:.1f} ms", said)
    for count, took, calls in ((FEW, edit_few, edit_few_calls), (MANY, edit_many, edit_many_calls)):
        said = "\n".join(f"{number} {name}" for name, number in sorted(calls.items()))
        table.add_row(f"one edit of a row, {count:,} rows", f"{took:.1f} ms", said)
    console.print(table)
    console.print(
        f"{MANY:,} mappings to {FEW}: a no-op {many / few:.2f} times, an edit {edit_many / edit_few:.2f} times"
    )


if __name__ == "__main__":
    main()
