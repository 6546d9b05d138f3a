"""The fleet: each instance with the role that it carries and the one that it should carry.

Filters are in the address. A bad one says what is wrong, and the others hold.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolekeeper.instances.decide import Standing
from rolekeeper.model.instance import ENDED, InstanceState
from rolekeeper_cli import uses
from rolekeeper_cli.console.fleet_cache import FIRST_READ_SECONDS, KINDS, Fleet, FleetRow
from rolekeeper_cli.console.page import page, paged, see_other, unless_seen
from rolekeeper_cli.errors import UsageError
from rolekeeper_cli.suggest import did_you_mean

# ---- the filters ----

STATES = tuple(each.value for each in InstanceState if each not in ENDED)
CONDITIONS = tuple(each.value for each in Standing)
# The filters that a column has to equal.
_COLUMNS = ("state", "mapping", "account", "region")
_TEXTS = ("text", "condition", "role", *_COLUMNS)
# More narrow nothing down, and an address has its length.
_TAGS = 20


@dataclass(frozen=True, slots=True)
class Query:
    """The filters, as they were written; those that are `wrong`, by name, filter nothing.

    `text` is a part of a name or an id, `condition` a status; `tags` are each `KEY` or `KEY=VALUE`; `role` is a profile
    that an instance carries or should carry, or `NONE`; `page` counts from 1.
    """

    text: str = ""
    state: str = ""
    condition: str = ""
    tags: tuple[str, ...] = ()
    role: str = ""
    mapping: str = ""
    account: str = ""
    region: str = ""
    page: int = 1
    wrong: Mapping[str, str] = field(default_factory=dict, hash=False)

    @classmethod
    def read(cls, params: QueryParams) -> "Query":
        wrong: dict[str, str] = {}
        texts = {name: params.get(name, "").strip() for name in _TEXTS}
        # Their blanks stay: a link names a tag with those that it has.
        tags = tuple(each for each in params.getlist("tag") if each.strip())[:_TAGS]
        _one_of("state", texts["state"], STATES, wrong=wrong)
        _one_of("condition", texts["condition"], CONDITIONS, wrong=wrong)
        for each in tags:
            _reads("tag", uses.names.tag_filter, each, wrong=wrong)
        if texts["mapping"]:
            _reads("mapping", uses.names.mapping_key, texts["mapping"], wrong=wrong)
        page = params.get("page", "1")
        if not (page.isascii() and page.isdigit() and int(page[:9]) > 0):
            wrong["page"] = f"{page!r} is no page; this is the first"
            page = "1"
        return cls(**texts, tags=tags, page=int(page[:9]), wrong=wrong)

    @property
    def filters(self) -> bool:
        return bool(self.address(page=1))

    def passes(self) -> Callable[[FleetRow], bool]:
        """A test of an instance by all filters but that of its status."""
        text = self.text.casefold()
        columns = [(name, getattr(self, name)) for name in _COLUMNS if getattr(self, name) and name not in self.wrong]
        # Blanks at the ends of what a person typed may be the tag's, or an accident.
        written = [{each, each.strip()} for each in self.tags if "tag" not in self.wrong or _is_tag(each)]
        tags = [[uses.names.tag_filter(each) for each in either] for either in written]

        def passes(row: FleetRow) -> bool:
            return (
                (text in row.name.casefold() or text in row.id)
                and self.role in ("", *row.roles)
                and all(getattr(row, name) == wanted for name, wanted in columns)
                and all(any(tag.matches(dict(row.tags)) for tag in either) for either in tags)
            )

        return passes

    def address(self, **changes: str | int) -> str:
        """The query of an address, with some of it changed; empty without a filter."""
        names = {each.name: each.name for each in fields(self) if each.name != "wrong"} | {"tags": "tag"}
        values = {name: getattr(self, field) for field, name in names.items()} | changes
        asked = {name: value for name, value in values.items() if value not in ("", ())}
        if asked["page"] == 1:
            del asked["page"]
        return urlencode(asked, doseq=True)


def _one_of(name: str, text: str, words: Sequence[str], wrong: dict[str, str]) -> None:
    if text and text not in words:
        what = "status" if name == "condition" else name
        wrong[name] = f"there is no {what} '{text}'; {did_you_mean(text, words) or 'choose one of the list'}"


def _reads(name: str, read: Callable[[str], object], text: str, wrong: dict[str, str]) -> None:
    try:
        read(text)
    except UsageError as error:
        wrong[name] = f"{error.what}; {error.remedy}"


def _is_tag(text: str) -> bool:
    return bool(text.strip().partition("=")[0])


# ---- a page of the fleet ----


# The width of the bar in its own units, and how thin a share may be that is still seen.
WIDTH, THINNEST = 1_000.0, 4.0
# The most suggestions of a field.
_SUGGESTED = 200
# What each status is called behind a number.
WORDS = {
    Standing.OK: "as they should be",
    Standing.DRIFT: "in drift",
    Standing.WAITING: "waiting",
    Standing.BLOCKED: "blocked",
    Standing.FOREIGN: "with a foreign role",
    Standing.UNKNOWN: "unknown",
}


def choices(fleet: Fleet) -> Mapping[str, Sequence[str]]:
    """What the fields of the filters suggest: values of the fleet."""
    targets = {*fleet.targets, *(row.target for row in fleet.rows)}
    found = {
        "roles": {role for row in fleet.rows for role in row.roles},
        "mappings": {row.mapping for row in fleet.rows if "=" in row.mapping},
        "accounts": {each.account for each in targets},
        "regions": {each.region for each in targets},
    }
    return {name: sorted(names)[:_SUGGESTED] for name, names in found.items()}


def view_of(fleet: Fleet, query: Query) -> dict[str, Any]:
    """The page that a query asks for."""
    passes = query.passes()
    others = [row for row in fleet.rows if passes(row)] if query.filters else fleet.rows
    wanted = query.condition if "condition" not in query.wrong else ""
    rows = [row for row in others if row.standing == wanted] if wanted else others
    return paged(rows, query.page, lambda number: f"/?{query.address(page=number)}") | {
        "version": fleet.version,
        "query": query,
        "shares": _shares(Counter(row.standing for row in others), query),
        "hint": "" if rows else _hint(fleet, query),
    }


def _shares(counted: Counter[Standing], query: Query) -> list[dict[str, Any]]:
    """The parts of the bar, ok first. Each is wide enough to be seen, however few of many it is."""
    total = counted.total()
    standings = [each for each in dict.fromkeys((Standing.OK, *Standing)) if counted[each]]
    wide = {each: max(THINNEST, WIDTH * counted[each] / total) for each in standings}
    scale = WIDTH / sum(wide.values()) if wide else 0
    shares, x = [], 0.0
    for each in standings:
        width = wide[each] * scale
        shares.append(
            {
                "standing": each,
                "kind": KINDS.get(each, each.value),
                "word": WORDS[each],
                "number": counted[each],
                "x": round(x, 2),
                "width": round(width, 2),
                "address": query.address(condition=each.value, page=1),
                "chosen": query.condition == each,
            }
        )
        x += width
    return shares


def _hint(fleet: Fleet, query: Query) -> str:
    """What may have been meant by a filter that nothing passes; empty if each names something that exists."""
    roles = {role for row in fleet.rows for role in row.roles}
    mappings = {row.mapping for row in fleet.rows if row.mapping}
    if query.role and query.role not in roles:
        what, meant = f"no instance carries or should carry role '{query.role}'", did_you_mean(query.role, roles)
    elif query.mapping and "mapping" not in query.wrong and query.mapping not in mappings:
        what, meant = f"no instance is governed by {query.mapping}", did_you_mean(query.mapping, mappings)
    else:
        return ""
    return f"{what}; {meant}" if meant else what


# ---- the page ----


def fleet(request: Request) -> Response:
    values = _values(request, FIRST_READ_SECONDS)
    found = choices(values["fleet"])
    return page(request, "fleet.html", title="Fleet", states=STATES, conditions=CONDITIONS, choices=found, **values)


def rows(request: Request) -> Response:
    """The parts of an open page; 204 if nothing changed since its version."""
    version = request.app.state.site.fleet.ask().version
    return unless_seen(request, version) or page(request, "fleet.html", part="rows", **_values(request))


def reads(request: Request) -> Response:
    """How old the last full read is, and its calls, for an open page."""
    cache = request.app.state.site.fleet
    return page(request, "fleet.html", part="reads", fleet=cache.ask(), cache=cache)


def again(request: Request) -> Response:
    request.app.state.site.fleet.read_again()
    address = Query.read(request.query_params).address()
    return see_other(f"/?{address}" if address else "/")


def _values(request: Request, patience: float = 0.0) -> dict[str, Any]:
    site, query = request.app.state.site, Query.read(request.query_params)
    known = site.fleet.ask(patience)
    view = site.reads.get((known.version, query), lambda: view_of(known, query))
    return {"view": view, "query": query, "fleet": known, "cache": site.fleet}


ROUTES = [
    Route("/", fleet),
    Route("/fleet/rows", rows),
    Route("/fleet/reads", reads),
    Route("/fleet/again", again),
]
