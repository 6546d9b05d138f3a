"""The doctor: what its checks find, as they find it, and the alarms."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper_cli.console.jobs import Job
from rolekeeper_cli.console.page import page
from rolekeeper_cli.console.words import has_page
from rolekeeper_cli.doctor_deployment import DoctorDeployment
from rolekeeper_cli.findings import Level
from rolekeeper_cli.views.alarms import alarms
from rolekeeper_cli.views.doctor import findings

# What there is to do first; as a status has it: its shape, and its words.
LEVELS = {
    Level.FAIL: ("bad", "to fix"),
    Level.WARN: ("drift", "to look at"),
    Level.UNKNOWN: ("unknown", "unknown"),
    Level.OK: ("ok", "well"),
}
_COMMAND = re.compile(r"(?:^|(?<=: ))((?:aws|rolekeeper|make) [^;]+)")


def doctor(request: Request) -> Response:
    """What the checks found a short time ago, or find now."""
    return _show(request, "doctor.html", request.app.state.site.jobs.get("doctor", _examine))


def part(request: Request) -> Response:
    """What they found since, for a page that waits for it; 204 where that is nothing."""
    job: Job = request.app.state.site.jobs.get("doctor", _examine, polls=True)
    if request.query_params.get("seen") == str(job.version):
        return Response(status_code=204)
    return _show(request, "doctor_findings.html", job)


def again(request: Request) -> Response:
    """Check once more. It only reads, so a link may do it."""
    request.app.state.site.jobs.get("doctor", _examine, anew=True)
    return RedirectResponse("/doctor", 303)


def remedy(text: str) -> list[tuple[bool, str]]:
    """A remedy in pieces, each with whether it is a command to copy: no page does it."""
    return [(bool(number % 2) and not has_page(each), each) for number, each in enumerate(_COMMAND.split(text)) if each]


def _examine(deployment: DoctorDeployment) -> Iterator[Mapping[str, Any]]:
    yield from findings(deployment)
    # After its check, which asked for them; it says why where they can't be seen.
    try:
        yield {"alarms": alarms(deployment)}
    except AwsRefusalError:
        yield {"alarms": []}


def _show(request: Request, template: str, job: Job) -> Response:
    version, found = job.version, job.result()
    listed = [each for each in found if "level" in each]
    levels = {level: [each for each in listed if each["level"] == level] for level in LEVELS}
    return page(
        request,
        template,
        title="Doctor",
        job=job,
        version=version,
        ended=job.ended,
        levels=levels,
        words=LEVELS,
        alarms=_alarms(found),
        remedy=remedy,
    )


def _alarms(found: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    return next((each["alarms"] for each in found if "alarms" in each), [])


ROUTES = [Route("/doctor", doctor), Route("/doctor/part", part), Route("/doctor/again", again)]
