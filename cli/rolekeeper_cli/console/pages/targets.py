"""The accounts and Regions that the deployment looks after: what is wrong first, then its own, then the others."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolekeeper_cli.console.page import page
from rolekeeper_cli.uses import targets as views

type Document = Mapping[str, Any]

# What wants a person comes first; as a status has it: its shape.
STATES = {views.PROBLEM: "bad", views.OVERDUE: "drift", views.UNKNOWN: "drift", views.NEW: "wait", views.WELL: "ok"}


def listed(request: Request) -> Response:
    """All targets, those of one state, or those with a text in them."""
    return page(request, "targets.html", title="Targets", **_shown(request))


def part(request: Request) -> Response:
    """The list alone, for a page that has it already: 204 while it is the same."""
    values = _shown(request)
    if request.query_params.get("version") == values["version"]:
        return Response(status_code=204)
    return page(request, "targets_list.html", **values)


def _shown(request: Request) -> dict[str, Any]:
    everything: Sequence[Document] = request.app.state.site.targets.get()
    state, text = (request.query_params.get(name, "").strip() for name in ("state", "text"))
    found = [each for each in everything if state in ("", each["state"]) and _holds(each, text)]
    return {
        "targets": sorted(found, key=lambda each: list(STATES).index(each["state"])),
        "chosen": state,
        "text": text,
        "counts": Counter(each["state"] for each in everything),
        "total": len(everything),
        "accounts": len({each["account"] for each in everything}),
        "states": STATES,
        "has_units": any(each["unit"] for each in everything),
        "version": hashlib.sha256(json.dumps([state, text, found], default=str).encode()).hexdigest()[:16],
    }


def _holds(document: Document, text: str) -> bool:
    target = f"{document['account']}/{document['region']}"
    said = (target, document["version"] or "", document["unit"] or "", document["reason"])
    return any(text.casefold() in each.casefold() for each in said)


ROUTES = [Route("/targets", listed), Route("/targets/part", part)]
