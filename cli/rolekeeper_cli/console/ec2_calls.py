"""EC2's client for the console, with each call counted: a page says how many it made."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

_MINUTE = 60.0


@dataclass
class Calls:
    """When calls were made, for a minute; `clock` gives seconds."""

    clock: Callable[[], float]
    _at: deque[float] = field(default_factory=deque)
    _lock: Lock = field(default_factory=Lock)

    def note(self) -> None:
        """One was made."""
        with self._lock:
            self._at.append(self.clock())
            self._forget()

    @property
    def last_minute(self) -> int:
        """How many were made in the last minute."""
        with self._lock:
            self._forget()
            return len(self._at)

    def _forget(self) -> None:
        while self._at and self._at[0] <= self.clock() - _MINUTE:
            self._at.popleft()


@dataclass(frozen=True)
class CountedEc2:
    """The two calls that read, as boto3's client has them. It can't change anything."""

    client: Any
    calls: Calls

    @property
    def meta(self) -> Any:
        """What the SDK knows of EC2."""
        return self.client.meta

    def describe_instances(self, **asked: Any) -> Any:
        """DescribeInstances."""
        self.calls.note()
        return self.client.describe_instances(**asked)

    def get_paginator(self, name: str) -> "_CountedPages":
        """A paginator, each page of which is a call."""
        return _CountedPages(self.client.get_paginator(name), self.calls)


@dataclass(frozen=True)
class _CountedPages:
    paginator: Any
    calls: Calls

    def paginate(self, **asked: Any) -> Iterator[Any]:
        """The pages. The first call is counted before it is made: one that fails is a call too."""
        self.calls.note()
        for number, page in enumerate(self.paginator.paginate(**asked)):
            if number:
                self.calls.note()
            yield page
