"""Plots as values: where each column of a stack is drawn, and its ticks. `plots.html` makes SVG of them.

Widths are per cent, so a plot is as wide as its place; heights are pixels.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from rolekeeper_cli.console.page import axis, place
from rolekeeper_cli.fleet.activity import Act, Point

# So that few of many are still seen.
_THINNEST = 2.0
_TEN = 10
# How much wider a column is than its place, in per cent, so that no seam is seen.
_SEAM = 0.08


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a column: its `kind` is a class of the stylesheet."""

    kind: str
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Column:
    """A point at a place, and its parts, the lowest first."""

    x: float
    point: Point
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Plot:
    """Columns of one width, of these `names`; both axes: the height of each level with its number, and times.

    `acts` are what people did, by their places.
    """

    height: int
    width: float
    columns: Sequence[Column]
    names: Sequence[str]
    levels: Mapping[float, int]
    times: Sequence[Mapping[str, Any]]
    acts: Sequence[tuple[float, Act]] = ()


def stacked(
    points: Sequence[Point], kinds: Mapping[str, str], *, height: int, step: timedelta, acts: Sequence[Act] = ()
) -> Plot:
    """Points as stacks of counts, in the order of `kinds`: each name's class of the stylesheet.

    What people did before the first point isn't shown.
    """
    top = _top(max((each.counts.total() for each in points if each.counts), default=0))
    width = 100 / len(points)
    columns = [
        Column(round(number * width, 3), each, _parts(each, kinds, height=height, top=top))
        for number, each in enumerate(points)
    ]
    levels = {round(height * (1 - share), 2): int(top * share) for share in (0, 0.5, 1)}
    begin, end = points[0].at, points[-1].at + step
    marks = [(place(each[0], begin, end), each) for each in acts if each[0] >= begin]
    return Plot(
        height, round(width + _SEAM, 3), columns, names=[*kinds], levels=levels, times=axis(begin, end), acts=marks
    )


def _parts(point: Point, kinds: Mapping[str, str], *, height: int, top: int) -> tuple[Part, ...]:
    """The stack, scaled down where thin parts, made thick enough to be seen, would pass the top."""
    counts = point.counts or Counter[str]()
    tall = {name: max(_THINNEST, height * counts[name] / top) for name in kinds if counts[name]}
    scale = min(1.0, height / sum(tall.values())) if tall else 1.0
    parts, y = [], float(height)
    for name, each in tall.items():
        y -= each * scale
        parts.append(Part(kinds[name], round(y, 2), round(each * scale, 2)))
    return tuple(parts)


def _top(most: int) -> int:
    """To where the axis goes: an even number, so that its half is a whole one."""
    if most <= _TEN:
        return max(2, most + most % 2)
    size = int(10 ** (len(str(most)) - 2))
    return next(each * size for each in (10, 12, 16, 20, 24, 30, 40, 50, 60, 80, 100) if each * size >= most)
