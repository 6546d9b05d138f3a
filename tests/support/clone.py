"""What a person types in the clone: make, and the real SAM CLI."""

import os
import subprocess
from collections.abc import Mapping, Sequence

from rolekeeper_local.place import REPOSITORY

SAM = str(REPOSITORY / ".envs/sam/bin/sam")


def typed(line: Sequence[str], env: Mapping[str, str] | None = None, answers: str = "") -> str:
    """What it says; `env` are variables beside the person's, whose AWS it doesn't see."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SAM_CLI_"))}
    # `sam build` runs the pip of the Python 3.13 that it finds; the SAM CLI's own is one.
    path = f"{REPOSITORY / '.envs/sam/bin'}{os.pathsep}{os.environ['PATH']}"
    telemetry = {"SAM_CLI_TELEMETRY": "0", "SAM_CLI_CHECK_FOR_UPDATES": "0", "SAM_CLI_POLL_DELAY": "0.5"}
    done = subprocess.run(
        line,
        cwd=REPOSITORY,
        env={**environ, **(env or {}), **telemetry, "PATH": path},
        input=answers,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
