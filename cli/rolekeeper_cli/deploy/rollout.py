"""Creating, changing or deleting a stack: show what would change, ask, do it, and follow its events."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import click

from rolekeeper_cli import installed
from rolekeeper_cli.aws.deployment import describe_stack
from rolekeeper_cli.deploy.stack import NEVER_WORKED, REVIEWED, TABLES, Parameters, Present
from rolekeeper_cli.deploy.view import DeployedView, ParameterChangeView, ResourceChangeView
from rolekeeper_cli.errors import ConfigurationError, ServiceError, WaitTimeoutError
from rolekeeper_cli.shell import terminal
from rolekeeper_cli.shell.layout import amount, several
from rolekeeper_cli.shell.tables import show_table

# What CloudFormation says if there is nothing to change, as the AWS CLI's `deploy` knows it.
_NO_CHANGE = ("didn't contain changes", "No updates are to be performed")
_LOOK_SECONDS, _PREPARED_SECONDS, _LONGEST_SECONDS = 2, 600, 7200
_REPLACEMENT = {"True": "yes", "Conditional": "maybe", "False": "no"}


def _until[T](
    look: Callable[[], T | None], sleep: Callable[[float], None], seconds: float, late: WaitTimeoutError
) -> T:
    """Look until there is a result; raise `late` if there is none in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (found := look()) is not None:
            return found
        sleep(_LOOK_SECONDS)
    raise late


# ---- what would change ----

# Of a template whose roles have names of their own.
NAMED_ROLES = ("CAPABILITY_NAMED_IAM",)


@dataclass(frozen=True, slots=True)
class Template:
    """`source` is where CloudFormation finds it, as CreateChangeSet takes it: `TemplateURL`; and how it compares it."""

    source: Mapping[str, Any]
    # The deployment's roles have no names of their own, and its transform is a macro of AWS's.
    capabilities: Sequence[str] = ("CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND")
    # Of the change set, if it is neither CREATE nor UPDATE.
    kind: str = ""


def _change(found: Mapping[str, Any]) -> ResourceChangeView:
    """A resource that is added, modified or removed; whether a modified one is replaced is yes, no or maybe."""
    targets = (each["Target"] for each in found.get("Details", ()))
    return ResourceChangeView(
        action=found["Action"],
        resource=found["LogicalResourceId"],
        type=found["ResourceType"],
        replacement=_REPLACEMENT.get(found.get("Replacement", "")),
        properties=sorted({target.get("Name") or target["Attribute"] for target in targets}),
    )


def _named(change_set: Mapping[str, str]) -> dict[str, str]:
    """A change set in a request: with its stack, on which IAM allows it."""
    return {"StackName": change_set["StackId"], "ChangeSetName": change_set["Id"]}


def _show(changes: Sequence[ResourceChangeView], differing: Sequence[ParameterChangeView]) -> None:
    if not terminal.options().for_people:
        return
    if differing:
        show_table(("parameter", "value"), [(each.parameter, _value(each)) for each in differing])
        click.echo()
    if changes:
        cells = [(*[*each.as_mapping().values()][:-1], ", ".join(each.properties)) for each in changes]
        show_table(tuple(changes[0].as_mapping()), cells)
    for each in changes:
        if each.resource in TABLES and (each.action == "Remove" or each.replacement in {"yes", "maybe"}):
            terminal.warn(
                f"{each.resource} would be replaced by an empty table; the old one is kept, but no longer used."
            )


def _value(change: ParameterChangeView) -> str:
    """A parameter's value, a list with blanks at which it wraps, and the one before."""
    was = "" if change.was is None else f" (was {change.was or 'empty'})"
    return f"{change.value.replace(',', ', ') or '(empty)'}{was}"


# ---- what happens to the stack ----

_STACK = "AWS::CloudFormation::Stack"
# The reason of a resource that was cancelled because another one failed.
_GIVEN_UP = "cancelled"
# This many looks without news, two seconds apart, before what is waited for is named.
_QUIET_LOOKS = 15
_DEPLOYED, _DELETED = {"CREATE_COMPLETE", "UPDATE_COMPLETE"}, {"DELETE_COMPLETE"}
# What to do after a failure, by the status in which it leaves the stack.
_REMEDIES = {
    "ROLLBACK_COMPLETE": "fix that and deploy again, which removes what is left of this attempt first",
    "UPDATE_ROLLBACK_COMPLETE": "fix that and deploy again; the stack is as it was before",
    "DELETE_FAILED": "fix that and run it again",
}


class Operation:
    """One operation on a stack, made before it begins: each later event is shown once."""

    def __init__(
        self, client: Any, stack_id: str, sleep: Callable[[float], None], say: Callable[[str], None] = terminal.say
    ) -> None:
        self._client = client
        self._stack_id = stack_id
        self._sleep = sleep
        self._say = say
        self._seen: set[str] = set()
        self._seen = {each["EventId"] for each in self._newest_first()}
        self._busy: dict[str, None] = {}
        self._quiet = 0
        self._failures: list[str] = []

    def follow(self, what: str, good: Collection[str]) -> None:
        """Show its events until it is over.

        ServiceError if it ended in another status than a good one; the resources that failed say why, in their order;
        WaitTimeoutError if it takes longer than any deployment should.
        """
        try:
            late = WaitTimeoutError("CloudFormation hasn't finished yet, and goes on", "look at the stack's events")
            status = _until(self._ended, self._sleep, _LONGEST_SECONDS, late=late)
        except KeyboardInterrupt:
            self._say("CloudFormation goes on: it has begun. See: aws cloudformation describe-stack-events")
            raise
        if status not in good:
            reasons = f": {'; '.join(self._failures)}" if self._failures else ""
            remedy = _REMEDIES.get(status, "repair the stack in CloudFormation")
            raise ServiceError(f"{what} failed ({status}){reasons}", remedy)

    def deployed(self, what: str) -> None:
        """Follow it until the stack is deployed, or raise as `follow`."""
        self.follow(what, _DEPLOYED)

    def _ended(self) -> str | None:
        """The stack's status, once the operation is over."""
        events = [each for each in self._newest_first() if each["EventId"] not in self._seen]
        self._quiet = 0 if events else self._quiet + 1
        if self._quiet % _QUIET_LOOKS == 0 and self._quiet and self._busy:
            self._say(f"CloudFormation is still at work on {several([*self._busy])}.")
        for each in reversed(events):
            self._seen.add(each["EventId"])
            if status := self._shown(each):
                return status
        return None

    def _shown(self, event: Mapping[str, Any]) -> str | None:
        resource, kind, status = event["LogicalResourceId"], event["ResourceType"], str(event["ResourceStatus"])
        reason = event.get("ResourceStatusReason", "")
        is_stack = kind == _STACK and event.get("PhysicalResourceId") == self._stack_id
        goes_on = status.endswith("_IN_PROGRESS")
        if goes_on and not is_stack:
            self._busy[resource] = None
            return None
        self._busy.pop(resource, None)
        self._say(f"{status:24} {resource} ({kind}){f': {reason}' if reason else ''}")
        if status.endswith("_FAILED") and not is_stack and _GIVEN_UP not in reason.lower():
            self._failures.append(f"{resource} ({kind}): {reason}")
        return status if is_stack and not goes_on else None

    def _newest_first(self) -> Iterator[dict[str, Any]]:
        for page in self._client.get_paginator("describe_stack_events").paginate(StackName=self._stack_id):
            yield from page["StackEvents"]
            if self._seen & {each["EventId"] for each in page["StackEvents"]}:
                return


# ---- bringing a stack to what template and parameters say ----


@dataclass(frozen=True, slots=True)
class Rollout:
    """One stack, and how it is decided: `yes` asks nobody."""

    client: Any
    stack: str
    sleep: Callable[[float], None]
    yes: bool = False

    def start(
        self,
        template: Template,
        parameters: Sequence[Mapping[str, Any]],
        made: Callable[[str], object] = lambda _stack_id: None,
    ) -> Operation:
        """Begin to create or change it, without asking or showing anything; `deployed` waits for it.

        `made` takes its id before anything is made in it. ServiceError if CloudFormation can't make the change set.
        """
        there = describe_stack(self.client, self.stack)
        change_set = self._change_set(template, parameters, there["StackStatus"] if there else None)
        made(change_set["StackId"])
        self._changes(change_set)
        return self._execute(change_set, say=lambda _text: None)

    def make(self, template: Template, parameters: Sequence[Mapping[str, Any]]) -> None:
        """Create or change it without asking or showing anything. ServiceError if it failed."""
        self.start(template, parameters).deployed(f"the deployment of {self.stack}")

    def delete(self, stack_id: str, what: str) -> None:
        """Delete it, and show how. ServiceError if it failed; `what` is how the sentence that says so begins."""
        operation = Operation(self.client, stack_id, self.sleep)
        self.client.delete_stack(StackName=stack_id)
        operation.follow(what, _DELETED)

    def without_what_failed(self, present: Present) -> Present:
        """The stack as it is once an empty one, which a failed creation left, is deleted."""
        if present.status != NEVER_WORKED:
            return present
        if terminal.options().dry_run:
            what = f"the first deployment of '{self.stack}' failed, and its empty stack is in the way"
            raise ConfigurationError(what, "deploy without --dry-run")
        terminal.say(f"The first deployment of {self.stack} failed; its empty stack has to be deleted before.")
        terminal.confirm("Delete it?", yes=self.yes)
        self.delete(present.id, f"the deletion of the empty stack {self.stack}")
        return Present()

    def change(
        self, template: Template, present: Present, parameters: Parameters, *, given: Parameters
    ) -> DeployedView:
        """Show what would change, ask, and change it. Of all parameters, those that aren't `given` stay as they are.

        Returns what changed, or would, with the `outcome`: "unchanged", "shown" or "deployed".
        """
        # One that is new in the template has its default.
        asked = as_asked(given, [name for name in parameters if name in present.parameters and name not in given])
        change_set = self._change_set(template, asked, present.status)
        operation: Operation | None = None
        try:
            changes = self._changes(change_set)
            differing = _differing(present.parameters, parameters) if changes else []
            _show(changes, differing)
            if not changes:
                terminal.say("Nothing would change: the stack is as it should be.")
            elif not terminal.options().dry_run:
                terminal.confirm(f"Make {amount(len(changes), 'change')}?", yes=self.yes)
                operation = self._execute(change_set, terminal.say)
        finally:
            if not operation:
                self.client.delete_change_set(**_named(change_set))
                if present.status is None:
                    # CloudFormation has a stack for it already, without a resource.
                    self.client.delete_stack(StackName=change_set["StackId"])
        if operation:
            operation.deployed(f"the deployment of {self.stack}")
        return DeployedView(
            outcome="deployed" if operation else "shown" if changes else "unchanged",
            version=installed.version(),
            deployed_version=present.version,
            parameters=differing,
            changes=changes,
        )

    def _change_set(
        self, template: Template, parameters: Sequence[Mapping[str, Any]], status: str | None
    ) -> Mapping[str, str]:
        kind = template.kind or ("CREATE" if status in {None, REVIEWED} else "UPDATE")
        change_set: Mapping[str, str] = self.client.create_change_set(
            StackName=self.stack,
            ChangeSetName=f"rolekeeper-{kind.lower()}-{int(time.time())}",
            ChangeSetType=kind,
            Parameters=parameters,
            Capabilities=list(template.capabilities),
            **template.source,
        )
        return change_set

    def _changes(self, change_set: Mapping[str, str]) -> list[ResourceChangeView]:
        """Wait until CloudFormation knows what a change set would change; returns that."""

        def look() -> list[ResourceChangeView] | None:
            pages = list(self.client.get_paginator("describe_change_set").paginate(**_named(change_set)))
            status, reason = pages[0]["Status"], pages[0].get("StatusReason", "")
            if status == "FAILED" and any(each in reason for each in _NO_CHANGE):
                return []
            if status == "FAILED":
                what = f"CloudFormation refuses the deployment: {reason}"
                raise ServiceError(what, "fix what it reports, and try again")
            if status != "CREATE_COMPLETE":
                return None
            found = [_change(each["ResourceChange"]) for page in pages for each in page["Changes"]]
            return sorted(found, key=attrgetter("action", "resource"))

        late = WaitTimeoutError("CloudFormation hasn't made the change set", "try again in a while")
        return _until(look, self.sleep, _PREPARED_SECONDS, late=late)

    def _execute(self, change_set: Mapping[str, str], say: Callable[[str], None]) -> Operation:
        operation = Operation(self.client, change_set["StackId"], self.sleep, say=say)
        self.client.execute_change_set(**_named(change_set))
        return operation


def as_asked(given: Mapping[str, str], kept: Iterable[str] = ()) -> list[Mapping[str, Any]]:
    """Parameters as CloudFormation takes them: those given, and those that are kept as they are deployed."""
    return [
        *({"ParameterKey": name, "ParameterValue": value} for name, value in given.items()),
        *({"ParameterKey": name, "UsePreviousValue": True} for name in kept),
    ]


def _differing(present: Mapping[str, str], parameters: Mapping[str, str]) -> list[ParameterChangeView]:
    return [
        ParameterChangeView(parameter=name, value=value, was=present.get(name))
        for name, value in parameters.items()
        if present.get(name) != value
    ]
