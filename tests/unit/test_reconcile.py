"""Observe, decide, apply: stories on a clock that moves, against EC2's truth and the state table.

What one change writes and what EC2's refusals mean is in `test_reconcile_apply`.
"""

import pytest

from fixtures.account import MUTATIONS, FakeAccount, refusing, waiting
from rolekeeper.aws.errors import RetryableError
from rolekeeper.model.mapping import WhenOccupied

ATTACH, REPLACE, _ = MUTATIONS
pytestmark = pytest.mark.world(published={"workload=web": "web"})


# ---- attach ----


def test_inside_a_loop_no_other_is_started(world: FakeAccount) -> None:
    instance = world.launch(workload="web")
    assert waiting(world.reconcile(instance, in_loop=True))
    assert not world.machine.started


# ---- replace ----


def test_a_foreign_role_is_taken_over_where_the_stack_and_the_row_both_say_so(world: FakeAccount) -> None:
    world.take_over = True
    world.publish("workload=web", "web", when_occupied=WhenOccupied.REPLACE)
    instance = world.running(profile="theirs", workload="web")
    world.wait(1)
    world.reconcile(instance)
    assert world.carries(instance) == "web"
    # The former role's ARN is kept for anyone who wants it back.
    (entry,) = world.history(instance)
    assert entry["seen"]["profile-arn"] == world.profiles["theirs"].arn
    (event,) = world.events.named("Role Replaced")
    assert event["decision"]["takes-over"] is entry["decision"]["takes-over"] is True
    assert world.profiles["theirs"].arn in event["decision"]["reason"]


# ---- what can't be read ----


@pytest.mark.parametrize("operation", ["BatchGetItem", "DescribeInstances", "DescribeIamInstanceProfileAssociations"])
@pytest.mark.parametrize("code", ["InternalServerError", "ThrottlingException", "ResourceNotFoundException"])
def test_when_the_truth_cant_be_read_every_message_comes_back_and_nothing_changes(
    world: FakeAccount, operation: str, code: str
) -> None:
    instance, other = world.converged(workload="web"), world.running(workload="web")
    world.untag(instance, "workload")
    world.calls.before(operation, refusing(code))
    outcomes = world.reconcile_all(instance, other)
    assert [bool(outcome.error) for outcome in outcomes.values()] == [True, True]
    assert not world.mutations
    assert not world.writes
    assert world.carries(instance) == "web"
    world.reconcile(instance, other)
    assert (world.carries(instance), world.carries(other)) == ("", "web")


# ---- races ----


@pytest.mark.parametrize(("between", "then"), [("other", "db"), ("theirs", "theirs")], ids=["ours", "a foreign role"])
def test_a_stale_id_observes_again_and_replaces_no_foreign_role(world: FakeAccount, between: str, then: str) -> None:
    instance = world.converged(workload="web")
    world.publish("workload=db", "db")
    world.publish("workload=other", "other")
    world.tag(instance, workload="db")
    world.calls.before(REPLACE, lambda: world.attach_by_hand(instance, between))
    world.reconcile(instance)
    assert (world.carries(instance), world.shows(instance)) == (then, "occupied" if then == "theirs" else "")
    assert world.calls[REPLACE] == (1 if then == "theirs" else 2)


def test_an_instance_that_keeps_changing_comes_back_after_a_bounded_number_of_looks(world: FakeAccount) -> None:
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
    instance = world.running(workload="web")
    world.calls.after(ATTACH, lambda: _never_settles(world, instance))
    world.reconcile(instance)
    assert world.shows(instance) == "", "EC2 has some seconds"
    for counted in (1, 0, 0):
        world.quiet()
        world.follow()
        assert world.shows(instance) == "associating"
        assert world.condition(instance).watched_until
        assert len(world.writes) == 2 + counted, "the follow-up goes, the next one comes; once the attach is counted"
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
    assert world.calls.counted() == {"Query": 5}, "it is followed no more"


def _never_settles(world: FakeAccount, instance: str) -> None:
    row = world.truth.association_of(instance)
    assert row
    row.changes_at = None


def test_a_look_at_what_was_changed_just_now_writes_nothing_for_its_follow_up_comes(world: FakeAccount) -> None:
    instance = world.running(workload="web")
    world.reconciler().run([world.wake(instance)])
    world.quiet()
    outcome = world.reconcile(instance)
    assert outcome.decision
    assert outcome.decision.code == "associating"
    assert not world.writes
    assert not world.machine.started


# ---- our own table, queue or machine fails ----


def test_a_loop_that_cant_be_started_lets_the_message_come_back(world: FakeAccount) -> None:
    instance = world.launch(workload="web")
    world.calls.before("StartExecution", refusing("ThrottlingException"))
    outcome = world.reconcile(instance)
    assert isinstance(outcome.error, RetryableError)
    assert world.shows(instance) == "", "nothing may claim that a loop watches it"
    assert waiting(world.reconcile(instance))
    assert len(world.machine.started) == 1


# ---- instances that have ended ----


def test_an_old_message_about_an_unknown_instance_isnt_looked_at_twice(world: FakeAccount) -> None:
    wake = world.wake("i-00000000000000bad")
    world.later(minutes=3)
    world.reconciler().run([wake])
    assert world.calls["DescribeInstances"] == 1


def test_an_instance_that_ec2_doesnt_show_for_a_moment_keeps_what_explains_its_role(
    world: FakeAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
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


# ---- secrets ----


def test_a_secret_in_a_tag_that_no_mapping_reads_appears_nowhere(world: FakeAccount) -> None:
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
