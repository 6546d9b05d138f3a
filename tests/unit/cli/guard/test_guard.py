"""`rolekeeper guard` prints what a deployment's mappings, tables and functions call for."""

import json
from typing import Any

import pytest
from moto.events.models import EventPattern

from fixtures.account import ACCOUNT, REGION
from fixtures.mappings import Desk
from fixtures.terminal import Terminal
from rolekeeper.mappings.rows import COLUMNS, KEYS, PASSING
from rolekeeper_cli.doctor.guards import denies
from rolekeeper_cli.guard import use as guard
from rolekeeper_cli.guard.command import PARTS
from rolekeeper_cli.guard.use import Arns, compact, fitting, readable
from support import templates

ARNS = Arns("aws", ACCOUNT, REGION, "/rolekeeper/", "rolekeeper", "mappings", "state")
ADMIN = f"arn:aws:iam::{ACCOUNT}:role/admin"
EXCEPT = ("--except", ADMIN)
# Characters of a service control policy (Organizations user guide, "Quotas"), and of a managed policy without blanks
# (IAM user guide, "IAM and AWS STS quotas").
SCP_LIMIT, MANAGED_LIMIT = 5_120, 6_144
# Rolekeeper's own columns (docs/mappings.md).
OURS = {"status", "status_reason", "status_revision", "matched", "occupied", "held_revision", "judging"}

ORGANIZATION = {"OrganizationId": "o-example0000", "Namespace": "second"}
ELSEWHERE = "222222222222"


def printed(terminal: Terminal, *line: str) -> Any:
    """The document, as a shell's `>` would write it."""
    ran = terminal("guard", *line)
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.stdout)


# ---- the parts ----


@pytest.mark.parametrize("part", PARTS)
def test_a_document_is_json_on_stdout_and_its_remarks_are_on_stderr(terminal: Terminal, part: str) -> None:
    line = ("guard", part, *(EXCEPT if part.startswith("scp") else ()))
    ran = terminal(*line)
    assert ran.stdout == readable(json.loads(ran.stdout)) + "\n"
    assert {each[:2] for each in ran.stderr.splitlines()} == {"- "}
    assert terminal(*line, "--output", "json").stdout == ran.stdout


# ---- the mapped tags ----


def tag_keys(document: Any) -> list[str]:
    keys: list[str] = document["Statement"][0]["Condition"]["ForAnyValue:StringEquals"]["aws:TagKeys"]
    return keys


def test_the_keys_are_those_that_any_mapping_reads(terminal: Terminal, desk: Desk) -> None:
    desk.role("web")
    desk.edit("workload=web", role="web", require_tags={"environment": "production"})
    # What is published stays so until the edit is right; what the edit asks for comes with it.
    desk.edit("workload=web", role="none-such", require_tags={"stage": "*"})
    desk.edit("team=a", role="no such")
    keys = tag_keys(printed(terminal, "scp-tags", *EXCEPT))
    assert keys == ["environment", "rolekeeper:ignore", "stage", "team", "workload"]


def test_a_deleted_mapping_s_tags_are_guarded_no_longer(terminal: Terminal, desk: Desk) -> None:
    desk.role("web")
    desk.edit("workload=web", role="web", require_tags={"environment": "production"})
    desk.delete("workload=web")
    desk.publish("workload=web")
    assert tag_keys(printed(terminal, "scp-tags", *EXCEPT)) == ["rolekeeper:ignore"]
    desk.edit("workload=web", role="no such")
    assert tag_keys(printed(terminal, "scp-tags", *EXCEPT)) == ["rolekeeper:ignore", "workload"]


@pytest.mark.parametrize(
    "principal", ["arn:aws:iam::*:role/ops/*", f"arn:aws-cn:iam::{ACCOUNT}:user/me", f"arn:aws:iam::{ACCOUNT}:root"]
)
def test_wildcards_users_and_root_can_be_excepted(principal: str) -> None:
    assert guard.principals([principal]) == [principal]


def test_keys_that_don_t_fit_into_one_policy_are_split(terminal: Terminal, desk: Desk) -> None:
    keys = [f"{number:03}{'k' * 100}" for number in range(60)]
    for key in keys:
        desk.put(f"{key}=a", role="NONE")
    found: list[str] = []
    for part in ("1", "2"):
        ran = terminal("guard", "scp-tags", *EXCEPT, "--part", part)
        assert f"Part {part} of 2, as 61 keys don't fit into one" in " ".join(ran.stderr.split())
        assert len(ran.stdout) - 1 <= SCP_LIMIT
        document = json.loads(ran.stdout)
        found += tag_keys(document)
        assert denies([document], "DeleteTags", ARNS.here("ec2", "instance/*"), None), "each guards by itself"
    assert found == [*keys, "rolekeeper:ignore"]
    ran = terminal("guard", "scp-tags", *EXCEPT, "--part", "3")
    assert (ran.exit_code, "there is no part 3" in ran.stderr) == (1, True)


def test_blanks_go_where_they_would_make_it_too_long(terminal: Terminal, desk: Desk) -> None:
    for number in range(55):
        desk.put(f"{number:03}{'k' * 60}=a", role="NONE")
    text = terminal("guard", "scp-tags", *EXCEPT).stdout.rstrip("\n")
    document = json.loads(text)
    assert len(readable(document)) > SCP_LIMIT > len(text)
    assert text == compact(document)


def test_so_many_excepted_that_there_is_no_room_are_refused(terminal: Terminal) -> None:
    many = [word for number in range(60) for word in ("--except", f"arn:aws:iam::{ACCOUNT}:role/{'a' * 60}{number}")]
    for part in ("scp-tags", "scp-path"):
        ran = terminal("guard", part, *many)
        assert (ran.exit_code, ran.stdout) == (1, ""), part
        assert "fewer" in ran.stderr


# ---- a hub ----


@pytest.fixture
def hub(terminal: Terminal) -> Terminal:
    """A deployment that serves an organization."""
    terminal.parameters |= ORGANIZATION
    return terminal


def test_a_hubs_pattern_leaves_out_the_changer_of_each_spoke(hub: Terminal) -> None:
    document, pattern = detection(hub)
    name = "AssociateIamInstanceProfile"
    ours = [session_of("OnInstanceEventRole"), *(session_of("second-changer", each) for each in (ACCOUNT, ELSEWHERE))]
    others: list[dict[str, Any]] = [
        session_of("OnInstanceEventRole", ELSEWHERE),
        session_of("rolekeeper-changer", ELSEWHERE),
        session_of("second-reader", ELSEWHERE),
        session_of("team/second-changer", ELSEWHERE),
        session_of("second-changer-2", ELSEWHERE),
        session_of("admin", ELSEWHERE),
        {"type": "Root"},
    ]
    assert [each for each in ours if pattern.matches_event(association_call(name, **each))] == []
    assert [each for each in others if not pattern.matches_event(association_call(name, **each))] == []
    assert document["roles"][1:] == ["arn:aws:iam::*:role/second-changer"]
    assert document["sessions"][1:] == ["arn:aws:sts::*:assumed-role/second-changer/*"]


# ---- the tables ----


def test_editors_have_every_column_but_rolekeepers() -> None:
    """A column that is added has to be somebody's."""
    assert set(guard.EDITORS_COLUMNS) == {column.name for column in (*KEYS, *COLUMNS, *PASSING)}
    assert set(guard.EDITORS_COLUMNS).isdisjoint(OURS)


def test_a_policy_that_would_be_too_long_is_refused() -> None:
    keys = [f"{number:03}{'k' * 120}" for number in range(60)]
    with pytest.raises(Exception, match=r"the policy has [\d,]+ characters, and AWS takes 6,144"):
        fitting(guard.editors_policy(ARNS, keys), MANAGED_LIMIT)


def test_all_documents_fit_with_names_as_long_as_they_get() -> None:
    """Names of tables to 255 and of stacks to 128 characters, role paths to 200 (the template)."""
    long = Arns("aws-us-gov", ACCOUNT, "us-gov-west-1", f"/{'p' * 198}/", "s" * 128, "m" * 255, "t" * 255, "n" * 32)
    for document in (guard.editors_policy(long, ["k" * 128]), guard.approvers_policy(long, ["k" * 128])):
        assert len(compact(document)) <= MANAGED_LIMIT
    path = guard.rendered("scp-path", arns=long, makers=["r" * 64] * 2, excepted=[ADMIN] * 5)
    assert len(compact(path)) <= SCP_LIMIT


# ---- the functions ----


def test_the_roles_are_those_that_the_template_lets_do_it() -> None:
    resources = templates.load()["Resources"]
    roles = [name for name, each in resources.items() if each["Type"] == "AWS::IAM::Role"]

    def may(action: str) -> list[str]:
        said = {
            role: json.dumps(templates.policy_statements(resources, role, met={"MakesProfiles", "MayTakeOver"}))
            for role in roles
        }
        return [role for role, statements in said.items() if f'"{action}"' in statements]

    for action in ("iam:CreateInstanceProfile", "iam:AddRoleToInstanceProfile"):
        assert sorted(guard.MAKE_PROFILES) == sorted(may(action))
    for action in ("Associate", "Disassociate"):
        assert sorted(guard.CHANGE_ASSOCIATIONS) == sorted(may(f"ec2:{action}IamInstanceProfile"))
    assert [role for role in roles if {"Path", "RoleName"} & resources[role]["Properties"].keys()] == []


def association_call(name: str, **identity: Any) -> Any:
    detail = {"eventSource": "ec2.amazonaws.com", "eventName": name, "userIdentity": identity}
    return {"source": "aws.ec2", "detail-type": "AWS API Call via CloudTrail", "detail": detail}


def session_of(role: str, account: str = ACCOUNT) -> dict[str, Any]:
    issuer = {"sessionContext": {"sessionIssuer": {"type": "Role", "arn": f"arn:aws:iam::{account}:role/{role}"}}}
    return {"type": "AssumedRole", "arn": f"arn:aws:sts::{account}:assumed-role/{role.rpartition('/')[2]}/x", **issuer}


def detection(terminal: Terminal) -> tuple[Any, EventPattern]:
    """The document, and its pattern as EventBridge reads it."""
    document = printed(terminal, "detection")
    return document, EventPattern.load(json.dumps(document["event_pattern"]))


def test_the_pattern_matches_the_association_calls_of_all_others(terminal: Terminal) -> None:
    _, pattern = detection(terminal)
    names = ("AssociateIamInstanceProfile", "ReplaceIamInstanceProfileAssociation", "DisassociateIamInstanceProfile")
    others: list[dict[str, Any]] = [
        session_of("admin"),
        session_of("OnRetryRole"),
        session_of("OnInstanceEventRole-2"),
        {"type": "IAMUser", "userName": "me"},
        {"type": "Root"},
    ]
    for name in names:
        assert all(pattern.matches_event(association_call(name, **each)) for each in others)
        assert not pattern.matches_event(association_call(name, **session_of("OnInstanceEventRole")))
    assert not pattern.matches_event(association_call("RunInstances", **session_of("admin")))
