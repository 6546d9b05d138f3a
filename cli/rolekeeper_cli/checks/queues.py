"""The two queues: what waits, for how long, and what could not be done."""

from datetime import timedelta

from rolekeeper.aws.errors import classified
from rolekeeper.model.problem import advice, typed
from rolekeeper_cli.doctor_deployment import DoctorDeployment
from rolekeeper_cli.findings import Findings, fail, unknown, warn

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
