"""What a reconcile costs, counted at the clients: however large the batch, however many mappings there are."""

from typing import Any

import pytest

from fixtures.account import ACCOUNT, FakeAccount
from fixtures.state_table import STATE_TABLE
from rolekeeper.storage import layout
from strategies.values import published

ONE_LOOK = {"DescribeIamInstanceProfileAssociations": 1, "DescribeInstances": 1, "BatchGetItem": 1}


@pytest.fixture(autouse=True)
def large_pages(world: FakeAccount) -> None:
    """What AWS is asked for in one page comes in one page."""
    world.large_pages()


def _fill(world: FakeAccount, mappings: int) -> None:
    """Put so many more published mappings into the state table."""
    for number in range(mappings):
        item = layout.published_item(published(f"workload=other-{number}", "web"), ACCOUNT)
        world.dynamodb.put_item(TableName=STATE_TABLE, Item=layout.to_attributes(item))


@pytest.mark.parametrize("mappings", [1, 1_000])
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
    # The control item, the marker, two windows and the line, ten records and pins, workload=web and workload=* for all.
    assert asked == [1 + 1 + 3 + 10 + 10 + 2]


def test_a_change_is_followed_for_three_reads_and_a_share_of_the_minutes_calls(world: FakeAccount) -> None:
    """Ten instances: the minute reads their follow-ups, sends them in one call, deletes them in one, counts in one."""
    world.publish("workload=web", "web")
    fleet = [world.running(workload="web") for _ in range(10)]
    world.reconcile(*fleet)
    world.quiet()
    world.follow()
    # The minute's own reads are of timers and follow-ups.
    minute = {"Query": 5, "SendMessageBatch": 1, "TransactWriteItems": 1, "UpdateItem": 1}
    assert world.calls.counted() == {**minute, **ONE_LOOK}
    world.quiet()
    world.follow()
    assert world.calls.counted() == {"Query": 5}, "EC2 shows them as associated, so they are followed no more"
