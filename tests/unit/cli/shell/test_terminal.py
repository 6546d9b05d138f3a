"""A dry run: what each command that asks would do, and that it doesn't."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from botocore.client import BaseClient

from fixtures.worlds import WORLDS, World
from rolekeeper_cli.errors import ExitCode
from rolekeeper_cli.main import cli
from rolekeeper_cli.shell.command import Command, Group

READS = ("Get", "BatchGet", "List", "Describe", "Query", "Scan", "Lookup", "Receive", "ChangeMessageVisibility")
# What a line says, and how the same with --detailed-exitcode ends. Deployments are shown as change sets, which
# CloudFormation keeps: tests/unit/cli/deploy.
LINES = {
    "mapping set": ("a small fleet", "app=web role=db", ExitCode.CHANGES),
    "mapping rm": ("an edit that is held", "app=web", ExitCode.HELD),
    "mapping rollback": ("an edit that is held", "app=web --to 1", ExitCode.CHANGES),
    "mapping resume": ("a rollout that is halted", "app=web", ExitCode.CHANGES),
    "mapping discard": ("an edit that is held", "app=web", ExitCode.CHANGES),
    "mapping approve": ("an edit that is held", "app=web", ExitCode.CHANGES),
    "attach": ("a small fleet", "bastion web", ExitCode.CHANGES),
    "replace": ("a small fleet", "web-1 db", ExitCode.CHANGES),
    "detach": ("a small fleet", "web-1", ExitCode.CHANGES),
    "release": ("a fleet with a pin", "web-1", ExitCode.CHANGES),
    "pause": ("a small fleet", "", ExitCode.CHANGES),
    "resume": ("a paused fleet", "", ExitCode.CHANGES),
    "mode": ("a small fleet", "observe", ExitCode.CHANGES),
    "revoke": ("an instance whose role changed", "app-1", ExitCode.CHANGES),
    "redrive": ("a deployment with faults", "", ExitCode.CHANGES),
    "targets forget": ("a hub of three accounts", "222222222222/eu-west-1", ExitCode.CHANGES),
}
# They ask too, and have no dry run: what they delete is listed before the question, or is their own.
WITHOUT = {"destroy", "spoke remove", "verify"}


def _options(group: Group, path: str = "") -> Iterator[tuple[str, set[str]]]:
    for name, command in group.all().items():
        if isinstance(command, Command):
            yield f"{path}{name}", {option for each in command.params for option in each.opts}
        if isinstance(command, Group):
            yield from _options(command, f"{path}{name} ")


def test_every_command_that_asks_has_a_dry_run() -> None:
    asking = {name: options for name, options in _options(cli) if options & {"--yes", "--confirm"}}
    assert {name for name, options in asking.items() if "--dry-run" not in options} == WITHOUT
    assert {name for name, options in asking.items() if "--detailed-exitcode" in options} == LINES.keys()


def pinned(world: World) -> None:
    WORLDS["a small fleet"](world)
    world.terminal("replace", "web-1", "db", "--yes", "--no-wait")


@pytest.mark.parametrize("name", LINES)
def test_a_dry_run_asks_nobody_and_writes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    situation, rest, detailed = LINES[name]
    made, calls = list[str](), "_make_api_call"
    call = getattr(BaseClient, calls)

    def noted(client: BaseClient, operation: str, *asked: object) -> object:
        made.append(operation)
        return call(client, operation, *asked)

    with ExitStack() as closing:
        world = World(monkeypatch, closing)
        (WORLDS | {"a fleet with a pin": pinned})[situation](world)
        typed = world.terminal
        typed.meanwhile = lambda: None
        monkeypatch.setattr(BaseClient, calls, noted)
        world.desk.world.calls.clear()
        ran = typed(*name.split(), *rest.split(), "--dry-run", "--detailed-exitcode")
        assert (ran.exit_code, ran.stderr.splitlines()[-1]) == (detailed, "Dry run: nothing was changed."), ran.output
        typed.document(*name.split(), *rest.split(), "--dry-run", code=0 if detailed == ExitCode.CHANGES else detailed)
        made += world.desk.world.calls.made
    assert [each for each in made if not each.startswith(READS)] == []


def test_its_exit_codes_are_those_of_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = {
        "mapping set app=web role=nobody --dry-run": ExitCode.REJECTED,
        "mapping set app=web role=web --dry-run": ExitCode.DONE,
        "pause --yes": ExitCode.USAGE,
        "mode observe --dry-run": ExitCode.CHANGES,
    }
    with ExitStack() as closing:
        world = World(monkeypatch, closing)
        WORLDS["a small fleet"](world)
        for line, code in codes.items():
            ran = world.terminal(*line.split(), "--detailed-exitcode")
            assert (ran.exit_code, "add --dry-run" in ran.stderr) == (code, code == ExitCode.USAGE), line
        world.terminal("pause", "--yes")
        assert world.terminal("pause", "--dry-run", "--detailed-exitcode").exit_code == ExitCode.DONE
