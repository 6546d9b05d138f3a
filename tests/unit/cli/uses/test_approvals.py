"""Approving and discarding what is held, by functions."""

import pytest

from fixtures.account import mapping_key
from fixtures.mappings import MappingsFixture
from fixtures.terminal import CALLER, Terminal
from rolekeeper.settings import Limits
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.uses.edits import approve, discard, held_edit, to_discard

KEY = mapping_key("app=web")


@pytest.fixture(autouse=True)
def held(desk: MappingsFixture) -> None:
    """Revision 2 of `app=web` would give three instances another role, and is held."""
    desk.edit("app=web", role="web")
    for _ in range(3):
        desk.converged("web", app="web")
    desk.limits = Limits(1, 0)
    desk.edit("app=web", role="db", edited_by="al")
    desk.quiet()


def test_what_is_held_is_shown(deployment: Deployment) -> None:
    found = held_edit(deployment, KEY)
    assert (found.revision, found.deletes, found.row["role"]) == (2, False, {"S": "db"})
    assert "replace 3" in found.reason
    with pytest.raises(CommandError, match="revision 2 of app=web is held, not 5"):
        held_edit(deployment, KEY, 5)


def test_a_held_revision_is_approved_and_published(
    deployment: Deployment, terminal: Terminal, desk: MappingsFixture
) -> None:
    terminal.judges("app=web")
    [row] = approve(deployment, {KEY: 2}).rows
    assert (row.status, row.revision, row.held, row.good) == ("Published", 2, 0, True)
    assert desk.shows("app=web")[0] == "Published"


def test_ones_own_edit_is_refused_and_nothing_is_signed(deployment: Deployment, desk: MappingsFixture) -> None:
    desk.edit("app=web", role="db", priority=7, edited_by=CALLER)
    before = desk.row("app=web")
    desk.world.calls.clear()
    with pytest.raises(CommandError, match="revision 3 of app=web is your own edit"):
        approve(deployment, {KEY: 3})
    assert desk.row("app=web") == before
    assert [desk.world.calls[each] for each in ("PutItem", "UpdateItem", "TransactWriteItems")] == [0, 0, 0]


def test_what_is_no_longer_held_is_neither_approved_nor_discarded(
    deployment: Deployment, desk: MappingsFixture
) -> None:
    desk.edit("app=web", role="db", priority=7, edited_by="al")
    before = desk.row("app=web")
    with pytest.raises(CommandError, match="revision 2 of app=web is no longer held; it wasn't approved"):
        approve(deployment, {KEY: 2})
    with pytest.raises(CommandError, match="revision 2 of app=web is no longer held; nothing was discarded"):
        discard(deployment, KEY, 2)
    assert desk.row("app=web") == before


def test_what_was_discarded_while_it_was_approved_isnt_called_published(
    deployment: Deployment, terminal: Terminal, desk: MappingsFixture
) -> None:
    def meanwhile() -> None:
        desk.unset("app=web", "approve")
        desk.set("app=web", discard=2)
        desk.publish("app=web")
        desk.publish("app=web")

    terminal.meanwhile = meanwhile
    with pytest.raises(CommandError, match="revision 2 of app=web was discarded meanwhile"):
        approve(deployment, {KEY: 2})


def test_a_held_revision_is_discarded_and_the_row_says_what_is_in_effect(
    deployment: Deployment, terminal: Terminal, desk: MappingsFixture
) -> None:
    back = to_discard(deployment, KEY)
    assert (back.edit and back.edit.held, [each.kind for each in back.plan.changes]) == (2, ["changed"])
    terminal.meanwhile = lambda: [desk.publish("app=web"), desk.publish("app=web")]
    [row] = discard(deployment, KEY, 2).rows
    assert (row.status, row.revision, desk.row("app=web")["role"]) == ("Published", 1, "web")


def test_what_was_approved_meanwhile_isnt_called_discarded(
    deployment: Deployment, terminal: Terminal, desk: MappingsFixture
) -> None:
    def meanwhile() -> None:
        desk.unset("app=web", "discard")
        desk.approve("app=web", 2)

    terminal.meanwhile = meanwhile
    with pytest.raises(CommandError, match="revision 2 of app=web was approved meanwhile, and is in effect"):
        discard(deployment, KEY, 2)


def test_who_doesnt_wait_gets_no_verdict(deployment: Deployment, desk: MappingsFixture) -> None:
    assert discard(deployment, KEY, 2, patience=0).unjudged == (KEY,)
    assert desk.row("app=web")["discard"] == 2
    assert approve(deployment, {KEY: 2}, patience=0).unjudged == (KEY,)
    assert desk.row("app=web")["approve"] == 2
