"""Every command of `rolekeeper`, with the real SDK against the embedded AWS, and what it says in JSON."""

import json
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner
from tools.reference import commands

from fixtures.command import COMMAND, Command
from rolekeeper_cli.command import Group
from rolekeeper_cli.main import cli
from rolekeeper_local.account import EmulatedAccount
from support.fleets import launch_many
from support.waiting import eventually

pytestmark = pytest.mark.emulator

# They have stories of their own: below, and in test_wheel.py, test_organization.py and test_console*.py.
_NAMES = [
    *("watch", "deploy", "upgrade", "destroy", "local", "demo", "console"),
    *("spoke parameters", "spoke deploy", "spoke remove", "targets forget"),
]
ELSEWHERE = {f"rolekeeper {name}" for name in _NAMES}
KEY = "every=a"
MANY = 26  # one more than may change without approval


class Told:
    """Runs commands in this process, which has what each would import again, and notes which ones ran."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._runner = CliRunner(env=env)
        self.ran: set[str] = set()

    def __call__(self, *line: str, code: int = 0) -> Any:
        """Run it; the document that it wrote, or what it said where that is none."""
        node: click.Command = cli
        path = ["rolekeeper"]
        for word in line:
            if not isinstance(node, Group):
                break
            node = node.all()[word]
            path.append(word)
        self.ran.add(" ".join(path))
        done = self._runner.invoke(cli, [*line, "--output", "json"], prog_name="rolekeeper")
        assert done.exit_code == code, f"{' '.join(line)}: {done.output}"
        return json.loads(done.stdout) if done.stdout else done.stdout


@pytest.fixture(scope="module")
def rolekeeper(deployed: EmulatedAccount) -> Command:
    return Command(deployed.aws.env)


@pytest.fixture
def told(deployed: EmulatedAccount) -> Told:
    return Told(deployed.aws.env)


@pytest.fixture
def instance(deployed: EmulatedAccount) -> Iterator[str]:
    """An instance that no mapping is for."""
    made = deployed.launch("every-command")
    eventually(lambda: deployed.state(made) == "running")
    yield made
    deployed.ec2.terminate_instances(InstanceIds=[made])


def roles_of(deployed: EmulatedAccount) -> set[str]:
    """The ARNs of all roles of the account, as IAM says them."""
    pages = deployed.aws.session().client("iam").get_paginator("list_roles").paginate()
    return {role["Arn"] for page in pages for role in page["Roles"]}


def mappings_are_edited(told: Told, file: Path) -> dict[str, Any]:
    """Write, read and roll back a mapping; returns its row as the file has it."""
    said = told("mapping", "set", KEY, "role=s3-read")
    assert said["changes"][0]["kind"] == "new"
    said = told("mapping", "get", KEY)
    assert said["status"] == "Published"
    assert KEY in str(told("mapping", "ls"))
    told("mapping", "export", "-o", str(file))
    document = yaml.safe_load(file.read_text())
    [row] = [row for row in document["mappings"] if row["tag_key"] == "every"]
    row["owner"] = "somebody"
    file.write_text(yaml.safe_dump(document))
    fine = {"mappings": len(document["mappings"]), "warnings": []}
    assert told("mapping", "validate", str(file)) == fine
    said = told("mapping", "diff", str(file), "--detailed-exitcode", code=2)
    owner = {"owner": {"from": "none", "to": "somebody"}}
    assert [each["columns"] for each in said["changes"]] == [owner]
    assert KEY in str(told("mapping", "import", str(file), "--yes"))
    assert "somebody" in str(told("mapping", "rollback", KEY, "--yes"))
    said = told("mapping", "history", KEY)
    assert [each["revision"] for each in said] == [3, 2, 1]
    assert "mappings" in str(told("schema"))
    edited: dict[str, Any] = row
    return edited


def a_plan_is_applied(told: Told, deployed: EmulatedAccount, instance: str, *, row: dict[str, Any], file: Path) -> None:
    plan = file.with_name("change.plan")
    deployed.tag(instance, every="a")
    eventually(lambda: deployed.carries(instance, "s3-read"))
    row["role"] = "s3-write"
    file.write_text(yaml.safe_dump({"mappings": [row]}))
    said = told("plan", "-f", str(file), "--instance", instance, "--out", str(plan), "--detailed-exitcode", code=2)
    assert said["changes"][0]["to"] == "s3-write"
    before = deployed.shown(instance)
    assert told("apply", str(plan))
    after = deployed.carries(instance, "s3-write")
    assert before
    assert after, "apply waited for it"
    assert after.association_id != before.association_id
    said = told("explain", instance)
    assert said["carries"]["association"] == after.association_id
    assert [(each["what"], each["about"]) for each in said["who"]] == [("tagged", "every=a")]
    said = told("history", "--limit", "2", instance)
    assert [each["action"] for each in said] == ["Replace", "Attach"]
    said = told("fleet", "--tag", "every=a")
    assert [each["stands"] for each in said] == ["ok"]
    said = told("wait", instance, "--role", "s3-write", "--every", "1")
    assert said["association"] == after.association_id


def roles_are_changed_by_hand(told: Told, deployed: EmulatedAccount, instance: str) -> None:
    told("detach", instance, "--confirm", "Detach")
    assert deployed.shown(instance) is None
    told("attach", instance, "s3-read")
    assert deployed.carries(instance, "s3-read")
    assert "s3-write" in str(told("replace", instance, "s3-write", "--for", "8h"))
    assert deployed.carries(instance, "s3-write")
    said = told("release", instance)
    assert said["released"] == "s3-write"


def the_deployment_is_operated(told: Told, deployed: EmulatedAccount) -> None:
    deployed.aws.session().client("sqs").purge_queue(QueueUrl=deployed.aws.stack_outputs()["DeadLetterQueue"])
    assert told("pause")["paused"] is True
    assert told("resume")["paused"] is False
    assert told("mode")["mode"] == "enforce"
    said = told("sweep")
    assert said["finished"] is True
    said = told("redrive", "--yes")
    assert said["letters"] == 0
    said = told("targets")
    assert (said[0]["state"], said[0]["hub"]) == ("well", True)
    said = told("doctor")
    assert said["summary"]


def guards_are_printed(told: Told, deployed: EmulatedAccount) -> None:
    assert told("guard")[0]["part"] == "scp-tags"
    excepted = ("--except", f"arn:aws:iam::{deployed.account}:role/admin")
    parts = {"scp-tags": excepted, "scp-path": excepted, "editors": (), "approvers": ()}
    documents = {part: told("guard", part, *options) for part, options in parts.items()}
    [tags, _] = documents["scp-tags"]["Statement"]
    assert "every" in tags["Condition"]["ForAnyValue:StringEquals"]["aws:TagKeys"]
    table = deployed.aws.stack_outputs()["MappingTable"]
    assert f":{deployed.account}:table/{table}" in json.dumps(documents["editors"])
    assert f":{deployed.account}:table/{table}" in json.dumps(documents["approvers"])
    functions = {role for role in roles_of(deployed) if re.search("OnMappingChangeRole|OnScheduleRole", role)}
    assert {role for role in roles_of(deployed) if role in json.dumps(documents["scp-path"])} == functions
    said = told("guard", "detection")
    own = {role for role in roles_of(deployed) if re.search("OnInstanceEventRole", role)}
    assert set(said["roles"]) == own


def roles_are_listed(told: Told) -> None:
    said = told("roles")
    assert "s3-read" in [each["role"] for each in said["roles"]]
    said = told("roles", "must-include", "AmazonSSMManagedInstanceCore", code=1)
    assert "s3-read" in [each["role"] for each in said]


def a_held_edit_is_discarded_and_approved(told: Told, deployed: EmulatedAccount) -> None:
    ids = launch_many(deployed, MANY, held="a")
    told("mapping", "set", "held=a", "role=s3-read", code=1)
    said = told("mapping", "discard", "held=a", "--yes")
    assert said["changes"][0]["kind"] == "deleted"
    told("mapping", "set", "held=a", "role=s3-read", code=1)
    said = told("mapping", "approve", "held=a", "--yes")
    assert said["revision"] == 2
    eventually(lambda: all(deployed.carries(each, "s3-read") for each in ids), 120)
    deployed.ec2.terminate_instances(InstanceIds=ids)
    eventually(lambda: all(deployed.state(each) == "terminated" for each in ids))
    told("mapping", "rm", "held=a", "--yes")


def test_every_command_says_what_it_did(told: Told, deployed: EmulatedAccount, instance: str, tmp_path: Path) -> None:
    file = tmp_path / "mappings.yaml"
    row = mappings_are_edited(told, file)
    a_plan_is_applied(told, deployed, instance, row=row, file=file)
    roles_are_changed_by_hand(told, deployed, instance)
    the_deployment_is_operated(told, deployed)
    guards_are_printed(told, deployed)
    roles_are_listed(told)
    a_held_edit_is_discarded_and_approved(told, deployed)
    said = told("mapping", "rm", KEY, "--yes")
    assert said["changes"][0]["kind"] == "deleted"
    assert told.ran | ELSEWHERE == {path for path, _ in commands()}


def test_watch_shows_decisions_as_they_happen(rolekeeper: Command, deployed: EmulatedAccount, instance: str) -> None:
    watching = subprocess.Popen(
        [COMMAND, "watch", "--instance", instance, "--since", "1m", "--output", "json"],
        env=rolekeeper.env,
        stdout=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore it; a person's command doesn't.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509  # no threads here
    )
    with watching:
        try:
            deployed.tag(instance, workload="s3-reader")
            shown = eventually(lambda: deployed.carries(instance, "s3-read"))
            assert watching.stdout
            decided = json.loads(watching.stdout.readline())
            while decided["action"] != "Attach":
                decided = json.loads(watching.stdout.readline())
            assert (decided["instance"], decided["to"]) == (instance, "s3-read")
            assert decided["answer"]["association-id"] == shown.association_id
            watching.send_signal(signal.SIGINT)
            assert watching.wait(20) == 130
        finally:
            watching.kill()
    line = ("watch", "--instance", instance, "--since", "10m", "--for", "1s", "-o", "wide")
    head, *rows = rolekeeper(*line).stdout.splitlines()
    assert head.split()[:8] == ["AT", "INSTANCE", "ACTION", "FROM", "TO", "CODE", "MAPPING", "ANSWER"]
    assert any({"Attach", "unoccupied", shown.association_id} <= set(row.split()) for row in rows)
