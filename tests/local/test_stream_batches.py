"""What becomes of a batch from a stream: nothing is lost, and nothing holds up what is behind it for ever."""

import json
from typing import Any

import pytest

from rolekeeper_local.stream_batches import Outcome, Tries, outcome

REPORTS = {"FunctionResponseTypes": ["ReportBatchItemFailures"]}
BISECTS = {**REPORTS, "BisectBatchOnFunctionError": True}
ERROR = {"error": True}


def batch(count: int, age: float = 0) -> list[dict[str, Any]]:
    return [
        {"dynamodb": {"SequenceNumber": str(number), "ApproximateCreationDateTime": 1000 - age}}
        for number in range(count)
    ]


def failing(*numbers: int) -> dict[str, Any]:
    return {"body": {"batchItemFailures": [{"itemIdentifier": str(number)} for number in numbers]}}


def judged(count: int, answer: dict[str, Any], mapping: dict[str, Any], tries: Tries | None = None) -> Outcome:
    return outcome(batch(count), answer, mapping, tries or Tries(), 1000)


@pytest.mark.parametrize(
    "answer",
    [{"body": None}, {"body": {}}, failing(), {"body": '{"batchItemFailures": []}'}, {"body": "null"}, {"body": [1]}],
)
def test_a_batch_that_went_well_is_done_and_all_is_as_in_the_beginning(answer: dict[str, Any]) -> None:
    assert judged(3, answer, REPORTS, Tries(2, 1)) == Outcome(3, Tries())


@pytest.mark.parametrize("answer", [failing(4, 2), {"body": json.dumps(failing(2)["body"])}])
def test_everything_from_the_first_failed_record_on_comes_again(answer: dict[str, Any]) -> None:
    assert judged(5, answer, REPORTS) == Outcome(2, Tries(failed=1))


def test_a_record_that_isnt_of_the_batch_fails_all_of_it() -> None:
    assert judged(5, failing(99), REPORTS).done == 0


def test_reports_count_only_where_they_are_asked_for() -> None:
    assert judged(5, failing(2), {}) == Outcome(5, Tries())


def test_a_failed_batch_is_halved_without_counting_until_the_bad_record_is_alone() -> None:
    tries, sizes = Tries(), [10]
    while sizes[-1] > 1:
        tries = judged(sizes[-1], ERROR, BISECTS, tries).tries
        assert tries.at_most
        sizes.append(tries.at_most)
    assert sizes == [10, 5, 3, 2, 1]
    assert tries.failed == 0
    assert judged(1, ERROR, BISECTS, tries) == Outcome(0, Tries(failed=1, at_most=1))


def test_of_a_reported_batch_the_rest_is_halved() -> None:
    assert judged(10, failing(4), BISECTS) == Outcome(4, Tries(at_most=3))


def test_what_failed_too_often_is_put_aside_and_the_stream_goes_on() -> None:
    mapping = {**BISECTS, "MaximumRetryAttempts": 2}
    assert judged(1, ERROR, mapping, Tries(failed=1, at_most=1)).aside == ""
    assert judged(1, ERROR, mapping, Tries(failed=2, at_most=1)) == Outcome(0, Tries(), "RetryAttemptsExhausted")


def test_what_is_too_old_is_put_aside() -> None:
    mapping = {**REPORTS, "MaximumRecordAgeInSeconds": 60}
    assert outcome(batch(2, age=59), ERROR, mapping, Tries(), 1000).aside == ""
    assert outcome(batch(2, age=61), ERROR, mapping, Tries(), 1000) == Outcome(0, Tries(), "MaxRecordAgeExceeded")
