"""What people write into the state table takes effect at once; and a deployment that changes the mode is reported."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from fixtures.account import FakeAccount, refusing
from rolekeeper.aws.errors import RetryableError
from rolekeeper.aws.queue import Task
from rolekeeper.instances.requests import DroppedError
from rolekeeper.model.instance import Timer
from rolekeeper.model.mapping import MappingKey, Mode
from rolekeeper.storage import layout
from strategies.values import KEY, NOW

PIN = layout.pin_key(KEY)


def written(world: FakeAccount, *keys: layout.Key, at: datetime = NOW) -> None:
    """Let the stream records of these items come, in one batch."""
    steering = world.app().overrides
    for key in keys:
        steering.written(key, "event-1", at)


def put_pin(world: FakeAccount, **attributes: Any) -> None:
    world.put(PIN, **{"role": "NONE"} | attributes)


def armed(world: FakeAccount) -> list[Any]:
    return list(world.state.timers_due(NOW + timedelta(days=9999)))


def started(world: FakeAccount) -> list[str]:
    """The tasks that were started."""
    assert all("target" not in each and each["id"] == "event-1" for each in world.lambda_.invoked)
    return [each["task"] for each in world.lambda_.invoked]


def causes(world: FakeAccount) -> list[str]:
    """Why instances were sent, of which there is one, at once."""
    assert {*world.queue.instances} <= {KEY}
    assert {delay for _, delay in world.queue.sent} <= {0}
    assert {each["detail"]["correlation-id"] for each in world.queue.bodies} <= {"event-1"}
    return [each["detail"]["cause"] for each in world.queue.bodies]


# ---- a write of the control item is told ----


def write_control(world: FakeAccount, **attributes: Any) -> None:
    """Put the control item as anybody may, and let its stream record come."""
    world.control(**attributes)
    written(world, layout.CONTROL)


def entries(world: FakeAccount) -> list[dict[str, Any]]:
    return world.store.history(layout.CONTROL_REPORTED[0])


def test_a_pause_starts_a_sweep_and_is_an_event_an_entry_and_a_mail(world: FakeAccount) -> None:
    write_control(world, paused=True, by="mallory\u202e", reason="x" * 9_000)
    assert started(world) == [Task.SWEEP]
    (detail,) = world.events.named("Control Changed")
    told = ("not paused, mode as deployed", "paused, mode as deployed", "Rolekeeper is paused", r"mallory\u202e")
    assert (detail["from"], detail["to"], detail["in-effect"], detail["claimed-by"]) == told
    assert len(detail["claimed-reason"]) == 300
    ((subject, text),) = world.topic.mails
    assert subject == "Rolekeeper: Control Changed: paused, mode as deployed"
    assert "It was: not paused, mode as deployed. It is: paused, mode as deployed." in text
    assert "only claims: by mallory" in text
    (entry,) = entries(world)
    assert entry.items() >= detail.items()


def test_a_deleted_control_item_is_told_by_what_it_was(world: FakeAccount) -> None:
    write_control(world, mode="enforce", paused=True)
    world.delete(layout.CONTROL)
    written(world, layout.CONTROL, at=NOW + timedelta(seconds=1))
    change = world.events.named("Control Changed")[-1]
    assert (change["from"], change["to"]) == ("paused, mode enforce", "not paused, mode as deployed")
    assert len(world.topic.mails) == 2


def test_a_write_that_leaves_pause_and_mode_is_told_without_a_mail(world: FakeAccount) -> None:
    write_control(world, reason="a word")
    (detail,) = world.events.named("Control Changed")
    assert detail["from"] == detail["to"]
    assert (len(entries(world)), world.topic.mails) == (1, [])


def test_a_record_that_comes_twice_is_told_once(world: FakeAccount) -> None:
    write_control(world, paused=True)
    written(world, layout.CONTROL)
    assert world.events.kinds == ["Control Changed"]
    assert (len(entries(world)), len(world.topic.mails)) == (1, 1)


@pytest.mark.parametrize("call", ["PutEvents", "Publish"])
def test_what_couldnt_be_sent_is_sent_when_the_record_comes_again(world: FakeAccount, call: str) -> None:
    world.calls.before(call, refusing("ThrottlingException"))
    with pytest.raises(RetryableError):
        write_control(world, paused=True)
    assert started(world) == [Task.SWEEP], "what was written takes effect all the same"
    assert entries(world) == []
    written(world, layout.CONTROL)
    assert len(world.topic.mails) == 1
    assert len(entries(world)) == 1


def test_what_may_not_be_sent_is_noted_and_not_tried_for_an_hour(world: FakeAccount) -> None:
    """The alarm on missing permissions rings."""
    world.calls.before("Publish", refusing("AuthorizationError"))
    write_control(world, paused=True)
    assert world.metrics.counts["PermissionDenied"] == 1
    assert len(entries(world)) == 1


# ---- tasks ----


def test_a_batch_starts_each_task_once(world: FakeAccount) -> None:
    soon = layout.timer_key(Timer(world.clock.now() + timedelta(seconds=30), KEY))
    written(world, layout.CONTROL, soon, layout.CONTROL, soon)
    assert started(world) == [Task.SWEEP, Task.EXPIRIES]


def test_a_task_that_wasnt_taken_is_started_by_the_next_record(world: FakeAccount) -> None:
    world.calls.before("Invoke", refusing("TooManyRequestsException"))
    steering = world.app().overrides
    with pytest.raises(RetryableError):
        steering.written(layout.CONTROL, "event-1", NOW)
    steering.written(layout.CONTROL, "event-1", NOW)
    assert started(world) == [Task.SWEEP]


@pytest.mark.parametrize("subject", [KEY, MappingKey("workload", "web")])
@pytest.mark.parametrize(("seconds", "tasks"), [(-60, []), (1, [Task.EXPIRIES]), (120, [Task.EXPIRIES]), (121, [])])
def test_a_timer_that_the_next_minute_could_miss_is_looked_at_now(
    world: FakeAccount, subject: Any, seconds: float, tasks: list[Task]
) -> None:
    timer = Timer(world.clock.now() + timedelta(seconds=seconds), subject)
    written(world, layout.timer_key(timer))
    assert started(world) == tasks


# ---- pins ----

SOON = "2026-03-01T10:30:00Z"


@pytest.mark.parametrize(("expires_at", "timers"), [("", []), (SOON, [SOON]), ("tomorrow", []), (7, [])])
def test_a_pin_has_its_instance_looked_at_whatever_it_says_and_one_timer_if_it_expires(
    world: FakeAccount, expires_at: Any, timers: list[str]
) -> None:
    put_pin(world, expires_at=expires_at)
    written(world, PIN, PIN)
    assert causes(world) == ["its pin was written"] * 2
    assert [f"{each.due:%Y-%m-%dT%H:%M:%SZ}" for each in armed(world)] == timers
    assert {each.subject for each in armed(world)} <= {KEY}


def test_an_approval_has_its_mapping_judged(world: FakeAccount) -> None:
    written(world, layout.approval_key("AROA:grace", MappingKey("work#load", "web#1")))
    assert started(world) == [Task.APPROVED]
    [event] = world.lambda_.invoked
    assert (event["by"], event["mapping"]) == ("AROA:grace", {"tag_key": "work#load", "tag_value": "web#1"})


def test_a_pin_that_is_released_or_removed_has_its_instance_looked_at(world: FakeAccount) -> None:
    written(world, PIN)
    put_pin(world, expires_at="2026-03-01T08:59:59Z")
    written(world, PIN)
    assert causes(world) == ["its pin was removed", "its pin was released"]
    assert armed(world) == []


OTHERS = [("instance#only", "pin"), ("mapping#8:workload#web", "pin"), (layout.TIMERS, "soon#instance"), ("", "")]


@pytest.mark.parametrize("key", [*OTHERS, layout.record_key(KEY), ("control", "mode")])
def test_what_steers_nothing_says_so(world: FakeAccount, key: layout.Key) -> None:
    with pytest.raises(DroppedError):
        written(world, key)


# ---- a deployment that changes the mode is reported once: as an event and as a mail ----


def deploy(world: FakeAccount, mode: Mode) -> None:
    """A deployment, and the next minute."""
    world.mode = mode
    app = world.app()
    app.overrides.report_deployed_mode("minute-1")
    app.telemetry.flush()


def test_a_first_deployment_is_no_change(world: FakeAccount) -> None:
    deploy(world, Mode.OBSERVE)
    assert world.events.kinds == []
    assert world.store.get([layout.DEPLOYED])[layout.DEPLOYED]["mode"] == "observe"


def test_a_change_is_reported_once_and_says_what_is_in_effect(world: FakeAccount) -> None:
    deploy(world, Mode.ENFORCE)
    for _ in range(3):
        deploy(world, Mode.OBSERVE)
    (detail,) = world.events.named("Mode Changed")
    assert (detail["from"], detail["to"], detail["in-effect"]) == ("enforce", "observe", "observe")
    ((subject, text),) = world.topic.mails
    assert subject == "Rolekeeper: Mode Changed: observe"
    assert "A deployment changed the mode from enforce to observe." in text
    assert "in effect is observe: Rolekeeper decides and reports what it would do, and changes nothing." in text
    assert "rolekeeper mode enforce" in text


def test_an_unchanged_mode_costs_a_read_and_no_write(world: FakeAccount) -> None:
    deploy(world, Mode.ENFORCE)
    world.quiet()
    deploy(world, Mode.ENFORCE)
    assert world.calls.made == ["BatchGetItem"]


def test_of_two_that_see_it_at_once_one_reports_it(world: FakeAccount) -> None:
    deploy(world, Mode.ENFORCE)
    world.calls.after("BatchGetItem", lambda: deploy(world, Mode.OBSERVE))
    deploy(world, Mode.OBSERVE)
    assert world.events.kinds == ["Mode Changed"]


@pytest.mark.parametrize("code", ["ProvisionedThroughputExceededException", "AccessDeniedException"])
def test_what_aws_refuses_in_one_minute_is_reported_in_the_next(world: FakeAccount, code: str) -> None:
    deploy(world, Mode.ENFORCE)
    world.calls.before("UpdateItem", refusing(code))
    deploy(world, Mode.OBSERVE)
    assert world.events.kinds == []
    assert world.metrics.counts["WillRetry"] == 1
    deploy(world, Mode.OBSERVE)
    assert world.events.kinds == ["Mode Changed"]
