"""Everything that has a time limit fits into what waits for it: read from the template, the machines and the code.

From the inside out: an SDK call, a reconcile, a function, the queue, stream, schedule or machine that waits for the
function, the alarm that notices when they don't, and the store that keeps what was lost until somebody looks.
"""

import json
import math
import re
from dataclasses import dataclass
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
from rolekeeper.instances import pace
from rolekeeper.instances.reconcile import CROWDED, LOOKS, PATIENCE, VISIBLE_WITHIN, WORK
from rolekeeper.instances.retry import LONGEST_WAIT, PROPAGATION
from rolekeeper.storage import layout
from rolekeeper.storage.state import UNPROCESSED_WAITS
from support import templates

MACHINES = Path(__file__).parents[2] / "statemachines"
TEMPLATE = templates.load()


@dataclass(frozen=True)
class Fits:
    """What takes this many seconds, and how many it may take."""

    takes: float
    less_than: float = math.inf
    at_most: float = math.inf


# ---- what the template and the machines say, in seconds ----

MINUTE, HOUR, DAY = 60, 3600, 86400
PARAMETERS: dict[str, Any] = TEMPLATE["Parameters"]
FUNCTIONS = [name for name, found in TEMPLATE["Resources"].items() if found["Type"] == "AWS::Serverless::Function"]
RETRY, RESUME = (json.loads((MACHINES / f"{name}.asl.json").read_text()) for name in ("retry", "resume"))


def properties(name: str) -> Any:
    return TEMPLATE["Resources"][name]["Properties"]


def timeout(function: str) -> int:
    return int(properties(function)["Timeout"])


def source(function: str, event: str) -> Any:
    return properties(function)["Events"][event]["Properties"]


def default(parameter: str) -> Any:
    return PARAMETERS[parameter]["Default"]


def every(rate: str) -> int:
    found = re.fullmatch(r"rate\((\d+) minutes?\)", rate)
    assert found, rate
    return int(found[1]) * MINUTE


def alarm_rings_after(name: str) -> int:
    """How long an alarm looks at what it counts before it rings."""
    alarm = properties(f"{name}Alarm")
    [period] = {each["MetricStat"]["Period"] for each in alarm.get("Metrics", ()) if "MetricStat" in each} or {
        alarm["Period"]
    }
    return int(period * alarm["EvaluationPeriods"])


def pauses_of(retry: Any) -> float:
    """How long a state machine's tries wait, all together."""
    pauses = (retry["IntervalSeconds"] * retry["BackoffRate"] ** attempt for attempt in range(retry["MaxAttempts"]))
    return float(sum(min(pause, retry["MaxDelaySeconds"]) for pause in pauses))


SWEEPS_EVERY, EXPIRIES_EVERY = every(default("SweepSchedule")), every(source("OnSchedule", "Expiries")["Schedule"])
INSTANCE_EVENT, SCHEDULE = timeout("OnInstanceEvent"), timeout("OnSchedule")
BATCH = source("OnInstanceEvent", "WorkQueue")["BatchSize"]
QUEUE, DEAD_LETTERS = properties("WorkQueue"), properties("DeadLetterQueue")
VISIBILITY, TRIES = QUEUE["VisibilityTimeout"], QUEUE["RedrivePolicy"]["maxReceiveCount"]
ASYNC = properties("OnSchedule")["EventInvokeConfig"]
OVERDUE, LATE = default("SweepOverdueHours") * HOUR, properties("OldestMessageAlarm")["Threshold"]
RECONCILE, RUN = RETRY["States"]["Reconcile"], RESUME["States"]["Run"]
PER_SECOND = default("ChangesPerSecond")


def oldest_event(event: str) -> int:
    """How old an event of a schedule may be when it is handed over."""
    return int(source("OnSchedule", event)["RetryPolicy"]["MaximumEventAgeInSeconds"])


# ---- how long what the code does takes at worst ----

# A call that AWS answers without trouble takes less: a read or write, and a change of an association.
CALL, CHANGE = 0.1, 1.0
# A look is two reads of EC2 and two of the state table; a change is a grant before it and an outcome after it.
LOOK, A_CHANGE = 4 * CALL, CHANGE + 2 * CALL


def backoff(config: dict[str, Any]) -> float:
    """The longest pauses before the further attempts of a call, of which a random share is waited.

    See botocore's `retries/standard.py`, "truncated binary exponential backoff".
    """
    return float(sum(min(2**attempt, 20) for attempt in range(config["retries"]["total_max_attempts"] - 1)))


def unanswered(config: dict[str, Any]) -> float:
    """How long a call takes that nobody answers: each attempt runs to its limits."""
    attempts = config["retries"]["total_max_attempts"]
    return float(attempts * (config["connect_timeout"] + config["read_timeout"])) + backoff(config)


SDK: dict[str, Any] = vars(CONFIG)
UNANSWERED, UNANSWERED_ELSEWHERE = unanswered(SDK), unanswered(vars(ELSEWHERE))
THROTTLED_TO_THE_END = backoff(SDK) + SDK["retries"]["total_max_attempts"] * CALL
PUT_BACK = BATCH * CALL  # a write for each message
WAITS_OF_LOOKS = sum(LOOKS)
LAST_LOOKS = WAITS_OF_LOOKS + (len(LOOKS) + 1) * LOOK
# None begins after WORK.
LAST_CHANGES = A_CHANGE + PUT_BACK
CROWDED_OUT = sum(CROWDED) + (len(CROWDED) + 1) * CALL + CHANGE + CALL
# Two reads of the state table for each look: what is there, and the mappings that instances lost.
STARVED = 2 * (sum(UNPROCESSED_WAITS) + (len(UNPROCESSED_WAITS) + 1) * CALL) * (len(LOOKS) + 1)
WORKS, MINUTES_WORK = WORK.total_seconds(), expiry.WORK.total_seconds()
AHEAD = (expiry.AHEAD + expiry.MARGIN).total_seconds()
LONGEST_LOOP = PARAMETERS["RetryTimeoutMinutes"]["MaxValue"] * MINUTE
LAST_STEP = LONGEST_WAIT + (1 + RECONCILE["Retry"][0]["MaxAttempts"]) * RECONCILE["TimeoutSeconds"]
LAST_STEP += pauses_of(RECONCILE["Retry"][0])
LAST_PAGE = 2 * UNANSWERED + FILTER_VALUES / ENTRIES * CALL

STORIES = {
    # A batch within its function's time. After its last wait it makes a change, and puts back the rest; in a target
    # that gives no answer it ends at its first read, or at a change.
    "the last change after the last wait": Fits(WORKS + LAST_CHANGES + LAST_LOOKS, less_than=INSTANCE_EVENT),
    "a last target that gives no answer": Fits(
        WORKS + UNANSWERED_ELSEWHERE + LAST_LOOKS + PUT_BACK, less_than=INSTANCE_EVENT
    ),
    "a change that is crowded out of its window": Fits(WORKS + CROWDED_OUT + WAITS_OF_LOOKS, less_than=INSTANCE_EVENT),
    "reads that are all starved": Fits(WAITS_OF_LOOKS + STARVED, less_than=INSTANCE_EVENT),
    "a change that is throttled to the last attempt": Fits(
        WORKS + THROTTLED_TO_THE_END + PUT_BACK, less_than=INSTANCE_EVENT
    ),
    "a batch of quarantines at half the default pace": Fits(2 * BATCH / PER_SECOND, less_than=WORKS / 2),
    "the patience of a batch": Fits(PATIENCE.total_seconds(), less_than=WORKS),
    "two targets that give no answer": Fits(2 * UNANSWERED_ELSEWHERE, at_most=WORKS),
    "a target that is left alone, its messages hidden": Fits(SILENT.total_seconds(), less_than=VISIBILITY / 2),
    # Lambda developer guide, "Using Lambda with Amazon SQS".
    "six times the function, a message hidden": Fits(6 * INSTANCE_EVENT, at_most=VISIBILITY),
    "a new instance that isn't visible, its message a dead letter": Fits(
        VISIBLE_WITHIN.total_seconds(), less_than=TRIES * VISIBILITY
    ),
    "a batch of pins: read, with a timer, sent": Fits(
        source("OnStateChange", "StateStream")["BatchSize"] * 3 * CALL, less_than=timeout("OnStateChange")
    ),
    # The pace, in changes. EC2 takes fifty at once (AWS_FACTS.md, "Throttles").
    "a batch, what goes at once": Fits(BATCH, at_most=pace.BURST),
    "a burst, all as late as may be": Fits(pace.BURST + pace.LATE.total_seconds() * PER_SECOND, at_most=50),
    # The retry loop. IAM takes up to about two minutes (AWS_FACTS.md, "Errors").
    "Lambda, the retry machine's step": Fits(timeout("OnRetry"), less_than=RECONCILE["TimeoutSeconds"]),
    "the longest loop, its last step and the dead letter": Fits(
        LONGEST_LOOP + 2 * LAST_STEP, less_than=RETRY["TimeoutSeconds"]
    ),
    "some tries of a new profile": Fits(3 * LONGEST_WAIT, at_most=PROPAGATION.total_seconds()),
    "twice what IAM takes": Fits(4 * MINUTE, at_most=PROPAGATION.total_seconds()),
    "a new profile given up, the shortest loop": Fits(
        PROPAGATION.total_seconds(), at_most=PARAMETERS["RetryTimeoutMinutes"]["MinValue"] * MINUTE
    ),
    "Lambda, the resume machine's step": Fits(SCHEDULE, less_than=RUN["TimeoutSeconds"]),
    # Each minute. SQS delays a message for a quarter of an hour (SQS API reference, `DelaySeconds`).
    "a minute's work, the next minute": Fits(MINUTES_WORK, less_than=EXPIRIES_EVERY),
    "a minute's work whose last call nobody answers": Fits(MINUTES_WORK + UNANSWERED, less_than=SCHEDULE),
    "two minutes that meet a timer": Fits(2 * EXPIRIES_EVERY, at_most=expiry.AHEAD.total_seconds()),
    "a minute that can't be handed over, the next": Fits(oldest_event("Expiries"), at_most=EXPIRIES_EVERY),
    "the longest delay, SQS's": Fits(LONGEST_DELAY, at_most=900),
    "what is sent ahead, the longest delay": Fits(AHEAD, at_most=LONGEST_DELAY),
    # Each sweep: EC2 twice, the state table, the queue; then what has no row, and the machine.
    "a sweep's run, the next sweep": Fits(SCHEDULE, less_than=SWEEPS_EVERY),
    "a sweep's last page that nobody answers": Fits(6 * UNANSWERED, less_than=RESERVE),
    "minutes of a sweep's run": Fits(3 * MINUTE, at_most=SCHEDULE - RESERVE),
    "what is done again where a run dies": Fits(SCHEDULE - RESERVE, at_most=6 * MINUTE),
    "a thousand targets started, a note and an invocation each": Fits(1_000 * 2 * CALL, at_most=SCHEDULE - RESERVE),
    "a sweep's run that AWS refuses but for the last try": Fits(
        pauses_of(RUN["Retry"][0]) + SCHEDULE, less_than=GOES_ON.total_seconds()
    ),
    "some runs that die at their end": Fits(3 * SCHEDULE, less_than=GOES_ON.total_seconds()),
    "a sweep that can't be handed over, the next": Fits(oldest_event("Sweep"), at_most=SWEEPS_EVERY),
    "a sweep that nobody could start, a dozen of them": Fits(
        ASYNC["MaximumEventAgeInSeconds"], at_most=4 * SWEEPS_EVERY
    ),
    "what is tried again, known as the schedule's": Fits(
        oldest_event("Sweep") + ASYNC["MaximumEventAgeInSeconds"], at_most=on_schedule.TRIED_FOR.total_seconds()
    ),
    "a publication's last page that nobody answers": Fits(
        FANS_OUT.total_seconds() + LAST_PAGE + UNANSWERED, less_than=timeout("OnMappingChange")
    ),
    # Who notices, and how long what was lost is kept.
    "a sweep whose machine died, overdue": Fits(
        GOES_ON.total_seconds() + 2 * SWEEPS_EVERY + SCHEDULE, less_than=OVERDUE
    ),
    "a sweep that failed and was tried again, overdue": Fits(
        2 * SWEEPS_EVERY + (1 + ASYNC["MaximumRetryAttempts"]) * SCHEDULE, less_than=OVERDUE
    ),
    "what was kept back, late": Fits(AHEAD + INSTANCE_EVENT, at_most=LATE),
    "what failed twice and was then done, late": Fits(3 * VISIBILITY, at_most=LATE),
    "the alarm for retried work, the first dead letter": Fits(
        alarm_rings_after("RetriesHigh"), less_than=TRIES * VISIBILITY / 2
    ),
    "what fails again by itself, another alarm": Fits(
        max(VISIBILITY, SWEEPS_EVERY), less_than=alarm_rings_after("FunctionErrors")
    ),
    "a message tried to the end, forgotten": Fits(
        10 * (LONGEST_DELAY + TRIES * VISIBILITY), less_than=QUEUE["MessageRetentionPeriod"]
    ),
    # It keeps the age that it had (SQS developer guide, "Configuring a dead-letter queue").
    "ten days of a dead letter that waited for long": Fits(
        10 * DAY, at_most=DEAD_LETTERS["MessageRetentionPeriod"] - QUEUE["MessageRetentionPeriod"]
    ),
}
for function in FUNCTIONS:
    # A call that nobody answers is given up while there is time to say so.
    STORIES[f"a call that nobody answers: {function}"] = Fits(UNANSWERED + WAITS_OF_LOOKS, less_than=timeout(function))
    STORIES[f"Lambda allows it: {function}"] = Fits(timeout(function), at_most=15 * MINUTE)
for function, stream in {"OnMappingChange": "MappingStream", "OnStateChange": "StateStream"}.items():
    oldest, tries = (source(function, stream)[f"Maximum{what}"] for what in ("RecordAgeInSeconds", "RetryAttempts"))
    waits = properties(f"{function}WaitsAlarm")["Threshold"] / 1000
    STORIES |= {
        f"each try of a record has the whole time: {function}": Fits((1 + tries) * timeout(function), less_than=oldest),
        f"a record too old, gone from its stream: {function}": Fits(oldest, less_than=DAY),
        f"a long run isn't a wait: {function}": Fits(2 * timeout(function), at_most=waits),
        f"the alarm for a stream that waits: {function}": Fits(
            waits + alarm_rings_after(f"{function}Waits"), less_than=oldest / 2
        ),
    }
for name in ("PermissionDenied", "ChangeRefused", "SweepUnfinished", "MappingTableEmpty"):
    STORIES[f"what each sweep counts again stays one alarm: {name}"] = Fits(
        SWEEPS_EVERY + SCHEDULE, at_most=alarm_rings_after(name)
    )


@pytest.mark.parametrize("story", STORIES)
def test_what_has_a_time_limit_ends_before_what_waits_for_it(story: str) -> None:
    fits = STORIES[story]
    assert fits.takes < fits.less_than
    assert fits.takes <= fits.at_most


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
    assert pauses == pytest.approx(WAITS_OF_LOOKS if damaged < BATCH else 0)
    assert pauses + len(world.calls.made) * CALL < timeout("OnInstanceEvent")
    assert len(world.calls.made) <= 4 * (len(LOOKS) + 1) + 3 * BATCH, "a loop, a write and an event each"
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
