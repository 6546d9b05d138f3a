"""Instances of other targets: named ACCOUNT/REGION/ID, and looked at as the spoke's viewer."""

from pathlib import Path
from typing import Any

import pytest

from fakes.last_accessed import FakeReports
from fakes.logs import FakeLogs
from fixtures.account import ACCOUNT, REGION, refusing
from fixtures.mappings import Desk, mapping_file
from fixtures.roles import make_used_role
from fixtures.spokes import SpokeFixture
from fixtures.terminal import Terminal, lines
from rolekeeper.model.instance import Target
from rolekeeper.storage import Update, layout
from support.grants import allow, policy

TARGET = Target("111111111111", "eu-west-1")
UNIT = "ou-a1b2-c3d4e5f6"


@pytest.fixture
def spoke(terminal: Terminal, desk: Desk) -> SpokeFixture:
    desk.role("db")
    return SpokeFixture.with_web(terminal, desk, TARGET)


@pytest.fixture
def web(spoke: SpokeFixture) -> str:
    """An instance there that got its role."""
    instance = spoke.world.running(app="web", Name="web-1")
    spoke.reconcile(instance)
    assert spoke.carries(instance) == "web"
    return instance


# ---- explain and history ----


def test_it_is_explained_by_its_own_account(terminal: Terminal, spoke: SpokeFixture, web: str) -> None:
    document = terminal.document("explain", spoke.address(web))
    assert (document["instance"], document["account"], document["region"]) == (web, TARGET.account, TARGET.region)
    assert document["carries"]["profile_arn"] == f"arn:aws:iam::{TARGET.account}:instance-profile/rolekeeper/web"


@pytest.mark.parametrize(
    ("scope", "why"),
    [
        ({"not_units": {"r-a1b2/*"}}, "it excludes organizational units, and this account is in one of them"),
        ({"units": {"r-a1b2/*"}, "not_units": {UNIT}}, "it isn't published for this account yet"),
    ],
    ids=str,
)
def test_a_mapping_that_was_never_published_for_its_account_is_told_with_the_reason(
    terminal: Terminal, desk: Desk, spoke: SpokeFixture, web: str, scope: dict[str, Any], why: str
) -> None:
    spoke.registered(unit="r-a1b2/ou-a1b2-another0")
    spoke.world.tag(web, team="new")
    desk.edit("team=new", role="web", **scope)
    found = terminal.document("explain", spoke.address(web))
    assert (found["mapping"]["mapping"], found["losers"]) == ("app=web", [{"mapping": "team=new", "why": why}])


@pytest.mark.parametrize(("unit", "named"), [(UNIT, True), ("ou-a1b2-another0", False)])
def test_a_rollback_to_a_row_for_units_is_named_where_the_account_is_in_one(
    terminal: Terminal, desk: Desk, spoke: SpokeFixture, unit: str, *, named: bool
) -> None:
    spoke.registered(unit=UNIT)
    instance = spoke.world.running(app="new")
    for role in ("web", "db"):
        desk.edit("app=new", role=role, units={UNIT})
        spoke.copied("app=new", role)
        spoke.reconcile(instance)
        assert spoke.carries(instance) == role
    spoke.registered(unit=unit)
    commands = [each["command"] for each in terminal.document("explain", spoke.address(instance))["undo"]]
    assert ("rolekeeper mapping rollback app=new --to 1" in commands) == named


def test_its_history_needs_no_look_into_its_account(terminal: Terminal, spoke: SpokeFixture, web: str) -> None:
    spoke.refuse()
    [entry] = terminal.document("history", spoke.address(web))
    assert (entry["instance"], entry["account"], entry["region"]) == (web, TARGET.account, TARGET.region)


@pytest.mark.usefixtures("spoke")
def test_one_of_a_place_that_is_no_target_is_told_so(terminal: Terminal, desk: Desk) -> None:
    slip = SpokeFixture(terminal, desk, Target(TARGET.account, "eu-west-2"))
    ran = terminal("explain", slip.address("web-1"))
    said = f"there is no instance {slip.target}/web-1\n  {slip.target} is no target; see: rolekeeper targets\n"
    assert (ran.exit_code, said in ran.stderr) == (1, True)


# ---- by hand ----


def test_a_pin_is_written_for_it_and_checked_in_its_account(terminal: Terminal, spoke: SpokeFixture, web: str) -> None:
    ran = terminal("replace", spoke.address(web), "db", "--no-wait")
    assert ran.exit_code == 1, "there is no role db in that account"
    spoke.role("db")
    ran = terminal("replace", spoke.address("web-1"), "db", "--no-wait")
    assert f"rolekeeper release {spoke.address(web)} gives it back" in ran.stderr
    spoke.reconcile(web)
    assert spoke.carries(web) == "db"
    released = terminal.document("release", spoke.address(web), "--no-wait")
    assert (released["instance"], released["account"], released["region"]) == (web, TARGET.account, TARGET.region)
    spoke.reconcile(web)
    assert spoke.carries(web) == "web"


# ---- fleet ----


@pytest.fixture
def here(desk: Desk) -> str:
    """An instance of the hub's own account that has its role."""
    return desk.converged("web", app="web", Name="here-1")


def test_it_is_narrowed_to_accounts_and_regions(terminal: Terminal, web: str, here: str) -> None:
    def shown(*targets: str) -> list[str]:
        options = [word for each in targets for word in ("--target", each)]
        return [each["instance"] for each in terminal.document("fleet", *options)]

    assert shown() == [here, web]
    assert shown(TARGET.account) == shown(TARGET.region) == shown(str(TARGET)) == [web]
    assert shown(ACCOUNT) == [here]
    assert shown(REGION, TARGET.account) == [here, web]


def test_what_cant_be_seen_is_left_out_and_said(terminal: Terminal, desk: Desk, spoke: SpokeFixture, here: str) -> None:
    others = [SpokeFixture(terminal, desk, Target(TARGET.account, f"us-east-{number}")) for number in range(2, 6)]
    for each in (spoke, *others):
        each.registered()
        each.refuse()
    ran = terminal("fleet")
    assert (ran.exit_code, lines(ran.stdout)[1:]) == (0, [f"{here} here-1 running web web ok"])
    named = ", ".join(f"{TARGET.account}/{each}" for each in ("eu-west-1", "us-east-2", "us-east-3"))
    assert (
        f"Warning: {named}, and 2 more targets are left out: you may not look there; "
        "what the last sweep saw there: rolekeeper targets\n"
    ) in ran.stderr
    document = terminal.document("plan")
    assert [each["region"] for each in document["unseen"]] == [each.target.region for each in (spoke, *others)]
    assert document["summary"]["instances"] == 1
    for command in ("fleet", "plan"):
        ran = terminal(command, "--detailed-exitcode")
        assert (ran.exit_code, "isn't known: targets are left out" in ran.stderr) == (1, True), "nothing else drifts"


def test_one_that_throttles_hinders_no_other(terminal: Terminal, desk: Desk, web: str, here: str) -> None:
    slow = SpokeFixture(terminal, desk, Target("222222222222", REGION))
    slow.registered()
    slow.world.calls.before("DescribeInstances", refusing("RequestLimitExceeded", "slow down"))
    ran = terminal("fleet", "--query", "[].instance")
    assert ran.stdout.split() == [here, web]
    assert "222222222222/us-east-1 is left out: AWS gave no answer to ec2:DescribeInstances" in ran.stderr


@pytest.mark.usefixtures("spoke")
def test_who_may_not_look_at_home_fails(terminal: Terminal, desk: Desk) -> None:
    desk.world.calls.before("DescribeInstances", refusing("UnauthorizedOperation"))
    assert terminal("fleet").exit_code == 254


def test_a_deployment_of_one_account_asks_for_no_registry(terminal: Terminal, desk: Desk) -> None:
    desk.role("web")
    desk.edit("app=web", role="web")
    here = desk.converged("web", app="web")
    desk.quiet()
    assert [each["instance"] for each in terminal.document("fleet")] == [here]
    assert "Query" not in desk.world.calls.counted()
    ran = terminal("fleet", "--target", TARGET.account)
    assert (ran.exit_code, f"there is no target {TARGET.account}" in ran.stderr) == (1, True)


# ---- plan and apply ----


def test_a_plan_says_what_goes_at_once_by_the_share_of_each(
    terminal: Terminal, spoke: SpokeFixture, desk: Desk
) -> None:
    """Of six that all may take away in a window, each target may its own part."""
    terminal.parameters |= {"MaxChangesPerEdit": "1", "MaxChangesPercent": "50"}
    spoke.role("db")
    desk.world.profile("db")
    for world, count in ((spoke.world, 7), (desk.world, 3)):
        for _ in range(count):
            world.attach_by_hand(world.running(app="web"), "db")
        world.running()
        world.running()
    pace = "10 roles are taken away (app=web 10), 6 of them in 10 minutes; the others wait their turn"
    assert pace in terminal("plan").stderr
    counted = Update().set({"total": 3, f"m{int(desk.world.clock.now().timestamp()) // 60}": 3})
    desk.world.store.write(desk.world.store.update(layout.changes_key(TARGET), counted))
    assert pace.replace("6 of", "3 of") in terminal("plan").stderr


def test_a_plan_is_applied_in_each_target(terminal: Terminal, spoke: SpokeFixture, desk: Desk, tmp_path: Path) -> None:
    there, mine = spoke.world.running(app="web"), desk.world.running(app="web")
    desk.world.profile("web")
    plan = str(tmp_path / "change.plan")
    terminal("plan", "--out", plan)

    def rolekeeper_works() -> None:
        spoke.reconcile(there)
        desk.world.reconcile(mine)

    terminal.meanwhile = rolekeeper_works
    ran = terminal("apply", plan)
    assert (ran.exit_code, "2 instances as planned" in ran.stdout) == (0, True), ran.output
    assert (spoke.carries(there), desk.world.carries(mine)) == ("web", "web")


def test_an_edit_is_judged_over_all_targets(
    terminal: Terminal, spoke: SpokeFixture, desk: Desk, tmp_path: Path
) -> None:
    desk.world.profile("web")
    for _ in range(2):
        spoke.world.running(app="new")
    desk.world.running(app="new")
    ran = terminal.types("n\n", "mapping", "set", "app=new", "role=web")
    assert "Instances: 3 to attach." in ran.stderr
    terminal.parameters |= {"MaxChangesPerEdit": "2", "MaxChangesPercent": "1"}
    file = mapping_file(tmp_path, "tag_key: app, tag_value: new, role: web")
    [edit] = terminal.document("plan", "-f", file, code=4)["mappings"]
    assert (edit["status"], edit["effect"]["attach"]) == ("Held", 3)
    spoke.refuse()
    said = terminal.types("n\n", "mapping", "set", "app=new", "role=web").stderr
    assert ("Instances: 1 to attach" in said, f"{TARGET} is left out: you may not look there." in said) == (True, True)


@pytest.mark.parametrize("scope", [f"not_accounts: ['{TARGET.account}']", "not_units: [r-a1b2/*]"])
def test_a_file_that_excludes_an_account_is_planned_with_what_that_takes_away(
    terminal: Terminal, spoke: SpokeFixture, desk: Desk, tmp_path: Path, scope: str, web: str
) -> None:
    spoke.registered(unit=f"r-a1b2/{UNIT}")
    desk.world.profile("web")
    file = mapping_file(tmp_path, f"tag_key: app, tag_value: web, role: web, {scope}")
    document = terminal.document("plan", "-f", file)
    assert document["mappings"][0]["effect"]["detach"] == 1
    assert [(each["instance"], each["action"]) for each in document["changes"]] == [(web, "Detach")]


# ---- waiting, and what a switch would do ----


def test_a_mappings_instances_are_followed_in_all_targets(terminal: Terminal, desk: Desk, spoke: SpokeFixture) -> None:
    there, mine = spoke.world.running(app="web"), desk.converged("web", app="web")
    terminal.meanwhile = lambda: spoke.reconcile(there)
    ran = terminal("wait", "--mapping", "app=web", "--every", "1")
    assert (ran.exit_code, ran.stdout) == (0, "2 of 2 instances carry what they should.\n")
    assert (spoke.carries(there), desk.world.carries(mine)) == ("web", "web")
    spoke.refuse()
    ran = terminal("wait", "--mapping", "app=web", "--query", "[instances, unseen[0]]")
    assert ran.stdout.splitlines() == ["1", f"{TARGET} is left out: you may not look there"]
    assert (ran.exit_code, ran.stderr) == (0, f"Warning: {TARGET} is left out: you may not look there\n")
    ran = terminal("wait", "--mapping", "app=web", "--target", TARGET.region)
    assert (ran.exit_code, f"no instance could be looked at: {TARGET} is left out" in ran.stderr) == (1, True)


def test_only_a_targets_instances_are_waited_for(terminal: Terminal, desk: Desk, spoke: SpokeFixture, web: str) -> None:
    desk.world.running(app="web")
    desk.world.quiet()
    document = terminal.document("wait", "--mapping", "app=web", "--target", TARGET.account)
    assert (document["instances"], document["done"]) == (1, 1)
    assert "DescribeInstances" not in desk.world.calls.counted()
    ran = terminal("wait", "--mapping", "app=web", "--target", ACCOUNT, "--every", "1", "--attempts", "1")
    assert (ran.exit_code, spoke.address(web) in ran.stderr) == (255, False)
    said = "there is no target eu-west-2\n  did you mean eu-west-1?"
    assert said in terminal("wait", "--mapping", "app=web", "--target", "eu-west-2").stderr
    ran = terminal("wait", spoke.address(web), "--role", "web", "--target", TARGET.account)
    assert (ran.exit_code, "--target needs --mapping" in ran.stderr) == (252, True)


# ---- roles ----


@pytest.fixture
def roles(desk: Desk, reports: FakeReports, spoke: SpokeFixture) -> None:
    """The hub's own: one that nothing uses, beside web and db; the spoke's own web may read S3."""
    make_used_role(desk, reports, "old", "s3:GetObject", used={"s3": 300})
    spoke.world.clients["iam"].inline["web"] = policy(allow(["s3:GetObject"]))


@pytest.mark.usefixtures("roles")
def test_roles_are_those_of_all_accounts(terminal: Terminal, spoke: SpokeFixture, web: str, here: str) -> None:
    spoke.world.running(profile="foreign")
    ran = terminal("roles")
    head, *rows = lines(ran.stdout)
    assert (ran.exit_code, head) == (0, "ROLE ACCOUNT INSTANCES MAPS LAST USED BROAD MAY USE NOTE")
    unused = "unused: no mapping gives it, no instance here carries it, last used 2025-05-05"
    assert rows[:4] == [
        f"db {ACCOUNT} 0 0 never no nothing",
        f"old {ACCOUNT} 0 0 2025-05-05 no s3 {unused}",
        f"web {ACCOUNT} 1 1 never no nothing",
        f"web {TARGET.account} 1 1 never no s3",
    ]
    assert f"Account {ACCOUNT} has 3 of 1,000 instance profiles, 3 of 1,000 roles." in rows
    assert ran.stderr == (
        "Warning: not everything is shown: only roles that a mapping gives or an instance carries are listed: "
        f"a spoke's viewer may list none (account {TARGET.account})\n"
    )
    document = terminal.document("roles")
    assert [each["instances"] for each in document["roles"]] == [[], [], [here], [f"{TARGET}/{web}"]]
    assert (document["summary"]["roles"], document["unseen"]) == (4, [])
    theirs = document["roles"][-1]
    assert theirs["arn"] == f"arn:aws:iam::{TARGET.account}:role/rolekeeper/web"
    assert (theirs["mappings"], theirs["unused"], theirs["profiles"]) == (["app=web"], False, None)
    assert theirs["unknown_because"] == "a spoke's viewer may not ask IAM for its report"


@pytest.mark.usefixtures("roles", "web")
def test_an_account_is_chosen_and_no_other_is_asked(terminal: Terminal, desk: Desk, spoke: SpokeFixture) -> None:
    desk.quiet()
    found = terminal.document("roles", "--target", TARGET.account)["roles"]
    assert [(each["role"], each["account"]) for each in found] == [("web", TARGET.account)]
    assert not {"ListRoles", "GetRole", "DescribeInstances"} & desk.world.calls.counted().keys()
    SpokeFixture(terminal, desk, Target(ACCOUNT, "us-east-2")).registered()
    own = terminal.document("roles", "--target", f"{ACCOUNT}/us-east-2")["roles"]
    assert {each["role"]: each["profiles"] for each in own} == {each: [each] for each in ("db", "old", "web")}
    spoke.world.quiet()
    assert {each["account"] for each in terminal.document("roles", "--target", ACCOUNT)["roles"]} == {ACCOUNT}
    assert spoke.world.calls.counted() == {}
    head = lines(terminal("roles", "--target", ACCOUNT).stdout)[0]
    assert head == "ROLE INSTANCES MAPS LAST USED BROAD MAY USE NOTE", "of one account it needn't be said"


@pytest.mark.usefixtures("roles", "web")
def test_an_account_that_cant_be_asked_hides_no_other(terminal: Terminal, desk: Desk, spoke: SpokeFixture) -> None:
    refused = SpokeFixture(terminal, desk, Target("222222222222", REGION))
    refused.registered()
    refused.refuse()
    ran = terminal("roles", "--role", "web")
    arns = [each.split()[1] for each in ran.stdout.splitlines() if each.startswith("role ")]
    assert (ran.exit_code, [each.split(":")[4] for each in arns]) == (0, [ACCOUNT, TARGET.account])
    assert f"Warning: {refused.target} is left out: you may not look there" in ran.stderr
    spoke.world.calls.before("list_role_policies", refusing("AccessDenied", "no"))
    document = terminal.document("roles")
    assert [each["account"] for each in document["unseen"]] == [refused.target.account]
    arn = f"arn:aws:iam::{TARGET.account}:role/rolekeeper/web"
    assert f"you aren't allowed iam:ListRolePolicies on {arn} (account {TARGET.account})" in document["unknown"]
    may = {each["account"]: each["may"] for each in document["roles"] if each["role"] == "web"}
    assert may == {ACCOUNT: [], TARGET.account: None}


@pytest.mark.usefixtures("roles", "here")
def test_where_a_region_of_its_account_cant_be_seen_no_role_is_called_unused(terminal: Terminal, desk: Desk) -> None:
    away = SpokeFixture(terminal, desk, Target(ACCOUNT, "us-east-2"))
    away.registered()
    assert [each["role"] for each in terminal.document("roles", "--unused")["roles"]] == ["old"]
    away.refuse()
    found = {each["role"]: each for each in terminal.document("roles")["roles"] if each["account"] == ACCOUNT}
    assert (found["old"]["unused"], found["old"]["instances"], len(found["web"]["instances"])) == (None, [], 1)
    assert terminal.document("roles", "--unused")["roles"] == []


@pytest.mark.usefixtures("roles")
def test_a_mapping_for_some_accounts_gives_a_role_there(terminal: Terminal, desk: Desk, spoke: SpokeFixture) -> None:
    spoke.role("db")
    spoke.registered(unit=UNIT)
    desk.edit("app=theirs", role="db", accounts={TARGET.account})
    desk.edit("app=units", role="db", units={UNIT})
    desk.edit("app=mine", role="db", accounts={ACCOUNT})
    found = terminal.document("roles", "--role", "db")["roles"]
    assert [(each["account"], each["mappings"]) for each in found] == [
        (ACCOUNT, ["app=mine"]),
        (TARGET.account, ["app=theirs", "app=units"]),
    ]


@pytest.mark.usefixtures("roles")
def test_one_that_no_account_has_is_refused_with_what_is_near(terminal: Terminal, spoke: SpokeFixture) -> None:
    said = f"there is no role wbe under /rolekeeper/ in {ACCOUNT}, {TARGET.account}\n  did you mean web?\n"
    assert terminal("roles", "--role", "wbe").stderr == f"Error: {said}"
    spoke.role("theirs")
    found = terminal.document("roles", "--role", "theirs")["roles"]
    assert [(each["account"], each["instances"], each["mappings"]) for each in found] == [(TARGET.account, [], [])]


# ---- the history of the fleet ----


def test_decisions_come_from_the_hubs_logs(
    terminal: Terminal, desk: Desk, spoke: SpokeFixture, web: str, here: str
) -> None:
    terminal.clients["logs"] = FakeLogs(desk.world.logged)
    spoke.refuse()
    rows = lines(terminal("history").stdout)[1:]
    assert [row.split()[1] for row in rows] == [here, spoke.address(web)]
    for target, instance in ((TARGET.region, web), (ACCOUNT, here)):
        assert [each["instance"] for each in terminal.document("history", "--target", target)] == [instance]
