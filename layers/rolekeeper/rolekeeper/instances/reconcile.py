"""Observe, decide, apply: for a batch of instances, until each is as it should be or shows why not.

Nothing is locked. A mutation names the association that was observed; when EC2 refuses a stale one, we observe again.
After a mutation too: that follows the association until it is `associated`, and meets what changed meanwhile.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

from rolekeeper.aws.errors import AwsRefusalError, ConflictError, RetryableError
from rolekeeper.instances import records
from rolekeeper.instances.apply import Applier, Outcome
from rolekeeper.instances.observe import Observation, Observed, Unreadable, observe
from rolekeeper.model.instance import Condition, Decision, InstanceKey, ReconcileRequest, RecordChange
from rolekeeper.telemetry import PARKED

# Seconds between looks at an instance that we changed or that changed under us; EC2 associates within seconds.
LOOKS = (0.2, 0.4, 0.8, 1.6, 3.2)
# A new instance may not be visible at once (AWS_FACTS.md "Errors"); a message older than this names one that is gone.
# One with a younger grant isn't: EC2 shows terminated ones too, usually for less than an hour (`DescribeInstances`).
# A look that took longer than `SLOW` is made once more: a newer one that had nothing to write left no trace.
VISIBLE_WITHIN, SHOWN_FOR, SLOW = timedelta(minutes=2), timedelta(minutes=30), timedelta(seconds=5)
# Decisions that the next look may change.
_FOLLOWED = frozenset({"associating", "disassociating"})


class Reconciler(Applier):
    """Looks at instances, decides, and carries out what was decided."""

    def run(self, requests: Iterable[ReconcileRequest]) -> dict[InstanceKey, Outcome]:
        """Reconcile the instances that these messages name; several messages for one instance are one reconcile."""
        pending: dict[InstanceKey, ReconcileRequest] = {}
        for request in requests:
            # The first for an instance stands for all, unless a later one knows that no loop watches it.
            if request.loop_failed or request.instance not in pending:
                pending[request.instance] = request
        outcomes: dict[InstanceKey, Outcome] = {}
        for pause in (*LOOKS, None):
            if not pending:
                break
            try:
                observed = observe(list(pending), self.ec2, self.state, self.now())
            except AwsRefusalError as error:
                first, ids = next(iter(pending.values())), [key.id for key in pending]
                failed = self.failed("could not observe", error, first, instances=ids)
                return outcomes | dict.fromkeys(pending, failed)
            for key, request in list(pending.items()):
                if ended := self._look(request, observed[key], pause):
                    outcomes[key] = ended
                    del pending[key]
            if pending and pause is not None:
                self.sleep(pause)
        return outcomes

    def park(self, request: ReconcileRequest, decision: Decision) -> None:
        """Give up waiting, visibly: the next `running` event or sweep takes it up again."""
        parked = replace(decision, reason=f"{decision.reason}; gave up waiting, resumes on its next event or the sweep")
        now = self.now()
        condition = Condition(parked.action, parked.code, parked.reason, now, decision.fingerprint, parked=True)
        entry = records.history_entry(request, None, parked, {})
        self.state.save(request.instance, RecordChange(condition=condition), now, entry=entry)
        self.telemetry.decision(request, entry, event=PARKED)
        self.telemetry.count("Parked")

    def _look(self, request: ReconcileRequest, observed: Observed, pause: float | None) -> Outcome | None:
        """How an instance's reconcile ended; None where it has to be looked at again, after the `pause`."""
        instance = request.instance.id
        if isinstance(observed, Unreadable):
            return self.failed("could not observe", observed.error, request, instances=[instance])
        unsettled = RetryableError("NotSettled", "it kept changing while we looked", "", instance)
        try:
            ended = self._carry_out(request, observed, pause)
        except ConflictError as error:
            # Another was faster, at EC2 or with its own reconcile of this instance: what it did stands.
            ended = None
            unsettled = RetryableError(error.code, error.message, error.action, error.resource)
        except AwsRefusalError as error:
            # Our own table, queue or machine failed: what EC2 was asked stands, and its grant explains it.
            return self.failed("could not finish", error, request, instance=instance)
        if pause is None and not ended:
            return self.failed("did not settle", unsettled, request, instance=instance)
        return ended

    def _carry_out(self, request: ReconcileRequest, observed: Observation, pause: float | None) -> Outcome | None:
        decision = observed.decision(self.settings)
        if decision.action.mutates:
            return self.apply(request, observed, decision)
        now = self.now()
        if decision.code == "gone" and any(now - each.at < SHOWN_FOR for each in observed.record.grants.values()):
            # This answer of EC2's is older than the change: the grant must not go.
            return None
        invisible = decision.code == "gone" and now - request.at < VISIBLE_WITHIN
        slow = pause == LOOKS[0] and now - observed.asked_at > SLOW
        if slow or (pause is not None and (invisible or decision.code in _FOLLOWED or observed.outdated)):
            return None
        return self.show(request, observed, decision)
