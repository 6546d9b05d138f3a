"""A fleet of any size, in virtual time and flat memory: EC2 makes each page when it is asked for it.

`swept(100_000)` sweeps it with the real code, run after run as the resume machine makes them; `fanned_out(100_000)` has
one mapping's instances sent. Bench and tests call them.
"""

import json
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from fakes.ec2 import EC2_META
from fixtures.account import HOME, MAPPING_TABLE, FakeAccount, mapping_key, new_account
from fixtures.state_table import table_keys
from rolekeeper.aws.queue import Task, resumable
from rolekeeper.fleet.sweep import RESERVE, SweepResult
from rolekeeper.mappings.fan_out import FanOut
from rolekeeper.mappings.verdict import Status
from rolekeeper.storage import layout

# What a page takes in virtual time (seconds): two calls to EC2, five to the state table.
PAGE_SECONDS = 1.0
RUN_SECONDS = 840
TAG = "workload=web"


class GeneratedEc2:
    """EC2's reads over a fleet that is nowhere: every `tagged`th instance carries the tag, and none a profile."""

    meta = EC2_META

    def __init__(self, size: int, tagged: int, passes: Callable[[float], object]) -> None:
        self._size = size
        self._tagged = tagged
        self._passes = passes
        self.pages = 0

    def describe_instances(self, **asked: Any) -> dict[str, Any]:
        """One page; by the tag, pages of those that carry it."""
        self._passes(PAGE_SECONDS)
        self.pages += 1
        step = self._tagged if any(each["Name"].startswith("tag:") for each in asked["Filters"]) else 1
        first = int(asked.get("NextToken", 0))
        end = min(first + asked["MaxResults"] * step, self._size)
        rows = [self._row(number) for number in range(first, end, step)]
        return {"Reservations": [{"Instances": rows}], **({"NextToken": str(end)} if end < self._size else {})}

    def _row(self, number: int) -> dict[str, Any]:
        tags = [{"Key": "Name", "Value": f"host-{number}"}, {"Key": "env", "Value": "prod"}]
        if number % self._tagged == 0:
            key, value = TAG.split("=")
            tags.append({"Key": key, "Value": value})
        return {"InstanceId": f"i-{number:017x}", "State": {"Name": "running", "Code": 16}, "Tags": tags}

    def get_paginator(self, _name: str) -> "GeneratedEc2":
        return self

    def paginate(self, **_: Any) -> Iterator[dict[str, Any]]:
        yield {"IamInstanceProfileAssociations": []}


class CountingQueue:
    """SQS that counts what it takes."""

    def __init__(self) -> None:
        self.sent = 0
        self.last = ""

    def get_queue_attributes(self, **_: Any) -> dict[str, Any]:
        return {"Attributes": {"ApproximateNumberOfMessages": "0", "ApproximateNumberOfMessagesDelayed": "0"}}

    def send_message_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803, ARG002  # boto3's own names
        self.sent += len(Entries)
        self.last = json.loads(Entries[-1]["MessageBody"])["detail"]["instance-id"]
        return {}


@dataclass(frozen=True)
class Ran:
    """What a sweep or a fan-out took: instances seen or sent, messages, runs, and pages of EC2; real and virtual time.

    `peak_mb` is the process's largest memory so far, which a flat run doesn't raise.
    """

    instances: int
    sent: int
    last: str
    runs: int
    pages: int
    seconds: float
    peak_mb: float
    virtual_seconds: float = 0.0


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def swept(size: int, *, tagged: int = 10) -> Ran:
    """Sweep a fleet of which every `tagged`th instance has the tag of a published mapping, and no role yet."""
    with new_account() as world:
        world.large_pages()
        ec2, queue, clients = _made(world, size, tagged)
        at = world.clock.seconds
        began, state, runs = time.monotonic(), resumable(Task.SWEEP, "sweep-1", SweepResult(finished=False)), 0
        while not state["finished"]:
            ends, runs = world.clock.seconds + RUN_SECONDS, runs + 1
            app = world.app(clients=clients)
            done = app.sweep("sweep-1", lambda ends=ends: ends - world.clock.seconds, "run-1", state).run()  # type: ignore[misc]  # a default binds the loop's
            # As the machine hands it on.
            state = json.loads(json.dumps(resumable(Task.SWEEP, "sweep-1", done)))
        seen, took = state["instances"], time.monotonic() - began
        return Ran(seen, queue.sent, queue.last, runs, ec2.pages, took, peak_mb(), world.clock.seconds - at)


def fanned_out(size: int) -> Ran:
    """Have the instances of one mapping sent, from a fleet of which each carries its tag."""
    with new_account() as world:
        world.large_pages()
        ec2, queue, clients = _made(world, size, tagged=1)
        began = time.monotonic()
        done, runs = FanOut.to(mapping_key(TAG), [HOME]), 0
        while not done.finished:
            ends, runs = world.clock.seconds + RUN_SECONDS, runs + 1
            event = json.loads(json.dumps(resumable(Task.FAN_OUT, "edit-1", done)))
            in_time = lambda ends=ends: ends - world.clock.seconds >= RESERVE  # noqa: E731  # a default binds the loop's
            done = world.app(clients=clients).sender.run(layout.decode(FanOut, event), "edit-1", in_time)
        return Ran(done.sent, queue.sent, queue.last, runs, ec2.pages, time.monotonic() - began, peak_mb())


def _made(world: FakeAccount, size: int, tagged: int) -> tuple[GeneratedEc2, CountingQueue, dict[str, Any]]:
    world.profile("web")
    world.dynamodb.add_table(MAPPING_TABLE, table_keys("MappingTable"))
    row = layout.to_attributes({**layout.encode(mapping_key(TAG)), "role": "web"})
    world.dynamodb.put_item(TableName=MAPPING_TABLE, Item=row)
    nobody = {**world.clients, "ec2": GeneratedEc2(0, 1, world.clock.sleep)}
    assert world.app(clients=nobody).publisher.publish(mapping_key(TAG), "edit-1").status is Status.PUBLISHED
    ec2, queue = GeneratedEc2(size, tagged, world.clock.sleep), CountingQueue()
    return ec2, queue, {**world.clients, "ec2": ec2, "sqs": queue}
