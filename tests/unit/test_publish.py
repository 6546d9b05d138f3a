"""Rows at an operator's desk: published, refused, tied, waiting, removed; and what nobody may notice."""

from collections import Counter
from datetime import timedelta
from functools import partial

import pytest

from fakes.dynamodb_values import ITEM_BYTES
from fixtures.account import ACCOUNT, KilledError, kill, mapping_key, published_at, refusing
from fixtures.mappings import TRUSTS_EC2, TRUSTS_LAMBDA, Desk
from rolekeeper import app
from rolekeeper.aws import ec2
from rolekeeper.aws.errors import AccessDeniedError, CorruptItemError, RetryableError, StaleTokenError
from rolekeeper.aws.queue import Task, resumable
from rolekeeper.mappings.verdict import Status
from rolekeeper.model.mapping import Mode, WhenOccupied
from rolekeeper.settings import Limits

pytestmark = pytest.mark.desk(roles=["web", "api"])


# ---- accepted ----


def test_a_refused_edit_of_a_mapping_that_expired_says_that_it_governs_nothing(desk: Desk) -> None:
    desk.world.running(workload="web")
    at = desk.world.clock.now() + timedelta(hours=1)
    desk.edit("workload=web", role="web", expires_at=at.isoformat())
    desk.edit("workload=web", role="wbe")
    assert desk.row("workload=web")["matched"] == 1
    desk.world.later(hours=2)
    assert desk.recheck("workload=web").status is Status.REJECTED
    assert desk.row("workload=web")["matched"] == 0


# ---- refused: nothing changes, and the row says why ----


def test_a_bad_row_is_rejected_and_the_last_good_one_stays_in_effect(desk: Desk) -> None:
    desk.world.running(workload="web")
    desk.edit("workload=web", role="api")
    before = desk.served("workload=web")
    desk.quiet()
    verdict = desk.edit("workload=web", role="wbe")
    status, reason, revision = desk.shows("workload=web")
    assert (verdict.status, status, revision) == (Status.REJECTED, "Rejected", 1)
    assert reason.startswith(f"role 'wbe' doesn't exist in account {ACCOUNT}")
    assert reason.endswith("(revision 1 stays in effect)")
    assert desk.served("workload=web") == before
    assert desk.sent() == []
    assert desk.world.events.kinds == ["Mapping Rejected"]
    entry = desk.history("workload=web")[-1]
    assert (entry["event"], entry["reason"]) == ("Mapping Rejected", reason)
    desk.quiet()
    for look in (desk.publish, desk.recheck):
        assert not look("workload=web").changed
    assert desk.world.writes == []
    assert desk.world.events.kinds == []


def test_a_row_without_room_for_its_status_is_rejected_and_mailed_once(desk: Desk) -> None:
    """Whatever else is right with it: people would look for its status where there is none."""
    desk.edit("workload=web", role="web")
    desk.quiet()
    room = ITEM_BYTES - len("tag_keyworkloadtag_valuewebrolewebnotes")
    desk.put_raw("workload=web", {"role": {"S": "web"}, "notes": {"S": "x" * room}})
    assert desk.publish("workload=web").status is Status.REJECTED
    assert "status" not in desk.row("workload=web"), "there is no room for it"
    assert desk.world.topic.mails[0][1].count("the row has 400 KB, and with 400 it has no room for its status") == 1
    desk.quiet()
    assert not desk.recheck("workload=web").changed
    assert (desk.world.events.kinds, desk.world.topic.mails) == ([], [])
    assert [each["status"] for each in desk.history("workload=web")] == ["Published", "Rejected"]
    desk.edit("workload=web", role="web", notes="x" * (390 * 1024))
    assert desk.shows("workload=web")[0] == "Published"


@pytest.mark.parametrize(
    ("room", "reason"),
    [(130, "The row is too large for the reason; see the mapping's history."), (500, "role: is 409,")],
)
def test_a_row_with_little_room_gets_a_short_reason_and_no_details_first(desk: Desk, room: int, reason: str) -> None:
    length = ITEM_BYTES - len("tag_keyworkloadtag_valuewebrole") - room
    desk.put_raw("workload=web", {"role": {"S": "x" * length}})
    desk.publish("workload=web")
    status, text, _ = desk.shows("workload=web")
    assert (status, text[: len(reason)]) == ("Rejected", reason)
    assert "status_details" not in desk.row("workload=web")


# ---- instance profiles ----


def test_a_missing_profile_is_made_as_the_console_does(desk: Desk) -> None:
    desk.role("bare", profile=False)
    assert desk.edit("workload=bare", role="bare").status is Status.PUBLISHED
    profile = desk.iam.get_instance_profile(InstanceProfileName="bare")["InstanceProfile"]
    assert profile["Path"] == "/rolekeeper/"
    assert [role["RoleName"] for role in profile["Roles"]] == ["bare"]
    mapping = desk.in_effect("workload=bare")
    assert mapping.profile_arn == profile["Arn"]


def test_a_creation_that_was_interrupted_is_completed(desk: Desk) -> None:
    desk.role("bare", profile=False)
    desk.put("workload=bare", role="bare")
    desk.world.calls.after("CreateInstanceProfile", kill)
    with pytest.raises(KilledError):
        desk.publish("workload=bare")
    assert desk.publish("workload=bare").status is Status.PUBLISHED
    profile = desk.iam.get_instance_profile(InstanceProfileName="bare")["InstanceProfile"]
    assert [role["RoleName"] for role in profile["Roles"]] == ["bare"]
    assert desk.world.calls["CreateInstanceProfile"] == 1


def test_two_rows_of_one_invocation_share_the_profile_that_was_made_for_the_first(desk: Desk) -> None:
    desk.role("bare", profile=False)
    publisher = desk.app().publisher
    for tag in ("workload=bare", "workload=too"):
        desk.put(tag, role="bare")
        assert publisher.publish(mapping_key(tag), "edit-1").status is Status.PUBLISHED
    assert desk.world.calls["CreateInstanceProfile"] == 1
    assert desk.in_effect("workload=bare").profile_id == desk.in_effect("workload=too").profile_id != ""


def test_a_missing_profile_is_asked_for_when_none_is_to_be_made(desk: Desk) -> None:
    desk.world.makes_profiles = False
    desk.role("bare", profile=False)
    assert desk.edit("workload=bare", role="bare").status is Status.REJECTED
    reason = desk.shows("workload=bare")[1]
    assert "aws iam create-instance-profile --instance-profile-name bare --path /rolekeeper/" in reason
    assert "aws iam add-role-to-instance-profile --instance-profile-name bare --role-name bare" in reason
    desk.iam.create_instance_profile(InstanceProfileName="bare", Path="/rolekeeper/")
    assert "holds no role; run: aws iam add-role" in desk.publish("workload=bare").reason
    assert desk.world.calls["AddRoleToInstanceProfile"] == 0


def test_a_full_account_is_a_reason_to_reject(desk: Desk) -> None:
    desk.role("bare", profile=False)
    desk.world.calls.before(
        "CreateInstanceProfile", refusing("LimitExceeded", "Cannot exceed quota for InstanceProfilesPerAccount: 1000")
    )
    assert desk.edit("workload=bare", role="bare").status is Status.REJECTED
    assert "InstanceProfilesPerAccount" in desk.shows("workload=bare")[1]


def test_observe_mode_makes_no_profile_and_enforce_makes_it_at_the_next_sweep(desk: Desk) -> None:
    desk.role("bare", profile=False)
    desk.world.mode = Mode.OBSERVE
    desk.edit("workload=bare", role="bare")
    assert desk.shows("workload=bare")[:2] == (
        "Published",
        "instance profile 'bare' is made later: the mode is observe",
    )
    assert desk.world.calls["CreateInstanceProfile"] == 0
    desk.world.mode = Mode.ENFORCE
    desk.recheck("workload=bare")
    assert desk.world.calls["CreateInstanceProfile"] == 1
    assert desk.shows("workload=bare") == ("Published", "in effect", 1)


def test_a_profile_that_waits_for_enforce_is_made_though_the_row_was_edited_and_is_refused(desk: Desk) -> None:
    desk.role("bare", profile=False)
    desk.world.mode = Mode.OBSERVE
    desk.edit("workload=bare", role="bare")
    desk.edit("workload=bare", role="missing")
    assert desk.shows("workload=bare")[0] == "Rejected"
    desk.world.mode = Mode.ENFORCE
    desk.recheck("workload=bare")
    assert desk.world.calls["CreateInstanceProfile"] == 1
    assert desk.shows("workload=bare")[0] == "Rejected"
    desk.recheck("workload=bare")
    assert desk.world.calls["CreateInstanceProfile"] == 1


# ---- foreign roles: published with a warning ----

KEPT = "instances that carry foreign roles keep them (occupied says how many; explain says what to do)"
TAKEN = "it takes over instances that carry foreign roles (occupied says how many)"
NO_EFFECT = "when_occupied: replace has no effect, because the stack is deployed with TakeOver=false"


def counts(desk: Desk) -> tuple[int, int]:
    """How many instances the row says that it governs, and how many of them carry a foreign role."""
    row = desk.row("workload=web")
    return int(row["matched"]), int(row["occupied"])


def effect(desk: Desk) -> dict[str, int]:
    """What the last revision was said to change."""
    told = desk.history("workload=web")[-1]["effect"]
    return {name: int(told[name]) for name in ("attach", "replace", "detach")}


@pytest.mark.parametrize(
    ("take_over", "when_occupied", "warned"),
    [(False, "keep", KEPT), (False, "replace", f"{KEPT}; {NO_EFFECT}"), (True, "keep", KEPT), (True, "replace", TAKEN)],
)
def test_a_row_that_meets_foreign_roles_is_published_with_a_warning(
    desk: Desk, when_occupied: str, warned: str, *, take_over: bool
) -> None:
    desk.world.take_over = take_over
    for _ in range(2):
        desk.world.running(profile="theirs", workload="web")
    desk.world.running(workload="web")
    desk.world.running(profile="theirs")
    verdict = desk.edit("workload=web", role="web", when_occupied=when_occupied)
    assert verdict.status is Status.PUBLISHED
    assert desk.shows("workload=web") == ("Published", warned, 1)
    assert counts(desk) == (3, 2)
    assert effect(desk) == {"attach": 1, "replace": 2 if warned == TAKEN else 0, "detach": 0}
    served = desk.in_effect("workload=web")
    assert served.spec.when_occupied is WhenOccupied(when_occupied)
    assert len(desk.sent()) == 3
    desk.quiet()
    assert not desk.recheck("workload=web").changed
    assert desk.world.writes == []


# ---- crashes and races ----


def test_an_instance_tagged_while_a_row_is_published_is_woken(desk: Desk) -> None:
    instance = desk.world.running()
    desk.world.calls.before("TransactWriteItems", lambda: desk.world.tag(instance, workload="web"))
    desk.edit("workload=web", role="web")
    assert desk.sent_ids() == [instance]


def test_a_row_that_never_stands_still_is_left_to_the_stream(desk: Desk) -> None:
    desk.put("workload=web", role="wbe")
    for status in ("a", "b", "c"):
        desk.world.calls.before("UpdateItem", partial(desk.put, "workload=web", role="wbe", status=status))
    with pytest.raises(RetryableError, match="keeps changing"):
        desk.publish("workload=web")


# ---- AWS gives no answer, or refuses ----


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ("GetRole", "Throttling"),
        ("GetInstanceProfile", "ServiceFailure"),
        ("DescribeInstances", "RequestLimitExceeded"),
    ],
)
def test_no_answer_leaves_the_row_waiting_and_the_stream_retries(desk: Desk, operation: str, code: str) -> None:
    instance = desk.world.running(workload="web")
    desk.put("workload=web", role="web")
    desk.world.calls.before(operation, refusing(code))
    with pytest.raises(RetryableError):
        desk.publish("workload=web")
    status, reason, revision = desk.shows("workload=web")
    assert (status, revision) == ("Waiting", 0)
    assert code in reason
    assert operation in reason
    assert desk.served("workload=web") is None
    desk.publish("workload=web")
    assert desk.shows("workload=web") == ("Published", "in effect", 1)
    assert desk.sent_ids() == [instance]


def test_a_missing_permission_rings_and_waits_for_the_sweep(desk: Desk) -> None:
    desk.put("workload=web", role="web")
    words = (
        "User: arn:aws:sts::123456789012:assumed-role/x/y is not authorized to perform: iam:GetRole on resource: "
        "role web because no identity-based policy allows it"
    )
    desk.world.calls.before("GetRole", refusing("AccessDenied", words))
    verdict = desk.publish("workload=web")
    assert verdict.status is Status.WAITING
    assert desk.shows("workload=web")[0] == "Waiting"
    assert "isn't allowed iam:GetRole on" in desk.shows("workload=web")[1]
    (event,) = desk.world.events.named("Permission Missing")
    assert event["action"] == "iam:GetRole"
    assert desk.served("workload=web") is None
    desk.recheck("workload=web")
    assert desk.gives("workload=web") == ("web", 1)


# ---- the sweep ----


def test_a_role_that_can_no_longer_be_used_suspends_its_mapping_until_it_can(desk: Desk) -> None:
    instance = desk.world.running(workload="web")
    desk.edit("workload=web", role="web")
    desk.quiet()
    desk.retrust("web", TRUSTS_LAMBDA)
    desk.recheck("workload=web")
    mapping = desk.in_effect("workload=web")
    assert "role 'web'" in mapping.suspended_because
    status, reason, revision = desk.shows("workload=web")
    assert (status, revision) == ("Rejected", 1)
    assert reason.endswith("(revision 1 is suspended: its instances stay as they are)")
    assert desk.world.events.kinds == ["Mapping Suspended", "Mapping Rejected"]
    assert desk.sent_ids() == [instance]
    desk.quiet()
    assert not desk.recheck("workload=web").changed
    assert desk.world.writes == []
    assert desk.world.events.kinds == []
    desk.retrust("web", TRUSTS_EC2)
    desk.quiet()
    desk.recheck("workload=web")
    mapping = desk.in_effect("workload=web")
    assert mapping.suspended_because == ""
    assert desk.shows("workload=web") == ("Published", "in effect", 1)
    assert desk.world.events.kinds == ["Mapping Resumed", "Mapping Published"]
    assert set(desk.sent_ids()) == {instance}


def test_a_profile_that_was_deleted_and_made_anew_under_its_name_is_attached_again(desk: Desk) -> None:
    """It keeps its ARN, so an instance with the former one looked as it should be, with credentials that end."""
    desk.world.profile("web")
    instance = desk.world.running(workload="web")
    desk.edit("workload=web", role="web")
    served = desk.in_effect("workload=web")
    desk.world.reconcile(instance)
    first = desk.world.association(instance)
    assert first
    desk.delete_role("web")
    desk.role("web")
    desk.quiet()
    desk.recheck("workload=web")
    assert desk.sent_ids() == [instance]
    anew = desk.in_effect("workload=web")
    assert anew.former_profile_ids == {served.profile_id}
    desk.world.reconcile(instance)
    row = desk.world.association(instance)
    assert row
    assert (row.profile_arn, row.profile_id) == (first.profile_arn, anew.profile_id)
    assert "was recreated" in desk.world.history(instance)[-1]["decision"]["reason"]
    newest = desk.world.revisions.history(mapping_key("workload=web"))[0]
    assert newest["event"] == "Profile Recreated"
    desk.quiet()
    desk.recheck("workload=web")
    desk.world.reconcile(instance)
    assert desk.world.writes == []
    assert desk.world.mutations == []


def test_a_former_profile_is_found_on_its_instances_also_where_no_sweep_counted_them(desk: Desk) -> None:
    """A fleet that takes several runs is counted by none of them."""
    desk.world.profile("web")
    instance = desk.world.running()
    desk.world.attach_by_hand(instance, "web")
    former = desk.world.association(instance)
    assert former
    desk.delete_role("web")
    desk.role("web")
    desk.edit("workload=web", role="web")
    desk.world.tag(instance, workload="web")
    desk.quiet()
    desk.recheck("workload=web")
    assert desk.sent_ids() == [instance]
    served = desk.in_effect("workload=web")
    assert served.former_profile_ids == {former.profile_id}


# ---- damage ----


def test_a_row_is_published_anew_when_the_damaged_item_is_deleted(desk: Desk) -> None:
    desk.edit("workload=web", role="web")
    desk.world.garble(published_at("workload=web"))
    for _ in range(2):
        with pytest.raises(CorruptItemError):
            desk.recheck("workload=web")
        assert desk.shows("workload=web")[::2] == ("Waiting", 1)
    desk.world.damage("workload=web")
    desk.recheck("workload=web")
    assert desk.shows("workload=web") == ("Published", "in effect", 1)


# ---- more instances than a run has time for ----


@pytest.fixture
def hurried(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run has time for 30 instances, which are three pages: each ten take a second."""
    monkeypatch.setattr(ec2, "FILTER_VALUES", 10)
    monkeypatch.setattr(app, "FANS_OUT", timedelta(seconds=2.5))
    desk.limits = Limits(1_000, 100)

    def passes() -> None:
        desk.world.clock.sleep(1)
        desk.world.calls.after("SendMessageBatch", passes)

    passes()


def launched(desk: Desk, count: int) -> list[str]:
    desk.world.large_pages()
    return [desk.world.launch(workload="web") for _ in range(count)]


@pytest.mark.usefixtures("hurried")
def test_a_fan_out_whose_run_dies_after_it_was_handed_over_repeats_only_what_that_run_sent(desk: Desk) -> None:
    instances = launched(desk, 70)
    desk.world.calls.after("StartExecution", kill)
    with pytest.raises(KilledError):
        desk.edit("workload=web", role="web")
    desk.publish("workload=web")
    first, second = desk.world.machine.started
    assert first["name"] == second["name"], "so Step Functions takes it for the one that it runs"
    desk.goes_on(first["input"], in_time=True)
    assert Counter(desk.sent_ids()) == Counter([*instances, *instances[:30]])


@pytest.mark.usefixtures("hurried")
def test_each_revision_is_handed_over_by_itself(desk: Desk) -> None:
    launched(desk, 31)
    for role in ("web", "api"):
        desk.edit("workload=web", role=role)
    first, second = desk.world.machine.started
    assert first["name"] != second["name"]


@pytest.mark.usefixtures("hurried")
def test_a_fan_out_whose_token_ec2_takes_no_longer_begins_anew_a_few_times(desk: Desk) -> None:
    instances = launched(desk, 31)
    desk.edit("workload=web", role="web")
    event = desk.world.machine.started[0]["input"]
    desk.sent()
    for _ in range(ec2.RESTARTS):
        desk.world.calls.before("DescribeInstances", refusing("InvalidNextToken"))
        event = resumable(Task.FAN_OUT, event["id"], desk.goes_on(event))
    assert any("read anew" in each["message"] for each in desk.world.logged())
    assert desk.goes_on(event, in_time=True).finished
    assert desk.sent_ids() == instances
    desk.world.calls.before("DescribeInstances", refusing("InvalidNextToken"))
    with pytest.raises(StaleTokenError):
        desk.goes_on(event)


@pytest.mark.usefixtures("hurried")
def test_a_fan_out_that_isnt_allowed_to_go_on_says_what_it_may_not_do(desk: Desk) -> None:
    launched(desk, 31)
    desk.edit("workload=web", role="web")
    event = desk.world.machine.started[0]["input"]
    desk.world.calls.before("SendMessageBatch", refusing("AccessDenied", "no"))
    with pytest.raises(AccessDeniedError):
        desk.goes_on(event)
    assert desk.world.metrics.counts["PermissionDenied"] == 1
