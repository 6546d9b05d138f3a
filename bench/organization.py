"""An organization of 400 accounts in 17 Regions, in virtual time: its sweeps and edits, and what accounts cost another.

Before: one run started all sweeps, one judged an edit, and each worker waited five seconds for its pace.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from statistics import mean

from bench.rows import Row, Target
from simulation.account import SPOKE
from simulation.fair_shares import overtaken
from support.large_organization import ACCOUNTS, REGIONS, ROWS, Played, Scale

BEFORE = "before"
STARTED_BEFORE, JUDGED_BEFORE = 1_360, 435  # seconds
CHANGES, TAGS = 10_000, 100
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
        edited = played(lambda scale, number=number: scale.edit(number))  # type: ignore[misc]  # a default binds the loop's
        name = f"{number} edit{'s' if number > 1 else ''} in {TARGETS}"
        yield _within(f"{name}, judged after", max(edited.judged.values()), seconds, before)
        yield _within(f"{name}, all instances sent after", edited.last_sent, 300)
        yield Row(f"{name}, calls to one account's IAM", edited.a_second, "a second")
    say("fair shares")
    idle, busy = (mean(turn.took for turn in overtaken(changes, SPOKE, times=TAGS)) for changes in (0, CHANGES))
    name = f"tag to role while another account has {CHANGES:,} changes waiting"
    yield Row(name, busy, "s", idle, "idle", Target(2))


def played(what: Callable[[Scale], Played]) -> Played:
    with ExitStack() as closing:
        found = what(Scale(closing, ACCOUNTS))
    if found.cut:
        raise RuntimeError(f"runs had not the time that their machine gives them: {found.cut}")
    return found


def _within(name: str, took: float, seconds: float, before: float | None = None) -> Row:
    return Row(name, took, "s", before, BEFORE if before else "", Target(seconds, "ours"))
