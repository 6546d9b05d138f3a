"""`rolekeeper verify --sweep`: show what verifications left, ask, remove it, and show that nothing is left."""

from collections.abc import Sequence
from datetime import datetime

from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.aws.explained import refusal
from rolekeeper_cli.errors import ConfigurationError, ExitCode
from rolekeeper_cli.shell import render, terminal
from rolekeeper_cli.shell.layout import Column, Layout, amount, grouped, second, several
from rolekeeper_cli.shell.tables import stream_list
from rolekeeper_verify.aws import wait_out
from rolekeeper_verify.kinds import Leftover
from rolekeeper_verify.removal import RUNS_FOR, Found, Removal, find, remove
from rolekeeper_verify.view import ElsewhereView, LeftoverView, SweptVerificationView, UnprovenView, VerificationsView

_LAYOUT = Layout(
    (
        Column("verification", lambda both: both[0].id),
        Column("kind", lambda both: both[1].kind),
        Column("name", lambda both: both[1].name, kind="text"),
        Column("id", lambda both: both[1].id, kind="text"),
        Column("since", lambda both: second(both[1].since) if both[1].since else ""),
    ),
    note=lambda both: "it may still be running" if both[0].may_be_running else "",
    note_name="note",
)
# How long a call that AWS throttles is sent again.
_PATIENCE = 180.0


def swept(deployment: Deployment, id_: str | None = None, *, yes: bool) -> ExitCode:
    """Remove what the verification of an id made, or every one, also of one that may still be running."""
    terminal.require_answer(yes=yes)
    _ = deployment.caller  # without an answer to the first call there is no use in waiting for others
    wait_out(deployment.session.events, _PATIENCE)
    found = find(deployment)
    for each in found.elsewhere:
        if each.id == id_:
            again = f"rolekeeper verify --sweep --id {id_} --region {each.region}"
            raise ConfigurationError(f"the verification {id_} was made in {each.region}", again)
    views = _views(deployment, found, id_)
    for region in sorted({each.region for each in found.elsewhere}):
        ids = sorted({each.id for each in found.elsewhere if each.region == region})
        terminal.say(f"Left in {region}: {several(ids)}. See: rolekeeper verify --sweep --region {region}")
    untouched(found.unproven)
    chosen = [view.id for view in views]
    if chosen:
        if terminal.options().for_people:
            stream_list(_LAYOUT, [(view, left) for view in views for left in view.left])
        count = sum(len(view.left) for view in views)
        terminal.confirm(f"Remove {amount(count, 'thing')} of {several(chosen)}?", yes=yes)
        for step in remove(deployment, [found.records[each] for each in chosen]):
            show(step)
        found = find(deployment)
    return _end(deployment, found, views, id_=id_)


def _end(deployment: Deployment, found: Found, views: Sequence[SweptVerificationView], *, id_: str | None) -> ExitCode:
    """Show what is left of those that were found."""
    ids = [view.id for view in views]
    left = [each for each in found.leftovers if each.id in ids]
    unknown = [refusal(each).what for each in found.unknown]
    still_there = {each.id for each in left}
    swept = VerificationsView(
        verifications=[view.but(removed=not unknown and view.id not in still_there) for view in views],
        left=[_view(leftover) for leftover in left],
        unknown=unknown,
        unproven=[
            UnprovenView(**vars(_view(leftover)), by_hand=leftover.kind.by_hand(leftover.ref))
            for leftover in found.unproven
        ],
        elsewhere=[ElsewhereView(id=record.id, region=record.region) for record in found.elsewhere],
    )
    render.show(swept)
    terminal.bad(f"Still there: {each.words}" for each in left)
    terminal.bad(f"It isn't known what is left: {each}" for each in unknown)
    if left or unknown:
        return ExitCode.NO
    where = f"in {deployment.region}, account {deployment.caller.account}"
    nothing = f"Verification {id_} left nothing" if id_ else "No verification left anything"
    proven = " that is proven to be its own" if [each for each in found.unproven if id_ in {None, each.id}] else ""
    terminal.say(f"{f'Nothing is left of {several(ids)}' if ids else nothing}{proven} {where}.")
    return ExitCode.DONE


def untouched(unproven: Sequence[Leftover]) -> None:
    """Say what looks like a verification's and isn't proven to be, and how a person removes it."""
    for each in unproven:
        name = "" if each.name in each.ref else f" ({each.name})"
        what = f"Not touched, because no record proves that a verification made it: {each.kind.name} {each.ref}{name}."
        command = each.kind.by_hand(each.ref)
        terminal.warn(
            f"{what} " + (f"If it isn't in use: {command}" if command else "Keep it: it is about others too.")
        )


def show(step: Removal) -> None:
    text = f"{step.deletion.value}: {step.leftover.words}"
    if step.why:
        terminal.bad([f"{text}: {step.why}"])
    else:
        terminal.say(text)


def _views(deployment: Deployment, found: Found, id_: str | None) -> list[SweptVerificationView]:
    """What each verification left; the oldest first."""
    now = deployment.now()
    made = [
        SweptVerificationView(
            id=id_of_these,
            verification=id_of_these,
            newest=(at := max((each.since for each in things if each.since), default=None)),
            may_be_running=at is not None and now - at < RUNS_FOR,
            left=[_view(leftover) for leftover in things],
            removed=None,
        )
        for id_of_these, things in grouped((each.id, each) for each in found.leftovers).items()
        if id_ in {None, id_of_these}
    ]
    return sorted(made, key=lambda view: view.newest or datetime.min.replace(tzinfo=now.tzinfo))


def _view(leftover: Leftover) -> LeftoverView:
    return LeftoverView(kind=leftover.kind.name, name=leftover.name, id=leftover.ref, since=leftover.since)
