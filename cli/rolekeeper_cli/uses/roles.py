"""What there is to see of each role under the path, as documents; what draws them is elsewhere.

What AWS refuses is left out, never guessed: it is None in the documents, and the reason is in `unknown`.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache, cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any

from rolekeeper.aws.errors import AwsRefusalError, NotFoundError, classified
from rolekeeper.aws.iam import Document, Policies, Role
from rolekeeper.model.instance import AssociationState, Target
from rolekeeper.model.mapping import NO_ROLE
from rolekeeper.model.problem import Kind, Remedy, advice
from rolekeeper.permissions.policies import Permissions, TooManyRulesError, as_many, lacking, permissions
from rolekeeper_cli.checks.deployment import DoctorDeployment
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError, UsageError
from rolekeeper_cli.layout import several
from rolekeeper_cli.progress import Silent
from rolekeeper_cli.suggest import did_you_mean
from rolekeeper_cli.uses import fleet
from rolekeeper_cli.uses import names as known
from rolekeeper_cli.uses.files import STDIN, content
from rolekeeper_cli.uses.instances import addressed
from rolekeeper_cli.uses.targets import Places
from rolekeeper_cli.uses.usage import Report, Reports, Smaller, smaller, why

# ---- one role as a document ----


# How long a role or a service isn't used before it is said to be unused.
DAYS = 90
_LONG = timedelta(days=DAYS)


@dataclass(frozen=True, slots=True)
class RoleView:
    """A role, who uses it, and what it may do. What isn't known is None.

    `read` says whether IAM told of the role itself, `everywhere` whether all instances that were meant were looked at;
    `services` holds `everything` where a statement names none; `broad` is why, empty if it isn't.
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
    everywhere: bool = True

    def is_young(self, now: datetime) -> bool:
        """Whether it is too new to say what it doesn't use."""
        return self.role.created is None or now - self.role.created < _LONG

    def was_used(self, now: datetime) -> bool:
        return self.role.last_used is not None and now - self.role.last_used < _LONG

    def is_unused(self, now: datetime) -> bool | None:
        """Whether nothing uses it: no mapping gives it, no instance carries it, and it wasn't used lately."""
        if self.mappings or self.instances or (self.read and (self.was_used(now) or self.is_young(now))):
            return False
        known = self.mappings is not None and self.instances is not None and self.everywhere
        return True if self.read and known else None

    def unused_services(self, now: datetime) -> tuple[str, ...] | None:
        """The services that its policies allow, and that it didn't call lately."""
        if self.report is None or self.report.because or not self.read or self.is_young(now):
            return None
        return tuple(each for each, at in self.report.services.items() if at is None or now - at >= _LONG)

    def document(self, now: datetime) -> dict[str, Any]:
        report = self.report
        return {
            "role": self.role.name,
            "arn": self.role.arn,
            "created": self.role.created,
            "last_used": self.role.last_used,
            "unused": self.is_unused(now),
            "profiles": self.profiles,
            "instances": self.instances,
            "mappings": self.mappings,
            "services": self.services,
            "may": self.may,
            "broad": None if self.broad is None else bool(self.broad),
            "broad_because": self.broad or None,
            "services_last_used": dict(report.services) if report and not report.because else None,
            "unused_services": self.unused_services(now),
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


# ---- reading the roles of an account ----


_CARRIES = frozenset({AssociationState.ASSOCIATING, AssociationState.ASSOCIATED})
_EVERYTHING = "everything"
# What a spoke's reader may not (spoke.yaml): asking would only be refused, and some are alarmed by refusals.
_ONLY_NAMED = "only roles that a mapping gives or an instance carries are listed: a spoke's reader may list none"
_NO_REPORT = "a spoke's reader may not ask IAM for its report"


@dataclass(slots=True)
class Inventory:
    """The roles of an account, what it has of them, and what couldn't be read."""

    of: str
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


@dataclass(frozen=True, slots=True)
class AccountUsers:
    """By a role's name, the mappings that give it in an account and the instances there that carry it.

    None where they can't be read; `everywhere` as in `RoleView`.
    """

    mappings: Mapping[str, Sequence[str]] | None
    instances: Mapping[str, Sequence[str]] | None
    everywhere: bool

    def view(self, role: Role, profiles: Iterable[str] | None = None) -> RoleView:
        """What is known of a role without its policies."""
        return RoleView(
            role,
            profiles=None if profiles is None else tuple(sorted(profiles)),
            instances=None if self.instances is None else tuple(sorted(self.instances.get(role.name, ()))),
            mappings=None if self.mappings is None else tuple(self.mappings.get(role.name, ())),
            read=False,
            everywhere=self.everywhere,
        )


class RoleUsers:
    """Who uses roles: the mappings that give them, the instances that carry them. Each is read once, when asked for.

    `own` is the inventory of the deployment's own account, in which is noted what couldn't be read there.
    """

    def __init__(self, deployment: DoctorDeployment, places: Places, *, ask_instances: bool) -> None:
        self._deployment, self._places, self._ask_instances = deployment, places, ask_instances
        self.own = Inventory(deployment.home.account)

    def read(self) -> None:
        """Read all of it now, before threads ask for it."""
        _ = self._mappings, self._carried

    def of(self, account: str, role_of: Callable[[str], str | None] | None) -> "AccountUsers":
        """Those in one account; `role_of` gives the role that a profile holds, by its ARN, if that could be read."""
        mappings = None if self._mappings is None else self._mappings.get(account, {})
        targets = [each.settings.target for each in self._places.all if each.settings.account == account]
        seen = [self._carried[each] for each in targets if each in self._carried]
        if role_of is None or not seen:
            return AccountUsers(mappings, None, everywhere=False)
        found: dict[str, list[str]] = {}
        for instance, profile in chain.from_iterable(seen):
            if role := role_of(profile):
                found.setdefault(role, []).append(instance)
        return AccountUsers(mappings, found, everywhere=len(seen) == len(targets))

    @cached_property
    def _mappings(self) -> Mapping[str, Mapping[str, Sequence[str]]] | None:
        return self.own.attempt(lambda: self._deployment.role_users_by_account)

    @cached_property
    def _carried(self) -> dict[Target, list[tuple[str, str]]]:
        """The instances that carry a profile, as a command names them, each with the profile's ARN: by target."""
        if not self._ask_instances:
            return {}
        total = len(self._places.all)
        with (self._deployment.progress if total > 1 else Silent)(total, "targets looked at") as progress:
            return dict(progress.over(self._places.ask(self._look)))

    def _look(self, place: Deployment) -> Iterator[tuple[Target, list[tuple[str, str]]]]:
        # What is refused elsewhere, `places` says.
        found = _carried(place) if place.elsewhere else self.own.attempt(lambda: _carried(place))
        if found is not None:
            yield place.settings.target, found


def look(
    deployment: DoctorDeployment, roles: Sequence[Role], users: RoleUsers, *, ask_last_accessed: bool
) -> Inventory:
    """Look at roles of the own account, one after the other, as IAM throttles.

    It makes its reports while their policies are read.
    """
    found, reports = users.own, Reports(deployment)
    if ask_last_accessed:
        reports.begin(each.arn for each in roles)
    profiles = found.attempt(lambda: _profiles(deployment))
    used = users.of(found.of, None if profiles is None else profiles.get)
    found.account = found.attempt(lambda: _account(deployment))
    with deployment.progress(len(roles), "roles read") as progress:
        for role in progress.over(roles):
            held = None if profiles is None else [_name(arn) for arn in profiles if profiles[arn] == role.name]
            found.views.append(_view(deployment, found, used.view(role, held)))
    if ask_last_accessed:
        told = reports.collect()
        asked = zip(found.views, roles, strict=True)
        found.views = [_with_report(deployment, found, view, report=told[role.arn]) for view, role in asked]
        found.unknown += dict.fromkeys(each.because for each in told.values() if each.because)
    return found


def look_elsewhere(there: Deployment, names: Sequence[str], users: RoleUsers, *, ask_last_accessed: bool) -> Inventory:
    """Look at roles of another account: by these names, or all that a mapping gives or an instance carries."""
    account, iam = there.settings.account, there.app.iam
    found = Inventory(account)
    profile_of = cache(lambda arn: found.attempt(lambda: iam.get_instance_profile(_name(arn))))
    used = users.of(account, lambda arn: profile.role_name if (profile := profile_of(arn)) else None)
    report = Report(because=_NO_REPORT) if ask_last_accessed else None
    for name in names or sorted({*(used.mappings or ()), *(used.instances or ())} - {NO_ROLE}):
        role = found.attempt(partial(there.app.roles.policies.role, name))
        if role and role.path.startswith(there.settings.role_path):
            found.views.append(_view(there, found, replace(used.view(role), report=report)))
    if not names:
        found.unknown.append(_ONLY_NAMED)
    return found


def _view(deployment: Deployment, found: Inventory, view: RoleView) -> RoleView:
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
    return {
        each["Arn"]: next((role["RoleName"] for role in each["Roles"]), "")
        for page in deployment.pages("iam:ListInstanceProfiles", "*")
        for each in page["InstanceProfiles"]
    }


def _carried(place: Deployment) -> list[tuple[str, str]]:
    """The instances of a target that carry a profile, as a command names them, each with the profile's ARN."""
    # Of others a few are read at once: only their number is counted.
    shown = Silent if place.elsewhere else place.progress
    found: list[tuple[str, str]] = []
    with shown(None, "instances looked at") as progress:
        for page in progress.pages(fleet.pages(place)):
            carried = place.app.ec2.associations([each.key.id for each in page])
            found += [
                (addressed(place, instance), association.profile_arn)
                for instance, association in carried.items()
                if association.state in _CARRIES
            ]
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


def _services(deployment: Deployment, name: str) -> Iterator[str]:
    """The services that a role may use, each once: as the statements that allow it name them."""
    rules = deployment.app.roles.policies.permissions(name).allowed
    named = {_service(scope.shown) if scope.within else _EVERYTHING for rule in rules for scope in rule.actions}
    yield from [_EVERYTHING] if _EVERYTHING in named else sorted(named)


def _service(action: str) -> str:
    service = action.partition(":")[0].lower()
    return _EVERYTHING if service.strip("*?") == "" else service


def _name(arn: str) -> str:
    return arn.rsplit("/", 1)[-1]


# ---- what there is to see of each role under the path ----


@dataclass(frozen=True, slots=True)
class Asked:
    """Which roles are shown, all without `names`; and whether IAM's reports of last use, and the fleet, are read."""

    names: Sequence[str] = ()
    unused: bool = False
    last_accessed: bool = True
    instances: bool = True


def document(deployment: DoctorDeployment, places: Places, asked: Asked) -> dict[str, Any]:
    """The roles under the path in the accounts of these targets, and what they come to.

    Of a hub each says of which account it is, and `unseen` are the targets that couldn't be looked into.
    """
    is_hub = bool(deployment.settings.organization)
    users = RoleUsers(deployment, places, ask_instances=asked.instances)
    if is_hub:
        users.read()

    def inventory(place: Deployment) -> Iterator[Inventory]:
        if place.elsewhere:
            yield look_elsewhere(place, asked.names, users, ask_last_accessed=asked.last_accessed)
        else:
            roles = _named(deployment, asked.names, all_here=not is_hub) if asked.names else deployment.path_roles
            yield look(deployment, roles, users, ask_last_accessed=asked.last_accessed)

    with (deployment.progress if is_hub else Silent)(None, "accounts whose roles were read") as progress:
        found = list(progress.over(places.ask_accounts(inventory)))
    there = {view.role.name for each in found for view in each.views}
    # Of what couldn't be looked into nothing is said.
    if found and (missing := next((each for each in asked.names if each not in there), "")):
        where = f" in {several([each.of for each in found], kind='account')}"
        raise _no_such_role(deployment, missing, known.path_roles(deployment), where=where)
    documents = list(_documents(found, deployment.now(), unused=asked.unused, is_hub=is_hub))
    return {
        "roles": documents,
        "summary": summary(documents),
        "account": users.own.account,
        "unknown": _unknown([users.own, *(each for each in found if each is not users.own)], is_hub=is_hub),
        **({"unseen": places.unseen_documents()} if is_hub else {}),
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


def _documents(found: Iterable[Inventory], now: datetime, *, unused: bool, is_hub: bool) -> Iterator[dict[str, Any]]:
    for inventory in found:
        for each in inventory.views:
            if not unused or each.is_unused(now):
                said = each.document(now)
                yield {"role": said["role"], "account": inventory.of, **said} if is_hub else said


def _unknown(found: Iterable[Inventory], *, is_hub: bool) -> list[str]:
    """What couldn't be read and why; of a hub, in which accounts."""
    reasons: dict[str, list[str]] = {}
    for inventory in found:
        for each in inventory.unknown:
            reasons.setdefault(each, []).append(inventory.of)
    if not is_hub:
        return list(reasons)
    return [
        f"{why} ({'account' if len(accounts) == 1 else 'accounts'} {several(accounts, kind='account')})"
        for why, accounts in reasons.items()
    ]


def _named(deployment: DoctorDeployment, names: Iterable[str], *, all_here: bool) -> list[Role]:
    """The own roles under the path of these names, each once.

    Raises:
        UsageError: they are to be `all_here`, and there is none of a name.
    """
    there = {each.name: each for each in deployment.path_roles}
    if all_here and (missing := next((each for each in names if each not in there), "")):
        raise _no_such_role(deployment, missing, there)
    return [there[each] for each in dict.fromkeys(names) if each in there]


def _no_such_role(deployment: Deployment, name: str, near: Iterable[str], where: str = "") -> UsageError:
    what = f"there is no role {name} under {deployment.settings.role_path}{where}"
    return UsageError(what, did_you_mean(name, near) or advice("see: ", Remedy(Kind.ROLES)))


# ---- which of the roles that mappings give include a policy, a baseline ----


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether a role that mappings give includes a baseline: what it lacks of it, or why that isn't known."""

    role: str
    mappings: tuple[str, ...]
    lacks: tuple[str, ...] = ()
    because: str = ""

    def document(self) -> dict[str, Any]:
        return {
            "role": self.role,
            "mappings": self.mappings,
            # Where it isn't known, it isn't said that it includes it.
            "includes": None if self.because else not self.lacks,
            "lacks": self.lacks,
            "unknown_because": self.because or None,
        }


def lacks_in_words(answer: Mapping[str, Any], room: int) -> str:
    """What a role lacks, in so many characters, or why that isn't known."""
    return str(answer["unknown_because"] or as_many("", answer["lacks"], room).strip())


def answers(deployment: DoctorDeployment, wanted: Permissions) -> Iterator[Answer]:
    """Each role that a mapping gives, as its row says or as it is published, by name."""
    reader = deployment.app.roles.policies
    for role, mappings in sorted(deployment.role_users.items()):
        if role == NO_ROLE:
            continue
        answer = Answer(role, tuple(mappings))
        try:
            if reader.role(role) is None:
                answer = replace(answer, because="the role doesn't exist")
            else:
                answer = replace(answer, lacks=lacking(reader.permissions(role), wanted))
        except AwsRefusalError as error:
            answer = replace(answer, because=why(error))
        except TooManyRulesError as error:
            answer = replace(answer, because=str(error))
        yield answer


def policy_document(deployment: DoctorDeployment, policy: str) -> Document:
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


def _managed(deployment: DoctorDeployment, arn: str) -> Document | None:
    """What a managed policy says; None if there is none."""
    iam = deployment.client("iam")
    try:
        with classified("iam:GetPolicy", arn):
            version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        with classified("iam:GetPolicyVersion", arn):
            found = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
    except NotFoundError:
        return None
    return found if isinstance(found, Mapping) else {}


def _read(name: str) -> Document:
    try:
        found = json.loads(content(name, "give a file, or a policy's name or ARN"))
    except ValueError as error:
        raise CommandError(f"{name} is no JSON: {error}", "give a policy document, as IAM takes it") from error
    if not isinstance(found, Mapping) or "Statement" not in found:
        raise CommandError(f"{name} is no policy: it has no Statement", "give a policy document, as IAM takes it")
    return found


def wanted(deployment: DoctorDeployment, policy: str) -> Permissions:
    """What a policy allows; its denials are asked of nobody."""
    found = policy_document(deployment, policy)
    try:
        asked = permissions(Policies((found,)))
    except TooManyRulesError as error:
        raise CommandError(f"{policy} can't be compared: {error}", "split it, and ask about each part") from error
    if not asked.allowed:
        raise CommandError(f"{policy} allows nothing, so every role includes it", "name a policy that allows something")
    return asked
