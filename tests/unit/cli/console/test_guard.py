"""The guard: a browser is let in once by the link, and nobody else is; what isn't asked by our own pages is refused."""

import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from threading import Barrier
from typing import Any
from urllib.parse import quote

import pytest
from httpx2 import Response
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from fixtures.console import words
from rolekeeper_cli.console.guard import Guard, lasting
from rolekeeper_cli.site import has_page

PORT = 4321
COOKIE = "rolekeeper-console"
AFTER_THE_LINK = "start it again, and use the link that it gives: rolekeeper console"


class Pages:
    """They answer with what they were asked, and remember it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        self.asked.append(f"{request.method} {scope['path']}")
        body = await request.body()
        await JSONResponse({"bytes": len(body)}, headers={"X-Frame-Options": "ALLOWALL"})(scope, receive, send)


@pytest.fixture
def pages() -> Pages:
    return Pages()


@pytest.fixture
def guard(pages: Pages) -> Guard:
    return Guard(pages, PORT, writes=True, has_page=has_page)


@pytest.fixture
def stranger(guard: Guard) -> TestClient:
    return browser(guard)


@pytest.fixture
def guest(guard: Guard) -> TestClient:
    return let_in(guard)


def browser(guard: Guard) -> TestClient:
    """One that was never let in."""
    return TestClient(guard, base_url=guard.origin)


def let_in(guard: Guard) -> TestClient:
    made = browser(guard)
    assert made.get(guard.link).status_code == 200
    return made


def ours(guard: Guard) -> dict[str, str]:
    """As a form of our own pages is sent."""
    return {"Origin": guard.origin, "Sec-Fetch-Site": "same-origin"}


# ---- the link ----


def test_the_name_is_random_and_as_browsers_write_it(guard: Guard) -> None:
    assert re.fullmatch(rf"http://[0-9a-f]{{16}}\.localhost:{PORT}/enter/[\w-]{{43}}", guard.link)
    assert re.fullmatch(r"http://\w+\.localhost", Guard(Pages(), 80, writes=False, has_page=has_page).origin)


def test_the_link_becomes_a_cookie_that_scripts_and_other_sites_never_get(guard: Guard, stranger: TestClient) -> None:
    answer = stranger.get(guard.link)
    assert answer.status_code == 200
    name, _, rest = answer.headers["set-cookie"].partition("=")
    value, *attributes = rest.split("; ")
    assert (name, sorted(map(str.lower, attributes))) == (COOKIE, ["httponly", "path=/", "samesite=strict"])
    assert len(value) == 43, "32 bytes"
    assert value not in guard.link
    assert stranger.get("/").status_code == 200


def test_it_works_once(guard: Guard, guest: TestClient, pages: Pages) -> None:
    second = browser(guard)
    calls: list[str] = []
    guard.on_entered = lambda: calls.append("entered")
    answer = second.get(guard.link)
    assert (answer.status_code, "set-cookie" in answer.headers, calls) == (403, False, [])
    assert "this link was used already" in words(answer).lower()
    assert AFTER_THE_LINK in words(answer)
    assert second.get("/").status_code == 403
    assert guest.get("/").status_code == 200, "who was let in stays in"
    assert pages.asked == ["GET /"]


def test_two_who_open_it_at_once_are_not_both_let_in(guard: Guard) -> None:
    many = 8
    together = Barrier(many)

    def opens(_number: int) -> int:
        asking = browser(guard)
        together.wait(timeout=10)
        return asking.get(guard.link).status_code

    with ThreadPoolExecutor(many) as threads:
        assert sorted(threads.map(opens, range(many))) == [200] + [403] * (many - 1)


OTHER_TOKENS = [("GET", f"/enter/{token}", 403) for token in ("", "x", "ü", "%FF", "a/b", "A" * 43)]


@pytest.mark.parametrize(
    ("method", "path", "status"), [*OTHER_TOKENS, *((method, "", 405) for method in ("HEAD", "POST", "PUT", "OPTIONS"))]
)
def test_another_token_or_method_lets_nobody_in_and_leaves_the_link_as_it_is(
    guard: Guard, stranger: TestClient, *, method: str, path: str, status: int
) -> None:
    calls: list[str] = []
    guard.on_entered = lambda: calls.append("entered")
    answer = stranger.request(method, path or guard.link, headers=ours(guard))
    assert (answer.status_code, "set-cookie" in answer.headers, calls) == (status, False, [])
    let_in(guard)
    assert calls == ["entered"], "who waits for the link to be used is called"


def test_each_console_has_a_name_and_a_link_of_its_own(guard: Guard) -> None:
    other = Guard(Pages(), PORT, writes=True, has_page=has_page)
    assert other.origin != guard.origin
    assert other.link.removeprefix(other.origin) != guard.link.removeprefix(guard.origin)


# ---- who asks ----


@pytest.mark.parametrize("cookie", [None, "", "wrong", "ü", "A" * 43])
def test_without_the_cookie_nothing_is_shown(stranger: TestClient, pages: Pages, cookie: str | None) -> None:
    headers = {} if cookie is None else {"Cookie": f"{COOKIE}={cookie}".encode()}
    answer = stranger.get("/", headers=headers)  # type: ignore[arg-type]  # bytes, as a browser may send any
    assert (answer.status_code, pages.asked) == (403, [])
    assert "the console is for the browser that opened its link" in words(answer).lower()
    assert "Acts as" not in answer.text, "nothing of the deployment"
    assert "open it, and this page follows" in words(answer)


def hosts(guard: Guard) -> Iterable[str]:
    """What a page whose name is made to point at loopback would send, and what is nearly ours."""
    own = guard.origin.removeprefix("http://")
    name = own.partition(":")[0]
    yield from ("evil.example", f"evil.example:{PORT}", "127.0.0.1", f"127.0.0.1:{PORT}", f"localhost:{PORT}", "")
    yield from (name, f"{name}:1", f"{own}0", f"{name}.:{PORT}", f"a.{own}", own.upper(), f"{own}/", f"u@{own}")


def test_another_host_or_port_is_refused_with_the_cookie_too(guard: Guard, guest: TestClient, pages: Pages) -> None:
    for host in hosts(guard):
        answer = guest.get("/", headers={"Host": host})
        assert (answer.status_code, answer.headers.get("set-cookie")) == (421, None), host
    both = [("Host", guard.origin.removeprefix("http://")), ("Host", "evil.example")]
    answer = guest.get("/", headers=both)
    assert (answer.status_code, "Open the console" in answer.text) == (421, False)
    for path in (guard.link, "/static/console.css"):
        assert guest.get(path, headers={"Host": "evil.example"}).status_code == 421
    assert pages.asked == []


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_another_origin_is_refused_and_a_write_must_name_ours(
    guard: Guard, guest: TestClient, pages: Pages, method: str
) -> None:
    others = ("http://evil.example", "null", "http://localhost:4321", "", guard.origin.replace("http:", "https:"))
    for origin in (*others, *([None] if method == "POST" else [])):
        answer = guest.request(method, "/mappings", headers={} if origin is None else {"Origin": origin})
        assert (answer.status_code, pages.asked) == (403, []), origin
        assert "a request from another site" in words(answer).lower()
    assert guest.request(method, "/mappings", headers={"Origin": guard.origin}).status_code == 200
    assert pages.asked == [f"{method} /mappings"]


@pytest.mark.parametrize(
    ("site", "status"), [("same-origin", 200), ("none", 200), ("same-site", 403), ("cross-site", 403)]
)
def test_a_browser_that_says_it_is_elsewhere_is_refused(guest: TestClient, site: str, status: int) -> None:
    """A link on another page would come with the cookie's absence; here even with it."""
    assert guest.get("/", headers={"Sec-Fetch-Site": site}).status_code == status
    both = [("Sec-Fetch-Site", site), ("Sec-Fetch-Site", "cross-site")]
    assert guest.get("/", headers=both).status_code == 403, "nobody says beside it that they are not elsewhere"


@pytest.mark.parametrize(
    ("method", "path", "to"),
    [("GET", "/roles?sort=-name", "/roles?sort=-name"), ("POST", "/mapping/plan", "/"), ("GET", "/enter/token", "/")],
)
def test_a_tab_of_a_former_console_is_led_to_its_page_of_the_present_one(
    guard: Guard, guest: TestClient, pages: Pages, *, method: str, path: str, to: str
) -> None:
    """Both ran on one port; a browser that was let in goes on, and the link isn't shown."""
    former = TestClient(guard, base_url=Guard(pages, PORT, writes=True, has_page=has_page).origin)
    answer = former.request(method, path)
    assert (answer.status_code, pages.asked) == (421, [])
    onward = f"{guard.origin}/go?to={quote(to, safe='')}"
    assert f'href="{onward}">Open the console</a>' in answer.text
    assert (f'content="0; url={onward}"' in answer.text) == (method == "GET")
    assert ("Nothing was changed" in words(answer)) == (method == "POST")
    assert guard.link not in answer.text
    assert former.get("/static/console.css").status_code == 200, "it looks as a page of the console"
    elsewhere = guest.get("/", headers={"Sec-Fetch-Site": "cross-site"})
    assert 'href="/">Open the console</a>' in elsewhere.text, "a browser says so of the link, and one more leads in"


# ---- addresses that last ----


def asks_at(guard: Guard, host: str, path: str, site: str = "none", cookie: str = "") -> Response:
    headers = {"Host": host, "Sec-Fetch-Site": site, **({"Cookie": cookie} if cookie else {})}
    return browser(guard).get(path, headers=headers)


def test_the_address_that_lasts_leads_to_the_page_and_gets_neither_data_nor_cookie(guard: Guard, pages: Pages) -> None:
    assert (lasting(PORT), lasting(80)) == (f"http://rolekeeper.localhost:{PORT}", "http://rolekeeper.localhost")
    answer = asks_at(guard, f"rolekeeper.localhost:{PORT}", "/instance/i-1?x=%20&y=1")
    onward = f"{guard.origin}/go?to=%2Finstance%2Fi-1%3Fx%3D%2520%26y%3D1"
    assert f'content="0; url={onward}"' in answer.text
    assert (answer.status_code, pages.asked, "set-cookie" in answer.headers) == (421, [], False)
    goes_on = browser(guard).get(onward, headers={"Sec-Fetch-Site": "cross-site"})
    assert 'content="0; url=/instance/i-1?x=%20&amp;y=1"' in goes_on.text, "by a navigation of its own, with the cookie"
    assert (pages.asked, "set-cookie" in goes_on.headers) == ([], False)
    for site in ("cross-site", "same-site"):
        by_a_click = asks_at(guard, f"rolekeeper.localhost:{PORT}", "/roles", site)
        assert 'http-equiv="refresh"' not in by_a_click.text
        assert f'href="{guard.origin}/go?to=%2Froles">Open the console</a>' in by_a_click.text


@pytest.mark.parametrize(
    "host",
    ["rolekeeper.localhost.evil.example", "x.rolekeeper.localhost", "rolekeeper-localhost", "ROLEKEEPER.localhost"],
)
def test_a_host_that_looks_as_the_one_that_lasts_learns_nothing(guard: Guard, host: str) -> None:
    answer = asks_at(guard, f"{host}:{PORT}", "/")
    assert answer.status_code == 421
    assert guard.origin not in answer.text
    assert "rolekeeper console --open 'the address'" in words(answer), "a colleague may have sent it"


def test_the_cookie_of_a_former_console_is_worth_nothing(guard: Guard, pages: Pages) -> None:
    """Whoever listened at its port meanwhile was sent it."""
    former = let_in(Guard(Pages(), PORT, writes=True, has_page=has_page)).cookies[COOKIE]
    for host in (guard.origin.removeprefix("http://"), f"rolekeeper.localhost:{PORT}"):
        answer = asks_at(guard, host, "/roles", cookie=f"{COOKIE}={former}")
        assert (answer.status_code in {403, 421}, pages.asked) == (True, [])


# ---- where the link leads ----


def leads_to(answer: Response) -> str:
    [target] = re.findall(r'content="0; url=([^"]*)"', answer.text)
    return unescape(target)


def test_the_link_leads_to_the_page_that_was_asked_for_before(guard: Guard, stranger: TestClient) -> None:
    refused = stranger.get("/mapping?key=a%20b&value=web")
    assert "open the link that the terminal printed" in words(refused).lower()
    kept = refused.headers["set-cookie"].lower()
    assert all(each in kept for each in ("httponly", "samesite=lax", "path=/enter/", "max-age=600"))
    entered = stranger.get(guard.link, headers={"Sec-Fetch-Site": "cross-site"})
    assert leads_to(entered) == "/mapping?key=a%20b&value=web"
    assert list(stranger.cookies) == [COOKIE], "it is forgotten"


@pytest.mark.parametrize("headers", [{"HX-Request": "true"}, {"Sec-Fetch-Dest": "image"}])
def test_what_no_person_opened_is_not_led_to(guard: Guard, stranger: TestClient, headers: dict[str, str]) -> None:
    assert stranger.get("/roles", headers=headers).status_code == 403
    assert leads_to(stranger.get(guard.link)) == "/"


def test_the_console_is_opened_at_a_page(pages: Pages) -> None:
    guard = Guard(pages, PORT, writes=False, has_page=has_page, to="/mapping?key=app&value=web")
    stranger = browser(guard)
    stranger.get("/roles")
    assert leads_to(stranger.get(guard.link)) == "/mapping?key=app&value=web"


ELSEWHERE = ("//evil.example", "/\\evil.example", "https://evil.example/", "/roles\r\nSet-Cookie: x=y")
NO_PAGES = ("/roles; url=//evil.example", "/static/console.css", "/enter/x", "/go?to=//evil.example", "")


@pytest.mark.parametrize("to", [*ELSEWHERE, *NO_PAGES])
def test_the_link_and_what_leads_on_lead_nowhere_else(guard: Guard, to: str) -> None:
    assert leads_to(browser(guard).get("/go", params={"to": to})) == "/"
    by_cookie = {"Cookie": f"rolekeeper-console-wanted={quote(to, safe='')}"}
    assert leads_to(browser(guard).get(guard.link, params={"to": to}, headers=by_cookie)) == "/"


def test_a_refused_path_that_names_another_host_is_not_kept(guard: Guard) -> None:
    stranger = browser(guard)
    stranger.get(f"{guard.origin}//evil.example/")
    assert leads_to(stranger.get(guard.link)) == "/"


# ---- writes ----


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"])
def test_read_only_nothing_but_reading_reaches_the_pages(pages: Pages, method: str) -> None:
    guard = Guard(pages, PORT, writes=False, has_page=has_page)
    guest = let_in(guard)
    answer = guest.request(method, "/mappings/plan", headers=ours(guard))
    assert (answer.status_code, pages.asked) == (403, [])
    assert "start it again with --write: rolekeeper console --write" in words(answer)
    assert guest.get("/mappings").status_code == guest.head("/mappings").status_code == 200


FULL = b"x" * 65_536
NO_SIZES = ("-1", "1e3", "²", "", "0x10", "9" * 5_000)


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (FULL + b"x", {}),
        *((b"", {"Content-Length": each.encode()}) for each in NO_SIZES),
        (iter([b"x"]), {}),
        (b"x" * 70_000, {"Content-Length": "3", "Transfer-Encoding": "chunked"}),
    ],
    ids=["a byte more", *(each[:9] for each in NO_SIZES), "no length", "a length beside it"],
)
def test_what_is_larger_than_a_form_or_doesnt_say_its_size_is_refused(
    guard: Guard, guest: TestClient, pages: Pages, content: Any, headers: dict[str, Any]
) -> None:
    answer = guest.post("/mappings", content=content, headers={**ours(guard), **headers})
    assert (answer.status_code, pages.asked) == (413, [])
    assert guest.post("/mappings", content=FULL, headers=ours(guard)).json() == {"bytes": 65_536}


# ---- what each answer says to the browser ----


def asks(guard: Guard, guest: TestClient) -> dict[str, Callable[[], Response]]:
    """Each way in which a request can end."""
    stranger = browser(guard)
    return {
        "a page": lambda: guest.get("/"),
        "a file": lambda: guest.get("/static/console.css"),
        "a write": lambda: guest.post("/", headers=ours(guard)),
        "no cookie": lambda: stranger.get("/"),
        "another host": lambda: stranger.get("/", headers={"Host": "evil.example"}),
        "another origin": lambda: guest.get("/", headers={"Origin": "null"}),
        "link used": lambda: stranger.get(guard.link),
        "link by HEAD": lambda: stranger.head(guard.link),
        "onward by POST": lambda: guest.post("/go?to=/roles", headers=ours(guard)),
        "too large": lambda: guest.post("/", content=b"x" * 100_000, headers=ours(guard)),
    }


def test_every_answer_says_what_a_browser_may_do_with_it(guard: Guard, guest: TestClient) -> None:
    for way, ask in asks(guard, guest).items():
        answer = ask()
        headers = answer.headers
        assert (answer.status_code == 405) == (way in {"link by HEAD", "onward by POST"}), way
        said = {"x-content-type-options": "nosniff", "referrer-policy": "same-origin", "x-frame-options": "DENY"}
        assert said.items() <= headers.items(), way
        assert headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin", way
        assert headers["cache-control"] == ("no-cache" if way == "a file" else "no-store"), way
        assert "geolocation=()" in headers["permissions-policy"], way
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';"), way
        assert "frame-ancestors 'none'" in policy, way
        assert "unsafe" not in policy, way
        assert "server" not in headers, way


def test_files_are_shown_without_a_cookie_so_that_a_refusal_looks_as_it_should(stranger: TestClient) -> None:
    assert stranger.get("/static/console.css").status_code == 200
    assert stranger.get("/staticx").status_code == 403
