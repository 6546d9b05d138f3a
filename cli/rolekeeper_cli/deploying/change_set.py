"""A change set of CloudFormation's: what a deployment would change, and the changes as they happen."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from botocore.exceptions import ClientError

from rolekeeper_cli.errors import ServiceError, WaitTimeoutError

# The deployment's roles have no names of their own, and its transform is a macro of AWS's.
CAPABILITIES = ("CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND")
# What CloudFormation says when all is as it should be, as the AWS CLI's `deploy` knows it.
_NO_CHANGE = ("didn't contain changes", "No updates are to be performed")
# A stack of which there are change sets only.
REVIEWED = "REVIEW_IN_PROGRESS"
_STACK = "AWS::CloudFormation::Stack"
_LOOK_SECONDS, _PREPARED_SECONDS, _LONGEST_SECONDS = 2, 600, 7200
# A resource that was given up because another one failed says only that.
_GIVEN_UP = "cancelled"


@dataclass(frozen=True, slots=True)
class Template:
    """What a stack is made of.

    Attributes:
        source: where CloudFormation finds it, as CreateChangeSet takes it: `TemplateURL` or `TemplateBody`.
        capabilities: what it is acknowledged to make.
    """

    source: Mapping[str, str]
    capabilities: Sequence[str] = CAPABILITIES


@dataclass(frozen=True, slots=True)
class Change:
    """One resource that a deployment changes.

    Attributes:
        action: CloudFormation's: Add, Modify, Remove.
        replacement: of a modified one: True, False or Conditional; else empty.
        properties: which of its properties differ.
    """

    action: str
    resource: str
    type: str
    replacement: str
    properties: tuple[str, ...]

    @classmethod
    def of(cls, change: Mapping[str, Any]) -> "Change":
        """One of DescribeChangeSet's."""
        details = (each["Target"] for each in change.get("Details", ()))
        names = dict.fromkeys(each.get("Name") or each["Attribute"] for each in details)
        return cls(
            action=change["Action"],
            resource=change["LogicalResourceId"],
            type=change["ResourceType"],
            replacement=change.get("Replacement", ""),
            properties=tuple(sorted(names)),
        )


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a resource while CloudFormation worked."""

    resource: str
    type: str
    status: str
    reason: str
    is_stack: bool

    @property
    def ends(self) -> bool:
        """Whether the stack's operation is over with it."""
        return self.is_stack and not self.status.endswith("_IN_PROGRESS")

    @property
    def is_failure(self) -> bool:
        """Whether it says why a resource failed."""
        return self.status.endswith("_FAILED") and _GIVEN_UP not in self.reason.lower()


class Operation:
    """One operation on a stack, from before it begins: what happens to the stack after that is told once."""

    def __init__(self, client: Any, stack_id: str, sleep: Callable[[float], None]) -> None:
        self._client = client
        self._stack_id = stack_id
        self._sleep = sleep
        self._seen: set[str] = set()
        self._seen |= {each["EventId"] for each in self._newest_first()}

    def follow(
        self, report: Callable[[Event], None], nothing_new: Callable[[], None] = lambda: None
    ) -> tuple[str, list[Event]]:
        """Report what happens until it is over; returns the stack's status, and the failures in their order.

        Args:
            report: takes each event.
            nothing_new: is called after each look that found none.

        Raises:
            WaitTimeoutError: it takes longer than any deployment should.
        """
        failures = []
        deadline = time.monotonic() + _LONGEST_SECONDS
        while time.monotonic() < deadline:
            events = self._new()
            for event in events:
                report(event)
                if event.is_failure and not event.is_stack:
                    failures.append(event)
                if event.ends:
                    return event.status, failures
            if not events:
                nothing_new()
            self._sleep(_LOOK_SECONDS)
        raise WaitTimeoutError("CloudFormation hasn't finished yet, and goes on", "look at the stack's events")

    def _new(self) -> list[Event]:
        fresh = [each for each in self._newest_first() if each["EventId"] not in self._seen]
        self._seen |= {each["EventId"] for each in fresh}
        return [
            Event(
                resource=each["LogicalResourceId"],
                type=each["ResourceType"],
                status=each["ResourceStatus"],
                reason=each.get("ResourceStatusReason", ""),
                is_stack=each["ResourceType"] == _STACK and each.get("PhysicalResourceId") == self._stack_id,
            )
            for each in reversed(fresh)
        ]

    def _newest_first(self) -> Iterable[dict[str, Any]]:
        for page in self._client.get_paginator("describe_stack_events").paginate(StackName=self._stack_id):
            yield from page["StackEvents"]
            if self._seen & {each["EventId"] for each in page["StackEvents"]}:
                return


class ChangeSet:
    """A change set that CloudFormation made. Use it as a context manager: unless it is executed, it leaves nothing."""

    def __init__(self, client: Any, answer: Mapping[str, str], *, made_stack: bool) -> None:
        self._client = client
        self._id, self.stack_id = answer["Id"], answer["StackId"]
        self._made_stack = made_stack
        self._executed = False

    @classmethod
    def create(
        cls,
        client: Any,
        stack: str,
        template: Template,
        parameters: Sequence[Mapping[str, Any]],
        *,
        status: str | None,
    ) -> "ChangeSet":
        """Ask for one.

        Args:
            client: CloudFormation's.
            stack: the stack's name.
            template: the template.
            parameters: as CloudFormation takes them.
            status: the stack's, None where there is none yet.
        """
        answer = client.create_change_set(
            StackName=stack,
            ChangeSetName=f"rolekeeper-{int(time.time())}",
            ChangeSetType="CREATE" if status in {None, REVIEWED} else "UPDATE",
            Parameters=parameters,
            Capabilities=list(template.capabilities),
            **template.source,
        )
        return cls(client, answer, made_stack=status is None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._executed:
            return
        self._client.delete_change_set(ChangeSetName=self._id)
        if self._made_stack:
            # CloudFormation has a stack for it already, without a resource.
            self._client.delete_stack(StackName=self.stack_id)

    def changes(self, sleep: Callable[[float], None]) -> list[Change]:
        """What it would change, once CloudFormation knows; empty when nothing.

        Raises:
            ServiceError: CloudFormation can't make it.
            WaitTimeoutError: it takes too long.
        """
        deadline = time.monotonic() + _PREPARED_SECONDS
        while time.monotonic() < deadline:
            pages = list(self._client.get_paginator("describe_change_set").paginate(ChangeSetName=self._id))
            status, reason = pages[0]["Status"], pages[0].get("StatusReason", "")
            if status == "CREATE_COMPLETE":
                found = [Change.of(each["ResourceChange"]) for page in pages for each in page["Changes"]]
                return sorted(found, key=lambda each: (each.action, each.resource))
            if status == "FAILED":
                if any(each in reason for each in _NO_CHANGE):
                    return []
                raise ServiceError(f"CloudFormation refuses the deployment: {reason}", "read its words, and try again")
            sleep(_LOOK_SECONDS)
        raise WaitTimeoutError("CloudFormation hasn't made the change set", "try again in a while")

    def execute(self, sleep: Callable[[float], None]) -> Operation:
        """Begin, and return what can be followed."""
        operation = Operation(self._client, self.stack_id, sleep)
        self._client.execute_change_set(ChangeSetName=self._id)
        self._executed = True
        return operation


def describe(client: Any, stack: str) -> dict[str, Any] | None:
    """The stack as CloudFormation describes it; None where there is none."""
    try:
        [found] = client.describe_stacks(StackName=stack)["Stacks"]
    except ClientError as error:
        # CloudFormation has no code of its own for a stack that isn't there.
        if error.response["Error"]["Code"] == "ValidationError" and "does not exist" in str(error):
            return None
        raise
    return dict(found)
