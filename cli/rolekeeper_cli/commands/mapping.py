"""`rolekeeper mapping`: rows of the mapping table, one at a time."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from rolekeeper_cli import output
from rolekeeper_cli.arguments import OneOf
from rolekeeper_cli.command import Group, command
from rolekeeper_cli.commands.arguments import takes_key, takes_key_and_columns, waits, yes, yes_to_all
from rolekeeper_cli.errors import ExitCode

if TYPE_CHECKING:
    from rolekeeper.model.mapping import MappingKey
    from rolekeeper_cli.deployment import Deployment
    from rolekeeper_cli.views.preview import Preview
    from rolekeeper_cli.writes.row_plan import RowPlan

# Those of a row (docs/mappings.md, "Status"); importing them would take longer than the help may.
STATUSES = ("Published", "Expired", "Rejected", "Conflict", "Held", "Waiting")


@click.group("mapping", cls=Group, examples=["rolekeeper mapping ls", "rolekeeper mapping set workload=web role=web"])
def group() -> None:
    """Mappings: this tag means this role."""


@command("ls", "rolekeeper mapping ls", "rolekeeper mapping ls --status Rejected --output json")
@click.option(
    "--status", type=OneOf(STATUSES), metavar="STATUS", help="Only rows with this status, as Rejected or Held."
)
def list_(status: str | None) -> ExitCode:
    """List the mappings.

    Each with the role that is in effect and, where the row says something else, what that waits for.
    """
    from rolekeeper_cli.commands.deployment import deployment
    from rolekeeper_cli.mapping_list import show

    show(deployment(), status)
    return ExitCode.DONE


@command("get", "rolekeeper mapping get workload=web", "rolekeeper mapping get --tag-key a=b --tag-value c")
@takes_key
def get(key: "MappingKey") -> ExitCode:
    """Show one mapping.

    Its columns, what is in effect, and the result of the last edit.
    """
    from rolekeeper_cli import render, tables
    from rolekeeper_cli.commands.deployment import deployment
    from rolekeeper_cli.views import mappings

    document = mappings.row(deployment(), key)
    own = ("columns", "in_effect", "idle_because", "waits")
    beside = {name: value for name, value in document.items() if name not in own and value is not None}
    lines = [*document["columns"].items(), ("in effect", mappings.role_in_words(document)), *beside.items()]
    render.show(document, lambda: tables.show_table(("column", "value"), lines))
    return ExitCode.DONE


@command(
    "set",
    "rolekeeper mapping set workload=web role=web priority=50",
    "rolekeeper mapping set workload=web 'require_tags=environment=production' owner=",
)
@takes_key_and_columns
@yes_to_all
@waits
def set_(key: "MappingKey", assignments: Sequence[str], *, yes: bool, wait: bool | None) -> ExitCode:
    """Write columns of one mapping, new or there.

    The other columns stay as they are. On a terminal it shows first what would happen to instances, and asks.
    """
    from rolekeeper_cli.commands.deployment import deployment
    from rolekeeper_cli.writes.mappings import set_columns

    there = deployment()
    intended = set_columns(there, key, assignments)
    return show_and(intended, lambda: ask_and_write(there, intended, f"Write this into {key}?", yes=yes, wait=wait))


@command("rm", "rolekeeper mapping rm workload=web", "rolekeeper mapping rm workload=web --yes")
@takes_key
@yes
@waits
def remove(key: "MappingKey", *, yes: bool, wait: bool | None) -> ExitCode:
    """Delete one mapping.

    Its instances give up the role that it gave them, or keep it, as its `when_unmatched` says. It shows how many, and
    asks.
    """
    from rolekeeper_cli import prompts
    from rolekeeper_cli.commands.deployment import deployment
    from rolekeeper_cli.outcomes import carry_out
    from rolekeeper_cli.views import preview
    from rolekeeper_cli.writes import mappings

    prompts.require_answer(yes=yes)
    there = deployment()
    intended = mappings.remove(there, key)

    def delete() -> ExitCode:
        if prompts.asks(yes=yes):
            expected = preview.of_rows(there, intended)
            show_expected(expected)
            prompts.confirm(preview.question(key, expected, deletes=True), yes=False)
        return carry_out(there, intended, wait=wait)

    return show_and(intended, delete)


def show_and(intended: "RowPlan", act: Callable[[], ExitCode]) -> ExitCode:
    """Show a plan, and do it if there is anything to do."""
    from rolekeeper_cli import render, row_lines

    render.show(intended.document(), lambda: row_lines.show_plan(intended) if intended.changes else None)
    if not intended.changes:
        output.say("Nothing to do: the table says so already.")
        return ExitCode.DONE
    return act()


def ask_and_write(there: "Deployment", intended: "RowPlan", question: str, *, yes: bool, wait: bool | None) -> ExitCode:
    """Write a plan; a person at a terminal is shown first what that would do to instances, and asked."""
    from rolekeeper_cli import prompts
    from rolekeeper_cli.outcomes import carry_out
    from rolekeeper_cli.views import preview

    if prompts.asks(yes=yes):
        show_expected(preview.of_rows(there, intended))
        prompts.confirm(question, yes=False)
    return carry_out(there, intended, wait=wait)


def show_expected(expected: "Preview") -> None:
    """Show what would happen, as a part of the question."""
    for line in expected.lines():
        output.say(line)


COMMANDS = (list_, get, set_, remove)
