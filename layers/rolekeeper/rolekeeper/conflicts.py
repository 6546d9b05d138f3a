"""What a mapping would govern, and with which others it would tie: pure."""

from dataclasses import dataclass, field
from datetime import datetime

from rolekeeper.foreign import ForeignRoles
from rolekeeper.model import ANY_VALUE, Association, Candidates, Instance, MappingKey, MappingSpec, PublishedMapping
from rolekeeper.rules import Ownership

# Instance ids that a reason names.
NAMED = 5


@dataclass(slots=True)
class Tie:
    """Another mapping of equal priority with another role. `instances` names some of those that would tie today.

    `new` unless the mapping as served now ties with it there already.
    """

    rival: PublishedMapping
    instances: list[str] = field(default_factory=list)
    count: int = 0
    new: bool = False

    def __str__(self) -> str:
        """In words, for the row."""
        spec = self.rival.spec
        text = f"ties with {spec.key} (priority {spec.priority}, role {spec.role})"
        if not self.count:
            return text
        more = f" and {self.count - NAMED:,} more" if self.count > NAMED else ""
        return f"{text} on {', '.join(self.instances)}{more}"

    def meets(self, instance_id: str, *, new: bool) -> None:
        """Count one instance on which the two tie."""
        self.count += 1
        self.new |= new
        # The first by id, so that the same ties read the same however EC2 orders its pages.
        self.instances = sorted([*self.instances, instance_id])[:NAMED]


@dataclass(slots=True)
class Survey:
    """How many instances a mapping governs, and its ties, by the rival's key. Memory: bounded by the rivals.

    `profile_ids` are those of the profiles of the mapping's own ARN that these instances carry, `foreign` those that
    carry a foreign role.
    """

    matched: int = 0
    ties: dict[MappingKey, Tie] = field(default_factory=dict)
    profile_ids: set[str] = field(default_factory=set)
    foreign: ForeignRoles = field(default_factory=ForeignRoles)

    @property
    def blocks(self) -> bool:
        """Whether there is a tie that isn't there already."""
        return any(tie.new for tie in self.ties.values())

    @property
    def told(self) -> list[Tie]:
        """The ties, those on the most instances first."""
        return sorted(self.ties.values(), key=lambda tie: (-tie.count, tie.rival.key))

    def __str__(self) -> str:
        """The ties in words."""
        told = self.told
        text = "; ".join(str(tie) for tie in told[:NAMED])
        more = f"; and with {len(told) - NAMED} more mappings" if len(told) > NAMED else ""
        return f"{text}{more}; give one of them a lower number as its priority"

    def tie(self, rival: PublishedMapping) -> Tie:
        """The tie with a rival, begun when there is none yet."""
        return self.ties.setdefault(rival.key, Tie(rival))

    def add(  # noqa: PLR0913, PLR0917  # all that one instance is counted by
        self,
        instance: Instance,
        candidate: PublishedMapping,
        after: Candidates,
        served: PublishedMapping | None,
        before: Candidates,
        association: Association | None,
        ownership: Ownership,
    ) -> None:
        """Add one instance that carries the candidate's tag.

        Args:
            instance: the instance.
            candidate: the mapping that is looked at.
            after: the mappings for its tags, ranked with the candidate among them.
            served: the same mapping as it is served now, if it is.
            before: the mappings ranked with that one.
            association: what the instance carries.
            ownership: which profiles are managed.
        """
        if after.winner is candidate:
            self.matched += 1
            if association and association.profile_arn == candidate.profile_arn:
                self.profile_ids.add(association.profile_id)
            elif association and not ownership.manages(association.profile_arn):
                self.foreign.add(instance, association)
        if candidate not in after.tied:
            return
        for rival in after.tied:
            if differ(rival, candidate):
                there_already = served in before.tied and rival in before.tied
                self.tie(rival).meets(instance.key.id, new=not there_already)


def differ(one: PublishedMapping, other: PublishedMapping) -> bool:
    """Whether two mappings want different roles or profiles."""
    return (one.spec.role, one.profile_arn) != (other.spec.role, other.profile_arn)


def could_tie(one: PublishedMapping, other: PublishedMapping, now: datetime) -> bool:
    """Whether some instance could carry the tags of both, be in the scope of both, and so tie."""
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
        if value == ANY_VALUE:
            continue
        if asked.setdefault(key, value) != value:
            return False
    return True


def _demands(spec: MappingSpec) -> list[tuple[str, str]]:
    return [(spec.key.tag_key, spec.key.tag_value), *spec.require_tags.items()]
