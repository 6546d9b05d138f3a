"""The chaos story's own judgement: what an instance should carry, and which dead letters are explained."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from rolekeeper.model import Action, Standing
from support.chaos_letters import explanation
from support.chaos_oracle import Difference, Seen, difference, why_not

PATH = "arn:aws:iam::000000000000:instance-profile/rolekeeper"
ROWS = (
    {"tag_key": "quarantine", "tag_value": "*", "role": "NONE", "priority": 1},
    {"tag_key": "color", "tag_value": "red", "role": "red", "priority": 10},
    {"tag_key": "color", "tag_value": "blue", "role": "blue", "priority": 11, "enabled": False},
    {"tag_key": "agent", "tag_value": "on", "role": "agent", "when_occupied": "keep"},
    {"tag_key": "fleet", "tag_value": "*", "role": "base", "priority": 300},
)
THEIRS = {"iip-assoc-theirs"}


def seen(role: str = "", association: str = "iip-assoc-ours", **tags: str) -> Seen:
    return Seen("i-1", "running", tags, association if role else "", f"{PATH}/{role}" if role else "")


def standing(code: str) -> Standing:
    return Standing(Action.HOLD, code, "", datetime(2026, 1, 1, tzinfo=UTC), "")


@pytest.mark.parametrize(
    "right",
    [
        seen(),
        seen(color="green"),
        seen("anything", "iip-assoc-theirs"),
        seen("red", color="red", fleet=""),
        seen("base", color="blue", fleet="x"),
        seen(color="red", quarantine=""),
        seen("agent", agent="on"),
        seen("anything", "iip-assoc-theirs", agent="on", fleet="x"),
    ],
)
def test_an_instance_that_carries_what_its_tags_say_is_no_difference(right: Seen) -> None:
    assert difference(right, ROWS, THEIRS) is None


@pytest.mark.parametrize(
    ("wrong", "wanted"),
    [
        (seen("red"), "no role, unless somebody else's"),
        (seen(color="red"), "role red"),
        (seen("infrared", color="red"), "role red"),
        (seen("base", color="red", fleet="x"), "role red"),
        (seen("red", "iip-assoc-theirs", color="red", quarantine="x"), "no role"),
        (seen("other", "iip-assoc-theirs", color="red"), "role red"),
        (seen("base", agent="on", fleet="x"), "role agent, unless somebody else's"),
    ],
)
def test_any_other_is_told_with_what_was_wanted(wrong: Seen, wanted: str) -> None:
    assert difference(wrong, ROWS, THEIRS) == Difference(wrong, wanted)


def test_a_difference_counts_as_shown_only_if_what_is_shown_is_true() -> None:
    found = Difference(seen("other", color="red"), "role red")
    stopped = Difference(Seen("i-1", "stopped", {}, "iip-assoc-ours", f"{PATH}/other"), "role red")
    assert why_not(found, standing("contested"), 3, 3)
    assert why_not(stopped, standing("stopped"), 0, 3)
    assert not why_not(found, standing("contested"), 2, 3)
    assert not why_not(found, standing("stopped"), 0, 3)
    assert not why_not(found, standing("denied"), 9, 3)
    assert not why_not(found, None, 9, 3)


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
