"""The demo's output: steps with elapsed times, a line for every wait, and EC2's own answer.

Colour and a spinner on a terminal; elsewhere plain lines.
"""

import os
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from rolekeeper_local.account import EmulatedAccount, Shown
from rolekeeper_local.progress import BEAT, beating

type Step = tuple[str, Callable[[], None]]

_LOOK_SECONDS = 0.03
# After this time what a step waits for won't come, however busy the machine is.
PATIENCE = 300.0


class StepFailedError(Exception):
    """What a step expected did not happen."""


def printed(env: Mapping[str, str], *arguments: str) -> str:
    """What the command `rolekeeper` prints with these variables."""
    line = [sys.executable, "-m", "rolekeeper_cli", *arguments]
    return subprocess.run(line, env=env, capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own command


def without_the_persons(env: Mapping[str, str]) -> dict[str, str]:
    """These variables in the place of the person's, which may lead to another AWS or another stack."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ROLEKEEPER_"))}
    return {**others, **env}


class Story(ABC):
    """A list of steps, each of which may fail; prints what happens, and collects the failures."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.failed: list[str] = []
        self._began = time.monotonic()

    @abstractmethod
    def begin(self, worlds: list[EmulatedAccount]) -> None:
        """Take the accounts in which it plays, the deployment's own first."""

    @abstractmethod
    def steps(self) -> list[Step]:
        """The steps with their titles."""

    def play(self) -> None:
        for number, (title, step) in enumerate(self.steps(), 1):
            with self._step(f"{number}. {title}"):
                step()

    @contextmanager
    def _step(self, title: str) -> Iterator[None]:
        self.console.print()
        self._line(title, "bold", mark=" ")
        try:
            yield
        except StepFailedError as failure:
            self._line(str(failure), "bold red", mark="✗")
            self.failed.append(f"{title}: {failure}")

    def does(self, text: str) -> None:
        """Print what the person does now."""
        self._line(text, "cyan", mark="→")

    def says(self, text: str) -> None:
        self._line(text, "dim", mark="·")

    def runs(self, world: EmulatedAccount, *arguments: str) -> None:
        """Run the command `rolekeeper`, and print what it prints; the step fails if the command does."""
        self.does(f"rolekeeper {' '.join(arguments)}")
        try:
            with self.waiting("waiting for the command"):
                text = printed(without_the_persons(world.aws.env), *arguments)
        except subprocess.CalledProcessError as failed:
            raise StepFailedError(f"{failed.stdout}{failed.stderr}".strip()) from failed
        for line in text.splitlines():
            self.says(line)

    def came_true(self, text: str) -> None:
        """Print a check that passed."""
        self._line(text, "green", mark="✓")

    def _line(self, text: str, style: str, mark: str) -> None:
        elapsed = time.monotonic() - self._began
        line = Text.assemble((f"{elapsed:6.1f} s ", "dim"), (f" {mark} ", style), (text, style))
        line.no_wrap, line.overflow = True, "ignore"
        self.console.print(line, soft_wrap=True)

    @contextmanager
    def waiting(self, text: str) -> Iterator[float]:
        """Show a wait, and for how long it has lasted; yields when it began."""
        terminal = self.console.is_terminal
        if not terminal:
            self.says(text)
        with self.console.status(Text(text, style="dim")) as status:

            def show(seconds: float) -> None:
                lasted = f"{text} ({seconds:.0f} s so far)"
                if terminal:
                    status.update(Text(lasted, style="dim"))
                else:
                    self.says(lasted)

            with beating(show, 1 if terminal else BEAT):
                yield time.monotonic()

    def until[T](self, what: str, look: Callable[[], T | None], seconds: float = PATIENCE) -> T:
        """Wait until `look` finds something, or the step fails."""
        with self.waiting(f"waiting: {what}") as began:
            while (found := look()) is None:
                if time.monotonic() - began > seconds:
                    raise StepFailedError(f"not within {seconds:g} s: {what}")
                time.sleep(_LOOK_SECONDS)
        self.came_true(f"{what} (after {time.monotonic() - began:.1f} s)")
        return found

    def stays(self, what: str, holds: Callable[[], bool], seconds: float) -> None:
        """Watch that something holds for some time, or the step fails."""
        with self.waiting(f"watching for {seconds:g} s: {what}") as began:
            while time.monotonic() - began < seconds:
                if not holds():
                    raise StepFailedError(f"no longer so after {time.monotonic() - began:.1f} s: {what}")
                time.sleep(_LOOK_SECONDS)
        self.came_true(f"{what} (watched for {seconds:g} s)")

    def state(self, world: EmulatedAccount, instance_id: str, state: str = "running") -> None:
        self.until(f"{instance_id} is {state}", lambda: world.state(instance_id) == state or None)

    def attached(self, world: EmulatedAccount, instance_id: str, profile: str) -> Shown:
        return self.until(f"EC2 shows {profile} on {instance_id}", lambda: world.carries(instance_id, profile))

    def carries_none(self, world: EmulatedAccount, instance_id: str, seconds: float) -> None:
        self.stays(f"{instance_id} carries no role", lambda: world.shown(instance_id) is None, seconds)
