"""Forms: what a page posts, as text fields, for a handler that runs in a thread as all others do."""

from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from http import HTTPStatus
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from rolekeeper_cli.errors import UsageError

# Of a revision's number, and more than enough.
_DIGITS = 18
_LONGEST_REASON = 500

type Form = Mapping[str, str]
"""A posted form: the fields' texts by name; of a field given twice, the last.

Blanks stay: `web ` is another tag than `web`, and a hidden field names one of them. See `trimmed`.
"""


def trimmed(form: Form, name: str) -> str:
    """What a person typed into a field, without the blanks at its ends, which nobody sees; empty where it isn't there.

    For fields that a person fills in, not for those that say what the page was about.
    """
    return form.get(name, "").strip()


def reason_of(form: Form) -> str:
    """Why a person does it.

    Raises:
        UsageError: it is longer than a reason may be.
    """
    reason = trimmed(form, "reason")
    if len(reason) > _LONGEST_REASON:
        raise UsageError(f"the reason has more than {_LONGEST_REASON} characters", "say it shorter")
    return reason


def number(form: Form, name: str) -> int | None:
    """The whole number in a field; None if there is none, or a longer one than any page has."""
    text = form.get(name, "")
    return int(text) if text.isdecimal() and len(text) <= _DIGITS else None


def posted(handler: Callable[[Request, Form], Response]) -> Callable[[Request], Awaitable[Response]]:
    """A handler of a POST, given its form. Handlers wait for AWS, so they may not run in the server's own thread."""

    @wraps(handler)
    async def endpoint(request: Request) -> Response:
        try:
            body = await request.body()
        except ClientDisconnect:
            return Response(status_code=HTTPStatus.BAD_REQUEST)  # nobody waits for it
        fields = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
        # A browser writes each line end as two characters, whatever the page said.
        form = {name: value.replace("\r\n", "\n") for name, value in fields}
        return await run_in_threadpool(handler, request, form)

    return endpoint
