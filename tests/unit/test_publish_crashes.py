"""Killing the function anywhere while a row is judged, and everybody acting at once: the end is the same.

Every scenario is played once for each call to AWS before which something can happen to it.
Nothing that is too much is ever served without approval, and no approval is lost.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest

from fixtures.account import KilledError, kill
from fixtures.mappings import Desk
from rolekeeper.aws.errors import RetryableError
from rolekeeper.mappings.verdict import Status
from rolekeeper.settings import Limits

# Each call has two steps, before it and after it. What can be done after one can be done before the next.
STEPS = range(1, 200, 2)
# The calls before which it matters what others do: what is kept, the row, the checks, and each kind of write.
MOMENTS = (
    "BatchGetItem",
    "GetItem",
    "GetRole",
    "DescribeInstances",
    "TransactWriteItems",
    "UpdateItem",
    "PutItem",
    "DeleteItem",
)
FREELY = Limits(1_000, 0)

type Act = Callable[[Desk, str], object]


@dataclass(frozen=True)
class Scenario:
    """What people did before, what they do now, and how it ends: what the row shows, and what is served."""

    before: Act
    act: Act
    row: dict[str, Any] | None
    served: tuple[str, int]
    sends: bool = True
    approved: frozenset[int] = frozenset()
    # What judges it: the row's stream record, or an approval's.
    judge: Act = Desk.publish


pytestmark = pytest.mark.desk(usable=["web", "api"])


def nothing(_desk: Desk, _tag: str) -> None:
    """Only what `begin` does."""


def lift_the_limit(desk: Desk, _tag: str) -> None:
    desk.limits = FREELY


hold_deletion: Act = Desk.remove
hold: Act = partial(Desk.edit, role="api")
to_api: Act = partial(Desk.put, role="api", edited_by="ada")
to_none: Act = partial(Desk.put, role="NONE")
take_back: Act = partial(Desk.put, role="web")
spoil: Act = partial(Desk.put, role="wbe")
approve: Act = partial(Desk.sign, revision=2)
approve_wrongly: Act = partial(Desk.sign, revision=7)
unsay: Act = partial(Desk.unset, name="status")
delete: Act = Desk.delete


def approve_beforehand(desk: Desk, tag: str) -> None:
    desk.approve(tag, 2)
    to_api(desk, tag)


def row(status: str, revision: int, held: int | None = None) -> dict[str, Any]:
    """What a row shows of itself in the end."""
    shown = {"status": status, "status_revision": revision, "held_revision": held}
    return {name: value for name, value in shown.items() if value is not None}


SCENARIOS = {
    "serve": Scenario(lift_the_limit, to_api, row("Published", 2), ("api", 2)),
    "hold": Scenario(nothing, to_api, row("Held", 1, 2), ("web", 1), sends=False),
    "approve": Scenario(hold, approve, row("Published", 2), ("api", 2), approved=frozenset({2}), judge=Desk.hears),
    "approve wrongly": Scenario(hold, approve_wrongly, row("Held", 1, 2), ("web", 1), sends=False, judge=Desk.hears),
    "approve beforehand": Scenario(nothing, approve_beforehand, row("Held", 1, 2), ("web", 1), sends=False),
    "take back": Scenario(hold, take_back, row("Published", 1), ("web", 1)),
    "spoil": Scenario(hold, spoil, row("Rejected", 1), ("web", 1), sends=False),
    "delete": Scenario(lift_the_limit, delete, None, ("", 2)),
    "hold a deletion": Scenario(nothing, delete, row("Held", 1, 2), ("web", 1), sends=False),
    "approve a deletion": Scenario(hold_deletion, approve, None, ("", 2), approved=frozenset({2}), judge=Desk.hears),
    "take a deletion back": Scenario(hold_deletion, take_back, row("Published", 1), ("web", 1)),
    "take a deletion back in words": Scenario(hold_deletion, unsay, row("Published", 1), ("web", 1)),
}
every_scenario = pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)


def begin(desk: Desk, scenario: Scenario, number: int) -> tuple[str, str]:
    """A row of its own with one converged instance; no change passes without approval. Returns the tag and it."""
    tag = f"workload=web-{number}"
    desk.limits = FREELY
    desk.edit(tag, role="web")
    instance = desk.converged("web", workload=f"web-{number}")
    desk.limits = Limits(0, 0)
    scenario.before(desk, tag)
    desk.quiet()
    scenario.act(desk, tag)
    return tag, instance


def judged(desk: Desk, tag: str, judge: Act = Desk.publish) -> None:
    """Judge a row in a process that may be killed, or that finds the row changing all the time."""
    with suppress(KilledError, RetryableError):
        judge(desk, tag)


def is_noted(desk: Desk, tag: str) -> bool:
    """Whether a run noted who signed: until then its invocation is tried again, from then on the sweep goes on."""
    held = desk.held(tag)
    return bool(held and held.signers)


def shows(desk: Desk, tag: str) -> dict[str, Any]:
    names = ("status", "status_revision", "held_revision")
    return {name: value for name, value in desk.row(tag).items() if name in names}


def has_ended_well(desk: Desk, scenario: Scenario, tag: str, instance: str) -> None:
    """The row and what is served are as they should be, its instances were sent, and nothing more is to be done."""
    assert shows(desk, tag) == (scenario.row or {})
    assert desk.gives(tag) == scenario.served
    if scenario.row:
        assert desk.row(tag)["matched"] == (0 if scenario.served[0] == "" else 1)
        assert "edited_by" not in desk.row(tag)
    if scenario.sends:
        assert instance in desk.sent_ids()
    desk.quiet()
    assert not desk.recheck(tag).changed
    assert desk.world.writes == []
    assert desk.sent() == []


@every_scenario
@pytest.mark.parametrize("found_by", ["the stream", "the sweep"])
def test_killed_anywhere_and_looked_at_again_it_ends_the_same(desk: Desk, scenario: Scenario, found_by: str) -> None:
    for step in STEPS:
        tag, instance = begin(desk, scenario, step)
        desk.world.calls.at_step(step, kill)
        judged(desk, tag, scenario.judge)
        if not desk.world.calls.reached():
            assert step > 4
            return
        if found_by == "the stream" or (scenario.judge is Desk.hears and not is_noted(desk, tag)):
            scenario.judge(desk, tag)
            has_ended_well(desk, scenario, tag, instance)
        else:
            desk.recheck(tag)
            # What a tombstone's publication left unsent, the sweep's other half finds instance by instance.
            has_ended_well(desk, replace(scenario, sends=scenario.sends and bool(scenario.row)), tag, instance)
    raise AssertionError("it never ends")


@every_scenario
def test_a_sweep_at_the_same_moment_changes_nothing_of_how_it_ends(desk: Desk, scenario: Scenario) -> None:
    for number, operation in enumerate(MOMENTS):
        tag, instance = begin(desk, scenario, number)
        desk.world.calls.before(operation, partial(desk.recheck, tag))
        judged(desk, tag, scenario.judge)
        desk.world.calls.forget()
        # Our own write of the row, or our deleting it, comes through the stream as well.
        desk.publish(tag)
        has_ended_well(desk, scenario, tag, instance)


@pytest.mark.parametrize("name", ["serve", "hold", "approve", "hold a deletion", "approve a deletion"])
@pytest.mark.parametrize("edit", [to_none, approve, take_back, delete], ids=["NONE", "approve", "take back", "delete"])
def test_an_edit_at_any_moment_is_what_is_served_or_held_in_the_end(desk: Desk, name: str, edit: Act) -> None:
    for number, operation in enumerate(MOMENTS):
        tag, _ = begin(desk, SCENARIOS[name], number)
        edited: list[dict[str, Any]] = []

        def act(tag: str = tag, edited: list[dict[str, Any]] = edited) -> None:
            if desk.row(tag) or edit is not approve:
                edit(desk, tag)
            edited.append(desk.row(tag))

        desk.world.calls.before(operation, act)
        judged(desk, tag, SCENARIOS[name].judge)
        desk.world.calls.forget()
        # The stream brings the edit, and the row that we put or deleted.
        (desk.hears if edit is approve else desk.publish)(tag)
        verdict = desk.publish(tag)

        assert verdict.status in {Status.PUBLISHED, Status.HELD, Status.REMOVED}
        row, (role, _) = desk.row(tag), desk.gives(tag)
        assert ("held_revision" in row) == (verdict.status is Status.HELD)
        assert role == ("" if not row else row["role"]) or verdict.status is Status.HELD
        if edited and edited[0]:
            assert row.get("role", edited[0]["role"]) == edited[0]["role"], "nobody's edit is lost"
        nothing_slipped_through(desk, tag, approved=approve in {edit, SCENARIOS[name].act})
        desk.quiet()
        assert not desk.recheck(tag).changed
        assert desk.world.writes == []


def discard(desk: Desk, tag: str) -> None:
    if desk.row(tag):
        take_back(desk, tag)


@pytest.mark.parametrize("held", [hold, hold_deletion], ids=["an edit", "a deletion"])
@pytest.mark.parametrize("acts", [(approve, discard), (discard, approve)], ids=["approve first", "discard first"])
def test_an_approval_and_a_discard_at_any_moment_end_in_one_of_the_two_and_in_nothing_else(
    desk: Desk, held: Act, acts: tuple[Act, Act]
) -> None:
    """The second comes at any moment of the judge of the first, and a judge of its own with it.

    A discard that comes too late is another edit, which waits by itself.
    """
    first, second = acts
    judges = [Desk.hears if act is approve else Desk.publish for act in acts]
    for number, operation in enumerate(MOMENTS):
        tag, _ = begin(desk, Scenario(held, first, {}, ("web", 1)), number)

        def act(tag: str = tag) -> None:
            if desk.row(tag):
                second(desk, tag)
            judged(desk, tag, judges[1])

        desk.world.calls.before(operation, act)
        judged(desk, tag, judges[0])
        desk.world.calls.forget()
        for judge in (*judges, Desk.publish):
            judge(desk, tag)
        approved = "" if held is hold_deletion else "api"
        late = [("web", 3)] if first is approve else []
        assert desk.gives(tag) in {("web", 1), (approved, 2), *late}, operation
        assert len(desk.revisions(tag)) == desk.gives(tag)[1]
        assert desk.row(tag).get("role", "") == desk.gives(tag)[0]
        desk.quiet()
        assert not desk.recheck(tag).changed


def nothing_slipped_through(desk: Desk, tag: str, *, approved: bool) -> None:
    """Whatever changed an instance was served under the number that somebody approved, unless all may be."""
    for each in desk.revisions(tag)[1:]:
        effect = each["effect"]
        if desk.limits != FREELY and any(effect[name] for name in ("attach", "replace", "detach")):
            assert approved
            assert (each["cause"], each["revision"]) == ("approved", 2)


@pytest.mark.parametrize(
    ("then", "status"), [({"role": "nobody"}, Status.REJECTED), ({"role": "api"}, Status.HELD)], ids=["bad", "held"]
)
def test_the_instances_of_an_edit_that_was_cut_short_are_sent_though_another_edit_came_after(
    desk: Desk, then: dict[str, str], status: Status
) -> None:
    instances = [desk.world.running(team="x") for _ in range(3)]
    desk.limits = FREELY
    desk.put("team=x", role="web")
    desk.world.calls.after("TransactWriteItems", kill)
    with suppress(KilledError):
        desk.publish("team=x")
    assert desk.sent_ids() == []
    desk.limits = Limits(1, 0)
    desk.edit("team=x", **then)
    assert desk.row("team=x")["status"] == status
    assert sorted(desk.sent_ids()) == sorted(instances)
    desk.edit("team=x", role="somebody")
    assert desk.row("team=x")["status"] == Status.REJECTED
    assert desk.sent_ids() == []
