"""What there is to see of each role under the path, as documents; what draws them is elsewhere.

What AWS refuses is left out, never guessed: it is None in the documents, and the reason is in `unknown`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from rolekeeper.aws.errors import AwsRefusalError, classified
from rolekeeper.aws.iam import Role
from rolekeeper.model.instance import AssociationState
from rolekeeper.permissions.policies import TooManyRulesError
from rolekeeper_cli.doctor_deployment import DoctorDeployment
from rolekeeper_cli.errors import UsageError
from rolekeeper_cli.roles.last_accessed import Report, Reports, why
from rolekeeper_cli.roles.smaller import Smaller, smaller
from rolekeeper_cli.suggest import did_you_mean
from rolekeeper_cli.views import looking

# How long a role or a service isn't used before it is said to be unused.
DAYS = 90
_LONG = timedelta(days=DAYS)
_CARRIES = frozenset({AssociationState.ASSOCIATING, AssociationState.ASSOCIATED})
_EVERYTHING = "everything"


@dataclass(frozen=True, slots=True)
class RoleView:
    """A role, who has to do with it, and what it may do. What isn't known is None.

    Attributes:
        profiles: the instance profiles that hold it, by name.
        instances: those of this Region that carry one of them now, by id.
        mappings: those that give it, as their rows say or as they are published.
        read: whether IAM told of the role itself: its last use, and its boundary.
        services: those that it may use, by namespace; `everything` where a statement names none.
        may: all that it may do, in words.
        broad: why it is broad; empty if it isn't.
        report: when it called which service; None if that wasn't asked.
        smaller: what its policies could do without.
    """

    role: Role
    profiles: tuple[str, ...] | None
    instances: tuple[str, ...] | None
    mappings: tuple[str, ...] | None
    read: bool
    services: tuple[str, ...] | None = None
    may: tuple[str, ...] | None = None
    broad: str | None = None
    report: Report | None = None
    smaller: tuple[Smaller, ...] = ()

    def is_young(self, now: datetime) -> bool:
        """Whether it is too new to say what it doesn't use."""
        return self.role.created is None or now - self.role.created < _LONG

    def was_used(self, now: datetime) -> bool:
        """Whether it was used lately."""
        return self.role.last_used is not None and now - self.role.last_used < _LONG

    def is_unused(self, now: datetime) -> bool | None:
        """Whether nothing uses it: no mapping gives it, no instance carries it, and it wasn't used lately."""
        if self.mappings or self.instances or (self.read and (self.was_used(now) or self.is_young(now))):
            return False
        return True if self.read and self.mappings is not None and self.instances is not None else None

    def unused_services(self, now: datetime) -> tuple[str, ...] | None:
        """The services that its policies allow, and that it didn't call lately."""
        if self.report is None or self.report.because or not self.read or self.is_young(now):
            return None
        return tuple(each for each, at in self.report.services.items() if at is None or now - at >= _LONG)

    def document(self, now: datetime) -> dict[str, Any]:
        """For programs."""
        report = self.report
        return {
            "role": self.role.name,
            "arn": self.role.arn,
            "created": self.role.created,
            "last_used": self.role.last_used,
            "unused": self.is_unused(now),
            "profiles": _list(self.profiles),
            "instances": _list(self.instances),
            "mappings": _list(self.mappings),
            "services": _list(self.services),
            "may": _list(self.may),
            "broad": None if self.broad is None else bool(self.broad),
            "broad_because": self.broad or None,
            "services_last_used": dict(report.services) if report and not report.because else None,
            "unused_services": _list(self.unused_services(now)),
            "unknown_because": self._unknown(now),
            "smaller": [each.as_document(self.role.name) for each in self.smaller],
        }

    def _unknown(self, now: datetime) -> str | None:
        """Why it isn't known which services it doesn't use."""
        if self.report is None or self.report.because:
            return self.report.because if self.report else "not asked"
        if not self.read:
            return "IAM doesn't tell when the role was made"
        return f"the role is less than {DAYS} days old" if self.is_young(now) else None


@dataclass(slots=True)
class Inventory:
    """The roles, what the account has of them, and what couldn't be read."""

    views: list[RoleView] = field(default_factory=list)
    account: dict[str, int] | None = None
    unknown: list[str] = field(default_factory=list)

    def attempt[T](self, read: Callable[[], T]) -> T | None:
        """Read something; None if AWS refuses it, or it is too much, and then the reason is noted once."""
        try:
            return read()
        except TooManyRulesError as error:
            reason = str(error)
        except AwsRefusalError as error:
            reason = why(error)
        if reason not in self.unknown:
            self.unknown.append(reason)
        return None


def document(
    deployment: DoctorDeployment,
    names: Sequence[str] = (),
    *,
    unused: bool = False,
    ask_last_accessed: bool = True,
    ask_instances: bool = True,
) -> dict[str, Any]:
    """The roles under the path: all, those that are named, or those that nothing uses; and what they come to.

    Without `ask_instances` it isn't known who carries them, and the fleet isn't read.

    Raises:
        UsageError: there is no role of a name under the path.
    """
    roles = named(deployment, names) if names else list(deployment.path_roles)
    found = look(deployment, roles, ask_last_accessed=ask_last_accessed, ask_instances=ask_instances)
    now = deployment.now()
    documents = [each.document(now) for each in found.views if not unused or each.is_unused(now)]
    return {
        "roles": documents,
        "summary": summary(documents),
        "account": found.account,
        "unknown": found.unknown,
    }


def summary(documents: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """What the documents of roles come to."""
    return {
        "roles": len(documents),
        "broad": sum(bool(each["broad"]) for each in documents),
        "unused": sum(bool(each["unused"]) for each in documents),
        "with_unused_services": sum(bool(each["unused_services"]) for each in documents),
        "could_be_smaller": sum(bool(each["smaller"]) for each in documents),
    }


def named(deployment: DoctorDeployment, names: Iterable[str]) -> list[Role]:
    """The roles under the path of these names, each once.

    Raises:
        UsageError: there is none of a name.
    """
    there = {each.name: each for each in deployment.path_roles}
    for each in names:
        if each not in there:
            remedy = did_you_mean(each, there) or "see: rolekeeper roles"
            raise UsageError(f"there is no role {each} under {deployment.settings.role_path}", remedy)
    return [there[each] for each in dict.fromkeys(names)]


def look(
    deployment: DoctorDeployment, roles: Sequence[Role], *, ask_last_accessed: bool, ask_instances: bool = True
) -> Inventory:
    """Look at roles, one after the other, as IAM throttles; it makes its reports while their policies are read."""
    found, reports = Inventory(), Reports(deployment)
    if ask_last_accessed:
        reports.begin(each.arn for each in roles)
    mappings = found.attempt(lambda: deployment.role_users)
    profiles = found.attempt(lambda: _profiles(deployment))
    instances = (
        None if profiles is None or not ask_instances else found.attempt(lambda: _instances(deployment, profiles))
    )
    found.account = found.attempt(lambda: _account(deployment))
    with deployment.progress(len(roles), "roles read") as progress:
        for role in progress.over(roles):
            name = role.name
            held = None if profiles is None else tuple(sorted(_name(arn) for arn in profiles if profiles[arn] == name))
            carry = None if instances is None else tuple(sorted(instances.get(name, ())))
            given = None if mappings is None else tuple(mappings.get(name, ()))
            found.views.append(_view(deployment, found, RoleView(role, held, carry, given, read=False)))
    if ask_last_accessed:
        told = reports.collect()
        asked = zip(found.views, roles, strict=True)
        found.views = [_with_report(deployment, found, view, told[role.arn]) for view, role in asked]
        found.unknown += dict.fromkeys(each.because for each in told.values() if each.because)
    return found


def _view(deployment: DoctorDeployment, found: Inventory, view: RoleView) -> RoleView:
    """A role with what its policies say."""
    checks, name = deployment.app.roles, view.role.name
    role = found.attempt(lambda: checks.policies.role(name))
    if role is None:
        return view
    may = found.attempt(lambda: checks.policies.allowed(name))
    services = None if may is None else tuple(_services(deployment, name))
    broad = found.attempt(lambda: checks.broad(role))
    return replace(view, role=role, read=True, services=services, may=may, broad=broad)


def _with_report(deployment: DoctorDeployment, found: Inventory, view: RoleView, report: Report) -> RoleView:
    """A role with its report, and with what its policies could do without where that is certain."""
    now = deployment.now()
    less: tuple[Smaller, ...] = ()
    never = [each for each, at in report.services.items() if at is None]
    if never and view.may is not None and not view.is_young(now) and view.was_used(now):
        less = found.attempt(lambda: tuple(_smaller(deployment, view.role.name, never))) or ()
    return replace(view, report=report, smaller=less)


def _smaller(deployment: DoctorDeployment, name: str, never: Sequence[str]) -> list[Smaller]:
    policies = deployment.app.roles.policies.policies(name)
    inline = {each for each in policies.names if ":" not in each}
    # First as if all could be changed: what doesn't come of that needn't be asked about.
    touched = {each.policy for each in smaller(policies, never, policies.names)}
    own = {each for each in touched - inline if _is_own(deployment, each)}
    return smaller(policies, never, inline | own)


def _is_own(deployment: DoctorDeployment, arn: str) -> bool:
    """Whether a managed policy is this role's alone, and the account's: one of AWS's can't be changed."""
    if arn.split(":")[4] != deployment.caller.account:
        return False
    with classified("iam:GetPolicy", arn):
        policy = deployment.client("iam").get_policy(PolicyArn=arn)["Policy"]
    return policy["AttachmentCount"] == 1 and not policy.get("PermissionsBoundaryUsageCount")


# ---- what there is besides ----


def _profiles(deployment: DoctorDeployment) -> dict[str, str]:
    """The role that each instance profile of the account holds, by the profile's ARN; empty for none."""
    with classified("iam:ListInstanceProfiles", "*"):
        pages = deployment.client("iam").get_paginator("list_instance_profiles").paginate()
        rows = [each for page in pages for each in page["InstanceProfiles"]]
    return {each["Arn"]: next((role["RoleName"] for role in each["Roles"]), "") for each in rows}


def _instances(deployment: DoctorDeployment, profiles: Mapping[str, str]) -> dict[str, list[str]]:
    """The instances of this Region that carry each role, by its name."""
    found: dict[str, list[str]] = {}
    with deployment.progress(None, "instances looked at") as progress:
        for page in progress.pages(looking.pages(deployment)):
            carried = deployment.app.ec2.associations([each.key.id for each in page])
            for instance, association in carried.items():
                if association.state in _CARRIES and (role := profiles.get(association.profile_arn)):
                    found.setdefault(role, []).append(instance)
    return found


def _account(deployment: DoctorDeployment) -> dict[str, int]:
    """What the account has of instance profiles and roles, and how many it may have."""
    with classified("iam:GetAccountSummary", "*"):
        summary: Mapping[str, int] = deployment.client("iam").get_account_summary()["SummaryMap"]
    return {
        "instance_profiles": summary["InstanceProfiles"],
        "instance_profiles_quota": summary["InstanceProfilesQuota"],
        "roles": summary["Roles"],
        "roles_quota": summary["RolesQuota"],
    }


def _services(deployment: DoctorDeployment, name: str) -> Iterator[str]:
    """The services that a role may use, each once: as the statements that allow it name them."""
    rules = deployment.app.roles.policies.permissions(name).allowed
    named = {_service(scope.shown) if scope.within else _EVERYTHING for rule in rules for scope in rule.actions}
    yield from [_EVERYTHING] if _EVERYTHING in named else sorted(named)


def _service(action: str) -> str:
    service = action.partition(":")[0].lower()
    return _EVERYTHING if service.strip("*?") == "" else service


def _name(arn: str) -> str:
    return arn.rsplit("/", 1)[-1]


def _list(values: Iterable[str] | None) -> list[str] | None:
    return None if values is None else list(values)
