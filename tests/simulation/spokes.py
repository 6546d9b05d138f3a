"""More accounts and Regions in some schedules, served by the same deployment as the spokes of a hub.

In each of them what goes wrong goes wrong in one: in the hub's account, with its tables and queues, or in a spoke's.
So what breaks in one has to leave the others as they should be.
"""

import json
import math
import random
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from fakes.dynamodb import FakeDynamoDB
from rolekeeper.fleet.targets import WIRE_FORMAT
from rolekeeper.model.instance import Target
from rolekeeper.storage import layout
from rolekeeper_local.ec2_model import Event
from simulation.account import HUB, SPOKE, UNITS, Account, target_at
from simulation.actors import Habits, People
from simulation.clients import Budget, Ec2Client, IamClient
from simulation.convergence import Settled
from simulation.deployment import Deployment
from simulation.engine import Engine
from simulation.faults import Kind, Weather
from simulation.faulty_clients import Outside
from simulation.invariants import STATE, Promises, is_for
from spec.carries import in_scope
from support.templates import ROOT

# This share of the schedules has a spoke, and of the others this share has several: a third of all.
SHARE, SEVERAL = 0.15, 0.4
ORGANIZATION = "o-embeddedaws"


def spokes_of(seed: int) -> list[Target]:
    """Return the spokes of a seed's schedule; decided apart, so that those without are as they are."""
    rng = random.Random(seed * 249 + 21)
    several = rng.choice((2, 2, 3, 5)) if rng.random() < SEVERAL else 0
    number = 1 if random.Random(seed * 211 + 43).random() < SHARE else several
    return [target_at(at) for at in range(1, number + 1)]


def loses_region(seed: int) -> bool:
    """Whether in a spoke's schedule its Region gives no answer for a while, in the place of refused roles."""
    return random.Random(f"target away {seed}").random() < 1 / 3


def hub_is_away(seed: int) -> float:
    """For how many seconds the hub's Region is down in a spoke's schedule; 0: it never is."""
    rng = random.Random(f"hub away {seed}")
    return rng.choice((120, 1200, 6 * 3600, 23 * 3600, 25 * 3600)) if rng.random() < 1 / 4 else 0


def calm(weather: Weather, seed: int) -> Weather:
    """Where nothing goes wrong, while it does elsewhere. What happened is counted in one place."""
    quiet = dict.fromkeys(Kind, 0.0)
    return replace(
        weather, rng=random.Random(seed * 61 + 17), chances=quiet, stale=0, drop=0, copy=0, late=0, hurry=None
    )


@dataclass
class Spoke:
    """The spoke of one schedule: its account, who is about in it, and what has to hold there."""

    account: Account
    promises: Promises
    people: People
    settled: Settled
    budget: Budget


def join(
    seed: int,
    engine: Engine,
    weather: Weather,
    hub: Promises,
    deployment: Deployment,
    tables: FakeDynamoDB,
    habits: Habits,
    target: Target = SPOKE,
) -> Spoke:
    """Have a deployment serve a spoke, in its own weather."""
    outside = Outside(engine, weather, lambda: deployment.struck(target))

    def emitted(event: Event) -> None:
        deployment.emitted(event, target)

    account = Account(
        engine,
        hub.account.truth.timings,
        emitted,
        keeps_past=weather.stale > 0,
        take_over=hub.account.take_over,
        allow_broad=hub.account.allow_broad,
        target=target,
    )
    promises = Promises(engine, account, hub.limits, hub.window, hub.skew, weather.lag if weather.stale else 0, hub=hub)
    promises.per_second = hub.per_second
    hub.spokes.append(promises)
    budget = Budget(lambda: engine.seconds, 0, math.inf)
    deployment.spokes[target] = account
    deployment.clients_of[target] = {
        "ec2": Ec2Client(engine, weather, outside, account, promises, budget),
        "iam": IamClient(weather, outside, account),
    }
    mild = replace(habits, damage=False, operators=False, refuses=True, away=loses_region(seed))
    people = People(random.Random(seed * 37 + 19), engine, weather, account, tables, deployment, promises, mild)
    return Spoke(account, promises, people, Settled(engine, account, tables, promises), budget)


def register(tables: FakeDynamoDB, at: str, target: Target = SPOKE) -> None:
    """The hub knows a spoke already, and has swept it."""
    known = {**layout.key_attributes(layout.target_key(target)), "version": "0.1.0", "unit": "/".join(UNITS)}
    known |= {"wire_format": WIRE_FORMAT}
    known |= dict.fromkeys(("since", "last_event", "last_sweep"), at)
    tables.put_item(TableName=STATE, Item=layout.to_attributes(known))


def present(at: datetime, target: Target = SPOKE) -> dict[str, Any]:
    """What a spoke's schedule sends each day, by which a hub that lost its tables knows it again."""
    sample: dict[str, Any] = json.loads((ROOT / "events/spoke-present.json").read_text())
    rule = f"arn:aws:events:{target.region}:{target.account}:rule/rolekeeper-present"
    where = {"account": target.account, "region": target.region, "resources": [rule]}
    return {**sample, **where, "time": at.strftime("%Y-%m-%dT%H:%M:%SZ")}


def check_copies(hub: Settled, promises: Promises, spoke: Account) -> None:
    """After the sweeps, what is published for a spoke is what is published, under its own account's profile."""
    there = spoke.target
    for key in promises.published:
        item, copy = (hub.item(layout.published_key(key, account)) for account in (HUB.account, there.account))
        published, copied = (layout.published_from(each) if each else None for each in (item, copy))
        if published is None:
            continue
        told = f"{key} is published as {published}, and for {there} as {copied}"
        if published.deleted:
            promises.check(4, copied is None or copied.deleted, lambda told=told: told)  # type: ignore[misc]  # a default binds the loop's
            continue
        if hub.is_held(key) or hub.says_missing(key, there.account):
            continue  # what would change too much in the spoke waits there
        if in_scope(published.spec, there.account, there.region, spoke.units):
            wanted = published.revision, published.spec, True
            same = copied is not None and (copied.revision, copied.spec, copied.in_scope) == wanted
        else:
            same = copied is None or (copied.revision == published.revision and not is_for(copied, there))
        promises.check(4, same, lambda told=told: told)  # type: ignore[misc]  # the same
        promises.check(10, copied is None or HUB.account not in copied.profile_arn, lambda told=told: told)  # type: ignore[misc]  # the same
