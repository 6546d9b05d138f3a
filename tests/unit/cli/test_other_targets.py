"""Instances of other targets: named ACCOUNT/REGION/ID, and looked at as the spoke's reader."""

import pytest

from fixtures.account import ACCOUNT, REGION
from fixtures.mappings import MappingsFixture
from fixtures.spokes import SpokeFixture
from fixtures.terminal import Terminal, lines
from rolekeeper.model.instance import Target

TARGET = Target("111111111111", "eu-west-1")
READER = f"arn:aws:iam::{TARGET.account}:role/rolekeeper-reader"
NO_CLOUDTRAIL = f"the CloudTrail of account {TARGET.account} can't be asked from here"


@pytest.fixture
def spoke(terminal: Terminal, desk: MappingsFixture) -> SpokeFixture:
    for role in ("web", "db"):
        desk.role(role)
    made = SpokeFixture(terminal, desk, TARGET)
    made.registered()
    desk.edit("app=web", role="web")
    made.copied("app=web", "web")
    return made


@pytest.fixture
def web(spoke: SpokeFixture) -> str:
    """An instance there that got its role."""
    instance = spoke.world.running(app="web", Name="web-1")
    spoke.reconcile(instance)
    assert spoke.carries(instance) == "web"
    return instance


# ---- explain and history ----


@pytest.mark.parametrize("name", ["web-1", None])
def test_it_is_explained_by_its_own_ec2_and_the_hubs_history(
    terminal: Terminal, spoke: SpokeFixture, web: str, name: str | None
) -> None:
    document = terminal.document("explain", spoke.address(name or web))
    assert (document["instance"], document["account"], document["region"]) == (web, TARGET.account, TARGET.region)
    assert document["carries"]["profile_arn"] == f"arn:aws:iam::{TARGET.account}:instance-profile/rolekeeper/web"
    assert document["decision"]["code"] == "converged"
    assert document["mapping"]["mapping"] == "app=web"
    assert document["last"]["action"] == "Attach"
    assert {each["unknown_because"] for each in document["who"]} == {NO_CLOUDTRAIL}
    with_theirs = f"--region eu-west-1 --profile profile-of-{TARGET.account}"
    assert [each["command"] for each in document["undo"]] == [
        f"aws ec2 delete-tags --resources {web} --tags Key=app {with_theirs}",
        "rolekeeper mapping rm app=web",
        f"rolekeeper detach {spoke.address(web)}",
    ]
    assert lines(terminal("explain", spoke.address(web)).stdout)[0] == f"instance {spoke.address(web)} (web-1), running"


def test_at_home_nothing_is_named_otherwise(terminal: Terminal, desk: MappingsFixture, spoke: SpokeFixture) -> None:
    del spoke
    here = desk.converged("web", app="web")
    for text in (here, f"{ACCOUNT}/{REGION}/{here}"):
        document = terminal.document("explain", text)
        assert (document["instance"], document["account"], document["region"]) == (here, ACCOUNT, REGION)
        assert f"rolekeeper detach {here}" in [each["command"] for each in document["undo"]]


def test_its_history_needs_no_look_into_its_account(terminal: Terminal, spoke: SpokeFixture, web: str) -> None:
    spoke.refuse()
    [entry] = terminal.document("history", spoke.address(web))
    assert (entry["instance"], entry["account"], entry["region"]) == (web, TARGET.account, TARGET.region)
    assert (entry["action"], entry["to"]) == ("Attach", "web")


def test_who_may_not_look_there_hears_what_to_do(terminal: Terminal, spoke: SpokeFixture, web: str) -> None:
    spoke.refuse()
    for line in (("explain",), ("wait", "--role", "web"), ("release",)):
        ran = terminal(line[0], spoke.address(web), *line[1:])
        assert ran.exit_code == 254
        assert f"you may not look into account {TARGET.account}" in ran.stderr
        assert f"among those that {READER} trusts (rolekeeper spoke parameters --reader ARN)" in ran.stderr
        assert "rolekeeper history shows without" in ran.stderr


def test_one_that_isnt_there_is_told_with_near_names(terminal: Terminal, spoke: SpokeFixture, web: str) -> None:
    del web
    ran = terminal("explain", spoke.address("web-l"))
    assert (ran.exit_code, "there is no instance web-l\n  did you mean web-1?" in ran.stderr) == (1, True)
    bare = spoke.world.running()
    ran = terminal("history", spoke.address(bare))
    assert f"rolekeeper explain {spoke.address(bare)}" in ran.stderr


# ---- by hand ----


def test_a_pin_is_written_for_it_and_checked_in_its_account(terminal: Terminal, spoke: SpokeFixture, web: str) -> None:
    ran = terminal("replace", spoke.address(web), "db", "--no-wait")
    assert ran.exit_code == 1, "there is no role db in that account"
    spoke.role("db")
    ran = terminal("replace", spoke.address("web-1"), "db", "--no-wait")
    assert ran.exit_code == 0, ran.output
    assert f"rolekeeper release {spoke.address(web)} gives it back" in ran.stderr
    spoke.reconcile(web)
    assert spoke.carries(web) == "db"
    assert terminal.document("explain", spoke.address(web))["pin"]["role"] == "db"
    assert "rolekeeper release" in terminal("explain", spoke.address(web)).stdout
    assert terminal.document("release", spoke.address(web)) == {
        "instance": web,
        "account": TARGET.account,
        "region": TARGET.region,
        "released": "db",
        "contested": False,
    }
    spoke.reconcile(web)
    assert spoke.carries(web) == "web"


def test_it_is_waited_for_in_its_own_ec2(terminal: Terminal, spoke: SpokeFixture) -> None:
    instance = spoke.world.running(app="web")
    terminal.meanwhile = lambda: spoke.reconcile(instance)
    ran = terminal("wait", spoke.address(instance), "--role", "web")
    assert (ran.exit_code, ran.stdout) == (0, f"{instance} carries web.\n")


def test_one_that_carries_a_role_already_is_told_with_its_whole_name(
    terminal: Terminal, spoke: SpokeFixture, web: str
) -> None:
    ran = terminal("attach", spoke.address(web), "web", "--no-wait")
    assert f"rolekeeper replace {spoke.address(web)} web" in ran.stderr
