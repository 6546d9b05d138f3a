"""Settings in the console: how it is set, and switching it, which shows first what that would do."""

import re
from html import unescape

from httpx2 import Response
from starlette.testclient import TestClient

from fixtures.console import words
from fixtures.mappings import Desk
from fixtures.terminal import CALLER
from rolekeeper.storage import layout


def control(desk: Desk) -> dict[str, object]:
    return dict(desk.world.store.get([layout.CONTROL]).get(layout.CONTROL, {}))


def confirms(browser: TestClient, page: Response, **changed: str) -> Response:
    """Press the button of the page that shows what a switch would do."""
    fields = {name: unescape(value) for name, value in re.findall(r'name="(\w+)" value="([^"]*)"', page.text)}
    return browser.post("/settings/switch", data={**fields, **changed})


# ---- how it is set ----


def test_as_deployed(browser: TestClient) -> None:
    said = words(browser.get("/settings"))
    assert "Rolekeeper runs Mode enforce, as deployed As deployed enforce" in said
    assert "Nobody switched it yet" in said
    assert "reason was given" not in said
    assert "MaxChangesPerEdit 25 How many instances all edits together may change without approval" in said


# ---- switching it ----


def test_a_pause_shows_first_what_it_withholds_then_is_written_with_its_reason(browser: TestClient, desk: Desk) -> None:
    desk.role("web")
    desk.edit("app=web", role="web")
    desk.world.running(app="web")
    page = browser.get("/settings/switch?what=pause&reason=wrong+roles")
    said = words(page)
    assert "Changes that it withholds Would get a role 1" in said
    assert "Why wrong roles" in said
    assert control(desk) == {}, "nothing is written by looking"
    after = confirms(browser, page)
    assert after.url.path == "/settings"
    assert "Rolekeeper is paused. Nothing is changed: Rolekeeper is paused" in words(after)
    assert control(desk)["paused"] is True
    assert (control(desk)["by"], control(desk)["reason"]) == (CALLER, "wrong roles")
    desk.hears_of_control("event-1")
    assert "(it was: not paused, mode as deployed)" in words(browser.get("/settings/history"))


def test_a_pause_needs_a_reason_and_a_reason_has_an_end(browser: TestClient, desk: Desk) -> None:
    page = browser.get("/settings/switch?what=pause")
    assert confirms(browser, page).status_code == 400
    assert confirms(browser, page, reason="x" * 501).status_code == 400
    assert control(desk) == {}


def test_resuming_shows_what_is_done_then(browser: TestClient, desk: Desk) -> None:
    desk.world.control(paused=True)
    page = browser.get("/settings/switch?what=resume")
    assert "What it does to instances" in words(page)
    assert "Rolekeeper is resumed" in words(confirms(browser, page))
    assert control(desk)["paused"] is False


def test_a_switch_is_refused_where_another_person_switched_since(browser: TestClient, desk: Desk) -> None:
    page = browser.get("/settings/switch?what=observe")
    desk.world.control(paused=True)
    answer = confirms(browser, page)
    assert answer.status_code == 409
    assert "Another actor switched meanwhile, from not paused, mode as deployed to paused" in words(answer)
    assert "mode" not in control(desk)
