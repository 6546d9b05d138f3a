"""Denying what an instance got of a role before now: its credentials are valid for hours, whatever it carries by then.

A role's inline policy has a statement for each instance. IAM writes a policy without a condition on what it replaces:
a statement is read back, and written again if another person's write took it away.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

from rolekeeper.aws.errors import (
    AccessDeniedError,
    AwsRefusalError,
    NotFoundError,
    PermanentError,
    RetryableError,
    classified,
)
from rolekeeper.aws.iam import Document, Role
from rolekeeper.instances.nodes import advice_for, node_of
from rolekeeper.model.instance import AssociationState, InstanceKey
from rolekeeper.model.problem import Kind, Problem, Remedy, advice, typed
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.aws.explained import BAD_CREDENTIALS, refusal
from rolekeeper_cli.errors import CommandError, ServiceError, WaitTimeoutError
from rolekeeper_cli.instance.revoked_policy import POLICY, Entry, current, entries
from rolekeeper_cli.instance.uptake import of_instance
from rolekeeper_cli.instance.use import account_options, addressed, known_or_ended, role_in, title, titled
from rolekeeper_cli.role.view import CleanedView, RevokedRoleView
from rolekeeper_cli.row import names
from rolekeeper_cli.shell.layout import amount

# ---- a role with that policy ----


@dataclass(frozen=True, slots=True)
class RevokedRole:
    """A role with its policy, as IAM shows them `at` a time of IAM's own clock; without a policy that is empty."""

    name: str
    id: str
    arn: str
    path: str
    policy: Document
    at: datetime

    def entry(self, instance: str) -> Entry:
        """The entry that denies what was issued until now; a later time that a person wrote stays."""
        user = f"{self.id}:{instance}"
        # IAM's time and the credentials' have whole seconds: what was issued within this one has to go too.
        times = [self.at.replace(microsecond=0) + timedelta(seconds=1)]
        return Entry(user, max(times + [found.before for found in entries(self.policy) if found.user == user]))

    def with_entry(self, entry: Entry) -> dict[str, Any]:
        """The policy with this in the place of the same instance's, and without what is over."""
        kept = current(self.policy, self.at)
        others = [each for each in kept if (found := Entry.read(each)) is None or found.user != entry.user]
        return {"Version": "2012-10-17", **self.policy, "Statement": [*others, entry.statement]}


class NoSuchRoleError(CommandError):
    """A role is gone, and with it what its credentials were good for."""


def _read(deployment: Deployment, name: str) -> RevokedRole:
    try:
        with classified("iam:GetRole", deployment.app.iam.arn("role", "/", name)):
            answer = _iam(deployment).get_role(RoleName=name)
    except NotFoundError as error:
        found = names.no_such_role(deployment, name)
        raise NoSuchRoleError(found.what, found.remedy) from error
    role = answer["Role"]
    found = _policy(deployment, name, role["Arn"])
    policy = _document(deployment, name, found) if found else {}
    return RevokedRole(
        role["RoleName"], role["RoleId"], role["Arn"], path=role["Path"], policy=policy, at=_date(answer)
    )


def _iam(deployment: Deployment) -> Any:
    """IAM of the target's account, which is one for all its Regions: in the own account, as the caller."""
    app = deployment.app
    own = app.at()
    return (own if app.settings.account == own.settings.account else app).iam.client


def _policy(deployment: Deployment, name: str, arn: str) -> Any:
    """IAM's answer; None if the role has no such policy."""
    with suppress(NotFoundError), classified("iam:GetRolePolicy", arn):
        return _iam(deployment).get_role_policy(RoleName=name, PolicyName=POLICY)
    return None


def _document(deployment: Deployment, name: str, answer: Any) -> Document:
    document = answer["PolicyDocument"]
    if isinstance(document, Mapping) and "Statement" in document:
        return document
    shows = f"aws iam get-role-policy --role-name {name} --policy-name {POLICY}{account_options(deployment)}"
    raise CommandError(
        f"the policy {POLICY} of role {name} can't be read, so nothing is written over it",
        advice("look at it, and delete it if nobody needs it: ", typed(shows)),
    )


def _date(answer: Any) -> datetime:
    """When AWS answered, by its own clock: this machine's may be wrong, and the time decides what is denied."""
    return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])


# ---- what to revoke ----

# The options that print a policy as IAM takes it.
_PRINTS = "--dry-run -o json --query 'revoked[0].document'"


@dataclass(frozen=True, slots=True)
class Revocation:
    """What to deny to an instance: what it got of a role.

    `carried`: it still carries the role. `problem`: why only a person can write it, and how; None if Rolekeeper can.
    """

    key: InstanceKey
    role: RevokedRole
    carried: bool
    problem: Problem | None = None

    @property
    def policy(self) -> dict[str, Any]:
        return self.role.with_entry(self.role.entry(self.key.id))

    def view(self) -> RevokedRoleView:
        """What programs get, of what is to be written or was."""
        before = self.role.entry(self.key.id).before
        return RevokedRoleView(
            role=self.role.name, role_arn=self.role.arn, policy=POLICY, before=before, document=self.policy
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What to revoke of an instance; an ended one has no `name`.

    `left` says which former roles are left out, and why; `unknown`, why there may be more of them, if there may.
    """

    key: InstanceKey
    name: str
    revocations: Sequence[Revocation]
    left: Sequence[Problem] = ()
    unknown: str = ""

    @property
    def title(self) -> str:
        return titled(self.key.id, self.name)

    @property
    def writable(self) -> list[Revocation]:
        return [each for each in self.revocations if not each.problem]

    @property
    def problems(self) -> list[Problem]:
        return [*self.left, *(each.problem for each in self.revocations if each.problem)]


def planned(deployment: Deployment, text: str, *, role: str = "", current: bool = False) -> Plan:
    """What to revoke of an instance, which may have ended: then it is named by its id.

    Only this `role`, or else each former one whose credentials may be valid; with `current` also the one that it still
    carries. CommandError if it still carries the role, there is none to revoke, or a policy can't be read.
    """
    key, name = known_or_ended(deployment, text)
    carried = _carried(deployment, key)
    if role:
        roles, left, unknown = [_read(deployment, role)], list[Problem](), ""
    else:
        found = of_instance(deployment, key, name)
        what = "the role of the instance profile {} isn't known, as that is gone or empty"
        how = f"name the role: {_command(deployment, key)} --role ROLE"
        left = [Problem(what.format(each.instance_profile), how) for each in found.former if not each.role_arn]
        wanted = [each.role for each in found.former if each.role_arn] + ([carried] if current and carried else [])
        roles, unknown = list(_readable(deployment, wanted, left)), found.unknown_because or ""
    if not roles and not left:
        raise _nothing_known(deployment, key, carried=carried, unknown=unknown)
    revocations = [_revocation(deployment, key, each, carried=carried) for each in roles]
    if not current and any(each.carried for each in revocations):
        raise _still_carried(deployment, key, carried)
    return Plan(key, name, revocations, left=left, unknown=unknown)


def _readable(deployment: Deployment, wanted: Iterable[str], left: list[Problem]) -> Iterator[RevokedRole]:
    """These roles, each once, without those that are gone; one that can't be read is `left`."""
    for name in dict.fromkeys(wanted):
        found = _or_error(partial(_read, deployment, name))
        if isinstance(found, RevokedRole):
            yield found
        elif not isinstance(found, NoSuchRoleError):
            left.append(Problem(found.what, str(found.remedy)))


def _carried(deployment: Deployment, key: InstanceKey) -> str:
    """The role that the instance carries, or is given; empty for none."""
    shown = deployment.app.ec2.associations([key.id]).get(key.id)
    if shown is None or shown.state is AssociationState.DISASSOCIATED:
        return ""
    return role_in(deployment, shown.profile_arn)


def _revocation(deployment: Deployment, key: InstanceKey, role: RevokedRole, *, carried: str) -> Revocation:
    settings = deployment.settings
    is_carried = role.name == carried
    prints = f"{_command(deployment, key)} --role {role.name}{' --current' if is_carried else ''} {_PRINTS}"
    remedy = (
        f"print the policy: {prints} > FILE; then write it yourself: aws iam put-role-policy --role-name {role.name} "
        f"--policy-name {POLICY} --policy-document file://FILE{account_options(deployment)}"
    )
    problem = None
    if settings.account != deployment.home.account:
        what = f"role {role.name} is in account {settings.account}, where only its own credentials may write"
        problem = Problem(what, remedy)
    elif not role.path.startswith(settings.role_path):
        what = f"role {role.name} is at the path {role.path}, and Rolekeeper writes under {settings.role_path} only"
        problem = Problem(what, remedy)
    return Revocation(key, role, is_carried, problem=problem)


def _command(deployment: Deployment, key: InstanceKey) -> str:
    return str(Remedy(Kind.REVOKE, (addressed(deployment, key.id),)))


def _still_carried(deployment: Deployment, key: InstanceKey, role: str) -> CommandError:
    return CommandError(
        f"{key.id} still carries {role}, and EC2 goes on handing out credentials of it",
        advice(*_take_away(deployment, key, role), "; in an incident, --current cuts off what is out there now"),
    )


def _take_away(deployment: Deployment, key: InstanceKey, role: str) -> tuple[str | Remedy, ...]:
    instance = deployment.app.ec2.instances([key.id]).get(key.id)
    if instance and (node := node_of(instance, role)):
        return (advice_for(node),)
    return "take the role away first: ", Remedy(Kind.DETACH, (addressed(deployment, key.id),))


def _nothing_known(deployment: Deployment, key: InstanceKey, *, carried: str, unknown: str) -> CommandError:
    """The error for an instance of which no former role is known whose credentials may be valid."""
    what = f"no former role is known whose credentials {key.id} may have" + (f" ({unknown})" if unknown else "")
    named = f"{_command(deployment, key)} --role ROLE"
    if not carried:
        return CommandError(what, f"name it, if it had one: {named}")
    return CommandError(f"{what}; it still carries {carried}", advice(*_take_away(deployment, key, carried)))


def others(deployment: Deployment, revocation: Revocation) -> tuple[list[str], str]:
    """The other instances of the account and Region that carry the role, by name; or the permission to see them."""
    role, client, ec2 = revocation.role, _iam(deployment), deployment.app.ec2
    try:
        with classified("iam:ListInstanceProfilesForRole", role.arn):
            pages = client.get_paginator("list_instance_profiles_for_role").paginate(RoleName=role.name)
            profiles = [each["Arn"] for page in pages for each in page["InstanceProfiles"]]
    except AccessDeniedError as error:
        return [], error.action
    found = []
    for page in ec2.carrying(profiles) if profiles else ():
        shown = ec2.associations([each.key.id for each in page])
        carrying = {id_ for id_, each in shown.items() if each.profile_arn in profiles} - {revocation.key.id}
        found += [title(each) for each in page if each.key.id in carrying]
    return found, ""


# ---- writing it ----

# What another person began to write before us may be there after it.
_PAUSE_SECONDS, _EVERY_SECONDS, _PATIENCE_SECONDS = 2.0, 1.0, 8.0
_WRITES = 3
# IAM user guide, "IAM and AWS STS quotas": of all inline policies of a role together, without blanks.
_FULL, _ROOM = "LimitExceeded", 10_240


def write_all(deployment: Deployment, plan: Plan) -> Iterator[RevokedRoleView | CommandError]:
    """Write what can be written, role by role; one role's error holds up no other, and is given in its place."""
    for revocation in plan.writable:
        yield _or_error(partial(write, deployment, revocation))


def _or_error[Done](do: Callable[[], Done]) -> Done | CommandError:
    try:
        return do()
    except CommandError as error:
        return error
    except AwsRefusalError as error:
        return refusal(error)


def write(deployment: Deployment, revocation: Revocation) -> RevokedRoleView:
    """Write the statement, and read it back.

    CommandError if IAM refuses it; RetryableError, or WaitTimeoutError, if IAM doesn't show it, and gave no answer or
    one.
    """
    name = revocation.role.name
    if not revocation.carried and _carried(deployment, revocation.key) == name:
        # It was given back while a person was asked.
        raise _still_carried(deployment, revocation.key, name)
    silent = None
    for _ in range(_WRITES):
        # Others may have written since it was planned, and the time is the present one.
        role = _read(deployment, name)
        entry = role.entry(revocation.key.id)
        policy = role.with_entry(entry)
        silent = _put(deployment, role, policy, key=revocation.key)
        if _is_shown(deployment, role, entry):
            return replace(revocation, role=role).view()
    if silent:
        raise silent
    raise WaitTimeoutError(
        f"{POLICY} was written {_WRITES} times, and IAM doesn't show {revocation.key.id} in that policy of role {name}",
        "another person or a tool may write it too: see who called PutRolePolicy in CloudTrail, and try again",
    )


def _put(deployment: Deployment, role: RevokedRole, policy: Document, *, key: InstanceKey) -> RetryableError | None:
    """Write the policy; returns IAM's refusal if it may be written all the same."""
    try:
        _write(deployment, role, policy)
    except RetryableError as error:
        return error
    except AccessDeniedError as error:
        if error.code in BAD_CREDENTIALS:
            raise
        raise ServiceError(
            f"you aren't allowed {error.action} on {error.resource}",
            "ask for it (rolekeeper guard revokers prints the policy), or have a person who may write what "
            f"{_command(deployment, key)} --role {role.name} {_PRINTS} prints",
        ) from error
    except PermanentError as error:
        if error.code != _FULL:
            raise
        held = amount(len(entries(policy)), "instance")
        raise CommandError(
            f"{POLICY} of role {role.name} would have {held}, and all inline policies of a role together have room "
            f"for {_ROOM:,} characters",
            advice(
                "remove what is over: ",
                typed("rolekeeper roles clean-revoked"),
                "; if that isn't enough, revoke all sessions of the role in the IAM console",
            ),
        ) from error
    return None


def _is_shown(deployment: Deployment, role: RevokedRole, entry: Entry) -> bool:
    """Whether IAM shows the entry, or a later one of the same instance, once other writers had time to finish."""
    deployment.sleep(_PAUSE_SECONDS)
    for left in deployment.looks(_EVERY_SECONDS, _PATIENCE_SECONDS):
        shown = list[Entry]()
        with suppress(RetryableError):
            answer = _policy(deployment, role.name, role.arn)
            shown = entries(_document(deployment, role.name, answer)) if answer else []
        if any(each.user == entry.user and each.before >= entry.before for each in shown):
            return True
        if left.is_over:
            break
    return False


def _write(deployment: Deployment, role: RevokedRole | Role, policy: Document) -> None:
    text = json.dumps(policy, separators=(",", ":"))
    with classified("iam:PutRolePolicy", role.arn):
        _iam(deployment).put_role_policy(RoleName=role.name, PolicyName=POLICY, PolicyDocument=text)


# ---- removing what is over ----


def clean(deployment: Deployment) -> Iterator[CleanedView | CommandError]:
    """Remove the entries that are over from each role under the path, and a policy without any other statement.

    A role whose policy can't be read or written is left as it is, and the error given.
    """
    roles = deployment.path_roles
    with deployment.progress(len(roles), "roles looked at") as progress:
        for role in progress.over(roles):
            if found := _or_error(partial(_cleaned, deployment, role)):
                yield found


def _cleaned(deployment: Deployment, role: Role) -> CleanedView | None:
    answer = _policy(deployment, role.name, role.arn)
    if not answer:
        return None
    policy, now = _document(deployment, role.name, answer), _date(answer)
    removed = [entry.instance for entry in entries(policy) if entry.is_over(now)]
    if not removed:
        return None
    if kept := current(policy, now):
        _write(deployment, role, {**policy, "Statement": kept})
    else:  # IAM takes no policy without a statement
        with classified("iam:DeleteRolePolicy", role.arn):
            _iam(deployment).delete_role_policy(RoleName=role.name, PolicyName=POLICY)
    return CleanedView(role=role.name, removed=removed, left=len(kept), deleted=not kept)
