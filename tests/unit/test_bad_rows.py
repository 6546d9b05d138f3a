"""The corpus of malformed rows: each is read, and says why it is refused.

What reading can't tell, and of each group one row, is judged: as a first edit, and over a row that is in effect.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError, ParamValidationError

from fixtures.account import ACCOUNT, MAPPING_TABLE, new_account
from fixtures.mappings import TRUSTS_LAMBDA, Desk
from fixtures.state_table import STATE_TABLE
from rolekeeper.mappings.rows import HomeAccount, read_row
from rolekeeper.model.mapping import MappingKey, PublishedMapping
from rolekeeper.model.problem import sentence
from strategies.bad_rows import REFUSED, BadRow, corpus

ROWS = list(corpus())
PUT = [row for row in ROWS if row.status != REFUSED]
REJECTED = [row for row in PUT if row.status == "Rejected"]
READ = [row for row in PUT if row.status != "Rejected"]
GOOD: dict[str, Any] = {"tag_key": {"S": "workload"}, "tag_value": {"S": "web"}, "role": {"S": "web"}}
HOME = HomeAccount(ACCOUNT, "aws")
DENIES_EC2 = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"},
        {"Effect": "Deny", "Principal": "*", "Action": "sts:AssumeRole"},
    ],
}


def item(row: BadRow) -> dict[str, Any]:
    """The item that an entry describes."""
    return {name: attribute for name, attribute in {**GOOD, **row.columns}.items() if attribute is not None}


# Those of which reading says all that is wrong.
UNREAD = [row for row in REJECTED if read_row(item(row), HOME).spec is None]
# One of each group, to be judged for the others.
OF_GROUPS = list({row.name.rpartition("-")[0]: row for row in reversed(PUT)}.values())
JUDGED = [row for row in REJECTED if row not in UNREAD or row in OF_GROUPS or len(row.reason) > 300]


@pytest.fixture(scope="module")
def shared() -> Iterator[Desk]:
    """One desk for the whole corpus, as a thousand new ones would take minutes."""
    with new_account() as world:
        made = Desk(world)
        made.role("web")
        made.role("api")
        made.role("outside", path="/")
        made.role("beside", path="/rolekeeper-too/")
        made.role("lambda", trust=TRUSTS_LAMBDA)
        made.role("denied", trust=DENIES_EC2)
        yield made


@pytest.fixture
def desk(shared: Desk) -> Iterator[Desk]:
    """The desk, its tables empty."""
    yield shared
    for table, key in ((MAPPING_TABLE, ("tag_key", "tag_value")), (STATE_TABLE, ("pk", "sk"))):
        for item in shared.world.dynamodb.items(table):
            shared.world.dynamodb.delete_item(TableName=table, Key={name: item[name] for name in key})


def edit(desk: Desk, item: dict[str, Any]) -> tuple[str, str, int]:
    """Put an item and have it judged; returns what the row says of itself."""
    desk.world.dynamodb.put_item(TableName=MAPPING_TABLE, Item=item)
    key = MappingKey(item["tag_key"]["S"], item["tag_value"]["S"])
    desk.app().publisher.publish(key, "edit-1")
    return desk.shows(str(key))


def served(desk: Desk, row: BadRow) -> PublishedMapping | None:
    """What is published of an entry's mapping."""
    return desk.served(f"{item(row)['tag_key']['S']}={item(row)['tag_value']['S']}")


def agrees(reason: str, row: BadRow) -> bool:
    """Whether a first edit's reason is the entry's."""
    return reason == row.reason if row.whole else row.reason in reason


def test_the_corpus_is_large_and_says_each_thing_once() -> None:
    assert len(REJECTED) >= 220
    texts = Counter(str(row.columns) for row in ROWS)
    assert [text[:80] for text, times in texts.items() if times > 1] == []


def test_every_reason_can_be_read() -> None:
    assert [row.name for row in PUT if not row.reason or not row.reason.isprintable()] == []


@pytest.mark.parametrize("row", UNREAD, ids=lambda row: row.name)
def test_a_malformed_row_says_why(desk: Desk, row: BadRow) -> None:
    desk.world.dynamodb.put_item(TableName=MAPPING_TABLE, Item=item(row))
    (stored,) = desk.world.dynamodb.items(MAPPING_TABLE)
    parsed = read_row(stored, HOME)
    reason = sentence(each.reason() for each in (*parsed.problems, *parsed.warnings))
    assert agrees(reason, row), reason


@pytest.mark.parametrize(
    "row", [row for row in REJECTED if row in JUDGED or row.has_its_own_tag], ids=lambda row: row.name
)
def test_a_malformed_first_edit_serves_nothing_and_says_why(desk: Desk, row: BadRow) -> None:
    status, reason, revision = edit(desk, item(row))
    assert (status, revision) == ("Rejected", 0)
    assert agrees(reason, row), reason
    assert served(desk, row) is None


@pytest.mark.parametrize("row", [row for row in JUDGED if not row.has_its_own_tag], ids=lambda row: row.name)
def test_a_malformed_edit_leaves_the_good_revision_serving(desk: Desk, row: BadRow) -> None:
    edit(desk, {**GOOD, "role": {"S": "api"}})
    before = served(desk, row)
    desk.quiet()

    status, reason, revision = edit(desk, item(row))

    assert (status, revision) == ("Rejected", 1)
    assert row.reason in reason
    assert reason.endswith("(revision 1 stays in effect)")
    assert len(reason) <= 1000
    assert before
    assert served(desk, row) == before
    assert desk.sent() == []
    assert desk.world.mutations == []


@pytest.mark.parametrize("row", READ, ids=lambda row: row.name)
def test_a_row_that_can_be_read_is_served_with_its_warning(desk: Desk, row: BadRow) -> None:
    status, reason, revision = edit(desk, item(row))
    assert (status, revision) == (row.status, 1)
    assert agrees(reason, row), reason
    published = served(desk, row)
    assert published
    assert {name: getattr(published.spec, name) for name in row.reads} == row.reads


@pytest.mark.parametrize("row", [row for row in ROWS if row.status == REFUSED], ids=lambda row: row.name)
def test_what_dynamodb_refuses_never_becomes_a_row(desk: Desk, row: BadRow) -> None:
    with pytest.raises((ClientError, ParamValidationError)) as refused:
        desk.world.dynamodb.put_item(TableName=MAPPING_TABLE, Item=item(row))
    if isinstance(refused.value, ClientError):
        assert refused.value.response["Error"]["Code"] == "ValidationException"
