"""What can go wrong, as people are told it: one line says what happened, one what to do. And the exit codes.

Those above 251 are the AWS CLI's ("Command line return codes" in its user guide).
"""

from collections.abc import Iterable
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rolekeeper.model.problem import Advice


class ExitCode(IntEnum):
    """What a command's exit code says."""

    DONE = 0
    NO = 1  # it ran, and the answer is no: a bad row, a refusal, a question answered with no
    CHANGES = 2  # only where it was asked for: something would change
    INTERRUPTED = 130
    USAGE = 252
    CONFIGURATION = 253
    SERVICE = 254
    FAILED = 255  # a wait that ran out, or a bug


class CommandError(Exception):
    """A command ends here: what happened, and what to do about it; `details` are what is wrong, one by one."""

    exit_code = ExitCode.NO

    def __init__(self, what: str, remedy: "str | Advice", details: Iterable[str] = ()) -> None:
        super().__init__(f"{what}\n{remedy}")
        self.what = what
        self.remedy = remedy
        self.details = tuple(details)


class UsageError(CommandError):
    """The command line is invalid, or a confirmation is needed without a terminal."""

    exit_code = ExitCode.USAGE


class ConfigurationError(CommandError):
    """No credentials, no Region, no such stack: AWS can't even be asked."""

    exit_code = ExitCode.CONFIGURATION


class ServiceError(CommandError):
    """AWS refused, or couldn't be reached."""

    exit_code = ExitCode.SERVICE


class WaitTimeoutError(CommandError):
    """What was waited for didn't come in time."""

    exit_code = ExitCode.FAILED
