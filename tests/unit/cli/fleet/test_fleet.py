"""The fleet as documents: what a record that can't be read looks like beside the others."""

from typing import Any

import pytest

from fixtures.account import MAPPING_TABLE
from fixtures.mappings import Desk
from fixtures.state_table import STATE_TABLE
from fixtures.terminal import Terminal
from rolekeeper.aws.errors import AccessDeniedError
from rolekeeper.mappings.table import MappingTable
from rolekeeper.storage import layout
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.fleet.use import row_view
from rolekeeper_cli.instance.seen import Enforced, look, pages
from rolekeeper_cli.options import Options

pytestmark = pytest.mark.desk(roles=("web",), rows={"app=web": "web"})


@pytest.fixture
def asked(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """The keys of each batch that is read, by table."""
    found: dict[str, list[list[str]]] = {STATE_TABLE: [], MAPPING_TABLE: []}
    answer = desk.world.dynamodb.batch_get_item

    def counted(**request: Any) -> Any:
        for table, keys in request["RequestItems"].items():
            found[table].append([":".join(each["S"] for each in key.values()) for key in keys["Keys"]])
        return answer(**request)

    monkeypatch.setattr(desk.world.dynamodb, "batch_get_item", counted)
    return found


def looked_at(terminal: Terminal) -> list[Any]:
    del terminal  # it is where the deployment is
    there = Deployment(Options())
    return list(look(there, Enforced.of(there), pages(there)))


def test_a_damaged_record_is_shown_as_unknown_and_the_command_lists_the_others(terminal: Terminal, desk: Desk) -> None:
    damaged, fine = desk.world.running(app="web", Name="old"), desk.world.running(app="web")
    desk.world.garble(layout.record_key(desk.world.key(damaged)))
    rows = {row.instance: row for row in map(row_view, looked_at(terminal))}
    assert rows[fine].stands == "drift"
    shown = rows[damaged]
    assert (shown.stands, shown.name, shown.state) == ("unknown", "old", "running")
    assert shown.tags == {"app": "web", "Name": "old"}
    assert "record: TypeError" in shown.reason
    ran = terminal("fleet")
    assert f"Warning: {damaged} is left out: " in ran.stderr
    assert (fine in ran.stdout, damaged in ran.stdout) == (True, False)


def test_a_mapping_is_read_once_for_all_pages(
    terminal: Terminal, desk: Desk, asked: dict[str, list[list[str]]]
) -> None:
    fleet = [desk.world.running(app="web") for _ in range(5)]
    said = terminal("fleet").stdout
    assert all(each in said for each in fleet)
    assert sum(key.startswith("mapping#3:app#web:") for batch in asked[STATE_TABLE] for key in batch) == 1


def test_rows_are_read_once_for_all_pages_and_those_of_a_page_together(
    terminal: Terminal, desk: Desk, asked: dict[str, list[list[str]]]
) -> None:
    """Pages of instances with the same few tags cost one read of rows; those with own names, one for 100 keys."""
    for number in range(300):
        desk.world.launch(app="web", team=f"t{number % 40}", **({"Name": str(number)} if number < 200 else {}))
    desk.world.large_pages()
    desk.world.ec2.page_items = 100
    desk.edit("app=web", role="nobody")
    asked[MAPPING_TABLE].clear()
    assert len(terminal.document("fleet")) == 300
    keys = [key for batch in asked[MAPPING_TABLE] for key in batch]
    assert (len(keys), len(set(keys))) == (2 + 41 + 201, 2 + 41 + 201)
    assert len(asked[MAPPING_TABLE]) <= 4


def test_without_a_permission_for_rows_it_says_what_isnt_known(
    terminal: Terminal, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = desk.world.running(app="web")

    def refused(table: MappingTable, _: object) -> Any:
        raise AccessDeniedError("AccessDeniedException", "no", "dynamodb:BatchGetItem", resource=table.name)

    monkeypatch.setattr(MappingTable, "get_rows", refused)
    unknown = (
        "whether edits of mappings wait isn't known: you aren't allowed dynamodb:BatchGetItem on rolekeeper-mappings"
    )
    ran = terminal("fleet")
    assert (ran.exit_code, instance in ran.stdout, f"Warning: {unknown}" in ran.stderr) == (0, True, True)
    explained = terminal.document("explain", instance, "--no-who", "--no-uptake")
    assert (explained["unknown_because"], explained["not_in_effect"]) == (unknown, [])
    assert terminal("wait", "--mapping", "app=web", "--attempts", "1").exit_code == 255
