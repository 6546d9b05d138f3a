"""`rolekeeper verify --sweep`: show what verifications left, ask, remove it, and show that nothing is left."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rolekeeper_cli import render, terminal
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import ConfigurationError, ExitCode
from rolekeeper_cli.explained import refusal
from rolekeeper_cli.layout import Column, Layout, several
from rolekeeper_cli.tables import stream_list
from rolekeeper_cli.verifying.kinds import Leftover
from rolekeeper_cli.verifying.removal import RUNS_FOR, Found, Removal, by_id, find, newest, remove

_LAYOUT = Layout(
    (
        Column("id"),
        Column("newest", lambda each: f"{each['newest']:%Y-%m-%dT%H:%M:%SZ}" if each["newest"] else ""),
        Column(
            "left",
            lambda each: ", ".join(f"{kind}: {n}" for kind, n in Counter(one["kind"] for one in each["left"]).items()),
            kind="text",
        ),
    ),
    note=lambda each: "it may still be running" if each["may_be_running"] else "",
    note_name="note",
)


def swept(deployment: Deployment, id_: str | None = None, *, yes: bool) -> ExitCode:
    """Remove what the verification of an id left, or every one, also of one that may still be running."""
    terminal.require_answer(yes=yes)
    found = find(deployment)
    _refuse_elsewhere(found, id_)
    documents = _documents(deployment, found, id_)
    _note(found)
    chosen = [each["id"] for each in documents]
    if terminal.options().for_people and documents:
        stream_list(_LAYOUT, documents)
    if chosen:
        terminal.confirm(f"Remove what {several(chosen)} left?", yes=yes)
        for step in remove(deployment, chosen):
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
        "unproven": [_document(each) for each in found.unproven],
        "elsewhere": [{"id": each.id, "region": each.region} for each in found.elsewhere],
    }
    render.show(document, lambda: None)
    terminal.bad(f"Still there: {each.kind.name} {each.name}" for each in left)
    terminal.bad(f"It isn't known what is left: {each}" for each in unknown)
    if left or unknown:
        return ExitCode.NO
    where = f"in {deployment.session.region_name}, account {deployment.caller.account}"
    nothing = f"Verification {id_} left nothing" if id_ else "No verification left anything"
    terminal.say(f"{f'Nothing is left of {several(ids)}' if ids else nothing} {where}.")
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
    if found.unproven:
        names = several([f"{each.kind.name} {each.name}" for each in found.unproven], most=2)
        terminal.warn(
            f"Not touched: {names}. Named like a verification's, but no bucket or tag shows that there was one."
        )


def show(step: Removal) -> None:
    text = f"{step.deletion.value}: {step.leftover.kind.name} {step.leftover.name}"
    if step.why:
        terminal.bad([f"{text}: {step.why}"])
    else:
        terminal.say(text)


# ---- how it is shown ----


def _documents(deployment: Deployment, found: Found, id_: str | None) -> list[dict[str, Any]]:
    """What each verification left; the oldest first."""
    now = deployment.now()
    made = [
        {
            "id": id_of_these,
            "newest": (at := newest(things)),
            "may_be_running": at is not None and now - at < RUNS_FOR,
            "left": [_document(each) for each in things],
        }
        for id_of_these, things in by_id(found.leftovers).items()
        if id_ in {None, id_of_these}
    ]
    return sorted(made, key=lambda each: each["newest"] or datetime.min.replace(tzinfo=now.tzinfo))


def _document(leftover: Leftover) -> dict[str, Any]:
    return {"kind": leftover.kind.name, "name": leftover.name, "since": leftover.since}
