"""The repository's pages, typed by a person in a terminal."""

import os
import pty
import re
import shlex
import socketserver
import subprocess
import termios
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from copy import copy
from functools import cache, partial
from io import StringIO
from pathlib import Path
from select import select
from threading import Thread
from typing import Any
from unittest.mock import patch

from awscli.clidriver import create_clidriver  # type: ignore[import-untyped]  # it has no types

ROOT = Path(__file__).parents[2]


def blocks(page: str, kind: str = "(?:ba)?sh") -> list[str]:
    """A page's blocks of a kind, in order: by default those that people run."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


# Those that are run here too; and those that show a terminal.
bash_blocks, text_blocks = partial(blocks, kind="bash"), partial(blocks, kind="text")

# How a terminal pastes: line by line, as if each were typed, or as one text, which a program can tell from typing. Each
# page is pasted in one of both ways.
_PASTED = {"plain": "{}\n", "bracketed": "\x1b[200~{}\x1b[201~\n"}
# What ends a line that waits for an answer.
_QUESTION = re.compile(r"(?:\[[^\]\n]*\]|upper and lower case count\)): *$")
# Before a command, and where the next one can be typed.
_BEGINS, _READY = "\x02", "\x03"
_TERMINAL = f"""
bind 'set enable-bracketed-paste {{}}'; stty -echo; PS0={_BEGINS} PS1={_READY} PS2=
set -a; source {{memory}}
trap 'echo "$BASH_COMMAND" >> {{memory}}.failed' ERR
trap '{{{{ export -p; declare -f; }}}} > {{memory}}' EXIT
"""


class Shell:
    """Runs a block as the same terminal would: what one sets, the next still knows. It is typed in `folder`.

    Only `at_a_terminal` may a block ask anything, and only what its page shows.
    """

    def __init__(self, home: Path, port: int, folder: Path = ROOT) -> None:
        self._folder, self.pasted, self.page = folder, "", ""
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

    def at_a_terminal(self, pasted: str, page: str) -> "Shell":
        """The same person's, at a terminal where they paste the blocks of a page."""
        made = copy(self)
        made.pasted, made.page = pasted, (ROOT / page).read_text()
        return made

    def __call__(self, block: str) -> str:
        if self.pasted:
            return self._paste(block)
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

    def _paste(self, block: str) -> str:
        """Paste a block; what its commands show."""
        start, failed = self._memory.with_suffix(".bashrc"), self._memory.with_suffix(".failed")
        on = "on" if self.pasted == "bracketed" else "off"
        start.write_text(_TERMINAL.format(on, memory=shlex.quote(str(self._memory))))
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, 200))
        # Who begins a session, and opens a terminal, is at it (tty_ioctl(4)).
        line = 'exec bash --noprofile --rcfile "$0" -i <>"$1" >&0 2>&0'
        process = subprocess.Popen(
            ["bash", "-c", line, str(start), os.ttyname(theirs)],
            cwd=self._folder,
            env=self._env | {"NO_COLOR": "1", "TERM": "xterm"},
            stdin=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        try:
            said = self._shown(ours, _PASTED[self.pasted].format(block.rstrip("\n")))
            assert process.wait(timeout=60) == 0, said
        finally:
            process.kill()
            os.close(ours)
        assert not failed.exists() or "Cancelled." in said, f"{failed.read_text()}\n{said}"
        failed.unlink(missing_ok=True)
        return said

    def _shown(self, terminal: int, text: str) -> str:
        """What a terminal shows where a text is pasted; who is asked presses Enter."""
        said, typed = "", [text, "exit 0\n"]
        while piece := _read(terminal):
            said += piece
            if _QUESTION.search(said):
                question = re.sub(r"i-[0-9a-f]{17}", "i-0123456789abcdef0", said.splitlines()[-1]).strip()
                assert question in self.page, f"it asks what the page doesn't show: {question}"
                os.write(terminal, b"\n")
            elif typed and said.endswith(_READY):
                os.write(terminal, typed.pop(0).encode())
        done = "".join(re.findall(rf"{_BEGINS}([^{_BEGINS}{_READY}]*)", said))
        return re.sub(r"\x1b\[\?2004[hl]|\r", "", done).removesuffix("exit\n")


def _read(terminal: int) -> str:
    """What it shows next; empty once nobody is at it, which is an error (pty(7))."""
    assert select([terminal], [], [], 300)[0], "it says nothing, and doesn't end"
    try:
        return os.read(terminal, 4096).decode(errors="replace")
    except OSError:
        return ""


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
