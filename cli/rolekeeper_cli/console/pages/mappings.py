"""The mappings: what is in effect of each row, what waits, and what Rolekeeper says of it; and each by itself."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolekeeper.mappings.verdict import Status
from rolekeeper.model.mapping import MappingKey, MappingSpec, PublishedMapping
from rolekeeper.model.problem import Kind, Remedy, advice
from rolekeeper_cli.console.page import contains, live, page, query, unless_seen, version_of
from rolekeeper_cli.console.page import key_of as key_in
from rolekeeper_cli.console.sorting import Sort
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError, UsageError
from rolekeeper_cli.uses import mappings
from rolekeeper_cli.uses.fleet import Standing, published_there
from rolekeeper_cli.uses.overlaps import Overlap, Tagged, overlaps

type Document = Mapping[str, Any]

UNJUDGED = "Not judged yet"
# What wants a person comes first.
_ORDER = (Status.CONFLICT, Status.REJECTED, Status.HELD, Status.WAITING, UNJUDGED, Status.EXPIRED, Status.PUBLISHED)
_REVISIONS = 50
# A tab that shows the mappings asks every two seconds, and the fleet changes now and then.
_OVERLAPS_SECONDS = 5.0
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
    both = zip(history, mappings.diffs(deployment, key, history, _REVISIONS), strict=True)
    revisions = [{**each, "consent": mappings.consent(each), "columns": diff} for each, diff in both]
    shown = {
        "mapping": document,
        "revisions": revisions,
        "governed": _governed(request),
        "overlaps": [each for each in _overlaps(request) or () if each.concerns(key)],
    }
    return {
        **shown,
        "key": key,
        "title": str(key),
        "command": str(key.remedy(Kind.MAPPING)),
        "version": version_of(shown),
    }


# ---- the list ----


def _shown(request: Request) -> dict[str, Any]:
    """All mappings, those of one status, or those with a text in them."""
    everything = _rows(request)
    status, text = (request.query_params.get(name, "").strip() for name in ("status", "text"))
    sort = Sort.read(request.query_params.get("sort", ""), _COLUMNS)
    found = [
        each
        for each in everything
        if status in ("", status_of(each))
        and contains(text, each["mapping"], each["by"], *map(str, each["columns"].values()))
    ]
    asked = {"status": status, "text": text, "sort": str(sort)}
    counted, shared = Counter(map(status_of, everything)), _overlaps(request)
    return {
        "title": "Mappings",
        "mappings": sort.ordered(sorted(found, key=_place), _COLUMNS),
        "asked": asked,
        "sort": sort,
        "address": lambda column: f"/mappings?{query({**asked, 'sort': column})}",
        "statuses": [(each, counted[each]) for each in _ORDER if counted[each]],
        "total": len(everything),
        "read": request.app.state.site.fleet.ask().read_at is not None,
        "overlaps": shared,
        "version": version_of([asked, found, counted, shared]),
    }


def _rows(request: Request) -> list[Document]:
    """All rows, each with who edited it last and when, and its instances; their numbers are None until they are read.

    What is written of an edit stays as it is, so it is read again only after the next.
    """
    site, governed = request.app.state.site, _governed(request)
    rows: Sequence[Document] = site.mappings()
    judged = version_of([[each["mapping"], *(each[name] for name in _VERDICT)] for each in rows])
    edits = site.reads.get(("edits", judged), lambda: mappings.last_edits(site.look(), rows))
    found: list[Document] = []
    for each in rows:
        at, by = edits.get(each["mapping"], ("", ""))
        number, drift = governed.get(each["mapping"], (0, 0)) if governed is not None else (None, None)
        found.append({**each, "at": at, "by": by, "number": number, "drift": drift})
    return found


def _governed(request: Request) -> Mapping[str, tuple[int, int]] | None:
    """How many instances each mapping governs now, and how many of them are in drift; None until the fleet was read."""
    fleet = request.app.state.site.fleet.ask()
    if not fleet.read_at:
        return None
    drift = Counter(each.mapping for each in fleet.rows if each.standing is Standing.DRIFT)
    return {name: (number, drift[name]) for name, number in Counter(each.mapping for each in fleet.rows).items()}


def _place(document: Document) -> tuple[int, str]:
    status = status_of(document)
    return _ORDER.index(status) if status in _ORDER else 0, document["mapping"]


def _priority(document: Document) -> int:
    """A row that can't be read may have anything there."""
    found = document["columns"].get("priority")
    return found if isinstance(found, int) else _DEFAULT_PRIORITY


_DEFAULT_PRIORITY = MappingSpec(MappingKey("", ""), "").priority
_VERDICT = ("status", "status_reason", "status_revision", "held_revision")
_COLUMNS: Mapping[str, Callable[[Document], Any]] = {
    "status": _place,
    "mapping": lambda each: each["mapping"],
    "role": lambda each: each["in_effect"]["role"] if each["in_effect"] else "",
    "by": lambda each: each["by"],
    "changed": lambda each: each["at"],
    "number": lambda each: each["number"] or 0,
    "drift": lambda each: each["drift"] or 0,
    "priority": _priority,
    "owner": lambda each: str(each["columns"].get("owner", "")),
    "expires": lambda each: str(each["columns"].get("expires_at", "")),
}


# ---- mappings that match the same instances ----


def _shared(request: Request) -> dict[str, Any]:
    """All overlaps, or those of one mapping."""
    key, found = None, _overlaps(request)
    if request.query_params.get("key"):
        key = key_of(request.query_params)
        found = [each for each in found or () if each.concerns(key)]
    conflicts = [each for each in request.app.state.site.mappings() if each["status"] == Status.CONFLICT]
    shown = {"overlaps": found, "conflicts": [] if key else conflicts, "key": key}
    return {
        "title": f"Overlaps of {key}" if key else "Overlaps",
        **shown,
        "instances": _instances_of,
        "read": request.app.state.site.fleet.ask().read_at is not None,
        "version": version_of(shown),
    }


def _instances_of(overlap: Overlap) -> str:
    """The page of the instances that have the tags of all its mappings."""
    return f"/?{urlencode([('tag', str(each.key)) for each in overlap.specs])}"


def _overlaps(request: Request) -> list[Overlap] | None:
    """What the fleet's tags meet; None until the fleet was read."""
    site = request.app.state.site
    fleet = site.fleet.ask()
    if not fleet.read_at:
        return None

    def read() -> list[Overlap]:
        deployment = site.look()
        published = deployment.app.state.read([], map(key_in, site.mappings())).published
        at = cache(deployment.at)
        tagged = (Tagged(each.target, each.tags, each.mapping) for each in fleet.rows)
        return overlaps(tagged, published, lambda there, each: published_there(at(there), each), deployment.now())

    found: list[Overlap] = site.reads.get("overlaps", read, _OVERLAPS_SECONDS)
    return found


ROUTES = [
    *live("/mappings", _shown, "mappings.html"),
    *live("/mappings/overlaps", _shared, "mapping_overlaps.html"),
    Route("/mapping", one),
    Route("/mapping/part", one_part),
]
