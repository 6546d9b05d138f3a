"""The state stream's function: what it makes of a record, and what it hands back to the stream."""

import json
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import on_state_change
from fixtures.account import FakeAccount
from fixtures.functions import lambda_context, wire
from rolekeeper.aws.errors import RetryableError
from rolekeeper.instances.requests import DroppedError
from rolekeeper.storage import layout

SAMPLES = Path(__file__).parents[2] / "events"
INSTANCE = "instance#123456789012#us-east-1#i-0abcd1234ef567890"
CONTEXT = lambda_context("on_state_change")


class RecordedSteering:
    """Remembers what it was told; `fails` says for which partition keys, and how."""

    def __init__(self) -> None:
        self.told: list[tuple[layout.Key, str]] = []
        self.fails: dict[str, Exception] = {}

    def written(self, key: layout.Key, correlation_id: str, at: datetime) -> None:
        assert at.tzinfo
        self.told.append((key, correlation_id))
        if error := self.fails.get(key[0]):
            raise error


@pytest.fixture
def steering(world: FakeAccount, monkeypatch: pytest.MonkeyPatch) -> RecordedSteering:
    made = RecordedSteering()
    wire(monkeypatch, lambda: SimpleNamespace(telemetry=world.telemetry(), overrides=made))
    return made


def handle(*records: Any) -> Any:
    return on_state_change.handler({"Records": list(records)}, CONTEXT)


def record(pk: str, number: int = 1) -> dict[str, Any]:
    keys = {"pk": {"S": pk}, "sk": {"S": "pin"}}
    return {
        "eventID": f"event-{number}",
        "eventName": "INSERT",
        "dynamodb": {"Keys": keys, "SequenceNumber": str(number), "ApproximateCreationDateTime": 1772442003.0},
    }


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("control-written", layout.CONTROL),
        ("pin-written", (INSTANCE, "pin")),
        ("pin-released", (INSTANCE, "pin")),
        ("approval-written", ("approval#AROAEXAMPLE:grace#workload", "web")),
        ("timer-armed", ("timers", f"2026-03-02T09:16:00.000000Z#{INSTANCE}")),
    ],
)
def test_what_was_written_is_acted_on_under_the_id_of_its_stream_record(
    steering: RecordedSteering, name: str, key: layout.Key
) -> None:
    batch = json.loads((SAMPLES / f"{name}.json").read_text())
    assert on_state_change.handler(batch, CONTEXT) == {"batchItemFailures": []}
    assert steering.told == [(key, batch["Records"][0]["eventID"])]


def test_a_record_that_aws_gave_no_answer_for_is_reported_alone(steering: RecordedSteering) -> None:
    steering.fails = {"b": RetryableError("Throttling", "slow down")}
    answer = handle(*(record(pk, number) for number, pk in enumerate("abc")))
    assert answer == {"batchItemFailures": [{"itemIdentifier": "1"}]}
    assert [key[0] for key, _ in steering.told] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "harm",
    [
        {"Keys": None},
        {"Keys": {"pk": {"S": "bad"}, "sk": {"N": "1"}}},
        {"Keys": "control"},
        {"ApproximateCreationDateTime": None},
        None,
    ],
    ids=repr,
)
def test_a_malformed_record_is_dropped_with_a_metric_and_a_log_line(
    steering: RecordedSteering, world: FakeAccount, harm: dict[str, Any] | None
) -> None:
    bad = record("bad", 1)
    bad["dynamodb"] = harm and {**bad["dynamodb"], **harm}
    assert handle(bad, record("good", 2)) == {"batchItemFailures": []}
    assert [key[0] for key, _ in steering.told] == ["good"]
    assert [line["message"] for line in world.logged()] == ["dropped"]


def test_what_steers_nothing_is_dropped_and_not_tried_again(steering: RecordedSteering, world: FakeAccount) -> None:
    steering.fails = {"bad": DroppedError("it names no instance")}
    assert handle(record("bad")) == {"batchItemFailures": []}
    assert [line["reason"] for line in world.logged() if line["message"] == "dropped"] == ["it names no instance"]
