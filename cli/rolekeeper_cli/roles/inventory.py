"""Reading the roles of an account: who carries them, which mappings give them, what their policies and reports say.

What AWS refuses is left out, never guessed: it is None, and the reason is in `unknown`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from rolekeeper.aws.errors import AwsRefusalError, classified
from rolekeeper.aws.iam import Role
from rolekeeper.model.instance import AssociationState
from rolekeeper.permissions.policies import TooManyRulesError
from rolekeeper_cli.doctor_deployment import DoctorDeployment
from rolekeeper_cli.roles.last_accessed import Report, Reports, why
from rolekeeper_cli.roles.smaller import Smaller, smaller
from rolekeeper_cli.views import looking
from rolekeeper_cli.views.role_document import RoleView

_CARRIES = frozenset({AssociationState.ASSOCIATING, AssociationState.ASSOCIATED})
_EVERYTHING = "everything"


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
