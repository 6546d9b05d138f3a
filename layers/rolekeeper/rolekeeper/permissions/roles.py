"""Whether a mapping's role can be given: under the role path, not broad, trusting EC2, and held by its profile."""

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import batched
from math import ceil
from typing import Literal

from rolekeeper.aws import MapConcurrently
from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError, PermanentError
from rolekeeper.aws.iam import Document, ListedIam, Role
from rolekeeper.model.mapping import NO_ROLE, MappingKey, MappingSpec, PublishedMapping
from rolekeeper.model.problem import Problem
from rolekeeper.permissions.comparison import PolicyReader, as_many
from rolekeeper.permissions.policies import TooManyRulesError, listed, pattern_covers, patterns_meet, statements
from rolekeeper.settings import Settings

# The most characters of a reason about a broad role's permissions, and about those who may assume it.
WORDS = 300

# Roles of one account: how many calls IAM takes a second isn't documented, and others call it too.
ASKED_AT_ONCE = 4
# From 25 roles on IAM's list of all is read: singly each is four calls or more. For each ten of them a page of it is
# read at most, so that it spares calls among thousands of others too.
MANY, ROLES_A_PAGE = 25, 10


@dataclass(frozen=True, slots=True)
class RoleCheck:
    """What IAM says of a mapping's role: the `problem` with it, or the profile to attach.

    `missing` says what of the profile has still to be made: `profile`, its `role`, or nothing.
    """

    problem: Problem | None = None
    note: str = ""
    profile_arn: str = ""
    missing: str = ""
    profile_id: str = ""


@dataclass(frozen=True)
class Roles:
    """The checks, each made once in this object's life: one invocation; raise AwsRefusalError."""

    policies: PolicyReader
    settings: Settings
    _known: dict[tuple[str, str, bool], RoleCheck | AwsRefusalError] = field(default_factory=dict, init=False)

    def check(self, spec: MappingSpec) -> RoleCheck:
        if spec.role == NO_ROLE:
            return RoleCheck()
        asked = _asked(spec)
        if asked not in self._known:
            self._known[asked] = self.ask(spec)
        answer = self._known[asked]
        if isinstance(answer, AwsRefusalError):
            # It was asked ahead: the next time it is asked again.
            del self._known[asked]
            raise answer
        return answer

    def ask_ahead(self, specs: Collection[MappingSpec], map_concurrently: MapConcurrently) -> set[MappingKey]:
        """Ask about a few roles at once, for `check`; returns the mappings about whose role IAM gave no answer.

        Of many that aren't known IAM's list of all roles is read on.
        """
        unknown = {_asked(spec): spec for spec in specs if spec.role != NO_ROLE and _asked(spec) not in self._known}
        roles = {spec.role for spec in unknown.values()}
        if len(roles) >= MANY:
            self._list.read(roles, len(roles) // ROLES_A_PAGE)
        # One thread asks about all that have the same role, as what is known of it isn't locked.
        shares = batched(sorted(roles), ceil(len(roles) / ASKED_AT_ONCE) or 1)
        map_concurrently(
            self._ask_some, [[spec for spec in unknown.values() if spec.role in share] for share in shares]
        )
        return {spec.key for spec in specs if isinstance(self._known.get(_asked(spec)), AwsRefusalError)}

    def _ask_some(self, specs: Iterable[MappingSpec]) -> None:
        for spec in specs:
            try:
                self._known[_asked(spec)] = self._listed_in_order(spec) or self.ask(spec)
            except AwsRefusalError as error:
                self._known[_asked(spec)] = error

    @cached_property
    def _list(self) -> ListedIam:
        return ListedIam(**vars(self.policies.iam), path=self.settings.role_path)

    @cached_property
    def _listed(self) -> "Roles":
        return Roles(PolicyReader(self._list), self.settings)

    def _listed_in_order(self, spec: MappingSpec) -> RoleCheck | None:
        """Return the check of a role that is in order by the list; what is wrong is only known by asking about it."""
        if spec.role in self._list.roles:
            with suppress(AwsRefusalError):
                check = self._listed.ask(spec)
                if not (check.problem or check.missing):
                    return check
        return None

    def for_account(
        self, mapping: PublishedMapping, check: RoleCheck, former: PublishedMapping | None
    ) -> PublishedMapping:
        """Return what to publish of a mapping for this account in place of `former`, with this account's profile."""
        spec, arn = mapping.spec, check.profile_arn
        if not arn and spec.role != NO_ROLE:
            # IAM doesn't show the profile: it is the one that the mapping had, or as it would be made.
            had = former.profile_arn if former and former.spec.profile_name == spec.profile_name else ""
            arn = had or self.policies.iam.arn("instance-profile", self.settings.role_path, spec.profile_name)
        made = PublishedMapping(spec, mapping.revision, arn, in_scope=mapping.in_scope).suspended_for(check.problem)
        if former and former.profile_arn == arn:
            made = replace(made, profile_id=former.profile_id, former_profile_ids=former.former_profile_ids)
        return made.with_profile_id(check.profile_id)

    def make(self, spec: MappingSpec, missing: str) -> RoleCheck:
        """Make what a check found missing of the profile; returns a problem, or the new profile's id."""
        self._known.clear()
        iam, path, profile_id = self.policies.iam, self.settings.role_path, ""
        try:
            if missing == "profile":
                profile_id = iam.create_profile(spec.profile_name, path)
            iam.add_role(spec.profile_name, path, spec.role)
        except AccessDeniedError:
            raise
        except PermanentError as error:
            return RoleCheck(Problem(f"instance profile '{spec.profile_name}' can't be made: IAM answers {error}"))
        return RoleCheck(profile_id=profile_id)

    def ask(self, spec: MappingSpec) -> RoleCheck:
        """Ask IAM about a mapping's role and its profile."""
        name, path = spec.role, self.settings.role_path
        role = self.policies.role(name)
        if role is None:
            remedy = f"create it under the path {path}, or correct the name"
            return RoleCheck(Problem(f"role '{name}' doesn't exist", remedy, account=self.settings.account))
        if not role.path.startswith(path):
            what = f"role '{name}' is at the path {role.path} and must be under {path}"
            return RoleCheck(Problem(what, f"a role can't be moved: create one with --path {path}"))
        trust = check_trust(role.trust)
        if trust.problem:
            return RoleCheck(replace(trust.problem, what=f"EC2 can't assume role '{name}': {trust.problem.what}"))
        boundary = self.settings.require_permissions_boundary
        if boundary and not (role.boundary_arn and pattern_covers(boundary, role.boundary_arn)):
            has = f"role '{name}' has {role.boundary_arn or 'none'} as its permissions boundary"
            command = f"aws iam put-role-permissions-boundary --role-name {name} --permissions-boundary {boundary}"
            return RoleCheck(Problem(f"{has}, and the stack requires {boundary}", f"set it: {command}"))
        row, stack = spec.allow_broad, self.settings.allow_broad_roles
        if not (row and stack) and (why := self.broad(role)):
            lacks = {"set allow_broad: true": not row, "deploy with AllowBroadRoles=true": not stack}
            wanted = " and ".join(remedy for remedy, lacking in lacks.items() if lacking)
            return RoleCheck(Problem(f"role '{name}' is broad: {why}", f"narrow it, or {wanted}"))
        return self._check_profile(spec.profile_name, role, trust.note)

    def broad(self, role: Role) -> str:
        """Describe what makes a role broad; empty if nothing does."""
        try:
            allowed = as_many("its policies allow", self.policies.severe(role.name), WORDS)
        except TooManyRulesError as error:
            allowed = f"its policies can't be checked: {error}"
        others = as_many("its trust policy also lets in", trusted_besides_ec2(role.trust), WORDS)
        return "; ".join(filter(None, (allowed, others)))

    def _check_profile(self, name: str, role: Role, note: str) -> RoleCheck:
        iam, path = self.policies.iam, self.settings.role_path
        profile = iam.get_instance_profile(name)
        add = f"aws iam add-role-to-instance-profile --instance-profile-name {name} --role-name {role.name}"
        if profile is None:
            if self.settings.create_missing_profiles:
                return RoleCheck(None, note, iam.arn("instance-profile", path, name), missing="profile")
            create = f"aws iam create-instance-profile --instance-profile-name {name} --path {path}"
            return RoleCheck(Problem(f"instance profile '{name}' doesn't exist", f"run: {create} && {add}"))
        if not profile.path.startswith(path):
            what = f"instance profile '{name}' is at the path {profile.path} and must be under {path}"
            return RoleCheck(Problem(what, "make another and name it in the column instance_profile"))
        if not profile.role_arn:
            if self.settings.create_missing_profiles:
                return RoleCheck(None, note, profile.arn, missing="role", profile_id=profile.id)
            return RoleCheck(Problem(f"instance profile '{name}' holds no role", f"run: {add}"))
        if profile.role_arn != role.arn:
            what = f"instance profile '{name}' holds role '{profile.role_name}', not '{role.name}'"
            return RoleCheck(Problem(what, "name the right profile in the column instance_profile"))
        return RoleCheck(None, note, profile.arn, missing="", profile_id=profile.id)


def _asked(spec: MappingSpec) -> tuple[str, str, bool]:
    """Return all that a check depends on."""
    return spec.role, spec.profile_name, spec.allow_broad


# The partitions' DNS suffixes (botocore's partitions.json): each names EC2's service principal by its own (IAM user
# guide, "AWS service principals"). The first is understood everywhere.
_AWS = ("amazonaws.com", "amazonaws.com.cn", "amazonaws.eu")
_ISOLATED = ("c2s.ic.gov", "cloud.adc-e.uk", "csp.hci.ic.gov", "sc2s.sgov.gov")
EC2 = {("Service", f"ec2.{suffix}") for suffix in (*_AWS, *_ISOLATED)}
STATEMENT = '{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}'


def check_trust(trust_policy: Document) -> RoleCheck:
    """Check whether EC2 can assume a role with this trust policy.

    Conditions aren't evaluated: an Allow with one allows, as the note says, a Deny with one doesn't deny.
    """
    if any(not statement.get("Condition") for statement in _for_ec2("Deny", trust_policy, EC2 | {("AWS", "*")})):
        return RoleCheck(Problem("its trust policy denies EC2 sts:AssumeRole", "remove that statement"))
    allowing = _for_ec2("Allow", trust_policy)
    if not allowing:
        return RoleCheck(Problem("its trust policy doesn't let EC2 assume it", f"add the statement {STATEMENT}"))
    if all(statement.get("Condition") for statement in allowing):
        return RoleCheck(note="its trust policy has a condition, which isn't evaluated here: see that EC2 meets it")
    return RoleCheck()


def trusted_besides_ec2(trust_policy: Document) -> tuple[str, ...]:
    """List who else may assume a role, each as `AWS *` or `Service lambda.amazonaws.com`, whatever is denied."""
    named: list[tuple[str, str]] = []
    for statement in statements(trust_policy):
        assumes = any(patterns_meet(action, "sts:assumerole*") for action in _actions(statement))
        if assumes and statement.get("Effect") == "Allow":
            named += _principals(statement)
            named += [("everyone", "but those of a NotPrincipal")] if "NotPrincipal" in statement else []
    return tuple(dict.fromkeys(" ".join(principal) for principal in named if principal not in EC2))


def _for_ec2(
    effect: Literal["Allow", "Deny"], trust_policy: Document, ec2: Collection[tuple[str, str]] = EC2
) -> list[Document]:
    """List the statements that allow EC2 `sts:AssumeRole`, or deny it that, by one of these names."""
    return [
        statement
        for statement in statements(trust_policy)
        if statement.get("Effect") == effect
        and "Action" in statement
        and any(pattern_covers(action, "sts:assumerole") for action in _actions(statement))
        and not {*_principals(statement)}.isdisjoint(ec2)
    ]


def _actions(statement: Document) -> list[str]:
    """List a statement's actions in lower case; a NotAction is taken for any."""
    return [str(action).lower() for action in listed(statement.get("Action", "*"))]


def _principals(statement: Document) -> list[tuple[str, str]]:
    """Return whom a statement names, as `("Service", "ec2.amazonaws.com")`."""
    principal = statement.get("Principal")
    kinds = principal if isinstance(principal, Mapping) else {"AWS": principal}
    return [(kind, str(who)) for kind, several in kinds.items() for who in listed(several)]
