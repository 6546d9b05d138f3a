"""Who may ask the console: the browser that opened the link, on the console's own pages, and nobody else.

A server on loopback is open to every page of every browser on the machine, and to every user of it. So each request
has to name the console's own host (a page whose own name is made to point at loopback names another), to come from a
page of ours (a form or a script elsewhere doesn't), and to bring the cookie that the one-time link was changed for.
What changes anything is refused here too, unless the console was started for that.

Its host name is of its own for each console, as cookies, caches and scripts that a browser got from a former one, or
from another program at its port, must have no part in this one. Addresses last all the same: at `LASTING`, and at the
name of a former console, the guard leads on to the same page of this one.
"""

import hmac
import re
import secrets
from collections.abc import Callable
from http import HTTPStatus
from threading import Lock
from urllib.parse import quote, unquote, urlencode

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rolekeeper_cli.console.addresses import is_local
from rolekeeper_cli.console.errors import ErrorPage
from rolekeeper_cli.console.page import STATIC, bare_page

COOKIE = "rolekeeper-console"
ENTER = "/enter/"
# Where an address that lasts leads on to the page that it names.
GO = "/go"
# The host name of addresses that last; no page is shown at it, and no cookie is for it.
LASTING = "rolekeeper.localhost"
# Holds the page that a browser asked for before it was let in. Not strict: the link is opened from elsewhere.
_WANTED, _WANTED_SECONDS = "rolekeeper-console-wanted", 600
_READS = {"GET", "HEAD"}
# What Sec-Fetch-Site says of our own pages, and of what a person types.
_OURS = {"same-origin", "none"}
_START_AGAIN = "start it again, and use the link that it gives: rolekeeper console"
_TOKEN_BYTES, _NAME_BYTES = 32, 8
# What another console on this port was called, and the name that lasts.
_A_CONSOLE = re.compile(rf"([0-9a-f]{{{2 * _NAME_BYTES}}}\.localhost|{re.escape(LASTING)})(:[0-9]+)?")
_HTTP_PORT = 80
_LARGEST = 64 * 1024  # bytes of a form
_DIGITS = 9  # of that number, at most
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_OTHER_HOST = ErrorPage(
    HTTPStatus.MISDIRECTED_REQUEST,
    "Another address",
    "the console isn't at this address",
    remedy="if a colleague sent it, open the page in a console of your own: rolekeeper console --open 'the address'",
)
_OTHER_ORIGIN = ErrorPage(
    HTTPStatus.FORBIDDEN,
    "Asked from elsewhere",
    "a request from another site was refused",
    remedy="open the console itself, and ask there",
    link="/",
)
_UNKNOWN_BROWSER = ErrorPage(
    HTTPStatus.FORBIDDEN,
    "Open the link that the terminal printed",
    "the console is for the browser that opened its link",
    remedy="open it, and this page follows; if it was used already, start the console again: rolekeeper console",
)
_LINK_USED = ErrorPage(
    HTTPStatus.FORBIDDEN,
    "The link was used",
    "this link was used already, or is not the console's",
    remedy=_START_AGAIN,
)
_LINK_GET = ErrorPage(
    HTTPStatus.METHOD_NOT_ALLOWED, "Access denied", "the link is opened, nothing else", remedy=_START_AGAIN
)
_OTHER_METHOD = ErrorPage(
    HTTPStatus.METHOD_NOT_ALLOWED,
    "That can't be asked",
    "the console's pages are opened, and their forms sent, nothing else",
    remedy="use the links and buttons of the pages",
)
_TOO_LARGE = ErrorPage(
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "Too much",
    "nothing was changed: this is more than a form holds",
    remedy="send less",
)
_READ_ONLY = ErrorPage(
    HTTPStatus.FORBIDDEN,
    "Read-only",
    "nothing was changed: the console was started to show, not to change",
    remedy="to change things, end it and start it again with --write: rolekeeper console --write",
)


def lasting(port: int) -> str:
    """The origin of addresses that lead to whatever console is at this port."""
    return f"http://{LASTING}{_written(port)}"


class Guard:
    """Stands before the pages, at `origin`, once the server's port is known.

    `link` lets one browser in, once, and leads to the page `to`; `on_entered` is called when that happened. `has_page`
    says whether a page is opened at an address.
    """

    def __init__(
        self, app: ASGIApp, port: int, *, writes: bool, has_page: Callable[[str], bool], to: str = "/"
    ) -> None:
        self._app, self._writes, self._has_page = app, writes, has_page
        # Of its own for each console: cookies know no port, and another server on loopback must not be sent this one's.
        name = f"{secrets.token_hex(_NAME_BYTES)}.localhost"
        self._host = f"{name}{_written(port)}"
        self._session = secrets.token_urlsafe(_TOKEN_BYTES)
        self._link: str | None = secrets.token_urlsafe(_TOKEN_BYTES)
        self._using = Lock()
        self.origin = f"http://{self._host}"
        self.link = f"{self.origin}{ENTER}{self._link}{'' if to == '/' else f'?{urlencode({"to": to})}'}"
        self.on_entered: Callable[[], object] = lambda: None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                # A static file may be kept, if it is asked for each time whether it is still the same.
                headers["Cache-Control"] = "no-cache" if _is_static(request) else "no-store"
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        answer = self._answer(request) or self._app
        await answer(scope, receive, send_guarded)

    def _answer(self, request: Request) -> Response | None:
        """The guard's own answer; None lets the request through."""
        hosts = request.headers.getlist("host")
        if hosts != [self._host]:
            if len(hosts) != 1 or not _A_CONSOLE.fullmatch(hosts[0]):
                return _OTHER_HOST.bare()
            if not _is_static(request):
                return self._lead_on(request).bare()
        path: str = request.scope["path"]
        entering = path == GO or path.startswith(ENTER)
        refusal = self._from_elsewhere(request, entering=entering)
        if refusal is None and entering:
            return self._enter(request)
        refusal = refusal or self._not_allowed(request)
        return self._remembering(request, refusal) if refusal else None

    def _lead_on(self, request: Request) -> ErrorPage:
        """To the same page of this console; at once, unless it is another site that leads there."""
        opens = request.method == "GET"
        return ErrorPage(
            HTTPStatus.MISDIRECTED_REQUEST,
            "The console was started again",
            f"{'' if opens else 'nothing was changed: '}it has another host name each time it starts",
            remedy="continue there",
            link=f"{self.origin}{GO}?{urlencode({'to': self._local(_asked(request))})}",
            onward=opens and _OURS.issuperset(request.headers.getlist("sec-fetch-site")),
        )

    def _from_elsewhere(self, request: Request, *, entering: bool) -> ErrorPage | None:
        """Refuse a request from another page."""
        headers = request.headers
        origins = headers.getlist("origin")
        if origins != [self.origin] and (origins or request.method not in _READS):
            return _OTHER_ORIGIN
        # The link is in a file that the browser opens, or is pasted from a terminal or a chat.
        if not entering and not _OURS.issuperset(headers.getlist("sec-fetch-site")):
            return _OTHER_ORIGIN
        return None

    def _not_allowed(self, request: Request) -> ErrorPage | None:
        if not _is_static(request) and not _same(request.cookies.get(COOKIE, ""), self._session):
            return _UNKNOWN_BROWSER
        if request.method in _READS:
            return None
        if not self._writes:
            return _READ_ONLY
        return _ill_sized(request) if request.method == "POST" else _OTHER_METHOD

    def _enter(self, request: Request) -> Response:
        if request.method != "GET":
            return _LINK_GET.bare()
        to, wanted = request.query_params.get("to"), request.cookies.get(_WANTED, "")
        # A redirect would be part of the navigation from elsewhere, to which a browser gives no strict cookie.
        answer = HTMLResponse(bare_page("enter.html", title="Welcome", to=self._local(to or unquote(wanted))))
        if request.scope["path"] == GO:
            return answer
        if not self._use_up(request.scope["path"].removeprefix(ENTER)):
            return _LINK_USED.bare()
        answer.set_cookie(COOKIE, self._session, httponly=True, samesite="strict", path="/")
        if wanted:
            answer.delete_cookie(_WANTED, path=ENTER)
        return answer

    def _local(self, address: str) -> str:
        """The address if it is that of a page of ours, whoever wrote it; otherwise the first page's."""
        return address if is_local(address) and self._has_page(address) else "/"

    def _remembering(self, request: Request, refusal: ErrorPage) -> Response:
        """The refusal; a browser that isn't let in yet keeps the page that it asked for: the link then leads there."""
        answer, headers = refusal.bare(), request.headers
        opens = request.method == "GET" and headers.get("sec-fetch-dest", "document") == "document"
        if refusal is _UNKNOWN_BROWSER and opens and "hx-request" not in headers:
            wanted = quote(self._local(_asked(request)), safe="")
            answer.set_cookie(_WANTED, wanted, _WANTED_SECONDS, path=ENTER, httponly=True, samesite="lax")
        return answer

    def _use_up(self, token: str) -> bool:
        with self._using:
            if self._link is None or not _same(token, self._link):
                return False
            self._link = None
        self.on_entered()
        return True


def _written(port: int) -> str:
    """The port in an address, as browsers write it."""
    return "" if port == _HTTP_PORT else f":{port}"


def _asked(request: Request) -> str:
    """The path and the query that were asked for, as they came."""
    path, query = request.scope["raw_path"].decode("latin-1"), request.url.query
    return f"{path}?{query}" if query else path


def _ill_sized(request: Request) -> ErrorPage | None:
    """Refuse what may be larger than any form; a browser always says a form's size, and sends that much."""
    lengths = request.headers.getlist("content-length")
    # Sent in pieces, it is as long as it gets, whatever else is said.
    if len(lengths) != 1 or "transfer-encoding" in request.headers:
        return _TOO_LARGE
    [length] = lengths
    return None if length.isdecimal() and len(length) <= _DIGITS and int(length) <= _LARGEST else _TOO_LARGE


def _is_static(request: Request) -> bool:
    """Whether it asks for a stylesheet or script, which a page that refuses needs too."""
    path: str = request.scope["path"]
    return path.startswith(STATIC)


def _same(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode(), secret.encode())
