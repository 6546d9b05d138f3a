"""Rows, tags and names as people and programs really write them: each page shows them, and each form means them."""

import re
from html import unescape
from typing import Any
from urllib.parse import quote

import pytest
from markupsafe import escape
from starlette.testclient import TestClient

from fixtures.account import MAPPING_TABLE
from fixtures.console import hidden
from fixtures.console import main as words
from fixtures.mappings import Desk
from fixtures.terminal import Terminal
from rolekeeper.mappings.verdict import Status
from rolekeeper.model.mapping import MappingKey
from rolekeeper.model.text import escaped
from rolekeeper.storage import layout

pytestmark = pytest.mark.usefixtures("web_and_db")

WEB = {"key": "workload", "value": "web"}
OF_ALL_ROWS = [
    "/mappings",
    "/mappings/part",
    "/mapping/new",
    "/mappings/overlaps",
    "/mappings/overlaps/part",
    "/search",
]
OF_ONE_ROW = ["/mapping", "/mapping/part", "/mapping/edit"]


# ---- rows that nobody can read ----

ODD_ROWS: list[dict[str, Any]] = [
    {"expires_at": {"S": "2026-12-31"}},
    {"expires_at": {"S": "9999-12-31T23:59:59-23:00"}},
    {"expires_at": {"BOOL": True}},
    {"matched": {"L": [{"S": "x"}]}},
    {"status": {"L": [{"S": "x"}]}},
    {"status": {"S": "Bogus"}},
    {"status": {"S": "Published"}, "status_revision": {"S": "one"}, "status_reason": {"N": "1"}},
    {"status": {"S": "Held"}, "held_revision": {"S": "two"}},
    {"role": {"B": b"\xff"}},
    {"owner": {"M": {"a": {"N": "1"}}}},
    {"whatever": {"SS": ["x"]}},
    *({"status": {"S": each.value}} for each in Status),
]


@pytest.mark.parametrize("state", ["new", "in effect"])
def test_an_odd_row_keeps_no_page_from_showing_it_and_all_others(browser: TestClient, desk: Desk, state: str) -> None:
    desk.edit("app=good", role="web")
    for value, columns in enumerate(ODD_ROWS):
        desk.put(f"odd={value}", role="web")
        if state == "in effect":
            desk.publish(f"odd={value}")
        desk.put_raw(f"odd={value}", {**layout.to_attributes(desk.row(f"odd={value}")), **columns})
    assert [path for path in OF_ALL_ROWS if browser.get(path).status_code != 200] == []
    assert "app=good" in words(browser.get("/mappings"))
    for value, columns in enumerate(ODD_ROWS):
        row = {"key": "odd", "value": str(value)}
        assert [path for path in OF_ONE_ROW if browser.get(path, params=row).status_code != 200] == [], columns
        assert browser.get("/mapping/held", params=row).status_code < 500, columns


def test_a_time_that_is_none_is_shown_as_it_was_written(browser: TestClient, desk: Desk) -> None:
    desk.put("workload=web", role="web", expires_at="2026-12-31")
    desk.put("app=good", role="web", expires_at="2026-12-31T00:00:00Z")
    page = browser.get("/mappings")
    assert "2026-12-31 " in words(page)
    assert '<time datetime="2026-12-31T00:00:00Z"' in page.text


def test_no_page_and_no_table_shows_a_value_as_python_writes_it(
    browser: TestClient, desk: Desk, terminal: Terminal
) -> None:
    columns = {"require_tags": {"environment": "production"}, "regions": {"us-east-1"}, "enabled": True}
    desk.edit("workload=web", role="web", **columns)
    desk.edit("workload=web", role="db", **columns, accounts={"123456789012"})
    desk.edit("app=odd", role="web", owner=["a", {"b": True}], expires_at=True, whatever=None)
    one = desk.world.running(workload="web")
    shown = [
        *(
            browser.get(path, params=WEB)
            for path in ("/", "/mappings", "/mapping", "/mapping/edit", f"/instance/{one}")
        ),
        browser.get("/mapping?key=app&value=odd"),
        browser.post("/mapping/change", data={**WEB, "what": "roll-back"}),
    ]
    texts = [words(each) for each in shown]
    texts += [terminal("mapping", *asked).stdout for asked in (("get", "workload=web"), ("ls", "-o", "wide"))]
    assert "environment=production" in texts[2]
    for text in texts:
        assert not re.search(r"[\[{(]'|'[\]})]|\b(None|True|False|set\(\)|frozenset)\b", text), text


def test_a_row_that_rolekeeper_hasnt_judged_has_its_page(browser: TestClient, desk: Desk) -> None:
    """A write leads there, also when Rolekeeper takes longer than the page waits."""
    desk.put("workload=web", role="web")
    for path in ("/mapping", "/mapping/part"):
        page = browser.get(path, params=WEB)
        assert page.status_code == 200
        assert "Rolekeeper has judged no edit of it yet" in words(page)
        assert "Not judged yet" in words(page)


# ---- keys and tags as they are ----

ODD = [
    *("a=b", "a&b", "50%", "#1", "a+b", " x", "x ", 'it\'s "x"', "<b>", "😀"),
    *("a/b", "a;b", "\\", "?", "..", "a\nb", "k" * 128),
    *("a\u202eb", "\u2066x", "a\u200bb", "a\x85b", "a\tb", "a\u00a0b"),
]


def test_a_button_means_the_mapping_of_its_page_and_no_other(browser: TestClient, desk: Desk) -> None:
    left = {*ODD, "x"}
    for value in left:
        item = {"tag_key": {"S": "k"}, "tag_value": {"S": value}, "role": {"S": "web"}}
        desk.world.dynamodb.put_item(TableName=MAPPING_TABLE, Item=item)
    listed = browser.get("/mappings").text
    for odd in ODD:
        address = re.search(rf'href="([^"]*)">{re.escape(str(escape(escaped(f"k={odd}"))))}</a>', listed)
        assert address
        page = browser.get(unescape(address[1]))
        names = {name: hidden(page, name) for name in ("key", "value")}
        assert names == {"key": "k", "value": odd}
        # A browser writes line ends so.
        posted = {name: value.replace("\n", "\r\n") for name, value in names.items()}
        browser.post(browser.post("/mapping/change", data={**posted, "what": "delete"}).url.path)
        left.remove(odd)
        assert {each["tag_value"]["S"] for each in desk.world.dynamodb.items(MAPPING_TABLE)} == left


def test_the_tag_that_is_removed_is_the_one_beside_the_button(browser: TestClient, desk: Desk) -> None:
    left = dict.fromkeys([*ODD, *(f"{odd.strip()}." for odd in ODD)], "1")
    one = desk.world.running(**left)
    for odd in ODD:
        assert f'name="key" value="{odd}"' in unescape(browser.get(f"/instance/{one}").text)
        # A browser writes line ends so.
        plan = browser.post(f"/instance/{one}/tag", data={"do": "remove", "key": odd.replace("\n", "\r\n")})
        browser.post(plan.url.path)
        del left[odd]
        assert desk.world.truth.instance(one).tags == left


@pytest.mark.parametrize("form", [{"key": "  ", "value": "web"}, {"key": "workload", "value": " "}, {}])
def test_a_new_mapping_without_a_tag_is_sent_back(browser: TestClient, form: dict[str, str]) -> None:
    answer = browser.post("/mapping/plan", data={**form, "new": "yes", "role": "web"})
    assert answer.status_code == 409
    assert "No tag is named" in words(answer)
    assert 'name="role" value="web"' in answer.text, "what was typed stays"


def test_a_description_with_lines_stays_while_another_column_is_edited(browser: TestClient, desk: Desk) -> None:
    desk.edit("workload=web", role="web", description="one\ntwo ")
    form = browser.get("/mapping/edit", params=WEB)
    typed = {"description": "onetwo ", "role": "db", "version": hidden(form, "version")}  # as a browser sends it
    said = words(browser.post("/mapping/plan", data={**WEB, **typed}))
    assert "role web db" in said
    assert "description" not in said.partition("What Rolekeeper would make of it")[0]


# ---- characters that nobody sees ----

# They turn text around, mark its direction, hide, move a terminal's cursor, or break a line.
UNSEEN = (
    "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c\u200b\u200d\ufeff\u00ad\x1b\x7f\u2028\t"
)
ODD_TEXT = f"web{UNSEEN}1"


@pytest.fixture
def unseen(desk: Desk) -> str:
    """An instance with such a name, tag, reason and role."""
    desk.put("app=web", role=ODD_TEXT, description=ODD_TEXT, owner=ODD_TEXT)
    desk.publish("app=web")
    desk.put(f"k={ODD_TEXT}", role="web")
    return desk.world.running(app="web", Name=ODD_TEXT, **{f"key{UNSEEN}": ODD_TEXT})


def test_no_page_shows_a_character_that_nobody_sees(browser: TestClient, unseen: str) -> None:
    here, odd, row = f"/instance/{unseen}", quote(ODD_TEXT), {"key": "k", "value": ODD_TEXT}
    asked = dict.fromkeys(("text", "tag", "role", "mapping", "state", "account", "reason", "key", "value"), ODD_TEXT)
    pin = {"verb": "detach", "reason": ODD_TEXT}
    refused = browser.post(f"{here}/pin", data={**pin, "verb": ODD_TEXT})
    shown = [
        refused,
        *(
            browser.get(path)
            for path in ("/", here, f"/instance/{odd}", f"/role/{odd}", "/mappings", "/mapping?key=app&value=web")
        ),
        *(browser.get(path, params=asked) for path in ("/", here, "/mappings")),
        *(browser.get(path, params=row) for path in ("/mapping", "/mapping/edit")),
        browser.post(f"{here}/tag", data={"do": "set", "key": ODD_TEXT, "value": ODD_TEXT}),
        browser.post("/mapping/plan", data={**row, "new": "yes", "role": ODD_TEXT, "description": ODD_TEXT}),
        browser.post("/mapping/change", data={**row, "what": "delete"}),
    ]
    for page in shown:
        assert r"web\u202a\u202b" in words(page), page.url
    others = [
        *(browser.get(path, params=asked) for path in ("/roles", "/targets", "/settings", f"{here}/facts")),
        browser.post(f"{here}/pin", data=pin),
        browser.get("/settings/switch", params={"what": "pause", "reason": ODD_TEXT}),
    ]
    for page in (*shown, *others):
        assert not set(UNSEEN) & set(page.text), page.url
    # Python's `unescape` drops references to controls; browsers keep them.
    assert hidden(refused, "reason") == ODD_TEXT.replace("\x1b\x7f", ""), "it is sent back as it was typed"


# ---- names, and keys that hold a = ----


def test_a_link_to_a_mapping_leads_to_it_though_its_key_holds_a_sign(browser: TestClient, desk: Desk) -> None:
    item = {"tag_key": {"S": "a=b"}, "tag_value": {"S": "v"}, "role": {"S": "web"}}
    desk.world.dynamodb.put_item(TableName=MAPPING_TABLE, Item=item)
    desk.app().publisher.publish(MappingKey("a=b", "v"), "edit-1", "", "")
    one = desk.converged("web", **{"a=b": "v"})
    for path in ("/", f"/instance/{one}"):
        links = set(re.findall(r'href="(/mapping\?[^"]*)"', browser.get(path).text))
        assert links == {"/mapping?key=a%3Db&amp;value=v"}
    assert browser.get("/mapping?key=a%3Db&value=v").status_code == 200
