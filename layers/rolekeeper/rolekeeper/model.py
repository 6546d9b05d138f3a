"""The words of the domain, as values. No I/O, no clock."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

ANY_VALUE = "*"
NO_ROLE = "NONE"
# In the place of a profile's ARN: no profile.
NO_PROFILE = ""
# Tags that begin so tell Rolekeeper itself something, as rolekeeper:ignore: none of them means a role.
RESERVED = "rolekeeper:"
IGNORE_TAG, PIN_TAG = "rolekeeper:ignore", "rolekeeper:pin"


class InstanceState(StrEnum):
    """EC2's six instance states (AWS_FACTS.md, "Events")."""

    PENDING = "pending"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    SHUTTING_DOWN = "shutting-down"
    TERMINATED = "terminated"


class AssociationState(StrEnum):
    """The states in which EC2 lists an association (AWS_FACTS.md, "Attach, replace, detach")."""

    ASSOCIATING = "associating"
    ASSOCIATED = "associated"
    DISASSOCIATING = "disassociating"
    DISASSOCIATED = "disassociated"


class WhenOccupied(StrEnum):
    """What a mapping does with a foreign role: one whose profile is outside the role path."""

    KEEP = "keep"
    REPLACE = "replace"


class WhenUnmatched(StrEnum):
    """What happens to the role that a mapping gave when the mapping no longer matches."""

    DETACH = "detach"
    KEEP = "keep"


class WhenStopped(StrEnum):
    """How a role is replaced on a stopped instance: EC2 replaces running ones only."""

    WAIT = "wait"
    SWAP = "swap"


class Mode(StrEnum):
    """Whether decisions are applied (`enforce`) or only recorded (`observe`)."""

    OBSERVE = "observe"
    ENFORCE = "enforce"


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


@dataclass(frozen=True, slots=True, order=True)
class InstanceKey:
    """An EC2 instance, known by account, region and instance id."""

    account: str
    region: str
    id: str


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance as EC2 describes it now. `managed_by` is the AWS service that runs it, if one does."""

    key: InstanceKey
    state: InstanceState
    tags: Mapping[str, str]
    managed_by: str = ""


@dataclass(frozen=True, slots=True)
class Association:
    """EC2's record that a profile is attached; every attach and every replace makes a new id.

    `profile_id` tells a profile from another that was made anew under its name: both have the same ARN.
    """

    id: str
    instance_id: str
    profile_arn: str
    state: AssociationState
    profile_id: str = ""


@dataclass(frozen=True, slots=True, order=True)
class MappingKey:
    """A mapping row's key; `tag_value` is `*` for any value."""

    tag_key: str
    tag_value: str

    def __str__(self) -> str:
        """As people write it: `workload=web`; what stands for a pin in a grant reads `the pin`."""
        return "the pin" if self.pins else f"{self.tag_key}={self.tag_value}"

    @property
    def pins(self) -> bool:
        """Whether this stands for a pin, not for a row (see `pins`)."""
        return self.tag_key == PIN_TAG

    def matches(self, tags: Mapping[str, str]) -> bool:
        """Whether an instance with these tags carries this mapping's tag (case-sensitive, as EC2 tags are)."""
        return self.tag_key in tags and self.tag_value in (ANY_VALUE, tags[self.tag_key])


@dataclass(frozen=True, slots=True)
class MappingSpec:
    """What a mapping row says, once its columns are read (the table in docs/mappings.md)."""

    key: MappingKey
    role: str
    instance_profile: str = ""
    priority: int = 100
    enabled: bool = True
    when_occupied: WhenOccupied = WhenOccupied.KEEP
    when_unmatched: WhenUnmatched = WhenUnmatched.DETACH
    when_stopped: WhenStopped = WhenStopped.WAIT
    require_tags: Mapping[str, str] = field(default_factory=dict)
    accounts: frozenset[str] = frozenset()
    regions: frozenset[str] = frozenset()
    expires_at: datetime | None = None
    owner: str = ""
    description: str = ""

    @property
    def carries_role(self) -> bool:
        """False for a mapping to `NONE` (quarantine)."""
        return self.role != NO_ROLE

    @property
    def profile_name(self) -> str:
        """The instance profile to attach: named like the role unless the row says otherwise."""
        return self.instance_profile or self.role

    def expired(self, now: datetime) -> bool:
        """Whether `expires_at` has passed."""
        return self.expires_at is not None and self.expires_at <= now


@dataclass(frozen=True, slots=True)
class PublishedMapping:
    """A mapping that passed every check: the only kind that the reconciler obeys.

    `profile_arn` is empty for `NONE`. `suspended` says why it can't be served for now (its role is gone, say): it
    holds its instances. `deleted` marks the tombstone that a removed row leaves: a deliberate act that detaches,
    where a record merely missing is damage and holds. `profile_id` is the profile's own id (empty where nobody has seen
    it yet), `former_profile_ids` those of the profiles that had its name before and were deleted.
    """

    spec: MappingSpec
    revision: int
    profile_arn: str
    suspended: str = ""
    deleted: bool = False
    profile_id: str = field(default="", compare=False)
    former_profile_ids: frozenset[str] = field(default=frozenset(), compare=False)

    @property
    def key(self) -> MappingKey:
        """The mapping's key."""
        return self.spec.key

    def with_profile_id(self, profile_id: str, carried: AbstractSet[str] = frozenset()) -> "PublishedMapping":
        """The same with the profile's id as IAM tells it now: any other that was known, or is carried, was deleted."""
        former = (self.former_profile_ids | {self.profile_id} | carried) - {"", profile_id}
        return replace(self, profile_id=profile_id, former_profile_ids=former)


@dataclass(frozen=True, slots=True)
class Held:
    """A revision that waits for approval: its mapping (or tombstone), and who wrote it, where that is known."""

    mapping: PublishedMapping
    at: datetime
    by: str = ""

    @property
    def key(self) -> MappingKey:
        """The mapping's key."""
        return self.mapping.key

    @property
    def revision(self) -> int:
        """The number to approve."""
        return self.mapping.revision


@dataclass(frozen=True, slots=True)
class Pin:
    """An operator's word on one instance, above all mappings: carry this role, or none, until it expires.

    `unclear` says what of it can't be read: then the instance stays as it is.
    """

    role: str
    profile_arn: str = ""
    expires_at: datetime | None = None
    at: str = ""
    by: str = ""
    reason: str = ""
    unclear: str = ""

    def expired(self, now: datetime) -> bool:
        """Whether `expires_at` has passed."""
        return self.expires_at is not None and self.expires_at <= now


@dataclass(frozen=True, slots=True)
class Timer:
    """When an instance or a mapping has to be looked at again: at the end of a pin, of `expires_at`, say."""

    due: datetime
    subject: InstanceKey | MappingKey


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
class Withheld:
    """Why nothing may be changed now: a code for machines, and words; `text` is what can't be read."""

    code: str
    reason: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Control:
    """The switch for the whole deployment. `mode` None: as deployed. `unclear` says what can't be read: it holds."""

    mode: Mode | None = None
    paused: bool = False
    unclear: str = ""

    def withholds(self, deployed: Mode) -> Withheld | None:
        """Why nothing may be changed now; None when it may."""
        if self.unclear:
            return Withheld("control-unclear", self.unclear, self.unclear)
        if self.paused:
            return Withheld("paused", "Rolekeeper is paused")
        if (self.mode or deployed) is Mode.OBSERVE:
            return Withheld("observed", "the mode is observe")
        return None


@dataclass(frozen=True, slots=True)
class Loser:
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

    `tied` holds the mappings that share the winning priority but want different roles; then there is no winner.
    Nor is there one where an `exclusion` leaves the instance as it is.
    """

    winner: PublishedMapping | None = None
    tied: tuple[PublishedMapping, ...] = ()
    losers: tuple[Loser, ...] = ()
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
    losers: tuple[Loser, ...] = ()
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
class Wake:
    """A message that names an instance to reconcile: a hint, never the truth.

    `loop_failed` marks what a failed retry loop left in the dead-letter queue: no loop watches the instance any more.
    """

    instance: InstanceKey
    cause: str
    correlation_id: str
    at: datetime
    message_id: str = ""
    loop_failed: bool = False
