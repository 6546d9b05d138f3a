"""Each minute's work: what expires is seen at its moment, by those whom it concerns, whatever else goes wrong."""

from datetime import datetime, timedelta
from itertools import compress
from operator import itemgetter
from typing import Any

import pytest

from fixtures.account import published_at, refusing
from fixtures.mappings import Desk
from rolekeeper.fleet.expiry import ExpiryResult
from rolekeeper.mappings.publish import Publisher
from rolekeeper.model.instance import Timer
from rolekeeper.model.mapping import MappingKey
from rolekeeper.storage import layout

PAST = 2  # seconds after a moment at which it is past on every clock

pytestmark = pytest.mark.desk(usable=["web"])


@pytest.fixture(autouse=True)
def sqs(desk: Desk) -> None:
    desk.clients["sqs"] = desk.world.queue


def minute(desk: Desk, *, waits: bool = True) -> ExpiryResult:
    expiries = desk.app().expiries("minute-1", waits=waits)
    rung = expiries.run()
    expiries.telemetry.flush()
    return rung


def sent(desk: Desk) -> list[tuple[str, int]]:
    """What the minutes sent, each instance with its delay; rows send theirs too."""
    queue = desk.world.queue
    details = [body["detail"] for body in queue.bodies]
    rung = [detail["cause"] in ("expiry", "follow-up") for detail in details]
    assert {detail["correlation-id"] for detail in compress(details, rung)} <= {"minute-1"}
    return list(compress(queue.sent, rung))


def after(desk: Desk, seconds: float) -> datetime:
    return desk.world.clock.now() + timedelta(seconds=seconds)


def expiring(desk: Desk, tag: str, seconds: float) -> datetime:
    """A published mapping that expires so soon."""
    # The row says it to the second.
    until = after(desk, seconds).replace(microsecond=0)
    assert desk.edit(tag, role="web", expires_at=f"{until:%Y-%m-%dT%H:%M:%SZ}").status == "Published"
    desk.quiet()
    return until


def pinned(desk: Desk, instance: str, seconds: float) -> Timer:
    timer = Timer(after(desk, seconds), desk.world.key(instance))
    desk.world.state.arm(timer)
    return timer


def waiting(desk: Desk) -> list[Any]:
    return list(desk.world.state.timers_due(datetime.fromisoformat("2999-01-01T00:00:00Z")))


def test_the_instances_of_a_mapping_are_sent_so_that_they_arrive_just_after_it_expires(desk: Desk) -> None:
    instances = sorted(desk.world.running(app="web") for _ in range(3))
    desk.world.running(app="other")
    until = expiring(desk, "app=web", 55)
    rung = minute(desk)
    left = (until - desk.world.clock.now()).total_seconds()
    assert sent(desk) == [(each, left + PAST) for each in instances]
    assert (rung.timers, rung.sent, rung.mappings) == (1, 3, 0)
    assert desk.shows("app=web")[0] == "Published", "not yet"


def test_once_it_has_passed_the_row_says_so_and_its_instances_are_sent_at_once(desk: Desk) -> None:
    expiring(desk, "app=web", 30)
    desk.world.later(minutes=1)
    late = desk.world.running(app="web")
    assert minute(desk).mappings == 1
    assert desk.shows("app=web")[0] == "Expired"
    assert (late, 0) in sent(desk)
    assert desk.world.events.kinds == ["Mapping Expired"]
    assert waiting(desk) == []
    desk.quiet()
    assert minute(desk) == ExpiryResult()
    assert desk.world.calls.counted() == {"Query": 5}, "a quiet minute costs a read of each partition"


def test_an_instance_that_got_its_tag_between_the_look_ahead_and_the_moment_gives_the_role_up(desk: Desk) -> None:
    expiring(desk, "app=web", 55)
    minute(desk)
    assert sent(desk) == []
    instance = desk.world.converged(app="web")
    desk.world.later(minutes=1)
    minute(desk)
    assert sent(desk) == [(instance, 0)] * 2, "and the follow-up of its change"
    desk.world.reconcile(instance)
    assert desk.world.carries(instance) == ""


def test_a_moment_within_the_minute_is_waited_for_until_it_is_past_on_every_clock(desk: Desk) -> None:
    instance = desk.world.running(app="web")
    until = expiring(desk, "app=web", 30)
    assert minute(desk).mappings == 1
    assert sent(desk)[0][0] == instance
    assert desk.world.clock.now() == until + timedelta(seconds=PAST)
    assert desk.shows("app=web")[0] == "Expired"
    assert waiting(desk) == []


def test_one_that_is_started_between_the_minutes_waits_for_nothing(desk: Desk) -> None:
    instance = desk.world.running(app="web")
    expiring(desk, "app=web", 30)
    began = desk.world.clock.now()
    assert minute(desk, waits=False).mappings == 0
    assert [name for name, _ in sent(desk)] == [instance]
    assert desk.world.clock.now() == began
    assert len(waiting(desk)) == 1


def test_a_minute_that_runs_twice_does_no_harm(desk: Desk) -> None:
    expiring(desk, "app=web", 30)
    desk.world.later(minutes=1)
    timer = waiting(desk)[0]
    minute(desk)
    desk.world.state.arm(timer)  # the other one had read it before
    desk.quiet()
    minute(desk)
    assert desk.shows("app=web")[0] == "Expired"
    assert desk.world.events.sent == []
    assert waiting(desk) == []


@pytest.mark.parametrize("later", [{}, {"expires_at": "2026-03-01T12:00:00Z"}], ids=["never", "later"])
def test_the_timer_of_a_mapping_that_expires_later_or_no_more_rings_nothing_and_goes(
    desk: Desk, later: dict[str, str]
) -> None:
    desk.world.running(app="web")
    expiring(desk, "app=web", 30)
    desk.edit("app=web", role="web", **later)
    desk.quiet()
    minute(desk)
    assert len(waiting(desk)) == 1 + len(later), "the same date may be written again until then"
    desk.world.later(minutes=1)
    assert (minute(desk).mappings, desk.world.writes) == (1, ["DeleteItem"])
    assert sent(desk) == []
    assert desk.shows("app=web")[0] == "Published"
    assert len(waiting(desk)) == len(later)


def test_what_a_minute_published_before_it_failed_is_finished_by_the_next_one(desk: Desk) -> None:
    desk.world.running(app="web")
    desk.usable("api")
    expiring(desk, "app=web", 30)
    desk.world.later(minutes=1)
    desk.put("app=web", role="api")
    desk.world.calls.after("TransactWriteItems", refusing("InternalServerError", status=500))
    assert (minute(desk).problems != [], desk.gives("app=web")) == (True, ("api", 2))
    before = len(desk.world.queue.bodies)
    assert minute(desk).problems == []
    assert (desk.shows("app=web")[0], len(desk.world.queue.bodies)) == ("Published", before + 1)
    assert waiting(desk) == []


def test_a_mapping_that_was_deleted_is_judged_again_minutes_later_and_nothing_is_written(desk: Desk) -> None:
    desk.world.running(app="web")
    desk.edit("app=web", role="web")
    desk.delete("app=web")
    desk.publish("app=web")
    desk.quiet()
    minute(desk)
    assert len(waiting(desk)) == 1
    desk.world.later(minutes=6)
    assert (minute(desk).mappings, sent(desk)) == (1, [])
    assert waiting(desk) == []
    assert desk.row("app=web") == {}
    assert desk.world.events.sent == []


def test_a_pinned_instance_is_sent_for_the_moment_and_once_more_after_it(desk: Desk) -> None:
    instance = desk.world.running()
    pinned(desk, instance, 20.25)
    minute(desk)
    desk.world.later(minutes=1)
    minute(desk)
    assert sent(desk) == [(instance, 23), (instance, 0)], "a part of a second is waited for too"
    assert waiting(desk) == []


def test_follow_ups_of_the_next_minute_arrive_each_at_its_moment_and_are_gone(desk: Desk) -> None:
    instances = [desk.world.running() for _ in range(3)]
    for instance, seconds in zip(instances, (-5, 7.5, 57), strict=True):
        desk.world.state.arm(Timer(after(desk, seconds), desk.world.key(instance), follows=True))
    later = Timer(after(desk, 61), desk.world.key(instances[0]), follows=True)
    desk.world.state.arm(later)
    minute(desk)
    assert sorted(sent(desk), key=itemgetter(1)) == list(zip(instances, (0, 10, 59), strict=True))
    assert [*desk.world.state.timers_due(after(desk, 3600), layout.FOLLOW_UPS)] == [later]


def test_many_pins_and_mappings_at_once_are_rung_in_few_calls(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(110):
        pinned(desk, f"i-{number:017x}", 20)
        desk.world.publish(f"app=w{number}", "web", expires_at=after(desk, 20))
    tagged = [desk.world.running(app=f"w{number}") for number in (0, 100, 109)]
    desk.world.wait(30)
    desk.world.large_pages()
    monkeypatch.setattr(Publisher, "recheck", lambda *_, **__: None)
    desk.world.calls.clear()
    rung = minute(desk)
    assert (rung.timers, rung.sent, rung.mappings) == (220, 113, 110)
    assert sorted(instance for instance, _ in sent(desk)) == sorted([*(f"i-{n:017x}" for n in range(110)), *tagged])
    # 100 timers are rung at a time; their mappings of one tag key are read and asked for together.
    assert (desk.world.calls["Query"], desk.world.calls["BatchGetItem"]) == (5, 2)
    assert desk.world.calls["DescribeInstances"] == 2
    assert waiting(desk) == []


def test_a_damaged_mapping_and_a_damaged_timer_keep_nothing_else_from_being_rung_and_stay(desk: Desk) -> None:
    fine, pinned_one = desk.world.running(app="fine"), desk.world.running()
    for tag in ("app=bad", "app=fine"):
        expiring(desk, tag, 30)
    pinned(desk, pinned_one, 30)
    desk.world.garble(published_at("app=bad"))
    desk.world.garble((layout.TIMERS, "2026-03-01T09:00:00.000000Z#garbled"))
    desk.world.later(minutes=1)
    rung = minute(desk)
    assert sorted(sent(desk)) == sorted([(fine, 0), (pinned_one, 0)])
    assert desk.shows("app=fine")[0] == "Expired"
    assert len(rung.problems) == 2
    assert desk.world.metrics.counts["WillRetry"] == 2
    subjects = [each.subject for each in waiting(desk) if isinstance(each, Timer)]
    assert subjects == [MappingKey("app", "bad")]


def test_ec2_that_doesnt_answer_keeps_no_pin_from_being_rung(desk: Desk) -> None:
    instance = desk.world.running(app="web")
    expiring(desk, "app=web", 30)
    pinned(desk, instance, 30)
    desk.world.later(minutes=1)
    desk.world.calls.before("DescribeInstances", refusing("RequestLimitExceeded", "slow down"))
    rung = minute(desk)
    assert sent(desk) == [(instance, 0)]
    assert rung.problems
    assert [each.subject for each in waiting(desk)] == [MappingKey("app", "web")]


@pytest.mark.parametrize("code", ["AccessDeniedException", "InternalServerError"])
def test_timers_that_cant_be_read_are_tried_again_in_the_next_minute(desk: Desk, code: str) -> None:
    desk.world.calls.before("Query", refusing(code, "no", status=500 if code.startswith("Internal") else 400))
    rung = minute(desk)
    assert len(rung.problems) == 1
    denied = code == "AccessDeniedException"
    assert desk.world.metrics.counts == ({"PermissionDenied": 1} if denied else {"WillRetry": 1})
    assert desk.world.events.sent == [], "an alarm rings; a mail each minute would say no more"


def test_a_minute_leaves_the_rest_to_the_next_one(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        expiring(desk, f"app=w{number}", 30)
    desk.world.later(minutes=2)
    """It works for 50 seconds at most."""
    monkeypatch.setattr(Publisher, "recheck", lambda *_, **__: desk.world.clock.sleep(25))
    rung = minute(desk)
    assert (rung.mappings, rung.finished) == (2, False)
    assert len(waiting(desk)) == 2
    assert minute(desk).mappings == 2
    assert minute(desk).finished
