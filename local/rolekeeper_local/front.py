"""What stands before ministack: it lets every stranger in as an account's administrator, and opens a control door.

"Any credentials; any AWS client works": an access key that nobody made here belongs to a person with made-up
credentials, so it becomes ministack's root key, whose signature isn't checked. One of twelve digits names its account
itself, and is the root of that one; any other is account 000000000000's. Keys that were made here (the functions' role
sessions, AssumeRole, CreateAccessKey) stay and are really enforced.
"""
# ruff: noqa: SLF001 - ministack has no public API inside its process; the release is pinned

import json
import re
from typing import Any
from urllib.parse import unquote

from ministack.core.iam_evaluator import find_iam_access_key_account  # type: ignore[import-not-found]
from ministack.services import sts  # type: ignore[import-not-found]

from rolekeeper_local import schedules
from rolekeeper_local.chaos import App, Chaos, Receive, Scope, Send, disturbed
from rolekeeper_local.ec2_api import Ec2Api
from rolekeeper_local.ec2_model import Ec2Error
from rolekeeper_local.iam_last_used import LastUsed
from rolekeeper_local.invocations import Invocations
from rolekeeper_local.queues import Queues

CONTROL_PATH = "/_rolekeeper/"
_ROOT_KEY = b"test"
_ACCOUNT = re.compile(rb"\d{12}")
_HEADER_KEY = re.compile(rb"(?<=Credential=)[^/,\s]+")
_QUERY_KEY = re.compile(rb"(?<=X-Amz-Credential=)[^&]+?(?=%2F|/|&|$)", re.IGNORECASE)
_QUERY_TOKEN = re.compile(rb"&?X-Amz-Security-Token=[^&]*", re.IGNORECASE)
_MAX_CONTROL_BODY = 65536


class Control:
    """The control door, for tests.

    GET ping, chaos, messages; POST drop-events, chaos, role-past, fire-rule, restart-functions.
    """

    def __init__(
        self, ec2_api: Ec2Api, chaos: Chaos, invocations: Invocations, queues: Queues, last_used: LastUsed
    ) -> None:
        self._ec2_api = ec2_api
        self._chaos = chaos
        self._invocations = invocations
        self._queues = queues
        self._last_used = last_used

    async def answer(self, scope: Scope, receive: Receive) -> tuple[int, dict[str, Any]]:
        """Do what is asked; the HTTP status and the answer."""
        asked = scope["method"], scope["path"].removeprefix(CONTROL_PATH)
        match asked:
            case "GET", "ping":
                return 200, {"ok": True}
            case "GET", "chaos":
                return 200, dict(self._chaos.counts)
            case "GET", "messages":
                return 200, self._queues.document()
            case "POST", "restart-functions":
                self._invocations.restart()
                return 200, {"ok": True}
            case "POST", "drop-events" | "chaos" | "role-past" | "fire-rule":
                try:
                    self._steer(asked[1], json.loads(await _body(receive)))
                except (ValueError, KeyError, TypeError, AttributeError, Ec2Error) as error:
                    return 400, {"error": str(error)}
                return 200, {"ok": True}
            case _:
                return 404, {"error": self.__doc__}

    def _steer(self, what: str, document: dict[str, Any]) -> None:
        if what == "chaos":
            self._chaos.steer(document)
        elif what == "role-past":
            self._last_used.tell(document)
        elif what == "fire-rule":
            schedules.let_fire(str(document["account"]), str(document["region"]), str(document["rule"]))
        else:
            self._ec2_api.drop_events(str(document["instance-id"]), int(document.get("count", 1)))


def front(app: App, control: Control, chaos: Chaos, invocations: Invocations) -> App:
    """Wrap ministack's ASGI application."""
    troubled = disturbed(app, chaos, invocations)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(CONTROL_PATH):
            status, document = await control.answer(scope, receive)
            body = json.dumps(document).encode()
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return
        await troubled(let_strangers_in(scope) if scope["type"] == "http" else scope, receive, send)

    return answer


def let_strangers_in(scope: Scope) -> Scope:
    """Return the request with an unknown access key replaced by a root key and its session token dropped."""
    headers = list(scope["headers"])
    authorization = next((value for name, value in headers if name.lower() == b"authorization"), b"")
    if found := _HEADER_KEY.search(authorization):
        if _made_here(found[0].decode("latin-1")):
            return scope
        rewritten = _HEADER_KEY.sub(_root_key(found[0]), authorization)
        kept = [(name, value) for name, value in headers if name.lower() != b"x-amz-security-token"]
        return {
            **scope,
            "headers": [(name, rewritten if name.lower() == b"authorization" else value) for name, value in kept],
        }
    query = scope.get("query_string", b"")
    if (found := _QUERY_KEY.search(query)) and not _made_here(unquote(found[0].decode("latin-1"))):
        query = _QUERY_TOKEN.sub(b"", _QUERY_KEY.sub(_root_key(found[0]), query))
        return {**scope, "query_string": query}
    return scope


def _root_key(access_key_id: bytes) -> bytes:
    return access_key_id if _ACCOUNT.fullmatch(access_key_id) else _ROOT_KEY


def _made_here(access_key_id: str) -> bool:
    return access_key_id in sts._sessions or find_iam_access_key_account(access_key_id) is not None


async def _body(receive: Receive) -> bytes:
    body = b""
    while len(body) <= _MAX_CONTROL_BODY:
        message = await receive()
        body += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return body
    raise ValueError("the body is too long")
