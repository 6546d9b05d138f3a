"""A page of the fleet: the rows of a query, how all that pass stand, and where the other pages are."""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from threading import Lock

from rolekeeper_cli.console.fleet_known import PAGE, Fleet
from rolekeeper_cli.console.fleet_query import Query
from rolekeeper_cli.console.fleet_rows import FleetRow, Standing
from rolekeeper_cli.suggest import did_you_mean

# The width of the bar in its own units, and how thin a share may be that is still seen.
WIDTH, THINNEST = 1_000.0, 4.0
# The most suggestions of a field.
_SUGGESTED = 200
_REMEMBERED = 16
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
    def word(self) -> str:
        """What it is called behind its number."""
        return WORDS[self.standing]


@dataclass(frozen=True, slots=True)
class FleetView:
    """See the module. `first` and `last` are the numbers of the rows, from 1; both 0 where there is none.

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
        """The other pages, by what their links are called."""
        near = (("first", 1), ("previous", self.page - 1), ("next", self.page + 1), ("last", self.pages))
        return [(name, number) for name, number in near if 1 <= number <= self.pages and number != self.page]


@dataclass(frozen=True, slots=True)
class Choices:
    """What a field of the filters suggests: what there is among the instances."""

    roles: tuple[str, ...]
    mappings: tuple[str, ...]
    accounts: tuple[str, ...]
    regions: tuple[str, ...]


class FleetViews:
    """Makes views, and remembers the last few: ten tabs that look at the same page have it made once."""

    def __init__(self) -> None:
        self._made: OrderedDict[tuple[int, Query], FleetView] = OrderedDict()
        self._lock = Lock()

    def view(self, fleet: Fleet, query: Query) -> FleetView:
        """The page that a query asks for; the last one there is, where it asks for one behind it."""
        key = fleet.version, query
        with self._lock:
            if key not in self._made:
                self._made[key] = _view(fleet, query)
                if len(self._made) > _REMEMBERED:
                    self._made.popitem(last=False)
            return self._made[key]


def choices(fleet: Fleet) -> Choices:
    """What there is to filter by."""
    roles = {role for row in fleet.rows for role in row.roles}
    mappings = {row.mapping for row in fleet.rows if row.mapping and "=" in row.mapping}
    there = {*fleet.targets, *(row.target for row in fleet.rows)}
    accounts, regions = {each.account for each in there}, {each.region for each in there}
    return Choices(_some(roles), _some(mappings), _some(accounts), regions=_some(regions))


def _some(names: set[str]) -> tuple[str, ...]:
    return tuple(sorted(names)[:_SUGGESTED])


def _view(fleet: Fleet, query: Query) -> FleetView:
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
    there = [each for each in (Standing.OK, *Standing) if counted[each]]
    there = list(dict.fromkeys(there))
    wide = {each: max(THINNEST, WIDTH * counted[each] / total) for each in there}
    scale = WIDTH / sum(wide.values()) if wide else 0
    shares, x = [], 0.0
    for each in there:
        width = wide[each] * scale
        address = query.address(condition=each.value, page=1)
        shares.append(
            Share(
                each, counted[each], round(x, 2), width=round(width, 2), address=address, chosen=query.condition == each
            )
        )
        x += width
    return tuple(shares)


def _hint(fleet: Fleet, query: Query) -> str:
    """What may have been meant by a filter that nothing passes; empty where each names what there is."""
    roles = {role for row in fleet.rows for role in row.roles}
    mappings = {row.mapping for row in fleet.rows if row.mapping}
    if query.role and query.role not in roles:
        return _meant(f"no instance carries or should carry role '{query.role}'", query.role, roles)
    if query.mapping and "mapping" not in query.wrong and query.mapping not in mappings:
        return _meant(f"no instance is governed by {query.mapping}", query.mapping, mappings)
    return ""


def _meant(what: str, text: str, names: Iterable[str]) -> str:
    return "; ".join(filter(None, (what, did_you_mean(text, names))))
