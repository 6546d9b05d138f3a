"""What the cost model assumes: how long calls take, and what happens in an account in a month."""

from collections.abc import Mapping
from dataclasses import dataclass

MONTH = 30 * 24 * 60  # minutes
# Assumed: what a call to AWS and a cold start take, in seconds.
CALL, COLD = 0.1, 1.0


@dataclass(frozen=True)
class Fleet:
    """An account's instances and its rows, and what happens to each instance in a month."""

    instances: int
    rows: int
    launches: float = 1
    restarts: float = 4
    role_changes: float = 0.5
    other_tags: float = 4

    @property
    def happenings(self) -> Mapping[str, float]:
        """How often each kind of event comes in a month. A launch is two: tags while it is pending, and a start."""
        of_one = {
            "attach": self.launches,
            "replace": self.role_changes,
            "converged": 2 * self.restarts + self.other_tags,
            "wait": self.launches,
            "ended": self.launches,
        }
        return {kind: times * self.instances for kind, times in of_one.items()}

    @property
    def events(self) -> float:
        return sum(self.happenings.values())

    @property
    def changes(self) -> float:
        return self.happenings["attach"] + self.happenings["replace"]


IDLE = Fleet(100, 5, launches=0, restarts=0, role_changes=0, other_tags=0)
FLEETS = {"idle": IDLE, "100": Fleet(100, 5), "1,000": Fleet(1_000, 15), "10,000": Fleet(10_000, 50)}
