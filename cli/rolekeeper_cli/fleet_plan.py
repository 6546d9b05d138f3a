"""`rolekeeper plan`, drawn for people: a line for each instance, and the sum."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from rolekeeper.mappings.verdict import Status
from rolekeeper.model.instance import Target
from rolekeeper.permissions.compare import in_words
from rolekeeper_cli import output, render, row_lines, tables
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.instances import address
from rolekeeper_cli.views import plan as views
from rolekeeper_cli.views.looking import Seen, profile_name, withheld
from rolekeeper_cli.views.plan import Looked, Tally
from rolekeeper_cli.views.proposal import Proposal

SIGNS = {"Attach": "+", "Replace": "~", "Detach": "-", "Wait": "!", "Hold": "!"}
ACTION_COLOURS = {"Attach": "green", "Replace": "yellow", "Detach": "red"}
# The most that is said of the permissions of a change of role, in characters.
_WORDS = 500
# Nothing to tell of beside the change itself.
_PLAIN = frozenset({Status.PUBLISHED, Status.REMOVED})


def show(
    deployment: Deployment,
    proposed: Proposal,
    looked: Looked,
    keep: Callable[[Seen], object] = lambda _: None,
) -> Tally:
    """Show a plan while it comes.

    Args:
        deployment: where.
        proposed: a file's mappings, judged.
        looked: the instances.
        keep: takes each instance that has a line.

    Returns:
        What was counted.
    """
    tally = Tally()

    def draw(rows: Iterable[Mapping[str, Any]]) -> None:
        _draw_edits(proposed)
        tables.stream_list(_layout(deployment.home), rows)
        _draw_rest(deployment, proposed, tally, looked=looked)

    rest = partial(views.rest, deployment, proposed, tally, looked.places, narrowed=looked.narrowed)
    render.show_with_rows("changes", views.changes(looked.seen, tally, keep), rest, draw=draw)
    if why := withheld(deployment):
        output.say(f"No changes will be made now: {why}.")
    return tally


def _draw_rest(deployment: Deployment, proposed: Proposal, tally: Tally, looked: Looked) -> None:
    """What a plan says below its instances: permissions, pace, rows that wait, and the sum."""
    for move, instances, found in views.permissions(deployment, tally):
        arrow = _arrow(profile_name(move.before), profile_name(move.after))
        if move.account != deployment.home.account:
            arrow = f"{arrow} in {move.account}"
        output.line(f"{arrow} on {instances:,}: {in_words(found, _WORDS)}")
    if not looked.narrowed and (pace := views.paced(deployment, tally, proposed)):
        output.say(views.pace_in_words(pace))
    if proposed.waiting:
        output.say(views.waiting_in_words(proposed.waiting))
    output.line(f"{tally}.")
    _draw_accounts(tally)
    if nothing := tally.nothing(unseen=bool(looked.places.unseen)):
        output.say(nothing)


def _draw_accounts(tally: Tally) -> None:
    """Where instances change, if they are of several accounts."""
    found = [(account, f"{each['changes']:,} of {each['instances']:,}") for account, each in tally.accounts.items()]
    if len(found) > 1:
        tables.show_table(("account", "instances that change"), sorted(found))


def _layout(home: Target) -> tables.Layout:
    return tables.Layout(
        (
            tables.Column("", lambda row: SIGNS[row["action"]]),
            tables.Column("instance", lambda row: address(row, home)),
            tables.Column("name", folds=True),
            tables.Column("", lambda row: _arrow(row["from"], row["to"]), folds=True),
        ),
        note=lambda row: row["reason"],
        brief=True,
        colour=lambda row: ACTION_COLOURS.get(row["action"], ""),
        head=False,
    )


def _draw_edits(proposal: Proposal) -> None:
    """The changed rows for people, and under each what Rolekeeper would make of it, unless it would just serve it."""
    for edit in proposal.edits:
        if edit.change:
            row_lines.show_change(edit.change)
        else:
            output.line(f"= {output.one_line(str(edit.key))}")
        if edit.status not in _PLAIN or edit.warns:
            output.line(f"    would be {edit.status}: {edit.reason}", "yellow" if edit.takes_effect else "red")


def _arrow(before: str | None, after: str | None) -> str:
    return f"{before or 'none'} → {after or 'none'}"
