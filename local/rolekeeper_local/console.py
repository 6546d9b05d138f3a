"""The console beside the demo: a process of its own, as a person would start it on this AWS."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rolekeeper_local.embedded import EmbeddedAws, EmbeddedAwsError, end

_SAYS = "console: "
_STOP_SECONDS = 5


@contextmanager
def console(aws: EmbeddedAws, env: Mapping[str, str] | None = None) -> Iterator[str]:
    """The link to a console that may write; it ends with this context.

    By default it acts as the root; otherwise `env` has all variables for AWS.

    Raises:
        EmbeddedAwsError: it doesn't start; with what it said.
    """
    # Nothing of the person's may lead it to another AWS or another stack.
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ROLEKEEPER_"))}
    log = aws.directory / "console.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "rolekeeper_cli", "console", "--no-browser", "--write"],
            env={**ours, **(env or aws.env)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            # Ctrl-C in the terminal is the demo's: it ends the console in its own order.
            start_new_session=True,
        )
    assert process.stdout
    try:
        line = process.stdout.readline().decode()
        if not line.startswith(_SAYS):
            raise EmbeddedAwsError(f"the console didn't start:\n{log.read_text()}")
        yield line.removeprefix(_SAYS).strip()
    finally:
        end(process, _STOP_SECONDS)
        process.stdout.close()
