"""Two accounts of one hub, of which one has thousands of changes waiting: what that costs the other, in virtual time.

`overtaken` tags an instance of the quiet account now and then, and says what was done before each got its role.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from fakes.dynamodb import FakeDynamoDB
from fixtures.state_table import swept_item
from rolekeeper.model.instance import Target
from rolekeeper.model.mapping import MappingSpec, PublishedMapping
from rolekeeper.settings import Limits
from rolekeeper.storage import layout
from simulation.account import HUB, PATH, SPOKE, Account
from simulation.actors import Habits
from simulation.burst import FIRST, calm, carries
from simulation.engine import Engine
from simulation.invariants import STATE
from simulation.spokes import ORGANIZATION, join, register

TAG = {FIRST.tag_key: FIRST.tag_value}
# Seconds between two tags, an odd number as workers may run in step; and after which a role is no longer waited for.
APART, LONGEST = 5.3, 600.0
GROUP = 200


@dataclass(frozen=True)
class Turn:
    """How many of the other account's changes were made from a tag until its role, and how many still waited then.

    It `took` so many seconds.
    """

    made: int
    waiting: int
    took: float


def overtaken(changes: int, quiet: Target, *, times: int, seed: int = 1) -> list[Turn]:
    """So many `times` an instance is tagged, while so many `changes` wait in the other of the two accounts."""
    engine = Engine(seed, tells=False)
    world = calm(engine, seed, Limits(changes + times, 100), organization=ORGANIZATION)
    parts = world.promises, world.deployment, world.tables
    accounts = {HUB: world.account, SPOKE: join(seed, engine, world.weather, *parts, Habits()).account}
    accounts[SPOKE].roles["first"] = PATH
    accounts[SPOKE].profile("first")
    _publish(world.tables, engine, accounts, changes)
    (noisy,) = (each for target, each in accounts.items() if target != quiet)
    with world.deployment.installed(seed):
        fleet = _launched(engine, noisy, changes)
        ours = _launched(engine, accounts[quiet], times)
        world.listen()
        for each in fleet:
            noisy.truth.create_tags(each, TAG)
        engine.play(engine.seconds + 30)
        return [_turn(engine, accounts[quiet], each, (noisy, fleet)) for each in ours]


def _launched(engine: Engine, account: Account, number: int) -> list[str]:
    fleet = list[str]()
    for first in range(0, number, GROUP):  # what is pending all at once takes its square
        fleet += [account.launch({}) for _ in range(first, min(first + GROUP, number))]
        engine.play(engine.seconds + 5)
    return fleet


def _turn(engine: Engine, account: Account, instance: str, other: tuple[Account, list[str]]) -> Turn:
    noisy, fleet = other
    began, before = engine.seconds, sum(carries(noisy, each, "first") for each in fleet)
    account.truth.create_tags(instance, TAG)
    while not carries(account, instance, "first") and engine.seconds < began + LONGEST:
        engine.play(engine.seconds + 0.01)
    done, took = sum(carries(noisy, each, "first") for each in fleet), engine.seconds - began
    engine.play(max(engine.seconds, began + APART))
    return Turn(done - before, len(fleet) - done, took)


def _publish(tables: FakeDynamoDB, engine: Engine, accounts: Mapping[Target, Account], changes: int) -> None:
    at = layout.timestamp(engine.now())
    records = [
        layout.to_attributes(
            layout.published_item(
                PublishedMapping(MappingSpec(FIRST, "first"), 1, account.profiles["first"].arn), target.account
            )
        )
        for target, account in accounts.items()
    ]
    for item in (swept_item(HUB, engine.now(), changes, 2 * changes), *records):
        tables.put_item(TableName=STATE, Item=item)
    register(tables, at)
