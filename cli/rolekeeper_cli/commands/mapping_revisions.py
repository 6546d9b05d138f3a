"""`rolekeeper mapping history`, `rollback` and `approve`: the revisions of one mapping."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from rolekeeper_cli import output
from rolekeeper_cli.command import command
from rolekeeper_cli.commands.arguments import no_wait, takes_key, yes
from rolekeeper_cli.commands.mapping import no_such_row, show_and
from rolekeeper_cli.errors import CommandError, ExitCode

if TYPE_CHECKING:
    from rolekeeper.model.mapping import MappingKey

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
@click.option(
    "--to", type=click.IntRange(1), metavar="N", help="The revision (default: the one before the published one)."
)
@yes
@no_wait
def rollback(key: "MappingKey", to: int | None, *, yes: bool, wait: bool) -> ExitCode:
    """Write an old revision back into the row.

    It passes through all checks, as a new revision.
    """
    from rolekeeper_cli import prompts, row_plan
    from rolekeeper_cli.deployment import deployment
    from rolekeeper_cli.edits import carry_out
    from rolekeeper_cli.old_revisions import revision_to_restore

    prompts.require_answer(yes=yes)
    there = deployment()
    old = revision_to_restore(there, key, to)
    row = there.app.table.get_row(key)
    intended = row_plan.planned([old.spec], {key: row} if row else {}, there.app.home)
    output.say(f"Revision {old.revision}:")

    def write() -> ExitCode:
        prompts.confirm(f"Write revision {old.revision} into the row of {key}?", yes=yes)
        return carry_out(there, intended, wait=wait)

    return show_and(intended, write)


@command(
    "approve", "rolekeeper mapping approve workload=web", "rolekeeper mapping approve workload=web --revision 5 --yes"
)
@takes_key
@click.option("--revision", type=click.IntRange(1), metavar="N", help="Only if this is the revision that is held.")
@yes
@no_wait
def approve(key: "MappingKey", revision: int | None, *, yes: bool, wait: bool) -> ExitCode:
    """Approve a held edit, so that it is published.

    It was held because it changes many instances; how many, and which permissions they gain and lose, is shown. Your
    approval is signed in the state table, where nobody else can write it. Your own edit (edited_by names you) you can't
    approve.
    """
    from rolekeeper_cli import prompts, render
    from rolekeeper_cli.deployment import deployment
    from rolekeeper_cli.edits import approve_held, said

    prompts.require_answer(yes=yes)
    there = deployment()
    row = there.app.table.get_row(key)
    if row is None:
        raise no_such_row(key)
    held = said(row, "held_revision")
    if not held:
        raise CommandError(
            f"no edit of {key} is held: it is {said(row, 'status') or 'not judged yet'}", "nothing to do"
        )
    if revision not in {None, int(held)}:
        raise CommandError(f"revision {held} of {key} is held, not {revision}", "look at that one, then approve it")
    reason = said(row, "status_reason")
    render.show(
        {"mapping": str(key), "revision": int(held), "reason": reason},
        lambda: output.line(f"Revision {held} of {key} is held: {reason}"),
    )
    prompts.confirm(f"Serve revision {held}?", yes=yes)
    return approve_held(there, {key: int(held)}, wait=wait)


COMMANDS = (history, rollback, approve)
