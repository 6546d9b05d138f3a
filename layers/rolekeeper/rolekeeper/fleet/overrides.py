"""What people write into the state table takes effect at once: the control item, pins, and approvals.

A sweep applies the control item, a pin is applied on its instance, and an approval has its mapping judged.

The table's stream says which item was written, and this reads it: a plain `put-item` does as much as the command. This
also reports writes of the control item, and a mode that a deployment changed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from rolekeeper.aws import Tasks, WorkQueue
from rolekeeper.aws.errors import AwsRefusalError, ConflictError, RetryableError
from rolekeeper.aws.queue import Task
from rolekeeper.fleet.expiry import AHEAD
from rolekeeper.instances.requests import DroppedError
from rolekeeper.model.instance import Timer
from rolekeeper.model.mapping import Control, Mode
from rolekeeper.model.text import shown
from rolekeeper.storage import State, Update, layout
from rolekeeper.storage.layout import Key
from rolekeeper.telemetry import Telemetry

CONTROL_CHANGED, MODE_CHANGED = "Control Changed", "Mode Changed"
MEANS = {
    Mode.OBSERVE: "Rolekeeper decides and reports what it would do, and changes nothing",
    Mode.ENFORCE: "Rolekeeper attaches, replaces and detaches roles",
}


@dataclass(frozen=True)
class OperatorOverrides:
    """Acts on what was written; made for each batch, in which it starts each task once."""

    state: State
    queue: WorkQueue
    tasks: Tasks
    telemetry: Telemetry
    mode: Mode
    now: Callable[[], datetime]
    started: set[Task] = field(default_factory=set)

    def written(self, key: Key, correlation_id: str, at: datetime) -> None:
        """Act on an item that was put, changed or deleted; DroppedError if it is no operator override.

        Doing it twice is harmless: `at` and `correlation_id`, the id of its stream record, identify a write.
        """
        pk, sk = key
        if key == layout.CONTROL:
            # The sweep also finds what was withheld while paused.
            self._start(Task.SWEEP, correlation_id)
            self._report_control(correlation_id, at)
        elif pk == layout.TIMERS:
            self._timer(sk, correlation_id)
        elif pk.startswith(layout.APPROVALS):
            by, mapping = layout.approval_of(key)
            self.tasks.start(Task.APPROVED, correlation_id, by=by, mapping=layout.encode(mapping))
        elif sk == layout.PIN:
            self._pin(pk, correlation_id)
        else:
            raise DroppedError(f"nothing is steered by {pk!r:.80} {sk!r:.80}")

    def _pin(self, pk: str, correlation_id: str) -> None:
        key = layout.instance_key_from(pk)
        if key is None:
            raise DroppedError(f"a pin is under {pk!r:.80}, which names no instance")
        pin, what = self.state.read([key]).pins.get(key), "was written"
        if pin is None or pin.expired(self.now()):
            what = "was released" if pin else "was removed"
        elif pin.expires_at:
            self.state.arm(Timer(pin.expires_at, key))
        self.queue.send([key], f"its pin {what}", correlation_id)

    def _report_control(self, correlation_id: str, at: datetime) -> None:
        """Report a write of the control item: an event, a history entry and, if pause or mode changed, a mail.

        It is noted after it was sent, so none is lost. The stream has keys only: the former value is the one that was
        reported last.
        """
        store, pk = self.state.store, layout.CONTROL_REPORTED[0]
        entry = layout.history_key(pk, at, correlation_id)
        items = store.get([layout.CONTROL, layout.CONTROL_REPORTED, entry])
        if entry in items:
            return
        item, was = items.get(layout.CONTROL, {}), items.get(layout.CONTROL_REPORTED, {}).get("control", str(Control()))
        control = Control.read(item)
        withheld = control.withholds(self.mode)
        detail = {
            "from": was,
            "to": str(control),
            "in-effect": withheld.reason if withheld else MEANS[Mode.ENFORCE],
            **{f"claimed-{name}": shown(str(item.get(name, ""))) for name in ("by", "reason")},
            "cause": "the control item was written",
            "correlation-id": correlation_id,
        }
        # The mail is sent separately: a retry because the event failed doesn't mail twice.
        mails = [self.telemetry.mail] if was != str(control) else []
        for send in (self.telemetry.event, *mails):
            send(CONTROL_CHANGED, detail)
            if not self.telemetry.flush():
                raise RetryableError("NotSent", "a write of the control item was not reported")
        reported = {**layout.key_attributes(layout.CONTROL_REPORTED), "control": str(control)}
        store.write(store.entry(pk, detail, at, id_=correlation_id), store.put(reported))

    def _timer(self, sk: str, correlation_id: str) -> None:
        """Run the expiries now if a timer rings before the next minute's run would see it."""
        try:
            due = datetime.fromisoformat(sk.partition("#")[0])
        except ValueError as error:
            raise DroppedError(f"a timer's key tells no time: {sk!r:.80}") from error
        if self.now() < due <= self.now() + AHEAD:
            self._start(Task.EXPIRIES, correlation_id)

    def _start(self, task: Task, correlation_id: str) -> None:
        if task not in self.started:
            self.tasks.start(task, correlation_id)
            self.started.add(task)

    def report_deployed_mode(self, correlation_id: str) -> None:
        """Report once that a deployment, not the first one, changed the mode. The next minute retries a refusal."""
        store, mode = self.state.store, self.mode
        try:
            items = store.get([layout.DEPLOYED, layout.CONTROL])
            deployed = items.get(layout.DEPLOYED, {})
            was = deployed.get("mode")
            if was == mode:
                return
            known = Update().set({"mode": mode.value, "at": layout.timestamp(self.now())}).only_as(deployed, "mode")
            store.write(store.update(layout.DEPLOYED, known))
        except ConflictError:
            # Of two that see it at once, the other one reports it.
            return
        except AwsRefusalError as error:
            self.telemetry.will_retry("the deployed mode can't be compared", error=str(error))
            return
        if was:
            effective = Control.read(items.get(layout.CONTROL, {})).mode or mode
            detail = {"from": str(was), "to": mode.value, "in-effect": effective.value, "means": MEANS[effective]}
            self.telemetry.send(MODE_CHANGED, {**detail, "cause": "a deployment", "correlation-id": correlation_id})
