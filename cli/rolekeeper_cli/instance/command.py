"""`rolekeeper explain`: why an instance has its role."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import click

from rolekeeper_cli.instance.explanation_view import ExplanationView
from rolekeeper_cli.lazily import lazily
from rolekeeper_cli.shell import render
from rolekeeper_cli.shell.arguments import instance_argument
from rolekeeper_cli.shell.command import command, deployment, prints
from rolekeeper_cli.shell.layout import second

with lazily():
    from rolekeeper_cli.instance import explanation, uptake, use, who
    from rolekeeper_cli.shell import tables


@prints(explanation=ExplanationView)
@command("explain", "rolekeeper explain i-0123456789abcdef0", "rolekeeper explain web-1 --output json")
@instance_argument
@click.option(
    "--who/--no-who", "ask_who", default=True, help="Whether to ask CloudTrail who did it. It is asked by default."
)
@click.option(
    "--uptake/--no-uptake",
    "ask_uptake",
    default=True,
    help="Whether to ask CloudTrail if software uses the role. It is asked by default.",
)
def explain(instance: str, *, ask_who: bool, ask_uptake: bool) -> None:
    """Explain why an instance has its role.

    The role it has and the one it should have, the mapping that governs it and those that don't, what woke Rolekeeper
    last, what AWS answered, and how to undo it. CloudTrail's event history says who set or removed the tag that
    decides, who attached a role that isn't Rolekeeper's, who reverted one that is, and whether software uses the role.
    """
    there = deployment()
    document = explanation.explanation(there, instance, ask_who=ask_who, ask_uptake=ask_uptake).document
    lines = partial(_lines, document, use.address(document, there.home), there.caller.account)
    render.show(document, lambda: tables.show_table(("", ""), lines()))


def _lines(document: Mapping[str, Any], name: str, account: str) -> Iterator[tuple[str, str]]:
    decision, mapping, last = document["decision"], document["mapping"], document["last"]
    yield "instance", f"{use.titled(name, document['name'])}, {document['state']}"
    yield "carries", _carried_in_words(document["carries"], mapping)
    yield "should carry", document["should_carry"] or "no role"
    yield "because", f"{document['because']} ({decision['action']}, {decision['code']})"
    if document["withheld"]:
        yield "withheld", f"{document['withheld']}: nothing is changed now"
    yield from _mapping_lines(document)
    commands = [each["command"] for each in document["undo"]]
    if pin := document["pin"]:
        until = f" until {second(pin['expires_at'])}" if pin["expires_at"] else ""
        why = f": {pin['claimed_reason']}" if pin["claimed_reason"] else ""
        yield "pin", f"{pin['role'] or pin['unclear']}{until}, claimed by {pin['claimed_by'] or 'nobody'}{why}"
        if (release := f"rolekeeper release {name}") not in commands:
            yield "", f"{release} gives it back to its tags"
    if shown := document["condition"]:
        parked = ", parked" if shown["parked"] else ""
        # A reason can be long, so it is shown once.
        reason = "for the same reason" if shown["reason"] == decision["reason"] else shown["reason"]
        yield "condition", f"{reason}, since {second(shown['since'])}{parked}"
    if former := document["took_over_from"]:
        yield "took over from", f"{former['profile_arn']} ({former['at'][:19]}Z)"
    yield from who.lines(document["who"], account)
    if document["uptake"]:
        yield from uptake.lines(document["uptake"], name, brief=True)
    if last:
        yield "triggered by", f"{last.cause} ({last.at[:19]}Z)"
        reason = "for the same reason" if last.reason == decision["reason"] else last.reason
        yield "last decision", f"{last.action} ({last.code}): {reason}"
        yield "AWS answered", last.answered or "nothing: it wasn't asked"
    yield from _undo_lines(document["former"], document["undo"])


def _mapping_lines(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The mapping that governs it, and what of the others, and of edits, isn't in effect."""
    if mapping := document["mapping"]:
        owner = f", owned by {mapping['owner']}" if mapping["owner"] else ""
        yield "mapping", f"{mapping['mapping']}, revision {mapping['revision']}, priority {mapping['priority']}{owner}"
    for missing in document["not_in_effect"]:
        # What the decision, its pin and its condition say is shown already.
        if missing["mapping"] or missing["code"] == "node":
            yield missing["code"] if missing["code"] in {"overridden", "node"} else "not in effect", missing["reason"]
    if document["unknown_because"]:
        yield "unknown", document["unknown_because"]


def _undo_lines(former: Mapping[str, Any] | None, steps: Sequence[Mapping[str, str]]) -> Iterator[tuple[str, str]]:
    if former is None:
        yield "to undo", "nothing: Rolekeeper's history has no change that made it so"
        return
    if former["until"]:
        yield "before that", f"{former['profile_arn'] or 'no role'} (until {former['until'][:19]}Z)"
    for at, each in enumerate(steps):
        yield "" if at else "to undo", f"{each['command']}  ({each['does']})"
    if not steps:
        verb = "brings back" if former["until"] else "keeps"
        yield "to undo", f"no step {verb} {former['instance_profile'] or 'no role'}"


def _carried_in_words(carried: Mapping[str, Any] | None, mapping: Mapping[str, Any] | None) -> str:
    """The mapping that gave it is named with its revision, unless that is shown as the one that governs it now."""
    if carried is None:
        return "no role"
    if carried["attached_by"] == "Rolekeeper":
        by = "attached by Rolekeeper" + (f" for {carried['for']}" if carried["for"] else "")
        is_shown = mapping and (carried["for"], carried["revision"]) == (mapping["mapping"], mapping["revision"])
        by += f", revision {carried['revision']}" if carried["revision"] and not is_shown else ""
    else:
        by = "managed, attached by another actor" if carried["managed"] else "foreign: outside the role path"
    return f"{carried['instance_profile']} ({carried['association']}, {carried['state']}), {by}"
