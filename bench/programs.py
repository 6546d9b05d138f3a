"""Programs that are measured as processes: they take turns, and talk to AWS on loopback."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from fixtures.account import REGION

ROOT = Path(__file__).parents[1]
CHILDREN = ROOT / "bench/children"
# A peer's or a floor's interpreter.
STOCK, C7N = (ROOT / f".envs/bench-{name}/bin/python" for name in ("stock", "c7n"))
# Longer takes none, even where the machine is busy; what hangs is killed.
SECONDS = 1_800


@dataclass(frozen=True)
class Program:
    """A Python program: its interpreter, what follows it, and its environment beside that of every program.

    On a `terminal` standard output and error are one, as for a person.
    """

    python: Path
    arguments: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path = ROOT
    terminal: bool = False


@dataclass(frozen=True)
class Ran:
    """One run: seconds of processor time and of the clock, peak memory in MB; when a terminal had its first line."""

    cpu: float
    wall: float
    peak: float
    first: float = 0.0


class Bench:
    """AWS on loopback and the launcher, each a process of its own. `endpoint` is AWS's."""

    def __init__(self, launcher: "subprocess.Popen[str]", port: int, output: Path) -> None:
        self._launcher = launcher
        self._port = port
        self._output = output
        self.endpoint = f"http://127.0.0.1:{port}"

    @property
    def env(self) -> dict[str, str]:
        """The environment of every program that talks to this AWS."""
        return {
            "PATH": os.environ["PATH"],
            # As in Lambda: the folders of the code can't be written to.
            "PYTHONDONTWRITEBYTECODE": "1",
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_SESSION_TOKEN": "testing",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def begin(self, world: str, **arguments: Any) -> None:
        """Begin a world at AWS."""
        self._ask("POST", world, json.dumps(arguments))

    def calls(self) -> dict[str, Any]:
        """What was called since; raises a RuntimeError if anything was refused."""
        calls: dict[str, Any] = self._ask("GET", "calls")
        if calls["refused"]:
            raise RuntimeError(f"AWS on loopback refused {'; '.join(calls['refused'][:3])}")
        return calls

    def run(self, program: Program) -> Ran:
        """Run a program; raises a RuntimeError with the end of what it said if it fails."""
        env = {**self.env, **program.env}
        asked = {"argv": [str(program.python), *program.arguments], "env": env, "cwd": str(program.cwd)}
        how = {"output": str(self._output), "seconds": SECONDS, "terminal": program.terminal}
        line = json.dumps({**asked, **how})
        assert self._launcher.stdin
        assert self._launcher.stdout
        self._launcher.stdin.write(f"{line}\n")
        self._launcher.stdin.flush()
        answer = json.loads(self._launcher.stdout.readline())
        if answer["status"]:
            said = self._output.read_text()[-2_000:]
            raise RuntimeError(f"{program.arguments} ended with {answer['status']}:\n{said}")
        return Ran(answer["cpu"], answer["wall"], answer["peak"], first=answer["first"])

    def said(self) -> str:
        """What the last program wrote."""
        return self._output.read_text()

    def _ask(self, method: str, path: str, body: str = "") -> Any:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=SECONDS)
        try:
            connection.request(method, f"/bench/{path}", body)
            answer = connection.getresponse()
            return json.loads(answer.read())
        finally:
            connection.close()


@contextmanager
def bench() -> Iterator[Bench]:
    """The two processes, while this lasts."""
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    server = subprocess.Popen([sys.executable, "-m", "bench.aws_server"], **pipes)  # our own module
    launcher = subprocess.Popen([sys.executable, "-I", "-S", "bench/launcher.py"], **pipes)  # the same
    with tempfile.TemporaryDirectory() as folder, server, launcher:
        try:
            assert server.stdout
            yield Bench(launcher, int(server.stdout.readline()), Path(folder) / "output")
        finally:
            server.kill()
            launcher.kill()


def interleaved(
    bench: Bench, programs: Mapping[str, Program], rounds: int, before: Callable[[], None], say: Callable[[str], None]
) -> dict[str, list[Ran]]:
    """Let the programs take turns, so that a busy moment meets all alike; the first round doesn't count."""
    ran: dict[str, list[Ran]] = {name: [] for name in programs}
    for number in range(rounds + 1):
        say(f"round {number} of {rounds}")
        for name, program in programs.items():
            before()
            took = bench.run(program)
            bench.calls()
            if number:
                ran[name].append(took)
    return ran
