"""`rolekeeper pause`, `resume`, `mode`: the switches of the whole deployment; `sweep` and `redrive`: missed work."""

from __future__ import annotations

from collections.abc import Mapping

import click

from rolekeeper_cli.control.view import LettersView, LetterView, SweptView, SwitchesView
from rolekeeper_cli.errors import ExitCode
from rolekeeper_cli.fleet.wait_command import tell_followed
from rolekeeper_cli.lazily import lazily
from rolekeeper_cli.shell import render, terminal
from rolekeeper_cli.shell.arguments import dry_runs, together, yes, yes_to_all
from rolekeeper_cli.shell.command import command, deployment, lists, prints
from rolekeeper_cli.shell.layout import Column, Layout, amount, second

with lazily():
    from rolekeeper_cli.control import use
    from rolekeeper_cli.fleet import follow
    from rolekeeper_cli.row import effect
    from rolekeeper_cli.shell import tables

_switches = together(
    click.option("--reason", default="", metavar="TEXT", help="Why, for the mail and the history."),
    yes_to_all,
    dry_runs,
    click.option(
        "--wait",
        is_flag=True,
        help="Wait until instances carry their role or, if changes stop, until EC2 has finished those that it began.",
    ),
)


@prints(switches=SwitchesView)
@command("pause", "rolekeeper pause", "rolekeeper pause --yes --reason 'wrong roles on web'")
@_switches
def pause(reason: str, *, yes: bool, wait: bool) -> ExitCode:
    """Stop all changes at once.

    Rolekeeper keeps deciding and recording; nothing is lost. On a terminal it shows first how many instances wait for
    a change, and asks.
    """
    return _switch({"paused": True}, "Pause Rolekeeper?", reason, yes=yes, wait=wait)


@prints(switches=SwitchesView)
@command("resume", "rolekeeper resume")
@_switches
def resume(reason: str, *, yes: bool, wait: bool) -> ExitCode:
    """Resume changes after a pause.

    Changes that were withheld are made now. On a terminal it shows that first, and asks.
    """
    found = use.Switches.read(deployment())
    if not (found.control.paused or found.control.unclear):
        render.show(found.view(), lambda: terminal.line("Rolekeeper isn't paused. Nothing to do."))
        return ExitCode.DONE
    return _switch({"paused": False}, "Resume Rolekeeper?", reason, yes=yes, wait=wait)


@prints(switches=SwitchesView)
@command("mode", "rolekeeper mode", "rolekeeper mode observe")
@click.argument(
    "mode",
    required=False,
    type=click.Choice(["observe", "enforce"]),
    help="observe: decide and record, change nothing. enforce: act.",
)
@_switches
def mode(mode: str | None, reason: str, *, yes: bool, wait: bool) -> ExitCode:
    """Show or set the mode.

    It holds for the whole deployment. Without a word it shows the mode, and whether Rolekeeper is paused. On a terminal
    it shows first what setting it would do to instances, and asks.
    """
    if mode is None:
        _show(use.Switches.read(deployment()))
        return ExitCode.DONE
    return _switch({"mode": mode}, f"Set the mode to {mode}?", reason, yes=yes, wait=wait)


def _switch(change: Mapping[str, str | bool], question: str, reason: str, *, yes: bool, wait: bool) -> ExitCode:
    """Change one attribute of the control item, and show the switches then."""
    there = deployment()

    def expected() -> terminal.Question:
        found = use.expected(there, change)
        lines = [found] if isinstance(found, str) else found.lines()
        before, after = use.Switches.read(there), use.Switches.after(there, change, reason)
        changes = str(before.control) != str(after.control)
        return terminal.Question(question, lines, lambda: render.show(after.view()), changes=changes)

    terminal.agree(expected, yes=yes)
    _show(use.switch(there, change, reason))
    if not wait:
        return ExitCode.DONE
    if not effect.withheld(there):
        return tell_followed(follow.follow(there, None))
    follow.until_still(there)
    terminal.say("No change is under way.")
    return ExitCode.DONE


def _show(switches: use.Switches) -> None:
    render.show(switches.view(), lambda: terminal.line(str(switches)))


@prints(swept=SweptView)
@command("sweep", "rolekeeper sweep", "rolekeeper sweep --no-wait")
@click.option("--wait/--no-wait", default=True, help="Wait for its end and show what it saw; the default.")
def sweep(*, wait: bool) -> ExitCode:
    """Sweep the whole fleet and every mapping now.

    As the schedule does. Rolekeeper looks again at instances that differ. A hub's sweep starts one for each other
    target, and doesn't wait for those.
    """
    there = deployment()
    terminal.say("Sweeping the fleet and the mappings." + (" It may take minutes." if wait else ""))
    swept = use.sweep(there, wait=wait)
    if swept is None:
        return ExitCode.DONE
    seen = (
        f"Instances looked at: {swept.instances:,}, of which {swept.sent:,} differ and are looked at again. "
        f"Mappings checked: {swept.mappings:,}, of which {swept.mappings_changed:,} changed."
    )
    render.show(swept, lambda: terminal.line(seen))
    terminal.bad(swept.problems)
    if there.settings.organization:
        terminal.say("Each other target is swept in a run of its own: see rolekeeper targets")
    if swept.withheld:
        terminal.warn(
            f"{swept.withheld:,} more differ, and weren't sent: the work queue is full (docs/runbook.md#work-waits)"
        )
    if not swept.finished:
        terminal.warn("it takes more than one run: the rest continues automatically (docs/operations.md)")
    return ExitCode.NO if swept.problems or not swept.finished else ExitCode.DONE


_LAYOUT = Layout(
    (Column("since", lambda each: second(each.since)), Column("of"), Column("what", kind="text")),
    note=lambda each: each.why,
    note_name="why",
)


@lists(watch=False)
@prints(dead_letters=LettersView)
@command("redrive", "rolekeeper redrive --dry-run", "rolekeeper redrive", "rolekeeper redrive --yes --output json")
@yes
@dry_runs
@click.option("--wait/--no-wait", default=True, help="Wait until all of them are sent; the default.")
def redrive(*, yes: bool, wait: bool) -> None:
    """Send dead letters to the work queue again.

    First it shows the queue, and asks. It is always safe: a message is a hint, and Rolekeeper reads the truth again.
    """
    terminal.require_answer(yes=yes)
    there = deployment()
    queue = use.DeadLetters(there)
    with queue.looked_at() as letters:
        views = [use.letter_view(letter, there) for letter in letters]
    views.sort(key=lambda letter: letter.since)
    shown = list(render.Arranged(_LAYOUT, views, LetterView))
    count = max(queue.count(), len(views))
    render.show(LettersView(letters=count, shown=shown), lambda: tables.stream_list(_LAYOUT, shown))
    if not count:
        terminal.say("The dead-letter queue is empty: nothing to do.")
        return
    if count > len(shown):
        terminal.say(f"and about {count - len(shown):,} more")
    question = f"Send {amount(count, 'message')} to the work queue? Fix the cause first, or they come back."
    terminal.confirm(question, yes=yes)
    task = queue.move()
    if wait:
        moved = queue.wait(task, count)
        terminal.say(f"Sent to the work queue: {moved:,}.")
    else:
        terminal.say("They are being sent to the work queue.")
