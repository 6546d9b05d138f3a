"""What `rolekeeper plan -f` says is what the deployed functions then do: random fleets on one embedded AWS.

The fleets share an account and never meet: each has tag keys and mappings of its own. ROLEKEEPER_PLAN_SEED and
ROLEKEEPER_PLAN_FLEETS choose others; the seed is printed with what fails.
"""

import os
import random
import time
from collections import Counter
from collections.abc import Iterable
from itertools import batched
from pathlib import Path
from typing import Any

import pytest
import yaml

from fixtures.command import Command
from rolekeeper_local.account import EmulatedAccount
from strategies.random_fleets import ROLES, THEIRS, Fleet, Member, Rows, random_fleet
from support.chaos_queues import Queues
from support.fleets import carried, launch_many, write_rows
from support.waiting import eventually

pytestmark = pytest.mark.emulator

SEED = int(os.environ.get("ROLEKEEPER_PLAN_SEED") or 1)
FLEETS = int(os.environ.get("ROLEKEEPER_PLAN_FLEETS") or 20)
# For all of them, on a slow machine that does much else at the same time.
SECONDS = 400


def judge(world: EmulatedAccount, rows: Rows) -> None:
    """Put rows, and wait until each is judged."""
    write_rows(world, rows)

    def judged() -> bool:
        pages = world.dynamodb.get_paginator("scan").paginate(TableName=world.mapping_table)
        return all("status" in row for page in pages for row in page["Items"])

    eventually(judged, SECONDS)


def launch(world: EmulatedAccount, members: Iterable[tuple[str, Member]]) -> dict[str, Member]:
    """Launch them all without tags, then tag them: while pending, each would wait in a loop of its own."""
    by_profile: dict[str, list[Member]] = {}
    for _, member in members:
        by_profile.setdefault(member.profile, []).append(member)
    found: dict[str, Member] = {}
    for profile, group in by_profile.items():
        found |= dict(zip(launch_many(world, len(group), profile=profile), group, strict=True))
    in_state(world, list(found), "running")
    for instance, member in found.items():
        if member.tags:
            world.tag(instance, **member.tags)
    return found


def in_state(world: EmulatedAccount, ids: list[str], state: str) -> None:
    def all_are() -> bool:
        pages = world.ec2.get_paginator("describe_instances").paginate(
            Filters=[{"Name": "instance-state-name", "Values": [state]}]
        )
        there = {row["InstanceId"] for page in pages for group in page["Reservations"] for row in group["Instances"]}
        return not set(ids) - there

    if ids:
        eventually(all_are, 60)


def shown(world: EmulatedAccount) -> dict[str, tuple[str, str]]:
    """EC2's own answer: each instance's profile and association."""
    return {instance: (each.profile, each.association_id) for instance, each in carried(world)}


def change(world: EmulatedAccount, members: dict[str, Member]) -> None:
    """What people do while Rolekeeper is paused."""
    associations = shown(world)
    for instance, member in members.items():
        for key in member.tags.keys() - member.then.keys():
            world.untag(instance, key)
        if member.then != member.tags and member.then:
            world.tag(instance, **member.then)
        association = associations.get(instance, ("", ""))[1]
        if member.act == "by-hand" and association:
            world.ec2.replace_iam_instance_profile_association(
                AssociationId=association, IamInstanceProfile={"Name": THEIRS}
            )
        elif member.act == "by-hand":
            world.ec2.associate_iam_instance_profile(InstanceId=instance, IamInstanceProfile={"Name": THEIRS})
        elif member.act == "taken" and association:
            world.ec2.disassociate_iam_instance_profile(AssociationId=association)
    stopping = [instance for instance, member in members.items() if member.act == "stop"]
    for some in batched(stopping, 100):
        world.ec2.stop_instances(InstanceIds=list(some))
    in_state(world, stopping, "stopped")


def disagreement(planned: dict[str, Any], before: tuple[str, str], after: tuple[str, str]) -> str:
    """How EC2's answer differs from the plan for one instance; empty when it doesn't."""
    if planned["action"] not in {"Attach", "Replace", "Detach"}:
        return "" if after == before else f"{before} became {after}, though planned was {planned}"
    came = after[0] == (planned["to"] or "") and after[1] != before[1]
    return "" if came else f"{before} became {after}, and planned was {planned}"


def test_what_plan_says_of_random_fleets_is_what_the_functions_then_do(
    unlimited: EmulatedAccount, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world, rng, began = unlimited, random.Random(SEED), time.monotonic()
    fleets: list[Fleet] = [random_fleet(rng, f"f{number}-", members=2) for number in range(FLEETS)]
    rolekeeper, queues = Command(world.aws.env), Queues(world, tries=8)

    def tell(what: str) -> None:
        with capsys.disabled():
            print(f"{time.monotonic() - began:6.1f} s  {what}")  # noqa: T201  # shown in the run's output

    print()  # noqa: T201  # the same
    for name in (*ROLES, THEIRS):
        world.make_role(name, path="/" if name == THEIRS else "/rolekeeper/")
    judge(world, {key: columns for fleet in fleets for key, columns in fleet.rows.items()})
    tell(f"plan agrees: seed {SEED}, {FLEETS} fleets, their mappings are served")
    members = launch(world, ((fleet.prefix, member) for fleet in fleets for member in fleet.members))
    queues.become_quiet(SECONDS)
    tell(f"{len(members):,} instances carry what their tags say")

    rolekeeper("pause")
    change(world, members)
    queues.become_quiet(SECONDS)
    tell("people changed tags, roles and states")
    file = tmp_path / "mappings.yaml"
    rows = [
        {"tag_key": key, "tag_value": value, **columns}
        for fleet in fleets
        for (key, value), columns in fleet.file.items()
    ]
    file.write_text(yaml.safe_dump({"mappings": rows}))
    before = shown(world)
    plan = rolekeeper.json("plan", "-f", str(file), seconds=SECONDS)
    assert plan["withheld"] == "Rolekeeper is paused"
    tell(f"planned: {dict(Counter(each['action'] for each in plan['changes']))}, {len(plan['mappings']):,} mappings")

    # Some rows name a role that nobody made, and some tie: those are rejected, as the plan says.
    rolekeeper("mapping", "import", str(file), "--yes", code=1, seconds=SECONDS)
    tell("the file's mappings are written and judged")
    rolekeeper("resume")
    rolekeeper("sweep", seconds=SECONDS)
    queues.become_quiet(SECONDS)
    tell("Rolekeeper did what it would do")

    after = shown(world)
    planned = {each["instance"]: each for each in plan["changes"]}
    wrong = {
        instance: said
        for instance in members
        if (
            said := disagreement(
                planned.get(instance, {"action": "Nothing"}),
                before.get(instance, ("", "")),
                after.get(instance, ("", "")),
            )
        )
    }
    assert wrong == {}, f"ROLEKEEPER_PLAN_SEED={SEED}"
    rows_now = {each["mapping"]: each["status"] for each in rolekeeper.json("mapping", "ls")}
    said_of_rows = {each["mapping"]: each["status"] for each in plan["mappings"]}
    assert {key: rows_now[key] for key in said_of_rows} == said_of_rows, f"ROLEKEEPER_PLAN_SEED={SEED}"
    assert {"Attach", "Replace", "Detach", "Hold"} <= {each["action"] for each in plan["changes"]}
