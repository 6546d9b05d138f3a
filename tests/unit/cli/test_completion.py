"""Completion in bash, zsh and fish, as docs/cli.md says to switch it on: of commands and options, which is click's own,
and of roles, mappings, instances and columns: from a cache, quickly, and silent whatever fails.
"""

import json
import os
import pty
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from fixtures.account import ACCOUNT, REGION, refusing
from fixtures.command import COMMAND
from fixtures.mappings import MappingsFixture
from fixtures.spokes import SpokeFixture
from fixtures.terminal import Terminal
from rolekeeper.model.instance import Target
from rolekeeper_cli import completion, completion_refresh
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.main import cli
from rolekeeper_cli.options import OUTPUTS, Options

# What a completion, pressed at a prompt, must not wait for.
SLOW = {"boto3", "botocore", "yaml", "rich", "jmespath", "rolekeeper.mappings", "rolekeeper_cli.deployment", "socket"}
PAGE = Path(__file__).parents[3] / "docs/cli.md"
[IN_BASH] = re.findall(r"in `~/\.bashrc` the line `(.*)`$", PAGE.read_text(), re.MULTILINE)

NAMES = {
    "roles": {"web": "", "web-debug": "", "db": "", "$(reboot)": ""},
    "mappings": {"workload=web": "web", "workload=batch": "db", "app=a b": "db", "aws:x=1": "db"},
    "instances": {"i-0a": "web-1", "i-0b": "", "i-0c": "twin", "i-0d": "twin", "i-0e": "`rm`", "i-0f": "web-2"},
    "targets": {"123456789012/us-east-1": "the hub", "111111111111/us-east-1": "", "111111111111/eu-west-1": "broken"},
}


class Shell:
    """Presses Tab in a shell whose user has this cache, and no way to AWS."""

    def __init__(self, home: Path) -> None:
        self.environment = {
            "HOME": str(home),
            "XDG_CACHE_HOME": str(home / "cache"),
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self.file = completion.cache_file(Options())
        self.asked = completion.asked_file(self.file)

    def has(self, names: Any, *, age: float = 0) -> None:
        """Fill the cache, some seconds ago."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        for file, text in ((self.file, json.dumps(names)), (self.asked, "")):
            file.write_text(text)
            os.utime(file, (time.time() - age,) * 2)

    def offers(self, *words: str) -> list[str]:
        """What bash offers for the last of these words."""
        return [each.partition(",")[2] for each in self.says("bash", *words) if each]

    def says(self, shell: str, *words: str) -> list[str]:
        """The lines that a shell gets."""
        at = words[-1] if shell == "fish" else str(len(words))
        line = {"COMP_WORDS": " ".join(("rolekeeper", *words)), "COMP_CWORD": at}
        environment = {**line, "_ROLEKEEPER_COMPLETE": f"{shell}_complete", **self.environment}
        # As `main` does, which reads the process's own environment.
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("_ROLEKEEPER_COMPLETE", f"{shell}_complete")
            completion.use_bash_words()
        ran = CliRunner().invoke(cli, env=environment, prog_name="rolekeeper")
        assert (ran.exit_code, ran.stderr) == (0, "")
        return ran.stdout.splitlines()


def started(line: list[str], **options: Any) -> None:
    """What fills the cache: it writes nowhere that the shell listens, so `$(…)` doesn't wait for it."""
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    assert (line[1:3], options) == (["-m", "rolekeeper_cli.completion_refresh"], {**streams, "start_new_session": True})


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in [each for each in os.environ if each.startswith("AWS_")]:
        monkeypatch.delenv(name)
    process = SimpleNamespace(Popen=started, DEVNULL=subprocess.DEVNULL)
    monkeypatch.setattr(completion, "subprocess", process)
    return Shell(tmp_path)


# ---- what is offered ----


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("attach", "web-1", "w"), ["web", "web-debug"]),
        (("replace", "web-1", "web-"), ["web-debug"]),
        (("attach", "web-1", ""), ["db", "web", "web-debug"]),
        (("fleet", "--role", ""), ["NONE", "db", "web", "web-debug"]),
        (("wait", "web-1", "--role", "N"), ["NONE"]),
        (("fleet", "--target", ""), ["111111111111", "123456789012", "eu-west-1", "us-east-1"]),
        (("plan", "--target", "11"), ["111111111111", "111111111111/eu-west-1", "111111111111/us-east-1"]),
        (("watch", "--target", "e"), ["eu-west-1"]),
        (("targets", "forget", "111111111111/u"), ["111111111111/us-east-1"]),
        (("fleet", "--mapping", "w"), ["workload=batch", "workload=web"]),
        (("mapping", "get", ""), ["aws:x=1", "workload=batch", "workload=web"]),
        (("mapping", "rm", "workload=web", ""), []),
        (("mapping", "set", "wo"), ["workload=batch", "workload=web"]),
        (("mapping", "set", "workload=web", "when"), ["when_occupied=", "when_stopped=", "when_unmatched="]),
        (("explain", "w"), ["web-1", "web-2"]),
        (("explain", "i-"), ["i-0a", "i-0b", "i-0c", "i-0d", "i-0e", "i-0f"]),
        (("history", ""), ["i-0b", "i-0c", "i-0d", "i-0e", "web-1", "web-2"]),  # twins by id
        (("detach", "web-"), ["web-1", "web-2"]),
        (("plan", "--instance", "web-2"), ["web-2"]),
        (("watch", "--instance", "web-2"), ["web-2"]),
        (("schema", "when_o"), ["when_occupied"]),
        (("schema", "sta"), ["status", "status_reason", "status_revision"]),
        # Those need no cache.
        (("mapping", "r"), ["rm", "rollback"]),
        (("mapping", "import", "--pr"), ["--prune", "--profile"]),
        (("attach", "web-1", "web", "--fo"), ["--for"]),
        (("--output", ""), list(OUTPUTS)),
        (("-o", ""), list(OUTPUTS)),
        (("mapping", "ls", "--output", "j"), ["json"]),
        (("mode", "e"), ["enforce"]),
        (("mapping", "ls", "--status", "re"), ["Rejected"]),
        (("fleet", "--state", "st"), ["stopping", "stopped"]),
    ],
)
def test_names_are_completed(shell: Shell, words: tuple[str, ...], offered: list[str]) -> None:
    shell.has(NAMES)
    assert shell.offers(*words) == offered


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("mapping", "get", "workload", "="), ["batch", "web"]),
        (("mapping", "get", "workload", "=", "w"), ["web"]),
        (("fleet", "--mapping", "workload", "=", "b"), ["batch"]),
        (("mapping", "set", "workload", "=", "web", "role", "=", "we"), ["web", "web-debug"]),
        (("mapping", "set", "workload", "=", "web", "role", "="), ["NONE", "db", "web", "web-debug"]),
        (("mapping", "set", "workload", "=", "web", "own"), ["owner="]),
        (("mapping", "get", "aws", ":", "x", "="), ["1"]),
        (("fleet", "--output", "=", "j"), ["json"]),
    ],
)
def test_in_bash_words_with_an_equals_sign_are_one(shell: Shell, words: tuple[str, ...], offered: list[str]) -> None:
    """COMP_WORDBREAKS holds = and :, so what a person types as one word comes in pieces, and a piece is replaced."""
    shell.has(NAMES)
    assert shell.offers(*words) == offered


def test_in_zsh_the_whole_word_is_replaced_and_says_what_it_is(shell: Shell) -> None:
    shell.has(NAMES)
    assert shell.says("zsh", "mapping", "get", "workload=w") == ["plain", "workload=web", "web"]


@pytest.mark.parametrize(
    "words",
    [["mapping", "import"], ["mapping", "diff"], ["mapping", "validate"], ["mapping", "export", "-o"], ["plan", "-f"]],
)
def test_the_shell_completes_names_of_files(shell: Shell, words: list[str]) -> None:
    assert shell.says("bash", *words, "ma") == ["file,ma"]


@pytest.mark.parametrize(
    ("name", "offers"),
    [
        ("zsh", ["plain", "rm", "Delete one mapping.", "plain", "rollback", "Undo the last edit."]),
        ("fish", ["plain,rm\tDelete one mapping.", "plain,rollback\tUndo the last edit."]),
    ],
)
def test_zsh_and_fish_say_what_each_command_does(shell: Shell, name: str, offers: list[str]) -> None:
    assert shell.says(name, "mapping", "r") == offers


def test_what_could_run_something_is_never_offered(shell: Shell) -> None:
    """Tags come from anybody, and a shell puts what is offered into its command line."""
    shell.has(
        {**NAMES, "instances": {"i-0a": "$(reboot)", "i-0b": "a;b", "i-0c": "a b", "i-0d": "-x", "i-0e": "\x1b[2J"}}
    )
    assert shell.offers("explain", "") == ["i-0a", "i-0b", "i-0c", "i-0d", "i-0e"]
    assert "$(reboot)" not in shell.offers("attach", "x", "")


# ---- the cache ----


def test_names_are_kept_apart_by_profile_region_endpoint_and_stack(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    del shell
    files = {
        completion.cache_file(each)
        for each in (Options(profile="x"), Options(region="x"), Options(endpoint_url="x"), Options(stack="x"))
    }
    monkeypatch.setenv("AWS_PROFILE", "other")
    files.add(completion.cache_file(Options()))
    assert len(files) == 5


def test_an_old_cache_is_offered_and_filled_anew(shell: Shell) -> None:
    shell.has(NAMES, age=3_600)
    assert shell.offers("attach", "x", "d") == ["db"]
    assert time.time() - shell.asked.stat().st_mtime < 60, "it was asked for"
    shell.has(NAMES, age=10)
    asked = shell.asked.stat().st_mtime
    assert shell.offers("attach", "x", "d") == ["db"]
    assert shell.asked.stat().st_mtime == asked, "fresh names aren't asked for"


def test_a_day_old_nothing_is_offered(shell: Shell) -> None:
    shell.has(NAMES, age=90_000)
    assert shell.offers("attach", "x", "d") == []


def test_after_an_attempt_the_next_comes_later(shell: Shell) -> None:
    shell.has(NAMES, age=3_600)
    os.utime(shell.asked, (time.time() - 5,) * 2)
    asked = shell.asked.stat().st_mtime
    shell.offers("attach", "x", "d")
    assert shell.asked.stat().st_mtime == asked


@pytest.mark.parametrize("broken", ["", "{", '{"roles": 3}', "[]", '{"roles": {"web": null}}'])
def test_a_broken_cache_is_silent(shell: Shell, broken: str) -> None:
    shell.has({})
    shell.file.write_text(broken)
    assert shell.offers("attach", "x", "w") in ([], ["web"])


def test_where_nothing_can_be_written_it_is_silent(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, where the directory should be")
    assert shell.offers("attach", "x", "w") == []


def test_without_credentials_it_is_silent_and_keeps_nothing(shell: Shell) -> None:
    assert shell.offers("attach", "x", "") == []
    assert shell.asked.exists()
    ran = subprocess.run(
        [sys.executable, "-m", "rolekeeper_cli.completion_refresh", str(shell.file), "{}"],
        env=shell.environment,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode != 0
    assert not shell.file.exists(), "what isn't known is not kept"


def test_a_completion_takes_less_than_200_ms_of_work(shell: Shell) -> None:
    """Of the processor's time: how long a person waits depends on what else the machine does."""
    many = {f"i-{number:017x}": f"web-{number}" for number in range(2_000)}
    shell.has({**NAMES, "instances": many})
    line = {"COMP_WORDS": "rolekeeper explain web-1", "COMP_CWORD": "2", "_ROLEKEEPER_COMPLETE": "bash_complete"}
    code, took = "from rolekeeper_cli.main import main; main()", []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        ran = subprocess.run(
            [sys.executable, "-c", code], env=shell.environment | line, capture_output=True, check=True
        )
        assert len(ran.stdout.splitlines()) > 1_000
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(took) < 0.2


@pytest.mark.parametrize("words", ["", "mapping r", "fleet --role w", "fleet --state r"])
def test_a_completion_imports_nothing_that_a_prompt_would_wait_for(shell: Shell, words: str) -> None:
    shell.has(NAMES)
    look = (
        "import sys; from rolekeeper_cli.main import main\n"
        "try: main()\n"
        f"finally: sys.stderr.write(' '.join(sorted({SLOW} & sys.modules.keys())))"
    )
    line = {"COMP_WORDS": f"rolekeeper {words}", "COMP_CWORD": str(len(words.split(" ")))}
    environment = {**shell.environment, **line, "_ROLEKEEPER_COMPLETE": "bash_complete"}
    ran = subprocess.run([sys.executable, "-c", look], env=environment, capture_output=True, text=True, check=True)
    assert (bool(ran.stdout), ran.stderr) == (True, "")


# ---- in a shell ----


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


# ---- filling it ----


@pytest.fixture
def refreshed(terminal: Terminal, desk: MappingsFixture, shell: Shell) -> Iterator[dict[str, dict[str, str]]]:
    del terminal
    for role in ("web", "db"):
        desk.role(role)
    desk.edit("workload=web", role="web")
    desk.put("workload=unread", role=7)
    desk.world.running(Name="web-1")
    gone = desk.world.running(Name="gone")
    desk.world.truth.terminate(gone)
    desk.world.wait(5)
    yield completion_refresh.names(Deployment(Options()))
    del shell


def test_the_names_are_those_that_the_deployment_has(refreshed: dict[str, dict[str, str]]) -> None:
    assert refreshed["roles"] == {"db": "", "web": ""}
    assert refreshed["mappings"] == {"workload=unread": "7", "workload=web": "web"}
    assert refreshed["instances"] == {"i-00000000000000001": "web-1"}
    assert refreshed["targets"] == {}, "it is no hub"


def test_a_hub_has_its_targets_too(terminal: Terminal, desk: MappingsFixture) -> None:
    SpokeFixture(terminal, desk, Target("111111111111", "eu-west-1")).registered(problem="no role there")
    found = completion_refresh.names(Deployment(Options()))["targets"]
    assert found == {"111111111111/eu-west-1": "no role there", f"{ACCOUNT}/{REGION}": "the hub"}


def test_the_file_is_for_this_user_only(refreshed: dict[str, dict[str, str]], shell: Shell) -> None:
    shell.has({})
    completion_refresh.write(shell.file, refreshed)
    assert shell.file.stat().st_mode & 0o077 == 0
    assert shell.offers("explain", "w") == ["web-1"]
    assert [each.name for each in shell.file.parent.iterdir() if each not in {shell.file, shell.asked}] == []


def test_what_may_not_be_listed_stays_empty(terminal: Terminal, desk: MappingsFixture) -> None:
    del terminal
    desk.world.running(Name="web-1")
    desk.world.calls.before("Scan", refusing("AccessDeniedException", "no"))
    found = completion_refresh.names(Deployment(Options()))
    assert (found["mappings"], list(found["instances"].values())) == ({}, ["web-1"])
