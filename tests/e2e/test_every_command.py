"""Every command of `rolekeeper`, with the real SDK against the embedded AWS, and its answer in JSON."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner
from tools.reference import commands

from fixtures.terminal import undeclared
from rolekeeper_cli.main import cli
from rolekeeper_cli.shell.command import Group
from rolekeeper_local.account import EmulatedAccount
from rolekeeper_local.demo_account import ALARM
from support.fleets import launch_many
from support.waiting import eventually

pytestmark = pytest.mark.emulator

# They have stories of their own: below, and in test_wheel, test_verify, test_launches, test_organization and
# test_console*; or IAM is asked alone, whose fake the transcripts ask too; or files, as `launches files` does.
_NAMES = [
    *("guard", "guard scp-tags", "guard scp-path", "guard scp-source", "guard editors", "guard approvers"),
    *("guard revokers", "guard detection", "roles", "roles must-include"),
    *("launches explain", "launches files", "launches boot-script"),
    *("deploy", "destroy", "local", "demo", "console"),
    *("spoke parameters", "spoke deploy", "spoke remove", "targets forget", "verify", "guard verifiers"),
]
ELSEWHERE = {f"rolekeeper {name}" for name in _NAMES}
KEY = "every=a"
MANY = 26  # one more than may change without approval


class Runner:
    """Runs commands in this process, which has what each would import again, and notes which ones ran."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._runner = CliRunner(env=env)
        self.ran: set[str] = set()

    def __call__(self, *line: str, code: int = 0) -> Any:
        """Run it for JSON; the document, or an empty text if it wrote none."""
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
        if not done.stdout:
            return done.stdout
        found = json.loads(done.stdout)
        assert undeclared(line, found) == []
        return found


@pytest.fixture
def run(deployed: EmulatedAccount) -> Runner:
    return Runner(deployed.aws.env)


@pytest.fixture
def instance(deployed: EmulatedAccount) -> Iterator[str]:
    """An instance that no mapping is for."""
    made = deployed.launch("every-command")
    eventually(lambda: deployed.state(made) == "running")
    yield made
    deployed.ec2.terminate_instances(InstanceIds=[made])


def mappings_are_edited(run: Runner, file: Path) -> dict[str, Any]:
    """Write, read and roll back a mapping; returns its row as the file has it."""
    answer = run("mapping", "set", KEY, "role=s3-read")
    assert answer["changes"][0]["kind"] == "new"
    answer = run("mapping", "get", KEY)
    assert answer["status"] == "Published"
    assert KEY in str(run("mapping", "ls"))
    run("mapping", "export", "-o", str(file))
    document = yaml.safe_load(file.read_text())
    [row] = [row for row in document["mappings"] if row["tag_key"] == "every"]
    row["owner"] = "somebody"
    # Without the rows of other stories, which may be rejected.
    file.write_text(yaml.safe_dump({"mappings": [row]}))
    assert run("mapping", "validate", str(file)) == {"mappings": 1, "warnings": []}
    assert KEY in str(run("mapping", "set", KEY, "owner=somebody"))
    assert "somebody" in str(run("mapping", "rollback", KEY, "--yes"))
    answer = run("mapping", "history", KEY)
    assert [each["revision"] for each in answer] == [3, 2, 1]
    assert "mappings" in str(run("schema"))
    edited: dict[str, Any] = row
    return edited


def a_plan_is_applied(
    run: Runner, deployed: EmulatedAccount, instance: str, *, row: dict[str, Any], file: Path
) -> None:
    plan = file.with_name("change.plan")
    deployed.tag(instance, every="a")
    eventually(lambda: deployed.carries(instance, "s3-read"))
    row["role"] = "s3-write"
    file.write_text(yaml.safe_dump({"mappings": [row]}))
    answer = run("plan", "-f", str(file), "--instance", instance, "--out", str(plan), "--detailed-exitcode", code=2)
    assert answer["changes"][0]["to"] == "s3-write"
    before = deployed.shown(instance)
    assert run("apply", str(plan))
    after = deployed.carries(instance, "s3-write")
    assert before
    assert after, "apply waited for it"
    assert after.association_id != before.association_id
    [software] = run("uptake", instance)
    assert software["instance"] == instance
    assert run("launches") == []
    answer = run("explain", instance)
    assert answer["carries"]["association"] == after.association_id
    assert [(each["what"], each["about"]) for each in answer["who"]] == [("tagged", "every=a")]
    answer = run("history", "--limit", "2", instance)
    assert [each["action"] for each in answer] == ["Replace", "Attach"]
    answer = run("fleet", "--tag", "every=a")
    assert [each["stands"] for each in answer] == ["ok"]
    answer = run("wait", instance, "--role", "s3-write", "--every", "1")
    assert answer["association"] == after.association_id


def roles_are_changed_by_hand(run: Runner, deployed: EmulatedAccount, instance: str) -> None:
    run("detach", instance, "--confirm", "Detach")
    assert deployed.shown(instance) is None
    answer = run("revoke", instance)
    assert {each["role"] for each in answer["revoked"]} == {"s3-read", "s3-write"}
    assert run("roles", "clean-revoked") == []
    for each in answer["revoked"]:
        deployed.aws.session().client("iam").delete_role_policy(RoleName=each["role"], PolicyName=each["policy"])
    run("attach", instance, "s3-read")
    assert deployed.carries(instance, "s3-read")
    assert "s3-write" in str(run("replace", instance, "s3-write", "--for", "8h"))
    assert deployed.carries(instance, "s3-write")
    answer = run("release", instance)
    assert answer["released"] == "s3-write"


def the_deployment_is_operated(run: Runner, deployed: EmulatedAccount) -> None:
    deployed.aws.session().client("sqs").purge_queue(QueueUrl=deployed.aws.stack_outputs()["DeadLetterQueue"])
    assert run("pause")["paused"] is True
    assert run("resume")["paused"] is False
    assert run("mode")["mode"] == "enforce"
    answer = run("sweep")
    assert answer["finished"] is True
    answer = run("redrive", "--yes")
    assert answer["letters"] == 0
    answer = run("targets")
    assert (answer[0]["state"], answer[0]["hub"]) == ("well", True)
    answer = run("doctor")
    assert answer["summary"]


def a_held_edit_is_discarded_and_approved(run: Runner, deployed: EmulatedAccount) -> None:
    ids = launch_many(deployed, MANY, held="a")
    run("mapping", "set", "held=a", "role=s3-read", code=4)
    answer = run("mapping", "discard", "held=a", "--yes")
    assert answer["changes"][0]["kind"] == "deleted"
    eventually(lambda: run("mapping", "history", "held=a")[0]["event"] == "Mapping Discarded")
    run("mapping", "set", "held=a", "role=s3-read", code=4)
    [answer] = run("mapping", "approve", "held=a", "--yes")
    assert answer["revision"] == 2
    eventually(lambda: all(deployed.carries(each, "s3-read") for each in ids))
    deployed.ec2.terminate_instances(InstanceIds=ids)
    eventually(lambda: all(deployed.state(each) == "terminated" for each in ids))
    run("mapping", "rm", "held=a", "--yes")


def a_halted_rollout_goes_on(run: Runner, deployed: EmulatedAccount, instance: str) -> None:
    cloudwatch = deployed.aws.session().client("cloudwatch")
    cloudwatch.put_metric_alarm(AlarmName=KEY, **ALARM)
    cloudwatch.set_alarm_state(AlarmName=KEY, StateValue="ALARM", StateReason="a test")
    edit = ("role=s3-read", f"halt_on={KEY}", "rollout=1, 100% every 15m")
    run("mapping", "set", KEY, *edit, "--yes", "--no-wait")
    eventually(lambda: run("mapping", "get", KEY)["status"] == "Halted")
    cloudwatch.set_alarm_state(AlarmName=KEY, StateValue="OK", StateReason="a test")
    assert run("mapping", "resume", KEY, "--yes")
    eventually(lambda: run("mapping", "get", KEY)["status"] != "Halted")
    eventually(lambda: deployed.carries(instance, "s3-read"))


def test_every_command_says_what_it_did(run: Runner, deployed: EmulatedAccount, instance: str, tmp_path: Path) -> None:
    file = tmp_path / "mappings.yaml"
    row = mappings_are_edited(run, file)
    a_plan_is_applied(run, deployed, instance, row=row, file=file)
    roles_are_changed_by_hand(run, deployed, instance)
    the_deployment_is_operated(run, deployed)
    a_held_edit_is_discarded_and_approved(run, deployed)
    a_halted_rollout_goes_on(run, deployed, instance)
    answer = run("mapping", "rm", KEY, "--yes")
    assert answer["changes"][0]["kind"] == "deleted"
    assert run.ran | ELSEWHERE == {path for path, _ in commands()}
