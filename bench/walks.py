"""Which files four happenings enter: what a person reads to follow them from end to end.

Each really happens, in the account that the unit tests have in the process. The second time counts, when everything is
imported. A file is entered when one of its functions is called. What Rolekeeper does while a command waits for it isn't
part of the command's walk.
"""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from fixtures.account import FakeAccount, new_account
from fixtures.console import browser, site
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

type Files = set[str]


class Tracer:
    """Collects the files of ours in which functions are called, in every thread."""

    def __init__(self) -> None:
        self.files: Files = set()

    @contextmanager
    def on(self) -> Iterator[None]:
        """Collect them meanwhile."""
        threading.setprofile_all_threads(self._seen)
        try:
            yield
        finally:
            threading.setprofile_all_threads(None)

    @contextmanager
    def off(self) -> Iterator[None]:
        """Collect none meanwhile."""
        threading.setprofile_all_threads(None)
        try:
            yield
        finally:
            threading.setprofile_all_threads(self._seen)

    def _seen(self, frame: FrameType, event: str, _argument: Any) -> None:
        code: CodeType = frame.f_code
        if event == "call" and code.co_name != "<module>" and code.co_filename.startswith(OURS):
            self.files.add(str(Path(code.co_filename).relative_to(ROOT)))


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
        self.console = browser(site(clock=lambda: 0.0))

    def attached(self) -> None:
        """An instance is launched with a tag, and gets its role."""
        instance = self.world.running(workload="web")
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

    def opened(self) -> None:
        """A person opens the console's page of an instance."""
        instance = self.world.running(workload="web")
        self.world.reconcile(instance)
        with self.tracer.on():
            page = self.console.get(f"/instance/{instance}")
        assert page.is_success, page.text

    def _launched(self) -> str:
        """A tag, and a running instance that has it."""
        value = f"w{next(self._numbers)}"
        self.world.running(app=value)
        return f"app={value}"

    def _untraced(self, act: Callable[[], object]) -> None:
        with self.tracer.off():
            act()


def walks() -> dict[str, list[str]]:
    """The files that each happening enters, by its name."""
    with pytest.MonkeyPatch.context() as patch, new_account() as world:
        for name, value in _ENVIRONMENT.items():
            patch.setenv(name, value)
        happenings = Happenings(world, patch)
        ways = {
            "instance attached": happenings.attached,
            "row published": happenings.published,
            "mapping set": happenings.set,
            "console's instance page": happenings.opened,
        }
        found = {}
        for name, happen in ways.items():
            happen()
            happenings.tracer.files.clear()
            happen()
            found[name] = sorted(happenings.tracer.files)
        return found


if __name__ == "__main__":
    for name, files in walks().items():
        print(name, len(files))
        if "-v" in sys.argv:
            print("  " + "\n  ".join(files))
