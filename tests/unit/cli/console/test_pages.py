"""What every page has: whom it acts as, the navigation, what a write said, times, and pages for what goes wrong."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from botocore.parsers import ResponseParserError
from httpx2 import Response
from jinja2 import UndefinedError
from starlette.routing import Route
from starlette.testclient import TestClient

from fixtures import console
from fixtures.account import MAPPING_TABLE
from fixtures.console import words
from fixtures.terminal import CALLER, Terminal
from rolekeeper.aws.errors import classify
from rolekeeper.storage import layout
from rolekeeper.storage.state import Update
from rolekeeper_cli.checks.deployment import DoctorDeployment
from rolekeeper_cli.console import page
from rolekeeper_cli.console.application import application
from rolekeeper_cli.console.page import relative
from rolekeeper_cli.console.site import Site
from rolekeeper_cli.errors import CommandError, ConfigurationError, UsageError
from rolekeeper_cli.options import Options
from rolekeeper_cli.uses.preview import Preview

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
EXPIRED = ClientError({"Error": {"Code": "ExpiredToken", "Message": "The token is expired"}}, "DescribeInstances")


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


def denied(action: str, words: str) -> ClientError:
    return ClientError({"Error": {"Code": "AccessDeniedException", "Message": words}}, action)


# ---- the head ----


def test_every_page_says_whom_it_acts_as_and_where(browser: TestClient) -> None:
    said = words(browser.get("/"))
    assert f"Acts as {CALLER} Account 123456789012 Region us-east-1 Stack rolekeeper Mode enforce" in said
    assert "embedded AWS" not in said


def test_it_says_whether_it_writes(site: Site, browser: TestClient) -> None:
    assert '<span class="access writes">writes</span>' in browser.get("/").text
    site.writes = False
    assert "read-only" in words(browser.get("/"))


def test_it_says_that_rolekeeper_is_paused_as_soon_as_a_write_did_it(site: Site, browser: TestClient) -> None:
    browser.get("/")
    store = site.deployment.app.store
    store.write(store.update(layout.CONTROL, Update().set({"paused": True})))
    assert "Mode enforce" in words(browser.get("/")), "asked once a minute"
    site.say("good", "Rolekeeper is paused.")
    assert "Mode paused" in words(browser.get("/"))


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("url", ["http://127.0.0.1:4566", "http://localhost:4566", "http://[::1]:4566"])
def test_an_aws_on_this_machine_is_called_embedded(url: str) -> None:
    site = Site(DoctorDeployment(Options(region="us-east-1", endpoint_url=url)))
    assert "AWS embedded AWS" in words(asks(site).get("/"))


@pytest.mark.usefixtures("terminal")
def test_another_endpoint_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://vpce-1.example.com")
    assert "AWS https://vpce-1.example.com" in words(asks(Site(DoctorDeployment(Options()))).get("/"))


def test_a_head_that_cannot_be_asked_for_keeps_no_page_from_showing(terminal: Terminal) -> None:
    class Refuses:
        def get_caller_identity(self) -> Any:
            raise denied("GetCallerIdentity", "no")

    terminal.clients["sts"] = Refuses()
    answer = asks(console.site()).get("/nowhere")
    assert answer.status_code == 404
    assert "Acts as unknown Account unknown Region us-east-1 Stack rolekeeper Mode unknown" in words(answer)


def test_a_bug_in_the_head_is_no_unknown(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DoctorDeployment, "caller", property(lambda _: 1 / 0))
    with pytest.raises(ZeroDivisionError):
        site.here()


# ---- the navigation ----


@pytest.mark.parametrize(
    ("path", "name", "current"),
    [
        ("/", "Fleet", "page"),
        ("/instance/i-1", "Fleet", "true"),
        ("/mappings", "Mappings", "page"),
        ("/mappings/plan", "Mappings", "true"),
        ("/mapping", "Mappings", "true"),
        ("/roles", "Roles", "page"),
        ("/doctor", "Doctor", "page"),
        ("/settings/pause", "Settings", "true"),
    ],
)
def test_the_navigation_says_where_one_is(browser: TestClient, path: str, name: str, current: str) -> None:
    found = re.findall(r'<a href="[^"]*" aria-current="(\w+)">(\w+)</a>', browser.get(path).text)
    assert found == [(current, name)]


def test_elsewhere_it_says_nothing(browser: TestClient) -> None:
    assert 'aria-current="' not in browser.get("/doctors").text


def test_a_page_has_landmarks_and_a_way_past_the_navigation(browser: TestClient) -> None:
    text = browser.get("/").text
    assert '<html lang="en">' in text
    assert (
        text.index('href="#main"')
        < text.index("<header")
        < text.index("<nav aria-label=")
        < text.index('<main id="main"')
    )
    assert len(re.findall("<h1", text)) == 1


@pytest.mark.parametrize("path", ["/", "/nowhere"])
def test_nothing_is_inline_that_the_policy_refuses(browser: TestClient, path: str) -> None:
    text = browser.get(path).text
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|hx-on|javascript:", text)
    assert not re.search(r"(src|href)=\"(https?:)?//", text), "nothing comes from elsewhere"


@pytest.mark.parametrize("name", ["console.css", "console.js", "htmx.min.js", "icon.svg"])
def test_what_it_needs_is_there(browser: TestClient, name: str) -> None:
    assert f"/static/{name}" in browser.get("/").text
    assert browser.get(f"/static/{name}").status_code == 200


# ---- what a write said ----


def test_what_a_write_said_is_shown_by_its_id(site: Site, browser: TestClient) -> None:
    said = site.say("warn", "workload=<web> is written.", ["i-1 follows", "i-2 waits"])
    text = browser.get(f"/?said={said}").text
    assert '<div class="note warn" role="status">' in text
    assert "workload=&lt;web&gt; is written." in text
    assert "i-1 follows" in text
    assert "is written" not in browser.get("/").text


def test_a_link_makes_no_page_say_anything(browser: TestClient) -> None:
    assert 'role="status"' not in browser.get("/?said=Call+this+number").text


# ---- times and numbers ----


@pytest.mark.parametrize(
    ("away", "text"),
    [
        (timedelta(0), "0 s ago"),
        (timedelta(seconds=59.9), "59 s ago"),
        (timedelta(minutes=1), "1 min ago"),
        (timedelta(minutes=59, seconds=59), "59 min ago"),
        (timedelta(hours=1), "1 h ago"),
        (timedelta(hours=47, minutes=59), "47 h ago"),
        (timedelta(hours=48), "2 days ago"),
        (timedelta(days=59, hours=23), "59 days ago"),
        (timedelta(days=60), "2025-12-31"),
        (-timedelta(seconds=30), "in 30 s"),
        (-timedelta(hours=5), "in 5 h"),
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


def test_a_time_without_a_zone_is_a_bug() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        drawn("{{ '2026-03-01T11:55:00'|ago }}")


def test_a_foreign_role_alone_is_no_change() -> None:
    counted = '{% import "parts.html" as parts %}{{ parts.counts(preview, "None would wait.") }}'
    assert "None would wait." in drawn(counted, preview=Preview(foreign=1))
    assert "<dd>1</dd>" in drawn(counted, preview=Preview(foreign=1))
    assert "None would wait." not in drawn(counted, preview=Preview(attach=1, foreign=1))


def test_the_rest_of_a_long_list_is_below_a_fold() -> None:
    def folded(number: int) -> str:
        phrases = [f"s3:Get{each}" for each in range(number)]
        return drawn('{% import "parts.html" as parts %}{{ parts.folded(phrases, "gain") }}', phrases=phrases)

    assert "<details>" not in folded(10)
    assert "<summary>and 2 more</summary>" in folded(12)
    assert folded(12).count("<code>") == 12


def test_numbers_are_grouped_and_sentences_ended() -> None:
    assert drawn("{{ 1234567|count }} {{ 'AWS refused'|sentence }} {{ 'really?'|sentence }}") == (
        "1,234,567 AWS refused. Really?"
    )


@pytest.mark.parametrize("what", ["workload=web has no history", "i-0abc is terminated", "s3-read: no such role"])
def test_a_name_at_the_beginning_of_a_sentence_is_no_word(what: str) -> None:
    assert drawn("{{ what|sentence }}", what=what) == f"{what}."
    assert drawn("{{ what|sentence }}", what=f"see: {what}") == f"See: {what}."


def test_what_a_template_does_not_know_is_a_bug_and_what_it_knows_is_escaped() -> None:
    assert drawn("{{ name }}", name="<b>") == "&lt;b&gt;"
    with pytest.raises(UndefinedError):
        drawn("{{ name }}")


def test_a_status_is_a_word_and_boxes_take_more() -> None:
    import_parts = '{% import "parts.html" as parts %}'
    assert drawn(import_parts + '{{ parts.state("drift", "in <drift>") }}') == (
        '<span class="state drift">in &lt;drift&gt;</span>'
    )
    box = drawn(import_parts + '{% call parts.note("warn", "Careful.") %}<p>More.</p>{% endcall %}')
    assert "".join(each.strip() for each in box.splitlines()) == (
        '<div class="note warn"><p>Careful.</p><p>More.</p></div>'
    )
    assert "<p>More.</p>" not in drawn(import_parts + '{{ parts.empty("None.", "Launch one.") }}')


# ---- what goes wrong ----


def test_a_missing_permission_is_named_with_the_statement_that_allows_it(site: Site) -> None:
    arn = f"arn:aws:dynamodb:us-east-1:123456789012:table/{MAPPING_TABLE}"
    error = denied("Scan", f"User: {CALLER} is not authorized to perform: dynamodb:Scan on resource: {arn}")
    answer = asks(site, error).get("/raises?state=running")
    assert answer.status_code == 502
    said = words(answer)
    assert f"You aren't allowed dynamodb:Scan on {arn}." in said
    assert f'{{ "Effect": "Allow", "Action": "dynamodb:Scan", "Resource": "{arn}" }}' in said
    assert "another --profile" in said
    assert 'href="/raises?state=running">Try again</a>' in answer.text


def test_a_classified_refusal_is_named_too(site: Site) -> None:
    error = classify(denied("DescribeInstances", "no"), "ec2:DescribeInstances", "*")
    assert "You aren't allowed ec2:DescribeInstances on *." in words(asks(site, error).get("/raises"))


def test_throttling_says_to_wait(site: Site) -> None:
    error = ClientError({"Error": {"Code": "RequestLimitExceeded", "Message": "x"}}, "DescribeInstances")
    answer = asks(site, error).get("/raises")
    assert (answer.status_code, "wait a few seconds, then try again" in words(answer)) == (503, True)


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (
            ConfigurationError("there is no stack 'x' in us-east-1", "deploy it"),
            503,
            "There is no stack 'x' in us-east-1.",
        ),
        (NoCredentialsError(), 503, "No AWS credentials were found."),
        (EXPIRED, 503, "if that doesn't help, start the console again"),
        (EndpointConnectionError(endpoint_url="http://x"), 503, "the console goes on once AWS answers"),
        (ResponseParserError("invalid XML: <html>"), 502, "What answered isn't AWS."),
        (UsageError("'x' is no tag", "write KEY=VALUE"), 400, "'x' is no tag."),
        (CommandError("there is no instance i-1", "see the fleet"), 404, "There is no instance i-1."),
    ],
)
def test_an_error_of_the_commands_says_what_to_do(site: Site, error: Exception, status: int, text: str) -> None:
    answer = asks(site, error).get("/raises")
    assert (answer.status_code, text in words(answer), "What to do: " in words(answer)) == (status, True, True)


def test_a_write_that_is_refused_is_a_conflict_and_is_not_sent_again(site: Site) -> None:
    answer = asks(site, CommandError("the row has changed", "plan it again")).post("/raises")
    assert (answer.status_code, "Try again" in words(answer)) == (409, False)
    throttled = ClientError({"Error": {"Code": "Throttling", "Message": "x"}}, "UpdateItem")
    assert "Try again" not in words(asks(site, throttled).post("/raises"))


def test_a_bug_is_a_plain_page_and_its_trace_stays_with_the_server(site: Site) -> None:
    answer = asks(site, ZeroDivisionError("secret words")).get("/raises")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert "internal error" in words(answer).lower()
    with pytest.raises(ZeroDivisionError):
        TestClient(asks(site, ZeroDivisionError()).app).get("/raises")


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("POST", "/", 405)])
def test_what_there_is_not_has_a_page_of_its_own(browser: TestClient, method: str, path: str, status: int) -> None:
    answer = browser.request(method, path)
    assert (answer.status_code, "Go to the fleet" in words(answer)) == (status, True)


def test_the_head_is_asked_for_again_after_some_seconds(terminal: Terminal) -> None:
    class Fails:
        def get_caller_identity(self) -> Any:
            raise EXPIRED

    seconds = [0.0]
    site = Site(DoctorDeployment(Options(region="us-east-1")), time=lambda: seconds[0])
    terminal.clients["sts"] = Fails()
    assert site.here().caller == ""
    del terminal.clients["sts"]
    seconds[0] = 4.9
    assert site.here().caller == ""
    seconds[0] = 5
    assert site.here().caller == CALLER


@pytest.mark.parametrize("parameter", ["Mode", "MaxChangesPerEdit", "Workers"])
def test_a_stack_of_another_version_is_said_to_be_one(terminal: Terminal, parameter: str) -> None:
    terminal.parameters[parameter] = "from tomorrow"
    answer = asks(console.site()).get("/mappings")
    assert answer.status_code == 503
    assert "from tomorrow" in words(answer)
    assert "deploy this version, or use the command of that one" in words(answer)
