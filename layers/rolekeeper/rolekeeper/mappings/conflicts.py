"""Conflicts: two mappings of equal priority that want different roles for an instance. Pure."""

from dataclasses import dataclass, field
from datetime import datetime

from rolekeeper.model import ANY_VALUE, MappingKey, MappingSpec, PublishedMapping

# Instance ids, and other mappings, that a reason names.
NAMED = 5


@dataclass(slots=True)
class Conflict:
    """A conflict with another mapping. `instances` names some of those that have it today, `count` says how many do.

    `new` unless the mapping as it is published has it there already.
    """

    other: PublishedMapping
    instances: list[str] = field(default_factory=list)
    count: int = 0
    new: bool = False

    def __str__(self) -> str:
        """In words, for the row."""
        spec = self.other.spec
        text = f"conflicts with {spec.key} (priority {spec.priority}, role {spec.role})"
        if not self.count:
            return text
        more = f" and {self.count - NAMED:,} more" if self.count > NAMED else ""
        return f"{text} on {', '.join(self.instances)}{more}"

    def add(self, instance_id: str, *, new: bool) -> None:
        """Count one instance."""
        self.count += 1
        self.new |= new
        # The first by id, so that the same conflict reads the same however EC2 orders its pages.
        self.instances = sorted([*self.instances, instance_id])[:NAMED]


class Conflicts(dict[MappingKey, Conflict]):
    """The conflicts of one mapping, by the other mapping's key."""

    @property
    def new(self) -> bool:
        """Whether one of them isn't there already."""
        return any(each.new for each in self.values())

    @property
    def largest_first(self) -> list[Conflict]:
        """Those on the most instances first."""
        return sorted(self.values(), key=lambda each: (-each.count, each.other.key))

    def __str__(self) -> str:
        """In words, for the row."""
        named = self.largest_first[:NAMED]
        more = f"; and with {len(self) - NAMED} more mappings" if len(self) > NAMED else ""
        return f"{'; '.join(map(str, named))}{more}; give one of them a lower number as its priority"

    def of(self, other: PublishedMapping) -> Conflict:
        """The conflict with another mapping, begun when there is none yet."""
        return self.setdefault(other.key, Conflict(other))


def differ(one: PublishedMapping, other: PublishedMapping) -> bool:
    """Whether two mappings want different roles or profiles."""
    return (one.spec.role, one.profile_arn) != (other.spec.role, other.profile_arn)


def could_conflict(one: PublishedMapping, other: PublishedMapping, now: datetime) -> bool:
    """Whether some instance could carry the tags of both and be in the scope of both, and so meet the conflict."""
    a, b = one.spec, other.spec
    return (
        a.key != b.key
        and a.priority == b.priority
        and differ(one, other)
        and not (one.deleted or other.deleted)
        and _live(a, now)
        and _live(b, now)
        and _meet(a.accounts, b.accounts)
        and _meet(a.regions, b.regions)
        and _agree(a, b)
    )


def _live(spec: MappingSpec, now: datetime) -> bool:
    return spec.enabled and not spec.expired(now)


def _meet(one: frozenset[str], other: frozenset[str]) -> bool:
    return not one or not other or bool(one & other)


def _agree(one: MappingSpec, other: MappingSpec) -> bool:
    """Whether one set of tags can satisfy every demand of both."""
    asked: dict[str, str] = {}
    for key, value in (*_demands(one), *_demands(other)):
        if value != ANY_VALUE and asked.setdefault(key, value) != value:
            return False
    return True


def _demands(spec: MappingSpec) -> list[tuple[str, str]]:
    return [(spec.key.tag_key, spec.key.tag_value), *spec.require_tags.items()]
