"""The messages to people: each InputTransformer of the template, filled in with events that Rolekeeper really sends."""

import json
import re
from typing import Any

import pytest
from moto.events.models import EventPattern

from rolekeeper.errors import DeniedError
from rolekeeper.limits import Limits
from support import templates
from support.desk import Desk
from support.world import ACCOUNT, REGION, World

RESOURCES = templates.load()["Resources"]
RULES = {
    name: resource["Properties"]
    for name, resource in RESOURCES.items()
    if resource["Type"] == "AWS::Events::Rule"
    and any("InputTransformer" in target for target in resource["Properties"]["Targets"])
}
TAG = "workload=web"


@pytest.fixture
def desk(world: World) -> Desk:
    """Two roles, and `workload=web` gives the first to three running instances."""
    made = Desk(world)
    for role in ("web", "api"):
        made.role(role)
        world.profile(role)
    made.edit(TAG, role="web")
    for _ in range(3):
        made.converged("web", workload="web")
    made.quiet()
    return made


def arrived(desk: Desk) -> list[dict[str, Any]]:
    """What was sent, as EventBridge hands it to rules."""
    return [
        {
            "version": "0",
            "id": "6f1e2d3c-0000-4000-8000-000000000099",
            "detail-type": sent["DetailType"],
            "source": sent["Source"],
            "account": ACCOUNT,
            "time": "2026-03-02T09:32:00Z",
            "region": REGION,
            "resources": sent["Resources"],
            "detail": sent["Detail"],
        }
        for sent in desk.world.events.sent
    ]


def messages(event: dict[str, Any]) -> list[str]:
    """What people read of an event: a text from each rule that it matches."""
    return [
        filled_in(target["InputTransformer"], event)
        for rule in RULES.values()
        if EventPattern.load(json.dumps(rule["EventPattern"])).matches_event(event)  # type: ignore[arg-type]  # its TypedDict is narrower
        for target in rule["Targets"]
    ]


def filled_in(transformer: dict[str, Any], event: dict[str, Any]) -> str:
    """As EventBridge does it: each <name> is what stands at its path."""
    template = json.loads(transformer["InputTemplate"])
    assert isinstance(template, str), "EventBridge takes a quoted string"
    paths = transformer["InputPathsMap"]
    assert set(re.findall(r"<([\w-]+)>", template)) == set(paths), "each path is used, each name has one"
    return re.sub(r"<([\w-]+)>", lambda name: str(at(event, paths[name[1]])), template)


def at(event: dict[str, Any], path: str) -> Any:
    """What stands at a path in dot notation, the only one that EventBridge promises."""
    value: Any = event
    root, *steps = path.split(".")
    assert root == "$"
    for step in steps:
        value = value[step]
    assert isinstance(value, str | int), f"{path} is no text"
    return value


def the_message(desk: Desk) -> str:
    [text] = [text for event in arrived(desk) for text in messages(event)]
    return text


def test_a_missing_permission_names_action_and_resource(desk: Desk) -> None:
    announcer = desk.world.announcer()
    error = DeniedError("AccessDenied", "no", "iam:PassRole", "arn:aws:iam::123456789012:role/web")
    announcer.denied(error, correlation_id="c")
    announcer.flush()
    text = the_message(desk)
    assert f"account {ACCOUNT}, {REGION}" in text
    assert "was refused iam:PassRole on arn:aws:iam::123456789012:role/web at 2026-03-02T09:32:00Z" in text
    assert "Once it is allowed, the next sweep goes on by itself." in text


def test_a_held_edit_says_what_it_would_do_who_made_it_and_how_to_approve_it(desk: Desk) -> None:
    desk.limits = Limits(1, 0)
    desk.edit(TAG, role="api", edited_by="ada")
    text = the_message(desk)
    assert text.startswith("Mapping Held: the mapping of tag workload = web, by Rolekeeper in account")
    assert "it would attach 0, replace 3 and detach 0 instances" in text
    assert "to serve it, write 2 into approve" in text
    assert text.endswith("Cause: the row changed. Edited by: ada")


def test_a_rejected_row_says_what_is_wrong_with_it(desk: Desk) -> None:
    desk.edit(TAG, role="no-such-role")
    text = the_message(desk)
    assert text.startswith("Mapping Rejected: the mapping of tag workload = web")
    assert "no-such-role" in text.partition("Why, and what to do: ")[2]


def test_a_tie_names_the_other_row(desk: Desk) -> None:
    desk.edit("workload=*", role="api")
    assert "ties with workload=web" in the_message(desk)
    assert the_message(desk).startswith("Mapping Conflict: the mapping of tag workload = *")


def test_a_role_that_is_gone_is_told_though_nobody_edited_the_row(desk: Desk) -> None:
    desk.delete_role("web")
    desk.recheck(TAG)
    suspended, rejected = [text for event in arrived(desk) for text in messages(event)]
    assert suspended.startswith("Mapping Suspended: ")
    assert rejected.startswith("Mapping Rejected: ")
    assert "role 'web'" in suspended
    assert suspended.endswith("Cause: swept. Edited by: ")


def test_what_befalls_a_whole_fleet_at_once_is_no_message_for_each_instance(desk: Desk) -> None:
    """Alarms tell of it, once."""
    desk.limits = Limits(100, 0)
    desk.edit(TAG, role="api", when_occupied="keep")
    instances = [desk.world.running(workload="web") for _ in range(5)]
    desk.world.reconcile(*instances)
    told = {event["detail-type"] for event in arrived(desk)}
    assert "Role Attached" in told
    assert [text for event in arrived(desk) for text in messages(event)] == []
    assert all(not messages({**event, "detail-type": "Instance Parked"}) for event in arrived(desk))
    assert all(not messages({**event, "detail-type": "Role Change Refused"}) for event in arrived(desk))


@pytest.mark.parametrize("name", RULES)
def test_a_message_goes_to_the_alarm_topic_and_fits_a_rule(name: str) -> None:
    for target in RULES[name]["Targets"]:
        assert target["Arn"] == {"Ref": "AlarmTopic"}
        transformer = target["InputTransformer"]
        assert len(transformer["InputTemplate"]) <= 8192, "InputTransformer's limit"
        assert not [key for key in transformer["InputPathsMap"] if key.startswith("AWS.")]
