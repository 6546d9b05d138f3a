"""The doctor: what its checks find, as they find it, and the alarms."""

from collections.abc import Iterator
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper_cli.checks.deployment import DoctorDeployment, Finding, Level
from rolekeeper_cli.checks.run import alarms, findings
from rolekeeper_cli.console.jobs import look
from rolekeeper_cli.console.page import live

# What there is to do first; as a status has it: its shape, and its words.
LEVELS = {
    Level.FAIL: ("bad", "failed"),
    Level.WARN: ("drift", "warnings"),
    Level.UNKNOWN: ("unknown", "unknown"),
    Level.OK: ("ok", "ok"),
}


def again(request: Request) -> Response:
    """Check once more. It only reads, so a link may do it."""
    request.app.state.site.jobs.get("doctor", _examine, anew=True)
    return RedirectResponse("/doctor", 303)


def _examine(deployment: DoctorDeployment) -> Iterator[Finding | list[dict[str, Any]]]:
    yield from findings(deployment)
    # After its check, which asked for them; it says why where they can't be seen.
    try:
        yield alarms(deployment)
    except AwsRefusalError:
        yield []


def _found(request: Request) -> dict[str, Any]:
    values = look(request, "doctor", _examine).values()
    listed = [each for each in values["found"] if isinstance(each, Finding)]
    levels = {level: [each for each in listed if each.level is level] for level in LEVELS}
    ringing: list[Any] = next((each for each in values["found"] if not isinstance(each, Finding)), [])
    return values | {"title": "Doctor", "levels": levels, "words": LEVELS, "alarms": ringing}


ROUTES = [*live("/doctor", _found, "doctor.html"), Route("/doctor/again", again)]
