"""Five people who come to it anew, with only the wheel installed: each does their first hour's work.

What they type is the command; what they see is checked by EC2's own answer.
"""

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import yaml

from fixtures.command import Command
from fixtures.wheel import Running
from rolekeeper_local.account import EmulatedAccount
from support.waiting import eventually

pytestmark = pytest.mark.emulator


@pytest.fixture
def rolekeeper(running: Running) -> Command:
    return running.rolekeeper


@pytest.fixture(scope="module")
def deployed(running: Running) -> EmulatedAccount:
    return EmulatedAccount(running.aws)


def test_an_evaluator_sees_what_it_is_and_watches_the_story(
    running: Running, free_port: Callable[[], int], tmp_path: Path
) -> None:
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


def test_a_beginner_maps_a_tag_makes_slips_and_takes_the_role_away(
    rolekeeper: Command, deployed: EmulatedAccount
) -> None:
    deployed.make_role("lesson")
    slip = rolekeeper("mapping", "set", "lesson=one", "role=leson", code=1)
    assert "did you mean lesson?" in slip.stderr
    rolekeeper("mapping", "set", "lesson=one", "role=lesson")
    instance = deployed.launch("lesson-1", lesson="one")
    rolekeeper("wait", instance, "--role", "lesson", "--every", "1")
    assert deployed.carries(instance, "lesson")
    [row] = [each for each in rolekeeper.json("fleet", "--tag", "lesson") if each["instance"] == instance]
    assert (row["carries"], row["stands"]) == ("lesson", "ok")

    assert "upper and lower case count" in rolekeeper.types("detach", "detach", instance, code=1)
    assert deployed.carries(instance, "lesson"), "the word wasn't typed as it is written"
    rolekeeper.types("Detach", "detach", instance)
    assert deployed.shown(instance) is None
    rolekeeper("release", instance)
    eventually(partial(deployed.carries, instance, "lesson"), 40)


def test_an_operator_under_pressure_finds_stops_and_undoes(rolekeeper: Command, deployed: EmulatedAccount) -> None:
    for name in ("shop", "shop-fixed"):
        deployed.make_role(name)
    rolekeeper("mapping", "set", "service=shop", "role=shop")
    broken, other = (deployed.launch(name, service="shop") for name in ("shop-1", "shop-2"))
    rolekeeper("wait", "--mapping", "service=shop", "--every", "1")
    assert all(deployed.carries(each, "shop") for each in (broken, other))

    rolekeeper("pause", "--yes", "--reason", "the shop is down")
    deployed.untag(other, "service")
    why = eventually(lambda: _said(rolekeeper, other, "paused"), 40)
    assert "it would detach" in why
    assert deployed.carries(other, "shop"), "nothing changes during a pause"
    deployed.tag(other, service="shop")
    rolekeeper("resume", "--yes")

    rolekeeper("replace", broken, "shop-fixed", "--for", "1h", "--reason", "incident 7", "--yes")
    assert deployed.carries(broken, "shop-fixed")
    entries = rolekeeper.json("history", broken)
    assert any("incident 7" in json.dumps(each) for each in entries)
    rolekeeper("release", broken)
    eventually(partial(deployed.carries, broken, "shop"), 40)
    assert deployed.carries(other, "shop")


def _said(rolekeeper: Command, instance: str, code: str) -> str | None:
    """The reason, once the instance shows this code."""
    shown = rolekeeper.json("explain", instance, "--no-who")["condition"]
    return str(shown["reason"]) if shown and shown["code"] == code else None


def test_a_platform_engineer_reviews_a_file_applies_it_and_guards_the_tags(
    rolekeeper: Command, deployed: EmulatedAccount, tmp_path: Path
) -> None:
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


def test_a_contributor_reproduces_a_lost_event_and_reports_it(
    rolekeeper: Command, deployed: EmulatedAccount, tmp_path: Path
) -> None:
    deployed.make_role("bug")
    rolekeeper("mapping", "set", "case=bug", "role=bug")
    instance = deployed.launch("bug-1")
    eventually(lambda: deployed.state(instance) == "running" or None, 40)
    deployed.aws.drop_events(instance)
    deployed.tag(instance, case="bug")
    assert deployed.shown(instance) is None
    called = rolekeeper("--debug", "sweep").stderr
    assert "Invoke" in called
    assert deployed.aws.env["AWS_SECRET_ACCESS_KEY"] not in called
    eventually(partial(deployed.carries, instance, "bug"), 40)

    file = tmp_path / "table.yaml"
    rolekeeper("mapping", "export", "-o", str(file))
    assert "case" in file.read_text()
    rolekeeper("mapping", "diff", str(file), "--detailed-exitcode")
    rolekeeper("mapping", "import", str(file), "--yes")
    assert deployed.carries(instance, "bug"), "what was exported changes nothing"
