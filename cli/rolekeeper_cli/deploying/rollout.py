"""Bringing a stack to what template and parameters say: what would change is shown, asked about, done and followed."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from rolekeeper_cli import installed, terminal
from rolekeeper_cli.deploying.change_set import Change, ChangeSet, Event, Operation, Template
from rolekeeper_cli.deploying.stack import TABLES, Parameters, Present
from rolekeeper_cli.errors import ConfigurationError, ServiceError
from rolekeeper_cli.tables import show_table

# ---- what people and programs see of a deployment ----


# A parameter that differs: its name, its new value, and what it was.
type Differing = dict[str, str | None]

_REPLACEMENT = {"True": "yes", "Conditional": "maybe", "False": "no", "": ""}
# So many looks without news, two seconds apart, before what is waited for is named.
_QUIET_LOOKS = 15
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Changed:
    """How a deployment ended: "unchanged", "shown" or "deployed"; and what changed, or would."""

    outcome: str
    changes: Sequence[Change]
    differing: Sequence[Differing]


def show(changes: Sequence[Change], differing: Sequence[Differing]) -> None:
    """For people: the parameters and resources that change, and what to look at twice."""
    if terminal.options().output != "table" or terminal.options().query:
        return
    if differing:
        rows = [(each["parameter"], each["value"] or "(empty)", each["was"]) for each in differing]
        show_table(("parameter", "value", "was"), rows)
        click.echo()
    if changes:
        show_table(("action", "resource", "type", "replacement", "properties"), [_cells(each) for each in changes])
    for each in changes:
        if each.resource in TABLES and (each.action == "Remove" or each.replacement not in {"", "False"}):
            terminal.warn(f"{each.resource} would be another, empty table; the old one is kept, and no longer used.")


def _cells(change: Change) -> tuple[str, ...]:
    properties = ", ".join(change.properties)
    return change.action, change.resource, change.type, _REPLACEMENT[change.replacement], properties


def document(present: Present, changed: Changed) -> dict[str, Any]:
    """For programs: the same, and how it ended."""
    return {
        "outcome": changed.outcome,
        "version": installed.version(),
        "deployed_version": present.version,
        "parameters": list(changed.differing),
        "changes": [
            {
                "action": each.action,
                "resource": each.resource,
                "type": each.type,
                "replacement": _REPLACEMENT[each.replacement] or None,
                "properties": list(each.properties),
            }
            for each in changed.changes
        ],
    }


class Watcher:
    """Shows what happens to a stack as it comes, and now and then what it is still waited for."""

    def __init__(self) -> None:
        self._busy: dict[str, None] = {}
        self._quiet = 0

    def happened(self, event: Event) -> None:
        """Show an event."""
        self._quiet = 0
        if event.is_stack or not event.status.endswith("_IN_PROGRESS"):
            self._busy.pop(event.resource, None)
            reason = f": {event.reason}" if event.reason else ""
            terminal.say(f"{event.status:24} {event.resource} ({event.type}){reason}")
        else:
            self._busy[event.resource] = None

    def nothing_new(self) -> None:
        """Nothing happened since the last look."""
        self._quiet += 1
        if self._quiet % _QUIET_LOOKS == 0 and self._busy:
            names = [*self._busy]
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            terminal.say(f"CloudFormation is still at work on {', '.join(names[:_NAMED])}{more}.")


def follow(operation: Operation) -> tuple[str, list[Event]]:
    """Show what happens to the stack until it is over; returns its status and the failures."""
    watcher = Watcher()
    try:
        return operation.follow(watcher.happened, watcher.nothing_new)
    except KeyboardInterrupt:
        terminal.say("CloudFormation goes on: it has begun. See: aws cloudformation describe-stack-events")
        raise


def failed(what: str, failures: Iterable[Event], remedy: str) -> ServiceError:
    """A failed operation with the reasons of the resources that failed, in their order."""
    reasons = "; ".join(f"{each.resource} ({each.type}): {each.reason}" for each in failures)
    return ServiceError(f"{what}: {reasons}" if reasons else what, remedy)


# ---- bringing a stack to what template and parameters say ----


# What to do after a failure, by the status in which it leaves the stack.
_REMEDIES = {
    "ROLLBACK_COMPLETE": "fix that and deploy again, which removes what is left of this attempt first",
    "UPDATE_ROLLBACK_COMPLETE": "fix that and deploy again; the stack is as it was before",
}


@dataclass(frozen=True, slots=True)
class Rollout:
    """One stack, and how it is decided: `yes` asks nobody, `dry_run` changes nothing."""

    client: Any
    stack: str
    sleep: Callable[[float], None]
    yes: bool
    dry_run: bool

    def remove_what_failed(self, present: Present) -> None:
        """Delete the empty stack that an earlier, failed creation left.

        Raises:
            CommandError: nothing may be changed, the person said no, or it failed.
        """
        stack = self.stack
        if self.dry_run:
            raise ConfigurationError(
                f"the first deployment of '{stack}' failed, and its empty stack is in the way",
                "deploy without --dry-run",
            )
        terminal.say(f"The first deployment of {stack} failed; its empty stack has to be deleted before.")
        terminal.confirm("Delete it?", yes=self.yes)
        delete(self.client, present.id, self.sleep, what=f"the deletion of the empty stack {stack}")

    def change(self, template: Template, present: Present, parameters: Parameters, given: Parameters) -> Changed:
        """Show what would change, ask, and change it.

        Args:
            template: what the stack is to be.
            present: the stack as it is.
            parameters: all parameters that it is to have.
            given: those of them that aren't left as they are.

        Raises:
            CommandError: it can't be done, the person said no, or it failed; the message says why.
        """
        asked = _as_asked(parameters, present.parameters, given)
        with ChangeSet.create(self.client, self.stack, template, parameters=asked, status=present.status) as change_set:
            changes = change_set.changes(self.sleep)
            differing = _differing(present.parameters, parameters) if changes else []
            show(changes, differing)
            if not changes:
                terminal.say("Nothing would change: the stack is as it should be.")
                return Changed("unchanged", changes, differing)
            if self.dry_run:
                return Changed("shown", changes, differing)
            terminal.confirm(f"Make these {len(changes)} changes?", yes=self.yes)
            operation = change_set.execute(self.sleep)
        self._follow(operation)
        return Changed("deployed", changes, differing)

    def _follow(self, operation: Operation) -> None:
        status, failures = follow(operation)
        if status not in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}:
            what = f"the deployment of {self.stack} failed ({status})"
            raise failed(what, failures, _REMEDIES.get(status, "repair the stack in CloudFormation"))


def delete(client: Any, stack_id: str, sleep: Callable[[float], None], what: str) -> None:
    """Delete a stack, and show how that goes.

    Raises:
        ServiceError: it failed; `what` is how the sentence that says so begins.
    """
    operation = Operation(client, stack_id, sleep)
    client.delete_stack(StackName=stack_id)
    status, failures = follow(operation)
    if status != "DELETE_COMPLETE":
        raise failed(f"{what} failed ({status})", failures, "fix that and run it again")


def _as_asked(parameters: Parameters, present: Mapping[str, str], given: Mapping[str, str]) -> list[Mapping[str, Any]]:
    """The parameters as CloudFormation takes them; one that is new in the template has its default."""
    kept = [name for name in parameters if name in present and name not in given]
    return [
        *({"ParameterKey": name, "ParameterValue": value} for name, value in given.items()),
        *({"ParameterKey": name, "UsePreviousValue": True} for name in kept),
    ]


def _differing(present: Mapping[str, str], parameters: Mapping[str, str]) -> list[Differing]:
    return [
        {"parameter": name, "value": value, "was": present.get(name)}
        for name, value in parameters.items()
        if present.get(name) != value
    ]
