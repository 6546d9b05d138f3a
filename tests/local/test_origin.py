"""The embedded AWS and web pages: who opens one in a browser must not have it act as the developer."""

import base64
import http.client
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from rolekeeper_local.embedded import REGION, EmbeddedAws
from rolekeeper_local.origin import refusal
from support.ports import free_port

EVIL = "https://evil.example"


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedAws]:
    with EmbeddedAws(port=free_port(), directory=tmp_path_factory.mktemp("aws")) as embedded:
        yield embedded


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def refused(self) -> bool:
        """In one line, and nothing that lets a page read it."""
        assert not self.cors
        return self.status == 403 and self.body.startswith(b"the embedded AWS answers") and b"\n" not in self.body

    @property
    def cors(self) -> list[str]:
        return [name for name in self.headers if name.startswith("access-control-")]


def ask(aws: EmbeddedAws, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b"") -> Answer:
    """Send exactly these headers, with the `Host` that clients send unless they name another."""
    connection = http.client.HTTPConnection("127.0.0.1", aws.port, timeout=30)
    connection.request(method, path, body or None, {"Host": f"127.0.0.1:{aws.port}", **(headers or {})})
    answer = connection.getresponse()
    try:
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


@dataclass(frozen=True)
class Page:
    """A page in a browser: what it may send by itself, with the headers that the browser adds (Fetch standard)."""

    aws: EmbeddedAws
    origin: str = EVIL
    site: str = "cross-site"
    names: dict[str, str] = field(default_factory=dict)

    def post(self, path: str, body: bytes) -> Answer:
        """`fetch(…, {method: "POST", mode: "no-cors", body})`: no preflight; the page sees no answer."""
        return self._send("POST", path, "no-cors", {"Origin": self.origin, "Content-Type": "text/plain"}, body)

    def form(self, path: str, body: bytes) -> Answer:
        """A form that sends itself."""
        kind = {"Origin": self.origin, "Content-Type": "application/x-www-form-urlencoded"}
        return self._send("POST", path, "navigate", kind, body)

    def picture(self, path: str) -> Answer:
        """`<img src=…>`: no `Origin` with it."""
        return self._send("GET", path, "no-cors", {})

    def _send(self, method: str, path: str, mode: str, headers: dict[str, str], body: bytes = b"") -> Answer:
        fetched = {"Sec-Fetch-Site": self.site, "Sec-Fetch-Mode": mode} if self.site else {}
        return ask(self.aws, method, path, {"User-Agent": "Mozilla/5.0", **fetched, **self.names, **headers}, body)


def signed(service: str) -> str:
    """A made-up signature in the address: it makes a stranger the administrator, and needs no header."""
    now = datetime.now(UTC)
    key = quote(f"page/{now:%Y%m%d}/{REGION}/{service}/aws4_request", safe="")
    return (
        f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={key}&X-Amz-Date={now:%Y%m%dT%H%M%SZ}"
        "&X-Amz-Expires=600&X-Amz-SignedHeaders=host&X-Amz-Signature=00"
    )


def by_header(service: str) -> dict[str, str]:
    """The same as clients send it."""
    key = f"Credential=page/20261126/{REGION}/{service}/aws4_request"
    return {"Authorization": f"AWS4-HMAC-SHA256 {key}, SignedHeaders=host, Signature=00"}


FUNCTIONS = "/2015-03-31/functions"


def rebound(aws: EmbeddedAws) -> Page:
    """A page whose own name means 127.0.0.1 by now: for the browser it talks to itself."""
    name = f"evil.example:{aws.port}"
    return Page(aws, f"http://{name}", site="", names={"Host": name})


# ---- what a page may try ----


@pytest.mark.emulator
def test_a_web_page_can_not_act_as_the_developer(aws: EmbeddedAws) -> None:
    call, page, iam = f"/?Action=CreateRole&RoleName=planted&{signed('iam')}", Page(aws), aws.session().client("iam")
    body = b"AssumeRolePolicyDocument=%7B%7D"
    for answer in (page.post(call, body), page.form(call, body), page.picture(f"{call}&{body.decode()}")):
        assert answer.refused
    assert iam.list_roles()["Roles"] == []
    # The same bytes from a client of the developer's do it.
    assert ask(aws, "POST", call, {"Content-Type": "application/x-www-form-urlencoded"}, body).status == 200
    assert [each["RoleName"] for each in iam.list_roles()["Roles"]] == ["planted"]
    assert "refused POST '/'" in aws.log.read_text()


@pytest.mark.emulator
def test_the_control_door_and_the_emulators_own_doors_are_shut_too(aws: EmbeddedAws) -> None:
    sqs = aws.session().client("sqs")
    url = sqs.create_queue(QueueName="kept")["QueueUrl"]
    for page in (Page(aws), rebound(aws)):
        for path, body in (
            ("/_rolekeeper/chaos", b'{"calls": {"*": {"error": 1}}}'),
            ("/_rolekeeper/drop-events", b'{"instance-id": "i-1", "count": 9}'),
            ("/_rolekeeper/restart-functions", b""),
            ("/_ministack/reset", b""),
            ("/_ministack/config", b"{}"),
            ("/nowhere", b""),
        ):
            assert page.post(path, body).refused
        for path in ("/_rolekeeper/messages", "/_rolekeeper/chaos", "/_ministack/health", "/_localstack/health", "/"):
            assert page.picture(path).refused
    assert sqs.list_queues()["QueueUrls"] == [url], "a reset would have emptied it"


@pytest.mark.emulator
def test_a_page_opens_no_web_socket(aws: EmbeddedAws) -> None:
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(b"sixteen bytes ok").decode(),
    }
    assert ask(aws, "GET", "/_aws/execute-api/api/stage", {**upgrade, "Origin": EVIL}).refused
    assert ask(aws, "GET", "/_aws/execute-api/api/stage", {**upgrade, "Host": f"evil.example:{aws.port}"}).refused


# ---- no answer is for a page ----


@pytest.mark.emulator
def test_no_answer_lets_a_page_read_it(aws: EmbeddedAws) -> None:
    s3 = aws.session().client("s3")
    s3.create_bucket(Bucket="shared")
    rule: Any = {"AllowedMethods": ["GET"], "AllowedOrigins": ["*"], "AllowedHeaders": ["*"]}
    s3.put_bucket_cors(Bucket="shared", CORSConfiguration={"CORSRules": [rule]})
    s3.put_object(Bucket="shared", Key="key", Body=b"text")
    # It is no foreign one, so these come through.
    own = {"Origin": f"http://127.0.0.1:{aws.port}", "Sec-Fetch-Site": "same-origin"}
    preflight = {**own, "Access-Control-Request-Method": "GET"}
    for status, method, path, headers in (
        (200, "GET", f"/?Action=DescribeInstances&Version=2016-11-15&{signed('ec2')}", own),
        (400, "GET", f"/?Action=DescribeInstances&MaxResults=1&Version=2016-11-15&{signed('ec2')}", own),
        (404, "GET", f"{FUNCTIONS}/missing?{signed('lambda')}", own),
        (403, "POST", FUNCTIONS, own),
        (200, "GET", "/shared/key", {**own, **by_header("s3")}),
        (200, "OPTIONS", "/shared/key", preflight),
        (200, "OPTIONS", "/", preflight),
        (200, "GET", "/_ministack/health", own),
        (200, "GET", "/_rolekeeper/ping", own),
    ):
        answer = ask(aws, method, path, headers)
        assert (path, answer.status, answer.cors) == (path, status, [])
        assert not answer.refused


# ---- whom it answers ----


@pytest.mark.emulator
def test_clients_of_this_machine_are_answered_by_either_name(aws: EmbeddedAws) -> None:
    def by_name(service: Any, **how: Any) -> Any:
        return boto3.client(
            service,
            endpoint_url=f"http://localhost:{aws.port}",
            region_name=REGION,
            aws_access_key_id="any",
            aws_secret_access_key="any",
            config=Config(**how),
        )

    assert by_name("sts").get_caller_identity()["Account"] == "000000000000"
    s3 = aws.session().client("s3")
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="key", Body=b"text")
    # SDKs may put a bucket's name before that of the endpoint.
    virtual = by_name("s3", s3={"addressing_style": "virtual"})
    at = urlsplit(virtual.generate_presigned_url("get_object", {"Bucket": "bucket", "Key": "key"}))
    assert at.netloc == f"bucket.localhost:{aws.port}"
    assert ask(aws, "GET", at.path, {"Host": at.netloc, **by_header("s3")}).body == b"text"


@pytest.mark.emulator
def test_an_sdk_that_is_refused_shows_why(aws: EmbeddedAws) -> None:
    client = aws.session().client("lambda")
    client.meta.events.register("before-send", lambda request, **_: request.headers.update({"Host": "aws.test:1"}))
    with pytest.raises(ClientError, match=f"answers at 127.0.0.1:{aws.port} and localhost:{aws.port} only"):
        client.list_functions()
    assert ask(aws, "HEAD", "/", {"Host": "aws.test:1"}).status == 403


def headers_of(**given: str) -> list[tuple[bytes, bytes]]:
    return [(name.replace("_", "-").encode(), value.encode()) for name, value in given.items()]


@pytest.mark.parametrize(
    "host", ["127.0.0.1:4566", "localhost:4566", "LocalHost:4566", "bucket.localhost:4566", "a.b.localhost:4566"]
)
def test_its_own_names_are_taken(host: str) -> None:
    assert refusal(headers_of(host=host), 4566) is None
    assert refusal(headers_of(host=host, origin=f"http://{host.lower()}"), 4566) is None


@pytest.mark.parametrize(
    "host",
    [
        "",
        "127.0.0.1",
        "localhost",
        ":4566",
        "127.0.0.1:80",
        "evil.example:4566",
        "127.0.0.1.evil.example:4566",
        "localhost.evil.example:4566",
        "evillocalhost:4566",
        "127.0.0.1.nip.io:4566",
        "s3.localhost.localstack.cloud:4566",
        "sqs.us-east-1.amazonaws.com",
        "localhost:4566.evil.example",
        "evil.example:4566@localhost:80",
        "0.0.0.0:4566",
        "[::1]:4566",
        "[::ffff:127.0.0.1]:4566",
        "2130706433:4566",
    ],
)
def test_any_other_name_is_refused(host: str) -> None:
    assert "Host" in str(refusal(headers_of(host=host), 4566))


def test_no_name_and_two_names_are_refused() -> None:
    assert "Host" in str(refusal([], 4566))
    assert "Host" in str(refusal(headers_of(host="localhost:4566", Host="localhost:4566"), 4566))


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_a_page_of_another_site_asks_for_is_refused_without_an_origin_too(site: str) -> None:
    assert "Sec-Fetch-Site" in str(refusal(headers_of(host="localhost:4566", sec_fetch_site=site), 4566))
    assert refusal(headers_of(host="localhost:4566", sec_fetch_site="none"), 4566) is None


@pytest.mark.parametrize("origin", ["null", "http://127.0.0.1:3000", "http://localhost", "http://evil.localhost:3000"])
def test_a_page_from_a_sandbox_or_another_port_of_this_machine_is_foreign_too(origin: str) -> None:
    assert "Origin" in str(refusal(headers_of(host="localhost:4566", origin=origin), 4566))


def test_at_port_80_clients_name_no_port() -> None:
    assert refusal(headers_of(host="127.0.0.1", origin="http://127.0.0.1"), 80) is None
    assert "Host" in str(refusal(headers_of(host="evil.example"), 80))
