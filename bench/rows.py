"""A row of the bench: what we take, what a peer or a floor takes in the same session, and the target."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.markup import escape
from rich.table import Table

SIGNIFICANT = 3  # digits: more would only be noise


@dataclass(frozen=True)
class Target:
    """The limit that a row's ratio, or its own figure, has to keep; at least that where `least`."""

    limit: float
    of: Literal["ratio", "ours"] = "ratio"
    least: bool = False

    def held(self, value: float) -> bool:
        return value >= self.limit if self.least else value <= self.limit

    def __str__(self) -> str:
        return f"{self.of} {'>=' if self.least else '<='} {self.limit:g}"


@dataclass(frozen=True)
class Row:
    """One figure. `against` is a peer's or a floor's, which `peer` names; both are in `unit`."""

    name: str
    ours: float
    unit: str
    against: float | None = None
    peer: str = ""
    target: Target | None = None

    @property
    def ratio(self) -> float | None:
        return self.ours / self.against if self.against else None

    @property
    def held(self) -> bool | None:
        """Whether the target is held; None where there is none."""
        if self.target is None:
            return None
        value = self.ratio if self.target.of == "ratio" else self.ours
        if value is None:
            raise ValueError(f"{self.name}: its target is a ratio to nothing")
        return self.target.held(value)

    def document(self) -> dict[str, Any]:
        """What the line of JSON holds."""
        return {
            "name": self.name,
            "ours": _rounded(self.ours),
            "against": _rounded(self.against),
            "ratio": _rounded(self.ratio),
            "target": str(self.target) if self.target else None,
            "held": self.held,
            "unit": self.unit,
            "peer": self.peer or None,
            "error": None,
        }

    def cells(self) -> tuple[str, ...]:
        """The row as people read it."""
        against = f"{shown(self.against)} {self.unit} ({self.peer})" if self.against is not None else ""
        held = {None: "", True: "held", False: "missed"}[self.held]
        ratio = shown(self.ratio) if self.ratio is not None else ""
        return self.name, f"{shown(self.ours)} {self.unit}", against, ratio, str(self.target or ""), held


@dataclass(frozen=True)
class Failure:
    """A part that failed; the rows that it gave before stay."""

    part: str
    error: str

    def document(self) -> dict[str, Any]:
        """What the line of JSON holds: a row without a figure."""
        return {**Row(self.part, 0, "").document(), "ours": None, "unit": None, "error": self.error}

    def cells(self) -> tuple[str, ...]:
        return self.part, "", self.error.partition("\n")[0], "", "", "failed"


HEADINGS = ("what", "ours", "against", "ratio", "target", "")


def shown(value: float | None) -> str:
    """A figure with three significant digits; thousands have commas."""
    if value is None:
        return ""
    digits = max(0, SIGNIFICANT - len(str(int(abs(value))))) if abs(value) >= 1 else SIGNIFICANT
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def missed(rows: Iterable[Row]) -> list[Row]:
    return [each for each in rows if each.held is False]


def table(rows: Sequence[Row | Failure]) -> Table:
    """All rows, for a terminal or a file."""
    made = Table(*HEADINGS)
    for each in rows:
        red = isinstance(each, Failure) or each.held is False
        made.add_row(*map(escape, each.cells()), style="red" if red else None)
    return made


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
