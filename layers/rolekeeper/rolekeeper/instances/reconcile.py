"""Observe, decide, apply: for a batch of instances, until each is as it should be or shows why not.

Nothing is locked. A mutation names the association that was observed; when EC2 refuses a stale one, we observe again.
After a mutation we observe again too: that follows the association until it is `associated`, and meets what
changed meanwhile.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from rolekeeper.aws import Ec2
from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError, ConflictError, RetryableError
from rolekeeper.instances.apply import Applier, NotApplied, OutcomeUnknown, Retry
from rolekeeper.instances.observe import Observation, Observed, Unreadable, observe
from rolekeeper.instances.records import needs_watch, next_record
from rolekeeper.instances.requests import RetryLoop
from rolekeeper.model import Action, Condition, Decision, InstanceKey, ReconcileRequest, RecordChange
from rolekeeper.settings import Rules
from rolekeeper.storage import State
from rolekeeper.telemetry import PARKED, REFUSED, Telemetry, history_entry

# Seconds between looks at an instance that we changed or that changed under us; EC2 associates within seconds.
LOOKS = (0.2, 0.4, 0.8, 1.6, 3.2)
# A new instance may not be visible at once (AWS_FACTS.md "Errors"); a message older than this names one that is gone.
VISIBLE_WITHIN = timedelta(minutes=2)
# Decisions that the next look may change.
_FOLLOWED = frozenset({"associating", "disassociating"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one instance's reconcile ended.

    `error`: nothing was decided; the message must come again. `waiting`: the retry loop has to look again, and the
    instance shows this very decision `since` then.
    """

    decision: Decision | None
    waiting: bool = False
    since: datetime | None = None
    error: AwsRefusalError | None = None


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Reconciler:
    """The reconciler with what it works on.

    Attributes:
        ec2: the instances and their associations.
        state: the state table.
        telemetry: logs, metrics and events.
        applier: makes the changes.
        rules: what the deployment allows; the control item overrides the mode.
        retries: has an instance looked at again until it is ready; None inside a retry loop, which does.
        now: the clock (UTC).
        sleep: waits between looks, in seconds.
    """

    ec2: Ec2
    state: State
    telemetry: Telemetry
    applier: Applier
    rules: Rules
    retries: RetryLoop | None = None
    now: Callable[[], datetime] = _utc_now
    sleep: Callable[[float], None] = time.sleep

    def run(self, requests: Iterable[ReconcileRequest]) -> dict[InstanceKey, Outcome]:
        """Reconcile the instances that these messages name; several messages for one instance are one reconcile."""
        pending = _by_instance(requests)
        outcomes: dict[InstanceKey, Outcome] = {}
        for pause in (*LOOKS, None):
            if not pending:
                break
            try:
                observed = observe(list(pending), self.ec2, self.state, self.now())
            except AwsRefusalError as error:
                return outcomes | self._unread(pending, error)
            for key, request in list(pending.items()):
                ended = self._guarded(request, observed[key], last=pause is None)
                if isinstance(ended, Outcome):
                    outcomes[key] = ended
                    del pending[key]
            if pending and pause is not None:
                self.sleep(pause)
        return outcomes

    def park(self, request: ReconcileRequest, decision: Decision) -> None:
        """Give up waiting, visibly: the next `running` event or sweep takes it up again."""
        parked = replace(decision, reason=f"{decision.reason}; gave up waiting, resumes on its next event or the sweep")
        now = self.now()
        condition = Condition(
            parked.action, parked.code, parked.reason, now, fingerprint=decision.fingerprint, parked=True
        )
        entry = history_entry(request, None, None, parked, {})
        self.state.save(request.instance, RecordChange(condition=condition), now, entry=entry)
        self.telemetry.decision(request, None, None, parked, event=PARKED)
        self.telemetry.count("Parked")

    def _unread(
        self, pending: dict[InstanceKey, ReconcileRequest], error: AwsRefusalError
    ) -> dict[InstanceKey, Outcome]:
        """The truth can't be read: hold everything, and let the messages come again."""
        if isinstance(error, AccessDeniedError):
            self.telemetry.denied(error, correlation_id=next(iter(pending.values())).correlation_id)
        self.telemetry.will_retry("could not observe", error=str(error), instances=[key.id for key in pending])
        return {key: Outcome(None, error=error) for key in pending}

    def _guarded(self, request: ReconcileRequest, observed: Observed, *, last: bool) -> Outcome | Retry:
        if isinstance(observed, Unreadable):
            return self._unread({request.instance: request}, observed.error)[request.instance]
        try:
            ended = self._one(request, observed, last=last)
        except ConflictError as error:
            # Another reconcile of this instance was faster: what it wrote stands, and we look at it.
            ended = Retry(RetryableError(error.code, error.message, error.action, error.resource))
        except AwsRefusalError as error:
            # Our own table, queue or machine failed: what EC2 was asked stands, and its grant explains it.
            if isinstance(error, AccessDeniedError):
                self.telemetry.denied(error, correlation_id=request.correlation_id)
            self.telemetry.will_retry("could not finish", error=str(error), instance=request.instance.id)
            return Outcome(None, error=error)
        if isinstance(ended, Retry) and last:
            unsettled = ended.error or RetryableError(
                "NotSettled", "it kept changing while we looked", "", request.instance.id
            )
            self.telemetry.will_retry("did not settle", error=str(unsettled), instance=request.instance.id)
            return Outcome(None, error=unsettled)
        return ended

    def _one(self, request: ReconcileRequest, observed: Observation, *, last: bool) -> Outcome | Retry:
        decision = observed.decision(self.rules)
        if decision.code == "gone" and not last and self.now() - request.at < VISIBLE_WITHIN:
            return Retry()
        if decision.code in _FOLLOWED and not last:
            return Retry()
        if observed.outdated and not decision.action.mutates and not last:
            return Retry()
        if decision.action is Action.NOTHING:
            return self._rest(request, observed, decision)
        if not decision.action.mutates:
            return self._hold(request, observed, NotApplied(decision))
        applied = self.applier.apply(request, observed, decision)
        if isinstance(applied, OutcomeUnknown):
            return Outcome(decision, error=applied.error)
        return self._hold(request, observed, applied) if isinstance(applied, NotApplied) else applied

    def _rest(self, request: ReconcileRequest, observed: Observation, decision: Decision) -> Outcome:
        """Nothing to do: no write, unless something from before has to be cleared up."""
        now = self.now()
        change = next_record(observed, decision, now)
        # That another mapping stands for the same role by now is worth an entry; that a wait is over is not.
        handed_over = any(each.at == now for each in change.grants)
        entry = history_entry(request, observed.instance, observed.association, decision, {}) if handed_over else None
        self.state.save(request.instance, change, now, entry=entry)
        self.telemetry.decision(request, observed.instance, observed.association, decision)
        return Outcome(decision)

    def _hold(self, request: ReconcileRequest, observed: Observation, held: NotApplied) -> Outcome | Retry:
        """Show why the instance doesn't carry what it should, and see that it is watched if it has to be."""
        now, decision = self.now(), held.decision
        shown = observed.record.condition if observed.shows(decision) else None
        watched_until = self._watch(request, observed, decision, now)
        change = next_record(observed, decision, now, watched_until)
        entry = None
        if held.left:
            change = replace(change, expected=held.left)
        elif change:
            entry = history_entry(request, observed.instance, observed.association, decision, {})
        try:
            self.state.save(request.instance, change, now, entry=entry, completes=held.completes, also=held.also)
        except ConflictError as error:
            if not held.completes:
                raise
            # Another look wrote since: what it says of the instance stands, and of this one only the answer is kept.
            self.state.save(request.instance, RecordChange(), now, completes=held.completes, also=held.also)
            return Retry(RetryableError(error.code, error.message, error.action, error.resource))
        self.telemetry.decision(
            request,
            observed.instance,
            observed.association,
            decision,
            held.answer,
            event=REFUSED if decision.action is Action.HOLD and not shown else "",
            reads=observed.tags_read,
        )
        return Outcome(decision, waiting=decision.polls, since=shown.since if shown else now)

    def _watch(
        self, request: ReconcileRequest, observed: Observation, decision: Decision, now: datetime
    ) -> datetime | None:
        """Until when a watch goes that begins now: by a timer, or by a retry loop. None where none has to begin.

        A message that the queue delays would make a chain of this function's own messages, which Lambda takes for a
        loop and stops (AWS_FACTS.md "Lambda, SQS, ...").
        """
        if not needs_watch(observed, decision, now, loop_failed=request.loop_failed):
            return None
        if decision.until:
            return decision.until
        return self.retries.start(request, now) if self.retries else None


def _by_instance(requests: Iterable[ReconcileRequest]) -> dict[InstanceKey, ReconcileRequest]:
    """One message for each instance: the first, unless a later one knows that no loop watches it any more."""
    chosen: dict[InstanceKey, ReconcileRequest] = {}
    for request in requests:
        if request.loop_failed or request.instance not in chosen:
            chosen[request.instance] = request
    return chosen
