"""The process from which those of functions with one layer are forked: it has imported what they all import.

`forks` starts it, under the functions' interpreter and without this package: ``python forker.py DESCRIPTOR LAYERS``.
Each message of the socket has a process's script, folder and environment, and its three pipes; the answer is its id.
"""

import gc
import json
import os
import runpy
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module

#: What no function does without, as far as it doesn't depend on a function's environment.
_IMPORTED = ("botocore.session", "botocore.handlers", "aws_lambda_powertools", "rolekeeper.app")
_MOST_BYTES = 1 << 18


def main(asked: socket.socket, layers: Sequence[str]) -> None:
    gc.disable()
    sys.path[:0] = [os.path.join(each, "python") for each in layers]  # noqa: PTH118 - pathlib takes as long as a fork
    for each in _IMPORTED:
        with suppress(ImportError):
            import_module(each)
    gc.freeze()
    gc.enable()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody here waits for one that ends
    while True:
        message, pipes, *_ = socket.recv_fds(asked, _MOST_BYTES, 3)
        if not message:
            return
        process = os.fork()
        if not process:
            break
        asked.send(str(process).encode())
        for pipe in pipes:
            os.close(pipe)
    asked.close()
    _become(*json.loads(message), pipes=pipes)


def _become(script: str, folder: str, environment: dict[str, str], *, pipes: Sequence[int]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, pipe in enumerate(pipes):
        os.dup2(pipe, number)
        os.close(pipe)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [script]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
