"""`rolekeeper spoke` and `targets` as processes: a hub and one more account in two Regions, from nothing to nothing."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fixtures.command import Command
from rolekeeper_local.account import EmulatedAccount
from rolekeeper_local.ec2_model import Timings
from rolekeeper_local.embedded import ACCOUNT, PARAMETERS, REGION, EmbeddedAws
from rolekeeper_local.spokes import ORGANIZATION, PRESENT
from support.waiting import eventually

pytestmark = pytest.mark.emulator

SPOKE, OTHER = "111111111111", "eu-west-1"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"},
    ],
}
ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


class Desk:
    """Three who type commands: the hub's administrator, its operators, and the other account's administrator."""

    def __init__(self, aws: EmbeddedAws) -> None:
        self.aws = aws
        self.hub = EmulatedAccount(aws)
        self.worlds = {region: EmulatedAccount(aws, SPOKE, region) for region in (REGION, OTHER)}
        self.administrator = Command(aws.env)
        self.spoke = Command({**aws.env, "AWS_ACCESS_KEY_ID": SPOKE})
        self.reader, self.operators = self._operators()

    def _operators(self) -> tuple[str, Command]:
        """A role of the hub's account that operators take; its ARN, and what they type."""
        iam = self.hub.iam
        role = iam.create_role(RoleName="operators", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
        iam.put_role_policy(RoleName="operators", PolicyName="all", PolicyDocument=json.dumps(ALL))
        sts = self.aws.session().client("sts")
        keys: Any = sts.assume_role(RoleArn=role, RoleSessionName="grace")["Credentials"]
        names = {"AWS_ACCESS_KEY_ID": "AccessKeyId", "AWS_SECRET_ACCESS_KEY": "SecretAccessKey"}
        names["AWS_SESSION_TOKEN"] = "SessionToken"  # a name
        return role, Command({**self.aws.env, **{variable: keys[name] for variable, name in names.items()}})

    def states(self) -> dict[tuple[str, str], str]:
        """How each target is."""
        return {(each["account"], each["region"]): each["state"] for each in self.operators.json("targets")}


@pytest.fixture(scope="module")
def desk(free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    directory = tmp_path_factory.mktemp("aws")
    with EmbeddedAws(port=free_port(), timings=Timings(pending=2), directory=directory) as aws:
        aws.deploy(**PARAMETERS, OrganizationId=ORGANIZATION)
        made = Desk(aws)
        for world in (made.hub, made.worlds[REGION]):
            world.deploy_starter_roles()
        made.hub.seed_mappings()
        yield made


@pytest.fixture(scope="module")
def told(desk: Desk, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the hub's administrator sends to the other account's."""
    file: Path = tmp_path_factory.mktemp("hub") / "hub.json"
    file.write_text(desk.administrator("spoke", "parameters", "--reader", desk.reader).stdout)
    return str(file)


@pytest.fixture(scope="module")
def spokes(desk: Desk, told: str) -> Any:
    """The other account's spokes, as deploying them was told."""
    line = ("spoke", "deploy", "--hub", told, "--region", REGION, "--region", OTHER, "--yes")
    done = desk.spoke.json(*line, seconds=300)
    for world in desk.worlds.values():
        desk.aws.fire_rule(SPOKE, world.region, PRESENT)
    eventually(lambda: len(desk.states()) == 3, 60)
    desk.administrator("sweep")
    eventually(lambda: set(desk.states().values()) == {"well"}, 60)
    return done


def test_an_account_is_looked_after_once_its_spokes_are_deployed(desk: Desk, spokes: Any) -> None:
    assert [(each["region"], each["outcome"]) for each in spokes] == [(REGION, "deployed"), (OTHER, "deployed")]
    roles = {each["resource"] for each in spokes[0]["changes"]} - {each["resource"] for each in spokes[1]["changes"]}
    assert roles == {"Reader", "Changer"}
    found = desk.operators.json("targets")
    assert [(each["account"], each["region"], each["hub"]) for each in found] == [
        (ACCOUNT, REGION, True),
        (SPOKE, OTHER, False),
        (SPOKE, REGION, False),
    ]
    assert {each["version_is"] for each in found} == {"same"}
    table = desk.operators("targets").stdout
    assert f"{SPOKE}  {OTHER}" in table


def test_deploying_it_again_changes_nothing_and_needs_no_hub(desk: Desk, spokes: Any, tmp_path: Path) -> None:
    assert spokes
    plain = tmp_path / "hub.json"
    plain.write_text(desk.administrator("spoke", "parameters").stdout)
    [again] = desk.spoke.json("spoke", "deploy", "--hub", str(plain), "--region", REGION, "--yes", seconds=300)
    assert again["outcome"] == "unchanged", "its readers stay"
    [again] = desk.spoke.json("spoke", "deploy", "--region", OTHER, "--yes", seconds=300)
    assert again["outcome"] == "unchanged"
    refused = desk.spoke("spoke", "deploy", "--region", OTHER, "--home-region", OTHER, "--yes", code=252)
    assert f"the account's roles are in {REGION} already" in refused.stderr


def test_its_instances_are_the_hubs_fleet_for_those_who_may_look(desk: Desk, spokes: Any) -> None:
    assert spokes
    world = desk.worlds[OTHER]
    instance = world.launch("web-there", workload="s3-reader")
    eventually(lambda: world.carries(instance, "s3-read"), 60)
    address = f"{SPOKE}/{OTHER}/{instance}"
    [row] = desk.operators.json("fleet", "--target", SPOKE)
    assert (row["instance"], row["account"], row["region"]) == (instance, SPOKE, OTHER)
    assert (row["carries"], row["stands"]) == ("s3-read", "ok")
    assert address in desk.operators("fleet").stdout
    explained = desk.operators.json("explain", f"{SPOKE}/{OTHER}/web-there")
    assert explained["carries"]["profile_arn"] == f"arn:aws:iam::{SPOKE}:instance-profile/rolekeeper/s3-read"
    summary = desk.operators.json("plan")["summary"]
    assert {"account": SPOKE, "instances": 1, "changes": 0} in summary["accounts"]
    # The administrator isn't among the readers: history needs no look into the account.
    refused = desk.administrator("explain", address, code=254)
    assert f"you may not look into account {SPOKE}" in refused.stderr
    left_out = desk.administrator("fleet")
    assert f"{SPOKE}/{OTHER} and {SPOKE}/{REGION} are left out" in left_out.stderr
    entries = desk.administrator.json("history", address)
    assert (entries[0]["action"], entries[0]["to"], entries[0]["account"]) == ("Attach", "s3-read", SPOKE)


def test_a_pin_from_the_hubs_account_is_done_there(desk: Desk, spokes: Any) -> None:
    assert spokes
    world = desk.worlds[REGION]
    instance = world.launch("pinned")
    eventually(lambda: world.state(instance) == "running", 30)
    address = f"{SPOKE}/{REGION}/{instance}"
    desk.operators("attach", address, "s3-write", "--wait")
    assert world.carries(instance, "s3-write")
    assert desk.operators.json("release", address)["released"] == "s3-write"
    eventually(lambda: world.shown(instance) is None, 60)


def test_the_doctor_looks_at_them(desk: Desk, spokes: Any) -> None:
    assert spokes
    findings = json.loads(desk.operators("doctor", "--output", "json", "--query", "findings[?check=='targets']").stdout)
    assert [(each["level"], each["what"]) for each in findings] == [("ok", "all targets are well: 3, in 2 accounts")]


def test_what_is_removed_keeps_its_roles_and_is_forgotten(desk: Desk, spokes: Any) -> None:
    """Runs last: nothing is left of the spokes."""
    assert spokes
    world = desk.worlds[OTHER]
    carrying = [each["InstanceId"] for each in world.fleet() if world.shown(each["InstanceId"])]
    removed = desk.spoke.json("spoke", "remove", "--region", OTHER, "--yes", seconds=300)
    assert [(each["region"], each["carrying"]) for each in removed] == [(OTHER, carrying)]
    assert all(world.shown(each) for each in carrying)
    desk.operators("targets", "forget", f"{SPOKE}/{OTHER}", "--yes")
    assert (SPOKE, OTHER) not in desk.states()
    last = desk.spoke("spoke", "remove", "--region", REGION, "--yes", seconds=300)
    assert "a spoke in another Region doesn't work without them" in last.stdout
    assert f"rolekeeper targets forget {SPOKE}/{REGION}" in last.stderr
    roles = {each["RoleName"] for each in world.iam.list_roles()["Roles"]}
    assert not {each for each in roles if each.startswith("rolekeeper-")}
