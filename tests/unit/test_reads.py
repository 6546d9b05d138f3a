"""Every read of the tables, by operation: each is consistent, and goes on to the last page.

The fake answers a read that isn't consistent with items as they were before the last write to them, in pages of two. So
all that was just written is found here only if a read is consistent and reads on.
"""

import ast
from collections.abc import Callable
from itertools import chain
from typing import Any

import pytest

from fixtures.account import MAPPING_TABLE, FakeAccount, mapping_key
from fixtures.state_table import table_keys
from rolekeeper.mappings.table import MappingTable
from support.templates import ROOT

# Which operations read a table, where: nothing else does, and none of them may be eventually consistent.
READS = {
    "layers/rolekeeper/rolekeeper/storage/state.py": {"batch_get_item", "query"},
    "layers/rolekeeper/rolekeeper/mappings/table.py": {"batch_get_item", "get_item", "query", "scan"},
}
OPERATIONS = {"get_item", "batch_get_item", "query", "scan", "transact_get_items", "execute_statement"}


def reads_in(text: str) -> set[str]:
    """The operations of a client that a module reads tables with."""
    clients = ("client", "_client", "dynamodb")
    attributes = [each for each in ast.walk(ast.parse(text)) if isinstance(each, ast.Attribute)]
    named = {each.attr for each in attributes if getattr(each.value, "attr", getattr(each.value, "id", "")) in clients}
    return named & OPERATIONS


def test_tables_are_read_by_these_operations_alone() -> None:
    modules = chain(*((ROOT / part).rglob("*.py") for part in ("layers", "functions", "cli", "verify")))
    found = {str(each.relative_to(ROOT)): reads_in(each.read_text()) for each in modules}
    assert {name: operations for name, operations in found.items() if operations} == READS


@pytest.fixture
def tables(world: FakeAccount) -> FakeAccount:
    """Both tables, each item of which was written twice, then again just now; the next batch is left unprocessed."""
    world.dynamodb.add_table(MAPPING_TABLE, table_keys("MappingTable"))
    for word in ("before", "now"):
        for number in range(5):
            world.store.write(world.store.put({"pk": "p", "sk": f"history#{number}", "word": word}))
            row = {"tag_key": {"S": "app"}, "tag_value": {"S": f"{number}"}, "word": {"S": word}}
            world.dynamodb.put_item(TableName=MAPPING_TABLE, Item=row)
    world.dynamodb.unprocessed = 1
    return world


KEYS, TAGS = [("p", f"history#{number}") for number in range(5)], [mapping_key(f"app={number}") for number in range(5)]
# What a method that reads finds in five items.
FINDS: dict[str, Callable[[FakeAccount, MappingTable], list[Any]]] = {
    "Store.get": lambda world, _: [item["word"] for item in world.store.get(KEYS).values()],
    "Store.items": lambda world, _: [item["word"] for item in world.store.items("p", "~")],
    "Store.last": lambda world, _: [item["word"] for item in world.store.last("p", "history#", 5)],
    "MappingTable.get_row": lambda _, table: [(table.get_row(tag) or {})["word"]["S"] for tag in TAGS],
    "MappingTable.all_rows": lambda _, table: [row["word"]["S"] for row in table.all_rows().values()],
    "MappingTable.get_rows": lambda _, table: [row["word"]["S"] for row in table.get_rows(TAGS).values()],
}


@pytest.mark.parametrize("method", FINDS)
def test_a_read_finds_all_that_was_just_written(tables: FakeAccount, method: str) -> None:
    table = MappingTable(tables.dynamodb, MAPPING_TABLE, tables.clock.sleep)  # type: ignore[arg-type]  # shaped like a client
    assert FINDS[method](tables, table) == ["now"] * 5


def test_the_keys_of_rows_are_those_that_were_just_written(tables: FakeAccount) -> None:
    tables.dynamodb.put_item(TableName=MAPPING_TABLE, Item={"tag_key": {"S": "app"}, "tag_value": {"S": "new"}})
    table = MappingTable(tables.dynamodb, MAPPING_TABLE)  # type: ignore[arg-type]  # shaped like a client
    wanted = [mapping_key(f"app={each}") for each in (*range(5), "new")]
    assert list(chain.from_iterable(table.keys_of("app"))) == wanted
    assert sorted(chain.from_iterable(table.keys())) == wanted


def test_history_is_cut_to_what_was_asked_for(tables: FakeAccount) -> None:
    assert [each["sk"] for each in tables.store.last("p", "history#", 3)] == ["history#4", "history#3", "history#2"]
    assert tables.store.history("p", 1)[0]["sk"] == "history#4"
