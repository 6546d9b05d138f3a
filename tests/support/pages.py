"""The repository's pages, typed by a person in a terminal."""

import os
import re
import shlex
import socketserver
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from threading import Thread
from typing import Any
from unittest.mock import patch

from awscli.clidriver import create_clidriver  # type: ignore[import-untyped]  # it has no types

ROOT = Path(__file__).parents[2]


def bash_blocks(page: str) -> list[str]:
    """A page's blocks that people run, in order."""
    return re.findall(r"^```bash\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def text_blocks(page: str) -> list[str]:
    """A page's blocks that show a terminal, in order."""
    return re.findall(r"^```text\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


class Shell:
    """Runs a block as the same terminal would: what one sets, the next still knows. It is typed in `folder`."""

    def __init__(self, home: Path, port: int, folder: Path = ROOT) -> None:
        self._folder = folder
        self._memory = home / "memory"
        self._memory.touch()
        # The person's own PATH, and none of the settings that the blocks themselves make.
        self._env = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "ROLEKEEPER_LOCAL_PORT": str(port),
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def export(self, variables: Mapping[str, str]) -> None:
        """Set variables for the blocks that follow."""
        self("\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items()))

    def __call__(self, block: str) -> str:
        kept = shlex.quote(str(self._memory))
        done = subprocess.run(
            ["bash", "-euc", f"set -a; source {kept}\n{block}\n{{ export -p; declare -f; }} > {kept}"],
            cwd=self._folder,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stderr}"
        return done.stdout


# ---- the AWS CLI ----

# In the place of the command: its arguments and variables in a file, whose name goes to the server; then the exit code.
_FUNCTION = """
aws() {{
  local request call code
  request=$(mktemp)
  {{ printf '%s\\0' "$#" "$@"; env -0; }} > "$request"
  exec {{call}}<>/dev/tcp/127.0.0.1/{port}
  echo "$request" >&"$call"
  code=$(cat <&"$call")
  exec {{call}}>&-
  cat "$request.out"; cat "$request.err" >&2
  return "$code"
}}
"""


@contextmanager
def aws_cli_is_ready() -> Iterator[str]:
    """The AWS CLI in this process: yields the bash function that calls it, in the place of the command.

    It needs a second of CPU to start, and the pages start it 130 times.
    """
    with socketserver.TCPServer(("127.0.0.1", 0), _AwsCli) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield _FUNCTION.format(port=server.server_address[1])
        server.shutdown()
        thread.join()


class _AwsCli(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        """Run one command line; its output is beside its request."""
        request = self.rfile.readline().decode().strip()
        count, *rest = Path(request).read_text().split("\0")[:-1]
        arguments, variables = rest[: int(count)], dict(each.split("=", 1) for each in rest[int(count) :])
        given = {name: value for name, value in variables.items() if name.startswith("AWS_")}
        # None of the tests' own settings; AWS_DATA_PATH is what the AWS CLI sets as it is imported.
        ours = {each: os.environ[each] for each in os.environ if not each.startswith("AWS_") or each == "AWS_DATA_PATH"}
        out, err, code = StringIO(), StringIO(), 0
        with patch.dict(os.environ, ours | given, clear=True), redirect_stdout(out), redirect_stderr(err):
            try:
                code = _driver(tuple(sorted(given.items()))).main(arguments)
            except SystemExit as ended:
                code = int(ended.code or 0)
        Path(f"{request}.out").write_text(out.getvalue())
        Path(f"{request}.err").write_text(err.getvalue())
        self.wfile.write(str(code).encode())


@cache
def _driver(_variables: tuple[tuple[str, str], ...]) -> Any:
    """One for the same variables: it reads each service's description once."""
    return create_clidriver()
