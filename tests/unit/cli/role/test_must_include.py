"""`rolekeeper roles must-include`: which mapped roles lack a baseline."""

import json
from pathlib import Path
from typing import Any

import pytest

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


@pytest.mark.parametrize("form", ["file", "stdin"])
def test_a_policy_document_is_read(terminal: Terminal, desk: Desk, tmp_path: Path, form: str) -> None:
    mapped(desk, "web", allow("ssm:*"))
    file = tmp_path / "baseline.json"
    file.write_text(json.dumps(SSM))
    given = ("-", json.dumps(SSM)) if form == "stdin" else (str(file), "")
    ran = terminal("roles", "must-include", given[0], "--query", "[].lacks[]", stdin=given[1])
    assert (ran.exit_code, ran.stdout) == (1, "ssmmessages:OpenDataChannel on *\n")


def test_options_of_the_list_are_none_of_it(terminal: Terminal, baseline: str) -> None:
    assert terminal("roles", "--unused", "must-include", baseline).exit_code == 252
