"""Sending a mapping's instances to be reconciled, target by target and page by page."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from rolekeeper.aws import AT_ONCE, Ec2, Machine, MapConcurrently, WorkQueue
from rolekeeper.aws.ec2 import RESTARTS
from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError, StaleTokenError
from rolekeeper.aws.queue import Task, digest, event_of, resumable
from rolekeeper.mappings.job_batches import JobBatches
from rolekeeper.model.instance import Target
from rolekeeper.model.mapping import MappingKey
from rolekeeper.storage import layout
from rolekeeper.telemetry import Telemetry

# The most targets in which a run sends a mapping's instances itself. With more each account gets a run: all of them
# would not fit into one execution's input (256 KB).
FEW = 20


@dataclass(frozen=True, slots=True)
class Unsent:
    """A target whose instances have yet to be sent, from EC2's `token` of the next page on."""

    target: Target
    token: str = ""


@dataclass(frozen=True, slots=True)
class FanOut:
    """How many of a mapping's instances were sent, and which targets are left."""

    mapping: MappingKey
    left: tuple[Unsent, ...] = ()
    sent: int = 0
    restarts: int = 0
    finished: bool = False

    @classmethod
    def to(cls, mapping: MappingKey, targets: Iterable[Target]) -> Self:
        return cls(mapping, tuple(map(Unsent, targets)))


@dataclass(frozen=True)
class Sender:
    """Sends them. The instances of `home` come first, and what it refuses is raised; `ec2_in` is EC2 in a target.

    From `hands_over_at` on the `machine` sends the rest, and in many targets a batch of `batches` all of them.
    """

    home: Target
    ec2_in: Callable[[Target], Ec2]
    queue: WorkQueue
    telemetry: Telemetry
    map_concurrently: MapConcurrently
    machine: Machine
    batches: JobBatches
    now: Callable[[], datetime]
    hands_over_at: datetime

    def begin(self, fan_out: FanOut, correlation_id: str, name: str) -> None:
        """Send a mapping's instances, or have a machine do it, which does nothing again under the same name."""
        if len(fan_out.left) > FEW:
            accounts = sorted({unsent.target.account for unsent in fan_out.left})
            job = event_of(Task.FAN_OUT, correlation_id, mapping=layout.encode(fan_out.mapping))
            self.batches.add(Task.FAN_OUT, digest(name), job, accounts=accounts)
            return
        done = self.send(fan_out, correlation_id, lambda: self.now() < self.hands_over_at)
        if not done.finished:
            self.machine.start(name, resumable(Task.FAN_OUT, correlation_id, done))

    def send(self, fan_out: FanOut, correlation_id: str, in_time: Callable[[], bool]) -> FanOut:
        """Go on for at least one page and while it is in time; returns how far it came."""
        while fan_out.left:
            fan_out = self._pages(fan_out, correlation_id)
            if not in_time():
                break
        return replace(fan_out, finished=not fan_out.left)

    def run(self, fan_out: FanOut, correlation_id: str, in_time: Callable[[], bool]) -> FanOut:
        """Send what is left of a fan-out, in a run for it alone: what is refused is reported here."""
        try:
            return self.send(fan_out, correlation_id, in_time)
        except AccessDeniedError as error:
            self.telemetry.denied(error, correlation_id=correlation_id)
            raise

    def _pages(self, fan_out: FanOut, correlation_id: str) -> FanOut:
        """Send the next page of `home`; once that is done, one of each of the next few targets."""
        some = [unsent for unsent in fan_out.left if unsent.target == self.home] or fan_out.left[:AT_ONCE]
        pages = self.map_concurrently(lambda unsent: self._page(fan_out, unsent, correlation_id), some)
        rest = [unsent for _, unsent in pages if unsent]
        left = (*(unsent for unsent in fan_out.left if unsent not in some), *rest)
        sent = fan_out.sent + sum(number for number, _ in pages)
        # One without a token begins anew.
        restarts = fan_out.restarts + sum(not unsent.token for unsent in rest)
        return replace(fan_out, left=left, sent=sent, restarts=restarts)

    def _page(self, fan_out: FanOut, unsent: Unsent, correlation_id: str) -> tuple[int, Unsent | None]:
        """Send one page; returns how many were sent, and what is left: nothing if another target refuses."""
        mapping = fan_out.mapping
        try:
            page, token = next(self.ec2_in(unsent.target).tagged_pages(mapping, unsent.token))
        except AwsRefusalError as error:
            text = {"mapping": str(mapping), "target": str(unsent.target), "error": str(error)}
            if isinstance(error, StaleTokenError) and fan_out.restarts < RESTARTS:
                self.telemetry.will_retry("a mapping's instances are read anew: EC2 takes the token no longer", **text)
                return 0, replace(unsent, token="")
            if unsent.target == self.home:
                raise
            self.telemetry.will_retry("a target's instances are left to its sweep", **text)
            return 0, None
        sent = self.queue.send((instance.key for instance in page), f"mapping changed: {mapping}", correlation_id)
        return sent, replace(unsent, token=token) if token else None
