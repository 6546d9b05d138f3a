"""What the server on loopback answers: one instance that a tag asks a role for, over the tests' own AWS."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

from botocore import xform_name

from bench import wire
from bench.fleet import Fleet
from bench.instance_fields import FIELDS
from fakes.clock import START
from fixtures.account import FakeAccount

INSTANCE = "i-0abcd1234ef567890"
ROLE, TAG = "web", "app=web"


class OneInstance:
    """A running instance without a role, and the mapping of its tag. Time is real; EC2 associates in 0.2 s."""

    def __init__(self) -> None:
        self._closing = ExitStack()
        self._world = FakeAccount(self._closing)
        self._world.large_pages()
        self._world.clock.seconds = (datetime.now(UTC) - START).total_seconds()
        self._world.publish(TAG, ROLE)
        key, _, value = TAG.partition("=")
        self._world.truth.launch(instance_id=INSTANCE, tags={key: value, "Name": "web-1", "env": "prod"})
        self._world.wait(3)
        self._ahead = 3.0

    def answer(self, request: wire.Request) -> Mapping[str, Any]:
        world = self._world
        world.clock.seconds = (datetime.now(UTC) - START).total_seconds() + self._ahead
        world.truth.tick()
        client = world.clients[request.service]
        if request.service == "ec2" and request.operation.startswith("Describe"):
            found: dict[str, Any] = _page(client, request)
            rows = [row for group in found.get("Reservations", ()) for row in group["Instances"]]
            for row in rows:
                row.update({**FIELDS, **row})
            return found
        params = request.params
        if named := params.get("IamInstanceProfile", {}).get("Name"):
            params = {**params, "IamInstanceProfile": {"Arn": world.profiles[named].arn}}
        answer: Mapping[str, Any] = getattr(client, xform_name(request.operation))(**params)
        return answer


def _page(client: Any, request: wire.Request) -> Any:
    """One page of a describe call; ids come as a filter or by themselves."""
    params = dict(request.params)
    if ids := params.pop("InstanceIds", None):
        params["Filters"] = [{"Name": "instance-id", "Values": ids}]
    return next(iter(client.get_paginator(xform_name(request.operation)).paginate(**params)))


WORLDS: dict[str, Callable[..., Any]] = {"one_instance": OneInstance, "fleet": Fleet}
