"""One role as a document: who has to do with it, what it may do, and what of that it doesn't use."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rolekeeper.aws.iam import Role
from rolekeeper_cli.roles.last_accessed import Report
from rolekeeper_cli.roles.smaller import Smaller

# How long a role or a service isn't used before it is said to be unused.
DAYS = 90
_LONG = timedelta(days=DAYS)


@dataclass(frozen=True, slots=True)
class RoleView:
    """A role, who has to do with it, and what it may do. What isn't known is None.

    Attributes:
        profiles: the instance profiles that hold it, by name.
        instances: those that carry one of them now, by id; of another target, with that before.
        mappings: those that give it, as their rows say or as they are published.
        read: whether IAM told of the role itself: its last use, and its boundary.
        services: those that it may use, by namespace; `everything` where a statement names none.
        may: all that it may do, in words.
        broad: why it is broad; empty if it isn't.
        report: when it called which service; None if that wasn't asked.
        smaller: what its policies could do without.
        everywhere: whether the instances of all its account's targets that were meant could be looked at.
    """

    role: Role
    profiles: tuple[str, ...] | None
    instances: tuple[str, ...] | None
    mappings: tuple[str, ...] | None
    read: bool
    services: tuple[str, ...] | None = None
    may: tuple[str, ...] | None = None
    broad: str | None = None
    report: Report | None = None
    smaller: tuple[Smaller, ...] = ()
    everywhere: bool = True

    def is_young(self, now: datetime) -> bool:
        """Whether it is too new to say what it doesn't use."""
        return self.role.created is None or now - self.role.created < _LONG

    def was_used(self, now: datetime) -> bool:
        """Whether it was used lately."""
        return self.role.last_used is not None and now - self.role.last_used < _LONG

    def is_unused(self, now: datetime) -> bool | None:
        """Whether nothing uses it: no mapping gives it, no instance carries it, and it wasn't used lately."""
        if self.mappings or self.instances or (self.read and (self.was_used(now) or self.is_young(now))):
            return False
        known = self.mappings is not None and self.instances is not None and self.everywhere
        return True if self.read and known else None

    def unused_services(self, now: datetime) -> tuple[str, ...] | None:
        """The services that its policies allow, and that it didn't call lately."""
        if self.report is None or self.report.because or not self.read or self.is_young(now):
            return None
        return tuple(each for each, at in self.report.services.items() if at is None or now - at >= _LONG)

    def document(self, now: datetime) -> dict[str, Any]:
        """For programs."""
        report = self.report
        return {
            "role": self.role.name,
            "arn": self.role.arn,
            "created": self.role.created,
            "last_used": self.role.last_used,
            "unused": self.is_unused(now),
            "profiles": _list(self.profiles),
            "instances": _list(self.instances),
            "mappings": _list(self.mappings),
            "services": _list(self.services),
            "may": _list(self.may),
            "broad": None if self.broad is None else bool(self.broad),
            "broad_because": self.broad or None,
            "services_last_used": dict(report.services) if report and not report.because else None,
            "unused_services": _list(self.unused_services(now)),
            "unknown_because": self._unknown(now),
            "smaller": [each.as_document(self.role.name) for each in self.smaller],
        }

    def _unknown(self, now: datetime) -> str | None:
        """Why it isn't known which services it doesn't use."""
        if self.report is None or self.report.because:
            return self.report.because if self.report else "not asked"
        if not self.read:
            return "IAM doesn't tell when the role was made"
        return f"the role is less than {DAYS} days old" if self.is_young(now) else None


def _list(values: Iterable[str] | None) -> list[str] | None:
    return None if values is None else list(values)
