"""What software on an instance does with its roles, by CloudTrail's records of EC2's deliveries and of calls.

An attached role is delivered when EC2 gets credentials of it, and in use when somebody on the instance calls with them.
Those of a former role are valid until they expire (docs/AWS_FACTS.md, "Credentials on the instance").
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from botocore.utils import parse_timestamp

from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError, RetryableError, classified
from rolekeeper.aws.iam import Role
from rolekeeper.model.instance import Association, InstanceKey
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.errors import ServiceError
from rolekeeper_cli.instance.event_history import Event, EventHistory, found_in, no_answer
from rolekeeper_cli.instance.history import Span, newest, spans
from rolekeeper_cli.instance.revoked_policy import LIVES, POLICY, entries
from rolekeeper_cli.instance.seen import profile_name
from rolekeeper_cli.instance.use import find_instance, known_or_ended, located, where
from rolekeeper_cli.instance.view import CallView, FirstCallView, RoleUseView, UptakeView, UseStatus
from rolekeeper_cli.shell.layout import arn_name

# How often EC2 gets new credentials of an instance's role.
_RENEWED = timedelta(hours=1)
# How late CloudTrail's records may come, with how wrong the machine's clock may be: AWS refuses calls beyond that.
_LATE, _SKEW = timedelta(minutes=20), timedelta(minutes=5)
# A record has whole seconds, and a history entry the time just before its call.
_SLACK = timedelta(seconds=5)
# The newest entries of an instance's history that are read.
_ENTRIES = 100

type Entry = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Delivery:
    """EC2 got credentials of a role for an instance."""

    role_arn: str
    at: datetime
    expires: datetime

    @classmethod
    def read(cls, event: Event, instance: str) -> "Delivery | None":
        """The delivery to an instance that a record is about; None if it is about something else."""
        is_delivery = event.name == "AssumeRole" and event.by.invoked_by.startswith("ec2.amazonaws.com")
        if not is_delivery or event.refused or recipient(event) != instance:
            return None
        role = found_in(event.request, "roleArn")
        expires = _time(event.response, "credentials.expiration") or event.at + LIVES
        return cls(str(role), event.at, expires) if role else None


@dataclass(frozen=True, slots=True)
class Use:
    """A call with a role's credentials: its action, the SDK that made it as it names itself, and the error code.

    `issued` is when EC2 got the credentials; None if the record doesn't say it. `user` is the role's id with the
    instance's, which tells roles of one ARN apart.
    """

    role_arn: str
    at: datetime
    action: str
    agent: str
    refused: str = ""
    issued: datetime | None = None
    user: str = ""

    @classmethod
    def read(cls, event: Event, instance: str) -> "Use | None":
        """The call with credentials that IMDS handed out on an instance; None if a record is about another call."""
        session = found_in(event.identity, "sessionContext")
        # Who may assume a role can name a session after any instance: only IMDS's have this (docs/AWS_FACTS.md).
        if event.by.session != instance or not event.by.role or not found_in(session, "ec2RoleDelivery"):
            return None
        return cls(
            event.by.role,
            event.at,
            f"{event.service}:{event.name}",
            event.agent,
            refused=event.refused,
            issued=_time(session, "attributes.creationDate"),
            user=str(found_in(event.identity, "principalId") or ""),
        )

    def view(self) -> CallView:
        return CallView(at=self.at, action=self.action, agent=self.agent, refused=self.refused or None)


# ---- asking Rolekeeper's history, EC2 and CloudTrail ----


def uptake(deployment: Deployment, text: str) -> UptakeView:
    """What software does on the instance that a text names; by its id also on one that has ended.

    CommandError if there is no such instance, and no record of one.
    """
    deployment, text = located(deployment, text)
    found = of_instance(deployment, *known_or_ended(deployment, text))
    if not (found.name or found.roles):
        find_instance(deployment, text)
    return found


def of_instance(deployment: Deployment, key: InstanceKey, name: str) -> UptakeView:
    """The same of an instance by its key; it has a `name`, or none."""
    told = _told(deployment, key)
    try:
        _ask(deployment, told)
    except AwsRefusalError as error:
        told.unknown = no_answer(deployment, error)
    roles = [each if each.carried else with_denial(deployment, each, told) for each in told.roles()]
    return told.view(key, name, roles)


def of_instance_if_readable(deployment: Deployment, key: InstanceKey, name: str) -> UptakeView:
    """The same; unknown, and why, if AWS refuses."""
    try:
        return of_instance(deployment, key, name)
    except AwsRefusalError as error:
        return unknown_of(deployment, key, name, error=error)


def unknown_of(deployment: Deployment, key: InstanceKey, name: str, *, error: AwsRefusalError) -> UptakeView:
    """What is said of an instance when nothing could be asked."""
    unknown = UptakeView.of_nothing().but(roles=(), looked_through=False)
    return unknown.but(**where(key), name=name, unknown_because=no_answer(deployment, error))


def with_denial(deployment: Deployment, former: RoleUseView, told: "Told") -> RoleUseView:
    """A former role with what `rolekeeper revoke` wrote onto it; a caller who may not read that sees none."""
    arn = former.role_arn or ""
    role = told.known_roles.get(arn)
    if role is None:
        return former
    with suppress(AwsRefusalError), classified("iam:GetRolePolicy", arn):
        answer = deployment.app.iam.client.get_role_policy(RoleName=former.role, PolicyName=POLICY)
        document, user = answer["PolicyDocument"], f"{role.id}:{told.instance}"
        found = entries(document) if isinstance(document, Mapping) else []
        denied = max((entry.before for entry in found if entry.user == user), default=None)
        got = [at for at in (former.until, former.delivered_at) if at]
        is_cut_off = bool(got and denied and denied > max(got))
        return former.but(denied_before=denied, status=UseStatus.CUT_OFF if is_cut_off else former.status)
    return former


def seconds_after(since: datetime | None, at: datetime) -> float | None:
    """Seconds since a role was attached, by AWS's clocks; None if that was too long ago to tell what came first."""
    return None if since is None or at - since > LIVES else max(0.0, (at - since).total_seconds())


def carried_by(deployment: Deployment, key: InstanceKey) -> RoleUseView | None:
    """The role that an instance carries now, and its use; None if it carries none, or CloudTrail gave no answer.

    ServiceError if the caller may not ask CloudTrail.
    """
    told = _told(deployment, key)
    try:
        _ask(deployment, told)
    except AccessDeniedError as error:
        raise ServiceError(no_answer(deployment, error), "only CloudTrail shows whether a role is in use") from error
    except RetryableError:
        return None
    return next((each for each in told.roles() if each.carried), None)


def _told(deployment: Deployment, key: InstanceKey) -> "Told":
    ec2 = deployment.app.ec2
    shown, instance = ec2.associations([key.id]).get(key.id), ec2.instances([key.id]).get(key.id)
    known = recent_spans(deployment, key, shown, role_of=roles_by_profile(deployment))
    return Told(key.id, known, deployment.now(), started=instance.started if instance else None)


def roles_by_profile(deployment: Deployment) -> Callable[[str], str]:
    """Gives the ARN of the role in a profile, by the profile's; empty if there is none any longer. It asks IAM once."""

    @cache
    def role(profile_arn: str) -> str:
        profile = deployment.app.iam.get_instance_profile(str(profile_name(profile_arn)))
        return profile.role_arn if profile and profile.arn == profile_arn else ""

    return role


def roles_by_arn(deployment: Deployment) -> Callable[[str], Role | None]:
    """Gives the role that has an ARN now; None if there is none, or IAM doesn't say. It asks IAM once."""

    @cache
    def role_now(arn: str) -> Role | None:
        with suppress(AwsRefusalError):
            role = deployment.app.iam.get_role(arn_name(arn))
            return role if role and role.arn == arn else None
        return None

    return role_now


def recent_spans(
    deployment: Deployment, key: InstanceKey, shown: Association | None, *, role_of: Callable[[str], str]
) -> list[Span]:
    """What an instance carried in the time that matters, by its history and by the association that EC2 shows."""
    known = spans(newest(deployment, key, _ENTRIES), shown)
    since = deployment.now() - LIVES - _SKEW
    return [replace(each, role_arn=role_of(each.profile_arn)) for each in known if not each.until or each.until > since]


def _ask(deployment: Deployment, told: "Told") -> None:
    """Have CloudTrail tell. What it told before an AwsRefusalError stays."""
    with deployment.progress(None, "events of CloudTrail looked through") as progress:
        history = EventHistory(deployment)
        for event in progress.over(history.lookup("ResourceName", told.instance, told.window)):
            told.delivered(event)
        told.answered = not history.cut
        told.look_roles_up(roles_by_arn(deployment))
        told.look_through(progress.over(history.lookup("Username", told.instance, told.since)))
    told.whole = told.whole and not history.cut


# ---- what that says of each role, without asking anybody ----


@dataclass(slots=True)
class Told:
    """What is known of an instance's roles: the `spans`, the oldest first, and CloudTrail's records as they come.

    `answered` says whether CloudTrail told of all deliveries, `whole` whether all calls were looked through; `started`
    when EC2 started the instance last. `known_roles` are those that IAM shows now, by ARN. `asked` says whether
    calls were looked for, `unknown` why CloudTrail says nothing, or not all.
    """

    instance: str
    spans: Sequence[Span]
    now: datetime
    answered: bool = False
    whole: bool = True
    started: datetime | None = None
    known_roles: dict[str, Role] = field(default_factory=dict)
    deliveries: dict[str, list[Delivery]] = field(default_factory=dict)
    uses: dict[str, list[Use]] = field(default_factory=dict)
    asked: bool = True
    unknown: str = ""

    @property
    def window(self) -> datetime:
        """Since when a delivery can matter."""
        return self.now - LIVES - _SKEW

    @property
    def since(self) -> datetime:
        """Since when calls matter: the first change whose former credentials may be valid."""
        changes = [at for each in self.spans if (at := each.after if each.carried else each.before_end)]
        return max(self.window, min(changes, default=self.window) - _SLACK)

    @property
    def looked_since(self) -> datetime:
        """Since when calls are known: an instance that wasn't there yet made none."""
        return max(self.since, self.started or self.since)

    @property
    def is_enough(self) -> bool:
        """Whether older calls tell nothing new: the role was attached long ago, is in use, and works."""
        if self.since > self.window or len(self._roles()) != 1:
            return False
        return any(not use.refused for role in self.uses for use in self._uses(role))

    def look_roles_up(self, role_of: Callable[[str], Role | None]) -> None:
        self.known_roles |= {arn: found for arn in self._roles() if ":role/" in arn and (found := role_of(arn))}

    def delivered(self, event: Event) -> None:
        if found := Delivery.read(event, self.instance):
            self.deliveries.setdefault(found.role_arn, []).append(found)

    def used(self, event: Event) -> None:
        """Take a call, if it was made with a role of the instance."""
        found = Use.read(event, self.instance)
        if found and found.role_arn in self._roles():
            self.uses.setdefault(found.role_arn, []).append(found)

    def look_through(self, calls: Iterable[Event]) -> None:
        """Take calls, the newest first, until older ones tell nothing new."""
        for event in calls:
            self.used(event)
            if self.is_enough:
                self.whole = False
                return

    def view(self, key: InstanceKey, name: str, roles: Sequence[RoleUseView]) -> UptakeView:
        return UptakeView(
            **where(key),
            name=name,
            roles=roles,
            looked_since=self.looked_since if self.asked else None,
            looked_through=self.asked and self.whole,
            unknown_because=self.unknown or None,
        )

    def roles(self) -> list[RoleUseView]:
        """The carried role, then those former ones whose credentials may be valid, the last one first."""
        roles = self._roles()
        carried = [self._carried(role, each) for role, each in roles.items() if each.carried]
        since = carried[0].since or carried[0].delivered_at if carried else None
        former = [self._former(role, each, since or self.now) for role, each in roles.items() if not each.carried]
        valid = (each for each in reversed(former) if each.valid_until and each.valid_until > self.now - _SKEW)
        return [*carried, *valid]

    def _roles(self) -> dict[str, Span]:
        """The last span of each role, by its ARN, or by its profile's where that holds none; others' roles first."""
        found = {role: Span("") for role in self.deliveries}
        for each in self.spans:
            role = each.role_arn or each.profile_arn
            found.pop(role, None)
            found[role] = each
        return found

    def _carried(self, role: str, span: Span) -> RoleUseView:
        began = max(self.window, span.after - _SLACK) if span.after else self.window
        deliveries = self._deliveries(role)
        own = [each for each in deliveries if each.at >= began]
        calls = recent = [use for use in self._uses(role) if use.at >= began]
        if span.after:
            # It may have been attached before, and credentials of that time are still good for calls.
            calls = [use for use in recent if use.issued and use.issued >= span.after - _SLACK]
        is_new = bool(span.since) and began > self.window
        delivered = own[0 if is_new else -1].at if own else None
        first = None
        if calls and is_new and self.whole:
            first = FirstCallView(**vars(calls[0].view()), after_seconds=seconds_after(span.since, calls[0].at))
        earlier = next((use for use in reversed(recent) if use.issued and use not in calls), None)
        return self._view(
            role,
            span,
            calls,
            status=UseStatus.IN_USE if calls else UseStatus.DELIVERED if delivered else UseStatus.NOT_SEEN,
            delivered_at=delivered,
            delivered_after_seconds=seconds_after(span.since, delivered) if delivered else None,
            first_use=first,
            earlier_use=earlier.view() if earlier else None,
            valid_until=max((each.expires for each in deliveries), default=None),
            valid_until_is_recorded=bool(deliveries),
        )

    def _former(self, role: str, span: Span, replaced: datetime) -> RoleUseView:
        """A former role; by when another role was there is `replaced`."""
        deliveries = self._deliveries(role)
        seen = [*filter(None, [span.after]), *(each.at for each in deliveries)]
        # Another actor may have given it back since, which Rolekeeper didn't see.
        until = span.until if span.until and max(seen, default=span.until) <= span.until + _SLACK else None
        ended = until or self._ended(seen, replaced)
        recorded = max((each.expires for each in deliveries), default=None)
        is_recorded = recorded is not None and self.now - ended > _LATE
        used = [use for use in self._uses(role) if use.at > ended + _SLACK]
        return self._view(
            role,
            span,
            used,
            status=UseStatus.STILL_USED if used else UseStatus.STILL_VALID,
            until=until,
            delivered_at=deliveries[-1].at if deliveries else None,
            valid_until=recorded if is_recorded else ended + LIVES,
            valid_until_is_recorded=is_recorded,
        )

    def _view(self, role: str, span: Span, calls: Sequence[Use], **found: Any) -> RoleUseView:
        return RoleUseView.of_nothing().but(
            role=arn_name(role),
            role_arn=role if role != span.profile_arn else None,
            instance_profile=profile_name(span.profile_arn),
            carried=span.carried,
            since=span.since,
            last_use=calls[-1].view() if calls else None,
            last_accepted_use=next((use.view() for use in reversed(calls) if not use.refused), None),
            **found,
        )

    def _ended(self, seen: Sequence[datetime], replaced: datetime) -> datetime:
        """When a role was taken at the latest, by when it was `seen`: EC2 gets new credentials of it each hour."""
        last = max(seen, default=self.window)
        taken = replaced if replaced > last else self.now
        return min(taken, last + _RENEWED) if self.answered else taken

    def _deliveries(self, role: str) -> list[Delivery]:
        """The role's deliveries in their order; a record names no id, and those of a deleted role are older."""
        created = self.known_roles[role].created if role in self.known_roles else None
        found = (each for each in self.deliveries.get(role, ()) if created is None or each.at >= created)
        return sorted(found, key=lambda each: each.at)

    def _uses(self, role: str) -> list[Use]:
        known = self.known_roles.get(role)
        users = {"", f"{known.id}:{self.instance}"} if known else set[str]()
        found = (use for use in self.uses.get(role, ()) if not users or use.user in users)
        return sorted(found, key=lambda use: use.at)


# ---- records from outside ----


def recipient(event: Event) -> str:
    """The name of the session that an `AssumeRole` is for: to EC2 it is the instance's id."""
    return str(found_in(event.request, "roleSessionName"))


def _time(document: Any, path: str) -> datetime | None:
    """A time in a record; None if it is missing, or can't be read."""
    try:
        found: datetime = parse_timestamp(str(found_in(document, path)))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
