"""The doctor's look at all targets: what a person has to do about one, and no line for one that is well."""

from datetime import timedelta
from typing import Any

import pytest

from fakes.organizations import Organizations
from fixtures.account import ACCOUNT, REGION
from fixtures.mappings import Desk
from fixtures.terminal import Terminal
from rolekeeper.fleet.targets import WIRE_FORMAT, Registry
from rolekeeper.model.instance import Target
from rolekeeper.storage import layout
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.doctor.run import run
from rolekeeper_cli.doctor.view import Finding
from rolekeeper_cli.doctor.work import coverage, targets
from rolekeeper_cli.options import Options

OTHER = "111111111111"
NAME = f"{OTHER}/eu-west-1"
PROBLEM = "it refuses sts:AssumeRole on the role rolekeeper-reader"


@pytest.fixture(autouse=True)
def of_04(hub: Terminal, desk: Desk) -> None:
    hub.outputs["Version"] = "0.4.1"
    desk.world.swept(3)


def found() -> list[Finding]:
    return run("targets", targets, Deployment(Options()))


def only() -> tuple[str, str, str]:
    [finding] = found()
    return finding.level, finding.what, str(finding.remedy)


def registered(desk: Desk, region: str = "eu-west-1", **attributes: Any) -> None:
    now = desk.world.clock.now()
    swept = layout.timestamp(now - timedelta(minutes=1))
    item = {"version": "0.4.0", "wire_format": WIRE_FORMAT, "since": swept, "last_sweep": swept, **attributes}
    store, key = desk.world.store, layout.target_key(Target(OTHER, region))
    store.write(store.put({**layout.key_attributes(key), **item}))


def ago(desk: Desk, minutes: int) -> str:
    return layout.timestamp(desk.world.clock.now() - timedelta(minutes=minutes))


def test_an_unknown_target_is_a_warning(desk: Desk) -> None:
    target, at = Target(OTHER, "eu-west-1"), desk.world.clock.now()
    Registry(desk.world.store).note_unknown(target, PROBLEM, at, 1)
    level, what, remedy = only()
    assert (level, what) == ("warn", f"unknown target {NAME}: 1 event was dropped: {PROBLEM}")
    assert remedy.startswith("deploy a spoke there")


def test_where_all_is_well_it_is_one_line(desk: Desk) -> None:
    assert only() == ("ok", "all targets are well: 1, in 1 account", "")
    registered(desk)
    registered(desk, "eu-west-2")
    assert only() == ("ok", "all targets are well: 3, in 2 accounts", "")


@pytest.mark.parametrize(("minutes", "level"), [(5, "warn"), (15, "warn"), (16, "fail")])
def test_a_problem_that_a_sweep_didnt_end_is_an_error(desk: Desk, minutes: int, level: str) -> None:
    registered(desk, problem=PROBLEM, problem_since=ago(desk, minutes))
    found_level, what, remedy = only()
    assert found_level == level
    assert what.startswith(f"target {NAME} since 2026-03-01 08:")
    assert what.endswith(PROBLEM)
    assert f"rolekeeper targets forget {NAME}" in remedy


@pytest.mark.parametrize(("minutes", "level"), [(30, "ok"), (31, "fail")])
def test_a_sweep_that_is_older_than_two_intervals_is_an_error(desk: Desk, minutes: int, level: str) -> None:
    registered(desk, last_sweep=ago(desk, minutes), instances=1)
    found_level, what, _ = only()
    assert found_level == level
    assert ("its last sweep was at 2026-03-01 08:29 UTC" in what) == (level == "fail")


def test_a_spoke_whose_events_the_hub_does_not_take_is_an_error_that_names_the_remedy(desk: Desk) -> None:
    registered(desk, version="0.4.1", wire_format=WIRE_FORMAT + 2)
    level, what, remedy = only()
    assert (level, f"target {NAME}: its spoke has wire format {WIRE_FORMAT + 2}" in what) == ("fail", True)
    assert remedy == f"with the credentials of account {OTHER}: rolekeeper spoke deploy --region eu-west-1"


def test_drift_that_is_withheld_is_a_warning(desk: Desk) -> None:
    registered(desk, instances=9, drift=7, withheld=3)
    level, what, remedy = only()
    assert (level, f"target {NAME}: 3 of 7 instances in drift weren't sent" in what) == ("warn", True)
    assert "docs/runbook.md#work-waits" in remedy


@pytest.mark.parametrize(
    ("version", "level", "said", "remedy"),
    [
        ("0.4.1", "ok", "", ""),
        ("0.4.9", "ok", "", ""),
        ("0.3.7", "warn", "neighbouring versions work together", f"credentials of account {OTHER}"),
        ("0.5.0", "warn", "neighbouring versions work together", "upgrade the hub: rolekeeper deploy"),
        ("0.2.7", "fail", "only neighbouring versions", "rolekeeper spoke deploy --region eu-west-1"),
        ("0.6.0", "fail", "only neighbouring versions", "upgrade the hub: rolekeeper deploy"),
        ("1.4.0", "fail", "only neighbouring versions", "upgrade the hub: rolekeeper deploy"),
        ("", "ok", "", ""),
    ],
)
def test_the_handshake_of_versions(desk: Desk, version: str, level: str, said: str, remedy: str) -> None:
    registered(desk, version=version)
    found_level, what, todo = only()
    assert (found_level, said in what, remedy in todo) == (level, True, True)
    assert level == "ok" or f"target {NAME} has version {version}, and the hub 0.4.1" in what


def test_of_many_the_worst_are_shown_and_the_others_counted(desk: Desk) -> None:
    for number in range(1, 9):
        registered(desk, f"eu-west-{number}", version="0.3.0")
    for number in range(1, 6):
        registered(desk, f"us-east-{number}", problem=PROBLEM, problem_since=ago(desk, 60))
    findings = found()
    assert [each.level for each in findings] == ["fail"] * 5 + ["warn"] * 6
    assert findings[-1].what == "3 more about targets"
    assert str(findings[-1].remedy) == "see them all: rolekeeper targets"


# ---- accounts and Regions without a spoke ----


@pytest.fixture
def organization(terminal: Terminal) -> Organizations:
    made = terminal.clients["organizations"] = Organizations()
    made.accounts = [{"Id": each, "Name": "any", "State": "ACTIVE"} for each in (ACCOUNT, OTHER)]
    return made


def covered() -> tuple[str, str, str]:
    [finding] = run("coverage", coverage, Deployment(Options(region=REGION)))
    return finding.level, finding.what, str(finding.remedy)


def test_accounts_without_a_spoke_are_a_warning(desk: Desk, organization: Organizations) -> None:
    registered(desk, "us-west-2")
    level, what, remedy = covered()
    assert level == "warn"
    assert what.startswith(f"no spoke is in {OTHER}/us-east-1, {ACCOUNT}/us-west-2 of the organization")
    assert remedy == "see them all: rolekeeper targets --missing"
    registered(desk, "us-east-1")
    organization.accounts = organization.accounts[1:]
    assert covered()[0] == "ok"


def test_without_a_look_at_the_organization_coverage_is_unknown(organization: Organizations) -> None:
    organization.refuses = "AccessDeniedException"
    level, what, remedy = covered()
    assert (level, what.partition(":")[0]) == ("unknown", "the organization's accounts can't be listed")
    assert "docs/organization.md" in remedy
