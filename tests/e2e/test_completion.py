"""Completion as a person at a terminal has it, of what the deployment has."""

import json
import os
import pty
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fixtures.command import COMMAND
from rolekeeper_cli import completion
from rolekeeper_cli.options import Options
from rolekeeper_local.account import EmulatedAccount
from support.waiting import eventually

pytestmark = pytest.mark.emulator


@pytest.fixture(scope="module")
def instance(deployed: EmulatedAccount) -> Iterator[str]:
    made = deployed.launch("alone", workload="s3-reader")
    eventually(lambda: deployed.carries(made, "s3-read"))
    yield made
    deployed.ec2.terminate_instances(InstanceIds=[made])


@pytest.fixture
def bash(deployed: EmulatedAccount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Bash":
    env = {**deployed.aws.env, "XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    for name in {*os.environ} & {"AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "ROLEKEEPER_STACK"}:
        monkeypatch.delenv(name)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    return Bash(env, completion.cache_file(Options()))


class Bash:
    """A person's bash, in which completion is switched on as docs/cli.md says."""

    def __init__(self, env: dict[str, str], cache: Path) -> None:
        self.cache = cache
        self._env = {**env, "PATH": f"{Path(COMMAND).parent}:{os.environ['PATH']}", "TERM": "dumb"}
        self._startup = Path(env["HOME"], "bashrc")
        self._startup.write_text('eval "$(_ROLEKEEPER_COMPLETE=bash_source rolekeeper)"')

    def types(self, keys: str) -> str:
        """Type this, and leave; what what was run says."""
        ours, theirs = pty.openpty()
        with os.fdopen(ours, "w+b", buffering=0) as terminal, ThreadPoolExecutor() as reader:
            with os.fdopen(theirs, "w+b", buffering=0) as seen:
                terminal.write(f"{keys}\nexit\n".encode())
                shell = subprocess.Popen(
                    ["bash", "--noprofile", "--rcfile", str(self._startup), "-i"],
                    stdin=seen,
                    stdout=subprocess.PIPE,
                    stderr=seen,
                    env=self._env,
                    text=True,
                )
            echoes = reader.submit(_drained, terminal)
            said, _ = shell.communicate(timeout=120)
            echoes.result(timeout=20)
        return said


def _drained(terminal: Any) -> None:
    # A terminal whose other side is closed answers with an error (pty(7)).
    try:
        while terminal.read(4096):
            pass
    except OSError:
        pass


def test_tab_completes_what_the_deployment_has(bash: Bash, instance: str) -> None:
    """The first Tab finds nothing, waits for nothing, and has the names brought; the next ones have them."""
    assert bash.types("echo rolekeeper; rolekeeper attach x s3-re\t").splitlines()[0] == "rolekeeper"
    eventually(bash.cache.exists, 120)
    names = json.loads(bash.cache.read_text())
    assert {"s3-read", "s3-write"} <= set(names["roles"])
    assert "workload=s3-reader" in names["mappings"]
    assert names["instances"][instance] == "alone"

    said = bash.types("rolekeeper explain alon\t --no-who -o json")
    assert json.loads(said)["instance"] == instance
