"""What stands before ministack: it lets every stranger in as the account's administrator, and opens a control door.

"Any credentials; any AWS client works": an access key that nobody made here belongs to a person with made-up
credentials, so it becomes ministack's root key, whose signature isn't checked. Keys that were made here (the functions'
role sessions, AssumeRole, CreateAccessKey) stay and are really enforced.
"""
# ruff: noqa: SLF001 - ministack has no public API inside its process; the release is pinned

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote, unquote

from ministack.core.iam_evaluator import find_iam_access_key_account  # type: ignore[import-not-found]
from ministack.services import sts  # type: ignore[import-not-found]

from rolekeeper_local.ec2_api import Ec2Api
from rolekeeper_local.ec2_model import Ec2Error

type Scope = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
type Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
type App = Callable[[Scope, Receive, Send], Awaitable[None]]

CONTROL_PATH = "/_rolekeeper/"
_ROOT_KEY = "test"
_HEADER_KEY = re.compile(rb"(?<=Credential=)[^/,\s]+")
_QUERY_KEY = re.compile(rb"(?<=X-Amz-Credential=)[^&]+?(?=%2F|/|&|$)", re.IGNORECASE)
_QUERY_TOKEN = re.compile(rb"&?X-Amz-Security-Token=[^&]*", re.IGNORECASE)
_MAX_CONTROL_BODY = 65536


def front(app: App, ec2_api: Ec2Api) -> App:
    """Wrap ministack's ASGI application."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(CONTROL_PATH):
            status, body = await _control(scope, receive, ec2_api)
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return
        await app(let_strangers_in(scope) if scope["type"] == "http" else scope, receive, send)

    return answer


def let_strangers_in(scope: Scope) -> Scope:
    """Return the request with an unknown access key replaced by the root key and its session token dropped."""
    headers = list(scope["headers"])
    authorization = next((value for name, value in headers if name.lower() == b"authorization"), b"")
    if found := _HEADER_KEY.search(authorization):
        if _made_here(found[0].decode("latin-1")):
            return scope
        rewritten = _HEADER_KEY.sub(_ROOT_KEY.encode(), authorization)
        kept = [(name, value) for name, value in headers if name.lower() != b"x-amz-security-token"]
        return {
            **scope,
            "headers": [(name, rewritten if name.lower() == b"authorization" else value) for name, value in kept],
        }
    query = scope.get("query_string", b"")
    if (found := _QUERY_KEY.search(query)) and not _made_here(unquote(found[0].decode("latin-1"))):
        query = _QUERY_TOKEN.sub(b"", _QUERY_KEY.sub(quote(_ROOT_KEY).encode(), query))
        return {**scope, "query_string": query}
    return scope


def _made_here(access_key_id: str) -> bool:
    return access_key_id in sts._sessions or find_iam_access_key_account(access_key_id) is not None


async def _control(scope: Scope, receive: Receive, ec2_api: Ec2Api) -> tuple[int, bytes]:
    """Answer the control door: GET ping; POST drop-events {"instance-id": …, "count": …}."""
    match scope["method"], scope["path"].removeprefix(CONTROL_PATH):
        case "GET", "ping":
            return 200, b'{"ok": true}'
        case "POST", "drop-events":
            try:
                asked = json.loads(await _body(receive))
                ec2_api.drop_events(str(asked["instance-id"]), int(asked.get("count", 1)))
            except (ValueError, KeyError, TypeError, Ec2Error) as error:
                return 400, json.dumps({"error": str(error)}).encode()
            return 200, b'{"ok": true}'
        case _:
            return 404, b'{"error": "GET ping, POST drop-events"}'


async def _body(receive: Receive) -> bytes:
    body = b""
    while len(body) <= _MAX_CONTROL_BODY:
        message = await receive()
        body += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return body
    raise ValueError("the body is too long")
