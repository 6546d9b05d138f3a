"""`rolekeeper uptake`: what software on instances does with its roles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import click

import rolekeeper_cli
from rolekeeper_cli import render, uses
from rolekeeper_cli.arguments import INSTANCE, completes
from rolekeeper_cli.command import command, deployment
from rolekeeper_cli.errors import ExitCode


@command("uptake", "rolekeeper uptake web-1", "rolekeeper uptake i-0123456789abcdef0 i-0fedcba9876543210 -o json")
@click.argument("instances", nargs=-1, required=True, help=INSTANCE, shell_complete=completes("instances"))
def uptake(instances: tuple[str, ...]) -> ExitCode:
    """Show whether software on instances uses their roles.

    Whether EC2 got credentials of the attached role (delivered), and software called with them (in use); whether a
    former role is still used, and until when its credentials are valid at the latest. It is read from CloudTrail's
    event history, which is up to 15 minutes late, and lacks the calls on S3's objects, DynamoDB's items and other data.
    """
    there = deployment()
    found = [uses.uptake.uptake(there, each).document() for each in instances]

    def draw() -> None:
        for each in found:
            address = uses.instances.address(each, there.home)
            shown = ("instance", uses.instances.titled(address, each["name"]))
            rolekeeper_cli.tables.show_table(("", ""), [shown, *lines(each, address)])

    render.show(found, draw)
    return ExitCode.DONE


# ---- how it is shown ----


_NOT_UNUSED = (
    "that isn't unused: calls on the data of services, as on S3's objects and DynamoDB's items, aren't in CloudTrail's "
    "event history, and records are up to 15 minutes late"
)


def lines(document: Mapping[str, Any], address: str, *, brief: bool = False) -> Iterator[tuple[str, str]]:
    """A document of an instance as lines of a table; `address` is the instance as a command names it."""
    roles = document["roles"]
    if not (brief or any(each["carried"] for each in roles)):
        yield "carries", "no role"
    for each in roles:
        if not each["carried"]:
            yield "former role", _former(each)
            yield "", f"rolekeeper revoke {address} --role {each['role']} ends that"
            continue
        found = list(_carried(each))
        yield from found[-1:] if brief else found
        if not (each["last_use"] or document["unknown_because"]):
            yield "not seen", _not_seen(each, document, f"see rolekeeper uptake {address}" if brief else _NOT_UNUSED)
    if because := document["unknown_because"]:
        yield "unknown", f"whether software uses a role: {because}"
    elif not document["looked_through"] and any(not each["carried"] for each in roles):
        yield "", "Not all calls were looked through; older ones may have been made with a former role."


def _carried(role: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    name, first, last = role["role"], role["first_use"], role["last_use"]
    if at := role["delivered_at"]:
        valid = f"valid until {_at(role['valid_until'])}"
        yield "delivered", f"{name}, {_when(at, role['delivered_after_seconds'])}; {valid}"
    if last:
        began = f"first call {_when(first['at'], first['after_seconds'])}: {_call(first)}" if first else ""
        ends = "" if first and first["at"] == last["at"] else f"last call {_at(last['at'])}: {_call(last)}"
        yield "in use", f"{name}, {'; '.join(filter(None, (began, ends)))}"


def _not_seen(role: Mapping[str, Any], document: Mapping[str, Any], more: str) -> str:
    what = "no call" if role["delivered_at"] else "neither EC2's delivery nor a call"
    since = max(document["looked_since"], role["since"] or document["looked_since"])
    return f"{role['role']}, {what} since {_at(since)}; {more}"


def _former(role: Mapping[str, Any]) -> str:
    taken = f", taken {_at(role['until'])}" if role["until"] else ""
    last = role["last_use"]
    used = f"still used, last call {_at(last['at'])}: {_call(last)}" if last else "no call since"
    return f"{role['role']}{taken}: {used}; its credentials are valid until {_at(role['valid_until'])} at the latest"


def _call(call: Mapping[str, Any]) -> str:
    refused = f", refused ({call['refused']})" if call["refused"] else ""
    return f"{call['action']} by {uses.uptake.sdk(call['agent'])}{refused}"


def _when(at: datetime, after: float | None) -> str:
    return _at(at) if after is None else f"{after:,.0f} s after it was attached ({_at(at)})"


def _at(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"
