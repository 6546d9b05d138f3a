"""pause, resume and mode: each changes its own attribute of the control item and leaves the other."""

import pytest

from fixtures.account import refusing
from fixtures.mappings import Desk
from fixtures.terminal import Terminal, lines
from rolekeeper.storage import layout
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.options import Options
from rolekeeper_cli.uses.control import switch


def control(desk: Desk) -> dict[str, object]:
    item = desk.world.store.get([layout.CONTROL]).get(layout.CONTROL, {})
    return {name: item[name] for name in ("mode", "paused") if name in item}


def test_the_mode_is_shown_and_nothing_written(terminal: Terminal, desk: Desk) -> None:
    assert lines(terminal("mode").stdout) == ["mode: enforce (as deployed), not paused"]
    assert terminal.document("mode") == {
        "mode": "enforce",
        "deployed": "enforce",
        "paused": False,
        "claimed_by": None,
        "claimed_at": None,
        "claimed_reason": None,
    }
    assert control(desk) == {}


def test_pause_and_mode_leave_each_other_alone(terminal: Terminal, desk: Desk) -> None:
    at = "since 2026-03-01 09:00 UTC, by moto"
    assert lines(terminal("pause").stdout) == [f"mode: enforce (as deployed), paused ({at})"]
    assert lines(terminal("mode", "observe").stdout) == [f"mode: observe (set), paused ({at})"]
    assert control(desk) == {"mode": "observe", "paused": True}
    assert lines(terminal("resume").stdout) == [f"mode: observe (set), not paused ({at})"]
    assert lines(terminal("mode", "deployed").stdout) == ["mode: enforce (as deployed), not paused"]
    assert control(desk) == {"paused": False}


def test_what_cant_be_read_there_is_told_and_mended_by_setting_it(terminal: Terminal, desk: Desk) -> None:
    desk.world.control(mode="obsreve")
    ran = terminal("mode")
    assert ran.exit_code == 1
    assert "nothing is changed, as the control item's mode is 'obsreve'" in ran.stderr
    assert terminal("mode", "observe").exit_code == 0
    desk.world.control(paused="yes")
    assert terminal("pause").exit_code == 0
    assert control(desk) == {"paused": True}


@pytest.mark.parametrize("word", ["Observe", "off"])
def test_another_mode_is_a_slip_in_the_command(terminal: Terminal, word: str) -> None:
    assert terminal("mode", word).exit_code == 252


def test_who_switches_and_why_is_written_beside_it(terminal: Terminal, desk: Desk) -> None:
    terminal("pause", "--reason", "wrong roles")
    item = desk.world.store.get([layout.CONTROL])[layout.CONTROL]
    assert item["reason"] == "wrong roles"
    assert str(item["by"]).startswith("arn:aws:sts:")


def test_a_pause_is_shown_with_who_when_and_why_whatever_was_switched_since(terminal: Terminal, desk: Desk) -> None:
    terminal("pause", "--reason", "wrong roles")
    desk.hears_of_control("event-1")
    desk.world.wait(7200)
    desk.world.control(mode="observe", paused=True, by="arn:aws:iam::1:user/eve")
    desk.hears_of_control("event-2")
    said = "Rolekeeper is paused (since 2026-03-01 09:00 UTC, by moto: wrong roles)"
    instance = desk.world.running()
    assert f"Nothing is changed now: {said}." in terminal("fleet").stderr
    assert f"Nothing is changed now: {said}." in terminal("launches").stderr
    assert f"No changes will be made now: {said}." in terminal("plan").stderr
    explained = terminal.document("explain", instance, "--no-who", "--no-uptake")
    assert explained["withheld"] == said
    assert terminal.document("mode")["claimed_reason"] == "wrong roles"
    desk.world.calls.before("Query", refusing("AccessDeniedException"))
    assert "paused (by eve)" in terminal("mode").stdout, "without the history it is who wrote the item last"
    desk.world.control(mode="observe", paused=False)
    desk.hears_of_control("event-3")
    assert (
        "Nothing is changed now: the mode is observe (since 2026-03-01 11:00 UTC, by eve)." in terminal("fleet").stderr
    )


def test_a_switch_is_refused_where_another_person_switches_while_it_is_written(terminal: Terminal, desk: Desk) -> None:
    del terminal  # it is what AWS is asked through
    desk.world.control(paused=False)
    desk.world.calls.before("UpdateItem", lambda: desk.world.control(paused=True))
    with pytest.raises(CommandError, match="another actor switched meanwhile"):
        switch(Deployment(Options()), {"mode": "observe"}, "", planned_on="not paused, mode as deployed")
    assert control(desk) == {"paused": True}


def test_every_write_is_shown(terminal: Terminal, desk: Desk) -> None:
    assert "the control item was never written" in terminal("history", "--control").stderr
    for number, arguments in enumerate((["pause", "--reason", "a\nlook"], ["mode", "observe"])):
        terminal(*arguments)
        desk.hears_of_control(f"event-{number}")
    latest, first = terminal.document("history", "--control")
    assert (latest["from"], latest["to"]) == ("paused, mode as deployed", "paused, mode observe")
    assert (first["claimed_reason"], first["in_effect"]) == (r"a\nlook", "Rolekeeper is paused")
    assert "paused, mode observe" in terminal("history", "--control").stdout


def test_history_is_of_one_thing(terminal: Terminal) -> None:
    for arguments in ([], ["web-1", "--control"], ["--control", "--who"]):
        assert "history needs an instance, or --control alone" in terminal("history", *arguments).stderr
