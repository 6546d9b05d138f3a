"""`rolekeeper mapping`: rows of the mapping table, one at a time."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from rolekeeper_cli import output
from rolekeeper_cli.arguments import OneOf
from rolekeeper_cli.command import Group, command
from rolekeeper_cli.commands.arguments import no_wait, takes_key, takes_key_and_columns, yes
from rolekeeper_cli.errors import CommandError, ExitCode

if TYPE_CHECKING:
    from rolekeeper.model.mapping import MappingKey
    from rolekeeper_cli.row_plan import RowPlan

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
    """List the mappings."""
    from rolekeeper_cli.deployment import deployment
    from rolekeeper_cli.mapping_list import show

    show(deployment(), status)
    return ExitCode.DONE


@command("get", "rolekeeper mapping get workload=web", "rolekeeper mapping get --tag-key a=b --tag-value c")
@takes_key
def get(key: "MappingKey") -> ExitCode:
    """Show one mapping.

    Its columns, and the result of the last edit.
    """
    from rolekeeper_cli import render, tables
    from rolekeeper_cli.deployment import deployment
    from rolekeeper_cli.row_document import row_document

    row = deployment().app.table.get_row(key)
    if row is None:
        raise no_such_row(key)
    document = row_document(row)
    beside = {name: value for name, value in document.items() if name != "columns" and value is not None}
    lines = [*document["columns"].items(), *beside.items()]
    render.show(document, lambda: tables.show_table(("column", "value"), lines))
    return ExitCode.DONE


@command(
    "set",
    "rolekeeper mapping set workload=web role=web priority=50",
    "rolekeeper mapping set workload=web 'require_tags=environment=production' owner=",
)
@takes_key_and_columns
@no_wait
def set_(key: "MappingKey", assignments: Sequence[str], *, wait: bool) -> ExitCode:
    """Write columns of one mapping, new or there.

    The other columns stay as they are.
    """
    from rolekeeper_cli import row_plan
    from rolekeeper_cli.deployment import deployment
    from rolekeeper_cli.edits import carry_out
    from rolekeeper_cli.set_columns import edited

    there = deployment()
    row = there.app.table.get_row(key)
    spec = edited(key, row or {}, assignments, there.app.home)
    intended = row_plan.planned([spec], {key: row} if row else {}, there.app.home)
    return show_and(intended, lambda: carry_out(there, intended, wait=wait))


@command("rm", "rolekeeper mapping rm workload=web", "rolekeeper mapping rm workload=web --yes")
@takes_key
@yes
@no_wait
def remove(key: "MappingKey", *, yes: bool, wait: bool) -> ExitCode:
    """Delete one mapping.

    Its instances give up the role that it gave them, or keep it, as its `when_unmatched` says.
    """
    from rolekeeper_cli import prompts, row_plan
    from rolekeeper_cli.deployment import deployment
    from rolekeeper_cli.edits import carry_out

    prompts.require_answer(yes=yes)
    there = deployment()
    row = there.app.table.get_row(key)
    if row is None:
        raise no_such_row(key)
    intended = row_plan.planned([], {key: row}, there.app.home, prune=True)

    def delete() -> ExitCode:
        prompts.confirm(f"Delete {key}?", yes=yes)
        return carry_out(there, intended, wait=wait)

    return show_and(intended, delete)


def show_and(intended: "RowPlan", act: Callable[[], ExitCode]) -> ExitCode:
    """Show a plan, and do it if there is anything to do."""
    from rolekeeper_cli import render, row_plan

    render.show(intended.document(), lambda: row_plan.show(intended) if intended.changes else None)
    if not intended.changes:
        output.say("Nothing to do: the table says so already.")
        return ExitCode.DONE
    return act()


def no_such_row(key: "MappingKey") -> CommandError:
    """What to say of a mapping that isn't there."""
    return CommandError(f"there is no mapping {key}", "see: rolekeeper mapping ls")


COMMANDS = (list_, get, set_, remove)
