"""The AWS clients: made once per function process, and nothing at import."""

from functools import cache
from typing import Any

import boto3
from botocore.config import Config

# Connect and read limits keep four attempts well inside a function's 60 seconds; "standard" backs off with jitter.
CONFIG = Config(connect_timeout=2, read_timeout=8, retries={"mode": "standard", "total_max_attempts": 4})


@cache
def client(service: str) -> Any:
    """The client of one AWS service, kept for the life of the process."""
    return boto3.client(service, config=CONFIG)  # type: ignore[call-overload]  # the stubs want a literal name
