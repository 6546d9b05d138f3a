"""Telling people and programs: a log line and a metric for every decision, events for what changes or refuses."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ConnectTimeoutError

from fixtures.account import FakeAccount, refusing
from rolekeeper.aws.errors import AccessDeniedError
from rolekeeper.instances.decide import Observation
from rolekeeper.instances.records import history_entry
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


@pytest.fixture
def telemetry(world: FakeAccount) -> Telemetry:
    return world.telemetry()


def test_a_decision_is_one_log_line_with_everything(world: FakeAccount, telemetry: Telemetry) -> None:
    telemetry.decision(WAKE, entry(WAKE, instance(workload="web"), None, ATTACH, {"association-id": "iip-assoc-1"}))
    (line,) = world.logged()
    assert (line["level"], line["message"], line["correlation_id"]) == ("INFO", "decided", "correlation-1")
    assert (line["instance-id"], line["cause"]) == (KEY.id, "tags changed: workload")
    assert line["seen"]["tags"] == {"workload": "web"}
    assert line["decision"]["reason"] == "workload=web gives it role web"
    assert line["decision"]["losers"] == [{"mapping": "env=prod", "why": "it is disabled"}]
    assert line["answer"] == {"association-id": "iip-assoc-1"}
    assert world.metrics.counts == {}, "no alarm watches changes"


def test_a_change_is_an_event_that_names_the_instance(world: FakeAccount, telemetry: Telemetry) -> None:
    carried = association("db", id="iip-assoc-7")
    tagged = instance(workload="web", Name="no mapping reads this")
    telemetry.decision(WAKE, entry(WAKE, tagged, carried, ATTACH, {}), event=CHANGED[Action.REPLACE])
    telemetry.flush()
    (event,) = world.events.sent
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


def test_a_missing_permission_is_an_error_a_metric_and_an_event_that_name_it(
    world: FakeAccount, telemetry: Telemetry
) -> None:
    error = AccessDeniedError(
        "UnauthorizedOperation", "You are not authorized…", "iam:PassRole", "arn:aws:iam::1:role/web"
    )
    telemetry.denied(error, correlation_id="correlation-1")
    telemetry.flush()
    (line,) = world.logged()
    assert (line["level"], line["message"]) == ("ERROR", "permission missing")
    assert (line["action"], line["resource"]) == ("iam:PassRole", "arn:aws:iam::1:role/web")
    assert line["correlation_id"] == "correlation-1"
    assert world.metrics.counts == {"PermissionDenied": 1}
    (detail,) = world.events.named("Permission Missing")
    assert detail == {
        "action": "iam:PassRole",
        "resource": "arn:aws:iam::1:role/web",
        "code": "UnauthorizedOperation",
        "aws-says": "You are not authorized…",
        "correlation-id": "correlation-1",
    }


@pytest.mark.parametrize(("count", "batches"), [(0, []), (1, [1]), (10, [10]), (23, [10, 10, 3])])
def test_events_go_out_once_in_tens(world: FakeAccount, telemetry: Telemetry, count: int, batches: list[int]) -> None:
    for number in range(count):
        telemetry.send("Role Attached", {"number": number})
    telemetry.flush()
    telemetry.flush()
    assert world.events.batches == batches
    assert [each["Detail"]["number"] for each in world.events.sent] == list(range(count))


def test_events_go_out_in_batches_of_no_more_bytes_than_eventbridge_takes(
    world: FakeAccount, telemetry: Telemetry
) -> None:
    """It refuses a larger request whole: ten instances with the longest tags were lost."""
    tags = {f"{number:03}" + "k" * 125: "\u00e4" * 256 for number in range(50)}
    for _ in range(10):
        telemetry.decision(WAKE, entry(WAKE, instance(**tags), None, ATTACH, {}, reads=tags), event="Role Attached")
    telemetry.flush()
    assert len(world.events.sent) == 10
    assert len(world.events.batches) > 1
    assert world.metrics.counts["EventsFailed"] == 0


def test_an_event_that_is_too_large_by_itself_is_cut_and_says_so(world: FakeAccount, telemetry: Telemetry) -> None:
    smiles = "\U0001f600" * 1_000  # JSON writes one as twelve characters
    losers = tuple(Overridden(key(f"tag{number}={smiles[:256]}"), smiles) for number in range(100))
    said = entry(WAKE, instance(), None, replace(ATTACH, overridden=losers), {})
    telemetry.decision(WAKE, said, event="Role Attached")
    telemetry.flush()
    (event,) = world.events.sent
    assert event["Detail"]["cut"] is True
    assert event["Detail"]["decision"]["reason"] == ATTACH.reason


@pytest.mark.parametrize("lost", [10, 4], ids=["a call is refused", "two entries of each call are refused"])
def test_events_that_cant_be_sent_are_logged_and_counted_and_stop_nothing(
    world: FakeAccount, telemetry: Telemetry, lost: int
) -> None:
    if lost == 10:
        world.calls.before("PutEvents", refusing("ThrottlingException"))
    else:
        world.events.refuses = 2
    for number in range(12):
        telemetry.send("Role Attached", {"number": number})
    assert not telemetry.flush(), "a retry could send them"
    assert world.metrics.counts["EventsFailed"] == lost
    assert world.logged()[0]["level"] == "ERROR"
    assert world.calls["PutEvents"] == 2


def test_when_eventbridge_doesnt_answer_the_rest_isnt_tried_and_counts_as_lost(
    world: FakeAccount, telemetry: Telemetry
) -> None:
    def silence() -> None:
        raise ConnectTimeoutError(endpoint_url="the-bus")

    world.calls.before("PutEvents", silence)
    for number in range(25):
        telemetry.send("Role Attached", {"number": number})
    telemetry.flush()
    assert world.calls["PutEvents"] == 1
    assert world.metrics.counts["EventsFailed"] == 25


def test_a_region_tells_its_partition() -> None:
    partitions = {"eu-central-1": "aws", "cn-northwest-1": "aws-cn", "us-gov-east-1": "aws-us-gov"}
    partitions |= {"us-iso-east-1": "aws-iso", "us-isob-east-1": "aws-iso-b", "us-isof-south-1": "aws-iso-f"}
    partitions |= {"eu-isoe-west-1": "aws-iso-e", "eusc-de-east-1": "aws-eusc"}
    assert {region: partition_of(region) for region in partitions} == partitions
