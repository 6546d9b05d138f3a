"""The fleet in the console: what needs a person first, filters in the address, a bar, pages, and what changed since."""

import re
from collections.abc import Callable
from html import unescape

import pytest
from botocore.exceptions import EndpointConnectionError
from httpx2 import Response
from starlette.testclient import TestClient

from fixtures import console
from fixtures.account import refusing
from fixtures.console import news, words
from fixtures.mappings import Desk
from rolekeeper.aws.errors import RetryableError
from rolekeeper_cli.fleet import cache
from rolekeeper_cli.fleet.cache import WHOLE_SECONDS, FleetReader

pytestmark = pytest.mark.desk(usable=("web",), rows={"app=web": "web"})


def listed(answer: Response) -> list[str]:
    """The instances of a page, in order."""
    return re.findall(r'<a id="(i-\w+)"', answer.text)


def test_what_needs_a_person_comes_first_and_the_bar_leads_to_it(browser: TestClient, desk: Desk) -> None:
    fine = [desk.converged("web", app="web", Name=f"a-fine-{number}") for number in (1, 2)]
    theirs = desk.world.running(profile="theirs", Name="b-theirs")
    due = desk.world.running(app="web", Name="z-due")
    page = browser.get("/")
    assert listed(page) == [due, theirs, *fine]
    assert f"drift z-due {due} running none → web app=web attach web" in words(page)
    widths = [float(each) for each in re.findall(r'<rect class="\w+" x="[\d.]+" y="0" width="([\d.]+)"', page.text)]
    assert widths == [500, 250, 250]
    assert [each in words(page) for each in ("4 instances", "2 as they should be", "1 in drift")] == [True] * 3
    link = re.search(r'id="share-drift" href="([^"]+)"', page.text)
    assert link
    assert listed(browser.get(unescape(link[1]))) == [due]


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (lambda service: EndpointConnectionError(endpoint_url=f"https://{service}"), "AWS can't be reached"),
        (lambda service: RetryableError("ServiceUnavailable", service, f"{service}:Look"), "AWS gave no answer"),
    ],
)
def test_one_cause_is_one_box(
    browser: TestClient, desk: Desk, monkeypatch: pytest.MonkeyPatch, error: Callable[[str], Exception], cause: str
) -> None:
    """Each of AWS's services that isn't reached says so in its own words."""

    def unreached(service: str) -> Callable[..., None]:
        def fail(*_: object) -> None:
            raise error(service)

        return fail

    one = desk.converged("web", app="web")
    browser.get("/")
    for service, part in (("ec2", "pages"), ("ec2", "look"), ("logs", "decided")):
        monkeypatch.setattr(FleetReader, part, unreached(service))
    monkeypatch.setattr(cache, "withheld", unreached("dynamodb"))
    browser.get(f"/instance/{one}")
    desk.world.wait(WHOLE_SECONDS)
    page = browser.get("/")
    assert page.text.partition("<main")[2].count('class="note') == 1
    said = words(page)
    assert said.count(cause) == 1
    assert f"The fleet can't be read: {cause}" in said
    assert "For the same reason: Whether changes are withheld isn't known." in said


# ---- filters ----


@pytest.fixture
def some(desk: Desk) -> None:
    desk.converged("web", app="web", env="prod", Name="web-1")
    desk.world.stop(desk.converged("web", app="web", Name="web-2"))
    desk.world.running(Name="plain one")


def names(answer: Response) -> list[str]:
    return re.findall(r'<a id="i-\w+"[^>]*>([^<]+)<', answer.text)


@pytest.mark.usefixtures("some")
def test_one_field_takes_words_and_filters(browser: TestClient) -> None:
    for query, found in {
        "tag:app": ["web-1", "web-2"],
        "tag:app=web tag:env=prod": ["web-1"],
        'tag:"Name=plain one"': ["plain one"],
        "state:stopped": ["web-2"],
        "state:stopped state:running": ["plain one", "web-1", "web-2"],
        "role:web": ["web-1", "web-2"],
        "role:NONE": ["plain one"],
        "mapping:app=web": ["web-1", "web-2"],
        "region:us-east-1 account:123456789012": ["plain one", "web-1", "web-2"],
        "region:eu-west-1": [],
        "status:ok tag:env": ["web-1"],
        "WEB": ["web-1", "web-2"],
        "web 1": ["web-1"],
        "00001": ["web-1"],
        '"plain one"': ["plain one"],
        "  web   state:stopped ": ["web-2"],
    }.items():
        page = browser.get("/", params={"q": query})
        assert sorted(names(page)) == found, query
        assert f'name="q" value="{" ".join(query.split())}"' in unescape(page.text), "what was typed stays"


@pytest.mark.usefixtures("some")
def test_a_former_address_leads_to_the_same_filters(browser: TestClient) -> None:
    for address, query in {
        "tag=app&tag=env=prod&page=1": "tag:app tag:env=prod",
        "text=web 1&condition=ok&role=&state=running": '"web 1" status:ok state:running',
        "role=web&mapping=app=web": "role:web mapping:app=web",
        "account=123456789012&region=us-east-1": "account:123456789012 region:us-east-1",
        "reason=foreign role&sort=-name": 'reason:"foreign role"',
        "q=web&tag=Name=a b": 'web tag:"Name=a b"',
        "text=&condition=&tag=": "",
    }.items():
        page = browser.get(f"/?{address}")
        assert page.url.params.get("q", "") == query
        assert page.url.params.get("sort", "") == ("-name" if "-name" in address else "")
        assert page.url.params.keys() <= {"q", "sort"}
        assert names(browser.get(f"/fleet/rows?{address}")) == names(page), "a page that was open reads on"


def test_a_filter_that_cant_be_read_says_what_is_wrong_and_the_others_hold(browser: TestClient, desk: Desk) -> None:
    one = desk.converged("web", app="web", Name="web-1")
    desk.world.running(Name="plain")
    page = browser.get("/?q=state:runing+mapping:app+status:drfit+tag:=x+role:web+app:web+stat:ok+region:&page=zero")
    assert page.status_code == 200
    assert listed(page) == [one], "the role's filter holds"
    text = words(page)
    assert "There is no state 'runing'; did you mean running?" in text
    assert "'app' isn't a mapping; name one as tag_key=tag_value" in text
    assert "There is no status 'drfit'; did you mean drift?" in text
    assert "There is no filter 'app'; did you mean tag:app=web?" in text
    assert "There is no filter 'stat'; did you mean state:ok?" in text or "did you mean status:ok?" in text
    assert "'region:' has no value." in text
    assert "There is no state 'x'; use pending, running, stopping, stopped." in words(browser.get("/?q=state:x"))
    assert "'=x' is no tag" in text
    assert page.text.count('aria-invalid="true"') == 1
    assert page.text.count('class="wrong" href=') == 7, "each chip that is wrong is marked"


def chips(page: Response) -> dict[str, str]:
    """What each chip says, and where it leads."""
    inside = page.text.partition('class="chips"')[2].partition("</ul>")[0]
    found = re.findall(r'href="([^"]*)"[^>]*>(.*?)</a>', inside)
    return {console.text_of(text).lstrip("\N{MULTIPLICATION SIGN} "): unescape(link) for link, text in found}


@pytest.mark.usefixtures("some")
def test_a_chip_takes_its_filter_away_and_keeps_the_rest(browser: TestClient) -> None:
    page = browser.get('/?q=web+state:stopped+tag:"a+b"&sort=name')
    assert chips(page) == {
        "web": "/?q=state%3Astopped+tag%3A%22a+b%22&sort=name",
        "state: stopped": "/?q=web+tag%3A%22a+b%22&sort=name",
        "tag: a b": "/?q=web+state%3Astopped&sort=name",
        "Clear all": "/?sort=name",
    }
    assert chips(browser.get("/?q=web")) == {"web": "/"}
    assert chips(browser.get("/")) == {}


@pytest.mark.usefixtures("some")
def test_the_field_suggests_what_finds_something(browser: TestClient) -> None:
    page = browser.get("/")
    listed = page.text.partition('<datalist id="q-known">')[2].partition("</datalist>")[0]
    found = [unescape(each) for each in re.findall(r'<option value="([^"]*)"', listed)]
    assert found[:3] == ["status:ok", "state:running", "state:stopped"]
    assert {"role:web", "role:NONE", "mapping:app=web", "tag:app=web", "tag:env=prod", "region:us-east-1"} <= {*found}
    assert not [each for each in found if "Name" in each]
    assert all(names(browser.get("/", params={"q": each})) for each in found)


def test_no_instance_passes_and_the_page_says_what_may_be_meant(browser: TestClient, desk: Desk) -> None:
    desk.converged("web", app="web")
    assert "did you mean web?" in words(browser.get("/?q=role:wbe"))
    assert "did you mean app=web?" in words(browser.get("/?q=mapping:app%3Dwbe"))
    assert "Without them: 1 instance." in words(browser.get("/?q=state:stopped"))


# ---- one line a row, and its reason ----


def test_a_row_says_the_reason_in_short_words_and_the_whole_on_hover(browser: TestClient, desk: Desk) -> None:
    desk.world.running(profile="theirs", Name="<b>occupied", app="web")
    page = browser.get("/")
    assert ("<b>" in page.text, "<b>occupied" in unescape(page.text)) == (False, True), "text from AWS is text"
    [(title, short)] = re.findall(r'<td class="reason" title="([^"]*)">([^<]*)</td>', page.text)
    assert short == "foreign role theirs"
    assert "arn:aws:iam::123456789012:instance-profile/theirs" in title
    assert "arn:aws:iam" not in re.sub(r'title="[^"]*"', "", page.text.partition('id="rows"')[2])


def test_names_in_a_row_lead_on(browser: TestClient, desk: Desk) -> None:
    one = desk.converged("web", app="web", Name="web-1")
    desk.world.tag(one, app="db")
    desk.world.profile("db")
    desk.role("db")
    desk.edit("app=db", role="db")
    page = browser.get("/")
    row = page.text.partition('id="rows"')[2]
    assert "web → db" in console.text_of(row)
    assert [unescape(each) for each in re.findall(r'href="([^"]*)"', row.partition("</tbody>")[0])] == [
        f"/instance/{one}",
        "/?q=role%3Aweb",
        "/?q=role%3Adb",
        "/mapping?key=app&value=db",
    ]
    assert f'class="copy" value="{one}"' in row


# ---- the order ----


def test_a_list_is_sorted_by_what_its_address_says(browser: TestClient, desk: Desk) -> None:
    desk.usable("gold")
    desk.world.stop(desk.converged("web", app="web", Name="fine"))
    desk.edit("tier=gold", role="gold")
    desk.world.running(app="web", Name="due")
    desk.world.running(app="web", tier="gold", Name="gold")
    desk.world.running(profile="theirs", app="web", Name="theirs")
    for sort, order in {
        "": "due gold theirs fine",
        "status": "due gold theirs fine",
        "-status": "fine theirs gold due",
        "name": "due fine gold theirs",
        "-name": "theirs gold fine due",
        "state": "due gold theirs fine",
        "role": "theirs fine due gold",
        "mapping": "due theirs fine gold",
        "reason": "due theirs gold fine",
        "target": "due gold theirs fine",
        "nothing": "due gold theirs fine",
    }.items():
        page = browser.get("/", params={"sort": sort})
        assert (sort, " ".join(names(page))) == (sort, order)
        assert page.text.count("aria-sort") == (sort not in ("", "nothing", "target"))


def test_the_order_stays_with_filters_pages_and_while_the_page_is_open(
    browser: TestClient, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rolekeeper_cli.console.page.PAGE", 2)
    for name in ("web-2", "web-1", "web-3", "other"):
        desk.world.running(Name=name)
    page = browser.get("/?q=web&sort=-name")
    assert names(page) == ["web-3", "web-2"]
    links = {id_: unescape(link) for id_, link in re.findall(r'id="([\w-]+)" href="([^"]+)"', page.text)}
    assert names(browser.get(links["page-next"])) == ["web-1"]
    assert links["sort-name"] == "/?q=web", "the third press is the list's own order"
    assert links["sort-role"] == "/?q=web&sort=role"
    assert links["share-ok"] == "/?q=web+status%3Aok&sort=-name"
    assert 'type="hidden" name="sort" value="-name"' in page.text, "the form keeps it"
    desk.world.running(Name="web-4")
    desk.world.wait(WHOLE_SECONDS)
    assert names(browser.get(news(page, "/fleet/rows"))) == ["web-4", "web-3"]


# ---- reading ----


def test_who_may_not_see_them_reads_which_permission_is_missing(browser: TestClient, desk: Desk) -> None:
    for _ in range(3):
        desk.world.calls.before("DescribeInstances", refusing("UnauthorizedOperation", "not you"))
    text = words(browser.get("/"))
    assert "The fleet can't be read: you aren't allowed ec2:DescribeInstances" in text
    assert "Being read" not in text
    assert "The permission that is missing: ec2:DescribeInstances" in text


def test_pages_lead_to_each_other_and_keep_the_filters(
    browser: TestClient, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rolekeeper_cli.console.page.PAGE", 2)
    for number in range(5):
        desk.world.running(Name=f"web-{number}", env="prod")
    second = browser.get("/?q=tag:env&page=2")
    assert "3\N{EN DASH}4 of 5 of 5 instances" in words(second)
    links = dict(re.findall(r'<a id="page-(\w+)" href="([^"]+)"', second.text))
    assert {name: unescape(link) for name, link in links.items()} == {
        "first": "/?q=tag%3Aenv",
        "previous": "/?q=tag%3Aenv",
        "next": "/?q=tag%3Aenv&page=3",
        "last": "/?q=tag%3Aenv&page=3",
    }
    assert "5\N{EN DASH}5 of 5" in words(browser.get("/?page=99")), "the last one"


def test_a_poll_answers_only_what_is_new(browser: TestClient, desk: Desk) -> None:
    one = desk.world.running(app="web")
    seen = news(browser.get("/"), "/fleet/rows")
    desk.world.wait(2)
    assert browser.get(seen).status_code == 204
    desk.world.reconcile(one)
    desk.world.wait(2)
    new = browser.get(seen)
    assert 'id="rows" hx-swap-oob="true"' in new.text
    assert "1 as they should be" in words(new)
    desk.world.wait(30)
    assert browser.get(news(new)).status_code == 204


def test_it_says_how_old_the_whole_is_and_what_reading_it_takes(browser: TestClient, desk: Desk) -> None:
    desk.converged("web", app="web")
    browser.get("/")
    desk.world.wait(40)
    text = words(browser.get("/fleet/reads"))
    assert text.startswith("Read in full 4")
    assert re.search(r"· \d+ EC2 calls for it in the last minute$", text)


def test_reading_again_goes_back_to_the_same_filters(browser: TestClient, desk: Desk) -> None:
    one = desk.converged("web", app="web")
    browser.get("/")
    desk.world.attach_by_hand(one, "theirs")
    desk.world.wait(11)
    answer = browser.get("/fleet/again?q=role:theirs", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/?q=role%3Atheirs")
    assert listed(browser.get("/?q=role:theirs")) == [one]
