"""The console's pages name what isn't in effect, with why: each situation of a row on each page."""

from html import unescape

from starlette.testclient import TestClient

from fixtures.console import words
from fixtures.effects import WEB, Case
from fixtures.mappings import Desk
from fixtures.terminal import Terminal


def test_an_instances_page_names_the_row_and_why(browser: TestClient, instance: str, case: Case) -> None:
    text = words(browser.get(f"/instance/{instance}"))
    assert ("Not in effect" in text) == bool(case.named)
    assert f"Not in effect {case.named}" in text or not case.named
    assert "its tags match no mapping" not in text


def test_the_fleet_names_the_row_of_an_instance_without_a_role(browser: TestClient, instance: str, case: Case) -> None:
    page = browser.get("/")
    assert f"{case.status} {instance}" in words(page)
    assert case.named in unescape(page.text)


def test_a_mappings_page_says_why_it_isnt_in_effect(browser: TestClient, case: Case) -> None:
    found = words(browser.get("/mapping", params={"key": "app", "value": "web"}))
    reason = case.named.partition(": ")[2].partition(" for account")[0].removeprefix("it ")
    assert ("is out of scope" if reason == "is not" else reason) in found
    assert WEB in words(browser.get("/mappings"))


def test_each_page_says_who_paused_changes_when_and_why(
    browser: TestClient, terminal: Terminal, desk: Desk, instance: str
) -> None:
    desk.edit(WEB, role="web")
    terminal("pause", "--reason", "an incident")
    said = "Rolekeeper is paused (since 2026-03-01 09:00 UTC, by moto: an incident)"
    for page in ("/", f"/instance/{instance}", "/launches", "/settings"):
        assert said in words(browser.get(page)), page
