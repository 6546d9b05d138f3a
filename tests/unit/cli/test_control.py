"""pause, resume and mode: each changes its own attribute of the control item and leaves the other."""

import pytest

from fixtures.mappings import Desk
from fixtures.terminal import Terminal
from rolekeeper.storage import layout
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.options import Options
from rolekeeper_cli.uses.control import switch


def control(desk: Desk) -> dict[str, object]:
    item = desk.world.store.get([layout.CONTROL]).get(layout.CONTROL, {})
    return {name: item[name] for name in ("mode", "paused") if name in item}


def test_who_switches_and_why_is_written_beside_it(terminal: Terminal, desk: Desk) -> None:
    terminal("pause", "--reason", "wrong roles")
    item = desk.world.store.get([layout.CONTROL])[layout.CONTROL]
    assert item["reason"] == "wrong roles"
    assert str(item["by"]).startswith("arn:aws:sts:")


def test_a_switch_is_refused_where_another_person_switches_while_it_is_written(terminal: Terminal, desk: Desk) -> None:
    del terminal  # it is what AWS is asked through
    desk.world.control(paused=False)
    desk.world.calls.before("UpdateItem", lambda: desk.world.control(paused=True))
    with pytest.raises(CommandError, match="another actor switched meanwhile"):
        switch(Deployment(Options()), {"mode": "observe"}, "", planned_on="not paused, mode as deployed")
    assert control(desk) == {"paused": True}
