"""A page that is filled in while a person is at it, in a real browser: AWS answers when the story says so."""

from collections.abc import Iterator
from threading import Thread

import pytest
from playwright.sync_api import Browser, expect

from fixtures import console
from fixtures.browser import needs_chromium, visitor
from fixtures.console import Slow
from fixtures.mappings import Desk
from fixtures.terminal import Terminal
from rolekeeper_cli.console import connections
from rolekeeper_cli.console.server import listen
from rolekeeper_cli.site import application
from support.waiting import eventually

pytestmark = [pytest.mark.emulator, needs_chromium]

SMALL = (640, 320)
PLACE = "row => row.getBoundingClientRect().y"


@pytest.fixture
def slow(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> Slow:
    return Slow(console.site(clock=lambda: terminal.desk.world.clock.seconds), monkeypatch)


@pytest.fixture
def terminal(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    return Terminal(desk, monkeypatch)


@pytest.fixture
def origin(slow: Slow) -> Iterator[str]:
    """Where that console is, without the guard at its door."""
    with listen(0) as listening:
        web = connections.server(application(slow.site))
        serving = Thread(target=web.run, args=([listening],), daemon=True)
        serving.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        web.should_exit = True
        serving.join(10)


def test_a_page_is_filled_in_place_under_the_hands_of_a_person(
    browser: Browser, slow: Slow, origin: str, desk: Desk, terminal: Terminal
) -> None:
    for number in range(8):
        desk.edit(f"app=old-{number}", role="web")
    slow.opens("/mappings?text=app")
    desk.edit("app=zone", role="web")
    terminal.wait(60)
    with visitor(browser, name="filling", base_url=origin, size=SMALL) as person:
        person.page.goto("/mappings?text=app")
        person.sees("As it was 1 min ago", "app=old-7")
        expect(person.row("app=zone")).to_have_count(0)
        field = person.page.get_by_label("Find", exact=True).first
        field.fill("what I am typ")
        read = person.row("app=old-5")
        person.page.evaluate("window.before = document")
        read.evaluate("row => window.scrollTo(0, row.offsetTop)")
        there = read.evaluate(PLACE)
        eventually(lambda: bool(slow.begun))
        slow.begun.pop()()
        expect(person.row("app=zone")).to_have_count(1)
        expect(person.page.locator("main")).not_to_contain_text("As it was")
        expect(field).to_be_focused()
        expect(field).to_have_value("what I am typ")
        assert person.page.evaluate("window.before === document"), "it wasn't loaded again"
        assert read.evaluate(PLACE) == pytest.approx(there, abs=1), "what is read stays where it is"
