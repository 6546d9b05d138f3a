"""Applying a plan: exactly that one, or nothing when something that it rested on moved.

The command changes no instance itself. It writes the plan's rows, has Rolekeeper look at the plan's instances, and
watches EC2 until each shows what was planned.
"""

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rolekeeper.mappings.table import number_in
from rolekeeper.mappings.verdict import Status
from rolekeeper.model import escaped
from rolekeeper.model.instance import Association, InstanceKey, Target
from rolekeeper.model.mapping import MappingKey, same_person
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError, WaitTimeoutError
from rolekeeper_cli.instances import addressed, shows
from rolekeeper_cli.plan_file import PlanFile
from rolekeeper_cli.views.looking import withheld
from rolekeeper_cli.views.proposal import Proposal, propose
from rolekeeper_cli.writes import approvals
from rolekeeper_cli.writes.follow import Standing, follow
from rolekeeper_cli.writes.mapping_rows import mapping_rows
from rolekeeper_cli.writes.mappings import MovedError, write
from rolekeeper_cli.writes.moved import moved_edits, moved_instances
from rolekeeper_cli.writes.verdicts import Written

_POLL_SECONDS = 0.5
_PATIENCE_SECONDS = 60
_TOLD = 10


class StalePlanError(CommandError):
    """Something that the plan rested on is otherwise by now."""

    def __init__(self, moved: Sequence[str]) -> None:
        more = f" and {len(moved) - 1:,} more" if len(moved) > 1 else ""
        what = f"nothing was applied, as the plan is out of date: {moved[0]}{more}"
        super().__init__(what, "plan anew, look at it, and apply that", moved)


class NotPublishedError(CommandError):
    """Rows of the plan were written, and aren't in effect as planned."""

    def __init__(self) -> None:
        super().__init__("not every row was published as planned", "fix what is shown above, then plan again")


@dataclass(frozen=True, slots=True)
class Applied:
    """A plan that was applied: its instances, which EC2 shows as planned, and its mappings."""

    instances: tuple[InstanceKey, ...] = ()
    mappings: tuple[MappingKey, ...] = ()

    @property
    def nothing(self) -> bool:
        """Whether the plan changed nothing."""
        return not (self.instances or self.mappings)

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {"instances": len(self.instances), "mappings": [str(each) for each in self.mappings]}


def _ignore(_: Written | Standing) -> None:
    """Nobody wants to know on the way."""


def apply(
    deployment: Deployment, plan: PlanFile, *, approve: bool, report: Callable[[Written | Standing], object] = _ignore
) -> Applied:
    """Apply a plan.

    Args:
        deployment: where.
        plan: the plan.
        approve: whether edits that are held for the number of instances that they change are approved too.
        report: is called on the way with the verdicts on rows, and with how their instances stand.

    Raises:
        CommandError: it is another deployment's, can't be applied now, (`StalePlanError`) something moved, or
            (`NotPublishedError`) rows aren't published as planned: `report` got their verdicts.
        WaitTimeoutError: EC2 didn't show some of it in time; `details` say what hinders it.
    """
    basis = plan.basis
    _refuse_elsewhere(deployment, plan)
    if why := withheld(deployment):
        raise CommandError(f"nothing can be applied now: {why}", "see: rolekeeper mode, rolekeeper resume")
    _refuse_unserved(plan, approve=approve)
    proposed = propose(deployment, basis.specs, prune=basis.prune) if basis.specs or basis.prune else Proposal()
    moved = [*moved_edits(deployment, plan, proposed), *moved_instances(deployment, plan, proposed)]
    if moved:
        raise StalePlanError(moved)
    wanted = {each.key: each.after for each in plan.changes()}
    if wanted or proposed.edits:
        _refuse_to_approve_own(deployment, proposed)
        _write_rows(deployment, proposed, report)
        _send(deployment, wanted)
        _wait(deployment, wanted)
    return Applied(tuple(wanted), tuple(each.key for each in proposed.edits))


# ---- may it be applied? ----


def _refuse_elsewhere(deployment: Deployment, plan: PlanFile) -> None:
    basis = plan.basis
    here = (deployment.caller.account, str(deployment.session.region_name), deployment.stack.name)
    there = (basis.account, basis.region, basis.stack)
    if here != there:
        place = "account {}, Region {}, stack {}"
        what = f"the plan is for {place.format(*there)}, not for {place.format(*here)}"
        raise CommandError(what, "say where it belongs: --profile, --region, --stack")


def _refuse_unserved(plan: PlanFile, *, approve: bool) -> None:
    for edit in plan.edits:
        key = escaped(str(edit.key))
        if edit.status == Status.HELD and not approve:
            raise CommandError(
                f"{key} changes too many instances without approval, so it would be held; nothing was applied",
                "give --approve to approve what the plan shows",
            )
        if not edit.takes_effect:
            raise CommandError(f"{key} would be {edit.status}; nothing was applied", "fix the file, and plan again")


def _refuse_to_approve_own(deployment: Deployment, proposed: Proposal) -> None:
    caller = deployment.caller
    own = [edit.key for edit in proposed.edits if edit.change and edit.status == Status.HELD]
    if own and same_person(caller.arn, caller.arn):
        raise CommandError(
            f"{escaped(str(own[0]))} would be your own edit, and another person has to approve it; nothing was applied",
            "write the rows with rolekeeper mapping import; another person runs rolekeeper mapping approve",
        )


# ---- doing it ----


def _write_rows(deployment: Deployment, proposed: Proposal, report: Callable[[Written | Standing], object]) -> None:
    """Write the plan's rows, and approve those that were to be held.

    Raises:
        CommandError: somebody edited a row meanwhile, or Rolekeeper doesn't serve one as it was planned.
    """
    written = write(deployment, proposed.rows)
    written.require_judged()
    if written.moved:
        raise MovedError(written.moved, len(written.rows))
    to_approve = {each.key for each in proposed.edits if each.status is Status.HELD}
    others = Written(tuple(each for each in written.rows if each.key not in to_approve))
    report(others)
    numbers = {key: number_in(row, "held_revision") for key, row in mapping_rows(deployment).some(to_approve).items()}
    # One that isn't held after all, as the fleet grew, is served already.
    held = {key: number for key, number in numbers.items() if number}
    done = not held or _approve(deployment, held, report)
    if others.bad or not done:
        raise NotPublishedError


def _approve(
    deployment: Deployment, held: Mapping[MappingKey, int], report: Callable[[Written | Standing], object]
) -> bool:
    """Approve what is held, and wait for its instances; returns whether all of it is as planned."""
    approved = approvals.approve(deployment, held)
    approved.require_judged()
    report(approved)
    if approved.bad:
        return False
    found = follow(deployment, list(held))
    report(found)
    return not found.stuck


def _send(deployment: Deployment, keys: Iterable[InstanceKey]) -> None:
    deployment.app.queue.send(list(keys), f"plan applied by {deployment.caller.arn}", str(uuid.uuid4()))


def _wait(deployment: Deployment, wanted: Mapping[InstanceKey, str]) -> None:
    """Watch EC2 until each instance shows its profile, as long as it comes on."""
    waiting = dict(wanted)
    deadline = deployment.now().timestamp() + _PATIENCE_SECONDS
    with deployment.progress(len(wanted), "instances changed") as progress:
        while waiting:
            shown = _shown(deployment, waiting)
            done = [key for key, arn in waiting.items() if shows(shown.get(key), arn)]
            for key in done:
                del waiting[key]
            progress.at(len(wanted) - len(waiting))
            now = deployment.now().timestamp()
            if done:
                deadline = now + _PATIENCE_SECONDS
            elif waiting and now >= deadline:
                keys = sorted(waiting, key=lambda each: each.id)[:_TOLD]
                names = [addressed(deployment.at(each.target), each.id) for each in keys]
                missing = f"{len(waiting):,} of {len(wanted):,} instances"
                raise WaitTimeoutError(
                    f"{missing} don't show it after {_PATIENCE_SECONDS} s: {', '.join(names)}",
                    f"it stays wanted; see what hinders it: rolekeeper explain {names[0]}",
                    _hindrances(deployment, keys),
                )
            if waiting:
                deployment.sleep(_POLL_SECONDS)


def _shown(deployment: Deployment, keys: Iterable[InstanceKey]) -> dict[InstanceKey, Association]:
    """What EC2 shows that instances carry, each in its own target."""
    by_target: dict[Target, dict[str, InstanceKey]] = {}
    for each in keys:
        by_target.setdefault(each.target, {})[each.id] = each
    return {
        known[id_]: found
        for target, known in by_target.items()
        for id_, found in deployment.at(target).app.ec2.associations(list(known)).items()
    }


def _hindrances(deployment: Deployment, keys: Sequence[InstanceKey]) -> Iterator[str]:
    """What Rolekeeper says of instances that don't carry what they should."""
    records = deployment.app.state.read(keys, []).records
    for key in keys:
        if key in records and (shown := records[key].condition):
            yield f"{key.id}: {shown.reason}"
