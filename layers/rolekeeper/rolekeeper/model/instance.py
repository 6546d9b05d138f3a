"""Instances as EC2 shows them, what is decided of one, and what is remembered of it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import takewhile

from rolekeeper.model.mapping import NO_PIN, MappingKey, Pin, PublishedMapping
from rolekeeper.model.text import SENTENCE, shown

NO_PROFILE = ""  # in the place of a profile's ARN
# How the Regions of each partition begin; all others are of `aws` (botocore's partitions.json, `regionRegex`).
PARTITIONS = {
    "cn-": "aws-cn",
    "eu-isoe-": "aws-iso-e",
    "eusc-": "aws-eusc",
    "us-gov-": "aws-us-gov",
    "us-iso-": "aws-iso",
    "us-isob-": "aws-iso-b",
    "us-isof-": "aws-iso-f",
}


def partition_of(region: str) -> str:
    return next((partition for prefix, partition in PARTITIONS.items() if region.startswith(prefix)), "aws")


def in_account(profile_arn: str, account: str) -> str:
    """Return the ARN of the profile of the same name in an account: only the number differs."""
    fields = profile_arn.split(":")
    return ":".join([*fields[:4], account, *fields[5:]]) if profile_arn else ""


class InstanceState(StrEnum):
    """EC2's six instance states (AWS_FACTS.md, "Events")."""

    PENDING = "pending"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    SHUTTING_DOWN = "shutting-down"
    TERMINATED = "terminated"


ENDED = frozenset({InstanceState.SHUTTING_DOWN, InstanceState.TERMINATED})


class AssociationState(StrEnum):
    """The states in which EC2 lists an association (AWS_FACTS.md, "Attach, replace, detach")."""

    ASSOCIATING = "associating"
    ASSOCIATED = "associated"
    DISASSOCIATING = "disassociating"
    DISASSOCIATED = "disassociated"


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """An account and a Region of it in which Rolekeeper gives roles."""

    account: str
    region: str

    def __str__(self) -> str:
        return f"{self.account}/{self.region}"


@dataclass(frozen=True, slots=True, order=True)
class InstanceKey:
    """An EC2 instance, known by account, region and instance id."""

    account: str
    region: str
    id: str

    @property
    def target(self) -> Target:
        return Target(self.account, self.region)

    @property
    def arn(self) -> str:
        return f"arn:{partition_of(self.region)}:ec2:{self.region}:{self.account}:instance/{self.id}"


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance as EC2 describes it now: `managed_by` the AWS service that runs it, if one does, `started` last."""

    key: InstanceKey
    state: InstanceState
    tags: Mapping[str, str]
    managed_by: str = ""
    started: datetime | None = field(default=None, compare=False)

    @property
    def ended(self) -> bool:
        """Whether it is gone for good: nothing is changed on it, and it isn't counted."""
        return self.state in ENDED


@dataclass(frozen=True, slots=True)
class Association:
    """EC2's record that a profile is attached, with a new id at every change. A remade profile has the same ARN.

    `retries`: how often the SDK sent the change again that made it, as it does when EC2 throttles.
    """

    id: str
    instance_id: str
    profile_arn: str
    state: AssociationState
    profile_id: str = ""
    retries: int = field(default=0, compare=False)


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
        return self in {Action.ATTACH, Action.REPLACE, Action.DETACH}


@dataclass(frozen=True, slots=True)
class Timer:
    """When an instance or a mapping has to be looked at again: at the end of a pin, of `expires_at`, say.

    One that `follows` a change, or an attempt, is handled by the next minute's run: no invocation starts for it. That
    run counts what the change `did`.
    """

    due: datetime
    subject: InstanceKey | MappingKey
    follows: bool = False
    did: str = ""


@dataclass(frozen=True, slots=True)
class Grant:
    """A managed profile (none, for `NONE`) that EC2 was asked to give: written first, so it explains any outcome.

    `rolls` names the rollout that moved the instance to it, if one did.
    """

    profile_arn: str
    role: str
    mapping: MappingKey
    revision: int
    at: datetime
    rolls: str | None = None


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


@dataclass(frozen=True, slots=True)
class Condition:
    """What an instance shows while it doesn't carry what it should, watched by a retry loop or a timer, or parked."""

    action: Action
    code: str
    reason: str
    since: datetime
    fingerprint: str
    watched_until: datetime | None = None
    parked: bool = False


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    """All that we remember of one instance: grants by profile ARN, and the last changes, oldest first.

    `pin` is the one that was reported last. `writes` is the version for optimistic locking; 0 means no record.
    """

    grants: Mapping[str, Grant] = field(default_factory=dict)
    condition: Condition | None = None
    changes: tuple[AppliedChange, ...] = ()
    pin: Pin = NO_PIN
    writes: int = field(default=0, compare=False)

    def repeated(self, desired: DesiredChange | None) -> tuple[AppliedChange, ...]:
        """Return the last changes, as far back as each was this very one; the newest first."""
        return tuple(takewhile(lambda applied: applied.change == desired, reversed(self.changes)))


@dataclass(frozen=True, slots=True)
class RecordChange:
    """All that one write changes in an instance's record.

    `revoked` are the profiles whose grants go, `pin` is the one that is reported now. The record `ends` with its
    instance, and with `unpins` its pin does too. `expected` is the record as it was read, if the write depends on it.
    """

    grants: tuple[Grant, ...] = ()
    revoked: frozenset[str] = frozenset()
    condition: Condition | None = None
    clears: bool = False
    applied: AppliedChange | None = None
    lapsed: tuple[AppliedChange, ...] = ()
    timers: tuple[Timer, ...] = ()
    pin: Pin | None = None
    ends: bool = False
    unpins: bool = False
    expected: InstanceRecord | None = field(default=None, compare=False)

    def __bool__(self) -> bool:
        return self != RecordChange()


@dataclass(frozen=True, slots=True)
class Overridden:
    """A mapping whose tag the instance carries and that doesn't govern it, and why not; or the tag to ignore it."""

    mapping: MappingKey
    why: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do for one instance, and why.

    `code` is for machines, `reason` for people; `arguments` are what else it depends on. `association_id` is what a
    replace or a detach acts on: the lock. A wait that `polls` needs the retry loop; others end by an event or `until`.
    `rolls` is the mapping by whose rollout the instance has moved, or `moves` now, which counts there.
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
    rolls: PublishedMapping | None = None
    moves: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", shown(self.reason, SENTENCE))

    @property
    def counted_for(self) -> MappingKey | None:
        """The mapping for which this takes room in the window: it takes a role away. A pin is a person's own act."""
        return self.mapping if self.action is not Action.ATTACH and self.mapping and not self.mapping.pins else None

    @property
    def quarantines(self) -> bool:
        """Whether it detaches for a mapping to `NONE`: it has a window of its own, so no replace makes it wait."""
        return self.action is Action.DETACH and self.code == "quarantined"

    @property
    def desired(self) -> DesiredChange | None:
        return DesiredChange(self.mapping, self.revision, self.profile_arn) if self.mapping else None

    @property
    def fingerprint(self) -> str:
        """Equal for two decisions that mean the same, however they are worded: then no condition is written again."""
        parts = (self.action, self.code, self.association_id, self.profile_arn, str(self.mapping or ""), self.revision)
        text = "|".join(map(str, (*parts, *self.arguments)))
        return text if len(text) <= SENTENCE else hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class Candidates:
    """The mappings for one instance, ranked. None wins under an `exclusion`, or where those `in_conflict` disagree."""

    winner: PublishedMapping | None = None
    in_conflict: tuple[PublishedMapping, ...] = ()
    overridden: tuple[Overridden, ...] = ()
    exclusion: Decision | None = None

    @property
    def best(self) -> tuple[PublishedMapping, ...]:
        return self.in_conflict or ((self.winner,) if self.winner else ())


@dataclass(frozen=True, slots=True)
class ReconcileRequest:
    """A message that names an instance to reconcile.

    `loop_over`: the retry loop that watched it has ended. `put_back`: how often workers put it back.
    """

    instance: InstanceKey
    cause: str
    correlation_id: str
    at: datetime
    message_id: str = ""
    loop_over: bool = False
    put_back: int = 0
    changed_tags: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name in ("cause", "correlation_id"):
            object.__setattr__(self, name, shown(getattr(self, name)))
