"""Rows, tags and names as people and programs really write them: each page shows them, and each form means them."""

import re
from html import unescape
from typing import Any

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from fixtures.mappings import MappingsFixture
from fixtures.terminal import Terminal
from rolekeeper_cli.console.site import Site, application
from rolekeeper_cli.doctor_deployment import DoctorDeployment
from rolekeeper_cli.options import Options

WEB = {"key": "workload", "value": "web"}
MAPPING_PAGES = ("/mappings", "/mappings/part", "/mapping", "/mapping/part", "/mapping/edit", "/mapping/new")


@pytest.fixture(autouse=True)
def roles(desk: MappingsFixture) -> None:
    for role in ("web", "db"):
        desk.role(role)
        desk.world.profile(role)


@pytest.fixture
def browser(terminal: Terminal) -> TestClient:
    clock = terminal.desk.world.clock
    return TestClient(application(Site(DoctorDeployment(Options(region="us-east-1")), True, lambda: clock.seconds)))  # noqa: FBT003  # it writes


def words(answer: Response) -> str:
    """What a page says below its head, in one line."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", answer.text.partition("<main")[2] or answer.text)).split())


# ---- rows that nobody can read ----


@pytest.mark.parametrize(
    "columns",
    [
        {"expires_at": {"S": "soon"}},
        {"expires_at": {"S": "2026-12-31"}},
        {"expires_at": {"S": "9999-12-31T23:59:59-23:00"}},
        {"expires_at": {"N": "12"}},
        {"expires_at": {"BOOL": True}},
        {"matched": {"S": "many"}},
        {"matched": {"L": [{"S": "x"}]}},
        {"matched": {"N": "1.5"}},
        {"status": {"L": [{"S": "x"}]}},
        {"status": {"M": {"a": {"S": "x"}}}},
        {"status": {"S": "Bogus"}},
        {"status": {"S": "Published"}, "status_revision": {"S": "one"}, "status_reason": {"N": "1"}},
        {"status": {"S": "Held"}, "held_revision": {"S": "two"}},
        {"role": {"B": b"\xff"}},
        {"priority": {"N": "9E125"}},
        {"owner": {"M": {"a": {"N": "1"}}}},
        {"whatever": {"SS": ["x"]}},
    ],
    ids=str,
)
def test_one_odd_row_keeps_no_page_from_showing_all_others(
    browser: TestClient, desk: MappingsFixture, columns: dict[str, Any]
) -> None:
    desk.edit("app=good", role="web")
    desk.put_raw("workload=web", {"role": {"S": "web"}, **columns})
    for path in MAPPING_PAGES:
        answer = browser.get(path, params=WEB)
        assert answer.status_code == 200, path
    assert "app=good" in words(browser.get("/mappings"))


def test_a_time_that_is_none_is_shown_as_it_was_written(browser: TestClient, desk: MappingsFixture) -> None:
    desk.put("workload=web", role="web", expires_at="2026-12-31")
    desk.put("app=good", role="web", expires_at="2026-12-31T00:00:00Z")
    page = browser.get("/mappings")
    assert "2026-12-31 " in words(page)
    assert '<time datetime="2026-12-31T00:00:00Z"' in page.text


def test_a_row_that_rolekeeper_hasnt_judged_has_its_page(browser: TestClient, desk: MappingsFixture) -> None:
    """A write leads there, also when Rolekeeper takes longer than the page waits."""
    desk.put("workload=web", role="web")
    for path in ("/mapping", "/mapping/part"):
        page = browser.get(path, params=WEB)
        assert page.status_code == 200
        assert "Rolekeeper has judged no edit of it yet" in words(page)
        assert "Not judged yet" in words(page)
