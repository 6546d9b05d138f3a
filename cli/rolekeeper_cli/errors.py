"""The errors that end a command, and the exit codes.

Those above 251 are the AWS CLI's ("Command line return codes" in its user guide).
"""

from collections.abc import Iterable
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rolekeeper.model.problem import Advice


class ExitCode(IntEnum):
    """A command's exit code, as docs/cli.md has it; `row.edits.exit_code` is that of rows."""

    DONE = 0
    NO = 1  # it ran, and the answer is no: a bad file, a refusal, a question answered with no
    CHANGES = 2  # with --detailed-exitcode: something would change
    REJECTED = 3  # rows are rejected, or in conflict
    HELD = 4  # rows wait for approval
    UNPROVEN = 5  # of `verify`: nothing failed, but a step couldn't be tried
    INTERRUPTED = 130
    USAGE = 252
    CONFIGURATION = 253
    SERVICE = 254
    FAILED = 255  # a wait that ran out, or a bug


class CommandError(Exception):
    """What happened, and what to do about it, on a line each; `details` are the problems, one by one."""

    exit_code = ExitCode.NO

    def __init__(
        self, what: str, remedy: "str | Advice", details: Iterable[str] = (), *, code: ExitCode | None = None
    ) -> None:
        super().__init__(f"{what}\n{remedy}")
        self.exit_code = self.exit_code if code is None else code
        self.what = what
        self.remedy = remedy
        self.details = tuple(details)


class UsageError(CommandError):
    """The command line is invalid, or a confirmation is needed without a terminal."""

    exit_code = ExitCode.USAGE


class ConfigurationError(CommandError):
    """No credentials, no Region or no such stack."""

    exit_code = ExitCode.CONFIGURATION


class ServiceError(CommandError):
    """AWS refused, or couldn't be reached."""

    exit_code = ExitCode.SERVICE


class WaitTimeoutError(CommandError):
    """The wait took too long."""

    exit_code = ExitCode.FAILED
