"""No name that AWS takes is so long that what is written about a change doesn't fit: it is checked with the longest.

DynamoDB takes an item of 400 KB and a transaction of 4 MB (DynamoDB developer guide, "Service quotas"), and so does the
fake. A log line of Lambda is cut at 256 KB.
"""

from datetime import timedelta

import pytest

from fakes.dynamodb_values import ITEM_BYTES, item_size
from fixtures.account import ACCOUNT, FakeAccount
from fixtures.state_table import STATE_TABLE
from rolekeeper.model.instance import AppliedChange, DesiredChange, Grant, RecordChange
from rolekeeper.model.mapping import MappingKey
from rolekeeper.settings import ContentionRule
from rolekeeper.storage import layout
from rolekeeper.storage.layout import Item

LOG_LINE = 256 * 1024
# EC2: 50 tags, keys of 128 and values of 256 characters, of up to four bytes each.
TAGS = {f"{number:03}" + "\U0001f600" * 125: "\U0001f601" * 256 for number in range(50)}
# IAM: a path of 512 characters, a name of 128.
PATH = f"/rolekeeper/{'p' * 499}/"
# The template's largest ContestedAfter.
OFTEN = 100

pytestmark = pytest.mark.world(contention=ContentionRule(OFTEN, timedelta(days=1)))


def long_arn(number: int) -> str:
    return f"arn:aws:iam::{ACCOUNT}:instance-profile{PATH}{number:03}{'n' * 125}"


def record_item(world: FakeAccount, instance: str) -> Item:
    return world.store.get([layout.record_key(world.key(instance))])[layout.record_key(world.key(instance))]


def test_the_longest_tags_and_a_hundred_mappings_fit_a_change_and_its_log_line(world: FakeAccount) -> None:
    world.profile("web", path=PATH)
    for number, (key, value) in enumerate(TAGS.items()):
        for text in (value, "*"):
            world.publish(
                f"{key}={text}", "web", priority=number + 2, require_tags={**TAGS, "another": "\U0001f602" * 256}
            )
    first = next(iter(TAGS))
    world.publish(f"{first}={TAGS[first]}", "web", priority=1)
    instance = world.running(**TAGS)
    world.reconcile(instance)
    assert world.carries(instance) == "web"
    (entry,) = world.history(instance)
    assert len(entry["decision"]["losers"]) == 50
    assert entry["answer"]["association-id"], "the outcome was written too"
    assert item_size(layout.to_attributes(entry)) < ITEM_BYTES * 3 / 4
    assert max(len(line.encode()) for line in world.log.getvalue().splitlines()) < LOG_LINE


def test_the_largest_record_takes_one_more_change(world: FakeAccount) -> None:
    """The most grants, the most counted changes, the longest condition: the change and its outcome are written."""
    longest = MappingKey(*next(iter(TAGS.items())))
    world.profile("web", path=PATH)
    world.publish(f"{longest.tag_key}={longest.tag_value}", "web")
    instance = world.running(**TAGS)
    key, now = world.key(instance), world.clock.now()
    grants = tuple(Grant(long_arn(number), "r" * 64, longest, 1, now) for number in range(22))
    world.state.save(key, RecordChange(grants=grants), now)
    desired = DesiredChange(longest, 1, world.profiles["web"].arn)
    for number in range(OFTEN - 1):
        applied = AppliedChange(desired, now + timedelta(seconds=number))
        world.state.save(key, RecordChange(applied=applied), now)
    world.later(minutes=10)
    world.reconcile(instance)
    assert world.carries(instance) == "web"
    assert len(world.record(instance).repeated(desired)) == OFTEN
    assert item_size(layout.to_attributes(record_item(world, instance))) < ITEM_BYTES * 3 / 4


def test_of_former_grants_the_newest_are_kept_and_what_is_carried(world: FakeAccount) -> None:
    instance = world.running()
    for number in range(30):
        world.publish("workload=web", f"role{number}")
        world.tag(instance, workload="web")
        world.reconcile(instance)
        world.later(hours=1)
    kept = {arn.rpartition("/")[2] for arn in world.record(instance).grants}
    assert kept == {f"role{number}" for number in range(8, 30)}
    assert world.granted(instance)


def test_a_record_that_is_full_is_refused_before_ec2_is_asked(world: FakeAccount) -> None:
    """Somebody else filled it: nothing of ours is that large."""
    instance = world.running(workload="web")
    world.publish("workload=web", "web")
    pk, sk = layout.record_key(world.key(instance))
    full = {"pk": pk, "sk": sk, "theirs": "x" * (ITEM_BYTES - 200)}
    world.dynamodb.put_item(TableName=STATE_TABLE, Item=layout.to_attributes(full))
    outcome = world.reconcile(instance)
    assert outcome.error
    assert (world.mutations, world.carries(instance)) == ([], "")
