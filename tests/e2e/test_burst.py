"""Forty mappings edited at once: none is lost, and no instance is changed twice. `make soak` edits a thousand."""

import os
import time

import pytest

from rolekeeper.model.instance import InstanceKey
from rolekeeper.storage.state import Store
from rolekeeper_local.account import EmulatedAccount
from rolekeeper_local.embedded import REGION
from support.changes import changes_of
from support.fleets import write_rows
from support.waiting import eventually

pytestmark = pytest.mark.emulator

ROWS, INSTANCES = int(os.environ.get("ROLEKEEPER_BURST_ROWS") or 40), 10
# Of all rows: on a slow machine that does much else at the same time.
SECONDS = 400


def put(deployed: EmulatedAccount, role: str) -> None:
    write_rows(deployed, {("burst", str(number)): {"role": role} for number in range(ROWS)})


def published(deployed: EmulatedAccount, revision: int) -> bool:
    """Whether every row says that this revision serves."""
    rows = [
        row
        for page in deployed.dynamodb.get_paginator("query").paginate(
            TableName=deployed.mapping_table,
            KeyConditionExpression="tag_key = :key",
            ExpressionAttributeValues={":key": {"S": "burst"}},
            ConsistentRead=True,
        )
        for row in page["Items"]
    ]
    wanted = {"S": "Published"}, {"N": str(revision)}
    return sum((row.get("status"), row.get("status_revision")) == wanted for row in rows) == ROWS


def test_a_burst_of_edits_loses_nothing_and_changes_each_instance_once(deployed: EmulatedAccount) -> None:
    put(deployed, "s3-read")
    began = time.monotonic()
    eventually(lambda: published(deployed, 1), SECONDS)
    took = time.monotonic() - began
    instances = [deployed.launch("burst", burst=str(number * ROWS // INSTANCES)) for number in range(INSTANCES)]
    first = [eventually(lambda each=each: deployed.carries(each, "s3-read")) for each in instances]  # type: ignore[misc]

    put(deployed, "s3-write")
    began = time.monotonic()
    eventually(lambda: published(deployed, 2), SECONDS)
    print(f"{ROWS:,} new rows in {took:.0f} s, {ROWS:,} edits beside them in {time.monotonic() - began:.0f} s")  # noqa: T201  # shown by `make soak`
    second = [eventually(lambda each=each: deployed.carries(each, "s3-write")) for each in instances]  # type: ignore[misc]
    assert not {each.association_id for each in first} & {each.association_id for each in second}

    store = Store(deployed.dynamodb, deployed.state_table)
    for instance, attached, replaced in zip(instances, first, second, strict=True):
        changes = changes_of(store, InstanceKey(deployed.account, REGION, instance))
        assert [(each["decision"]["action"], each["answer"]["association-id"]) for each in changes] == [
            ("Replace", replaced.association_id),
            ("Attach", attached.association_id),
        ]
