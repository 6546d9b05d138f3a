"""Who may ask the console: the browser that opened the link, on the console's own pages, and nobody else.

A server on loopback is open to every page of every browser on the machine, and to every user of it. So each request
has to name the console's own host (a page whose own name is made to point at loopback names another), to come from a
page of ours (a form or a script elsewhere doesn't), and to bring the cookie that the one-time link was changed for.
What changes anything is refused here too, unless the console was started for that.
"""

import hmac
import re
import secrets
from collections.abc import Callable
from http import HTTPStatus
from threading import Lock

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rolekeeper_cli.console.errors import ErrorPage
from rolekeeper_cli.console.page import STATIC, bare_page

COOKIE = "rolekeeper-console"
ENTER = "/enter/"
_READS = {"GET", "HEAD"}
# What Sec-Fetch-Site says of our own pages, and of what a person types.
_OURS = {"same-origin", "none"}
_START_AGAIN = "start it again, and use the link that it gives: rolekeeper console"
_TOKEN_BYTES, _NAME_BYTES = 32, 8
# What another console on this port was called.
_A_CONSOLE = re.compile(rf"[0-9a-f]{{{2 * _NAME_BYTES}}}\.localhost(:[0-9]+)?")
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
    HTTPStatus.MISDIRECTED_REQUEST, "Another address", "the console isn't at this address", remedy=_START_AGAIN
)
_OTHER_ORIGIN = ErrorPage(
    HTTPStatus.FORBIDDEN,
    "Asked from elsewhere",
    "a request from another site was refused",
    remedy="open the console itself, and ask there",
    link="/",
)
_UNKNOWN_BROWSER = ErrorPage(
    HTTPStatus.FORBIDDEN, "Access denied", "the console is for the browser that opened its link", remedy=_START_AGAIN
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


class Guard:
    """Stands before the pages, at `origin`, once the server's port is known.

    `link` lets one browser in, once; `on_entered` is called when that happened.
    """

    def __init__(self, app: ASGIApp, port: int, *, writes: bool) -> None:
        self._app, self._writes = app, writes
        # Of its own for each console: cookies know no port, and another server on loopback must not be sent this one's.
        name = f"{secrets.token_hex(_NAME_BYTES)}.localhost"
        self._host = name if port == _HTTP_PORT else f"{name}:{port}"  # as browsers write it
        self._session = secrets.token_urlsafe(_TOKEN_BYTES)
        self._link: str | None = secrets.token_urlsafe(_TOKEN_BYTES)
        self._using = Lock()
        self.origin = f"http://{self._host}"
        self.link = f"{self.origin}{ENTER}{self._link}"
        self._started_again = ErrorPage(
            HTTPStatus.MISDIRECTED_REQUEST,
            "The console was started again",
            "nothing was changed: this tab belongs to a console that has ended; a new one is running",
            remedy="open the link that it printed; if this browser has opened that link already, continue here",
            link=f"{self.origin}/",
        )
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
        entering = request.scope["path"].startswith(ENTER)
        refusal = self._from_elsewhere(request, entering=entering)
        if refusal is None and entering:
            return self._enter(request)
        refusal = refusal or self._not_allowed(request)
        return refusal.bare() if refusal else None

    def _from_elsewhere(self, request: Request, *, entering: bool) -> ErrorPage | None:
        """Refuse a request to another name, or from another page."""
        headers = request.headers
        hosts = headers.getlist("host")
        if hosts != [self._host]:
            if len(hosts) != 1 or not _A_CONSOLE.fullmatch(hosts[0]):
                return _OTHER_HOST
            if not _is_static(request):
                return self._started_again
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
        if not self._use_up(request.scope["path"].removeprefix(ENTER)):
            return _LINK_USED.bare()
        # A redirect would be part of the navigation from elsewhere, to which a browser gives no strict cookie.
        answer = HTMLResponse(bare_page("enter.html", title="Welcome"))
        answer.set_cookie(COOKIE, self._session, httponly=True, samesite="strict", path="/")
        return answer

    def _use_up(self, token: str) -> bool:
        with self._using:
            if self._link is None or not _same(token, self._link):
                return False
            self._link = None
        self.on_entered()
        return True


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
