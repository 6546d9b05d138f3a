"""SQS where ministack lacks something: no message is lost, queues are fair, dead letters can be redriven, and counted.

ministack's threads (event source mappings, state machines, rules) change a queue's list of messages without a lock, so
a message that one sends while another deletes may vanish. Here they take turns. `StartMessageMoveTask` moves all
messages at once (SQS API reference: a moved message is a new one, with a new id and no receives). A standard queue
hands out first the messages of groups with few messages in flight (SQS developer guide, "Fair queues").
"""

import functools
import json
import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from ministack.core.responses import new_uuid
from ministack.services import eventbridge, lambda_svc, sqs

from rolekeeper_local.corrections import correct

type Queue = dict[str, Any]
type Answer = dict[str, Any]

#: The functions that change a queue's messages.
_CHANGES = (
    (sqs, ("_act_send_message", "_act_delete_message", "_act_delete_message_batch", "_act_purge_queue")),
    (sqs, ("_collect_msgs", "_expire_retained", "_dlq_sweep", "_delete_messages_for_esm")),
    (eventbridge, ("_dispatch_to_sqs",)),
    (lambda_svc, ("_route_async_failure", "_send_ddb_stream_failure_record")),
)
#: Those that send one message, and their queue by their arguments.
_SENDS: dict[str, Callable[..., Queue | None]] = {
    "_act_send_message": lambda data, url: sqs._get_q(data.get("QueueUrl", url)),
    "_dispatch_to_sqs": lambda spec, *_: sqs._queue_by_arn(str(spec)),
}
#: Those that take messages away: the messages' outcome, and the queue by the arguments.
_TAKES: dict[str, tuple[str, Callable[..., Queue]]] = {
    "_delete_messages_for_esm": ("deleted", lambda url, _handles: sqs._get_q(url)),
    "_act_delete_message": ("deleted", lambda data, url: sqs._get_q(data.get("QueueUrl", url))),
    "_act_delete_message_batch": ("deleted", lambda data, url: sqs._get_q(data.get("QueueUrl", url))),
    "_act_purge_queue": ("deleted", lambda data, url: sqs._get_q(data.get("QueueUrl", url))),
    "_dlq_sweep": ("dead", lambda queue: queue),
    "_expire_retained": ("expired", lambda queue: queue),
}


def install() -> "Queues":
    queues = Queues()
    sqs._queues_lock = queues.lock  # its own, which few of them take, would be a second one to wait for
    for module, names in _CHANGES:
        for name in names:
            former = getattr(module, name)
            correct(functools.partial(queues.change, name), name, module)
            handlers = {action: getattr(module, name) for action, known in sqs._HANDLERS.items() if known is former}
            sqs._HANDLERS.update(handlers)
    sqs._HANDLERS["StartMessageMoveTask"] = queues.start_move
    sqs._HANDLERS["ListMessageMoveTasks"] = queues.list_moves
    return queues


class Queues:
    """The outcome of every queue's messages, by the queue's ARN."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._counts: dict[str, Counter[str]] = {}
        self._open: dict[str, set[str]] = {}
        self._moves: list[dict[str, Any]] = []

    def document(self) -> dict[str, dict[str, int]]:
        """The counts of messages by outcome, by queue.

        `sent`, `received` (each once), then `deleted`, `dead` (moved to the dead-letter queue), `redriven` from there,
        or `expired`; `lost` are those that were received, and are gone without any of these outcomes.
        """
        with self.lock:
            there = {_arn(queue): _ids(queue) for queue in sqs._queues._data.values()}
            return {
                arn: {**counts, "lost": len(self._open[arn] - there.get(arn, set()))}
                for arn, counts in self._counts.items()
            }

    def change(self, name: str, original: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Call one of _CHANGES, and count the messages that it sends, receives first, or takes from its queue."""
        with self.lock:
            if name == "_collect_msgs":
                return self._receive(original, *arguments)
            if name in _TAKES:
                what, queue_of = _TAKES[name]
                queue = queue_of(*arguments)
                before = _ids(queue)
                answer = original(*arguments)
                self._count(queue, what, before - _ids(queue))
                return answer
            answer = original(*arguments, **named)
            if name in _SENDS and (sent := _SENDS[name](*arguments)) is not None:
                if name == "_dispatch_to_sqs" and not sent["is_fifo"]:
                    sent["messages"][-1]["group_id"] = _group_of(*arguments[1:])
                self._counts.setdefault(_arn(sent), Counter())["sent"] += 1
                self._open.setdefault(_arn(sent), set())
            return answer

    def _receive(self, original: Callable[..., list[Any]], queue: Queue, *arguments: Any) -> list[Any]:
        # ministack looks for dead letters first, and by another clock: messages due in between aren't received again.
        tries = float(_redrive_policy(queue).get("maxReceiveCount", math.inf))
        spent = [(each, each["visible_at"]) for each in queue["messages"] if each.get("receive_count", 0) >= tries]
        for each, _ in spent:
            each["visible_at"] = math.inf
        if not queue["is_fifo"]:
            queue["messages"] = _fair(queue["messages"])
        found = original(queue, *arguments)
        for each, visible_at in spent:
            each["visible_at"] = visible_at
        first = {each["id"] for each in found if each["receive_count"] == 1}
        self._count(queue, "received", first)
        self._open[_arn(queue)] |= first
        return found

    def _count(self, queue: Queue, what: str, ids: set[str]) -> None:
        self._counts.setdefault(_arn(queue), Counter())[what] += len(ids)
        self._open[_arn(queue)] = self._open.get(_arn(queue), set()) - ids

    def start_move(self, data: dict[str, Any], _url: str) -> Answer:
        """StartMessageMoveTask: from a dead-letter queue to another queue, or back to where the messages came from."""
        source_arn = data.get("SourceArn", "")
        with self.lock:
            source, target = _ends_of_move(source_arn, data.get("DestinationArn", ""))
            moved = [each for each in source["messages"] if each["visible_at"] <= time.time()]
            source["messages"] = [each for each in source["messages"] if each not in moved]
            self._count(source, "redriven", {each["id"] for each in moved})
            for message in moved:
                sent = {"QueueUrl": target["url"], "MessageBody": message["body"]}
                sent["MessageAttributes"] = message.get("message_attributes") or {}
                sqs._act_send_message(sent, target["url"])
        task = {
            "TaskHandle": new_uuid(),
            "Status": "COMPLETED",
            "SourceArn": source_arn,
            "DestinationArn": _arn(target),
            "StartedTimestamp": int(time.time() * 1000),
            "ApproximateNumberOfMessagesMoved": len(moved),
            "ApproximateNumberOfMessagesToMove": len(moved),
        }
        self._moves.append(task)
        return {"TaskHandle": task["TaskHandle"]}

    def list_moves(self, data: dict[str, Any], _url: str) -> Answer:
        """ListMessageMoveTasks: the newest first."""
        found = [each for each in reversed(self._moves) if each["SourceArn"] == data.get("SourceArn")]
        return {"Results": found[: int(data.get("MaxResults", 1))]}


def _fair(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sorted by the messages of the same group in flight; a message without a group is a group of its own."""
    now = time.time()
    in_flight = (each for each in messages if each.get("receive_count", 0) and now < each["visible_at"] < math.inf)
    busy = Counter(each.get("group_id") for each in in_flight)
    busy[None] = 0
    return sorted(messages, key=lambda each: busy[each.get("group_id")])


def _group_of(event: str, parameters: dict[str, Any] | None = None) -> str | None:
    """The message group that a rule's target gives an event: a text, or a path into the event."""
    group = (parameters or {}).get("MessageGroupId")
    if not group or not group.startswith("$."):
        return group
    value: Any = json.loads(event)
    for name in group[2:].split("."):
        value = value.get(name, "") if isinstance(value, dict) else ""
    return str(value)


def _ends_of_move(source_arn: str, target_arn: str) -> tuple[Queue, Queue]:
    source = sqs._queue_by_arn(source_arn)
    feeders = [
        queue for queue in sqs._queues._data.values() if _redrive_policy(queue).get("deadLetterTargetArn") == source_arn
    ]
    if source is None or not feeders:
        raise sqs._Err("ResourceNotFoundException", "The source queue is no dead-letter queue.")
    if not target_arn and len(feeders) > 1:
        raise sqs._Err("InvalidParameterValue", "Several queues feed it here: name the destination.")
    target = sqs._queue_by_arn(target_arn) if target_arn else feeders[0]
    if target is None:
        raise sqs._Err("ResourceNotFoundException", "The destination queue does not exist.")
    return source, target


def _ids(queue: Queue) -> set[str]:
    return {each["id"] for each in queue["messages"]}


def _arn(queue: Queue) -> str:
    return str(queue["attributes"]["QueueArn"])


def _redrive_policy(queue: Queue) -> dict[str, Any]:
    policy = queue["attributes"].get("RedrivePolicy")
    return dict(json.loads(policy)) if policy else {}
