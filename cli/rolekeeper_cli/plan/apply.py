"""Applying a plan: exactly that one, or nothing if something that it is based on has changed.

The command changes no instance itself. It writes the plan's rows, has Rolekeeper reconcile the plan's instances, and
watches EC2 until each shows what was planned.
"""

import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from itertools import batched
from pathlib import Path
from typing import Any

from rolekeeper.aws.ec2 import FILTER_VALUES
from rolekeeper.instances.observe import Unreadable
from rolekeeper.mappings.rows import Attributes, HomeAccount, content, read_row, row_of
from rolekeeper.mappings.verdict import Status
from rolekeeper.model.instance import Association, InstanceKey, Target
from rolekeeper.model.mapping import MappingKey, MappingSpec
from rolekeeper.model.problem import Kind, advice
from rolekeeper.model.text import escaped
from rolekeeper.storage import layout
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.errors import CommandError, UsageError
from rolekeeper_cli.fleet.follow import still_waiting
from rolekeeper_cli.instance.seen import Enforced, Seen, look, named, pages, profile_name
from rolekeeper_cli.instance.use import address, shows, titled, where
from rolekeeper_cli.mapping.rehearsal import Proposal, propose
from rolekeeper_cli.plan.view import AppliedView
from rolekeeper_cli.row import edits
from rolekeeper_cli.row.edits import MovedError, Written, write
from rolekeeper_cli.row.effect import Row, withheld
from rolekeeper_cli.shell.layout import several
from rolekeeper_cli.target.use import Places

# ---- a plan in a file: lines of JSON, written while the instances go by ----


FORM = 3


@dataclass(frozen=True, slots=True)
class PlanHeader:
    """For which deployment a plan was made, and of what."""

    account: str
    region: str
    stack: str
    instances: Sequence[str] = ()  # those that it was narrowed to, each ACCOUNT/REGION/ID; empty for the fleet
    targets: Sequence[str] = ()  # those that it was narrowed to, as a command names them; empty for all
    # The file's mappings, if it was made of a file; with `prune`, other rows were to be deleted.
    specs: Sequence[MappingSpec] = ()
    prune: bool = False


@dataclass(frozen=True, slots=True)
class PlannedEdit:
    """A mapping that the plan edits: its row and the revision published at the time, and what its status would be."""

    tag_key: str
    tag_value: str
    row: Attributes
    revision: int
    status: str

    @property
    def key(self) -> MappingKey:
        return MappingKey(self.tag_key, self.tag_value)


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """An instance that the plan changes, and what that is based on.

    `association` is the id of the one that it had; `before` and `after` are profiles, by ARN. Each is empty for none.
    """

    instance: str
    account: str
    region: str
    name: str
    tags: Mapping[str, str]
    association: str
    before: str
    after: str
    action: str
    mapping: str
    revision: int

    @property
    def key(self) -> InstanceKey:
        return InstanceKey(self.account, self.region, self.instance)


def planned_change(seen: Seen) -> PlannedChange:
    decision, association = seen.decision, seen.observed.association
    return PlannedChange(
        **where(seen.instance.key),
        name=seen.instance.tags.get("Name", ""),
        tags=dict(seen.instance.tags),
        association=association.id if association else "",
        before=seen.carries,
        after=seen.should_carry,
        action=decision.action.value,
        mapping=str(decision.mapping or ""),
        revision=decision.revision,
    )


@contextmanager
def writing(name: str, basis: PlanHeader, proposed: Proposal) -> Iterator[Callable[[Seen], None]]:
    """Write a plan; gives what takes its instances. The file is there once it is whole; UsageError if it can't be."""
    path = Path(name)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        # Tags may hold what not everybody may read.
        file = os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror}", "name another file") from error

    def write(document: Mapping[str, Any]) -> None:
        file.write(json.dumps(document, default=repr) + "\n")

    def keep(seen: Seen) -> None:
        if seen.decision.action.mutates:
            write({"change": asdict(planned_change(seen))})

    try:
        with file:
            rows = [row_of(each) for each in basis.specs]
            write({"rolekeeper_plan": FORM, **asdict(replace(basis, specs=())), "specs": rows})
            for each in proposed.edits:
                edit = PlannedEdit(
                    **layout.encode(each.key),
                    row=each.change.row if each.change else {},
                    revision=each.revision,
                    status=each.status.value,
                )
                write({"edit": asdict(edit)})
            yield keep
            write({"end": True})
        partial.replace(path)
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()


class PlanFile:
    """A plan that was written. Its instances are read when they are asked for: there may be many."""

    def __init__(self, name: str, home: HomeAccount) -> None:
        """Read all but the instances; UsageError if the file can't be read, CommandError if it isn't a whole plan."""
        self._path = Path(name)
        documents = self._documents()
        head = next(documents, {})
        if head.get("rolekeeper_plan") != FORM:
            raise self._no_plan("doesn't begin as one")
        last: Mapping[str, Any] = {}
        try:
            values = {each.name: head[each.name] for each in fields(PlanHeader)}
            self.basis = PlanHeader(**values | {"specs": [self._spec(row, home) for row in head["specs"]]})
            self.edits: list[PlannedEdit] = []
            for last in documents:
                if "edit" in last:
                    self.edits.append(PlannedEdit(**last["edit"]))
        except (KeyError, TypeError) as error:
            raise self._no_plan("is not a valid plan file") from error
        if "end" not in last:
            raise self._no_plan("is cut off")

    def changes(self) -> Iterator[PlannedChange]:
        for each in self._documents():
            if "change" in each:
                try:
                    yield PlannedChange(**each["change"])
                except TypeError as error:
                    raise self._no_plan("is not a valid plan file") from error

    def _documents(self) -> Iterator[Mapping[str, Any]]:
        try:
            with self._path.open(encoding="utf-8") as file:
                for line in file:
                    document = json.loads(line)
                    if not isinstance(document, dict):
                        raise self._no_plan("is not a valid plan file")
                    yield document
        except OSError as error:
            what = f"{self._path} can't be read: {error.strerror}"
            raise UsageError(what, "name a file that rolekeeper plan --out wrote") from error
        except ValueError as error:
            raise self._no_plan("is not a valid plan file") from error

    def _spec(self, row: Attributes, home: HomeAccount) -> MappingSpec:
        spec = read_row(row, home).spec
        if spec is None:
            raise self._no_plan("holds a mapping that can't be read")
        return spec

    def _no_plan(self, what: str) -> CommandError:
        return CommandError(f"{self._path} can't be applied: it {what}", "make one: rolekeeper plan --out FILE")


# ---- what changed since a plan was made ----


def moved_edits(deployment: Deployment, plan: PlanFile, proposed: Proposal) -> Iterator[str]:
    rows = deployment.app.table.get_rows([each.key for each in plan.edits])
    now = {each.key: each for each in proposed.edits}
    for edit in plan.edits:
        key, present = escaped(str(edit.key)), now.pop(edit.key, None)
        if present is None:
            yield f"mapping {key} is as the file says already"
        elif content(rows.get(edit.key, {})) != content(edit.row) and present.change is not None:
            yield f"the row of {key} was edited"
        elif present.revision != edit.revision:
            yield f"mapping {key} was at revision {edit.revision}, and is at {present.revision}"
        elif present.status != edit.status:
            yield f"mapping {key} would be {present.status} now: {present.reason}"
    yield from (f"mapping {escaped(str(key))} is no longer as the file says" for key in now)


def moved_instances(deployment: Deployment, plan: PlanFile, proposed: Proposal) -> Iterator[str]:
    """Instances that have changed since, and those that would change too by now."""
    enforced = proposed.enforced

    @cache
    def state(target: Target) -> Enforced:
        return enforced(deployment.at(target))

    known: set[InstanceKey] = set()
    for some in batched(plan.changes(), FILTER_VALUES):
        known |= {each.key for each in some}
        for target in dict.fromkeys(each.key.target for each in some):
            place, planned = deployment.at(target), {each.instance: each for each in some if each.key.target == target}
            found = look(place, state(target), named(place, planned))
            seen = {each.key.id if isinstance(each, Unreadable) else each.instance.key.id: each for each in found}
            for id_, change in planned.items():
                if moved := _moved(change, seen.get(id_)):
                    yield f"{titled(change.instance, change.name)} {moved}"
    if not plan.basis.instances:
        places = Places.chosen(deployment, plan.basis.targets)
        for each in places.look(pages, lambda place: state(place.settings.target)):
            # Nothing is decided for an instance with a damaged record: the plan left it out too.
            if isinstance(each, Seen) and each.decision.action.mutates and each.instance.key not in known:
                yield f"{each.instance.key.id}, which the plan left alone, would change too: {each.decision.reason}"
        yield from places.unseen_in_words()


def _moved(planned: PlannedChange, seen: Seen | Unreadable | None) -> str:
    """What of one instance has changed; empty if nothing has."""
    if seen is None:
        return "is gone"
    if isinstance(seen, Unreadable):
        return f"can't be read: {seen.error.message}"
    if seen.instance.ended:
        return f"is {seen.instance.state}"
    now = planned_change(seen)
    if now == planned:
        return ""
    if now.tags != planned.tags:
        return _moved_tags(planned.tags, now.tags)
    if now.association != planned.association:
        return f"had {_carried(planned)}, and has {_carried(now)}"
    if (now.mapping, now.revision) != (planned.mapping, planned.revision):
        return (
            f"was governed by {planned.mapping or 'no mapping'} (revision {planned.revision}), and is by "
            f"{now.mapping or 'no mapping'} (revision {now.revision})"
        )
    return f"would {seen.decision.action.value.lower()} now, not {planned.action.lower()}: {seen.decision.reason}"


def _moved_tags(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    changed = []
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            was, is_ = (repr(tags[key]) if key in tags else "not there" for tags in (before, after))
            changed.append(f"tag {key} was {was}, and is {is_}")
    return f"has other tags: {', '.join(changed)}"


def _carried(change: PlannedChange) -> str:
    return f"{profile_name(change.before)} ({change.association})" if change.association else "no role"


# ---- applying a plan ----


_POLL_SECONDS = 0.5
_PATIENCE_SECONDS = 60
_NAMED = 10

type Report = Callable[[Written], object]
"""Shows the verdicts on rows."""


class StalePlanError(CommandError):
    """Something that the plan is based on has changed."""

    def __init__(self, moved: Sequence[str]) -> None:
        what = f"nothing was applied, as the plan is out of date: {several(moved, 1)}"
        super().__init__(what, "make a new plan, look at it, and apply that", moved)


def apply(
    deployment: Deployment, plan: PlanFile, *, approve: bool = False, hold: bool = False, report: Report
) -> AppliedView:
    """Apply a plan; returns how many instances EC2 shows as planned, how many wait, and the mappings that were edited.

    With `approve`, edits that are held for the number of instances that they change are approved too, unless they are
    the caller's own: those wait for another person, and so do the instances that they change. With `hold`, all do.

    Raises:
        CommandError: it is another deployment's, can't be applied now, (`StalePlanError`) something has changed, or
            rows aren't published as planned: `report` got their verdicts.
        WaitTimeoutError: EC2 didn't show some of it in time; `details` say what blocks it.
    """
    basis = plan.basis
    _refuse_elsewhere(deployment, plan)
    of_rows, why = bool(basis.specs or basis.prune), withheld(deployment)
    if why and not of_rows:
        raise CommandError(f"nothing can be applied now: {why}", "see: rolekeeper mode, rolekeeper resume")
    proposed = propose(deployment, basis.specs, prune=basis.prune) if of_rows else Proposal()
    moved = [*moved_edits(deployment, plan, proposed), *moved_instances(deployment, plan, proposed)]
    if moved:
        raise StalePlanError(moved)
    if not (approve or hold):
        _refuse_held(proposed)
    planned = wanted = {each.key: each.after for each in plan.changes()}
    bad: list[Row] = []
    if planned or proposed.edits:
        bad = _write_rows(deployment, proposed, report, approve=approve)
        # While changes are withheld, rows are written all the same: a new deployment observes.
        wanted = {} if why else _in_effect(deployment, planned) if bad else planned
        deployment.app.queue.send(list(wanted), f"plan applied by {deployment.caller.arn}", str(uuid.uuid4()))
        _wait(deployment, wanted)
    return AppliedView(
        instances=len(wanted),
        waiting=len(planned) - len(wanted),
        mappings=[str(each.key) for each in proposed.edits if each.status is not Status.CONFLICT],
        not_in_effect=[row.view() for row in bad],
    )


# ---- may it be applied? ----


def _refuse_elsewhere(deployment: Deployment, plan: PlanFile) -> None:
    basis = plan.basis
    here = (deployment.caller.account, str(deployment.session.region_name), deployment.stack.name)
    there = (basis.account, basis.region, basis.stack)
    if here != there:
        place = "account {}, Region {}, stack {}"
        what = f"the plan is for {place.format(*there)}, not for {place.format(*here)}"
        raise CommandError(what, "say where it belongs: --profile, --region, --stack")


def require_applicable(proposed: Proposal, what: str) -> None:
    """Refuse a plan with rows that wouldn't be published, not even once a person approves them."""
    bad = [each for each in proposed.edits if each.blocks]
    if bad:
        remedy = advice("fix the file, and plan again")
        if bad[0].status is Status.HELD:
            remedy = advice("its deletion waits for approval; to keep it: ", bad[0].key.remedy(Kind.DISCARD))
        rows = several([f"{escaped(str(each.key))} would be {each.status}" for each in bad], _NAMED)
        raise CommandError(f"{what}: {rows}", remedy, code=edits.exit_code(each.status for each in bad))


def _refuse_held(proposed: Proposal) -> None:
    """Refuse edits that would be held, unless they are to be approved."""
    for edit in proposed.edits:
        if edit.needs_approval:
            what = f"{escaped(str(edit.key))} changes too many instances without approval, so it would be held"
            remedy = advice("give --approve to approve what the plan shows")
            if edit.own:
                remedy = advice("give --approve; another person then runs: ", edit.key.remedy(Kind.APPROVE))
            raise CommandError(f"{what}; nothing was applied", remedy)


# ---- doing it ----


def _write_rows(deployment: Deployment, proposed: Proposal, report: Report, *, approve: bool) -> list[Row]:
    """Write the plan's rows; with `approve`, approve those that are held, except the caller's own.

    Returns what isn't in effect.

    CommandError if a row isn't as planned.
    """
    written = write(deployment, edits.with_verdicts(deployment, proposed.rows))
    written.require_judged()
    if written.moved:
        raise MovedError(written.moved, len(written.rows))
    verdicts = {each.key: each for each in (*written.rows, *written.others)}
    # One that isn't held after all, as the fleet grew, is published already.
    held = [verdicts[each.key] for each in proposed.edits if approve and each.needs_approval and each.key in verdicts]
    numbers = {row.key: row.held_revision for row in held if row.is_held and not _is_own(deployment, row)}
    approved = edits.approve(deployment, numbers)
    approved.require_judged()
    verdicts |= {each.key: each for each in approved.rows}
    report(Written(tuple(verdicts.values())))
    waiting = [row for row in verdicts.values() if not row.is_done]
    foreseen = [each for each in proposed.edits if each.own or not each.needs_approval or not approve]
    expected = {each.key: each.status for each in foreseen}
    if bad := [each.status for each in waiting if each.status != expected.get(each.key)]:
        what = "not every row was published as planned"
        raise CommandError(what, "fix what is shown above, then plan again", code=edits.exit_code(bad))
    return waiting


def _is_own(deployment: Deployment, row: Row) -> bool:
    return edits.is_own(deployment, deployment.app.revisions.read(row.key).held)


def _in_effect(deployment: Deployment, wanted: Mapping[InstanceKey, str]) -> dict[InstanceKey, str]:
    """The instances that change as planned although some of the plan's rows aren't in effect."""
    found: dict[InstanceKey, str] = {}
    for target in dict.fromkeys(each.target for each in wanted):
        place = deployment.at(target)
        ids = [each.id for each in wanted if each.target == target]
        for seen in look(place, Enforced.of(place), named(place, ids)):
            if isinstance(seen, Seen) and seen.should_carry == wanted[seen.instance.key]:
                found[seen.instance.key] = seen.should_carry
    return found


def _wait(deployment: Deployment, wanted: Mapping[InstanceKey, str]) -> None:
    """Watch EC2 until each instance shows its profile, as long as more of them do."""
    waiting = dict(wanted)
    if not waiting:
        return
    with deployment.progress(len(wanted), "instances changed") as progress:
        for left in deployment.looks(_POLL_SECONDS, _PATIENCE_SECONDS):
            before, shown = len(waiting), _shown(deployment, waiting)
            waiting = {key: arn for key, arn in waiting.items() if not shows(shown.get(key), arn)}
            progress.at(len(wanted) - len(waiting))
            if not waiting:
                return
            if len(waiting) < before:
                left.renew()
            elif left.is_over:
                keys = sorted(waiting, key=lambda each: each.id)
                names = several([address(where(each), deployment.home) for each in keys], _NAMED)
                what = f"{len(keys):,} of {len(wanted):,} instances don't show it after {_PATIENCE_SECONDS} s: {names}"
                raise still_waiting(deployment, what, keys)


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
