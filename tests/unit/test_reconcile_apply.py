"""Making one change: what is written before and after the call to EC2, and what each of EC2's answers means."""

import pytest
from botocore.exceptions import ReadTimeoutError

from fixtures.account import MUTATIONS, SETTLES, FakeAccount, mapping_key, refusing
from rolekeeper.aws.errors import RetryableError
from rolekeeper.instances.reconcile import CROWDED
from rolekeeper.model.instance import Action, Grant
from rolekeeper.model.mapping import Pin
from rolekeeper.storage import layout

ATTACH, REPLACE, _ = MUTATIONS
CONFLICT = ("TransactionCanceledException", "TransactionConflict")


def _unoccupied(world: FakeAccount) -> str:
    """An instance whose tag asks for a role that it doesn't carry yet."""
    world.publish("workload=web", "web")
    instance = world.running(workload="web")
    world.quiet()
    return instance


def _differing(world: FakeAccount) -> str:
    """An instance that carries web, and whose tag asks for db by now."""
    for role in ("web", "db"):
        world.publish(f"workload={role}", role)
    world.tag(instance := world.converged(workload="web"), workload="db")
    return instance


def _unmatched(world: FakeAccount) -> str:
    """An instance that carries web, and whose tag is gone."""
    world.publish("workload=web", "web")
    world.untag(instance := world.converged(workload="web"), "workload")
    return instance


def _room_taken(world: FakeAccount) -> int:
    """How many changes count in the window."""
    window = layout.changes_key(world.target)
    return int(world.store.get([window]).get(window, {}).get("total", 0))


def _time_out() -> None:
    raise ReadTimeoutError(endpoint_url="https://ec2")


# ---- before the call ----


def test_the_grant_and_the_start_of_the_entry_are_written_before_ec2_is_asked(world: FakeAccount) -> None:
    instance = _unoccupied(world)
    seen: list[tuple[list[Grant], list[str]]] = []

    def look() -> None:
        grants, history = world.record(instance).grants, world.history(instance)
        seen.append((list(grants.values()), [each["outcome"] for each in history]))

    world.calls.before(ATTACH, look)
    began = world.clock.now()
    world.reconcile(instance)
    granted = Grant(world.profiles["web"].arn, "web", mapping_key("workload=web"), 1, began)
    assert seen == [([granted], ["started"])]


def test_a_replace_and_a_detach_take_room_and_an_attach_takes_none(world: FakeAccount) -> None:
    world.reconcile(_unoccupied(world))
    assert _room_taken(world) == 0
    world.reconcile(_differing(world))
    assert _room_taken(world) == 1
    world.reconcile(_unmatched(world))
    assert _room_taken(world) == 2


def test_what_a_pin_changes_takes_no_room(world: FakeAccount) -> None:
    instance = _differing(world)
    world.pin(instance, Pin("debug", world.profile("debug"), by="me"))
    world.reconcile(instance)
    assert world.carries(instance) == "debug"
    assert _room_taken(world) == 0


def test_workers_that_count_at_the_same_time_let_each_other_through(world: FakeAccount) -> None:
    instance = _differing(world)
    for _ in range(8):
        world.calls.before("TransactWriteItems", refusing(*CONFLICT))
    began = world.clock.seconds
    world.reconcile(instance)
    assert world.carries(instance) == "db"
    assert world.clock.seconds - began <= sum(CROWDED) + SETTLES
    assert [each["outcome"] for each in world.history(instance)] == ["done", "done"]


def test_a_change_that_is_crowded_out_comes_back_without_having_been_asked_for(world: FakeAccount) -> None:
    instance = _differing(world)
    for _ in range(9):
        world.calls.before("TransactWriteItems", refusing(*CONFLICT))
    outcome = world.reconcile(instance)
    assert isinstance(outcome.error, RetryableError)
    assert not world.mutations
    assert world.calls["TransactWriteItems"] == 9
    assert _room_taken(world) == 0


# ---- nobody knows ----


@pytest.mark.parametrize("happened", [True, False], ids=["the call happened", "the call didn't happen"])
def test_a_lost_answer_leaves_its_entry_started_and_its_room_taken_and_the_message_comes_back(
    world: FakeAccount, *, happened: bool
) -> None:
    instance = _differing(world)
    (world.calls.after if happened else world.calls.before)(REPLACE, _time_out)
    outcome = world.reconcile(instance)
    assert isinstance(outcome.error, RetryableError)
    entry = world.history(instance)[-1]
    assert (entry["outcome"], entry["answer"]) == ("started", {})
    assert _room_taken(world) == 1
    assert world.profiles["db"].arn in world.record(instance).grants
    assert world.shows(instance) == ""
    assert not world.events.sent
    assert [each["instance"] for each in world.logged() if each["message"] == "the outcome of a change is unknown"]


def test_a_throttled_change_is_made_a_minute_later_and_no_message_fails(world: FakeAccount) -> None:
    instance = _differing(world)
    world.calls.before(REPLACE, refusing("RequestLimitExceeded", status=503))
    outcome = world.reconcile(instance)
    assert outcome.error is None, "it doesn't count towards a dead letter"
    assert world.carries(instance) == "web"
    condition = world.condition(instance)
    assert (condition.action, condition.code, condition.parked) == (Action.WAIT, "throttled", False)
    assert _room_taken(world) == 0, "nothing was changed"
    world.follow()
    assert world.carries(instance) == "db"
    assert world.shows(instance) == ""
    assert _room_taken(world) == 1
    assert [each["outcome"] for each in world.history(instance)][-2:] == ["refused", "done"]


def test_a_throttled_call_that_the_sdk_sent_before_may_have_happened_so_the_change_keeps_its_room(
    world: FakeAccount,
) -> None:
    instance = _differing(world)
    world.calls.before(REPLACE, refusing("RequestLimitExceeded", status=503, retries=3))
    assert world.reconcile(instance).error is None
    assert (world.history(instance)[-1]["outcome"], _room_taken(world)) == ("started", 1)


def test_a_new_profile_that_ec2_never_learns_of_is_parked_after_some_minutes_of_loops_that_wait_ever_longer(
    world: FakeAccount,
) -> None:
    world.profile("web", empty=True)
    instance = _unoccupied(world)
    began = world.clock.seconds
    world.reconcile(instance)
    for _ in range(100):
        if world.condition(instance).parked:
            break
        wait = world.machine.started[-1]["input"]["wait_seconds"]
        world.wait(wait)
        world.reconcile(instance, in_loop=True)
    assert 300 <= world.clock.seconds - began <= 300 + 62, "five minutes (docs/concepts.md, `propagating`)"
    assert len(world.machine.started) < 40
    assert world.events.kinds == ["Instance Parked"]
    world.reconcile(instance)
    assert len(world.mutations) == len(world.machine.started) + 2, "a sweep tries it once, without a loop"


def test_a_change_whose_result_cant_be_written_stands(world: FakeAccount) -> None:
    instance = _unoccupied(world)
    fail = refusing("InternalServerError", status=500)

    def fail_twice() -> None:
        world.calls.before("TransactWriteItems", fail)
        fail()

    world.calls.after(ATTACH, lambda: world.calls.before("TransactWriteItems", fail_twice))
    outcome = world.reconcile(instance)
    assert isinstance(outcome.error, RetryableError)
    world.reconcile(instance)
    assert world.granted(instance)
    assert world.mutations == [ATTACH]
    assert [each["outcome"] for each in world.history(instance)] == ["started"]


# ---- EC2 refuses ----

REFUSALS = [
    ("IncorrectState", "The association is not the active association"),
    ("InvalidParameterValue", "Invalid IAM Instance Profile name db"),
    ("UnauthorizedOperation", "You are not authorized"),
]


@pytest.mark.parametrize(("code", "message"), REFUSALS)
def test_what_ec2_refuses_gives_its_room_back(world: FakeAccount, code: str, message: str) -> None:
    instance = _differing(world)
    for _ in range(6):
        world.calls.before(REPLACE, refusing(code, message))
    world.reconcile(instance)
    assert world.carries(instance) == "web"
    assert _room_taken(world) == 0
    assert world.history(instance)[-1]["outcome"] == "refused"


def test_a_refused_change_gives_its_room_back_though_another_writes_the_record_just_then(world: FakeAccount) -> None:
    """The look that was faster: without a second attempt the room would be taken until the window has passed."""
    instance = _differing(world)

    def refuse() -> None:
        world.calls.before("TransactWriteItems", refusing("TransactionConflictException"))
        refusing("IncorrectState", "The association is not the active association")()

    world.calls.before(REPLACE, refuse)
    world.reconcile(instance)
    assert [each.get("outcome") for each in world.history(instance)][-2:] == ["refused", "done"]
    assert (world.carries(instance), _room_taken(world)) == ("db", 1)


PASS_ROLE = (
    "You are not authorized to perform this operation. User: arn:aws:sts::123456789012:assumed-role/fn/fn is not "
    "authorized to perform: iam:PassRole on resource: arn:aws:iam::123456789012:role/rolekeeper/web because no "
    "identity-based policy allows the iam:PassRole action. Encoded authorization failure message: 4f-5k"
)


def test_a_missing_permission_holds_and_names_action_and_resource(world: FakeAccount) -> None:
    instance = _unoccupied(world)
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
    reason = f"permission iam:PassRole on {role} is missing (UnauthorizedOperation)"
    assert world.condition(instance).reason == reason
    world.reconcile(instance)
    assert world.granted(instance)
    assert world.shows(instance) == ""
