"""AWS by the names of its operations, as IAM has them, and with the patience of a verification."""

import random
import time
from collections.abc import Iterator, Mapping
from functools import cache, partial
from typing import Any

import jmespath
from botocore import xform_name
from botocore.exceptions import BotoCoreError, ClientError

from rolekeeper.aws.errors import RetryableError, classified, classify
from rolekeeper_cli.aws.deployment import Deployment

# The permission that a call needs, if it has another name (service authorization reference, "Amazon S3").
_PERMISSIONS = {
    "s3:ListBuckets": "s3:ListAllMyBuckets",
    "s3:ListObjectVersions": "s3:ListBucketVersions",
    "s3:ListMultipartUploads": "s3:ListBucketMultipartUploads",
}
# EC2 lacks the capacity for a launch in one zone, which its other codes of that status don't say (EC2 API reference,
# "Error codes").
NO_ROOM = frozenset({"InsufficientInstanceCapacity", "Unsupported"})
# What may have happened although no answer came, and can't be done twice: only if it was throttled is it sent again.
_ONCE = ("Associate", "Replace", "Disassociate", "CreateInstanceProfile", "CreateChangeSet", "ExecuteChangeSet")
_LONGEST_PAUSE = 10.0


def wait_out(events: Any, patience: float) -> None:
    """Have calls sent again that AWS throttled or had no answer to, for so many seconds, beyond the SDK's attempts.

    `events` are a session's, for the clients that are made from now on, or a client's.
    """
    events.register("needs-retry", partial(_pause, patience))


def _pause(  # as botocore calls it
    patience: float,
    *,
    response: tuple[Any, Mapping[str, Any]] | None,
    operation: Any,
    attempts: int,
    caught_exception: Exception | None,
    request_dict: Mapping[str, Any],
    **_: object,
) -> float | None:
    """Seconds until the call is sent again; None if it isn't."""
    error: Any = caught_exception
    if response and "Error" in response[1]:
        error = ClientError(response[1], operation.name)  # type: ignore[arg-type]  # it is botocore's
    if not isinstance(error, ClientError | BotoCoreError):
        return None
    found = classify(error, operation.name, "*")
    is_safe = found.throttled or not operation.name.startswith(_ONCE)
    began = request_dict["context"].setdefault("rolekeeper_began", time.monotonic())
    late = time.monotonic() - began > patience
    if late or not is_safe or not isinstance(found, RetryableError) or found.code in NO_ROOM:
        return None
    return random.uniform(0, min(_LONGEST_PAUSE, 2.0**attempts))  # noqa: S311  # no secret


class Aws:
    """Calls by service and operation, such as `iam:ListRoles`. A refusal is an AwsRefusalError."""

    def __init__(self, deployment: Deployment) -> None:
        self.account = deployment.caller.account
        self.region, self.now = deployment.region, deployment.now
        self._client = cache(deployment.client)

    def call(self, call: str, **asked: Any) -> Any:
        service, _, operation = call.partition(":")
        with classified(permission_of(call), _first(asked)):
            return getattr(self._client(service), xform_name(operation))(**asked)

    def items(self, call: str, query: str, **asked: Any) -> Iterator[Any]:
        """What a JMESPath expression finds on all pages of a list."""
        with classified(permission_of(call), _first(asked)):
            for page in self._pages(call, asked):
                yield from jmespath.search(query, page) or ()

    def _pages(self, call: str, asked: Mapping[str, Any]) -> Iterator[Any]:
        service, _, operation = call.partition(":")
        client, method = self._client(service), xform_name(operation)
        if client.can_paginate(method):
            yield from client.get_paginator(method).paginate(**asked)
            return
        token: dict[str, Any] = {}
        while True:  # botocore has no paginator for DescribeQueryDefinitions
            page = getattr(client, method)(**asked, **token)
            yield page
            if not page.get("nextToken"):
                return
            token = {"nextToken": page["nextToken"]}


def permission_of(call: str) -> str:
    return _PERMISSIONS.get(call, call.replace("stepfunctions:", "states:"))


def _first(asked: Mapping[str, Any]) -> str:
    """What a call is about, for its error: the first name or id in it."""
    named = (each[0] if isinstance(each, list) and each else each for each in asked.values())
    return next((each for each in named if isinstance(each, str)), "*")
