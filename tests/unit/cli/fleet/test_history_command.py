"""history: what Rolekeeper did, of one instance or, out of the functions' logs, of the fleet."""

from datetime import UTC, datetime

import pytest

from fakes.logs import GROUPS, FakeLogs
from fixtures.account import refusing
from fixtures.mappings import Desk
from fixtures.terminal import Terminal, lines

pytestmark = pytest.mark.desk(usable=("web",), rows={"app=web": "web"})


@pytest.fixture
def logs(terminal: Terminal, desk: Desk) -> FakeLogs:
    """Its lines came one second after the other."""
    made = terminal.clients["logs"] = FakeLogs(desk.world.logged)
    return made


def test_decisions_are_read_from_all_pages_of_both_groups_and_no_ops_only_with_all(
    terminal: Terminal, desk: Desk, logs: FakeLogs
) -> None:
    one, two = desk.converged("web", app="web"), desk.converged("web", app="web")
    desk.world.reconcile(one)
    assert [each["instance"] for each in terminal.document("history")] == [two, one]
    assert {each["logGroupName"] for each in logs.asked} == set(GROUPS)
    assert "nextToken" in logs.asked[1]
    decided = [(each["instance"], each["action"]) for each in terminal.document("history", "--all")]
    assert decided == [(one, "Nothing"), (two, "Attach"), (one, "Attach")]


@pytest.mark.usefixtures("logs")
def test_the_fleets_has_the_fields_and_the_values_of_the_instances(terminal: Terminal, desk: Desk) -> None:
    one = desk.converged("web", app="web")
    desk.world.untag(one, "app")
    desk.world.reconcile(one)
    desk.world.wait(5)
    desk.world.attach_by_hand(one, "theirs")
    desk.world.tag(one, app="web")
    desk.world.reconcile(one)
    fleet, instance = terminal.document("history"), terminal.document("history", one)
    assert [each["outcome"] for each in instance] == [None, "done", "done"]
    for decision, entry in zip(fleet, instance, strict=True):
        when = datetime.fromisoformat(decision["at"])
        assert (len(decision["at"]), when.tzinfo) == (len(entry["at"]), UTC), "one form of time"
        assert list(decision) == list(entry), "the same fields in the same order"
        assert {**decision, "at": entry["at"]} == entry
    refused = desk.world.running(app="web")
    desk.world.calls.before("AssociateIamInstanceProfile", refusing("UnauthorizedOperation", "not you"))
    desk.world.reconcile(refused)
    newest, [entry] = terminal.document("history")[0], terminal.document("history", refused)
    assert newest["outcome"] == entry["outcome"] == "refused"
    assert newest["answer"] == entry["answer"]


def test_the_fleets_is_the_newest_that_was_done_wherever(terminal: Terminal, desk: Desk) -> None:
    assert terminal("history").stderr == "Rolekeeper did nothing in the last week.\n"
    gone, one = (desk.converged("web", app="web") for _ in range(2))
    desk.world.truth.terminate(gone)
    assert [each["instance"] for each in terminal.document("history")] == [one, gone]
    desk.world.wait(2 * 86_400)
    two = desk.converged("web", app="web")
    desk.world.reconcile(two)
    ran = terminal("history", "--limit", "1")
    [row] = lines(ran.stdout)[1:]
    assert row.endswith(f"Z {two} Attach (unoccupied) none web test → app=web gives it role web")
    assert "more rows than the 1" in ran.stderr
    assert [each["instance"] for each in terminal.document("history")] == [two, one, gone]


def test_functions_that_dont_log_decisions_are_reported(terminal: Terminal) -> None:
    terminal.parameters["LogLevel"] = "WARNING"
    assert "decisions are logged at INFO: deploy with LogLevel=INFO" in terminal("history").stderr
    terminal.parameters["LogLevel"] = "DEBUG"
    assert "LogLevel" not in terminal("history").stderr
