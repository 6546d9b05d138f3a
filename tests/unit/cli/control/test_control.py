"""pause, resume and mode: each changes its own attribute of the control item and leaves the other."""

import pytest

from fixtures.account import refusing
from fixtures.mappings import Desk
from fixtures.terminal import Terminal
from rolekeeper.storage import layout
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.control.use import switch
from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.options import Options


def control(desk: Desk) -> dict[str, object]:
    item = desk.world.store.get([layout.CONTROL]).get(layout.CONTROL, {})
    return {name: item[name] for name in ("mode", "paused") if name in item}


def test_a_pause_is_shown_with_who_when_and_why_whatever_was_switched_since(terminal: Terminal, desk: Desk) -> None:
    terminal("pause", "--reason", "wrong roles")
    desk.hears_of_control("event-1")
    desk.world.wait(7200)
    desk.world.control(mode="observe", paused=True, by="arn:aws:iam::1:user/eve")
    desk.hears_of_control("event-2")
    explained = terminal.document("explain", desk.world.running(), "--no-who", "--no-uptake")
    assert explained["withheld"] == "Rolekeeper is paused (since 2026-03-01 09:00 UTC, by moto: wrong roles)"
    assert terminal.document("mode")["claimed_reason"] == "wrong roles"
    desk.world.calls.before("Query", refusing("AccessDeniedException"))
    assert "paused (by eve)" in terminal("mode").stdout, "without the history it is who wrote the item last"
    desk.world.control(mode="observe", paused=False)
    desk.hears_of_control("event-3")
    assert "now: the mode is observe (since 2026-03-01 11:00 UTC, by eve)." in terminal("fleet").stderr


def test_a_switch_is_refused_where_another_person_switches_while_it_is_written(terminal: Terminal, desk: Desk) -> None:
    del terminal  # it is what AWS is asked through
    desk.world.control(paused=False)
    desk.world.calls.before("UpdateItem", lambda: desk.world.control(paused=True))
    with pytest.raises(CommandError, match="another actor switched meanwhile"):
        switch(Deployment(Options()), {"mode": "observe"}, "", planned_on="not paused, mode as deployed")
    assert control(desk) == {"paused": True}
