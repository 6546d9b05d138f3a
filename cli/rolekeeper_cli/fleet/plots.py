"""Plots as values: where each column of a stack is drawn, and its ticks. `plots.html` makes SVG of them.

Widths are per cent, so a plot is as wide as its place; heights are pixels.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from rolekeeper_cli.fleet.activity import Point

# So that few of many are still seen.
_THINNEST = 2.0
_DAY, _HOURS, _TEN = timedelta(days=1), 6, 10
# How much wider a column is than its place, in per cent, so that no seam is seen.
_SEAM = 0.08
# How near to an end of the axis, in per cent, a label begins or ends there.
_EDGE = 5


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a column: its `kind` is a class of the stylesheet."""

    kind: str
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Column:
    """A point: what it says on hover, and its parts, the lowest first. It is a `gap` where nothing is known."""

    x: float
    says: str
    parts: tuple[Part, ...]
    gap: bool = False


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark of an axis; `anchor` keeps its label within the plot."""

    at: float
    label: str
    anchor: str = "middle"


@dataclass(frozen=True, slots=True)
class Plot:
    """Columns of one width, with the ticks of both axes."""

    height: int
    width: float
    columns: Sequence[Column]
    levels: Sequence[Tick]
    times: Sequence[Tick]


def stacked(points: Sequence[Point], kinds: Mapping[str, str], *, height: int, targets: int = 1) -> Plot:
    """Points as stacks of counts, in the order of `kinds`: each name's class of the stylesheet.

    Points that not all of the `targets` are known of say so.
    """
    top = _top(max((each.counts.total() for each in points if each.counts), default=0))
    width = 100 / len(points)
    columns = [
        Column(
            round(number * width, 3),
            _says(each, kinds, targets),
            _parts(each, kinds, height=height, top=top),
            gap=each.counts is None,
        )
        for number, each in enumerate(points)
    ]
    levels = [Tick(round(height * (1 - share), 2), f"{int(top * share):,}") for share in (0, 0.5, 1)]
    times = _times([each.at for each in points])
    return Plot(height, round(width + _SEAM, 3), columns, levels=levels, times=times)


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


def _says(point: Point, kinds: Mapping[str, str], targets: int) -> str:
    if point.counts is None:
        return f"{point.at:%b %d, %H:%M}: no data"
    counts = ", ".join(f"{point.counts[name]:,} {name}" for name in reversed([*kinds]) if point.counts[name])
    part = f" ({point.targets} of {targets} targets)" if 0 < point.targets < targets else ""
    return f"{point.at:%b %d, %H:%M}: {counts or 'none'}{part}"


def _top(most: int) -> int:
    """To where the axis goes: an even number, so that its half is a whole one."""
    if most <= _TEN:
        return max(2, most + most % 2)
    size = int(10 ** (len(str(most)) - 2))
    return next(each * size for each in (10, 12, 16, 20, 24, 30, 40, 50, 60, 80, 100) if each * size >= most)


def _times(times: Sequence[datetime]) -> list[Tick]:
    """Each sixth hour of a day, each Monday of more than that."""
    of_a_day, ticks = times[-1] - times[0] <= _DAY, []
    for number, at in enumerate(times):
        midnight = not (at.hour or at.minute)
        if not (at.minute or at.hour % _HOURS) if of_a_day else midnight and not at.weekday():
            x = round(100 * number / len(times), 3)
            anchor = "start" if x < _EDGE else "end" if x > 100 - _EDGE else "middle"
            ticks.append(Tick(x, f"{at:%b %d}" if midnight else f"{at:%H:%M}", anchor))
    return ticks
