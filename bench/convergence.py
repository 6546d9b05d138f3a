"""A thousand instances that need a change at once, under EC2's token buckets: the real functions, in virtual time.

The world is `simulation/burst.py`: nothing goes wrong in it but what load itself makes go wrong.
"""

from collections.abc import Callable, Iterator

from bench.rows import Row, Target
from rolekeeper.settings import Limits
from simulation.burst import Burst, Change, converge

INSTANCES = 1_000
# EC2 refills so many changes a second (docs/AWS_FACTS.md, "Throttles").
REFILL = 5.0
# What others take of it in a second, in the burst that isn't alone.
OTHERS = 1.0
# In so many minutes so many may be replaced: most of the burst has to wait for its turn.
NARROW = Limits(25, 20)


def rows(say: Callable[[str], None]) -> Iterator[Row]:
    """Attaching and replacing all at once; with others who change instances too; with a window that is narrow."""
    for change in Change:
        say(f"{change}, {INSTANCES:,} at once")
        name = f"{change} of {INSTANCES:,} at once"
        found = burst(change)
        yield _rate(name, found, REFILL)
        yield from _rows(name, found)
    say("attach, beside others")
    name, found = f"attach of {INSTANCES:,} while others take {OTHERS:g} a second", burst(Change.ATTACH, others=OTHERS)
    yield _rate(name, found, REFILL - OTHERS)
    yield from _rows(name, found)
    say("replace, in a narrow window")
    yield from _rows(f"replace of {INSTANCES:,} in five windows", burst(Change.REPLACE, limits=NARROW))


def burst(change: Change, *, others: float = 0, limits: Limits | None = None) -> Burst:
    """A burst that converged and broke no promise; a RuntimeError says otherwise."""
    found = converge(INSTANCES, change, others=others, limits=limits)
    if found.broken or found.changed < INSTANCES:
        raise RuntimeError(f"{found.changed} of {INSTANCES} changed; broken: {found.broken}")
    return found


def _rate(name: str, found: Burst, refill: float) -> Row:
    return Row(f"{name}, changes", found.rate, "a second", refill, "EC2's refill", Target(0.95, least=True))


def _rows(name: str, found: Burst) -> Iterator[Row]:
    throttled = found.throttled / found.attempts
    yield Row(f"{name}, attempts throttled", throttled, "of 1", target=Target(0.03, "ours"))
    yield Row(f"{name}, writes for one change", found.writes_a_change, "writes", target=Target(3, "ours"))
    yield Row(f"{name}, conflicts for one change", found.conflicts / found.changed, "conflicts")
    yield Row(f"{name}, dead letters", found.dead_letters, "messages", target=Target(0, "ours"))
