"""The deployment that a command talks to: its stack, its tables, and the layer's own collaborators over them."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config

from rolekeeper.cells import Home
from rolekeeper.clients import CONFIG
from rolekeeper.contention import ContentionRule
from rolekeeper.ec2 import Ec2
from rolekeeper.errors import PermanentError, classified
from rolekeeper.iam import Iam
from rolekeeper.limits import Limits
from rolekeeper.mapping_table import MappingTable
from rolekeeper.model import Mode
from rolekeeper.revisions import Revisions
from rolekeeper.roles import Roles
from rolekeeper.rules import Ownership, Rules
from rolekeeper.state import State
from rolekeeper.store import Store
from rolekeeper.work import WorkQueue
from rolekeeper_cli import output
from rolekeeper_cli.options import Options
from rolekeeper_cli.trouble import ConfigurationError

STACK = "rolekeeper"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who runs the command, as AWS knows them."""

    arn: str
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


class Deployment:
    """Everything is asked for once, and only when it is needed."""

    def __init__(self, options: Options) -> None:
        self._options = options

    @cached_property
    def session(self) -> boto3.Session:
        """The AWS SDK's session."""
        region = self._options.region or os.environ.get("AWS_REGION")
        return boto3.Session(profile_name=self._options.profile, region_name=region)

    def client(self, service: str, config: Config | None = None) -> Any:
        """A client of one service, with its own time limits if need be; AWS_ENDPOINT_URL is the SDK's own."""
        return self.session.client(
            service, config=CONFIG.merge(config) if config else CONFIG, endpoint_url=self._options.endpoint_url
        )  # type: ignore[call-overload]  # the stubs want a literal name

    def now(self) -> datetime:
        """The time."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    @cached_property
    def stack(self) -> Stack:
        """The stack.

        Raises:
            ConfigurationError: there is none of that name, or it is none of Rolekeeper's.
        """
        name = self._options.stack or os.environ.get("ROLEKEEPER_STACK") or STACK
        region = self.session.region_name
        elsewhere = "deploy Rolekeeper, or say where it is: --stack, --region, --profile"
        try:
            with classified("cloudformation:DescribeStacks", name):
                [found] = self.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
        except PermanentError as error:
            if error.code != "ValidationError":
                raise
            raise ConfigurationError(f"there is no stack '{name}' in {region}", elsewhere) from error
        outputs = {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", ())}
        if missing := {"MappingTable", "StateTable", "WorkQueue"} - outputs.keys():
            what = f"stack '{name}' in {region} has no output {min(missing)}, so it isn't a running Rolekeeper"
            raise ConfigurationError(what, elsewhere)
        parameters = {each["ParameterKey"]: each["ParameterValue"] for each in found.get("Parameters", ())}
        return Stack(name, outputs, parameters, found["StackStatus"], found["CreationTime"])

    def resource(self, name: str) -> str:
        """What AWS calls a resource of the stack, by its name in the template.

        Raises:
            ConfigurationError: the stack has none of that name: it is of another version.
        """
        try:
            with classified("cloudformation:DescribeStackResource", self.stack.name):
                answer = self.client("cloudformation").describe_stack_resource(
                    StackName=self.stack.name, LogicalResourceId=name
                )
        except PermanentError as error:
            if error.code != "ValidationError":
                raise
            raise self._other_version(f"resource {name}") from error
        return str(answer["StackResourceDetail"]["PhysicalResourceId"])

    @cached_property
    def caller(self) -> Caller:
        """Who runs the command."""
        with classified("sts:GetCallerIdentity", "*"):
            answer = self.client("sts").get_caller_identity()
        return Caller(answer["Arn"], answer["Account"], answer["Arn"].split(":")[1])

    @property
    def home(self) -> Home:
        """To tell the ARNs of other accounts from our own."""
        return Home(self.caller.account, self.caller.partition)

    @property
    def mode(self) -> Mode:
        """The mode as deployed."""
        return Mode(self.stack.parameters.get("Mode") or Mode.ENFORCE)

    @property
    def ownership(self) -> Ownership:
        """Which profiles are managed."""
        return Ownership.under(
            self.role_path,
            self.caller.account,
            self.caller.partition,
            take_over=self.stack.parameters.get("TakeOver") == "true",
        )

    @property
    def rules(self) -> Rules:
        """What the deployment lets Rolekeeper do with an instance."""
        within = timedelta(minutes=self._number("ContestedWindowMinutes"))
        return Rules(self.mode, self.ownership, ContentionRule(self._number("ContestedAfter"), within))

    @property
    def limits(self) -> Limits:
        """How many instances may change at once without approval."""
        return Limits(self._number("MaxChangesPerEdit"), self._number("MaxChangesPercent"))

    @property
    def window_minutes(self) -> int:
        """The minutes in which one mapping may replace and detach that many roles."""
        return self._number("ChangeWindowMinutes")

    def _number(self, parameter: str) -> int:
        """A parameter of the stack.

        Raises:
            ConfigurationError: the stack has none of that name: it is of another version.
        """
        try:
            return int(self.stack.parameters[parameter])
        except KeyError as error:
            raise self._other_version(f"parameter {parameter}") from error

    def _other_version(self, lacks: str) -> ConfigurationError:
        what = f"stack '{self.stack.name}' has no {lacks}, so it is of another version"
        return ConfigurationError(what, "deploy this version, or use the command of that one")

    @cached_property
    def dynamodb(self) -> Any:
        """DynamoDB's client."""
        return self.client("dynamodb")

    @property
    def mapping_table_name(self) -> str:
        """The mapping table's name."""
        return self.stack.outputs["MappingTable"]

    @cached_property
    def mapping_table(self) -> MappingTable:
        """The mapping table."""
        return MappingTable(self.dynamodb, self.mapping_table_name)

    @cached_property
    def store(self) -> Store:
        """The state table."""
        return Store(self.dynamodb, self.stack.outputs["StateTable"])

    @cached_property
    def state(self) -> State:
        """What the state table knows of instances."""
        return State(self.store)

    @cached_property
    def revisions(self) -> Revisions:
        """What the state table knows of mappings."""
        return Revisions(self.store)

    @cached_property
    def work_queue(self) -> WorkQueue:
        """The queue of instances to reconcile."""
        return WorkQueue(self.client("sqs"), self.stack.outputs["WorkQueue"])

    @cached_property
    def ec2(self) -> Ec2:
        """EC2 in the caller's account and Region."""
        return Ec2(self.client("ec2"), self.caller.account, str(self.session.region_name), self.caller.partition)

    @property
    def role_path(self) -> str:
        """The path of the roles that can be given."""
        return self.stack.parameters.get("RolePath") or "/rolekeeper/"

    @cached_property
    def iam(self) -> Iam:
        """IAM in the caller's account."""
        return Iam(self.client("iam"), self.caller.account, self.caller.partition)

    @cached_property
    def roles(self) -> Roles:
        """The checks of roles. What is missing of a profile is told; the command makes nothing in IAM."""
        return Roles(self.iam, self.caller.account, self.role_path, makes_profiles=False)

    @cached_property
    def served_roles(self) -> Roles:
        """The checks as the functions make them, who make what is missing of a profile if the stack lets them."""
        makes = self.stack.parameters.get("CreateMissingProfiles") == "true"
        return Roles(self.iam, self.caller.account, self.role_path, makes_profiles=makes)


def deployment() -> Deployment:
    """The deployment that the command line names."""
    return Deployment(output.options())
