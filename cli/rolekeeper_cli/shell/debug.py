"""`--debug`: what AWS is asked, and what it answers, a line on stderr for each attempt.

botocore's own debug log isn't used: it has the headers, and with them session tokens and signatures. Here are neither
credentials nor answers; of what is asked, the beginning.
"""

import json
import platform
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import boto3
import click

from rolekeeper.model.text import escaped

# What is asked for a sign-in may hold a code or a token.
_SIGN_IN = frozenset({"sts", "sso", "sso-oidc", "signin"})
_LONGEST = 200
_BEGAN = "rolekeeper-debug-began"


def report(session: boto3.Session, endpoint_url: str | None) -> None:
    """Say what is used, then each call that this session's clients make from now on."""
    found = session.get_credentials()
    _say(f"rolekeeper {version('rolekeeper')}, boto3 {boto3.__version__}, Python {platform.python_version()}")
    credentials = f"credentials from {found.method}" if found else "no credentials"
    where = f"profile {session.profile_name}, Region {session.region_name}, {endpoint_url or "the SDK's own endpoint"}"
    _say(f"{where}, {credentials}")
    session.events.register("before-parameter-build", _asked)
    session.events.register("before-send", _sent)
    session.events.register("response-received", _answered)


def _asked(params: Any, event_name: str, **_: object) -> None:
    service, operation = event_name.split(".")[1:3]
    said = "" if service in _SIGN_IN or not params else json.dumps(params, default=str, ensure_ascii=False)
    cut = said if len(said) <= _LONGEST else f"{said[:_LONGEST]}…"
    _say(f"{service} {operation} {cut}".rstrip())


def _sent(request: Any, **_: object) -> None:
    request.context[_BEGAN] = time.monotonic()


def _answered(
    event_name: str, context: Mapping[str, Any], parsed_response: Any, exception: Exception | None, **_: object
) -> None:
    service, operation = event_name.split(".")[1:3]
    took = round(1_000 * (time.monotonic() - context.get(_BEGAN, time.monotonic())))
    if exception is not None:
        _say(f"{service} {operation} → {type(exception).__name__}: {exception} after {took:,} ms")
        return
    answer = parsed_response.get("ResponseMetadata", {})
    error = parsed_response.get("Error", {}).get("Code", "")
    what = " ".join(filter(None, (str(answer.get("HTTPStatusCode", "")), error)))
    _say(f"{service} {operation} → {what} in {took:,} ms, request {answer.get('RequestId', 'unnamed')}")


def _say(text: str) -> None:
    click.echo(click.style(f"debug: {escaped(text)}", dim=True), err=True)
