"""What a command says of what it wrote: the verdicts on rows, and how instances stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rolekeeper.model import escaped
from rolekeeper_cli import terminal, uses
from rolekeeper_cli.errors import ExitCode

if TYPE_CHECKING:
    from rolekeeper_cli.deployment import Deployment


_NAMED = 10


def carry_out(deployment: Deployment, plan: uses.edits.RowPlan, *, wait: bool | None) -> ExitCode:
    """Write a plan, wait for the verdicts, and say which rows aren't published as written.

    Args:
        wait: True follows the instances too, False waits for nothing.

    Raises:
        MovedError: rows weren't as the plan saw them. The others were written, and judged if waited for.
        WaitTimeoutError: Rolekeeper judged none of the rows for a minute.
    """
    return tell_written(deployment, uses.edits.write(deployment, plan, patience=patience(wait)), wait=wait)


def patience(wait: bool | None) -> float:  # noqa: FBT001  # the option's own three values
    """How long a command waits for verdicts, in seconds."""
    return 0 if wait is False else uses.edits.PATIENCE_SECONDS


def tell_written(deployment: Deployment, written: uses.edits.Written, *, wait: bool | None) -> ExitCode:
    """Say how rows were judged, and follow their instances if that is asked for; as `carry_out`."""
    code = ExitCode.DONE
    if wait is not False:
        written.require_judged()
        code = tell_verdicts(written)
    if written.moved:
        raise uses.edits.MovedError(written.moved, len(written.rows))
    if wait and code is ExitCode.DONE:
        return tell_standing(uses.follow.follow(deployment, [each.key for each in written.rows]))
    return code


def tell(result: uses.edits.Written | uses.follow.Standing) -> ExitCode:
    return tell_standing(result) if isinstance(result, uses.follow.Standing) else tell_verdicts(result)


def tell_verdicts(written: uses.edits.Written) -> ExitCode:
    """Say the verdicts on rows; of those that are published as written, that they are, and what to look at."""
    for each in sorted(written.bad, key=lambda each: each.key):
        terminal.bad([f"{escaped(str(each.key))} is {each.status}: {each.reason}"])
        if each.is_held:
            terminal.say(f"  rolekeeper mapping approve {each.key} {'deletes' if each.deletes else 'publishes'} it")
            terminal.say(f"  rolekeeper mapping discard {each.key} drops that, and changes nothing")
        if each.meant:
            terminal.say(f"  did you mean {each.meant}? rolekeeper mapping set {each.key} role={each.meant}")
    if written.bad:
        return ExitCode.NO
    gone = sum(each.gone for each in written.rows)
    if published := len(written.rows) - gone:
        terminal.say("Published as written." if published == 1 else f"All {published:,} rows are published as written.")
    noted = [
        each for each in written.rows if each.judged and not each.gone and not uses.mappings.all_is_well(each.reason)
    ]
    for each in noted[:_NAMED]:
        terminal.say(f"  {escaped(str(each.key))}: {each.reason}")
    if (more := len(noted) - _NAMED) > 0:
        terminal.say(f"  and {more:,} more: rolekeeper mapping ls")
    if gone:
        terminal.say("Deleted." if gone == 1 else f"Deleted: {gone:,}.")
    return ExitCode.DONE


def tell_discarded(written: uses.edits.Written) -> None:
    """Say how the row is once what was held of it is discarded; nothing where nobody waited for that."""
    for each in written.rows:
        if each.judged:
            terminal.say(f"Discarded. {'The row is gone' if each.gone else f'The row is {each.status}'}.")


def tell_standing(found: uses.follow.Standing) -> ExitCode:
    terminal.say(in_words(found))
    return tell_rest(found)


def tell_rest(found: uses.follow.Standing) -> ExitCode:
    """Say which targets couldn't be looked into, and why instances stay as they are, if any do."""
    for each in found.unseen:
        terminal.warn(each)
    terminal.bad(f"{name}: {why}" for name, why in found.stuck[:_NAMED])
    return ExitCode.NO if found.stuck else ExitCode.DONE


def in_words(found: uses.follow.Standing) -> str:
    """How instances stand, in one line."""
    if not found.total:
        return "No instance carries the tag."
    stay = "1 stays as it is" if len(found.stuck) == 1 else f"{len(found.stuck):,} stay as they are"
    stuck = f"; {stay}" if found.stuck else ""
    return f"{found.done:,} of {found.total:,} instances carry what they should{stuck}."


# ---- what an edit changes, a line for each row ----


_SIGNS = {"new": ("+", "green"), "changed": ("~", "yellow"), "deleted": ("-", "red")}


def show_plan(plan: uses.edits.RowPlan) -> None:
    """The plan for people: a line for each row, and under a changed one a line for each column."""
    for change in plan.changes:
        show_change(change)
    click.echo(f"= {plan.unchanged:,} unchanged")
    if plan.kept:
        terminal.say(f"not in the file, and left as they are: {plan.kept:,}; --prune deletes them")


def show_change(change: uses.edits.Change) -> None:
    sign, colour = _SIGNS[change.kind]
    terminal.line(f"{sign} {escaped(str(change.key))}{_summary(change)}", colour)
    if change.kind == "changed":
        for each in change.differences():
            terminal.line(f"    {each.column}: {escaped(each.old)} → {escaped(each.new)}")


def _summary(change: uses.edits.Change) -> str:
    said = "" if change.kind == "changed" else " ".join(change.cells())
    return f"  {escaped(said)}" if said else ""
