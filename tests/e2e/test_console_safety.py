"""The console keeps others out and edits safe, as a real browser sees it: no test client sends what a browser sends."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from playwright.sync_api import Browser, expect

from fixtures.aws_cli import aws_command, session
from fixtures.browser import ConsoleProcess, Visitor, console, enter, needs_chromium, visitor
from rolekeeper_local.account import EmulatedAccount
from support.waiting import eventually, stays

pytestmark = [pytest.mark.emulator, needs_chromium]

# More than an edit may change without approval.
MANY = 26
_ANYTHING = {"Effect": "Allow", "Action": "*", "Resource": "*"}


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
            assert process.link.rsplit("/", 1)[-1] not in first.page.evaluate("document.cookie + location.href")
        with visitor(browser, name="link-twice") as second:
            second.page.goto(process.link)
            second.sees("This link was used already")
            second.page.goto(process.origin)
            second.sees("The console is for the browser that opened its link")
            assert deployed.account not in second.page.content()
            second.expects("403")


def test_another_name_of_this_machine_is_answered_nothing(
    person: Visitor, writing: ConsoleProcess, deployed: EmulatedAccount
) -> None:
    for host in ("127.0.0.1", "localhost", "other.localhost"):
        answer = person.page.goto(f"http://{host}:{writing.port}/")
        assert answer
        assert answer.status == 421
        assert deployed.account not in person.page.content()
    # Its looks are refused there too.
    person.expects("421", "Refused to apply style")


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
        person.sees("Another page asked this of the console")
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
    person.sees("Another page asked this of the console")
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


def test_what_a_tag_says_is_text(person: Visitor, deployed: EmulatedAccount) -> None:
    instance = deployed.launch('<img src=x onerror="alert(1)">', looks="<script>alert(2)</script>")
    eventually(lambda: deployed.state(instance) == "running")
    for page in ("/", f"/instance/{instance}", "/?tag=%3Cscript%3Ealert(3)%3C%2Fscript%3E"):
        person.goes(page)
    expect(person.page.get_by_label("Tag", exact=True)).to_have_value("<script>alert(3)</script>")
    person.goes(f"/instance/{instance}")
    person.sees("<script>alert(2)</script>")


# ---- what may be changed ----


def test_read_only_hides_every_way_to_change_and_refuses_each(browser: Browser, deployed: EmulatedAccount) -> None:
    instance = deployed.launch("looked-at")
    with console(deployed.aws.env) as process, visitor(browser, name="read-only") as onlooker:
        enter(onlooker, process)
        expect(onlooker.page.get_by_text("read-only", exact=True)).to_be_visible()
        for page in ("/", f"/instance/{instance}", "/mappings", "/mapping?key=workload&value=s3-reader", "/settings"):
            onlooker.goes(f"{process.origin}{page}")
            expect(onlooker.page.locator("form[method=post]")).to_have_count(0)
        for address in (f"/instance/{instance}/tag", "/mapping/change", "/settings/switch"):
            answer = onlooker.page.evaluate(
                "address => fetch(address, {method: 'POST', body: new URLSearchParams({what: 'pause'})})"
                ".then(r => r.text().then(t => [r.status, t]))",
                address,
            )
            assert answer[0] == 403
            assert "start it again with --write" in answer[1]
        onlooker.expects("403")


# ---- edits ----


@contextmanager
def at_a_desk(browser: Browser, world: EmulatedAccount, name: str) -> Iterator[Visitor]:
    """A person who signs as a role of their own, at a console of their own."""
    signs = session(aws_command(world.aws.env), f"console-{name}", name, _ANYTHING)
    with (
        console({**world.aws.env, **signs}, "--write") as process,
        visitor(browser, name=f"desk-{name}", base_url=process.origin) as sits,
    ):
        enter(sits, process)
        yield sits


def test_a_wide_edit_is_held_and_published_once_another_person_approves_it(
    browser: Browser, deployed: EmulatedAccount
) -> None:
    deployed.make_role("console-wide")
    instances = [deployed.launch("wide", console="wide") for _ in range(MANY)]
    with at_a_desk(browser, deployed, "mallory") as mallory:
        mallory.goes("/mapping/new")
        mallory.fills("Tag key", "console")
        mallory.fills("Tag value", "wide")
        mallory.fills("Role", "console-wide")
        mallory.presses("Plan it")
        mallory.sees("Held", f"Get a role{MANY}")
        mallory.presses("Write it")
        mallory.sees("Revision 1 waits for approval")
        mallory.presses("See what it would do")
        mallory.sees("This is your own edit, so another person has to approve it.")
        expect(mallory.page.get_by_role("button", name="Approve revision 1")).to_have_count(0)
    stays(lambda: not any(deployed.shown(each) for each in instances[:3]))

    with at_a_desk(browser, deployed, "grace") as grace:
        grace.goes("/mappings?status=Held")
        grace.page.get_by_role("link", name="console=wide", exact=True).click()
        grace.presses("See what it would do")
        grace.sees("edited by", "console-mallory/mallory")
        grace.presses("Approve revision 1")
        grace.sees("revision 1 is in effect")
    eventually(lambda: all(deployed.carries(each, "console-wide") for each in instances), 90)


def test_a_held_edit_is_discarded(person: Visitor, deployed: EmulatedAccount) -> None:
    deployed.make_role("console-dropped")
    instances = [deployed.launch("dropped", console="dropped") for _ in range(MANY)]
    deployed.put_mapping("console", "dropped", role="console-dropped")
    eventually(lambda: deployed.mapping("console", "dropped").get("status") == "Held")
    person.goes("/mapping/held?key=console&value=dropped")
    person.presses("Discard it")
    person.sees("is discarded; no instance changes")
    assert deployed.mapping("console", "dropped") == {}
    assert not any(deployed.shown(each) for each in instances[:3])


def test_an_edit_is_refused_once_another_person_edited_the_row(person: Visitor, deployed: EmulatedAccount) -> None:
    deployed.put_mapping("console", "stale", role="s3-read")
    eventually(lambda: deployed.mapping_status("console", "stale", "Published"))
    person.goes("/mapping/edit?key=console&value=stale")
    person.fills("Role", "s3-write")
    person.presses("Plan it")
    person.sees("Published")
    deployed.set_column("console", "stale", "role", "dynamodb-app")
    person.presses("Write it")
    person.sees("Nothing was written: another actor changed console=stale since the plan")
    assert deployed.mapping("console", "stale")["role"] == "dynamodb-app"


def test_a_plan_is_written_once(person: Visitor, deployed: EmulatedAccount) -> None:
    deployed.put_mapping("console", "twice", role="s3-read")
    eventually(lambda: deployed.mapping_status("console", "twice", "Published"))
    person.goes("/mapping?key=console&value=twice")
    person.presses("Disable")
    person.sees("What changes in the row")
    plan = person.page.locator("input[name=plan]").input_value()
    person.presses("Write it")
    person.sees("in effect")
    person.page.evaluate(
        """plan => {
            const form = Object.assign(document.createElement("form"), {method: "post", action: "/mapping/write"});
            form.append(Object.assign(document.createElement("input"), {name: "plan", value: plan}));
            document.body.append(form);
            form.submit();
        }""",
        plan,
    )
    person.sees("This plan was written already")
    person.expects("409")
