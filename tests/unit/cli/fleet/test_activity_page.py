"""The page of what happened over time, and its strip for the fleet's page: plots with tables, of the targets chosen."""

import re
from dataclasses import astuple
from datetime import timedelta
from html import unescape

import pytest
from starlette.testclient import TestClient

from fixtures.account import HOME, refusing
from fixtures.console import main, text_of, words
from fixtures.mappings import Desk
from fixtures.spokes import SpokeFixture
from fixtures.terminal import Terminal
from rolekeeper.model.instance import Target
from rolekeeper.settings import Limits
from rolekeeper.storage import Update, layout
from rolekeeper_cli.fleet.activity import DAY

SPOKE = Target("111111111111", "eu-west-1")


@pytest.fixture(autouse=True)
def swept_each_quarter(terminal: Terminal) -> None:
    terminal.parameters["SweepSchedule"] = "rate(15 minutes)"


def happened(desk: Desk, target: Target = HOME, hours: float = 0, **stands: int) -> None:
    """So many hours ago a sweep saw these, and three instances were changed."""
    at = desk.world.clock.now() - timedelta(hours=hours)
    update = Update().set({f"{layout.SWEPT}{at:%M}": stands}).add("Attach", 2).add("refused", 1)
    desk.world.state.note_activity(target, update, at)


def test_a_day_is_plotted_by_status_and_by_change_with_tables_of_the_same(browser: TestClient, desk: Desk) -> None:
    happened(desk, hours=2, ok=300, drift=7)
    happened(desk, ok=306, drift=1)
    page = browser.get("/activity")
    said, stood, changed = main(page).split("as a table")
    assert "Instances by status 1 drift 306 ok at the last sweep" in said
    assert "Changes per hour 4 attached 0 replaced 0 detached 2 refused in 24 hours; a change" in stood
    assert "Times are UTC." in words(page)
    for drawn in (
        'role="img" aria-label="Instances by status, last 24 hours"',
        "<title>Mar 01, 07:00: 7 drift, 300 ok</title>",
        "<title>Mar 01, 08:00: no data</title>",
        'href="/?condition=drift"',
    ):
        assert drawn in page.text
    assert "06:45: no data" not in page.text, "it begins with the first data"
    head = "UTC drift blocked waiting foreign unknown ok"
    assert f"{head} 2026-03-01 09:00 1 0 0 0 0 306 2026-03-01 08:45 no data" in stood
    assert "2026-03-01 07:00 7 0 0 0 0 300" in stood
    assert "UTC attached replaced detached refused 2026-03-01 09:00 2 0 0 1 2026-03-01 08:00 no data" in changed


def test_a_month_is_plotted_by_six_hours_and_days(browser: TestClient, desk: Desk) -> None:
    happened(desk, hours=24 * 20, ok=1)
    happened(desk, ok=2)
    page = browser.get("/activity?span=30d")
    assert "Changes per day 4 attached" in words(page)
    assert "2 ok at worst, in the last 6 hours" in words(page)
    assert "worst sweep of six hours" in words(page)
    assert 'href="/activity?span=30d" aria-current="true"' in page.text
    assert "2 attached" in words(browser.get("/activity?span=nonsense")), "any other span is a day"


def test_before_the_first_sweep_it_says_when_that_comes(browser: TestClient) -> None:
    assert "The first point shows after the next sweep, within 15 min." in words(browser.get("/activity"))
    assert "Activity shows after the next sweep, within 15 min." in words(browser.get("/activity/strip"))


def test_it_is_read_once_a_minute_however_many_tabs_are_open(browser: TestClient, desk: Desk) -> None:
    happened(desk, ok=1)
    desk.world.calls.clear()
    for path in ("/activity", "/activity/strip", "/activity"):
        browser.get(path)
    assert desk.world.calls["Query"] == 2, "what people did is another"
    happened(desk, ok=5)
    desk.world.clock.sleep(61)
    browser.get("/activity")
    assert desk.world.calls["Query"] == 4


def test_what_people_did_is_marked_from_the_first_data_on(browser: TestClient, desk: Desk, terminal: Terminal) -> None:
    desk.usable("web", "db")
    desk.edit("app=old", role="web", edited_by="amy")
    desk.world.wait(3600)
    happened(desk, ok=3)
    desk.world.running(app="web")
    desk.limits = Limits(0, 0)
    desk.edit("app=web", role="web", edited_by="bob")
    desk.world.wait(600)
    desk.approve("app=web", 1)
    desk.world.wait(60)
    terminal("pause", "--reason", "an incident")
    desk.hears_of_control("event-1")
    page = browser.get("/activity")
    listed = [text_of(each) for each in re.findall(r"<li><svg.*?</li>", page.text)]
    assert [each.partition(" (")[0] for each in listed] == [
        "Switch Settings not paused, mode as deployed → paused, mode as deployed: an incident 1 s ago",
        "Approval app=web Published: a new row; role: web 1 min ago",
        "Edit app=web Held: a new row; role: web 11 min ago",
    ]
    assert "by AIDAGRACE" in listed[1]
    assert 'href="/mapping?key=app&amp;value=web"' in page.text
    marks = [float(each) for each in re.findall(r'<line class="act" x1="([\d.]+)%"', page.text)]
    of_a_quarter, of_an_hour = marks[:3], marks[3:]
    assert of_a_quarter == pytest.approx([4 * each for each in of_an_hour], abs=0.1), "each by its plot's axis"
    assert of_an_hour[1] - of_an_hour[0] == pytest.approx(100 / 6, abs=0.1)


def test_a_bar_leads_to_the_instances_behind_it(browser: TestClient, desk: Desk, terminal: Terminal) -> None:
    desk.usable("web")
    desk.edit("app=web", role="web")
    for name in ("before", "within", "behind"):
        desk.converged("web", app="web", Name=name)
        terminal.clients["logs"].events()  # they come now
        happened(desk, ok=1)
        desk.world.wait(3600)
    bars = re.findall(r'<a href="(/activity/changes[^"]*)" aria-label', browser.get("/activity").text)
    assert len(bars) == 3
    page = browser.get(unescape(bars[1]))
    assert "Changes from 2026-03-01 10:00 UTC" in words(page)
    assert "Attach within no role → web app=web" in words(page)
    assert page.text.count('href="/instance/') == 1
    assert "No change is in the log" in words(browser.get("/activity/changes?at=2026-02-01T00:00:00Z"))
    assert browser.get("/activity/changes?at=soon").status_code == 400


# ---- of a hub ----


@pytest.fixture
def hub(terminal: Terminal, desk: Desk) -> None:
    SpokeFixture(terminal, desk, SPOKE).registered(instances=7)
    happened(desk, ok=3)
    happened(desk, SPOKE, ok=7)


@pytest.mark.usefixtures("hub")
def test_it_adds_up_the_targets_that_are_asked_for(browser: TestClient) -> None:
    for account, region, ok in (("", "", 10), (SPOKE.account, "", 7), ("", HOME.region, 3), (*astuple(SPOKE), 7)):
        page = browser.get("/activity", params={"account": account, "region": region})
        assert f"{ok} ok at the last sweep" in words(page)
        for name, value in (("account", account), ("region", region)):
            if value:
                assert f"<option selected>{value}</option>" in page.text
                assert re.search(rf'href="/activity\?[^"]*{name}={value}[^"]*span=30d"', page.text), "the other span"
                assert re.search(rf'href="/\?[^"]*{name}={value}[^"]*condition=ok"', page.text), "and the fleet"


@pytest.mark.usefixtures("hub")
def test_of_many_targets_the_largest_are_added_up(browser: TestClient, terminal: Terminal, desk: Desk) -> None:
    for number in range(DAY.most):
        SpokeFixture(terminal, desk, Target(f"{222222222222 + number}", "eu-west-1")).registered(instances=5)
    browser.get("/targets")  # all tabs share what was read of them a moment ago
    desk.world.calls.clear()
    page = browser.get("/activity")
    assert "The 50 targets with the most instances, of 52." in words(page)
    assert "7 ok at the last sweep" in words(page)
    assert "(1 of 50 targets)" in page.text
    assert desk.world.calls["Query"] == DAY.most + 1, "what people did is another"


@pytest.mark.usefixtures("hub")
def test_an_account_that_isnt_managed_has_none(browser: TestClient) -> None:
    page = browser.get("/activity?account=%3Cb%3E&region=mars")
    assert "Rolekeeper doesn't manage <b> in mars." in words(page).replace("&lt;", "<")
    assert "<b>" not in page.text


# ---- the strip ----


def test_the_strip_says_what_was_changed_in_a_day_and_keeps_itself_fresh(browser: TestClient, desk: Desk) -> None:
    happened(desk, hours=3, ok=3)
    happened(desk, ok=3)
    strip = browser.get("/activity/strip")
    assert "24 h: 4 attached, 2 refused Activity" in words(strip)
    assert 'hx-trigger="every 60s" hx-swap="outerHTML"' in strip.text
    assert 'href="/activity?"' in strip.text
    assert 'height="40"' in strip.text
    assert "<html" not in strip.text


def test_who_may_not_read_it_reads_which_permission_is_missing(browser: TestClient, desk: Desk) -> None:
    desk.world.calls.before("Query", refusing("AccessDeniedException", "not authorized"))
    page = browser.get("/activity")
    assert (page.status_code, "dynamodb:Query" in words(page)) == (502, True)
    desk.world.calls.before("Query", refusing("AccessDeniedException", "not authorized"))
    strip = browser.get("/activity/strip")
    assert (strip.status_code, "dynamodb:Query" in words(strip)) == (200, True)
    assert 'id="activity"' in strip.text, "in its place: the fleet's page stays"
