"""The switches of the whole deployment, the mode and the pause; sweeping now; and the dead letters."""

import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import batched
from math import inf
from typing import Any, Self

from botocore.config import Config

from rolekeeper.aws.errors import ConflictError, classified
from rolekeeper.aws.queue import Task
from rolekeeper.instances.requests import DroppedError, parse
from rolekeeper.model.mapping import Control, Mode
from rolekeeper.model.problem import Kind, Remedy, advice
from rolekeeper.storage import layout
from rolekeeper.storage.state import Update
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.control.view import LetterView, SweptView, SwitchesView
from rolekeeper_cli.deploy.parameters import parameters
from rolekeeper_cli.errors import CommandError, WaitTimeoutError
from rolekeeper_cli.mapping import preview
from rolekeeper_cli.mapping.preview import Preview
from rolekeeper_cli.row.effect import Claim

# A person who has to stop everything at once can't wait until a large fleet is counted.
_COUNTED_SECONDS = 5.0
_LOOK_AGAIN = "look at how it stands now, and decide again"


@dataclass(frozen=True, slots=True)
class Switches:
    """The switches as the control item has them, the mode that is deployed, and who claims to have switched last."""

    control: Control
    deployed: Mode
    claim: Claim

    @classmethod
    def read(cls, deployment: Deployment) -> Self:
        control = deployment.app.state.read([], []).control
        return cls(control, deployment.settings.mode, Claim.read(deployment, control))

    @classmethod
    def after(cls, deployment: Deployment, change: Mapping[str, Any], reason: str) -> Self:
        """Return the switches as a change by the caller would leave them."""
        claim = Claim(deployment.caller.arn, layout.timestamp(deployment.now()), reason)
        return cls(_changed(deployment, change), deployment.settings.mode, claim)

    @property
    def mode(self) -> Mode:
        return self.control.mode or self.deployed

    def view(self) -> SwitchesView:
        """Return what programs get. CommandError if the control item can't be read, so that nothing is changed."""
        if why := self.control.unclear:
            raise CommandError(f"nothing is changed, as {why}", advice("set it: ", Remedy(Kind.SETTINGS)))
        return SwitchesView(
            mode=self.mode.value,
            deployed=self.deployed.value,
            paused=self.control.paused,
            claimed_by=self.claim.by or None,
            claimed_at=self.claim.at or None,
            claimed_reason=self.claim.reason or None,
        )

    def __str__(self) -> str:
        is_ = "set" if self.control.mode else "as deployed"
        paused = "paused" if self.control.paused else "not paused"
        switched = str(self.claim) if self.control.mode or self.control.paused else ""
        return f"mode: {self.mode} ({is_}), {paused}{switched}"


def switch(
    deployment: Deployment, change: Mapping[str, str | bool], reason: str, *, planned_on: str | None = None
) -> Switches:
    """Set attributes of the control item and leave the others; returns the switches then.

    Who does it, and why, is written beside it: a claim, as anyone may write anything there.

    Args:
        change: `mode` ("observe" or "enforce") or `paused`.
        reason: why, for the mail and the history.
        planned_on: the control item (`str(Control)`) when this was decided; None: whatever it says.

    Raises:
        CommandError: the control item has changed since; nothing was written.
    """
    now = layout.timestamp(deployment.now())
    update = Update().set({**change, "by": deployment.caller.arn, "at": now, "reason": reason})
    store = deployment.app.store
    if planned_on is not None:
        item = store.get([layout.CONTROL]).get(layout.CONTROL, {})
        found = str(Control.read(item))
        if found != planned_on:
            raise CommandError(f"another actor switched meanwhile, from {planned_on} to {found}", _LOOK_AGAIN)
        update.only_as(item, "mode", "paused")
    try:
        store.write(store.update(layout.CONTROL, update))
    except ConflictError as error:
        raise CommandError("another actor switched meanwhile", _LOOK_AGAIN) from error
    return Switches.read(deployment)


def expected(deployment: Deployment, change: Mapping[str, Any]) -> Preview | str:
    """What a change would do if it stops changes or lets them through; else a sentence that it does neither."""
    before = deployment.app.state.read([], []).control
    after = replace(_changed(deployment, change), swept=before.swept)
    mode = deployment.settings.mode
    stops, stopped = after.withholds(mode), before.withholds(mode)
    if bool(stops) == bool(stopped):
        return f"Nothing else changes by that: {stops.reason if stops else 'changes are made as before'}."
    return preview.of_switch(deployment, after, _COUNTED_SECONDS if stops else inf)


def _changed(deployment: Deployment, change: Mapping[str, Any]) -> Control:
    return Control.read({**deployment.app.store.get([layout.CONTROL]).get(layout.CONTROL, {}), **change})


def stack_parameters(deployment: Deployment) -> list[tuple[str, str, str]]:
    """List each parameter of the stack, its value and its meaning; last those that this version doesn't know."""
    values = deployment.stack.parameters
    known = {name: str(each.get("Description", "")) for name, each in parameters().items() if name in values}
    names = [*known, *sorted(values.keys() - known.keys())]
    return [(name, values[name], known.get(name, "")) for name in names]


# ---- sweeping now: the scheduled function is invoked, as by its schedule ----

# The longest that a function may run (Lambda quotas), as the answer comes at its end. Invoked once: a second sweep
# beside the first would do no harm, and no good.
_CONFIG = Config(read_timeout=910, retries={"total_max_attempts": 1})


def sweep(deployment: Deployment, *, wait: bool) -> SweptView | None:
    """Sweep, and return the function's report; None without waiting. CommandError if the function failed."""
    function = deployment.resource("OnSchedule")
    client = deployment.client("lambda", _CONFIG)
    with classified("lambda:InvokeFunction", function):
        answer = client.invoke(
            FunctionName=function,
            InvocationType="RequestResponse" if wait else "Event",
            Payload=json.dumps({"task": Task.SWEEP.value, "id": str(uuid.uuid4())}).encode(),
        )
        text = answer["Payload"].read()
    if not wait:
        return None
    swept = json.loads(text)
    if answer.get("FunctionError"):
        said = swept.get("errorMessage", swept) if isinstance(swept, dict) else swept
        raise CommandError(f"the sweep failed: {said}", "see its log: the saved query 'errors and retries'")
    # A function of another version may report more.
    known = {name: value for name, value in swept.items() if name in SweptView.fields}
    if missing := SweptView.fields.keys() - SweptView.defaults.keys() - known.keys():
        what = f"the sweep reported no {min(missing)}"
        raise CommandError(what, "deploy the version of this command: rolekeeper deploy")
    return SweptView(**known)


# ---- the dead letters: reading them, each in words, and sending all of them to the work queue again ----

# The most that are read: they show what happened, and a redrive takes all of them anyway.
_LOOKED_AT = 500
# SQS: messages in one call; seconds for which nobody else sees what we read, and for which we wait for more.
_BATCH, _HIDDEN, _LONG_POLL = 10, 60, 1
_POLL_SECONDS, _PATIENCE_SECONDS = 1.0, 300


class DeadLetters:
    """The dead-letter queue of a deployment."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._url = deployment.stack.outputs["DeadLetterQueue"]
        self._arn = self._attribute(self._url, "QueueArn")

    def count(self) -> int:
        return int(self._attribute(self._url, "ApproximateNumberOfMessages"))

    @contextmanager
    def looked_at(self) -> Iterator[list[Any]]:
        """The messages, each once, at most `_LOOKED_AT`. Afterwards everyone sees them again."""
        found: dict[str, Any] = {}
        try:
            with self._deployment.progress(None, "dead letters looked at") as progress:
                while len(found) < _LOOKED_AT and (some := self._receive()):
                    found |= {each["MessageId"]: each for each in some}
                    progress.at(len(found))
            yield list(found.values())
        finally:
            for page in batched(found.values(), _BATCH):
                entries = [
                    {"Id": str(at), "ReceiptHandle": each["ReceiptHandle"], "VisibilityTimeout": 0}
                    for at, each in enumerate(page)
                ]
                with classified("sqs:ChangeMessageVisibility", self._url):
                    sqs = self._deployment.client("sqs")
                    sqs.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)

    def move(self) -> str:
        """Start to move all of them; returns the task's handle."""
        to = self._attribute(self._deployment.stack.outputs["WorkQueue"], "QueueArn")
        asked = {"SourceArn": self._arn, "DestinationArn": to}
        answer = self._deployment.ask("sqs:StartMessageMoveTask", self._arn, **asked)
        return str(answer["TaskHandle"])

    def wait(self, task: str, there: int) -> int:
        """Wait until they are moved; returns how many were. Raises CommandError (SQS stopped), WaitTimeoutError."""
        with self._deployment.progress(there, "sent to the work queue") as progress:
            for left in self._deployment.looks(_POLL_SECONDS, _PATIENCE_SECONDS):
                asked = {"SourceArn": self._arn, "MaxResults": 10}
                answer = self._deployment.ask("sqs:ListMessageMoveTasks", self._arn, **asked)
                # A task that has ended is listed without its handle (SQS API reference): then it is the newest.
                [newest, *_] = sorted(answer["Results"], key=lambda each: -each["StartedTimestamp"])
                mine = next((each for each in answer["Results"] if each.get("TaskHandle") == task), newest)
                moved = int(mine.get("ApproximateNumberOfMessagesMoved", 0))
                progress.at(moved)
                if mine["Status"] == "COMPLETED":
                    return moved
                if mine["Status"] not in {"RUNNING", "CANCELLING"}:
                    why = mine.get("FailureReason", mine["Status"])
                    raise CommandError(f"SQS stopped after {moved:,} of them: {why}", "run rolekeeper redrive again")
                if left.is_over:
                    what = f"SQS has moved {moved:,} of {there:,} after {_PATIENCE_SECONDS} s, and goes on"
                    raise WaitTimeoutError(what, f"see: aws sqs list-message-move-tasks --source-arn {self._arn}")
        raise AssertionError("a look ends it")

    def _receive(self) -> list[Any]:
        answer = self._deployment.ask(
            "sqs:ReceiveMessage",
            self._url,
            QueueUrl=self._url,
            MaxNumberOfMessages=_BATCH,
            VisibilityTimeout=_HIDDEN,
            WaitTimeSeconds=_LONG_POLL,
            MessageSystemAttributeNames=["SentTimestamp"],
        )
        found: list[Any] = answer.get("Messages", [])
        return found

    def _attribute(self, url: str, name: str) -> str:
        answer = self._deployment.ask("sqs:GetQueueAttributes", url, QueueUrl=url, AttributeNames=[name])
        return str(answer["Attributes"][name])


def letter_view(message: Mapping[str, Any], deployment: Deployment) -> LetterView:
    """One dead letter: what it is, what it is about, and why it is there, if it says so."""
    sent = int(message.get("Attributes", {}).get("SentTimestamp", 0)) / 1_000
    what, about, why = _read(message["Body"], deployment)
    return LetterView(
        since=datetime.fromtimestamp(sent, UTC).replace(microsecond=0),
        what=what,
        of=about,
        why=why,
        message_id=message["MessageId"],
        body=message["Body"],
    )


def _read(text: str, deployment: Deployment) -> tuple[str, str, str]:
    try:
        body = json.loads(text)
    except ValueError:
        return "not JSON", "", text[:100]
    if not isinstance(body, dict):
        return "no JSON object", "", text[:100]
    try:
        request = parse(body, only=deployment.settings.sole_target, now=deployment.now())
    except DroppedError as dropped:
        return _other(body, str(dropped))
    return "an instance to look at", request.instance.id, request.cause


def _other(body: Mapping[str, Any], dropped: str) -> tuple[str, str, str]:
    """What names no instance (docs/runbook.md#dead-letters); the work queue's function drops it, and logs that."""
    context = body.get("requestContext", {})
    condition = str(context.get("condition", "")) if isinstance(context, Mapping) else ""
    if "DDBStreamBatchInfo" in body:
        table = str(body["DDBStreamBatchInfo"].get("streamArn", "")).partition(":table/")[2].partition("/")[0]
        return "edits that weren't worked on; the sweep does it", table, condition
    if "requestPayload" in body:
        said = body.get("responsePayload") or {}
        why = said.get("errorMessage", "") if isinstance(said, Mapping) else said
        task = body["requestPayload"].get("task", "sweep") if isinstance(body["requestPayload"], Mapping) else "sweep"
        return "a scheduled run that failed; the next one does it", str(task), str(why or condition)
    kind = body.get("detail-type")
    return (f"an event: {kind}" if kind else "something else"), str(body.get("source", "")), dropped
