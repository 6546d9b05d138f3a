"""The page of the accounts and Regions: what is wrong first, what each saw last, and nothing on a deployment alone."""

import re
from html import unescape
from typing import Any

import pytest
from starlette.testclient import TestClient

from fixtures.account import ACCOUNT, REGION
from fixtures.console import news, text_of, words
from fixtures.mappings import Desk
from fixtures.spokes import SpokeFixture
from fixtures.terminal import Terminal
from rolekeeper.model.instance import Target
from rolekeeper.storage import layout
from rolekeeper_cli import installed

WEB, DATA = Target("111111111111", "eu-west-1"), Target("222222222222", "us-east-1")
PROBLEM = "sts:AssumeRole on arn:aws:iam::222222222222:role/rolekeeper-reader is refused (AccessDenied)"
VERSION = installed.version()


@pytest.fixture(autouse=True)
def deployed(terminal: Terminal, desk: Desk) -> None:
    terminal.outputs["Version"] = VERSION
    desk.world.swept(3)


def knows(terminal: Terminal, desk: Desk, target: Target, **attributes: Any) -> SpokeFixture:
    spoke = SpokeFixture(terminal, desk, target)
    spoke.registered(**{"version": VERSION, **attributes})
    return spoke


@pytest.fixture
def hub(terminal: Terminal, desk: Desk) -> None:
    """One that looks after a target that is well, and one that refuses it."""
    web = knows(terminal, desk, WEB, version="0.0.9", instances=1_200, drift=7, unit="ou-root-web")
    knows(terminal, desk, DATA, problem=PROBLEM, problem_since=web.ago(10))


def rows(text: str) -> list[str]:
    """The rows of the first table."""
    return [text_of(each) for each in text.partition("<tbody>")[2].partition("</tbody>")[0].split("<tr>")[1:]]


# ---- the grid ----


@pytest.mark.usefixtures("hub")
def test_a_hub_shows_accounts_by_regions_the_worst_first(browser: TestClient) -> None:
    page = browser.get("/targets")
    assert rows(page.text) == [
        f"{DATA.account} problem 1 1",
        f"{WEB.account} ou-root-web 7 in drift 1,200 1,200",
        f"{ACCOUNT} (hub) 3 3",
    ], "what isn't well is said, not only drawn"
    assert rows(page.text.partition("What needs a look")[2])[0].startswith(f"problem {DATA.account} {PROBLEM}")
    assert f'<a href="/activity?account={WEB.account}">{WEB.account}</a>' in page.text
    cell = re.search(r'<a class="state bad silent" href="([^"]*)" title="([^"]*)">', page.text)
    assert cell
    assert unescape(cell[1]) == f"/?account={DATA.account}&region={DATA.region}"
    assert cell[2] == f"problem, swept 2026-03-01 08:59 UTC: {PROBLEM}"


@pytest.mark.usefixtures("web_and_db")
def test_blocked_instances_are_red_and_come_first(browser: TestClient, terminal: Terminal, desk: Desk) -> None:
    knows(terminal, desk, WEB, instances=1_200, drift=7)
    desk.edit("app=web", role="web")
    desk.edit("tier=gold", role="db")
    desk.world.running(app="web", tier="gold")
    browser.get("/")
    page = browser.get("/targets")
    assert rows(page.text)[0] == f"{ACCOUNT} (hub) 1 blocked 3 3"
    assert 'class="state bad" href="/?account=' in page.text
    assert "2 well 1 instance blocked" in words(page)
    cell = page.text.partition('class="state bad" href')[2].partition("</td>")[0]
    assert re.findall(r'<rect class="(\w+)" x="([^"]*)" width="([^"]*)"', cell) == [("bad", "0.0", "1000.0")]
    assert rows(page.text.replace("tfoot", "tbody").partition("</tbody>")[2])[0] == "All 1,200 3 1,203", "a Region"
    assert rows(page.text.partition("What needs a look")[2])[0].startswith(f"well 1 blocked {ACCOUNT}")


@pytest.mark.usefixtures("hub")
def test_a_target_that_isnt_known_leads_to_what_it_sent(browser: TestClient, desk: Desk) -> None:
    desk.app().registry.note_unknown(Target("444444444444", "eu-west-1"), "no spoke", desk.world.clock.now(), dropped=3)
    page = browser.get("/targets")
    assert "444444444444 unknown ? 0" in rows(page.text)
    assert 'class="state drift none silent"' in page.text
    address = re.search(r'href="([^"]*444444444444%2Feu-west-1)"', page.text)
    assert address
    assert "3 events were dropped: no spoke" in words(browser.get(f"/targets{unescape(address[1])}"))


def test_of_many_accounts_a_page_has_a_hundred(browser: TestClient, terminal: Terminal, desk: Desk) -> None:
    knows(terminal, desk, WEB)
    for number in range(150):
        item = layout.key_attributes(layout.target_key(Target(f"{222222222222 + number}", "eu-west-1")))
        desk.world.store.write(desk.world.store.put({**item, "since": layout.timestamp(desk.world.clock.now())}))
    first = browser.get("/targets")
    assert len(rows(first.text)) == 100
    assert "page 1 of 2" in words(first)
    assert "All of the 150 as a list" in words(first), "those that wait for their first sweep"
    second = browser.get("/targets?page=2")
    assert (len(rows(second.text)), rows(second.text)[-1].split()[0]) == (52, WEB.account)


# ---- the list ----


@pytest.mark.usefixtures("hub")
def test_what_is_wrong_is_first_then_what_drifts_and_the_others(browser: TestClient) -> None:
    page = browser.get("/targets?view=list")
    assert "3 targets in 3 accounts 1 problem 2 well" in words(page)
    assert '<a href="/targets" aria-current="page">Targets</a>' in page.text
    assert 'href="/targets?state=problem&amp;view=list"' in page.text, "a count leads to those"
    assert '<a href="/targets">Targets</a>' in browser.get("/").text
    wrong, other, own = rows(page.text)
    said = f"{PROBLEM}. Since 10 min ago ."
    assert wrong == f"problem {DATA.account} {said} {DATA.region} {VERSION} 1 min ago 1 0 {said}", "once by the width"
    assert own.startswith(f"well {ACCOUNT} (hub) {REGION} {VERSION}")
    assert own.endswith("s ago 3 0")
    assert f'href="/?account={WEB.account}&amp;region={WEB.region}"' in page.text, "its instances of now"
    assert other == f"well {WEB.account} {WEB.region} 0.0.9 older 1 min ago 1,200 7 ou-root-web"


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("params", "shown"),
    [
        ({"state": "problem"}, [DATA]),
        ({"text": "EU-WEST"}, [WEB]),
        ({"text": "222222222222/us-east-1"}, [DATA]),
        ({"text": "ou-root"}, [WEB]),
        ({"text": "accessdenied"}, [DATA]),
        ({"state": "well", "text": DATA.account}, []),
    ],
)
def test_they_are_narrowed_by_state_and_text(browser: TestClient, params: dict[str, str], shown: list[Target]) -> None:
    page = browser.get("/targets", params={"view": "list", **params})
    found = rows(page.text)
    assert len(rows(browser.get("/targets", params=params).text)) == len(found), "the grid too"
    assert len(found) == len(shown)
    assert all(str(target.account) in row for target, row in zip(shown, found, strict=True))
    assert ("No target fits the filter" in words(page)) == (not shown)


def test_an_open_page_is_answered_only_if_something_is_new(browser: TestClient, desk: Desk, terminal: Terminal) -> None:
    spoke = knows(terminal, desk, WEB)
    seen = news(browser.get("/targets"))
    assert browser.get(seen).status_code == 204
    spoke.registered(version=VERSION, problem=PROBLEM, problem_since=spoke.ago(0))
    assert browser.get(seen).status_code == 204, "all tabs share what was read a moment ago"
    desk.world.clock.sleep(5)
    part = browser.get(seen)
    assert "AccessDenied" in part.text
    assert "<html" not in part.text


@pytest.mark.usefixtures("hub")
def test_what_its_account_says_is_shown_as_text(browser: TestClient, terminal: Terminal, desk: Desk) -> None:
    spoke = knows(terminal, desk, Target("333333333333", "us-west-2"), unit="<b>unit")
    spoke.registered(version="<script>", unit="<b>unit", problem="<i>problem", problem_since=spoke.ago(1))
    page = browser.get("/targets").text
    assert "<script>" not in page
    assert {"<b>" in page, "<i>" in page} == {False}
