"""The fleet as documents: each instance with the role that it carries and the one that it should carry."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from rolekeeper.instances.observe import Unreadable
from rolekeeper.model.instance import Action, InstanceState
from rolekeeper.model.mapping import NO_ROLE, MappingKey
from rolekeeper_cli.instances import name_of, where
from rolekeeper_cli.views.looking import Seen, profile_name

# Whether an instance is as it should be; `UNKNOWN` where its record is damaged.
OK, DRIFT, WAITS, BLOCKED, UNKNOWN = "ok", "drift", "waits", "blocked", "unknown"
# What a decision means for that; any other is drift.
_STANDS = {Action.NOTHING: OK, Action.WAIT: WAITS, Action.HOLD: BLOCKED}


@dataclass(frozen=True, slots=True)
class Filters:
    """Which instances are listed: those that pass all of them.

    Attributes:
        tags: they carry these tags.
        role: they carry this profile, or are to; `NONE` for none.
        state: they are in this state.
        mapping: this mapping governs them.
        drift: they aren't as they should be.
    """

    tags: tuple[MappingKey, ...] = ()
    role: str = ""
    state: InstanceState | None = None
    mapping: MappingKey | None = None
    drift: bool = False

    def pass_(self, seen: Seen) -> bool:
        """Whether one instance is listed."""
        return (
            (not self.role or self.role in roles(seen))
            and self.state in (None, seen.instance.state)
            and self.mapping in (None, seen.decision.mapping)
            and not (self.drift and seen.decision.action is Action.NOTHING)
        )


@dataclass(slots=True)
class Count:
    """What is counted while the instances go by: all of them, and how those stand that are listed.

    Attributes:
        instances: all of them.
        stands: how many of the listed ones are as they should be, in drift, waiting or blocked.
        roles: the profiles that any of them carries, or is to.
    """

    instances: int = 0
    stands: Counter[str] = field(default_factory=Counter)
    roles: set[str] = field(default_factory=set)

    def listed(self, seen: Iterable[Seen], filters: Filters) -> Iterator[dict[str, Any]]:
        """The instances that pass, as documents."""
        for each in seen:
            self.instances += 1
            self.roles |= roles(each)
            if filters.pass_(each):
                row = document(each)
                self.stands[row["stands"]] += 1
                yield row


def document(seen: Seen | Unreadable) -> dict[str, Any]:
    """One instance, for programs. Of one whose record is damaged, what EC2 says of it, and why it isn't decided on."""
    if isinstance(seen, Unreadable):
        return _unreadable(seen)
    decision, association = seen.decision, seen.observed.association
    return {
        **where(seen.instance.key),
        "name": name_of(seen.instance),
        "state": seen.instance.state.value,
        "carries": profile_name(seen.carries),
        "should_carry": profile_name(seen.should_carry),
        "mapping": str(decision.mapping) if decision.mapping else None,
        "revision": decision.revision,
        "stands": _STANDS.get(decision.action, DRIFT),
        "action": decision.action.value,
        "code": decision.code,
        "reason": decision.reason,
        "association": association.id if association else None,
        "managed": seen.managed,
        "tags": dict(seen.instance.tags),
    }


def _unreadable(damaged: Unreadable) -> dict[str, Any]:
    instance = damaged.instance
    return {
        **where(damaged.key),
        "name": name_of(instance) if instance else "",
        "state": instance.state.value if instance else None,
        "carries": None,
        "should_carry": None,
        "mapping": None,
        "revision": None,
        "stands": UNKNOWN,
        "action": None,
        "code": None,
        "reason": damaged.error.message,
        "association": None,
        "managed": None,
        "tags": dict(instance.tags) if instance else {},
    }


def roles(seen: Seen) -> set[str]:
    """The profiles that it carries and is to carry; `NONE` for none."""
    return {profile_name(seen.carries) or NO_ROLE, profile_name(seen.should_carry) or NO_ROLE}
