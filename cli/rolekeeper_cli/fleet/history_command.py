"""`rolekeeper history`: what Rolekeeper did to an instance or the fleet, and who paused it or set its mode."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import click

from rolekeeper_cli.errors import UsageError
from rolekeeper_cli.instance.view import ControlEntryView, EntryView
from rolekeeper_cli.lazily import lazily
from rolekeeper_cli.shell import render, terminal
from rolekeeper_cli.shell.arguments import INSTANCE, completes, takes_targets
from rolekeeper_cli.shell.command import command, deployment, lists, prints
from rolekeeper_cli.shell.layout import ACTION_COLOURS, Column, Layout

with lazily():
    from rolekeeper_cli.instance import facts
    from rolekeeper_cli.instance import history as instance_history
    from rolekeeper_cli.instance import use as instances
    from rolekeeper_cli.shell import tables
    from rolekeeper_cli.target import use as target_use

if TYPE_CHECKING:
    from rolekeeper.model.instance import Target


@lists(limit=20)
@prints(history=list[EntryView], control_history=list[ControlEntryView])
@command(
    "history",
    "rolekeeper history",
    "rolekeeper history web-1 --limit 5 --who",
    "rolekeeper history --control",
    "rolekeeper history --target 111111111111 --watch",
)
@click.argument(
    "instance", required=False, shell_complete=completes("instances"), help=f"{INSTANCE} Of one that is gone, its id."
)
@click.option("--control", is_flag=True, help="Every write of the control item instead: pause, resume, mode.")
@click.option("--who", "ask_who", is_flag=True, help="Ask CloudTrail who changed its tags and its role before each.")
@click.option("--all", "all_", is_flag=True, help="Of the fleet, also decisions that change nothing.")
@takes_targets
def history(instance: str | None, targets: tuple[str, ...], *, control: bool, ask_who: bool, all_: bool) -> None:
    """Show what Rolekeeper did, to an instance or the fleet.

    Newest first: every change, every wait, what blocked it and who pinned it, what caused that, and what AWS answered.

    Of the fleet it shows the last hour, day or week, the shortest of them that has enough: of all targets, also of
    instances that are gone. That comes from the functions' logs, some seconds late.
    """
    if (instance and control) or (ask_who and not instance) or ((all_ or targets) and (instance or control)):
        what = "--control is about no instance, --who about one, and --all and --target are about the fleet"
        raise UsageError(what, "see: rolekeeper history --help")
    there, limit = deployment(), render.to_read()
    if control:
        never = "Nobody has paused Rolekeeper or set its mode yet."
        writes = instance_history.control_history(there, limit)
        render.show_list(_CONTROL_LAYOUT, writes, empty=lambda: never, of=ControlEntryView)
    elif ask_who:
        _show_who(instance_history.entries(there, str(instance), limit, ask_who=True), there.caller.account)
    elif instance:
        entries = instance_history.entries(there, instance, limit)
        render.show_list(layout(), entries, empty=str, of=EntryView)
    else:
        nothing = "Rolekeeper did nothing in the last week."
        if missing := instance_history.level_missing(there):
            terminal.warn(missing)
        places = target_use.Places.chosen(there, targets).all if targets else ()
        chosen = {place.settings.target for place in places}
        entries = instance_history.of_fleet(there, limit, chosen, all_=all_)
        render.show_list(layout(there.home), entries, empty=lambda: nothing, of=EntryView)


def _show_who(entries: Sequence[EntryView], account: str) -> None:
    arranged = render.Arranged(layout(), entries, EntryView)
    entries = list(arranged)

    def draw() -> None:
        tables.show_table(("at", "decided, and who"), _who_rows(entries, account))
        arranged.say_rest()

    render.show(entries, draw, of=list[EntryView])
    unknown = Counter(answer.unknown_because for entry in entries for answer in entry.who or ())
    for because, count in unknown.items():
        if because:
            terminal.warn(f"who did {count} of these things is unknown: {because}")


def _who_rows(entries: Iterable[EntryView], account: str) -> Iterator[tuple[str, str]]:
    """The entries, and below each who made the changes that it saw: the other columns leave no room for that."""
    for entry in entries:
        what = [f"{entry.action} ({entry.code})", entry.role or "", entry.mapping or ""]
        yield at(entry), "  ".join(filter(None, what))
        for answer in entry.who or ():
            if answer.by:
                yield "", f"{answer.what} by {facts.in_words(answer, account)}"
            else:
                yield "", f"{answer.what} {answer.about} by: unknown"


def at(entry: EntryView | ControlEntryView) -> str:
    """The time to the second, for people."""
    return f"{entry.at[:19]}Z"


def layout(home: Target | None = None) -> Layout:
    """The table of decisions; those of several instances name each, as `home`, the deployment's own target, does."""
    instance = (Column("instance", lambda entry: instances.address_of(entry, home), kind="key"),) if home else ()
    return Layout(
        (
            Column("at", at),
            *instance,
            Column("decided", lambda entry: f"{entry.action} ({entry.code})"),
            Column("from", lambda entry: entry.from_ or "none", kind="name"),
            Column("to", lambda entry: entry.to or "none", kind="name"),
            Column("role", wide=True),
            Column("mapping", wide=True),
            Column("revision", wide=True),
            Column("answer", lambda entry: entry.answered, wide=True),
            Column("correlation id", wide=True),
        ),
        note=lambda entry: entry.why,
        note_name="why",
        colour=lambda entry: ACTION_COLOURS.get(entry.action, ""),
    )


_CONTROL_LAYOUT = Layout(
    (
        Column("at", at),
        Column("from", lambda each: each.from_, kind="text"),
        Column("to", kind="text"),
        Column("in effect", kind="text"),
        Column("correlation id", wide=True),
    ),
    note=lambda each: ": ".join(filter(None, (f"claimed by {each.claimed_by or 'nobody'}", each.claimed_reason))),
    note_name="claim",
)
