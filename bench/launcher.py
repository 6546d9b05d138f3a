"""Starts programs and measures each: a small process, as a child's peak memory begins with its parent's.

(Linux counts the memory that the starting process held: exec(2), `setmax_mm_hiwater_rss`.) Reads lines of JSON, `argv`,
`env`, `cwd`, `output` (a file), `seconds`, and whether it is on a `terminal`, whose other end is this process; answers
each with `status`, `cpu` and `wall` in seconds, `peak` in MB, and `first`, when its first line was there.
"""

import json
import os
import signal
import sys
import termios
import threading
import time
from functools import partial


def stop(child: int, *_: object) -> None:
    """Its time is out."""
    os.kill(child, signal.SIGKILL)


SIZE = 50, 120  # of a terminal, in lines and columns


def drain(terminal: int, out: int, lines: list[float]) -> None:
    """Write to a file what is written on a terminal, and note when a line was there."""
    while True:
        try:
            said = os.read(terminal, 65_536)
        except OSError:  # the program has ended
            return
        if b"\n" in said:
            lines.append(time.perf_counter())
        os.write(out, said)


def main() -> None:
    """Measure until there is no line left."""
    for line in sys.stdin:
        asked = json.loads(line)
        os.chdir(asked["cwd"])
        out = os.open(asked["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        lines: list[float] = []
        ours, theirs = os.openpty()
        termios.tcsetwinsize(theirs, SIZE)
        reader = threading.Thread(target=drain, args=(ours, out, lines))
        reader.start()
        began = time.perf_counter()
        said = theirs if asked["terminal"] else out
        to = [(os.POSIX_SPAWN_DUP2, said, 1), (os.POSIX_SPAWN_DUP2, said, 2)]
        child = os.posix_spawn(asked["argv"][0], asked["argv"], asked["env"], file_actions=to)
        signal.signal(signal.SIGALRM, partial(stop, child))
        signal.alarm(asked["seconds"])
        _, status, used = os.wait4(child, 0)
        signal.alarm(0)
        wall = time.perf_counter() - began
        os.close(theirs)
        reader.join()
        for each in (ours, out):
            os.close(each)
        ended = os.waitstatus_to_exitcode(status)
        cpu = used.ru_utime + used.ru_stime
        first = (lines[0] if lines else began + wall) - began
        peak = used.ru_maxrss / 1024
        print(json.dumps({"status": ended, "cpu": cpu, "wall": wall, "peak": peak, "first": first}), flush=True)


if __name__ == "__main__":
    main()
