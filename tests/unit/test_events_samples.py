"""The samples in events/ against the rules in template.yaml: which of them wakes whom."""

import json
from pathlib import Path
from typing import Any

import pytest
from moto.events.models import EventPattern

from support import templates

ROOT = Path(__file__).parents[2]
SAMPLES = {path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "events").glob("*.json"))}

# What each sample wakes. A sample that EventBridge delivers and that no rule may match says so with an empty set.
WAKES: dict[str, set[str]] = {
    "instance-pending": set(),
    "instance-running": {"InstanceStateRule"},
    "instance-stopped": {"InstanceStateRule"},
    "instance-terminated": {"InstanceStateRule"},
    "tags-changed": {"InstanceTagRule"},
    "tags-changed-float-version": {"InstanceTagRule"},
    "tag-removed": {"InstanceTagRule"},
    "tags-changed-volume": set(),
    "permission-missing": set(),  # for rules of others; people are mailed
    "mapping-held": set(),  # the same
    "control-changed": set(),  # the same
    "pin-set": set(),  # for rules of others
    "reconcile-requested": set(),  # goes straight to the work queue, never over the bus
    "sweep": set(),  # its rule has a schedule and no pattern
    "spoke-present": set(),
}
# The same on the bus to which an organization's spokes send.
WAKES_FROM_SPOKES = {
    **{name: {each.replace("Instance", "Spoke") for each in rules} for name, rules in WAKES.items()},
    "spoke-present": {"SpokePresentRule"},
}

# What reaches a function in another way than from EventBridge.
OTHER_WAYS = {
    "work-queue-batch": "aws:sqs",
    "mapping-inserted": "aws:dynamodb",
    "mapping-modified": "aws:dynamodb",
    "mapping-removed": "aws:dynamodb",
    "mapping-status-written": "aws:dynamodb",
    "control-written": "aws:dynamodb",
    "pin-written": "aws:dynamodb",
    "approval-written": "aws:dynamodb",
    "pin-released": "aws:dynamodb",
    "timer-armed": "aws:dynamodb",
}


def _patterns(bus: dict[str, str] | None) -> dict[str, Any]:
    """Those of the rules on a bus; None is the default one."""
    return {
        name: templates.filled(rule["EventPattern"], {"Namespace": "rolekeeper"})
        for name, rule in templates.of_type("AWS::Events::Rule").items()
        if "EventPattern" in rule and rule.get("EventBusName") == bus
    }


PATTERNS, OF_SPOKES = _patterns(None), _patterns({"Ref": "SpokeBus"})


def _woken_by(event: dict[str, Any], patterns: dict[str, Any] = PATTERNS) -> set[str]:
    return {
        name
        for name, pattern in patterns.items()
        if EventPattern.load(json.dumps(pattern)).matches_event(event)  # type: ignore[arg-type]  # its TypedDict is narrower than an event
    }


def test_every_sample_says_how_it_arrives() -> None:
    assert set(SAMPLES) == {*(*WAKES, *OTHER_WAYS), *("retry-tick", "expiries", "sweep-resumed", "fan-out-resumed")}


@pytest.mark.parametrize("name", WAKES)
def test_a_sample_wakes_these_rules_and_no_other(name: str) -> None:
    assert _woken_by(SAMPLES[name]) == WAKES[name]


@pytest.mark.parametrize("name", WAKES_FROM_SPOKES)
def test_a_sample_of_a_spoke_wakes_these_rules_and_no_other(name: str) -> None:
    event = {**SAMPLES[name], "account": "222222222222", "region": "eu-west-1"}
    assert _woken_by(event, OF_SPOKES) == WAKES_FROM_SPOKES[name]


@pytest.mark.parametrize("rule", ["rolekeeper-present-2", "other-rolekeeper-present", "bus/rolekeeper-present"])
def test_another_schedule_of_a_spokes_account_wakes_nobody(rule: str) -> None:
    event = {**SAMPLES["spoke-present"], "resources": [f"arn:aws:events:eu-west-1:222222222222:rule/{rule}"]}
    assert _woken_by(event, OF_SPOKES) == set()


@pytest.mark.parametrize("state", ["pending", "stopping", "shutting-down", "rebooting"])
def test_states_in_which_nothing_can_be_done_wake_nobody(state: str) -> None:
    event = SAMPLES["instance-running"]
    assert _woken_by({**event, "detail": {**event["detail"], "state": state}}) == set()


def test_a_tag_change_of_another_service_that_has_instances_too_wakes_nobody() -> None:
    event = SAMPLES["tags-changed"]
    assert _woken_by({**event, "detail": {**event["detail"], "service": "lightsail"}}) == set()


def test_an_event_that_pretends_by_its_detail_type_alone_wakes_nobody() -> None:
    assert _woken_by({**SAMPLES["tags-changed"], "source": "com.example"}) == set()


@pytest.mark.parametrize("name", WAKES)
def test_a_sample_is_shaped_as_eventbridge_delivers(name: str) -> None:
    event = SAMPLES[name]
    assert set(event) == {
        "version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail",
    }  # fmt: skip
    assert (event["version"], event["account"], event["region"]) == ("0", "123456789012", "us-east-1")


@pytest.mark.parametrize(("name", "source"), OTHER_WAYS.items())
def test_a_batch_is_shaped_as_lambda_delivers(name: str, source: str) -> None:
    records = SAMPLES[name]["Records"]
    assert records
    assert {record["eventSource"] for record in records} == {source}


def test_the_minutes_sample_is_what_its_schedule_gives() -> None:
    schedule = templates.load()["Resources"]["OnSchedule"]["Properties"]["Events"]["Expiries"]["Properties"]
    assert json.loads(schedule["Input"]) == SAMPLES["expiries"]
