"""Making one change at EC2: the grant and the start of a history entry, the call, and what became of it.

One write, one mutation, one write. A replace or a detach takes room in its mapping's window, in the same write as its
grant. A history entry that stays "started" says that nobody knows the outcome: what the instance carries tells.
"""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from rolekeeper.aws import Ec2
from rolekeeper.aws.errors import (
    AccessDeniedError,
    AwsRefusalError,
    ConflictError,
    NoResponseError,
    NotFoundError,
    NotReadyError,
    PermanentError,
    RetryableError,
)
from rolekeeper.instances import records
from rolekeeper.instances.change_limit import ChangeLimiter, Reservation
from rolekeeper.instances.observe import Observation, waits_for_room
from rolekeeper.model import Action, Association, Decision, InstanceRecord, MappingKey, ReconcileRequest, RecordChange
from rolekeeper.settings import Rules
from rolekeeper.storage import State
from rolekeeper.storage.layout import Key
from rolekeeper.storage.table import Write
from rolekeeper.telemetry import CHANGED, Telemetry, history_entry

# Seconds between attempts to count a change while other workers count theirs; each attempt lets one of them through.
CROWDED = (0.05, 0.1, 0.1, 0.2, 0.2, 0.4, 0.4, 0.8)
# What a history entry says of a change: it is about to be made, EC2 took it, EC2 refused it.
STARTED, DONE, REFUSED = "started", "done", "refused"


@dataclass(frozen=True, slots=True)
class Retry:
    """Look again; `error` is what to say when no look is left."""

    error: AwsRefusalError | None = None


@dataclass(frozen=True, slots=True)
class OutcomeUnknown:
    """The call may have happened. Its grant explains what the instance carries then."""

    error: RetryableError


@dataclass(frozen=True, slots=True)
class NotApplied:
    """Nothing was changed, and `decision` says what the instance shows instead.

    Attributes:
        decision: a wait or a hold.
        answer: what EC2 said, if it was asked.
        completes: the history entry that was started for it, with what is known.
        left: the record as its start left it.
        also: the room in the mapping's window that this gives back.
    """

    decision: Decision
    answer: Mapping[str, str] | None = None
    completes: tuple[Key, Mapping[str, Any]] | None = None
    left: InstanceRecord | None = None
    also: tuple[Write, ...] = ()


@dataclass(frozen=True, slots=True)
class _Started:
    """A change that is about to be made: the key of its history entry, the record by now, and the room that it took."""

    entry: Key
    left: InstanceRecord
    room: Reservation | None


@dataclass(frozen=True, kw_only=True)
class Applier:
    """Applies decisions.

    Attributes:
        ec2: the instances and their associations.
        state: the state table.
        window: how much each mapping may still change.
        telemetry: logs, metrics and events.
        rules: what the deployment allows.
        now: the clock (UTC).
        sleep: waits between attempts, in seconds.
    """

    ec2: Ec2
    state: State
    window: ChangeLimiter
    telemetry: Telemetry
    rules: Rules
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], None] = time.sleep

    def apply(
        self, request: ReconcileRequest, observed: Observation, decision: Decision
    ) -> Retry | OutcomeUnknown | NotApplied:
        """Do what was decided for one instance, if there is room for it, and record what became of it.

        Raises:
            AwsRefusalError: our own table failed. What EC2 was asked stands, and its grant explains it.
        """
        # Asked before its turn, it would be counted as one more that waits, and those behind it would wait longer.
        started = observed.turn(decision, self.now()) or self._start(request, observed, decision)
        if isinstance(started, datetime):
            return NotApplied(waits_for_room(decision, started))
        try:
            made = self._mutate(decision, request.instance.id)
        except RetryableError as error:
            self.telemetry.will_retry(
                "the outcome of a change is unknown", error=str(error), instance=request.instance.id
            )
            return OutcomeUnknown(error)
        except (NotReadyError, ConflictError, NotFoundError, PermanentError) as error:
            return self._refused(request, observed, decision, started, error)
        self._complete(request, observed, decision, started, made)
        return Retry()

    # ---- how ----

    def _start(self, request: ReconcileRequest, observed: Observation, decision: Decision) -> _Started | datetime:
        """Write the grant and the entry, with the room that the change takes, if any; or say when its turn is."""
        mapping = _counted_for(decision)
        found: Reservation | None = None
        entry = {
            **history_entry(request, observed.instance, observed.association, decision, {}),
            "outcome": STARTED,
        }
        for wait in (*CROWDED, None):
            now = self.now()
            room = found or (self.window.room(mapping, now) if mapping else None)
            change = records.starting(observed, decision, now)
            try:
                at = self.state.save(request.instance, change, now, entry=entry, also=[room.take] if room else [])
            except ConflictError:
                if mapping is None:
                    raise
                turn = self.window.reserve_or_wait(mapping, decision.revision, self.now())
                if isinstance(turn, datetime):
                    return turn
                found = turn
            except NoResponseError:
                # It may have been written: once more would count it twice.
                raise
            except RetryableError:
                # Workers that count for the same mapping at the same time: DynamoDB lets one of them through.
                if mapping is None or wait is None:
                    raise
                self.sleep(wait * random.Random().uniform(0.5, 1))  # noqa: S311  # spreads load, guards nothing
            else:
                return _Started(at, replace(observed.record, writes=observed.record.writes + bool(change)), room)
        raise RetryableError("WindowBusy", f"the changes of {mapping} could not be counted", "dynamodb:UpdateItem")

    def _mutate(self, decision: Decision, instance_id: str) -> Association:
        if decision.action is Action.ATTACH:
            return self.ec2.associate(instance_id, decision.profile_arn)
        if decision.action is Action.REPLACE and not decision.swap:
            return self.ec2.replace(decision.association_id, decision.profile_arn, instance_id)
        return self.ec2.disassociate(decision.association_id, instance_id)

    def _complete(
        self, request: ReconcileRequest, observed: Observation, decision: Decision, started: _Started, made: Association
    ) -> None:
        now = self.now()
        answer = {"association-id": made.id, "state": made.state.value}
        change = records.completed(observed, decision, self.rules.contention, now)
        self.state.save(request.instance, change, now, completes=(started.entry, {"outcome": DONE, "answer": answer}))
        self.telemetry.decision(
            request,
            observed.instance,
            observed.association,
            decision,
            answer,
            event=CHANGED[Action.DETACH if decision.swap else decision.action],
            reads=observed.tags_read,
        )

    def _refused(
        self,
        request: ReconcileRequest,
        observed: Observation,
        decision: Decision,
        started: _Started,
        error: AwsRefusalError,
    ) -> Retry | NotApplied:
        """EC2 said no: complete the entry with its answer, then observe again, wait, or show why not."""
        answer = {"code": error.code, "message": error.message, "action": error.action, "resource": error.resource}
        # Sent twice and refused once, the call may have happened: the entry stays "started", and keeps its room.
        outcome = {"answer": answer} if error.possibly_applied else {"outcome": REFUSED, "answer": answer}
        also = (started.room.back,) if started.room and not error.possibly_applied else ()
        completes = started.entry, outcome
        if isinstance(error, ConflictError | NotFoundError):
            self.state.save(request.instance, RecordChange(), self.now(), completes=completes, also=also)
            return Retry(RetryableError(error.code, error.message, error.action, error.resource))
        return NotApplied(self._instead(request, observed, decision, error), answer, completes, started.left, also)

    def _instead(
        self, request: ReconcileRequest, observed: Observation, decision: Decision, error: AwsRefusalError
    ) -> Decision:
        """What the instance shows after a refusal that looking again doesn't change."""
        if isinstance(error, NotReadyError):
            propagating = error.code != "IncorrectInstanceState"
            return replace(
                decision,
                action=Action.WAIT,
                code="propagating" if propagating else "changing",
                reason=f"EC2 isn't ready for role {decision.role}: {error}",
                polls=True,
                arguments=(error.code,),
            )
        if isinstance(error, AccessDeniedError):
            holds = replace(
                decision,
                action=Action.HOLD,
                code="denied",
                reason=f"permission {error.action} on {error.resource} is missing ({error.code})",
                arguments=(error.action, error.resource),
            )
            self.telemetry.denied(error, correlation_id=request.correlation_id, news=not observed.shows(holds))
            return holds
        reason = f"EC2 refused role {decision.role}: {error}"
        return replace(decision, action=Action.HOLD, code="refused", reason=reason, arguments=(error.code,))


def _counted_for(decision: Decision) -> MappingKey | None:
    """The mapping in whose window a change takes room: one that takes a role away. A pin is a person's own act."""
    mapping = decision.mapping
    return mapping if decision.action is not Action.ATTACH and mapping and not mapping.pins else None
