"""CloudFormation as a deployment asks it: one stack, change sets, and events that come while somebody waits."""

import json
from collections.abc import Callable, Iterator
from itertools import batched, count
from typing import Any

from fakes.ec2 import client_error

ID = "arn:aws:cloudformation:us-east-1:123456789012:stack/{}/1"
STACK = "AWS::CloudFormation::Stack"
PAGE = 2


def change(action: str, resource: str, kind: str, replacement: str = "", *properties: str) -> dict[str, Any]:
    details = [{"Target": {"Attribute": "Properties", "Name": name}} for name in properties]
    told = {"Action": action, "LogicalResourceId": resource, "ResourceType": kind, "Details": details}
    return {"ResourceChange": told | ({"Replacement": replacement} if replacement else {})}


class FakeCloudFormation:
    """See the module. `made` has the calls that change something, in their order.

    A story says what the next change set would change (`changes`), what fails (`failures`: resource, type, reason),
    how the operation ends (`ends`), and how many looks find nothing new while its queue is made (`quiet`).
    """

    def __init__(self, name: str = "rolekeeper") -> None:
        self.name = name
        self.status: str | None = None
        self.parameters: dict[str, str] = {}
        self.outputs: dict[str, str] = {}
        self.description = "Rolekeeper. Tag an EC2 instance, and it gets the role."
        self.changes: list[dict[str, Any]] = []
        self.refusal = ""
        self.failures: list[tuple[str, str, str]] = []
        self.ends = ""
        self.quiet = 0
        self.made: list[tuple[str, dict[str, Any]]] = []
        self.template: dict[str, Any] = {"Resources": {}}
        self.resources: dict[str, str] = {}
        self._events: list[dict[str, Any]] = []
        self._coming: list[dict[str, Any]] = []
        self._numbers = count(1)

    def deployed(self, version: str = "0.1.0", **parameters: str) -> None:
        self.status = "UPDATE_COMPLETE"
        self.parameters = parameters
        tables = {"MappingTable": "m", "StateTable": "s", "WorkQueue": "q"}
        self.outputs = tables | ({"Version": version} if version else {})
        self._happens(self.name, STACK, "CREATE_COMPLETE")

    @property
    def calls(self) -> list[str]:
        return [name for name, _ in self.made]

    def asked(self, name: str) -> dict[str, Any]:
        return next(given for called, given in reversed(self.made) if called == name)

    # ---- what the command calls ----

    def describe_stacks(self, StackName: str) -> Any:  # noqa: N803  # boto3's own names, here and below
        if self.status is None or StackName not in (self.name, ID.format(self.name)):
            raise client_error("ValidationError", f"Stack with id {StackName} does not exist")
        found = {
            "StackId": ID.format(self.name),
            "StackStatus": self.status,
            "Description": self.description,
            "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in self.parameters.items()],
            "Outputs": [{"OutputKey": key, "OutputValue": value} for key, value in self.outputs.items()],
        }
        return {"Stacks": [found]}

    def create_change_set(self, **given: Any) -> Any:
        """Make a change set; of a new stack, the stack with it."""
        self.made.append(("create_change_set", given))
        self.status = self.status or "REVIEW_IN_PROGRESS"
        return {"Id": "change-set", "StackId": ID.format(self.name)}

    def delete_change_set(self, **given: Any) -> None:
        self.made.append(("delete_change_set", given))

    def execute_change_set(self, **given: Any) -> None:
        """Begin; the events come as they are asked for."""
        self.made.append(("execute_change_set", given))
        asked = self.asked("create_change_set")["Parameters"]
        self.parameters = {
            each["ParameterKey"]: each.get("ParameterValue", self.parameters.get(each["ParameterKey"], ""))
            for each in asked
        }
        verb = self.asked("create_change_set")["ChangeSetType"]
        self._begin(verb, self.ends or f"{verb}_COMPLETE")

    def delete_stack(self, **given: Any) -> None:
        """Delete the stack, or begin to."""
        self.made.append(("delete_stack", given))
        if self.status == "REVIEW_IN_PROGRESS":
            self.status = None
        else:
            self._begin("DELETE", self.ends or "DELETE_COMPLETE")

    def get_template(self, **_: Any) -> Any:
        return {"TemplateBody": json.dumps(self.template)}

    def get_paginator(self, operation: str) -> "_Pages":
        """Pages of two."""
        pages = {
            "describe_change_set": _Pages(self._change_set, "Changes"),
            "describe_stack_events": _Pages(self._news, "StackEvents"),
            "list_stack_resources": _Pages(self._resources, "StackResourceSummaries"),
        }
        return pages[operation]

    # ---- behind them ----

    def _change_set(self) -> dict[str, Any]:
        if self.refusal:
            return {"Status": "FAILED", "StatusReason": self.refusal, "Changes": []}
        if not self.changes:
            return {"Status": "FAILED", "StatusReason": "No updates are to be performed.", "Changes": []}
        return {"Status": "CREATE_COMPLETE", "Changes": self.changes}

    def _resources(self) -> dict[str, Any]:
        found = [{"LogicalResourceId": name, "PhysicalResourceId": made} for name, made in self.resources.items()]
        return {"StackResourceSummaries": found}

    def _begin(self, verb: str, ends: str) -> None:
        self._coming.append(self._event(self.name, STACK, f"{verb}_IN_PROGRESS"))
        self._coming.append(self._event("WorkQueue", "AWS::SQS::Queue", f"{verb}_IN_PROGRESS"))
        for resource, kind, reason in self.failures:
            self._coming.append(self._event(resource, kind, f"{verb}_FAILED", reason))
        self._coming.append(self._event("WorkQueue", "AWS::SQS::Queue", f"{verb}_COMPLETE"))
        self._coming.append(self._event(self.name, STACK, ends))
        self.status = None if ends == "DELETE_COMPLETE" else ends

    def _news(self) -> dict[str, Any]:
        # One more each time that somebody looks; CloudFormation names the newest first.
        if self.quiet and self._events and self._events[0]["ResourceType"] == "AWS::SQS::Queue":
            self.quiet -= 1
        elif self._coming:
            self._events.insert(0, self._coming.pop(0))
        return {"StackEvents": list(self._events)}

    def _happens(self, *event: str) -> None:
        self._events.insert(0, self._event(*event))

    def _event(self, resource: str, kind: str, status: str, reason: str = "") -> dict[str, Any]:
        return {
            "EventId": str(next(self._numbers)),
            "LogicalResourceId": resource,
            "PhysicalResourceId": ID.format(self.name) if kind == STACK else resource.lower(),
            "ResourceType": kind,
            "ResourceStatus": status,
            "ResourceStatusReason": reason,
        }


class _Pages:
    def __init__(self, find: Callable[[], dict[str, Any]], rows: str) -> None:
        self._find, self._rows = find, rows

    def paginate(self, **_: Any) -> Iterator[dict[str, Any]]:
        """Two rows each, and one page without any if there are none."""
        found = self._find()
        for rows in list(batched(found[self._rows], PAGE)) or [()]:
            yield {**found, self._rows: list(rows)}
