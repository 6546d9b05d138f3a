"""Observe, decide, apply: stories on a clock that moves, against EC2's truth and the state table.

What one change writes and what EC2's refusals mean is in `test_reconcile_apply`.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from fixtures.account import ACCOUNT, REGION, FakeAccount, mapping_key, refusing, waiting
from fixtures.state_table import STATE_TABLE
from rolekeeper.aws.errors import AccessDeniedError, CorruptItemError, RetryableError
from rolekeeper.model.instance import Action, Condition, InstanceKey, InstanceState
from rolekeeper.model.mapping import Mode, Pin, WhenOccupied, WhenStopped, WhenUnmatched
from rolekeeper.storage import codec, layout
from rolekeeper_cli.writes.pins import pin_item

ATTACH, REPLACE, DETACH = (
    "AssociateIamInstanceProfile",
    "ReplaceIamInstanceProfileAssociation",
    "DisassociateIamInstanceProfile",
)


def _converged(world: FakeAccount, **tags: str) -> str:
    """A running instance that carries the managed role web, as its tag asks."""
    world.publish("workload=web", "web")
    instance = world.running(**(tags or {"workload": "web"}))
    world.reconcile(instance)
    assert world.carries(instance) == "web"
    assert world.granted(instance)
    world.quiet()
    return instance


def _condition(world: FakeAccount, instance: str) -> Condition:
    """What an instance shows."""
    condition = world.record(instance).condition
    assert condition
    return condition


def _is_left_alone(world: FakeAccount, instance: str) -> bool:
    """Whether another look does nothing: no mutation, no write, no event."""
    world.quiet()
    world.reconcile(instance)
    return not (world.mutations or world.writes or world.events.sent or world.machine.started)


# ---- attach ----


def test_a_running_instance_gets_the_role_of_its_tag(world: FakeAccount) -> None:
    world.publish("workload=web", "web")
    instance = world.running(workload="web")
    outcome = world.reconcile(instance)
    assert world.carries(instance) == "web"
    assert world.granted(instance)
    assert outcome.decision
    assert (outcome.decision.code, waiting(outcome), outcome.error) == ("unoccupied", False, None)
    assert world.mutations == [ATTACH]
    assert world.events.kinds == ["Role Attached"]
    (entry,) = world.history(instance)
    assert (entry["cause"], entry["decision"]["action"], entry["outcome"]) == ("test", "Attach", "done")
    assert entry["seen"]["tags"] == {"workload": "web"}
    assert entry["answer"]["association-id"] == world.truth.association_of(instance).id  # type: ignore[union-attr]  # carried
    assert _is_left_alone(world, instance)


def test_a_stopped_instance_gets_its_role_at_once(world: FakeAccount) -> None:
    world.publish("workload=web", "web")
    instance = world.stopped(workload="web")
    world.reconcile(instance)
    assert world.carries(instance) == "web"
    assert world.granted(instance)
    assert not world.machine.started


def test_an_association_is_followed_until_it_is_associated(world: FakeAccount) -> None:
    world.publish("workload=web", "web")
    instance = world.running(workload="web")
    world.reconcile(instance)
    row = world.truth.association_of(instance)
    assert row
    assert row.state == "associated"


def test_a_pending_instance_waits_in_one_loop_and_gets_its_role_when_it_runs(world: FakeAccount) -> None:
    world.publish("workload=web", "web")
    instance = world.launch(workload="web")
    outcome = world.reconcile(instance)
    assert waiting(outcome)
    assert not world.mutations
    world.reconcile(instance)
    world.reconcile(instance)
    assert len(world.machine.started) == 1
    condition = _condition(world, instance)
    assert (condition.action, condition.code, condition.parked) == (Action.WAIT, "changing", False)
    assert condition.watched_until == world.clock.now() + timedelta(minutes=60)
    world.wait(2)
    world.reconcile(instance, in_loop=True)
    assert world.granted(instance)
    assert world.shows(instance) == ""
    assert len(world.machine.started) == 1


def test_two_loops_never_share_a_name(world: FakeAccount) -> None:
    world.publish("workload=web", "web")
    first, second = world.launch(workload="web"), world.launch(workload="web")
    world.reconcile(first, second)
    world.later(minutes=61)
    world.truth.stop(first)
    world.reconcile(first)
    names = [each["name"] for each in world.machine.started]
    assert [name.startswith(first) for name in names] == [True, False, True]
    assert len(set(names)) == 3


def test_a_loop_whose_time_has_passed_is_started_anew(world: FakeAccount) -> None:
    world.publish("workload=web", "web")
    instance = world.launch(workload="web")
    began = world.clock.now()
    world.reconcile(instance)
    world.later(minutes=61)
    world.stop(instance)
    world.truth.start(instance)
    outcome = world.reconcile(instance)
    assert waiting(outcome)
    assert len(world.machine.started) == 2
    # It has waited for the same thing since the first time.
    assert _condition(world, instance).since == began


def test_inside_a_loop_no_other_is_started(world: FakeAccount) -> None:
    world.publish("workload=web", "web")
    instance = world.launch(workload="web")
    assert waiting(world.reconcile(instance, in_loop=True))
    assert not world.machine.started


def test_an_instance_that_gave_up_waiting_resumes_on_its_next_event(world: FakeAccount) -> None:
    world.publish("workload=web", "web")
    instance = world.launch(workload="web")
    outcome = world.reconcile(instance, in_loop=True)
    assert outcome.decision
    world.wait(1)
    reconciler = world.reconciler(in_loop=True)
    reconciler.recorder.park(world.wake(instance), outcome.decision)
    reconciler.recorder.telemetry.flush()
    condition = _condition(world, instance)
    assert condition.parked
    assert "gave up waiting" in condition.reason
    assert "gave up waiting" in world.history(instance)[-1]["decision"]["reason"]
    assert world.events.kinds == ["Instance Parked"]
    assert world.metrics.counts["Parked"] == 1
    world.reconcile(instance)
    assert len(world.machine.started) == 1
    world.wait(2)
    world.reconcile(instance)
    assert world.granted(instance)
    assert world.shows(instance) == ""


def test_a_message_that_a_failed_loop_left_starts_another_loop(world: FakeAccount) -> None:
    world.publish("app=web", "web")
    instance = world.launch(app="web")
    world.reconcile(instance)
    assert len(world.machine.started) == 1
    world.reconcile(instance)
    assert len(world.machine.started) == 1, "a loop watches it"
    world.reconciler().run([world.wake(instance), replace(world.wake(instance), loop_over=True)])
    assert len(world.machine.started) == 2


# ---- replace ----


def test_a_retagged_instance_changes_its_role_in_one_call(world: FakeAccount) -> None:
    instance = _converged(world)
    before = world.association(instance)
    world.publish("workload=db", "db")
    world.tag(instance, workload="db")
    world.quiet()
    world.reconcile(instance)
    assert world.mutations == [REPLACE]
    assert world.carries(instance) == "db"
    assert world.granted(instance)
    after = world.association(instance)
    assert before
    assert after
    assert before.id != after.id
    assert world.events.kinds == ["Role Replaced"]
    assert _is_left_alone(world, instance)


def test_an_edited_mapping_is_followed(world: FakeAccount) -> None:
    instance = _converged(world)
    world.publish("workload=web", "web-2")
    world.reconcile(instance)
    assert world.carries(instance) == "web-2"
    assert world.granted(instance)


def test_a_managed_role_that_another_actor_attached_is_replaced_whatever_the_row_says_of_foreign_ones(
    world: FakeAccount,
) -> None:
    world.publish("workload=web", "web", when_occupied=WhenOccupied.KEEP)
    world.profile("db")
    instance = world.running(workload="web")
    world.attach_by_hand(instance, "db")
    world.wait(1)
    world.reconcile(instance)
    assert world.mutations == [REPLACE]
    assert world.carries(instance) == "web"


def test_a_replace_on_a_stopped_instance_waits_for_its_start_without_a_loop(world: FakeAccount) -> None:
    instance = _converged(world)
    world.publish("workload=db", "db")
    world.stop(instance)
    world.tag(instance, workload="db")
    outcome = world.reconcile(instance)
    assert not waiting(outcome)
    assert not world.machine.started
    assert not world.mutations
    assert world.carries(instance) == "web"
    assert world.shows(instance) == "stopped"
    world.start(instance)
    world.reconcile(instance)
    assert world.carries(instance) == "db"
    assert world.granted(instance)
    assert world.shows(instance) == ""


def test_a_mapping_that_says_swap_replaces_on_a_stopped_instance_by_two_calls(world: FakeAccount) -> None:
    instance = _converged(world)
    world.publish("workload=db", "db", when_stopped=WhenStopped.SWAP)
    world.stop(instance)
    world.tag(instance, workload="db")
    world.quiet()
    world.reconcile(instance)
    assert world.mutations == [DETACH, ATTACH]
    assert world.carries(instance) == "db"
    assert world.granted(instance)
    assert world.events.kinds == ["Role Detached", "Role Attached"]
    halves = world.history(instance)[-2:]
    assert [each["outcome"] for each in halves] == ["done", "done"]
    assert [each["decision"]["action"] for each in halves] == ["Replace", "Attach"]
    assert _is_left_alone(world, instance)


def test_a_mapping_that_agrees_takes_over_from_another_without_a_call_and_says_so_once(world: FakeAccount) -> None:
    instance = _converged(world)
    world.publish("env=prod", "web", when_unmatched=WhenUnmatched.KEEP)
    world.tag(instance, env="prod")
    world.untag(instance, "workload")
    world.reconcile(instance)
    assert not world.mutations
    grant = world.record(instance).grants[world.profiles["web"].arn]
    assert str(grant.mapping) == "env=prod"
    assert world.history(instance)[-1]["decision"]["code"] == "converged"
    assert world.history(instance)[-1]["decision"]["mapping"] == "env=prod"
    assert _is_left_alone(world, instance)
    # From now on it is this mapping's word that counts.
    world.untag(instance, "env")
    assert _is_left_alone(world, instance)
    assert world.carries(instance) == "web"


# ---- detach ----


def test_a_removed_tag_takes_the_role_away_in_one_call(world: FakeAccount) -> None:
    instance = _converged(world)
    world.untag(instance, "workload")
    world.reconcile(instance)
    assert world.mutations == [DETACH]
    assert world.association(instance) is None
    assert world.events.kinds == ["Role Detached"]
    assert _is_left_alone(world, instance)


def test_a_deleted_row_takes_its_roles_away(world: FakeAccount) -> None:
    instance = _converged(world)
    world.unpublish("workload=web")
    world.reconcile(instance)
    assert world.association(instance) is None


def test_a_mapping_that_expires_takes_its_roles_away(world: FakeAccount) -> None:
    world.publish("workload=web", "web", expires_at=world.clock.now() + timedelta(hours=1))
    instance = world.running(workload="web")
    world.reconcile(instance)
    assert world.carries(instance) == "web"
    world.later(hours=2)
    world.reconcile(instance)
    assert world.carries(instance) == ""


def test_a_mapping_that_says_keep_lets_the_role_stay(world: FakeAccount) -> None:
    world.publish("workload=web", "web", when_unmatched=WhenUnmatched.KEEP)
    instance = world.running(workload="web")
    world.reconcile(instance)
    world.untag(instance, "workload")
    world.quiet()
    world.reconcile(instance)
    assert not world.mutations
    assert world.carries(instance) == "web"
    assert not world.record(instance).changes, "what nothing asks for counts no longer for contention"
    assert _is_left_alone(world, instance)


def test_a_managed_role_that_was_asked_for_once_is_taken_away_again_when_another_actor_attaches_it(
    world: FakeAccount,
) -> None:
    instance = _converged(world)
    world.untag(instance, "workload")
    world.reconcile(instance)
    world.wait(1)
    world.attach_by_hand(instance, "web")
    world.wait(1)
    world.reconcile(instance)
    assert world.carries(instance) == ""


def test_a_managed_role_that_nobody_was_granted_stays_visibly_until_a_person_acts(world: FakeAccount) -> None:
    world.profile("web")
    instance = world.running(owner="me")
    by_hand = world.attach_by_hand(instance, "web")
    world.wait(1)
    world.reconcile(instance)
    assert not world.mutations
    condition = _condition(world, instance)
    assert (condition.action, condition.code) == (Action.HOLD, "unexplained")
    assert f"aws ec2 disassociate-iam-instance-profile --association-id {by_hand}" in condition.reason
    assert world.events.kinds == ["Role Change Refused"]
    assert _is_left_alone(world, instance)
    world.truth.disassociate(by_hand)
    world.wait(1)
    world.reconcile(instance)
    assert world.shows(instance) == ""


# ---- foreign roles ----


def _enter(world: FakeAccount, instance: str, state: InstanceState) -> None:
    """Bring a launched instance into a state."""
    if state is not InstanceState.PENDING:
        world.wait(2)
    if state in {InstanceState.STOPPING, InstanceState.STOPPED}:
        world.truth.stop(instance)
    if state in {InstanceState.SHUTTING_DOWN, InstanceState.TERMINATED}:
        world.truth.terminate(instance)
    if state in {InstanceState.STOPPED, InstanceState.TERMINATED}:
        world.wait(2)
    assert world.truth.instance(instance).state.value == state.value


@pytest.mark.parametrize("state", InstanceState)
@pytest.mark.parametrize("role", ["web", "NONE", ""], ids=["mapped", "mapped to NONE", "unmapped"])
@pytest.mark.parametrize(
    ("take_over", "when_occupied"),
    [(False, WhenOccupied.KEEP), (False, WhenOccupied.REPLACE), (True, WhenOccupied.KEEP)],
)
def test_a_foreign_role_is_left_alone_in_every_state(
    world: FakeAccount, state: InstanceState, role: str, when_occupied: WhenOccupied, *, take_over: bool
) -> None:
    world.take_over = take_over
    if role:
        world.publish("workload=web", role, when_occupied=when_occupied, when_stopped=WhenStopped.SWAP)
    instance = world.launch(profile="theirs", workload="web")
    _enter(world, instance, state)
    before = world.truth.association_of(instance)
    world.reconcile(instance)
    assert not world.mutations
    assert world.truth.association_of(instance) == before
    ended = state in {InstanceState.SHUTTING_DOWN, InstanceState.TERMINATED}
    assert world.shows(instance) == ("occupied" if role and not ended else "")


def test_a_foreign_role_is_taken_over_where_the_stack_and_the_row_both_say_so(world: FakeAccount) -> None:
    world.take_over = True
    world.publish("workload=web", "web", when_occupied=WhenOccupied.REPLACE)
    instance = world.running(profile="theirs", workload="web")
    world.wait(1)
    world.reconcile(instance)
    assert world.mutations == [REPLACE]
    assert world.carries(instance) == "web"
    assert world.granted(instance)
    # The former role's ARN is kept for anyone who wants it back.
    (entry,) = world.history(instance)
    assert entry["seen"]["profile-arn"] == world.profiles["theirs"].arn
    assert (entry["decision"]["takes-over"], entry["outcome"]) == (True, "done")
    (event,) = world.events.named("Role Replaced")
    assert event["decision"]["takes-over"] is True
    assert world.profiles["theirs"].arn in event["decision"]["reason"]
    assert _is_left_alone(world, instance)


@pytest.mark.parametrize(
    ("take_over", "when_occupied", "missing", "given"),
    [
        (True, WhenOccupied.KEEP, ["set when_occupied=replace"], ["TakeOver"]),
        (False, WhenOccupied.REPLACE, ["deploy with TakeOver=true"], ["when_occupied"]),
        (False, WhenOccupied.KEEP, ["deploy with TakeOver=true", "set when_occupied=replace"], []),
    ],
    ids=["the stack alone", "the row alone", "neither"],
)
def test_the_stacks_word_or_the_rows_alone_takes_nothing_over_and_the_instance_shows_what_is_missing(
    world: FakeAccount, when_occupied: WhenOccupied, missing: list[str], given: list[str], *, take_over: bool
) -> None:
    world.take_over = take_over
    world.publish("workload=web", "web", when_occupied=when_occupied)
    instance = world.running(profile="theirs", workload="web")
    world.wait(1)
    world.reconcile(instance)
    assert not world.mutations
    assert world.carries(instance) == "theirs"
    assert not world.record(instance).grants
    condition = _condition(world, instance)
    assert (condition.action, condition.code) == (Action.HOLD, "occupied")
    assert all(each in condition.reason for each in missing)
    assert not any(each in condition.reason for each in given)
    row = world.truth.association_of(instance)
    assert row
    assert f"aws ec2 disassociate-iam-instance-profile --association-id {row.id}" in condition.reason
    assert world.events.kinds == ["Role Change Refused"]
    assert len(world.history(instance)) == 1
    assert _is_left_alone(world, instance)


def test_an_occupied_instance_gets_its_role_once_a_person_detached_the_foreign_one(world: FakeAccount) -> None:
    world.publish("workload=web", "web")
    instance = world.running(profile="theirs", workload="web")
    world.wait(1)
    world.reconcile(instance)
    assert world.shows(instance) == "occupied"
    world.truth.disassociate(world.truth.association_of(instance).id)  # type: ignore[union-attr]  # carried
    world.wait(1)
    world.reconcile(instance)
    assert world.granted(instance)
    assert world.shows(instance) == ""


@pytest.mark.parametrize("take_over", [True, False])
def test_a_pin_is_a_persons_own_word_and_needs_the_stacks_alone(world: FakeAccount, *, take_over: bool) -> None:
    world.take_over = take_over
    debug = world.profile("debug")
    instance = world.running(profile="theirs")
    world.wait(1)
    pin = codec.to_attributes(pin_item(world.key(instance), Pin("debug", debug, by="me")))
    world.dynamodb.put_item(TableName=STATE_TABLE, Item=pin)
    world.reconcile(instance)
    assert world.carries(instance) == ("debug" if take_over else "theirs")
    assert world.shows(instance) == ("" if take_over else "occupied")


def test_what_was_taken_over_isnt_put_back_when_the_tag_goes(world: FakeAccount) -> None:
    world.take_over = True
    world.publish("workload=web", "web", when_occupied=WhenOccupied.REPLACE)
    instance = world.running(profile="theirs", workload="web")
    world.reconcile(instance)
    world.untag(instance, "workload")
    world.quiet()
    world.reconcile(instance)
    assert world.mutations == [DETACH]
    assert world.carries(instance) == ""


def test_a_foreign_role_that_replaced_ours_stays_whether_the_instance_is_tagged_or_not(world: FakeAccount) -> None:
    instance = _converged(world)
    theirs = world.attach_by_hand(instance, "theirs")
    world.wait(1)
    world.reconcile(instance)
    assert world.shows(instance) == "occupied"
    world.untag(instance, "workload")
    world.reconcile(instance)
    row = world.association(instance)
    assert row
    assert row.id == theirs
    assert not world.mutations
    assert world.shows(instance) == ""


def test_an_instance_that_an_aws_service_manages_is_left_alone(world: FakeAccount) -> None:
    world.take_over = True
    world.publish("workload=web", "web", when_occupied=WhenOccupied.REPLACE)
    world.profile("theirs", path="/")
    bare, occupied = (
        world.truth.launch(tags={"workload": "web"}, profile=profile, operator="eks.amazonaws.com", hidden=hidden).id
        for profile, hidden in ((None, False), ("theirs", True))
    )
    world.wait(2)
    world.quiet()
    outcomes = world.reconcile_all(bare, occupied)
    for each in (bare, occupied):
        decision = outcomes[world.key(each)].decision
        assert decision
        assert (decision.action, decision.code) == (Action.NOTHING, "service-managed")
        assert "eks.amazonaws.com" in decision.reason
    assert not world.mutations
    assert not world.writes


# ---- holds ----


def test_a_tie_holds_and_says_so_once(world: FakeAccount) -> None:
    instance = _converged(world)
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
def test_a_mapping_whose_record_is_missing_holds(world: FakeAccount, *, untagged: bool) -> None:
    instance = _converged(world)
    world.damage("workload=web")
    if untagged:
        world.untag(instance, "workload")
    world.reconcile(instance)
    assert world.carries(instance) == "web"
    assert not world.mutations
    assert world.shows(instance) == "mapping-missing"
    assert _is_left_alone(world, instance)


def test_a_missing_record_doesnt_let_the_next_mapping_take_over(world: FakeAccount) -> None:
    world.publish("workload=*", "base", priority=900)
    instance = _converged(world)
    world.damage("workload=web")
    world.reconcile(instance)
    assert world.carries(instance) == "web"
    assert not world.mutations
    # A deliberate act does.
    world.publish("workload=web", "web")
    world.unpublish("workload=web")
    world.reconcile(instance)
    assert world.carries(instance) == "base"


def test_observing_only_reports(world: FakeAccount) -> None:
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
    assert world.granted(instance)


def test_the_control_item_can_take_an_enforcing_deployment_back_to_observing(world: FakeAccount) -> None:
    world.publish("workload=web", "web")
    world.control(mode="observe")
    instance = world.running(workload="web")
    world.reconcile(instance)
    assert world.carries(instance) == ""


def test_paused_means_hands_off_until_resumed(world: FakeAccount) -> None:
    world.publish("workload=web", "web")
    instance = world.running(workload="web")
    world.control(paused=True)
    world.reconcile(instance)
    assert not world.mutations
    assert world.shows(instance) == "paused"
    world.control(paused=False)
    world.reconcile(instance)
    assert world.granted(instance)
    assert world.shows(instance) == ""


# ---- an empty or restored state table ----


def _to_attach(world: FakeAccount) -> str:
    world.publish("workload=web", "web")
    return world.running(workload="web")


def _to_replace(world: FakeAccount) -> str:
    instance = _converged(world)
    world.publish("workload=web", "web-2")
    return instance


def _to_detach(world: FakeAccount) -> str:
    instance = _converged(world)
    world.unpublish("workload=web")
    return instance


@pytest.mark.parametrize(
    ("begin", "would", "carried", "then"),
    [(_to_attach, "attach", "", "web"), (_to_replace, "replace", "web", "web-2"), (_to_detach, "detach", "web", "")],
    ids=["attach", "replace", "detach"],
)
def test_nothing_is_changed_before_a_sweep_came_to_its_end_on_the_table(
    world: FakeAccount, begin: Callable[[FakeAccount], str], would: str, carried: str, then: str
) -> None:
    instance = begin(world)
    world.never_swept()
    world.quiet()
    world.reconcile(instance)
    assert not world.mutations
    assert world.carries(instance) == carried
    condition = _condition(world, instance)
    assert (condition.action, condition.code) == (Action.HOLD, "unswept")
    assert f"it would {would}" in condition.reason
    assert _is_left_alone(world, instance)
    world.swept(1, 1)
    world.reconcile(instance)
    assert world.carries(instance) == then
    assert world.shows(instance) == ""


def test_a_first_sweep_that_goes_on_is_no_marker(world: FakeAccount) -> None:
    instance = _to_detach(world)
    pk, sk = layout.FLEET
    first = codec.to_attributes({"pk": pk, "sk": sk, layout.GOES_ON_UNTIL: "2026-03-01T10:00:00Z"})
    world.dynamodb.put_item(TableName=STATE_TABLE, Item=first)
    world.reconcile(instance)
    assert world.shows(instance) == "unswept"


def test_an_instance_that_carries_what_it_should_shows_nothing_on_an_unswept_table(world: FakeAccount) -> None:
    instance = _converged(world)
    world.never_swept()
    assert _is_left_alone(world, instance)
    assert world.shows(instance) == ""


def test_a_state_table_that_was_lost_changes_nothing_whatever_instances_carry(world: FakeAccount) -> None:
    world.profile("web")
    bare, managed, foreign = (world.running(workload="web", **more) for more in ({}, {}, {"profile": "theirs"}))
    world.attach_by_hand(managed, "web")
    world.wait(1)
    world.never_swept()
    world.reconcile(bare, managed, foreign)
    assert not world.mutations
    assert [world.carries(each) for each in (bare, managed, foreign)] == ["", "web", "theirs"]
    assert [world.shows(each) for each in (bare, managed, foreign)] == ["", "unexplained", ""]


# ---- what can't be read ----


@pytest.mark.parametrize("operation", ["BatchGetItem", "DescribeInstances", "DescribeIamInstanceProfileAssociations"])
@pytest.mark.parametrize("code", ["InternalServerError", "ThrottlingException", "ResourceNotFoundException"])
def test_when_the_truth_cant_be_read_every_message_comes_back_and_nothing_changes(
    world: FakeAccount, operation: str, code: str
) -> None:
    instance, other = _converged(world), world.running(workload="web")
    world.untag(instance, "workload")
    world.calls.before(operation, refusing(code))
    outcomes = world.reconcile_all(instance, other)
    assert [bool(outcome.error) for outcome in outcomes.values()] == [True, True]
    assert not world.mutations
    assert not world.writes
    assert world.carries(instance) == "web"
    world.reconcile(instance, other)
    assert (world.carries(instance), world.carries(other)) == ("", "web")


def test_a_read_that_isnt_allowed_is_reported_once_and_holds(world: FakeAccount) -> None:
    instance, other = _converged(world), world.running(workload="web")
    words = "User: fn is not authorized to perform: dynamodb:BatchGetItem on resource: arn:aws:dynamodb:table/state"
    for _ in range(20):
        world.calls.before("BatchGetItem", refusing("AccessDeniedException", words))
    outcomes = world.reconcile_all(instance, other)
    assert all(isinstance(outcome.error, AccessDeniedError) for outcome in outcomes.values())
    (event,) = world.events.named("Permission Missing")
    assert (event["action"], event["resource"]) == ("dynamodb:BatchGetItem", "arn:aws:dynamodb:table/state")
    assert not world.mutations


def test_keys_left_unprocessed_are_asked_for_again(world: FakeAccount) -> None:
    instance = _converged(world)
    world.dynamodb.unprocessed = 3
    world.reconcile(instance)
    assert not world.mutations
    assert world.carries(instance) == "web"
    assert world.calls["BatchGetItem"] == 4


def test_keys_that_stay_unprocessed_are_never_taken_for_absent(world: FakeAccount) -> None:
    instance = _converged(world)
    world.dynamodb.unprocessed = 100
    outcome = world.reconcile(instance)
    assert isinstance(outcome.error, RetryableError)
    assert not world.mutations
    assert world.carries(instance) == "web"


def test_one_damaged_record_doesnt_keep_the_others_from_their_roles(world: FakeAccount) -> None:
    world.publish("app=web", "web")
    damaged, sound = world.running(app="web"), world.running(app="web")
    world.garble(layout.record_key(world.key(damaged)))
    outcomes = world.reconcile_all(damaged, sound)
    assert world.carries(sound) == "web"
    assert world.carries(damaged) == ""
    error = outcomes[world.key(damaged)].error
    assert isinstance(error, CorruptItemError)
    assert damaged in str(error)
    assert outcomes[world.key(sound)].error is None
    (line,) = [each for each in world.logged() if each["message"] == "could not observe"]
    assert line["instances"] == [damaged]


def test_a_damaged_mapping_holds_its_own_instances_and_no_others(world: FakeAccount) -> None:
    _converged(world)
    world.publish("workload=db", "db")
    tagged, other = world.running(workload="web"), world.running(workload="db")
    world.garble(layout.published_key(mapping_key("workload=web")))
    outcomes = world.reconcile_all(tagged, other)
    assert isinstance(outcomes[world.key(tagged)].error, CorruptItemError)
    assert world.carries(tagged) == ""
    assert world.carries(other) == "db"


def test_an_instance_whose_tag_went_keeps_its_role_while_its_mapping_is_damaged(world: FakeAccount) -> None:
    instance = _converged(world)
    world.untag(instance, "workload")
    world.garble(layout.published_key(mapping_key("workload=web")))
    outcome = world.reconcile(instance)
    assert isinstance(outcome.error, CorruptItemError)
    assert not world.mutations
    # Published anew, it says again what to do.
    world.damage("workload=web")
    world.publish("workload=web", "web")
    world.reconcile(instance)
    assert world.carries(instance) == ""


# ---- races ----


def test_a_lost_race_observes_again(world: FakeAccount) -> None:
    world.publish("workload=web", "web")
    world.profile("db")
    instance = world.running(workload="web")
    world.calls.before(ATTACH, lambda: world.attach_by_hand(instance, "db"))
    world.reconcile(instance)
    assert world.carries(instance) == "web"
    assert world.granted(instance)
    assert world.mutations == [ATTACH, REPLACE]
    first, second = world.history(instance)
    assert (first["outcome"], first["answer"]["code"]) == ("refused", "IncorrectState")
    assert second["outcome"] == "done"


def test_a_race_lost_against_a_foreign_role_holds(world: FakeAccount) -> None:
    world.publish("workload=web", "web")
    instance = world.running(workload="web")
    world.calls.before(ATTACH, lambda: world.attach_by_hand(instance, "theirs"))
    world.reconcile(instance)
    assert world.carries(instance) == "theirs"
    assert world.shows(instance) == "occupied"
    assert world.mutations == [ATTACH]


def test_a_race_lost_for_the_very_same_role_is_won(world: FakeAccount) -> None:
    """A managed role exists for Rolekeeper alone, and its grant was written before the call."""
    world.publish("workload=web", "web")
    instance = world.running(workload="web")
    world.calls.before(ATTACH, lambda: world.attach_by_hand(instance, "web"))
    world.reconcile(instance)
    assert world.carries(instance) == "web"
    assert world.granted(instance)
    world.untag(instance, "workload")
    world.reconcile(instance)
    assert world.carries(instance) == ""


def test_a_stale_id_observes_again(world: FakeAccount) -> None:
    instance = _converged(world)
    world.publish("workload=db", "db")
    world.publish("workload=other", "other")
    world.tag(instance, workload="db")
    world.calls.before(REPLACE, lambda: world.attach_by_hand(instance, "other"))
    world.reconcile(instance)
    assert world.carries(instance) == "db"
    assert world.granted(instance)
    assert world.mutations == [REPLACE, REPLACE]


def test_a_foreign_role_that_comes_between_the_look_and_the_call_is_not_replaced(world: FakeAccount) -> None:
    instance = _converged(world)
    world.publish("workload=db", "db")
    world.tag(instance, workload="db")
    world.calls.before(REPLACE, lambda: world.attach_by_hand(instance, "theirs"))
    world.reconcile(instance)
    assert world.carries(instance) == "theirs"
    assert world.shows(instance) == "occupied"


def test_a_detach_of_what_is_gone_already_is_done(world: FakeAccount) -> None:
    instance = _converged(world)
    world.untag(instance, "workload")

    def by_hand() -> None:
        row = world.truth.association_of(instance)
        assert row
        world.truth.disassociate(row.id)

    world.calls.before(DETACH, by_hand)
    outcome = world.reconcile(instance)
    assert outcome.error is None
    assert world.association(instance) is None
    assert world.history(instance)[-1]["outcome"] == "refused", "it was gone before we asked"


def test_an_instance_that_stops_before_the_call_waits(world: FakeAccount) -> None:
    world.publish("workload=web", "web")
    instance = world.running(workload="web")
    world.calls.before(ATTACH, lambda: world.truth.stop(instance))
    outcome = world.reconcile(instance)
    assert waiting(outcome)
    assert len(world.machine.started) == 1
    assert world.shows(instance) == "changing"
    world.wait(2)
    world.reconcile(instance, in_loop=True)
    assert world.granted(instance)


def test_an_instance_that_stops_before_a_replace_ends_waiting_for_its_start(world: FakeAccount) -> None:
    instance = _converged(world)
    world.publish("workload=db", "db")
    world.tag(instance, workload="db")
    world.calls.before(REPLACE, lambda: world.stop(instance))
    world.reconcile(instance)
    assert world.shows(instance) == "stopped"
    assert world.carries(instance) == "web"
    assert world.granted(instance)


def test_one_instances_trouble_is_its_own(world: FakeAccount) -> None:
    world.publish("workload=web", "web")
    first, second, third = (world.running(workload="web") for _ in range(3))
    world.calls.before(ATTACH, refusing("InternalError", status=500))
    outcomes = world.reconcile_all(first, second, third)
    assert [bool(outcomes[world.key(each)].error) for each in (first, second, third)] == [True, False, False]
    assert world.granted(second)
    assert world.granted(third)


def test_an_instance_that_keeps_changing_comes_back_after_a_bounded_number_of_looks(world: FakeAccount) -> None:
    world.publish("workload=web", "web")
    instance = world.running(workload="web")
    for _ in range(50):
        world.calls.before(ATTACH, refusing("IncorrectState", "There is an existing association for instance"))
    outcome = world.reconcile(instance)
    assert isinstance(outcome.error, RetryableError)
    assert world.calls["DescribeInstances"] <= 6
    assert {each["outcome"] for each in world.history(instance)} == {"refused"}


def test_an_association_that_never_settles_is_shown_and_followed_minute_by_minute_without_a_loop(
    world: FakeAccount,
) -> None:
    world.publish("workload=web", "web")
    instance = world.running(workload="web")
    world.calls.after(ATTACH, lambda: _never_settles(world, instance))
    world.reconcile(instance)
    assert world.shows(instance) == "", "EC2 has some seconds"
    for _ in range(3):
        world.quiet()
        world.follow()
        assert world.shows(instance) == "associating"
        assert _condition(world, instance).watched_until
        assert len(world.writes) == 2, "the follow-up goes, the next one comes with what is shown"
    assert not world.machine.started
    assert [each["decision"]["code"] for each in world.history(instance)] == ["unoccupied", "associating"]
    row = world.truth.association_of(instance)
    assert row
    row.changes_at = world.clock.seconds
    world.follow()
    assert world.shows(instance) == ""
    world.follow()
    world.quiet()
    world.follow()
    assert world.calls.counted() == {"Query": 2}, "it is followed no more"


def _never_settles(world: FakeAccount, instance: str) -> None:
    row = world.truth.association_of(instance)
    assert row
    row.changes_at = None


def test_a_look_at_what_was_changed_just_now_writes_nothing_for_its_follow_up_comes(world: FakeAccount) -> None:
    world.publish("workload=web", "web")
    instance = world.running(workload="web")
    world.reconciler().run([world.wake(instance)])
    world.quiet()
    outcome = world.reconcile(instance)
    assert outcome.decision
    assert outcome.decision.code == "associating"
    assert not world.writes
    assert not world.machine.started


def test_a_role_that_ec2_drops_after_it_took_the_change_is_given_again_a_minute_later(world: FakeAccount) -> None:
    world.publish("workload=web", "web")
    instance = world.running(workload="web")
    world.reconcile(instance)
    world.detach_by_hand(instance)
    world.follow()
    assert world.carries(instance) == "web"
    assert world.mutations == [ATTACH, ATTACH]


# ---- our own table, queue or machine fails ----


def test_a_write_that_isnt_allowed_is_reported_and_the_message_comes_back(world: FakeAccount) -> None:
    world.publish("workload=web", "web")
    instance = world.running(workload="web")
    words = "User: fn is not authorized to perform: dynamodb:PutItem on resource: arn:aws:dynamodb:table/state"
    world.calls.before("TransactWriteItems", refusing("AccessDeniedException", words))
    outcome = world.reconcile(instance)
    assert isinstance(outcome.error, AccessDeniedError)
    assert not world.mutations, "without a grant nothing is asked"
    (event,) = world.events.named("Permission Missing")
    assert event["action"] == "dynamodb:PutItem"
    assert world.reconcile(instance).error is None
    assert world.granted(instance)


def test_a_loop_that_cant_be_started_lets_the_message_come_back(world: FakeAccount) -> None:
    world.publish("workload=web", "web")
    instance = world.launch(workload="web")
    world.calls.before("StartExecution", refusing("ThrottlingException"))
    outcome = world.reconcile(instance)
    assert isinstance(outcome.error, RetryableError)
    assert world.shows(instance) == "", "nothing may claim that a loop watches it"
    assert waiting(world.reconcile(instance))
    assert len(world.machine.started) == 1


# ---- instances that have ended ----


def test_an_unknown_instance_is_no_action_and_no_record(world: FakeAccount) -> None:
    unknown = "i-00000000000000bad"
    outcome = world.reconcile(unknown)
    assert outcome.decision
    assert (outcome.decision.code, outcome.error) == ("gone", None)
    assert not world.writes
    assert not world.mutations
    assert not world.events.sent
    assert world.clock.seconds < 10


def test_an_old_message_about_an_unknown_instance_isnt_looked_at_twice(world: FakeAccount) -> None:
    wake = world.wake("i-00000000000000bad")
    world.later(minutes=3)
    world.reconciler().run([wake])
    assert world.calls["DescribeInstances"] == 1


def test_an_instance_that_isnt_visible_yet_is_looked_for_again(world: FakeAccount) -> None:
    world.publish("workload=web", "web")
    instance = "i-0000000000000abcd"
    world.clock.after(1, lambda: world.truth.launch(instance_id=instance, tags={"workload": "web"}))
    outcome = world.reconcile(instance)
    assert outcome.decision
    assert outcome.decision.code in ("changing", "converged")


def test_an_instance_that_ec2_doesnt_show_for_a_moment_keeps_what_explains_its_role(
    world: FakeAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.publish("workload=web", "web")
    instance = world.running(workload="web")
    old_message = world.wake(instance)
    world.later(minutes=3)
    world.reconciler().run([old_message])
    monkeypatch.setattr(world.truth, "describe_instances", lambda **_: ([], None))
    (outcome,) = world.reconciler().run([old_message]).values()
    assert isinstance(outcome.error, RetryableError), "the message comes again"
    world.later(minutes=10)  # as another worker's clock may say
    world.reconciler().run([old_message])
    assert world.granted(instance)
    monkeypatch.undo()
    assert world.reconcile(instance).error is None
    assert world.carries(instance) == "web"
    assert world.granted(instance)


@pytest.mark.parametrize(
    ("hours", "code"),
    [((), "ended"), ((1,), "ended"), ((1, 2), "gone")],
    ids=["ending", "terminated", "no longer shown"],
)
def test_a_terminated_instances_record_is_forgotten(world: FakeAccount, hours: tuple[int, ...], code: str) -> None:
    instance = _converged(world)
    world.truth.terminate(instance)
    for each in hours:
        world.later(hours=each)
    outcome = world.reconcile(instance)
    assert outcome.decision
    assert outcome.decision.code == code
    assert not world.mutations
    assert world.key(instance) not in world.state.read([world.key(instance)], []).records
    assert world.history(instance)
    assert _is_left_alone(world, instance)


# ---- looking again ----


def test_a_tag_that_changes_during_the_mutation_is_followed(world: FakeAccount) -> None:
    world.publish("workload=web", "web")
    world.publish("workload=db", "db")
    instance = world.running(workload="web")
    world.calls.after(ATTACH, lambda: world.tag(instance, workload="db"))
    world.reconcile(instance)
    world.follow()
    assert world.carries(instance) == "db"
    assert world.granted(instance)
    assert world.mutations == [ATTACH, REPLACE]


def test_a_tag_removed_during_the_mutation_takes_the_role_away(world: FakeAccount) -> None:
    world.publish("workload=web", "web")
    instance = world.running(workload="web")
    world.calls.after(ATTACH, lambda: world.untag(instance, "workload"))
    world.reconcile(instance)
    world.follow()
    assert world.association(instance) is None
    assert world.mutations == [ATTACH, DETACH]


def test_several_messages_for_one_instance_are_one_reconcile(world: FakeAccount) -> None:
    world.publish("workload=web", "web")
    instance = world.running(workload="web")
    outcomes = world.reconcile_all(instance, instance, instance)
    assert list(outcomes) == [InstanceKey(ACCOUNT, REGION, instance)]
    assert world.mutations == [ATTACH]


def test_every_decision_is_logged_with_its_correlation_id(world: FakeAccount) -> None:
    world.publish("workload=web", "web")
    instance = world.running(workload="web")
    world.reconcile(instance)
    world.reconcile(instance)
    decisions = [line for line in world.logged() if line["message"] == "decided"]
    assert [line["decision"]["action"] for line in decisions] == ["Attach", "Nothing"]
    assert {line["correlation_id"] for line in decisions} == {"correlation-1"}
    assert world.metrics.counts == {}


# ---- secrets ----


def test_a_secret_in_a_tag_that_no_mapping_reads_appears_nowhere(world: FakeAccount) -> None:
    world.publish("workload=web", "web")
    secret = {"password": "hunter2"}
    instance = world.launch(workload="web", **secret)
    waits = world.reconcile(instance)
    assert waits.decision
    world.reconciler().recorder.park(world.wake(instance), waits.decision)
    occupied = world.running(profile="theirs", workload="web", **secret)
    world.reconcile(instance, occupied)
    world.tag(instance, workload="nothing")
    world.reconcile(instance)
    assert world.carries(instance) == ""
    assert [each["decision"]["action"] for each in world.history(instance)] == ["Wait", "Wait", "Attach", "Detach"]
    assert world.shows(occupied) == "occupied"
    kept = [world.history(instance), world.history(occupied), world.record(instance), world.record(occupied)]
    told = [world.log.getvalue(), world.events.sent, world.topic.mails]
    assert "workload" in str(kept)
    assert "workload" in str(told)
    for name, value in secret.items():
        assert name not in str([*kept, *told])
        assert value not in str([*kept, *told])
