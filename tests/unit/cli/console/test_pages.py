"""What every page has: whom it acts as, the navigation, what a write said, times, and pages for what goes wrong."""

import re
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock, create_autospec

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from botocore.parsers import ResponseParserError
from httpx2 import Response
from jinja2 import Environment, UndefinedError
from starlette.routing import Route
from starlette.testclient import TestClient

from fixtures import console
from fixtures.account import MAPPING_TABLE
from fixtures.console import words
from fixtures.mappings import Desk
from fixtures.terminal import CALLER, Terminal
from rolekeeper.aws.errors import classify
from rolekeeper.mappings.impact import Impact
from rolekeeper.mappings.verdict import approval_steps
from rolekeeper.model.mapping import MappingKey
from rolekeeper.model.problem import Advice, Kind, ReasonCode, Remedy, advice, typed
from rolekeeper.storage import layout
from rolekeeper.storage.state import Update
from rolekeeper_cli import installed
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.aws.explained import ForeignAnswerError
from rolekeeper_cli.console import page
from rolekeeper_cli.console.page import Notice, linked, reasons_text, relative, sentence
from rolekeeper_cli.errors import CommandError, ConfigurationError, UsageError
from rolekeeper_cli.mapping.preview import Preview
from rolekeeper_cli.site import Site, application

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def test_a_template_is_compiled_once_for_all_consoles_and_again_where_it_cant_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiles = create_autospec(Environment.compile, side_effect=Environment.compile)
    monkeypatch.setattr(Environment, "compile", compiles)
    numbers = []
    for folder, module in ((str(tmp_path), page.__file__), (str(tmp_path), __file__), ("/proc/nowhere", __file__)):
        monkeypatch.setenv("XDG_CACHE_HOME", folder)
        monkeypatch.setattr(installed, "TEMPLATES", Path(module))
        for _ in range(2):
            page.templates.__wrapped__()
            numbers.append(compiles.call_count)
    assert numbers == [1, 1, 2, 2, 3, 4]
    assert stat.S_IMODE((tmp_path / "rolekeeper/pages").stat().st_mode) == 0o700


def refused(code: str, message: str, action: str = "DescribeInstances") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, action)


EXPIRED = refused("ExpiredToken", "The token is expired")
THROTTLED = refused("RequestLimitExceeded", "x")
DENIED = classify(refused("AccessDeniedException", "no"), "ec2:DescribeInstances", "*")


@pytest.fixture
def browser(site: Site) -> TestClient:
    return asks(site)


def asks(site: Site, raises: Exception | None = None) -> TestClient:
    """A browser; what it asks of `/raises` fails so."""
    pages = application(site)

    def failing(_request: object) -> Response:
        assert raises
        raise raises

    pages.router.routes.insert(0, Route("/raises", failing, methods=["GET", "POST"]))
    return TestClient(pages, raise_server_exceptions=False)


# ---- the head ----


def test_every_page_says_whom_it_acts_as_and_where(browser: TestClient) -> None:
    said = words(browser.get("/"))
    who = "Account 123456789012 Region us-east-1 Stack rolekeeper Share this page"
    assert f"123456789012 us-east-1 enforce writes moto Acts as {CALLER} {who}" in said


def test_the_account_is_called_by_its_alias_which_is_asked_for_once(site: Site, desk: Desk) -> None:
    desk.iam.create_account_alias(AccountAlias="example-prod")
    browser = asks(site)
    assert "example-prod us-east-1 enforce" in words(browser.get("/"))
    desk.iam.delete_account_alias(AccountAlias="example-prod")
    site.reads.forget("here")
    assert "Account 123456789012 (example-prod)" in words(browser.get("/"))


def test_it_says_that_rolekeeper_is_paused_as_soon_as_a_write_did_it(site: Site, browser: TestClient) -> None:
    browser.get("/")
    store = site.deployment.app.store
    store.write(store.update(layout.CONTROL, Update().set({"paused": True})))
    assert " enforce " in words(browser.get("/")), "asked once a minute"
    site.say(Notice("Rolekeeper is paused."))
    assert '<span class="state bad">paused</span>' in browser.get("/").text


def test_a_head_that_cannot_be_asked_for_keeps_no_page_from_showing(terminal: Terminal) -> None:
    terminal.clients["sts"] = Mock(get_caller_identity=Mock(side_effect=EXPIRED))
    answer = asks(console.site()).get("/nowhere")
    assert answer.status_code == 404
    assert "account unknown us-east-1 mode unknown" in words(answer)


def test_a_bug_in_the_head_is_no_unknown(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Deployment, "caller", property(lambda _: 1 / 0))
    with pytest.raises(ZeroDivisionError):
        site.here()


# ---- the navigation ----


@pytest.mark.parametrize(
    ("path", "name", "current"),
    [
        ("/", "Fleet", "page"),
        ("/instance/i-1", "Fleet", "true"),
        ("/mappings/plan", "Mappings", "true"),
        ("/settings/pause", "Settings", "true"),
        ("/doctors", "", ""),
    ],
)
def test_the_navigation_says_where_one_is(browser: TestClient, path: str, name: str, current: str) -> None:
    found = re.findall(r'<a href="[^"]*" aria-current="(\w+)">(\w+)</a>', browser.get(path).text)
    assert found == ([(current, name)] if name else [])


@pytest.mark.parametrize("path", ["/", "/nowhere"])
def test_nothing_is_inline_that_the_policy_refuses(browser: TestClient, path: str) -> None:
    text = browser.get(path).text
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|hx-on|javascript:", text)
    assert not re.search(r"(src|href)=\"(https?:)?//", text), "nothing comes from elsewhere"


# ---- what a write said ----


def test_what_a_write_said_is_shown_by_its_id(site: Site, browser: TestClient) -> None:
    said = site.say(Notice("workload=<web> is written.", ("i-1 follows", "i-2 waits"), "warn"))
    text = browser.get(f"/?said={said}").text
    assert '<div class="note warn" role="status">' in text
    assert "workload=&lt;web&gt; is written." in text
    assert "i-1 follows" in text
    assert "is written" not in browser.get("/").text
    assert "Call this number" not in browser.get("/?said=Call+this+number").text, "a link makes no page say anything"


# ---- times and numbers ----


@pytest.mark.parametrize(
    ("away", "text"),
    [
        (timedelta(seconds=59.9), "59 s ago"),
        (timedelta(minutes=1), "1 min ago"),
        (timedelta(minutes=59, seconds=59), "59 min ago"),
        (timedelta(hours=47, minutes=59), "47 h ago"),
        (timedelta(days=59, hours=23), "59 days ago"),
        (timedelta(days=60), "2025-12-31"),
        (-timedelta(seconds=30), "in 30 s"),
        (-timedelta(days=90), "2026-05-30"),
    ],
)
def test_a_time_is_said_as_people_say_it(away: timedelta, text: str) -> None:
    assert relative(NOW - away, NOW) == text


def drawn(template: str, **values: Any) -> str:
    return page.templates().from_string(template).render(now=NOW, **values)


@pytest.mark.parametrize(
    "at", ["2026-03-01T11:55:00Z", "2026-03-01T13:55:00+02:00", datetime(2026, 3, 1, 11, 55, tzinfo=UTC)]
)
def test_the_exact_time_is_there_on_hover_or_beside_it(at: str | datetime) -> None:
    assert drawn("{{ at|ago }}", at=at) == (
        '<time datetime="2026-03-01T11:55:00Z" title="2026-03-01 11:55:00 UTC">5 min ago</time>'
    )
    assert drawn("{{ at|when }}", at=at) == (
        '<time datetime="2026-03-01T11:55:00Z">5 min ago</time> '
        '<span class="muted nowrap">(2026-03-01 11:55:00 UTC)</span>'
    )


def test_a_foreign_role_alone_is_no_change() -> None:
    counted = '{{ parts.counts(preview, "None would wait.") }}'
    assert "None would wait." in drawn(counted, preview=Preview(foreign=1))
    assert "<dd>1</dd>" in drawn(counted, preview=Preview(foreign=1))
    assert "None would wait." not in drawn(counted, preview=Preview(Impact(attach=1), foreign=1))


def test_what_a_template_does_not_know_is_a_bug_and_what_it_knows_is_escaped() -> None:
    assert drawn("{{ name }} {{ 1234567|count }}", name="<b>") == "&lt;b&gt; 1,234,567"
    with pytest.raises(UndefinedError):
        drawn("{{ name }}")


# ---- texts of the command, as pages say them ----


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("it carries no role", "It carries no role."),
        ("really?", "Really?"),
        ("workload=web asks for it", "workload=web asks for it."),
        ("s3-read can't be given.", "s3-read can't be given."),
        ("ec2:RunInstances is refused", "ec2:RunInstances is refused."),
    ],
)
def test_a_sentence_has_a_capital_unless_it_begins_with_a_name(text: str, said: str) -> None:
    assert sentence(text) == said
    assert str(sentence(advice(text))) == said


def copies(command: str) -> str:
    what = "Copy the command"
    return f'<button type="button" class="copy" value="{command}" aria-label="{what}" title="{what}"></button>'


SAYS_RESUME = '<a href="/settings">resume it in Settings</a>'


@pytest.mark.parametrize(
    ("text", "markup"),
    [
        (advice("what ends that: ", Remedy(Kind.RESUME)), f"what ends that: {SAYS_RESUME}"),
        (sentence(advice("what ends that: ", Remedy(Kind.RESUME))), f"What ends that: {SAYS_RESUME}."),
        (Remedy(Kind.ENFORCE), '<a href="/settings">Set the mode to enforce in Settings</a>'),
        (Remedy(Kind.EXPLAIN, ("i-0abc",)), '<a href="/instance/i-0abc">The page of i-0abc</a>'),
        (
            advice("to approve it: ", Remedy(Kind.APPROVE, ("app", "web", "2")), "; others wait"),
            'to approve it: <a href="/mapping/held?key=app&amp;value=web">the plan of app=web</a>; others wait',
        ),
        (
            advice("see: ", Remedy(Kind.MAPPING, ("app", "a b"))),
            'see: <a href="/mapping?key=app&amp;value=a+b">the page of app=a b</a>',
        ),
        (Remedy(Kind.MAPPING, ("a", "<b>")), '<a href="/mapping?key=a&amp;value=%3Cb%3E">The page of a=&lt;b&gt;</a>'),
        # What no page does stays to be typed, or copied.
        (
            Remedy(Kind.EXPLAIN, ("1/eu-west-1/i-0abc",)),
            f"<code>rolekeeper explain 1/eu-west-1/i-0abc</code> {copies('rolekeeper explain 1/eu-west-1/i-0abc')}",
        ),
        (
            advice("see why: ", typed("aws logs tail '<x>'"), "; then: ", typed("make deploy")),
            "see why: <code>aws logs tail &#39;&lt;x&gt;&#39;</code> "
            + copies("aws logs tail &#39;&lt;x&gt;&#39;")
            + f"; then: <code>make deploy</code> {copies('make deploy')}",
        ),
        # What a person wrote is no step, whatever it looks like.
        ("a tag <b>says</b> rolekeeper mapping ls", "a tag &lt;b&gt;says&lt;/b&gt; rolekeeper mapping ls"),
    ],
)
def test_a_step_that_a_page_takes_is_a_link_to_it(text: str | Remedy | Advice, markup: str) -> None:
    assert linked(text) == markup


def test_a_reason_on_a_page_leaves_the_steps_to_its_buttons_and_the_roles_to_its_links() -> None:
    steps = approval_steps(MappingKey("app", "a"), 2, deletes=True)
    would, foreign = ReasonCode.WOULD_CHANGE(extent="detach 30"), ReasonCode.FOREIGN_ROLES_STAY()
    text = "it would detach 30; instances that carry foreign roles keep them (the page of each says what to do)"
    assert reasons_text([would, *steps, foreign]) == text


# ---- what goes wrong ----


def test_a_missing_permission_is_named_with_the_statement_that_allows_it(site: Site) -> None:
    arn = f"arn:aws:dynamodb:us-east-1:123456789012:table/{MAPPING_TABLE}"
    message = f"User: {CALLER} is not authorized to perform: dynamodb:Scan on resource: {arn}"
    error = refused("AccessDeniedException", message, "Scan")
    answer = asks(site, error).get("/raises?state=running")
    assert answer.status_code == 502
    said = words(answer)
    assert f"You aren't allowed dynamodb:Scan on {arn}." in said
    assert f'{{ "Effect": "Allow", "Action": "dynamodb:Scan", "Resource": "{arn}" }}' in said
    assert "another --profile" in said
    assert 'href="/raises?state=running">Try again</a>' in answer.text


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (
            ConfigurationError("there is no stack 'x' in us-east-1", "deploy it"),
            503,
            "There is no stack 'x' in us-east-1.",
        ),
        (DENIED, 502, "You aren't allowed ec2:DescribeInstances on *."),
        (THROTTLED, 503, "wait a few seconds, then try again"),
        (NoCredentialsError(), 503, "No AWS credentials were found."),
        (EXPIRED, 503, "if that doesn't help, start the console again"),
        (EndpointConnectionError(endpoint_url="http://x"), 503, "the console goes on once AWS answers"),
        (ResponseParserError("invalid XML: <html>"), 503, "What answered isn't AWS."),
        (ForeignAnswerError(), 503, "What answered isn't AWS."),
        (UsageError("'x' is no tag", "write KEY=VALUE"), 400, "'x' is no tag."),
        (CommandError("there is no instance i-1", "see the fleet"), 404, "There is no instance i-1."),
    ],
)
def test_an_error_of_the_commands_says_what_to_do(site: Site, error: Exception, status: int, text: str) -> None:
    answer = asks(site, error).get("/raises")
    assert (answer.status_code, text in words(answer), "What to do: " in words(answer)) == (status, True, True)


def test_a_bug_is_a_plain_page_and_its_trace_stays_with_the_server(site: Site) -> None:
    answer = asks(site, ZeroDivisionError("secret words")).get("/raises")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert "internal error" in words(answer).lower()
    with pytest.raises(ZeroDivisionError):
        TestClient(asks(site, ZeroDivisionError()).app).get("/raises")
