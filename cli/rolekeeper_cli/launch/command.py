"""`rolekeeper launches`: what launch templates, groups and fleets will give their instances."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from rolekeeper_cli import installed
from rolekeeper_cli.errors import CommandError, ExitCode, UsageError
from rolekeeper_cli.fleet.command import NARROW, warn_of_unseen
from rolekeeper_cli.launch.view import Kind, LaunchView, Verdict
from rolekeeper_cli.lazily import lazily
from rolekeeper_cli.mapping.files_command import read_mappings
from rolekeeper_cli.shell import render, terminal
from rolekeeper_cli.shell.arguments import OneOf, takes_targets, together
from rolekeeper_cli.shell.command import Group, deployment, lists, prints
from rolekeeper_cli.shell.layout import Column, Layout, amount, several
from rolekeeper_cli.shell.suggest import did_you_mean

with lazily():
    from rolekeeper_cli.launch import files as launch_files
    from rolekeeper_cli.launch import launchers, use
    from rolekeeper_cli.row import effect
    from rolekeeper_cli.row import files as row_files
    from rolekeeper_cli.target import use as target_use

if TYPE_CHECKING:
    from rolekeeper.model.instance import Target
    from rolekeeper_cli.aws.deployment import Deployment
    from rolekeeper_cli.launch.declared import Declared
    from rolekeeper_cli.launch.use import Forecast

_PATH = "/rolekeeper/"
_options = together(
    takes_targets,
    click.option(
        "--detailed-exitcode",
        is_flag=True,
        help="Exit with 2 when instances won't start with the role that they should.",
    ),
    click.option(
        "--allow",
        type=OneOf(each.value for each in Verdict),
        metavar="VERDICT",
        multiple=True,
        help="With --detailed-exitcode: not for this verdict, such as a-few-seconds-late; may be given again.",
    ),
)


@lists()
@prints(ExitCode.CHANGES, launches=list[LaunchView])
@click.group(
    "launches",
    cls=Group,
    invoke_without_command=True,
    examples=[
        "rolekeeper launches",
        "rolekeeper launches --detailed-exitcode --allow a-few-seconds-late",
        "rolekeeper launches --output json --query \"[?verdict=='replaced'].steps\"",
        "rolekeeper launches explain web-servers",
        "rolekeeper launches files template.yaml -f mappings.yaml",
    ],
)
@_options
@click.pass_context
def group(
    context: click.Context, targets: tuple[str, ...], *, allow: tuple[str, ...], detailed_exitcode: bool
) -> ExitCode | None:
    """Show which role instances will get before they are launched.

    For each launch template, Auto Scaling group and fleet: "born right", "a few seconds late" (Rolekeeper attaches the
    role after the launch), "replaced" (another role first), "will stay occupied" (a foreign role is in the way),
    "blocked" (as by a held mapping), "no mapping" or "left alone" (an AWS service manages the instances). It decides as
    the functions do, on the tags that instances will have. It changes nothing.
    """
    if context.invoked_subcommand is not None:
        return None
    return _in_aws((), targets, allow if detailed_exitcode else None)


@prints(launches=list[LaunchView])
@group.command("explain", examples=["rolekeeper launches explain web-servers"])
@click.argument(
    "names",
    nargs=-1,
    required=True,
    metavar="NAME...",
    help="Templates, groups and fleets, by name, ACCOUNT/REGION/NAME or id.",
)
def explain(names: tuple[str, ...]) -> ExitCode:
    """Show what to change about some of them."""
    return _in_aws(names, (), None)


@lists()
@prints(ExitCode.CHANGES, launches=list[LaunchView])
@group.command(
    "files",
    examples=[
        "rolekeeper launches files template.yaml --parameter Stage=live",
        "rolekeeper launches files plan.json -f mappings.yaml --detailed-exitcode",
    ],
)
@click.argument(
    "templates",
    nargs=-1,
    required=True,
    type=click.Path(),
    metavar="FILE...",
    help="CloudFormation templates, or what terraform show -json prints; - is stdin.",
)
@click.option(
    "-f",
    "--file",
    type=click.Path(),
    metavar="FILE",
    help="As if these mappings were published, and without AWS; a YAML file, - is stdin.",
)
@click.option(
    "--parameter",
    "parameters",
    metavar="KEY=VALUE",
    multiple=True,
    help="A parameter of the CloudFormation template; may be given again.",
)
@click.option("--role-path", metavar="PATH", help=f"With -f: the role path. Default: {_PATH}.")
@_options
def files(
    templates: tuple[str, ...],
    targets: tuple[str, ...],
    *,
    file: str | None,
    parameters: tuple[str, ...],
    role_path: str | None,
    allow: tuple[str, ...],
    detailed_exitcode: bool,
) -> ExitCode:
    """Show the same of files before they are deployed.

    By the mappings that are published in one target, or by those of a file. It shows what to change, too.
    """
    if role_path and not file:
        raise UsageError("--role-path is for a file of mappings", "name it with -f")
    there = deployment()
    places = None if file else target_use.Places.chosen(there, targets)
    declared = partial(_declared, templates, parameters)
    if places:
        found = _in_files(there, places, declared)
    else:
        found = _offline(there, str(file), role_path or _PATH, targets=targets, declared=declared)
    return _shown(found, allow if detailed_exitcode else None, there, places=places)


@prints(asks_aws=False)
@group.command("boot-script", examples=["rolekeeper launches boot-script > wait-for-role.sh"])
def boot_script() -> None:
    """Print a boot script that waits for the role."""
    click.echo(installed.BOOT_SCRIPT.read_bytes(), nl=False)


def _in_aws(names: Sequence[str], targets: Sequence[str], allow: Sequence[str] | None) -> ExitCode:
    there = deployment()
    places = target_use.Places.chosen(there, targets)
    found = list(launchers.everywhere(there, places))
    return _shown(found, allow, there, places=places, names=names, home=there.home)


def _shown(
    found: Sequence[Forecast],
    allow: Sequence[str] | None,
    there: Deployment,
    *,
    places: target_use.Places | None,
    names: Sequence[str] = (),
    home: Target | None = None,
) -> ExitCode:
    """Show those that are meant; without a `home` they are of files. Only DONE is returned if `allow` is None."""
    chosen = _named(found, names) if names else [each for each in found if not each.is_beside]
    chosen.sort(key=lambda each: each.urgency)
    beside = 0 if names else len(found) - len(chosen)
    render.show_list(
        _layout(home),
        [forecast.view() for forecast in chosen],
        empty=lambda: _NONE if home else "The files launch no instances.",
        total=lambda: _total(chosen, beside, home=home, steps=bool(names) or home is None),
    )
    if places:
        warn_of_unseen(places)
        if why := effect.withheld(there):
            terminal.say(f"Nothing is changed now: {why}.")
    if allow is not None and any(each.verdict in use.WRONG and each.verdict.value not in allow for each in chosen):
        return ExitCode.CHANGES
    if allow is not None and places and places.unseen:
        raise CommandError("what instances will get isn't known everywhere: targets are left out", NARROW)
    return ExitCode.DONE


type _Reads = Callable[[Target | None], list[Declared]]


def _in_files(there: Deployment, places: target_use.Places, declared: _Reads) -> list[Forecast]:
    place = places.all[0]
    if len(places.all) > 1:
        raise UsageError("a file is deployed to one target", f"name it: --target {place.settings.target}")
    found, rows = declared(place.settings.target), there.app.table.all_rows()
    rules = list(places.ask(lambda place: [launch_files.in_effect(place, found, rows)]))
    return [each for one in rules for each in launch_files.forecasts(found, one)]


def _offline(
    there: Deployment, file: str, role_path: str, *, targets: Sequence[str], declared: _Reads
) -> list[Forecast]:
    """What files launch, by a file's mappings. AWS isn't asked."""
    if not role_path.startswith("/") or not role_path.endswith("/"):
        raise UsageError(f"{role_path} is no path", f"write it with slashes at both ends, as {_PATH}")
    if len(targets) > 1:
        raise UsageError(f"{' and '.join(targets)} isn't one target", "write --target ACCOUNT/REGION once")
    target = target_use.read(targets[0]) if targets else None
    found, specs = declared(target), read_mappings(file, None).specs
    rules, scoped = launch_files.offline(specs, role_path, target=target, now=there.now())
    return list(launch_files.forecasts(found, rules, scoped))


def _declared(templates: Sequence[str], parameters: Sequence[str], target: Target | None) -> list[Declared]:
    given = dict[str, str]()
    for each in parameters:
        key, equals, value = each.partition("=")
        if not equals:
            raise UsageError(f"{each!r} is no parameter", "write it as KEY=VALUE")
        given[key] = value
    names = {"stdin" if each == row_files.STDIN else each: each for each in templates}
    files = {name: row_files.content(each, "name a file, or - for stdin") for name, each in names.items()}
    return launch_files.read(files, given, target)


_NONE = "There are no launch templates, Auto Scaling groups or fleets. Look elsewhere with --region or --profile."


def _named(found: Sequence[Forecast], names: Sequence[str]) -> list[Forecast]:
    known = {name for each in found for name in each.names}
    if missing := next((each for each in names if each not in known), ""):
        what = f"there is no launch template, Auto Scaling group or fleet {missing}"
        raise CommandError(what, did_you_mean(missing, known) or "see: rolekeeper launches")
    return [each for each in found if each.names & set(names)]


# ---- the table, and what is below it ----


def _total(found: Sequence[Forecast], beside: int, *, home: Target | None, steps: bool) -> str:
    counts = Counter(each.verdict for each in found)
    words = ", ".join(f"{counts[each]:,} {each}" for each in Verdict if counts[each])
    kinds = "template, group or fleet" if len(found) == 1 else "templates, groups and fleets"
    lines = [f"{f'{len(found):,} {kinds}' if home else amount(len(found), 'resource')}: {words}."]
    if beside:
        templates = "1 launch template isn't" if beside == 1 else f"{beside:,} launch templates aren't"
        lines.append(f"{templates} listed: a group or fleet uses it, and its own tags match no mapping.")
    if steps:
        lines += [line for each in found for line in _steps(each, home)]
    elif any(each.steps for each in found):
        lines.append("What to change about one: rolekeeper launches explain NAME")
    return "\n".join(lines)


def _steps(found: Forecast, home: Target | None) -> Iterator[str]:
    """What to do about one, each command on a line that can be copied."""
    if found.steps:
        yield f"\nWhat to change about {_address(found.launcher.name, found.target, home)} ({found.launcher.kind}):"
    for step in found.steps:
        yield f"  {step.command}\n    {step.does}"


def _version(row: LaunchView) -> str:
    """The number of the template's version, and how it is named if not by that."""
    if row.template is None:
        return ""
    asked = {"$Default": "default", "$Latest": "latest"}.get(row.template.version or "", "")
    return f"{row.template.number} {asked}".rstrip()


def _note(row: LaunchView) -> str:
    used = f"; used by {several(row.used_by)}" if row.used_by else ""
    return "" if row.verdict == "born-right" else f"{row.reason}{used}"


_COLOURS = {"will-stay-occupied": "red", "blocked": "red", "replaced": "yellow", "a-few-seconds-late": "yellow"}


def _address(name: str, target: object, home: Target | None) -> str:
    return name if home is None or str(target) == str(home) else f"{target}/{name}"


def _layout(home: Target | None) -> Layout:
    """The table; of files, which have no `home`, it names the place."""

    def name(row: LaunchView) -> str:
        return _address(row.name, f"{row.account}/{row.region}", home)

    def none(row: LaunchView) -> str:
        return "" if row.verdict == "unknown" else "none"

    return Layout(
        (
            Column("name", name, kind="key"),
            Column("verdict", lambda row: row.verdict.replace("-", " ")),
            Column("kind", lambda row: str(Kind(row.kind)), kind="text"),
            Column("starts with", lambda row: row.carries or none(row), kind="name"),
            Column("should carry", lambda row: row.should_carry or none(row), kind="name"),
            Column("version", _version) if home else Column("place", kind="name"),
            Column("template", lambda row: row.template.name if row.template else "", wide=True),
            Column("id", lambda row: row.id or "", wide=True),
            Column("mapping", lambda row: row.mapping or "", wide=True),
        ),
        note=_note,
        colour=lambda row: _COLOURS.get(row.verdict, ""),
    )
