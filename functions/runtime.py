"""What every function shares: its clock, its logger, its metrics, its clients. Nothing here talks to AWS at import."""

import os
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import boto3
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType

from rolekeeper.app import App, utc_now
from rolekeeper.aws import CONFIG
from rolekeeper.settings import Settings
from rolekeeper.telemetry import log_line

logger = Logger(json_serializer=log_line)
metrics = Metrics()
kept: dict[str, Any] = {}  # what outlives an invocation
now = utc_now
sleep = time.sleep


@cache
def client(service: str) -> Any:
    """The client of one AWS service, kept for the life of the process."""
    return boto3.client(service, config=CONFIG)  # type: ignore[call-overload]  # the stubs want a literal name


@cache
def settings(function_arn: str) -> Settings:
    """The function's environment; its own ARN tells partition, Region and account."""
    _, partition, _, region, account, *_ = function_arn.split(":")
    return Settings.read(os.environ, account=account, region=region, partition=partition)


def app(function_arn: str) -> App:
    """The parts of one invocation; flush its telemetry at the end."""
    return App(settings(function_arn), client, logger=logger, metrics=metrics, now=now, sleep=sleep, kept=kept)


def each_record(event: dict[str, Any], act: Callable[[Mapping[str, Any]], None]) -> Mapping[str, Any]:
    """Act on each record of a stream; those that failed are reported, and the stream brings them again."""
    processor = BatchProcessor(EventType.DynamoDBStreams, raise_on_entire_batch_failure=False)
    with processor(event["Records"], lambda record: act(record.raw_event)):
        processor.process()
    return processor.response()
