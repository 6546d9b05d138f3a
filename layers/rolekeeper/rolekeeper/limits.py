"""How many instances may change at once without anybody's approval: pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The larger of a number and a share of the fleet: few changes pass in a small fleet, a share in a large one.

    Attributes:
        per_edit: instances that always pass (`MaxChangesPerEdit`).
        percent: of the fleet that passes (`MaxChangesPercent`).
    """

    per_edit: int
    percent: int

    def allowed(self, fleet: int) -> int:
        """How many may change, of so many instances in the account and Region that aren't terminated."""
        return max(self.per_edit, fleet * self.percent // 100)
