"""The schedules' function: sweeps, handles each minute what expires, and does tasks for the state machines.

A hub's sweep has the accounts machine sweep the other targets, by one run of this function for each account.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
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
    from rolekeeper.mappings.verdict import Verdict

TRIED_FOR = timedelta(hours=2)  # EventBridge and Lambda retry an event for less than this (template.yaml)
# Seconds that a run for an account begins nothing new earlier than others: the machine waits five minutes for it.
EARLIER = 60


@dataclass(frozen=True, slots=True)
class Run:
    """A run of this function: its id, the same when Lambda tries it again, and the rest of its time."""

    id: str
    seconds_left: Callable[[], float]

    def in_time(self) -> bool:
        return self.seconds_left() >= RESERVE


@runtime.logger.inject_lambda_context
@runtime.metrics.log_metrics
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Do the task that the event names, by default a sweep; answer with the result, and with what is left."""
    app = runtime.app(context.invoked_function_arn)
    correlation_id = str(event.get("id") or context.aws_request_id)
    task = Task(event.get("task", Task.SWEEP))
    first = task is Task.EXPIRIES and not app.state.last_sweep().ended
    if first:
        # Nothing changes before a sweep has ended: on a new state table the first minute runs one.
        task = Task.SWEEP

    def seconds_left() -> float:
        return context.get_remaining_time_in_millis() / 1000 - (EARLIER if "of" in event else 0)

    run = Run(context.aws_request_id, seconds_left)
    if app.settings.only and (event.get("target") or "of" in event):
        # The deployment was a hub when this began.
        app.telemetry.dropped("another target: the deployment is of no organization", correlation_id)
        return {"task": task.value, "id": correlation_id, "finished": True, "accounts": []}
    done: dict[str, Any]
    try:
        if task is Task.ACCOUNTS:
            done = {"accounts": accounts(app, event["of"])}
        elif task in _JUDGES:
            done = {"id": event["id"], "status": _JUDGES[task](app, event).status.value}
        elif "of" in event:
            done = in_account(app, event, run)
        elif task is Task.EXPIRIES:
            done = _minute(app, correlation_id, run.id, waits=event.get("waits") is True)
        elif task is Task.FAN_OUT:
            sent = app.sender.run(layout.decode(FanOut, event), correlation_id, run.in_time)
            done = resumable(task, correlation_id, sent)
        else:
            if app.settings.organization and not (first or event.get("target") or "rest" in event):
                scheduled = _scheduled(event, app.now())
                which = Which.DUE if scheduled else Which.ALL
                app.targets.start_sweeps(run.id, correlation_id, which, since=scheduled)
            target = target_from(event["target"]) if event.get("target") else None
            done = _sweep(app, target, event, run=run)
    finally:
        app.telemetry.flush()
    runtime.logger.info(task.value, extra=done)
    return done


def _approved(app: "App", event: Mapping[str, Any]) -> "Verdict":
    key = layout.decode(MappingKey, event["mapping"])
    return app.publisher.approved(key, event["by"], event["id"])


_JUDGES: Mapping[Task, Callable[["App", Mapping[str, Any]], "Verdict"]] = {
    Task.JUDGED: lambda app, event: app.judged(event["judging"]),
    Task.APPROVED: _approved,
}


def accounts(app: "App", of: Mapping[str, Any]) -> list[str]:
    """The accounts for which the machine does a task: those that its input names, or those of the registry."""
    if "accounts" in of:
        return list(of["accounts"])
    if of["task"] == Task.SWEEP:
        return app.targets.accounts_due(of)
    return list(dict.fromkeys(each.target.account for each in app.registered()))


def in_account(app: "App", event: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Do the accounts machine's task in one account; its answer is only logged."""
    account, of = event["account"], event["of"]
    done = {"task": event["task"], "id": event["id"], "account": account}
    if event["task"] == Task.FAN_OUT:
        begun = FanOut.to(layout.decode(MappingKey, of["mapping"]), app.targets.of_account(account))
        sent = resumable(Task.FAN_OUT, event["id"], app.sender.run(begun, event["id"], run.in_time))
        if not sent["finished"]:
            app.machine.start(f"{run.id} {account}", sent)
        return {**done, "sent": sent["sent"]}
    if event["task"] == Task.JUDGE:
        app.judge(of["judging"], account, run.in_time)
        return done

    def sweep(target: Target) -> bool:
        try:
            own = Run(f"{run.id} {target}", run.seconds_left)
            swept = _sweep(app, target, {"task": Task.SWEEP, "id": event["id"]}, run=own)
        except Exception:
            app.telemetry.logger.exception("a target's sweep failed", extra={"target": str(target)})
            return False
        app.telemetry.logger.info(Task.SWEEP.value, extra=swept)
        return True

    alone = app.targets.sweep_account(account, of, in_time=run.in_time, sweep=sweep)
    return {**done, "alone": [str(each) for each in alone]}


def _sweep(app: "App", target: Target | None, event: Mapping[str, Any], *, run: Run) -> dict[str, Any]:
    correlation_id = str(event.get("id") or run.id)
    there = app.at(target) if target else app
    swept = there.sweep(correlation_id, run.seconds_left, run.id, event=event).run()
    return resumable(Task.SWEEP, correlation_id, swept, target=target)


def _minute(app: "App", correlation_id: str, run_id: str, *, waits: bool) -> dict[str, Any]:
    app.overrides.report_deployed_mode(correlation_id)
    if app.settings.organization:
        app.targets.start_first_sweeps(run_id, correlation_id)
    done = asdict(app.expiries(correlation_id, waits=waits).run())
    if app.settings.organization:
        # Last, as no timer is to wait for accounts that may never have a spoke.
        app.targets.probe_unknown(correlation_id)
    return done


def _scheduled(event: Mapping[str, Any], now: datetime) -> datetime | None:
    """When the schedule made this event, the same in each of Lambda's tries; None if a person sent it."""
    if "task" in event or "time" not in event:
        return None
    made = datetime.fromisoformat(event["time"])
    return made if now - made <= TRIED_FOR else None
