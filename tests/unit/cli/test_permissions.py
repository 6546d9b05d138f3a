"""The page of permissions lists every action that the command calls, and no other."""

import json
import re
from pathlib import Path

import pytest

from fakes.last_accessed import FakeReports
from fixtures.doctor import DoctorFixture
from fixtures.mappings import Desk
from fixtures.terminal import Terminal

PAGE = (Path(__file__).parents[3] / "docs/security.md").read_text()
# Asked by clients that the desk doesn't watch.
EVERYWHERE = {"DescribeStacks", "DescribeStackResource", "GetCallerIdentity", "AssumeRole"}
# SQS moves messages with the permissions of who asks for it (SQS API reference, `StartMessageMoveTask`).
FOR_SQS = {"DeleteMessage"}
POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}
# Only pages of the console ask for these (tests/unit/cli/act).
ON_PAGES = {"CreateTags", "DeleteTags", "ListAccountAliases", "StartInstances"}
# EC2 and SQS name what is called in batches otherwise than its permission.
PERMISSION_OF = {
    "SendMessageBatch": "SendMessage",
    "ChangeMessageVisibilityBatch": "ChangeMessageVisibility",
    "Invoke": "InvokeFunction",
    "ListBuckets": "ListAllMyBuckets",
}


def test_every_action_of_the_command_is_listed_and_no_other(
    terminal: Terminal, desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    desk.usable("web", "db")
    for role in ("web", "db"):
        desk.edit("workload=web", role=role)
    instance, contested = desk.world.running(), desk.world.running(workload="web")
    for _ in range(4):
        desk.world.reconcile(contested)
        desk.world.attach_by_hand(contested, "web")
        desk.world.wait(60)
    DoctorFixture(terminal, desk, monkeypatch)
    FakeReports(desk.iam)
    managed = desk.iam.create_policy(PolicyName="any", PolicyDocument=json.dumps(POLICY))["Policy"]["Arn"]
    desk.iam.attach_role_policy(RoleName="web", PolicyArn=managed)
    desk.grant("web", "s3:GetObject")
    desk.world.running(workload="web")
    desk.world.attach_by_hand(instance, "web")
    file = tmp_path / "mappings.yaml"
    file.write_text("mappings:\n- {tag_key: workload, tag_value: '*', role: db}\n")
    launchers = desk.world.ec2.launchers
    launchers.configurations = [{"LaunchConfigurationName": "old", "IamInstanceProfile": "web"}]
    launchers.group("workers", LaunchConfigurationName="old")
    desk.quiet()
    for line in (
        ["mapping", "ls"],
        ["mapping", "get", "workload=web"],
        ["mapping", "history", "workload=web"],
        ["mapping", "export"],
        ["mapping", "set", "workload=web", "priority=7", "--no-wait"],
        ["mapping", "rollback", "workload=web", "--to", "1", "--yes", "--no-wait"],
        ["pause"],
        ["replace", instance, "web", "--no-wait"],
        ["release", contested, "--no-wait"],
        ["doctor"],
        ["plan"],
        ["plan", "-f", str(file)],
        ["fleet"],
        ["launches"],
        ["explain", instance],
        ["history", contested],
        ["wait", instance, "--role", "web", "--attempts", "1"],
        ["history"],
        ["sweep"],
        ["targets"],
        ["roles"],
        *(["guard", part] for part in ("editors", "approvers", "detection")),
        *(["guard", part, "--except", "arn:aws:iam::123456789012:role/admin"] for part in ("scp-tags", "scp-path")),
    ):
        assert terminal(*line).exit_code == 0, line
    terminal.parameters["OrganizationId"] = "o-example0000"
    assert terminal("targets", "--missing").exit_code == 0
    assert terminal("roles", "must-include", managed).exit_code == 1, "db lacks it"
    desk.sqs.send_message(QueueUrl=terminal.outputs["DeadLetterQueue"], MessageBody="x")
    assert terminal("redrive", "--yes").exit_code == 0
    # What nobody judges here is waited for without effect; how it looks is what counts.
    terminal("mapping", "rm", "workload=web", "--yes")
    called = {PERMISSION_OF.get(each, each) for each in desk.world.calls.made}
    section = PAGE.partition("## What the command needs\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"`[a-z0-9]+:(\w+)`", section)) == called | EVERYWHERE | FOR_SQS | ON_PAGES
