"""What Rolekeeper does at all: the switches, the sweep, and the rows that people wrote."""

from datetime import datetime, timedelta

from rolekeeper.aws.errors import classified
from rolekeeper.model.problem import Kind, Remedy, advice, typed
from rolekeeper.storage import layout
from rolekeeper.storage.state import FLEET_NEWS
from rolekeeper_cli.checks.deployment import DoctorDeployment, Findings, fail, unknown, warn
from rolekeeper_cli.uses.approvals import GOOD
from rolekeeper_cli.uses.mappings import with_status
from rolekeeper_cli.uses.rows import mapping_rows, said

# Rolekeeper judges a row in about a second, after a cold start in a few.
_JUDGED_SECONDS = 10
_SWEEP = "see docs/runbook.md#sweep-overdue"
_TIME = "%Y-%m-%d %H:%M UTC"
_ROWS = 5


def mode(deployment: DoctorDeployment) -> Findings:
    """Whether changes are made."""
    control = deployment.app.state.read([], []).control
    withheld = control.withholds(deployment.settings.mode)
    if control.unclear:
        yield fail(f"nothing changes: {control.unclear}", advice("set it: ", Remedy(Kind.SETTINGS)))
    elif control.paused:
        yield warn("nothing changes: Rolekeeper is paused", Remedy(Kind.RESUME))
    elif withheld and withheld.code == "observed":
        yield warn(f"nothing changes: {withheld.reason}", Remedy(Kind.ENFORCE))
    return "changes are made"


def sweep(deployment: DoctorDeployment) -> Findings:
    """When a sweep last saw the whole fleet. It writes down the fleet's size then, if that changed, else once a day."""
    item = deployment.app.store.get([layout.FLEET]).get(layout.FLEET, {})
    if "at" not in item:
        if deployment.now() - deployment.stack.created > deployment.sweep_overdue:
            yield fail("no sweep ever saw the whole fleet", _SWEEP)
        return "the stack is new: its first sweep is still to come"
    at = datetime.fromisoformat(str(item["at"]))
    if deployment.now() - at > FLEET_NEWS + deployment.sweep_overdue:
        yield fail(f"no sweep saw the whole fleet since {at:{_TIME}}", _SWEEP)
    instances = int(item["instances"]) + int(item.get(layout.ELSEWHERE, 0))
    return f"sweeps come: one wrote down {instances:,} instance{'' if instances == 1 else 's'} at {at:{_TIME}}"


def rows(deployment: DoctorDeployment) -> Findings:
    """Which rows aren't served as they are written."""
    found = with_status(deployment, deployment.rows)
    unjudged = [key for key, row in found.items() if "status" not in row]
    if unjudged:
        deployment.sleep(_JUDGED_SECONDS)
        unjudged = [key for key, row in mapping_rows(deployment).some(unjudged).items() if "status" not in row]
    bad = [
        (key, f"{key} is {said(row, 'status')}: {said(row, 'status_reason')}")
        for key, row in found.items()
        if "status" in row and said(row, "status") not in GOOD
    ]
    bad += [(key, f"{key} isn't judged yet: its function, on_mapping_change, didn't look at it") for key in unjudged]
    for key, what in bad[:_ROWS]:
        yield warn(what, key.remedy(Kind.MAPPING))
    if len(bad) > _ROWS:
        yield warn(f"{len(bad) - _ROWS:,} more rows aren't published as they are written", Remedy(Kind.MAPPINGS))
    return f"all rows are published as they are written: {len(found):,}" if found else "there are no mappings yet"


# ---- the two queues: what waits, for how long, and what could not be done ----


# In the normal course of things nothing waits; so many are minutes of changes at the rate that EC2 allows.
MANY = 1_000
_LOOK_BACK = timedelta(minutes=15)
_IN_QUEUE = "ApproximateNumberOfMessages"
_PARTS = (_IN_QUEUE, f"{_IN_QUEUE}NotVisible", f"{_IN_QUEUE}Delayed")
_WAITS = "see docs/runbook.md#work-waits"


def work(deployment: DoctorDeployment) -> Findings:
    """How many messages wait in the work queue, and how long the oldest does."""
    waiting, in_flight, delayed = _counts(deployment, deployment.output("WorkQueue"))
    depth = waiting + in_flight + delayed
    shown = f"messages in the work queue: {waiting:,} to do, {in_flight:,} being done, {delayed:,} delayed"
    if depth > MANY:
        yield warn(shown, _WAITS)
    if not depth:
        return "the work queue is empty"
    age, limit = _oldest_seconds(deployment), deployment.alarms.get("OldestMessageAlarm", {}).get("Threshold")
    if age is None or limit is None:
        what = f"{shown}; for how long isn't known yet"
        yield unknown(what, "look again in some minutes: CloudWatch learns of a queue with a delay")
    elif age > limit:
        yield warn(f"the oldest message of the work queue is {timedelta(seconds=age)} old", _WAITS)
    else:
        shown = f"{shown}; the oldest is {timedelta(seconds=age)} old"
    return shown


def dead_letters(deployment: DoctorDeployment) -> Findings:
    """Whether anything could not be done."""
    count = sum(_counts(deployment, deployment.output("DeadLetterQueue")))
    if count:
        lie = "message lies" if count == 1 else "messages lie"
        remedy = advice("see docs/runbook.md#dead-letters; when the cause is fixed: ", typed("rolekeeper redrive"))
        yield fail(f"{count:,} {lie} in the dead-letter queue: what could not be done", remedy)
    return "the dead-letter queue is empty"


def _counts(deployment: DoctorDeployment, url: str) -> list[int]:
    with classified("sqs:GetQueueAttributes", url):
        answer = deployment.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=list(_PARTS))
    return [int(answer["Attributes"][each]) for each in _PARTS]


def _oldest_seconds(deployment: DoctorDeployment) -> float | None:
    """The age of the work queue's oldest message as CloudWatch saw it last; SQS itself doesn't tell."""
    name = deployment.output("WorkQueue").rsplit("/", 1)[-1]
    now = deployment.now()
    with classified("cloudwatch:GetMetricStatistics", name):
        points = deployment.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/SQS",
            MetricName="ApproximateAgeOfOldestMessage",
            Dimensions=[{"Name": "QueueName", "Value": name}],
            StartTime=now - _LOOK_BACK,
            EndTime=now,
            Period=60,
            Statistics=["Maximum"],
        )["Datapoints"]
    last = max(points, key=lambda each: each["Timestamp"], default=None)
    return float(last["Maximum"]) if last else None
