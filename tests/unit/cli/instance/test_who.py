"""explain and history --who: who set or removed the tag, attached a foreign role or reverted ours."""

import json
from datetime import timedelta
from typing import Any

import pytest

from fakes.cloudtrail import AUTO_SCALING, role, user
from fixtures.mappings import Desk
from fixtures.terminal import Terminal, lines

THEIRS = "arn:aws:iam::123456789012:instance-profile/theirs"
ALICE, BOB = role("team/deployer", "alice"), user("bob")
NOWHERE = (
    "not in CloudTrail's event history of us-east-1: older than 90 days, not there yet (up to 15 minutes late), "
    "or another Region's"
)

pytestmark = pytest.mark.desk(usable=("web", "db"), rows={"app=web": "web"})


def who(terminal: Terminal, instance: str) -> list[Any]:
    """What explain says to programs of who did it, without when."""
    answers = terminal.document("explain", instance, "--no-uptake")["who"]
    return [(each["what"], each["about"], each["by"] and each["by"]["arn"], each["event"]) for each in answers]


def other_tags(terminal: Terminal, instance: str, number: int) -> None:
    """So many events that answer nothing."""
    for each in range(number):
        terminal.trail.tagged(BOB, instance, backup=str(each))


# ---- the tag that decides ----


def test_the_newest_call_that_set_the_deciding_tag_is_named(terminal: Terminal, desk: Desk) -> None:
    one = desk.world.running(app="web")
    terminal.trail.tagged(BOB, one, app="web")
    desk.world.wait(60)
    terminal.trail.tagged(ALICE, one, app="web", Name="x")
    at = desk.world.clock.now()
    desk.world.wait(60)
    terminal.trail.tagged(BOB, one, other="web")
    terminal.trail.tagged(BOB, "i-0000000000000ffff", app="web")
    [answer] = terminal.document("explain", one)["who"]
    assert answer.pop("by")["arn"] == ALICE["arn"]
    assert answer == {
        "what": "tagged",
        "about": "app=web",
        "event": "CreateTags",
        "event_id": "event-1",
        "at": f"{at:%Y-%m-%dT%H:%M:%S.%fZ}",
        "unknown_because": None,
    }


def test_a_tag_given_at_launch_is_by_whoever_launched_it(terminal: Terminal, desk: Desk) -> None:
    one = desk.world.running(app="web")
    terminal.trail.launched(AUTO_SCALING, one, app="web")
    assert who(terminal, one) == [("tagged", "app=web", AUTO_SCALING["arn"], "RunInstances")]


def test_a_tag_in_the_request_counts_where_the_answer_is_left_out(terminal: Terminal, desk: Desk) -> None:
    one = desk.world.running(app="web")
    tags = [{"key": "app", "value": "web"}]
    asked = {"tagSpecificationSet": {"items": [{"resourceType": "volume", "tags": tags}]}}
    answer = {"instancesSet": {"items": [{"instanceId": one}]}}
    terminal.trail.happened("RunInstances", BOB, asked, answer, resources=(one,))
    assert who(terminal, one) == [("tagged", "app=web", None, None)]
    asked["tagSpecificationSet"]["items"].append({"resourceType": "instance", "tags": tags})
    terminal.trail.happened("RunInstances", BOB, asked, answer, resources=(one,))
    assert who(terminal, one) == [("tagged", "app=web", BOB["arn"], "RunInstances")]


@pytest.mark.parametrize("keys", [{"app": "", "other": ""}, {}])
def test_who_removed_the_tag_by_key_or_all_tags_is_named(terminal: Terminal, desk: Desk, keys: dict[str, str]) -> None:
    one = desk.converged("web", app="web")
    desk.world.untag(one, "app")
    terminal.trail.tagged(BOB, one, removed=True, **keys)
    terminal.trail.tagged(ALICE, one, removed=True, other="")
    assert who(terminal, one) == [("untagged", "app", BOB["arn"], "DeleteTags")]
    desk.world.reconcile(one)
    assert not desk.world.association(one)
    assert who(terminal, one) == [("untagged", "app", BOB["arn"], "DeleteTags")], "once the role is gone, too"


def test_the_tag_that_excludes_and_each_of_a_conflict_are_asked_about(terminal: Terminal, desk: Desk) -> None:
    ignored = desk.world.running(app="web", **{"rolekeeper:ignore": "true"})
    assert who(terminal, ignored) == [("tagged", "rolekeeper:ignore=true", None, None)]
    desk.edit("team=a", role="db")
    tied = desk.world.running(app="web", team="a")
    assert [each[1] for each in who(terminal, tied)] == ["app=web", "team=a"]


def test_a_call_that_was_refused_set_no_tag(terminal: Terminal, desk: Desk) -> None:
    one = desk.world.running(app="web")
    asked = {"resourcesSet": {"items": [{"resourceId": one}]}, "tagSet": {"items": [{"key": "app", "value": "web"}]}}
    terminal.trail.happened("CreateTags", BOB, asked, resources=(one,), errorCode="Client.UnauthorizedOperation")
    assert who(terminal, one) == [("tagged", "app=web", None, None)]


def test_nothing_is_asked_where_no_tag_and_nobody_decided(terminal: Terminal, desk: Desk) -> None:
    bare, pinned = desk.world.running(), desk.world.running(app="web")
    terminal("attach", pinned, "db", "--no-wait")
    assert who(terminal, bare) == who(terminal, pinned) == []
    terminal("explain", desk.world.running(app="web"), "--no-who", "--no-uptake")
    assert terminal.trail.asked == []


# ---- roles of others ----


def test_a_foreign_role_from_the_launch_is_by_whoever_launched_it(terminal: Terminal, desk: Desk) -> None:
    one = desk.world.running(profile="theirs")
    terminal.trail.launched(BOB, one, profile_arn=THEIRS)
    assert who(terminal, one) == [("attached", "theirs", BOB["arn"], "RunInstances")]
    terminal.trail.launched(ALICE, one, profile_arn=f"{THEIRS}-other")
    assert who(terminal, one) == [("attached", "theirs", None, None)]


def test_one_replace_by_another_both_reverts_ours_and_attaches_theirs(terminal: Terminal, desk: Desk) -> None:
    one = desk.converged("web", app="web")
    ours = desk.world.association(one)
    assert ours
    desk.world.profile("theirs", path="/")
    theirs = desk.world.truth.replace(ours.id, "theirs").id
    desk.world.wait(5)
    terminal.trail.associated("ReplaceIamInstanceProfileAssociation", BOB, ended=ours.id, made=theirs)
    assert who(terminal, one)[1:] == [
        ("attached", "theirs", BOB["arn"], "ReplaceIamInstanceProfileAssociation"),
        ("reverted", ours.id, BOB["arn"], "ReplaceIamInstanceProfileAssociation"),
    ]


def test_calls_by_name_are_looked_up_only_in_the_time_that_the_history_leaves(terminal: Terminal, desk: Desk) -> None:
    one = desk.converged("web", app="web")
    attached = desk.world.clock.now()
    desk.world.wait(3600)
    desk.world.detach_by_hand(one)
    desk.world.profile("theirs", path="/")
    desk.world.wait(5)
    desk.world.attach_by_hand(one, "theirs")
    desk.world.reconcile(one)
    seen = desk.world.clock.now()
    desk.world.wait(3600)
    terminal("explain", one, "--no-uptake")
    asked = len(terminal.trail.asked)
    windows = {each["LookupAttributes"][0]["AttributeValue"]: each for each in terminal.trail.asked}
    for name in ("AssociateIamInstanceProfile", "DisassociateIamInstanceProfile"):
        assert attached - timedelta(minutes=2) < windows[name]["StartTime"] < attached
        assert seen < windows[name]["EndTime"] < seen + timedelta(minutes=2)
    desk.world.later(days=91)
    assert NOWHERE in terminal("explain", one, "--no-uptake").stdout
    assert len(terminal.trail.asked) == asked, "of that time CloudTrail has nothing"


# ---- what CloudTrail answers ----


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("AccessDeniedException", "you aren't allowed cloudtrail:LookupEvents"),
        ("ThrottlingException", "CloudTrail gave no answer (ThrottlingException)"),
        ("UnsupportedOperationException", "CloudTrail refused: UnsupportedOperationException: no"),
    ],
)
def test_without_an_answer_it_says_why_and_explains_the_rest(
    terminal: Terminal, desk: Desk, code: str, said: str
) -> None:
    one = desk.world.running(app="web", profile="theirs")
    terminal.trail.refuses = code
    answers = terminal.document("explain", one, "--no-uptake")["who"]
    assert [each["unknown_because"] for each in answers] == [said, said]
    assert desk.world.calls["LookupEvents"] == 1


def test_what_was_found_before_it_was_throttled_is_shown(terminal: Terminal, desk: Desk) -> None:
    one = desk.world.running(app="web", profile="theirs")
    terminal.trail.tagged(BOB, one, app="web")
    desk.world.calls.after("LookupEvents", lambda: setattr(terminal.trail, "refuses", "ThrottlingException"))
    text = terminal("explain", one, "--no-uptake").stdout
    assert "user/bob (CreateTags app=web" in text
    assert "unknown (theirs): CloudTrail gave no answer (ThrottlingException)" in text


def test_pages_are_read_until_all_is_answered_and_no_further(terminal: Terminal, desk: Desk) -> None:
    one = desk.world.running(app="web")
    terminal.trail.tagged(ALICE, one, app="web")
    other_tags(terminal, one, 5)
    began = desk.world.clock.now()
    assert who(terminal, one) == [("tagged", "app=web", ALICE["arn"], "CreateTags")]
    assert desk.world.calls["LookupEvents"] == 3
    assert desk.world.clock.now() - began == timedelta(seconds=1), "two calls a second, and others call too"


def test_the_sessions_of_its_role_since_then_are_not_looked_through(terminal: Terminal, desk: Desk) -> None:
    one = desk.world.running(app="web")
    terminal.trail.tagged(ALICE, one, app="web")
    desk.world.reconcile(one)
    desk.world.wait(300)
    for _ in range(100):
        terminal.trail.happened("AssumeRole", {"type": "AWSService"}, resources=(one,))
    terminal.trail.tagged(BOB, one, app="web")
    expected = [("tagged", "app=web", ALICE["arn"], "CreateTags")]
    assert who(terminal, one) == expected, "who made it so, not who said it again"
    assert desk.world.calls["LookupEvents"] == 1


def test_an_entry_that_saw_another_value_says_since_when(terminal: Terminal, desk: Desk) -> None:
    one = desk.converged("web", app="web")
    before = desk.world.clock.now()
    desk.edit("app=db", role="db")
    desk.world.tag(one, app="db")
    terminal("explain", one, "--no-uptake")
    [asked] = [each for each in terminal.trail.asked if "StartTime" in each]
    assert before - timedelta(minutes=2) < asked["StartTime"] < before
    assert "EndTime" not in asked


def test_an_instance_with_endless_events_is_asked_about_within_bounds(terminal: Terminal, desk: Desk) -> None:
    one = desk.world.running(app="web")
    other_tags(terminal, one, 22)
    text = terminal("explain", one, "--no-uptake").stdout
    assert "unknown (app=web): not among the 20 events that were looked through, and there are more" in text
    assert desk.world.calls["LookupEvents"] == 10


def test_a_slow_cloudtrail_is_asked_within_a_time(terminal: Terminal, desk: Desk) -> None:
    one = desk.world.running(app="web")
    terminal.trail.page = 1
    other_tags(terminal, one, 5)

    def slowly() -> None:
        desk.world.wait(5)
        desk.world.calls.before("LookupEvents", slowly)

    slowly()
    terminal("explain", one, "--no-uptake")
    assert desk.world.calls["LookupEvents"] == 3


def test_the_launch_is_the_last_that_is_looked_at(terminal: Terminal, desk: Desk) -> None:
    one = desk.world.running(app="web")
    other_tags(terminal, one, 4)
    terminal.trail.launched(BOB, one)
    terminal.trail.page = 1
    assert who(terminal, one) == [("tagged", "app=web", None, None)]
    assert desk.world.calls["LookupEvents"] == 1


# ---- text from outside ----


def test_what_comes_from_cloudtrail_is_cut_and_escaped(terminal: Terminal, desk: Desk) -> None:
    one = desk.world.running(app="web")
    evil = {"type": "IAMUser", "arn": f"arn:aws:iam::1:user/\x1b[2J\u202e\u2028\n{'x' * 5_000}"}
    terminal.trail.tagged(evil, one, app="web")
    [(_, _, arn, _)] = who(terminal, one)
    assert arn.startswith(r"arn:aws:iam::1:user/\u001b[2J\u202e\u2028\nxxx")
    assert (arn[-4:], len(arn)) == ("xxx…", 641)


@pytest.mark.parametrize(
    "record",
    [
        "no JSON",
        "[]",
        json.dumps({"userIdentity": "me", "requestParameters": [], "responseElements": None}),
        json.dumps({"requestParameters": {"resourcesSet": {"items": ["i-1"]}, "tagSet": {"items": {"key": "app"}}}}),
    ],
)
def test_a_record_of_another_shape_answers_nothing(terminal: Terminal, desk: Desk, record: str) -> None:
    one = desk.world.running(app="web")
    for name in ("CreateTags", "DeleteTags", "RunInstances"):
        terminal.trail.happened(name, None, resources=(one,))
    for event in terminal.trail.events:
        event["CloudTrailEvent"] = record
    assert who(terminal, one) == [("tagged", "app=web", None, None)]


# ---- history ----


def test_history_says_who_changed_a_tag_that_the_mapping_requires(terminal: Terminal, desk: Desk) -> None:
    desk.edit("app=web", role="web", require_tags={"stage": "production"})
    one = desk.converged("web", app="web", stage="production")
    desk.world.wait(3600)
    desk.world.tag(one, stage="test")
    terminal.trail.tagged(BOB, one, stage="test")
    desk.world.reconcile(one)
    [newest, _] = terminal.document("history", one, "--who")
    assert [(each["about"], each["by"]["arn"]) for each in newest["who"]] == [("stage=test", BOB["arn"])]


def test_history_asks_only_when_it_is_told_to(terminal: Terminal, desk: Desk) -> None:
    one = desk.converged("web", app="web")
    [entry] = terminal.document("history", one)
    assert ("who" in entry, len(terminal.trail.asked)) == (False, 0)
    terminal.trail.refuses = "AccessDeniedException"
    ran = terminal("history", one, "--who")
    assert ran.stderr == "Warning: who did 1 of these things is unknown: you aren't allowed cloudtrail:LookupEvents\n"
    assert (ran.exit_code, lines(ran.stdout)[-1]) == (0, "tagged app=web by: unknown")


def test_a_foreign_role_that_came_and_went_is_in_the_history(terminal: Terminal, desk: Desk) -> None:
    one = desk.world.running(app="web")
    desk.world.profile("theirs", path="/")
    theirs = desk.world.attach_by_hand(one, "theirs")
    terminal.trail.associated("AssociateIamInstanceProfile", ALICE, made=theirs)
    desk.world.reconcile(one)
    desk.world.wait(3600)
    desk.world.detach_by_hand(one)
    terminal.trail.associated("DisassociateIamInstanceProfile", BOB, ended=theirs)
    desk.world.reconcile(one)
    rows = [
        [(each["what"], each["about"]) for each in row["who"] if each["by"]]
        for row in terminal.document("history", one, "--who")
    ]
    assert rows == [[("detached", theirs)], [("attached", "theirs")]]
