"""A boto3 client whose lists come in pages of two, whatever is behind it: moto gives many of them whole."""

from typing import Any

import botocore.session

_MODELS = botocore.session.get_session()


def in_small_pages(client: Any) -> None:
    """Have every list that botocore has a paginator for come in such pages."""
    service = client.meta.service_model.service_name
    paginators = _MODELS.get_paginator_model(service)

    def begin(model: Any, params: dict[str, Any], context: Any, **_: object) -> dict[str, Any] | None:
        if not (config := _config(paginators, model.name)):
            return None
        context["first"] = int(params.get(config["input_token"], 0))
        left_out = {config["input_token"], config.get("limit_key")}
        return {name: value for name, value in params.items() if name not in left_out}

    def cut(model: Any, parsed: dict[str, Any], context: Any, **_: object) -> None:
        config = _config(paginators, model.name)
        rows = parsed.get(config["result_key"]) if config else None
        if config and rows:
            first, last = context["first"], context["first"] + 2
            parsed[config["result_key"]] = rows[first:last]
            if last < len(rows):
                parsed[config["output_token"]] = str(last)
                parsed |= {config["more_results"]: True} if "more_results" in config else {}

    client.meta.events.register(f"provide-client-params.{service}", begin)
    client.meta.events.register(f"after-call.{service}", cut)


def _config(paginators: Any, operation: str) -> dict[str, Any] | None:
    try:
        config: dict[str, Any] = paginators.get_paginator(operation)
    except ValueError:
        return None
    return config if isinstance(config["result_key"], str) and config["result_key"].isidentifier() else None
