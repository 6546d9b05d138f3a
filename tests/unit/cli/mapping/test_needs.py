"""What needs a person, at the top of the fleet's page: each leads to a list of just those, and has one step."""

import re
from html import unescape

import pytest
from starlette.testclient import TestClient

from fixtures.account import refusing
from fixtures.console import text_of, words
from fixtures.mappings import Desk
from rolekeeper.instances.decide import InstanceStatus
from rolekeeper.mappings.verdict import Status
from rolekeeper.settings import Limits
from rolekeeper.storage import layout
from rolekeeper_cli.site import Site


@pytest.fixture
def everything(desk: Desk, site: Site) -> None:
    """Rows and instances of every status."""
    world = desk.world
    desk.usable("web", "db")
    for tag, role in {"app=web": "web", "tier=gold": "db", "size=xl": "web", "app=db": "db"}.items():
        desk.edit(tag, role=role)
    desk.converged("web", app="web")
    world.stop(moved := desk.converged("web", app="web"))
    world.tag(moved, app="db")
    for tags in ({"app": "web"}, *[{"tier": "gold", "size": "xl"}] * 3):
        world.running(**tags)
    for profile in ("web", "web", "theirs"):
        world.running(profile=profile)
    world.garble(layout.record_key(world.key(world.running())))
    desk.limits = Limits(0, 0)
    desk.edit("app=web", role="db")
    for tag in ("size=xl", "tier=gold", "app=db"):
        desk.publish(tag)
    desk.edit("app=gone", role="web", expires_at="2026-02-01T00:00:00Z")
    for tag in ("app=bad", "app=worse"):
        desk.edit(tag, role="no-such")
    desk.put("app=later", role="web", status="Waiting", status_reason="AWS gave no answer", status_revision=0)
    for status in ("Rolling out", "Halted"):
        desk.put(f"rolls={status}", role="web", status=status, status_reason="in waves", status_revision=1)
    assert {row.standing for row in site.fleet.ask().rows} == {*InstanceStatus}
    assert {row.status for row in site.mappings()} == {*Status} - {Status.REMOVED, Status.DISCARDED}


def needs(browser: TestClient) -> dict[str, tuple[str, str]]:
    """What is needed, with the addresses of its list and of its step."""
    found = re.findall(r'<li[^>]*><a href="([^"]*)">(.*?)</a> <a href="([^"]*)" [^>]*>(.*?)</a>', part(browser))
    return {f"{text_of(what)}: {step}": (unescape(lists), unescape(to)) for lists, what, to, step in found}


def part(browser: TestClient) -> str:
    """What the fleet's page loads."""
    asked = re.search('id="needs" hx-get="([^"]*)"', browser.get("/").text)
    assert asked
    return browser.get(asked[1]).text


@pytest.mark.usefixtures("everything")
def test_what_needs_a_person_leads_to_a_list_of_just_those(browser: TestClient) -> None:
    found = needs(browser)
    assert [*found] == [
        "1 held edit: review",
        "3 tied: give size=xl priority 90",
        "2 unexplained: adopt or detach",
        "1 damaged: see why",
        "2 rejected rows: open",
        "2 rows in conflict: open",
    ]
    for what, (lists, to) in found.items():
        rows = re.findall(r'id="(?:i-\w+|row-\d+)"', browser.get(lists).text)
        assert len(rows) == int(what.split()[0]), what
        assert browser.get(to).status_code == (502 if "damaged" in what else 200), what
    assert found["3 tied: give size=xl priority 90"][1] == "/mapping/edit?key=size&value=xl&priority=90"
    assert found["1 held edit: review"][1] == "/mapping/held?key=app&value=web"
    assert "1 more reason" in words(browser.get("/fleet/needs")), "five are in sight"


def test_what_else_many_have_in_common_is_below_a_fold(browser: TestClient, desk: Desk) -> None:
    for number in range(6):
        desk.world.running(profile=f"node-{number}")
    desk.usable("web")
    desk.edit("app=web", role="web")
    desk.world.running(app="web")
    assert "1 more reason 6 foreign role see which" in text_of(part(browser)), "one that is due isn't many"
    assert len(re.findall(r'id="i-', browser.get(needs(browser)["6 foreign role: see which"][0]).text)) == 6


@pytest.mark.usefixtures("everything")
def test_who_may_only_look_is_led_to_the_mappings_that_tie(onlooker: TestClient) -> None:
    assert needs(onlooker)["3 tied: see which mappings meet"][1] == "/mappings/overlaps"


def test_with_nothing_to_do_it_is_one_line_without_a_look(browser: TestClient, desk: Desk, site: Site) -> None:
    desk.usable("web")
    desk.edit("app=web", role="web")
    desk.converged("web", app="web")
    assert (text_of(part(browser)), site.reads.known("overlaps")) == ("Nothing needs a person.", None)


def test_what_cant_be_read_is_said_in_its_place(browser: TestClient, desk: Desk) -> None:
    browser.get("/")
    desk.world.calls.before("Scan", refusing("AccessDeniedException", "no"))
    assert "What needs a person isn't known: You aren't allowed dynamodb:Scan" in text_of(part(browser))
