"""Two people who come to it anew, with only the wheel installed: one watches it, one uses what is packed with it."""

import json
import re
from pathlib import Path

import pytest
import yaml

from fixtures.command import Command
from fixtures.wheel import Running
from rolekeeper_local.account import EmulatedAccount
from support.ports import free_port
from support.waiting import eventually

pytestmark = pytest.mark.emulator


def test_an_evaluator_sees_what_it_is_and_watches_the_story(running: Running, tmp_path: Path) -> None:
    alone = Command({**running.installed.env, "TMPDIR": str(tmp_path)}, running.installed.command)
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", alone("--version").stdout)
    commands = alone("--help").stdout
    assert all(f"  {name} " in commands for name in ("demo", "deploy", "explain", "mapping", "plan", "roles"))
    story = alone("demo", "--console", "--port", str(free_port()), seconds=240).stdout
    assert "Every step came true" in story
    assert re.search(r"open the console in a browser, .*: http://\w+\.localhost:\d+/enter/", story)
    assert "median" in story
    assert "✗" not in story
    assert "\x1b" not in story, "colour belongs on a terminal only"
    assert list(tmp_path.iterdir()) == [], "it leaves nothing behind"


def test_a_platform_engineer_reviews_a_file_applies_it_and_guards_the_tags(running: Running, tmp_path: Path) -> None:
    rolekeeper, deployed = running.rolekeeper, EmulatedAccount(running.aws)
    for name in ("ingest", "report"):
        deployed.make_role(name)
    instance = deployed.launch("ingest-1", pipeline="ingest")
    eventually(lambda: deployed.state(instance) == "running" or None, 40)
    assert json.loads(rolekeeper("schema").stdout)["properties"]["mappings"]
    file, plan = tmp_path / "mappings.yaml", tmp_path / "change.plan"
    file.write_text(
        yaml.safe_dump(
            {"mappings": [{"tag_key": "pipeline", "tag_value": name, "role": name} for name in ("ingest", "report")]}
        )
    )
    rolekeeper("mapping", "validate", str(file))
    planned = rolekeeper("plan", "-f", str(file), "--out", str(plan))
    assert instance in planned.stdout
    assert deployed.shown(instance) is None, "a plan changes nothing"
    rolekeeper("apply", str(plan))
    assert deployed.carries(instance, "ingest")

    scp = json.loads(rolekeeper("guard", "scp-tags", "--except", "arn:aws:iam::123456789012:role/admin").stdout)
    assert "pipeline" in json.dumps(scp)
    told = {each["role"]: each for each in rolekeeper.json("roles")["roles"]}
    assert told["ingest"]["instances"] == [instance]
    assert told["report"]["instances"] == []
    levels = {each["level"] for each in rolekeeper.json("doctor")["findings"]}
    assert levels == {"ok", "warn"}
