"""`rolekeeper history`: what Rolekeeper did to an instance, and who paused it or set its mode."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import click

from rolekeeper_cli.errors import CommandError, UsageError
from rolekeeper_cli.instance.history_view import ControlEntryView, EntryView
from rolekeeper_cli.lazily import lazily
from rolekeeper_cli.shell import render, terminal
from rolekeeper_cli.shell.arguments import INSTANCE, completes, limit
from rolekeeper_cli.shell.command import command, deployment, prints
from rolekeeper_cli.shell.layout import Column, Layout

with lazily():
    from rolekeeper_cli.instance import facts
    from rolekeeper_cli.instance import history as instance_history
    from rolekeeper_cli.shell import tables


@prints(history=list[EntryView], control_history=list[ControlEntryView])
@command(
    "history",
    "rolekeeper history i-0123456789abcdef0",
    "rolekeeper history web-1 --limit 5 --who",
    "rolekeeper history --control",
)
@click.argument(
    "instance", required=False, shell_complete=completes("instances"), help=f"{INSTANCE} Of one that is gone, its id."
)
@click.option("--control", is_flag=True, help="Every write of the control item instead: pause, resume, mode.")
@limit
@click.option("--who", "ask_who", is_flag=True, help="Ask CloudTrail who changed its tags and its role before each.")
def history(instance: str | None, limit: int, *, control: bool, ask_who: bool) -> None:
    """Show what Rolekeeper did to an instance.

    Newest first: every change, every wait, what blocked it and who pinned it, what caused that, and what AWS answered.
    """
    if control == bool(instance) or (control and ask_who):
        raise UsageError("history needs an instance, or --control alone", "see: rolekeeper history --help")
    there = deployment()
    if control:
        writes = instance_history.control_history(there, limit)
        if not writes:
            raise CommandError("the control item was never written", "see the mode: rolekeeper mode")
        render.show_list(_CONTROL_LAYOUT, writes, empty=str, of=ControlEntryView)
    elif ask_who:
        _show_who(instance_history.entries(there, str(instance), limit, ask_who=True), there.caller.account)
    else:
        documents = instance_history.entries(there, str(instance), limit)
        more = f"The newest {limit:,}; more, if there are any, with --limit." if len(documents) == limit else ""
        render.show_list(LAYOUT, documents, empty=str, total=lambda: more, of=EntryView)


def _show_who(entries: Sequence[EntryView], account: str) -> None:
    def draw() -> None:
        tables.show_table(("at", "decided, and who"), _who_rows(entries, account))

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


LAYOUT = Layout(
    (
        Column("at", at),
        Column("decided", lambda each: f"{each.action} ({each.code})"),
        Column("from", lambda each: each.from_ or "none", kind="name"),
        Column("to", lambda each: each.to or "none", kind="name"),
        Column("role", wide=True),
        Column("mapping", wide=True),
        Column("revision", wide=True),
        Column("answer", lambda each: each.answered, wide=True),
        Column("correlation id", wide=True),
    ),
    note=lambda each: each.why,
    note_name="why",
)
_CONTROL_LAYOUT = Layout(
    (
        Column("at", at),
        Column("from", lambda each: each.from_, kind="text"),
        Column("to", kind="text"),
        Column("in effect", kind="text"),
        Column("claimed by"),
        Column("correlation id", wide=True),
    ),
    note=lambda each: each.claimed_reason or "",
    note_name="claimed reason",
)
