"""IAM as the checks need it: roles, what their policies say, instance profiles. Errors come classified."""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rolekeeper.aws.errors import AwsRefusalError, NotFoundError, classified

if TYPE_CHECKING:
    from types_boto3_iam.client import IAMClient

type Document = Mapping[str, Any]

_GONE = "NoSuchEntity"
# Roles in a page of the list of all, where IAM gives up to 1,000: one with the largest policies has some 40 KB, and a
# page has to come within the SDK's timeout, and into a function's memory.
PAGE = 200


@dataclass(frozen=True, slots=True)
class Policies:
    """The permission policies of a role, inline and managed, and its permissions boundary if it has one.

    `names` are those of the documents, in their order: a managed policy's is its ARN.
    """

    documents: tuple[Document, ...] = ()
    boundary: Document | None = None
    names: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Role:
    """A role; its trust policy says who may assume it. A later role of the same name has another `id`.

    In a list it has neither id, times nor tags.
    """

    name: str
    arn: str
    path: str
    trust: Document
    boundary_arn: str = ""
    id: str = field(default="", compare=False)
    created: datetime | None = field(default=None, compare=False)
    last_used: datetime | None = field(default=None, compare=False)
    tags: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class InstanceProfile:
    """An instance profile and the role that it holds, if any. A later profile of the same name has another `id`."""

    arn: str
    path: str
    role_arn: str
    role_name: str
    id: str


@dataclass(frozen=True)
class Iam:
    """The calls to IAM in one account. `managed` are the managed policies that are known, by ARN: roles share many."""

    client: "IAMClient"
    account: str
    partition: str = "aws"
    managed: dict[str, Document] = field(default_factory=dict)

    def arn(self, kind: str, path: str, name: str) -> str:
        """Return the ARN of a `role` or an `instance-profile`; `path` begins and ends with a slash."""
        return f"arn:{self.partition}:iam::{self.account}:{kind}{path}{name}"

    def get_role(self, name: str) -> Role | None:
        """Read a role by name, whatever its path."""
        with suppress(NotFoundError), classified("iam:GetRole", self.arn("role", "/", name)):
            return _role(self.client.get_role(RoleName=name)["Role"])
        return None

    def policies(self, role: Role) -> Policies:
        """Read a role's policies; RetryableError if one is deleted meanwhile."""
        with classified("iam:ListAttachedRolePolicies", role.arn, _GONE):
            pages = self.client.get_paginator("list_attached_role_policies").paginate(RoleName=role.name)
            attached = [policy["PolicyArn"] for page in pages for policy in page["AttachedPolicies"]]
        with classified("iam:ListRolePolicies", role.arn, _GONE):
            listed = self.client.get_paginator("list_role_policies").paginate(RoleName=role.name)
            names = [name for page in listed for name in page["PolicyNames"]]
        with classified("iam:GetRolePolicy", role.arn, _GONE):
            answers = {name: self.client.get_role_policy(RoleName=role.name, PolicyName=name) for name in names}
        inline = {name: _document(answer["PolicyDocument"]) for name, answer in answers.items()}
        return self._policies(role, inline, attached)

    def _policies(self, role: Role, inline: Mapping[str, Document], attached: Sequence[str]) -> Policies:
        for arn in {*attached, role.boundary_arn} - {*self.managed, ""}:
            with classified("iam:GetPolicy", arn, _GONE):
                version = self.client.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
            with classified("iam:GetPolicyVersion", arn, _GONE):
                answer = self.client.get_policy_version(PolicyArn=arn, VersionId=version)
            self.managed[arn] = _document(answer["PolicyVersion"]["Document"])
        documents = (*inline.values(), *(self.managed[arn] for arn in attached))
        return Policies(documents, self.managed.get(role.boundary_arn), (*inline, *attached))

    def role_details(self) -> Iterator[list[Any]]:
        """Yield the account's roles in pages, each with its policies and profiles (AWS_FACTS.md "IAM")."""
        with classified("iam:GetAccountAuthorizationDetails", "*"):
            details = self.client.get_paginator("get_account_authorization_details")
            for page in details.paginate(Filter=["Role"], PaginationConfig={"PageSize": PAGE}):
                yield page.get("RoleDetailList", [])

    def get_instance_profile(self, name: str) -> InstanceProfile | None:
        """Read an instance profile by name, whatever its path."""
        with suppress(NotFoundError), classified("iam:GetInstanceProfile", self.arn("instance-profile", "/", name)):
            return _profile(self.client.get_instance_profile(InstanceProfileName=name)["InstanceProfile"])
        return None

    def create_profile(self, name: str, path: str) -> str:
        """Make an empty instance profile; returns its id. RetryableError if another actor made it: read again."""
        arn = self.arn("instance-profile", path, name)
        with classified("iam:CreateInstanceProfile", arn, "EntityAlreadyExists"):
            made = self.client.create_instance_profile(InstanceProfileName=name, Path=path)
        return made["InstanceProfile"]["InstanceProfileId"]

    def add_role(self, profile: str, path: str, role: str) -> None:
        """Put a role into an empty instance profile; after a RetryableError, reading again shows why it failed."""
        # A second role answers LimitExceeded, a profile made just now may answer NoSuchEntity (AWS_FACTS.md "IAM").
        arn = self.arn("instance-profile", path, profile)
        with classified("iam:AddRoleToInstanceProfile", arn, "LimitExceeded", _GONE):
            self.client.add_role_to_instance_profile(InstanceProfileName=profile, RoleName=role)


@dataclass(frozen=True)
class ListedIam(Iam):
    """The roles under a path as the list of all roles has them, many in few calls; only for reading.

    It knows what `read` has found: roles, their policies, and the profiles that hold them. Of anything else it says
    that it isn't there, and so of what the list was cut before, or came too late into.
    """

    path: str = "/"
    roles: dict[str, Role] = field(default_factory=dict)
    _policies_of: dict[str, tuple[Mapping[str, Document], Sequence[str]]] = field(default_factory=dict)
    _profiles: dict[str, InstanceProfile] = field(default_factory=dict)

    @cached_property
    def _pages(self) -> Iterator[list[Any]]:
        return self.role_details()

    def read(self, names: AbstractSet[str], pages: int) -> None:
        """Read on until these roles are found, at most this number of pages; never again after IAM refused one."""
        with suppress(AwsRefusalError):  # which ends the generator
            for _ in range(pages):
                if names <= self.roles.keys():
                    return
                for detail in next(self._pages, ()):
                    # No member is required (botocore's model of IAM, "RoleDetail").
                    with suppress(KeyError):
                        self._keep(detail)

    def _keep(self, detail: Any) -> None:
        role = _role(detail)
        if not role.path.startswith(self.path):
            return
        inline = {policy["PolicyName"]: _document(policy["PolicyDocument"]) for policy in detail["RolePolicyList"]}
        attached = [policy["PolicyArn"] for policy in detail["AttachedManagedPolicies"]]
        held = [{**profile, "Roles": [detail]} for profile in detail["InstanceProfileList"]]
        self._profiles.update({profile["InstanceProfileName"]: _profile(profile) for profile in held})
        self._policies_of[role.name] = inline, attached
        self.roles[role.name] = role

    def get_role(self, name: str) -> Role | None:
        return self.roles.get(name)

    def policies(self, role: Role) -> Policies:
        return self._policies(role, *self._policies_of[role.name])

    def get_instance_profile(self, name: str) -> InstanceProfile | None:
        return self._profiles.get(name)


def _role(role: Any) -> Role:
    return Role(
        role["RoleName"],
        role["Arn"],
        role["Path"],
        trust=_document(role.get("AssumeRolePolicyDocument")),
        boundary_arn=role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn", ""),
        id=role.get("RoleId", ""),
        created=role.get("CreateDate"),
        last_used=role.get("RoleLastUsed", {}).get("LastUsedDate"),
        tags={tag["Key"]: tag["Value"] for tag in role.get("Tags", ())},
    )


def _profile(profile: Any) -> InstanceProfile:
    # A profile holds at most one role (AWS_FACTS.md "IAM").
    arn, name = next(((role["Arn"], role["RoleName"]) for role in profile["Roles"]), ("", ""))
    return InstanceProfile(profile["Arn"], profile["Path"], arn, role_name=name, id=profile["InstanceProfileId"])


def _document(policy: Any) -> Document:
    """Return a policy as botocore decodes it; one that it can't decode stays text, and counts as empty."""
    return policy if isinstance(policy, Mapping) else {}
