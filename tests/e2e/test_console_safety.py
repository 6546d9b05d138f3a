"""The console keeps others out and edits safe, as a real browser sees it: no test client sends what a browser sends."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import Browser

from fixtures.browser import ConsoleProcess, Visitor, console, enter, needs_chromium, visitor
from rolekeeper_local.account import EmulatedAccount

pytestmark = [pytest.mark.emulator, needs_chromium]

# ---- who is let in ----


def test_the_link_lets_one_browser_in_and_is_gone_from_the_address(browser: Browser, deployed: EmulatedAccount) -> None:
    with console(deployed.aws.env) as process:
        with visitor(browser, name="link-once") as first:
            enter(first, process)
            assert first.page.url == f"{process.origin}/"
            [cookie] = first.page.context.cookies()
            assert (cookie["httpOnly"], cookie["sameSite"], cookie["domain"]) == (
                True,
                "Strict",
                process.origin.removeprefix("http://").partition(":")[0],
            )
            answer = first.page.reload()
            assert answer
            assert "server" not in answer.headers
            assert process.link.rsplit("/", 1)[-1] not in first.page.evaluate("document.cookie + location.href")
        with visitor(browser, name="link-twice") as second:
            second.page.goto(process.link)
            second.sees("This link was used already")
            second.page.goto(process.origin)
            second.sees("The console is for the browser that opened its link")
            assert deployed.account not in second.page.content()
            second.expects("403")


def test_an_old_tab_is_led_to_its_page_of_the_next_console_once_the_browser_is_let_in(
    browser: Browser, deployed: EmulatedAccount, tmp_path: Path
) -> None:
    """The port is the same one; the host name isn't, so what the tab may have got meanwhile has no part in it."""
    env, path = {**deployed.aws.env, "XDG_STATE_HOME": str(tmp_path)}, "/share?path=%2Froles"
    with visitor(browser, name="old-tab") as person:
        with console(env) as first:
            enter(person, first)
            person.goes(f"{first.origin}{path}")
        with console(env) as second:
            assert (second.port, second.origin == first.origin) == (first.port, False)
            person.page.reload()
            person.page.wait_for_url(f"{second.origin}{path}")
            person.sees("Open the link that the terminal printed")
            assert deployed.account not in person.page.content()
            other = person.page.context.new_page()
            other.goto(second.link)
            other.wait_for_url(f"{second.origin}{path}")
            person.page.reload()
            person.sees("rolekeeper console", "--open /roles", f"http://rolekeeper.localhost:{first.port}/roles")
            person.page.goto(f"http://rolekeeper.localhost:{first.port}/settings")
            person.page.wait_for_url(f"{second.origin}/settings")
            with console(env, "--open", "/roles") as beside:
                assert beside.port != second.port
                assert beside.link.endswith("?to=%2Froles")
        person.expects("421", "403")


class _Elsewhere(BaseHTTPRequestHandler):
    """Another page on this machine, which would have the console do something for its own ends."""

    target = ""

    def do_GET(self) -> None:  # its base class's name
        page = (
            "<!doctype html><title>elsewhere</title>"
            f'<form method=post action="{self.target}/settings/switch" target=_self>'
            "<input name=what value=pause><input name=reason value=x><input name=standing><button>Go</button></form>"
            f'<iframe src="{self.target}/"></iframe><a href="{self.target}/">link</a>'
        )
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(page.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def elsewhere(writing: ConsoleProcess) -> Iterator[int]:
    """The port of another server on loopback, whose page aims at the console."""
    server = HTTPServer(("127.0.0.1", 0), type("Aimed", (_Elsewhere,), {"target": writing.origin}))
    Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def test_a_page_of_another_origin_can_neither_post_nor_frame_nor_fetch(
    person: Visitor, writing: ConsoleProcess, elsewhere: int, deployed: EmulatedAccount
) -> None:
    """As a page of another port of the console's own name, which cookies don't tell apart, and of another name."""
    name = writing.origin.removeprefix("http://").partition(":")[0]
    for host in (name, "evil.localhost"):
        person.page.goto(f"http://{host}:{elsewhere}/")
        fetched = person.page.evaluate(
            "url => fetch(url, {credentials: 'include', mode: 'no-cors'}).then(r => r.type, e => 'refused')",
            f"{writing.origin}/",
        )
        assert fetched == "refused", "what isn't ours to read isn't even answered to be read"
        assert deployed.account not in "".join(frame.content() for frame in person.page.frames[1:])
        person.page.get_by_role("button", name="Go").click()
        person.sees("A request from another site was refused")
    assert "'paused': {'BOOL': True}" not in str(
        deployed.dynamodb.scan(
            TableName=deployed.state_table,
            FilterExpression="pk = :c",
            ExpressionAttributeValues={":c": {"S": "control"}},
        )["Items"]
    )
    person.expects("frame-ancestors 'none'", "403", "ERR_BLOCKED_BY_RESPONSE.NotSameOrigin")


def test_a_link_from_another_page_needs_one_more_click(person: Visitor, elsewhere: int) -> None:
    person.page.goto(f"http://evil.localhost:{elsewhere}/")
    person.page.get_by_role("link", name="link").click()
    person.sees("A request from another site was refused")
    person.expects("frame-ancestors 'none'", "403")


def test_the_policy_lets_no_script_run_that_isnt_the_consoles_own(person: Visitor) -> None:
    person.goes("/")
    person.page.evaluate("""() => {
        const inline = document.createElement("script");
        inline.textContent = "window.ran = true";
        document.body.append(inline);
        const button = document.createElement("div");
        button.setAttribute("onclick", "window.ran = true");
        button.setAttribute("style", "position: fixed");
        document.body.append(button);
        button.click();
    }""")
    assert person.page.evaluate("window.ran") is None
    for each in ("script-src-elem", "script-src-attr", "style-src-attr"):
        person.expects(f"{each} refused inline")
    person.expects("violates the following Content Security Policy directive")
