"""`rolekeeper plan` and `apply`: what would change in the fleet, and having exactly that done."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from rolekeeper.model.text import escaped
from rolekeeper_cli.errors import CommandError, ExitCode, UsageError
from rolekeeper_cli.fleet.command import NARROW, require_known, warn_of_unseen, without_damaged
from rolekeeper_cli.lazily import lazily
from rolekeeper_cli.mapping.command import show_change, tell_verdicts
from rolekeeper_cli.mapping.files_command import read_mappings
from rolekeeper_cli.options import MARKDOWN, WIDE
from rolekeeper_cli.plan.view import AppliedView, PlannedChangeView, PlanView
from rolekeeper_cli.shell import render, terminal
from rolekeeper_cli.shell.arguments import completes, detailed_exitcode, takes_targets
from rolekeeper_cli.shell.command import command, deployment, lists, prints
from rolekeeper_cli.shell.layout import ACTION_COLOURS, Column, Layout, amount, grouped, several

with lazily():
    from rolekeeper_cli.instance import seen as instances_seen
    from rolekeeper_cli.instance import use as instance_use
    from rolekeeper_cli.mapping import preview, rehearsal
    from rolekeeper_cli.plan import apply as plan_apply
    from rolekeeper_cli.plan import markdown
    from rolekeeper_cli.plan import use as plan_use
    from rolekeeper_cli.row import edits, effect
    from rolekeeper_cli.shell import tables
    from rolekeeper_cli.target import use as target_use

if TYPE_CHECKING:
    from rolekeeper.model.instance import Instance, Target
    from rolekeeper.model.mapping import MappingKey
    from rolekeeper_cli.aws.deployment import Deployment


@lists()
@prints(ExitCode.CHANGES, ExitCode.REJECTED, ExitCode.HELD, plan=PlanView)
@command(
    "plan",
    "rolekeeper plan",
    "rolekeeper plan -f mappings.yaml --out change.plan",
    "rolekeeper plan --instance web-1 --output json",
    "rolekeeper plan --detailed-exitcode --query summary",
    "rolekeeper plan -f mappings.yaml --output markdown",
    markdown=True,
)
@click.option(
    "-f",
    "--file",
    metavar="FILE",
    type=click.Path(),
    help="As if these mappings were published; a YAML file, - is stdin.",
)
@click.option("--prune", is_flag=True, help="With -f: and as if the rows that aren't in the file were deleted.")
@click.option(
    "--instance",
    "texts",
    metavar="ID",
    multiple=True,
    help="Only this one, by id or Name tag; may be given again.",
    shell_complete=completes("instances"),
)
@takes_targets
@click.option("--out", metavar="PLAN", type=click.Path(), help="Write the plan there, for apply.")
@detailed_exitcode
def plan(
    file: str | None,
    texts: tuple[str, ...],
    targets: tuple[str, ...],
    out: str | None,
    *,
    prune: bool,
    detailed_exitcode: bool,
) -> ExitCode:
    """Show what would change in the fleet, and why.

    Now, or if a file's mappings were published. A line is an instance, or several that change alike (-o wide lists each
    one): + gets a role, ~ gets another, - loses its own, ! waits or is blocked. It decides as the functions do, and
    changes nothing. A hub's plan is over all its targets into which you may look.
    """
    _refuse_options(file, texts, targets, prune=prune)
    there = deployment()
    specs = read_mappings(file, there).specs if file else ()
    instances = _instances(there, texts)  # before the mappings are judged: a mistyped name fails at once
    places = target_use.Places.of(there, instances) if texts else target_use.Places.chosen(there, targets)
    drawn = _Edits()
    proposed = rehearsal.propose(there, specs, prune=prune, show=drawn.draw) if file else rehearsal.Proposal()
    waiting, unknown = plan_use.waiting_rows(there, [each.key for each in proposed.edits])
    if unknown:
        terminal.warn(unknown)
    pages = (lambda place: [instances[place.settings.target]]) if texts else instances_seen.pages
    seen = without_damaged(places.look(pages, proposed.enforced))
    named = [f"{each.key.target}/{each.key.id}" for some in instances.values() for each in some]
    asked: dict[str, Any] = {"instances": named, "targets": targets, "specs": specs, "prune": prune}
    basis = plan_apply.PlanHeader(there.home.account, there.home.region, there.stack.name, **asked)
    with plan_apply.writing(out, basis, proposed) if out else nullcontext(iter) as kept:
        fleet = preview.FleetPlan(there, proposed, narrowed=bool(texts))
        for edit in proposed.edits:
            drawn.draw(edit)
        views = map(plan_use.change_view, kept(fleet.changing(seen)))
        changes = render.Arranged(Layout(()), views, PlannedChangeView)
        whole = plan_use.view(fleet, places, waiting, changes=list(changes))
        _show(there, whole, command=_typed(file, texts, targets, prune=prune))
        changes.say_rest()
        warn_of_unseen(places)
        if out:
            if places.unseen:
                raise CommandError(f"{out} wasn't written: the plan leaves targets out", NARROW)
            plan_apply.require_applicable(proposed, f"{out} wasn't written")
    return _exit_code(proposed, fleet, places, detailed=detailed_exitcode)


def _exit_code(
    proposed: rehearsal.Proposal, fleet: preview.FleetPlan, places: target_use.Places, *, detailed: bool
) -> ExitCode:
    differs = detailed and bool(fleet.changes or proposed.edits)
    code = edits.exit_code((each.status for each in proposed.edits), changes=differs)
    if detailed and code is ExitCode.DONE:
        require_known(places)
    return code


def _refuse_options(file: str | None, texts: Sequence[str], targets: Sequence[str], *, prune: bool) -> None:
    if prune and not file:
        raise UsageError("--prune needs a file", "give the file with -f")
    if texts and targets:
        raise UsageError("--instance and --target can't be combined", "leave --target out")


def _typed(file: str | None, texts: Sequence[str], targets: Sequence[str], *, prune: bool) -> str:
    """The command line that shows all of a plan."""
    words = ["-f", file] if file else []
    words += ["--prune"] if prune else []
    words += [word for text in texts for word in ("--instance", text)]
    words += [word for text in targets for word in ("--target", text)]
    return shlex.join(["rolekeeper", "plan", *words, "-o"])


def _instances(deployment: Deployment, texts: Sequence[str]) -> dict[Target, list[Instance]]:
    """The instances that texts name, each once, by target."""
    places = [instance_use.located(deployment, text) for text in texts]
    found = [instance_use.find_instance(place, name) for place, name in places]
    return grouped((key.target, each) for key, each in {each.key: each for each in found}.items())


@prints(ExitCode.REJECTED, ExitCode.HELD, applied=AppliedView)
@command("apply", "rolekeeper apply change.plan", "rolekeeper apply change.plan --approve")
@click.argument("plan", metavar="PLAN", type=click.Path(), help="What rolekeeper plan --out wrote.")
@click.option(
    "--approve", is_flag=True, help="Approve edits that are held, except your own: another person approves those."
)
@click.option("--hold", is_flag=True, help="Write edits that are held too, and approve none: another person does.")
def apply(plan: str, *, approve: bool, hold: bool) -> ExitCode:
    """Apply a plan, exactly as it is.

    If a tag, a mapping or an association that it is based on has changed since, nothing is applied, and each change is
    named. It ends when EC2 shows every instance as planned. While changes are withheld (rolekeeper mode) it writes the
    rows, and instances follow later.
    """
    if approve and hold:
        raise UsageError("--approve and --hold can't be combined", "leave one out")
    there = deployment()
    file = plan_apply.PlanFile.read(plan, there.app.home)
    done = plan_apply.apply(there, file, approve=approve, hold=hold, report=partial(tell_verdicts, there))
    render.show(done, lambda: _draw_applied(done))
    if done.instances or done.mappings:
        _say_withheld(there)
    return edits.exit_code(verdict.status or "" for verdict in done.not_in_effect)


def _draw_applied(done: AppliedView) -> None:
    if not (done.instances or done.mappings):
        terminal.say("Nothing to do: the plan changes nothing.")
        return
    bad = {verdict.mapping for verdict in done.not_in_effect}
    applied = amount(len([key for key in done.mappings if key not in bad]), "mapping")
    terminal.line(f"Applied: {amount(done.instances, 'instance')} as planned, {applied}.")
    if done.waiting:
        terminal.line(f"Not in effect yet: {amount(len(bad), 'mapping')}, {amount(done.waiting, 'instance')}.")


SIGNS = {"Attach": "+", "Replace": "~", "Detach": "-", "Wait": "!", "Hold": "!"}

# The most lines of instances, and of permissions, on one screen.
_MOST = 6
# How many of those that change alike are named.
_NAMED = 3


def _show(here: Deployment, plan: PlanView, *, command: str) -> None:
    """Show a plan; `command`, with an output, shows all of it."""
    if terminal.options().output == MARKDOWN:
        click.echo(markdown.page(plan, f"{here.home}, stack {here.stack.name}", f"{command} json"), nl=False)
    else:
        render.show(plan, lambda: _draw(plan, here.home, f"{command} wide"))
    _say_withheld(here)


def _say_withheld(deployment: Deployment) -> None:
    if why := effect.withheld(deployment):
        terminal.say(f"No changes will be made now: {why}.")


def _draw(plan: PlanView, home: Target, command: str) -> None:
    """Draw the sum, the instances, and below them permissions, pace and rows that wait; `command` shows all."""
    counts, options = plan.summary, terminal.options()
    wide, are_sorted = options.output == WIDE, options.sort is not None
    rows = [[change] for change in plan.changes] if wide else plan_use.alike(plan.changes, are_sorted=are_sorted)
    most = len(rows) if wide else _MOST
    if plan.changes:
        of = f"{counts.changes:,} of {amount(counts.instances, 'instance')} would change ({counts.percent} %)"
        terminal.line(f"{plan_use.headline(plan.changes)}: {of}.")
    tables.stream_list(_layout(home), rows[:most])
    left = sum(map(len, rows[most:])), len(plan.permissions[most:])
    for move in plan.permissions[:most]:
        arrow = f"{move.from_ or 'none'} → {move.to or 'none'}"
        if move.account != home.account:
            arrow = f"{arrow} in {move.account}"
        terminal.line(f"{arrow} on {move.instances:,}: {plan_use.permissions_in_words(move)}")
    if any(left):
        terminal.line(f"Left out: {amount(left[0], 'instance')}, {amount(left[1], 'change')} of role; all: {command}")
    if plan.paced:
        terminal.say(preview.pace_in_words(plan.paced))
    if held := [edit.mapping for edit in plan.mappings if edit.needs_approval]:
        terminal.say(f"Counted as if approved: {several(held)}.")
    if plan.waiting:
        terminal.say(plan_use.waiting_in_words(plan.waiting))
    accounts = [(each.account, f"{each.changes:,} of {each.instances:,}") for each in plan.summary.accounts]
    if len(accounts) > 1:
        tables.show_table(("account", "instances that change"), accounts)
    if nothing := plan_use.nothing(plan):
        terminal.say(nothing)


def _layout(home: Target) -> Layout:
    """Of instances that change alike, and of one alone."""
    return Layout(
        (
            Column("", lambda row: SIGNS[row[0].action]),
            Column("instance", lambda row: _instance(row, home), kind="key"),
            Column("name", _names, kind="name"),
            Column("from", lambda row: row[0].from_ or "none", kind="name"),
            Column("", lambda _: "→"),
            Column("to", lambda row: row[0].to or "none", kind="name"),
        ),
        note=lambda row: row[0].reason,
        brief=True,
        colour=lambda row: ACTION_COLOURS.get(row[0].action, ""),
        head=False,
    )


def _names(row: Sequence[PlannedChangeView]) -> str | None:
    return row[0].name if len(row) == 1 else several([change.name or change.instance for change in row], _NAMED)


def _instance(row: Sequence[PlannedChangeView], home: Target) -> str:
    if len(row) == 1:
        return instance_use.address_of(row[0], home)
    accounts = sorted({change.account for change in row})
    return amount(len(row), "instance") + (f" in {several(accounts, _NAMED)}" if accounts != [home.account] else "")


class _Edits:
    """Draws each changed row once, to people, and under it its status then, unless it would just be published."""

    def __init__(self) -> None:
        self._drawn: set[MappingKey] = set()

    def draw(self, edit: rehearsal.PlannedRow) -> None:
        if edit.key in self._drawn or not terminal.options().for_people:
            return
        self._drawn.add(edit.key)
        if edit.change:
            show_change(edit.change)
        else:
            terminal.line(f"= {escaped(str(edit.key))}")
        if edit.says_more:
            terminal.line(f"would be {edit.status}: {edit.reason}", "yellow" if edit.applies else "red", indent=4)
        if edit.own:
            terminal.line("another person has to approve it, because it is your edit", "yellow", indent=4)
