"""Telling people and programs: a log line and a metric for every decision, events for what changes or refuses."""

import io
import json
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from aws_lambda_powertools import Logger
from botocore.exceptions import ConnectTimeoutError

from fakes.calls import Calls
from fakes.others import CountedMetrics, FakeEvents, FakeTopic
from fixtures.account import refusing
from rolekeeper.aws.errors import AccessDeniedError
from rolekeeper.instances.decide import Observation
from rolekeeper.instances.records import history_entry
from rolekeeper.mail import Mailer
from rolekeeper.model.instance import (
    Action,
    Association,
    Decision,
    Instance,
    InstanceRecord,
    Overridden,
    ReconcileRequest,
    partition_of,
)
from rolekeeper.model.mapping import Control
from rolekeeper.telemetry import CHANGED, Telemetry
from strategies.values import KEY, NOW, arn, association, instance, key, published

WAKE = ReconcileRequest(KEY, "tags changed", "correlation-1", NOW, changed_tags=frozenset({"workload", "Name"}))
ATTACH = Decision(
    Action.ATTACH,
    "unoccupied",
    "workload=web gives it role web",
    mapping=key("workload=web"),
    revision=3,
    role="web",
    profile_arn=arn("web"),
    overridden=(Overridden(key("env=prod"), "it is disabled"),),
)


def entry(
    request: ReconcileRequest,
    seen: Instance | None,
    carries: Association | None,
    decision: Decision,
    answer: Mapping[str, Any],
    reads: Iterable[str] = ("workload",),
) -> dict[str, Any]:
    """The history entry of an instance, of whose tags some mappings read these."""
    mappings = tuple(published(f"{tag}=*", "web") for tag in reads)
    observed = Observation(KEY, NOW, seen, carries, InstanceRecord(), Control(), published=mappings)
    return history_entry(request, observed, decision, answer)


class TelemetryFixture:
    """An announcer with everything that it reaches."""

    def __init__(self) -> None:
        self.calls = Calls()
        self.events = FakeEvents(self.calls)
        self.metrics = CountedMetrics()
        self._stream = io.StringIO()
        logger = Logger(service=f"desk-{uuid.uuid4()}", stream=self._stream)
        mailer = Mailer(lambda: FakeTopic(self.calls), "topic", "account 1, us-east-1", lambda: NOW)  # type: ignore[arg-type, return-value]  # shaped like a client
        self.telemetry = Telemetry(self.events, logger, self.metrics, mailer)  # type: ignore[arg-type]  # the same

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._stream.getvalue().splitlines()]


@pytest.fixture
def desk() -> TelemetryFixture:
    return TelemetryFixture()


def test_a_decision_is_one_log_line_with_everything(desk: TelemetryFixture) -> None:
    desk.telemetry.decision(
        WAKE, entry(WAKE, instance(workload="web"), None, ATTACH, {"association-id": "iip-assoc-1"})
    )
    (line,) = desk.lines()
    assert (line["level"], line["message"], line["correlation_id"]) == ("INFO", "decided", "correlation-1")
    assert (line["instance-id"], line["cause"]) == (KEY.id, "tags changed: workload")
    assert line["seen"]["tags"] == {"workload": "web"}
    assert line["decision"]["reason"] == "workload=web gives it role web"
    assert line["decision"]["losers"] == [{"mapping": "env=prod", "why": "it is disabled"}]
    assert line["answer"] == {"association-id": "iip-assoc-1"}
    assert desk.metrics.counts == {}, "no alarm watches changes"


def test_a_change_is_an_event_that_names_the_instance(desk: TelemetryFixture) -> None:
    carried = association("db", id="iip-assoc-7")
    tagged = instance(workload="web", Name="no mapping reads this")
    desk.telemetry.decision(WAKE, entry(WAKE, tagged, carried, ATTACH, {}), event=CHANGED[Action.REPLACE])
    desk.telemetry.flush()
    (event,) = desk.events.sent
    assert (event["Source"], event["DetailType"]) == ("rolekeeper", "Role Replaced")
    assert event["Resources"] == [f"arn:aws:ec2:us-east-1:123456789012:instance/{KEY.id}"]
    detail = event["Detail"]
    assert (detail["account"], detail["region"], detail["instance-id"]) == (KEY.account, KEY.region, KEY.id)
    assert detail["correlation-id"] == "correlation-1"
    assert detail["seen"] == {
        "state": "running",
        "tags": {"workload": "web"},
        "association-id": "iip-assoc-7",
        "association-state": "associated",
        "profile-arn": arn("db"),
    }
    assert (detail["decision"]["mapping"], detail["decision"]["revision"]) == ("workload=web", 3)


@pytest.mark.parametrize(
    ("code", "metric"),
    [("contested", "Contested"), ("window", "ChangesWithheld"), ("refused", "Refused")],
)
def test_decisions_that_ring_an_alarm_are_counted_by_their_code(desk: TelemetryFixture, code: str, metric: str) -> None:
    desk.telemetry.decision(WAKE, entry(WAKE, instance(), None, Decision(Action.HOLD, code, "a reason"), {}))
    assert desk.metrics.counts == {metric: 1}


def test_a_missing_permission_is_an_error_a_metric_and_an_event_that_name_it(desk: TelemetryFixture) -> None:
    error = AccessDeniedError(
        "UnauthorizedOperation", "You are not authorized…", "iam:PassRole", "arn:aws:iam::1:role/web"
    )
    desk.telemetry.denied(error, correlation_id="correlation-1")
    desk.telemetry.flush()
    (line,) = desk.lines()
    assert (line["level"], line["message"]) == ("ERROR", "permission missing")
    assert (line["action"], line["resource"]) == ("iam:PassRole", "arn:aws:iam::1:role/web")
    assert line["correlation_id"] == "correlation-1"
    assert desk.metrics.counts == {"PermissionDenied": 1}
    (detail,) = desk.events.named("Permission Missing")
    assert detail == {
        "action": "iam:PassRole",
        "resource": "arn:aws:iam::1:role/web",
        "code": "UnauthorizedOperation",
        "aws-says": "You are not authorized…",
        "correlation-id": "correlation-1",
    }


def test_a_dropped_message_is_logged(desk: TelemetryFixture) -> None:
    desk.telemetry.dropped("not a JSON object", "message-1")
    (line,) = desk.lines()
    assert (line["level"], line["reason"]) == ("WARNING", "not a JSON object")
    assert line["correlation_id"] == "message-1"


@pytest.mark.parametrize(("count", "batches"), [(0, []), (1, [1]), (10, [10]), (23, [10, 10, 3])])
def test_events_go_out_once_in_tens(desk: TelemetryFixture, count: int, batches: list[int]) -> None:
    for number in range(count):
        desk.telemetry.send("Role Attached", {"number": number}, [])
    desk.telemetry.flush()
    desk.telemetry.flush()
    assert desk.events.batches == batches
    assert [each["Detail"]["number"] for each in desk.events.sent] == list(range(count))


def test_events_go_out_in_batches_of_no_more_bytes_than_eventbridge_takes(desk: TelemetryFixture) -> None:
    """It refuses a larger request whole: ten instances with the longest tags were lost."""
    tags = {f"{number:03}" + "k" * 125: "\u00e4" * 256 for number in range(50)}
    for _ in range(10):
        desk.telemetry.decision(
            WAKE, entry(WAKE, instance(**tags), None, ATTACH, {}, reads=tags), event="Role Attached"
        )
    desk.telemetry.flush()
    assert len(desk.events.sent) == 10
    assert len(desk.events.batches) > 1
    assert desk.metrics.counts["EventsFailed"] == 0


def test_an_event_that_is_too_large_by_itself_is_cut_and_says_so(desk: TelemetryFixture) -> None:
    smiles = "\U0001f600" * 1_000  # JSON writes one as twelve characters
    losers = tuple(Overridden(key(f"tag{number}={smiles[:256]}"), smiles) for number in range(100))
    said = entry(WAKE, instance(), None, replace(ATTACH, overridden=losers), {})
    desk.telemetry.decision(WAKE, said, event="Role Attached")
    desk.telemetry.flush()
    (event,) = desk.events.sent
    assert event["Detail"]["cut"] is True
    assert event["Detail"]["decision"]["reason"] == ATTACH.reason


def _refuse(desk: TelemetryFixture) -> None:
    desk.calls.before("PutEvents", refusing("ThrottlingException"))


def _lose_two(desk: TelemetryFixture) -> None:
    desk.events.refuses = 2


@pytest.mark.parametrize(("trouble", "lost"), [(_refuse, 10), (_lose_two, 4)])
def test_events_that_cant_be_sent_are_logged_and_counted_and_stop_nothing(
    desk: TelemetryFixture, trouble: Callable[[TelemetryFixture], None], lost: int
) -> None:
    trouble(desk)
    for number in range(12):
        desk.telemetry.send("Role Attached", {"number": number}, [])
    desk.telemetry.flush()
    assert desk.metrics.counts["EventsFailed"] == lost
    assert desk.lines()[0]["level"] == "ERROR"
    assert desk.calls["PutEvents"] == 2


def test_when_eventbridge_doesnt_answer_the_rest_isnt_tried_and_counts_as_lost(desk: TelemetryFixture) -> None:
    def silence() -> None:
        raise ConnectTimeoutError(endpoint_url="the-bus")

    desk.calls.before("PutEvents", silence)
    for number in range(25):
        desk.telemetry.send("Role Attached", {"number": number}, [])
    desk.telemetry.flush()
    assert desk.calls["PutEvents"] == 1
    assert desk.metrics.counts["EventsFailed"] == 25


def test_not_being_allowed_to_send_events_rings_the_alarm_and_names_the_action_in_the_log(
    desk: TelemetryFixture,
) -> None:
    words = "not authorized to perform: events:PutEvents on resource: arn:the-bus"
    desk.calls.before("PutEvents", refusing("AccessDeniedException", words))
    desk.telemetry.send("Role Attached", {}, [])
    desk.telemetry.flush()
    assert desk.metrics.counts == {"EventsFailed": 1, "PermissionDenied": 1}
    (line,) = desk.lines()
    assert (line["level"], line["action"], line["resource"]) == ("ERROR", "events:PutEvents", "arn:the-bus")


@pytest.mark.parametrize(
    ("region", "partition"),
    [
        ("eu-central-1", "aws"),
        ("cn-northwest-1", "aws-cn"),
        ("us-gov-east-1", "aws-us-gov"),
        ("us-iso-east-1", "aws-iso"),
        ("us-isob-east-1", "aws-iso-b"),
        ("us-isof-south-1", "aws-iso-f"),
        ("eu-isoe-west-1", "aws-iso-e"),
        ("eusc-de-east-1", "aws-eusc"),
    ],
)
def test_a_region_tells_its_partition(region: str, partition: str) -> None:
    assert partition_of(region) == partition
