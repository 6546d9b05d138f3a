"""A deployment with its resources, alarms, rows and roles, each read once however many checks and pages need it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any

from rolekeeper.aws.iam import Role
from rolekeeper.mappings.rows import Attributes, read_row
from rolekeeper.model.mapping import IGNORE_TAG, MappingKey, MappingSpec
from rolekeeper_cli.aws.deployment import Deployment


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource of the stack: its name in the template, and the one that AWS knows it by."""

    kind: str
    name: str
    id: str


class DoctorDeployment(Deployment):
    """See the module."""

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
        found = self.pages("cloudformation:ListStackResources", name, StackName=name)
        return [
            Resource(each["ResourceType"], each["LogicalResourceId"], each["PhysicalResourceId"])
            for page in found
            for each in page["StackResourceSummaries"]
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
        found = self.pages("cloudwatch:DescribeAlarms", self.stack.name, AlarmNames=list(names))
        return {names[each["AlarmName"]]: each for page in found for each in page["MetricAlarms"]}

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
        found = self.pages("iam:ListRoles", self.app.iam.arn("role", path, "*"), PathPrefix=path)
        roles = (
            Role(each["RoleName"], each["Arn"], each["Path"], trust=_trust(each))
            for page in found
            for each in page["Roles"]
        )
        return sorted(roles, key=lambda each: each.name)


def _users(specs: Iterable[MappingSpec]) -> dict[str, list[str]]:
    users: dict[str, set[str]] = {}
    for spec in specs:
        users.setdefault(spec.role, set()).add(str(spec.key))
    return {role: sorted(keys) for role, keys in users.items()}


def _trust(role: Mapping[str, Any]) -> Mapping[str, Any]:
    """A role's trust policy as botocore decodes it; one that it can't decode stays text, and lets nobody in."""
    policy = role.get("AssumeRolePolicyDocument")
    return policy if isinstance(policy, Mapping) else {}
