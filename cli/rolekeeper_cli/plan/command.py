"""`rolekeeper plan` and `apply`: what would change in the fleet, and having exactly that done."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from rolekeeper.model.text import escaped
from rolekeeper_cli.errors import CommandError, ExitCode, UsageError
from rolekeeper_cli.fleet.command import NARROW, require_known, warn_of_unseen, without_damaged
from rolekeeper_cli.lazily import lazily
from rolekeeper_cli.mapping.command import show_change, tell_verdicts
from rolekeeper_cli.mapping.files_command import read_mappings
from rolekeeper_cli.options import MARKDOWN
from rolekeeper_cli.plan.view import AppliedView, PlanView
from rolekeeper_cli.shell import render, terminal
from rolekeeper_cli.shell.arguments import completes, detailed_exitcode, takes_targets
from rolekeeper_cli.shell.command import command, deployment, prints
from rolekeeper_cli.shell.layout import ACTION_COLOURS, Column, Layout, amount, several

with lazily():
    from rolekeeper_cli.instance import seen as instances_seen
    from rolekeeper_cli.instance import use as instance_use
    from rolekeeper_cli.mapping import preview, rehearsal
    from rolekeeper_cli.plan import apply as plan_apply
    from rolekeeper_cli.plan import markdown
    from rolekeeper_cli.row import edits, effect
    from rolekeeper_cli.shell import tables
    from rolekeeper_cli.target import use as target_use

if TYPE_CHECKING:
    from rolekeeper.model.instance import Instance, Target
    from rolekeeper.model.mapping import MappingKey
    from rolekeeper_cli.aws.deployment import Deployment


@prints(plan=PlanView)
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

    Now, or if a file's mappings were published. Each line is an instance: + gets a role, ~ gets another, - loses its
    own, ! waits or is blocked. It decides as the functions do, and changes nothing. A hub's plan is over all its
    targets into which you may look.
    """
    if prune and not file:
        raise UsageError("--prune needs a file", "give the file with -f")
    if texts and targets:
        raise UsageError("--instance and --target can't be combined", "leave --target out")
    there = deployment()
    specs = read_mappings(file, there).specs if file else ()
    instances = _instances(there, texts)  # before the mappings are judged: a mistyped name fails at once
    places = target_use.Places.of(there, instances) if texts else target_use.Places.chosen(there, targets)
    drawn = _Edits()
    proposed = rehearsal.propose(there, specs, prune=prune, show=drawn.draw) if file else rehearsal.Proposal()
    waiting, unknown = preview.waiting_rows(there, [each.key for each in proposed.edits])
    if unknown:
        terminal.warn(unknown)
    pages = (lambda place: [instances[place.settings.target]]) if texts else instances_seen.pages
    seen = without_damaged(places.look(pages, proposed.enforced))
    named = [f"{each.key.target}/{each.key.id}" for some in instances.values() for each in some]
    where = plan_apply.PlanHeader(there.home.account, there.home.region, there.stack.name)
    basis = replace(where, instances=named, targets=targets, specs=specs, prune=prune)
    with plan_apply.writing(out, basis, proposed) if out else nullcontext(lambda _: None) as keep:
        fleet = preview.FleetPlan(there, proposed, places, waiting=waiting, narrowed=bool(texts))
        show(fleet, seen, keep=keep, drawn=drawn, command=_typed(file, texts, targets, prune=prune))
        warn_of_unseen(places)
        if out:
            _require_whole(out, proposed, places)
    changes = detailed_exitcode and bool(fleet.changes or proposed.edits)
    code = edits.exit_code((each.status for each in proposed.edits), changes=changes)
    if detailed_exitcode and code is ExitCode.DONE:
        require_known(places)
    return code


def _require_whole(out: str, proposed: rehearsal.Proposal, places: target_use.Places) -> None:
    if places.unseen:
        raise CommandError(f"{out} wasn't written: the plan leaves targets out", NARROW)
    plan_apply.require_applicable(proposed, f"{out} wasn't written")


def _typed(file: str | None, texts: Sequence[str], targets: Sequence[str], *, prune: bool) -> str:
    """The command line that shows all of a plan."""
    words = ["-f", file] if file else []
    words += ["--prune"] if prune else []
    words += [word for text in texts for word in ("--instance", text)]
    words += [word for text in targets for word in ("--target", text)]
    return shlex.join(["rolekeeper", "plan", *words, "-o", "json"])


def _instances(deployment: Deployment, texts: Sequence[str]) -> dict[Target, list[Instance]]:
    """The instances that texts name, each once, by target."""
    places = [instance_use.located(deployment, text) for text in texts]
    found = [instance_use.find_instance(place, name) for place, name in places]
    by_target: dict[Target, list[Instance]] = {}
    for each in {each.key: each for each in found}.values():
        by_target.setdefault(each.key.target, []).append(each)
    return by_target


@prints(applied=AppliedView)
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
    file = plan_apply.PlanFile(plan, there.app.home)
    done = plan_apply.apply(there, file, approve=approve, hold=hold, report=partial(tell_verdicts, there))
    bad = {row.mapping: row.status or "" for row in done.not_in_effect}
    if done.instances or done.mappings:
        applied = len([each for each in done.mappings if each not in bad])
        lines = [f"Applied: {amount(done.instances, 'instance')} as planned, {amount(applied, 'mapping')}."]
        if done.waiting:
            waiting = amount(done.waiting, "instance")
            lines.append(f"Not in effect yet: {amount(len(bad), 'mapping')}, {waiting}.")
        render.show(done, lambda: terminal.line("\n".join(lines)))
        _say_withheld(there)
    else:
        terminal.say("Nothing to do: the plan changes nothing.")
    return edits.exit_code(bad.values())


SIGNS = {"Attach": "+", "Replace": "~", "Detach": "-", "Wait": "!", "Hold": "!"}


def show(
    plan: preview.FleetPlan,
    seen: Iterable[instances_seen.Seen],
    keep: Callable[[instances_seen.Seen], object],
    *,
    drawn: _Edits,
    command: str,
) -> None:
    """Show a plan while it comes; `keep` takes each instance that has a line, and `command` shows all of it."""

    def draw(rows: Iterable[Mapping[str, Any]]) -> None:
        for edit in plan.proposal.edits:
            drawn.draw(edit)
        tables.stream_list(_layout(plan.deployment.home), rows)
        _draw_rest(plan)

    documents = plan.documents(seen, keep)
    if terminal.options().output == MARKDOWN:
        whole = {"changes": list(documents), **plan.rest()}
        here = plan.deployment
        place = f"{here.home}, stack {here.stack.name}"
        click.echo(markdown.page(whole, place, command), nl=False)
    else:
        render.show_with_rows(documents, lambda rows: {"changes": rows, **plan.rest()}, draw=draw)
    _say_withheld(plan.deployment)


def _say_withheld(deployment: Deployment) -> None:
    if why := effect.withheld(deployment):
        terminal.say(f"No changes will be made now: {why}.")


def _draw_rest(plan: preview.FleetPlan) -> None:
    """What is below the instances: permissions, pace, rows that wait, and the sum."""
    for move, count, found in plan.permissions():
        before, after = (instances_seen.profile_name(each) or "none" for each in (move.before, move.after))
        arrow = f"{before} → {after}"
        if move.account != plan.deployment.home.account:
            arrow = f"{arrow} in {move.account}"
        terminal.line(f"{arrow} on {count:,}: {preview.in_words(found)}")
    if pace := plan.paced():
        terminal.say(preview.pace_in_words(pace))
    if held := [str(each.key) for each in plan.proposal.edits if each.needs_approval]:
        terminal.say(f"Counted as if approved: {several(held)}.")
    if plan.waiting:
        terminal.say(preview.waiting_in_words(plan.waiting))
    terminal.line(f"{plan}.")
    accounts = [(each["account"], f"{each['changes']:,} of {each['instances']:,}") for each in plan.accounts()]
    if len(accounts) > 1:
        tables.show_table(("account", "instances that change"), accounts)
    if plan.nothing:
        terminal.say(plan.nothing)


def _layout(home: Target) -> Layout:
    return Layout(
        (
            Column("", lambda row: SIGNS[row["action"]]),
            Column("instance", lambda row: instance_use.address(row, home), kind="key"),
            Column("name", kind="name"),
            Column("from", lambda row: row["from"] or "none", kind="name"),
            Column("", lambda _: "→"),
            Column("to", lambda row: row["to"] or "none", kind="name"),
        ),
        note=lambda row: row["reason"],
        brief=True,
        colour=lambda row: ACTION_COLOURS.get(row["action"], ""),
        head=False,
    )


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
            terminal.line("another person has to approve it, as it is your edit", "yellow", indent=4)
