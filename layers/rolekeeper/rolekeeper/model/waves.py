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
# At most 99 waves of at most a week; the pattern of the template's parameter is the same.
PATTERN = (
    "([0-9]{12}, ?){0,49}(linear [1-9][0-9]?%|(([1-9][0-9]{0,5}|[1-9][0-9]?%), ?){0,49}100%)"
    " every ([1-9][0-9]{0,3}m|[1-9][0-9]?h|[1-7]d)"
)
HOW = "write shares that end with 100%, as 1, 10%, 50%, 100% every 15m, or linear 10% every 5m; accounts may come first"
_MINUTES = {"m": 1, "h": 60, "d": 24 * 60}


@dataclass(frozen=True, slots=True)
class Waves:
    """The share of each wave, a number of instances or per cent of all that move, and the minutes of each.

    Before them the instances of each of `accounts` move, in a wave of their own.
    """

    accounts: tuple[str, ...]
    shares: tuple[str, ...]
    minutes: int

    @classmethod
    def read(cls, text: str) -> Self | None:
        """Read what a row or a parameter says; None for all at once. A ValueError says what to write instead."""
        if text in ("", AT_ONCE):
            return None
        if not re.fullmatch(PATTERN, text):
            raise ValueError(f"can't be read; {HOW}")
        listed, _, time = text.partition(" every ")
        parts = listed.replace(" ", "").split(",")
        accounts = [part for part in parts if len(part) == len("111122223333")]
        shares = parts[len(accounts) :]
        if (step := shares[0].removeprefix("linear")) != shares[0]:
            by = int(step.removesuffix("%"))
            shares = [f"{min(100, share)}%" for share in range(by, 100 + by, by)]
        return cls(tuple(accounts), tuple(shares), int(time[:-1]) * _MINUTES[time[-1]])

    def counts(self, total: int) -> tuple[int, ...]:
        """Return how many of `total` may have moved in each wave: at least one, and in the last one all."""
        asked = (total * int(share[:-1]) // 100 if share.endswith("%") else int(share) for share in self.shares)
        shares = accumulate((min(total, max(1, count)) for count in asked), max)
        return (*[total] * len(self.accounts), *shares)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the rollout of a revision has come: `moved` of `total` instances, and `may` have moved by now.

    `wave` is the one that is open, from 1 on; `counts` says how many may have moved in each, and the first ones are of
    one of `accounts` each. `failed` counts those that ended anything but converged in this wave. `halted` is the code
    and the arguments of what halted it.
    """

    revision: int
    total: int
    accounts: tuple[str, ...]
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
        made = cls(revision, total, waves.accounts, waves.counts(total), waves.minutes, since=at, next_at=at, may=0)
        return made.opened(1, at)

    def opened(self, wave: int, at: datetime) -> Self:
        """Return the same in a wave that opens, for the first time or again after a halt."""
        may, next_at = ALL if wave == len(self.counts) else self.counts[wave - 1], at + timedelta(minutes=self.minutes)
        return replace(self, wave=wave, may=may, next_at=next_at, failed=0, halted={})

    def halt(self, code: str, **why: str) -> Self:
        """Return the same without room for any move; a person, or going back, ends that."""
        return replace(self, may=0, halted={"code": code, **why})

    def resumes(self, revision: int) -> bool:
        """Return whether it halted, and the revision that a person wrote has it go on."""
        return bool(self.halted) and revision == self.revision

    @property
    def is_last(self) -> bool:
        """Whether everything may move: the last wave is open."""
        return self.wave == len(self.counts) and not self.halted

    @property
    def is_over(self) -> bool:
        """Whether it has ended: an account's record may say so later."""
        return self.wave > len(self.counts)

    @property
    def first(self) -> tuple[str, ...]:
        """The accounts whose instances alone may move by now; none for all."""
        return self.accounts[: self.wave] if self.wave <= len(self.accounts) else ()

    def admits(self, account: str) -> bool:
        """Return whether one more instance of an account may move now."""
        return self.moved < self.may and account in (self.first or [account])
