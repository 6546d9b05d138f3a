"""watch: decisions as they happen, out of the functions' logs."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from fakes.logs import GROUPS, FakeLogs
from fixtures.account import refusing
from fixtures.mappings import Desk
from fixtures.terminal import Terminal, lines


@pytest.fixture
def logs(terminal: Terminal, desk: Desk) -> FakeLogs:
    made = FakeLogs(desk.world.logged)
    terminal.clients["logs"] = made
    desk.usable("web")
    desk.edit("app=web", role="web")
    return made


def test_decisions_are_shown_once_each_in_their_order(terminal: Terminal, desk: Desk, logs: FakeLogs) -> None:
    one, two = desk.converged("web", app="web"), desk.world.running(app="web")
    terminal.meanwhile = lambda: desk.world.reconcile(two)
    ran = terminal("watch", "--since", "10m", "--for", "6s")
    assert ran.exit_code == 0, ran.output
    head, *rows = lines(ran.stdout)
    assert head == "AT INSTANCE DECIDED FROM TO WHY"
    shown = [(row.split()[1], row.split()[2]) for row in rows]
    assert shown == [(one, "Attach"), (two, "Attach")]
    assert rows[0].endswith("Attach (unoccupied) none web test → app=web gives it role web")
    assert len(logs.asked) > 6, "pages of both groups, several times"
    assert {each["logGroupName"] for each in logs.asked} == set(GROUPS)


def test_no_ops_are_shown_to_those_who_want_all(terminal: Terminal, desk: Desk, logs: FakeLogs) -> None:  # noqa: ARG001  # they are there
    desk.world.reconcile(desk.converged("web", app="web"))
    line = ("watch", "--since", "10m", "--for", "1s")
    told = terminal(*line, "--all", "--output", "json").stdout.splitlines()
    decided = [json.loads(each)["action"] for each in told]
    assert decided == ["Attach", "Nothing"]
    assert "Nothing" not in terminal(*line).stdout


def test_one_instance_can_be_watched(terminal: Terminal, desk: Desk, logs: FakeLogs) -> None:  # noqa: ARG001  # the same
    one, two = desk.converged("web", app="web", Name="web-1"), desk.converged("web", app="web")
    ran = terminal("watch", "--instance", "web-1", "--since", "10m", "--for", "1s")
    assert one in ran.stdout
    assert two not in ran.stdout


@pytest.mark.usefixtures("logs")
def test_a_decision_has_the_fields_and_the_values_that_the_history_has(terminal: Terminal, desk: Desk) -> None:
    one = desk.converged("web", app="web")
    desk.world.untag(one, "app")
    desk.world.reconcile(one)
    desk.world.wait(5)
    desk.world.attach_by_hand(one, "theirs")
    desk.world.tag(one, app="web")
    desk.world.reconcile(one)
    line = ("watch", "--instance", one, "--since", "10m", "--for", "1s", "--output")
    watched = [json.loads(each) for each in terminal(*line, "json").stdout.splitlines()]
    history = terminal.document("history", one)[::-1]
    assert [each["outcome"] for each in history] == ["done", "done", None]
    for decision, entry in zip(watched, history, strict=True):
        when = datetime.fromisoformat(decision["at"])
        assert (len(decision["at"]), when.tzinfo) == (len(entry["at"]), UTC), "one form of time"
        assert list(decision) == list(entry), "the same fields in the same order"
        assert {**decision, "at": entry["at"]} == entry


@pytest.mark.usefixtures("logs")
def test_what_ec2_refused_has_that_outcome_in_both(terminal: Terminal, desk: Desk) -> None:
    one = desk.world.running(app="web")
    desk.world.calls.before("AssociateIamInstanceProfile", refusing("UnauthorizedOperation", "not you"))
    desk.world.reconcile(one)
    watched = json.loads(terminal("watch", "--since", "10m", "--for", "1s", "-o", "json").stdout.splitlines()[0])
    [entry] = terminal.document("history", one)
    assert watched["outcome"] == entry["outcome"] == "refused"
    assert watched["answer"] == entry["answer"]


@pytest.mark.usefixtures("logs")
def test_an_answer_of_aws_that_is_the_reason_is_shown_once(terminal: Terminal, desk: Desk) -> None:
    one = desk.world.running(app="web")
    invalid = refusing("InvalidParameterValue", "Invalid IAM Instance Profile ARN")
    desk.world.calls.before("AssociateIamInstanceProfile", invalid)
    desk.world.reconcile(one)
    [row] = terminal("watch", "--since", "10m", "--for", "1s").stdout.splitlines()[1:]
    assert "EC2 isn't ready for role web" in row
    assert row.count("InvalidParameterValue") == 1


def test_it_begins_as_far_back_as_it_is_told(terminal: Terminal, desk: Desk, logs: FakeLogs) -> None:
    now = desk.world.clock.now()
    terminal("watch", "--since", "5m", "--for", "1s")
    assert logs.asked[0]["startTime"] == int((now - timedelta(minutes=5)).timestamp() * 1_000)


@pytest.mark.usefixtures("logs")
def test_the_history_of_the_fleet_is_the_newest_that_was_done_wherever(terminal: Terminal, desk: Desk) -> None:
    terminal.clients["logs"] = FakeLogs(desk.world.logged, desk.world.clock.now)
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


def test_functions_that_dont_log_decisions_are_told(terminal: Terminal, logs: FakeLogs) -> None:  # noqa: ARG001  # the same
    terminal.parameters["LogLevel"] = "WARNING"
    assert "decisions are logged at INFO: deploy with LogLevel=INFO" in terminal("watch", "--for", "1s").stderr
    terminal.parameters["LogLevel"] = "DEBUG"
    assert "LogLevel" not in terminal("watch", "--for", "1s").stderr


def test_it_says_how_it_ends_only_where_it_doesnt_end_by_itself(terminal: Terminal, logs: FakeLogs) -> None:  # noqa: ARG001  # the same
    def stop() -> None:
        raise KeyboardInterrupt

    terminal.meanwhile = stop
    ran = terminal("watch")
    assert (ran.exit_code, ran.stderr) == (130, "Watching; Ctrl-C ends it.\n\nStopped.\n")
    assert "Ctrl-C" not in terminal("watch", "--for", "1s").stderr
