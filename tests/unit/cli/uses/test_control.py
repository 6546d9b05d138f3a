"""The switches of the deployment, by functions."""

from typing import Any

import pytest

from fixtures.mappings import MappingsFixture
from fixtures.terminal import CALLER
from rolekeeper.storage import layout
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.uses import control
from rolekeeper_cli.uses.preview import Preview

DEPLOYED = {"mode": "enforce", "is": "as deployed", "deployed": "enforce", "paused": False}


def item(desk: MappingsFixture) -> dict[str, object]:
    return dict(desk.world.store.get([layout.CONTROL])[layout.CONTROL])


def test_a_switch_answers_how_things_stand_then(deployment: Deployment, desk: MappingsFixture) -> None:
    assert control.status(deployment) == DEPLOYED
    assert control.switch(deployment, {"paused": True}, "wrong roles") == {**DEPLOYED, "paused": True}
    assert (item(desk)["by"], item(desk)["reason"]) == (CALLER, "wrong roles")
    observed = control.switch(deployment, {"mode": "observe"}, "")
    assert observed == {"mode": "observe", "is": "set", "deployed": "enforce", "paused": True}
    assert control.switch(deployment, {"mode": None}, "") == {**DEPLOYED, "paused": True}
    assert control.status(deployment) == {**DEPLOYED, "paused": True}


def test_what_a_switch_would_do_is_known_beforehand(deployment: Deployment, desk: MappingsFixture) -> None:
    desk.edit("app=web", role="web")
    desk.world.running(app="web")
    found = control.expected(deployment, {"paused": True})
    assert isinstance(found, Preview)
    assert (found.attach, found.withheld) == (1, True)
    assert control.expected(deployment, {"paused": False}) == (
        "Nothing else changes by that: changes are made as before."
    )
    assert control.status(deployment) == DEPLOYED


def test_an_item_that_cant_be_read_is_said(deployment: Deployment, desk: MappingsFixture) -> None:
    control.switch(deployment, {"mode": "enforce"}, "")
    desk.world.store.write(desk.world.store.put({**item(desk), "mode": "sideways"}))
    with pytest.raises(CommandError, match="nothing is changed, as"):
        control.status(deployment)


def test_a_switch_is_refused_where_another_person_switches_while_it_is_written(
    deployment: Deployment, desk: MappingsFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = type(deployment.app.store).update

    def meanwhile(*arguments: Any) -> Any:
        desk.world.control(paused=True)
        return update(*arguments)

    monkeypatch.setattr(type(deployment.app.store), "update", meanwhile)
    with pytest.raises(CommandError, match="another actor switched meanwhile"):
        control.switch(deployment, {"mode": "observe"}, "", planned_on="not paused, mode as deployed")
    assert "mode" not in item(desk)
