"""What is decided of an instance, and what is remembered of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from rolekeeper.model.ec2 import InstanceKey
from rolekeeper.model.mapping import MappingKey, PublishedMapping, Timer


class Action(StrEnum):
    """What to do for one instance."""

    ATTACH = "Attach"
    REPLACE = "Replace"
    DETACH = "Detach"
    WAIT = "Wait"
    HOLD = "Hold"
    NOTHING = "Nothing"

    @property
    def mutates(self) -> bool:
        """Whether EC2 is asked to change something."""
        return self in {Action.ATTACH, Action.REPLACE, Action.DETACH}


@dataclass(frozen=True, slots=True)
class Grant:
    """That Rolekeeper asked EC2 to give an instance a managed profile, and for which mapping.

    It is written before the call, so it explains what the instance carries whatever became of the call. `profile_arn`
    is empty where a mapping asked for no role (`NONE`).
    """

    profile_arn: str
    role: str
    mapping: MappingKey
    revision: int
    at: datetime


@dataclass(frozen=True, slots=True)
class DesiredChange:
    """What a change is for. It is the same change again only while mapping, revision and profile are the same."""

    mapping: MappingKey
    revision: int
    profile_arn: str


@dataclass(frozen=True, slots=True)
class AppliedChange:
    """A change that EC2 took."""

    change: DesiredChange
    at: datetime


def repeated(changes: Sequence[AppliedChange], desired: DesiredChange | None) -> tuple[AppliedChange, ...]:
    """The last changes, as far back as each was this very one; oldest first."""
    found: list[AppliedChange] = []
    for each in reversed(changes):
        if each.change != desired:
            break
        found.append(each)
    return tuple(reversed(found))


@dataclass(frozen=True, slots=True)
class Condition:
    """What an instance shows while it doesn't carry what it should.

    The last refusal or wait, since when, and until when it is watched (by a retry loop or a timer).
    """

    action: Action
    code: str
    reason: str
    since: datetime
    fingerprint: str
    watched_until: datetime | None = None
    parked: bool = False


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    """All that we remember of one instance.

    Attributes:
        grants: by profile ARN.
        condition: what it shows while it isn't as it should be.
        changes: the last changes that EC2 took, oldest first.
        writes: how often it was written: by this a slow reconcile knows that a newer one wrote meanwhile.
        legacy: the attributes of the item that the first edition wrote; they go with the next write.
    """

    grants: Mapping[str, Grant] = field(default_factory=dict)
    condition: Condition | None = None
    changes: tuple[AppliedChange, ...] = ()
    writes: int = field(default=0, compare=False)
    legacy: frozenset[str] = field(default=frozenset(), compare=False)


@dataclass(frozen=True, slots=True)
class RecordChange:
    """All that one write changes in an instance's record.

    Attributes:
        grants: to set.
        revoked: the profiles whose grants go.
        condition: what the instance shows from now on.
        clears: whether it no longer shows anything.
        applied: a change that EC2 took.
        lapsed: changes that no longer count.
        timer: when the instance is to be looked at again.
        ends: whether the whole record goes, and `unpins` whether its pin does: the instance has ended.
        expected: the record as it was read, if this may be written only over that.
        legacy: what the first edition wrote and goes now, told anew by `grants`.
    """

    grants: tuple[Grant, ...] = ()
    revoked: frozenset[str] = frozenset()
    condition: Condition | None = None
    clears: bool = False
    applied: AppliedChange | None = None
    lapsed: tuple[AppliedChange, ...] = ()
    timer: Timer | None = None
    ends: bool = False
    unpins: bool = False
    expected: InstanceRecord | None = field(default=None, compare=False)
    legacy: frozenset[str] = field(default=frozenset(), compare=False)

    def __bool__(self) -> bool:
        """Whether anything is to be written."""
        return self != RecordChange()

    def after(self, record: InstanceRecord, *, written: bool = False) -> "RecordChange":
        """The same, with what the first edition wrote told anew: only where something is written anyway.

        Args:
            record: as it was read.
            written: whether it is written even if this changes nothing, with a history entry.
        """
        if not record.legacy or self.ends or not (self or written):
            return self
        told = {each.profile_arn: each for each in (*record.grants.values(), *self.grants)}
        kept = tuple(each for arn, each in told.items() if arn not in self.revoked)
        return replace(self, grants=kept, legacy=record.legacy)


@dataclass(frozen=True, slots=True)
class Overridden:
    """A mapping whose tag the instance carries and that doesn't govern it, and why not."""

    mapping: MappingKey
    why: str


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Why an instance is left as it is, whatever its mappings say.

    `until` says when that ends, if it does; `text` is what a tag or a pin says that can't be read.
    """

    action: Action
    code: str
    reason: str
    until: datetime | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Candidates:
    """The mappings for one instance, ranked (see `resolve`). A pin is the winner over them all.

    `in_conflict` holds the mappings that share the winning priority but want different roles; then there is no winner.
    Nor is there one where an `exclusion` leaves the instance as it is.
    """

    winner: PublishedMapping | None = None
    in_conflict: tuple[PublishedMapping, ...] = ()
    overridden: tuple[Overridden, ...] = ()
    exclusion: Exclusion | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do for one instance, and why.

    `code` is a short constant for machines; `reason` is for people, `arguments` what else it depends on.
    `association_id` is what a replace or a detach acts on: the lock. `takes_over` marks a change to a foreign profile.
    `polls` tells a wait that needs the retry loop from one that an event ends, and `until` one that ends at a known
    moment.
    """

    action: Action
    code: str
    reason: str
    mapping: MappingKey | None = None
    revision: int = 0
    role: str = ""
    profile_arn: str = ""
    association_id: str = ""
    swap: bool = False
    takes_over: bool = False
    polls: bool = False
    overridden: tuple[Overridden, ...] = ()
    until: datetime | None = None
    arguments: tuple[str, ...] = ()

    @property
    def desired(self) -> DesiredChange | None:
        """What the change is for."""
        return DesiredChange(self.mapping, self.revision, self.profile_arn) if self.mapping else None

    @property
    def fingerprint(self) -> str:
        """Equal for two decisions that say the same, however it is worded: then no condition is written again."""
        said = (self.action, self.code, self.association_id, self.profile_arn, str(self.mapping or ""), self.revision)
        return "|".join(map(str, (*said, *self.arguments)))


@dataclass(frozen=True, slots=True)
class ReconcileRequest:
    """A message that names an instance to reconcile: a hint, never the truth.

    `loop_failed` marks what a failed retry loop left in the dead-letter queue: no loop watches the instance any more.
    """

    instance: InstanceKey
    cause: str
    correlation_id: str
    at: datetime
    message_id: str = ""
    loop_failed: bool = False
