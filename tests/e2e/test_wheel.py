"""The wheel alone, where there is no clone, git, make or SAM CLI: from nothing to a role, and the life of a deployment.

The tests follow each other.
"""

import json
import re
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from fixtures.command import Command
from fixtures.wheel import Running
from rolekeeper_local.account import EmulatedAccount
from rolekeeper_local.embedded import STACK, EmbeddedAws
from rolekeeper_local.spokes import register
from support.pages import ROOT, Shell, bash_blocks, blocks
from support.ports import free_port
from support.waiting import eventually, stays

pytestmark = pytest.mark.emulator


def test_the_demo_of_it_comes_true(running: Running, tmp_path: Path) -> None:
    alone = Command({**running.installed.env, "TMPDIR": str(tmp_path)}, running.installed.command)
    story = alone("demo", "--console", "--port", str(free_port()), seconds=240).stdout
    assert "Every step came true" in story
    assert re.search(r"open the console in a browser, .*: http://\w+\.localhost:\d+/enter/", story)
    assert "median" in story
    assert "✗" not in story
    assert "\x1b" not in story, "colour belongs on a terminal only"
    assert list(tmp_path.iterdir()) == [], "it leaves nothing behind"


def test_two_commands_lead_to_the_first_role(running: Running, tmp_path: Path) -> None:
    """Those two install the wheel and start the embedded AWS, which says what to type next: it is pasted."""
    world = EmulatedAccount(running.aws)
    _progress, block, _end = running.next_steps.split("\n\n")
    said = running.shell(tmp_path)(block)
    [running.instance] = [each["InstanceId"] for each in world.fleet()]
    assert world.carries(running.instance, "s3-read")
    assert f"{running.instance} (web-1) carries s3-read." in said
    assert re.search(rf"^{running.instance} .* ok$", said, re.MULTILINE), "of fleet"
    assert "it carries role s3-read, as app=web asks" in said, "of explain"
    # The stories that follow are about a role of the person's.
    world.make_role("web")
    running.rolekeeper("mapping", "set", "app=web", "role=web")
    eventually(lambda: world.carries(running.instance, "web"))


def test_what_the_commands_read_is_packed_with_them(running: Running) -> None:
    assert json.loads(running.rolekeeper("schema").stdout)["properties"]["mappings"]
    guard = running.rolekeeper("guard", "scp-tags", "--except", "arn:aws:iam::123456789012:role/admin").stdout
    assert "app" in json.dumps(json.loads(guard)["Statement"])
    eventually(lambda: {each["level"] for each in running.rolekeeper.json("doctor")["findings"]} == {"ok", "warn"})


def test_an_upgrade_to_the_same_version_changes_nothing(running: Running, tmp_path: Path) -> None:
    shell = running.shell(tmp_path)
    shell.export(running.aws.env)
    said = shell.at_a_terminal("bracketed", "README.md")(blocks("README.md")[-1])
    assert f"version {version('rolekeeper')} is deployed" in said
    assert "Nothing would change" in said
    assert ", 0 failed" in said


def test_a_deployment_that_fails_says_why_and_leaves_what_there_was(running: Running) -> None:
    """It says both a day of the month and a day of the week, which EventBridge alone refuses."""
    before = running.parameters
    said = running.rolekeeper("deploy", "--yes", "--sweep-schedule", "cron(0 * * * * *)", code=254).stderr
    [error] = [line for line in said.splitlines() if line.startswith("Error: ")]
    assert "UPDATE_ROLLBACK_COMPLETE" in error
    assert "OnScheduleSweep (AWS::Events::Rule): Parameter ScheduleExpression is not valid." in error
    assert running.parameters == before
    assert EmulatedAccount(running.aws).carries(running.instance, "web")


# ---- it becomes a hub, and is left by its first spoke: docs/organization.md, typed ----

PAGE, WEB = bash_blocks("docs/organization.md"), "222222222222"


@pytest.fixture(scope="module")
def shell(running: Running, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A terminal with the installed command and a profile of each account; `hub.json` is in its own folder."""
    home = tmp_path_factory.mktemp("home")
    (home / ".aws").mkdir()
    profiles = {"hub": ("000000000000", "us-east-1"), "web": (WEB, "eu-west-1")}
    (home / ".aws/config").write_text(
        "\n".join(
            f"[profile {profile}]\naws_access_key_id={account}\naws_secret_access_key=any\nregion={region}"
            f"\nendpoint_url={running.aws.endpoint}"
            for profile, (account, region) in profiles.items()
        )
    )
    made = running.shell(home)
    made(f'export PATH="$PATH:{ROOT / ".venv/bin"}"')  # for the AWS CLI
    return made


def kept(running: Running) -> dict[str, Any]:
    """What a deployment has of its instance and its mapping: in EC2, in its tables, and as the command shows it."""
    world, document = EmulatedAccount(running.aws), running.rolekeeper.json
    row = world.mapping("app", "web")
    pages = world.dynamodb.get_paginator("scan").paginate(TableName=world.state_table)
    items = [item for page in pages for item in page["Items"]]
    return {
        "association": world.shown(running.instance),
        # Without what the last sweep counted.
        "row": {name: value for name, value in row.items() if name not in ("matched", "occupied")},
        "mapping history": document("mapping", "history", "app=web"),
        "history": document("history", running.instance),
        "pin": document("explain", running.instance, "--no-who")["pin"],
        "stored": [each for each in items if each["pk"]["S"].startswith(("instance#", "mapping#"))],
    }


def test_a_deployment_that_becomes_a_hub_keeps_all_that_it_has(running: Running, shell: Shell) -> None:
    world = EmulatedAccount(running.aws)
    world.make_role("other")
    running.rolekeeper("replace", running.instance, "other", "--for", "8h", "--reason", "incident 42", "--yes")
    eventually(lambda: world.carries(running.instance, "other"))
    before = kept(running)
    assert all(before.values())
    shell.at_a_terminal("plain", "docs/organization.md")(PAGE[0])
    running.rolekeeper("sweep")
    assert kept(running) == before
    running.rolekeeper("release", running.instance)
    eventually(lambda: world.carries(running.instance, "web"))


def test_the_organizations_page_can_be_typed_from_the_first_spoke_to_its_end(
    running: Running, shell: Shell, tmp_path: Path
) -> None:
    shell = shell.at_a_terminal("plain", "docs/organization.md")
    hub, first, look, units, events, leave = (each.replace("hub.json", str(tmp_path / "hub.json")) for each in PAGE)
    spokes = [EmulatedAccount(running.aws, WEB, region) for region in ("us-east-1", "eu-west-1")]
    shell(hub)
    shell(first)
    spokes[0].make_role("web")
    register(running.aws, spokes)
    EmulatedAccount(running.aws).sweep()
    instances = {world: world.launch("spoke", app="web") for world in spokes}
    for world, instance in instances.items():
        eventually(partial(world.carries, instance, "web"))
    assert WEB in shell(look)
    assert WEB in shell(units)
    shell(events)
    assert running.rolekeeper.json("targets", "--missing", "--regions", "us-east-1,eu-west-1")
    shell(leave)
    assert WEB not in {each["account"] for each in running.rolekeeper.json("targets")}
    for world, instance in instances.items():
        world.untag(instance, "app")
    stays(lambda: all(world.carries(each, "web") for world, each in instances.items()))  # what they carry is kept


def test_destroying_exports_detaches_and_keeps_the_tables(running: Running, tmp_path: Path) -> None:
    world, file = EmulatedAccount(running.aws), tmp_path / "mappings.yaml"
    running.rolekeeper("destroy", code=252)
    running.rolekeeper("destroy", "--confirm", "another", code=252)
    assert world.carries(running.instance, "web"), "nothing happens without the name"
    line = ["destroy", "--export", str(file), "--detach", "--confirm", STACK]
    said = running.rolekeeper(*line)
    assert "1 instance with a managed role" in said.stdout
    assert world.mapping_table in said.stdout
    assert {"tag_key": "app", "tag_value": "web", "role": "web"} in yaml.safe_load(file.read_text())["mappings"]
    eventually(lambda: world.shown(running.instance) is None)
    assert world.mapping("app", "web")["status"] == "Published", "the table is there, with its rows"
    running.rolekeeper("doctor", code=253)


def test_a_new_deployment_gives_a_role_by_the_exported_mappings(running: Running, tmp_path: Path) -> None:
    rolekeeper, file = running.rolekeeper, tmp_path / "mappings.yaml"
    document = rolekeeper.json("deploy", "--yes", "--mode", "enforce")
    assert {each["action"] for each in document["changes"]} == {"Add"}
    assert private_encrypted_and_over_tls_only(running.aws)
    rolekeeper("sweep")
    file.write_text(yaml.safe_dump({"mappings": [{"tag_key": "app", "tag_value": "web", "role": "web"}]}))
    rolekeeper("plan", "-f", str(file), "--out", str(tmp_path / "change.plan"))
    rolekeeper("apply", str(tmp_path / "change.plan"))
    world = EmulatedAccount(running.aws)
    made = world.launch("second", app="web")
    eventually(partial(world.carries, made, "web"))


def private_encrypted_and_over_tls_only(aws: EmbeddedAws) -> Any:
    """Whether the one bucket that was made is."""
    s3 = aws.session().client("s3")
    [bucket] = [each["Name"] for each in s3.list_buckets()["Buckets"]]
    public = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    [rule] = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    policy = s3.get_bucket_policy(Bucket=bucket)["Policy"]
    encrypted = rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    return set(public.values()) == {True} and encrypted and "aws:SecureTransport" in policy
