"""What the deployment's parameters say: limits, which roles are managed, contention; and where its tables are."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any, cast

from rolekeeper.model.instance import AppliedChange, Target
from rolekeeper.model.mapping import Mode


@dataclass(frozen=True, slots=True)
class Limits:
    """How many instances may change within `minutes`: `MaxChangesPerEdit`, or `MaxChangesPercent` of the fleet."""

    per_edit: int
    percent: int
    minutes: int = 10

    def allowed(self, fleet: int) -> int:
        return max(self.per_edit, fleet * self.percent // 100)


@dataclass(frozen=True, slots=True)
class Ownership:
    """Profiles whose ARN has this `prefix` are managed; others go only with `take_over`. IAM enforces the same."""

    prefix: str
    take_over: bool = False

    def manages(self, profile_arn: str) -> bool:
        return profile_arn.startswith(self.prefix)


@dataclass(frozen=True, slots=True)
class ContentionRule:
    """How often within which time the same change is made before the instance is left alone."""

    after: int = 3
    within: timedelta = timedelta(minutes=30)

    def contended(self, same: Sequence[AppliedChange]) -> bool:
        """Return whether these equal changes, the newest first, are too many; that doesn't end with their age."""
        pairs = zip(same, same[self.after - 1 :], strict=False)
        return any(newer.at - older.at <= self.within for newer, older in pairs)


class Access(StrEnum):
    """The roles of a spoke by the ends of their names (spoke.yaml): people are the viewer, functions the others."""

    READER = "reader"
    VIEWER = "viewer"
    CHANGER = "changer"
    NOTIFIER = "notifier"


@dataclass(frozen=True, slots=True)
class Settings:
    """The target whose instances are managed, the deployment's tables and queues, and its parameters.

    With an `organization` the deployment is a hub. Fixed names in the other accounts begin with the `namespace`.
    """

    account: str
    region: str
    partition: str
    mapping_table: str
    state_table: str
    work_queue_url: str
    role_path: str
    take_over: bool
    create_missing_profiles: bool
    allow_broad_roles: bool
    require_permissions_boundary: str
    mode: Mode
    limits: Limits
    changes_per_second: float
    contention: ContentionRule
    retry_timeout_minutes: int
    history_days: int
    rollout: str = ""
    halt_on: str = ""
    alarm_topic: str = ""
    retry_state_machine_arn: str = ""
    resume_state_machine_arn: str = ""
    accounts_state_machine_arn: str = ""
    sweep_function: str = ""
    organization: str = ""
    namespace: str = "rolekeeper"

    @property
    def target(self) -> Target:
        return Target(self.account, self.region)

    @property
    def sole_target(self) -> Target | None:
        """The deployment's only target; None for a hub, which has those of its organization."""
        return None if self.organization else self.target

    def at(self, target: Target) -> "Settings":
        """Return the settings for another account and Region of the same partition."""
        return replace(self, account=target.account, region=target.region)

    def spoke_role(self, access: Access) -> str:
        """Return the ARN of the role in this account by which the hub reads or changes."""
        return f"arn:{self.partition}:iam::{self.account}:role/{self.namespace}-{access.value}"

    @property
    def ownership(self) -> Ownership:
        return Ownership(f"arn:{self.partition}:iam::{self.account}:instance-profile{self.role_path}", self.take_over)

    @classmethod
    def read(cls, environ: Mapping[str, str], *, account: str, region: str, partition: str) -> "Settings":
        """Read a function's environment; a KeyError says that the template and the code are of different versions."""
        minutes = int(environ["CHANGE_WINDOW_MINUTES"])
        contested_within = timedelta(minutes=int(environ["CONTESTED_WINDOW_MINUTES"]))
        read: dict[str, Any] = {
            "account": account,
            "region": region,
            "partition": partition,
            "limits": Limits(int(environ["MAX_CHANGES_PER_EDIT"]), int(environ["MAX_CHANGES_PERCENT"]), minutes),
            "contention": ContentionRule(int(environ["CONTESTED_AFTER"]), contested_within),
            # The sweep's own function gets its name from Lambda: in the template that would be a circular reference.
            "sweep_function": environ.get("SWEEP_FUNCTION") or environ.get("AWS_LAMBDA_FUNCTION_NAME", ""),
            "organization": environ.get("ORGANIZATION_ID", ""),
        }
        # Each other field is read from its own name in capitals.
        for field in fields(cls):
            name, kind = field.name.upper(), cast("type", field.type)
            if field.name not in read and (name in environ or field.default is MISSING):
                read[field.name] = environ[name] == "true" if kind is bool else kind(environ[name])
        return cls(**read)
