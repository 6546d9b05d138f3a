"""The mappings: what is in effect of each row, what waits, and what Rolekeeper says of it; and each by itself."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolekeeper.mappings.verdict import Status
from rolekeeper.model.mapping import MappingKey, PublishedMapping
from rolekeeper.model.problem import Kind, Remedy, advice
from rolekeeper_cli.console.page import contains, live, page, unless_seen, version_of
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError, UsageError
from rolekeeper_cli.uses import mappings

type Document = Mapping[str, Any]

UNJUDGED = "Not judged yet"
# What wants a person comes first.
_ORDER = (Status.CONFLICT, Status.REJECTED, Status.HELD, Status.WAITING, UNJUDGED, Status.EXPIRED, Status.PUBLISHED)
_REVISIONS = 50
# What the table's keys may hold (DynamoDB developer guide, "Quotas": partition and sort keys).
_KEY_BYTES, _VALUE_BYTES = 2048, 1024


def key_of(values: Mapping[str, str]) -> MappingKey:
    """The mapping that a link or a form names.

    Raises:
        UsageError: it names none.
    """
    key, remedy = (
        MappingKey(values.get("key", ""), values.get("value", "")),
        advice("choose one: ", Remedy(Kind.MAPPINGS)),
    )
    if not (key.tag_key and key.tag_value):
        raise UsageError("no mapping is named", remedy)
    if len(key.tag_key.encode()) > _KEY_BYTES or len(key.tag_value.encode()) > _VALUE_BYTES:
        raise UsageError("no mapping is named: the table has no key that long", remedy)
    return key


def status_of(document: Document) -> str:
    """The status in the row; a row without one isn't judged yet."""
    return document["status"] or UNJUDGED


def one(request: Request) -> Response:
    try:
        return page(request, "mapping.html", **_about(request))
    except CommandError:
        key = key_of(request.query_params)
        if left := _left(request.app.state.site.look(), key):
            return page(request, "mapping_left.html", title=str(key), key=key, left=left)
        raise


def one_part(request: Request) -> Response:
    """What an open page asks for: 204 while nothing is new."""
    values = _about(request)
    return unless_seen(request, values["version"]) or page(request, "mapping.html", part="part", **values)


def _left(deployment: Deployment, key: MappingKey) -> PublishedMapping | None:
    stored = deployment.app.revisions.read(key).published
    return stored if stored and not stored.deleted and deployment.app.table.get_row(key) is None else None


def _about(request: Request) -> dict[str, Any]:
    key = key_of(request.query_params)
    deployment = request.app.state.site.look()
    document = mappings.row(deployment, key)
    history = mappings.history(deployment, key, _REVISIONS)
    revisions = [{**each, "consent": mappings.consent(each)} for each in history]
    shown = {"mapping": document, "revisions": revisions, "governed": _governed(request)}
    return {**shown, "key": key, "title": str(key), "status_of": status_of, "version": version_of(shown)}


def _shown(request: Request) -> dict[str, Any]:
    """All mappings, those of one status, or those with a text in them."""
    everything: Sequence[Document] = request.app.state.site.mappings()
    status, text = (request.query_params.get(name, "").strip() for name in ("status", "text"))
    found = [
        each
        for each in everything
        if status in ("", status_of(each)) and contains(text, each["mapping"], *map(str, each["columns"].values()))
    ]
    governed = _governed(request)
    return {
        "title": "Mappings",
        "mappings": sorted(found, key=_place),
        "governed": governed,
        "chosen": status,
        "text": text,
        "counts": Counter(map(status_of, everything)),
        "total": len(everything),
        "status_of": status_of,
        "order": _ORDER,
        "version": version_of([status, text, found, governed]),
    }


def _governed(request: Request) -> Mapping[str, int] | None:
    """How many instances each mapping governs now; None until the fleet was read."""
    fleet = request.app.state.site.fleet.ask()
    return Counter(each.mapping for each in fleet.rows) if fleet.read_at else None


def _place(document: Document) -> tuple[int, str]:
    status = status_of(document)
    return _ORDER.index(status) if status in _ORDER else 0, document["mapping"]


ROUTES = [
    *live("/mappings", _shown, "mappings.html"),
    Route("/mapping", one),
    Route("/mapping/part", one_part),
]
