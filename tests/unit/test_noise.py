"""What each way to end costs at an event, a minute later and at two sweeps: calls, events, mails, metrics, loops.

What nothing happened to must cost nothing more than the look, and be reported once (docs/concepts.md, rule 7).
"""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import pytest

from fixtures.account import MUTATIONS, SETTLES, WRITES, FakeAccount, refusing
from fixtures.mappings import Desk
from rolekeeper.aws.errors import RetryableError
from rolekeeper.instances.reconcile import LOOKS
from rolekeeper.settings import Limits
from strategies.situations import ARRANGED, SITUATIONS, Situation


@dataclass(frozen=True)
class Cost:
    """What one look costs: calls to AWS by their kind, and what people and programs hear of it.

    Attributes:
        changes: that EC2 is asked for.
        loops: retry loops that are started.
        metrics: that ring an alarm.
        sent: whether the next sweep sends the instance, or the row's instances were sent.
    """

    reads: int = 3
    writes: int = 0
    changes: int = 0
    loops: int = 0
    events: int = 0
    mails: int = 0
    metrics: int = 0
    sent: bool = False


def looks(at_the_event: Cost, *later: Cost) -> tuple[Cost, ...]:
    """Return the costs of four looks. The later ones only read, or are all like the one that is given."""
    return at_the_event, *(later if len(later) == 3 else (later or (Cost(),)) * 3)


# A change takes its moment of the pace, then its grant is written, and its outcome.
CHANGED = looks(Cost(writes=3, changes=1, events=1))
HELD = looks(Cost(writes=1, events=1))
WAITS = looks(Cost(writes=1))
QUIET = looks(Cost())
TRIED_AGAIN = Cost(writes=3, changes=1, metrics=1, sent=True)
THROTTLED = Cost(writes=3, changes=1, sent=True)
# By the code with which a look ends.
COSTS = {
    **dict.fromkeys(("unoccupied", "differs", "quarantined", "unmatched"), CHANGED),
    **dict.fromkeys(("ignore-unclear", "tie", "suspended", "occupied", "unexplained", "mapping-missing"), HELD),
    **dict.fromkeys(("observed", "control-unclear", "unswept", "paused"), HELD),
    **dict.fromkeys(("converged", "not-ours", "service-managed", "ignored"), QUIET),
    **dict.fromkeys(("ended", "stopped"), WAITS),
    "pin-unclear": looks(Cost(writes=2, events=2)),
    "contested": looks(Cost(writes=1, events=1, metrics=1), Cost(metrics=1)),
    **dict.fromkeys(("kept", "rollout"), looks(Cost(reads=4), Cost(reads=4))),
    "gone": looks(Cost(reads=9, writes=1), Cost(reads=9)),
    "changing": looks(Cost(writes=1, loops=1)),
    "associating": looks(Cost(writes=1), Cost(writes=1)),
    "disassociating": looks(Cost(reads=9, writes=1, loops=1), Cost(reads=9)),
    "propagating": looks(
        Cost(writes=3, changes=1, loops=1, sent=True),
        THROTTLED,
        Cost(writes=3, changes=1, events=1, metrics=1, sent=True),
        THROTTLED,
    ),
    # The pace is slowed too.
    "throttled": looks(replace(THROTTLED, writes=4), replace(THROTTLED, writes=4)),
    "window": looks(Cost(reads=4, writes=2, metrics=1), Cost(metrics=1)),
    "denied": looks(Cost(writes=3, changes=1, events=2, mails=1, metrics=1, sent=True), TRIED_AGAIN),
    "refused": looks(Cost(writes=3, changes=1, events=1, metrics=1, sent=True), TRIED_AGAIN),
}
# The mapping that gave the role is read in a second read, where nothing else governs.
AND_OWNER = looks(Cost(reads=4, writes=3, changes=1, events=1))
FOUR_READS = looks(Cost(reads=4), Cost(reads=4))
SWAPPED = looks(Cost(reads=6, writes=6, changes=2, events=2))
PIN_REPORTED = looks(Cost(writes=1, events=1))
PIN_AND_CHANGE = looks(Cost(writes=4, changes=1, events=2))
COSTS_OTHERWISE = {
    "nothing, and no mapping": QUIET,
    "nothing, and a pin": PIN_AND_CHANGE,
    "nothing after a quarantine whose record and tag are missing": looks(Cost(reads=4, writes=1)),
    "nothing, and its own tag until later": WAITS,
    "its role, given by a mapping whose record is missing": WAITS,
    "its role after a quarantine": WAITS,
    "its role, by a pin": PIN_REPORTED,
    "its role, by a pin that ends": PIN_REPORTED,
    "what EC2 still detaches, and no mapping": looks(Cost(reads=12, writes=1, loops=1), Cost(reads=12)),
    "what EC2 still detaches, and its own tag": FOUR_READS,
    "another role, to be swapped while it is stopped": SWAPPED,
    "another role, and a pin": PIN_AND_CHANGE,
    "another role of a mapping whose record is missing, and a pin": PIN_AND_CHANGE,
    "another role, and its own tag": FOUR_READS,
    "another role, a rival, and its own tag that can't be read": looks(Cost(4, writes=1, events=1), Cost(reads=4)),
    "a foreign role, and a pin": looks(Cost(writes=2, events=2)),
    "a foreign role, a pin, and the stack's word": PIN_AND_CHANGE,
    "a foreign role, a pin to none, and the stack's word": PIN_AND_CHANGE,
    "a foreign role, a pin, its own tag, and a service": PIN_REPORTED,
    "a foreign role, and its own tag until later": WAITS,
    "a foreign role, to be swapped while it is stopped": SWAPPED,
    "a role whose mapping no longer matches": AND_OWNER,
    "a role whose row was deleted": AND_OWNER,
    "nothing, and EC2 doesn't know it": looks(Cost(reads=9), Cost(reads=9)),
    "a role whose mapping's record is missing": looks(Cost(reads=4, writes=1, events=1), Cost(reads=4)),
}
# IAM is asked whether a pin's role can be given: that isn't counted here.
OF_IAM = {"GetRole", "GetInstanceProfile", "list_attached_role_policies", "list_role_policies"}
KINDS = {
    **dict.fromkeys(("DescribeInstances", "DescribeIamInstanceProfileAssociations", "BatchGetItem"), "reads"),
    **dict.fromkeys(WRITES, "writes"),
    **dict.fromkeys(MUTATIONS, "changes"),
    "StartExecution": "loops",
    "PutEvents": "puts",
    "Publish": "mails",
    "SendMessageBatch": "sends",
}


def cost_of(world: FakeAccount, *, sent: bool) -> Cost:
    """Return what was called and told since all was quiet. All events go out in one call."""
    counts = Counter(KINDS.get(call, call) for call in world.calls.made)
    events = len(world.events.sent)
    assert counts["puts"] == bool(events)
    numbers = {kind: counts[kind] for kind in ("reads", "writes", "changes", "loops", "mails")}
    return Cost(**numbers, events=events, metrics=world.metrics.counts.total(), sent=sent)


def _look(world: FakeAccount, instance: str, situation: Situation) -> tuple[str, Cost]:
    """Let Rolekeeper look once; returns how that ended, and what it cost."""
    world.quiet()
    world.metrics.counts.clear()
    situation.refuse(world, MUTATIONS[0])
    began = world.clock.seconds
    decided = world.reconcile(instance).decision
    assert decided
    # EC2 isn't waited for, however long it takes: only what it shows late, and half a swap, are looked at again.
    pause = sum(LOOKS) if decided.code in ("disassociating", "gone") else LOOKS[0] * (len(world.mutations) - 1)
    settled = SETTLES if world.mutations and not situation.answer else 0
    assert world.clock.seconds - began == pytest.approx(max(0, pause) + settled)
    assert KINDS.keys() | OF_IAM >= set(world.calls.made)
    cost = cost_of(world, sent=False)
    return decided.code, replace(cost, sent=world.needs_reconcile(instance))


@pytest.mark.parametrize("story", ARRANGED)
def test_each_look_at_an_instance_costs(world: FakeAccount, story: str) -> None:
    situation = SITUATIONS[story]
    instance = situation.arrange(world)
    world.wait(1)
    found: list[tuple[str, Cost]] = []
    for minutes in (0, 1, 15, 15):
        world.later(minutes=minutes)
        found.append(_look(world, instance, situation))
    assert found[0][0] == situation.code
    assert tuple(cost for _, cost in found) == COSTS_OTHERWISE.get(story, COSTS[situation.code])


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


# By a row's status: what an edit costs, without reads. What comes after it costs nothing.
STATUSES: dict[str, tuple[Callable[[Desk], None], Cost]] = {
    "Published": (lambda desk: desk.put("app=web", role="web"), Cost(0, writes=3, events=1)),
    "Expired": (
        lambda desk: desk.put("app=web", role="web", expires_at="2020-01-01T00:00:00Z"),
        Cost(0, writes=3, events=1),
    ),
    "Rejected": (lambda desk: desk.put("app=web", role="none"), Cost(0, writes=2, events=1, mails=1)),
    "Conflict": (_conflicting, Cost(0, writes=3, events=1, mails=1)),
    "Held": (_wide, Cost(0, writes=2, events=1, mails=1)),
    "Waiting": (lambda desk: desk.put("app=web", role="web"), Cost(0, writes=1)),
    "Removed": (_deleted, Cost(0, writes=2, events=1)),
    "Discarded": (_discarded, Cost(0, writes=3, events=2, sent=True)),
}


@pytest.mark.parametrize("status", STATUSES)
def test_each_look_at_a_row_costs(world: FakeAccount, status: str) -> None:
    """At an edit, at its stream record once more, and at two sweeps."""
    (way, cost), desk = STATUSES[status], Desk(world, "web", "db")
    way(desk)
    found: list[Cost] = []
    for look in (desk.publish, desk.publish, desk.recheck, desk.recheck):
        desk.quiet()
        world.metrics.counts.clear()
        if status == "Waiting":
            world.calls.before("GetRole", refusing("Throttling", "slow down"))
        with suppress(RetryableError):
            # What is taken back is discarded, and published as it is.
            assert look("app=web").status.value == {"Discarded": "Published"}.get(status, status) or found
        found.append(replace(cost_of(world, sent="SendMessageBatch" in world.calls.made), reads=0))
    assert found == [cost, *[Cost(0)] * 3]
