"""The page of permissions lists every action that the command calls, and no other."""

import re
from pathlib import Path

from support.desk import Desk
from support.terminal import Terminal

PAGE = (Path(__file__).parents[3] / "docs/security.md").read_text()
# Asked once for all commands, by clients that the desk doesn't watch.
EVERYWHERE = {"DescribeStacks", "GetCallerIdentity"}
# EC2 and SQS name what is called in batches otherwise than its permission.
PERMISSION_OF = {"SendMessageBatch": "SendMessage"}


def test_every_action_of_the_command_is_listed_and_no_other(terminal: Terminal, desk: Desk) -> None:
    for role in ("web", "db"):
        desk.role(role)
        desk.world.profile(role)
    for role in ("web", "db"):
        desk.edit("workload=web", role=role)
    instance, contested = desk.world.running(), desk.world.running(workload="web")
    for _ in range(4):
        desk.world.reconcile(contested)
        desk.world.attach_by_hand(contested, "web")
        desk.world.wait(60)
    desk.quiet()
    rows = "mappings:\n- {tag_key: a, tag_value: b, role: web}\n"
    for line in (
        ["mapping", "ls"],
        ["mapping", "get", "workload=web"],
        ["mapping", "history", "workload=web"],
        ["mapping", "export"],
        ["mapping", "set", "workload=web", "priority=7", "--no-wait"],
        ["mapping", "rollback", "workload=web", "--to", "1", "--yes", "--no-wait"],
        ["pause"],
        ["attach", instance, "web", "--no-wait"],
        ["release", contested],
    ):
        assert terminal(*line).exit_code == 0, line
    # What nobody judges here is waited for in vain; how it looks is what counts.
    terminal("mapping", "import", "-", "--format", "yaml", "--prune", "--yes", stdin=rows)
    called = {PERMISSION_OF.get(each, each) for each in desk.world.calls.made}
    section = PAGE.partition("## What the command needs\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"`[a-z0-9]+:(\w+)`", section)) == called | EVERYWHERE
