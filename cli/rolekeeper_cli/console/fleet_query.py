"""Which instances a person wants to see: filters in an address. A bad one says what is wrong, and the rest holds."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from rolekeeper.model.instance import InstanceState
from rolekeeper.model.mapping import MappingKey
from rolekeeper_cli.arguments import mapping_key, tag_filter
from rolekeeper_cli.console.fleet_cache import PAGE, Fleet
from rolekeeper_cli.console.fleet_rows import KINDS, FleetRow
from rolekeeper_cli.errors import UsageError
from rolekeeper_cli.suggest import did_you_mean
from rolekeeper_cli.uses.fleet import Standing

STATES = tuple(each.value for each in InstanceState if each is not InstanceState.TERMINATED)
CONDITIONS = tuple(each.value for each in Standing)
_TEXTS = ("text", "state", "condition", "role", "account", "region")
# More narrow nothing down, and an address has its length.
_TAGS = 20


@dataclass(frozen=True, slots=True)
class Query:
    """The filters, as they were written; those that are wrong filter nothing.

    Attributes:
        text: a part of its name, or of its id.
        state: an instance's state in EC2, `condition` how it stands.
        tags: tags that it carries, each `KEY` or `KEY=VALUE`.
        role: a profile that it carries or should carry, or `NONE`.
        mapping: the mapping that governs it, as `tag_key=tag_value`.
        account: where it is, with `region`.
        page: from 1 on.
        wrong: what is wrong, by the filter's name.
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
        """Read an address."""
        wrong: dict[str, str] = {}
        texts = {name: params.get(name, "").strip() for name in _TEXTS}
        # Their blanks stay: a link names a tag with those that it has.
        tags = tuple(each for each in params.getlist("tag") if each.strip())[:_TAGS]
        mapping = params.get("mapping", "").strip()
        _one_of("state", texts["state"], STATES, wrong=wrong)
        _one_of("condition", texts["condition"], CONDITIONS, wrong=wrong)
        for each in tags:
            _reads("tag", tag_filter, each, wrong=wrong)
        if mapping:
            _reads("mapping", mapping_key, mapping, wrong=wrong)
        page = params.get("page", "1")
        if not (page.isascii() and page.isdigit() and int(page[:9]) > 0):
            wrong["page"] = f"{page!r} is no page; this is the first"
            page = "1"
        return cls(**texts, tags=tags, mapping=mapping, page=int(page[:9]), wrong=wrong)

    @property
    def filters(self) -> bool:
        """Whether anything is filtered at all."""
        texts = (self.text, self.state, self.condition, self.role, self.mapping, self.account, self.region)
        return any((*texts, self.tags))

    def passes(self, *, condition: bool = True) -> Callable[[FleetRow], bool]:
        """Says of an instance whether it passes; without the condition's filter, if so asked."""
        tags = [each for each in self.tags if "tag" not in self.wrong or _is_tag(each)]
        tests: list[Callable[[FleetRow], bool]] = [_has(each) for each in tags]
        if self.text:
            text = self.text.casefold()
            tests.append(lambda row: text in row.name.casefold() or text in row.id)
        if self.state and "state" not in self.wrong:
            tests.append(lambda row: row.state == self.state)
        if self.role:
            tests.append(lambda row: self.role in row.roles)
        if self.mapping and "mapping" not in self.wrong:
            tests.append(lambda row: row.mapping == self.mapping)
        if self.account:
            tests.append(lambda row: row.account == self.account)
        if self.region:
            tests.append(lambda row: row.region == self.region)
        if condition and self.condition and "condition" not in self.wrong:
            tests.append(lambda row: row.standing == self.condition)
        return lambda row: all(test(row) for test in tests)

    def address(self, **changes: str | int) -> str:
        """The part of an address behind its `?`, with some of it changed; empty where nothing is asked for."""
        values: dict[str, object] = {
            "text": self.text,
            "state": self.state,
            "condition": self.condition,
            "tag": self.tags,
            "role": self.role,
            "mapping": self.mapping,
            "account": self.account,
            "region": self.region,
            "page": self.page if self.page > 1 else "",
        }
        values |= changes
        if values["page"] == 1:
            values["page"] = ""
        return urlencode({name: value for name, value in values.items() if value not in ("", ())}, doseq=True)


def _meant(text: str) -> set[str]:
    """What a person may have typed: blanks at its ends may be the tag's, or an accident."""
    return {text, text.strip()}


def _has(text: str) -> Callable[[FleetRow], bool]:
    tests = [_carries(tag_filter(each)) for each in _meant(text)]
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
    def kind(self) -> str:
        """The stylesheet's class of its status."""
        return KINDS.get(self.standing, self.standing.value)

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
        return _did_you_mean(f"no instance carries or should carry role '{query.role}'", query.role, roles)
    if query.mapping and "mapping" not in query.wrong and query.mapping not in mappings:
        return _did_you_mean(f"no instance is governed by {query.mapping}", query.mapping, mappings)
    return ""


def _did_you_mean(what: str, text: str, names: Iterable[str]) -> str:
    return "; ".join(filter(None, (what, did_you_mean(text, names))))
