"""`rolekeeper targets`: the accounts and Regions that the deployment looks after."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from rolekeeper_cli.errors import UsageError
from rolekeeper_cli.lazily import lazily
from rolekeeper_cli.shell import render, terminal
from rolekeeper_cli.shell.arguments import completes, dry_runs, yes
from rolekeeper_cli.shell.command import Group, deployment, lists, prints
from rolekeeper_cli.shell.layout import Column, Layout, amount, second
from rolekeeper_cli.target.view import ForgottenTargetView, MissingTargetView, TargetView

with lazily():
    from rolekeeper_cli.target import use

if TYPE_CHECKING:
    from rolekeeper_cli.aws.deployment import Deployment


@lists()
@prints(targets=list[TargetView], missing_targets=list[MissingTargetView])
@click.group(
    "targets",
    cls=Group,
    invoke_without_command=True,
    examples=[
        "rolekeeper targets",
        "rolekeeper targets -o wide",
        "rolekeeper targets --query \"[?state!='well']\"",
        "rolekeeper targets --missing --regions eu-west-1,us-east-1",
    ],
)
@click.option("--missing", is_flag=True, help="List the organization's accounts and Regions without a spoke instead.")
@click.option(
    "--regions",
    metavar="REGION,...",
    help="With --missing, the Regions to look at. Default: those that targets are in.",
)
@click.pass_context
def group(context: click.Context, regions: str | None, *, missing: bool) -> None:
    """List the accounts and Regions that the deployment looks after.

    Its own first, then each that a spoke reports from: whether all is well there, the spoke's version (marked where it
    isn't the hub's), the last event and the last sweep, how many instances that saw, and how many were in drift. An
    account or Region without a spoke that sends events to the hub is "unknown": they are dropped.

    With --missing: each active account of the organization, and Region, that has no spoke, and how many instances are
    there: ? if no spoke in another Region of the account lets you count them.
    """
    if regions is not None and not missing:
        raise UsageError("--regions goes with --missing", "rolekeeper targets --missing --regions eu-west-1")
    if context.invoked_subcommand is None and missing:
        _show_missing(deployment(), _regions(regions))
    elif context.invoked_subcommand is None:
        there = deployment()
        views = use.views(there)
        render.show_list(LAYOUT, views, empty=str, total=lambda: _total(there, views), of=TargetView)


@prints(forgotten_target=ForgottenTargetView)
@group.command("forget", examples=["rolekeeper targets forget 111111111111/eu-west-1 --yes"])
@click.argument(
    "target",
    metavar="ACCOUNT/REGION",
    shell_complete=completes("one_target"),
    help="The target, as 111111111111/eu-west-1.",
)
@yes
@dry_runs
def forget(target: str, *, yes: bool) -> None:
    """Take a target out of the list.

    Do this after its spoke is removed: nothing is changed or swept there from then on. Its instances keep their roles
    and their history. A spoke that still exists registers again with its next event, at the latest within a day, as a
    new target: its instances get roles after its first sweep.
    """
    terminal.require_answer(yes=yes)
    there = deployment()
    known = use.forgettable(there, target)
    seen = f"; its last sweep saw {amount(known.instances, 'instance')}" if known.instances else ""
    terminal.say(f"{target} is {_named(known.state)}{seen}. {_after_forgetting(known)}")
    forgotten = ForgottenTargetView(forgotten=target)
    asked = terminal.Question(f"Forget {target}?", show=lambda: render.show(forgotten, lambda: None))
    terminal.confirm(asked, yes=yes)
    use.forget(there, target)
    render.show(forgotten, lambda: terminal.line(f"{target} is forgotten."))


def _after_forgetting(target: TargetView) -> str:
    if target.state in {use.PROBLEM, use.SILENT, use.UNKNOWN}:
        return "Its instances keep their roles. No changes are made there unless an event of a spoke comes."
    remove = f"in account {target.account}: rolekeeper spoke remove --region {target.region}"
    return (
        "Its spoke is still there: with the next event, within a day, the hub registers it again and goes on changing "
        f"its instances. To end that, {remove}"
    )


_REGION = re.compile(r"[a-z]{2,5}(-[a-z]+)+-[0-9]{1,2}", re.ASCII)


def _regions(text: str | None) -> list[str]:
    names = text.split(",") if text is not None else []
    if wrong := [each for each in names if not _REGION.fullmatch(each)]:
        raise UsageError(f"{wrong[0]!r} isn't a Region", "name them with commas between, like eu-west-1,us-east-1")
    return sorted(set(names))


def _show_missing(deployment: Deployment, regions: Sequence[str]) -> None:
    found: list[MissingTargetView] = []

    def kept() -> Iterator[MissingTargetView]:
        for each in use.missing(deployment, regions):
            found.append(each)
            yield each

    covered = "Every active account of the organization has a spoke in the Regions that were looked at."
    render.show_list(_MISSING, kept(), empty=lambda: covered, total=lambda: _missing_total(found), of=MissingTargetView)


def _missing_total(found: Sequence[MissingTargetView]) -> str:
    accounts, instances = len({each.account for each in found}), sum(each.instances or 0 for each in found)
    unknown = sum(each.instances is None for each in found)
    many = f"{len(found):,} without a spoke, in {amount(accounts, 'account')}"
    of_these = f" Of {unknown:,} the number isn't known." if unknown else ""
    return f"{many}, with {amount(instances, 'instance')}.{of_these} To deploy one: rolekeeper spoke deploy --help"


_MISSING = Layout(
    (
        Column("account"),
        Column("account name", kind="name"),
        Column("region"),
        Column("instances", lambda row: "?" if row.instances is None else row.instances),
    )
)


# ---- the table, and the totals below it ----


def _named(state: str) -> str:
    return "ok" if state == use.WELL else state


_COLOURS = {"bad": "red", "drift": "yellow", "wait": "yellow", "ok": ""}


def _total(deployment: Deployment, views: Sequence[TargetView]) -> str:
    alone = use.why_alone(deployment, len(views))
    if not deployment.settings.organization and alone:
        return alone
    states = Counter(each.state for each in views)
    accounts = len({each.account for each in views})
    words = ", ".join(f"{count:,} {_named(state)}" for state, count in states.most_common())
    return f"{amount(len(views), 'target')} in {amount(accounts, 'account')}: {words}. {alone}".strip()


def _version(target: TargetView) -> str:
    version, compared = target.version or "", target.version_is
    return f"{version} ({compared})" if compared in {use.OLDER, use.NEWER} else version


def _at(name: str) -> Column:
    def cell(target: TargetView) -> str:
        at = getattr(target, name)
        return second(at) if at else ""

    return Column(name.replace("_", " "), cell, wide=name in {"since", "problem_since"})


LAYOUT = Layout(
    (
        Column("account"),
        Column("region"),
        Column("state", lambda row: f"{_named(row.state)}{' (this deployment)' if row.hub else ''}"),
        Column("version", _version),
        _at("last_event"),
        _at("last_sweep"),
        Column("instances"),
        Column("drift"),
        _at("since"),
        _at("problem_since"),
        Column("unit", wide=True),
        Column("events to account", lambda row: "yes" if row.events_to_account else "", wide=True),
    ),
    note=lambda row: "" if row.state == use.NEW else row.reason,
    colour=lambda row: _COLOURS[use.KINDS[row.state]],
)
