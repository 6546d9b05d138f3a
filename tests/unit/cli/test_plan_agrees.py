"""What plan says, the functions do: random fleets, random rows, random changes to both, and EC2's own answer.

ROLEKEEPER_PLAN_FLEETS plays more of them, as `make soak` does.
"""

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from fixtures.mappings import Desk
from fixtures.terminal import Terminal
from strategies.random_fleets import ROLES, THEIRS, Fleet, Member, random_fleet

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
            self.retag(instance, member)
            if member.act == "stop":
                self.world.stop(instance)
            elif member.act == "by-hand":
                self.world.attach_by_hand(instance, THEIRS)
            elif member.act == "taken" and (row := self.world.association(instance)):
                self.world.truth.disassociate(row.id)
        self.world.wait(3)

    def retag(self, instance: str, member: Member) -> None:
        gone = [key for key in member.tags if key not in member.then]
        self.world.untag(instance, *gone)
        self.world.tag(instance, **member.then)

    def judge_all(self) -> None:
        """The stream's records, in the order of the keys; then the sweep looks at every row once more."""
        for key, value in sorted({*self.fleet.rows, *self.fleet.file}):
            self.desk.publish(f"{key}={value}")
        self.sweep()

    def sweep(self) -> None:
        for key, value in sorted({*self.fleet.rows, *self.fleet.file}):
            self.desk.recheck(f"{key}={value}")

    def settle(self) -> None:
        """Rolekeeper looks until nothing changes any more."""
        for _ in range(4):
            self.world.reconcile_all(*self.ids)
            self.world.wait(2)

    def shown(self) -> dict[str, tuple[str, str]]:
        """EC2's own answer: each instance's profile and association."""
        rows = {each: self.world.association(each) for each in self.ids}
        return {each: (row.profile_arn.rsplit("/", 1)[-1], row.id) if row else ("", "") for each, row in rows.items()}


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

    terminal("mapping", "import", file, "--yes", "--no-wait", *prune)
    play.judge_all()
    assert terminal("mapping", "diff", file, *prune).exit_code == ran.exit_code
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
