"""SQS where ministack lacks something: no message is lost, queues are fair, dead letters can be redriven, and counted.

ministack's threads (event source mappings, state machines, rules) change a queue's list of messages without a lock:
what one sends while another deletes may vanish. Here they take turns. `StartMessageMoveTask` is missing there; here it
moves everything at once (SQS API reference: a moved message is a new one, with a new id and no receives). A standard
queue hands out first what belongs to message groups with few messages in flight (SQS developer guide, "Fair queues").
"""
# ruff: noqa: SLF001 - ministack has no public API inside its process; the release is pinned

import functools
import json
import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from ministack.core.responses import new_uuid  # type: ignore[import-not-found]
from ministack.services import eventbridge, lambda_svc, sqs  # type: ignore[import-not-found]

type Queue = dict[str, Any]
type Answer = dict[str, Any]

#: Whatever changes a queue's messages.
_CHANGES = (
    (sqs, ("_act_send_message", "_act_delete_message", "_act_delete_message_batch", "_act_purge_queue")),
    (sqs, ("_collect_msgs", "_expire_retained", "_dlq_sweep", "_delete_messages_for_esm")),
    (eventbridge, ("_dispatch_to_sqs",)),
    (lambda_svc, ("_route_async_failure", "_send_ddb_stream_failure_record")),
)
#: Of these, what sends one message, and how each is told which queue.
_SENDS: dict[str, Callable[..., Queue | None]] = {
    "_act_send_message": lambda data, url: sqs._get_q(data.get("QueueUrl", url)),
    "_dispatch_to_sqs": lambda spec, *_: sqs._queue_by_arn(str(spec)),
}
#: And what takes messages away: what became of them, and how each is told which queue.
_TAKES: dict[str, tuple[str, Callable[..., Queue]]] = {
    "_delete_messages_for_esm": ("deleted", lambda url, _handles: sqs._get_q(url)),
    "_act_delete_message": ("deleted", lambda data, url: sqs._get_q(data.get("QueueUrl", url))),
    "_act_delete_message_batch": ("deleted", lambda data, url: sqs._get_q(data.get("QueueUrl", url))),
    "_act_purge_queue": ("deleted", lambda data, url: sqs._get_q(data.get("QueueUrl", url))),
    "_dlq_sweep": ("dead", lambda queue: queue),
    "_expire_retained": ("expired", lambda queue: queue),
}


def install() -> "Queues":
    """Correct ministack's SQS in this process; call once, before the first request."""
    queues = Queues()
    sqs._queues_lock = queues.lock  # its own, which few of them take, would be a second one to wait for
    for module, names in _CHANGES:
        for name in names:
            former = getattr(module, name)
            turned = queues.in_turn(queues.counted(former, name))
            setattr(module, name, turned)
            sqs._HANDLERS.update({action: turned for action, known in sqs._HANDLERS.items() if known is former})
    sqs._HANDLERS["StartMessageMoveTask"] = queues.in_turn(queues.start_move)
    sqs._HANDLERS["ListMessageMoveTasks"] = queues.list_moves
    return queues


class Queues:
    """What became of the messages of every queue, by the queue's ARN."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._counts: dict[str, Counter[str]] = {}
        self._open: dict[str, set[str]] = {}
        self._moves: list[dict[str, Any]] = []

    def document(self) -> dict[str, dict[str, int]]:
        """What became of the messages, by queue.

        `sent`, by people, functions and rules; `received` by anybody, each once; then `deleted`, `dead` (moved to the
        dead-letter queue), `redriven` from there, or `expired`. `lost` are those that were received, are nowhere now,
        and came to none of these ends.
        """
        with self.lock:
            there = {_arn(queue): {each["id"] for each in queue["messages"]} for queue in sqs._queues._data.values()}
            return {
                arn: {**counts, "lost": len(self._open[arn] - there.get(arn, set()))}
                for arn, counts in self._counts.items()
            }

    def in_turn[**P, R](self, change: Callable[P, R]) -> Callable[P, R]:
        """The same, one at a time."""

        @functools.wraps(change)
        def turned(*arguments: P.args, **named: P.kwargs) -> R:
            with self.lock:
                return change(*arguments, **named)

        return turned

    # ---- counting ----

    def counted(self, change: Callable[..., Any], name: str) -> Callable[..., Any]:
        """The same, and what it sends, receives for the first time, or takes from its queue is counted."""
        if name == "_collect_msgs":
            return self._counting_received(change)
        if name in _SENDS:
            return self._counting_sent(change, _SENDS[name])
        if name not in _TAKES:
            return change
        what, queue_of = _TAKES[name]

        def counted(*arguments: Any) -> Any:
            queue = queue_of(*arguments)
            before = {each["id"] for each in queue["messages"]}
            answer = change(*arguments)
            self._count(queue, what, before - {each["id"] for each in queue["messages"]})
            return answer

        return counted

    def _counting_sent(self, send: Callable[..., Any], queue_of: Callable[..., Queue | None]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            answer = send(*arguments)
            if (queue := queue_of(*arguments)) is not None:
                if send.__name__ == "_dispatch_to_sqs" and not queue["is_fifo"]:
                    queue["messages"][-1]["group_id"] = _group_of(*arguments[1:])
                self._counts.setdefault(_arn(queue), Counter())["sent"] += 1
                self._open.setdefault(_arn(queue), set())
            return answer

        return counted

    def _counting_received(self, collect: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
        def counted(queue: Queue, *arguments: Any) -> list[Any]:
            # ministack looks for dead letters first, and by another clock: what is due in between isn't received again.
            tries = _tries_of(queue)
            spent = [(each, each["visible_at"]) for each in queue["messages"] if each.get("receive_count", 0) >= tries]
            for each, _ in spent:
                each["visible_at"] = math.inf
            if not queue["is_fifo"]:
                queue["messages"] = _fair(queue["messages"])
            found = collect(queue, *arguments)
            for each, visible_at in spent:
                each["visible_at"] = visible_at
            first = {each["id"] for each in found if each["receive_count"] == 1}
            self._count(queue, "received", first)
            self._open[_arn(queue)] |= first
            return found

        return counted

    def _count(self, queue: Queue, what: str, ids: set[str]) -> None:
        self._counts.setdefault(_arn(queue), Counter())[what] += len(ids)
        self._open[_arn(queue)] = self._open.get(_arn(queue), set()) - ids

    # ---- redriving ----

    def start_move(self, data: dict[str, Any], _url: str) -> Answer:
        """StartMessageMoveTask: from a dead-letter queue to another queue, or back to where the messages came from."""
        source_arn = data.get("SourceArn", "")
        source, target_arn = sqs._queue_by_arn(source_arn), data.get("DestinationArn", "")
        feeders = [queue for queue in sqs._queues._data.values() if _dead_letters_of(queue) == source_arn]
        if source is None or not feeders:
            raise sqs._Err("ResourceNotFoundException", "The source queue is no dead-letter queue.")
        if not target_arn and len(feeders) > 1:
            raise sqs._Err("InvalidParameterValue", "Several queues feed it here: name the destination.")
        target = sqs._queue_by_arn(target_arn) if target_arn else feeders[0]
        if target is None:
            raise sqs._Err("ResourceNotFoundException", "The destination queue does not exist.")
        moved = [each for each in source["messages"] if each["visible_at"] <= time.time()]
        source["messages"] = [each for each in source["messages"] if each not in moved]
        self._count(source, "redriven", {each["id"] for each in moved})
        for message in moved:
            sent = {"QueueUrl": target["url"], "MessageBody": message["body"]}
            sqs._act_send_message({**sent, "MessageAttributes": message.get("message_attributes") or {}}, target["url"])
        task = {"TaskHandle": new_uuid(), "Status": "COMPLETED", "SourceArn": source_arn}
        counted = {"ApproximateNumberOfMessagesMoved": len(moved), "ApproximateNumberOfMessagesToMove": len(moved)}
        started = {"DestinationArn": _arn(target), "StartedTimestamp": int(time.time() * 1000)}
        self._moves.append({**task, **counted, **started})
        return {"TaskHandle": task["TaskHandle"]}

    def list_moves(self, data: dict[str, Any], _url: str) -> Answer:
        """ListMessageMoveTasks: the newest first."""
        found = [each for each in reversed(self._moves) if each["SourceArn"] == data.get("SourceArn")]
        return {"Results": found[: int(data.get("MaxResults", 1))]}


def _fair(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same, first those whose group has the fewest messages in flight; one without a group is a group by itself."""
    now = time.time()
    in_flight = (each for each in messages if each.get("receive_count", 0) and now < each["visible_at"] < math.inf)
    busy = Counter(each.get("group_id") for each in in_flight)
    busy[None] = 0
    return sorted(messages, key=lambda each: busy[each.get("group_id")])


def _group_of(event: str, parameters: dict[str, Any] | None = None) -> str | None:
    """The message group that a rule's target gives an event: a text, or a path into the event."""
    group = (parameters or {}).get("MessageGroupId")
    return str(json.loads(event).get(group[2:], "")) if group and group.startswith("$.") else group


def _arn(queue: Queue) -> str:
    return str(queue["attributes"]["QueueArn"])


def _dead_letters_of(queue: Queue) -> str:
    return str(_redrive_policy(queue).get("deadLetterTargetArn", ""))


def _tries_of(queue: Queue) -> float:
    """After how many receives a message is a dead letter."""
    return float(_redrive_policy(queue).get("maxReceiveCount", math.inf))


def _redrive_policy(queue: Queue) -> dict[str, Any]:
    policy = queue["attributes"].get("RedrivePolicy")
    return dict(json.loads(policy)) if policy else {}
