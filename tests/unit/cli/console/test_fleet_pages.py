"""The fleet in the console: what needs a person first, filters in the address, a bar, pages, and what changed since."""

import re
from collections.abc import Callable
from html import unescape

import pytest
from botocore.exceptions import EndpointConnectionError
from httpx2 import Response
from starlette.testclient import TestClient

from fixtures.account import refusing
from fixtures.console import news, words
from fixtures.mappings import MappingsFixture
from rolekeeper_cli.console import fleet_cache
from rolekeeper_cli.console.fleet_cache import WHOLE_SECONDS, FleetReader


@pytest.fixture(autouse=True)
def mapped(desk: MappingsFixture) -> None:
    desk.role("web")
    desk.world.profile("web")
    desk.edit("app=web", role="web")


def listed(answer: Response) -> list[str]:
    """The instances of a page, in order."""
    return re.findall(r'<a id="(i-\w+)"', answer.text)


def test_what_needs_a_person_comes_first_and_says_why(browser: TestClient, desk: MappingsFixture) -> None:
    fine = desk.converged("web", app="web", Name="a-fine-one")
    theirs = desk.world.running(profile="theirs", Name="b-theirs")
    due = desk.world.running(app="web", Name="z-due")
    page = browser.get("/")
    assert page.status_code == 200
    assert listed(page) == [due, theirs, fine]
    assert "running none web app= web app=web gives it role web." in words(page)
    assert "3 instances" in words(page)


def test_the_bar_says_how_many_stand_so_and_leads_to_them(browser: TestClient, desk: MappingsFixture) -> None:
    fine = [desk.converged("web", app="web") for _ in range(3)]
    due = desk.world.running(app="web")
    page = browser.get("/")
    widths = [float(each) for each in re.findall(r'<rect class="\w+" x="[\d.]+" y="0" width="([\d.]+)"', page.text)]
    assert widths == [750, 250]
    assert "3 as they should be" in words(page)
    assert "1 in drift" in words(page)
    link = re.search(r'id="share-drift" href="([^"]+)"', page.text)
    assert link
    assert listed(browser.get(unescape(link[1]))) == [due]
    assert sorted(listed(browser.get("/?condition=ok"))) == sorted(fine)


def test_one_cause_is_one_box(browser: TestClient, desk: MappingsFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of AWS's services that isn't reached says so in its own words."""

    def unreached(service: str) -> Callable[..., None]:
        def fail(*_: object) -> None:
            raise EndpointConnectionError(endpoint_url=f"https://{service}")

        return fail

    one = desk.converged("web", app="web")
    browser.get("/")
    for service, part in (("ec2", "pages"), ("ec2", "look"), ("logs", "decided")):
        monkeypatch.setattr(FleetReader, part, unreached(service))
    monkeypatch.setattr(fleet_cache, "withheld", unreached("dynamodb"))
    browser.get(f"/instance/{one}")
    desk.world.wait(WHOLE_SECONDS)
    page = browser.get("/")
    assert page.text.partition("<main")[2].count('class="note') == 1
    said = words(page)
    assert said.count("AWS can't be reached") == 1
    assert "The fleet can't be read: AWS can't be reached" in said
    assert "For the same reason: Whether changes are withheld isn't known." in said


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("tag=app", ["web-1", "web-2"]),
        ("tag=app=web&tag=env=prod", ["web-1"]),
        ("state=stopped", ["web-2"]),
        ("role=web", ["web-1", "web-2"]),
        ("role=NONE", ["plain"]),
        ("mapping=app=web", ["web-1", "web-2"]),
        ("region=us-east-1&account=123456789012", ["plain", "web-1", "web-2"]),
        ("region=eu-west-1", []),
        ("condition=ok&tag=env", ["web-1"]),
        ("text=WEB", ["web-1", "web-2"]),
        ("text=00001", ["web-1"]),
        ("text=web&state=stopped", ["web-2"]),
    ],
)
def test_filters_are_in_the_address(browser: TestClient, desk: MappingsFixture, query: str, found: list[str]) -> None:
    desk.converged("web", app="web", env="prod", Name="web-1")
    desk.world.stop(desk.converged("web", app="web", Name="web-2"))
    desk.world.running(Name="plain")
    page = browser.get(f"/?{query}")
    assert sorted(re.findall(r'<a id="i-\w+"[^>]*>([^<]+)<', page.text)) == found


def test_a_bad_filter_says_what_is_wrong_and_the_others_hold(browser: TestClient, desk: MappingsFixture) -> None:
    one = desk.converged("web", app="web", Name="web-1")
    desk.world.running(Name="plain")
    page = browser.get("/?state=runing&mapping=app&condition=drfit&tag==x&role=web&page=zero")
    assert page.status_code == 200
    assert listed(page) == [one], "the role's filter holds"
    text = words(page)
    assert "There is no state 'runing'; did you mean running?" in text
    assert "'app' is no mapping; name one as tag_key=tag_value" in text
    assert "There is no status 'drfit'; did you mean drift?" in text
    assert "There is no state 'x'; choose one of the list." in words(browser.get("/?state=x"))
    assert "'=x' is no tag" in text
    assert "'zero' is no page" in text
    assert page.text.count('aria-invalid="true"') == 4
    assert 'value="=x"' in page.text, "what was typed stays"


def test_no_instance_passes_and_the_page_says_what_may_be_meant(browser: TestClient, desk: MappingsFixture) -> None:
    desk.converged("web", app="web")
    assert "did you mean web?" in words(browser.get("/?role=wbe"))
    assert "Without them: 1 instance." in words(browser.get("/?state=stopped"))


def test_who_may_not_see_them_reads_which_permission_is_missing(browser: TestClient, desk: MappingsFixture) -> None:
    for _ in range(3):
        desk.world.calls.before("DescribeInstances", refusing("UnauthorizedOperation", "not you"))
    text = words(browser.get("/"))
    assert "The fleet can't be read: you aren't allowed ec2:DescribeInstances" in text
    assert "Being read" not in text
    assert "The permission that is missing: ec2:DescribeInstances" in text


def test_pages_lead_to_each_other_and_keep_the_filters(
    browser: TestClient, desk: MappingsFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rolekeeper_cli.console.page.PAGE", 2)
    for number in range(5):
        desk.world.running(Name=f"web-{number}", env="prod")
    second = browser.get("/?tag=env&page=2")
    assert "3\N{EN DASH}4 of 5 instances that pass the filters, of 5" in words(second)
    links = dict(re.findall(r'<a id="page-(\w+)" href="([^"]+)"', second.text))
    assert {name: unescape(link) for name, link in links.items()} == {
        "first": "/?tag=env",
        "previous": "/?tag=env",
        "next": "/?tag=env&page=3",
        "last": "/?tag=env&page=3",
    }
    assert "5\N{EN DASH}5 of 5" in words(browser.get("/?page=99")), "the last one"


def test_a_poll_answers_only_what_is_new(browser: TestClient, desk: MappingsFixture) -> None:
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
    desk.world.calls.clear()
    for _ in range(10):
        desk.world.wait(1)
        assert browser.get(news(new)).status_code == 204
    assert not [each for each in desk.world.calls.made if each.startswith("Describe")], "EC2 is asked nothing"


def test_it_says_how_old_the_whole_is_and_what_reading_it_takes(browser: TestClient, desk: MappingsFixture) -> None:
    desk.converged("web", app="web")
    browser.get("/")
    desk.world.wait(40)
    text = words(browser.get("/fleet/reads"))
    assert text.startswith("Read in full 4")
    assert re.search(r"· \d+ EC2 calls for it in the last minute$", text)


def test_reading_again_goes_back_to_the_same_filters(browser: TestClient, desk: MappingsFixture) -> None:
    one = desk.converged("web", app="web")
    browser.get("/")
    desk.world.attach_by_hand(one, "theirs")
    desk.world.wait(11)
    answer = browser.get("/fleet/again?role=theirs", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/?role=theirs")
    assert listed(browser.get("/?role=theirs")) == [one]


def test_why_nothing_is_changed_is_above_the_list(browser: TestClient, desk: MappingsFixture) -> None:
    desk.converged("web", app="web")
    desk.world.control(paused=True)
    assert re.search("No changes are made now: .*[.] Settings says who set that, and why[.]", words(browser.get("/")))


def test_text_from_aws_is_text(browser: TestClient, desk: MappingsFixture) -> None:
    desk.world.running(Name="<script>alert(1)</script>")
    page = browser.get("/")
    assert "<script>alert(1)" not in page.text
    assert "<script>alert(1)</script>" in unescape(page.text)
