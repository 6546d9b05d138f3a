"""A Region that is down, in virtual time: the hub's, for minutes to a day, or a spoke's while the hub is well.

In the schedules (`schedule.py`) both meet whatever else goes wrong. Here nothing else does, so that it can be measured
how long it takes afterwards: `-s` shows it, and docs/recovery.md says it.
"""

import random
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from rolekeeper.model.mapping import Pin
from rolekeeper.settings import Limits
from rolekeeper.storage import layout
from rolekeeper_cli.act.pins import pin_item
from simulation.account import PATH, Account, instance_key
from simulation.actors import Habits
from simulation.burst import Calm, calm, carries
from simulation.engine import Engine
from simulation.faults import Fault
from simulation.faulty_clients import LATEST
from simulation.invariants import ROWS, STATE
from simulation.spokes import ORGANIZATION, Spoke, join, present, register

MINUTE, HOUR = 60.0, 3600.0
INTERVAL = 15 * MINUTE  # SweepSchedule
INSTANCES, PINNED, HOMES = 120, 10, 10
FIRST, FORMER = "first", "former"


class World:
    """A hub and its spoke, each with instances that carry what their tags ask for, swept in each interval."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.engine = Engine(seed, tells=False)
        self.hub: Calm = calm(self.engine, seed, Limits(INSTANCES, 100), organization=ORGANIZATION)
        self.deployment, tables, promises = self.hub.deployment, self.hub.tables, self.hub.promises
        self.weather = replace(self.hub.weather)  # the spoke's own
        self.spoke: Spoke = join(seed, self.engine, self.weather, promises, self.deployment, tables, Habits())
        for role in (FIRST, FORMER):
            self.spoke.account.roles[role] = PATH
            self.spoke.account.profile(role)
            row = {"tag_key": "role", "tag_value": role, "role": role}
            tables.put_item(TableName=ROWS, Item=layout.to_attributes(row))
        register(tables, layout.timestamp(self.engine.now()))
        self.wanted: dict[str, str] = {}
        self.hub.listen()

    def begin(self) -> None:
        self._sweep_each_interval()
        self.engine.play(2 * INTERVAL)
        self.there = [self._launch(self.spoke.account) for _ in range(INSTANCES)]
        self.here = [self._launch(self.hub.account) for _ in range(HOMES)]
        self.engine.play(self.engine.seconds + INTERVAL)
        assert not self.wrong()

    def _launch(self, account: Account) -> str:
        instance = account.launch({"role": FORMER})
        self.wanted[instance] = FORMER
        return instance

    def _sweep_each_interval(self) -> None:
        if not self.deployment.away:
            self.deployment.sweep()
        self.engine.after(INTERVAL, self._sweep_each_interval)

    def account_of(self, instance: str) -> Account:
        return self.spoke.account if instance in self.there else self.hub.account

    def wrong(self) -> list[str]:
        """The instances that don't carry what they should."""
        return [each for each, role in self.wanted.items() if not carries(self.account_of(each), each, role)]

    def retag(self, instance: str) -> None:
        self.account_of(instance).truth.create_tags(instance, {"role": FIRST})
        self.account_of(instance).changed()
        self.wanted[instance] = FIRST

    def pin(self, instance: str, seconds: float) -> None:
        """Lend an instance the other role."""
        until = self.engine.now() + timedelta(seconds=seconds)
        pin = Pin(FIRST, self.spoke.account.profiles[FIRST].arn, until, by="somebody")
        self.hub.tables.put_item(TableName=STATE, Item=layout.to_attributes(pin_item(instance_key(instance), pin)))

    def made(self) -> int:
        """How many changes were made so far."""
        return len(self.hub.promises.changes) + len(self.spoke.promises.changes)

    def play_until_right(self, seconds: float) -> dict[str, float]:
        """How long it takes until each instance that was wrong is right."""
        began, left, took = self.engine.seconds, self.wrong(), dict[str, float]()
        while left and self.engine.seconds < began + seconds:
            self.engine.play(self.engine.seconds + 1)
            now, left = set(left), self.wrong()
            took |= dict.fromkeys(now.difference(left), self.engine.seconds - began)
        assert not left
        return took


@pytest.mark.parametrize("away", [5 * MINUTE, HOUR, 6 * HOUR, 24 * HOUR, 30 * HOUR])
def test_while_the_hubs_region_is_down_roles_stay_and_an_interval_later_all_is_right(away: float) -> None:
    """Tags change there meanwhile, and pins expire."""
    world = World(int(away))
    deployment = world.deployment
    with deployment.installed(1):
        world.begin()
        pinned, tagged = world.there[:PINNED], world.there[PINNED:]
        for each in pinned:
            world.pin(each, world.rng.uniform(MINUTE + LATEST, MINUTE + away))
        world.engine.play(world.engine.seconds + MINUTE)
        assert sorted(world.wrong()) == sorted(pinned), "they are lent another role for a while"
        deployment.region_fails()
        began = world.engine.seconds
        for each in tagged:
            world.engine.after(world.rng.uniform(0, away), partial(world.retag, each))
        world.engine.play(began + LATEST)
        made = world.made()
        world.engine.play(began + away)
        assert world.made() == made, "nothing is changed meanwhile"
        deployment.region_returns()
        took = world.play_until_right(INTERVAL + 5 * MINUTE)
        world.engine.play(world.engine.seconds + INTERVAL)
    lost, pins = world.weather.met[Fault.EVENT_DROPPED], max(took[each] for each in pinned)
    print(f"{away / HOUR:4.1f} h: pins {pins:.0f} s, all {max(took.values()):.0f} s, {lost} events given up")  # noqa: T201  # shown by -s
    assert len(took) == INSTANCES
    assert bool(lost) is (away > 24 * HOUR), "EventBridge keeps an event for a day"
    assert pins <= 2 * MINUTE
    assert (deployment.dead_letters, deployment.waiting, world.wrong()) == ([], set(), [])
    assert [*world.hub.promises.violations, *world.spoke.promises.violations] == []


@pytest.mark.parametrize("away", [5 * MINUTE, HOUR, 6 * HOUR])
def test_while_a_spokes_region_is_down_others_wait_for_nothing_and_an_interval_later_all_is_right(away: float) -> None:
    world = World(int(away))
    deployment, engine = world.deployment, world.engine
    with deployment.installed(1):
        world.begin()
        world.weather.away = True
        for each in world.there:
            engine.after(world.rng.uniform(0, away / 2), partial(world.retag, each))
        engine.play(engine.seconds + away / 4)
        for each in world.here:
            world.retag(each)
        engine.play(engine.seconds + MINUTE)
        assert not set(world.wrong()) & set(world.here), "the hub's own instances get theirs"
        engine.play(engine.seconds + away * 3 / 4 - MINUTE)
        assert set(world.wrong()) == set(world.there)
        world.weather.away = False
        deployment.send(present(engine.now()))
        dead = len(deployment.dead_letters)
        took = world.play_until_right(INTERVAL + 5 * MINUTE)
    print(f"{away / HOUR:4.1f} h: all {max(took.values()):.0f} s; {dead} dead letters")  # noqa: T201  # shown by -s
    assert len(took) == INSTANCES
    assert [*world.hub.promises.violations, *world.spoke.promises.violations] == []
