"""Search: what fits best comes first, each hit leads to its page, and nothing that isn't read already is asked for."""

import re
from html import unescape
from urllib.parse import urlsplit

import pytest
from httpx2 import Response
from hypothesis import given
from hypothesis import strategies as st
from starlette.routing import Match
from starlette.testclient import TestClient

from fixtures.account import ACCOUNT, REGION, refusing
from fixtures.console import main, words
from fixtures.mappings import Desk
from fixtures.spokes import SpokeFixture
from fixtures.terminal import Terminal
from rolekeeper.model.instance import Target
from rolekeeper_cli.fleet.cache import FleetCache
from rolekeeper_cli.search.page import MOST, ranked
from rolekeeper_cli.site import PAGES

pytestmark = pytest.mark.usefixtures("web_and_db")

OF_SCRIPTS = {"HX-Request": "true"}


def finds(browser: TestClient, text: str) -> Response:
    return browser.get("/search", params={"q": text}, follow_redirects=False)


def is_a_page(address: str) -> bool:
    scope = {"type": "http", "method": "GET", "path": urlsplit(address).path}
    routes = [route for each in PAGES for route in each.ROUTES]
    return any(each.matches(scope)[0] is Match.FULL for each in routes)


def hits(page: Response) -> dict[str, list[str]]:
    """The addresses of a page's hits, by the heading that they are below."""
    found = {}
    for part in page.text.partition("<main")[2].partition("</main>")[0].split("<h2")[1:]:
        heading, _, rest = part.partition("</h2>")
        name = re.sub("<.*", "", heading.partition(">")[2], flags=re.DOTALL).strip()
        found[name] = [unescape(each) for each in re.findall(r'<li><a href="([^"]*)"', rest)]
    return found


# ---- what fits best ----


def best(text: str, *names: str) -> list[str]:
    return ranked(text, names, lambda name: [name], most=MOST)[0]


def test_the_name_itself_comes_first_then_what_begins_with_it_then_a_word_then_a_part() -> None:
    assert best("web", "cobweb", "my-web", "web-1", "db", "web") == ["web", "web-1", "my-web", "cobweb"]
    assert best("web", "b web", "a_web", "a.web", "c/web") == ["a.web", "a_web", "b web", "c/web"], "ties by name"
    assert best("prod web", "web-prod", "prod", "prod web 1") == ["prod web 1", "web-prod"], "or each of the words"


def test_the_best_of_several_names_counts() -> None:
    found, rank, total = ranked("x", [("a", "xx"), ("b", "x"), ("c", "")], lambda names: names, most=1)
    assert (found, rank, total) == ([("b", "x")], 0, 2)


@given(st.text(min_size=1).filter(str.strip), st.lists(st.text()))
def test_a_name_that_is_the_text_is_always_first(text: str, others: list[str]) -> None:
    found, rank, total = ranked(text, [*others, text], lambda name: [name], most=1)
    assert (rank, found[0].casefold().split()) == (0, text.casefold().split())
    assert 1 <= total <= len(others) + 1


@given(st.text(), st.lists(st.text(), max_size=20))
def test_case_and_blanks_do_not_matter(text: str, names: list[str]) -> None:
    spaced = f"  {'  '.join(text.casefold().split())}\t"
    assert ranked(spaced, names, lambda name: [name], most=9) == ranked(text, names, lambda name: [name], most=9)


# ---- the page ----


def test_every_page_has_the_field_which_needs_no_script(browser: TestClient, onlooker: TestClient) -> None:
    for page in (browser.get("/?q=of+the+fleet"), onlooker.get("/settings"), browser.get("/nowhere")):
        [form] = re.findall(r'<form class="find".*?</form>', page.text, re.DOTALL)
        assert '<form class="find" action="/search" method="get"' in form
        assert re.search(r'<input id="find" type="search" name="q" value=""[^>]* aria-label="Search"', form)
    assert 'name="q" value="two  words"' in finds(browser, "two  words").text, "what was typed stays"


def test_what_is_found_is_listed_by_kind_the_best_kind_first(browser: TestClient, desk: Desk) -> None:
    desk.edit("app=web", role="web", owner="team-web")
    one = desk.converged("web", app="web", env="prod", Name="web-1")
    page = finds(browser, "WEB")
    assert list(hits(page).items()) == [
        ("Mappings", ["/mapping?key=app&value=web"]),
        ("Roles", ["/role/web"]),
        ("Instances", [f"/instance/{one}"]),
        ("Tags", ["/?tag=app%3Dweb"]),
    ]
    said = main(page)
    assert f"ok web-1 web · {one}" in said
    assert "app=web 1 instance" in said
    assert finds(browser, "team-web").headers["location"] == "/mapping?key=app&value=web", "by its owner too"


def test_each_kind_shows_some_and_leads_to_all(browser: TestClient, desk: Desk) -> None:
    for number in range(MOST + 3):
        desk.world.running(Name=f"web-{number}", shard=f"web-{number}")
    page = finds(browser, "web-")
    assert {name: len(found) for name, found in hits(page).items()} == {"Instances": MOST, "Tags": MOST}
    assert f"All {MOST + 3} instances" in main(page)
    assert 'href="/?text=web-"' in page.text
    tags = browser.get("/search", params={"q": "web-", "only": "Tags"})
    assert 'href="/search?q=web-&amp;only=Tags"' in page.text
    assert list(map(len, hits(tags).values())) == [MOST + 3]


def test_an_id_and_what_alone_fits_is_opened_at_once(browser: TestClient, desk: Desk) -> None:
    desk.world.running(profile="eks-node")
    one = desk.world.running(Name="web-1", app="web")
    for text in (one, f" {one} ", "web-1", "WEB-1"):
        assert (finds(browser, text).status_code, finds(browser, text).headers["location"]) == (303, f"/instance/{one}")
    assert finds(browser, "eks-node").headers["location"] == "/?role=eks-node", "a foreign role by who carries it"
    gone = "i-0123456789abcdef0"
    assert finds(browser, gone).headers["location"] == f"/instance/{gone}", "its history may be there"
    assert finds(browser, "web").status_code == 200, "a role, an instance and a tag"
    for text in (one, "web-1"):
        part = browser.get("/search", params={"q": text}, headers=OF_SCRIPTS, follow_redirects=False)
        assert part.status_code == 200, "not while one types"
    assert finds(browser, one[-4:]).headers["location"] == f"/instance/{one}", "a part of an id will do"


def test_tags_lead_to_the_fleet_with_them(browser: TestClient, desk: Desk) -> None:
    for _ in range(23):
        desk.world.running(app="x=y")
    desk.world.running(app="other", **{"a=b": "c"})
    page = finds(browser, "app")
    assert hits(page)["Tags"] == ["/?tag=app", "/?tag=app%3Dother", "/?tag=app%3Dx%3Dy"]
    assert "app 24 instances app=other 1 instance app=x=y 23 instances" in main(page)
    assert "23 of 24" in words(browser.get(hits(page)["Tags"][2]))
    odd = hits(finds(browser, "a\\=b"))["Tags"]
    assert [browser.get(each).text.count('scope="row"') for each in odd] == [1, 1], "a key with an equals sign too"


def test_accounts_and_regions_lead_to_the_fleet_there(browser: TestClient, terminal: Terminal, desk: Desk) -> None:
    SpokeFixture(terminal, desk, Target("111111111111", "eu-west-1")).registered()
    desk.world.running(Name="here")
    page = finds(browser, "1")
    found = hits(page)["Accounts and Regions"]
    assert {"/?account=111111111111", f"/?account={ACCOUNT}", "/?region=eu-west-1", f"/?region={REGION}"} == {*found}
    assert f"{ACCOUNT} 1 instance" in main(page)


def test_what_cannot_be_read_says_why_and_hides_nothing_else(browser: TestClient, desk: Desk) -> None:
    one = desk.world.running(Name="web-1")
    for name, text in (("Scan", "no"), ("ListRoles", "no")):
        desk.world.calls.before(name, refusing("AccessDeniedException", text))
    page = finds(browser, "web")
    said = main(page)
    assert page.status_code == 200, "there may be more, so it isn't the only one"
    assert hits(page)["Instances"] == [f"/instance/{one}"]
    assert "Mappings: You aren't allowed dynamodb:Scan on" in said
    assert "Roles: IAM lists none under the role path." in said


def test_while_the_fleet_is_being_read_it_says_how_far_that_is(
    browser: TestClient, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.world.running(Name="only-1")
    monkeypatch.setattr(FleetCache, "_start", lambda _: None)
    page = finds(browser, "only-1")
    assert "Nothing fits “only-1”" in main(page)
    assert "Instances: 0 are read so far." in main(page)


def test_no_search_asks_aws_again(browser: TestClient, desk: Desk) -> None:
    desk.edit("app=web", role="web")
    desk.world.running(Name="web-1")
    for path in ("/", "/mappings"):
        browser.get(path)
    finds(browser, "w")
    desk.world.calls.clear()
    for text in ("we", "web", "web-"):
        finds(browser, text)
    assert {each for each in desk.world.calls.made if not each.startswith("FilterLog")} == set()
    desk.world.clock.sleep(3)
    finds(browser, "web-1")
    assert "Scan" not in desk.world.calls.made, "a person types for some seconds"


def test_what_is_found_is_shown_as_text(browser: TestClient, desk: Desk) -> None:
    desk.world.running(Name='<b>"web', app="<i>\u202e")
    for headers in ({}, OF_SCRIPTS):
        page = browser.get("/search", params={"q": "<"}, headers=headers).text
        assert {each in page for each in ("<b>", "<i>", '"web', "\u202e")} == {False}
    assert "Nothing fits “&lt;script&gt;”" in finds(browser, "<script>").text
    assert finds(browser, "\x00" * 1_000).status_code == 200


# ---- actions ----


def test_without_a_text_it_shows_what_there_is_to_do_and_the_keys(
    browser: TestClient, onlooker: TestClient, desk: Desk
) -> None:
    said = main(browser.get("/search"))
    assert [each in said for each in ("New mapping", "Pause Rolekeeper", "Resume Rolekeeper")] == [True, True, False]
    assert "g then m Mappings" in said
    assert "New mapping" not in main(onlooker.get("/search")), "it may change nothing"
    desk.world.control(paused=True)
    desk.world.wait(61)
    assert finds(browser, "unpause").headers["location"] == "/settings/switch?what=resume"


@pytest.mark.usefixtures("reports")
def test_an_action_leads_to_its_page_and_changes_nothing(browser: TestClient, desk: Desk) -> None:
    found = hits(browser.get("/search"))["Pages and actions"]
    assert [each for each in found if not is_a_page(each)] == []
    desk.world.calls.clear()
    for each in found:
        if not each.startswith(("/doctor", "/activity")):
            assert browser.get(each).status_code == 200
    assert desk.world.writes == []


def test_each_key_that_leads_somewhere_leads_to_a_page(browser: TestClient) -> None:
    found = dict(re.findall(r'data-keys="([^"]*)" data-does="([^"]*)"', browser.get("/").text))
    assert found["g m"] == "/mappings"
    assert [each for each in found.values() if each.startswith("/") and not is_a_page(each)] == []
    script = browser.get("/static/search.js").text
    assert [each for each in found.values() if not each.startswith("/") and f"    {each}: " not in script] == []


# ---- below the field, by a script ----


def test_while_one_types_the_same_comes_as_the_options_of_a_list(browser: TestClient, desk: Desk) -> None:
    for number in range(MOST + 1):
        desk.world.running(Name=f"web-{number}")
    part = browser.get("/search", params={"q": "web"}, headers=OF_SCRIPTS).text
    assert "<html" not in part
    assert part.count('role="listbox"') == 1
    options = re.findall(r'<a role="option" tabindex="-1" aria-selected="false" href="([^"]*)"', part)
    assert (len(options), options[0], options[-1]) == (MOST + 2, "/role/web", "/?text=web")
    none = browser.get("/search", params={"q": "zzz"}, headers=OF_SCRIPTS).text
    assert "listbox" not in none, "there is none without an option"
