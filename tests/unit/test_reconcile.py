"""Observe, decide, apply: stories on a clock that moves, against EC2's truth and the state table."""

from dataclasses import replace
from datetime import timedelta

import pytest
from botocore.exceptions import ReadTimeoutError

from rolekeeper import codec
from rolekeeper.errors import DamagedError, DeniedError, RetryableError
from rolekeeper.model import Action, InstanceKey, Mode, WhenOccupied, WhenStopped, WhenUnmatched
from support.state_table import STATE_TABLE
from support.world import ACCOUNT, REGION, World, refusing

ATTACH, REPLACE, DETACH = (
    "AssociateIamInstanceProfile",
    "ReplaceIamInstanceProfileAssociation",
    "DisassociateIamInstanceProfile",
)


def _served(world: World, **tags: str) -> str:
    """A running instance that carries our role web."""
    world.publish("workload=web", "web")
    instance = world.running(**(tags or {"workload": "web"}))
    world.reconcile(instance)
    assert world.carries(instance) == "web"
    assert world.owns(instance)
    world.quiet()
    return instance


def _is_left_alone(world: World, instance: str) -> bool:
    """Whether another look does nothing: no mutation, no write, no event."""
    world.quiet()
    world.reconcile(instance)
    return not (world.mutations or world.writes or world.events.sent or world.machine.started)


# ---- attach ----


def test_a_running_instance_gets_the_role_of_its_tag(world: World) -> None:
    world.publish("workload=web", "web")
    instance = world.running(workload="web")
    outcome = world.reconcile(instance)
    assert world.carries(instance) == "web"
    assert world.owns(instance)
    assert outcome.decision
    assert (outcome.decision.code, outcome.waiting, outcome.error) == ("converged", False, None)
    assert world.mutations == [ATTACH]
    assert world.events.kinds == ["Role Attached"]
    (entry,) = world.history(instance)
    assert (entry["cause"], entry["decision"]["action"]) == ("test", "Attach")
    assert entry["seen"]["tags"] == {"workload": "web"}
    assert entry["answer"]["association-id"] == world.truth.association_of(instance).id  # type: ignore[union-attr]  # carried
    assert _is_left_alone(world, instance)


def test_a_stopped_instance_gets_its_role_at_once(world: World) -> None:
    world.publish("workload=web", "web")
    instance = world.stopped(workload="web")
    world.reconcile(instance)
    assert world.carries(instance) == "web"
    assert world.owns(instance)
    assert not world.machine.started


def test_an_association_is_followed_until_it_is_associated(world: World) -> None:
    world.publish("workload=web", "web")
    instance = world.running(workload="web")
    world.reconcile(instance)
    row = world.association(instance)
    assert row
    assert row.state == "associated"


def test_a_pending_instance_waits_in_one_loop_and_gets_its_role_when_it_runs(world: World) -> None:
    world.publish("workload=web", "web")
    instance = world.launch(workload="web")
    outcome = world.reconcile(instance)
    assert outcome.waiting
    assert not world.mutations
    world.reconcile(instance)
    world.reconcile(instance)
    assert len(world.machine.started) == 1
    standing = world.record(instance).standing
    assert standing
    assert (standing.action, standing.code, standing.parked) == (Action.WAIT, "changing", False)
    assert standing.loop_until == world.clock.now() + timedelta(minutes=60)
    world.wait(2)
    world.reconcile(instance, in_loop=True)
    assert world.owns(instance)
    assert world.record(instance).standing is None
    assert len(world.machine.started) == 1


def test_two_loops_never_share_a_name(world: World) -> None:
    world.publish("workload=web", "web")
    first, second = world.launch(workload="web"), world.launch(workload="web")
    world.reconcile(first, second)
    world.later(minutes=61)
    world.truth.stop(first)
    world.tag(first, other="x")
    world.reconcile(first)
    names = [each["name"] for each in world.machine.started]
    assert len(set(names)) == len(names) >= 2


def test_a_loop_whose_time_has_passed_is_started_anew(world: World) -> None:
    world.publish("workload=web", "web")
    instance = world.launch(workload="web")
    began = world.clock.now()
    world.reconcile(instance)
    world.later(minutes=61)
    world.stop(instance)
    world.truth.start(instance)
    outcome = world.reconcile(instance)
    assert outcome.waiting
    assert len(world.machine.started) == 2
    # It has waited for the same thing since the first time.
    standing = world.record(instance).standing
    assert standing
    assert standing.since == began


def test_inside_a_loop_no_other_is_started(world: World) -> None:
    world.publish("workload=web", "web")
    instance = world.launch(workload="web")
    assert world.reconcile(instance, in_loop=True).waiting
    assert not world.machine.started


def test_an_instance_that_gave_up_waiting_resumes_on_its_next_event(world: World) -> None:
    world.publish("workload=web", "web")
    instance = world.launch(workload="web")
    outcome = world.reconcile(instance, in_loop=True)
    assert outcome.decision
    reconciler = world.reconciler(in_loop=True)
    reconciler.park(world.wake(instance), outcome.decision)
    reconciler.announce.flush()
    standing = world.record(instance).standing
    assert standing
    assert standing.parked
    assert "gave up waiting" in standing.reason
    assert world.events.kinds == ["Instance Parked"]
    world.reconcile(instance)
    assert len(world.machine.started) == 1
    world.wait(2)
    world.reconcile(instance)
    assert world.owns(instance)
    assert world.record(instance).standing is None


# ---- replace ----


def test_a_retagged_instance_changes_its_role_in_one_call(world: World) -> None:
    instance = _served(world)
    before = world.association(instance)
    world.publish("workload=db", "db")
    world.tag(instance, workload="db")
    world.quiet()
    world.reconcile(instance)
    assert world.mutations == [REPLACE]
    assert world.carries(instance) == "db"
    assert world.owns(instance)
    after = world.association(instance)
    assert before
    assert after
    assert before.id != after.id
    assert list(world.record(instance).assignments) == [after.id]
    assert world.events.kinds == ["Role Replaced"]
    assert _is_left_alone(world, instance)


def test_somebody_elses_role_is_replaced_where_the_mapping_says_so(world: World) -> None:
    world.publish("workload=web", "web")
    instance = world.running(profile="theirs", workload="web")
    world.reconcile(instance)
    assert world.carries(instance) == "web"
    assert world.owns(instance)


def test_an_edited_mapping_is_followed(world: World) -> None:
    instance = _served(world)
    world.publish("workload=web", "web-2")
    world.reconcile(instance)
    assert world.carries(instance) == "web-2"
    assert world.owns(instance)


def test_a_replace_on_a_stopped_instance_waits_for_its_start_without_a_loop(world: World) -> None:
    instance = _served(world)
    world.publish("workload=db", "db")
    world.stop(instance)
    world.tag(instance, workload="db")
    outcome = world.reconcile(instance)
    assert not outcome.waiting
    assert not world.machine.started
    assert not world.mutations
    assert world.carries(instance) == "web"
    standing = world.record(instance).standing
    assert standing
    assert standing.code == "stopped"
    world.start(instance)
    world.reconcile(instance)
    assert world.carries(instance) == "db"
    assert world.owns(instance)
    assert world.record(instance).standing is None


def test_a_mapping_that_says_swap_replaces_on_a_stopped_instance_by_two_calls(world: World) -> None:
    world.publish("workload=web", "web", when_unmatched=WhenUnmatched.RESTORE)
    world.publish("workload=db", "db", when_stopped=WhenStopped.SWAP, when_unmatched=WhenUnmatched.RESTORE)
    theirs = world.profile("theirs")
    instance = world.running(profile="theirs", workload="web")
    world.reconcile(instance)
    world.stop(instance)
    world.tag(instance, workload="db")
    world.quiet()
    world.reconcile(instance)
    assert world.mutations == [DETACH, ATTACH]
    assert world.carries(instance) == "db"
    assert world.owns(instance)
    (ours,) = world.record(instance).assignments.values()
    assert ours.restore_profile_arn == theirs
    # What was there before the first of our roles comes back at the end.
    world.untag(instance, "workload")
    world.start(instance)
    world.reconcile(instance)
    assert world.carries(instance) == "theirs"


def test_two_mappings_that_agree_take_over_from_each_other_without_a_call(world: World) -> None:
    instance = _served(world)
    world.publish("env=prod", "web", when_unmatched=WhenUnmatched.KEEP)
    world.tag(instance, env="prod")
    world.untag(instance, "workload")
    world.reconcile(instance)
    assert not world.mutations
    (ours,) = world.record(instance).assignments.values()
    assert str(ours.mapping) == "env=prod"
    assert _is_left_alone(world, instance)


# ---- detach ----


def test_a_removed_tag_takes_our_role_away_in_one_call(world: World) -> None:
    instance = _served(world)
    world.untag(instance, "workload")
    world.reconcile(instance)
    assert world.mutations == [DETACH]
    assert world.association(instance) is None
    record = world.record(instance)
    assert record.empty
    assert world.events.kinds == ["Role Detached"]
    assert _is_left_alone(world, instance)


def test_a_removed_tag_leaves_somebody_elses_role(world: World) -> None:
    instance = _served(world)
    theirs = world.attach_by_hand(instance, "theirs")
    world.untag(instance, "workload")
    world.reconcile(instance)
    row = world.association(instance)
    assert row
    assert row.id == theirs
    assert not world.mutations


def test_an_untagged_instance_with_somebody_elses_role_isnt_touched(world: World) -> None:
    world.publish("workload=web", "web")
    instance = world.running(profile="theirs")
    world.wait(1)
    assert _is_left_alone(world, instance)
    assert world.carries(instance) == "theirs"


def test_a_deleted_row_takes_its_roles_away(world: World) -> None:
    instance = _served(world)
    world.unpublish("workload=web")
    world.reconcile(instance)
    assert world.association(instance) is None


def test_a_mapping_that_expires_takes_its_roles_away(world: World) -> None:
    world.publish("workload=web", "web", expires_at=world.clock.now() + timedelta(hours=1))
    instance = world.running(workload="web")
    world.reconcile(instance)
    assert world.carries(instance) == "web"
    world.later(hours=2)
    world.reconcile(instance)
    assert world.carries(instance) == ""


def test_a_mapping_that_says_keep_lets_our_role_stay(world: World) -> None:
    world.publish("workload=web", "web", when_unmatched=WhenUnmatched.KEEP)
    instance = world.running(workload="web")
    world.reconcile(instance)
    world.untag(instance, "workload")
    assert _is_left_alone(world, instance)
    assert world.carries(instance) == "web"


def test_a_mapping_to_none_takes_every_role_away_and_stays_content(world: World) -> None:
    world.publish("quarantine=*", "NONE", priority=1)
    ours, theirs = _served(world), world.running(profile="theirs")
    for instance in (ours, theirs):
        world.tag(instance, quarantine="")
        world.reconcile(instance)
        assert world.association(instance) is None
        assert _is_left_alone(world, instance)


# ---- restore ----


def _taken_over(world: World, **columns: object) -> str:
    """A running instance whose role somebody gave it, and that we replaced."""
    world.publish("workload=web", "web", when_unmatched=WhenUnmatched.RESTORE, **columns)
    instance = world.running(profile="theirs", workload="web")
    world.reconcile(instance)
    assert world.carries(instance) == "web"
    world.quiet()
    return instance


def test_what_was_there_before_comes_back_and_is_nobodys_but_theirs(world: World) -> None:
    instance = _taken_over(world)
    world.untag(instance, "workload")
    world.reconcile(instance)
    assert world.mutations == [REPLACE]
    assert world.carries(instance) == "theirs"
    record = world.record(instance)
    assert record.empty
    assert _is_left_alone(world, instance)


def test_what_was_there_before_comes_back_through_several_of_our_roles(world: World) -> None:
    instance = _taken_over(world)
    world.publish("workload=db", "db", when_unmatched=WhenUnmatched.RESTORE)
    world.tag(instance, workload="db")
    world.reconcile(instance)
    world.untag(instance, "workload")
    world.reconcile(instance)
    assert world.carries(instance) == "theirs"


def test_a_role_outside_the_ceiling_isnt_put_back(world: World) -> None:
    instance = _taken_over(world)
    world.may_restore = lambda arn: "/rolekeeper/" in arn
    world.untag(instance, "workload")
    world.reconcile(instance)
    assert not world.mutations
    assert world.carries(instance) == "web"
    standing = world.record(instance).standing
    assert standing
    assert (standing.action, standing.code) == (Action.HOLD, "ceiling")
    assert world.events.kinds == ["Role Change Refused"]
    assert _is_left_alone(world, instance)


# ---- holds ----


def test_a_mapping_that_says_keep_holds_and_says_so_once(world: World) -> None:
    world.publish("workload=web", "web", when_occupied=WhenOccupied.KEEP)
    instance = world.running(profile="theirs", workload="web")
    world.wait(1)
    world.reconcile(instance)
    assert world.carries(instance) == "theirs"
    assert world.events.kinds == ["Role Change Refused"]
    standing = world.record(instance).standing
    assert standing
    assert (standing.action, standing.code) == (Action.HOLD, "occupied")
    assert len(world.history(instance)) == 1
    assert _is_left_alone(world, instance)
    # Once the stranger's role is gone, ours comes and nothing is shown any more.
    world.truth.disassociate(world.truth.association_of(instance).id)  # type: ignore[union-attr]  # carried
    world.wait(1)
    world.reconcile(instance)
    assert world.owns(instance)
    assert world.record(instance).standing is None


def test_a_tie_holds_and_says_so_once(world: World) -> None:
    instance = _served(world)
    world.publish("env=prod", "prod")
    world.tag(instance, env="prod")
    world.reconcile(instance)
    assert world.carries(instance) == "web"
    assert world.events.kinds == ["Role Change Refused"]
    assert "share priority 100" in world.events.sent[0]["Detail"]["decision"]["reason"]
    assert _is_left_alone(world, instance)
    # Another reason is news.
    world.publish("team=a", "team")
    world.tag(instance, team="a")
    world.quiet()
    world.reconcile(instance)
    assert world.events.kinds == ["Role Change Refused"]


@pytest.mark.parametrize("untagged", [True, False], ids=["tag removed too", "still tagged"])
def test_a_mapping_whose_record_is_missing_holds(world: World, *, untagged: bool) -> None:
    instance = _served(world)
    world.damage("workload=web")
    if untagged:
        world.untag(instance, "workload")
    world.reconcile(instance)
    assert world.carries(instance) == "web"
    assert not world.mutations
    standing = world.record(instance).standing
    assert standing
    assert standing.code == "mapping-missing"
    assert _is_left_alone(world, instance)


def test_a_missing_record_doesnt_let_the_next_mapping_take_over(world: World) -> None:
    world.publish("workload=*", "base", priority=900)
    instance = _served(world)
    world.damage("workload=web")
    world.reconcile(instance)
    assert world.carries(instance) == "web"
    assert not world.mutations
    # A deliberate act does.
    world.publish("workload=web", "web")
    world.unpublish("workload=web")
    world.reconcile(instance)
    assert world.carries(instance) == "base"


def test_an_empty_table_changes_nothing(world: World) -> None:
    untagged, theirs = world.running(), world.running(profile="theirs", workload="web")
    world.wait(1)
    world.reconcile(untagged, theirs)
    assert not world.mutations
    assert world.carries(theirs) == "theirs"


def test_observing_only_reports(world: World) -> None:
    world.mode = Mode.OBSERVE
    world.publish("workload=web", "web")
    instance = world.running(workload="web")
    world.reconcile(instance)
    assert not world.mutations
    assert world.carries(instance) == ""
    (event,) = world.events.named("Role Change Refused")
    assert event["decision"]["code"] == "observed"
    assert event["decision"]["reason"] == "the mode is observe; it would attach: workload=web gives it role web"
    assert _is_left_alone(world, instance)
    world.control(mode="enforce")
    world.reconcile(instance)
    assert world.owns(instance)


def test_the_control_item_can_take_an_enforcing_deployment_back_to_observing(world: World) -> None:
    world.publish("workload=web", "web")
    world.control(mode="observe")
    instance = world.running(workload="web")
    world.reconcile(instance)
    assert world.carries(instance) == ""


def test_paused_means_hands_off_until_resumed(world: World) -> None:
    world.publish("workload=web", "web")
    instance = world.running(workload="web")
    world.control(paused=True)
    world.reconcile(instance)
    assert not world.mutations
    standing = world.record(instance).standing
    assert standing
    assert standing.code == "paused"
    world.control(paused=False)
    world.reconcile(instance)
    assert world.owns(instance)
    assert world.record(instance).standing is None


# ---- what can't be read ----


@pytest.mark.parametrize("operation", ["BatchGetItem", "DescribeInstances", "DescribeIamInstanceProfileAssociations"])
@pytest.mark.parametrize("code", ["InternalServerError", "ThrottlingException", "ResourceNotFoundException"])
def test_when_the_truth_cant_be_read_every_message_comes_back_and_nothing_changes(
    world: World, operation: str, code: str
) -> None:
    instance, other = _served(world), world.running(workload="web")
    world.untag(instance, "workload")
    world.calls.before(operation, refusing(code))
    outcomes = world.reconcile_all(instance, other)
    assert [bool(outcome.error) for outcome in outcomes.values()] == [True, True]
    assert not world.mutations
    assert not world.writes
    assert world.carries(instance) == "web"
    world.reconcile(instance, other)
    assert (world.carries(instance), world.carries(other)) == ("", "web")


def test_a_read_that_isnt_allowed_is_told_once_and_holds(world: World) -> None:
    instance, other = _served(world), world.running(workload="web")
    words = "User: fn is not authorized to perform: dynamodb:BatchGetItem on resource: arn:aws:dynamodb:table/state"
    world.calls.before("BatchGetItem", refusing("AccessDeniedException", words))
    outcomes = world.reconcile_all(instance, other)
    assert all(isinstance(outcome.error, DeniedError) for outcome in outcomes.values())
    (event,) = world.events.named("Permission Missing")
    assert (event["action"], event["resource"]) == ("dynamodb:BatchGetItem", "arn:aws:dynamodb:table/state")
    assert not world.mutations


def test_keys_left_unprocessed_are_asked_for_again(world: World) -> None:
    instance = _served(world)
    world.dynamodb.unprocessed = 3
    world.reconcile(instance)
    assert not world.mutations
    assert world.carries(instance) == "web"
    assert world.calls["BatchGetItem"] == 4


def test_keys_that_stay_unprocessed_are_never_taken_for_absent(world: World) -> None:
    instance = _served(world)
    world.dynamodb.unprocessed = 100
    outcome = world.reconcile(instance)
    assert isinstance(outcome.error, RetryableError)
    assert not world.mutations
    assert world.carries(instance) == "web"


# ---- what EC2 refuses ----


def test_a_lost_race_observes_again(world: World) -> None:
    world.publish("workload=web", "web")
    instance = world.running(workload="web")
    world.calls.before(ATTACH, lambda: world.attach_by_hand(instance, "theirs"))
    world.reconcile(instance)
    assert world.carries(instance) == "web"
    assert world.owns(instance)
    assert world.mutations == [ATTACH, REPLACE]
    answers = [entry["answer"] for entry in world.history(instance)]
    assert answers[0]["code"] == "IncorrectState"


def test_a_lost_race_against_a_role_to_keep_holds(world: World) -> None:
    world.publish("workload=web", "web", when_occupied=WhenOccupied.KEEP)
    instance = world.running(workload="web")
    world.calls.before(ATTACH, lambda: world.attach_by_hand(instance, "theirs"))
    world.reconcile(instance)
    assert world.carries(instance) == "theirs"
    record = world.record(instance)
    assert record.standing
    assert record.standing.code == "occupied"
    assert not record.intents
    assert not record.assignments


def test_a_lost_race_for_the_very_same_role_leaves_it_theirs(world: World) -> None:
    world.publish("workload=web", "web")
    instance = world.running(workload="web")
    world.calls.before(ATTACH, lambda: world.attach_by_hand(instance, "web"))
    world.reconcile(instance)
    assert world.carries(instance) == "web"
    assert world.record(instance).empty
    world.untag(instance, "workload")
    world.reconcile(instance)
    assert world.carries(instance) == "web"


def test_a_stale_id_observes_again(world: World) -> None:
    instance = _served(world)
    world.publish("workload=db", "db")
    world.tag(instance, workload="db")
    world.calls.before(REPLACE, lambda: world.attach_by_hand(instance, "theirs"))
    world.reconcile(instance)
    assert world.carries(instance) == "db"
    assert world.owns(instance)
    assert world.mutations == [REPLACE, REPLACE]


def test_a_detach_of_what_is_gone_already_is_done(world: World) -> None:
    instance = _served(world)
    world.untag(instance, "workload")

    def by_hand() -> None:
        row = world.truth.association_of(instance)
        assert row
        world.truth.disassociate(row.id)

    world.calls.before(DETACH, by_hand)
    outcome = world.reconcile(instance)
    assert outcome.error is None
    assert world.association(instance) is None
    assert not world.record(instance).intents


def test_an_instance_that_stops_before_the_call_waits(world: World) -> None:
    world.publish("workload=web", "web")
    instance = world.running(workload="web")
    world.calls.before(ATTACH, lambda: world.truth.stop(instance))
    outcome = world.reconcile(instance)
    assert outcome.waiting
    assert len(world.machine.started) == 1
    record = world.record(instance)
    assert record.standing
    assert record.standing.code == "changing"
    assert not record.intents
    world.wait(2)
    world.reconcile(instance, in_loop=True)
    assert world.owns(instance)


def test_an_instance_that_stops_before_a_replace_ends_waiting_for_its_start(world: World) -> None:
    instance = _served(world)
    world.publish("workload=db", "db")
    world.tag(instance, workload="db")
    world.calls.before(REPLACE, lambda: world.stop(instance))
    world.reconcile(instance)
    standing = world.record(instance).standing
    assert standing
    assert standing.code == "stopped"
    assert world.carries(instance) == "web"
    assert world.owns(instance)


def test_a_new_profile_is_waited_for_and_then_attached(world: World) -> None:
    world.profile("web", made_now=True)
    world.publish("workload=web", "web")
    # The truth refuses a new profile for 3 s; the instance runs after 2.
    instance = world.running(workload="web")
    outcome = world.reconcile(instance)
    assert outcome.waiting
    assert outcome.decision
    assert outcome.decision.code == "propagating"
    assert len(world.machine.started) == 1
    assert not world.record(instance).intents
    world.reconcile(instance)
    assert len(world.machine.started) == 1
    world.wait(4)
    world.reconcile(instance, in_loop=True)
    assert world.owns(instance)
    assert world.record(instance).standing is None


def test_a_profile_that_never_propagates_starts_no_second_loop_once_parked(world: World) -> None:
    world.profile("web", empty=True)
    world.publish("workload=web", "web")
    instance = world.running(workload="web")
    outcome = world.reconcile(instance)
    assert outcome.decision
    world.reconciler(in_loop=True).park(world.wake(instance), outcome.decision)
    world.quiet()
    world.reconcile(instance)
    assert not world.machine.started
    standing = world.record(instance).standing
    assert standing
    assert standing.parked
    # Put right, the next look attaches.
    world.profile("web")
    world.reconcile(instance)
    assert world.owns(instance)


PASS_ROLE = (
    "You are not authorized to perform this operation. User: arn:aws:sts::123456789012:assumed-role/fn/fn is not "
    "authorized to perform: iam:PassRole on resource: arn:aws:iam::123456789012:role/rolekeeper/web because no "
    "identity-based policy allows the iam:PassRole action. Encoded authorization failure message: 4f-5k"
)


def test_a_missing_permission_holds_and_names_action_and_resource(world: World) -> None:
    world.publish("workload=web", "web")
    instance = world.running(workload="web")
    world.calls.before(ATTACH, refusing("UnauthorizedOperation", PASS_ROLE, status=403))
    outcome = world.reconcile(instance)
    assert outcome.error is None
    assert outcome.decision
    assert (outcome.decision.action, outcome.decision.code) == (Action.HOLD, "denied")
    (missing,) = world.events.named("Permission Missing")
    role = "arn:aws:iam::123456789012:role/rolekeeper/web"
    assert (missing["action"], missing["resource"]) == ("iam:PassRole", role)
    assert len(world.events.named("Role Change Refused")) == 1
    assert world.metrics.counts["PermissionDenied"] == 1
    record = world.record(instance)
    assert record.standing
    assert record.standing.reason == f"permission iam:PassRole on {role} is missing (UnauthorizedOperation)"
    assert not record.intents
    # Denied again, in other words of the encoded message: that is no news about the instance.
    world.quiet()
    world.calls.before(ATTACH, refusing("UnauthorizedOperation", f"{PASS_ROLE}-other", status=403))
    world.reconcile(instance)
    assert not world.events.named("Role Change Refused")
    # Granted.
    world.reconcile(instance)
    assert world.owns(instance)
    assert world.record(instance).standing is None


def test_an_encoded_denial_names_what_we_attempted(world: World) -> None:
    instance = _served(world)
    world.publish("workload=db", "db")
    world.tag(instance, workload="db")
    words = "You are not authorized to perform this operation. Encoded authorization failure message: 4f-5k"
    world.calls.before(REPLACE, refusing("UnauthorizedOperation", words, status=403))
    world.reconcile(instance)
    (missing,) = world.events.named("Permission Missing")
    assert missing["action"] == "ec2:ReplaceIamInstanceProfileAssociation"
    assert missing["resource"] == f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/{instance}"
    assert world.carries(instance) == "web"


def test_any_other_refusal_holds_with_awss_words(world: World) -> None:
    world.publish("workload=web", "web")
    instance = world.running(workload="web")
    world.calls.before(ATTACH, refusing("UnsupportedOperation", "not on this kind of instance"))
    outcome = world.reconcile(instance)
    assert outcome.decision
    assert outcome.decision.code == "refused"
    assert "not on this kind of instance" in outcome.decision.reason
    assert world.events.kinds == ["Role Change Refused"]
    assert world.metrics.counts["Refused"] == 1, "an alarm rings"


def test_a_throttled_mutation_comes_back_and_then_succeeds(world: World) -> None:
    world.publish("workload=web", "web")
    instance = world.running(workload="web")
    world.calls.before(ATTACH, refusing("RequestLimitExceeded", status=503))
    outcome = world.reconcile(instance)
    assert isinstance(outcome.error, RetryableError)
    assert world.carries(instance) == ""
    world.reconcile(instance)
    assert world.owns(instance)


def test_an_answer_that_never_came_is_found_by_the_next_look(world: World) -> None:
    world.publish("workload=web", "web")
    instance = world.running(workload="web")

    def time_out() -> None:
        raise ReadTimeoutError(endpoint_url="https://ec2")

    world.calls.after(ATTACH, time_out)
    outcome = world.reconcile(instance)
    assert isinstance(outcome.error, RetryableError)
    world.reconcile(instance)
    assert world.owns(instance)
    assert world.mutations == [ATTACH]


def test_one_instances_trouble_is_its_own(world: World) -> None:
    world.publish("workload=web", "web")
    first, second, third = (world.running(workload="web") for _ in range(3))
    world.calls.before(ATTACH, refusing("RequestLimitExceeded", status=503))
    outcomes = world.reconcile_all(first, second, third)
    assert [bool(outcomes[world.key(each)].error) for each in (first, second, third)] == [True, False, False]
    assert world.owns(second)
    assert world.owns(third)


def test_an_instance_that_keeps_changing_comes_back_after_a_bounded_number_of_looks(world: World) -> None:
    world.publish("workload=web", "web")
    instance = world.running(workload="web")
    for _ in range(50):
        world.calls.before(ATTACH, refusing("IncorrectState", "There is an existing association for instance"))
    outcome = world.reconcile(instance)
    assert isinstance(outcome.error, RetryableError)
    assert world.calls["DescribeInstances"] <= 6
    assert not world.record(instance).intents


# ---- instances that are no more ----


def test_an_unknown_instance_is_no_action_and_no_record(world: World) -> None:
    unknown = "i-00000000000000bad"
    outcome = world.reconcile(unknown)
    assert outcome.decision
    assert (outcome.decision.code, outcome.error) == ("gone", None)
    assert not world.writes
    assert not world.mutations
    assert not world.events.sent
    assert world.clock.seconds < 10


def test_an_old_message_about_an_unknown_instance_isnt_looked_at_twice(world: World) -> None:
    wake = world.wake("i-00000000000000bad")
    world.later(minutes=3)
    world.reconciler().run([wake])
    assert world.calls["DescribeInstances"] == 1


def test_an_instance_that_isnt_visible_yet_is_looked_for_again(world: World) -> None:
    world.publish("workload=web", "web")
    instance = "i-0000000000000abcd"
    world.clock.after(1, lambda: world.truth.launch(instance_id=instance, tags={"workload": "web"}))
    outcome = world.reconcile(instance)
    assert outcome.decision
    assert outcome.decision.code in ("changing", "converged")


@pytest.mark.parametrize("seconds", [0.0, 5.0], ids=["shutting-down", "terminated"])
def test_a_terminated_instances_record_is_forgotten(world: World, seconds: float) -> None:
    instance = _served(world)
    world.truth.terminate(instance)
    world.wait(seconds)
    outcome = world.reconcile(instance)
    assert outcome.decision
    assert outcome.decision.code == "ended"
    assert not world.mutations
    assert world.key(instance) not in world.state.read([world.key(instance)], []).records
    assert world.history(instance)
    assert _is_left_alone(world, instance)


# ---- looking again ----


def test_a_wish_that_changes_during_the_mutation_is_met(world: World) -> None:
    world.publish("workload=web", "web")
    world.publish("workload=db", "db")
    instance = world.running(workload="web")
    world.calls.after(ATTACH, lambda: world.tag(instance, workload="db"))
    world.reconcile(instance)
    assert world.carries(instance) == "db"
    assert world.owns(instance)
    assert world.mutations == [ATTACH, REPLACE]


def test_a_tag_removed_during_the_mutation_is_met(world: World) -> None:
    world.publish("workload=web", "web")
    instance = world.running(workload="web")
    world.calls.after(ATTACH, lambda: world.untag(instance, "workload"))
    world.reconcile(instance)
    assert world.association(instance) is None
    assert not world.record(instance).intents


def test_several_messages_for_one_instance_are_one_reconcile(world: World) -> None:
    world.publish("workload=web", "web")
    instance = world.running(workload="web")
    outcomes = world.reconcile_all(instance, instance, instance)
    assert list(outcomes) == [InstanceKey(ACCOUNT, REGION, instance)]
    assert world.mutations == [ATTACH]


def test_every_decision_is_logged_with_its_correlation_id(world: World) -> None:
    world.publish("workload=web", "web")
    instance = world.running(workload="web")
    world.reconcile(instance)
    decisions = [line for line in world.logged() if line["message"] == "decided"]
    assert [line["decision"]["action"] for line in decisions] == ["Attach", "Nothing"]
    assert {line["correlation_id"] for line in decisions} == {"correlation-1"}
    assert (world.metrics.counts["Attach"], world.metrics.counts["Nothing"]) == (1, 1)


# ---- damage ----


def test_one_damaged_record_doesnt_keep_the_others_from_their_roles(world: World) -> None:
    world.publish("app=web", "web")
    damaged, sound = world.running(app="web"), world.running(app="web")
    pk, sk = codec.record_key(world.key(damaged))
    world.dynamodb.put_item(
        TableName=STATE_TABLE, Item=codec.to_attributes({"pk": pk, "sk": sk, "standing": {"action": "Dance"}})
    )
    outcomes = world.reconcile_all(damaged, sound)
    assert world.carries(sound) == "web"
    assert world.carries(damaged) == ""
    error = outcomes[world.key(damaged)].error
    assert isinstance(error, DamagedError)
    assert damaged in str(error)


def test_a_refusal_is_one_write_with_its_answer(world: World) -> None:
    world.publish("app=web", "web")
    instance = world.running(app="web")
    world.quiet()
    world.calls.before("AssociateIamInstanceProfile", refusing("UnauthorizedOperation", "You are not authorized"))
    world.reconcile(instance)
    assert world.writes == ["UpdateItem", "TransactWriteItems"]
    (entry,) = world.history(instance)
    assert entry["answer"]["code"] == "UnauthorizedOperation"
    assert entry["decision"]["code"] == "denied"


def test_a_missing_permission_is_told_once_and_counted_each_time(world: World) -> None:
    world.publish("app=web", "web")
    instance = world.running(app="web")
    for _ in range(3):
        world.calls.before("AssociateIamInstanceProfile", refusing("UnauthorizedOperation", "You are not authorized"))
        world.reconcile(instance)
    assert len(world.events.named("Permission Missing")) == 1
    assert world.metrics.counts["PermissionDenied"] == 3
    world.reconcile(instance)
    assert world.carries(instance) == "web"


def test_a_message_that_a_failed_loop_left_starts_another_loop(world: World) -> None:
    world.publish("app=web", "web")
    instance = world.launch(app="web")
    world.reconcile(instance)
    assert len(world.machine.started) == 1
    world.reconcile(instance)
    assert len(world.machine.started) == 1, "a loop watches it"
    world.reconciler().run([world.wake(instance), replace(world.wake(instance), loop_failed=True)])
    assert len(world.machine.started) == 2
