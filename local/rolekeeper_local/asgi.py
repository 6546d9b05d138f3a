"""What the embedded AWS's layers before ministack say and take: ASGI's types, and an answer in one piece."""

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

type Message = MutableMapping[str, Any]
type Scope = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]
type App = Callable[[Scope, Receive, Send], Awaitable[None]]


async def respond(
    send: Send, status: int, body: bytes, *, headers: Sequence[tuple[bytes, bytes]], begins: str = "http.response"
) -> None:
    """Send an answer with these headers beside its length; `begins` is how the messages' types begin."""
    all_headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": f"{begins}.start", "status": status, "headers": all_headers})
    await send({"type": f"{begins}.body", "body": body})
