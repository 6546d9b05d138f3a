"""`rolekeeper mapping history`, `rollback`, `approve` and `discard`: the revisions of one mapping."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from rolekeeper_cli import output
from rolekeeper_cli.command import command
from rolekeeper_cli.commands.arguments import takes_key, waits, yes
from rolekeeper_cli.commands.mapping import ask_and_write, no_such_row, show_and, show_expected
from rolekeeper_cli.errors import CommandError, ExitCode

if TYPE_CHECKING:
    from rolekeeper.mappings.rows.columns import Attributes
    from rolekeeper.model.mapping import MappingKey
    from rolekeeper_cli.deployment import Deployment
    from rolekeeper_cli.writes.unpublished import Unpublished

# What an entry has for programs; what it lacks is null.
_FIELDS = (
    *("at", "event", "status", "reason", "revision", "role", "profile_arn", "cause"),
    *("claimed_by", "approved_by", "approver_claims", "changes", "effect", "correlation_id"),
)


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
    from rolekeeper_cli.deployment import deployment
    from rolekeeper_cli.tables import Column, Layout

    entries = deployment().app.revisions.history(key, limit)
    if not entries:
        raise CommandError(f"{key} has no history", "see: rolekeeper mapping ls")
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
    render.show_list(layout, [_told(each) for each in entries], empty=str)
    return ExitCode.DONE


def _told(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry for programs. What earlier versions wrote of persons was all claimed."""
    told = dict(entry)
    for old, new in (("by", "claimed_by"), ("approved_by", "approver_claims")) if "by" in told else ():
        if old in told:
            told[new] = told.pop(old)
    return {name: None if told.get(name) == "" else told.get(name) for name in _FIELDS}


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
    from rolekeeper_cli.deployment import deployment
    from rolekeeper_cli.writes import row_plan
    from rolekeeper_cli.writes.old_revisions import revision_to_restore
    from rolekeeper_cli.writes.unpublished import unpublished

    prompts.require_answer(yes=yes)
    there = deployment()
    edit = unpublished(there, key) if to is None else None
    if edit and (edit.row or edit.in_effect):
        return _undo(there, edit, yes=yes, wait=wait)
    old = revision_to_restore(there, key, to)
    row = there.app.table.get_row(key)
    intended = row_plan.planned([old.spec], {key: row} if row else {}, there.app.home)
    output.say(f"Revision {old.revision}:")
    question = f"Write revision {old.revision} into the row of {key}?"
    return show_and(intended, lambda: ask_and_write(there, intended, question, yes=yes, wait=wait))


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
    from rolekeeper_cli.deployment import deployment
    from rolekeeper_cli.writes.unpublished import unpublished

    prompts.require_answer(yes=yes)
    there = deployment()
    row = there.app.table.get_row(key)
    if row is None:
        raise no_such_row(key)
    held = _held(key, row, revision)
    edit = unpublished(there, key)
    if edit is None or edit.held != held:
        raise CommandError(f"revision {held} of {key} is no longer held; nothing was discarded", "look again")
    return _undo(there, edit, yes=yes, wait=wait)


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
    from rolekeeper_cli import preview, prompts, render
    from rolekeeper_cli.deployment import deployment
    from rolekeeper_cli.writes.mappings import approve_held, said

    prompts.require_answer(yes=yes)
    there = deployment()
    row = there.app.table.get_row(key)
    if row is None:
        raise no_such_row(key)
    held = _held(key, row, revision)
    stored, reason = there.app.revisions.read(key).held, said(row, "status_reason")
    deletes = stored is not None and stored.mapping.deleted
    what = f"The deletion of {key} is held as revision {held}" if deletes else f"Revision {held} of {key} is held"
    render.show(
        {"mapping": str(key), "revision": held, "deletes": deletes, "reason": reason},
        lambda: output.line(f"{what}: {reason}"),
    )
    if prompts.asks(yes=yes):
        expected = preview.of_held(there, key, row, held)
        show_expected(expected)
        prompts.confirm(preview.question(key, expected, deletes=deletes, revision=held), yes=False)
    return approve_held(there, {key: held}, wait=wait)


def _held(key: "MappingKey", row: "Attributes", revision: int | None) -> int:
    """The number that a row shows as held.

    Raises:
        CommandError: it shows none, or another one than is meant.
    """
    from rolekeeper.mappings.table import number_in
    from rolekeeper_cli.writes.mappings import said

    held = number_in(row, "held_revision")
    if not held:
        what = f"no edit of {key} is held: it is {said(row, 'status') or 'not judged yet'}"
        raise CommandError(what, "nothing to do")
    if revision not in {None, held}:
        raise CommandError(f"revision {held} of {key} is held, not {revision}", "look at that one first")
    return held


def _undo(there: "Deployment", edit: "Unpublished", *, yes: bool, wait: bool | None) -> ExitCode:
    """Undo what isn't in effect, once it is shown and a person has agreed."""
    from rolekeeper_cli import prompts, render
    from rolekeeper_cli.writes import row_plan, unpublished
    from rolekeeper_cli.writes.mappings import carry_out

    back = unpublished.back_to_published(there, edit)
    render.show(back.document(), lambda: row_plan.show(back) if back.changes else None)
    prompts.confirm(f"{edit.left} Discard {edit.named}?", yes=yes)
    if edit.held:
        return unpublished.discard(there, edit.key, edit.held, wait=wait)
    return carry_out(there, back, wait=wait)


COMMANDS = (history, rollback, approve, discard)
