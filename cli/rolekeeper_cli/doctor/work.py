"""Whether Rolekeeper works: the switches, the sweep, the queues, the rows, and the targets of a hub."""

from collections.abc import Iterator
from datetime import timedelta

from rolekeeper.model.problem import Advice, Kind, Remedy, advice, typed
from rolekeeper_cli.aws.deployment import OWN_ONLY, Deployment
from rolekeeper_cli.doctor.view import Finding, Findings, Level, fail, unknown, warn
from rolekeeper_cli.row.effect import of_rows, withheld
from rolekeeper_cli.shell.layout import amount, minute, several
from rolekeeper_cli.target import use as views
from rolekeeper_cli.target.use import OVERDUE, PROBLEM, SILENT, UNKNOWN
from rolekeeper_cli.target.view import TargetView

# Rolekeeper judges a row in about a second, after a cold start in a few.
_JUDGED_SECONDS = 10
_SWEEP = "see docs/runbook.md#sweep-overdue"
_ROWS = 5


def mode(deployment: Deployment) -> Findings:
    control = deployment.app.state.read([], []).control
    why = control.withholds(deployment.settings.mode)
    if control.unclear:
        yield fail(f"nothing changes: {control.unclear}", advice("set it: ", Remedy(Kind.SETTINGS)))
    elif why and (control.paused or why.code == "observed"):
        plan = advice("what it would do: ", typed("rolekeeper plan"), "; to have it done: ", Remedy(Kind.ENFORCE))
        yield warn(f"nothing changes: {withheld(deployment)}", Remedy(Kind.RESUME) if control.paused else plan)
    return "changes are made"


def sweep(deployment: Deployment) -> Findings:
    """When a sweep last saw the whole fleet."""
    own = deployment.app.registry.get(deployment.home)
    if not (own and own.last_sweep):
        if deployment.now() - deployment.stack.created > deployment.sweep_overdue:
            yield fail("no sweep ever saw the whole fleet", _SWEEP)
        return "the stack is new: its first sweep is still to come"
    if deployment.now() - own.last_sweep > deployment.sweep_overdue:
        yield fail(f"no sweep saw the whole fleet since {minute(own.last_sweep)}", _SWEEP)
    return f"last sweep {minute(own.last_sweep)}, {amount(own.fleet or 0, 'instance')}"


def rows(deployment: Deployment) -> Findings:
    effects = of_rows(deployment, deployment.rows)
    if unjudged := [key for key, effect in effects.items() if not all(edit.status for edit in effect.edits)]:
        deployment.sleep(_JUDGED_SECONDS)
        effects |= of_rows(deployment, deployment.app.table.get_rows(unjudged))
    bad = [(key, edit) for key, effect in effects.items() for edit in effect.edits]
    for key, edit in bad[:_ROWS]:
        late = "" if edit.status else ": its function, on_mapping_change, didn't look at it"
        yield warn(f"{edit}{late}", key.remedy(Kind.MAPPING))
    if len(bad) > _ROWS:
        yield warn(f"{amount(len(bad) - _ROWS, 'more row')} like these", Remedy(Kind.MAPPINGS))
    idle = several([missing for effect in effects.values() for missing in effect.missing], _ROWS)
    all_are = f"all rows are published as they are written: {len(effects):,}{f'; {idle}' if idle else ''}"
    return all_are if effects else "there are no mappings yet"


# ---- the two queues: what waits, for how long, and what could not be processed ----

# Usually nothing waits; this many take minutes at the rate that EC2 allows.
MANY = 1_000
_LOOK_BACK = timedelta(minutes=15)
_IN_QUEUE = "ApproximateNumberOfMessages"
_PARTS = (_IN_QUEUE, f"{_IN_QUEUE}NotVisible", f"{_IN_QUEUE}Delayed")
_WAITS = "see docs/runbook.md#work-waits"


def work(deployment: Deployment) -> Findings:
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


def dead_letters(deployment: Deployment) -> Findings:
    count = sum(_counts(deployment, deployment.output("DeadLetterQueue")))
    if count:
        remedy = advice("see docs/runbook.md#dead-letters; when the cause is fixed: ", typed("rolekeeper redrive"))
        yield fail(f"messages in the dead-letter queue, which could not be processed: {count:,}", remedy)
    return "the dead-letter queue is empty"


def _counts(deployment: Deployment, url: str) -> list[int]:
    answer = deployment.ask("sqs:GetQueueAttributes", url, QueueUrl=url, AttributeNames=list(_PARTS))
    return [int(answer["Attributes"][each]) for each in _PARTS]


def _oldest_seconds(deployment: Deployment) -> float | None:
    """The age of the work queue's oldest message, by CloudWatch's last datapoint; SQS itself has no such attribute."""
    name = deployment.output("WorkQueue").rsplit("/", 1)[-1]
    now = deployment.now()
    answer = deployment.ask(
        "cloudwatch:GetMetricStatistics",
        name,
        Namespace="AWS/SQS",
        MetricName="ApproximateAgeOfOldestMessage",
        Dimensions=[{"Name": "QueueName", "Value": name}],
        StartTime=now - _LOOK_BACK,
        EndTime=now,
        Period=60,
        Statistics=["Maximum"],
    )
    last = max(answer["Datapoints"], key=lambda each: each["Timestamp"], default=None)
    return float(last["Maximum"]) if last else None


# This many are shown one by one, those that matter most first; and this many accounts without a spoke are named.
_SHOWN, _NAMED = 10, 5


def targets(deployment: Deployment) -> Findings:
    if not deployment.settings.organization:
        return f"the deployment {OWN_ONLY}"
    found = views.views(deployment)
    bad = sorted(_bad(deployment, found), key=lambda each: each.level is not Level.FAIL)
    yield from bad[:_SHOWN]
    if left := bad[_SHOWN:]:
        yield Finding(
            left[0].level, f"{len(left):,} more about targets", advice("see them all: ", Remedy(Kind.TARGETS))
        )
    accounts = len({each.account for each in found})
    return f"all targets are well: {len(found):,}, in {amount(accounts, 'account')}"


def coverage(deployment: Deployment) -> Findings:
    if not deployment.settings.organization:
        return f"the deployment {OWN_ONLY}"
    if found := [f"{each.account}/{each.region}" for each in views.uncovered(deployment, views.registered(deployment))]:
        what = f"no spoke is in {several(found, _NAMED)} of the organization, so their instances get no roles"
        yield warn(what, advice("see them all: ", typed("rolekeeper targets --missing")))
    return "every active account of the organization has a spoke in each Region that has one"


def _bad(deployment: Deployment, found: list[TargetView]) -> Iterator[Finding]:
    interval, now = views.sweep_interval(deployment), deployment.now()
    for each in found:
        name = f"{each.account}/{each.region}"
        if each.state == PROBLEM:
            removed = "look at the role and the stack rolekeeper-spoke there; or, if the spoke was removed for good: "
            remedy = advice(removed, typed(f"rolekeeper targets forget {name}"))
            since = each.problem_since
            lasts = since is None or now - since > interval
            when = f" since {minute(since)}" if since else ""
            yield (fail if lasts else warn)(f"target {name}{when}: {each.reason}", remedy)
        elif each.state == SILENT:
            yield fail(f"target {name}: {each.reason}", _redeploy(each))
        elif each.state == UNKNOWN:
            deploy = "deploy a spoke there, or delete the rule there that sends events to the hub's bus"
            yield warn(f"unknown target {name}: {each.reason}", deploy)
        elif each.state == OVERDUE:
            yield fail(f"target {name}: {each.reason}", "see docs/runbook.md#sweep-overdue")
        if each.withheld:
            what = f"target {name}: {each.withheld:,} of {each.drift:,} instances in drift weren't sent"
            yield warn(f"{what}: too many of its changes wait already", _WAITS)
        yield from _version(each, str(found[0].version), name)


def _version(target: TargetView, hub: str, name: str) -> Iterator[Finding]:
    """A spoke of another version: neighbouring ones work together, others may not."""
    gap = target.version_gap
    if not gap:
        return
    remedy = advice("upgrade the hub: ", typed("rolekeeper deploy")) if gap > 0 else _redeploy(target)
    what = f"target {name} has version {target.version}, and the hub {hub}"
    if abs(gap) == 1:
        yield warn(f"{what}: neighbouring versions work together, others may not", remedy)
    else:
        yield fail(f"{what}: only neighbouring versions work together", remedy)


def _redeploy(target: TargetView) -> Advice:
    deploy = typed(f"rolekeeper spoke deploy --region {target.region}")
    return advice(f"with the credentials of account {target.account}: ", deploy)
