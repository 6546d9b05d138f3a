"""The wheel alone, where there is no clone, git, make or SAM CLI: from nothing to a role, and the life of a deployment.

The tests follow each other.
"""

import time
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from fixtures.wheel import Running, build
from rolekeeper_local.account import EmulatedAccount
from rolekeeper_local.embedded import STACK, EmbeddedAws
from support.waiting import eventually

pytestmark = pytest.mark.emulator


def test_the_same_sources_give_the_same_bytes(wheel: Path, tmp_path: Path) -> None:
    assert build(tmp_path).read_bytes() == wheel.read_bytes()


def test_two_commands_lead_to_the_first_role_within_two_minutes(running: Running) -> None:
    """Those two install the wheel and start the embedded AWS; what follows is Rolekeeper's use."""
    began, world = time.monotonic(), EmulatedAccount(running.aws)
    world.make_role("web")
    running.rolekeeper("mapping", "set", "app=web", "role=web")
    running.instance = world.launch("first", app="web")
    eventually(lambda: world.carries(running.instance, "web"), 40)
    assert running.ready_after + time.monotonic() - began < 120


def test_an_upgrade_to_the_same_version_changes_nothing(running: Running) -> None:
    said = running.rolekeeper("upgrade", "--yes")
    assert f"version {version('rolekeeper')} is deployed" in said.stderr
    assert "Nothing would change" in said.stderr


def test_any_text_comes_back_from_a_file(running: Running, tmp_path: Path) -> None:
    world, file = EmulatedAccount(running.aws), tmp_path / "mappings.yaml"
    world.put_mapping("app", "lines", role="web", description="one\rtwo\nthree")
    eventually(lambda: world.mapping_status("app", "lines", "Published"))
    running.rolekeeper("mapping", "export", "-o", str(file))
    running.rolekeeper("mapping", "diff", str(file), "--detailed-exitcode")
    running.rolekeeper("mapping", "rm", "app=lines", "--yes")


def test_a_deployment_that_fails_says_why_and_leaves_what_there_was(running: Running) -> None:
    """It says both a day of the month and a day of the week, which EventBridge alone refuses."""
    before = running.parameters
    said = running.rolekeeper("deploy", "--yes", "--sweep-schedule", "cron(0 * * * * *)", code=254).stderr
    [error] = [line for line in said.splitlines() if line.startswith("Error: ")]
    assert "UPDATE_ROLLBACK_COMPLETE" in error
    assert "OnScheduleSweep (AWS::Events::Rule): Parameter ScheduleExpression is not valid." in error
    assert running.parameters == before
    assert EmulatedAccount(running.aws).carries(running.instance, "web")


def test_destroying_exports_detaches_and_keeps_the_tables(running: Running, tmp_path: Path) -> None:
    world, file = EmulatedAccount(running.aws), tmp_path / "mappings.yaml"
    running.rolekeeper("destroy", code=252)
    running.rolekeeper("destroy", "--confirm", "another", code=252)
    assert world.carries(running.instance, "web"), "nothing happens without the name"
    line = ["destroy", "--export", str(file), "--detach", "--confirm", STACK]
    said = running.rolekeeper(*line)
    assert "1 carry a managed role" in said.stdout
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
    rolekeeper("mapping", "import", str(file), "--yes")
    world = EmulatedAccount(running.aws)
    made = world.launch("second", app="web")
    eventually(partial(world.carries, made, "web"), 40)


def private_encrypted_and_over_tls_only(aws: EmbeddedAws) -> Any:
    """Whether the one bucket that was made is."""
    s3 = aws.session().client("s3")
    [bucket] = [each["Name"] for each in s3.list_buckets()["Buckets"]]
    public = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    [rule] = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    policy = s3.get_bucket_policy(Bucket=bucket)["Policy"]
    encrypted = rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    return set(public.values()) == {True} and encrypted and "aws:SecureTransport" in policy
