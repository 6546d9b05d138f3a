"""Applying a plan by a function: its result, what it reports on the way, and all that moved."""

from pathlib import Path

import pytest

from fixtures.account import ACCOUNT, mapping_key
from fixtures.mappings import MappingsFixture
from fixtures.terminal import Terminal
from rolekeeper.settings import Limits
from rolekeeper_cli.deployment import Caller, Deployment
from rolekeeper_cli.errors import WaitTimeoutError
from rolekeeper_cli.uses.apply import NotPublishedError, PlanFile, StalePlanError, apply
from rolekeeper_cli.uses.edits import Written
from rolekeeper_cli.uses.follow import Standing


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "change.plan"


def planned(deployment: Deployment, terminal: Terminal, file: Path, *rows: str) -> PlanFile:
    """A plan of now, or of some mappings, that the command wrote."""
    mappings = file.with_name("mappings.yaml")
    mappings.write_text("mappings:\n" + "".join(f"- {{{row}}}\n" for row in rows))
    about = ("-f", str(mappings)) if rows else ()
    assert terminal("plan", *about, "--out", str(file)).exit_code == 0
    return PlanFile(file, deployment.app.home)


def test_what_was_applied_is_returned(
    deployment: Deployment, terminal: Terminal, desk: MappingsFixture, file: Path
) -> None:
    one = desk.world.running(app="web")
    plan = planned(deployment, terminal, file, "tag_key: app, tag_value: web, role: web")

    def rolekeeper_works() -> None:
        desk.publish("app=web")
        terminal.reconciles(one)

    terminal.meanwhile = rolekeeper_works
    reported: list[Written | Standing] = []
    done = apply(deployment, plan, approve=False, report=reported.append)
    assert (done.instances, done.mappings, done.nothing) == ((desk.world.key(one),), (mapping_key("app=web"),), False)
    [written] = reported
    assert isinstance(written, Written)
    assert [each.status for each in written.rows] == ["Published"]
    assert desk.world.carries(one) == "web"
    assert apply(deployment, planned(deployment, terminal, file), approve=False).nothing


def test_all_that_moved_is_in_the_error_and_nothing_is_applied(
    deployment: Deployment, terminal: Terminal, desk: MappingsFixture, file: Path
) -> None:
    desk.edit("app=web", role="web")
    one, two = desk.world.running(app="web"), desk.world.running(app="web")
    plan = planned(deployment, terminal, file)
    for each in (one, two):
        desk.world.attach_by_hand(each, "db")
    desk.quiet()
    with pytest.raises(StalePlanError) as stale:
        apply(deployment, plan, approve=False)
    assert [each.split()[0] for each in stale.value.details] == [one, two]
    assert (desk.sent(), desk.world.writes) == ([], [])


def test_what_hinders_an_instance_is_in_the_error(
    deployment: Deployment, terminal: Terminal, desk: MappingsFixture, file: Path
) -> None:
    desk.edit("app=web", role="web")
    one = desk.world.running(app="web")
    plan = planned(deployment, terminal, file)

    def role_goes() -> None:
        desk.delete_role("web")
        del desk.world.profiles["web"]
        desk.world.reconcile(one)

    terminal.meanwhile = role_goes
    with pytest.raises(WaitTimeoutError) as late:
        apply(deployment, plan, approve=False)
    [why] = late.value.details
    assert why.startswith(f"{one}: ")


def test_what_was_held_is_approved_and_its_instances_are_followed(
    deployment: Deployment,
    terminal: Terminal,
    desk: MappingsFixture,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The account's root is no person.
    monkeypatch.setattr(Deployment, "caller", Caller(f"arn:aws:iam::{ACCOUNT}:root", ACCOUNT, ACCOUNT, "aws"))
    terminal.parameters["MaxChangesPerEdit"] = "1"
    desk.limits = Limits(1, 20)
    desk.edit("app=web", role="web")
    ids = [desk.converged("web", app="web") for _ in range(3)]
    plan = planned(deployment, terminal, file, "tag_key: app, tag_value: web, role: db")

    def rolekeeper_works() -> None:
        desk.publish("app=web")
        terminal.meanwhile = rolekeeper_publishes

    def rolekeeper_publishes() -> None:
        desk.publish("app=web")
        desk.world.reconcile_all(*ids)

    terminal.meanwhile = rolekeeper_works
    reported: list[Written | Standing] = []
    apply(deployment, plan, approve=True, report=reported.append)
    others, approved, standing = reported
    assert others == Written()
    assert isinstance(approved, Written)
    assert [each.status for each in approved.rows] == ["Published"]
    assert standing == Standing(done=3)


def test_a_row_that_isnt_published_as_planned_ends_it(
    deployment: Deployment, terminal: Terminal, desk: MappingsFixture, file: Path
) -> None:
    desk.world.running(app="web")
    plan = planned(deployment, terminal, file, "tag_key: app, tag_value: web, role: web")

    def role_goes() -> None:
        desk.delete_role("web")
        desk.publish("app=web")

    terminal.meanwhile = role_goes
    reported: list[Written | Standing] = []
    with pytest.raises(NotPublishedError):
        apply(deployment, plan, approve=False, report=reported.append)
    [written] = reported
    assert isinstance(written, Written)
    assert [each.status for each in written.bad] == ["Rejected"]
    assert desk.sent() == []
