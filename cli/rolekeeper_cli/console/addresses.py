"""Addresses of the console's pages that come from elsewhere: from a link, a cookie, a colleague or the command line."""

import re
from urllib.parse import quote

from rolekeeper_cli.errors import UsageError

_LONGEST = 2_000
# A path of the same origin to any browser: `//host` and `/\host` are other hosts', and control characters are left out.
_LOCAL = re.compile(r"/(?![/\\])[!-\[\]-~]*")


def is_local(address: str) -> bool:
    """Whether it is a path, perhaps with a query, that leads to no other host, whoever wrote it."""
    return len(address) <= _LONGEST and _LOCAL.fullmatch(address) is not None


def page_at(text: str) -> str:
    """The path of the page that a person means: an instance's id or name, a path or an address. Else UsageError."""
    if whole := re.match(r"https?://[^/?#]*/?([^#]*)", text):
        path = f"/{whole[1]}"
    else:
        path = text if text.startswith("/") else f"/instance/{quote(text, safe='')}"
    if not text or not is_local(path):
        raise UsageError(f"{text!r} is no page of the console", "give an instance, or the address of a page")
    return path
