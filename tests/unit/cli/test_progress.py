"""How far a longer work is: on one line of a terminal, however much there is to say."""

import sys
import time

import pytest

from rolekeeper_cli.terminal import Progress


def test_what_is_missing_is_said_as_far_as_the_line_has_room(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = iter((0.0, 2.0, 2.0))
    monkeypatch.setattr(time, "monotonic", lambda: next(seconds))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "30")
    progress = Progress(None, "instances came")
    progress.at(1, 3, "missing in 111111111111/eu-west-1: i-1")
    shown = capsys.readouterr().err.removeprefix("\r\033[K")
    assert shown == "1 of 3 instances came; missin"
    assert len(shown) < 30
