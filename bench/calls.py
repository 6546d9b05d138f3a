"""Calls to AWS that one event costs, all that follows it included, however long EC2 takes and however many mappings."""

import inspect
import itertools
import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import on_instance_event
import on_retry
import runtime
from bench.decisions import fill
from bench.rows import Row, Target
from fakes.ec2 import FakeEc2
from fixtures.account import ACCOUNT, REGION, FakeAccount, new_account
from rolekeeper_local.ec2_model import Timings
from rolekeeper_local.ec2_truth import Ec2Truth

MAPPINGS = (1, 100, 10_000)
# Seconds until EC2 shows `associated`: as it mostly takes, and as it takes at worst.
ASSOCIATES = (0.2, 2.5)
MOST = Target(7, "ours")
# Runs that may follow one event: more than any story has, so that none goes on for ever.
FOLLOWING = 20
CONTEXT: Any = SimpleNamespace(invoked_function_arn=f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:rolekeeper")
EVENT, RETRY = inspect.unwrap(on_instance_event.handler), inspect.unwrap(on_retry.handler)


def rows(say: Callable[[str], None]) -> Iterator[Row]:
    """Attach and replace for each time that EC2 may take; nothing to do, which waits for nobody."""
    for mappings in MAPPINGS:
        say(f"{mappings:,} mappings")
        for change in ("attach", "replace"):
            for seconds in ASSOCIATES:
                name = f"calls for one {change}, EC2 takes {seconds} s, {mappings:,} mappings"
                yield Row(name, sum(calls(change, mappings, seconds).values()), "calls", target=MOST)
        yield Row(
            f"calls for one event, nothing to do, {mappings:,} mappings",
            sum(calls("nothing", mappings, ASSOCIATES[0]).values()),
            "calls",
        )


def calls(change: str, mappings: int, seconds: float) -> dict[str, int]:
    """The calls by operation, until EC2 shows the role as `associated` and nothing more is under way."""
    with new_account() as world, mock.patch.object(runtime, "app", side_effect=lambda _arn: world.app()):
        take_seconds(world, seconds)
        world.publish("app=web", "web")
        world.publish("app=db", "db")
        fill(world, mappings - 2)
        instance = world.running(app="db" if change == "replace" else "web")
        if change != "attach":
            happens(world, instance)
        world.later(minutes=5)
        if change == "replace":
            world.tag(instance, app="web")
        world.quiet()
        happens(world, instance)
        association = world.association(instance)
        if not association or association.state != "associated" or world.carries(instance) != "web":
            raise RuntimeError(f"{change}: the instance carries {association}")
        return world.calls.counted()


def take_seconds(world: FakeAccount, seconds: float) -> None:
    """Have EC2 take this long for each change of an association; before anything is launched."""
    numbers = itertools.count(1)
    world.truth = Ec2Truth(
        now=lambda: world.clock.seconds,
        new_id=lambda kind: f"{kind}-{next(numbers):017x}",
        find_profile=lambda ref: next((each for each in world.profiles.values() if ref in (each.name, each.arn)), None),
        emit=world.emitted.append,
        timings=Timings(associating=seconds, disassociating=seconds),
    )
    world.ec2 = world.clients["ec2"] = FakeEc2(world.truth, world.calls)


def happens(world: FakeAccount, instance: str) -> None:
    """An event names the instance; then whatever its handler asked for happens in its time."""
    EVENT(queued(instance), CONTEXT)
    for _ in range(FOLLOWING):
        if world.machine.started:
            _retried(world, world.machine.started.pop(0)["input"])
        elif world.queue.sent:
            again, delay = world.queue.sent.pop(0)
            world.wait(delay)
            EVENT(queued(again), CONTEXT)
        else:
            return
    raise RuntimeError(f"{FOLLOWING} runs follow one event, and more are due")


def _retried(world: FakeAccount, document: dict[str, Any]) -> None:
    for _ in range(FOLLOWING):
        world.wait(document["wait_seconds"])
        document = RETRY(document, CONTEXT)
        if document["outcome"] != "waiting":
            return
    raise RuntimeError("the retry loop doesn't end")


def queued(instance: str) -> dict[str, Any]:
    """EC2's event as Lambda gets it from the work queue."""
    body = {
        "source": "aws.ec2",
        "detail-type": "EC2 Instance State-change Notification",
        "account": ACCOUNT,
        "region": REGION,
        "time": "2026-03-01T09:00:00Z",
        "detail": {"instance-id": instance, "state": "running"},
    }
    return {"Records": [{"messageId": "m", "body": json.dumps(body)}]}
