"""The tag that excludes an instance: it is counted, and not an error."""

from datetime import timedelta

import pytest

from fixtures.account import FakeAccount
from rolekeeper.instances.decide import exclusion
from rolekeeper.model.mapping import IGNORE_TAG
from rolekeeper.storage import layout
from rolekeeper.storage.state import Store
from strategies.values import NOW

pytestmark = pytest.mark.world(published={"workload=web": "web"})


def timers(store: Store) -> list[layout.Item]:
    return list(store.items(layout.TIMERS, "9999"))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        *((text, "ignored") for text in ("true", "True", " TRUE ", "2026-03-01T09:00:01Z", "2099-01-01T00:00+05:00")),
        *((text, None) for text in ("false", "FALSE", "2020-01-01T00:00:00Z", "2026-03-01T09:00:00Z")),
        *((text, "ignore-unclear") for text in ("", "yes", "2026-12-31", "2026-12-31T18:00:00", "soon")),
    ],
)
def test_what_the_tag_says(text: str, code: str | None) -> None:
    found = exclusion({IGNORE_TAG: text}, NOW)
    assert (found.code if found else None) == code
    if found and code == "ignore-unclear":
        assert found.reason.endswith("; write true, or a time with its zone, as 2026-12-31T18:00:00Z")


def test_until_a_moment_it_waits_is_shown_once_and_a_timer_is_set(world: FakeAccount) -> None:
    until = world.clock.now() + timedelta(hours=1)
    instance = world.running(workload="web", **{IGNORE_TAG: until.isoformat()})
    world.reconcile(instance)
    condition = world.condition(instance)
    assert (condition.action, condition.code) == ("Wait", "ignored")
    (timer,) = timers(world.store)
    assert timer["due"] == layout.timestamp(until)
    assert layout.timer_from(timer).subject == world.key(instance)
    world.quiet()
    world.reconcile(instance)
    assert not world.writes
    assert not world.machine.started
    world.later(hours=1)
    world.reconcile(instance)
    assert world.carries(instance) == "web"
    assert world.record(instance).condition is None


def test_an_excluded_instance_keeps_its_role_until_the_exclusion_goes_whatever_happens_to_its_tags(
    world: FakeAccount,
) -> None:
    instance = world.running(workload="web")
    world.reconcile(instance)
    world.tag(instance, **{IGNORE_TAG: "true"})
    world.untag(instance, "workload")
    world.reconcile(instance)
    assert world.carries(instance) == "web"
    world.untag(instance, IGNORE_TAG)
    world.reconcile(instance)
    assert world.carries(instance) == ""
