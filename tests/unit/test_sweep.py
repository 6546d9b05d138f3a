"""The sweep: what events missed is found, what is as it should be is left alone."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import chain, repeat
from typing import Any

import pytest

from fixtures.account import HOME, RESUME_MACHINE, KilledError, kill, mapping_key, published_at, refusing
from fixtures.mappings import Desk
from rolekeeper.aws import one_by_one
from rolekeeper.aws.ec2 import RESTARTS
from rolekeeper.aws.errors import AccessDeniedError, StaleTokenError
from rolekeeper.aws.queue import Task, resumable
from rolekeeper.fleet import sweep as sweep_module
from rolekeeper.fleet.sweep import PAGE, PROBLEMS, Phase, Position, SweepResult
from rolekeeper.instances.decide import InstanceStatus
from rolekeeper.model.mapping import MappingKey
from rolekeeper.permissions.roles import ASKED_AT_ONCE
from rolekeeper.settings import Limits
from rolekeeper.storage import layout

pytestmark = pytest.mark.desk(usable=["web", "db"], rows={"app=web": "web"})


def sweep(desk: Desk, *seconds: float, event: Any = None) -> SweepResult:
    """One run of a sweep; of its time so much is left each time that it asks, and at last for good."""
    left = chain(seconds or (840,), repeat(seconds[-1] if seconds else 840))
    app = desk.app()
    try:
        return app.sweep("sweep-1", lambda: next(left), "run-1", event or {}).run()
    finally:
        app.telemetry.flush()


def next_run(desk: Desk, event: Any, *seconds: float) -> tuple[SweepResult, Any]:
    """A run as the machine makes it; with the event of the next one."""
    swept = sweep(desk, *seconds, event=json.loads(json.dumps(event)))
    return swept, resumable(Task.SWEEP, "sweep-1", swept)


def begun(desk: Desk, *seconds: float) -> Any:
    """A sweep's first run, which has no time for all of it: the event of the next run."""
    assert not sweep(desk, *(seconds or (0,))).finished
    return desk.world.machine.started[-1]["input"]


def sweep_to_the_end(desk: Desk, *seconds: float) -> SweepResult:
    """A sweep, each run of which has so much time: with none left it is a page of the fleet, or a row."""
    swept = sweep(desk, *seconds)
    event = None if swept.finished else desk.world.machine.started[-1]["input"]
    for _ in range(100):
        if swept.finished:
            return swept
        swept, event = next_run(desk, event, *seconds)
    raise AssertionError(swept)


def running(desk: Desk, count: int = 1, **tags: str) -> list[str]:
    """Instances that run, and of which nobody has told yet."""
    made = [desk.world.running(**tags) for _ in range(count)]
    desk.quiet()
    return made


def test_an_instance_whose_tag_event_was_lost_is_sent(desk: Desk) -> None:
    lost = desk.world.running(app="web")
    desk.quiet()
    swept = sweep(desk)
    assert (swept.instances, swept.sent, swept.finished) == (1, 1, True)
    assert "StartExecution" not in desk.world.calls.counted()
    (message,) = desk.sent()
    assert message["detail"] == {"instance-id": lost, "cause": "sweep", "correlation-id": "sweep-1"}


@pytest.fixture
def limit(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> int:
    """As many changes as may wait, and messages of other targets that are one more."""
    assert sweep_module.BACKLOG == 15 * 60, "a quarter of an hour's changes (docs/guarantees.md, 4)"
    monkeypatch.setattr(sweep_module, "BACKLOG", 1)
    desk.world.changes_per_second = made = 5
    desk.quiet()
    for number in range(made + 1):
        desk.sqs.send_message(QueueUrl=desk.queue_url, MessageBody=str(number))
    return made


def counted(swept: SweepResult) -> tuple[int, int]:
    return swept.sent, swept.withheld


def test_a_sweep_sends_into_a_crowded_queue_until_as_much_of_its_own_waits_and_goes_on_once_that_is_done(
    desk: Desk, limit: int
) -> None:
    lost = [desk.world.running(app="web") for _ in range(limit + 2)]
    assert counted(sweep(desk)) == (limit, 2), "what waits is of others"
    assert counted(sweep(desk)) == (0, limit + 2), "nothing of it was reconciled"
    desk.world.reconcile(*lost[:3])
    assert counted(sweep(desk)) == (3, limit + 2 - 3 - 3)


@pytest.mark.usefixtures("limit")
def test_a_sweep_sends_nothing_into_a_crowded_queue_while_as_many_changes_wait_in_the_line_of_its_target(
    desk: Desk,
) -> None:
    """As after a burst of events, or an edit: the sweep didn't send them."""
    desk.world.running(app="web")
    desk.app().reconciler().pace.lengthen_line(timedelta(seconds=2), desk.world.clock.now())
    assert counted(sweep(desk)) == (0, 1)
    desk.world.wait(2)
    assert counted(sweep(desk)) == (1, 0)


def test_a_sweep_sends_all_into_a_queue_that_isnt_crowded_whatever_was_sent_before(desk: Desk, limit: int) -> None:
    """Of an instance that stays different after its reconcile nothing tells whether its message still waits."""
    desk.world.running(app="web")
    desk.world.state.note_sent(HOME, limit, ["i-0123456789abcdef0"], at=desk.world.clock.now())
    desk.sqs.purge_queue(QueueUrl=desk.queue_url)
    assert counted(sweep(desk)) == (1, 0)


def test_what_a_sweep_sends_itself_doesnt_keep_its_later_runs_from_sending(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_module, "BACKLOG", 0)
    instances = running(desk, 5, app="web")
    assert sweep_to_the_end(desk, 0).sent == 5
    assert desk.world.calls.counted()["GetQueueAttributes"] == 1, "the queue is looked at once"
    assert desk.sent_ids() == instances


def test_a_converged_fleet_sends_nothing_and_writes_only_how_it_stands(desk: Desk) -> None:
    for _ in range(3):
        desk.world.converged(app="web")
    desk.world.running(Name="of nobody's concern")
    sweep(desk)  # writes how many instances the mapping governs
    desk.quiet()
    swept = sweep(desk)
    assert (swept.instances, swept.sent, swept.mappings_changed) == (4, 0, 0)
    assert "GetQueueAttributes" not in desk.world.calls.counted()
    assert desk.sent() == []
    assert desk.world.writes == ["UpdateItem"] * 2, "its target's and the hour's, however many instances there are"
    assert desk.world.events.sent == []


def test_instances_that_have_ended_are_counted_nowhere(desk: Desk) -> None:
    """EC2 shows them for about an hour."""
    _, _, ends, gone = (desk.world.converged(app="web") for _ in range(4))
    desk.world.truth.terminate(gone)
    desk.world.wait(60)
    desk.world.truth.terminate(ends)
    assert [desk.world.observed(ends).instance.state] == ["shutting-down"]  # type: ignore[union-attr]  # EC2 knows it
    assert sweep(desk).instances == 2
    assert (desk.row("app=web")["matched"], fleet(desk)["instances"]) == (2, 2)


def test_an_edit_whose_stream_record_was_lost_is_published(desk: Desk) -> None:
    desk.put("app=web", role="db")
    assert sweep(desk).mappings_changed == 1
    assert desk.in_effect("app=web").spec.role == "db"


@pytest.mark.parametrize("seconds", [840, 0], ids=["in one run", "in several"])
@pytest.mark.parametrize("instances", [1, 0])
def test_a_deletion_whose_stream_record_was_lost_is_honoured_if_the_table_holds_other_rows(
    desk: Desk, instances: int, seconds: float
) -> None:
    """Also of one that governs nothing: it would give its role to what is launched later."""
    desk.edit("app=db", role="db")
    for _ in range(instances):
        desk.world.converged(app="web")
    desk.delete("app=web")
    sweep_to_the_end(desk, seconds)
    assert desk.in_effect("app=web").deleted
    assert list(desk.world.revisions.keys()) == [mapping_key("app=db")]


def test_a_row_that_is_lost_while_it_is_swept_changes_nothing(desk: Desk) -> None:
    desk.edit("app=db", role="db")
    instance = desk.world.converged(app="web")
    desk.world.calls.after("Scan", lambda: desk.delete("app=web"))
    sweep(desk)
    assert (desk.in_effect("app=web").deleted, desk.world.carries(instance)) == (False, "web")


@pytest.mark.parametrize("seconds", [840, 0], ids=["in one run", "in several"])
def test_a_mapping_table_that_reads_empty_changes_nothing(desk: Desk, seconds: float) -> None:
    instances = [desk.world.converged(app="web") for _ in range(5)]
    desk.delete("app=web")
    assert "reads empty" in sweep_to_the_end(desk, seconds).problems[0]
    assert desk.world.metrics.counts["MappingTableEmpty"] == 1
    assert not desk.in_effect("app=web").deleted
    desk.world.reconcile(*instances)
    assert {desk.world.carries(each) for each in instances} == {"web"}


@pytest.mark.parametrize("damaged", ["an instance's record", "a mapping's record"])
def test_what_is_damaged_keeps_nothing_else_from_being_found(desk: Desk, damaged: str) -> None:
    assert desk.edit("app=db", role="db").status == "Published"
    touched = desk.world.converged(app="web")
    lost = [desk.world.running(app="db") for _ in range(2)]
    of_instance, of_mapping = layout.record_key(desk.world.key(touched)), published_at("app=web")
    bad = of_instance if damaged == "an instance's record" else of_mapping
    desk.world.garble(bad)
    desk.quiet()
    swept = sweep(desk)
    assert desk.sent_ids() == lost
    assert (swept.instances, swept.mappings, swept.finished) == (3, 2, True)
    assert any(each.startswith("Damaged") and bad[0] in each for each in swept.problems)


@pytest.mark.parametrize("operation", ["DescribeInstances", "SendMessageBatch", "Scan"])
def test_a_sweep_that_isnt_allowed_to_go_on_says_what_it_may_not_do(desk: Desk, operation: str) -> None:
    running(desk, app="web")
    desk.world.calls.before(operation, refusing("AccessDenied", "no"))
    with pytest.raises(AccessDeniedError):
        sweep(desk)
    (told,) = desk.world.events.named("Permission Missing")
    assert told["action"].partition(":")[2] in operation
    assert told["resource"]
    assert desk.world.metrics.counts["PermissionDenied"] == 1


def fleet(desk: Desk) -> layout.Item:
    key = layout.target_key(desk.world.target)
    return desk.world.store.get([key]).get(key, {})


# ---- the marker, without which every change is held ----


def test_a_sweep_counts_how_many_mappings_are_published(desk: Desk) -> None:
    for tag in ("app=gone", "app=lost", "app=spoilt"):
        desk.edit(tag, role="web")
    desk.delete("app=gone")
    desk.publish("app=gone")
    desk.world.running(app="lost")
    desk.delete("app=lost")
    desk.edit("app=spoilt", role="wbe")
    desk.edit("app=never", role="wbe")
    swept = sweep(desk)
    # Three rows, and the one whose deletion nobody told of; app=web, and what app=spoilt said before.
    assert (swept.mappings, swept.published) == (4, 2)


def no_answer_about_a_deleted_row(desk: Desk) -> None:
    """Whose deletion nobody told of: EC2 is asked once for the fleet, and then about it."""
    desk.edit("app=lost", role="web")
    desk.world.running(app="lost")
    desk.delete("app=lost")
    refuse = partial(desk.world.calls.before, "DescribeInstances", refusing("RequestLimitExceeded", "slow down"))
    desk.world.calls.before("DescribeInstances", refuse)


def lose_the_table(desk: Desk) -> None:
    desk.world.running(app="web")
    desk.delete("app=web")


HARMS: dict[str, Callable[[Desk], object]] = {
    "no answer": lambda desk: desk.world.calls.before("GetRole", refusing("Throttling", "Rate exceeded")),
    "no permission": lambda desk: desk.world.calls.before("GetRole", refusing("AccessDenied", "no")),
    "no answer about a deleted row": no_answer_about_a_deleted_row,
    "a damaged mapping": lambda desk: desk.world.garble(published_at("app=web")),
    "a lost table": lose_the_table,
}


@pytest.mark.parametrize("seconds", [840, 0])
@pytest.mark.parametrize("harm", HARMS)
def test_a_sweep_that_didnt_judge_every_row_leaves_no_marker(desk: Desk, harm: str, seconds: float) -> None:
    desk.edit("app=db", role="db")
    desk.delete("app=db")
    desk.world.never_swept()
    desk.world.running()
    HARMS[harm](desk)
    sweep_to_the_end(desk, seconds)
    assert not desk.world.state.read().control.swept
    (instance,) = running(desk, app="web")
    desk.world.reconcile(instance)
    assert desk.world.carries(instance) == ""


def fifty_rows(desk: Desk) -> None:
    """With those that the desk has, of two roles; a sweep has judged them all."""
    for number in range(48):
        desk.edit(f"app=a{number}", role="web" if number % 2 else "db")
    sweep(desk)


def test_a_sweep_of_rows_at_rest_makes_as_many_calls_for_fifty_as_for_two(desk: Desk) -> None:
    """After an edit those of the row that was edited come to them."""

    def calls() -> Counter[str]:
        desk.world.wait(15 * 60)
        desk.world.calls.clear()
        swept = sweep(desk)
        assert swept.published == swept.mappings
        return Counter(desk.world.calls.made)

    desk.world.large_pages()
    desk.edit("app=db", role="db")
    sweep(desk)
    of_two = calls()
    fifty_rows(desk)
    assert calls() - of_two == Counter(BatchGetItem=1), "more than a hundred keys: what is held is asked for too"
    desk.set("app=a7", role="db")
    assert calls()["GetItem"] == 1
    assert desk.shows("app=a7") == ("Published", "in effect", 2)
    assert calls() - of_two == Counter(BatchGetItem=1)


def test_a_role_is_asked_about_once_in_a_sweep_whatever_iam_answers(desk: Desk) -> None:
    fifty_rows(desk)
    desk.world.calls.clear()
    sweep(desk)
    assert desk.world.calls["GetRole"] == 2
    desk.world.calls.before("GetRole", refusing("AccessDenied", "no"))
    desk.world.calls.clear()
    sweep(desk)
    assert desk.world.calls["GetRole"] == 3, "the refusal is the answer for one row"


def test_a_few_roles_are_asked_about_at_once(desk: Desk) -> None:
    """IAM throttles."""
    shares: list[list[str]] = []
    desk.world.large_pages()

    def each[Item, Result](work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        shares.extend([spec.role for spec in share] for share in items if isinstance(share, list))
        return one_by_one(work, items)

    roles = [f"role{number}" for number in range(6)]
    for role in roles:
        desk.role(role)
        desk.edit(f"team={role}", role=role)
    desk.edit("team=again", role="role5")
    sweep(desk)
    assert replace(desk.app(), map_concurrently=each).sweep("sweep-1", lambda: 840, "run-1", {}).run().published == 8
    assert len(shares) == ASKED_AT_ONCE == 4
    assert sorted(chain.from_iterable(map(set, shares))) == [*roles, "web"]


def conflicts(desk: Desk) -> None:
    """Another row is published for the same instance, by a process that saw no conflict."""
    desk.put("team=ops", role="web")
    desk.world.publish("team=ops", "web")
    desk.world.running(app="a8", team="ops")


def recreate_the_profile(desk: Desk) -> None:
    desk.delete_role("db")
    desk.role("db")


# What changes, and what the row shows then.
CHANGES: dict[str, tuple[Callable[[Desk], object], str]] = {
    "its role goes": (lambda desk: desk.delete_role("db"), "role 'db' doesn't exist"),
    "its role becomes broad": (lambda desk: desk.grant("db", "*"), "role 'db' is broad"),
    "its profile is recreated": (recreate_the_profile, "in effect"),
    "an instance starts": (lambda desk: desk.world.running(app="a8"), "in effect"),
    "it expires": (lambda desk: desk.world.wait(2 * 60 * 60), "it expired"),
    "another row conflicts": (conflicts, "conflicts with"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_changed_of_a_row_at_rest_is_found_by_the_next_sweep(desk: Desk, what: str) -> None:
    change, shown = CHANGES[what]
    ends = desk.world.clock.now() + timedelta(hours=1)
    desk.edit("app=a8", role="db", expires_at=f"{ends:%Y-%m-%dT%H:%M:%SZ}")
    sweep(desk)
    former = desk.in_effect("app=a8")
    change(desk)
    sweep(desk)
    row = desk.row("app=a8")
    assert shown in row["status_reason"]
    assert row["matched"] == (what == "an instance starts")
    recreated = desk.in_effect("app=a8").profile_id != former.profile_id
    assert recreated == (what == "its profile is recreated")


def held(desk: Desk) -> None:
    desk.world.converged(app="web")
    desk.limits = Limits(0, 0)
    desk.put("app=web", role="db")


TROUBLES: dict[str, Callable[[Desk], object]] = {
    "it is rejected": lambda desk: desk.put("app=web", role="wbe"),
    "it is held": held,
    "a record is damaged": lambda desk: desk.world.garble(
        layout.record_key(desk.world.key(desk.world.running(app="web")))
    ),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_row_that_people_have_to_look_at_is_judged_all_the_same(desk: Desk, trouble: str) -> None:
    TROUBLES[trouble](desk)
    desk.world.never_swept()
    sweep(desk)
    assert desk.world.state.read().control.swept


def test_a_sweep_makes_the_profile_of_a_row_at_rest_that_was_deleted(desk: Desk) -> None:
    sweep(desk)
    desk.iam.remove_role_from_instance_profile(InstanceProfileName="web", RoleName="web")
    desk.iam.delete_instance_profile(InstanceProfileName="web")
    sweep(desk)
    made = desk.iam.get_instance_profile(InstanceProfileName="web")["InstanceProfile"]
    assert [each["RoleName"] for each in made["Roles"]] == ["web"]


def test_a_sweep_reports_that_a_row_at_rest_soon_takes_too_many_roles(desk: Desk) -> None:
    ends = desk.world.clock.now() + timedelta(hours=30)
    desk.edit("app=db", role="db", expires_at=ends.isoformat())
    desk.world.converged(app="db")
    sweep(desk)
    desk.limits = Limits(0, 0)
    desk.world.wait(7 * 60 * 60)
    desk.quiet()
    sweep(desk)
    assert desk.history("app=db")[-1]["event"] == "Mapping Expiring"


def test_a_sweep_sends_the_instances_of_a_row_at_rest_that_a_crash_left_unsent(desk: Desk) -> None:
    """They carry a deleted profile of the same name, which the sweep before noted."""
    desk.world.converged(app="web")
    sweep(desk)
    desk.delete_role("web")
    desk.role("web")
    desk.quiet()
    desk.world.calls.after("TransactWriteItems", kill)
    with pytest.raises(KilledError):
        sweep(desk)
    desk.quiet()
    sweep(desk)
    assert "mapping changed: app=web" in [each["detail"]["cause"] for each in desk.sent()]
    desk.quiet()
    sweep(desk)
    assert "GetItem" not in desk.world.calls.counted()


def test_a_page_reads_whole_batches_though_each_instance_has_a_tag_of_its_own(desk: Desk) -> None:
    desk.world.large_pages()
    reads: list[int] = []
    for pages in (1, 2):
        for number in range(PAGE):
            desk.world.running(app="web", Name=f"web-{pages}-{number}")
        desk.quiet()
        assert sweep(desk).instances == pages * PAGE
        reads.append(desk.world.calls["BatchGetItem"])
    assert reads[1] - reads[0] == 6


# ---- more than one run has time for ----


def test_a_sweep_whose_time_is_up_goes_on_behind_its_last_page_and_reaches_the_last_instance(desk: Desk) -> None:
    instances = running(desk, 9, app="web")
    swept = sweep_to_the_end(desk, 0)
    assert (swept.instances, swept.sent, swept.mappings, swept.published) == (9, 9, 1, 1)
    assert desk.sent_ids() == instances, "each once"
    (started,) = desk.world.machine.started
    assert started["stateMachineArn"] == RESUME_MACHINE
    assert desk.world.metrics.counts["InstancesSwept"] == 9, "counted at the sweep's end"
    assert fleet(desk)["instances"] == 9


def test_a_run_that_the_machine_makes_twice_does_no_harm(desk: Desk) -> None:
    running(desk, 6, app="web")
    event = begun(desk)
    once, following = next_run(desk, event, 0)
    twice, same = next_run(desk, event, 0)
    assert (once, following) == (twice, same)
    while not following["finished"]:
        _, following = next_run(desk, following, 0)
        next_run(desk, following, 0)
    assert (following["instances"], following["mappings"], fleet(desk)["instances"]) == (6, 1, 6)
    assert desk.row("app=web")["matched"] == 6


def test_the_first_sweep_on_a_table_sends_what_was_held_though_it_takes_several_runs(desk: Desk) -> None:
    desk.world.never_swept()
    instances = [desk.world.running(app="web") for _ in range(5)]
    desk.world.reconcile(*instances)
    assert {desk.world.shows(each) for each in instances} == {"unswept"}
    desk.quiet()
    swept = sweep_to_the_end(desk, 0)
    assert (swept.instances, swept.rest.phase) == (5, Phase.HELD)
    assert desk.sent_ids() == instances
    assert desk.world.state.read().control.swept
    assert layout.GOES_ON_UNTIL not in fleet(desk)


# ---- two sweeps at once ----


def test_the_schedule_leaves_a_sweep_alone_that_goes_on_until_it_seems_to_have_died(desk: Desk) -> None:
    running(desk, 5, app="web")
    _, event = next_run(desk, begun(desk), 0)
    desk.quiet()
    second = sweep(desk)
    assert (second.finished, second.instances) == (False, 0)
    assert "another sweep is running" in second.problems[0]
    assert desk.world.calls.counted() == {"BatchGetItem": 1}
    assert desk.world.metrics.counts["SweepUnfinished"] == 1
    desk.world.later(minutes=45, seconds=-1)
    assert not sweep(desk).finished
    desk.world.later(seconds=2)
    assert sweep(desk).instances == 5
    swept, _ = next_run(desk, event, 840)
    assert swept.instances == 5, "it hadn't"


def test_a_sweep_that_a_person_asks_for_comes_at_once_and_one_that_ended_keeps_no_other_from_coming(desk: Desk) -> None:
    """What was withheld is due, also on the instances that the other sweep saw before."""
    running(desk, 5, app="web")
    _, event = next_run(desk, begun(desk), 0)
    assert sweep(desk, event={"task": "sweep"}).instances == 5
    next_run(desk, event, 840)
    assert sweep(desk).instances == 5


def test_a_rest_that_was_handed_over_before_its_run_died_is_not_handed_over_again(desk: Desk) -> None:
    desk.world.running()
    for _ in range(2):
        assert not sweep(desk, 0).finished
    first, second = desk.world.machine.started
    assert first["name"] == second["name"]
    # So Step Functions refuses the second one (API reference, `StartExecution`).
    desk.world.calls.before("StartExecution", refusing("ExecutionAlreadyExists", "Execution Already Exists"))
    assert not sweep(desk, 0).finished


# ---- what EC2 makes of a token ----


def test_a_fleet_whose_token_ec2_takes_no_longer_is_read_anew(desk: Desk) -> None:
    instances = [desk.world.running(app="web") for _ in range(5)]
    event = begun(desk)
    desk.world.calls.before("DescribeInstances", refusing("InvalidNextToken"))
    swept, event = next_run(desk, event, 0)
    assert (swept.finished, swept.instances, swept.rest.token) == (False, 0, "")
    assert any("read anew" in each["message"] for each in desk.world.logged())
    desk.sent()
    swept, _ = next_run(desk, event, 840)
    assert (swept.instances, fleet(desk)["instances"]) == (5, 5)
    assert desk.sent_ids() == instances


def test_a_sweep_whose_tokens_never_last_ends_as_a_failure(desk: Desk) -> None:
    for _ in range(5):
        desk.world.running()
    event = begun(desk)
    for _ in range(RESTARTS):
        desk.world.calls.before("DescribeInstances", refusing("InvalidNextToken"))
        swept, event = next_run(desk, event, 0)
        assert not swept.finished
        _, event = next_run(desk, event, 0)
    desk.world.calls.before("DescribeInstances", refusing("InvalidNextToken"))
    with pytest.raises(StaleTokenError):
        next_run(desk, event, 0)


# ---- what is handed on ----


def test_what_is_handed_on_fits_into_an_execution_whatever_it_names() -> None:
    """AWS_FACTS.md, "Lambda, SQS, ...": 256 KB."""
    longest = MappingKey("\N{GRINNING FACE}" * 128, "\N{GRINNING FACE}" * 256)
    rest = Position(Phase.ROWS, "x" * 4_000, longest, restarts=RESTARTS)
    swept = SweepResult(
        10**9, 10**9, 10**9, 10**9, 10**9, finished=False, problems=["\N{GRINNING FACE}" * 500] * PROBLEMS, rest=rest
    )
    swept.stands = dict.fromkeys(map(str, InstanceStatus), 10**9)
    assert len(json.dumps(resumable(Task.SWEEP, "x" * 100, swept), ensure_ascii=False).encode()) < 256_000
    assert layout.decode(SweepResult, json.loads(json.dumps(resumable(Task.SWEEP, "id", swept)))) == swept
