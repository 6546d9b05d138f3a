"""Three accounts of one hub: while one has hundreds of changes waiting, an instance in another gets its role soon.

Compared within one run, on one machine: how long a tag takes to become a role while nothing else happens, and while the
other account's changes wait at the pace of a deployment.
"""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median

import pytest

from rolekeeper_local.account import EmulatedAccount
from rolekeeper_local.ec2_model import Timings
from rolekeeper_local.embedded import EmbeddedAws
from rolekeeper_local.spokes import REGIONS, deploy_organization
from support.fleets import carried, launch_many
from support.ports import free_port
from support.waiting import eventually

pytestmark = pytest.mark.emulator

WAITING = 300  # a minute's changes, at ChangesPerSecond
LONGEST, TIMES = 60, 7  # seconds, in which a role has to come
# In virtual time, where calls and events take what they take on AWS, it is twice. Here an event takes no time, and EC2
# a fifth of a second, so that what a quiet message waits for one of the workers, up to some seconds, is more of the
# whole; and the machine is shared. First in, first out, it would wait for a minute: two hundred times as long.
TIMES_AS_LONG = 8
READ, TABLE = "s3-read", "dynamodb-app"
ROLES = {"s3-reader": READ, "dynamodb-app": TABLE}


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory, artifacts: Path) -> Iterator[list[EmulatedAccount]]:
    """One of each account; the first is the hub's."""
    directory = tmp_path_factory.mktemp("aws")
    with EmbeddedAws(port=free_port(), timings=Timings(pending=1), directory=directory, artifacts=artifacts) as aws:
        yield deploy_organization(aws, 3)[:: len(REGIONS)]


def seconds_to_role(world: EmulatedAccount, instance: str, at: int) -> float:
    """How long it takes from a tag to the role; each time the other one."""
    tag, role = list(ROLES.items())[at % 2]
    began = time.monotonic()
    world.tag(instance, workload=tag)
    while not world.carries(instance, role):
        assert time.monotonic() - began < LONGEST
        time.sleep(0.02)
    return time.monotonic() - began


def test_an_accounts_waiting_changes_are_not_waited_for_in_another(worlds: list[EmulatedAccount]) -> None:
    _hub, loud, quiet = worlds
    instance = quiet.launch("web")
    fleet = launch_many(loud, WAITING)
    eventually(partial(runs, quiet, instance), 30)
    eventually(partial(runs, loud, fleet[-1]), 60)
    seconds_to_role(quiet, instance, 1)  # its process is new
    idle = [seconds_to_role(quiet, instance, at) for at in range(TIMES)]
    loud.ec2.create_tags(Resources=fleet, Tags=[{"Key": "workload", "Value": "s3-reader"}])
    time.sleep(2)
    busy = [seconds_to_role(quiet, instance, at) for at in range(TIMES, 2 * TIMES)]
    left = WAITING - len(dict(carried(loud)))
    print(f"idle {median(idle):.2f} s, beside {left} to {WAITING} that wait {median(busy):.2f} s")  # noqa: T201  # shown in the run's output
    assert left > WAITING / 2
    assert median(busy) <= TIMES_AS_LONG * median(idle)


def runs(world: EmulatedAccount, instance: str) -> bool:
    return world.state(instance) == "running"
