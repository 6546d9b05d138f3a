"""Two looks at one instance that overlap: the slower one neither undoes nor hides what the newer one saw.

The simulation found each of these.
"""

from dataclasses import dataclass

import pytest

from fixtures.account import FakeAccount, refusing, waiting
from rolekeeper.instances.retry import RetryState
from rolekeeper.model.mapping import WhenUnmatched
from rolekeeper.storage import layout

pytestmark = pytest.mark.world(published={f"workload={role}": role for role in ("web", "db", "third")})


@dataclass(frozen=True)
class Newer:
    """A newer look, which sees another tag a second later: it comes in between two calls of the slower one."""

    world: FakeAccount
    instance: str
    workload: str

    def __call__(self) -> None:
        self.world.wait(1)
        self.world.tag(self.instance, workload=self.workload)
        self.world.reconcile(self.instance)


def _stopped_with_a_role(world: FakeAccount) -> str:
    """A stopped instance that carries web: another role waits for its start."""
    instance = world.stopped(workload="web")
    world.reconcile(instance)
    assert world.carries(instance) == "web"
    return instance


def test_a_mapping_that_comes_back_between_two_reads_detaches_nothing(world: FakeAccount) -> None:
    instance = world.converged(workload="web")
    world.damage("workload=web")
    world.calls.after("BatchGetItem", lambda: world.publish("workload=web", "web"))
    world.quiet()
    world.reconcile(instance)
    assert (world.mutations, world.carries(instance)) == ([], "web")


def test_a_slow_look_doesnt_hide_what_a_newer_one_wrote_while_it_looked(world: FakeAccount) -> None:
    instance = _stopped_with_a_role(world)
    world.calls.before("BatchGetItem", Newer(world, instance, "db"))
    world.reconcile(instance)
    assert world.shows(instance) == "stopped"


@pytest.mark.parametrize("shows", [True, False], ids=["what is over by now", "nothing yet"])
def test_a_slow_look_doesnt_hide_what_a_newer_one_wrote_before_it_could_write(
    world: FakeAccount, *, shows: bool
) -> None:
    instance = _stopped_with_a_role(world)
    world.tag(instance, workload="db")
    if shows:
        world.reconcile(instance)
        world.tag(instance, workload="web")
    world.calls.after("BatchGetItem", Newer(world, instance, "third"))
    world.reconcile(instance)
    assert "third" in world.condition(instance).reason


def test_a_slow_look_writes_nothing_into_the_record_of_an_instance_that_ended_meanwhile(world: FakeAccount) -> None:
    instance = _stopped_with_a_role(world)
    world.tag(instance, workload="db")

    def meanwhile() -> None:
        world.truth.terminate(instance)
        world.wait(5)
        world.reconcile(instance)

    world.calls.after("BatchGetItem", meanwhile)
    world.reconcile(instance)
    assert world.key(instance) not in world.state.read([world.key(instance)], []).records


def test_a_slow_look_that_ec2_showed_no_instance_removes_no_grant_of_a_newer_one(
    world: FakeAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = world.running(profile="foreign", workload="web")
    world.reconcile(instance)
    assert world.shows(instance) == "occupied"
    old_message = world.wake(instance)
    world.later(minutes=3)

    def meanwhile() -> None:
        monkeypatch.undo()
        world.detach_by_hand(instance)
        world.wait(5)
        world.reconcile(instance)

    monkeypatch.setattr(world.truth, "describe_instances", lambda **_: ([], None))
    world.calls.after("BatchGetItem", meanwhile)
    world.reconciler().run([old_message])
    assert world.carries(instance) == "web"
    assert world.granted(instance)


def test_what_a_slow_look_hides_is_shown_again_though_a_newer_one_had_nothing_to_write(world: FakeAccount) -> None:
    instance = world.running(workload="other")
    world.attach_by_hand(instance, "web")
    world.wait(5)
    world.reconcile(instance)
    assert world.shows(instance) == "unexplained"
    world.publish("workload=other", "web")

    def meanwhile() -> None:
        world.unpublish("workload=other")
        world.reconcile(instance)

    world.calls.after("BatchGetItem", meanwhile)
    world.reconcile(instance)
    world.follow()
    assert world.shows(instance) == "unexplained"


def _loop_ends(world: FakeAccount, tick: RetryState) -> None:
    """A retry loop looks for the first time, and that is the end of it."""
    (ended,) = world.reconciler(in_loop=True).run([tick.request]).values()
    assert not waiting(ended)


def _started_last(world: FakeAccount) -> RetryState:
    return layout.decode(RetryState, world.machine.started[-1]["input"])


def test_a_look_that_started_a_loop_shows_no_wait_once_that_loop_has_ended(world: FakeAccount) -> None:
    instance = world.launch(workload="web")

    def meanwhile() -> None:
        world.wait(2)
        world.reconcile(instance)

    world.calls.before("BatchGetItem", meanwhile)
    world.calls.after("StartExecution", lambda: _loop_ends(world, _started_last(world)))
    world.reconcile(instance)
    world.follow()
    assert world.carries(instance) == "web"
    assert world.shows(instance) == ""


def test_a_look_that_started_a_loop_leaves_what_is_shown_once_that_loop_has_ended(world: FakeAccount) -> None:
    world.publish("app=db", "db")
    instance = world.stopped(workload="web", app="db")
    world.reconcile(instance)
    assert world.shows(instance) == "tie"
    world.truth.start(instance)
    world.untag(instance, "app")

    def meanwhile() -> None:
        world.tag(instance, app="db")
        _loop_ends(world, _started_last(world))

    world.calls.after("StartExecution", meanwhile)
    world.reconcile(instance)
    world.follow()
    assert world.shows(instance) == "tie"


def test_a_loop_makes_no_record_for_an_instance_that_is_gone(world: FakeAccount) -> None:
    instance = world.launch(workload="web")
    world.calls.before("TransactWriteItems", refusing("InternalServerError", status=500))
    world.reconcile(instance)
    world.truth.terminate(instance)
    world.wait(5)
    _loop_ends(world, _started_last(world))
    assert world.key(instance) not in world.state.read([world.key(instance)], []).records


@pytest.mark.parametrize("waits", [False, True], ids=["EC2 refuses the stale id", "EC2 has it wait"])
def test_a_slow_look_whose_call_ec2_refuses_hides_nothing_of_the_newer_one(world: FakeAccount, *, waits: bool) -> None:
    instance = world.converged(workload="web")
    world.wait(1)
    world.tag(instance, workload="db")

    def meanwhile() -> None:
        Newer(world, instance, "third")()
        if waits:
            refusing("InvalidParameterValue", "Invalid IAM Instance Profile ARN")()

    world.calls.before("ReplaceIamInstanceProfileAssociation", meanwhile)
    assert world.reconcile(instance).error is None
    assert (world.carries(instance), world.shows(instance)) == ("third", "")
    assert world.granted(instance)
    outcomes = {each["decision"]["role"]: each["outcome"] for each in world.history(instance)}
    assert outcomes == {"web": "done", "db": "refused", "third": "done"}


def test_what_ec2_refused_while_a_newer_look_wrote_is_recorded_and_looked_at_again(world: FakeAccount) -> None:
    instance = world.running(workload="web")

    def meanwhile() -> None:
        world.control(paused=True)
        world.reconcile(instance)
        assert world.shows(instance) == "paused"
        world.control()
        refusing("UnauthorizedOperation", "You are not authorized")()

    world.calls.before("AssociateIamInstanceProfile", meanwhile)
    outcome = world.reconcile(instance)
    assert outcome.error is None
    assert (world.carries(instance), world.shows(instance)) == ("web", "")
    assert [each["outcome"] for each in world.history(instance) if "outcome" in each] == ["refused", "done"]


def test_the_slower_of_two_replaces_tells_nobody_of_a_missing_permission(world: FakeAccount) -> None:
    """Its association is gone, so the policy, which asks for the path of what is carried, denies the call."""
    instance = world.converged(workload="web")
    world.wait(2)
    world.tag(instance, workload="db")

    def meanwhile() -> None:
        world.reconcile(instance)
        refusing("UnauthorizedOperation", "You are not authorized", status=403)()

    world.calls.before("ReplaceIamInstanceProfileAssociation", meanwhile)
    outcome = world.reconcile(instance)
    assert outcome.error is None
    assert (world.carries(instance), world.shows(instance)) == ("db", "")
    assert world.events.named("Permission Missing") == []
    refused = [each["answer"]["code"] for each in world.history(instance) if each.get("outcome") == "refused"]
    assert refused == ["StaleAssociation"]


def test_a_slow_look_hands_no_grant_back_to_the_mapping_that_gave_it_before(world: FakeAccount) -> None:
    world.publish("a=1", "web", when_unmatched=WhenUnmatched.KEEP)
    world.publish("b=1", "web")
    instance = world.converged(a="1")

    def meanwhile() -> None:
        world.wait(1)
        world.tag(instance, b="1")
        world.untag(instance, "a")
        world.reconcile(instance)

    world.calls.before("BatchGetItem", meanwhile)
    world.reconcile(instance)
    assert {str(each.mapping) for each in world.record(instance).grants.values()} == {"b=1"}


def test_a_slow_look_takes_nothing_away_of_a_newer_quarantine(world: FakeAccount) -> None:
    world.publish("quarantine=yes", "NONE", priority=1)
    instance = world.converged(workload="web")

    def meanwhile() -> None:
        world.wait(1)
        world.tag(instance, quarantine="yes")
        world.reconcile(instance)

    world.calls.before("BatchGetItem", meanwhile)
    world.reconcile(instance)
    world.damage("quarantine=yes")
    world.reconcile(instance)
    assert (world.carries(instance), world.shows(instance)) == ("", "mapping-missing")


def test_a_grant_that_another_reconcile_just_handed_over_is_not_handed_over_again(world: FakeAccount) -> None:
    """The write goes through only while the grant reads as this look read it."""
    for tag in ("a=1", "b=1", "c=1"):
        world.publish(tag, "web")
    instance = world.converged(a="1")
    world.untag(instance, "a")
    world.tag(instance, b="1")

    def meanwhile() -> None:
        world.untag(instance, "b")
        world.tag(instance, c="1")
        world.reconcile(instance)

    world.calls.before("TransactWriteItems", meanwhile)
    world.reconcile(instance)
    assert {str(each.mapping) for each in world.record(instance).grants.values()} == {"c=1"}
