"""`rolekeeper launches`: what launch templates, groups and fleets will give their instances."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rolekeeper_cli import render, terminal, uses
from rolekeeper_cli.arguments import OneOf, takes_targets
from rolekeeper_cli.command import command, deployment
from rolekeeper_cli.errors import CommandError, ExitCode
from rolekeeper_cli.fleet import warn_of_unseen
from rolekeeper_cli.layout import Column, Layout
from rolekeeper_cli.suggest import did_you_mean

if TYPE_CHECKING:
    from rolekeeper.model.instance import Target
    from rolekeeper_cli.uses.launches import Forecast

_VERDICTS = (
    *("will-stay-occupied", "blocked", "replaced", "a-few-seconds-late"),
    *("unknown", "born-right", "left-alone", "no-mapping"),
)
_BOOT_SCRIPT = Path(__file__).with_name("wait_for_role.sh")


@command(
    "launches",
    "rolekeeper launches",
    "rolekeeper launches --exit-code --allow a-few-seconds-late",
    "rolekeeper launches --output json --query \"[?verdict=='replaced'].steps\"",
    "rolekeeper launches --boot-script > wait-for-role.sh",
)
@click.argument("names", nargs=-1, metavar="[NAME]...", help="Only these templates, groups and fleets, by name or id.")
@takes_targets
@click.option(
    "--exit-code", is_flag=True, help="Exit with 2 when instances won't start with the role that they should."
)
@click.option(
    "--allow",
    type=OneOf(_VERDICTS),
    metavar="VERDICT",
    multiple=True,
    help="With --exit-code: not for this verdict, as a-few-seconds-late; may be given again.",
)
@click.option("--boot-script", is_flag=True, help="Print a boot script that waits for the role, and nothing else.")
def launches(
    names: tuple[str, ...],
    targets: tuple[str, ...],
    allow: tuple[str, ...],
    *,
    exit_code: bool,
    boot_script: bool,
) -> ExitCode:
    """Show which role instances will get before they are launched.

    For each launch template, Auto Scaling group and fleet: "born right", "a few seconds late" (Rolekeeper attaches the
    role after the launch), "replaced" (another role first), "will stay occupied" (a foreign role is in the way),
    "blocked", "no mapping" or "left alone" (an AWS service manages the instances). It decides as the functions do, on
    the tags that instances will have. Name one to see what to change. It changes nothing.
    """
    if boot_script:
        terminal.line(_BOOT_SCRIPT.read_text().rstrip("\n"))
        return ExitCode.DONE
    there = deployment()
    places = uses.targets.Places.chosen(there, targets)
    with there.progress(None, "templates, groups and fleets looked at") as progress:
        found = list(progress.over(places.ask(uses.launchers.forecasts)))
    chosen = _named(found, names) if names else [each for each in found if not each.is_beside]
    chosen.sort(key=lambda each: each.urgency)
    documents = [each.document() for each in chosen]
    beside = 0 if names else len(found) - len(chosen)
    render.show_list(
        _layout(there.home), documents, empty=_empty, total=lambda: _total(chosen, beside, steps=bool(names))
    )
    warn_of_unseen(places)
    if why := uses.fleet.withheld(there):
        terminal.say(f"Nothing is changed now: {why}.")
    if exit_code and any(each.verdict in uses.launches.WRONG and each.verdict.value not in allow for each in chosen):
        return ExitCode.CHANGES
    if exit_code and places.unseen:
        raise CommandError("what instances will get isn't known everywhere: targets are left out", _NARROW)
    return ExitCode.DONE


_NARROW = "narrow it to those that you see: --target"


def _named(found: Sequence[Forecast], names: Sequence[str]) -> list[Forecast]:
    known = {name for each in found for name in (each.launcher.name, each.launcher.id)}
    if missing := next((each for each in names if each not in known), ""):
        what = f"there is no launch template, Auto Scaling group or fleet {missing}"
        raise CommandError(what, did_you_mean(missing, known) or "see: rolekeeper launches")
    return [each for each in found if {each.launcher.name, each.launcher.id} & set(names)]


# ---- the table, and what is below it ----


def _empty() -> str:
    return "There are no launch templates, Auto Scaling groups or fleets. Look elsewhere with --region or --profile."


def _total(found: Sequence[Forecast], beside: int, *, steps: bool) -> str:
    counts = Counter(each.verdict for each in found)
    words = ", ".join(f"{counts[each]:,} {each}" for each in uses.launches.Verdict if counts[each])
    kinds = "template, group or fleet" if len(found) == 1 else "templates, groups and fleets"
    lines = [f"{len(found):,} {kinds}: {words}."]
    if beside:
        templates = "1 launch template isn't" if beside == 1 else f"{beside:,} launch templates aren't"
        lines.append(f"{templates} listed: a group or fleet uses it, and its own tags match no mapping.")
    if steps:
        lines += [line for each in found for line in _steps(each)]
    elif any(each.steps for each in found):
        lines.append("What to change about one: rolekeeper launches NAME")
    return "\n".join(lines)


def _steps(found: Forecast) -> Iterator[str]:
    """What to do about one, each command on a line that can be copied."""
    if found.steps:
        yield f"\n{found.launcher.kind.value.replace('-', ' ').capitalize()} {found.launcher.name}:"
    for each in found.steps:
        yield f"  {each.text}\n    {each.does}"


def _version(row: Mapping[str, Any]) -> str:
    """The number of the template's version, and how it is named if not by that."""
    template = row["template"] or {"number": "", "version": ""}
    asked = {"$Default": "default", "$Latest": "latest"}.get(template["version"], "")
    return f"{template['number']} {asked}".rstrip()


_KINDS = {
    "launch-template": "template",
    "auto-scaling-group": "group",
    "ec2-fleet": "fleet",
    "spot-fleet": "spot fleet",
}
_COLOURS = {"will-stay-occupied": "red", "blocked": "red", "replaced": "yellow", "a-few-seconds-late": "yellow"}


def _layout(home: Target) -> Layout:
    def name(row: Mapping[str, Any]) -> str:
        target = f"{row['account']}/{row['region']}"
        return row["name"] if target == str(home) else f"{target}/{row['name']}"

    return Layout(
        (
            Column("name", name, kind="name"),
            Column("kind", lambda row: _KINDS.get(row["kind"], row["kind"])),
            Column("verdict", lambda row: row["verdict"].replace("-", " ")),
            Column("starts with", lambda row: row["carries"] or "none", kind="name"),
            Column("should carry", lambda row: row["should_carry"] or "none", kind="name"),
            Column("version", _version),
            Column("template", lambda row: (row["template"] or {}).get("name", ""), wide=True),
            Column("id", lambda row: row["id"] or "", wide=True),
            Column("mapping", lambda row: row["mapping"] or "", wide=True),
        ),
        note=lambda row: "" if row["verdict"] == "born-right" else row["reason"],
        colour=lambda row: _COLOURS.get(row["verdict"], ""),
    )
