"""Counts the calls that reach AWS, and lets a test step in before or after one of them."""

from collections import Counter
from collections.abc import Callable
from typing import Any


class Calls:
    """Every call in order, by operation name. A hook steps in once and may raise or change the world.

    Real clients are watched through botocore's own events (`watch`); fakes tell it themselves (`before` and `after`).
    """

    def __init__(self) -> None:
        self.made: list[str] = []
        self._before: list[tuple[str, Callable[[], object]]] = []
        self._after: list[tuple[str, Callable[[], object]]] = []
        self._step = 0
        self._at_step: tuple[int, Callable[[], object]] | None = None

    def __getitem__(self, operation: str) -> int:
        return self.made.count(operation)

    def clear(self) -> None:
        self.made.clear()

    def counted(self) -> dict[str, int]:
        return dict(Counter(self.made))

    def before(self, operation: str, action: Callable[[], object]) -> None:
        """Do something just before the next call of an operation: the call hasn't happened if it raises."""
        self._before.append((operation, action))

    def always(self, operation: str, action: Callable[[], object]) -> None:
        """Do something just before each call of an operation, until that is forgotten."""

        def again() -> None:
            self.before(operation, again)
            action()

        self.before(operation, again)

    def after(self, operation: str, action: Callable[[], object]) -> None:
        """Do something just after the next call of an operation: the call has happened even if it raises."""
        self._after.append((operation, action))

    def forget(self) -> bool:
        """Forget what was to be done before or after a call and wasn't; returns whether there was anything."""
        left = bool(self._before or self._after)
        self._before.clear()
        self._after.clear()
        return left

    def at_step(self, number: int, action: Callable[[], object]) -> None:
        """Do something at a step from now on, counted from 1: each call has two, before it and after it."""
        self._step, self._at_step = 0, (number, action)

    def reached(self) -> bool:
        """Whether the step of `at_step` was reached; if not, it is forgotten."""
        reached, self._at_step = self._at_step is None, None
        return reached

    def watch(self, client: Any) -> None:
        client.meta.events.register("before-call", lambda model, **_: self.starts(model.name))
        client.meta.events.register("after-call", lambda model, **_: self.ends(model.name))

    def starts(self, operation: str) -> None:
        self.made.append(operation)
        _step_in(self._before, operation)
        self._count_step()

    def ends(self, operation: str) -> None:
        _step_in(self._after, operation)
        self._count_step()

    def _count_step(self) -> None:
        self._step += 1
        if self._at_step and self._at_step[0] == self._step:
            action, self._at_step = self._at_step[1], None
            action()


def _step_in(hooks: list[tuple[str, Callable[[], object]]], operation: str) -> None:
    for hook in list(hooks):
        if hook[0] == operation and hook in hooks:
            hooks.remove(hook)
            hook[1]()
            return
