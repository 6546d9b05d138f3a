"""Plans of forms: each has an address, is seen before it is done, and is done once."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from httpx2 import Response
from starlette.requests import Request
from starlette.testclient import TestClient

from fixtures.console import main as words
from fixtures.mappings import Desk
from rolekeeper_cli.console.forms import Outcome, Plan, do_once
from rolekeeper_cli.console.page import Notice
from rolekeeper_cli.site import Site, application

pytestmark = pytest.mark.usefixtures("web_and_db")


@pytest.fixture
def instance(desk: Desk) -> str:
    return desk.world.running(Name="web-1")


@pytest.fixture
def attach(browser: TestClient, instance: str) -> Response:
    """The plan that a form leads to."""
    return browser.post(f"/instance/{instance}/pin", data={"verb": "attach", "role": "web"})


def test_six_clicks_at_once_do_a_plan_once(site: Site) -> None:
    request = Request({"type": "http", "app": application(site), "path": "/plan", "headers": []})
    plan, together, done = Plan("", site.deployment.now(), shown=True), Barrier(6), list[int]()

    def do() -> Outcome:
        done.append(1)
        time.sleep(0.2)  # until all have clicked
        return Outcome("/", Notice("Attached"))

    def click(_number: int) -> str:
        together.wait(timeout=10)
        return do_once(request, plan, do).headers["location"]

    with ThreadPoolExecutor(6) as threads:
        first, *others = sorted(threads.map(click, range(6)))
    assert len(done) == 1
    assert (first[:7], others) == ("/?said=", 5 * ["/plan"])


def test_the_plan_of_an_instance_has_a_page_to_which_a_browser_goes_back(
    browser: TestClient, desk: Desk, attach: Response, instance: str
) -> None:
    """What answers a sent form would ask to send it again."""
    assert [each.status_code for each in attach.history] == [303]
    assert attach.url.path.startswith(f"/instance/{instance}/plan/")
    assert words(browser.get(attach.url.path)) == words(attach)
    assert "is pinned to web" in words(browser.post(attach.url.path))
    desk.world.calls.clear()
    for again in (browser.get(attach.url.path), browser.post(attach.url.path)):
        assert f"no plan is carried out twice. Result: {instance} (web-1) is pinned to web" in words(again)
        assert f'<a class="button" href="/instance/{instance}">See' in again.text
    assert not desk.world.writes


def test_a_plan_is_done_only_after_it_was_seen(browser: TestClient, desk: Desk, instance: str) -> None:
    form = {"verb": "attach", "role": "web"}
    plan = browser.post(f"/instance/{instance}/pin", data=form, follow_redirects=False).headers["location"]
    desk.world.calls.clear()
    assert "Nothing was changed: this plan wasn't shown yet" in words(browser.post(plan))
    assert not desk.world.writes


def test_a_plan_is_known_for_an_hour_and_only_at_its_own_address(
    browser: TestClient, desk: Desk, attach: Response
) -> None:
    elsewhere = browser.get(f"/mapping/plan/{attach.url.path.rpartition('/')[2]}")
    desk.world.wait(3_600)
    assert browser.get(attach.url.path).status_code == 200
    desk.world.wait(1)
    for answer, status in ((elsewhere, 404), (browser.get(attach.url.path), 404), (browser.post(attach.url.path), 409)):
        assert (answer.status_code, "This plan is no longer known" in words(answer)) == (status, True)
