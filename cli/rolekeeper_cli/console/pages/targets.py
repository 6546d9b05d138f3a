"""The accounts and Regions that the deployment looks after: what is wrong first, then its own, then the others."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request

from rolekeeper_cli.console.page import contains, live, version_of
from rolekeeper_cli.uses import targets as views

type Document = Mapping[str, Any]

# What wants a person comes first; as a status has it: its shape.
STATES = {views.PROBLEM: "bad", views.OVERDUE: "drift", views.UNKNOWN: "drift", views.NEW: "wait", views.WELL: "ok"}


def _shown(request: Request) -> dict[str, Any]:
    """All targets, those of one state, or those with a text in them."""
    everything: Sequence[Document] = request.app.state.site.targets()
    state, text = (request.query_params.get(name, "").strip() for name in ("state", "text"))
    found = [each for each in everything if state in ("", each["state"]) and _holds(each, text)]
    return {
        "title": "Targets",
        "targets": sorted(found, key=lambda each: list(STATES).index(each["state"])),
        "chosen": state,
        "text": text,
        "counts": Counter(each["state"] for each in everything),
        "total": len(everything),
        "accounts": len({each["account"] for each in everything}),
        "states": STATES,
        "has_units": any(each["unit"] for each in everything),
        "version": version_of([state, text, found]),
    }


def _holds(document: Document, text: str) -> bool:
    target = f"{document['account']}/{document['region']}"
    return contains(text, target, document["version"] or "", document["unit"] or "", document["reason"])


ROUTES = live("/targets", _shown, "targets.html")
