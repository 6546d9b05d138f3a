"""The fleet as documents: what a record that can't be read looks like beside the others."""

from typing import Any

import pytest

from fixtures.mappings import Desk
from fixtures.state_table import STATE_TABLE
from fixtures.terminal import Terminal
from rolekeeper.storage import layout
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.options import Options
from rolekeeper_cli.uses.fleet import Count, Enforced, Filters, Seen, document, look, pages


@pytest.fixture(autouse=True)
def role(desk: Desk) -> None:
    desk.role("web")
    desk.edit("app=web", role="web")


def looked_at(terminal: Terminal) -> list[Any]:
    del terminal  # it is where the deployment is
    there = Deployment(Options())
    return list(look(there, Enforced.of(there), pages(there)))


def test_a_damaged_record_is_a_document_too(terminal: Terminal, desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    damaged, fine = desk.world.running(app="web", Name="old"), desk.world.running(app="web")
    desk.world.garble(layout.record_key(desk.world.key(damaged)))
    documents = {each["instance"]: each for each in map(document, looked_at(terminal))}
    assert documents[fine]["stands"] == "drift"
    assert documents[damaged].keys() == documents[fine].keys()
    assert documents[damaged]["stands"] == "unknown"
    assert documents[damaged]["name"] == "old"
    assert documents[damaged]["state"] == "running"
    assert documents[damaged]["tags"] == {"app": "web", "Name": "old"}
    assert "record: TypeError" in documents[damaged]["reason"]
    assert capsys.readouterr() == ("", "")


def test_the_command_warns_of_it_and_lists_the_others(terminal: Terminal, desk: Desk) -> None:
    damaged, fine = desk.world.running(app="web"), desk.world.running(app="web")
    desk.world.garble(layout.record_key(desk.world.key(damaged)))
    ran = terminal("fleet")
    assert f"Warning: {damaged} is left out: " in ran.stderr
    assert fine in ran.stdout
    assert damaged not in ran.stdout


def test_a_mapping_is_read_once_for_all_pages(terminal: Terminal, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    answer = desk.world.dynamodb.batch_get_item

    def counted(**request: Any) -> Any:
        asked.extend(each["pk"]["S"] for each in request["RequestItems"].get(STATE_TABLE, {"Keys": ()})["Keys"])
        return answer(**request)

    monkeypatch.setattr(desk.world.dynamodb, "batch_get_item", counted)
    fleet = [desk.world.running(app="web") for _ in range(5)]
    said = terminal("fleet").stdout
    assert all(each in said for each in fleet)
    assert asked.count("mapping#3:app#web") == 1


def test_all_are_counted_and_of_those_that_are_listed_how_they_are(terminal: Terminal, desk: Desk) -> None:
    desk.converged("web", app="web")
    desk.world.running(app="web")
    desk.world.running(app="other")
    count = Count()
    found: list[Seen] = looked_at(terminal)
    listed = list(count.accepted(found, Filters(role="web")))
    assert len(listed) == 2
    assert count.instances == 3
    assert count.stands == {"ok": 1, "drift": 1}
    assert count.roles == {"web", "NONE"}
