"""A rollout: in which waves an edit moves its instances, how many may have moved by now, and what halted it. Pure.

`may` is the one number that every move is counted against, by the same write that grants it. Only the minute's task
raises it, wave by wave; a halt makes it 0.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Self

# What the last wave allows, also what was launched since and wasn't counted.
ALL = 10**9
# A row that says so has no waves, whatever the deployment's default is.
AT_ONCE = "at once"
# At most 50 waves of at most a week; the pattern of the template's parameter is the same.
PATTERN = (
    "(linear [1-9][0-9]?%|(([1-9][0-9]{0,5}|[1-9][0-9]?%), ?){0,49}100%) every ([1-9][0-9]{0,3}m|[1-9][0-9]?h|[1-7]d)"
)
HOW = "write 1, 10%, 50%, 100% every 15m, or linear 10% every 5m"
_MINUTES = {"m": 1, "h": 60, "d": 24 * 60}


@dataclass(frozen=True, slots=True)
class Waves:
    """The share of each wave, a number of instances or per cent of all that move, and the minutes of each."""

    shares: tuple[str, ...]
    minutes: int

    @classmethod
    def read(cls, text: str) -> Self | None:
        """Read what a row or a parameter says; None for all at once. A ValueError says what to write instead."""
        if text in ("", AT_ONCE):
            return None
        listed, every, time = text.partition(" every ")
        if every and not listed.startswith("linear") and not listed.endswith("100%"):
            raise ValueError(f"leaves some where they are; end with 100%: {HOW}")
        if not re.fullmatch(PATTERN, text):
            raise ValueError(f"can't be read; {HOW}")
        shares = [share.strip() for share in listed.split(",")]
        if listed.startswith("linear "):
            step = int(listed.removeprefix("linear ").removesuffix("%"))
            shares = [*(f"{share}%" for share in range(step, 100, step)), "100%"]
        return cls(tuple(shares), int(time[:-1]) * _MINUTES[time[-1]])

    def counts(self, total: int) -> tuple[int, ...]:
        """Return how many of `total` may have moved in each wave: at least one, and in the last one all."""
        asked = (total * int(share[:-1]) // 100 if share.endswith("%") else int(share) for share in self.shares)
        return tuple(accumulate((min(total, max(1, count)) for count in asked), max))


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the rollout of a revision has come: `moved` of `total` instances, and `may` have moved by now.

    `wave` is the one that is open, from 1 on; `counts` says how many may have moved in each. `failed` counts those that
    ended anything but converged in this wave. `halted` is the code and the arguments of what halted it.
    """

    revision: int
    total: int
    counts: tuple[int, ...]
    minutes: int
    since: datetime
    next_at: datetime
    may: int
    wave: int = 1
    moved: int = 0
    failed: int = 0
    halted: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def begin(cls, waves: Waves, revision: int, total: int, at: datetime) -> Self:
        counts = waves.counts(total)
        made = cls(revision, total, counts, waves.minutes, at, at + timedelta(minutes=waves.minutes), may=0)
        return made.opened(1, at)

    def opened(self, wave: int, at: datetime) -> Self:
        """Return the same in a wave that opens, for the first time or again after a halt."""
        may, next_at = ALL if wave == len(self.counts) else self.counts[wave - 1], at + timedelta(minutes=self.minutes)
        return replace(self, wave=wave, may=may, next_at=next_at, failed=0, halted={})

    def halt(self, code: str, **why: str) -> Self:
        """Return the same without room for any move; a person, or going back, ends that."""
        named = {"code": code, "wave": str(self.wave), "waves": str(len(self.counts)), "total": str(self.total), **why}
        return replace(self, may=0, halted=named)

    def resumes(self, revision: int) -> bool:
        """Return whether it halted, and the revision that a person wrote has it go on."""
        return bool(self.halted) and revision == self.revision

    @property
    def is_last(self) -> bool:
        """Whether everything may move: the last wave is open."""
        return self.wave == len(self.counts) and not self.halted

    @property
    def has_room(self) -> bool:
        return self.moved < self.may
