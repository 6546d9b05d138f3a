"""`rolekeeper verify --sweep`: show what verifications left, ask, remove it, and show that nothing is left."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rolekeeper_cli import render, terminal
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import ConfigurationError, ExitCode
from rolekeeper_cli.explained import refusal
from rolekeeper_cli.layout import Column, Layout, several
from rolekeeper_cli.tables import stream_list
from rolekeeper_cli.verifying.aws import wait_out
from rolekeeper_cli.verifying.kinds import Leftover
from rolekeeper_cli.verifying.removal import RUNS_FOR, Found, Removal, by_id, find, newest, remove
from rolekeeper_cli.views.verify import VerificationsView

_LAYOUT = Layout(
    (
        Column("verification"),
        Column("kind"),
        Column("name", kind="text"),
        Column("id", kind="text"),
        Column("since", lambda each: f"{each['since']:%Y-%m-%dT%H:%M:%SZ}" if each["since"] else ""),
    ),
    note=lambda each: "it may still be running" if each["may_be_running"] else "",
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
    _refuse_elsewhere(found, id_)
    documents = _documents(deployment, found, id_)
    _note(found)
    chosen = [each["id"] for each in documents]
    if chosen:
        if terminal.options().for_people:
            stream_list(_LAYOUT, [{**left, **each, "id": left["id"]} for each in documents for left in each["left"]])
        count = sum(len(each["left"]) for each in documents)
        terminal.confirm(f"Remove these {count} things, which {several(chosen)} made?", yes=yes)
        for step in remove(deployment, [found.records[each] for each in chosen]):
            show(step)
        found = find(deployment)
    return _end(deployment, found, documents, id_=id_)


def _end(deployment: Deployment, found: Found, documents: Sequence[Mapping[str, Any]], *, id_: str | None) -> ExitCode:
    """Show what is left of those that were found."""
    ids = [each["id"] for each in documents]
    left = [each for each in found.leftovers if each.id in ids]
    unknown = [refusal(each).what for each in found.unknown]
    document = {
        "verifications": [{**each, "removed": not unknown and each["id"] not in by_id(left)} for each in documents],
        "left": [_document(each) for each in left],
        "unknown": unknown,
        "unproven": [{**_document(each), "by_hand": each.kind.by_hand(each.ref)} for each in found.unproven],
        "elsewhere": [{"id": each.id, "region": each.region} for each in found.elsewhere],
    }
    render.show(document, of=VerificationsView)
    terminal.bad(f"Still there: {each.words}" for each in left)
    terminal.bad(f"It isn't known what is left: {each}" for each in unknown)
    if left or unknown:
        return ExitCode.NO
    where = f"in {deployment.session.region_name}, account {deployment.caller.account}"
    nothing = f"Verification {id_} left nothing" if id_ else "No verification left anything"
    proven = " that is proven to be its own" if [each for each in found.unproven if id_ in {None, each.id}] else ""
    terminal.say(f"{f'Nothing is left of {several(ids)}' if ids else nothing}{proven} {where}.")
    return ExitCode.DONE


def _refuse_elsewhere(found: Found, id_: str | None) -> None:
    for each in found.elsewhere:
        if each.id == id_:
            again = f"rolekeeper verify --sweep --id {id_} --region {each.region}"
            raise ConfigurationError(f"the verification {id_} was made in {each.region}", again)


def _note(found: Found) -> None:
    """What else there is, which isn't touched."""
    for region in sorted({each.region for each in found.elsewhere}):
        ids = sorted({each.id for each in found.elsewhere if each.region == region})
        terminal.say(f"Left in {region}: {several(ids)}. See: rolekeeper verify --sweep --region {region}")
    untouched(found.unproven)


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


def _documents(deployment: Deployment, found: Found, id_: str | None) -> list[dict[str, Any]]:
    """What each verification left; the oldest first."""
    now = deployment.now()
    made = [
        {
            "id": id_of_these,
            "verification": id_of_these,
            "newest": (at := newest(things)),
            "may_be_running": at is not None and now - at < RUNS_FOR,
            "left": [_document(each) for each in things],
        }
        for id_of_these, things in by_id(found.leftovers).items()
        if id_ in {None, id_of_these}
    ]
    return sorted(made, key=lambda each: each["newest"] or datetime.min.replace(tzinfo=now.tzinfo))


def _document(leftover: Leftover) -> dict[str, Any]:
    return {"kind": leftover.kind.name, "name": leftover.name, "id": leftover.ref, "since": leftover.since}
