"""Every command of `rolekeeper`, as a process against the embedded AWS: as a table for people, and in JSON."""

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from fixtures.command import COMMAND, Command
from rolekeeper.aws.queue import request
from rolekeeper.model.instance import InstanceKey
from rolekeeper_cli.main import cli
from rolekeeper_cli.reference import commands
from rolekeeper_local.account import EmulatedAccount
from rolekeeper_local.embedded import REGION
from support.waiting import eventually

pytestmark = pytest.mark.emulator

# They have stories of their own: below, and in test_wheel.py, test_new_users.py, test_spoke_commands.py and
# test_console*.py.
_NAMES = [
    *("watch", "deploy", "upgrade", "destroy", "local", "demo", "console"),
    *("spoke parameters", "spoke deploy", "spoke remove", "targets forget"),
]
ELSEWHERE = {f"rolekeeper {name}" for name in _NAMES}
MANY = 26  # one more than may change without approval


class Told:
    """Runs commands in one form, and notes which ones ran."""

    def __init__(self, rolekeeper: Command, form: str) -> None:
        self._rolekeeper = rolekeeper
        self.form = form
        self.ran: set[str] = set()

    def __call__(self, *line: str, code: int = 0) -> Any:
        """Run it; what it said on stdout, read if it is JSON."""
        node: click.Command = cli
        path = ["rolekeeper"]
        for word in line:
            if not isinstance(node, click.Group):
                break
            node = node.commands[word]
            path.append(word)
        self.ran.add(" ".join(path))
        said = self._rolekeeper(*line, "--output", self.form, code=code).stdout
        return json.loads(said) if self.form == "json" and said else said


@pytest.fixture(scope="module")
def rolekeeper(deployed: EmulatedAccount) -> Command:
    return Command(deployed.aws.env)


@pytest.fixture(params=["table", "json"])
def told(request: pytest.FixtureRequest, rolekeeper: Command) -> Told:
    return Told(rolekeeper, request.param)


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


def test_every_command_says_what_it_did(  # noqa: PLR0915  # one line a command
    told: Told, deployed: EmulatedAccount, instance: str, tmp_path: Path
) -> None:
    key, form = f"every-{told.form}=a", told.form
    in_json = form == "json"

    # ---- mappings ----
    said = told("mapping", "set", key, "role=s3-read")
    assert said["changes"][0]["kind"] == "new" if in_json else f"+ {key}  role=s3-read" in said
    said = told("mapping", "get", key)
    assert said["status"] == "Published" if in_json else "Published" in said
    assert key in str(told("mapping", "ls"))
    file = tmp_path / "mappings.yaml"
    told("mapping", "export", "-o", str(file))
    document = yaml.safe_load(file.read_text())
    [row] = [row for row in document["mappings"] if row["tag_key"] == f"every-{form}"]
    row["owner"] = "somebody"
    file.write_text(yaml.safe_dump(document))
    fine = {"mappings": len(document["mappings"]), "warnings": []}
    assert told("mapping", "validate", str(file)) == (fine if in_json else "")
    said = told("mapping", "diff", str(file), "--detailed-exitcode", code=2)
    owner = {"owner": {"from": "none", "to": "somebody"}}
    assert [each["columns"] for each in said["changes"]] == [owner] if in_json else "owner:" in said, said
    assert key in str(told("mapping", "import", str(file), "--yes"))
    assert "somebody" in str(told("mapping", "rollback", key, "--yes"))
    said = told("mapping", "history", key)
    assert [each["revision"] for each in said] == [3, 2, 1] if in_json else "owner: somebody" in said
    assert "mappings" in str(told("schema"))

    # ---- the fleet, before and after a plan ----
    deployed.tag(instance, **{f"every-{form}": "a"})
    eventually(lambda: deployed.carries(instance, "s3-read"))
    plan = tmp_path / "change.plan"
    row["role"] = "s3-write"
    file.write_text(yaml.safe_dump({"mappings": [row]}))
    said = told("plan", "-f", str(file), "--instance", instance, "--out", str(plan), "--detailed-exitcode", code=2)
    assert said["changes"][0]["to"] == "s3-write" if in_json else f"~  {instance}" in said
    before = deployed.shown(instance)
    assert told("apply", str(plan)) if in_json else "1 instances as planned" in told("apply", str(plan))
    after = deployed.carries(instance, "s3-write")
    assert before
    assert after, "apply waited for it"
    assert after.association_id != before.association_id
    said = told("explain", instance)
    assert said["carries"]["association"] == after.association_id if in_json else after.association_id in said
    said = told("history", "--limit", "2", instance)
    assert [each["action"] for each in said] == ["Replace", "Attach"] if in_json else "Replace (differs)" in said
    said = told("fleet", "--tag", f"every-{form}=a")
    assert [each["stands"] for each in said] == ["ok"] if in_json else "ok" in said.splitlines()[1]
    said = told("wait", instance, "--role", "s3-write", "--every", "1")
    assert said["association"] == after.association_id if in_json else "carries s3-write." in said

    # ---- by hand ----
    told("detach", instance, "--confirm", "Detach")
    assert deployed.shown(instance) is None
    told("attach", instance, "s3-read")
    assert deployed.carries(instance, "s3-read")
    assert "s3-write" in str(told("replace", instance, "s3-write", "--for", "8h"))
    assert deployed.carries(instance, "s3-write")
    said = told("release", instance)
    assert said["released"] == "s3-write" if in_json else "is released from s3-write" in said

    # ---- the deployment ----
    deployed.aws.session().client("sqs").purge_queue(QueueUrl=deployed.aws.stack_outputs()["DeadLetterQueue"])
    assert told("pause")["paused"] is True if in_json else "yes" in told("pause")
    assert told("resume")["paused"] is False if in_json else "no" in told("resume")
    assert told("mode")["mode"] == "enforce" if in_json else "enforce" in told("mode")
    said = told("sweep")
    assert said["finished"] is True if in_json else "Instances looked at:" in said
    said = told("redrive", "--yes")
    assert said["letters"] == 0 if in_json else said == ""
    said = told("targets")
    assert (said[0]["state"], said[0]["hub"]) == ("well", True) if in_json else f"{deployed.account}  {REGION}" in said
    said = told("doctor")
    assert said["summary"] if in_json else "rules" in said

    # ---- what to put around it: policies are JSON in every form ----
    assert told("guard")[0]["part"] == "scp-tags" if in_json else "scp-tags   SCP" in told("guard")
    excepted = ("--except", f"arn:aws:iam::{deployed.account}:role/admin")
    documents = {}
    for part, options in {"scp-tags": excepted, "scp-path": excepted, "editors": (), "approvers": ()}.items():
        said = told("guard", part, *options)
        documents[part] = said if in_json else json.loads(said)
    [tags, _] = documents["scp-tags"]["Statement"]
    assert f"every-{form}" in tags["Condition"]["ForAnyValue:StringEquals"]["aws:TagKeys"]
    table = deployed.aws.stack_outputs()["MappingTable"]
    assert f":{deployed.account}:table/{table}" in json.dumps(documents["editors"])
    assert f":{deployed.account}:table/{table}" in json.dumps(documents["approvers"])
    functions = {role for role in roles_of(deployed) if re.search("OnMappingChangeRole|OnScheduleRole", role)}
    assert {role for role in roles_of(deployed) if role in json.dumps(documents["scp-path"])} == functions
    said = told("guard", "detection")
    own = {role for role in roles_of(deployed) if re.search("OnInstanceEventRole", role)}
    assert set((said if in_json else json.loads(said))["roles"]) == own

    # ---- roles ----
    said = told("roles")
    assert "s3-read" in [each["role"] for each in said["roles"]] if in_json else "\ns3-read " in said
    said = told("roles", "must-include", "AmazonSSMManagedInstanceCore", code=1)
    assert "s3-read" in [each["role"] for each in said] if in_json else "ec2messages:AcknowledgeMessage" in said

    # ---- a held edit ----
    ids = [deployed.launch(f"every-{number}", **{f"held-{form}": "a"}) for number in range(MANY)]
    told("mapping", "set", f"held-{form}=a", "role=s3-read", code=1)
    said = told("mapping", "discard", f"held-{form}=a", "--yes")
    assert said["changes"][0]["kind"] == "deleted" if in_json else f"- held-{form}=a" in said
    told("mapping", "set", f"held-{form}=a", "role=s3-read", code=1)
    said = told("mapping", "approve", f"held-{form}=a", "--yes")
    assert said["revision"] == 2 if in_json else "Revision 2 of" in said
    eventually(lambda: all(deployed.carries(each, "s3-read") for each in ids), 120)
    deployed.ec2.terminate_instances(InstanceIds=ids)
    eventually(lambda: all(deployed.state(each) == "terminated" for each in ids))
    told("mapping", "rm", f"held-{form}=a", "--yes")
    said = told("mapping", "rm", key, "--yes")
    assert said["changes"][0]["kind"] == "deleted" if in_json else f"- {key}" in said

    assert told.ran | ELSEWHERE == {path for path, _ in commands()}


def test_watch_shows_decisions_as_they_happen(rolekeeper: Command, deployed: EmulatedAccount, instance: str) -> None:
    watching = subprocess.Popen(
        [COMMAND, "watch", "--instance", instance, "--output", "json"],
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


def test_what_lies_in_the_dead_letter_queue_is_shown_sent_again_and_done(
    rolekeeper: Command, deployed: EmulatedAccount, instance: str
) -> None:
    sqs, dead = deployed.aws.session().client("sqs"), deployed.aws.stack_outputs()["DeadLetterQueue"]
    sqs.purge_queue(QueueUrl=dead)
    deployed.aws.drop_events(instance)
    deployed.tag(instance, workload="s3-reader")
    key = InstanceKey(deployed.account, REGION, instance)
    sqs.send_message(QueueUrl=dead, MessageBody=json.dumps(request(key, "it was lost", "c", datetime.now(UTC))))
    document = rolekeeper.json("redrive", "--dry-run")
    assert [(each["of"], each["why"]) for each in document["shown"]] == [(instance, "it was lost")]
    assert instance in rolekeeper("redrive", "--dry-run").stdout
    rolekeeper("redrive", code=252)
    said = rolekeeper.types("y", "redrive")
    assert "Send all 1 to the work queue?" in said
    assert "Sent to the work queue: 1." in said
    eventually(lambda: deployed.carries(instance, "s3-read"))


def test_a_plan_that_is_out_of_date_is_refused_and_names_what_moved(
    rolekeeper: Command, deployed: EmulatedAccount, instance: str, tmp_path: Path
) -> None:
    rolekeeper("pause")
    try:
        deployed.tag(instance, workload="s3-reader")
        plan = str(tmp_path / "change.plan")
        said = rolekeeper("plan", "--instance", "every-command", "--out", plan)
        assert f"+  {instance}  every-command  none → s3-read  workload=s3-reader gives it role s3-read" in said.stdout
        assert "No changes will be made now: Rolekeeper is paused." in said.stderr
        assert "Rolekeeper is paused" in rolekeeper("apply", plan, code=1).stderr
        deployed.tag(instance, workload="s3-writer")
    finally:
        rolekeeper("resume")
    done = rolekeeper("apply", plan, code=1)
    moved = "has other tags: tag workload was 's3-reader', and is 's3-writer'"
    assert f"! {instance} (every-command) {moved}" in done.stderr
    assert "nothing was applied" in done.stderr
