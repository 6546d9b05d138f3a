"""Everything that has a time limit fits into what waits for it: read from the template, the machine and the code.

From the inside out: an SDK call, a reconcile, a function, the queue, stream, schedule or machine that waits for the
function, the alarm that notices when they don't, and the store that keeps what was lost until somebody looks.
"""

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import on_schedule
from fixtures.account import FakeAccount, mapping_key, waiting
from rolekeeper.app import FANS_OUT
from rolekeeper.aws import CONFIG, ELSEWHERE
from rolekeeper.aws.ec2 import FILTER_VALUES
from rolekeeper.aws.errors import CorruptItemError
from rolekeeper.aws.queue import ENTRIES, LONGEST_DELAY
from rolekeeper.fleet import expiry
from rolekeeper.fleet.sweep import GOES_ON, RESERVE
from rolekeeper.fleet.targets import SILENT
from rolekeeper.instances.apply import BURST, CROWDED
from rolekeeper.instances.reconcile import LOOKS, PATIENCE, VISIBLE_WITHIN, WORK
from rolekeeper.instances.retry import LONGEST_WAIT, PROPAGATION
from rolekeeper.storage import layout
from rolekeeper.storage.table import UNPROCESSED_WAITS
from support import templates

ROOT = Path(__file__).parents[2]
TEMPLATE = templates.load()
PARAMETERS: dict[str, Any] = TEMPLATE["Parameters"]
MACHINE: dict[str, Any] = json.loads((ROOT / "statemachines/retry.asl.json").read_text())
RESUME: dict[str, Any] = json.loads((ROOT / "statemachines/resume.asl.json").read_text())

MINUTE, HOUR, DAY = 60, 3600, 86400
# AWS's own limits, in seconds: Lambda quotas; SQS `DelaySeconds`; DynamoDB streams.
LAMBDA_AT_MOST, SQS_DELAY_AT_MOST, STREAM_KEEPS = 900, 900, DAY
# A call that AWS answers without trouble takes less (seconds): a read or write, and a change of an association.
CALL, CHANGE = 0.1, 1.0
# A change is a grant before it and an outcome after it; a look is two reads of EC2 and two of the state table.
CALLS_OF_A_CHANGE, CALLS_OF_A_LOOK = 2, 4


def properties(name: str) -> Any:
    return TEMPLATE["Resources"][name]["Properties"]


def timeout(function: str) -> int:
    return int(properties(function)["Timeout"])


def source(function: str, event: str) -> Any:
    return properties(function)["Events"][event]["Properties"]


def alarm(name: str) -> Any:
    return properties(f"{name}Alarm")


def minutes(rate: str) -> int:
    found = re.fullmatch(r"rate\((\d+) minutes?\)", rate)
    assert found, rate
    return int(found[1])


FUNCTIONS = [name for name, each in TEMPLATE["Resources"].items() if each["Type"] == "AWS::Serverless::Function"]
SWEEPS_EVERY = minutes(PARAMETERS["SweepSchedule"]["Default"]) * MINUTE
EXPIRIES_EVERY = minutes(source("OnSchedule", "Expiries")["Schedule"]) * MINUTE
VISIBILITY = properties("WorkQueue")["VisibilityTimeout"]
TRIES = properties("WorkQueue")["RedrivePolicy"]["maxReceiveCount"]
BATCH = source("OnInstanceEvent", "WorkQueue")["BatchSize"]
LONGEST_LOOP = PARAMETERS["RetryTimeoutMinutes"]["MaxValue"] * MINUTE

SDK: dict[str, Any] = vars(CONFIG)
SDK_ELSEWHERE: dict[str, Any] = vars(ELSEWHERE)
ATTEMPTS = SDK["retries"]["total_max_attempts"]
# The longest pause before each further attempt, of which a random share is waited (botocore `retries/standard.py`,
# "truncated binary exponential backoff"; shorter in newer versions where it isn't throttled).
BACKOFF = [min(2**attempt, 20) for attempt in range(ATTEMPTS - 1)]
# Nobody answers: each attempt runs to its limits.
WORST_CALL = ATTEMPTS * (SDK["connect_timeout"] + SDK["read_timeout"]) + sum(BACKOFF)


# In another target than the hub's own.
_ATTEMPTS = SDK_ELSEWHERE["retries"]["total_max_attempts"]
WORST_CALL_ELSEWHERE = _ATTEMPTS * (SDK_ELSEWHERE["connect_timeout"] + SDK_ELSEWHERE["read_timeout"])
WORST_CALL_ELSEWHERE += sum(min(2**attempt, 20) for attempt in range(_ATTEMPTS - 1))


# ---- the SDK within a function ----


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_call_that_nobody_answers_is_given_up_while_there_is_time_to_say_so(function: str) -> None:
    assert WORST_CALL + sum(LOOKS) < timeout(function)


LAST_LOOKS = sum(LOOKS) + (len(LOOKS) + 1) * CALLS_OF_A_LOOK * CALL


def test_a_batch_that_waits_for_its_pace_as_long_as_it_may_ends_within_the_functions_time() -> None:
    """After the last wait it makes as many changes as go at once; what is left is put off, a write each."""
    last = BURST * (CHANGE + CALLS_OF_A_CHANGE * CALL) + BATCH * CALL
    assert WORK.total_seconds() + last + LAST_LOOKS < timeout("OnInstanceEvent")


def test_a_batch_ends_in_time_though_its_last_target_began_at_the_last_moment_and_gives_no_answer() -> None:
    """To its first read, or to a change: then those behind it are put off, a write each."""
    assert WORK.total_seconds() + WORST_CALL_ELSEWHERE + LAST_LOOKS + BATCH * CALL < timeout("OnInstanceEvent")


def test_a_target_that_gives_no_answer_leaves_time_for_another_one_and_for_the_hubs_own() -> None:
    assert WORK.total_seconds() >= 2 * WORST_CALL_ELSEWHERE


def test_a_target_is_left_alone_for_less_time_than_its_messages_stay_hidden() -> None:
    assert SILENT.total_seconds() < VISIBILITY / 2


def test_at_the_default_pace_a_batch_of_quarantines_needs_no_putting_back() -> None:
    share = PARAMETERS["ChangesPerSecond"]["Default"] / PARAMETERS["Workers"]["Default"]
    assert BATCH / share < WORK.total_seconds() / 2, "nor at half of it, after EC2 throttled"
    assert PATIENCE < WORK


def test_five_changes_at_once_are_never_slowed_and_ec2_takes_those_of_all_workers() -> None:
    capacity = 50  # of the smaller bucket (AWS_FACTS.md, "Throttles")
    assert BURST >= 5
    assert BURST * PARAMETERS["Workers"]["Default"] <= capacity


def test_a_batch_whose_every_change_is_crowded_out_of_its_window_ends_within_the_functions_time() -> None:
    crowded = BURST * (sum(CROWDED) + (len(CROWDED) + 1) * CALL + CHANGE + CALL)
    assert WORK.total_seconds() + crowded + sum(LOOKS) < timeout("OnInstanceEvent")


def test_a_batch_whose_every_read_is_starved_ends_within_the_functions_time() -> None:
    """Two reads of the state table for each look: what is there, and the mappings that instances lost."""
    starved = 2 * (sum(UNPROCESSED_WAITS) + (len(UNPROCESSED_WAITS) + 1) * CALL)
    looks = len(LOOKS) + 1
    assert sum(LOOKS) + looks * starved < timeout("OnInstanceEvent")


def test_a_change_that_is_throttled_to_the_last_attempt_ends_within_the_functions_time() -> None:
    """The one after it waits for the pace, which is halved: so none of the batch begins after WORK."""
    assert WORK.total_seconds() + sum(BACKOFF) + ATTEMPTS * CALL + BATCH * CALL < timeout("OnInstanceEvent")


# What can't be decoded: an instance's record, its mapping, or the mapping that gave its role and no longer matches.
DAMAGES = ["record", "mapping", "former mapping"]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("damaged", [0, 1, BATCH // 2, BATCH - 1, BATCH])
def test_a_batch_with_any_number_of_damaged_items_pauses_no_more_than_a_sound_one_and_ends_within_the_functions_time(
    world: FakeAccount, damaged: int, damage: str
) -> None:
    """In the first edition one damaged record in a batch of ten had each reconciled alone: 55.8 s of pauses."""
    world.large_pages()
    batch = [_never_settling(world, f"role-{number}") for number in range(BATCH)]
    for number, instance in enumerate(batch[:damaged]):
        if damage == "record":
            world.garble(layout.record_key(world.key(instance)))
            continue
        if damage == "former mapping":
            world.untag(instance, "workload")
        world.garble(layout.published_key(mapping_key(f"workload=role-{number}")))
    world.quiet()
    began = world.clock.seconds
    outcomes = world.reconcile_all(*batch)
    # Calls take no time on this clock, so what passes is what was slept.
    pauses = world.clock.seconds - began
    assert pauses == pytest.approx(sum(LOOKS) if damaged < BATCH else 0)
    assert pauses + len(world.calls.made) * CALL < timeout("OnInstanceEvent")
    assert len(world.calls.made) <= CALLS_OF_A_LOOK * (len(LOOKS) + 1) + 3 * BATCH, "a loop, a write and an event each"
    errors = [outcomes[world.key(each)].error for each in batch]
    assert [isinstance(each, CorruptItemError) for each in errors] == [True] * damaged + [False] * (BATCH - damaged)
    assert all(waiting(outcomes[world.key(each)]) for each in batch[damaged:])


def _never_settling(world: FakeAccount, role: str) -> str:
    """An instance whose association stays `disassociating`: it is looked at as often as any."""
    world.publish(f"workload={role}", role)
    instance = world.running(workload=role)
    world.reconcile(instance)
    world.detach_by_hand(instance)
    row = world.truth.association_of(instance)
    assert row
    row.changes_at = None
    return instance


def test_a_batch_of_pins_ends_within_the_functions_time() -> None:
    """Each is read, gets its timer, and is sent to the queue."""
    assert source("OnStateChange", "StateStream")["BatchSize"] * 3 * CALL < timeout("OnStateChange")


# ---- a function within what waits for it ----


@pytest.mark.parametrize("function", FUNCTIONS)
def test_lambda_allows_a_functions_time(function: str) -> None:
    assert timeout(function) <= LAMBDA_AT_MOST


def test_a_message_stays_hidden_for_six_times_the_time_of_the_function_that_has_it() -> None:
    """As AWS asks (Lambda developer guide, "Using Lambda with Amazon SQS")."""
    assert 6 * timeout("OnInstanceEvent") <= VISIBILITY


def test_a_new_instance_is_looked_for_as_long_as_it_may_be_invisible_before_its_message_is_a_dead_letter() -> None:
    assert VISIBLE_WITHIN.total_seconds() < TRIES * VISIBILITY


@pytest.mark.parametrize(
    ("function", "stream"), [("OnMappingChange", "MappingStream"), ("OnStateChange", "StateStream")]
)
def test_every_try_of_a_stream_record_has_the_functions_whole_time_before_the_record_is_too_old(
    function: str, stream: str
) -> None:
    settings = source(function, stream)
    tries = 1 + settings["MaximumRetryAttempts"]
    assert tries * timeout(function) < settings["MaximumRecordAgeInSeconds"] < STREAM_KEEPS


# ---- the retry loop ----


def test_lambda_is_heard_before_the_machines_step_times_out() -> None:
    assert timeout("OnRetry") < MACHINE["States"]["Reconcile"]["TimeoutSeconds"]


def test_the_machine_outlives_the_longest_loop_with_its_last_step_tried_to_the_end() -> None:
    step = MACHINE["States"]["Reconcile"]
    [retry] = step["Retry"]
    pauses = [
        min(retry["IntervalSeconds"] * retry["BackoffRate"] ** attempt, retry["MaxDelaySeconds"])
        for attempt in range(retry["MaxAttempts"])
    ]
    last = LONGEST_WAIT + (1 + retry["MaxAttempts"]) * step["TimeoutSeconds"] + sum(pauses)
    assert LONGEST_LOOP + 2 * last < MACHINE["TimeoutSeconds"], "the step, and the dead letter after it"


def test_a_new_profile_is_tried_often_enough_and_given_up_within_the_shortest_loop() -> None:
    shortest = timedelta(minutes=PARAMETERS["RetryTimeoutMinutes"]["MinValue"])
    assert timedelta(seconds=3 * LONGEST_WAIT) <= PROPAGATION <= shortest
    assert timedelta(minutes=4) <= PROPAGATION, "twice as long: IAM takes up to about two (AWS_FACTS.md, Errors)"


# ---- what is kept back in the queue ----


def test_the_queue_can_keep_back_what_is_sent_ahead() -> None:
    assert LONGEST_DELAY == SQS_DELAY_AT_MOST
    assert (expiry.AHEAD + expiry.MARGIN).total_seconds() <= LONGEST_DELAY


def test_what_was_kept_back_does_not_count_as_late() -> None:
    late = alarm("OldestMessage")["Threshold"]
    assert late >= (expiry.AHEAD + expiry.MARGIN).total_seconds() + timeout("OnInstanceEvent")
    assert late >= 3 * VISIBILITY, "nor does what failed twice and was then done"


# ---- each minute, each sweep ----


def test_a_minutes_work_ends_before_the_next_begins() -> None:
    assert expiry.WORK.total_seconds() < EXPIRIES_EVERY
    assert expiry.WORK.total_seconds() + WORST_CALL < timeout("OnSchedule")


def test_a_timer_is_met_in_two_minutes_before_it_rings() -> None:
    assert expiry.AHEAD.total_seconds() >= 2 * EXPIRIES_EVERY


def test_a_minute_that_cant_be_handed_over_is_overtaken_by_the_next() -> None:
    assert source("OnSchedule", "Expiries")["RetryPolicy"]["MaximumEventAgeInSeconds"] <= EXPIRIES_EVERY


def test_two_sweeps_never_run_at_the_same_time() -> None:
    assert timeout("OnSchedule") < SWEEPS_EVERY
    assert source("OnSchedule", "Sweep")["RetryPolicy"]["MaximumEventAgeInSeconds"] <= SWEEPS_EVERY


def test_a_run_of_a_sweep_has_minutes_and_time_to_hand_over_when_its_last_page_is_answered_by_nobody() -> None:
    """EC2 twice, the state table, the queue; then what has no row, and the machine."""
    assert 3 * MINUTE <= timeout("OnSchedule") - RESERVE <= 6 * MINUTE, "little is done again where it dies"
    assert 6 * WORST_CALL < RESERVE


def test_a_thousand_targets_sweeps_are_started_in_the_time_that_a_run_has_for_that() -> None:
    """A note in the registry and an invocation for each."""
    assert timeout("OnSchedule") - RESERVE >= 1_000 * 2 * CALL


def test_a_run_that_publishes_has_time_to_hand_over_when_its_last_page_is_answered_by_nobody() -> None:
    page = 2 * WORST_CALL + FILTER_VALUES / ENTRIES * CALL
    assert FANS_OUT.total_seconds() + page + WORST_CALL < timeout("OnMappingChange")


def test_a_sweep_that_goes_on_is_left_alone_for_a_run_and_a_few_tries_of_it_and_overdue_only_later() -> None:
    overdue = PARAMETERS["SweepOverdueHours"]["Default"] * HOUR
    [retry] = RESUME["States"]["Run"]["Retry"]
    pauses = [
        min(retry["IntervalSeconds"] * retry["BackoffRate"] ** attempt, retry["MaxDelaySeconds"])
        for attempt in range(retry["MaxAttempts"])
    ]
    assert sum(pauses) + timeout("OnSchedule") < GOES_ON.total_seconds(), "AWS refused each try, and the last one works"
    assert 3 * timeout("OnSchedule") < GOES_ON.total_seconds(), "or some died at their end"
    assert GOES_ON.total_seconds() + 2 * SWEEPS_EVERY + timeout("OnSchedule") < overdue, "where its machine died"


# ---- who notices, and how long what was lost is kept ----


def test_a_sweep_that_failed_and_was_tried_again_is_not_yet_overdue() -> None:
    overdue = PARAMETERS["SweepOverdueHours"]
    tries = 1 + properties("OnSchedule")["EventInvokeConfig"]["MaximumRetryAttempts"]
    assert SWEEPS_EVERY + tries * timeout("OnSchedule") + SWEEPS_EVERY < overdue["Default"] * HOUR


def test_an_alarm_rings_for_work_that_is_retried_before_the_first_of_it_is_a_dead_letter() -> None:
    retries = alarm("RetriesHigh")
    assert retries["Period"] * retries["EvaluationPeriods"] < TRIES * VISIBILITY / 2


@pytest.mark.parametrize(
    ("function", "stream"), [("OnMappingChange", "MappingStream"), ("OnStateChange", "StateStream")]
)
def test_an_alarm_rings_for_a_stream_that_waits_before_its_records_are_too_old(function: str, stream: str) -> None:
    waits = alarm(f"{function}Waits")
    rings_after = waits["Threshold"] / 1000 + waits["Period"] * waits["EvaluationPeriods"]
    assert timeout(function) * 2 <= waits["Threshold"] / 1000, "a long run isn't a wait"
    assert rings_after < source(function, stream)["MaximumRecordAgeInSeconds"] / 2


def test_what_fails_again_by_itself_stays_one_alarm() -> None:
    errors = alarm("FunctionErrors")
    [period] = {each["MetricStat"]["Period"] for each in errors["Metrics"] if "MetricStat" in each}
    assert period * errors["EvaluationPeriods"] > max(VISIBILITY, SWEEPS_EVERY)


@pytest.mark.parametrize("name", ["PermissionDenied", "ChangeRefused", "SweepUnfinished", "MappingTableEmpty"])
def test_what_each_sweep_counts_again_stays_one_alarm_until_it_is_over(name: str) -> None:
    window = alarm(name)["Period"] * alarm(name)["EvaluationPeriods"]
    assert window >= SWEEPS_EVERY + timeout("OnSchedule")


def test_a_message_is_tried_to_the_end_long_before_the_queue_forgets_it() -> None:
    over = LONGEST_DELAY + TRIES * VISIBILITY
    assert 10 * over < properties("WorkQueue")["MessageRetentionPeriod"]


def test_a_dead_letter_is_kept_for_ten_days_after_the_longest_that_it_may_have_waited() -> None:
    """It keeps the age that it had (SQS developer guide, "Configuring a dead-letter queue")."""
    waited = properties("WorkQueue")["MessageRetentionPeriod"]
    assert properties("DeadLetterQueue")["MessageRetentionPeriod"] - waited >= 10 * DAY


def test_a_sweep_that_nobody_could_start_is_given_up_before_lambda_would_have_a_dozen_of_them() -> None:
    assert properties("OnSchedule")["EventInvokeConfig"]["MaximumEventAgeInSeconds"] <= 4 * SWEEPS_EVERY


def test_what_is_tried_again_is_known_as_the_schedules() -> None:
    by_lambda = properties("OnSchedule")["EventInvokeConfig"]["MaximumEventAgeInSeconds"]
    by_rule = source("OnSchedule", "Sweep")["RetryPolicy"]["MaximumEventAgeInSeconds"]
    assert timedelta(seconds=by_rule + by_lambda) <= on_schedule.TRIED_FOR
