"""Functions' processes are forked from one that has imported their layer, where the kernel can (Linux).

Each would import the same 250 modules again, which takes more processor time than all that it does afterwards.
"""

import inspect
import json
import os
import select
import signal
import socket
import subprocess
import threading
import types
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from ministack.core import lambda_runtime

from rolekeeper_local import forker

_LAYERS = "_LAMBDA_LAYERS_DIRS"


def install() -> None:
    """Correct this process, after `unpacked`: a layer is known by the folder that it is in."""
    if hasattr(os, "pidfd_open"):
        lambda_runtime.subprocess = types.SimpleNamespace(**{**vars(subprocess), "Popen": _Forks().start})


class _Forks:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forkers: dict[tuple[str, ...], socket.socket] = {}

    def start(self, command: Sequence[str], **given: Any) -> Any:
        """`subprocess.Popen`, of ministack's worker."""
        layers = given.get("env", {}).get(_LAYERS)
        if not layers or not command[-1].endswith(".py"):
            return subprocess.Popen(command, **given)  # noqa: S603 - what ministack starts
        python, script = command
        real = tuple(os.path.realpath(each) for each in layers.split(os.pathsep))
        (stdin, to), (out, stdout), (err, stderr) = (os.pipe() for _ in range(3))
        try:
            with self._lock:
                there = self._forkers.get(real) or self._forker(python, real)
                asked = json.dumps((script, given["cwd"], given["env"])).encode()
                socket.send_fds(there, [asked], [stdin, stdout, stderr])
                return _Forked(int(there.recv(32)), (to, out, err))
        finally:
            for each in (stdin, stdout, stderr):
                os.close(each)

    def _forker(self, python: str, layers: tuple[str, ...]) -> socket.socket:
        ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        with theirs:
            command = [python, inspect.getfile(forker), str(theirs.fileno()), *layers]
            subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])  # noqa: S603 - our own
        self._forkers[layers] = ours
        return ours


class _Forked:
    """What ministack asks of a `subprocess.Popen`; it is no child of this process."""

    def __init__(self, pid: int, pipes: tuple[int, int, int]) -> None:
        stdin, stdout, stderr = pipes
        self.stdin = os.fdopen(stdin, "w", buffering=1)
        self.stdout, self.stderr = os.fdopen(stdout), os.fdopen(stderr)
        self.pid, self._handle = pid, os.pidfd_open(pid)
        weakref.finalize(self, os.close, self._handle)

    def poll(self) -> int | None:
        """Its exit code, which only its parent knows: 0 once it ended."""
        return 0 if self._ended(0) else None

    def wait(self, timeout: float) -> int:
        if not self._ended(timeout):
            raise subprocess.TimeoutExpired("function", timeout)
        return 0

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _ended(self, seconds: float) -> bool:
        looking = select.poll()
        looking.register(self._handle, select.POLLIN)
        return bool(looking.poll(seconds * 1000))

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, number)
