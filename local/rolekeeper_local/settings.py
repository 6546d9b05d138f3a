"""The embedded AWS's settings in the environment: port, accounts, and how long things take.

`ROLEKEEPER_LOCAL_PORT` (4566), in how many accounts Rolekeeper is deployed, `ROLEKEEPER_LOCAL_ACCOUNTS` (1), and a time
in seconds for each field of ``Timings``: `ROLEKEEPER_LOCAL_PENDING_SECONDS`, `…_STOPPING_SECONDS`,
`…_SHUTTING_DOWN_SECONDS`, `…_ASSOCIATING_SECONDS`, `…_DISASSOCIATING_SECONDS`, `…_PROPAGATION_SECONDS`,
`…_TERMINATED_VISIBLE_SECONDS`, `…_MINUTE_SECONDS`, `…_HOUR_SECONDS`, `…_RECORDING_SECONDS`.
"""

import dataclasses
from collections.abc import Mapping

from rolekeeper_local.ec2_model import Timings

PORT_VARIABLE = "ROLEKEEPER_LOCAL_PORT"
DEFAULT_PORT = 4566
ACCOUNTS_VARIABLE = "ROLEKEEPER_LOCAL_ACCOUNTS"
#: The accounts of the organization in which Rolekeeper may be deployed; the first manages it, and is the hub's.
ORGANIZATION, ACCOUNTS = "o-embeddedaws", ("000000000000", "111111111111", "222222222222")


def port_from(environment: Mapping[str, str]) -> int:
    """Read the port; ValueError if the variable holds none."""
    text = environment.get(PORT_VARIABLE) or str(DEFAULT_PORT)
    if not text.isdecimal() or not 1 <= int(text) <= 65535:  # noqa: PLR2004 - TCP's
        raise ValueError(f"{PORT_VARIABLE} must be a port number, not {text!r}")
    return int(text)


def accounts_from(environment: Mapping[str, str]) -> int:
    """Read in how many accounts Rolekeeper is deployed; ValueError if there can't be this number."""
    text = environment.get(ACCOUNTS_VARIABLE) or "1"
    if not text.isdecimal() or not 1 <= int(text) <= len(ACCOUNTS):
        raise ValueError(f"{ACCOUNTS_VARIABLE} must be 1 to {len(ACCOUNTS)}, not {text!r}")
    return int(text)


def timings_from(environment: Mapping[str, str]) -> Timings:
    """Read the times; a variable that is not set leaves the default, ValueError if one holds no number."""
    given = {}
    for field in dataclasses.fields(Timings):
        if text := environment.get(_variable(field.name)):
            try:
                given[field.name] = float(text)
            except ValueError as error:
                raise ValueError(f"{_variable(field.name)} must be a number of seconds, not {text!r}") from error
    return Timings(**given)


def as_environment(timings: Timings) -> dict[str, str]:
    return {_variable(name): str(value) for name, value in dataclasses.asdict(timings).items()}


def _variable(field: str) -> str:
    return f"ROLEKEEPER_LOCAL_{field.upper()}_SECONDS"
