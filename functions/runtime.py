"""What every function shares: its clock, its logger, its metrics, its clients. Nothing here talks to AWS at import.

Each function imports this first: it turns garbage collection off until the start is over.
"""

import gc

gc.disable()  # the start makes no garbage, and looking for some takes a tenth of a cold start

import os
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from threading import Lock
from typing import Any

import botocore.session
from aws_lambda_powertools import Logger, Metrics
from botocore.config import Config

from rolekeeper.app import App, utc_now
from rolekeeper.aws import CONFIG, ELSEWHERE
from rolekeeper.aws.answers import parse_quickly
from rolekeeper.settings import Settings
from rolekeeper.telemetry import log_line
from sessions import SESSION, LazyClient, Sessions

logger = Logger(json_serializer=log_line)
metrics = Metrics()
# Metrics are only for alarms, so most invocations count nothing.
warnings.filterwarnings("ignore", "No application metrics to publish")
kept: dict[str, Any] = {}  # what outlives an invocation
now = utc_now
sleep = time.sleep


@cache
def _session() -> botocore.session.Session:
    made = botocore.session.get_session()
    parse_quickly(made.register)
    return made


# The tests check every argument by botocore's models; checking them here too would take a seventh of a sweep.
_UNCHECKED = CONFIG.merge(Config(parameter_validation=False))
# Shorter timeouts for other targets: one that doesn't answer must leave time for the others of its batch.
_ELSEWHERE = _UNCHECKED.merge(ELSEWHERE)


_making = Lock()


def _make(service: str, **arguments: Any) -> Any:
    """Make a client; botocore's session makes one at a time (boto3's guide, "Multithreading or multiprocessing")."""
    with _making:
        return _session().create_client(service, **arguments)


@cache
def client(service: str) -> Any:
    """Return the client of one AWS service, kept for the life of the process."""
    return LazyClient(lambda: _make(service, config=_UNCHECKED))


@cache
def sessions() -> Sessions:
    """Return the clients in other targets, by their spokes' roles; kept for the life of the process."""
    make = partial(_make, config=_ELSEWHERE)
    sts = LazyClient(lambda: make("sts"))
    name = os.environ.get("SPOKE_SESSION", SESSION)
    return Sessions(sts, make, lambda: now(), session=name)  # type: ignore[arg-type]  # noqa: PLW0108  # the tests put another clock there


@cache
def settings(function_arn: str) -> Settings:
    """Read the function's environment; its own ARN tells partition, Region and account."""
    _, partition, _, region, account, *_ = function_arn.split(":")
    return Settings.read(os.environ, account=account, region=region, partition=partition)


def app(function_arn: str) -> App:
    """Build the parts of one invocation; flush its telemetry at the end."""
    if not gc.isenabled():
        # The start is over: never look for garbage in what it made.
        gc.freeze()
        gc.enable()
    made = App(settings(function_arn), client, logger=logger, metrics=metrics, now=now, sleep=sleep, kept=kept)
    if not made.settings.organization:
        return made
    there = sessions()
    return replace(made, client_of=there.client_of, forget=there.forget)


def each_record(event: dict[str, Any], act: Callable[[Mapping[str, Any]], None]) -> Mapping[str, Any]:
    """Act on each record of a stream; returns those that failed, to be retried (Lambda's partial batch response)."""
    failed = []
    for record in event["Records"]:
        try:
            act(record)
        except Exception:
            logger.exception("a record failed", extra={"event_id": record.get("eventID")})
            failed.append({"itemIdentifier": record["dynamodb"]["SequenceNumber"]})
    return {"batchItemFailures": failed}
