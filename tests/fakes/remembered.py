"""Boto3 clients of moto that answer the same read from memory until something is written: moto is slow."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from typing import Any

from fakes.calls import Calls


class Remembered:
    """A client that asks another one, each read only once: botocore's own part of a call takes longest.

    `calls` counts what is answered from memory too. A refusal isn't remembered. Who asks changes no answer.
    """

    def __init__(self, client: Any, calls: Calls) -> None:
        self._client, self._calls = client, calls
        self._pages: dict[str, list[Any]] = {}
        client.meta.events.register("before-call", self._forget)

    def __getattr__(self, name: str) -> Any:
        if name == "get_paginator":
            return lambda operation: _Pages(partial(self._read, operation, self._all_pages(operation)))
        if name.startswith(("get_", "list_")):
            return partial(self._answer, name)
        return getattr(self._client, name)

    def _all_pages(self, operation: str) -> Callable[..., Any]:
        return lambda **asked: self._client.get_paginator(operation).paginate(**asked)

    def forget(self) -> None:
        """What was written past the client."""
        self._pages.clear()

    def _forget(self, model: Any, **_: object) -> None:
        if not model.name.startswith(("Get", "List")):
            self.forget()

    def _answer(self, name: str, **asked: Any) -> Any:
        (found,) = self._read(name, lambda **these: [getattr(self._client, name)(**these)], **asked)
        return found

    def _read(self, name: str, read: Callable[..., Any], **asked: Any) -> Iterator[Any]:
        key = f"{name} {asked}"
        if key not in self._pages:
            pages = []
            for page in read(**asked):
                pages.append(page)
                yield page
            self._pages[key] = pages
            return
        operation = self._client.meta.method_to_api_mapping[name]
        for page in self._pages[key]:
            self._calls.starts(operation)
            self._calls.ends(operation)
            yield page


class _Pages:
    def __init__(self, paginate: Callable[..., Iterator[Any]]) -> None:
        self.paginate = paginate


def remember_reads(client: Any) -> None:
    """Have moto answer each Get and List once; whatever else is called makes the client forget them all."""
    answers: dict[str, tuple[Any, Any]] = {}

    def answer(model: Any, params: dict[str, Any], context: dict[str, Any], **_: object) -> tuple[Any, Any] | None:
        if not model.name.startswith(("Get", "List")):
            answers.clear()
            return None
        context["read"] = read = str(params["body"])
        if read not in answers:
            return None
        http_response, parsed = answers[read]
        return http_response, deepcopy(parsed)

    def keep(http_response: Any, parsed: Any, context: dict[str, Any], **_: object) -> None:
        if "read" in context:
            answers[context["read"]] = http_response, deepcopy(parsed)

    service = client.meta.service_model.service_name
    # Last before a call: those that count or answer calls come first. First after it: others cut the answer into pages.
    client.meta.events.register_last("before-call", answer)
    client.meta.events.register_first(f"after-call.{service}", keep)
