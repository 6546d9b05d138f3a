"""The page of what launches instances: what a person should look at first, and what to do about it."""

import re
from collections.abc import Callable
from html import unescape
from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.testclient import TestClient

from fakes.ec2 import client_error
from fakes.launchers import FakeLaunchers
from fixtures.console import news, text_of, words
from fixtures.mappings import Desk
from fixtures.spokes import SpokeFixture
from fixtures.terminal import Terminal
from rolekeeper.model.instance import Target
from rolekeeper_cli.console.jobs import Jobs
from rolekeeper_cli.site import Site

SPOKE = Target("111111111111", "eu-west-1")


@pytest.fixture
def there(desk: Desk, web_and_db: None) -> FakeLaunchers:
    """Where app=web gives the role web, beside a foreign profile."""
    del web_and_db
    desk.role("legacy", path="/")
    desk.edit("app=web", role="web")
    return desk.world.ec2.launchers


@pytest.fixture
def some(there: FakeLaunchers) -> FakeLaunchers:
    there.template("unmapped")
    there.template("right", "web", app="web")
    there.template("late", app="web")
    there.template("occupied", "legacy", app="web")
    there.template("base", "db")
    there.group("front", "base", "$Latest", tags={"app": "web"})
    return there


def rows(page: str) -> dict[str, str]:
    """The markup of what is said of each launcher, by its name, in order."""
    found = [each.partition("</tbody>")[0] for each in page.split("<tbody>")[1:]]
    return {text_of(each.partition('class="name">')[2].partition("<div")[0]): each for each in found}


# ---- the list ----


@pytest.mark.usefixtures("some")
def test_those_that_a_person_should_look_at_come_first(browser: TestClient) -> None:
    page = browser.get("/launches")
    assert list(rows(page.text)) == ["occupied", "front", "late", "right", "unmapped"]
    assert "1 will stay occupied 1 replaced 1 a few seconds late 1 born right 1 no mapping" in words(page)
    occupied, front, _, right, _ = map(text_of, rows(page.text).values())
    assert occupied.startswith("will stay occupied occupied lt-00000000000000004 instances template 1 default")
    assert "legacy web app= web Instances keep the foreign legacy, and don't get role web, which app=web" in occupied
    assert front.startswith("replaced front instances group 1 latest of base db web app= web")
    assert right.endswith("web web app= web"), "there is nothing to say of it"
    assert '<a href="/launches" aria-current="page">Launches</a>' in page.text


@pytest.mark.usefixtures("some")
def test_what_to_do_is_below_its_row_as_commands_to_copy(browser: TestClient) -> None:
    late = rows(browser.get("/launches").text)["late"]
    assert "<summary>What to do about late</summary>" in late
    command, *_ = (unescape(each) for each in re.findall(r'class="remedy">.*?<code>(.*?)</code> <button', late))
    assert command.startswith("aws ec2 create-launch-template-version --launch-template-id lt-00000000000000003")
    assert """--launch-template-data '{"IamInstanceProfile":{"Name":"web"}}'""" in command


@pytest.mark.usefixtures("some")
def test_links_lead_to_its_mapping_and_its_instances(browser: TestClient, desk: Desk) -> None:
    instance = desk.world.running(**{"aws:autoscaling:groupName": "front", "app": "web"})
    other = desk.world.running(app="web")
    front = rows(browser.get("/launches").text)["front"]
    assert 'href="/mapping?key=app&amp;value=web"' in front
    [address] = re.findall(r'href="(/\?tag=[^"]*)"', front)
    fleet = browser.get(unescape(address)).text
    assert (instance in fleet, other in fleet) == (True, False)


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("verdict=replaced", ["front"]),
        ("text=BASE", ["front"]),
        ("text=legacy", ["occupied", "kept"]),
        ("text=instance-profile", []),
        ("text=app%3Dweb&verdict=born-right", ["right"]),
        ("verdict=blocked", []),
        ("beside=shown", ["occupied", "front", "late", "right", "kept", "base", "unmapped"]),
    ],
)
def test_filters_choose(browser: TestClient, some: FakeLaunchers, query: str, shown: list[str]) -> None:
    some.template("kept", "legacy", **{"rolekeeper:ignore": "true"})
    page = browser.get(f"/launches?{query}")
    assert list(rows(page.text)) == shown
    assert ("Nothing passes these filters" in words(page)) == (not shown)


@pytest.mark.usefixtures("some")
def test_a_template_that_a_group_uses_is_listed_if_that_is_asked(browser: TestClient) -> None:
    page = browser.get("/launches?text=base")
    assert "1 launch template isn't listed: a group or fleet uses it, and its own tags match no mapping." in words(page)
    [address] = re.findall(r'href="([^"]*)">List it<', page.text)
    assert parse_qs(urlsplit(unescape(address)).query) == {"text": ["base"], "beside": ["shown"]}
    assert "Used by front." in words(browser.get("/launches?beside=shown"))


@pytest.mark.usefixtures("some")
def test_more_than_a_page_holds_are_on_others(browser: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rolekeeper_cli.console.page.PAGE", 2)
    assert '<a id="page-next" href="?text=web&amp;page=2#launches">' in browser.get("/launches?text=web").text
    assert list(rows(browser.get("/launches?page=2").text)) == ["late", "right"]


def test_all_that_use_a_template_can_be_seen(browser: TestClient, some: FakeLaunchers) -> None:
    for number in range(6):
        some.group(f"group-{number}", "late")
    page = browser.get("/launches?text=late")
    assert "Used by group-0, group-1, group-2, group-3, group-4. Used by 1 more group-5" in words(page)


@pytest.mark.usefixtures("some")
def test_more_than_the_console_keeps_are_the_commands(browser: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rolekeeper_cli.launch.page.MOST", 2)
    assert "There are more than the console keeps." in words(browser.get("/launches"))


@pytest.mark.usefixtures("some")
def test_a_page_doesnt_wait_for_aws_and_follows_until_all_is_read(
    browser: TestClient, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Callable[[], None]] = []
    monkeypatch.setattr("rolekeeper_cli.console.jobs.PATIENCE_SECONDS", 0)
    site.jobs = Jobs(site.look, site.deployment.now, beside=begun.append)
    page = browser.get("/launches?text=web")
    assert "Reading launch templates, groups and fleets: the stack." in words(page)
    assert "There are no launch templates" not in words(page)
    seen = news(page, "/launches/part")
    assert browser.get(seen).status_code == 204
    begun.pop()()
    part = browser.get(seen)
    assert list(rows(part.text)) == ["occupied", "front", "late", "right"]
    assert "hx-get" not in part.text


# ---- what hinders it ----


@pytest.mark.usefixtures("there")
def test_where_there_are_none_it_says_so(browser: TestClient) -> None:
    assert "There are no launch templates, Auto Scaling groups or fleets" in words(browser.get("/launches"))


def test_they_are_read_again_where_that_is_asked(browser: TestClient, there: FakeLaunchers) -> None:
    browser.get("/launches")
    there.template("made-since", app="web")
    assert "made-since" not in words(browser.get("/launches"))
    answer = browser.get("/launches/again?text=made")
    assert (answer.url.path, answer.url.query, "made-since" in words(answer)) == ("/launches", b"text=made", True)


# ---- other accounts ----


@pytest.fixture
def spoke(terminal: Terminal, desk: Desk, there: FakeLaunchers) -> SpokeFixture:
    """One that has a template, as the hub has."""
    made = SpokeFixture(terminal, desk, SPOKE)
    made.registered()
    made.copied("app=web", "web")
    there.template("here", "web", app="web")
    made.world.ec2.launchers.template("far", app="web")
    return made


@pytest.mark.usefixtures("spoke")
def test_those_of_other_targets_say_where(browser: TestClient) -> None:
    page = browser.get("/launches").text
    far, here = rows(page).values()
    assert f"far lt-00000000000000001 {SPOKE} instances template" in text_of(far)
    assert f"What to do about far in {SPOKE}" in far
    assert f"--region {SPOKE.region}" in far
    assert f"&amp;account={SPOKE.account}&amp;region={SPOKE.region}" in far
    assert "account=" not in here
    assert list(rows(browser.get(f"/launches?text={SPOKE}").text)) == ["far"]


def test_a_target_that_cannot_be_read_is_named_and_hinders_no_other(browser: TestClient, spoke: SpokeFixture) -> None:
    def refuse(_: str) -> None:
        raise client_error("UnauthorizedOperation")

    spoke.world.ec2.launchers.refuse = refuse
    page = browser.get("/launches")
    assert list(rows(page.text)) == ["here"]
    said = f"{SPOKE} is left out: you aren't allowed ec2:DescribeLaunchTemplateVersions on *."
    assert said in words(page)
