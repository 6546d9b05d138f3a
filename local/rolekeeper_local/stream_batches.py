"""The outcome of a batch from a DynamoDB stream, by the function's answer and the settings of its mapping.

Lambda developer guide, "Process DynamoDB records with Lambda": of a batch that failed in part, everything from the
first failed record on is retried; one that failed as a whole is retried, or halved, which isn't a try; records that
failed too often, or are too old, go to the failure destination, and the stream goes on.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Tries:
    """Where a mapping stands: how often the record at its head failed, and how many records it may read at once."""

    failed: int = 0
    at_most: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What to do next. The first `done` records don't come again; nor does the rest, if `aside` says why."""

    done: int
    tries: Tries
    aside: str = ""


def outcome(
    batch: Sequence[Mapping[str, Any]], answer: Mapping[str, Any], mapping: Mapping[str, Any], tries: Tries, now: float
) -> Outcome:
    """Judge a batch of at least one record, by ministack's `answer` of the function and the event source mapping."""
    done = _first_failed(batch, answer, mapping)
    if done == len(batch):
        return Outcome(done, Tries())
    left = len(batch) - done
    if left > 1 and mapping.get("BisectBatchOnFunctionError"):
        return Outcome(done, Tries(failed=0 if done else tries.failed, at_most=(left + 1) // 2))
    failed = 1 if done else tries.failed + 1
    longest, most = mapping.get("MaximumRecordAgeInSeconds", -1), mapping.get("MaximumRetryAttempts", -1)
    if 0 <= longest < now - float(batch[done]["dynamodb"]["ApproximateCreationDateTime"]):
        return Outcome(done, Tries(), "MaxRecordAgeExceeded")
    if 0 <= most < failed:
        return Outcome(done, Tries(), "RetryAttemptsExhausted")
    return Outcome(done, Tries(failed, tries.at_most))


def _first_failed(batch: Sequence[Mapping[str, Any]], answer: Mapping[str, Any], mapping: Mapping[str, Any]) -> int:
    """How many records at the head of the batch are done."""
    if answer.get("error"):
        return 0
    if "ReportBatchItemFailures" not in mapping.get("FunctionResponseTypes", ()):
        return len(batch)
    body = answer.get("body")
    said = json.loads(body) if isinstance(body, str) else body
    failures = said.get("batchItemFailures") or [] if isinstance(said, dict) else []
    places = {record["dynamodb"]["SequenceNumber"]: at for at, record in enumerate(batch)}
    # A name that isn't in the batch fails all of it.
    return min((places.get(each.get("itemIdentifier"), 0) for each in failures), default=len(batch))
