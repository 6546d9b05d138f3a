"""What a deployment lets Rolekeeper do with an instance: values, from the template's parameters. Pure."""

from dataclasses import dataclass

from rolekeeper.contention import ContentionRule
from rolekeeper.model import Mode


@dataclass(frozen=True, slots=True)
class Ownership:
    """Which instance profiles are managed: those under the role path, which exist for Rolekeeper alone.

    All others are foreign. IAM enforces the same line for the functions' own roles (`template.yaml`).

    Attributes:
        prefix: how the ARNs of managed profiles begin.
        take_over: whether a foreign profile may be replaced or detached at all (`TakeOver`).
    """

    prefix: str
    take_over: bool = False

    @classmethod
    def under(cls, role_path: str, account: str, partition: str, *, take_over: bool) -> "Ownership":
        """What is managed under a path in an account."""
        return cls(f"arn:{partition}:iam::{account}:instance-profile{role_path}", take_over)

    def manages(self, profile_arn: str) -> bool:
        """Whether a profile is managed."""
        return profile_arn.startswith(self.prefix)


@dataclass(frozen=True, slots=True)
class Rules:
    """All that a decision depends on beside what was observed."""

    mode: Mode
    ownership: Ownership
    contention: ContentionRule
