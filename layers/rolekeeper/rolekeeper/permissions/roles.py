"""Whether a mapping's role can be given: it exists under the role path, EC2 may assume it, its profile holds it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from rolekeeper.aws import Iam
from rolekeeper.aws.errors import AccessDeniedError, PermanentError
from rolekeeper.aws.iam import Document, Role
from rolekeeper.model.mapping import NO_ROLE, MappingSpec
from rolekeeper.permissions.policies import listed, pattern_covers, statements


@dataclass(frozen=True, slots=True)
class RoleCheck:
    """What IAM says of a mapping's role: the `problem` with it, in words, or the profile to attach.

    `missing` says what of the profile has still to be made: `profile`, its `role`, or nothing.
    """

    problem: str = ""
    note: str = ""
    profile_arn: str = ""
    missing: str = ""
    profile_id: str = ""


@dataclass(frozen=True)
class Roles:
    """The checks, each pair of role and profile asked for once in this object's life: one invocation."""

    iam: Iam
    account: str
    path: str
    makes_profiles: bool = field(kw_only=True)
    _known: dict[tuple[str, str], RoleCheck] = field(default_factory=dict, init=False)

    def check(self, spec: MappingSpec) -> RoleCheck:
        if spec.role == NO_ROLE:
            return RoleCheck()
        asked = (spec.role, spec.profile_name)
        if asked not in self._known:
            self._known[asked] = self._check_role(*asked)
        return self._known[asked]

    def make(self, spec: MappingSpec, missing: str) -> RoleCheck:
        """Make what a check found missing of the profile, as the console does: a problem, or the new profile's id."""
        self._known.pop((spec.role, spec.profile_name), None)
        profile_id = ""
        try:
            if missing == "profile":
                profile_id = self.iam.create_profile(spec.profile_name, self.path)
            self.iam.add_role(spec.profile_name, self.path, spec.role)
        except AccessDeniedError:
            raise
        except PermanentError as error:
            return RoleCheck(f"instance profile '{spec.profile_name}' can't be made: IAM answers {error}")
        return RoleCheck(profile_id=profile_id)

    def _check_role(self, name: str, profile_name: str) -> RoleCheck:
        role = self.iam.get_role(name)
        if role is None:
            return RoleCheck(
                f"role '{name}' doesn't exist in account {self.account}; "
                f"create it under the path {self.path}, or correct the name"
            )
        if not role.path.startswith(self.path):
            return RoleCheck(
                f"role '{name}' is at the path {role.path} and must be under {self.path}; a role can't be moved: "
                f"create one with --path {self.path}"
            )
        if problem := trust_problem(role.trust):
            return RoleCheck(f"EC2 can't assume role '{name}': {problem}")
        return self._check_profile(profile_name, role)

    def _check_profile(self, name: str, role: Role) -> RoleCheck:
        profile, note = self.iam.get_instance_profile(name), trust_note(role.trust)
        add = f"aws iam add-role-to-instance-profile --instance-profile-name {name} --role-name {role.name}"
        if profile is None:
            if self.makes_profiles:
                return RoleCheck("", note, self.iam.arn("instance-profile", self.path, name), "profile")
            create = f"aws iam create-instance-profile --instance-profile-name {name} --path {self.path}"
            return RoleCheck(f"instance profile '{name}' doesn't exist; run: {create} && {add}")
        if not profile.path.startswith(self.path):
            return RoleCheck(
                f"instance profile '{name}' is at the path {profile.path} and must be under {self.path}; "
                f"make another and name it in the column instance_profile"
            )
        if not profile.role_arn:
            if self.makes_profiles:
                return RoleCheck("", note, profile.arn, "role", profile.id)
            return RoleCheck(f"instance profile '{name}' holds no role; run: {add}")
        if profile.role_arn != role.arn:
            return RoleCheck(
                f"instance profile '{name}' holds role '{profile.role_name}', not '{role.name}'; "
                f"name the right profile in the column instance_profile"
            )
        return RoleCheck("", note, profile.arn, "", profile.id)


# The partitions' DNS suffixes (botocore's partitions.json): each names EC2's service principal by its own (IAM user
# guide, "AWS service principals"). The first is understood everywhere.
_AWS = ("amazonaws.com", "amazonaws.com.cn", "amazonaws.eu")
_ISOLATED = ("c2s.ic.gov", "cloud.adc-e.uk", "csp.hci.ic.gov", "sc2s.sgov.gov")
EC2_PRINCIPALS = tuple(f"ec2.{suffix}" for suffix in (*_AWS, *_ISOLATED))
ASSUME = "sts:assumerole"
STATEMENT = '{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}'


def trust_problem(trust_policy: Document) -> str:
    """Why EC2 can't assume a role with this trust policy, with what to add; empty when it can.

    Conditions aren't evaluated: an Allow with one allows (`trust_note` says so), a Deny with one doesn't deny.
    """
    if any(not each.get("Condition") for each in _for_ec2("Deny", trust_policy)):
        return "its trust policy denies EC2 sts:AssumeRole; remove that statement"
    if _for_ec2("Allow", trust_policy):
        return ""
    return f"its trust policy doesn't let EC2 assume it; add the statement {STATEMENT}"


def trust_note(trust_policy: Document) -> str:
    """What to look at in a trust policy that lets EC2 assume the role only under a condition; empty otherwise."""
    allowing = _for_ec2("Allow", trust_policy)
    if allowing and all(each.get("Condition") for each in allowing):
        return "its trust policy has a condition, which isn't evaluated here: see that EC2 meets it"
    return ""


def _for_ec2(effect: Literal["Allow", "Deny"], trust_policy: Document) -> list[Document]:
    """The statements that allow EC2 `sts:AssumeRole`, by its name, or deny it that, by its name or as everybody."""
    found = []
    for each in statements(trust_policy):
        principal = each.get("Principal")
        kinds = principal if isinstance(principal, Mapping) else {"AWS": principal}
        named = any(service in EC2_PRINCIPALS for service in listed(kinds.get("Service")))
        reached = named or (effect == "Deny" and "*" in listed(kinds.get("AWS")))
        assumes = any(pattern_covers(str(action).lower(), ASSUME) for action in listed(each.get("Action")))
        if each.get("Effect") == effect and reached and assumes:
            found.append(each)
    return found
