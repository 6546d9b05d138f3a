"""Who may call the embedded AWS: AWS clients of this machine, and no web page.

Every caller is the account's administrator, and a web page in the developer's browser reaches 127.0.0.1 too. The
browser says where a request comes from, in headers that a page can't set:

- `Host` is the name in the address. A page that had its own name resolve to 127.0.0.1 (DNS rebinding) is known by it.
- `Origin` is the page's, with all that it sends but plain GET and HEAD requests (Fetch standard, "`Origin` header").
- `Sec-Fetch-Site` says how the page and the address are related, with GET requests too (W3C "Fetch Metadata Request
  Headers"): a picture's address may be a call of the Query API. It is `none` where a person typed the address.

AWS clients send the first alone. The answers carry no CORS headers, so no page can read one.
"""

import logging
from collections.abc import Iterable

from rolekeeper_local.asgi import App, Message, Receive, Scope, Send, respond

_HTTP_PORT = 80
_OUR_NAMES = ("127.0.0.1", "localhost")
# SDKs put a bucket's name before `localhost` (S3 user guide, "Virtual hosting of buckets"). The domain is nobody's: it
# always means the own machine (RFC 6761, section 6.3).
_UNDER_LOCALHOST = ".localhost"
_OUR_SITES = ("same-origin", "none")
_HOW_BEGINS = {"http": "http.response", "websocket": "websocket.http.response"}

logger = logging.getLogger(__name__)


def guarded(app: App, port: int) -> App:
    """Wrap an ASGI application on this port: it sees no foreign request, and its answers lose their CORS headers."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in _HOW_BEGINS:
            await app(scope, receive, send)
            return

        async def send_without_cors(message: Message) -> None:
            headers = message.get("headers")
            await send(message if headers is None else {**message, "headers": _without_cors(headers)})

        reason = refusal(scope["headers"], port)
        if reason is None:
            await app(scope, receive, send_without_cors)
        else:
            logger.warning("refused %s %r: %s", scope.get("method", "websocket"), scope["path"], reason)
            kind = (b"content-type", b"text/plain; charset=utf-8")
            await respond(send, 403, reason.encode(), headers=[kind], begins=_HOW_BEGINS[scope["type"]])

    return answer


def refusal(headers: Iterable[tuple[bytes, bytes]], port: int) -> str | None:
    """Say why a request with these headers is refused; None if it isn't."""
    given: dict[str, list[str]] = {}
    for name, value in headers:
        given.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1").lower())
    hosts = given.get("host", [])
    if len(hosts) != 1 or not _is_ours(hosts[0], port):
        return f"the embedded AWS answers at 127.0.0.1:{port} and localhost:{port} only; the Host header names another"
    if any(origin != f"http://{hosts[0]}" for origin in given.get("origin", [])):
        return "the embedded AWS answers no web pages; the Origin header names one"
    if any(site not in _OUR_SITES for site in given.get("sec-fetch-site", [])):
        return "the embedded AWS answers no web pages; the Sec-Fetch-Site header names one"
    return None


def _is_ours(host: str, port: int) -> bool:
    if port == _HTTP_PORT and ":" not in host:
        host = f"{host}:{port}"
    name, _, at = host.rpartition(":")
    return at == str(port) and (name in _OUR_NAMES or name.endswith(_UNDER_LOCALHOST))


def _without_cors(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in headers if not name.lower().startswith(b"access-control-")]
