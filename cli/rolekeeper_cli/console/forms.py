"""Forms: what a page posts, as text fields, for a handler that runs in a thread as all others do."""

from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

type Form = Mapping[str, str]
"""A posted form: the fields' texts by name; of a field given twice, the last.

Without blanks at their ends, except those of a tag: `EXACT`.
"""

# A tag's key and value as they are: one that is there, blanks and all, has to be found to be repaired.
EXACT = frozenset({"key", "value"})


def posted(handler: Callable[[Request, Form], Response]) -> Callable[[Request], Awaitable[Response]]:
    """A handler of a POST, given its form. Handlers wait for AWS, so they may not run in the server's own thread."""

    @wraps(handler)
    async def endpoint(request: Request) -> Response:
        fields = parse_qsl((await request.body()).decode("utf-8", "replace"), keep_blank_values=True)
        form = {name: value if name in EXACT else value.strip() for name, value in fields}
        return await run_in_threadpool(handler, request, form)

    return endpoint
