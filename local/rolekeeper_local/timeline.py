"""What a person watches while the demo plays: steps with elapsed times, and a line for every wait.

Colour and a moving spinner only on a terminal; elsewhere plain lines.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

_LOOK_SECONDS = 0.03


class StepFailedError(Exception):
    """A step did not come true; the message says what was expected and what was seen last."""


class Timeline:
    """Prints what happens as it happens, and remembers what failed."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.failed: list[str] = []
        self._began = time.monotonic()

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """One step of the story; its failure is shown and remembered, and the story goes on."""
        self.console.print()
        self._line(title, "bold", mark=" ")
        try:
            yield
        except StepFailedError as failure:
            self._line(str(failure), "bold red", mark="✗")
            self.failed.append(f"{title}: {failure}")

    def does(self, text: str) -> None:
        """What we, as the person, do now."""
        self._line(text, "cyan", mark="→")

    def says(self, text: str) -> None:
        """A remark, or progress."""
        self._line(text, "dim", mark="·")

    def came_true(self, text: str) -> None:
        """Something checked that came true."""
        self._line(text, "green", mark="✓")

    def until[T](self, what: str, look: Callable[[], T | None], seconds: float = 20) -> T:
        """Wait until `look` gives something; show the wait while it lasts and how long it took.

        Raises:
            StepFailedError: it gave nothing within the time.
        """
        began = time.monotonic()
        if not self.console.is_terminal:
            self.says(f"waiting: {what}")
        with self.console.status(Text(f"waiting: {what}", style="dim")):
            while (found := look()) is None:
                if time.monotonic() - began > seconds:
                    raise StepFailedError(f"not within {seconds:g} s: {what}")
                time.sleep(_LOOK_SECONDS)
        self.came_true(f"{what} (after {time.monotonic() - began:.1f} s)")
        return found

    def stays(self, what: str, holds: Callable[[], bool], seconds: float) -> None:
        """Watch for a while that something holds.

        Raises:
            StepFailedError: it stopped holding.
        """
        began = time.monotonic()
        if not self.console.is_terminal:
            self.says(f"watching for {seconds:g} s: {what}")
        with self.console.status(Text(f"watching for {seconds:g} s: {what}", style="dim")):
            while time.monotonic() - began < seconds:
                if not holds():
                    raise StepFailedError(f"no longer so after {time.monotonic() - began:.1f} s: {what}")
                time.sleep(_LOOK_SECONDS)
        self.came_true(f"{what} (watched for {seconds:g} s)")

    def _line(self, text: str, style: str, mark: str) -> None:
        elapsed = time.monotonic() - self._began
        line = Text.assemble((f"{elapsed:6.1f} s ", "dim"), (f" {mark} ", style), (text, style))
        line.no_wrap, line.overflow = True, "ignore"
        self.console.print(line, soft_wrap=True)
