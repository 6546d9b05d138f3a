"""destroy: it says what would happen, keeps what must not be lost, and does nothing without the stack's name."""

from pathlib import Path

import pytest
import yaml

from fakes.cloudformation import FakeCloudFormation
from fixtures.account import refusing
from fixtures.mappings import Desk
from fixtures.terminal import Terminal
from rolekeeper.storage import layout


@pytest.fixture
def stack(terminal: Terminal) -> FakeCloudFormation:
    made = FakeCloudFormation()
    made.deployed()
    retained = {"Type": "AWS::DynamoDB::Table", "DeletionPolicy": "Retain"}
    made.template = {"Resources": {"MappingTable": retained, "WorkQueue": {"Type": "AWS::SQS::Queue"}}}
    made.resources = {"MappingTable": "rolekeeper-MappingTable-1", "WorkQueue": "q"}
    terminal.clients |= {"cloudformation": made}
    return made


@pytest.fixture
def web(desk: Desk) -> str:
    """An instance that carries a managed role, which a mapping gives it."""
    desk.usable("web")
    desk.put("app=web", role="web")
    desk.publish("app=web")
    instance = desk.world.running(Name="web-1", app="web")
    desk.world.attach_by_hand(instance, "web")
    return instance


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_person_is_offered_to_export_and_to_detach_first(
    terminal: Terminal, stack: FakeCloudFormation, desk: Desk, web: str, here: Path
) -> None:
    ran = terminal.types("y\ny\nrolekeeper\n", "destroy")
    assert ran.exit_code == 0, ran.output
    written = yaml.safe_load((here / "mappings-rolekeeper-us-east-1.yaml").read_text())
    assert written["mappings"] == [{"tag_key": "app", "tag_value": "web", "role": "web"}]
    assert desk.world.carries(web) == ""
    assert desk.world.store.get([layout.CONTROL])[layout.CONTROL]["paused"] is True, "or it would be attached again"
    assert stack.calls == ["delete_stack"]
    assert "Roles that were detached: 1. Instances that still carry one: 0." in ran.stderr


def test_who_detaches_does_it_before_the_stack_is_gone(
    terminal: Terminal, stack: FakeCloudFormation, desk: Desk, web: str
) -> None:
    stack.ends, stack.failures = "DELETE_FAILED", [("WorkQueue", "AWS::SQS::Queue", "is in use")]
    ran = terminal("destroy", "--detach", "--confirm", "rolekeeper")
    assert ran.exit_code == 254
    assert "the deletion of rolekeeper failed (DELETE_FAILED): WorkQueue (AWS::SQS::Queue): is in use" in ran.stderr
    assert desk.world.carries(web) == ""


def test_what_cant_be_detached_is_named(terminal: Terminal, stack: FakeCloudFormation, desk: Desk, web: str) -> None:
    desk.world.calls.before("DisassociateIamInstanceProfile", refusing("UnauthorizedOperation"))
    desk.world.calls.before("DisassociateIamInstanceProfile", refusing("UnauthorizedOperation"))
    document = terminal.document("destroy", "--detach", "--confirm", "rolekeeper")
    assert (document["carrying"], document["detached"]) == ([web], 0)
    assert stack.calls == ["delete_stack"]


def test_foreign_roles_are_never_detached(terminal: Terminal, stack: FakeCloudFormation, desk: Desk) -> None:
    desk.role("node", path="/")
    desk.world.profile("node", path="/")
    instance = desk.world.running()
    desk.world.attach_by_hand(instance, "node")
    document = terminal.document("destroy", "--detach", "--confirm", "rolekeeper")
    assert (document["detached"], document["carrying"]) == (0, [])
    assert desk.world.carries(instance)
    assert stack.calls == ["delete_stack"]


def test_an_export_overwrites_nothing_and_nothing_is_deleted_without_it(
    terminal: Terminal, stack: FakeCloudFormation, web: str, here: Path
) -> None:
    assert web
    (here / "there.yaml").write_text("mine")
    ran = terminal("destroy", "--export", "there.yaml", "--confirm", "rolekeeper")
    assert ran.exit_code == 1
    assert "nothing was deleted" in ran.stderr
    assert (here / "there.yaml").read_text() == "mine"
    assert stack.calls == []


@pytest.mark.parametrize(
    ("status", "description"),
    [(None, "Rolekeeper. X"), ("UPDATE_COMPLETE", "Another product."), ("UPDATE_IN_PROGRESS", "Rolekeeper. X")],
)
def test_a_stack_that_isnt_there_isnt_ours_or_is_busy_is_left_alone(
    terminal: Terminal, stack: FakeCloudFormation, status: str | None, description: str
) -> None:
    stack.status, stack.description = status, description
    assert terminal("destroy", "--confirm", "rolekeeper").exit_code == 253
    assert stack.calls == []
