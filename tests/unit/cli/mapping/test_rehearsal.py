"""A rehearsal publishes as the functions do, and writes nothing: its copies of the tables, and what it asks of AWS."""

from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fakes.dynamodb import FakeDynamoDB
from fixtures.account import mapping_key
from fixtures.mappings import Desk, mapping_file
from fixtures.terminal import Terminal
from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper.storage.state import Store, Update, Write
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.mapping import rehearsal
from rolekeeper_cli.options import Options
from rolekeeper_cli.row import edits
from strategies import store_steps

STATE = "state"
KEYS = list(product(("a", "b"), ("record", "x#1", "x#2", "x#10", "é")))


def answer(act: Callable[[Store], Any], store: Store) -> Any:
    try:
        return act(store)
    except AwsRefusalError as refused:
        return type(refused)


def table_and_copy(*puts: Callable[[Store], Write]) -> tuple[Store, rehearsal.StoreCopy, FakeDynamoDB]:
    """Return a state table, a copy of another that holds the same, and that other's client."""
    below = FakeDynamoDB({STATE: ("pk", "sk")})
    table = Store(FakeDynamoDB({STATE: ("pk", "sk")}), STATE)  # type: ignore[arg-type]  # a fake
    copied = rehearsal.StoreCopy(below, STATE)  # type: ignore[arg-type]  # the same
    for put in puts:
        store_steps.written(table, [put])
        store_steps.written(Store(copied.client, STATE), [put])
    return table, copied, below


def put(item: dict[str, Any]) -> Callable[[Store], Write]:
    return partial(store_steps.put, key=KEYS[0], item=item)


@given(st.lists(st.builds(put, store_steps.items), max_size=1), store_steps.updates)
@example([put({"blocks": {"p"}})], Update().add("blocks", frozenset({"q"})))
@example([put({"blocks": {"p", "q"}})], Update().discard("blocks", frozenset({"q"})))
@example([put({"blocks": {"p"}})], Update().discard("blocks", frozenset({"p"})))
def test_an_update_makes_of_an_item_in_a_copy_what_it_makes_of_it_in_the_table(
    puts: list[Callable[[Store], Write]], update: Update
) -> None:
    table, copied, _ = table_and_copy(*puts)
    copied.get(KEYS)  # as a publication, which reads what it writes on a condition
    done = [answer(lambda store: store.write(store.update(KEYS[0], update)), store) for store in (copied, table)]
    assert (done[0], copied.get(KEYS)) == (done[1], table.get(KEYS))


@settings(max_examples=40)
@given(st.lists(store_steps.puts, max_size=6), st.lists(store_steps.steps, min_size=4, max_size=14))
def test_a_copy_of_the_state_table_answers_as_the_table_does_and_leaves_that_as_it_is(
    puts: list[Callable[[Store], Write]], acts: list[Any]
) -> None:
    table, copied, below = table_and_copy(*puts)
    before = below.items(STATE)
    for act in acts:
        keys = [write.keywords["key"] for write in act.keywords.get("writes", ())]
        if len({*keys}) == len(keys):  # DynamoDB refuses two writes to one item
            copied.get(KEYS if keys else [])
            assert (act, answer(act, copied)) == (act, answer(act, table))
    assert copied.get(KEYS) == table.get(KEYS)
    assert below.items(STATE) == before


@pytest.fixture
def fleet(desk: Desk, terminal: Terminal) -> Terminal:
    """Two usable roles, and one without a profile; `app=web` gives three instances the first, any other `app` too."""
    desk.usable("web", "db")
    desk.role("new", profile=False)
    desk.edit("app=*", role="web", priority=500)
    desk.three_carry("web", "app=web")
    desk.quiet()
    return terminal


# Beside the questions to IAM about each role and its profile: the row, what is stored of it and of its any-value
# mapping, the records of its instances by pages, and EC2's two.
@pytest.mark.parametrize(
    ("line", "calls"),
    [
        ("set app=web role=db", {"GetItem": 1, "BatchGetItem": 4, "DescribeInstances": 2}),
        ("set app=new role=db", {"GetItem": 1, "BatchGetItem": 2, "DescribeInstances": 1}),
        ("set app=* role=db priority=500", {"GetItem": 1, "BatchGetItem": 4, "Query": 2, "DescribeInstances": 2}),
        ("rm app=web", {"GetItem": 1, "BatchGetItem": 4, "Query": 1, "DescribeInstances": 2}),
    ],
)
@pytest.mark.parametrize("held", [False, True])
def test_a_preview_asks_no_more_than_judging_the_row_does(
    desk: Desk, fleet: Terminal, line: str, calls: dict[str, int], *, held: bool
) -> None:
    if held:
        fleet.one_change_passes()
        calls = {**calls, "DescribeInstances": calls["DescribeInstances"] + (2 if "set app=web" in line else 0)}
    desk.world.calls.clear()
    ran = fleet.types("n\n", "mapping", *line.split())
    made = desk.world.calls.counted()
    assert "[y/N]" in ran.stderr
    counted = ("GetItem", "BatchGetItem", "Query", "DescribeInstances")
    assert {name: made[name] for name in counted if name in made} == calls
    most = {"GetRole": 2, "ListAttachedRolePolicies": 2, "ListRolePolicies": 2, "GetInstanceProfile": 2}
    assert all(made.get(name, 0) <= number for name, number in most.items()), made


def test_nothing_is_written_sent_or_made(desk: Desk, fleet: Terminal, tmp_path: Path) -> None:
    fleet.one_change_passes()
    rows = ("tag_key: app, tag_value: web, role: db", "tag_key: app, tag_value: x, role: new")
    before = desk.world.dynamodb.items(desk.world.store.table), desk.row("app=web"), desk.row("app=*")
    desk.world.calls.clear()
    ran = fleet("plan", "-f", mapping_file(tmp_path, *rows), "--prune")
    assert ran.exit_code == 4, ran.output
    made = desk.world.calls.counted()
    assert not [name for name in made if not name.startswith(("Get", "List", "BatchGet", "Describe", "Query", "Scan"))]
    assert (desk.world.dynamodb.items(desk.world.store.table), desk.row("app=web"), desk.row("app=*")) == before


def test_a_row_that_an_edit_frees_of_its_conflict_is_counted_with_it(desk: Desk, fleet: Terminal) -> None:
    desk.world.running(app="web", tier="x")
    assert desk.edit("tier=x", role="db").status == "Conflict"
    deployment = Deployment(Options())
    rows = edits.set_columns(deployment, mapping_key("app=web"), ["priority=400"])
    freed = {str(row.key): (row.status.value, row.change is None) for row in rehearsal.foresee(deployment, rows).edits}
    assert freed == {"app=web": ("Published", False), "tier=x": ("Published", True)}
    told = fleet.types("n\n", "mapping", "set", "app=web", "priority=400").stderr
    assert "1 to attach" in told
    fleet.judges("app=web")
    fleet.types("y\n", "mapping", "set", "app=web", "priority=400")
    assert desk.shows("tier=x")[0] == "Published"


def test_in_a_plan_each_row_counts_with_what_those_before_change(desk: Desk, fleet: Terminal, tmp_path: Path) -> None:
    desk.edit("tier=x", role="web")
    for _ in range(3):
        desk.converged("web", tier="x")
    fleet.changes_pass(4)
    file = mapping_file(tmp_path, "tag_key: app, tag_value: web, role: db", "tag_key: tier, tag_value: x, role: db")
    first, second = fleet.document("plan", "-f", file, code=4)["mappings"]
    assert (first["status"], second["status"]) == ("Published", "Held")
    said = "instances (3 of 6; 4 may change without approval), 6 with the rows before it in the plan; "
    assert said in second["reason"]
    for tag in ("app=web", "tier=x"):
        fleet.judges(tag)
        fleet("mapping", "set", tag, "role=db")
    assert (desk.shows("app=web")[0], desk.shows("tier=x")[0]) == ("Published", "Held")
