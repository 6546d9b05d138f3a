"""What the checks of a deployment find."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated

from rolekeeper_cli.shell.layout import amount
from rolekeeper_cli.shell.view import View

if TYPE_CHECKING:
    from rolekeeper.model.problem import Advice, Remedy


class FindingView(View):
    level: Annotated[str, "ok, warn, fail or unknown"]
    check: Annotated[str, "the check"]
    what: Annotated[str, "what it found"]
    remedy: Annotated[str, "what to do; empty if nothing is to be done"]


class LevelCountsView(View):
    ok: Annotated[int, "that need nothing"]
    warn: Annotated[int, "that should not stay so"]
    fail: Annotated[int, "that keep Rolekeeper from its work"]
    unknown: Annotated[int, "that can't be seen from here"]


class FindingsView(View):
    findings: Annotated[Sequence[FindingView], "the findings"]
    summary: Annotated[LevelCountsView, "their numbers"]


# ---- as the checks have them ----


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"

    def amount(self, number: int) -> str:
        """`1 warning`, or `3 failed`."""
        if self is Level.WARN:
            return amount(number, "warning")
        return f"{number:,} {'failed' if self is Level.FAIL else self.value}"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found. `remedy` is empty if nothing is to be done; `run` sets `check`."""

    level: Level
    what: str
    remedy: "str | Remedy | Advice" = ""
    check: str = ""

    def view(self) -> FindingView:
        return FindingView(level=self.level.value, check=self.check, what=self.what, remedy=str(self.remedy))


type Findings = Generator[Finding, None, str]
"""A check yields what is wrong, and returns what to show if nothing is."""


warn = partial(Finding, Level.WARN)  # Rolekeeper works, but this should not stay so
fail = partial(Finding, Level.FAIL)  # this keeps Rolekeeper from its work
unknown = partial(Finding, Level.UNKNOWN)  # this can't be seen from here
