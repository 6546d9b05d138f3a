"""The schedules' function: sweeps, handles each minute what expires, and does tasks for the state machines.

A hub's sweep has the accounts machine sweep the other targets, by one run of this function for each account.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import runtime
from rolekeeper.aws.queue import Task, resumable
from rolekeeper.fleet.sweep import RESERVE
from rolekeeper.fleet.targets import Which
from rolekeeper.instances.requests import target_from
from rolekeeper.mappings.fan_out import FanOut
from rolekeeper.model.instance import Target
from rolekeeper.model.mapping import MappingKey
from rolekeeper.storage import layout

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

    from rolekeeper.app import App

TRIED_FOR = timedelta(hours=2)  # EventBridge and Lambda retry an event for less than this (template.yaml)
# Seconds that a run for an account begins nothing new earlier than others: the machine waits five minutes for it.
EARLIER = 60


@dataclass(frozen=True, slots=True)
class Run:
    """A run of this function: its id, the same when Lambda tries it again, and the rest of its time.

    `correlation_id` is that of its event, if it has one.
    """

    id: str
    correlation_id: str
    seconds_left: Callable[[], float]

    def in_time(self) -> bool:
        return self.seconds_left() >= RESERVE


@runtime.logger.inject_lambda_context
@runtime.metrics.log_metrics
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Do the task that the event names, by default a sweep; answer with the result, and with what is left."""
    app = runtime.app(context.invoked_function_arn)
    task, by_machine = Task(event.get("task", Task.SWEEP)), "of" in event

    def seconds_left() -> float:
        return context.get_remaining_time_in_millis() / 1000 - (EARLIER if by_machine else 0)

    run = Run(context.aws_request_id, str(event.get("id") or context.aws_request_id), seconds_left)
    only = app.settings.sole_target
    if only and (by_machine or _target(app, event) != only):
        # The deployment was a hub when this began.
        app.telemetry.dropped("another target: the deployment is of no organization", run.correlation_id)
        return {"task": task.value, "id": run.correlation_id, "finished": True, "accounts": []}
    try:
        for_account = by_machine and task is not Task.ACCOUNTS
        done = in_account(app, event, run) if for_account else _do(app, task, event, run=run)
    finally:
        app.telemetry.flush()
    runtime.logger.info(done.get("task", task.value), extra=done)
    return done


def _do(app: "App", task: Task, event: Mapping[str, Any], *, run: Run) -> dict[str, Any]:
    """Do a task of the deployment's own; what isn't finished is answered with what is left."""
    id_ = run.correlation_id
    match task:
        case Task.ACCOUNTS:
            of = event["of"]
            return {"accounts": app.batches.close(of["batch"]) if "batch" in of else app.targets.accounts_due(of)}
        case Task.EXPIRIES:
            return _expiries(app, event, run)
        case Task.FAN_OUT:
            return resumable(task, id_, app.sender.run(layout.decode(FanOut, event), id_, run.in_time))
        case Task.JUDGED:
            judged = app.publisher.finish(event["batch"])
            return {"id": id_, "judged": {str(key): verdict.status.value for key, verdict in judged.items()}}
        case Task.APPROVED:
            key = layout.decode(MappingKey, event["mapping"])
            return {"id": id_, "status": app.publisher.approved(key, event["by"], id_).status.value}
        case Task.SWEEP:
            return _sweep(app, event, run)
        case _:
            raise ValueError(f"{task} is done for an account")


def in_account(app: "App", event: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Do the accounts machine's task in one account; its answer is only logged."""
    done = {"task": event["task"], "id": event["id"], "account": event["account"]}
    match Task(event["task"]):
        case Task.FAN_OUT:
            return {**done, "sent": _fan_out_in_account(app, event, run)}
        case Task.JUDGE:
            app.ask_account(event["of"]["batch"], event["account"], run.in_time)
            return done
        case Task.SWEEP:
            return {**done, "alone": _sweep_account(app, event, run)}
        case task:
            raise ValueError(f"{task} isn't done for an account")


def _fan_out_in_account(app: "App", event: Mapping[str, Any], run: Run) -> int:
    account, total = event["account"], 0
    targets = [served.target for served in app.registry.all(account)]
    for job in (job for job, accounts in app.batches.jobs(event["of"]["batch"]) if account in accounts):
        begun = FanOut.to(layout.decode(MappingKey, job["mapping"]), targets)
        sender = replace(app.sender, queue=replace(app.queue, group=job["id"]))  # of hundreds of accounts none is noisy
        sent = resumable(Task.FAN_OUT, job["id"], sender.run(begun, job["id"], run.in_time))
        if not sent["finished"]:
            app.machine.start(f"{run.id} {account} {begun.mapping}", sent)
        total += int(sent["sent"])
    return total


def _sweep_account(app: "App", event: Mapping[str, Any], run: Run) -> list[str]:
    def sweep(target: Target) -> bool:
        try:
            own = replace(run, id=f"{run.id} {target}")
            swept = _sweep_target(app, target, {"task": Task.SWEEP}, run=own)
        except Exception:
            app.telemetry.logger.exception("a target's sweep failed", extra={"target": str(target)})
            return False
        app.telemetry.logger.info(Task.SWEEP.value, extra=swept)
        return True

    alone = app.targets.sweep_account(event["account"], event["of"], in_time=run.in_time, sweep=sweep)
    return [str(target) for target in alone]


def _sweep(app: "App", event: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Sweep the event's target; a hub's sweep that begins has the other targets swept too."""
    if not (event.get("target") or "rest" in event):
        made = datetime.fromisoformat(event["time"]) if "time" in event and "task" not in event else None
        # A person sent it, if it says no time; Lambda tries the schedule's event again with the same.
        scheduled = made if made and app.now() - made <= TRIED_FOR else None
        which = Which.DUE if scheduled else Which.ALL
        app.targets.start_sweeps(run.id, run.correlation_id, which, since=scheduled)
    return _sweep_target(app, _target(app, event), event, run=run)


def _target(app: "App", event: Mapping[str, Any]) -> Target:
    return target_from(event["target"]) if event.get("target") else app.settings.target


def _sweep_target(app: "App", target: Target, event: Mapping[str, Any], *, run: Run) -> dict[str, Any]:
    swept = app.at(target).sweep(run.correlation_id, run.seconds_left, run.id, event=event).run()
    return resumable(Task.SWEEP, run.correlation_id, swept, target=target)


def _expiries(app: "App", event: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Do the minute's work."""
    own = app.registry.get(app.settings.target)
    if not (own and own.last_sweep):
        # Nothing changes before a sweep has ended: on a new state table the first minute runs one.
        return _sweep_target(app, app.settings.target, event, run=run)
    app.overrides.report_deployed_mode(run.correlation_id)
    app.targets.start_first_sweeps(run.id, run.correlation_id)
    done = asdict(app.expiries(run.correlation_id, waits=event.get("waits") is True).run())
    # Last, as no timer is to wait for accounts that may never have a spoke.
    app.targets.probe_unknown(run.correlation_id)
    return done
