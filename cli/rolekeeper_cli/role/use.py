"""The roles under the role path: who uses each, what it may do, and what of that it doesn't use.

What AWS refuses is never guessed: it is None, and the reason is in `unknown`.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, partial
from itertools import chain
from pathlib import Path

from rolekeeper.aws.errors import AwsRefusalError, NotFoundError
from rolekeeper.aws.iam import Document, Policies, Role
from rolekeeper.model.instance import Target
from rolekeeper.model.mapping import NO_ROLE
from rolekeeper.model.problem import Kind, Remedy, advice
from rolekeeper.permissions.comparison import as_many, lacking
from rolekeeper.permissions.policies import Permissions, TooManyRulesError, permissions
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.instance import seen
from rolekeeper_cli.instance.use import STANDS, addressed
from rolekeeper_cli.progress import Silent
from rolekeeper_cli.role.usage import Report, Reports, smaller, why
from rolekeeper_cli.role.view import InclusionView, QuotasView, RoleCountsView, RolesView, RoleView, SmallerPolicyView
from rolekeeper_cli.row.files import STDIN, content
from rolekeeper_cli.row.names import path_roles
from rolekeeper_cli.shell.layout import arn_name, grouped, several
from rolekeeper_cli.shell.suggest import did_you_mean
from rolekeeper_cli.target.use import Places

# ---- the roles of all accounts ----


def view(
    deployment: Deployment,
    places: Places,
    *,
    names: Sequence[str] = (),
    unused: bool = False,
    last_accessed: bool = True,
    instances: bool = True,
) -> RolesView:
    """The roles under the path in the accounts of these targets, and their numbers.

    A hub's roles name their account, and `unseen` lists the targets that couldn't be read. IAM's reports of last use,
    and the instances that carry the roles, are read if they are asked for. If neither is, roles have no details either.
    """
    is_hub, own = bool(deployment.settings.organization), Inventory(deployment.home.account)
    if names and not is_hub:
        _require(deployment, names, {each.name for each in deployment.path_roles}, where="")
    mappings = own.attempt(lambda: deployment.role_users_by_account)
    carried = _carried_by_target(deployment, places, own) if instances else {}

    def inventory(place: Deployment) -> Iterator[Inventory]:
        found = Inventory(place.settings.account) if place.elsewhere else own
        found.mappings = None if mappings is None else mappings.get(found.account, {})
        found.has_details = last_accessed or instances
        found.carried = [
            carried.get(each.settings.target) for each in places.all if each.settings.account == found.account
        ]
        if place.elsewhere:
            _read_elsewhere(place, found, names, last_accessed=last_accessed)
        else:
            _read_own(deployment, found, names, last_accessed=last_accessed)
        yield found

    with deployment.progress(None, "accounts whose roles were read") as progress:
        found = list(progress.over(places.ask_accounts(inventory)))
    # If no account could be read, nothing is known about the names.
    if found:
        where = f" in {several([each.account for each in found], kind='account')}"
        _require(deployment, names, {role.role for inventory in found for role in inventory.roles}, where=where)
    answer = _answer(found, own, is_hub=is_hub, unused=unused)
    return answer.but(unseen=places.unseen_views()) if is_hub else answer


def _require(deployment: Deployment, names: Iterable[str], present: Collection[str], where: str) -> None:
    if missing := next((each for each in names if each not in present), ""):
        what = f"there is no role {missing} under {deployment.settings.role_path}{where}"
        near = did_you_mean(missing, path_roles(deployment))
        raise CommandError(what, near or advice("see: ", Remedy(Kind.ROLES)))


def _answer(found: Sequence["Inventory"], own: "Inventory", *, is_hub: bool, unused: bool) -> RolesView:
    both = [(inventory.account, role) for inventory in found for role in inventory.roles if role.unused or not unused]
    roles = [role.but(account=account) if is_hub else role for account, role in both]
    unknown = _unknown([own, *(inventory for inventory in found if inventory is not own)], is_hub=is_hub)
    return RolesView(roles=roles, summary=counts(roles), account=own.quotas, unknown=unknown)


def counts(roles: Sequence[RoleView]) -> RoleCountsView:
    return RoleCountsView(
        roles=len(roles),
        broad=sum(bool(role.broad) for role in roles),
        unused=sum(bool(role.unused) for role in roles),
        with_unused_services=sum(bool(role.unused_services) for role in roles),
        could_be_smaller=sum(bool(role.smaller) for role in roles),
    )


def _unknown(found: Iterable["Inventory"], *, is_hub: bool) -> list[str]:
    """What couldn't be read and why; of a hub, in which accounts."""
    reasons = grouped((why, inventory.account) for inventory in found for why in inventory.unknown)
    if not is_hub:
        return list(reasons)
    return [
        f"{why} ({'account' if len(accounts) == 1 else 'accounts'} {several(accounts, kind='account')})"
        for why, accounts in reasons.items()
    ]


# ---- the roles of one account ----

# What a spoke's viewer may not do (spoke.yaml): asking would only be refused, and a refusal may raise an alarm.
_ONLY_NAMED = "only roles that a mapping gives or an instance carries are listed: a spoke's viewer may list none"
_NO_REPORT = Report(because="a spoke's viewer may not ask IAM for its report")
_NOT_ASKED = Report(because="not asked")


@dataclass(slots=True)
class Inventory:
    """The roles of an account, who uses them, and what couldn't be read, each reason once; or what lists alone say."""

    account: str
    has_details: bool = True
    # By a role's name, the mappings that give it; None if they couldn't be read.
    mappings: Mapping[str, Sequence[str]] | None = None
    # For each target that was meant, the instances that carry a profile, each with the profile's ARN; None for a target
    # that couldn't be read.
    carried: Sequence[Sequence[tuple[str, str]] | None] = ()
    # By a role's name, the instances that carry it; None if that couldn't be read.
    instances: dict[str, list[str]] | None = None
    roles: list[RoleView] = field(default_factory=list)
    quotas: QuotasView | None = None
    unknown: list[str] = field(default_factory=list)

    def attempt[T](self, read: Callable[[], T]) -> T | None:
        """Read something; None if AWS refuses it, or it is too much, and then the reason is noted."""
        value, reason = _attempt(read)
        if reason and reason not in self.unknown:
            self.unknown.append(reason)
        return value

    def find_instances(self, role_of: Callable[[str], str | None]) -> None:
        """Find the instances that carry each role, by the role that a profile holds."""
        if read := [each for each in self.carried if each is not None]:
            both = ((role_of(profile), instance) for instance, profile in chain.from_iterable(read))
            self.instances = grouped((role, instance) for role, instance in both if role)


def _attempt[T](read: Callable[[], T]) -> tuple[T | None, str]:
    try:
        return read(), ""
    except TooManyRulesError as error:
        return None, str(error)
    except AwsRefusalError as error:
        return None, why(error)


def _read_own(deployment: Deployment, found: Inventory, names: Sequence[str], *, last_accessed: bool) -> None:
    """Read roles of the own account one by one, as IAM throttles; meanwhile it makes its reports."""
    under_path = {each.name: each for each in deployment.path_roles}
    roles = [under_path[each] for each in dict.fromkeys(names or under_path) if each in under_path]
    reports = Reports(deployment)
    if last_accessed:
        reports.begin([each.arn for each in roles])
    profiles = found.attempt(lambda: _profiles(deployment)) if found.has_details else None
    if profiles is not None:
        found.find_instances(profiles.get)
    found.quotas = found.attempt(lambda: _quotas(deployment)) if found.has_details else None
    with deployment.progress(len(roles), "roles read") as progress:
        for role in progress.over(roles):
            held = None if profiles is None else sorted(arn_name(arn) for arn in profiles if profiles[arn] == role.name)
            found.roles.append(_role(deployment, found, role, profiles=held))
    collected = reports.collect()
    for number, read in enumerate(found.roles):
        report = collected.get(read.arn, _NOT_ASKED)
        known = _with_usage(read, report, deployment.now())
        smaller_ones = found.attempt(partial(_smaller, deployment, known, report)) or []
        found.roles[number] = known.but(smaller=smaller_ones)
    found.unknown += dict.fromkeys(each.because for each in collected.values() if each.because)


def _read_elsewhere(place: Deployment, found: Inventory, names: Sequence[str], *, last_accessed: bool) -> None:
    """Read roles of another account: those of these names, or all that a mapping gives or an instance carries."""

    @cache
    def role_of(profile_arn: str) -> str | None:
        profile = found.attempt(lambda: place.app.iam.get_instance_profile(arn_name(profile_arn)))
        return profile.role_name if profile else None

    found.find_instances(role_of)
    report = _NO_REPORT if last_accessed else _NOT_ASKED
    for name in names or sorted({*(found.mappings or ()), *(found.instances or ())} - {NO_ROLE}):
        role = found.attempt(partial(place.app.roles.policies.role, name))
        if role and role.path.startswith(place.settings.role_path):
            found.roles.append(_with_usage(_role(place, found, role, profiles=None), report, place.now()))
    if not names:
        found.unknown.append(_ONLY_NAMED)


def _carried_by_target(
    deployment: Deployment, places: Places, own: Inventory
) -> dict[Target, list[tuple[str, str]] | None]:
    """The instances that carry a profile, as a command names them, each with the profile's ARN: by target."""

    def carried(place: Deployment) -> Iterator[tuple[Target, list[tuple[str, str]] | None]]:
        # `places` notes what is refused elsewhere.
        yield place.settings.target, _carried(place) if place.elsewhere else own.attempt(lambda: _carried(place))

    with deployment.progress(len(places.all), "targets looked at") as progress:
        return dict(progress.over(places.ask(carried)))


def _carried(place: Deployment) -> list[tuple[str, str]]:
    # Other targets are read a few at once, so only their number is counted.
    with (Silent if place.elsewhere else place.progress)(None, "instances looked at") as progress:
        return [
            (addressed(place, instance), association.profile_arn)
            for page in progress.pages(seen.pages(place))
            for instance, association in place.app.ec2.associations([each.key.id for each in page]).items()
            if association.state in STANDS
        ]


def _profiles(deployment: Deployment) -> dict[str, str]:
    """The role that each instance profile of the account holds, by the profile's ARN; empty for none."""
    return {
        each["Arn"]: next((role["RoleName"] for role in each["Roles"]), "")
        for each in deployment.items("iam:ListInstanceProfiles", "*", "InstanceProfiles")
    }


def _quotas(deployment: Deployment) -> QuotasView:
    summary: Mapping[str, int] = deployment.ask("iam:GetAccountSummary", "*")["SummaryMap"]
    return QuotasView(
        instance_profiles=summary["InstanceProfiles"],
        instance_profiles_quota=summary["InstanceProfilesQuota"],
        roles=summary["Roles"],
        roles_quota=summary["RolesQuota"],
    )


# ---- one role ----

# How long a role or a service isn't used before it is called unused.
DAYS = 90
_LONG = timedelta(days=DAYS)
_EVERYTHING = "everything"


def _role(place: Deployment, found: Inventory, role: Role, *, profiles: Sequence[str] | None) -> RoleView:
    """A role, who uses it, and what it may do. Only GetRole says when it was made and used: ListRoles doesn't."""
    checks, name = place.app.roles, role.name
    instances = None if found.instances is None else sorted(found.instances.get(name, ()))
    mappings = None if found.mappings is None else found.mappings.get(name, ())
    may = services = broad = None
    if whole := found.attempt(lambda: checks.policies.role(name)) if found.has_details else None:
        role = whole
        may = found.attempt(lambda: checks.policies.allowed(name))
        services = None if may is None else _services(checks.policies.permissions(name))
        broad = found.attempt(lambda: checks.broad(whole))
    unused = None
    if mappings or instances or _is_recent(role.created, place.now()) or _is_recent(role.last_used, place.now()):
        unused = False
    elif whole and mappings is not None and instances is not None and None not in found.carried:
        unused = True
    return RoleView(
        role=role.name,
        arn=role.arn,
        created=role.created,
        last_used=role.last_used,
        unused=unused,
        profiles=profiles,
        instances=instances,
        mappings=mappings,
        services=services,
        may=may,
        broad=None if broad is None else bool(broad),
        broad_because=broad or None,
        services_last_used=None,
        unused_services=None,
        unknown_because=None,
        smaller=(),
    )


def _services(held: Permissions) -> list[str]:
    """The services that a role may use, each once: as the statements that allow it name them."""
    scopes = [scope for rule in held.allowed for scope in rule.actions]
    named = {scope.shown.partition(":")[0].lower() if scope.within else "" for scope in scopes}
    return sorted(named) if all(each.strip("*?") for each in named) else [_EVERYTHING]


def _with_usage(role: RoleView, report: Report, now: datetime) -> RoleView:
    """Return it with the services that its policies allow and that it didn't call lately, or why they aren't known."""
    because = report.because
    if not because and role.created is None:
        because = "IAM doesn't tell when the role was made"
    elif not because and _is_recent(role.created, now):
        because = f"the role is less than {DAYS} days old"
    unused = [each for each, at in report.services.items() if not _is_recent(at, now)]
    return role.but(
        services_last_used=None if report.because else dict(report.services),
        unused_services=None if because else unused,
        unknown_because=because or None,
    )


def _smaller(deployment: Deployment, role: RoleView, report: Report) -> list[SmallerPolicyView]:
    """What a role's policies could do without; empty unless that is certain: the role is at work, and known well."""
    never = [each for each, at in report.services.items() if at is None]
    is_certain = role.unused_services is not None and role.may is not None
    if not never or not is_certain or not _is_recent(role.last_used, deployment.now()):
        return []
    policies = deployment.app.roles.policies.policies(role.role)
    inline = {each for each in policies.names if ":" not in each}
    # First as if all could be changed: only the managed policies that this touches are asked about.
    touched = {each.policy for each in smaller(role.role, policies, never, editable=policies.names)}
    own = {each for each in touched - inline if _is_own(deployment, each)}
    return smaller(role.role, policies, never, editable=inline | own)


def _is_own(deployment: Deployment, arn: str) -> bool:
    """Whether a managed policy is this role's alone, and the account's: one of AWS's can't be changed."""
    if arn.split(":")[4] != deployment.caller.account:
        return False
    policy = deployment.ask("iam:GetPolicy", arn, PolicyArn=arn)["Policy"]
    return policy["AttachmentCount"] == 1 and not policy.get("PermissionsBoundaryUsageCount")


def _is_recent(at: datetime | None, now: datetime) -> bool:
    return at is not None and now - at < _LONG


# ---- which of the roles that mappings give include a policy, a baseline ----


def inclusions(deployment: Deployment, wanted: Permissions) -> Iterator[InclusionView]:
    """Each role that a mapping gives, as its row says or as it is published, by name: what it lacks of a baseline."""
    reader = deployment.app.roles.policies

    def lacks_of(role: str) -> tuple[str, ...] | None:
        return lacking(reader.permissions(role), wanted) if reader.role(role) else None

    for role, mappings in sorted(deployment.role_users.items()):
        if role == NO_ROLE:
            continue
        lacks, because = _attempt(partial(lacks_of, role))
        yield InclusionView(
            role=role,
            mappings=mappings,
            # Where it isn't known, it isn't said that it includes it.
            includes=None if lacks is None else not lacks,
            lacks=lacks or (),
            unknown_because=(because or "the role doesn't exist") if lacks is None else None,
        )


def lacks_in_words(answer: InclusionView, room: int) -> str:
    """What a role lacks, in at most `room` characters, or why that isn't known."""
    return answer.unknown_because or as_many("", answer.lacks, room).strip()


def wanted(deployment: Deployment, policy: str) -> Permissions:
    """What a policy allows; its denials are asked of nobody."""
    found = policy_document(deployment, policy)
    try:
        asked = permissions(Policies((found,)))
    except TooManyRulesError as error:
        raise CommandError(f"{policy} can't be compared: {error}", "split it, and ask about each part") from error
    if not asked.allowed:
        raise CommandError(f"{policy} allows nothing, so every role includes it", "name a policy that allows something")
    return asked


def policy_document(deployment: Deployment, policy: str) -> Document:
    """The policy that is meant: by an ARN, by a file (`-` is stdin), or by the name of a managed policy."""
    if policy.startswith("arn:"):
        found = _managed(deployment, policy)
        if found is None:
            raise CommandError(f"there is no policy {policy}", "see: aws iam list-policies")
        return found
    if policy == STDIN or policy.endswith(".json") or "/" in policy or Path(policy).is_file():
        return _read(policy)
    caller, path = deployment.caller, deployment.settings.role_path
    places = (("aws", "/"), ("aws", "/service-role/"), (caller.account, "/"), (caller.account, path))
    for account, place in places:
        arn = f"arn:{caller.partition}:iam::{account}:policy{place}{policy}"
        if (found := _managed(deployment, arn)) is not None:
            return found
    raise CommandError(f"there is no managed policy {policy}", "give its ARN, or a file that ends with .json")


def _managed(deployment: Deployment, arn: str) -> Document | None:
    try:
        version = deployment.ask("iam:GetPolicy", arn, PolicyArn=arn)["Policy"]["DefaultVersionId"]
        answer = deployment.ask("iam:GetPolicyVersion", arn, PolicyArn=arn, VersionId=version)
    except NotFoundError:
        return None
    found = answer["PolicyVersion"]["Document"]
    return found if isinstance(found, Mapping) else {}


def _read(name: str) -> Document:
    try:
        found = json.loads(content(name, "give a file, or a policy's name or ARN"))
    except ValueError as error:
        raise CommandError(f"{name} is no JSON: {error}", "give a policy document, as IAM takes it") from error
    if not isinstance(found, Mapping) or "Statement" not in found:
        raise CommandError(f"{name} is no policy: it has no Statement", "give a policy document, as IAM takes it")
    return found
