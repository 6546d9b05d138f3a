"""What people and programs see of a deployment: what would change, what happens meanwhile, and why it failed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from rolekeeper_cli import installed, output
from rolekeeper_cli.deploying.change_set import Change, Event, Operation
from rolekeeper_cli.deploying.deployed_stack import TABLES, Present
from rolekeeper_cli.errors import ServiceError
from rolekeeper_cli.tables import show_table

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
    if output.options().output != "table" or output.options().query:
        return
    if differing:
        rows = [(each["parameter"], each["value"] or "(empty)", each["was"]) for each in differing]
        show_table(("parameter", "value", "was"), rows)
        click.echo()
    if changes:
        show_table(("action", "resource", "type", "replacement", "properties"), [_cells(each) for each in changes])
    for each in changes:
        if each.resource in TABLES and (each.action == "Remove" or each.replacement not in {"", "False"}):
            output.warn(f"{each.resource} would be another, empty table; the old one is kept, and no longer used.")


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
            output.say(f"{event.status:24} {event.resource} ({event.type}){reason}")
        else:
            self._busy[event.resource] = None

    def nothing_new(self) -> None:
        """Nothing happened since the last look."""
        self._quiet += 1
        if self._quiet % _QUIET_LOOKS == 0 and self._busy:
            names = [*self._busy]
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            output.say(f"CloudFormation is still at work on {', '.join(names[:_NAMED])}{more}.")


def follow(operation: Operation) -> tuple[str, list[Event]]:
    """Show what happens to the stack until it is over; returns its status and the failures."""
    watcher = Watcher()
    try:
        return operation.follow(watcher.happened, watcher.nothing_new)
    except KeyboardInterrupt:
        output.say("CloudFormation goes on: it has begun. See: aws cloudformation describe-stack-events")
        raise


def failed(what: str, failures: Iterable[Event], remedy: str) -> ServiceError:
    """A failed operation with the reasons of the resources that failed, in their order."""
    reasons = "; ".join(f"{each.resource} ({each.type}): {each.reason}" for each in failures)
    return ServiceError(f"{what}: {reasons}" if reasons else what, remedy)
