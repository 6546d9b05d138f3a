"""What an edit would change in the mapping table, for people: a line for each row."""

import click

from rolekeeper.mappings.rows.columns import COLUMNS
from rolekeeper.model import escaped
from rolekeeper_cli import output
from rolekeeper_cli.files.text_cells import to_text
from rolekeeper_cli.writes.row_plan import Change, RowPlan

_SIGNS = {"new": ("+", "green"), "changed": ("~", "yellow"), "deleted": ("-", "red")}


def show_plan(plan: RowPlan) -> None:
    """The plan for people: a line for each row, and under a changed one a line for each column."""
    for change in plan.changes:
        show_change(change)
    click.echo(f"= {plan.unchanged:,} unchanged")
    if plan.kept:
        output.say(f"not in the file, and left as they are: {plan.kept:,}; --prune deletes them")


def show_change(change: Change) -> None:
    """One row of it."""
    sign, colour = _SIGNS[change.kind]
    output.line(f"{sign} {escaped(str(change.key))}{_summary(change)}", colour)
    if change.kind == "changed":
        for each in change.differences():
            output.line(f"    {each.column}: {escaped(each.old)} → {escaped(each.new)}")


def _summary(change: Change) -> str:
    if change.kind == "changed":
        return ""
    row = change.after or change.before
    said = [f"{column.name}={to_text(row[column.name])}" for column in COLUMNS if column.name in row]
    return f"  {escaped(' '.join(said))}" if said else ""
