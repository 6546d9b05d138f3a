"""Two callers, one document: what a page asks for in a thread is what the command shows, and nothing is printed."""

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import click
import pytest

from fixtures.account import mapping_key
from fixtures.doctor import DoctorFixture
from fixtures.mappings import MappingsFixture
from fixtures.terminal import Terminal
from rolekeeper_cli.checks import run
from rolekeeper_cli.checks.deployment import DoctorDeployment
from rolekeeper_cli.options import Options
from rolekeeper_cli.uses import explanation, fleet, history, mappings, roles
from rolekeeper_cli.uses.fleet import Enforced, Seen, look, pages
from rolekeeper_cli.uses.preview import FleetPlan, Proposal
from rolekeeper_cli.uses.targets import Places

KEY = mapping_key("app=web")


@pytest.fixture(autouse=True)
def story(terminal: Terminal, desk: MappingsFixture) -> None:
    """An instance with its role, one in drift, one with a foreign role; a rejected row; a pause that has ended."""
    world = desk.world
    desk.role("web")
    desk.edit("app=web", role="web")
    desk.converged("web", app="web", Name="web-1")
    desk.put("app=db", role="nosuch")
    desk.publish("app=db")
    world.running(app="web", Name="web-2")
    world.attach_by_hand(world.running(Name="theirs"), "theirs")
    for number, switch in enumerate(("pause", "resume")):
        terminal(switch, "--yes")
        desk.hears_of_control(f"event-{number}")


@pytest.fixture
def ward(terminal: Terminal, desk: MappingsFixture, monkeypatch: pytest.MonkeyPatch) -> DoctorFixture:
    return DoctorFixture(terminal, desk, monkeypatch)


def seen(deployment: DoctorDeployment) -> Iterator[Seen]:
    """The fleet, none of it damaged."""
    state = Enforced.of(deployment)
    for each in look(deployment, state, pages(deployment)):
        assert isinstance(each, Seen)
        yield each


def fleet_document(deployment: DoctorDeployment) -> object:
    return [fleet.document(each) for each in seen(deployment)]


def plan_document(deployment: DoctorDeployment) -> object:
    plan = FleetPlan(deployment, Proposal(waiting=mappings.waiting(mappings.rows(deployment))))
    return {"changes": list(plan.documents(seen(deployment))), **plan.rest()}


def doctor_document(deployment: DoctorDeployment) -> object:
    return [each.document() for each in run.findings(deployment)]


type View = Callable[[DoctorDeployment], object]

VIEWS: Mapping[tuple[str, ...], View] = {
    ("fleet",): fleet_document,
    ("explain", "web-1"): lambda there: explanation.explanation(there, "web-1", ask_who=True).document,
    ("explain", "web-2", "--no-who"): lambda there: explanation.explanation(there, "web-2", ask_who=False).document,
    ("history", "web-1"): lambda there: history.entries(there, "web-1", 20),
    ("history", "web-1", "--who"): lambda there: history.entries(there, "web-1", 20, ask_who=True),
    ("history", "--control"): lambda there: history.control_entries(there, 20),
    ("plan",): plan_document,
    ("roles", "--no-last-accessed"): lambda there: roles.document(there, Places.chosen(there), last_accessed=False),
    ("mapping", "ls"): mappings.rows,
    ("mapping", "get", str(KEY)): lambda there: mappings.row(there, KEY),
    ("mapping", "history", str(KEY)): lambda there: mappings.revisions(there, KEY, 20),
}


def asked_by_a_page(view: View) -> Any:
    """What a view gives in a thread without a command line, as JSON has it."""

    def ask() -> object:
        assert click.get_current_context(silent=True) is None
        return view(DoctorDeployment(Options()))

    with ThreadPoolExecutor(1) as threads:
        return json.loads(json.dumps(threads.submit(ask).result(), default=plain))


def plain(value: object) -> object:
    match value:
        case datetime():
            return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
        case Decimal():
            return int(value)
        case Mapping():
            return dict(value)
    raise TypeError(value)


@pytest.mark.parametrize(("line", "view"), VIEWS.items(), ids=[" ".join(each) for each in VIEWS])
def test_a_page_gets_what_the_command_shows(
    terminal: Terminal, capsys: pytest.CaptureFixture[str], line: tuple[str, ...], view: View
) -> None:
    shown = terminal.document(*line)
    assert shown
    assert asked_by_a_page(view) == shown
    assert capsys.readouterr() == ("", "")


def test_a_page_gets_what_the_doctor_finds(
    terminal: Terminal, ward: DoctorFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    ward.rules["InstanceTagRule"] = "DISABLED"
    ran = terminal("doctor", "--output", "json")
    assert ran.exit_code == 1
    assert asked_by_a_page(doctor_document) == json.loads(ran.stdout)["findings"]
    assert capsys.readouterr() == ("", "")
