"""`rolekeeper plan` and `apply`: what would change in the fleet, and having exactly that done."""

from typing import TYPE_CHECKING, Any

import click

from rolekeeper_cli.command import command
from rolekeeper_cli.commands.arguments import detailed_exitcode, takes_targets, yaml_format
from rolekeeper_cli.commands.mapping_files import read_mappings
from rolekeeper_cli.completion import instances
from rolekeeper_cli.errors import CommandError, ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rolekeeper.model.instance import Instance, Target
    from rolekeeper_cli.deployment import Deployment
    from rolekeeper_cli.views.proposal import Proposal


@command(
    "plan",
    "rolekeeper plan",
    "rolekeeper plan -f mappings.yaml --out change.plan",
    "rolekeeper plan --instance web-1 --output json",
    "rolekeeper plan --detailed-exitcode --query summary",
)
@click.option(
    "-f",
    "--file",
    metavar="FILE",
    type=click.Path(),
    help="As if these mappings were published; a YAML file, - is stdin.",
)
@yaml_format
@click.option("--prune", is_flag=True, help="With -f: and as if the rows that aren't in the file were deleted.")
@click.option(
    "--instance",
    "texts",
    metavar="ID",
    multiple=True,
    help="Only this one, by id or Name tag; may be given again.",
    shell_complete=instances,
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
    from contextlib import nullcontext
    from dataclasses import replace
    from pathlib import Path

    from rolekeeper_cli import fleet_plan, plan_file
    from rolekeeper_cli.commands.deployment import deployment
    from rolekeeper_cli.left_out import warn_of_unseen, without_damaged
    from rolekeeper_cli.views import looking
    from rolekeeper_cli.views.places import Places
    from rolekeeper_cli.views.plan import Looked
    from rolekeeper_cli.views.proposal import Proposal, propose

    if prune and not file:
        raise UsageError("--prune is about a file", "give the file with -f")
    if texts and targets:
        raise UsageError("--instance says where each instance is", "leave --target out")
    there = deployment()
    specs = read_mappings(file, there).specs if file else ()
    # Before the mappings are judged: a slip in a name is told at once.
    instances = _instances(there, texts)
    places = Places.of(there, instances) if texts else Places.chosen(there, targets)
    proposed = propose(there, specs, prune=prune) if file else Proposal()
    proposed = replace(proposed, waiting=_waiting(there, proposed))
    seen = without_damaged(
        places.look(
            lambda place: [instances[place.settings.target]] if texts else looking.pages(place),
            lambda place: looking.Enforced.of(place, proposed.served_at(place)),
        )
    )
    keys = [each.key for some in instances.values() for each in some]
    basis = plan_file.PlanHeader(
        account=there.home.account,
        region=there.home.region,
        stack=there.stack.name,
        instances=[f"{each.target}/{each.id}" for each in keys],
        targets=targets,
        specs=specs,
        prune=prune,
    )
    with plan_file.writing(Path(out), basis, proposed) if out else nullcontext(lambda _: None) as keep:
        looked = Looked(seen, places, narrowed=bool(texts))
        tally = fleet_plan.show(there, proposed, looked, keep=keep)
        warn_of_unseen(places)
        narrow = "narrow it to those that you see: --target"
        if out and places.unseen:
            raise CommandError(f"{out} wasn't written: the plan leaves targets out", narrow)
    if detailed_exitcode and (tally.changes or proposed.edits):
        return ExitCode.CHANGES
    if detailed_exitcode and places.unseen:
        raise CommandError("whether anything would change isn't known: the plan leaves targets out", narrow)
    return ExitCode.DONE


def _waiting(there: "Deployment", proposed: "Proposal") -> "Sequence[Mapping[str, Any]]":
    """The rows that say something else than what is in effect, and that the plan doesn't count; of a file's, none."""
    from rolekeeper.aws.errors import AccessDeniedError
    from rolekeeper_cli import output
    from rolekeeper_cli.views import mappings
    from rolekeeper_cli.writes.mapping_rows import mapping_rows

    try:
        rows = mapping_rows(there).all()
    except AccessDeniedError as error:
        output.warn(f"whether rows wait isn't known: you aren't allowed {error.action} on {error.resource}")
        return []
    edited = {each.key for each in proposed.edits}
    return mappings.waiting(mappings.documents(there, {key: row for key, row in rows.items() if key not in edited}))


def _instances(deployment: "Deployment", texts: "Sequence[str]") -> "dict[Target, list[Instance]]":
    """The instances that texts name, each once, by target."""
    from rolekeeper_cli.instances import find_instance, located

    places = [located(deployment, text) for text in texts]
    found = [find_instance(place, name) for place, name in places]
    by_target: dict[Target, list[Instance]] = {}
    for each in {each.key: each for each in found}.values():
        by_target.setdefault(each.key.target, []).append(each)
    return by_target


@command("apply", "rolekeeper apply change.plan", "rolekeeper apply change.plan --approve")
@click.argument("plan", metavar="PLAN", type=click.Path(), help="What rolekeeper plan --out wrote.")
@click.option("--approve", is_flag=True, help="Approve what is held for the number of instances that it changes.")
def apply(plan: str, *, approve: bool) -> ExitCode:
    """Apply a plan, exactly as it is.

    When a tag, a mapping or an association that it rests on moved since, nothing is applied, and what moved is named.
    It ends when EC2 shows every instance as planned.
    """
    from pathlib import Path

    from rolekeeper_cli import outcomes, output, render
    from rolekeeper_cli.commands.deployment import deployment
    from rolekeeper_cli.plan_file import PlanFile
    from rolekeeper_cli.writes import apply

    there = deployment()
    done = apply.apply(there, PlanFile(Path(plan), there.app.home), approve=approve, report=outcomes.tell)
    if done.nothing:
        output.say("Nothing to do: the plan changes nothing.")
        return ExitCode.DONE
    said = f"Applied: {len(done.instances):,} instances as planned, {len(done.mappings):,} mappings."
    render.show(done.document(), lambda: output.line(said))
    return ExitCode.DONE


COMMANDS = (plan, apply)
