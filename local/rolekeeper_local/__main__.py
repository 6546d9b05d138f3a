"""``python -m rolekeeper_local``: the embedded AWS with Rolekeeper deployed, in the foreground until Ctrl-C.

Standard output carries one line, ``ready: <endpoint>``; progress goes to standard error.
"""

import os
import signal
import sys
from types import FrameType

from rolekeeper_local.embedded import EmbeddedAws, EmbeddedAwsError


def main() -> int:
    """Start, deploy, say so, and stay; return the exit code."""
    # SIGTERM takes the same way out as Ctrl-C; and a shell's background job would ignore SIGINT if left as it is.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        with EmbeddedAws(progress=_say) as aws:
            aws.deploy()
            print(f"ready: {aws.endpoint}", flush=True)  # noqa: T201 - the contract
            code = aws.wait()
            _say(f"the emulator ended by itself; its log: {os.path.relpath(aws.log)}")
            return code or 1
    except KeyboardInterrupt:
        return 0
    except (EmbeddedAwsError, ValueError) as error:
        _say(str(error))
        return 1


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - progress for a person who waits


if __name__ == "__main__":
    sys.exit(main())
