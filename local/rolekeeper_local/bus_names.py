"""A bus by its ARN, where EventBridge takes its name: in the calls on rules, targets and the bus itself.

EventBridge user guide, "Permissions for event buses in Amazon EventBridge": these calls accept the ARN too. One of
another Region is refused (users met it: aws-samples/amazon-eventbridge-resource-policy-samples #10). A rule on another
account's bus, which a policy can allow on AWS, isn't known here: such a bus isn't found.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from ministack.core.responses import (  # type: ignore[import-not-found]
    error_response_json,
    get_account_id,
    get_region,
)
from ministack.services import eventbridge  # type: ignore[import-not-found]

from rolekeeper_local import bus_policies
from rolekeeper_local.ec2_wire import Response

#: PutEvents names a bus in each entry, and has its own ways (``bus_forwarding``).
_FIELDS = ("EventBusName", "Name")


def install() -> None:
    """Correct this process; call once, before the first request."""
    eventbridge.handle_request = _by_name(eventbridge.handle_request)


def _by_name(handle: Callable[..., Awaitable[Response]]) -> Callable[..., Awaitable[Response]]:
    async def handle_request(method: str, path: str, headers: dict[str, str], body: bytes, *rest: Any) -> Response:
        try:
            asked = json.loads(body) if b":event-bus/" in body else {}
        except ValueError:
            return await handle(method, path, headers, body, *rest)
        named = [field for field in _FIELDS if field in asked]
        for field in named:
            bus = bus_policies.bus_of(str(asked.get(field, "")))
            if bus and bus.region != get_region():
                words = "Cross-region API call is not allowed."
                refused: Response = error_response_json("ValidationException", words, 400)
                return refused
            if bus and bus.account_id == get_account_id():
                asked[field] = bus_policies.name_of(bus)
        return await handle(method, path, headers, json.dumps(asked).encode() if named else body, *rest)

    return handle_request
