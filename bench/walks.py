"""Which functions four happenings call, and how often: what a person reads to follow them from end to end.

Each really happens, in the account that the unit tests have in the process. The second time counts, when everything is
imported. What Rolekeeper does while a command waits for it isn't part of the command's walk. A function's lambdas,
comprehensions and generator expressions are read with it, so they aren't counted; a generator counts as called
each time that it goes on.
"""

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from fixtures.account import FakeAccount, new_account
from fixtures.mappings import Desk
from fixtures.terminal import Terminal

ROOT = Path(__file__).parents[1]
OURS = tuple(f"{ROOT / each}/" for each in ("layers/rolekeeper", "functions", "cli"))
# Nobody's account: what the tests' own environment says (tests/conftest.py).
_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}

type Walk = Counter[str]  # how often each function is called, by its file and name


class Tracer:
    """Counts the calls of our functions, in every thread."""

    def __init__(self) -> None:
        self.walk: Walk = Counter()

    @contextmanager
    def on(self) -> Iterator[None]:
        """Count them meanwhile."""
        threading.setprofile_all_threads(self._seen)
        try:
            yield
        finally:
            threading.setprofile_all_threads(None)

    @contextmanager
    def off(self) -> Iterator[None]:
        """Count none meanwhile."""
        threading.setprofile_all_threads(None)
        try:
            yield
        finally:
            threading.setprofile_all_threads(self._seen)

    def _seen(self, frame: FrameType, event: str, _argument: Any) -> None:
        code: CodeType = frame.f_code
        if event == "call" and not code.co_name.startswith("<") and code.co_filename.startswith(OURS):
            self.walk[f"{Path(code.co_filename).relative_to(ROOT)} {code.co_qualname}"] += 1


class Happenings:
    """One account with two roles, each with its mapping, and somebody who operates it."""

    def __init__(self, world: FakeAccount, patch: pytest.MonkeyPatch) -> None:
        self.world, self.desk = world, Desk(world)
        self.tracer, self._numbers = Tracer(), count()
        for role in ("web", "api"):
            self.desk.role(role)
            world.profile(role)
        self.desk.edit("workload=web", role="web")
        self.terminal = Terminal(self.desk, patch)

    def attached(self) -> None:
        """An instance is launched with a tag, and gets its role."""
        instance = self.world.running(workload="web")
        with self.tracer.on():
            self.world.reconcile(instance)
        assert self.world.carries(instance) == "web"

    def converged(self) -> None:
        """An instance is looked at once more, and has its role."""
        instance = self.world.running(workload="web")
        self.world.reconcile(instance)
        with self.tracer.on():
            self.world.reconcile(instance)
        assert self.world.carries(instance) == "web"

    def published(self) -> None:
        """A row with an instance is written, and takes effect."""
        tag = self._launched()
        self.desk.put(tag, role="web")
        with self.tracer.on():
            self.desk.publish(tag)
        assert self.desk.served(tag)

    def set(self) -> None:
        """A person sets the mapping of an instance, sees what that would do, agrees, and waits for its verdict."""
        tag = self._launched()
        self.desk.edit(tag, role="web")
        self.terminal.meanwhile = lambda: self._untraced(lambda: self.desk.publish(tag))
        with self.tracer.on():
            ran = self.terminal.types("y\n", "mapping", "set", tag, "role=api")
        assert ran.exit_code == 0, ran.output
        assert "Published" in ran.output, ran.output

    def _launched(self) -> str:
        """A tag, and a running instance that has it."""
        value = f"w{next(self._numbers)}"
        self.world.running(app=value)
        return f"app={value}"

    def _untraced(self, act: Callable[[], object]) -> None:
        with self.tracer.off():
            act()


def walks() -> dict[str, Walk]:
    """Return the functions that each happening calls, by its name."""
    with pytest.MonkeyPatch.context() as patch, new_account() as world:
        for name, value in _ENVIRONMENT.items():
            patch.setenv(name, value)
        happenings = Happenings(world, patch)
        ways = {
            "instance attached": happenings.attached,
            "instance converged": happenings.converged,
            "row published": happenings.published,
            "mapping set": happenings.set,
        }
        found = {}
        for name, happen in ways.items():
            happen()
            happenings.tracer.walk.clear()
            happen()
            found[name] = happenings.tracer.walk.copy()
        return found


if __name__ == "__main__":
    for name, walk in walks().items():
        print(f"{name}: {len(walk)} functions, {walk.total()} calls")
        if "-v" in sys.argv:
            print(*(f"{calls:6} {function}" for function, calls in sorted(walk.items())), sep="\n")
