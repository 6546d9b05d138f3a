"""Calls to AWS that an event costs, and what follows it, however long EC2 takes and however many mappings there are."""

import inspect
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import on_instance_event
import on_retry
import on_schedule
import runtime
from bench.decisions import counted, fill
from bench.rows import Row, Target
from fakes.ec2 import FakeEc2
from fixtures.account import ACCOUNT, REGION, FakeAccount, new_account
from rolekeeper_local.ec2_model import Timings
from rolekeeper_local.ec2_truth import Ec2Truth

MAPPINGS = (1, 100, 10_000)
# Seconds until EC2 shows `associated`: as it mostly takes, and as it takes at worst.
ASSOCIATES = (0.2, 2.5)
# Seven, and in a batch one more that takes the moments of its changes.
MOST = Target(8, "ours")
# Instances that one batch of messages names, and the minutes in which all that follows a change has happened.
BATCH, MINUTES = 10, 3
# Runs that may follow one event: more than any story has, so that none goes on for ever.
FOLLOWING = 50
CONTEXT: Any = SimpleNamespace(
    invoked_function_arn=f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:rolekeeper",
    aws_request_id="request",
    get_remaining_time_in_millis=lambda: 60_000,
)
EVENT, RETRY, SCHEDULE = (inspect.unwrap(each.handler) for each in (on_instance_event, on_retry, on_schedule))


def rows(say: Callable[[str], None]) -> Iterator[Row]:
    """Attach and replace for each time that EC2 may take; nothing to do, which waits for nobody."""
    for mappings in MAPPINGS:
        beside = counted(mappings)
        say(beside)
        for change in ("attach", "replace"):
            for seconds in ASSOCIATES:
                name = f"calls for one {change}, EC2 takes {seconds} s, {beside}"
                yield Row(name, sum(calls(change, mappings, seconds).values()), "calls", target=MOST)
        nothing = sum(calls("nothing", mappings, ASSOCIATES[0]).values())
        yield Row(f"calls for one event, nothing to do, {beside}", nothing, "calls")
    for change in ("attach", "replace"):
        for seconds in ASSOCIATES:
            say(f"{change} and what follows")
            name = f"calls for {change} in a batch of {BATCH}, EC2 takes {seconds} s, all that follows too"
            yield Row(name, followed(change, seconds) / BATCH, "calls for each")


def calls(change: str, mappings: int, seconds: float) -> dict[str, int]:
    """The calls by operation that one event costs, whatever its handler does about it."""
    with new_account() as world, installed(world):
        [instance] = prepared(world, change, mappings, seconds)
        EVENT(queued(instance), CONTEXT)
        made = world.calls.counted()
        follow(world, MINUTES)
        converged(world, instance)
        return made


def followed(change: str, seconds: float) -> int:
    """The calls for a batch and for all that follows it, without those of minutes in which nothing is due."""
    with new_account() as world, installed(world):
        instances = prepared(world, change, 2, seconds, BATCH)
        EVENT(queued(*instances), CONTEXT)
        follow(world, MINUTES)
        spent = sum(world.calls.counted().values())
        converged(world, *instances)
        world.quiet()
        follow(world, MINUTES)
        return spent - sum(world.calls.counted().values())


def prepared(world: FakeAccount, change: str, mappings: int, seconds: float, count: int = 1) -> list[str]:
    """Instances that are about to change; calls are counted from here on."""
    take_seconds(world, seconds)
    world.large_pages()
    world.publish("app=web", "web")
    world.publish("app=db", "db")
    fill(world, mappings - 2)
    instances = [world.running(app="db" if change == "replace" else "web") for _ in range(count)]
    if change != "attach":
        EVENT(queued(*instances), CONTEXT)
        follow(world, 2 * MINUTES)
    if change == "replace":
        for each in instances:
            world.tag(each, app="web")
    world.quiet()
    return instances


def converged(world: FakeAccount, *instances: str) -> None:
    """Every instance carries its role, and EC2 shows it as `associated`; else a RuntimeError."""
    for each in instances:
        association = world.association(each)
        if not association or association.state != "associated" or world.carries(each) != "web":
            raise RuntimeError(f"{each} carries {association}")


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


def follow(world: FakeAccount, minutes: int) -> None:
    """Let the retry loops, the messages and the minutes that follow happen, in their time."""
    for _ in range(minutes):
        happens(world)
        world.wait(60)
        SCHEDULE({"task": "expiries", "id": "minute"}, CONTEXT)
        happens(world)


def happens(world: FakeAccount) -> None:
    """What handlers asked for, until nothing is left."""
    for _ in range(FOLLOWING):
        if world.machine.started:
            _retried(world, world.machine.started.pop(0)["input"])
        elif world.queue.sent:
            due = Counter(delay for _, delay in world.queue.sent)
            delay = min(due)
            batch = [each for each in world.queue.sent if each[1] == delay][:BATCH]
            for each in batch:
                world.queue.sent.remove(each)
            world.wait(delay)
            EVENT(queued(*(instance for instance, _ in batch)), CONTEXT)
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


def queued(*instances: str) -> dict[str, Any]:
    """EC2's events as Lambda gets them from the work queue."""
    body = {
        "source": "aws.ec2",
        "detail-type": "EC2 Instance State-change Notification",
        "account": ACCOUNT,
        "region": REGION,
        "time": "2026-03-01T09:00:00Z",
    }
    bodies = [{**body, "detail": {"instance-id": each, "state": "running"}} for each in instances]
    return {"Records": [{"messageId": f"m{at}", "body": json.dumps(each)} for at, each in enumerate(bodies)]}


@contextmanager
def installed(world: FakeAccount) -> Iterator[None]:
    """While this lasts, the handlers run in this world, and log nothing."""
    silent = mock.Mock()
    with (
        mock.patch.object(runtime, "app", side_effect=lambda _arn: world.app()),
        mock.patch.object(runtime, "logger", silent),
        mock.patch.object(runtime, "metrics", silent),
    ):
        yield
