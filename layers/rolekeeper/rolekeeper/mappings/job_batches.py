"""What the accounts machine does in many accounts, gathered: a run for an account does all the jobs of a batch there.

The first job of a batch starts the machine, which waits some seconds before it closes the batch. What comes after that
is in the batch of the next slot. An execution has many runs at once, so a bulk edit starts few executions.
"""

import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rolekeeper.aws import Machine
from rolekeeper.aws.errors import ConflictError, RetryableError
from rolekeeper.aws.queue import Task, event_of
from rolekeeper.storage import Store, layout
from rolekeeper.storage.state import Update

GATHERED, SLOT = 5, 20  # seconds
# The most jobs of a batch: a run has four minutes for all that it does in an account. And the batches that may be full.
MOST, FULL = 50, 20
KEPT = timedelta(days=1)
JOBS, JOB = "#jobs", "job:"  # the item that has the jobs, before those of whom each asks; and an attribute for each


@dataclass(frozen=True)
class JobBatches:
    """The batches: each is a partition of the state table, an item of which has all its jobs, and counts them."""

    store: Store
    machine: Machine
    now: Callable[[], datetime]

    def add(self, task: Task, name: str, job: Any, accounts: Sequence[str], then: Task | None = None) -> None:
        """Have a job done in these accounts, with others; once all were done in all, the task `then`."""
        now, expires = int(self.now().timestamp()), int((self.now() + KEPT).timestamp())
        asked = {"sk": name, "accounts": zlib.compress(",".join(accounts).encode()), "expires": expires}
        one_more = Update().set({JOB + name: job, "expires": expires}).add("jobs", 1)
        one_more.only_if("jobs", "<", MOST, or_absent=True)
        for begins in range(now - now % SLOT, now + FULL * SLOT, SLOT):
            batch, wait = f"{task}-{begins}", max(GATHERED, begins - now)
            self.store.write(self.store.put({"pk": layout.batch_pk(batch), **asked}))
            with suppress(ConflictError):
                self.store.write(self.store.update((layout.batch_pk(batch), JOBS), one_more))
                then_: dict[str, Any] = {"then": event_of(then, batch, batch=batch)} if then else {}
                self.machine.start(batch, event_of(task, batch, batch=batch, wait=wait, **then_))
                return
        raise RetryableError("BatchesFull", f"{FULL} batches of jobs are full", "dynamodb:UpdateItem")

    def close(self, batch: str) -> list[str]:
        """Let nothing more be added to a batch; returns the accounts that its jobs ask."""
        self.store.write(self.store.update((layout.batch_pk(batch), JOBS), Update().set({"jobs": MOST})))
        return sorted({account for _, accounts in self.jobs(batch) for account in accounts})

    def jobs(self, batch: str) -> list[tuple[Any, list[str]]]:
        """Return the jobs of a batch, each with the accounts that it asks."""
        jobs, *asked = self.store.items(layout.batch_pk(batch), "~")
        accounts = {item["sk"]: zlib.decompress(bytes(item["accounts"])).decode().split(",") for item in asked}
        named = {name.removeprefix(JOB): job for name, job in jobs.items() if name.startswith(JOB)}
        return [(job, accounts[name]) for name, job in named.items()]
