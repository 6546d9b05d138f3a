"""Starts programs and measures each: a small process, as a child's peak memory begins with its parent's.

(Linux counts the memory that the starting process held: exec(2), `setmax_mm_hiwater_rss`.) Reads lines of JSON, `argv`,
`env`, `cwd`, `output` (a file) and `seconds`; answers each with `status`, `cpu` and `wall` in seconds, `peak` in MB.
"""

import json
import os
import signal
import sys
import time
from functools import partial


def stop(child: int, *_: object) -> None:
    """Its time is out."""
    os.kill(child, signal.SIGKILL)


def main() -> None:
    """Measure until there is no line left."""
    for line in sys.stdin:
        asked = json.loads(line)
        os.chdir(asked["cwd"])
        out = os.open(asked["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        to_file = [(os.POSIX_SPAWN_DUP2, out, 1), (os.POSIX_SPAWN_DUP2, out, 2)]
        began = time.perf_counter()
        child = os.posix_spawn(asked["argv"][0], asked["argv"], asked["env"], file_actions=to_file)
        signal.signal(signal.SIGALRM, partial(stop, child))
        signal.alarm(asked["seconds"])
        _, status, used = os.wait4(child, 0)
        signal.alarm(0)
        wall = time.perf_counter() - began
        os.close(out)
        ended = os.waitstatus_to_exitcode(status)
        cpu = used.ru_utime + used.ru_stime
        print(json.dumps({"status": ended, "cpu": cpu, "wall": wall, "peak": used.ru_maxrss / 1024}), flush=True)


if __name__ == "__main__":
    main()
