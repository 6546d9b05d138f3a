"""Completion in bash, zsh and fish: click's of commands and options, and ours of names, from a cache, and silent."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from fixtures.account import ACCOUNT, REGION, refusing
from fixtures.mappings import Desk
from fixtures.spokes import SpokeFixture
from fixtures.terminal import Terminal
from rolekeeper.model.instance import Target
from rolekeeper_cli import completion_refresh
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.main import cli
from rolekeeper_cli.options import OUTPUTS, Options
from rolekeeper_cli.shell import completion

# What a completion, pressed at a prompt, must not wait for.
SLOW = {"boto3", "botocore", "yaml", "rich", "jmespath", "rolekeeper.mappings", "socket"}
NAMES = {
    "roles": {"web": "", "web-debug": "", "db": "", "$(reboot)": ""},
    "revisions": {"workload=web": "4", "workload=batch": "0"},
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
        (("history", "web-2"), ["web-2"]),
        (("schema", "when_o"), ["when_occupied"]),
        (("schema", "targ"), ["targets"]),
        (("schema", "sta"), ["status", "status_details", "status_reason", "status_revision"]),
        # Those need no cache.
        (("fleet", "--output", ""), list(OUTPUTS)),
        (("-o", ""), [*OUTPUTS, "markdown"]),
        (("plan", "-o", "m"), ["markdown"]),
        (("mapping", "ls", "--output", "j"), ["json"]),
        (("mode", "e"), ["enforce"]),
        (("mapping", "ls", "--status", "re"), ["Rejected"]),
        (("fleet", "--state", "st"), ["stopping", "stopped"]),
        (("mapping", "validate", "ma"), ["ma"]),
        (("mapping", "export", "-o", "ma"), ["ma"]),
        # COMP_WORDBREAKS holds = and :, so a word with them comes in pieces, and a piece is replaced.
        (("mapping", "get", "workload", "="), ["batch", "web"]),
        (("mapping", "get", "workload", "=", "w"), ["web"]),
        (("fleet", "--mapping", "workload", "=", "b"), ["batch"]),
        (("mapping", "set", "workload", "=", "web", "role", "=", "we"), ["web", "web-debug"]),
        (("mapping", "set", "workload", "=", "web", "role", "="), ["NONE", "db", "web", "web-debug"]),
        (("mapping", "set", "workload", "=", "web", "own"), ["owner="]),
        (("mapping", "set", "workload", "=", "web", "when_occupied", "="), ["keep", "replace"]),
        (("mapping", "set", "workload", "=", "web", "when_stopped", "=", "s"), ["swap"]),
        (("mapping", "set", "workload", "=", "web", "enabled", "="), ["false", "true"]),
        (("mapping", "set", "workload", "=", "web", "owner", "="), []),
        (("mapping", "set", "workload", "=", "web", "nosuch", "="), []),
        (("mapping", "rollback", "workload", "=", "web", "--to", ""), ["3", "2", "1"]),
        (("mapping", "rollback", "workload", "=", "batch", "--to", ""), []),
        (("mapping", "rollback", "--to", ""), []),
        (("mapping", "get", "aws", ":", "x", "="), ["1"]),
        (("fleet", "--output", "=", "j"), ["json"]),
    ],
)
def test_names_are_completed(shell: Shell, words: tuple[str, ...], offered: list[str]) -> None:
    shell.has(NAMES)
    assert shell.offers(*words) == offered


@pytest.mark.parametrize("roles", [{}, {"$(reboot)": ""}])
@pytest.mark.parametrize("line", [("mapping", "set", "app=web", "role", "="), ("wait", "web-1", "--role")])
def test_none_is_never_the_only_offer_unless_it_is_typed(
    shell: Shell, line: tuple[str, ...], roles: dict[str, str]
) -> None:
    """A shell inserts the only one, and NONE takes roles away; a cache is empty at first."""
    shell.has({**NAMES, "roles": roles})
    assert shell.offers(*line, "") == []
    assert shell.offers(*line, "N") == ["NONE"]


@pytest.mark.parametrize(
    ("name", "words", "lines"),
    [
        ("zsh", ["mapping", "get", "workload=w"], ["plain", "workload=web", "web"]),
        ("zsh", ["mapping", "ro"], ["plain", "rollback", "Go back to an earlier revision."]),
        ("fish", ["mapping", "ro"], ["plain,rollback\tGo back to an earlier revision."]),
        ("bash", ["plan", "-f", "ma"], ["file,ma"]),
    ],
)
def test_zsh_and_fish_say_what_each_offer_is(shell: Shell, name: str, words: list[str], lines: list[str]) -> None:
    shell.has(NAMES)
    assert shell.says(name, *words) == lines


def test_what_could_run_something_is_never_offered(shell: Shell) -> None:
    """Tags come from anybody, and a shell puts what is offered into its command line."""
    names = {"i-0a": "$(reboot)", "i-0b": "a;b", "i-0c": "a b", "i-0d": "-x", "i-0e": "\x1b[2J"}
    shell.has({**NAMES, "instances": names})
    assert shell.offers("explain", "") == ["i-0a", "i-0b", "i-0c", "i-0d", "i-0e"]
    assert "$(reboot)" not in shell.offers("attach", "x", "")


# ---- the cache ----


def test_names_are_kept_apart_by_profile_region_endpoint_and_stack(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    apart: list[dict[str, Any]] = [{"profile": "x"}, {"region": "x"}, {"endpoint_url": "x"}, {"stack": "x"}]
    files = {completion.cache_file(Options(**each)) for each in apart} | {shell.file}
    monkeypatch.setenv("AWS_PROFILE", "other")
    assert len(files | {completion.cache_file(Options())}) == 6


def test_an_old_cache_is_offered_and_filled_anew(shell: Shell) -> None:
    shell.has(NAMES, age=90_000)
    assert shell.offers("attach", "x", "d") == [], "a day old"
    shell.has(NAMES, age=3_600)
    assert shell.offers("attach", "x", "d") == ["db"]
    assert time.time() - shell.asked.stat().st_mtime < 60, "it was asked for"
    for old, tried in ((10, 10), (3_600, 5)):
        shell.has(NAMES, age=old)
        os.utime(shell.asked, (time.time() - tried,) * 2)
        asked = shell.asked.stat().st_mtime
        assert shell.offers("attach", "x", "d") == ["db"]
        assert shell.asked.stat().st_mtime == asked, "fresh names aren't asked for, nor what was just tried"


@pytest.mark.parametrize("broken", ["", "{", '{"roles": 3}', "[]", '{"roles": {"web": null}}', None])
def test_a_broken_cache_is_silent(shell: Shell, tmp_path: Path, broken: str | None) -> None:
    if broken is None:
        (tmp_path / "cache").write_text("a file, where the directory should be")
    else:
        shell.has({})
        shell.file.write_text(broken)
    assert shell.offers("attach", "x", "w") in ([], ["web"])


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


def test_bash_adds_no_blank_after_a_column() -> None:
    assert "[[ $value == *= ]] && compopt -o nospace; COMPREPLY+=($value)\n" in completion.Bash.source_template


# ---- filling it ----


@pytest.fixture
def refreshed(terminal: Terminal, desk: Desk, shell: Shell) -> dict[str, dict[str, str]]:
    """The names that a deployment has."""
    del terminal, shell
    for role in ("web", "db"):
        desk.role(role)
    desk.edit("workload=web", role="web")
    desk.put("workload=unread", role=7)
    desk.world.running(Name="web-1")
    desk.world.truth.terminate(desk.world.running(Name="gone"))
    desk.world.wait(5)
    return completion_refresh.names(Deployment(Options()))


def test_the_names_are_those_that_the_deployment_has(refreshed: dict[str, dict[str, str]]) -> None:
    assert refreshed == {
        "roles": {"db": "", "web": ""},
        "mappings": {"workload=unread": "7", "workload=web": "web"},
        "revisions": {"workload=unread": "0", "workload=web": "1"},
        "instances": {"i-00000000000000001": "web-1"},
        "targets": {},  # it is no hub
    }


def test_a_hub_has_its_targets_too_and_what_may_not_be_listed_stays_empty(terminal: Terminal, desk: Desk) -> None:
    desk.world.calls.before("Scan", refusing("AccessDeniedException", "no"))
    SpokeFixture(terminal, desk, Target("111111111111", "eu-west-1")).registered(problem="no role there")
    found = completion_refresh.names(Deployment(Options()))
    assert found["targets"] == {"111111111111/eu-west-1": "no role there", f"{ACCOUNT}/{REGION}": "the hub"}
    assert found["mappings"] == {}


def test_the_file_is_for_this_user_only(refreshed: dict[str, dict[str, str]], shell: Shell) -> None:
    shell.has({})
    completion_refresh.write(shell.file, refreshed)
    assert shell.file.stat().st_mode & 0o077 == 0
    assert shell.offers("explain", "w") == ["web-1"]
    assert [each.name for each in shell.file.parent.iterdir() if each not in {shell.file, shell.asked}] == []
