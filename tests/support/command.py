"""The installed command `rolekeeper`, as a process."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

COMMAND = str(Path(sys.executable).parent / "rolekeeper")


class Command:
    """Runs it under these variables, without a terminal unless a person `types`."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = {"PATH": os.environ["PATH"], **env}

    def __call__(self, *arguments: str, code: int = 0, stdin: str = "", seconds: float = 120) -> CompletedProcess[str]:
        done = subprocess.run(
            [COMMAND, *arguments],
            env=self.env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == code, f"{' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments: str, code: int = 0, seconds: float = 120) -> Any:
        """Run it for JSON."""
        return json.loads(self(*arguments, "--output", "json", code=code, seconds=seconds).stdout)

    def types(self, text: str, *arguments: str, code: int = 0) -> str:
        """Run it at a terminal where a person types; what it says there."""
        ours, theirs = pty.openpty()
        with os.fdopen(ours, "w+b", buffering=0) as terminal:
            with os.fdopen(theirs, "w+b", buffering=0) as seen:
                process = subprocess.Popen(
                    [COMMAND, *arguments], env=self.env, stdin=seen, stdout=subprocess.PIPE, stderr=seen
                )
            terminal.write(f"{text}\n".encode())
            try:
                process.communicate(timeout=120)
            finally:
                process.kill()
            said = _all_of(terminal)
        assert process.returncode == code, said
        return said


def _all_of(terminal: Any) -> str:
    said = b""
    # A terminal whose other side is closed answers with an error (pty(7)).
    try:
        while piece := terminal.read(4096):
            said += piece
    except OSError:
        pass
    return said.decode()
