"""What every function shares: its clock, its logger, its metrics, its clients. Nothing here talks to AWS at import."""

import os
import time
from functools import cache

from aws_lambda_powertools import Logger, Metrics

from rolekeeper.app import App, utc_now
from rolekeeper.aws.clients import client
from rolekeeper.settings import Settings

logger = Logger()
metrics = Metrics()
now = utc_now
sleep = time.sleep


@cache
def settings(function_arn: str) -> Settings:
    """The deployment's settings."""
    return Settings.of_function(function_arn, os.environ)


def app(function_arn: str) -> App:
    """The parts of one invocation; flush its telemetry at the end."""
    return App(settings(function_arn), client, logger=logger, metrics=metrics, now=now, sleep=sleep)
