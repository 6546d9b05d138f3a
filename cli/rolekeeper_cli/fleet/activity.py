"""What happened over time: how instances stood at each sweep, and how many were changed; added up over targets.

A point shows the worst of its time, so that no peak is lost. One without a sweep is a gap, not zero.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any

from rolekeeper.instances.decide import InstanceStatus
from rolekeeper.model.instance import Action, Target
from rolekeeper.model.mapping import MappingKey
from rolekeeper.storage import layout
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.instance.history import control_history
from rolekeeper_cli.instance.view import ControlEntryView
from rolekeeper_cli.row import use as rows
from rolekeeper_cli.row.view import EditEntryView, MappingView
from rolekeeper_cli.shell.layout import grouped
from rolekeeper_cli.target.use import sweep_interval

# What was done, as the hour's item names it, and as people do.
CHANGES = {Action.ATTACH: "attached", Action.REPLACE: "replaced", Action.DETACH: "detached", layout.REFUSED: "refused"}
_HOUR = timedelta(hours=1)
# The newest of what people did that are read: of each row, and of the switches.
_ACTS = 50
_WELL = {InstanceStatus.OK, InstanceStatus.FOREIGN}

type Swept = Sequence[tuple[datetime, Counter[str]]]
type Act = tuple[datetime, MappingKey | None, EditEntryView | ControlEntryView]
"""When a person did what: an edit or an approval of a row, or a switch of the mode or the pause, which is of no row."""


@dataclass(frozen=True, slots=True)
class Span:
    """How far back one looks; how long a `point` of the fleet is, and a `bar` of changes.

    Of no more than so many targets, those with `most` instances: a month of one takes 50 ms to read. For some `seconds`
    what was read of it is shown.
    """

    length: timedelta
    point: timedelta
    bar: timedelta
    most: int
    words: str
    seconds: float


DAY = Span(timedelta(hours=24), timedelta(minutes=15), _HOUR, most=50, words="24 hours", seconds=60.0)
MONTH = Span(timedelta(days=30), timedelta(hours=6), timedelta(days=1), most=10, words="30 days", seconds=300.0)


@dataclass(frozen=True, slots=True)
class Point:
    """What is known of a time, and of how many `targets` (of changes: hours of them); no counts where of none."""

    at: datetime
    counts: Counter[str] | None = None
    targets: int = 0


@dataclass(frozen=True, slots=True)
class Hours:
    """One target's: how its instances stood at each sweep, in order, and what was done in each hour."""

    swept: Swept
    changed: Mapping[datetime, Counter[str]]


@dataclass(frozen=True, slots=True)
class Activity:
    """The same of several targets: how their instances stood, and how many were changed."""

    stood: Sequence[Point]
    changed: Sequence[Point]

    @property
    def from_first_data(self) -> "Activity":
        """The same without the time before anything is known."""
        known = (each.at for each in (*self.stood, *self.changed) if each.counts is not None)
        first = min(known, default=self.changed[0].at)
        begin = max((each.at for each in self.changed if each.at <= first), default=first)
        stood, changed = ([each for each in points if each.at >= begin] for points in (self.stood, self.changed))
        return Activity(stood, changed)


def acts(deployment: Deployment, views: Sequence[MappingView], since: datetime) -> list[Act]:
    """Return what people did since then, in order: the newest of each row that is there, and of the switches."""
    edits = rows.last_edits(deployment, views)
    keys = [rows.key_of(each) for each in views if edits[each.mapping]["at"] >= layout.timestamp(since)]
    histories = deployment.app.map_concurrently(lambda key: rows.history(deployment, key, _ACTS), keys)
    found: list[Act] = [(datetime.fromisoformat(each.at), None, each) for each in control_history(deployment, _ACTS)]
    for key, history in zip(keys, histories, strict=True):
        edited = (each for each in history if each.changes or each.approved_by)
        found += [(datetime.fromisoformat(str(each.at)), key, each) for each in edited]
    return sorted((each for each in found if each[0] >= since), key=itemgetter(0))


def read(deployment: Deployment, targets: Sequence[Target], span: Span) -> Activity:
    """One query for each target and 400 hours of it."""
    now, holds = deployment.now(), 2 * sweep_interval(deployment)
    store = deployment.app.store

    def hours(target: Target) -> Hours:
        _, after = layout.activity_key(target, now - span.length - holds - _HOUR)
        pk, until = layout.activity_key(target, now)
        found = [store.decode(_hour, each) for each in store.items(pk, until, after)]
        return Hours([each for _, swept, _ in found for each in swept], {hour: done for hour, _, done in found})

    found = deployment.app.map_concurrently(hours, targets)
    return Activity(stood(found, span, now, holds=holds), changed(found, span, now))


def _hour(item: Mapping[str, Any]) -> tuple[datetime, Swept, Counter[str]]:
    hour, swept = datetime.fromisoformat(f"{item['sk']}:00Z"), []
    for name in sorted(item):
        if name.startswith(layout.SWEPT):
            stands = {InstanceStatus(each).value: int(number) for each, number in item[name].items()}
            swept.append((hour.replace(minute=int(name.removeprefix(layout.SWEPT))), Counter(stands)))
    return hour, swept, Counter({word: int(item[name]) for name, word in CHANGES.items() if name in item})


def stood(found: Sequence[Hours], span: Span, now: datetime, *, holds: timedelta) -> list[Point]:
    """How the instances stood at each point; what a sweep saw `holds` until the next one, but no longer."""
    times = _times(span.length, span.point, now)
    known = [_worst(each.swept, times, span.point, holds=holds) for each in found]
    return [_sum(at, each) for at, *each in zip(times, *known, strict=True)]


def _worst(swept: Swept, times: Sequence[datetime], step: timedelta, *, holds: timedelta) -> list[Counter[str] | None]:
    within = grouped((_floor(each[0], step), each) for each in swept)
    last = next((each for each in reversed(swept) if each[0] < times[0]), None)
    worst: list[Counter[str] | None] = []
    for time in times:
        if here := within.get(time):
            last = here[-1]
            worst.append(max((each for _, each in here), key=lambda each: sum(each[name] for name in {*each} - _WELL)))
        else:
            worst.append(last[1] if last and time - last[0] <= holds else None)
    return worst


def changed(found: Sequence[Hours], span: Span, now: datetime) -> list[Point]:
    bars: dict[datetime, list[Counter[str] | None]] = {each: [] for each in _times(span.length, span.bar, now)}
    for hour, done in (each for one in found for each in one.changed.items()):
        if (at := _floor(hour, span.bar)) in bars:
            bars[at].append(done)
    return [_sum(at, each) for at, each in bars.items()]


def _sum(at: datetime, counts: Iterable[Counter[str] | None]) -> Point:
    known = [each for each in counts if each is not None]
    return Point(at, sum(known, Counter[str]()), len(known)) if known else Point(at)


def _times(length: timedelta, step: timedelta, now: datetime) -> list[datetime]:
    """Where each step of the length begins; the last one goes on."""
    last = _floor(now, step)
    return [last - number * step for number in reversed(range(length // step))]


def _floor(at: datetime, step: timedelta) -> datetime:
    seconds = int(step.total_seconds())
    return datetime.fromtimestamp(int(at.timestamp()) // seconds * seconds, UTC)
