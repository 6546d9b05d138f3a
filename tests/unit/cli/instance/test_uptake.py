"""uptake: whether software on an instance uses its role, and until when it may use a former one."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fakes.cloudtrail import user
from fixtures.account import refusing
from fixtures.mappings import Desk
from fixtures.terminal import Terminal, far_from_utc, lines
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.instance.event_history import Event
from rolekeeper_cli.instance.revoked_policy import POLICY, Entry
from rolekeeper_cli.instance.uptake import Delivery

WEB, DB = (f"arn:aws:iam::123456789012:role/rolekeeper/{each}" for each in ("web", "db"))
THEIRS = "arn:aws:iam::123456789012:role/theirs"
# How long credentials are valid at most (AWS_FACTS.md, "Credentials on the instance").
LONGEST = timedelta(hours=6, minutes=40)

pytestmark = pytest.mark.desk(usable=("web", "db"), rows={"app=web": "web", "app=db": "db"})


@pytest.fixture
def one(terminal: Terminal, desk: Desk) -> str:
    """An instance that carried the role web for an hour, with software that used it, and carries db since a moment."""
    one = desk.converged("web", app="web", Name="app-1")
    terminal.trail.delivered(WEB, one)
    desk.world.wait(60)
    terminal.trail.called(WEB, one)
    desk.world.wait(3540)
    terminal.trail.delivered(WEB, one)
    desk.world.wait(60)
    desk.world.tag(one, app="db")
    desk.world.reconcile(one)
    return one


def of(terminal: Terminal, instance: str) -> dict[str, dict[str, Any]]:
    """What programs see of each role, by its name."""
    [document] = terminal.document("uptake", instance)
    return {each["role"]: each for each in document["roles"]}


def statuses(terminal: Terminal, instance: str) -> dict[str, str]:
    return {role: each["status"] for role, each in of(terminal, instance).items()}


def at(terminal: Terminal, **ago: float) -> str:
    return f"{terminal.desk.world.clock.now() - timedelta(**ago):%Y-%m-%dT%H:%M:%SZ}"


# ---- the role that it carries ----


def test_a_new_role_is_not_seen_then_delivered_then_in_use(terminal: Terminal, desk: Desk, one: str) -> None:
    assert of(terminal, one)["db"]["status"] == "not-seen"
    desk.world.wait(7)
    terminal.trail.delivered(DB, one)
    role = of(terminal, one)["db"]
    assert (role["status"], role["delivered_after_seconds"]) == ("delivered", pytest.approx(8, abs=1))
    desk.world.wait(33)
    terminal.trail.called(DB, one, "ListTables", eventSource="dynamodb.amazonaws.com")
    called = at(terminal).replace("Z", ".000000Z")
    desk.world.wait(60)
    terminal.trail.called(DB, one)
    role = of(terminal, one)["db"]
    assert (role["status"], role["last_use"]["action"]) == ("in-use", "sts:GetCallerIdentity")
    assert (role["first_use"]["at"], role["first_use"]["action"]) == (called, "dynamodb:ListTables")
    assert role["first_use"]["after_seconds"] == pytest.approx(41, abs=1)


def test_a_role_that_was_attached_long_ago_is_in_use_by_its_last_call(terminal: Terminal, desk: Desk) -> None:
    one = desk.converged("web", app="web")
    desk.world.later(days=3)
    for _ in range(30):
        terminal.trail.called(WEB, one)
    terminal.trail.delivered(WEB, one)
    desk.quiet()
    role = of(terminal, one)["web"]
    assert (role["status"], role["first_use"], role["delivered_after_seconds"]) == ("in-use", None, None)
    assert desk.world.calls["LookupEvents"] == 2, "older calls would say nothing new"


def test_a_role_given_back_is_judged_by_what_came_since(terminal: Terminal, desk: Desk, one: str) -> None:
    """From web to db and back: neither what was delivered before nor calls with it show that software has it again."""
    first = desk.world.clock.now() - timedelta(minutes=5)
    desk.world.wait(600)
    desk.world.tag(one, app="web")
    desk.world.reconcile(one)
    desk.world.wait(30)
    terminal.trail.called(WEB, one, "ListBuckets", issued=first, eventSource="s3.amazonaws.com")
    found = of(terminal, one)
    assert list(found) == ["web", "db"]
    assert (found["web"]["status"], found["web"]["delivered_at"]) == ("not-seen", None)
    assert found["web"]["earlier_use"]["action"] == "s3:ListBuckets"
    desk.world.wait(30)
    terminal.trail.called(WEB, one)
    assert of(terminal, one)["web"]["status"] == "in-use"


def test_a_session_that_a_person_made_under_the_instances_name_is_no_use(
    terminal: Terminal, desk: Desk, one: str
) -> None:
    """Only what IMDS handed out has ec2RoleDelivery in its record."""
    desk.world.wait(30)
    for role in (DB, WEB):
        terminal.trail.called(role, one, by_hand=True)
    assert statuses(terminal, one) == {"db": "not-seen", "web": "still-valid"}


def test_no_call_is_said_since_no_earlier_than_the_instance_was_started(terminal: Terminal, desk: Desk) -> None:
    one, started = desk.world.launch(profile="web"), at(terminal)
    desk.world.wait(120)
    [document] = terminal.document("uptake", one)
    assert document["looked_since"] == started.replace("Z", ".000000Z")


def test_other_sessions_and_calls_of_other_roles_mean_nothing(terminal: Terminal, desk: Desk, one: str) -> None:
    """Every instance has a session of aws:ec2-instance; anybody may name a session of any role after an instance."""
    desk.world.wait(10)
    for role in ("arn:aws:iam::123456789012:role/aws:ec2-instance", DB.replace("123456789012", "999999999999")):
        terminal.trail.called(role, one)
    terminal.trail.called(DB, f"{one}0")
    asked = {"roleArn": DB, "roleSessionName": one}
    terminal.trail.happened("AssumeRole", user("bob"), asked, resources=(one,))
    ec2, other = {"type": "AWSService", "invokedBy": "ec2.amazonaws.com"}, {**asked, "roleSessionName": f"{one}0"}
    terminal.trail.happened("AssumeRole", ec2, other, resources=(one,))
    assert of(terminal, one)["db"]["status"] == "not-seen"


@pytest.mark.parametrize("name", ["w.b+x", "a=b,c@d"])
def test_names_are_compared_as_they_are(terminal: Terminal, desk: Desk, name: str) -> None:
    """IAM takes some of the characters that mean something in patterns."""
    desk.role(name)
    role = f"arn:aws:iam::123456789012:role/rolekeeper/{name}"
    one = desk.world.running()
    desk.world.profile(name)
    desk.world.attach_by_hand(one, name)
    terminal.trail.called(role.replace(name, "wxbbbx"), one)
    terminal.trail.called(role, one, "GetCallerIdentity", "[aws-cli/2.0 x]")
    assert of(terminal, one)[name]["status"] == "in-use"


# ---- former roles ----


def test_a_former_role_is_valid_until_its_latest_credentials_expire(terminal: Terminal, desk: Desk, one: str) -> None:
    until = at(terminal, seconds=61, hours=-6)
    desk.world.wait(1800)
    role = of(terminal, one)["web"]
    assert (role["status"], role["valid_until_is_recorded"]) == ("still-valid", True)
    assert role["valid_until"] == until.replace("Z", ".000000Z")
    desk.world.wait(6 * 3600)
    assert "web" not in of(terminal, one), "they are over"


def test_while_records_may_be_missing_it_is_the_longest_after_the_role_was_taken(
    terminal: Terminal, desk: Desk, one: str
) -> None:
    """EC2 may have got new credentials just before the replace, of which the record isn't there yet."""
    desk.world.wait(300)
    role = of(terminal, one)["web"]
    replaced = datetime.fromisoformat(role["until"])
    assert datetime.fromisoformat(role["valid_until"]) == replaced + LONGEST
    assert not role["valid_until_is_recorded"]


def test_a_former_role_that_is_still_used_says_by_what(terminal: Terminal, desk: Desk, one: str) -> None:
    desk.world.wait(600)
    terminal.trail.called(WEB, one, "ListBuckets", eventSource="s3.amazonaws.com")
    role = of(terminal, one)["web"]
    assert (role["status"], role["last_use"]["action"]) == ("still-used", "s3:ListBuckets")
    desk.world.wait(60)
    terminal.trail.called(WEB, one, errorCode="AccessDenied")
    role = of(terminal, one)["web"]
    assert (role["last_use"]["refused"], role["last_accepted_use"]["action"]) == ("AccessDenied", "s3:ListBuckets")


def test_two_replaces_in_a_row_leave_two_former_roles(terminal: Terminal, desk: Desk, one: str) -> None:
    desk.usable("ops")
    desk.edit("app=ops", role="ops")
    terminal.trail.delivered(DB, one)
    desk.world.wait(120)
    desk.world.tag(one, app="ops")
    desk.world.reconcile(one)
    desk.world.wait(60)
    terminal.trail.called(WEB, one)
    found = statuses(terminal, one)
    assert [*found.items()] == [("ops", "not-seen"), ("db", "still-valid"), ("web", "still-used")]


def test_a_role_that_others_attached_and_took_is_known_by_its_deliveries(terminal: Terminal, desk: Desk) -> None:
    one = desk.world.running()
    desk.world.attach_by_hand(one, "theirs")
    desk.world.wait(5)
    terminal.trail.delivered(THEIRS, one)
    desk.world.wait(1800)
    desk.world.profile("web")
    desk.world.attach_by_hand(one, "web")
    terminal.trail.delivered(WEB, one)
    desk.world.wait(1800)
    assert [*statuses(terminal, one).items()] == [("web", "delivered"), ("theirs", "still-valid")]


def test_what_an_ended_instance_had_may_still_be_used_elsewhere(terminal: Terminal, desk: Desk, one: str) -> None:
    terminal.trail.delivered(DB, one)
    desk.world.truth.terminate(one)
    desk.world.wait(4000)
    terminal.trail.called(DB, one)
    assert {each["carried"] for each in of(terminal, one).values()} == {False}
    assert [*statuses(terminal, one).items()] == [("db", "still-used"), ("web", "still-valid")]
    desk.world.later(days=1)
    assert "there is no instance" in terminal("uptake", one).stderr


def denied(desk: Desk, instance: str) -> None:
    """A minute later `rolekeeper revoke` wrote onto the role web, where somebody else wrote too."""
    desk.world.wait(60)
    user = f"{desk.iam.get_role(RoleName='web')['Role']['RoleId']}:{instance}"
    ours, other = (Entry(each, desk.world.clock.now()).statement for each in (user, "AROA:i-00000000000000abc"))
    statements = [other, ours, {"Effect": "Deny", "Action": "s3:*", "Resource": "*"}]
    document = json.dumps({"Version": "2012-10-17", "Statement": statements})
    desk.iam.put_role_policy(RoleName="web", PolicyName=POLICY, PolicyDocument=document)


def test_a_former_role_that_is_revoked_is_cut_off(terminal: Terminal, desk: Desk, one: str) -> None:
    denied(desk, one)
    denied_before = at(terminal).replace("Z", ".000000Z")
    role = of(terminal, one)["web"]
    assert (role["status"], role["denied_before"]) == ("cut-off", denied_before)
    desk.world.wait(60)
    terminal.trail.called(WEB, one, errorCode="AccessDenied")
    role = of(terminal, one)["web"]
    assert (role["status"], role["last_use"]["refused"]) == ("cut-off", "AccessDenied")


def test_what_is_denied_of_a_role_deleted_since_cuts_off_nothing(terminal: Terminal, desk: Desk, one: str) -> None:
    """One that is created again with the old policies has another id: the statement names a role that is gone."""
    denied(desk, one)
    former = desk.iam.get_role(RoleName="web")["Role"]["RoleId"]
    policy: Any = desk.iam.get_role_policy(RoleName="web", PolicyName=POLICY)["PolicyDocument"]
    assert of(terminal, one)["web"]["status"] == "cut-off"
    desk.iam.delete_role_policy(RoleName="web", PolicyName=POLICY)
    desk.delete_role("web")
    desk.role("web")
    desk.iam.put_role_policy(RoleName="web", PolicyName=POLICY, PolicyDocument=json.dumps(policy))
    assert of(terminal, one)["web"]["denied_before"] is None
    desk.world.attach_by_hand(one, "web")
    desk.world.wait(30)
    assert of(terminal, one)["web"]["valid_until"] is None, "EC2 delivered nothing of this role yet"
    terminal.trail.called(WEB, one, role_id=former)
    assert of(terminal, one)["web"]["status"] == "not-seen"
    terminal.trail.called(WEB, one, role_id=desk.iam.get_role(RoleName="web")["Role"]["RoleId"])
    assert of(terminal, one)["web"]["status"] == "in-use"


def unsaid(terminal: Terminal, _: str) -> None:
    """IAM doesn't say whose denial it is."""
    terminal.desk.world.calls.before("GetRole", refusing("AccessDenied"))


def given_again(terminal: Terminal, one: str) -> None:
    """It got the role again, and lost it again."""
    for app in ("web", "db"):
        terminal.desk.world.wait(60)
        terminal.desk.world.tag(one, app=app)
        terminal.desk.world.reconcile(one)


def delivered_late(terminal: Terminal, one: str) -> None:
    """IMDS may hand out a role for some seconds more."""
    terminal.desk.world.wait(2)
    terminal.trail.delivered(WEB, one)


@pytest.mark.parametrize("then", [unsaid, given_again, delivered_late])
def test_what_isnt_surely_denied_isnt_cut_off(terminal: Terminal, desk: Desk, one: str, then: Any) -> None:
    denied(desk, one)
    then(terminal, one)
    assert of(terminal, one)["web"]["status"] == "still-valid"


def test_a_former_role_that_others_gave_back_and_took_is_valid_since_then(
    terminal: Terminal, desk: Desk, one: str
) -> None:
    """Rolekeeper saw neither: only EC2's deliveries know."""
    desk.world.wait(1800)
    desk.world.attach_by_hand(one, "web")
    terminal.trail.delivered(WEB, one)
    desk.world.wait(10)
    terminal.trail.called(WEB, one)
    desk.world.attach_by_hand(one, "db")
    desk.world.wait(1500)
    role = of(terminal, one)["web"]
    assert (role["until"], role["valid_until_is_recorded"]) == (None, False)
    assert datetime.fromisoformat(role["valid_until"]) >= desk.world.clock.now() + timedelta(hours=6)
    assert role["status"] == "still-valid", "it may have been the instance's role then"


def test_where_not_all_deliveries_were_read_a_role_may_be_valid_for_longer(terminal: Terminal, desk: Desk) -> None:
    one = desk.converged("web", app="web")
    for _ in range(3):
        desk.world.wait(3600)
        terminal.trail.delivered(WEB, one)
    delivered = desk.world.clock.now()
    desk.world.detach_by_hand(one)
    desk.world.wait(60)
    for number in range(30):
        terminal.trail.tagged(user("bob"), one, backup=str(number))
    role = of(terminal, one)["web"]
    assert role["delivered_at"] is None, "it is among the older records"
    assert datetime.fromisoformat(role["valid_until"]) >= delivered + timedelta(hours=6)


# ---- CloudTrail's records ----


def test_records_that_come_late_are_told_by_their_own_times(terminal: Terminal, desk: Desk, one: str) -> None:
    desk.world.wait(10)
    terminal.trail.delivered(DB, one, late=500)
    desk.world.wait(20)
    terminal.trail.called(DB, one, late=400)
    desk.world.wait(10)
    terminal.trail.called(DB, one)
    role = of(terminal, one)["db"]
    assert (role["delivered_at"], role["first_use"]["after_seconds"]) == (None, pytest.approx(40, abs=1))
    desk.world.wait(500)
    role = of(terminal, one)["db"]
    assert role["delivered_after_seconds"] == pytest.approx(10, abs=1)
    assert role["first_use"]["after_seconds"] == pytest.approx(30, abs=1)


def test_a_machine_whose_clock_is_wrong_and_far_from_utc_tells_the_same(
    terminal: Terminal, desk: Desk, monkeypatch: pytest.MonkeyPatch, one: str
) -> None:
    desk.world.wait(30)
    terminal.trail.delivered(DB, one)
    terminal.trail.called(WEB, one)
    desk.world.wait(3600)
    right, now = of(terminal, one), desk.world.clock.now
    assert right["web"]["status"] == "still-used"
    for minutes in (-5, 5):
        monkeypatch.setattr(Deployment, "now", lambda _, wrong=timedelta(minutes=minutes): now() + wrong)
        with far_from_utc():
            assert of(terminal, one) == right


def test_a_record_of_the_very_second_of_the_replace_is_of_the_new_role(terminal: Terminal, one: str) -> None:
    """CloudTrail's times are whole seconds, so that one may seem to be before it."""
    replaced = datetime.fromisoformat(of(terminal, one)["db"]["since"])
    terminal.trail.delivered(DB, one)
    terminal.trail.events[-1]["EventTime"] = replaced.replace(microsecond=0) - timedelta(seconds=1)
    assert of(terminal, one)["db"]["delivered_after_seconds"] == 0


@pytest.mark.parametrize(
    ("said", "lasts"),
    [
        ("Jul 4, 2019 4:29:29 PM", timedelta(hours=6, seconds=27)),
        ("Jul 4, 2019, 4:29:29\u202fPM", timedelta(hours=6, seconds=27)),
        ("2019-07-04T16:29:29Z", timedelta(hours=6, seconds=27)),
        ("soon", LONGEST),
        (None, LONGEST),
    ],
)
def test_the_expiration_is_read_in_each_of_its_forms(said: str | None, lasts: timedelta) -> None:
    record = {
        "userIdentity": {"type": "AWSService", "invokedBy": "ec2.amazonaws.com"},
        "requestParameters": {"roleArn": WEB, "roleSessionName": "i-1"},
        "responseElements": {"credentials": {"expiration": said}},
    }
    began = datetime(2019, 7, 4, 10, 29, 2, tzinfo=UTC)
    event = Event.read({"EventName": "AssumeRole", "EventTime": began, "CloudTrailEvent": json.dumps(record)})
    found = Delivery.read(event, "i-1")
    assert found
    assert found.expires - began == lasts


def test_with_more_calls_than_are_looked_through_no_call_is_the_first(terminal: Terminal, desk: Desk, one: str) -> None:
    desk.world.wait(30)
    for _ in range(30):
        terminal.trail.called(DB, one)
    [document] = terminal.document("uptake", one)
    role = document["roles"][0]
    assert (role["status"], role["first_use"], document["looked_through"]) == ("in-use", None, False)


def test_without_cloudtrail_it_says_why_and_the_latest_time(terminal: Terminal, desk: Desk, one: str) -> None:
    until = at(terminal, seconds=1, hours=-6, minutes=-40)
    desk.world.wait(3600)
    terminal.trail.refuses = "ThrottlingException"
    [document] = terminal.document("uptake", one)
    assert document["unknown_because"] == "CloudTrail gave no answer (ThrottlingException)"
    assert document["roles"][1]["valid_until"][:19] == until[:19]


def test_several_instances_keep_to_two_calls_a_second(terminal: Terminal, desk: Desk, one: str) -> None:
    others = [desk.converged("web", app="web") for _ in range(5)]
    began = desk.world.clock.seconds
    desk.quiet()
    assert terminal("uptake", one, *others).stdout.count("instance ") == 6
    assert desk.world.calls["LookupEvents"] == 12
    assert desk.world.clock.seconds - began >= 11 * 0.5


def test_explain_names_the_same_time_for_a_role_put_back_in_between(terminal: Terminal, desk: Desk, one: str) -> None:
    desk.world.wait(60)
    desk.world.attach_by_hand(one, "web")
    desk.world.wait(60)
    desk.world.reconcile(one)
    desk.world.wait(5)
    assert desk.world.carries(one) == "db"
    taken = f"{datetime.fromisoformat(of(terminal, one)['web']['until']):%Y-%m-%dT%H:%M:%SZ}"
    told = lines(terminal("explain", one, "--no-who").stdout)
    [before] = [line for line in told if line.startswith("before that")]
    [former] = [line for line in told if line.startswith("former role")]
    assert before.endswith(f"/web (until {taken})")
    assert former.startswith(f"former role web, taken {taken}: no call seen since (not proof that it is unused); ")
    assert former.endswith(f"; see rolekeeper uptake {one}")
