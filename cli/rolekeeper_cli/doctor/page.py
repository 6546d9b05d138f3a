"""The doctor: what its checks find, as they find it, and the alarms."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

from starlette.requests import Request

from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.console.jobs import followed, look
from rolekeeper_cli.doctor.run import Alarm, alarms, findings
from rolekeeper_cli.doctor.view import Finding, Level
from rolekeeper_cli.shell.layout import grouped


def _examine(deployment: Deployment) -> Iterator[Finding | Alarm]:
    yield from findings(deployment)
    # After its check, which asked for them; it says why where they can't be seen.
    with suppress(AwsRefusalError):
        yield from alarms(deployment)


def _found(request: Request) -> dict[str, Any]:
    seen = look(request, "doctor", _examine).seen()
    listed = [each for each in seen.found if isinstance(each, Finding)]
    worst_first = (Level.FAIL, Level.WARN, Level.UNKNOWN, Level.OK)
    levels = {level: [each for each in listed if each.level is level] for level in worst_first}
    found = [each for each in seen.found if isinstance(each, Alarm)]
    # The same findings without their checks, each once, with the checks that found it.
    causes = {level: grouped((replace(each, check=""), each.check) for each in some) for level, some in levels.items()}
    return vars(seen) | {"title": "Doctor", "levels": levels, "alarms": found, "causes": causes}


ROUTES = followed("/doctor", _found, "doctor.html")
