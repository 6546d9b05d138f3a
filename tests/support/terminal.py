"""A terminal in which the command is typed, over an operator's desk in the process."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rolekeeper_cli import output
from rolekeeper_cli.deployment import Deployment, Stack
from rolekeeper_cli.main import cli
from support.desk import Desk, session
from support.state_table import STATE_TABLE
from support.world import MAPPING_TABLE, PATH

# Who moto says that we are.
CALLER = "arn:aws:sts::123456789012:user/moto"


class Terminal:
    """Runs the command. `types` sits a person down at it; `meanwhile` is done once while the command waits."""

    def __init__(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        self.desk = desk
        self.parameters = {
            "RolePath": PATH,
            "Mode": "enforce",
            "TakeOver": "false",
            "CreateMissingProfiles": "true",
            "MaxChangesPerEdit": "25",
            "MaxChangesPercent": "20",
            "ChangeWindowMinutes": "10",
            "RetryTimeoutMinutes": "60",
            "HistoryDays": "90",
            "ContestedAfter": "3",
            "ContestedWindowMinutes": "30",
        }
        # Clients of services that a story needs beside the desk's.
        self.clients: dict[str, Any] = {}
        self.status, self.created = "CREATE_COMPLETE", desk.world.clock.now()
        self.meanwhile: Callable[[], object] = _nothing
        self._monkeypatch = monkeypatch
        self._sts = session().client("sts")
        self.outputs = {"MappingTable": MAPPING_TABLE, "StateTable": STATE_TABLE, "WorkQueue": desk.queue_url}
        stack = property(lambda _: Stack("rolekeeper", self.outputs, self.parameters, self.status, self.created))
        monkeypatch.setattr(Deployment, "client", lambda _, service, _config=None: self.client(service))
        monkeypatch.setattr(Deployment, "resource", lambda _, name: name)
        monkeypatch.setattr(Deployment, "stack", stack)
        monkeypatch.setattr(Deployment, "now", lambda _: desk.world.clock.now())
        monkeypatch.setattr(Deployment, "sleep", lambda _, seconds: self.wait(seconds))

    def __call__(self, *arguments: str, stdin: str | bytes = "") -> Result:
        return CliRunner().invoke(cli, arguments, input=stdin, prog_name="rolekeeper")

    def document(self, *arguments: str) -> Any:
        """Run it for JSON."""
        ran = self(*arguments, "--output", "json")
        assert ran.exit_code == 0, ran.output
        return json.loads(ran.stdout)

    def types(self, text: str, *arguments: str) -> Result:
        """Run it where a person answers what it asks."""
        with self._monkeypatch.context() as patch:
            patch.setattr(output, "is_terminal", lambda: True)
            return self(*arguments, stdin=text)

    def judges(self, *tags: str) -> None:
        """Rolekeeper judges these rows while the command waits."""
        self.meanwhile = lambda: [self.desk.publish(tag) for tag in tags]

    def client(self, service: str) -> Any:
        """The in-process AWS."""
        desk, world = self.desk, self.desk.world
        made = {"dynamodb": world.dynamodb, "ec2": world.ec2, "iam": desk.iam, "sqs": desk.sqs, "sts": self._sts}
        return {**made, **self.clients}[service]

    def reconciles(self, *instances: str) -> None:
        """Rolekeeper looks at these instances while the command waits."""
        self.meanwhile = lambda: self.desk.world.reconcile_all(*instances)

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.desk.world.wait(seconds)
        act, self.meanwhile = self.meanwhile, _nothing
        act()


def lines(text: str) -> list[str]:
    """A table's lines, each with single blanks."""
    return [" ".join(each.split()) for each in text.splitlines()]


def _nothing() -> None:
    """Nobody does anything."""
