"""The sweeps of a hub's targets: by a run for each account, none waits for another, and what is missed is noticed."""

import json
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

import on_schedule
from fixtures.account import HOME, KilledError, kill, mapping_key, refusing
from fixtures.functions import lambda_context
from fixtures.organization import OTHER, SAME_ACCOUNT, SPOKE, VERSION, Organization
from rolekeeper.aws.errors import AwsRefusalError, RetryableError
from rolekeeper.aws.queue import Task, resumable
from rolekeeper.fleet.sweep import BACKLOG, GOES_ON
from rolekeeper.fleet.targets import WIRE_FORMAT, ServedTarget
from rolekeeper.mappings.fan_out import FanOut
from rolekeeper.model.instance import Target, Timer


@pytest.fixture
def served(organization: Organization) -> Organization:
    """A hub with three registered targets, and a mapping in each account."""
    for each in (SPOKE, SAME_ACCOUNT, OTHER):
        organization.spoke(each)
        join(organization, each)
    organization.publish("workload=web", "web")
    organization.scheduled()  # the row gets its verdict
    for each in organization.spokes:
        join(organization, each)
    organization.hub.quiet()
    organization.hub.metrics.counts.clear()
    organization.assumed.clear()
    return organization


def join(made: Organization, target: Target) -> None:
    made.app().registry.add(ServedTarget(target, VERSION, made.hub.clock.now(), wire_format=WIRE_FORMAT))


def event_of(target: Target) -> dict[str, Any]:
    """What a sweep's run of one target is started with."""
    return {"task": "sweep", "id": "sweep-1", "target": {"account": target.account, "region": target.region}}


def known(made: Organization, target: Target = SPOKE) -> ServedTarget:
    found = made.app().registry.get(target)
    assert found
    return found


def asked_for(made: Organization) -> list[Target]:
    """The targets whose sweeps were started: in the runs for their accounts, then those with runs of their own."""
    answers = made.each_account()
    return [Target(**each["target"]) for each in (*answers, *made.hub.lambda_.invoked)]


def for_account(made: Organization, account: str = SPOKE.account) -> dict[str, Any]:
    """What the run for an account is started with, in the round that was started last."""
    of = made.hub.machine.started[-1]["input"]
    return {"task": of["task"], "id": of["id"], "account": account, "of": of}


def test_one_targets_backlog_withholds_its_own_drift_alone_and_what_is_withheld_counts(served: Organization) -> None:
    served.hub.changes_per_second = 4.8
    limit = BACKLOG * served.settings.changes_per_second
    served.hub.queue.waiting = int(limit) + 1
    for each in (SPOKE, OTHER):
        served.spoke(each).running(workload="web")
    served.app().at(SPOKE).reconciler().pace.lengthen_line(timedelta(seconds=BACKLOG), served.hub.clock.now())
    served.sweep()
    assert {each.target for each in served.hub.queue.instances} == {OTHER}
    assert (known(served).drift, known(served).withheld) == (1, 1)
    assert (known(served, OTHER).drift, known(served, OTHER).withheld) == (1, 0)


def test_a_target_is_swept_for_the_first_time_only_once_all_its_rows_could_be_checked(served: Organization) -> None:
    """A copy that wasn't checked may be older than the registry's item."""
    spoke = served.spoke(SPOKE)
    spoke.calls.before("GetRole", refusing("Throttling"))
    assert len(served.scheduled(event_of(SPOKE))["problems"]) == 1
    assert known(served).last_sweep is None
    key = spoke.key(spoke.running(workload="web"))
    served.reconcile(key)
    assert spoke.carries(key.id) == ""
    served.scheduled(event_of(SPOKE))
    assert key in served.hub.queue.instances
    served.reconcile(key)
    assert spoke.carries(key.id) == "web"


def test_iam_is_asked_once_in_three_hours_about_mappings_that_govern_nothing_in_a_target(served: Organization) -> None:
    spoke = served.spoke(SPOKE)
    served.scheduled(event_of(SPOKE))

    def asked(minutes: float = 15) -> bool:
        spoke.calls.clear()
        served.wait(minutes=minutes)
        assert served.scheduled(event_of(SPOKE))["published"] == 1
        return "GetRole" in spoke.calls.counted()

    assert [asked(), asked(164), asked(1), asked()] == [False, False, True, False]
    spoke.running(workload="web")
    assert asked()
    assert asked(), "it governs one"


def test_the_records_of_an_account_are_read_once_for_all_its_regions_and_again_for_a_new_one(
    served: Organization,
) -> None:
    """What is published for an account isn't updated while none of its Regions is registered."""
    regions = SPOKE, SAME_ACCOUNT

    def read() -> int:
        app = served.app()
        served.hub.calls.clear()
        for each in regions:
            assert app.at(each).sweep("sweep-1", lambda: 840, "run-1", event_of(each)).run().published == 1
        return served.hub.calls["BatchGetItem"]

    for each in regions:
        served.scheduled(event_of(each))
    assert read() == 1
    served.app().registry.add(ServedTarget(SAME_ACCOUNT, since=served.hub.clock.now(), wire_format=WIRE_FORMAT))
    assert read() == 2


def test_the_iam_of_an_account_is_asked_once_for_all_its_regions(served: Organization) -> None:
    """By one run for the account; and by runs of their own once it governs nothing in either of them."""
    there = {each: served.spoke(each).running(workload="web") for each in (SPOKE, SAME_ACCOUNT)}

    def asked(*, in_one_run: bool) -> int:
        app = served.app()
        for each in there:
            served.spoke(each).calls.clear()
        for each in there:
            run = app if in_one_run else served.app()
            assert run.at(each).sweep("sweep-1", lambda: 840, "run-1", event_of(each)).run().published == 1
        return sum(served.spoke(each).calls["GetRole"] for each in there)

    assert asked(in_one_run=False) == 2, "what governs something is checked by each run"
    assert asked(in_one_run=True) == 1
    for each, instance in there.items():
        served.spoke(each).truth.terminate(instance)
    served.wait(minutes=30)
    for each in there:
        served.scheduled(event_of(each))
    served.wait(minutes=181)
    assert asked(in_one_run=False) == 1, "the first has noted it for the account"


def test_a_sweep_of_rows_at_rest_makes_as_many_calls_for_fifty_as_for_one(served: Organization) -> None:
    """After an edit those of the row that was edited come to them."""
    spoke = served.spoke(SPOKE)
    served.hub.large_pages()

    def calls() -> Counter[str]:
        served.wait(minutes=15)
        for each in (served.hub, spoke):
            each.calls.clear()
        answer = served.scheduled(event_of(SPOKE))
        assert (answer["published"], answer["problems"]) == (answer["mappings"], [])
        return Counter(served.hub.calls.made + spoke.calls.made)

    served.scheduled(event_of(SPOKE))
    of_one = calls()
    for number in range(49):
        served.publish(f"workload=w{number}", "web")
    served.scheduled(event_of(SPOKE))
    assert calls() == of_one
    spoke.profile("db")
    served.hub.publish("workload=w7", "db")
    edited = calls() - of_one
    assert edited["GetRole"] == edited["GetInstanceProfile"] == 1
    assert edited["BatchGetItem"] == 2, "what is stored of it, and its record"


def test_another_region_of_the_hubs_account_counts_without_a_call_where_nothing_changed(served: Organization) -> None:
    there = Target(HOME.account, "eu-west-1")
    spoke = served.spoke(there)
    join(served, there)
    served.scheduled(event_of(there))
    served.hub.calls.clear()
    assert served.scheduled(event_of(there))["published"] == 1
    assert served.hub.calls["BatchGetItem"] == 1, "what is stored of all rows"
    spoke.running(workload="web")
    served.scheduled(event_of(there))
    stored = served.hub.revisions.read(mapping_key("workload=web"))
    assert stored.records[there.account].counts[there.region] == (1, 0)


def test_iam_is_asked_about_all_of_a_target_that_had_a_problem(served: Organization) -> None:
    spoke = served.spoke(SPOKE)
    served.scheduled(event_of(SPOKE))
    spoke.calls.before("DescribeInstances", refusing("RequestLimitExceeded"))
    served.scheduled(event_of(SPOKE))
    spoke.calls.clear()
    served.scheduled(event_of(SPOKE))
    assert "GetRole" in spoke.calls.counted()


# ---- a target that fails ----


@pytest.mark.parametrize("code", ["RequestLimitExceeded", "InternalError", "InvalidParameterValue"])
def test_what_ec2_refuses_in_a_target_ends_its_sweep_without_a_dead_letter(served: Organization, code: str) -> None:
    served.spoke(SPOKE).calls.before("DescribeInstances", refusing(code))
    answer, *_ = served.sweep()
    assert answer["finished"] is True
    assert known(served).problem == f"ec2:DescribeInstances on * is refused ({code})"
    assert served.hub.topic.mails == []


def test_what_the_hubs_own_table_refuses_is_no_problem_of_the_target(served: Organization) -> None:
    served.spoke(SPOKE).running(workload="web")
    served.hub.calls.before("BatchGetItem", refusing("InternalServerError", status=500))
    with pytest.raises(AwsRefusalError, match="InternalServerError"):
        served.scheduled(event_of(SPOKE))
    assert known(served).problem == ""


# ---- large targets ----


@pytest.fixture
def large(served: Organization) -> dict[str, Any]:
    """The rest of a target's sweep, whose first run had time for one page of two."""
    for _ in range(3):
        served.spoke(SPOKE).running(workload="web")
    answer = served.scheduled(event_of(SPOKE), seconds=0)
    assert (answer["finished"], answer["instances"]) == (False, 2)
    [started] = served.hub.machine.started
    rest: dict[str, Any] = started["input"]
    return rest


def test_the_schedule_leaves_a_target_alone_whose_sweep_goes_on(served: Organization, large: dict[str, Any]) -> None:
    served.hub.calls.before("GetQueueAttributes", kill)
    with pytest.raises(KilledError):
        served.scheduled({**large, "rest": {**large["rest"], "crowded": None}})
    served.wait(minutes=15)
    served.hub.quiet()
    served.scheduled()
    assert asked_for(served) == [SAME_ACCOUNT, OTHER]
    served.wait(seconds=GOES_ON.total_seconds())
    served.hub.quiet()
    served.scheduled()
    assert SPOKE in asked_for(served)


def test_a_person_who_sends_an_event_of_former_times_has_all_targets_swept(served: Organization) -> None:
    """As `aws lambda invoke` with events/sweep.json does."""
    served.sweep()
    former = {"id": "event-1", "time": "2026-02-01T09:45:00Z"}
    for expected in (sorted([SPOKE, SAME_ACCOUNT, OTHER]), []):
        served.hub.quiet()
        served.scheduled(former)
        assert sorted(asked_for(served)) == expected
        former = {**former, "time": f"{served.hub.clock.now():%Y-%m-%dT%H:%M:%SZ}"}


def test_a_resumed_run_that_is_throttled_is_tried_again_by_the_machine(
    served: Organization, large: dict[str, Any]
) -> None:
    served.spoke(SPOKE).calls.before("DescribeInstances", refusing("RequestLimitExceeded"))
    with pytest.raises(RetryableError):
        served.scheduled(large)
    assert known(served).problem == ""
    assert served.scheduled(large)["instances"] == 3


def test_a_resumed_run_that_is_refused_ends_its_sweep(served: Organization, large: dict[str, Any]) -> None:
    served.refuse(SPOKE)
    assert served.scheduled(large)["finished"] is True
    assert known(served).problem
    assert known(served).goes_on_until is None


# ---- none is forgotten ----


def intervals(made: Organization, number: int) -> None:
    """Sweeps of all targets but one, whose account's runs are lost."""
    for _ in range(number):
        made.wait(minutes=15)
        made.scheduled()
        made.each_account(OTHER.account)


@pytest.mark.parametrize("swept_before", [False, True])
def test_a_target_that_no_sweep_saw_for_two_intervals_rings_an_alarm(served: Organization, swept_before: bool) -> None:  # noqa: FBT001  # a parameter of a test
    if swept_before:
        served.spoke(OTHER).running()
        served.sweep()
    intervals(served, 2)
    assert served.hub.metrics.counts["SweepUnfinished"] == 0
    intervals(served, 1)
    assert served.hub.metrics.counts["SweepUnfinished"] == 1
    [line] = [line for line in served.hub.logged() if "two intervals" in line["message"]]
    assert line["targets"] == [str(OTHER)]
    served.spoke(OTHER).running()
    served.sweep()  # which finds it so for the last time
    served.hub.metrics.counts.clear()
    intervals(served, 2)
    assert served.hub.metrics.counts["SweepUnfinished"] == 0


def test_a_run_for_an_account_that_died_goes_on_where_it_was_when_the_machine_tries_it_again(
    served: Organization,
) -> None:
    served.scheduled()
    child, there = for_account(served), served.spoke(SAME_ACCOUNT)
    there.calls.before("DescribeInstances", kill)
    with pytest.raises(KilledError):
        served.scheduled(child)
    assert (known(served).unswept, known(served, SAME_ACCOUNT).unswept) == (0, 1)
    served.wait(minutes=1)
    served.spoke(SPOKE).calls.clear()
    served.scheduled(child)
    assert "DescribeInstances" not in served.spoke(SPOKE).calls.counted(), "it was swept"
    assert served.hub.lambda_.invoked == [event_of(SAME_ACCOUNT)], "it may be what kills the run"


@pytest.mark.parametrize("error", [refusing("InternalServerError", status=500), lambda: 1 // 0])
def test_a_target_whose_sweep_fails_gets_a_run_of_its_own_and_its_accounts_others_are_swept(
    served: Organization, error: Callable[[], Any]
) -> None:
    served.scheduled()
    served.hub.calls.after("UpdateItem", lambda: served.hub.calls.before("Query", error))
    served.scheduled(for_account(served))
    assert served.hub.lambda_.invoked == [event_of(SPOKE)]
    assert known(served, SAME_ACCOUNT).last_sweep == served.hub.clock.now()


def test_a_machine_that_cant_be_started_leaves_the_hubs_own_sweep_to_be_done(served: Organization) -> None:
    served.hub.running(workload="web")
    served.hub.calls.before("StartExecution", refusing("AccessDeniedException"))
    assert served.scheduled()["sent"] == 1
    assert served.hub.metrics.counts["SweepUnfinished"] == 1
    assert served.hub.events.kinds == ["Permission Missing"]


def test_a_round_that_lambda_tries_twice_is_started_once(served: Organization) -> None:
    event = {"id": "sweep-1", "time": f"{served.hub.clock.now():%Y-%m-%dT%H:%M:%SZ}"}
    for _ in range(2):
        served.scheduled(event)
        served.wait(minutes=1)
    first, second = served.hub.machine.started
    assert first == second, "Step Functions starts no second one of this name"


def test_a_person_who_sends_the_same_event_again_has_all_targets_swept_again(served: Organization) -> None:
    """As `aws lambda invoke` with events/sweep.json does, whose id is always the same."""
    for run in ("request-1", "request-2"):
        context = lambda_context("on_schedule", 840)
        context.aws_request_id = run
        on_schedule.handler({"id": "by hand"}, context)
    first, second = served.hub.machine.started
    assert first["name"] != second["name"]
    assert len(asked_for(served)) == 2 * 3


def test_a_target_that_was_removed_is_not_swept(served: Organization) -> None:
    served.scheduled()
    served.hub.calls.after("Query", lambda: served.app().registry.remove(SPOKE))
    served.scheduled(for_account(served))
    assert known(served, SAME_ACCOUNT).last_sweep
    assert served.app().registry.get(SPOKE) is None


# ---- a target in which nothing is ----


def due(made: Organization, minutes: float = 15) -> list[Target]:
    """The targets that the schedule has swept, so many minutes later."""
    made.wait(minutes=minutes)
    made.hub.quiet()
    made.scheduled()
    return asked_for(made)


def test_a_resumed_run_of_the_hub_and_the_first_sweep_of_the_minute_start_none(served: Organization) -> None:
    served.hub.never_swept()
    served.scheduled({"task": "expiries", "id": "minute"})
    served.scheduled({"task": "sweep", "id": "sweep-1", "rest": {}})
    assert served.hub.machine.started == []


def test_an_idle_target_is_swept_once_an_hour_and_others_in_every_interval(served: Organization) -> None:
    served.spoke(OTHER).running()
    served.sweep()
    assert [due(served) for _ in range(5)] == [[OTHER], [OTHER], [OTHER], [SPOKE, SAME_ACCOUNT, OTHER], [OTHER]]
    assert served.hub.metrics.counts["SweepUnfinished"] == 0


@pytest.mark.parametrize("minutes_before", [0, 59])
def test_an_idle_target_is_swept_with_the_next_round_once_it_sends_an_event(
    served: Organization, minutes_before: int
) -> None:
    """Also if a process noted an event of it shortly before its last sweep, and so notes none now."""
    spoke = served.spoke(SPOKE)
    served.wait(minutes=61)
    key = spoke.key(spoke.running())
    spoke.truth.terminate(key.id)
    if minutes_before:
        served.batch(key)
        served.wait(minutes=minutes_before - 14)
    served.sweep()
    served.wait(minutes=14)
    served.batch(key)
    assert SPOKE in due(served)


# ---- who is asked for ----


def test_what_a_hub_began_in_other_targets_ends_once_it_is_of_no_organization(
    served: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = served.hub
    own = hub.key(hub.running(workload="web"))
    for target in served.spokes:
        served.spoke(target).running(workload="web")
    monkeypatch.setattr("runtime.app", lambda _arn: hub.app())
    served.assumed.clear()
    assert served.scheduled(event_of(SPOKE))["finished"]
    assert served.scheduled({**event_of(SPOKE), "rest": {}})["finished"]
    of = {"task": "sweep", "id": "sweep-1", "which": "due", "since": "2026-01-01T00:00:00+00:00"}
    assert served.scheduled({"task": "accounts", "id": "sweep-1", "of": of})["accounts"] == []
    assert served.scheduled({"task": "sweep", "id": "sweep-1", "account": SPOKE.account, "of": of})["finished"]
    hub.queue.instances.clear()
    for targets in ([HOME, SPOKE, OTHER], [SPOKE]):
        begun = resumable(Task.FAN_OUT, "edit-1", FanOut.to(mapping_key("workload=web"), targets))
        assert served.scheduled(json.loads(json.dumps(begun)))["finished"]
    assert hub.queue.instances == [own]
    assert served.assumed == {}


def test_timers_and_follow_ups_of_other_targets_change_nothing_once_a_hub_is_of_no_organization(
    served: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoke = served.spoke(SPOKE)
    key = spoke.key(spoke.running(workload="web"))
    served.reconcile(key)
    served.hub.state.arm(Timer(served.hub.clock.now(), key))
    monkeypatch.setattr("runtime.app", lambda _arn: served.hub.app())
    carried, asked = spoke.carries(key.id), Counter(served.assumed)
    served.wait(minutes=5)
    assert served.scheduled({"task": "expiries", "id": "minute"})["problems"] == []
    assert key in served.hub.queue.instances
    assert served.batch(key) == []
    assert served.retried(key)["outcome"] == "dropped"
    assert (spoke.carries(key.id), served.assumed) == (carried, asked)
    served.hub.queue.instances.clear()
    served.scheduled({"task": "expiries", "id": "minute"})
    assert served.hub.queue.instances == []
