"""IAM as the checks need it: a role, an instance profile, and making a missing profile. Errors come classified."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from rolekeeper.errors import AwsRefusalError, GoneError, RetryableError, classified

if TYPE_CHECKING:
    from types_boto3_iam.client import IAMClient

# EC2's service principal, as the partitions name it (IAM user guide, "AWS service principals"; botocore's
# partitions.json has the suffixes). The first is understood everywhere.
EC2_PRINCIPALS = frozenset(
    {
        "ec2.amazonaws.com",
        "ec2.amazonaws.com.cn",
        "ec2.amazonaws.eu",
        "ec2.c2s.ic.gov",
        "ec2.cloud.adc-e.uk",
        "ec2.csp.hci.ic.gov",
        "ec2.sc2s.sgov.gov",
    }
)
ASSUME = "sts:assumerole"
STATEMENT = '{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}'


@dataclass(frozen=True, slots=True)
class Role:
    """A role, with the policy that says who may assume it."""

    name: str
    arn: str
    path: str
    trust: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class InstanceProfile:
    """An instance profile and the role that it holds, by ARN and name; empty when it holds none."""

    name: str
    arn: str
    path: str
    role_arn: str = ""
    role_name: str = ""


class Iam:
    """The calls to IAM in one account. `role_path` is the ceiling: it begins and ends with a slash."""

    def __init__(self, client: "IAMClient", account: str, role_path: str, partition: str = "aws") -> None:
        self._client = client
        self._account = account
        self._role_path = role_path
        self._partition = partition

    def may_pass(self, profile_arn: str) -> bool:
        """Whether a profile is there as named, and it and its role lie under the role path: what we may attach."""
        profile = self.get_instance_profile(profile_arn.rsplit("/", 1)[-1])
        if profile is None or profile.arn != profile_arn:
            return False
        ceiling = self.arn("role", self._role_path, "")
        return profile.path.startswith(self._role_path) and profile.role_arn.startswith(ceiling)

    def arn(self, kind: str, path: str, name: str) -> str:
        """The ARN of a `role` or an `instance-profile` in this account; `path` begins and ends with a slash."""
        return f"arn:{self._partition}:iam::{self._account}:{kind}{path}{name}"

    def get_role(self, name: str) -> Role | None:
        """A role by name, wherever its path; None when there is none."""
        try:
            with classified("iam:GetRole", self.arn("role", "/", name)):
                role = self._client.get_role(RoleName=name)["Role"]
        except GoneError:
            return None
        trust = role.get("AssumeRolePolicyDocument")
        # botocore decodes the policy; one that it can't decode stays text and allows nobody.
        return Role(role["RoleName"], role["Arn"], role["Path"], trust if isinstance(trust, Mapping) else {})

    def get_instance_profile(self, name: str) -> InstanceProfile | None:
        """An instance profile by name, wherever its path; None when there is none."""
        try:
            with classified("iam:GetInstanceProfile", self.arn("instance-profile", "/", name)):
                profile = self._client.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
        except GoneError:
            return None
        # A profile holds at most one role (AWS_FACTS.md "IAM").
        role_arn, role_name = next(((each["Arn"], each["RoleName"]) for each in profile["Roles"]), ("", ""))
        return InstanceProfile(profile["InstanceProfileName"], profile["Arn"], profile["Path"], role_arn, role_name)

    def create_profile(self, name: str, path: str) -> None:
        """Make an empty instance profile.

        Raises:
            RetryableError: somebody made it meanwhile. Reading again shows it.
        """
        with (
            _raced("EntityAlreadyExists"),
            classified("iam:CreateInstanceProfile", self.arn("instance-profile", path, name)),
        ):
            self._client.create_instance_profile(InstanceProfileName=name, Path=path)

    def add_role(self, profile: str, path: str, role: str) -> None:
        """Put a role into an empty instance profile.

        Raises:
            RetryableError: the profile got a role meanwhile, or isn't visible yet. Reading again shows which.
        """
        # A second role answers LimitExceeded, a profile made just now may answer NoSuchEntity (AWS_FACTS.md "IAM").
        with (
            _raced("LimitExceeded", "NoSuchEntity"),
            classified("iam:AddRoleToInstanceProfile", self.arn("instance-profile", path, profile)),
        ):
            self._client.add_role_to_instance_profile(InstanceProfileName=profile, RoleName=role)


@contextmanager
def _raced(*codes: str) -> Iterator[None]:
    """Refusals that mean that somebody was faster, or that IAM still propagates: a later check sees the truth."""
    try:
        yield
    except AwsRefusalError as error:
        if error.code in codes:
            raise RetryableError(error.code, error.message, error.action, error.resource) from error
        raise


# ---- who may assume a role: pure ----


def trust_problem(trust_policy: Mapping[str, Any]) -> str:
    """Why EC2 can't assume a role with this trust policy, with what to add; empty when it can.

    Conditions aren't evaluated: an Allow with one is taken to allow (`trust_note` says so), a Deny with one isn't
    taken to deny.
    """
    statements = _statements(trust_policy)
    if any(_is(each, "Deny") and not each.get("Condition") and _meets_ec2(each) for each in statements):
        return "its trust policy denies EC2 sts:AssumeRole; remove that statement"
    if any(_is(each, "Allow") and _names_ec2(each) for each in statements):
        return ""
    return f"its trust policy doesn't let EC2 assume it; add the statement {STATEMENT}"


def trust_note(trust_policy: Mapping[str, Any]) -> str:
    """What to look at in a trust policy that lets EC2 assume the role only under a condition; empty otherwise."""
    allowing = [each for each in _statements(trust_policy) if _is(each, "Allow") and _names_ec2(each)]
    if allowing and all(each.get("Condition") for each in allowing):
        return "its trust policy has a condition, which isn't evaluated here: see that EC2 meets it"
    return ""


def _statements(policy: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [each for each in _listed(policy.get("Statement")) if isinstance(each, Mapping)]


def _is(statement: Mapping[str, Any], effect: str) -> bool:
    return statement.get("Effect") == effect and any(
        fnmatchcase(ASSUME, str(each).lower()) for each in _listed(statement.get("Action"))
    )


def _names_ec2(statement: Mapping[str, Any]) -> bool:
    principal = statement.get("Principal")
    services = _listed(principal.get("Service")) if isinstance(principal, Mapping) else []
    return any(each in EC2_PRINCIPALS for each in services)


def _meets_ec2(statement: Mapping[str, Any]) -> bool:
    """Whether a Deny reaches EC2: by its name, or as everybody."""
    principal = statement.get("Principal")
    everybody = principal.get("AWS") if isinstance(principal, Mapping) else principal
    return "*" in _listed(everybody) or _names_ec2(statement)


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
