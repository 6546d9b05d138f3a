"""What plan says, the functions do: random fleets, random rows, random changes to both, and EC2's own answer.

And after random histories, in one account and in hubs with silent accounts, a rehearsal of several edits and of their
approvals leaves in its copies of the tables what the functions leave in the tables. ROLEKEEPER_PLAN_FLEETS plays more
of all these, as `make soak` does.
"""

import json
import os
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from fixtures.account import ACCOUNT, mapping_key
from fixtures.mappings import Desk
from fixtures.organization import new_organization
from fixtures.organization_desk import OrganizationDesk
from fixtures.row_history import ALONE, BY_ACCOUNT, IN_LINE, TAGS, History, columns_of, drawn, in_time, spec_of
from fixtures.terminal import Terminal
from rolekeeper.app import App
from rolekeeper.fleet import targets
from rolekeeper.mappings import account_runs
from rolekeeper.model.mapping import MappingKey, MappingSpec
from rolekeeper.storage import layout
from rolekeeper_cli.aws import deployment as deployment_module
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.mapping import rehearsal
from rolekeeper_cli.mapping.rehearsal import PlannedRow, Rehearsal
from rolekeeper_cli.options import Options
from rolekeeper_cli.row import edits, names
from rolekeeper_cli.row.edits import Change, RowPlan
from rolekeeper_cli.row.files import read_file
from rolekeeper_cli.target.use import Places
from strategies.random_fleets import ROLES, THEIRS, Fleet, random_fleet

FLEETS = int(os.environ.get("ROLEKEEPER_PLAN_FLEETS") or 30)


class Play:
    """Plays one fleet at an operator's desk."""

    def __init__(self, desk: Desk, terminal: Terminal, fleet: Fleet, *, takes_over: bool) -> None:
        self.desk, self.world, self.terminal, self.fleet = desk, desk.world, terminal, fleet
        desk.usable(*ROLES)
        desk.world.profile(THEIRS, path="/")
        desk.world.take_over = takes_over
        terminal.parameters["TakeOver"] = str(takes_over).lower()
        self.ids: list[str] = []

    def begin(self) -> None:
        """The rows are served, and every instance carries what they say."""
        for (key, value), columns in self.fleet.rows.items():
            self.desk.put(f"{key}={value}", **columns)
        self.judge_all()
        for member in self.fleet.members:
            self.ids.append(self.world.launch(profile=member.profile or None, **member.tags))
        self.world.wait(3)
        self.settle()

    def change(self) -> None:
        """What people do."""
        for instance, member in zip(self.ids, self.fleet.members, strict=True):
            self.world.untag(instance, *(key for key in member.tags if key not in member.then))
            self.world.tag(instance, **member.then)
            if member.act == "stop":
                self.world.stop(instance)
            elif member.act == "by-hand":
                self.world.attach_by_hand(instance, THEIRS)
            elif member.act == "taken" and (row := self.world.association(instance)):
                self.world.truth.disassociate(row.id)
        self.world.wait(3)

    def judge_all(self) -> None:
        """The stream's records, in the order of the keys; then the sweep looks at every row once more."""
        for tag in self.tags():
            self.desk.publish(tag)
        self.sweep()

    def sweep(self) -> None:
        for tag in self.tags():
            self.desk.recheck(tag)

    def tags(self) -> list[str]:
        return [f"{key}={value}" for key, value in sorted({*self.fleet.rows, *self.fleet.file})]

    def settle(self) -> None:
        """Rolekeeper looks until nothing changes any more."""
        for _ in range(4):
            self.world.reconcile_all(*self.ids)
            self.world.wait(2)

    def shown(self) -> dict[str, tuple[str, str]]:
        """EC2's own answer: each instance's profile and association."""
        rows = {each: self.world.association(each) for each in self.ids}
        return {each: (row.profile_arn.rsplit("/", 1)[-1], row.id) if row else ("", "") for each, row in rows.items()}


def write_file(file: str, *, prune: bool) -> None:
    """Write a file's rows into the table."""
    there = Deployment(Options())
    specs = read_file(Path(file).read_bytes(), file, there.app.home).specs
    plan = edits.planned(specs, there.app.table.all_rows(), there.app.home, prune=prune)
    edits.write(there, plan, patience=0)


def written(file: Path, fleet: Fleet) -> str:
    rows = [{"tag_key": key, "tag_value": value, **columns} for (key, value), columns in fleet.file.items()]
    file.write_text(yaml.safe_dump({"mappings": rows}))
    return str(file)


@pytest.mark.parametrize("seed", range(FLEETS))
def test_what_plan_says_of_a_file_is_what_the_functions_then_do(
    desk: Desk, terminal: Terminal, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    prunes = rng.random() < 0.4
    play = Play(desk, terminal, random_fleet(rng, "f-", prunes=prunes), takes_over=seed % 2 == 0)
    play.begin()
    play.change()
    play.sweep()  # it finds the conflicts of those changes
    before = play.shown()
    file, prune = written(tmp_path / "mappings.yaml", play.fleet), ["--prune"] if prunes else []
    ran = terminal("plan", "-f", file, "--output", "json", *prune)
    plan = json.loads(ran.stdout)

    write_file(file, prune=prunes)
    play.judge_all()
    assert terminal("plan", "-f", file, *prune).exit_code == ran.exit_code
    told = {each["mapping"]: each["status"] for each in plan["mappings"]}
    for mapping, status in told.items():
        assert desk.row(mapping).get("status", "Removed") == status, mapping
    play.settle()
    disagreements(before, plan, play.shown())


@pytest.mark.parametrize("seed", range(FLEETS, 2 * FLEETS))
def test_what_plan_says_of_now_is_what_the_functions_then_do(desk: Desk, terminal: Terminal, seed: int) -> None:
    play = Play(desk, terminal, random_fleet(random.Random(seed), "f-"), takes_over=seed % 2 == 0)
    play.begin()
    play.change()
    before = play.shown()
    plan = terminal.document("plan")
    play.settle()
    disagreements(before, plan, play.shown())


def disagreements(before: dict[str, Any], plan: dict[str, Any], after: dict[str, Any]) -> None:
    """Each instance carries what was planned: under a new association id if that changes, or else under the old one."""
    planned = {each["instance"]: each for each in plan["changes"]}
    for instance, (profile, association) in after.items():
        said = planned.get(instance, {"action": "Nothing", "reason": ""})
        if said["action"] in {"Attach", "Replace", "Detach"}:
            assert profile == (said["to"] or ""), said
            assert association != before[instance][1], said
        else:
            assert (profile, association) == before[instance], said


# ---- rows: a rehearsal, and then the functions ----


class Caller(NamedTuple):
    """The deployment of a history, as the command sees it."""

    history: History
    deployment: Deployment

    @classmethod
    def of(cls, history: History) -> "Caller":
        deployment = Deployment(Options())
        deployment.caller = deployment_module.Caller("arn:operator", "AIDAOPERATOR", ACCOUNT, "aws")
        return cls(history, deployment.over(history.app()))

    def planned(self, chance: random.Random) -> RowPlan:
        """One to three edits: of rows that are there, new ones, deletions, and what is published already."""
        accounts = [target.account for target in self.history.targets]
        specs: dict[MappingKey, MappingSpec | None] = {}
        for tag in chance.sample(TAGS, chance.choice([1, 2, 2, 3])):
            published = self.history.desk.served(tag)
            wanted = spec_of(tag, in_time(columns_of(chance, accounts), self.history.began))
            back = published.spec if published and not published.deleted else None
            specs[mapping_key(tag)] = chance.choice([wanted, wanted, wanted, back, None])
        rows = self.deployment.app.table.get_rows(specs)
        kept = {key: rows[key] for key in specs if key in rows}
        plan = edits.planned(filter(None, specs.values()), kept, self.deployment.app.home, prune=True)
        return replace(plan, same=())  # nobody writes them

    def written(self, plan: RowPlan) -> None:
        """The caller writes a plan, and the functions judge its rows in order."""
        for change in plan.changes:
            assert edits.write_change(self.deployment.over(self.history.app()), change)
            self.history.tried(partial(self._publish, change))

    def _publish(self, change: Change, app: App) -> None:
        app.publisher.publish(change.key, rehearsal.ID, "" if change.spec else self.deployment.caller.arn)

    def approved(self, rows: Sequence[PlannedRow]) -> None:
        """Another person approves what is held of these rows."""
        for row in rows:
            deployment = self.deployment.over(self.history.app())
            held = deployment.app.revisions.read(row.key).held if row.needs_approval else None
            if held:
                edits.sign(deployment, held, rehearsal.APPROVER)
                self.history.tried(partial(self._hear, row.key))

    def _hear(self, key: MappingKey, app: App) -> None:
        app.publisher.approved(key, rehearsal.APPROVER.id, rehearsal.ID)

    def left(self, app: App) -> dict[str, Any]:
        """What the tables say of each mapping."""
        found: dict[str, Any] = {}
        for key in map(mapping_key, TAGS):
            row, stored = app.table.get_row(key), app.revisions.read(key)
            found |= {f"{key} {name}": value for name, value in layout.from_attributes(row or {}).items()}
            found |= {f"{key} {field.name}": getattr(stored, field.name) for field in fields(stored)}
            found[f"{key} records"] = {**app.revisions.records(key), **stored.records}
            if account_runs.ASKED == 0:
                del found[f"{key} in_conflict"]  # runs by account leave a note that is over to the next look at a row
        return found


def differences(planned: dict[str, Any], done: dict[str, Any]) -> list[str]:
    differ = [name for name in {**planned, **done} if planned.get(name) != done.get(name)]
    return [f"{name}: {planned.get(name)} was planned, and it is {done.get(name)}" for name in differ]


@pytest.mark.parametrize("kind", [ALONE, IN_LINE, BY_ACCOUNT])
def test_a_rehearsal_leaves_what_the_functions_then_leave(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(account_runs, "ASKED", 0 if kind == BY_ACCOUNT else account_runs.ASKED)
    monkeypatch.setattr(targets, "CHECKED_FOR", timedelta(0))
    monkeypatch.setattr(names, "path_roles", lambda _: [])
    # A target into which the caller may not look is left out of a plan; here the caller may where the functions may.
    monkeypatch.setattr(Places, "reachable", lambda places: places.all)
    statuses = Counter[str]()
    for seed in range(FLEETS // 2):
        spokes, steps = drawn(kind, seed)
        with new_organization() as organization:
            history = History(OrganizationDesk(organization), spokes)
            for step in steps:
                history.play(step)
            history.world.clock.sleep(7)
            caller = Caller.of(history)
            plan = caller.planned(random.Random(f"plan {kind} {seed}"))
            monkeypatch.setattr(Deployment, "now", lambda _, clock=history.world.clock: clock.now())
            here, tried = caller.left(history.app()), Rehearsal(caller.deployment, plan, {})
            tried.publish(lambda _: None)
            rows, before = tried.proposal().edits, caller.left(tried.app)
            after = caller.left(tried.approved(rows).app)
            assert not differences(here, caller.left(history.app())), (kind, seed, "only the functions write")
            caller.written(plan)
            assert not differences(before, caller.left(history.app())), (kind, seed)
            caller.approved(rows)
            assert not differences(after, caller.left(history.app())), (kind, seed)
            statuses.update(row.status for row in rows)
    assert statuses.keys() >= {"Published", "Held", "Conflict", "Removed"}, statuses
