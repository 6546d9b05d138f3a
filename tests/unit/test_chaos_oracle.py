"""The chaos story's own judgement: what an instance should carry, and which dead letters are explained."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from rolekeeper.model.instance import Action, Condition, InstanceRecord
from spec.carries import Wanted
from support.chaos_oracle import Difference, Seen, difference, is_contested
from support.chaos_queues import explanation

PREFIX = "arn:aws:iam::000000000000:instance-profile/rolekeeper/"
OUTSIDE = "arn:aws:iam::000000000000:instance-profile/outsider"
ROWS = (
    {"tag_key": "quarantine", "tag_value": "*", "role": "NONE", "priority": 1, "when_occupied": "replace"},
    {"tag_key": "color", "tag_value": "red", "role": "red", "priority": 10},
    {"tag_key": "color", "tag_value": "blue", "role": "blue", "priority": 11, "enabled": False},
    {"tag_key": "fleet", "tag_value": "*", "role": "base", "priority": 300},
)
NOTHING = InstanceRecord()


def seen(profile: str = "", state: str = "running", **tags: str) -> Seen:
    return Seen("i-1", state, tags, "iip-assoc-1" if profile else "", profile)


def shows(code: str) -> InstanceRecord:
    return InstanceRecord(condition=Condition(Action.HOLD, code, "", datetime(2026, 1, 1, tzinfo=UTC), ""))


@pytest.mark.parametrize(
    ("instance", "record", "should"),
    [
        (seen(color="green"), NOTHING, None),
        (seen(f"{PREFIX}base", color="blue", fleet="x"), NOTHING, None),
        (seen(OUTSIDE, color="red"), shows("occupied"), None),
        (seen(f"{PREFIX}other", "stopped", color="red"), shows("stopped"), None),
        (seen(f"{PREFIX}infrared", color="red"), NOTHING, Wanted(f"{PREFIX}red")),
        (seen(OUTSIDE, color="red", quarantine="x"), NOTHING, Wanted("")),
        (seen(OUTSIDE, color="red"), NOTHING, Wanted(OUTSIDE, "occupied")),
        (seen(f"{PREFIX}other"), NOTHING, Wanted(f"{PREFIX}other", "unexplained")),
    ],
)
def test_an_instance_differs_that_carries_neither_what_its_tags_say_nor_shows_why_not(
    instance: Seen, record: InstanceRecord, should: Wanted | None
) -> None:
    """What it should carry is spec/carries.py's to say."""
    assert difference(instance, ROWS, record, PREFIX) == (Difference(instance, should) if should else None)


def test_an_instance_counts_as_contested_only_if_it_truly_is() -> None:
    found = Difference(seen(f"{PREFIX}other", color="red"), Wanted(f"{PREFIX}red"))
    assert is_contested(found, shows("contested"), 3, 3)
    assert not is_contested(found, shows("contested"), 2, 3)
    assert not is_contested(found, shows("denied"), 9, 3)
    assert not is_contested(found, NOTHING, 9, 3)


def letter(body: Any, received: int = 1) -> dict[str, Any]:
    text = body if isinstance(body, str) else json.dumps(body)
    return {"MessageId": "m-1", "Body": text, "Attributes": {"ApproximateReceiveCount": str(received)}}


def named(source: str, instance: str = "i-1", *, loop_failed: bool = False) -> dict[str, Any]:
    resource = f"arn:aws:ec2:us-east-1:0:instance/{instance}"
    return {"source": source, "resources": [resource], "detail": {"loop-failed": loop_failed}}


@pytest.mark.parametrize(
    ("message", "explained"),
    [
        (letter(named("aws.tag"), 4), "tried 3 times"),
        (letter(named("rolekeeper"), 4), "tried 3 times"),
        (letter(named("rolekeeper", loop_failed=True)), "a retry loop whose function failed"),
        (letter({"DDBStreamBatchInfo": {}}), "an edit that could not be checked: the sweep does"),
        (letter({"requestPayload": {}}), "a sweep or a minute that failed twice"),
        (letter(named("aws.tag"), 2), ""),
        (letter(named("aws.tag", "i-stranger"), 4), ""),
        (letter(named("somebody"), 4), ""),
        (letter({"resources": []}, 4), ""),
        (letter("no JSON", 4), ""),
    ],
)
def test_a_dead_letter_is_explained_by_what_the_operators_page_names(message: dict[str, Any], explained: str) -> None:
    assert explanation(message, ours=(), fleet={"i-1"}, tries=3) == explained


def test_what_the_story_put_there_itself_is_explained() -> None:
    assert explanation(letter("no JSON"), ours={"m-1"}, fleet=(), tries=3) == "put there by the story"
