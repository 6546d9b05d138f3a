"""The fleet: each instance with the role that it carries and the one that it should carry.

Filters are in the address. A bad one says what is wrong, and the others hold.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from rolekeeper.model.instance import InstanceState
from rolekeeper.model.mapping import MappingKey
from rolekeeper_cli import uses
from rolekeeper_cli.console.fleet_cache import KINDS, PAGE, Fleet, FleetRow
from rolekeeper_cli.console.page import page, unless_seen
from rolekeeper_cli.errors import UsageError
from rolekeeper_cli.suggest import did_you_mean
from rolekeeper_cli.uses.fleet import Standing

# ---- the filters ----

STATES = tuple(each.value for each in InstanceState if each is not InstanceState.TERMINATED)
CONDITIONS = tuple(each.value for each in Standing)
# The filters that a column has to equal.
_COLUMNS = {name: name for name in ("state", "mapping", "account", "region")}
_TEXTS = ("text", "state", "condition", "role", "account", "region")
# More narrow nothing down, and an address has its length.
_TAGS = 20


@dataclass(frozen=True, slots=True)
class Query:
    """The filters, as they were written; those that are `wrong`, by name, filter nothing.

    Attributes:
        text: a part of its name, or of its id.
        state: an instance's state in EC2, `condition` how it stands.
        tags: tags that it carries, each `KEY` or `KEY=VALUE`.
        role: a profile that it carries or should carry, or `NONE`.
        page: from 1 on.
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
        mapping = params.get("mapping", "").strip()
        _one_of("state", texts["state"], STATES, wrong=wrong)
        _one_of("condition", texts["condition"], CONDITIONS, wrong=wrong)
        for each in tags:
            _reads("tag", uses.names.tag_filter, each, wrong=wrong)
        if mapping:
            _reads("mapping", uses.names.mapping_key, mapping, wrong=wrong)
        page = params.get("page", "1")
        if not (page.isascii() and page.isdigit() and int(page[:9]) > 0):
            wrong["page"] = f"{page!r} is no page; this is the first"
            page = "1"
        return cls(**texts, tags=tags, mapping=mapping, page=int(page[:9]), wrong=wrong)

    @property
    def filters(self) -> bool:
        return bool(self.address(page=1))

    def passes(self, *, condition: bool = True) -> Callable[[FleetRow], bool]:
        """Says of an instance whether it passes; without the condition's filter, if so asked."""
        tests = [_has(each) for each in self.tags if "tag" not in self.wrong or _is_tag(each)]
        if self.text:
            text = self.text.casefold()
            tests.append(lambda row: text in row.name.casefold() or text in row.id)
        if self.role:
            tests.append(lambda row: self.role in row.roles)
        columns = _COLUMNS | ({"condition": "standing"} if condition else {})
        for name, column in columns.items():
            if (wanted := getattr(self, name)) and name not in self.wrong:
                tests.append(_equals(column, wanted))
        return lambda row: all(test(row) for test in tests)

    def address(self, **changes: str | int) -> str:
        """The part of an address behind its `?`, with some of it changed; empty where nothing is asked for."""
        names = {each.name: each.name for each in fields(self) if each.name != "wrong"} | {"tags": "tag"}
        values = {name: getattr(self, field) for field, name in names.items()} | changes
        asked = {name: value for name, value in values.items() if value not in ("", ())}
        if asked["page"] == 1:
            del asked["page"]
        return urlencode(asked, doseq=True)


def _equals(column: str, wanted: str) -> Callable[[FleetRow], bool]:
    of = attrgetter(column)
    return lambda row: bool(of(row) == wanted)


def _has(text: str) -> Callable[[FleetRow], bool]:
    """Blanks at the ends of what a person typed may be the tag's, or an accident."""
    tests = [_carries(uses.names.tag_filter(each)) for each in {text, text.strip()}]
    return lambda row: any(test(row) for test in tests)


def _carries(tag: MappingKey) -> Callable[[FleetRow], bool]:
    if tag.tag_value == "*":
        return lambda row: any(key == tag.tag_key for key, _ in row.tags)
    pair = tag.tag_key, tag.tag_value
    return lambda row: pair in row.tags


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
# What each standing is called behind a number.
WORDS = {
    Standing.OK: "as they should be",
    Standing.DRIFT: "in drift",
    Standing.WAITING: "waiting",
    Standing.BLOCKED: "blocked",
    Standing.FOREIGN: "with a foreign role",
    Standing.UNKNOWN: "unknown",
}


@dataclass(frozen=True, slots=True)
class Share:
    """A part of the bar: how many stand so, from where to how wide, and the address that lists them."""

    standing: Standing
    number: int
    x: float
    width: float
    address: str
    chosen: bool

    @property
    def kind(self) -> str:
        return KINDS.get(self.standing, self.standing.value)

    @property
    def word(self) -> str:
        return WORDS[self.standing]


@dataclass(frozen=True, slots=True)
class FleetView:
    """A page of the fleet. `first` and `last` are the numbers of the rows, from 1; both 0 where there is none.

    `hint` says of a filter that nothing passes what may have been meant.
    """

    version: int
    query: Query
    rows: tuple[FleetRow, ...]
    total: int
    first: int
    last: int
    page: int
    pages: int
    shares: tuple[Share, ...]
    hint: str

    @property
    def others(self) -> Sequence[tuple[str, int]]:
        near = (("first", 1), ("previous", self.page - 1), ("next", self.page + 1), ("last", self.pages))
        return [(name, number) for name, number in near if 1 <= number <= self.pages and number != self.page]


def choices(fleet: Fleet) -> Mapping[str, Sequence[str]]:
    """What a field of the filters suggests: what there is among the instances."""
    there = {*fleet.targets, *(row.target for row in fleet.rows)}
    found = {
        "roles": {role for row in fleet.rows for role in row.roles},
        "mappings": {row.mapping for row in fleet.rows if "=" in row.mapping},
        "accounts": {each.account for each in there},
        "regions": {each.region for each in there},
    }
    return {name: sorted(names)[:_SUGGESTED] for name, names in found.items()}


def view_of(fleet: Fleet, query: Query) -> FleetView:
    """The page that a query asks for; the last one there is, where it asks for one behind it."""
    passes = query.passes(condition=False)
    others = [row for row in fleet.rows if passes(row)] if query.filters else fleet.rows
    counted = Counter(row.standing for row in others)
    wanted = query.condition if query.condition and "condition" not in query.wrong else ""
    rows = [row for row in others if row.standing == wanted] if wanted else others
    pages = max(1, -(-len(rows) // PAGE))
    page = min(query.page, pages)
    begin = (page - 1) * PAGE
    shown = tuple(rows[begin : begin + PAGE])
    return FleetView(
        version=fleet.version,
        query=query,
        rows=shown,
        total=len(rows),
        first=begin + 1 if shown else 0,
        last=begin + len(shown),
        page=page,
        pages=pages,
        shares=_shares(counted, query),
        hint="" if shown else _hint(fleet, query),
    )


def _shares(counted: Counter[Standing], query: Query) -> tuple[Share, ...]:
    """The bar, as they should be first. What is there is seen, however few of many they are."""
    total = counted.total()
    there = list(dict.fromkeys(each for each in (Standing.OK, *Standing) if counted[each]))
    wide = {each: max(THINNEST, WIDTH * counted[each] / total) for each in there}
    scale = WIDTH / sum(wide.values()) if wide else 0
    shares, x = [], 0.0
    for each in there:
        width, chosen = wide[each] * scale, query.condition == each
        address = query.address(condition=each.value, page=1)
        shares.append(Share(each, counted[each], round(x, 2), width=round(width, 2), address=address, chosen=chosen))
        x += width
    return tuple(shares)


def _hint(fleet: Fleet, query: Query) -> str:
    """What may have been meant by a filter that nothing passes; empty where each names what there is."""
    roles = {role for row in fleet.rows for role in row.roles}
    mappings = {row.mapping for row in fleet.rows if row.mapping}
    if query.role and query.role not in roles:
        return _did_you_mean(f"no instance carries or should carry role '{query.role}'", query.role, roles)
    if query.mapping and "mapping" not in query.wrong and query.mapping not in mappings:
        return _did_you_mean(f"no instance is governed by {query.mapping}", query.mapping, mappings)
    return ""


def _did_you_mean(what: str, text: str, names: Iterable[str]) -> str:
    return "; ".join(filter(None, (what, did_you_mean(text, names))))


# ---- the page ----


# A small fleet is read in that time; of a larger one the first page is.
_PATIENCE_SECONDS = 1.5


def fleet(request: Request) -> Response:
    site, query = request.app.state.site, Query.read(request.query_params)
    known = site.fleet.ask(_PATIENCE_SECONDS)
    return page(
        request,
        "fleet.html",
        title="Fleet",
        states=STATES,
        conditions=CONDITIONS,
        choices=choices(known),
        **_values(request, known, query),
    )


def rows(request: Request) -> Response:
    """What of the page has changed since its version, for htmx; 204 where nothing has."""
    site, query = request.app.state.site, Query.read(request.query_params)
    known = site.fleet.ask()
    return unless_seen(request, known.version) or page(
        request, "fleet.html", part="rows", **_values(request, known, query)
    )


def reads(request: Request) -> Response:
    """How old the last full read is, and what it takes, for htmx."""
    known = request.app.state.site.fleet.ask()
    return page(request, "fleet.html", part="reads", fleet=known, cache=request.app.state.site.fleet)


def again(request: Request) -> Response:
    request.app.state.site.fleet.read_again()
    address = Query.read(request.query_params).address()
    return RedirectResponse(f"/?{address}" if address else "/", 303)


def _values(request: Request, known: Fleet, query: Query) -> dict[str, Any]:
    site = request.app.state.site
    view = site.reads.get((known.version, query), lambda: view_of(known, query))
    return {"view": view, "query": query, "fleet": known, "cache": site.fleet}


ROUTES = [
    Route("/", fleet),
    Route("/fleet/rows", rows),
    Route("/fleet/reads", reads),
    Route("/fleet/again", again),
]
