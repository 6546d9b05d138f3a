"""Instances and associations, as EC2 shows them."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

# In the place of a profile's ARN: no profile.
NO_PROFILE = ""

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
    """The partition of a Region."""
    return next((partition for prefix, partition in PARTITIONS.items() if region.startswith(prefix)), "aws")


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


@dataclass(frozen=True, slots=True, order=True)
class InstanceKey:
    """An EC2 instance, known by account, region and instance id."""

    account: str
    region: str
    id: str

    @property
    def arn(self) -> str:
        """The instance's ARN; its partition follows from the Region's name."""
        return f"arn:{partition_of(self.region)}:ec2:{self.region}:{self.account}:instance/{self.id}"


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
