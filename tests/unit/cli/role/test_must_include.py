"""`rolekeeper roles must-include`: which mapped roles lack a baseline."""

import json

from fixtures.mappings import Desk
from fixtures.terminal import Terminal
from support.grants import allow, policy

SSM = policy(allow(["ssm:UpdateInstanceInformation", "ssm:GetParameter"]), allow("ssmmessages:OpenDataChannel"))


def test_a_policy_document_is_read_from_stdin(terminal: Terminal, desk: Desk) -> None:
    desk.role("web")
    desk.grant("web", "ssm:*")
    desk.put("app=web", role="web")
    ran = terminal("roles", "must-include", "-", "--query", "[].lacks[]", stdin=json.dumps(SSM))
    assert (ran.exit_code, ran.stdout) == (1, "ssmmessages:OpenDataChannel on *\n")


def test_options_of_the_list_are_none_of_it(terminal: Terminal) -> None:
    assert terminal("roles", "--unused", "must-include", "Baseline").exit_code == 252
