"""Everything that has a time limit fits into what waits for it: read from the template, the machine and the code.

From the inside out: an SDK call, a reconcile, a function, the queue, stream, schedule or machine that waits for the
function, the alarm that notices when they don't, and the store that keeps what was lost until somebody looks.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

import on_schedule
from fixtures.account import FakeAccount, published_at, waiting
from rolekeeper.app import FANS_OUT
from rolekeeper.aws import CONFIG, ELSEWHERE
from rolekeeper.aws.ec2 import FILTER_VALUES
from rolekeeper.aws.errors import CorruptItemError
from rolekeeper.aws.queue import ENTRIES, LONGEST_DELAY
from rolekeeper.fleet import expiry
from rolekeeper.fleet.sweep import GOES_ON, RESERVE
from rolekeeper.fleet.targets import SILENT
from rolekeeper.instances.reconcile import BURST, CROWDED, LOOKS, PATIENCE, VISIBLE_WITHIN, WORK
from rolekeeper.instances.retry import LONGEST_WAIT, PROPAGATION
from rolekeeper.storage import layout
from rolekeeper.storage.state import UNPROCESSED_WAITS
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


def pauses_of(retry: Any) -> float:
    """The seconds that a state machine's tries wait, all together."""
    pauses = (retry["IntervalSeconds"] * retry["BackoffRate"] ** attempt for attempt in range(retry["MaxAttempts"]))
    return float(sum(min(each, retry["MaxDelaySeconds"]) for each in pauses))


WORKS, LOOKED, AHEAD = WORK.total_seconds(), sum(LOOKS), (expiry.AHEAD + expiry.MARGIN).total_seconds()
GOING_ON, MINUTES_WORK = GOES_ON.total_seconds(), expiry.WORK.total_seconds()
LAST_LOOKS = LOOKED + (len(LOOKS) + 1) * CALLS_OF_A_LOOK * CALL
LAST_CHANGES = BURST * (CHANGE + CALLS_OF_A_CHANGE * CALL) + BATCH * CALL
CROWDED_OUT = BURST * (sum(CROWDED) + (len(CROWDED) + 1) * CALL + CHANGE + CALL)
# Two reads of the state table for each look: what is there, and the mappings that instances lost.
STARVED = 2 * (sum(UNPROCESSED_WAITS) + (len(UNPROCESSED_WAITS) + 1) * CALL) * (len(LOOKS) + 1)
DEFAULT = {name: each.get("Default") for name, each in PARAMETERS.items()}
SHARE = DEFAULT["ChangesPerSecond"] / DEFAULT["Workers"]
SMALLER_BUCKET = 50  # changes that EC2 takes at once (AWS_FACTS.md, "Throttles")
RECONCILE, RUN = MACHINE["States"]["Reconcile"], RESUME["States"]["Run"]
LAST_STEP = LONGEST_WAIT + (1 + RECONCILE["Retry"][0]["MaxAttempts"]) * RECONCILE["TimeoutSeconds"]
LAST_STEP += pauses_of(RECONCILE["Retry"][0])
LAST_PAGE = 2 * WORST_CALL + FILTER_VALUES / ENTRIES * CALL
QUEUE, DEAD, ASYNC = (
    properties("WorkQueue"),
    properties("DeadLetterQueue"),
    properties("OnSchedule")["EventInvokeConfig"],
)
OVERDUE, LATE = DEFAULT["SweepOverdueHours"] * HOUR, alarm("OldestMessage")["Threshold"]
HANDED_ON = {
    each: source("OnSchedule", each)["RetryPolicy"]["MaximumEventAgeInSeconds"] for each in ("Sweep", "Expiries")
}
STREAMS = {"OnMappingChange": "MappingStream", "OnStateChange": "StateStream"}
RETRIED = alarm("RetriesHigh")
ERRORS = alarm("FunctionErrors")
[ERRORS_PERIOD] = {each["MetricStat"]["Period"] for each in ERRORS["Metrics"] if "MetricStat" in each}
RUNS_FOR, INSTANCE_EVENT = timeout("OnSchedule"), timeout("OnInstanceEvent")

# Each is less than what waits for it.
LESS: dict[str, tuple[float, float]] = {
    # A batch within its function's time. After its last wait it makes as many changes as go at once, and puts off the
    # rest, a write each; in a target that gives no answer it ends at its first read, or at a change. After a throttled
    # change the pace is halved, so none of the batch begins after WORK.
    "the last changes after the last wait": (WORKS + LAST_CHANGES + LAST_LOOKS, INSTANCE_EVENT),
    "a last target that gives no answer": (
        WORKS + WORST_CALL_ELSEWHERE + LAST_LOOKS + BATCH * CALL,
        INSTANCE_EVENT,
    ),
    "changes that are all crowded out of their window": (WORKS + CROWDED_OUT + LOOKED, INSTANCE_EVENT),
    "reads that are all starved": (LOOKED + STARVED, INSTANCE_EVENT),
    "a change that is throttled to the last attempt": (
        WORKS + sum(BACKOFF) + ATTEMPTS * CALL + BATCH * CALL,
        INSTANCE_EVENT,
    ),
    "a batch of quarantines at half the default pace": (BATCH / SHARE, WORKS / 2),
    "the patience of a batch": (PATIENCE.total_seconds(), WORKS),
    "a target that is left alone, its messages hidden": (SILENT.total_seconds(), VISIBILITY / 2),
    "a batch of pins: read, with a timer, sent": (
        source("OnStateChange", "StateStream")["BatchSize"] * 3 * CALL,
        timeout("OnStateChange"),
    ),
    "a new instance that isn't visible, its message a dead letter": (
        VISIBLE_WITHIN.total_seconds(),
        TRIES * VISIBILITY,
    ),
    # The retry loop.
    "Lambda, the retry machine's step": (timeout("OnRetry"), RECONCILE["TimeoutSeconds"]),
    "the longest loop, its last step and the dead letter": (LONGEST_LOOP + 2 * LAST_STEP, MACHINE["TimeoutSeconds"]),
    # Each minute, each sweep.
    "a minute's work, the next minute": (MINUTES_WORK, EXPIRIES_EVERY),
    "a minute's work whose last call nobody answers": (MINUTES_WORK + WORST_CALL, RUNS_FOR),
    "a sweep's run, the next sweep": (RUNS_FOR, SWEEPS_EVERY),
    # EC2 twice, the state table, the queue; then what has no row, and the machine.
    "a sweep's last page that nobody answers": (6 * WORST_CALL, RESERVE),
    "a publication's last page that nobody answers": (
        FANS_OUT.total_seconds() + LAST_PAGE + WORST_CALL,
        timeout("OnMappingChange"),
    ),
    "a sweep's run that AWS refuses but for the last try": (pauses_of(RUN["Retry"][0]) + RUNS_FOR, GOING_ON),
    "some runs that die at their end": (3 * RUNS_FOR, GOING_ON),
    "a sweep whose machine died, overdue": (GOING_ON + 2 * SWEEPS_EVERY + RUNS_FOR, OVERDUE),
    "a sweep that failed and was tried again, overdue": (
        2 * SWEEPS_EVERY + (1 + ASYNC["MaximumRetryAttempts"]) * RUNS_FOR,
        OVERDUE,
    ),
    # Who notices, and how long what was lost is kept.
    "the alarm for retried work, the first dead letter": (
        RETRIED["Period"] * RETRIED["EvaluationPeriods"],
        TRIES * VISIBILITY / 2,
    ),
    "what fails again by itself, another alarm": (
        max(VISIBILITY, SWEEPS_EVERY),
        ERRORS_PERIOD * ERRORS["EvaluationPeriods"],
    ),
    "a message tried to the end, forgotten": (
        10 * (LONGEST_DELAY + TRIES * VISIBILITY),
        QUEUE["MessageRetentionPeriod"],
    ),
}
# Each is at most that.
AT_MOST: dict[str, tuple[float, float]] = {
    "two targets that give no answer": (2 * WORST_CALL_ELSEWHERE, WORKS),
    "a worker's burst, as five are never slowed": (5, BURST),
    "all workers' bursts, what EC2 takes at once": (BURST * DEFAULT["Workers"], SMALLER_BUCKET),
    # Lambda developer guide, "Using Lambda with Amazon SQS".
    "six times the function, a message hidden": (6 * INSTANCE_EVENT, VISIBILITY),
    "some tries of a new profile": (3 * LONGEST_WAIT, PROPAGATION.total_seconds()),
    # IAM takes up to about two minutes (AWS_FACTS.md, "Errors").
    "twice what IAM takes": (4 * MINUTE, PROPAGATION.total_seconds()),
    "a new profile given up, the shortest loop": (
        PROPAGATION.total_seconds(),
        PARAMETERS["RetryTimeoutMinutes"]["MinValue"] * MINUTE,
    ),
    "the longest delay, SQS's": (LONGEST_DELAY, SQS_DELAY_AT_MOST),
    "what is sent ahead, the longest delay": (AHEAD, LONGEST_DELAY),
    "what was kept back, late": (AHEAD + INSTANCE_EVENT, LATE),
    "what failed twice and was then done, late": (3 * VISIBILITY, LATE),
    "two minutes that meet a timer": (2 * EXPIRIES_EVERY, expiry.AHEAD.total_seconds()),
    "a minute that can't be handed over, the next": (HANDED_ON["Expiries"], EXPIRIES_EVERY),
    "a sweep that can't be handed over, the next": (HANDED_ON["Sweep"], SWEEPS_EVERY),
    "minutes of a sweep's run": (3 * MINUTE, RUNS_FOR - RESERVE),
    "what is done again where a run dies": (RUNS_FOR - RESERVE, 6 * MINUTE),
    "a thousand targets started, a note and an invocation each": (1_000 * 2 * CALL, RUNS_FOR - RESERVE),
    # It keeps the age that it had (SQS developer guide, "Configuring a dead-letter queue").
    "ten days of a dead letter that waited for long": (
        10 * DAY,
        DEAD["MessageRetentionPeriod"] - QUEUE["MessageRetentionPeriod"],
    ),
    "a sweep that nobody could start, a dozen of them": (ASYNC["MaximumEventAgeInSeconds"], 4 * SWEEPS_EVERY),
    "what is tried again, known as the schedule's": (
        HANDED_ON["Sweep"] + ASYNC["MaximumEventAgeInSeconds"],
        on_schedule.TRIED_FOR.total_seconds(),
    ),
}
for function in FUNCTIONS:
    # A call that nobody answers is given up while there is time to say so.
    LESS[f"a call that nobody answers: {function}"] = WORST_CALL + LOOKED, timeout(function)
    AT_MOST[f"Lambda allows it: {function}"] = timeout(function), LAMBDA_AT_MOST
for function, stream in STREAMS.items():
    settings, waits = source(function, stream), alarm(f"{function}Waits")
    oldest, rings_at = settings["MaximumRecordAgeInSeconds"], waits["Threshold"] / 1000
    LESS[f"each try of a record has the whole time: {function}"] = (
        (1 + settings["MaximumRetryAttempts"]) * timeout(function),
        oldest,
    )
    LESS[f"a record too old, gone from its stream: {function}"] = oldest, STREAM_KEEPS
    AT_MOST[f"a long run isn't a wait: {function}"] = 2 * timeout(function), rings_at
    LESS[f"the alarm for a stream that waits: {function}"] = (
        rings_at + waits["Period"] * waits["EvaluationPeriods"],
        oldest / 2,
    )
for name in ("PermissionDenied", "ChangeRefused", "SweepUnfinished", "MappingTableEmpty"):
    window = alarm(name)["Period"] * alarm(name)["EvaluationPeriods"]
    AT_MOST[f"what each sweep counts again stays one alarm: {name}"] = SWEEPS_EVERY + RUNS_FOR, window


@pytest.mark.parametrize("what", LESS)
def test_what_has_a_time_limit_ends_before_what_waits_for_it(what: str) -> None:
    shorter, longer = LESS[what]
    assert shorter < longer


@pytest.mark.parametrize("what", AT_MOST)
def test_what_has_a_time_limit_takes_no_longer_than_it_may(what: str) -> None:
    shorter, longer = AT_MOST[what]
    assert shorter <= longer


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
        world.garble(published_at(f"workload=role-{number}"))
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
