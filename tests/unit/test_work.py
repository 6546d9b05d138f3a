"""The work queue: names of instances go out in tens, in the shape of an event."""

import json
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from fakes.ec2 import client_error
from rolekeeper.aws.errors import AccessDeniedError, RetryableError
from rolekeeper.aws.queue import WorkQueue, request
from rolekeeper.instances.requests import parse
from rolekeeper.model.instance import InstanceKey
from strategies.values import KEY, NOW

URL = "https://sqs.us-east-1.amazonaws.com/123456789012/work"


class FakeSqs:
    """SendMessageBatch; `refuses` is how many entries of each call it doesn't take."""

    def __init__(self, refuses: int = 0, error: Exception | None = None) -> None:
        self.refuses = refuses
        self.error = error
        self.calls: list[dict[str, Any]] = []

    def send_message_batch(self, **arguments: Any) -> dict[str, Any]:
        self.calls.append(arguments)
        if self.error:
            raise self.error
        failed = [{"Id": "0", "Code": "InternalError", "Message": "later", "SenderFault": False}] * self.refuses
        return {"Successful": [], **({"Failed": failed} if failed else {})}


def _queue(sqs: FakeSqs) -> WorkQueue:
    return WorkQueue(sqs, URL, lambda: NOW)  # type: ignore[arg-type]  # shaped like a client


def _fleet(count: int) -> list[InstanceKey]:
    return [InstanceKey(KEY.account, KEY.region, f"i-{number:017x}") for number in range(count)]


@pytest.mark.parametrize(("count", "batches"), [(0, []), (1, [1]), (10, [10]), (11, [10, 1]), (25, [10, 10, 5])])
def test_names_go_out_in_tens(count: int, batches: list[int]) -> None:
    sqs = FakeSqs()
    assert _queue(sqs).send(_fleet(count), "sweep", "correlation-1") == count
    assert [len(call["Entries"]) for call in sqs.calls] == batches
    for call in sqs.calls:
        assert call["QueueUrl"] == URL
        assert len({entry["Id"] for entry in call["Entries"]}) == len(call["Entries"])


@pytest.mark.parametrize("delay", [0, 1, 900])
def test_a_delayed_message_says_for_how_long_the_queue_keeps_it_back(delay: int) -> None:
    sqs = FakeSqs()
    _queue(sqs).send(_fleet(11), "expiry", "c", delay_seconds=delay)
    entries = [entry for call in sqs.calls for entry in call["Entries"]]
    assert [entry.get("DelaySeconds", 0) for entry in entries] == [delay] * 11


def test_a_message_reads_back_as_the_same_instance() -> None:
    sqs = FakeSqs()
    _queue(sqs).send(iter([KEY]), "mapping changed: a=b", "correlation-1")
    body = json.loads(sqs.calls[0]["Entries"][0]["MessageBody"])
    wake = parse(body, only=KEY.target, now=NOW)
    assert (wake.instance, wake.cause, wake.correlation_id) == (KEY, "mapping changed: a=b", "correlation-1")
    assert body["id"] != request(KEY, "", "", NOW)["id"]


def test_a_queue_that_takes_only_some_has_failed() -> None:
    with pytest.raises(RetryableError) as refused:
        _queue(FakeSqs(refuses=1)).send(_fleet(3), "sweep", "c")
    assert (refused.value.code, refused.value.action) == ("InternalError", "sqs:SendMessage")


def test_a_queue_that_refuses_or_cant_be_reached_says_what_to_do() -> None:
    with pytest.raises(AccessDeniedError) as denied:
        _queue(FakeSqs(error=client_error("AccessDenied"))).send(_fleet(1), "sweep", "c")
    assert (denied.value.action, denied.value.resource) == ("sqs:SendMessage", URL)
    with pytest.raises(RetryableError):
        _queue(FakeSqs(error=EndpointConnectionError(endpoint_url=URL))).send(_fleet(1), "sweep", "c")
