"""Completion in bash, zsh and fish, as docs/cli.md says to switch it on. It is click's own; here it stays true."""

import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fixtures.command import COMMAND

# What a completion, pressed at a prompt, must not wait for.
SLOW = {"boto3", "botocore", "yaml", "rich", "jmespath", "rolekeeper.mappings", "rolekeeper_cli.deployment", "socket"}
RUN = (
    "import sys; from rolekeeper_cli.main import main\n"
    "try: main()\n"
    f"finally: sys.stderr.write(' '.join(sorted({SLOW} & sys.modules.keys())))"
)
PAGE = Path(__file__).parents[3] / "docs/cli.md"
[IN_BASH] = re.findall(r"in `~/\.bashrc` the line `(.*)`$", PAGE.read_text(), re.MULTILINE)


def completed(*words: str) -> list[str]:
    """What is offered for the last of these words, by the name of each offer's kind."""
    line = " ".join(("rolekeeper", *words))
    env = {"COMP_WORDS": line, "COMP_CWORD": str(len(words)), "_ROLEKEEPER_COMPLETE": "bash_complete"}
    ran = subprocess.run([sys.executable, "-c", RUN], env=env, capture_output=True, text=True, check=True)
    assert ran.stderr == "", "imported for a completion"
    return ran.stdout.split()


@pytest.mark.parametrize(
    ("shell", "registers"),
    [
        ("bash", "complete -o nosort -F _rolekeeper_completion rolekeeper"),
        ("zsh", "compdef _rolekeeper_completion rolekeeper"),
        ("fish", 'complete --no-files --command rolekeeper --arguments "(_rolekeeper_completion)"'),
    ],
)
def test_every_shell_has_its_script(shell: str, registers: str) -> None:
    env = {"PATH": os.environ["PATH"], "_ROLEKEEPER_COMPLETE": f"{shell}_source"}
    ran = subprocess.run([COMMAND], env=env, capture_output=True, text=True, check=True)
    assert registers in ran.stdout
    assert (f"_ROLEKEEPER_COMPLETE={shell}_complete" in ran.stdout, ran.stderr) == (True, "")


@pytest.mark.parametrize(
    ("shell", "word", "offers"),
    [
        (
            "zsh",
            "2",
            ["plain", "rm", "Delete one mapping.", "plain", "rollback", "Undo the last edit."],
        ),
        ("fish", "r", ["plain,rm\tDelete one mapping.", "plain,rollback\tUndo the last edit."]),
    ],
)
def test_zsh_and_fish_say_what_each_command_does(shell: str, word: str, offers: list[str]) -> None:
    env = {"COMP_WORDS": "rolekeeper mapping r", "COMP_CWORD": word, "_ROLEKEEPER_COMPLETE": f"{shell}_complete"}
    ran = subprocess.run([sys.executable, "-c", RUN], env=env, capture_output=True, text=True, check=True)
    assert (ran.stdout.splitlines(), ran.stderr) == (offers, "")


def test_commands_are_completed() -> None:
    assert completed("mapping", "r") == ["plain,rm", "plain,rollback"]
    assert "plain,mapping" in completed("")


def test_options_are_completed() -> None:
    assert completed("mapping", "import", "--pr") == ["plain,--prune", "plain,--profile"]
    assert {"plain,--for", "plain,--region"} <= set(completed("attach", "web-1", "web", "--"))


def test_the_choices_of_an_option_and_of_an_argument_are_completed() -> None:
    forms = ["table", "wide", "json", "yaml", "csv"]
    assert completed("--output", "") == completed("-o", "") == [f"plain,{each}" for each in forms]
    assert completed("mapping", "ls", "--output", "j") == ["plain,json"]
    assert completed("mode", "e") == ["plain,enforce"]


@pytest.mark.parametrize(
    "words",
    [["mapping", "import"], ["mapping", "diff"], ["mapping", "validate"], ["mapping", "export", "-o"], ["plan", "-f"]],
)
def test_the_shell_completes_names_of_files(words: list[str]) -> None:
    assert completed(*words, "ma") == ["file,ma"]


def _bash() -> bool:
    """Whether there is a bash that can; click wants 4.4."""
    found = shutil.which("bash")
    old = [found or "", "-c", "((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 404))"]
    return found is not None and subprocess.run(old, check=False).returncode == 1


@pytest.mark.skipif(not _bash(), reason="no bash from 4.4 on")
def test_a_person_presses_tab_in_bash(tmp_path: Path) -> None:
    """Both tabs complete, or what is then run isn't the help of `mapping rollback`."""
    startup = tmp_path / "bashrc"
    startup.write_text(IN_BASH)
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "wb", buffering=0) as terminal, os.fdopen(theirs, "wb", buffering=0) as seen:
        terminal.write(b"rolekeeper map\trollb\t--help\nexit\n")
        ran = subprocess.run(
            ["bash", "--noprofile", "--rcfile", str(startup), "-i"],
            stdin=seen,
            stdout=subprocess.PIPE,
            stderr=seen,
            env={"PATH": f"{Path(COMMAND).parent}:{os.environ['PATH']}", "HOME": str(tmp_path), "TERM": "dumb"},
            text=True,
            timeout=60,
            check=False,
        )
    assert "Usage: rolekeeper mapping rollback [OPTIONS] KEY" in ran.stdout
