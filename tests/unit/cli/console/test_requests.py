"""Requests that no page of ours makes: none changes anything, none fails, and none shows more than it may."""

import asyncio
from collections.abc import Awaitable, Iterator
from itertools import product

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import Message

from fixtures.account import MAPPING_TABLE
from fixtures.console import main as words
from fixtures.mappings import Desk
from fixtures.terminal import CALLER, Terminal
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.console.forms import Form, posted
from rolekeeper_cli.console.guard import Guard
from rolekeeper_cli.options import Options
from rolekeeper_cli.site import PAGES, Site, application, has_page

WEB = {"key": "workload", "value": "web"}
ROUTES = [each for page in PAGES for each in page.ROUTES]
PATHS = [each.path.format(id="i-0123456789abcdef0", name="web", kind="pin", plan="x") for each in ROUTES]
LONG = "9" * 5_000


@pytest.fixture
def console(terminal: Terminal, desk: Desk) -> Guard:  # noqa: ARG001  # AWS is the terminal's
    desk.role("web")
    # A page is made at once, in its own thread: on a slow machine another thread's would only say that it comes.
    site = Site(Deployment(Options(region="us-east-1")), writes=True, beside=lambda run: run())
    return Guard(application(site), 4321, writes=True, has_page=has_page)


def browser(guard: Guard, *, let_in: bool = True) -> TestClient:
    """As it asks from one of the console's own pages."""
    made = TestClient(
        guard,
        base_url=guard.origin,
        headers={"Origin": guard.origin},
        follow_redirects=False,
        raise_server_exceptions=False,
    )
    if let_in:
        made.get(guard.link)
    return made


def writing_routes() -> Iterator[str]:
    for route, path in zip(ROUTES, PATHS, strict=True):
        assert isinstance(route, Route)
        if "POST" in (route.methods or ()):
            yield path


# ---- who may ask for what ----


def test_nothing_is_changed_by_opening_a_page(console: Guard, desk: Desk) -> None:
    desk.edit("workload=web", role="web")
    asking = browser(console)
    desk.world.calls.clear()
    for method, path in product(("GET", "HEAD"), PATHS):
        asking.request(method, path, params={**WEB, "what": "pause", "ask": "last-accessed", "plan": "x"})
    reads = ("Get", "List", "Describe", "Scan", "Query", "BatchGet", "Filter", "Lookup", "GenerateService")
    assert not [each for each in desk.world.calls.made if not each.startswith(reads)]


def test_who_isnt_let_in_learns_nothing_by_asking_for_a_file_that_isnt_there(console: Guard) -> None:
    asking = browser(console, let_in=False)
    paths = ("nope", "", "%2e%2e/site.py", "%2e%2e%2f%2e%2e%2fsite.py", "a%00b", "x" * 5_000)
    for method, path in product(("GET", "POST"), paths):
        answer = asking.request(method, f"/static/{path}")
        assert answer.status_code in {404, 405}, path
        assert CALLER not in answer.text
        assert "123456789012" not in answer.text


# ---- forms that no page has ----


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/mapping/approve", {**WEB, "revision": LONG}),
        ("/mapping/discard", {**WEB, "revision": "²"}),
        # Without one, the last edit is undone: one that can't be read isn't taken for none.
        ("/mapping/change", {**WEB, "what": "roll-back", "to": "1st"}),
        ("/mapping/change", {**WEB, "what": "expire", "hours": LONG}),
        ("/mapping/change", {"key": "k" * 3_000, "value": "web", "what": "delete"}),
        ("/mapping/approve", {}),
        ("/settings/switch", {}),
    ],
)
def test_a_form_that_no_page_has_is_refused_in_words(console: Guard, path: str, form: dict[str, str]) -> None:
    answer = browser(console).post(path, data=form)
    assert answer.status_code == 400, words(answer)
    assert "That can't be read" in words(answer)


def test_a_body_that_is_no_form_is_answered_by_a_page(console: Guard, desk: Desk) -> None:
    asking = browser(console)
    bodies = (b"", b'{"key": 1}', b"\xff\xfe=\x00&&=&a", b"key=a&key=b&value=c&version=&plan=&to=x")
    for path, body in product(writing_routes(), bodies):
        answer = asking.post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in {303, 400, 404, 409}, f"{path}: {words(answer)}"
        assert not desk.world.dynamodb.items(MAPPING_TABLE), path


def test_a_form_of_which_only_a_part_comes_is_no_bug() -> None:
    """A tab that is closed while it sends: nothing is done, and the terminal stays quiet."""
    handled: list[Form] = []

    @posted
    def handler(_request: Request, form: Form) -> Response:
        handled.append(form)
        return Response()

    pieces: list[Message] = [
        {"type": "http.disconnect"},
        {"type": "http.request", "body": b"what=pa", "more_body": True},
    ]

    async def receive() -> Message:
        return pieces.pop()

    answer = asyncio.run(_awaited(handler(Request({"type": "http", "method": "POST", "headers": []}, receive))))
    assert (answer.status_code, handled) == (400, [])


async def _awaited(answer: Awaitable[Response]) -> Response:
    return await answer


# ---- what fails ----


def test_where_the_head_of_every_page_fails_there_is_a_page_nonetheless(
    console: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Site, "here", lambda _: 1 / 0)
    answer = browser(console).get("/mappings")
    assert answer.status_code == 500
    assert "An error in the console" in words(answer)
    assert "ZeroDivisionError" not in answer.text
