"""The demo's steps: each waits for a state, and none is silent for long."""

import io
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from rolekeeper_local import story
from rolekeeper_local.account import EmulatedAccount
from rolekeeper_local.story import Step, Story


class OneStep(Story):
    """A story of one step, and what it printed."""

    def __init__(self, step: Callable[["OneStep"], object]) -> None:
        super().__init__(Console(file=io.StringIO(), width=160))
        self.step = step

    def begin(self, worlds: list[EmulatedAccount]) -> None:
        """It plays nowhere."""

    def steps(self) -> list[Step]:
        return [("One", lambda: (self.step(self), None)[1])]

    @property
    def printed(self) -> str:
        file: Any = self.console.file
        return str(file.getvalue())


@pytest.fixture(autouse=True)
def beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story, "BEAT", 0.001)


def test_a_wait_shows_how_long_it_has_lasted_and_ends_with_the_state() -> None:
    played = OneStep(lambda step: step.until("it is there", lambda: "so far" in step.printed or None))
    played.play()
    assert "✓ it is there" in played.printed
    assert played.failed == []


def test_a_silent_command_shows_how_long_it_has_lasted(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(_env: object, *_arguments: str) -> str:
        while "so far" not in played.printed:
            pass
        return "the answer"

    world: Any = SimpleNamespace(aws=SimpleNamespace(env={}))
    monkeypatch.setattr(story, "printed", slow)
    played = OneStep(lambda step: step.runs(world, "fleet"))
    played.play()
    assert "the answer" in played.printed


def test_what_never_comes_fails_its_step_and_is_named() -> None:
    played = OneStep(lambda step: step.until("it is there", lambda: None, seconds=0))
    played.play()
    assert played.failed == ["1. One: not within 0 s: it is there"]
