"""`rolekeeper mapping history`, `rollback`, `approve` and `discard`: the revisions of one mapping."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from rolekeeper_cli import output
from rolekeeper_cli.command import command
from rolekeeper_cli.commands.arguments import takes_key, waits, yes
from rolekeeper_cli.commands.mapping import ask_and_write, show_and, show_expected
from rolekeeper_cli.errors import ExitCode

if TYPE_CHECKING:
    from rolekeeper.model.mapping import MappingKey
    from rolekeeper_cli.deployment import Deployment
    from rolekeeper_cli.writes.mappings import RollBack
    from rolekeeper_cli.writes.unpublished import Unpublished


@command("history", "rolekeeper mapping history workload=web", "rolekeeper mapping history workload=web --limit 5")
@takes_key
@click.option(
    "--limit", type=click.IntRange(1, 1_000), default=20, show_default=True, help="The newest ones: this number."
)
def history(key: "MappingKey", limit: int) -> ExitCode:
    """Show a mapping's edits and their results.

    Newest first: when, who approved it, who claims to have edited it, what changed.
    """
    from rolekeeper_cli import render
    from rolekeeper_cli.commands.deployment import deployment
    from rolekeeper_cli.tables import Column, Layout
    from rolekeeper_cli.views.mappings import revisions

    entries = revisions(deployment(), key, limit)
    layout = Layout(
        (
            Column("at", lambda each: f"{each['at'][:19]}Z"),
            Column("event"),
            Column("revision"),
            Column("approved by", folds=True, wide=True),
            Column("claimed by", folds=True),
            Column("correlation id", wide=True),
        ),
        note=_what,
        note_name="what",
    )
    render.show_list(layout, entries, empty=str)
    return ExitCode.DONE


def _what(entry: Mapping[str, Any]) -> str:
    """What changed, or why nothing did, and who had it changed."""
    what = "; ".join(entry["changes"] or ()) or entry["reason"] or ""
    return f"approved by {entry['approved_by']}: {what}" if entry["approved_by"] else what


@command("rollback", "rolekeeper mapping rollback workload=web", "rolekeeper mapping rollback workload=web --to 3")
@takes_key
@click.option("--to", type=click.IntRange(1), metavar="N", help="The revision to go back to, whatever the row says.")
@yes
@waits
def rollback(key: "MappingKey", to: int | None, *, yes: bool, wait: bool | None) -> ExitCode:
    """Undo the last edit.

    One that isn't in effect, because it is held, rejected or in conflict, is undone in the row alone: no instance
    changes. After that it goes back by one published revision, which passes through all checks as a new one.
    """
    from rolekeeper_cli import prompts
    from rolekeeper_cli.commands.deployment import deployment
    from rolekeeper_cli.writes.mappings import roll_back

    prompts.require_answer(yes=yes)
    there = deployment()
    back = roll_back(there, key, to)
    if back.edit:
        return _undo(there, back, back.edit, yes=yes, wait=wait)
    output.say(f"Revision {back.revision}:")
    question = f"Write revision {back.revision} into the row of {key}?"
    return show_and(back.plan, lambda: ask_and_write(there, back.plan, question, yes=yes, wait=wait))


@command("discard", "rolekeeper mapping discard workload=web", "rolekeeper mapping discard workload=web --revision 5")
@takes_key
@click.option("--revision", type=click.IntRange(1), metavar="N", help="Only if this is the revision that is held.")
@yes
@waits
def discard(key: "MappingKey", revision: int | None, *, yes: bool, wait: bool | None) -> ExitCode:
    """Drop an edit or a deletion that is held.

    The row says again what is in effect, and no instance changes. A row that was never in effect goes.
    """
    from rolekeeper_cli import prompts
    from rolekeeper_cli.commands.deployment import deployment
    from rolekeeper_cli.writes.mappings import to_discard

    prompts.require_answer(yes=yes)
    there = deployment()
    back = to_discard(there, key, revision)
    assert back.edit is not None  # the one that is held
    return _undo(there, back, back.edit, yes=yes, wait=wait)


@command(
    "approve", "rolekeeper mapping approve workload=web", "rolekeeper mapping approve workload=web --revision 5 --yes"
)
@takes_key
@click.option("--revision", type=click.IntRange(1), metavar="N", help="Only if this is the revision that is held.")
@yes
@waits
def approve(key: "MappingKey", revision: int | None, *, yes: bool, wait: bool | None) -> ExitCode:
    """Approve an edit or a deletion that is held, so that it takes effect.

    It was held because it changes many instances; how many, and which permissions they gain and lose, is shown. Your
    approval is signed in the state table, where nobody else can write it. Your own edit (edited_by names you) you can't
    approve.
    """
    from rolekeeper_cli import prompts, render
    from rolekeeper_cli.commands.deployment import deployment
    from rolekeeper_cli.outcomes import patience, tell_written
    from rolekeeper_cli.views import preview
    from rolekeeper_cli.writes import approvals

    prompts.require_answer(yes=yes)
    there = deployment()
    held = approvals.held_edit(there, key, revision)
    number = held.revision
    what = (
        f"The deletion of {key} is held as revision {number}" if held.deletes else f"Revision {number} of {key} is held"
    )
    render.show(
        {"mapping": str(key), "revision": number, "deletes": held.deletes, "reason": held.reason},
        lambda: output.line(f"{what}: {held.reason}"),
    )
    if prompts.asks(yes=yes):
        expected = preview.of_held(there, key, held.row, number=number)
        show_expected(expected)
        prompts.confirm(preview.question(key, expected, deletes=held.deletes, revision=number), yes=False)
    return tell_written(there, approvals.approve(there, {key: number}, patience=patience(wait)), wait=wait)


def _undo(there: "Deployment", back: "RollBack", edit: "Unpublished", *, yes: bool, wait: bool | None) -> ExitCode:
    """Undo what isn't in effect, once it is shown and a person has agreed."""
    from rolekeeper_cli import prompts, render, row_lines
    from rolekeeper_cli.outcomes import patience, tell_discarded, tell_written
    from rolekeeper_cli.writes.mappings import write_back

    render.show(back.plan.document(), lambda: row_lines.show_plan(back.plan) if back.plan.changes else None)
    prompts.confirm(f"{edit.left} Discard {edit.named}?", yes=yes)
    written = write_back(there, back, patience=patience(wait))
    if not edit.held:
        return tell_written(there, written, wait=wait)
    if wait is not False:
        written.require_judged()
    tell_discarded(written)
    return ExitCode.DONE


COMMANDS = (history, rollback, approve, discard)
