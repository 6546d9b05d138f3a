"""The layer before ministack: it lets unknown access keys in as an account's administrator, and has a control door.

"Any credentials; any AWS client works": an unknown access key becomes ministack's root key, whose signature isn't
checked. One of twelve digits is the root of the account with that id; any other is account 000000000000's. Keys that
were made here (the functions' role sessions, AssumeRole, CreateAccessKey) stay, and are enforced.
"""

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from ministack.core.iam_evaluator import find_iam_access_key_account
from ministack.services import sts

from rolekeeper_local import rules
from rolekeeper_local.asgi import App, Receive, Scope, Send, respond
from rolekeeper_local.ec2_api import Ec2Api
from rolekeeper_local.ec2_model import Ec2Error
from rolekeeper_local.iam_last_used import LastUsed
from rolekeeper_local.imds import IMDS_PATH, Imds
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

    GET ping, messages; POST drop-events, role-past, fire-rule, restart-functions; and what a plug-in adds.
    """

    def __init__(self, ec2_api: Ec2Api, invocations: Invocations, queues: Queues, last_used: LastUsed) -> None:
        self.ec2_api, self.invocations = ec2_api, invocations
        # By name: the answers to GET, and what POST does with its document.
        self.asked: dict[str, Callable[[], Any]] = {"ping": lambda: {"ok": True}, "messages": queues.document}
        self.told: dict[str, Callable[[dict[str, Any]], None]] = {
            "drop-events": self._drop_events,
            "role-past": last_used.put_into_past,
            "fire-rule": lambda told: rules.let_fire(str(told["account"]), str(told["region"]), str(told["rule"])),
            "restart-functions": lambda _told: invocations.restart(),
        }

    def _drop_events(self, told: dict[str, Any]) -> None:
        instance_id = str(told["instance-id"])
        self.ec2_api.truth_of(instance_id).drop_events(instance_id, int(told.get("count", 1)))

    async def answer(self, scope: Scope, receive: Receive) -> tuple[int, dict[str, Any]]:
        """The HTTP status and the answer."""
        name = scope["path"].removeprefix(CONTROL_PATH)
        if scope["method"] == "GET" and name in self.asked:
            return 200, self.asked[name]()
        if scope["method"] != "POST" or name not in self.told:
            return 404, {"error": self.__doc__}
        try:
            self.told[name](json.loads(await _body(receive) or b"{}"))
        except (ValueError, KeyError, TypeError, AttributeError, Ec2Error) as error:
            return 400, {"error": str(error)}
        return 200, {"ok": True}


def front(app: App, control: Control, imds: Imds) -> App:

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
        elif scope["path"].startswith(IMDS_PATH):
            await imds.answer(scope, send)
        elif scope["path"].startswith(CONTROL_PATH):
            status, document = await control.answer(scope, receive)
            headers = [(b"content-type", b"application/json")]
            await respond(send, status, json.dumps(document).encode(), headers=headers)
        else:
            await app(let_strangers_in(scope), receive, send)

    return answer


def let_strangers_in(scope: Scope) -> Scope:
    """The request; an unknown access key is replaced by a root key, and its session token dropped."""
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
