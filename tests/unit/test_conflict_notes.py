"""Rows in conflict: whichever is edited, both are judged again at once."""

from functools import partial
from typing import Any

import pytest

from fixtures.account import KilledError, kill, mapping_key, refusing
from fixtures.mappings import Desk
from rolekeeper.aws.errors import RetryableError
from rolekeeper.mappings.impact import Scan
from rolekeeper.mappings.revisions import Revisions
from rolekeeper.mappings.verdict import Status
from rolekeeper.storage import layout

STAR, EXACT = "workload=*", "workload=web"

pytestmark = pytest.mark.desk(roles=["web", "api"], rows={STAR: "api"})


@pytest.fixture(autouse=True)
def refused(desk: Desk) -> None:
    """`workload=web` was refused, as it would tie with what is in effect."""
    assert desk.edit(EXACT, role="web").status is Status.CONFLICT
    desk.quiet()


def beside(desk: Desk, tag: str) -> set[str]:
    return {str(each) for each in desk.world.revisions.read(mapping_key(tag)).in_conflict}


def test_a_row_that_is_refused_is_noted_beside_its_rival(desk: Desk) -> None:
    assert beside(desk, STAR) == {EXACT}
    assert desk.recheck(EXACT).status is Status.CONFLICT
    assert desk.world.writes == [], "once"


@pytest.mark.parametrize("columns", [{"priority": 200}, {"role": "web"}, {"enabled": False}, None], ids=repr)
def test_mending_the_rival_serves_the_row_that_was_refused(desk: Desk, columns: dict[str, Any] | None) -> None:
    instance = desk.world.running(workload="web")
    if columns is None:
        desk.delete(STAR)
    else:
        desk.put(STAR, **{"role": "api", **columns})

    desk.publish(STAR)

    assert desk.shows(EXACT) == ("Published", "in effect", 1)
    assert instance in desk.sent_ids()
    assert beside(desk, STAR) == set()
    entry = desk.history(EXACT)[-1]
    assert entry["cause"] == "re-checked because workload=*, which it conflicted with, changed"
    assert (entry["claimed_by"], entry["correlation_id"]) == ("", "edit-1")


def test_what_a_sweep_counted_before_an_edit_brings_no_conflict_back(desk: Desk) -> None:
    counted = Scan()
    counted.conflicts.of(desk.in_effect(STAR)).add("i-1", new=False)
    desk.edit(EXACT, role="web", priority=7)
    assert desk.recheck(EXACT, counted).status is Status.PUBLISHED


def test_a_reason_alone_ends_no_conflict(desk: Desk) -> None:
    desk.world.running(profile="theirs", workload="db")
    verdict = desk.recheck(STAR)
    assert (verdict.changed, verdict.in_conflict) == (True, frozenset())


def test_what_is_noted_is_bounded(desk: Desk) -> None:
    for number in range(22):
        desk.edit(f"workload=w{number}", role="web")
    assert len(beside(desk, STAR)) == 20
    desk.edit(STAR, role="api", priority=200)
    freed = [number for number in range(22) if desk.shows(f"workload=w{number}")[0] == "Published"]
    assert len(freed) == 19
    assert desk.recheck("workload=w21").status is Status.PUBLISHED


def test_a_row_notes_itself_beside_few_rivals(desk: Desk) -> None:
    desk.remove(STAR)
    for number in range(7):
        desk.edit(f"workload=w{number}", role="web")
    desk.quiet()
    assert desk.edit(STAR, role="api").status is Status.CONFLICT
    assert desk.world.writes.count("UpdateItem") == 6, "and the row's status"


@pytest.mark.parametrize("call", ["DescribeInstances", "UpdateItem"])
def test_a_rival_that_is_published_anew_while_it_is_noted_leaves_no_conflict(desk: Desk, call: str) -> None:
    """Before the row's conflict is noted in the rival's item the rival is read, and its revision is a condition."""
    desk.edit(STAR, role="api", priority=200)
    assert desk.edit(EXACT, role="web", priority=7).status is Status.PUBLISHED
    desk.put(EXACT, role="web", priority=200)
    desk.world.calls.before(call, partial(desk.edit, STAR, role="api", priority=300))
    assert desk.publish(EXACT).status is Status.PUBLISHED
    assert (desk.shows(EXACT)[0], beside(desk, STAR)) == ("Published", set())


def test_a_note_written_while_the_rival_is_judged_is_seen(desk: Desk) -> None:
    desk.put(STAR, role="api", priority=200)
    desk.world.calls.before("TransactWriteItems", partial(desk.edit, "workload=db", role="web"))
    desk.publish(STAR)
    assert desk.shows("workload=db")[0] == "Published"


@pytest.mark.parametrize("operation", ["TransactWriteItems", "UpdateItem"])
def test_killed_before_it_looked_at_the_other_it_does_so_when_it_comes_again(desk: Desk, operation: str) -> None:
    desk.put(STAR, role="api", priority=200)
    desk.world.calls.after(operation, kill)
    with pytest.raises(KilledError):
        desk.publish(STAR)
    desk.publish(STAR)
    assert desk.shows(EXACT)[0] == "Published"
    assert beside(desk, STAR) == set()


def no_answer_about_the_next(desk: Desk) -> None:
    """AWS gives no answer about the role of the first row that is looked at once the star row was judged."""
    # The star row's own status is the first to be written.
    desk.world.calls.after("UpdateItem", partial(desk.world.calls.before, "GetRole", refusing("Throttling", "slow")))


def test_no_answer_about_one_freed_row_keeps_no_other_from_being_looked_at(desk: Desk) -> None:
    assert desk.edit("workload=aaa", role="web").status is Status.CONFLICT
    assert desk.edit("workload=zzz", role="web").status is Status.CONFLICT
    desk.put(STAR, role="api", priority=200)
    no_answer_about_the_next(desk)
    with pytest.raises(RetryableError):
        desk.publish(STAR)
    assert [desk.shows(tag)[0] for tag in ("workload=aaa", EXACT, "workload=zzz")] == ["Waiting", *["Published"] * 2]
    assert beside(desk, STAR) == {"workload=aaa"}


def test_what_is_wrong_with_the_other_is_left_to_the_sweep(desk: Desk) -> None:
    held = layout.held_key(mapping_key(EXACT))
    desk.world.garble(held)
    assert desk.edit(STAR, role="api", priority=200).status is Status.PUBLISHED
    assert desk.shows(EXACT)[0] == "Waiting"
    assert beside(desk, STAR) == {EXACT}
    (line,) = (each for each in desk.world.logged() if each["message"] == "a conflict was not checked again")
    assert (line["mapping"], line["correlation_id"]) == (EXACT, "edit-1")
    desk.world.store.write(desk.world.store.delete(held))
    assert desk.recheck(EXACT).status is Status.PUBLISHED


def test_a_note_that_cant_be_taken_back_does_no_harm(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RetryableError("Throttling", "slow", "dynamodb:UpdateItem")

    monkeypatch.setattr(Revisions, "remove_conflicts", refuse)
    assert desk.edit(STAR, role="api", priority=200).status is Status.PUBLISHED
    assert desk.shows(EXACT)[0] == "Published"
    assert beside(desk, STAR) == {EXACT}
    (line,) = (each for each in desk.world.logged() if each["message"] == "a conflict was not checked again")
    assert line["mapping"] == STAR
