"""The doctor's look at all targets: what a person has to do about one, and no line for one that is well."""

from collections.abc import Callable
from typing import Any

import pytest

from fakes.organizations import Organizations
from fixtures.account import ACCOUNT, REGION
from fixtures.mappings import Desk
from fixtures.spokes import SpokeFixture
from fixtures.terminal import Terminal
from rolekeeper.fleet.targets import WIRE_FORMAT, Registry
from rolekeeper.model.instance import Target
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.doctor.run import run
from rolekeeper_cli.doctor.view import Finding
from rolekeeper_cli.doctor.work import coverage, targets
from rolekeeper_cli.options import Options

OTHER = "111111111111"
NAME = f"{OTHER}/eu-west-1"
PROBLEM = "it refuses sts:AssumeRole on the role rolekeeper-reader"
TIMES = {"problem_since", "last_sweep"}


@pytest.fixture(autouse=True)
def of_04(hub: Terminal, desk: Desk) -> None:
    hub.outputs["Version"] = "0.4.1"
    desk.world.swept(3)


def found() -> list[Finding]:
    return run("targets", targets, Deployment(Options()))


def only() -> tuple[str, str, str]:
    [finding] = found()
    return finding.level, finding.what, str(finding.remedy)


type Registers = Callable[..., None]


@pytest.fixture
def registers(hub: Terminal, desk: Desk) -> Registers:
    """A spoke in a Region; each time as the minutes since then."""

    def registered(region: str = "eu-west-1", **attributes: Any) -> None:
        spoke = SpokeFixture(hub, desk, Target(OTHER, region))
        times = {name: spoke.ago(attributes[name]) for name in TIMES & attributes.keys()}
        spoke.registered(**{"version": "0.4.0", **attributes, **times})

    return registered


def test_an_unknown_target_is_a_warning(desk: Desk) -> None:
    target, at = Target(OTHER, "eu-west-1"), desk.world.clock.now()
    Registry(desk.world.store).note_unknown(target, PROBLEM, at, 1)
    level, what, remedy = only()
    assert (level, what) == ("warn", f"unknown target {NAME}: 1 event was dropped: {PROBLEM}")
    assert remedy.startswith("deploy a spoke there")


def test_where_all_is_well_it_is_one_line(registers: Registers) -> None:
    assert only() == ("ok", "all targets are well: 1, in 1 account", "")
    registers()
    registers("eu-west-2")
    assert only() == ("ok", "all targets are well: 3, in 2 accounts", "")


REDEPLOY = f"with the credentials of account {OTHER}: rolekeeper spoke deploy --region eu-west-1"
# What a sweep didn't end is worse.
WRONG: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "a new problem": ({"problem": PROBLEM, "problem_since": 15}, "warn", f" UTC: {PROBLEM}", f"forget {NAME}"),
    "an old one": ({"problem": PROBLEM, "problem_since": 16}, "fail", "08:44 UTC: it ref", f"forget {NAME}"),
    "no sweep": ({"last_sweep": 31}, "fail", ": its last sweep was at 2026-03-01 08:29", "runbook.md#sweep-overdue"),
    "no events": ({"wire_format": WIRE_FORMAT + 2}, "fail", ": its spoke has wire format", REDEPLOY),
    "drift": ({"drift": 7, "withheld": 3}, "warn", ": 3 of 7 instances in drift weren't sent", "runbook.md#work-waits"),
}


@pytest.mark.parametrize(("attributes", "level", "what", "remedy"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_a_target_and_what_to_do(
    registers: Registers, *, attributes: dict[str, Any], level: str, what: str, remedy: str
) -> None:
    registers(**attributes)
    found_level, found_what, todo = only()
    assert (found_level, found_what.startswith(f"target {NAME}")) == (level, True)
    assert (what in found_what, remedy in todo) == (True, True), (found_what, todo)


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
def test_the_handshake_of_versions(registers: Registers, *, version: str, level: str, said: str, remedy: str) -> None:
    registers(version=version)
    found_level, what, todo = only()
    assert (found_level, said in what, remedy in todo) == (level, True, True)
    assert level == "ok" or f"target {NAME} has version {version}, and the hub 0.4.1" in what


def test_of_many_the_worst_are_shown_and_the_others_counted(registers: Registers) -> None:
    for number in range(1, 9):
        registers(f"eu-west-{number}", version="0.3.0")
    for number in range(1, 6):
        registers(f"us-east-{number}", problem=PROBLEM, problem_since=60)
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


def test_accounts_without_a_spoke_are_a_warning(registers: Registers, organization: Organizations) -> None:
    registers("us-west-2")
    level, what, remedy = covered()
    assert level == "warn"
    assert what.startswith(f"no spoke is in {OTHER}/us-east-1, {ACCOUNT}/us-west-2 of the organization")
    assert remedy == "see them all: rolekeeper targets --missing"
    registers("us-east-1")
    organization.accounts = organization.accounts[1:]
    assert covered()[0] == "ok"


def test_without_a_look_at_the_organization_coverage_is_unknown(organization: Organizations) -> None:
    organization.refuses = "AccessDeniedException"
    level, what, remedy = covered()
    assert (level, what.partition(":")[0]) == ("unknown", "the organization's accounts can't be listed")
    assert "docs/organization.md" in remedy
