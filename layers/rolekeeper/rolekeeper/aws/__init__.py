"""AWS as the domain asks it: EC2, IAM, the work queue; their errors by what the caller should do."""

from collections.abc import Callable, Sequence
from typing import Protocol

from botocore.config import Config

from rolekeeper.aws.ec2 import Ec2
from rolekeeper.aws.iam import Iam
from rolekeeper.aws.queue import ResumeMachine, Tasks, WorkQueue

__all__ = [
    "AT_ONCE",
    "CONFIG",
    "ELSEWHERE",
    "Each",
    "Ec2",
    "Iam",
    "ResumeMachine",
    "Tasks",
    "WorkQueue",
    "in_threads",
    "one_by_one",
]

AT_ONCE = 16  # the most targets that are asked at once
# Connect and read limits keep four attempts well inside a function's 60 seconds; "standard" backs off with jitter.
CONFIG = Config(
    connect_timeout=2,
    read_timeout=8,
    retries={"mode": "standard", "total_max_attempts": 4},
    max_pool_connections=AT_ONCE,
)
# In another target: two of those, no longer together than a batch can spare.
ELSEWHERE = Config(connect_timeout=2, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 2})


class Each(Protocol):
    """Does the same work on several items, each result in its item's place; what is raised for one is raised."""

    def __call__[Item, Result](self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]: ...


def one_by_one[Item, Result](work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    return [work(each) for each in items]


def in_threads[Item, Result](work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """A few at once; for a single one no thread is made."""
    if len(items) <= 1:
        return one_by_one(work, items)
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  # most invocations make no thread

    with ThreadPoolExecutor(min(AT_ONCE, len(items))) as pool:
        return list(pool.map(work, items))
