"""What each way to end costs, at an event, a minute later and at a sweep: calls, writes, events, mails, metrics, loops.

What nothing happened to must cost nothing more than the look, and be reported once (docs/concepts.md, rule 7).
"""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import pytest

from fixtures.account import MUTATIONS, SETTLES, WRITES, FakeAccount, refusing
from fixtures.mappings import Desk
from rolekeeper.aws.errors import RetryableError
from rolekeeper.instances.reconcile import LOOKS
from rolekeeper.settings import Limits
from strategies.situations import ARRANGED, SITUATIONS, Situation

ATTACH, *_ = MUTATIONS
# By how a look ends, what it costs at an event, a minute later and at two sweeps. r: reads, w: writes, c: changes asked
# of EC2, l: retry loops, e: events, p: calls that send them, m: mails, a: metrics for an alarm, s: the next sweep sends
# the instance.
CHANGED = "3r 2w 1c 1e 1p | 3r | 3r | 3r"
HELD = "3r 1w 1e 1p | 3r | 3r | 3r"
WAITS = "3r 1w | 3r | 3r | 3r"
QUIET = "3r | 3r | 3r | 3r"
PIN_REPORTED = "3r 1w 1e 1p | 3r | 3r | 3r"
COSTS = {
    **dict.fromkeys(("unoccupied", "differs", "quarantined", "unmatched"), CHANGED),
    **dict.fromkeys(("ignore-unclear", "tie", "suspended", "occupied", "unexplained", "mapping-missing"), HELD),
    **dict.fromkeys(("observed", "control-unclear", "unswept", "paused"), HELD),
    **dict.fromkeys(("converged", "not-ours", "service-managed", "ignored"), QUIET),
    **dict.fromkeys(("ended", "stopped"), WAITS),
    "pin-unclear": "3r 2w 2e 1p | 3r | 3r | 3r",
    "contested": "3r 1w 1e 1p 1a | 3r 1a | 3r 1a | 3r 1a",
    "kept": "4r | 4r | 4r | 4r",
    "gone": "9r 1w | 9r | 9r | 9r",
    "changing": "3r 1w 1l | 3r | 3r | 3r",
    "associating": "3r 1w | 3r 1w | 3r 1w | 3r 1w",
    "disassociating": "9r 1w 1l | 9r | 9r | 9r",
    "propagating": "3r 2w 1c 1l s | 3r 2w 1c s | 3r 2w 1c 1e 1p 1a s | 3r 2w 1c s",
    "throttled": "3r 2w 1c s | 3r 2w 1c s | 3r 2w 1c s | 3r 2w 1c s",
    "window": "4r 2w 1a | 3r 1a | 3r 1a | 3r 1a",
    "denied": "3r 2w 1c 2e 1p 1m 1a s | 3r 2w 1c 1a s | 3r 2w 1c 1a s | 3r 2w 1c 1a s",
    "refused": "3r 2w 1c 1e 1p 1a s | 3r 2w 1c 1a s | 3r 2w 1c 1a s | 3r 2w 1c 1a s",
}
# The mapping that gave the role is read in a second read, where nothing else governs.
AND_OWNER = "4r 2w 1c 1e 1p | 3r | 3r | 3r"
SWAPPED = "6r 4w 2c 2e 1p | 3r | 3r | 3r"
PIN_AND_CHANGE = "3r 3w 1c 2e 1p | 3r | 3r | 3r"
COSTS_OTHERWISE = {
    "nothing, and no mapping": QUIET,
    "nothing, and a pin": PIN_AND_CHANGE,
    "nothing after a quarantine whose record and tag are missing": "4r 1w | 3r | 3r | 3r",
    "nothing, and its own tag until later": WAITS,
    "its role, given by a mapping whose record is missing": WAITS,
    "its role after a quarantine": WAITS,
    "its role, by a pin": PIN_REPORTED,
    "its role, by a pin that ends": PIN_REPORTED,
    "what EC2 still detaches, and no mapping": "12r 1w 1l | 12r | 12r | 12r",
    "what EC2 still detaches, and its own tag": "4r | 4r | 4r | 4r",
    "another role, to be swapped while it is stopped": SWAPPED,
    "another role, and a pin": PIN_AND_CHANGE,
    "another role of a mapping whose record is missing, and a pin": PIN_AND_CHANGE,
    "another role, and its own tag": "4r | 4r | 4r | 4r",
    "another role, a rival, and its own tag that can't be read": "4r 1w 1e 1p | 4r | 4r | 4r",
    "a foreign role, and a pin": "3r 2w 2e 1p | 3r | 3r | 3r",
    "a foreign role, a pin, and the stack's word": PIN_AND_CHANGE,
    "a foreign role, a pin to none, and the stack's word": PIN_AND_CHANGE,
    "a foreign role, a pin, its own tag, and a service": PIN_REPORTED,
    "a foreign role, and its own tag until later": WAITS,
    "a foreign role, to be swapped while it is stopped": SWAPPED,
    "a role whose mapping no longer matches": AND_OWNER,
    "a role whose row was deleted": AND_OWNER,
    "nothing, and EC2 doesn't know it": "9r | 9r | 9r | 9r",
    "a role whose mapping's record is missing": "4r 1w 1e 1p | 4r | 4r | 4r",
}
# IAM is asked whether a pin's role can be given.
OF_IAM = {"GetRole", "GetInstanceProfile", "list_attached_role_policies", "list_role_policies"}
KINDS = {
    **dict.fromkeys(("DescribeInstances", "DescribeIamInstanceProfileAssociations", "BatchGetItem"), "r"),
    **dict.fromkeys(WRITES, "w"),
    **dict.fromkeys(MUTATIONS, "c"),
    "StartExecution": "l",
    "PutEvents": "p",
    "Publish": "m",
    "SendMessageBatch": "s",
}


def _look(world: FakeAccount, instance: str, situation: Situation) -> tuple[str, str]:
    """Let Rolekeeper look once; returns how that ended, and what it cost."""
    world.quiet()
    world.metrics.counts.clear()
    situation.refuse(world, ATTACH)
    began = world.clock.seconds
    decided = world.reconcile(instance).decision
    assert decided
    # EC2 isn't waited for, however long it takes: only what it shows late, and half a swap, are looked at again.
    pause = sum(LOOKS) if decided.code in ("disassociating", "gone") else LOOKS[0] * (len(world.mutations) - 1)
    settled = SETTLES if world.mutations and not situation.answer else 0
    assert world.clock.seconds - began == pytest.approx(max(0, pause) + settled)
    cost = Counter(KINDS.get(each, each) for each in world.calls.made if each not in OF_IAM)
    cost |= Counter(e=len(world.events.sent), a=world.metrics.counts.total())
    found = [f"{cost[each]}{each}" for each in sorted(cost, key="rwclepma".find) if cost[each]]
    return decided.code, " ".join([*found, "s"] if world.needs_reconcile(instance) else found)


@pytest.mark.parametrize("story", ARRANGED)
def test_each_look_at_an_instance_costs(world: FakeAccount, story: str) -> None:
    situation = SITUATIONS[story]
    instance = situation.arrange(world)
    world.wait(1)
    looks: list[tuple[str, str]] = []
    for minutes in (0, 1, 15, 15):
        world.later(minutes=minutes)
        looks.append(_look(world, instance, situation))
    assert looks[0][0] == situation.code
    assert [cost for _, cost in looks] == COSTS_OTHERWISE.get(story, COSTS[situation.code]).split(" | ")


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


# As `COSTS`, by a row's status, without reads; s: messages to the work queue.
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
