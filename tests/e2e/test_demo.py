"""`make demo` as a person starts it, without a terminal."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.command import COMMAND

pytestmark = pytest.mark.emulator


def test_the_demo_plays_every_step_says_so_and_leaves_nothing_behind(
    free_port: Callable[[], int], tmp_path: Path
) -> None:
    done = subprocess.run(
        [COMMAND, "demo"],
        env={**os.environ, "ROLEKEEPER_LOCAL_PORT": str(free_port()), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    assert "Every step came true" in done.stdout
    assert "✗" not in done.stdout
    assert "\x1b" not in done.stdout, "colour belongs on a terminal only"
    assert "median" in done.stdout
    assert list(tmp_path.iterdir()) == []
