"""An organization of 400 accounts in 17 Regions, in virtual time: its sweeps and edits, and what accounts cost another.

Before: one run started all sweeps, one judged an edit, and each worker waited five seconds for its pace.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from statistics import mean

from bench.rows import Row, Target
from simulation.account import SPOKE
from simulation.fair_shares import overtaken
from simulation.many_targets import Edited, edited, floor
from support.large_organization import ACCOUNTS, REGIONS, ROWS, Played, Scale
from support.table_capacity import NEW, UNITS

BEFORE = "before"
STARTED_BEFORE, JUDGED_BEFORE = 1_360, 435  # seconds
CHANGES, TAGS = 10_000, 100
# What an edit moves in the hub itself, and in each of the other targets; and the workers of a large hub.
LARGE, EACH, BUSY, WORKERS, ALL_ROWS, FEW_TAGS = 2_000, 15, 300, 200, 50, 16
ALONE, PLAYED = 10_000, 600
TARGETS = f"{ACCOUNTS * len(REGIONS):,} targets"


def rows(say: Callable[[str], None]) -> Iterator[Row]:
    """A round of sweeps, an edit, ten and fifty, where three accounts of twenty are bad; then fair shares."""
    say("a round of sweeps")
    sent = 0.0
    round_ = played(lambda scale: scale.sweep())
    begun = max(round_.began.values())
    yield _within(f"sweeps of {TARGETS}, the last begun after", begun, 120, STARTED_BEFORE)
    yield _within(f"sweeps of {TARGETS}, all done after", round_.done, 900)
    for number, seconds, before in ((1, 120, JUDGED_BEFORE), (ROWS, 300, None), (ALL_ROWS, 300, None)):
        say(f"{number} edits")
        edited_ = played(lambda scale, number=number: scale.edit(number), max(ROWS, number))  # type: ignore[misc]  # a default binds the loop's
        sent = sent or edited_.last_sent
        name = f"{number} edit{'s' if number > 1 else ''} in {TARGETS}"
        yield _within(f"{name}, judged after", max(edited_.judged.values()), seconds, before)
        yield _within(f"{name}, all instances sent after", edited_.last_sent, 300)
        calls, runs = (Target(most, "ours") if number == ALL_ROWS else None for most in (10, 100))
        yield Row(f"{name}, calls to one account's IAM", edited_.a_second, "a second", target=calls)
        yield Row(f"{name}, runs at once", edited_.at_once, "runs", target=runs)
    name = "first round of sweeps, on a new table"
    yield Row(f"{name}, writes to the registry's partition", round_.registry, "a second", target=Target(UNITS, "ours"))
    yield Row(f"{name}, write units", round_.units, "a second", target=Target(NEW * UNITS, "ours"))
    yield Row(f"{name}, writes sent again", round_.throttled, "writes")
    yield from _changed(say)
    yield from _whole_fleet(say, sent)
    say("fair shares")
    idle, busy = (mean(turn.took for turn in overtaken(changes, SPOKE, times=TAGS)) for changes in (0, CHANGES))
    name = f"tag to role while another account has {CHANGES:,} changes waiting"
    yield Row(name, busy, "s", idle, "idle", Target(2))


def _changed(say: Callable[[str], None]) -> Iterator[Row]:
    """One edit, until the last instance is changed: in many targets, in a large one, and in that beside the others."""
    for busy, workers in ((BUSY // 3, 5), (BUSY // 3, WORKERS), (BUSY, WORKERS)):
        say(f"one edit in {busy} targets, {workers} workers")
        found = _whole(edited([EACH] * busy, workers=workers))
        name = f"{found.instances:,} instances in {busy} targets changed, {workers} workers"
        yield Row(f"{name}, the last after", found.seconds, "s")
        yield Row(f"{name}, the last after the first", found.seconds - found.begins, "s", floor(EACH), "EC2's refill")
        yield Row(f"{name}, runs at once", found.at_once, "runs")
    for large, busy, most in ((ALONE, 0, 1.05), (LARGE, BUSY, 1.2)):
        say(f"one edit in a target of {large:,}, beside {busy}")
        found = _whole(edited([large, *[EACH] * busy], workers=WORKERS))
        name, took = f"{large:,} instances in one target changed beside {busy} busy ones", found.at_hub - found.begins
        yield Row(f"{name}, the first after", found.begins, "s")
        yield Row(f"{name}, the last after the first", took, "s", floor(large), "EC2's refill", Target(most))


def _whole_fleet(say: Callable[[str], None], sent: float) -> Iterator[Row]:
    """One edit in all targets, as long as it takes to send their instances, and workers as fast as in some of them."""
    say(f"one edit in {PLAYED} targets, and a tag beside it")
    found = _whole(edited([EACH] * PLAYED, workers=WORKERS, tags=FEW_TAGS))
    number, rate = ACCOUNTS * len(REGIONS) * EACH, found.instances / (found.seconds - found.begins)
    name = f"{number:,} instances in {TARGETS} changed, {WORKERS} workers"
    yield _within(f"{name}, by when all are sent and the rate in {PLAYED} targets", sent + number / rate, 300)
    yield Row(f"{found.instances:,} instances in {PLAYED} targets changed, write units", found.units, "a second")
    idle = edited([0, 0], workers=WORKERS, tags=FEW_TAGS).tag_to_role
    name = f"tag to role in one target while {PLAYED} others change"
    yield Row(name, found.tag_to_role, "s", idle, "idle", Target(1.5))
    new = _whole(edited([EACH] * BUSY, workers=WORKERS, partitions=NEW))
    name = f"{new.instances:,} instances in {BUSY} targets changed on a new table"
    yield Row(f"{name}, the last after", new.seconds, "s")


def _whole(found: Edited) -> Edited:
    if found.broken or found.dead_letters or found.changed < found.instances:
        raise RuntimeError(f"an edit isn't done: {found}")
    return found


def played(what: Callable[[Scale], Played], rows: int = ROWS) -> Played:
    with ExitStack() as closing:
        found = what(Scale(closing, ACCOUNTS, rows=rows))
    if found.cut:
        raise RuntimeError(f"runs had not the time that their machine gives them: {found.cut}")
    return found


def _within(name: str, took: float, seconds: float, before: float | None = None) -> Row:
    return Row(name, took, "s", before, BEFORE if before else "", Target(seconds, "ours"))
