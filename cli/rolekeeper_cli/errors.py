"""The errors that end a command, and the exit codes.

Those above 251 are the AWS CLI's ("Command line return codes" in its user guide).
"""

from collections.abc import Iterable
from enum import IntEnum
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rolekeeper.model.problem import Advice


class ExitCode(IntEnum):
    """A command's exit code, and what it `says` in helps and in docs/cli.md; `row.edits.exit_code` is that of rows."""

    says: str

    def __new__(cls, code: int, says: str) -> Self:
        member = int.__new__(cls, code)
        member._value_, member.says = code, says
        return member

    DONE = 0, "done; the mappings concerned are in effect as written"
    NO = 1, "an error, or the answer is no: a bad file, a refusal, no such thing, a question answered with no"
    CHANGES = 2, "changes are still to be made, or something isn't as it should be"
    REJECTED = 3, "rows are, or would be, `Rejected` or in `Conflict`"
    HELD = 4, "rows wait, or would wait, for approval: `Held`"
    UNPROVEN = 5, "nothing failed, but a step was skipped and proves nothing"
    INTERRUPTED = 130, "Ctrl-C; what was written stays written"
    USAGE = 252, "invalid usage, or a confirmation is needed and there is no terminal and no `--yes`"
    CONFIGURATION = 253, "no credentials, no Region, or no such stack"
    SERVICE = 254, "AWS refused, or couldn't be reached"
    FAILED = 255, "the wait timed out; or a bug, with its traceback"


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
