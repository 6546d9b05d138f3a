"""What a reconcile costs, counted at the clients: however large the batch, however many mappings there are."""

from typing import Any

import pytest

from fixtures.account import FakeAccount
from fixtures.state_table import STATE_TABLE
from rolekeeper.storage import codec
from strategies.values import published

ONE_LOOK = {"DescribeIamInstanceProfileAssociations": 1, "DescribeInstances": 1, "BatchGetItem": 1}


def _fill(world: FakeAccount, mappings: int) -> None:
    """Put so many more published mappings into the state table."""
    for number in range(mappings):
        item = codec.published_item(published(f"workload=other-{number}", "web"))
        world.dynamodb.put_item(TableName=STATE_TABLE, Item=codec.to_attributes(item))


@pytest.mark.parametrize("mappings", [1, 10_000])
def test_a_converged_batch_of_ten_costs_two_ec2_reads_and_one_table_read_and_no_write(
    world: FakeAccount, mappings: int
) -> None:
    world.publish("workload=web", "web")
    _fill(world, mappings - 1)
    fleet = [world.running(workload="web", Name=f"web-{number}") for number in range(10)]
    world.reconcile(*fleet)
    assert all(world.granted(each) for each in fleet)
    world.quiet()
    world.reconcile(*fleet)
    assert world.calls.counted() == ONE_LOOK


def test_the_table_is_asked_for_the_tags_of_the_batch_and_for_nothing_else(
    world: FakeAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    answer = world.dynamodb.batch_get_item

    def counted(**request: Any) -> Any:
        asked.append(len(request["RequestItems"][STATE_TABLE]["Keys"]))
        return answer(**request)

    monkeypatch.setattr(world.dynamodb, "batch_get_item", counted)
    fleet = [world.running(workload="web") for _ in range(10)]
    world.reconcile(*fleet)
    # The control item, the marker, ten records and ten pins, and workload=web and workload=* once for all.
    assert asked == [1 + 1 + 10 + 10 + 2]


def test_fifty_tags_on_ten_instances_are_read_in_hundreds(world: FakeAccount) -> None:
    fleet = [world.running(**{f"key-{number}-{tag}": "value" for tag in range(50)}) for number in range(10)]
    world.quiet()
    world.reconcile(*fleet)
    # The control item, the marker, 10 records, 10 pins, and 2 mappings for each of 500 tags.
    assert world.calls.counted() == {**ONE_LOOK, "BatchGetItem": 11}


def test_an_untagged_instance_costs_one_look(world: FakeAccount) -> None:
    instance = world.running()
    world.reconcile(instance)
    assert world.calls.counted() == ONE_LOOK


def test_an_attach_costs_one_mutation_and_two_writes(world: FakeAccount) -> None:
    world.publish("workload=web", "web")
    instance = world.running(workload="web")
    world.quiet()
    world.reconcile(instance)
    assert world.mutations == ["AssociateIamInstanceProfile"]
    assert world.writes == ["TransactWriteItems", "TransactWriteItems"]


@pytest.mark.parametrize(
    ("tags", "mutation"),
    [
        ({"workload": "db"}, "ReplaceIamInstanceProfileAssociation"),
        ({}, "DisassociateIamInstanceProfile"),
    ],
    ids=["replace", "detach"],
)
def test_a_replace_and_a_detach_cost_one_mutation_and_two_writes_each(
    world: FakeAccount, tags: dict[str, str], mutation: str
) -> None:
    world.publish("workload=web", "web")
    world.publish("workload=db", "db")
    instance = world.running(workload="web")
    world.reconcile(instance)
    world.untag(instance, "workload")
    if tags:
        world.tag(instance, **tags)
    world.quiet()
    world.reconcile(instance)
    assert world.mutations == [mutation]
    # The grant and the history entry with their room in the mapping's window, and the outcome.
    assert world.writes == ["TransactWriteItems", "TransactWriteItems"]
    assert world.calls["PutEvents"] == 1


def test_only_those_of_a_batch_that_differ_cost_more(world: FakeAccount) -> None:
    world.publish("workload=web", "web")
    fleet = [world.running(workload="web") for _ in range(9)]
    world.reconcile(*fleet)
    late = world.running(workload="web")
    world.quiet()
    world.reconcile(*fleet, late)
    assert world.mutations == ["AssociateIamInstanceProfile"]
    assert world.writes == ["TransactWriteItems", "TransactWriteItems"]
    assert world.granted(late)
