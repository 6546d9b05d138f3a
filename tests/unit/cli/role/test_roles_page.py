"""The roles in the console: who carries each, what it may do, and what of that it doesn't use."""

import re
from collections.abc import Callable
from functools import partial
from html import unescape

import pytest
from starlette.testclient import TestClient

from fakes.last_accessed import BEGUN, FakeReports
from fixtures.console import words
from fixtures.mappings import Desk
from fixtures.roles import make_used_role
from rolekeeper.model.mapping import NO_ROLE
from rolekeeper_cli.console.jobs import Abandoned
from rolekeeper_cli.role import use

type Make = Callable[..., None]

pytestmark = pytest.mark.usefixtures("instance")


@pytest.fixture
def make(desk: Desk, reports: FakeReports) -> Make:
    return partial(make_used_role, desk, reports)


@pytest.fixture
def instance(desk: Desk, make: Make) -> str:
    """One that carries web; beside that role there are a broad one and one that nothing uses."""
    make("web", "s3:GetObject", "sns:Publish", used={"s3": 1, "sns": None})
    make("old", "s3:GetObject", used={"s3": 300})
    make("admin", "*", used={"ec2": 2})
    desk.edit("app=web", role="web")
    return desk.converged("web", app="web")


def test_they_are_read_again_where_that_is_asked(browser: TestClient, make: Make) -> None:
    assert "3 roles " in words(browser.get("/roles"))
    make("made-since", "s3:GetObject", used={})
    assert "made-since" not in words(browser.get("/roles"))
    answer = browser.get("/roles/again?text=made")
    assert (answer.url.path, answer.url.query) == ("/roles", b"text=made")
    assert "made-since" in words(answer)


def test_each_role_is_a_row_with_who_carries_it_and_what_it_may_use(browser: TestClient) -> None:
    said = words(browser.get("/roles"))
    assert "3 roles 1 broad 1 unused 1 given by a mapping 1 carried" in said
    assert "admin none 0 2 days ago broad everything on *" in said
    assert "old none 0 2025-05-05 unused not broad reads S3" in said
    assert "web app=web 1 24 h ago not broad writes SNS; reads S3" in said


def test_who_gives_each_is_shown_before_what_it_may_do_is_read(
    browser: TestClient, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(*_: object) -> None:
        raise Abandoned

    monkeypatch.setattr(use, "_carried_by_target", ends)
    desk.world.calls.clear()
    said = words(browser.get("/roles"))
    assert "Reading what each may do" in said
    assert "web app=web … … … …" in said, "not unknown: it is still to come"
    assert not {"GetRole", "ListRolePolicies", "DescribeInstances"} & {*desk.world.calls.made}
    assert "No role fits" not in words(browser.get("/roles?only=unused")), "which are unused isn't known yet"


def test_what_mappings_say_is_shown_before_iam_is_asked(
    browser: TestClient, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(*_: object, **__: object) -> None:
        raise Abandoned

    desk.edit("app=none", role=NO_ROLE)
    monkeypatch.setattr(use, "view", ends)
    said = words(browser.get("/roles"))
    assert "1 role " in said
    assert "web app=web … … … …" in said
    assert "Reading what it may do" in words(browser.get("/role/web"))


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("only=broad", {"admin"}),
        ("only=unused", {"old"}),
        ("only=mapped", {"web"}),
        ("only=carried", {"web"}),
        ("text=sns", {"web"}),
        ("text=APP%3D", {"web"}),
        ("only=unused&text=old", {"old"}),
    ],
)
def test_filters_choose(browser: TestClient, query: str, shown: set[str]) -> None:
    page = browser.get(f"/roles?{query}").text
    assert {name for name in ("web", "old", "admin") if f'href="/role/{name}"' in page} == shown


def test_reports_are_only_asked_for_by_a_link(browser: TestClient, reports: FakeReports) -> None:
    page = browser.get("/roles")
    assert 'href="/roles?ask=last-accessed"' in page.text
    browser.get("/role/web")
    assert reports.seen == []
    said = words(browser.get("/roles?ask=last-accessed"))
    assert reports.seen.count(BEGUN) == 3
    assert "1 that could be smaller" in said
    assert "web app=web 1 24 h ago not broad writes SNS; reads S3 sns could be smaller" in said


def test_its_report_names_what_it_never_called_and_a_command_that_takes_it_out(browser: TestClient, desk: Desk) -> None:
    browser.get("/role/web")
    desk.world.calls.clear()
    said = words(browser.get("/role/web?ask=last-accessed"))
    assert "In 90 days it didn't use: sns." in said
    assert "Without sns, of policy it" in said
    assert "aws iam put-role-policy --role-name web --policy-name it --policy-document '{" in said
    assert "DescribeInstances" not in desk.world.calls.made, "who carries it is known already"


def test_a_broad_role_and_one_that_nothing_uses_say_so(browser: TestClient) -> None:
    assert "broad It is broad: its policies allow administrator access" in words(browser.get("/role/admin"))
    old = words(browser.get("/role/old"))
    assert "Given by no mapping, carried by no instance, last used 2025-05-05 unused" in old


def test_all_who_carry_it_can_be_seen_page_by_page(
    browser: TestClient, desk: Desk, instance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rolekeeper_cli.console.page.PAGE", 2)
    them = [*reversed([desk.converged("web", app="web", Name=name) for name in ("b", "a")]), instance]
    first, second = browser.get("/role/web"), browser.get("/role/web?page=2")
    assert f"{instance} {instance} ok running app=web" in words(first) + words(second), "as the fleet knows it"
    assert '<a id="page-next" href="?page=2#instances">' in first.text
    assert "Instances 3" in words(second)
    shown = [re.findall(r'href="/instance/([^"]*)"', each.text) for each in (first, second)]
    assert shown == [them[:2], them[2:]], "by name"


def test_what_it_may_do_stands_beside_the_policies_that_say_so(browser: TestClient) -> None:
    page = browser.get("/role/web")
    said = words(page)
    assert "Given by app=web , carried by 1 instance , last used 24 h ago" in said
    assert "writes SNS sns:Publish on *" in said
    assert "reads S3 s3:GetObject on *" in said
    assert '"Action": [ "s3:GetObject", "sns:Publish" ]' in said
    assert '"Service": "ec2.amazonaws.com"' in said, "the trust policy"
    copied = [unescape(each) for each in re.findall(r'class="copy" value="([^"]*)"', page.text)]
    assert "arn:aws:iam::123456789012:role/rolekeeper/web" in copied
    assert "rolekeeper roles --role web" in copied
    assert any('"sns:Publish"' in each for each in copied)


def test_every_count_and_name_is_a_link(browser: TestClient, desk: Desk) -> None:
    for value in ("a", "b"):
        desk.edit(f"tier={value}", role="web")
    desk.edit("app=off", role="web", enabled=False)
    page = browser.get("/roles").text
    assert '<a href="/mappings?text=web">3 mappings</a> <a class="muted" href="/mappings?text=web">(1 not in' in page
    assert 'href="/?role=web"' in page
    assert 'href="/roles?only=broad"' in page
    assert 'href="/mapping?key=tier&amp;value=a"' in browser.get("/role/web").text


@pytest.mark.parametrize(
    ("sort", "first"), [("role", "admin"), ("-role", "web"), ("-carried", "web"), ("used", "old"), ("-broad", "admin")]
)
def test_the_list_is_in_the_order_that_its_address_says(browser: TestClient, sort: str, first: str) -> None:
    page = browser.get(f"/roles?sort={sort}").text
    assert re.findall(r'<th scope="row"><a href="/role/([^"]*)"', page)[0] == first
    assert page.count("aria-sort") == 1


def test_a_role_that_isnt_there_is_no_page(browser: TestClient) -> None:
    answer = browser.get("/role/wbe")
    assert answer.status_code == 404
    assert "There is no role wbe under /rolekeeper/. See: Roles" in words(answer)


def test_what_may_not_be_read_is_unknown_and_why(browser: TestClient, reports: FakeReports) -> None:
    reports.refused = {"ListInstanceProfiles": "AccessDenied"}
    said = words(browser.get("/roles"))
    assert "Not everything is shown: you aren't allowed iam:ListInstanceProfiles on *." in said
    assert "web app=web unknown" in said
