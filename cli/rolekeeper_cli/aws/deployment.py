"""The deployment that a command talks to: its stack, and the parts that its functions are made of (`app`)."""

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property, partial
from threading import Lock
from typing import Any, Self

import boto3
from botocore import xform_name
from botocore.config import Config

from rolekeeper.app import App
from rolekeeper.aws import CONFIG
from rolekeeper.aws.answers import parse_quickly
from rolekeeper.aws.errors import PermanentError, classified
from rolekeeper.aws.iam import Role
from rolekeeper.mappings.rows import Attributes, read_row
from rolekeeper.model.instance import Target
from rolekeeper.model.mapping import IGNORE_TAG, MappingKey, MappingSpec
from rolekeeper.settings import Access, Settings
from rolekeeper_cli.aws.explained import refuse_foreign
from rolekeeper_cli.errors import ConfigurationError
from rolekeeper_cli.options import Options
from rolekeeper_cli.progress import Silent

SESSION = "rolekeeper-command"  # what the spoke's CloudTrail shows beside the role
# A role that a role assumes has an hour at most ("role chaining", IAM user guide, "Methods to assume a role").
_LASTS_SECONDS, _LEFT = 3_600, timedelta(minutes=5)


def _keys(given: Mapping[str, Any]) -> dict[str, str]:
    """Credentials that STS gave, as a session takes them."""
    return {
        "aws_access_key_id": given["AccessKeyId"],
        "aws_secret_access_key": given["SecretAccessKey"],
        "aws_session_token": given["SessionToken"],
    }


class Patience:
    """How many seconds a wait goes on without news."""

    def __init__(self, now: Callable[[], datetime], seconds: float) -> None:
        self._now, self._seconds = now, seconds
        self.renew()

    def renew(self) -> None:
        """Something came, so the time begins again."""
        self._deadline = self._now().timestamp() + self._seconds

    @property
    def is_over(self) -> bool:
        return self._now().timestamp() >= self._deadline


STACK = "rolekeeper"
_OTHER_VERSION = "deploy this version, or use the command of that one"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who runs the command, as AWS knows them; `id` is what policies call aws:userid."""

    arn: str
    id: str
    account: str
    partition: str


@dataclass(frozen=True, slots=True)
class Stack:
    """What CloudFormation says of the deployment."""

    name: str
    outputs: Mapping[str, str]
    parameters: Mapping[str, str]
    status: str
    created: datetime


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource of the stack: its name in the template, and the one that AWS knows it by."""

    kind: str
    name: str
    id: str


def describe_stack(client: Any, name: str) -> Mapping[str, Any] | None:
    """A stack as CloudFormation's DescribeStacks answers; None if there is none."""
    try:
        with classified("cloudformation:DescribeStacks", name):
            [found] = client.describe_stacks(StackName=name)["Stacks"]
    except PermanentError as error:
        # CloudFormation has no error code for a stack that doesn't exist.
        if error.code != "ValidationError":
            raise
        return None
    return dict(found)


def parameters_of(stack: Mapping[str, Any]) -> dict[str, str]:
    return {each["ParameterKey"]: each["ParameterValue"] for each in stack.get("Parameters", ())}


def outputs_of(stack: Mapping[str, Any]) -> dict[str, str]:
    return {each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", ())}


type Remember = Callable[[str, Callable[[], Any]], Any]
"""Gives what is known under a name, or asks for it."""

# What a deployment without an organization does.
OWN_ONLY = "looks after its own account and Region only"


class Deployment:
    """Asks AWS for each thing once, when it is first needed."""

    def __init__(
        self,
        options: "Options",
        progress: Callable[[int | None, str], Silent] = Silent,
        debug: Callable[[boto3.Session, str | None], object] | None = None,
    ) -> None:
        """`progress` shows how far longer work is; `debug` gets the session and the endpoint, if that is asked for."""
        self._options = options
        self.progress = progress
        self._debug = debug
        self._making = Lock()
        self._shared = cache(self.client)
        # By role, until when its credentials are valid, and what makes each client with them once.
        self._viewers: dict[str, tuple[datetime, Callable[[str, str], Any]]] = {}
        self._remember: Remember = lambda _, ask: ask()
        self._called: dict[str, float] = {}

    def anew(self, remember: Remember | None = None) -> Self:
        """One that has asked nothing yet, over the same session and clients.

        For long-running processes: the cached stack, roles and policies are forgotten.

        `remember` gives the caller and the stack of some seconds ago: every page is about them, and CloudFormation
        answers a few calls a second.
        """
        other = type(self)(self._options, self.progress, self._debug)
        other.session, other._making, other._shared = self.session, self._making, self._shared  # noqa: SLF001  # its own
        other._viewers, other._called = self._viewers, self._called  # noqa: SLF001  # its own
        if remember:
            other._remember = remember  # noqa: SLF001  # its own
        return other

    def of_stack(self, name: str) -> Self:
        """Another deployment of the same caller and Region, over the same session."""
        other = self.anew()
        other._options = replace(self._options, stack=name)  # noqa: SLF001  # its own
        return other

    def at(self, target: Target) -> Self:
        """The same deployment, with the instances and the roles of a target."""
        return self if target == self.settings.target else self.over(self.app.at(target))

    def over(self, app: App) -> Self:
        """The same deployment, made of other parts."""
        other = copy(self)
        other.app, other.settings = app, app.settings
        return other

    @property
    def home(self) -> Target:
        """The deployment's own account and Region."""
        return self.app.at().settings.target

    @property
    def elsewhere(self) -> bool:
        """Whether the instances and the roles are those of another target than the deployment's own."""
        return self.settings.target != self.home

    @cached_property
    def session(self) -> boto3.Session:
        region = self._options.region or os.environ.get("AWS_REGION")
        session = _session(profile_name=self._options.profile, region_name=region)
        if self._options.debug and self._debug:
            self._debug(session, self._options.endpoint_url)
        return session

    @property
    def region(self) -> str:
        return str(self.session.region_name)

    def take_whole_answers(self) -> None:
        """Have clients that are made from now on give every member of AWS's answers, not only those that are read."""
        parse_quickly(self.session.events.unregister)

    def client(self, service: str, config: Config | None = None) -> Any:
        """A client of one service, with its own time limits if need be; AWS_ENDPOINT_URL is the SDK's own."""
        with self._making:  # a session makes one client at a time (Boto3 guide, "Session": not thread safe)
            return self.session.client(
                service, config=CONFIG.merge(config) if config else CONFIG, endpoint_url=self._options.endpoint_url
            )  # type: ignore[call-overload]  # the stubs want a literal name

    def _make(self, service: str, region: str, credentials: Mapping[str, str]) -> Any:
        """A client with other credentials, in any Region."""
        with self._making:
            session = _session(region_name=region, **credentials)
            return session.client(service, config=CONFIG, endpoint_url=self._options.endpoint_url)  # type: ignore[call-overload]  # the same

    def client_as(self, given: Mapping[str, Any], service: str) -> Any:
        """A client in the same Region with credentials that STS gave."""
        return self._make(service, self.region, _keys(given))

    def client_in(self, there: Settings, service: str) -> Any:
        """A client in another target, as the spoke's viewer. AwsRefusalError if the caller may not be that."""
        role = there.spoke_role(Access.VIEWER)
        viewer = self._viewers.get(role)
        if viewer is None or viewer[0] - self.now() <= _LEFT:
            asked = {"RoleArn": role, "RoleSessionName": SESSION, "DurationSeconds": _LASTS_SECONDS}
            given = self.ask("sts:AssumeRole", role, **asked)["Credentials"]
            make = partial(self._make, credentials=_keys(given))
            viewer = self._viewers[role] = given["Expiration"], cache(make)
        return viewer[1](service, there.region)

    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def keep_rate(self, what: str, every: float) -> None:
        """Wait until `what` was called no less than `every` seconds ago in this target, and count this call."""
        name = f"{what} {self.settings.target}"
        self.sleep(max(0.0, self._called.get(name, 0.0) + every - self.now().timestamp()))
        self._called[name] = self.now().timestamp()

    def ask(self, action: str, of: str, **asked: Any) -> Any:
        """AWS's answer to an action such as `iam:GetRole`, in the own account; `of` is what an error names."""
        service, _, operation = action.partition(":")
        with classified(action, of):
            return getattr(self._shared(service), xform_name(operation))(**asked)

    def organization(self) -> Mapping[str, str]:
        """The organization of the caller's account; empty if it is in none."""
        try:
            found: Mapping[str, str] = self.ask("organizations:DescribeOrganization", "*")["Organization"]
        except PermanentError as error:
            if error.code != "AWSOrganizationsNotInUseException":
                raise
            return {}
        return found

    def items(self, action: str, of: str, member: str, **asked: Any) -> list[Mapping[str, Any]]:
        """What a member of the answer lists, on all pages, as `ask`."""
        service, _, operation = action.partition(":")
        with classified(action, of):
            pages = self._shared(service).get_paginator(xform_name(operation)).paginate(**asked)
            return [item for page in pages for item in page[member]]

    def looks(self, every: float, patience: float, *, most: float = 0) -> Iterator[Patience]:
        """One turn for each look, at most one in `every` seconds. The caller leaves the loop.

        With `most`, each wait is twice as long as the one before, until it is that long.
        """
        left = Patience(self.now, patience)
        while True:
            began = self.now().timestamp()
            yield left
            self.sleep(max(every, self.now().timestamp() - began))
            every = max(every, min(2 * every, most))

    @property
    def endpoint_url(self) -> str:
        """Where AWS is, if the command line, AWS_ENDPOINT_URL or the profile says it; empty for AWS's own addresses."""
        if given := self._options.endpoint_url or os.environ.get("AWS_ENDPOINT_URL"):
            return given
        # boto3 has no other way to what a profile says.
        return str(self.session._session.get_scoped_config().get("endpoint_url", ""))  # noqa: SLF001

    @property
    def stack_name(self) -> str:
        """The stack's name, whether there is one or not."""
        return self._options.stack or os.environ.get("ROLEKEEPER_STACK") or STACK

    @cached_property
    def outputs(self) -> Mapping[str, str]:
        """The stack's outputs, whatever they are; empty where there is no working stack."""
        try:
            return self.stack.outputs
        except ConfigurationError:
            return {}

    @cached_property
    def stack(self) -> Stack:
        """The stack. ConfigurationError if there is none of that name, or it isn't a Rolekeeper stack."""
        found: Stack = self._remember("stack", self._ask_stack)
        return found

    def require_organization(self) -> None:
        """Raise ConfigurationError unless the stack is a hub."""
        if not self.stack.parameters.get("OrganizationId"):
            raise ConfigurationError(
                f"stack '{self.stack.name}' {OWN_ONLY}",
                "deploy it with --organization-id first: rolekeeper deploy --organization-id o-…",
            )

    def _ask_stack(self) -> Stack:
        name, region = self.stack_name, self.region
        elsewhere = "deploy Rolekeeper, or say where it is: --stack, --region, --profile"
        found = describe_stack(self.client("cloudformation"), name)
        if found is None:
            raise ConfigurationError(f"there is no stack '{name}' in {region}", elsewhere)
        outputs = outputs_of(found)
        if missing := {"MappingTable", "StateTable", "WorkQueue"} - outputs.keys():
            what = f"stack '{name}' in {region} has no output {min(missing)}, so it isn't a running Rolekeeper"
            raise ConfigurationError(what, elsewhere)
        return Stack(name, outputs, parameters_of(found), status=found["StackStatus"], created=found["CreationTime"])

    def resource(self, name: str) -> str:
        """What AWS calls a resource of the stack, by its name in the template. ConfigurationError if it has none."""
        try:
            stack = self.stack.name
            answer = self.ask("cloudformation:DescribeStackResource", stack, StackName=stack, LogicalResourceId=name)
        except PermanentError as error:
            if error.code != "ValidationError":
                raise
            raise self._other_version(f"resource {name}") from error
        return str(answer["StackResourceDetail"]["PhysicalResourceId"])

    @cached_property
    def caller(self) -> Caller:
        found: Caller = self._remember("caller", self._ask_caller)
        return found

    def _ask_caller(self) -> Caller:
        answer = self.ask("sts:GetCallerIdentity", "*")
        return Caller(answer["Arn"], answer["UserId"], answer["Account"], partition=answer["Arn"].split(":")[1])

    @cached_property
    def settings(self) -> Settings:
        """The stack's parameters and outputs as its functions read them. ConfigurationError if it lacks one."""
        stack, caller = self.stack, self.caller
        tables = {"MAPPING_TABLE": stack.outputs["MappingTable"], "STATE_TABLE": stack.outputs["StateTable"]}
        # The functions' environment names MaxChangesPerEdit MAX_CHANGES_PER_EDIT.
        names = {name: re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper() for name in stack.parameters}
        parameters = {names[name]: value for name, value in stack.parameters.items()}
        environ = {**parameters, **tables, "WORK_QUEUE_URL": stack.outputs["WorkQueue"]}
        try:
            return Settings.read(environ, account=caller.account, region=self.region, partition=caller.partition)
        except KeyError as error:
            parameter = error.args[0].title().replace("_", "")
            raise self._other_version(f"parameter {parameter}") from error
        except ValueError as error:
            what = f"a parameter of stack '{stack.name}' can't be read ({error}), so it is of another version"
            raise ConfigurationError(what, _OTHER_VERSION) from error

    @cached_property
    def app(self) -> App:
        """The parts that the functions are made of, with the caller's own permissions."""
        return App(self.settings, self._shared, client_of=self.client_in, now=self.now, sleep=self.sleep)

    def _other_version(self, lacks: str) -> ConfigurationError:
        what = f"stack '{self.stack.name}' has no {lacks}, so it is of another version"
        return ConfigurationError(what, _OTHER_VERSION)

    # ---- what several checks, commands and pages need ----

    def output(self, name: str) -> str:
        """An output of the stack. ConfigurationError if the stack has none of that name: it is of another version."""
        try:
            return self.stack.outputs[name]
        except KeyError as error:
            raise self._other_version(f"output {name}") from error

    @property
    def sweep_overdue(self) -> timedelta:
        """After how long without a finished sweep the alarm rings."""
        try:
            return timedelta(hours=int(self.stack.parameters["SweepOverdueHours"]))
        except KeyError as error:
            raise self._other_version("parameter SweepOverdueHours") from error

    @cached_property
    def resources(self) -> Sequence[Resource]:
        name = self.stack.name
        found = self.items("cloudformation:ListStackResources", name, "StackResourceSummaries", StackName=name)
        return [
            Resource(each["ResourceType"], each["LogicalResourceId"], each["PhysicalResourceId"])
            for each in found
            if each.get("PhysicalResourceId") and each["ResourceStatus"] != "DELETE_COMPLETE"
        ]

    def of(self, kind: str) -> list[Resource]:
        return sorted((each for each in self.resources if each.kind == kind), key=lambda each: each.name)

    @cached_property
    def alarms(self) -> Mapping[str, Mapping[str, Any]]:
        """The stack's alarms that exist, by their names in the template."""
        names = {each.id: each.name for each in self.of("AWS::CloudWatch::Alarm")}
        if not names:
            return {}  # without names CloudWatch would answer with all alarms
        found = self.items("cloudwatch:DescribeAlarms", self.stack.name, "MetricAlarms", AlarmNames=list(names))
        return {names[each["AlarmName"]]: each for each in found}

    def runbook(self, alarm: str) -> str:
        """The page and section about an alarm, by its name at AWS."""
        return f"docs/runbook.md#{alarm.removeprefix(f'{self.stack.name}-')}"

    @cached_property
    def rows(self) -> Mapping[MappingKey, Attributes]:
        return self.app.table.all_rows()

    @cached_property
    def specs(self) -> Sequence[MappingSpec]:
        """Every mapping: as its row says, if that can be read, and as it is published."""
        published = self.app.state.read([], self.rows).published.values()
        written = [spec for row in self.rows.values() if (spec := read_row(row, self.app.home).spec)]
        return [*written, *(each.spec for each in published if not each.deleted)]

    @property
    def mapped_keys(self) -> Sequence[str]:
        """The tag keys by which a person who tags chooses a role, or keeps Rolekeeper away."""
        required = {key for each in self.specs for key in each.require_tags}
        return sorted({each.tag_key for each in self.rows} | required | {IGNORE_TAG})

    @cached_property
    def role_users(self) -> Mapping[str, Sequence[str]]:
        """By a role's name, the mappings that give it: as their rows say, or as they are published."""
        return _users(self.specs)

    @cached_property
    def role_users_by_account(self) -> Mapping[str, Mapping[str, Sequence[str]]]:
        """The same in each account: of a hub, those mappings whose scope has it."""
        if not self.settings.organization:
            return {self.home.account: self.role_users}
        specs: dict[str, list[MappingSpec]] = {}
        for at, unit in {self.home: "", **{each.target: each.unit for each in self.app.registry.all()}}.items():
            covering = (spec for spec in self.specs if spec.covers(at.account, at.region, unit))
            specs.setdefault(at.account, []).extend(covering)
        return {account: _users(each) for account, each in specs.items()}

    @cached_property
    def path_roles(self) -> Sequence[Role]:
        path = self.settings.role_path
        found = self.items("iam:ListRoles", self.app.iam.arn("role", path, "*"), "Roles", PathPrefix=path)
        roles = (
            Role(each["RoleName"], each["Arn"], each["Path"], trust=trust if isinstance(trust, Mapping) else {})
            for each in found
            # A policy that botocore can't decode stays text, and lets nobody in.
            for trust in (each.get("AssumeRolePolicyDocument"),)
        )
        return sorted(roles, key=lambda each: each.name)


def _session(**given: str | None) -> boto3.Session:
    """A session whose clients take no page for AWS's answer."""
    made = boto3.Session(**given)  # type: ignore[arg-type]  # each is a text
    made.events.register("before-parse", refuse_foreign)
    parse_quickly(made.events.register)
    return made


def _users(specs: Iterable[MappingSpec]) -> dict[str, list[str]]:
    users: dict[str, set[str]] = {}
    for spec in specs:
        users.setdefault(spec.role, set()).add(str(spec.key))
    return {role: sorted(keys) for role, keys in users.items()}
