"""`rolekeeper roles must-include`: which mapped roles lack a baseline."""

import json
from pathlib import Path
from typing import Any

import pytest

from fixtures.account import ACCOUNT
from fixtures.mappings import Desk
from fixtures.terminal import Terminal, lines
from support.grants import allow, deny, policy

SSM = policy(allow(["ssm:UpdateInstanceInformation", "ssm:GetParameter"]), allow("ssmmessages:OpenDataChannel"))


@pytest.fixture
def baseline(desk: Desk) -> str:
    """A managed policy of the account, by ARN."""
    made = desk.iam.create_policy(PolicyName="Baseline", PolicyDocument=json.dumps(SSM))
    return made["Policy"]["Arn"]


def mapped(desk: Desk, role: str, *statements: Any) -> None:
    """A role that a mapping gives, and may do these things."""
    desk.role(role)
    if statements:
        document = json.dumps(policy(*statements))
        desk.iam.put_role_policy(RoleName=role, PolicyName="it", PolicyDocument=document)
    desk.put(f"app={role}", role=role)


def test_which_roles_lack_what_and_the_exit_code_says_no(terminal: Terminal, desk: Desk, baseline: str) -> None:
    mapped(desk, "attached")
    desk.iam.attach_role_policy(RoleName="attached", PolicyArn=baseline)
    mapped(desk, "wide", allow(["ssm:*", "ssmmessages:*"]))
    mapped(desk, "narrow", allow("ssm:*", "arn:aws:ssm:*:*:parameter/web"), allow("ssmmessages:*"))
    mapped(desk, "denied", allow("*"), deny("ssmmessages:*"))
    desk.role("unmapped")
    desk.put("app=none", role="NONE")
    ran = terminal("roles", "must-include", "Baseline")
    assert ran.exit_code == 1
    assert lines(ran.stdout) == [
        "ROLE MAPPINGS INCLUDES IT LACKS",
        "attached app=attached yes",
        "denied app=denied no ssmmessages:OpenDataChannel on * (denied)",
        "narrow app=narrow no ssm:GetParameter, ssm:UpdateInstanceInformation on *",
        "wide app=wide yes",
    ]
    assert ran.stderr == "2 of 4 mapped roles include Baseline; 2 lack some of it.\n"


def test_what_isnt_known_isnt_said_to_include_it(terminal: Terminal, desk: Desk, baseline: str) -> None:
    desk.put("app=gone", role="gone")
    ran = terminal("roles", "must-include", baseline, "--output", "json")
    assert ran.exit_code == 1
    [row] = json.loads(ran.stdout)
    assert (row["includes"], row["unknown_because"]) == (None, "the role doesn't exist")
    told = terminal("roles", "must-include", baseline).stderr
    assert told == f"0 of 1 mapped roles include {baseline}; 0 lack some of it, 1 unknown.\n"


@pytest.mark.parametrize("form", ["file", "stdin"])
def test_a_policy_document_is_read(terminal: Terminal, desk: Desk, tmp_path: Path, form: str) -> None:
    mapped(desk, "web", allow("ssm:*"))
    file = tmp_path / "baseline.json"
    file.write_text(json.dumps(SSM))
    given = ("-", json.dumps(SSM)) if form == "stdin" else (str(file), "")
    ran = terminal("roles", "must-include", given[0], "--query", "[].lacks[]", stdin=given[1])
    assert (ran.exit_code, ran.stdout) == (1, "ssmmessages:OpenDataChannel on *\n")


def test_no_mapping_is_told(terminal: Terminal, baseline: str) -> None:
    ran = terminal("roles", "must-include", baseline)
    assert (ran.exit_code, ran.stderr) == (0, "No mapping gives a role.\n")


@pytest.mark.parametrize(
    ("text", "said", "code"),
    [
        ("{", "is no JSON", 1),
        ("[]", "is no policy: it has no Statement", 1),
        (json.dumps(policy(deny("s3:*"))), "allows nothing, so every role includes it", 1),
    ],
)
def test_a_file_that_says_nothing_is_refused(
    terminal: Terminal, tmp_path: Path, text: str, said: str, code: int
) -> None:
    file = tmp_path / "baseline.json"
    file.write_text(text)
    ran = terminal("roles", "must-include", str(file))
    assert (ran.exit_code, said in ran.stderr) == (code, True), ran.stderr


def test_a_policy_that_isnt_there_is_refused(terminal: Terminal, desk: Desk) -> None:
    del desk
    ran = terminal("roles", "must-include", "AmazonSSMManagedInstanceCorr")
    assert ran.exit_code == 1
    assert "there is no managed policy AmazonSSMManagedInstanceCorr" in ran.stderr
    assert terminal("roles", "must-include", f"arn:aws:iam::{ACCOUNT}:policy/no").exit_code == 1
    assert "no.json can't be read: No such file" in terminal("roles", "must-include", "no.json").stderr


def test_options_of_the_list_are_none_of_it(terminal: Terminal, baseline: str) -> None:
    assert terminal("roles", "--unused", "must-include", baseline).exit_code == 252
