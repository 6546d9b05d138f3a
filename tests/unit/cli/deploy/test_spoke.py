"""spoke: what a spoke has to know of its hub, deploying one into an account's Regions, and removing it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fakes.cloudformation import FakeCloudFormation
from fakes.organizations import Organizations
from fixtures.account import ACCOUNT, REGION
from fixtures.mappings import Desk
from fixtures.spoke_account import (
    CHANGERS,
    HOME,
    NOTIFIERS,
    OTHER,
    PARAMETERS,
    READERS,
    SPOKES_ACCOUNT,
    VERSION,
    Account,
)
from fixtures.terminal import Terminal, lines
from rolekeeper.model.instance import Target
from rolekeeper.storage import layout
from rolekeeper_cli.deploy.stack import SPOKE, read_template
from support.deployment import Place, deployment, translated
from support.templates import ROOT

UNIT = "ou-a1b2-c3d4e5f6"
OPERATORS, AUDITORS = (f"arn:aws:iam::{ACCOUNT}:role/{name}" for name in ("operators", "auditors"))


@pytest.fixture(autouse=True)
def hub(terminal: Terminal, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub of an organization, and an AWS profile of its account beside the spoke's own credentials."""
    terminal.parameters |= {"OrganizationId": "o-example0000", "Namespace": "rolekeeper"}
    terminal.outputs |= {"HubReaders": READERS, "HubChangers": CHANGERS, "HubNotifiers": NOTIFIERS, "Version": VERSION}
    config = tmp_path / "config"
    config.write_text("[profile hub]\nregion = us-east-1\naws_access_key_id = hub\naws_secret_access_key = hub\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    desk.world.swept()
    terminal.clients["organizations"] = Organizations()


@pytest.fixture
def account(terminal: Terminal, desk: Desk) -> Account:
    return Account(terminal, desk)


@pytest.fixture
def told(terminal: Terminal, tmp_path: Path) -> str:
    """The file that the hub's people made."""
    file = tmp_path / "hub.json"
    file.write_text(terminal("spoke", "parameters").stdout)
    return str(file)


# ---- parameters ----


def test_what_a_spoke_has_to_know_is_json_as_cloudformation_takes_it(terminal: Terminal) -> None:
    printed = terminal("spoke", "parameters").stdout
    assert {each["ParameterKey"]: each["ParameterValue"] for each in json.loads(printed)} == PARAMETERS
    assert terminal("spoke", "parameters", "--output", "json").stdout == printed
    template = read_template((ROOT / "spoke.yaml").read_text())
    declared = template["Parameters"]
    assert template["Description"].startswith(SPOKE), "by which a spoke's stack differs from a hub's"
    required = {name for name, each in declared.items() if "Default" not in each}
    assert required - PARAMETERS.keys() == {"HomeRegion"}
    assert PARAMETERS.keys() <= declared.keys()


def test_stack_sets_need_the_home_region_and_all_regions_and_operators_may_read(terminal: Terminal) -> None:
    asked = ("spoke", "parameters", "--reader", OPERATORS, "--reader", AUDITORS, "--home-region", HOME)
    alone, ran = terminal(*asked), terminal(*asked, "--regions", f"{HOME},{OTHER}")
    values = {each["ParameterKey"]: each["ParameterValue"] for each in json.loads(ran.stdout)}
    operators = f"{OPERATORS},{AUDITORS}"
    assert values == {**PARAMETERS, "HomeRegion": HOME, "Regions": f"{HOME},{OTHER}", "OtherReaders": operators}
    assert (ran.stderr, f"may change instances in {HOME} alone" in alone.stderr) == ("", True)


def test_readers_that_do_not_fit_a_trust_policy_are_refused_before_anything_changes(
    terminal: Terminal, account: Account, told: str
) -> None:
    """Of IAM Identity Center, whose ARNs are long."""
    folder = f"arn:aws:iam::{ACCOUNT}:role/aws-reserved/sso.amazonaws.com/eu-west-1"
    readers = [f"{folder}/AWSReservedSSO_Operators{number:02}_0123456789abcdef" for number in range(20)]
    fits = max(number for number in range(21) if longest_trust(readers[:number]) <= 2_048)
    assert 5 < fits < 20

    def given(number: int) -> list[str]:
        return [word for each in readers[:number] for word in ("--reader", each)]

    deploy = ("spoke", "deploy", "--hub", told, "--region", HOME, "--yes")
    for line in (("spoke", "parameters"), (*deploy, "--dry-run")):
        assert terminal(*line, *given(fits)).exit_code == 0
    before = [*account.stacks[HOME].calls]
    for number in (fits + 1, 20):
        for refused in (("spoke", "parameters"), deploy):
            ran = terminal(*refused, *given(number))
            assert (ran.exit_code, "characters, and IAM takes 2,048" in ran.stderr) == (252, True), ran.stderr
    assert account.stacks[HOME].calls == before


def longest_trust(readers: list[str]) -> int:
    given = {**PARAMETERS, "HomeRegion": HOME, "OtherReaders": ",".join(readers)}
    made = deployment(translated("spoke.yaml"), Place(SPOKES_ACCOUNT, HOME), **given)
    trusts = [each["Properties"].get("AssumeRolePolicyDocument") for each in made.resources.values()]
    return max(len(json.dumps(each, separators=(",", ":"))) for each in trusts)


def test_a_unit_is_told_with_those_above_it_where_the_caller_may_ask(terminal: Terminal) -> None:
    made = terminal.clients["organizations"]
    made.above = {UNIT: "ou-a1b2-d4e5f6a7", "ou-a1b2-d4e5f6a7": "r-a1b2"}
    path = f"r-a1b2/ou-a1b2-d4e5f6a7/{UNIT}"
    for given in (UNIT, path):
        ran = terminal("spoke", "parameters", "--unit", given)
        assert {"ParameterKey": "OrganizationalUnit", "ParameterValue": path} in json.loads(ran.stdout)
        assert ran.stderr == ""


# ---- deploy ----


def test_a_first_spoke_is_shown_asked_about_and_deployed(terminal: Terminal, account: Account, told: str) -> None:
    ran = terminal.types("y\n", "spoke", "deploy", "--hub", told, "--region", HOME)
    assert ran.exit_code == 0, ran.output
    stack = account.stacks[HOME]
    assert stack.calls == ["create_change_set", "execute_change_set"]
    created = stack.asked("create_change_set")
    assert created["Capabilities"] == ["CAPABILITY_NAMED_IAM"]
    assert created["TemplateBody"] == (ROOT / "spoke.yaml").read_text()
    assert len(created["TemplateBody"].encode()) < 51_200, "CloudFormation's limit"
    assert account.asked(HOME) == {**PARAMETERS, "HomeRegion": HOME, "Regions": HOME}
    assert account.iam.asked == ["rolekeeper-reader"]


def test_the_home_region_comes_first_wherever_it_is_named(terminal: Terminal, account: Account, told: str) -> None:
    line = ("spoke", "deploy", "--hub", told, "--region", OTHER, "--region", HOME, "--home-region", HOME, "--yes")
    assert [each["region"] for each in terminal.document(*line)] == [HOME, OTHER]
    assert account.asked(OTHER)["HomeRegion"] == HOME
    assert {account.asked(each)["Regions"] for each in (HOME, OTHER)} == {f"{HOME},{OTHER}"}


def test_one_more_region_is_deployed_with_the_one_of_the_roles_which_learn_of_it(
    terminal: Terminal, account: Account, told: str
) -> None:
    account.deployed(HOME, Regions=f"{HOME},ap-south-1")
    ran = terminal("spoke", "deploy", "--hub", told, "--region", OTHER, "--yes")
    assert (ran.exit_code, account.stacks[OTHER].calls) == (252, []), ran.output
    assert f"the account's roles are in {HOME}, and don't let the hub act in {OTHER} yet" in ran.stderr
    assert f"--region {HOME} --region {OTHER}" in ran.stderr
    ran = terminal("spoke", "deploy", "--hub", told, "--region", OTHER, "--region", HOME, "--yes")
    assert ran.exit_code == 0, ran.output
    assert account.asked(OTHER)["HomeRegion"] == HOME
    assert account.asked(HOME)["Regions"] == f"ap-south-1,{HOME},{OTHER}", "with what is deployed elsewhere"


def test_a_region_that_the_roles_know_is_deployed_alone_and_one_that_went_is_left_out(
    terminal: Terminal, account: Account, told: str
) -> None:
    account.deployed(HOME, OTHER)
    assert terminal("spoke", "deploy", "--hub", told, "--region", OTHER, "--yes").exit_code == 0
    assert account.stacks[HOME].calls == []
    account.stacks[OTHER].calls.clear()
    assert terminal("spoke", "deploy", "--region", HOME, "--regions", HOME, "--yes").exit_code == 0
    assert account.asked(HOME)["Regions"] == HOME


def test_roles_that_dont_say_where_they_were_made_have_to_be_told(
    terminal: Terminal, account: Account, told: str
) -> None:
    account.iam.reader = {}
    ran = terminal("spoke", "deploy", "--hub", told, "--region", OTHER, "--yes")
    assert ran.exit_code == 253
    assert "the account has the role rolekeeper-reader already" in ran.stderr
    named = ("--home-region", HOME, "--regions", f"{HOME},{OTHER}")
    assert terminal("spoke", "deploy", "--hub", told, "--region", OTHER, *named, "--yes").exit_code == 0
    assert account.asked(OTHER)["HomeRegion"] == HOME


@pytest.mark.parametrize(
    ("own", "said"), [("o-another000", "is in the organization o-another000"), ("", "no organization")]
)
def test_an_account_outside_of_the_organization_is_refused(
    terminal: Terminal, account: Account, told: str, own: str, said: str
) -> None:
    account.organizations.id = own
    ran = terminal("spoke", "deploy", "--hub", told, "--region", HOME, "--yes")
    assert ran.exit_code == 253
    assert said in ran.stderr
    assert "the hub looks after o-example0000" in ran.stderr
    assert account.stacks[HOME].calls == []


def test_one_who_may_not_ask_for_the_organization_deploys(terminal: Terminal, account: Account, told: str) -> None:
    account.organizations.refuses = "AccessDeniedException"
    assert terminal("spoke", "deploy", "--hub", told, "--region", HOME, "--yes").exit_code == 0


def test_what_is_deployed_stays_but_for_what_is_given(terminal: Terminal, account: Account) -> None:
    account.deployed(HOME, version="0.0.9")
    ran = terminal("spoke", "deploy", "--region", HOME, "--take-over", "true", "--yes")
    assert ran.exit_code == 0, ran.output
    kept = dict.fromkeys(PARAMETERS)
    assert account.asked(HOME) == {**kept, "TakeOver": "true", "HomeRegion": HOME, "Regions": HOME}
    assert f"version 0.0.9 is deployed, and would be {VERSION}" in ran.stderr
    assert "TakeOver true (was false)" in lines(ran.stdout)


def test_what_the_account_allows_the_hub_stays_whatever_the_hub_would_like(
    terminal: Terminal, account: Account, told: str
) -> None:
    account.deployed(HOME, CreateMissingProfiles="false", TakeOver="false")
    terminal.parameters["TakeOver"] = "true"
    for hub in (("--hub", told), ("--hub-profile", "hub")):
        ran = terminal("spoke", "deploy", *hub, "--region", HOME, "--yes")
        assert ran.exit_code == 0, ran.output
        found = account.stacks[HOME].parameters
        assert (found["TakeOver"], found["CreateMissingProfiles"]) == ("false", "false")
        assert "keeps CreateMissingProfiles=false, and the hub has true: --create-missing-profiles true" in ran.stderr
        assert ("keeps TakeOver=false, and the hub has true: --take-over true" in ran.stderr) is ("--hub" not in hub)
    line = ("spoke", "deploy", "--hub-profile", "hub", "--region", HOME, "--take-over", "true", "--yes")
    assert terminal(*line).exit_code == 0
    assert account.stacks[HOME].parameters["TakeOver"] == "true"


def test_an_account_asks_for_its_events_itself_or_by_the_hubs_file(
    terminal: Terminal, account: Account, tmp_path: Path
) -> None:
    file = tmp_path / "web.json"
    file.write_text(terminal("spoke", "parameters", "--events-to-account", "true").stdout)
    assert terminal("spoke", "deploy", "--hub", str(file), "--region", HOME, "--yes").exit_code == 0
    assert account.asked(HOME)["EventsToAccount"] == "true"


def test_a_newer_version_stays(terminal: Terminal, account: Account) -> None:
    account.deployed(HOME, version="99.0.0")
    ran = terminal("spoke", "deploy", "--region", HOME, "--yes")
    assert (ran.exit_code, "version 99.0.0 is deployed, which is newer" in ran.stderr) == (1, True)
    assert terminal("spoke", "deploy", "--region", HOME, "--yes", "--allow-downgrade").exit_code == 0


@pytest.mark.parametrize(
    ("version", "said"), [(VERSION, ""), ("0.0.1", "upgrade the hub"), ("9.0.0", "upgrade this command")]
)
def test_a_hub_of_another_version_is_pointed_at(terminal: Terminal, account: Account, version: str, said: str) -> None:
    terminal.outputs["Version"] = version
    ran = terminal("spoke", "deploy", "--hub-profile", "hub", "--region", HOME, "--dry-run")
    assert account.stacks[HOME].calls, ran.output
    assert (said in ran.stderr) if said else ("Warning" not in ran.stderr)


def test_a_stack_of_that_name_that_is_no_spoke_is_left_alone(terminal: Terminal, account: Account, told: str) -> None:
    account.deployed(HOME)
    account.stacks[HOME].description = "Rolekeeper. Tag an EC2 instance, and it gets the role."
    for line in (("deploy", "--hub", told), ("remove",)):
        ran = terminal("spoke", *line, "--region", HOME, "--yes")
        assert (ran.exit_code, "isn't a spoke of Rolekeeper" in ran.stderr) == (253, True)
    assert account.stacks[HOME].calls == []


# ---- remove ----


@pytest.fixture
def carries(desk: Desk) -> str:
    """An instance of the spoke's account that carries a managed role."""
    world = desk.world
    arn = f"arn:aws:iam::{SPOKES_ACCOUNT}:instance-profile/rolekeeper/web"
    world.profile("web")
    world.profiles["web"] = replace(world.profiles["web"], arn=arn)
    instance = world.running(Name="web-1")
    world.attach_by_hand(instance, "web")
    return instance


def test_the_roles_go_last(terminal: Terminal, account: Account, carries: str, monkeypatch: pytest.MonkeyPatch) -> None:
    account.deployed(HOME, OTHER)
    order: list[str] = []
    delete_stack = FakeCloudFormation.delete_stack

    def delete(stack: FakeCloudFormation, **given: Any) -> None:
        order.append(HOME if stack is account.stacks[HOME] else OTHER)
        delete_stack(stack, **given)

    monkeypatch.setattr(FakeCloudFormation, "delete_stack", delete)
    documents = terminal.document("spoke", "remove", "--region", HOME, "--region", OTHER, "--yes")
    assert order == [OTHER, HOME]
    assert documents == [
        {"region": OTHER, "outcome": "removed", "carrying": [carries]},
        {"region": HOME, "outcome": "removed", "carrying": [carries]},
    ]


def test_with_the_hubs_profile_the_hub_forgets_it(terminal: Terminal, account: Account, desk: Desk) -> None:
    account.deployed(HOME, OTHER)
    store = desk.world.store
    for region in (HOME, OTHER):
        key = layout.target_key(Target(SPOKES_ACCOUNT, region))
        store.write(store.put({**layout.key_attributes(key), "version": VERSION}))
    ran = terminal("spoke", "remove", "--region", OTHER, "--hub-profile", "hub", "--yes")
    assert ran.exit_code == 0, ran.output
    assert [each["region"] for each in terminal.document("targets")] == [REGION, HOME]
    assert "targets forget" not in ran.stderr


def test_a_deletion_that_fails_is_told_and_goes_no_further(terminal: Terminal, account: Account) -> None:
    account.deployed(HOME, OTHER)
    account.stacks[OTHER].ends = "DELETE_FAILED"
    account.stacks[OTHER].failures = [("StateRule", "AWS::Events::Rule", "no")]
    ran = terminal("spoke", "remove", "--region", HOME, "--region", OTHER, "--yes")
    assert ran.exit_code == 254
    assert f"the deletion in {OTHER} failed (DELETE_FAILED): StateRule (AWS::Events::Rule): no" in ran.stderr
    assert account.stacks[HOME].calls == []
