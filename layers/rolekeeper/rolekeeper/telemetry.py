"""Reports what was decided: as a log line, an EventBridge event, a mail, and a metric.

Every decision is one structured log line with its correlation id. One that changes something or refuses to is also an
event, and one that a person has to act on is also a mail (`mail.py`). No-ops send nothing. There is a metric only for
an alarm: each name costs as much as three alarms, and the log answers the rest (docs/cost.md).
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import batched, islice
from typing import TYPE_CHECKING, Any

from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError, NoResponseError, RetryableError, classified
from rolekeeper.aws.queue import SOURCE
from rolekeeper.mail import Mailer, texts
from rolekeeper.model.instance import Action, ReconcileRequest, Target
from rolekeeper.model.mapping import MappingKey
from rolekeeper.model.text import escaped, escaped_json, shown

if TYPE_CHECKING:
    # The functions bring them; the command line, which imports this module too, is installed without Powertools.
    from aws_lambda_powertools import Logger, Metrics
    from types_boto3_events.client import EventBridgeClient

ENTRIES, BYTES = 10, 262_144  # of one PutEvents, at most (AWS_FACTS.md "Limits and names")
# How an event that is too large is cut: the most characters of a text, the most members of a list or a map.
CUTS = ((1_000, 50), (200, 10))

CHANGED = {Action.ATTACH: "Role Attached", Action.REPLACE: "Role Replaced", Action.DETACH: "Role Detached"}
PINNED = {"pin-set": "Pin Set", "pin-removed": "Pin Removed"}
# Decisions that are counted, by their code.
COUNTED = {"contested": "Contested", "window": "ChangesWithheld", "refused": "Refused"}
REFUSED, PARKED, PERMISSION_MISSING = "Role Change Refused", "Instance Parked", "Permission Missing"

type Entry = dict[str, Any]


@dataclass(eq=False)
class Telemetry:
    """Collects an invocation's events and mails, to send them at its end; logs and counts those that can't be sent.

    An event about an instance of a target that is `notified` is put onto the bus of its own account too, by
    `client_at`, unless it is later than `notifies_until`: the function has to end in time, whatever that bus does.
    `refusing` are the targets that refused that.
    """

    client: "EventBridgeClient"
    logger: "Logger"
    metrics: "Metrics"
    mailer: Mailer
    client_at: "Callable[[Target], EventBridgeClient]"
    notifies_until: datetime
    notified: set[Target] = field(default_factory=set, init=False)
    refusing: set[Target] = field(default_factory=set, init=False)
    _events: list[Entry] = field(default_factory=list, init=False)
    _events_of: dict[Target, list[Entry]] = field(default_factory=dict, init=False)
    _mails: list[dict[str, str]] = field(default_factory=list, init=False)
    _denied: set[tuple[str, str]] = field(default_factory=set, init=False)

    def decision(self, request: ReconcileRequest, entry: Mapping[str, Any], *, event: str = "") -> None:
        """Log one decision by its history entry; count it for an alarm; send an `event`, if there is one."""
        detail = {
            "account": request.instance.account,
            "region": request.instance.region,
            "instance-id": request.instance.id,
            "correlation-id": request.correlation_id,
            **{name: entry[name] for name in ("cause", "seen", "decision", "answer", "seconds") if name in entry},
        }
        self.logger.info("decided", extra={**detail, "correlation_id": request.correlation_id})
        if (code := entry["decision"]["code"]) in COUNTED:
            self.count(COUNTED[code])
        if event:
            self.event(event, detail, [request.instance.arn], of=request.instance.target)

    def mapping(self, key: MappingKey, event: str, detail: Mapping[str, Any], *, correlation_id: str) -> None:
        words = {name: escaped(value) if isinstance(value, str) else value for name, value in detail.items()}
        full = {"tag-key": key.tag_key, "tag-value": key.tag_value, "correlation-id": correlation_id, **words}
        self.logger.info(event, extra={**full, "correlation_id": correlation_id})
        self.send(event, full)

    def denied(self, error: AccessDeniedError, *, correlation_id: str, news: bool = True) -> None:
        """Log and count a missing permission; if it is `news`, send an event once per invocation, and mail it."""
        detail = {"action": error.action, "resource": error.resource, "code": error.code, "aws-says": error.message}
        self.logger.error("permission missing", extra={**detail, "correlation_id": correlation_id})
        self.count("PermissionDenied")
        # Each sweep asks again: a refusal that the instance shows already isn't news.
        if news and (named := (error.action, error.resource)) not in self._denied:
            self._denied.add(named)
            self.send(PERMISSION_MISSING, {**detail, "correlation-id": correlation_id})

    def dropped(self, reason: str, message_id: str) -> None:
        """Log why a message was dropped; the rest of it may be a secret."""
        self.logger.warning("dropped", extra={"reason": shown(reason), "correlation_id": shown(message_id)})

    def will_retry(self, text: str, **detail: Any) -> None:
        self.logger.warning(text, extra=detail)
        self.count("WillRetry")

    def count(self, name: str, value: float = 1) -> None:
        self.metrics.add_metric(name=name, unit="Count", value=value)

    def send(self, event: str, detail: Mapping[str, Any]) -> None:
        """Queue an event for `flush`, and its mail if it has one."""
        self.event(event, detail)
        self.mail(event, detail)

    def mail(self, event: str, detail: Mapping[str, Any]) -> None:
        if event in texts():
            self._mails.append(self.mailer.mail(event, detail))

    def event(
        self, event: str, detail: Mapping[str, Any], resources: Sequence[str] = (), *, of: Target | None = None
    ) -> None:
        """Queue an event without its mail; one that is too large for EventBridge is cut, and says so."""
        text = json.dumps(detail, default=str)
        entry = {"Source": SOURCE, "DetailType": event, "Detail": text, "Resources": list(resources)}
        for characters, members in CUTS:
            if _size(entry) > BYTES:
                entry["Detail"] = json.dumps({**_cut(detail, characters, members), "cut": True}, default=str)
        # One step, as targets are swept in threads.
        self._events.append(entry)
        if of and of in self.notified:
            self._events_of.setdefault(of, []).append(entry)

    def flush(self) -> bool:
        """Send the queued events and mails. If AWS doesn't answer, drop the rest: the function has to end in time.

        Returns False if a retry could send what failed, apart from what an account's own bus is to get.
        """
        if not (self._events or self._mails):
            return True
        sends: list[tuple[int, Callable[[], bool | None]]]
        sends = [(len(batch), partial(self._put, batch)) for batch in _batches(self._events)]
        sends += [(1, partial(self.mailer.publish, mail)) for mail in self._mails]
        copies, self._events, self._mails, self._events_of = self._events_of, [], [], {}
        sent = True
        for at, (number, send) in enumerate(sends, start=1):
            try:
                sent &= send() is not False
            except AwsRefusalError as error:
                sent &= not isinstance(error, RetryableError)
                named = {"events": number, "action": error.action, "resource": error.resource}
                self.logger.exception("events were not sent", extra=named)
                self.count("EventsFailed", number)
                if isinstance(error, AccessDeniedError):
                    # No event can report this, only the alarm on the metric and this log line.
                    self.count("PermissionDenied")
                if isinstance(error, NoResponseError):
                    self.count("EventsFailed", sum(others for others, _ in sends[at:]))
                    break
        if copies:
            self._send_copies(copies)
        return sent

    def _send_copies(self, copies: Mapping[Target, Sequence[Entry]]) -> None:
        """Put events onto the buses of their own accounts; what those refuse rings no alarm of the hub."""
        for target, entries in copies.items():
            for batch in _batches(entries):
                try:
                    if self.mailer.now() >= self.notifies_until:
                        raise NoResponseError("NoTime", "the run has no time to wait for an account's bus")
                    self._put(batch, target)
                except AwsRefusalError as error:
                    named = {"events": len(batch), "target": str(target), "error": str(error)}
                    self.logger.warning("events were not sent to their account", extra=named)
                    if isinstance(error, NoResponseError):
                        return
                    if isinstance(error, AccessDeniedError):
                        self.refusing.add(target)
                        break

    def _put(self, entries: Sequence[Entry], target: Target | None = None) -> bool:
        with classified("events:PutEvents", f"the default bus of {target}" if target else "the default bus"):
            put = self.client_at(target).put_events if target else self.client.put_events
            answer = put(Entries=entries)  # type: ignore[arg-type]  # built below
        if lost := answer["FailedEntryCount"]:
            self.logger.error("events were refused", extra={"events": lost, "answer": answer["Entries"]})
            if not target:
                self.count("EventsFailed", lost)
        return not lost


def log_line(values: Mapping[str, Any]) -> str:
    """Write what Powertools logs as one line; a log viewer shows it raw."""
    return escaped_json(json.dumps(values, default=str, ensure_ascii=False, separators=(",", ":")))


def _batches(entries: Iterable[Entry]) -> list[tuple[Entry, ...]]:
    """Return the entries of each call; those that are too large together, which is rare, go one by one."""
    batches: list[tuple[Entry, ...]] = []
    for some in batched(entries, ENTRIES):
        batches += [some] if sum(map(_size, some)) <= BYTES else [(entry,) for entry in some]
    return batches


def _size(entry: Mapping[str, Any]) -> int:
    """Size an entry as EventBridge does (user guide, "Calculating PutEvents event entry size")."""
    texts = (entry["Source"], entry["DetailType"], entry["Detail"], *entry["Resources"])
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)


def _cut(value: Any, text: int, members: int) -> Any:
    """Cut each text in a value to this length, and each list or map to this many members."""
    match value:
        case str():
            return value if len(value) <= text else f"{value[: text - 1]}…"
        case Mapping():
            return {key: _cut(member, text, members) for key, member in islice(value.items(), members)}
        case list() | tuple():
            return [_cut(member, text, members) for member in value[:members]]
    return value
