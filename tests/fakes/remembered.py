"""A boto3 client of moto's IAM that answers the same read from memory until something is written: moto is slow."""

from copy import deepcopy
from typing import Any


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
