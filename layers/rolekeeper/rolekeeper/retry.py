"""The retry loop: one waiting room for instances that aren't ready yet. Its machine is statemachines/retry.asl.json.

It is Standard, bounded by a deadline in its input, with exponential backoff, a cap and full jitter.
"""

import json
import random
import uuid
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from rolekeeper.codec import parse_time, timestamp
from rolekeeper.errors import classified
from rolekeeper.model import InstanceKey, Wake

if TYPE_CHECKING:
    from types_boto3_stepfunctions.client import SFNClient

FIRST_WAIT, LONGEST_WAIT = 4, 60
# A new profile is refused for up to about two minutes (AWS_FACTS.md "Errors"); after this it is a wrong configuration.
PROPAGATION = timedelta(minutes=5)


def wait_seconds(attempt: int, rng: random.Random | None = None) -> int:
    """Seconds to wait before an attempt (counted from 0): doubling up to the cap, with full jitter, at least one."""
    longest = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(attempt, 10))
    return max(1, round((rng or random.Random()).uniform(0, longest)))  # noqa: S311  # spreads load, guards nothing


@dataclass(frozen=True, slots=True)
class Tick:
    """The machine's state: what goes into `on_retry`, and comes out with the next wait."""

    wake: Wake
    deadline: datetime
    attempt: int

    @classmethod
    def parse(cls, event: dict[str, Any]) -> Self:
        """Read the machine's state.

        Raises:
            KeyError, ValueError: it isn't one that `RetryLoop.start` made.
        """
        instance = event["instance"]
        wake = Wake(
            instance=InstanceKey(instance["account"], instance["region"], instance["id"]),
            cause=event["cause"],
            correlation_id=event["correlation_id"],
            at=parse_time(event["asked_at"]),
        )
        return cls(wake, parse_time(event["deadline"]), int(event["attempt"]))

    def following(self, now: datetime, *, propagating_since: datetime | None = None) -> dict[str, Any] | None:
        """The machine's next state, or None when the next look would come after the deadline.

        Args:
            now: the time (UTC).
            propagating_since: since when EC2 doesn't know the profile. One that doesn't propagate within its bound is a
                wrong configuration.
        """
        deadline = min(self.deadline, propagating_since + PROPAGATION) if propagating_since else self.deadline
        wait = wait_seconds(self.attempt + 1)
        if now + timedelta(seconds=wait) > deadline:
            return None
        return replace(self, attempt=self.attempt + 1).document("waiting", wait)

    def document(self, outcome: str, wait: int) -> dict[str, Any]:
        """The machine's state as JSON values."""
        key = self.wake.instance
        return {
            "instance": {"account": key.account, "region": key.region, "id": key.id},
            "cause": self.wake.cause,
            "correlation_id": self.wake.correlation_id,
            "asked_at": timestamp(self.wake.at),
            "deadline": timestamp(self.deadline),
            "attempt": self.attempt,
            "wait_seconds": wait,
            "outcome": outcome,
        }


class RetryLoop:
    """Starts executions of the retry machine."""

    def __init__(self, client: "SFNClient", machine_arn: str, timeout_minutes: int) -> None:
        self._client = client
        self._machine_arn = machine_arn
        self._timeout = timedelta(minutes=timeout_minutes)

    def start(self, wake: Wake, now: datetime) -> datetime:
        """Start a loop for one instance; returns its deadline.

        The execution's name is unique: a bare instance id would block that name for 90 days (AWS_FACTS.md, "Lambda,
        SQS, DynamoDB streams, Step Functions").
        """
        tick = Tick(wake, now + self._timeout, 0)
        with classified("states:StartExecution", self._machine_arn):
            self._client.start_execution(
                stateMachineArn=self._machine_arn,
                name=f"{wake.instance.id}-{uuid.uuid4().hex[:12]}",
                input=json.dumps(tick.document("waiting", wait_seconds(0))),
            )
        return tick.deadline
