"""What each way to end costs, at an event, a minute later and at a sweep: calls, writes, events, mails, metrics, loops.

What nothing happened to must cost nothing more than the look, and be reported once (docs/concepts.md, rule 7).
"""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from fixtures.account import MUTATIONS, WRITES, FakeAccount, refusing
from fixtures.mappings import Desk
from rolekeeper.aws.errors import RetryableError
from rolekeeper.model.mapping import IGNORE_TAG, Pin, WhenUnmatched
from rolekeeper.settings import Limits
from spec.decision_laws import DOCUMENTED

ATTACH, *_ = MUTATIONS
NEVER = float("inf")


def _web(world: FakeAccount) -> str:
    world.publish("app=web", "web")
    return world.running(app="web")


def _carrying(world: FakeAccount) -> str:
    instance = _web(world)
    world.reconcile(instance)
    world.follow()
    return instance


def _retagged(world: FakeAccount) -> str:
    instance = _carrying(world)
    world.publish("app=db", "db")
    world.tag(instance, app="db")
    return instance


def _quarantined(world: FakeAccount) -> str:
    instance = _carrying(world)
    world.publish("app=web", "NONE")
    return instance


def _untagged(world: FakeAccount, **columns: object) -> str:
    instance = _carrying(world)
    world.publish("app=web", "web", **columns)
    world.untag(instance, "app")
    return instance


def _terminated(world: FakeAccount, *hours: int) -> str:
    instance = _carrying(world)
    world.truth.terminate(instance)
    for each in hours:
        world.later(hours=each)
    return instance


def _pending(world: FakeAccount) -> str:
    world.publish("app=web", "web")
    instance = world.launch(app="web")
    world.truth.instance(instance).changes_at = NEVER
    return instance


def _unsettled(world: FakeAccount, instance: str) -> str:
    row = world.truth.association_of(instance)
    assert row
    row.changes_at = NEVER
    return instance


def _associating(world: FakeAccount) -> str:
    instance = _web(world)
    world.profile("web")
    world.truth.associate(instance, "web")
    return _unsettled(world, instance)


def _disassociating(world: FakeAccount) -> str:
    instance = _carrying(world)
    world.detach_by_hand(instance)
    return _unsettled(world, instance)


def _propagating(world: FakeAccount) -> str:
    world.profile("web", empty=True)
    return _web(world)


def _stopped(world: FakeAccount) -> str:
    instance = _retagged(world)
    world.stop(instance)
    return instance


def _crowded(world: FakeAccount) -> str:
    world.limits, world.window_minutes = Limits(1, 0), 120
    first, second = _carrying(world), _retagged(world)
    world.tag(first, app="db")
    world.reconcile(first)
    return second


def _tagged_ignore(world: FakeAccount, says: str) -> str:
    instance = _web(world)
    world.tag(instance, **{IGNORE_TAG: says})
    return instance


def _pinned(world: FakeAccount) -> str:
    instance = _web(world)
    world.pin(instance, Pin("nobody"))
    return instance


def _contested(world: FakeAccount) -> str:
    instance = _web(world)
    for _ in range(3):
        world.reconcile(instance)
        world.detach_by_hand(instance)
        world.wait(1)
    return instance


def _tied(world: FakeAccount) -> str:
    world.publish("team=db", "db")
    instance = _web(world)
    world.tag(instance, team="db")
    return instance


def _suspended(world: FakeAccount) -> str:
    instance, published = _web(world), world.publish("app=web", "web")
    gone = replace(published, suspended_because="its role is gone")
    world.revisions.refresh(gone, None, world.clock.now())
    return instance


def _foreign(world: FakeAccount, **tags: str) -> str:
    world.publish("app=web", "web")
    return world.running(profile="theirs", **tags)


def _unexplained(world: FakeAccount) -> str:
    world.profile("web")
    instance = world.running()
    world.truth.associate(instance, "web")
    world.wait(2)
    return instance


def _damaged(world: FakeAccount) -> str:
    instance = _untagged(world)
    world.damage("app=web")
    return instance


def _managed(world: FakeAccount) -> str:
    world.publish("app=web", "web")
    instance = world.truth.launch(tags={"app": "web"}, operator="eks.amazonaws.com").id
    world.wait(2)
    return instance


def _control(world: FakeAccount, **item: object) -> str:
    world.control(**item)
    return _web(world)


def _unswept(world: FakeAccount) -> str:
    world.never_swept()
    return _web(world)


# By the decision's code, and what tells several ways to it apart: the way, and what each look costs. r: reads,
# w: writes, c: changes asked of EC2, l: retry loops, e: events, p: calls that send them, m: mails, a: metrics for an
# alarm, s: the next sweep sends the instance.
ENDINGS: dict[str, tuple[Callable[[FakeAccount], str], str]] = {
    "unoccupied": (_web, "3r 2w 1c 1e 1p | 3r | 3r | 3r"),
    "differs": (_retagged, "3r 2w 1c 1e 1p | 3r | 3r | 3r"),
    "quarantined": (_quarantined, "3r 2w 1c 1e 1p | 3r | 3r | 3r"),
    "unmatched": (_untagged, "4r 2w 1c 1e 1p | 3r | 3r | 3r"),
    "unmatched and bare": (lambda world: world.running(app="x"), "3r | 3r | 3r | 3r"),
    "converged": (_carrying, "3r | 3r | 3r | 3r"),
    "kept": (lambda world: _untagged(world, when_unmatched=WhenUnmatched.KEEP), "4r 1w | 4r | 4r | 4r"),
    "not-ours": (_foreign, "3r | 3r | 3r | 3r"),
    "service-managed": (_managed, "3r | 3r | 3r | 3r"),
    "ended": (_terminated, "3r 1w | 3r | 3r | 3r"),
    "gone": (lambda world: _terminated(world, 1, 2), "9r 1w | 9r | 9r | 9r"),
    "changing": (_pending, "3r 1w 1l | 3r | 3r | 3r"),
    "associating": (_associating, "3r 1w | 3r 1w | 3r 1w | 3r 1w"),
    "disassociating": (_disassociating, "9r 1w 1l | 9r | 9r | 9r"),
    "propagating": (_propagating, "3r 2w 1c 1l s | 3r 2w 1c s | 3r 2w 1c 1e 1p 1a s | 3r 2w 1c s"),
    "stopped": (_stopped, "3r 1w | 3r | 3r | 3r"),
    "throttled": (_web, "3r 2w 1c s | 3r 2w 1c s | 3r 2w 1c s | 3r 2w 1c s"),
    "window": (_crowded, "4r 2w 1a | 3r 1a | 3r 1a | 3r 1a"),
    "ignored": (lambda world: _tagged_ignore(world, "true"), "3r | 3r | 3r | 3r"),
    "ignored until": (lambda world: _tagged_ignore(world, "2099-01-01T00:00:00Z"), "3r 1w | 3r | 3r | 3r"),
    "ignore-unclear": (lambda world: _tagged_ignore(world, "perhaps"), "3r 1w 1e 1p | 3r | 3r | 3r"),
    "pin-unclear": (_pinned, "3r 2w 2e 1p | 3r | 3r | 3r"),
    "contested": (_contested, "3r 1w 1e 1p 1a | 3r 1a | 3r 1a | 3r 1a"),
    "tie": (_tied, "3r 1w 1e 1p | 3r | 3r | 3r"),
    "suspended": (_suspended, "3r 1w 1e 1p | 3r | 3r | 3r"),
    "occupied": (lambda world: _foreign(world, app="web"), "3r 1w 1e 1p | 3r | 3r | 3r"),
    "unexplained": (_unexplained, "3r 1w 1e 1p | 3r | 3r | 3r"),
    "mapping-missing": (_damaged, "4r 1w 1e 1p | 4r | 4r | 4r"),
    "observed": (lambda world: _control(world, mode="observe"), "3r 1w 1e 1p | 3r | 3r | 3r"),
    "control-unclear": (lambda world: _control(world, mode="perhaps"), "3r 1w 1e 1p | 3r | 3r | 3r"),
    "unswept": (_unswept, "3r 1w 1e 1p | 3r | 3r | 3r"),
    "paused": (lambda world: _control(world, paused=True), "3r 1w 1e 1p | 3r | 3r | 3r"),
    "denied": (_web, "3r 2w 1c 2e 1p 1m 1a s | 3r 2w 1c 1a s | 3r 2w 1c 1a s | 3r 2w 1c 1a s"),
    "refused": (_web, "3r 2w 1c 1e 1p 1a s | 3r 2w 1c 1a s | 3r 2w 1c 1a s | 3r 2w 1c 1a s"),
}
# What AWS answers to the change, each time.
REFUSALS = {"denied": "UnauthorizedOperation", "refused": "UnsupportedOperation", "throttled": "RequestLimitExceeded"}
KINDS = {
    **dict.fromkeys(("DescribeInstances", "DescribeIamInstanceProfileAssociations", "BatchGetItem"), "r"),
    **dict.fromkeys(WRITES, "w"),
    **dict.fromkeys(MUTATIONS, "c"),
    "StartExecution": "l",
    "PutEvents": "p",
    "Publish": "m",
    "SendMessageBatch": "s",
}


def _look(world: FakeAccount, instance: str, ending: str) -> tuple[str, str]:
    """Let Rolekeeper look once; returns how that ended, and what it cost."""
    world.quiet()
    world.metrics.counts.clear()
    if error := REFUSALS.get(ending):
        world.calls.before(ATTACH, refusing(error, "no"))
    decided = world.reconcile(instance).decision
    assert decided
    cost = Counter(KINDS.get(each, each) for each in world.calls.made)
    cost |= Counter(e=len(world.events.sent), a=world.metrics.counts.total())
    found = [f"{cost[each]}{each}" for each in sorted(cost, key="rwclepma".find) if cost[each]]
    return decided.code, " ".join([*found, "s"] if world.needs_reconcile(instance) else found)


@pytest.mark.parametrize("ending", ENDINGS)
def test_each_look_at_an_instance_costs(world: FakeAccount, ending: str) -> None:
    """At an event, a minute later, and at two sweeps."""
    way, costs = ENDINGS[ending]
    instance = way(world)
    world.wait(1)
    looks: list[tuple[str, str]] = []
    for minutes in (0, 1, 15, 15):
        world.later(minutes=minutes)
        looks.append(_look(world, instance, ending))
    assert [cost for _, cost in looks] == costs.split(" | ")
    assert looks[0][0] == ending.split(maxsplit=1)[0]


def test_each_documented_ending_is_looked_at() -> None:
    assert {each.split(maxsplit=1)[0] for each in ENDINGS} == DOCUMENTED.keys()


# ---- rows ----


def _conflicting(desk: Desk) -> None:
    desk.edit("team=db", role="db")
    desk.world.running(app="web", team="db")
    desk.put("app=web", role="web")


def _wide(desk: Desk) -> None:
    desk.edit("app=web", role="web")
    desk.limits = Limits(1, 0)
    for _ in range(2):
        desk.converged("web", app="web")
    desk.put("app=web", role="db")


def _deleted(desk: Desk) -> None:
    desk.edit("app=web", role="web")
    desk.delete("app=web")


def _discarded(desk: Desk) -> None:
    _wide(desk)
    desk.publish("app=web")
    desk.take_back("app=web")


# As `ENDINGS`, by a row's status, without reads; s: messages to the work queue.
STATUSES: dict[str, tuple[Callable[[Desk], None], str]] = {
    "Published": (lambda desk: desk.put("app=web", role="web"), "3w 1e 1p | - | - | -"),
    "Expired": (
        lambda desk: desk.put("app=web", role="web", expires_at="2020-01-01T00:00:00Z"),
        "3w 1e 1p | - | - | -",
    ),
    "Rejected": (lambda desk: desk.put("app=web", role="none"), "2w 1e 1p 1m | - | - | -"),
    "Conflict": (_conflicting, "3w 1e 1p 1m | - | - | -"),
    "Held": (_wide, "2w 1e 1p 1m | - | - | -"),
    "Waiting": (lambda desk: desk.put("app=web", role="web"), "1w | - | - | -"),
    "Removed": (_deleted, "2w 1e 1p | - | - | -"),
    "Discarded": (_discarded, "3w 1s 2e 1p | - | - | -"),
}


@pytest.mark.parametrize("status", STATUSES)
def test_each_look_at_a_row_costs(world: FakeAccount, status: str) -> None:
    """At an edit, at its stream record once more, and at two sweeps."""
    (way, costs), desk = STATUSES[status], Desk(world)
    for role in ("web", "db"):
        desk.role(role)
    way(desk)
    looks: list[str] = []
    for look in (desk.publish, desk.publish, desk.recheck, desk.recheck):
        desk.quiet()
        world.metrics.counts.clear()
        if status == "Waiting":
            world.calls.before("GetRole", refusing("Throttling", "slow down"))
        with suppress(RetryableError):
            # What is taken back is discarded, and published as it is.
            assert look("app=web").status.value == {"Discarded": "Published"}.get(status, status) or looks
        cost = Counter(KINDS.get(each, "r") for each in world.calls.made)
        cost |= Counter(e=len(world.events.sent), a=world.metrics.counts.total())
        looks.append(" ".join(f"{cost[each]}{each}" for each in "wlsepma" if cost[each]) or "-")
    assert looks == costs.split(" | ")
