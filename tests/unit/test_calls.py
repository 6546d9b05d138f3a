"""What a reconcile costs, counted at the clients: however large the batch, however many mappings there are."""

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
