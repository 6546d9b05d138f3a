"""The page of what happened over time, and its strip for the fleet's page: plots with tables, of the targets chosen."""

import re
from datetime import timedelta

import pytest
from starlette.testclient import TestClient

from fixtures.account import HOME, refusing
from fixtures.console import main, words
from fixtures.mappings import Desk
from fixtures.spokes import SpokeFixture
from fixtures.terminal import Terminal
from rolekeeper.model.instance import Target
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


def test_a_day_is_plotted_by_status_and_by_change(browser: TestClient, desk: Desk) -> None:
    happened(desk, hours=2, ok=300, drift=7)
    happened(desk, ok=306, drift=1)
    page = browser.get("/activity")
    assert "Instances by status 1 drift 306 ok at the last sweep" in words(page)
    assert "Changes per hour 4 attached 0 replaced 0 detached 2 refused in 24 hours; a change" in words(page)
    assert 'role="img" aria-label="Instances by status, last 24 hours"' in page.text
    assert "<title>Mar 01, 07:00: 7 drift, 300 ok</title>" in page.text
    assert "<title>Mar 01, 08:00: no data</title>" in page.text
    assert 'href="/?condition=drift"' in page.text
    assert "Times are UTC." in words(page)
    assert "style=" not in page.text, "the content security policy lets no inline style through"
    assert '<a href="/" aria-current="true">Fleet</a>' in page.text


def test_below_each_plot_is_a_table_of_the_same_the_latest_first(browser: TestClient, desk: Desk) -> None:
    happened(desk, hours=2, ok=300, drift=7)
    happened(desk, ok=306, drift=1)
    stood, changed = (main(browser.get("/activity")).split("as a table")[each] for each in (1, 2))
    assert (
        "UTC drift blocked waiting foreign unknown ok 2026-03-01 09:00 1 0 0 0 0 306 2026-03-01 08:45 no data" in stood
    )
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
    assert desk.world.calls["Query"] == 1
    happened(desk, ok=5)
    desk.world.clock.sleep(61)
    browser.get("/activity")
    assert desk.world.calls["Query"] == 2


# ---- of a hub ----


@pytest.fixture
def hub(terminal: Terminal, desk: Desk) -> None:
    SpokeFixture(terminal, desk, SPOKE).registered(instances=7)
    happened(desk, ok=3)
    happened(desk, SPOKE, ok=7)


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("asked", "ok"),
    [
        ("", 10),
        (f"?account={SPOKE.account}", 7),
        (f"?region={HOME.region}", 3),
        (f"?account={SPOKE.account}&region={SPOKE.region}", 7),
    ],
)
def test_it_adds_up_the_targets_that_are_asked_for(browser: TestClient, asked: str, ok: int) -> None:
    page = browser.get(f"/activity{asked}")
    assert f"{ok} ok at the last sweep" in words(page)
    for name, value in re.findall("(account|region)=([^&]+)", asked):
        assert f"<option selected>{value}</option>" in page.text
        assert re.search(rf'href="/activity\?[^"]*{name}={value}[^"]*span=30d"', page.text), "kept by the other span"
        assert re.search(rf'href="/\?[^"]*{name}={value}[^"]*condition=ok"', page.text), "and by the fleet"


@pytest.mark.usefixtures("hub")
def test_of_many_targets_those_with_most_instances_are_added_up(
    browser: TestClient, terminal: Terminal, desk: Desk
) -> None:
    for number in range(DAY.most):
        SpokeFixture(terminal, desk, Target(f"{222222222222 + number}", "eu-west-1")).registered(instances=5)
    browser.get("/targets")  # all tabs share what was read of them a moment ago
    desk.world.calls.clear()
    page = browser.get("/activity")
    assert "The 50 targets with the most instances, of 52." in words(page)
    assert "7 ok at the last sweep" in words(page)
    assert "(1 of 50 targets)" in page.text
    assert desk.world.calls["Query"] == DAY.most


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
