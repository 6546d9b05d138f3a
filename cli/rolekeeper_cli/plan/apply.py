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
from pathlib import Path
from typing import Any

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
from rolekeeper_cli.instance.seen import Enforced, Seen, named, pages, profile_name
from rolekeeper_cli.instance.use import address, key_of, located, shows, titled, where
from rolekeeper_cli.mapping.rehearsal import Proposal, propose
from rolekeeper_cli.plan.view import AppliedView
from rolekeeper_cli.row import edits
from rolekeeper_cli.row.edits import MovedError, Written, write
from rolekeeper_cli.row.effect import Row, withheld
from rolekeeper_cli.shell.layout import grouped, several
from rolekeeper_cli.target.use import Pages, Places

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
def writing(name: str, basis: PlanHeader, proposed: Proposal) -> Iterator[Callable[[Iterable[Seen]], Iterator[Seen]]]:
    """Write a plan, and its instances as they go by. The file is there once it is whole; UsageError if it can't be."""
    path = Path(name)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        # Tags may hold what not everybody may read.
        file = os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror}", "name another file") from error

    def write(document: Mapping[str, Any]) -> None:
        file.write(json.dumps(document, default=repr) + "\n")

    def kept(instances: Iterable[Seen]) -> Iterator[Seen]:
        for seen in instances:
            if seen.decision.action.mutates:
                write({"change": asdict(planned_change(seen))})
            yield seen

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
            yield kept
            write({"end": True})
        partial.replace(path)
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()


@dataclass(frozen=True, slots=True)
class PlanFile:
    """A plan that was written."""

    basis: PlanHeader
    edits: Sequence[PlannedEdit]
    changes: Sequence[PlannedChange]

    @classmethod
    def read(cls, name: str, home: HomeAccount) -> "PlanFile":
        """Read a plan. UsageError if the file can't be read, CommandError if it isn't a whole plan."""
        try:
            documents = [json.loads(line) for line in Path(name).read_text(encoding="utf-8").splitlines()]
            if not documents or documents[0].get("rolekeeper_plan") != FORM:
                raise _no_plan(name, "doesn't begin as one")
            head, *rest = documents
            specs = [read_row(row, home).spec for row in head["specs"]]
            values = {field.name: head[field.name] for field in fields(PlanHeader)}
            edits = [PlannedEdit(**line["edit"]) for line in rest if "edit" in line]
            changes = [PlannedChange(**line["change"]) for line in rest if "change" in line]
        except OSError as error:
            what = f"{name} can't be read: {error.strerror}"
            raise UsageError(what, "name a file that rolekeeper plan --out wrote") from error
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise _no_plan(name, "is not a valid plan file") from error
        if "end" not in documents[-1]:
            raise _no_plan(name, "is cut off")
        if None in specs:
            raise _no_plan(name, "holds a mapping that can't be read")
        return cls(PlanHeader(**values | {"specs": specs}), edits, changes)


def _no_plan(name: str, what: str) -> CommandError:
    return CommandError(f"{name} can't be applied: it {what}", "make one: rolekeeper plan --out FILE")


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
    """Name the instances that have changed since, and those that would change too by now."""
    planned = {change.key: change for change in plan.changes}
    places, pages_in = _looked_at(deployment, plan.basis)
    for found in places.look(pages_in, proposed.enforced):
        key = found.key if isinstance(found, Unreadable) else found.instance.key
        if change := planned.pop(key, None):
            if moved := _moved(change, found):
                yield f"{titled(change.instance, change.name)} {moved}"
        # Nothing is decided for an instance with a damaged record: the plan left it out too.
        elif isinstance(found, Seen) and found.decision.action.mutates:
            yield f"{key.id}, which the plan left alone, would change too: {found.decision.reason}"
    gone = (change for key, change in planned.items() if key.target not in places.unseen)
    yield from (f"{titled(change.instance, change.name)} has ended" for change in gone)
    yield from places.unseen_in_words()


def _looked_at(deployment: Deployment, basis: PlanHeader) -> tuple[Places, Pages]:
    """Return the targets of a plan, and the instances that it is about in each."""
    if not basis.instances:
        return Places.chosen(deployment, basis.targets), pages
    return _of(deployment, [key_of(*located(deployment, text)) for text in basis.instances])


def _of(deployment: Deployment, keys: Iterable[InstanceKey]) -> tuple[Places, Pages]:
    ids = _by_target(keys)
    return Places.of(deployment, ids), lambda place: named(place, ids[place.settings.target])


def _by_target(keys: Iterable[InstanceKey]) -> dict[Target, list[str]]:
    return grouped((key.target, key.id) for key in keys)


def _moved(planned: PlannedChange, seen: Seen | Unreadable) -> str:
    """What of one instance has changed; empty if nothing has."""
    if isinstance(seen, Unreadable):
        return f"can't be read: {seen.error.message}"
    if seen.instance.ended:
        return "has ended"
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


def apply(
    deployment: Deployment, plan: PlanFile, *, approve: bool = False, hold: bool = False, report: Report
) -> AppliedView:
    """Apply a plan.

    With `approve`, edits that are held for the number of instances that they change are approved too, unless they are
    the caller's own: those wait for another person, and so do the instances that they change. With `hold`, all do.

    Raises:
        CommandError: it is another deployment's, can't be applied now, something has changed, or rows aren't published
            as planned: `report` got their verdicts.
        WaitTimeoutError: EC2 didn't show some of it in time; `details` say what blocks it.
    """
    basis = plan.basis
    _refuse_elsewhere(deployment, basis)
    of_rows, why = bool(basis.specs or basis.prune), withheld(deployment)
    if why and not of_rows:
        raise CommandError(f"nothing can be applied now: {why}", "see: rolekeeper mode, rolekeeper resume")
    proposed = propose(deployment, basis.specs, prune=basis.prune) if of_rows else Proposal()
    moved = [*moved_edits(deployment, plan, proposed), *moved_instances(deployment, plan, proposed)]
    if moved:
        what = f"nothing was applied, because the plan is out of date: {several(moved, 1)}"
        raise CommandError(what, "make a new plan, look at it, and apply that", moved)
    if not (approve or hold):
        _refuse_held(proposed)
    planned = wanted = {each.key: each.after for each in plan.changes}
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


def _refuse_elsewhere(deployment: Deployment, basis: PlanHeader) -> None:
    here = (deployment.caller.account, deployment.region, deployment.stack.name)
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
                remedy = advice("give --hold; another person then runs: ", edit.key.remedy(Kind.APPROVE))
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
    read = deployment.app.revisions.read
    others = [row for row in held if row.is_held and not edits.is_own(deployment, read(row.key).held)]
    numbers = {row.key: row.held_revision for row in others}
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


def _in_effect(deployment: Deployment, wanted: Mapping[InstanceKey, str]) -> dict[InstanceKey, str]:
    """The instances that change as planned although some of the plan's rows aren't in effect."""
    places, pages_in = _of(deployment, wanted)
    looked = (seen for seen in places.look(pages_in, Enforced.of) if isinstance(seen, Seen))
    found = {seen.instance.key: seen.should_carry for seen in looked}
    return {key: profile for key, profile in wanted.items() if found.get(key) == profile}


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
                names = several([address(each, deployment.home) for each in keys], _NAMED)
                what = f"{len(keys):,} of {len(wanted):,} instances don't show it after {_PATIENCE_SECONDS} s: {names}"
                raise still_waiting(deployment, what, keys)


def _shown(deployment: Deployment, keys: Iterable[InstanceKey]) -> dict[InstanceKey, Association]:
    """What EC2 shows that instances carry, each in its own target."""
    return {
        InstanceKey(target.account, target.region, id_): found
        for target, ids in _by_target(keys).items()
        for id_, found in deployment.at(target).app.ec2.associations(ids).items()
    }
