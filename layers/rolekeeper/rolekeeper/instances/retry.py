"""The retry loop: what it hands from one wait to the next, and how it begins."""

import json
import random
import uuid
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from rolekeeper.aws.errors import classified
from rolekeeper.model.instance import InstanceKey, ReconcileRequest
from rolekeeper.storage import layout

if TYPE_CHECKING:
    from types_boto3_stepfunctions.client import SFNClient

FIRST_WAIT, LONGEST_WAIT = 4, 60
# A new profile is refused for up to about two minutes (AWS_FACTS.md "Errors"); after this it is a wrong configuration.
PROPAGATION = timedelta(minutes=5)


def wait_seconds(attempt: int, rng: random.Random | None = None) -> int:
    """Return the seconds before an attempt (counted from 0): doubling up to the cap, with full jitter, at least one."""
    longest = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(attempt, 10))
    return max(1, round((rng or random.Random()).uniform(0, longest)))  # noqa: S311  # spreads load, guards nothing


@dataclass(frozen=True, slots=True)
class RetryState:
    """What the machine hands to `on_retry` and gets back with the next wait, serialized as it is."""

    instance: InstanceKey
    cause: str
    correlation_id: str
    asked_at: datetime
    deadline: datetime
    attempt: int

    @property
    def request(self) -> ReconcileRequest:
        return ReconcileRequest(self.instance, self.cause, self.correlation_id, at=self.asked_at)

    def following(self, now: datetime) -> dict[str, Any] | None:
        """Return the machine's next state, or None after the deadline."""
        following = replace(self, attempt=self.attempt + 1)
        wait = wait_seconds(following.attempt)
        return following.document("waiting", wait) if now + timedelta(seconds=wait) <= self.deadline else None

    def document(self, outcome: str, wait: int) -> dict[str, Any]:
        return {**layout.encode(self), "wait_seconds": wait, "outcome": outcome}


@dataclass(frozen=True, slots=True)
class RetryLoop:
    """Starts executions of the retry machine."""

    client: "SFNClient"
    machine_arn: str
    timeout_minutes: int

    def start(self, request: ReconcileRequest, now: datetime, since: datetime) -> datetime:
        """Start a loop for one instance; returns the loop's deadline.

        Its first wait is as long as it would be by now in a loop that began at `since`: EC2 refused the last attempt.
        """
        deadline = now + timedelta(minutes=self.timeout_minutes)
        waited = (int((now - since).total_seconds()) // FIRST_WAIT).bit_length()
        instance, cause, id_ = request.instance, request.cause, request.correlation_id
        tick = RetryState(instance, cause, id_, asked_at=request.at, deadline=deadline, attempt=waited)
        first = json.dumps(tick.document("waiting", wait_seconds(waited)))
        # A bare instance id would block that name for 90 days (AWS_FACTS.md, "Lambda, SQS, ...").
        name = f"{instance.id}-{uuid.uuid4().hex[:12]}"
        with classified("states:StartExecution", self.machine_arn):
            self.client.start_execution(stateMachineArn=self.machine_arn, name=name, input=first)
        return deadline
