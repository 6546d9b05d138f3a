"""Lists and suggestions, as a person at a terminal has them; EC2 and the tables say what is right."""

import csv
import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from botocore.exceptions import ClientError

from fixtures.command import Command
from rolekeeper_local.account import EmulatedAccount
from support.waiting import eventually

pytestmark = pytest.mark.emulator

FOREIGN = "a-foreign-role-with-a-long-name"
LONG = "web-frontend-for-the-production-environment"


@pytest.fixture(scope="module")
def rolekeeper(deployed: EmulatedAccount) -> Command:
    return Command(deployed.aws.env)


@pytest.fixture(scope="module")
def fleet(deployed: EmulatedAccount) -> Iterator[list[str]]:
    """Three instances: one as it should be, one with a foreign role, one that no mapping is for."""
    deployed.make_role(FOREIGN, path="/")
    fine = deployed.launch(f"{LONG}-1", workload="s3-reader", lists="yes")
    blocked = eventually(lambda: launched_with(deployed, FOREIGN))
    alone = deployed.launch("alone", lists="yes")
    ids = [fine, blocked, alone]
    eventually(lambda: all(deployed.state(each) == "running" for each in ids))
    eventually(lambda: deployed.carries(fine, "s3-read"))
    eventually(lambda: deployed.condition(blocked, "occupied"))
    yield ids
    deployed.ec2.terminate_instances(InstanceIds=ids)


def launched_with(deployed: EmulatedAccount, profile: str) -> str:
    """An instance that was launched with a role; nothing while EC2 doesn't know the new profile yet."""
    try:
        return deployed.launch(f"{LONG}-2", profile=profile, workload="s3-reader", lists="yes")
    except ClientError as error:
        if error.response["Error"]["Code"] != "InvalidParameterValue":
            raise
        return ""


def test_at_80_columns_and_wide_the_fleet_is_what_ec2_says(
    rolekeeper: Command, deployed: EmulatedAccount, fleet: list[str]
) -> None:
    line = ("fleet", "--tag", "lists=yes")
    head, *lines = rolekeeper.sees(80, *line)
    assert head.split() == ["INSTANCE", "NAME", "STATE", "CARRIES", "SHOULD", "CARRY", "STANDS"]
    assert max(map(len, [head, *lines])) <= 80
    rows = {each.split()[0]: each.split() for each in lines if each.startswith("i-")}
    assert sorted(rows) == sorted(fleet), "every id is whole"
    for each in fleet:
        assert deployed.state(each) in rows[each]
    assert [rows[each][-1] for each in fleet] == ["ok", "blocked", "ok"]
    notes = [each for each in lines if each.startswith("  it carries the foreign")]
    assert len(notes) == 1, "only what isn't fine has a reason"
    assert lines[-2:] == ["3 instances: 2 ok, 1 blocked.", "What to do about one: rolekeeper explain INSTANCE"]

    shown = deployed.carries(fleet[0], "s3-read")
    assert shown
    wide = {each.split()[0]: each for each in rolekeeper(*line, "-o", "wide").stdout.splitlines()}
    assert {"workload=s3-reader", shown.association_id, f"{LONG}-1"} <= set(wide[fleet[0]].split())
    assert rolekeeper.sees(200, *line)[0].split()[-1] == "REASON"
    assert rolekeeper(*line).stdout.splitlines()[0].split()[-1] == "REASON", "in a pipe a line is a row"


def test_mappings_and_histories_keep_their_keys_whole(rolekeeper: Command, fleet: list[str]) -> None:
    lines = rolekeeper.sees(80, "mapping", "ls")
    keys = {each["mapping"]: each for each in rolekeeper.json("mapping", "ls")}
    assert {each.split()[0] for each in lines[1:-1] if not each.startswith(" ")} == set(keys)
    assert lines[-1].startswith(f"{len(keys)} mappings: ")
    for words in (["history", fleet[0]], ["mapping", "history", "workload=s3-reader"]):
        shown = rolekeeper.sees(80, *words)
        assert max(map(len, shown)) <= 80
        assert all(each[19] == "Z" for each in shown if each.startswith("20")), "every time is whole"


def test_every_form_of_data_says_the_same(rolekeeper: Command, fleet: list[str]) -> None:
    line = ("fleet", "--tag", "lists=yes", "-o")
    documents = rolekeeper.json(*line[:-1])
    assert yaml.safe_load(rolekeeper(*line, "yaml").stdout) == documents
    rows = list(csv.DictReader(rolekeeper(*line, "csv").stdout.splitlines()))
    assert [list(row) for row in rows] == [list(each) for each in documents]
    assert [json.loads(row["tags"]) for row in rows] == [each["tags"] for each in documents]

    # A decision is the same in the log and in the history.
    history = rolekeeper.json("history", fleet[0])
    watch = ("watch", "--instance", fleet[0], "--since", "1h", "--for", "1s", "-o", "json")

    def watched() -> list[Any]:
        found = [json.loads(each) for each in rolekeeper(*watch).stdout.splitlines()]
        return [each for each in found if each["action"] == "Attach"]

    [decision] = eventually(watched)
    [attached] = [each for each in history if each["action"] == "Attach"]
    assert list(decision) == list(attached)
    assert {**decision, "at": ""} == {**attached, "at": ""}
    assert len(decision["at"]) == len(attached["at"])


def test_nothing_to_show_says_so_and_what_is_unknown_is_an_error(rolekeeper: Command, fleet: list[str]) -> None:
    del fleet
    done = rolekeeper("fleet", "--tag", "lists=yes", "--state", "stopped")
    assert (done.stdout, done.stderr.startswith("No instance passes these filters: of 3 in account")) == ("", True)
    assert "No mapping is Held. Of " in rolekeeper("mapping", "ls", "--status", "held").stderr
    for words, said in {
        ("mapping", "ls", "--status", "Bogus"): "'Bogus' is none of Published, Expired, Rejected",
        ("fleet", "--role", "s3-raed"): "there is no role 's3-raed'\n  did you mean s3-read?",
        ("fleet", "--role", "nosuch"): "there is no role 'nosuch'",
        ("fleet", "--mapping", "workload=s3-raeder"): "did you mean workload=s3-reader?",
        ("mapping", "ls", "--role", "web"): "No such option '--role'.\n",
        ("fleet", "--regoin", "x"): "Did you mean '--region'?",
    }.items():
        done = rolekeeper(*words, code=252)
        assert (done.stdout, said in done.stderr) == ("", True), done.stderr
    assert "foreign" in rolekeeper("fleet", "--role", FOREIGN, "-o", "json").stdout


def test_a_slip_in_a_role_is_answered_with_the_role(rolekeeper: Command, deployed: EmulatedAccount) -> None:
    try:
        said = rolekeeper("mapping", "set", "lists=slip", "role=s3-raed", code=1).stderr
        assert "lists=slip is Rejected: role 's3-raed' doesn't exist" in said
        assert "did you mean s3-read? rolekeeper mapping set lists=slip role=s3-read" in said
        rolekeeper(*said.rpartition("did you mean s3-read? rolekeeper ")[2].split())
        assert deployed.mapping("lists", "slip")["role"] == "s3-read"
    finally:
        deployed.delete_mapping("lists", "slip")


def test_a_column_is_explained_and_debug_says_what_aws_is_asked(rolekeeper: Command, deployed: EmulatedAccount) -> None:
    assert rolekeeper.json("schema", "when_stopped")["default"] == "wait"
    assert "means       The lowest number wins" in rolekeeper("schema", "priority").stdout
    said = rolekeeper("mapping", "ls", "--debug").stderr
    assert "debug: cloudformation DescribeStacks" in said
    assert f'debug: dynamodb Scan {{"TableName": "{deployed.mapping_table}"' in said
    assert "debug: dynamodb Scan → 200 in " in said
