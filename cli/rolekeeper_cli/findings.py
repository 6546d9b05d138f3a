"""What a check of a deployment finds: how bad it is, what it is in plain words, and what to do about it."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from rolekeeper.model.problem import Advice, Remedy

# So many are named in one sentence, or told one by one where each is like the others.
_NAMED = 5


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found. `remedy` is empty where nothing is to be done; `check` is set by who runs it."""

    level: Level
    what: str
    remedy: str | Remedy | Advice = ""
    check: str = ""

    def document(self) -> dict[str, Any]:
        """As programs get it."""
        return {"level": self.level.value, "check": self.check, "what": self.what, "remedy": str(self.remedy)}


type Findings = Generator[Finding, None, str]
"""What a check yields: all that isn't as it should be. It returns how things are when all is well."""


def warn(what: str, remedy: str | Remedy | Advice) -> Finding:
    """Something that should not stay so, though Rolekeeper works."""
    return Finding(Level.WARN, what, remedy)


def fail(what: str, remedy: str | Remedy | Advice) -> Finding:
    """Something that keeps Rolekeeper from doing what it is there for."""
    return Finding(Level.FAIL, what, remedy)


def unknown(what: str, remedy: str | Remedy | Advice) -> Finding:
    """Something that can't be seen from here."""
    return Finding(Level.UNKNOWN, what, remedy)


def several(names: Sequence[str]) -> str:
    """Names in a sentence, not more than one likes to read."""
    more = [f"and {len(names) - _NAMED:,} more"] if len(names) > _NAMED else []
    return ", ".join([*names[:_NAMED], *more])
