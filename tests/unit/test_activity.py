"""What happened by the hour: how a target's instances stood at each sweep, and what was changed; kept for a month."""

from datetime import timedelta
from typing import Any

import pytest

from fixtures.account import HOME, FakeAccount, refusing
from fixtures.mappings import Desk
from fixtures.organization import SPOKE, VERSION, Organization
from rolekeeper.fleet.targets import WIRE_FORMAT, ServedTarget
from rolekeeper.instances.decide import InstanceStatus
from rolekeeper.model.instance import Target
from rolekeeper.model.mapping import WITHHELD, Control, Mode
from rolekeeper.storage import layout

pytestmark = [
    pytest.mark.desk(usable=["web", "db"], rows={"app=web": "web", "app=db": "db"}),
    pytest.mark.world(foreign=["legacy"]),
]


def sweep(desk: Desk, seconds: float = 840) -> None:
    """A sweep, in as many runs as it takes where each has so much time."""
    swept = desk.app().sweep("sweep-1", lambda: seconds, "run-1", {}).run()
    for _ in range(20):
        if swept.finished:
            return
        swept = desk.app().sweep("sweep-1", lambda: seconds, "run-1", layout.encode(swept)).run()
    raise AssertionError(swept)


def hours(world: FakeAccount, target: Target = HOME) -> dict[str, dict[str, Any]]:
    """What is known of each hour of a target."""
    pk = layout.activity_key(target, world.clock.now())[0]
    return {item.pop("sk"): item for item in world.store.items(pk, "~")}


def stood(world: FakeAccount, target: Target = HOME) -> list[dict[str, int]]:
    """How the instances stood at each sweep."""
    found = [item[name] for item in hours(world, target).values() for name in sorted(item) if "swept" in name]
    return [{standing: int(number) for standing, number in each.items()} for each in found]


def some_of_each(desk: Desk) -> None:
    world = desk.world
    for _ in range(3):
        desk.converged("web", app="web")
    for _ in range(2):
        world.running(app="web")
    world.running(profile="legacy", app="web")
    world.stop(waits := desk.converged("db", app="db"))
    world.tag(waits, app="web")
    world.running(app="web", **{"rolekeeper:ignore": "perhaps"})
    world.garble(layout.record_key(world.key(desk.converged("web", app="web"))))
    world.truth.terminate(world.running(app="web"))


def test_a_sweep_notes_how_the_instances_stand_by_status(desk: Desk) -> None:
    some_of_each(desk)
    sweep(desk)
    assert stood(desk.world) == [{"ok": 3, "drift": 2, "foreign": 1, "waiting": 1, "blocked": 1, "unknown": 1}]
    assert set(stood(desk.world)[0]) == set(InstanceStatus), "each status is met"


def test_each_code_by_which_changes_are_withheld_is_known() -> None:
    controls = (Control(unclear="?"), Control(paused=True), Control(mode=Mode.OBSERVE), Control(swept=False))
    assert {withheld.code for each in controls if (withheld := each.withholds(Mode.ENFORCE))} == WITHHELD


def test_a_sweep_of_several_runs_notes_all_of_the_fleet_once(desk: Desk) -> None:
    for _ in range(5):
        desk.converged("web", app="web")
    sweep(desk, seconds=0)
    assert stood(desk.world) == [{"ok": 5}]


def test_the_sweeps_of_an_hour_share_an_item_which_expires_after_a_month(desk: Desk) -> None:
    world = desk.world
    for _ in range(5):
        sweep(desk)
        world.clock.sleep(900)
    first, second = hours(world).values()
    assert (len(first), len(second)) == (2 + 4, 2 + 1), "the key, the expiry, and each sweep"
    assert stood(world) == [{}] * 5, "without an instance, too: a gap would say that nobody looked"
    left = int(second["expires"]) - world.clock.now().timestamp()
    assert timedelta(days=30) < timedelta(seconds=left) <= timedelta(days=31)


def test_a_sweep_that_cant_note_it_ends_all_the_same(desk: Desk) -> None:
    denied = refusing("AccessDeniedException", "not authorized")
    desk.world.calls.after("UpdateItem", lambda: desk.world.calls.before("UpdateItem", denied))
    sweep(desk)
    assert stood(desk.world) == []
    assert desk.world.metrics.counts["WillRetry"] == 1


# ---- of another account or Region ----


@pytest.mark.parametrize("refused", [False, True], ids=["each by itself", "a gap if it can't be swept"])
def test_a_hub_notes_each_target(organization: Organization, *, refused: bool) -> None:
    organization.publish("workload=web", "web")
    target = ServedTarget(SPOKE, VERSION, organization.hub.clock.now(), wire_format=WIRE_FORMAT)
    organization.app().registry.add(target)
    organization.spokes[SPOKE].running(workload="web")
    if refused:
        organization.refuse(SPOKE)
    organization.sweep()
    assert (stood(organization.hub), stood(organization.hub, SPOKE)) == ([{}], [] if refused else [{"drift": 1}])


# ---- changes ----


def changes(world: FakeAccount) -> dict[str, int]:
    (item,) = hours(world).values()
    return {name: int(number) for name, number in item.items() if name not in ("pk", "expires")}


def test_changes_are_counted_by_kind_a_minute_later_in_one_write(desk: Desk) -> None:
    world = desk.world
    fleet = [world.running(app="web") for _ in range(4)]
    world.reconcile(*fleet)
    world.tag(fleet[0], app="db")
    for each in fleet[1:3]:
        world.untag(each, "app")
    world.reconcile(*fleet)
    world.quiet()
    world.follow()
    assert changes(world) == {"Attach": 4, "Replace": 1, "Detach": 2}
    assert world.calls["UpdateItem"] == 1
    world.follow()
    assert changes(world)["Attach"] == 4, "each is counted once"


def test_what_ec2_refuses_is_counted_once_however_often_it_is_tried(desk: Desk) -> None:
    world = desk.world
    refused = world.running(app="web")
    for _ in range(8):
        world.calls.before("AssociateIamInstanceProfile", refusing("UnsupportedOperation", "no"))
    world.reconcile(refused)
    world.follow()
    world.reconcile(refused)
    world.follow()
    assert changes(world) == {"refused": 1}
