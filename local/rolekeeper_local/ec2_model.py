"""The values that the truth about EC2 is made of. Times are seconds on whatever clock the truth was given."""

from dataclasses import dataclass, field
from enum import StrEnum


class Ec2Error(Exception):
    """A refusal by EC2: a client sees `Error.Code` and `Error.Message`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class State(StrEnum):
    """What ``State.Name`` says of an instance, and an event's ``state`` (AWS_FACTS.md, Events)."""

    PENDING = "pending"
    RUNNING = "running"
    SHUTTING_DOWN = "shutting-down"
    TERMINATED = "terminated"
    STOPPING = "stopping"
    STOPPED = "stopped"

    @property
    def number(self) -> int:
        """``State.Code`` beside the name, e.g. 16 for running."""
        return _NUMBERS[self]


#: Each 16 more than the one before (EC2 API reference, InstanceState).
_NUMBERS = {state: 16 * place for place, state in enumerate(State)}


class AssociationState(StrEnum):
    """AWS_FACTS.md, Attach, replace, detach: the states that the describe call shows."""

    ASSOCIATING = "associating"
    ASSOCIATED = "associated"
    DISASSOCIATING = "disassociating"
    DISASSOCIATED = "disassociated"


@dataclass(frozen=True, slots=True)
class Timings:
    """How long each change takes, in seconds. AWS takes tens of seconds for most; these suit people who watch."""

    pending: float = 2.0
    stopping: float = 2.0
    shutting_down: float = 1.0
    associating: float = 0.2
    disassociating: float = 0.2
    #: For this time a new profile is refused (AWS_FACTS.md, Errors: up to about 2 minutes on AWS).
    propagation: float = 3.0
    #: A terminated instance stays in the describe call's answer for about an hour.
    terminated_visible: float = 3600.0
    #: A minute of EventBridge's `rate(...)`, in which scheduled rules count.
    minute: float = 60.0
    #: An hour of the credentials on instances: EC2 gets new ones each hour, which are valid for six.
    hour: float = 3600.0
    #: A call is in CloudTrail's event history after this time at the latest.
    recording: float = 1.0


@dataclass(frozen=True, slots=True)
class Profile:
    """An instance profile as IAM knows it; `name` is without its path, `id` is ``AIPA…``."""

    name: str
    arn: str
    id: str
    #: The ARNs of the roles in it: none or one.
    roles: tuple[str, ...] = ()
    created_at: float = float("-inf")


@dataclass(slots=True)
class Instance:
    """``number`` counts launches and orders the describe call's pages."""

    id: str
    arn: str
    number: int
    launched_at: float
    state: State = State.PENDING
    #: When the passing state (pending, stopping, shutting-down) ends, or a terminated instance is forgotten.
    changes_at: float | None = None
    tags: dict[str, str] = field(default_factory=dict)
    #: Counts tag changes; the events carry it.
    tag_version: int = 0
    #: Other values that filters may ask for, e.g. ``{"instance-type": "t3.micro"}``.
    attributes: dict[str, str] = field(default_factory=dict)
    #: The principal of the AWS service that manages it, if any; the account may hide such instances.
    operator: str = ""
    hidden: bool = False


@dataclass(slots=True)
class Association:
    """EC2's record that a profile is attached: a row of the describe call."""

    id: str
    instance_id: str
    profile_arn: str
    profile_id: str
    state: AssociationState
    timestamp: float
    number: int
    #: When the passing state (associating, disassociating) ends.
    changes_at: float | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """The parts of an event that its sender decides."""

    source: str
    detail_type: str
    resources: tuple[str, ...]
    detail: dict[str, object]
