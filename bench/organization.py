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

BEFORE = "before"
STARTED_BEFORE, JUDGED_BEFORE = 1_360, 435  # seconds
CHANGES, TAGS = 10_000, 100
# What an edit moves in the hub itself, and in each of the other targets; and the workers of a large hub.
LARGE, EACH, BUSY, WORKERS = 2_000, 15, 300, 200
TARGETS = f"{ACCOUNTS * len(REGIONS):,} targets"


def rows(say: Callable[[str], None]) -> Iterator[Row]:
    """A round of sweeps, an edit and ten, each where three accounts of twenty are bad; then fair shares."""
    say("a round of sweeps")
    round_ = played(lambda scale: scale.sweep())
    begun = max(round_.began.values())
    yield _within(f"sweeps of {TARGETS}, the last begun after", begun, 120, STARTED_BEFORE)
    yield _within(f"sweeps of {TARGETS}, all done after", round_.done, 900)
    for number, seconds, before in ((1, 120, JUDGED_BEFORE), (ROWS, 300, None)):
        say(f"{number} edits")
        edited_ = played(lambda scale, number=number: scale.edit(number))  # type: ignore[misc]  # a default binds the loop's
        name = f"{number} edit{'s' if number > 1 else ''} in {TARGETS}"
        yield _within(f"{name}, judged after", max(edited_.judged.values()), seconds, before)
        yield _within(f"{name}, all instances sent after", edited_.last_sent, 300)
        yield Row(f"{name}, calls to one account's IAM", edited_.a_second, "a second", target=Target(10, "ours"))
        yield Row(f"{name}, runs at once", edited_.at_once, "runs", target=Target(100, "ours"))
    # DynamoDB takes 1,000 writes a second of a partition ("Service quotas").
    name = "writes to the registry's partition in a round of sweeps"
    yield Row(name, round_.registry, "a second", target=Target(1_000, "ours"))
    yield from _changed(say)
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
    for busy, most in ((0, 1.06), (BUSY, 1.2)):
        say(f"one edit in a large target, beside {busy}")
        found = _whole(edited([LARGE, *[EACH] * busy], workers=WORKERS))
        name = f"{LARGE:,} instances in one target changed beside {busy} busy ones"
        yield Row(name, found.at_hub, "s", floor(LARGE), "EC2's refill", Target(most))


def _whole(found: Edited) -> Edited:
    if found.broken or found.dead_letters or found.changed < found.instances:
        raise RuntimeError(f"an edit isn't done: {found}")
    return found


def played(what: Callable[[Scale], Played]) -> Played:
    with ExitStack() as closing:
        found = what(Scale(closing, ACCOUNTS))
    if found.cut:
        raise RuntimeError(f"runs had not the time that their machine gives them: {found.cut}")
    return found


def _within(name: str, took: float, seconds: float, before: float | None = None) -> Row:
    return Row(name, took, "s", before, BEFORE if before else "", Target(seconds, "ours"))
