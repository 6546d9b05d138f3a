"""``rolekeeper local``, or ``python -m rolekeeper_local``: the embedded AWS with Rolekeeper deployed.

It stays in the foreground until Ctrl-C.
Standard output carries one line, ``ready: <endpoint>``; progress goes to standard error.
"""

import os
import sys

from rolekeeper_local.embedded import EmbeddedAws, EmbeddedAwsError, leave_by_interrupt


def main(port: int | None = None) -> int:
    """Start, deploy, say so, and stay; return the exit code."""
    leave_by_interrupt()
    try:
        with EmbeddedAws(port=port, progress=_say) as aws:
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


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - progress for a person who waits


if __name__ == "__main__":
    sys.exit(main())
