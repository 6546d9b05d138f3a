"""The mapping stream's function: whom it wakes the publisher for, and what it hands back to the stream."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import on_mapping_change
from fixtures.account import FakeAccount
from fixtures.functions import lambda_context, wire
from rolekeeper.aws.errors import RetryableError
from rolekeeper.model.mapping import MappingKey

SAMPLES = Path(__file__).parents[2] / "events"
CONTEXT = lambda_context("on_mapping_change")


class RecordedPublisher:
    """Remembers what it was asked; `fails` names the tag values that AWS gives no answer for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.by: list[tuple[str, str]] = []
        self.fails: set[str] = set()

    def publish(self, key: MappingKey, correlation_id: str, claimed_by: str, made_by: str) -> None:
        self.asked.append((str(key), correlation_id))
        self.by.append((claimed_by, made_by))
        if key.tag_value in self.fails:
            raise RetryableError("Throttling", "slow down")


@pytest.fixture
def publisher(world: FakeAccount, monkeypatch: pytest.MonkeyPatch) -> RecordedPublisher:
    made = RecordedPublisher()
    wire(monkeypatch, lambda: SimpleNamespace(telemetry=world.telemetry(), publisher=made))
    return made


def handle(*records: Any) -> Any:
    return on_mapping_change.handler({"Records": list(records)}, CONTEXT)


def sample(name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((SAMPLES / f"{name}.json").read_text())["Records"][0]
    return record


def record(value: str, number: int = 1) -> dict[str, Any]:
    """A row that was put."""
    key = {"tag_key": {"S": "workload"}, "tag_value": {"S": value}}
    return {
        "eventID": f"event-{number}",
        "eventName": "INSERT",
        "dynamodb": {"Keys": key, "NewImage": {**key, "role": {"S": "web"}}, "SequenceNumber": str(number)},
    }


@pytest.mark.parametrize("name", ["mapping-inserted", "mapping-modified", "mapping-removed"])
def test_a_changed_row_is_judged_under_the_id_of_its_stream_record(publisher: RecordedPublisher, name: str) -> None:
    assert handle(sample(name)) == {"batchItemFailures": []}
    key = sample(name)["dynamodb"]["Keys"]
    text = f"{key['tag_key']['S']}={key['tag_value']['S']}"
    assert publisher.asked == [(text, sample(name)["eventID"])]


def test_our_own_status_write_wakes_nobody(publisher: RecordedPublisher, world: FakeAccount) -> None:
    assert handle(sample("mapping-status-written")) == {"batchItemFailures": []}
    assert publisher.asked == []
    assert world.logged() == []


def test_removing_the_status_by_hand_asks_for_a_check(publisher: RecordedPublisher) -> None:
    change = sample("mapping-status-written")
    images = change["dynamodb"]
    images["OldImage"], images["NewImage"] = images["NewImage"], images["OldImage"]
    handle(change)
    assert len(publisher.asked) == 1


@pytest.mark.parametrize(
    ("before", "after", "wakes"),
    [
        ({}, {"approve": {"N": "2"}}, True),  # a column like any unknown one
        ({}, {"held_revision": {"N": "2"}}, False),
        ({}, {"edited_by": {"S": "ada"}}, False),
        ({"edited_by": {"S": "ada"}}, {}, False),
    ],
)
def test_who_edited_a_row_and_our_own_columns_ask_for_no_work(
    publisher: RecordedPublisher, before: dict[str, Any], after: dict[str, Any], *, wakes: bool
) -> None:
    change = record("web")
    row = {**change["dynamodb"]["NewImage"], "status": {"S": "Held"}}
    change["dynamodb"] |= {"OldImage": {**row, **before}, "NewImage": {**row, **after}}
    handle(change)
    assert bool(publisher.asked) == wakes


DYNAMODB = {"userIdentity": {"type": "Service", "principalId": "dynamodb.amazonaws.com"}}


@pytest.mark.parametrize(
    ("name", "also", "by"),
    [
        ("mapping-removed", {}, ("ada", "")),
        ("mapping-removed", DYNAMODB, ("", "dynamodb.amazonaws.com")),  # it expired
        ("mapping-modified", {}, ("", "")),
    ],
)
def test_who_deleted_a_row_is_whom_it_named_last_or_dynamodb_and_a_row_that_is_there_says_that_itself(
    publisher: RecordedPublisher, name: str, also: dict[str, Any], by: tuple[str, str]
) -> None:
    change = sample(name) | also
    change["dynamodb"]["OldImage"]["edited_by"] = {"S": "ada"}
    handle(change)
    assert publisher.by == [by]


def test_one_record_of_a_hundred_that_fails_is_reported_alone(publisher: RecordedPublisher) -> None:
    publisher.fails = {"w42"}
    answer = handle(*(record(f"w{number}", number) for number in range(100)))
    assert answer == {"batchItemFailures": [{"itemIdentifier": "42"}]}
    assert len(publisher.asked) == 100


@pytest.mark.parametrize(
    "change",
    [{}, {"Keys": {"tag_key": {"N": "1"}, "tag_value": {"S": "bad"}}}, {"Keys": "workload=web"}, None],
    ids=["without keys", "a number", "a text", "no change"],
)
def test_a_malformed_record_is_dropped_with_a_log_line(
    publisher: RecordedPublisher, world: FakeAccount, change: dict[str, Any] | None
) -> None:
    bad = record("bad", 1)
    del bad["dynamodb"]
    bad |= {} if change is None else {"dynamodb": change}
    assert handle(bad, record("good", 2)) == {"batchItemFailures": []}
    assert publisher.asked == [("workload=good", "event-2")]
    assert any(line["message"] == "dropped" for line in world.logged())
