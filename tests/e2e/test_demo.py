"""`make demo` as a person starts it, without a terminal."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

pytestmark = pytest.mark.emulator


def test_the_demo_plays_every_step_and_says_so(free_port: Callable[[], int]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rolekeeper_local.demo"],
        env={**os.environ, "ROLEKEEPER_LOCAL_PORT": str(free_port())},
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
