"""The fleet: each instance with the role that it carries and the one that it should carry.

Filters and the order are in the address. A filter that can't be read says what is wrong, and the others hold.
"""

import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from itertools import chain
from typing import Any

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolekeeper.instances.decide import InstanceStatus
from rolekeeper.model.instance import ENDED, InstanceState
from rolekeeper.model.text import key_text
from rolekeeper_cli.console.page import Sort, bar, page, paged, see_other, unless_seen
from rolekeeper_cli.console.page import number as number_in
from rolekeeper_cli.console.page import query as query_text
from rolekeeper_cli.errors import UsageError
from rolekeeper_cli.fleet.cache import FIRST_READ_SECONDS, Fleet, FleetRow
from rolekeeper_cli.row import names
from rolekeeper_cli.shell.layout import grouped
from rolekeeper_cli.shell.suggest import did_you_mean, near

# ---- what the search field holds: words and filters, such as `web status:blocked tag:"team=a b"` ----

# What begins with a quote ends with the next one, or with the text; in it a backslash takes the next character along.
_TERM = re.compile(r'([^\s":]*:)?"((?:[^"\\]|\\.)*)(?:"|\\?\Z)|(\S+)', re.DOTALL)
_NEEDS_QUOTES = re.compile(r'\A"|\s|\A\Z')
# More narrow nothing down, and each is asked of every instance.
_MOST = 50


@dataclass(frozen=True, slots=True)
class Term:
    """A filter, as `status:blocked`; without a key it is a word."""

    key: str
    value: str

    def __str__(self) -> str:
        quoted = _NEEDS_QUOTES.search(self.value) or (not self.key and ":" in self.value)
        text = '"' + re.sub(r'(["\\])', r"\\\1", self.value) + '"' if quoted else self.value
        return f"{self.key}:{text}" if self.key else text


def terms_of(text: str) -> tuple[Term, ...]:
    """The terms of a text, each once; any text has some, or none."""
    return distinct(_term(*found.groups()) for found in _TERM.finditer(text))


def distinct(terms: Iterable[Term]) -> tuple[Term, ...]:
    return tuple(dict.fromkeys(terms))[:_MOST]


def _term(key: str | None, quoted: str | None, plain: str | None) -> Term:
    if quoted is not None:
        return Term((key or "")[:-1], re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL))
    key, colon, value = (plain or "").partition(":")
    return Term(key, value) if key and colon else Term("", plain or "")


# ---- the filters ----

STATES = tuple(each.value for each in InstanceState if each not in ENDED)
CONDITIONS = tuple(each.value for each in InstanceStatus)
FILTERS = ("status", "state", "role", "mapping", "tag", "account", "region", "reason")
# Those that the command has as options; it takes one of each but of tags.
_OF_COMMAND = frozenset({"tag", "role", "state", "mapping"})
# The parameters that an address may have in the place of the search field's text, as former ones had.
_FORMER = {"text": "", "condition": "status", **{each: each for each in FILTERS}}
# What a list can be sorted by; what is empty comes last.
COLUMNS: Mapping[str, Callable[[FleetRow], Any]] = {
    "status": lambda row: row.order[0],
    "name": lambda row: (row.name or row.id).casefold(),
    "state": lambda row: row.state,
    "role": lambda row: (not row.carries, row.carries, not row.should_carry, row.should_carry),
    "mapping": lambda row: (not row.mapping, row.mapping),
    "reason": lambda row: (not row.short.cause, str(row.short)),
    "target": lambda row: row.target,
}


@lru_cache(1_000)
def _words(text: str) -> str:
    """Whole words, so that a role whose name goes on is another one."""
    return f" {' '.join(filter(None, re.split(r'[:,]?(?:\s+|\Z)', text.casefold())))} "


def _test(term: Term) -> Callable[[FleetRow], bool]:
    """Whether an instance has what a term asks for."""
    value = term.value
    match term.key:
        case "":
            text = value.casefold()
            return lambda row: text in row.name.casefold() or text in row.id
        case "role":
            return lambda row: value in row.roles
        case "tag":
            tag = names.tag_filter(value)
            return lambda row: tag.matches(dict(row.tags))
        case "reason":
            words = _words(value)
            return lambda row: words in _words(str(row.short))
    name = "standing" if term.key == "status" else term.key
    return lambda row: bool(getattr(row, name) == value)


@dataclass(frozen=True, slots=True)
class Query:
    """What an address asks for: terms, the order, and the page, counted from 1.

    All words and tags have to match, and of the other filters one of each key. One that is `wrong` filters nothing.
    """

    terms: tuple[Term, ...] = ()
    sort: Sort = field(default_factory=Sort)
    page: int = 1

    @classmethod
    def read(cls, params: QueryParams) -> "Query":
        """The filters' former parameters are read too."""
        asked = ((key, each) for name, key in _FORMER.items() for each in params.getlist(name) if each.strip())
        # The blanks of a tag are its own: a link names it with them.
        former = (Term(key, each if key == "tag" else each.strip()) for key, each in asked)
        terms = distinct((*terms_of(params.get("q", "")), *former))
        return cls(terms, Sort.read(params.get("sort", ""), COLUMNS), number_in(params, "page") or 1)

    @property
    def text(self) -> str:
        return " ".join(map(str, self.terms))

    @property
    def wrong(self) -> Mapping[Term, str]:
        return {each: why for each in self.terms if (why := _wrong(each))}

    def having(self, **values: str) -> tuple[Term, ...]:
        """The terms with these in the place of those with the same key; an empty value leaves them out."""
        kept = (each for each in self.terms if each.key not in values)
        return (*kept, *(Term(key, value) for key, value in values.items() if value))

    def passes(self, terms: Iterable[Term]) -> Callable[[FleetRow], bool]:
        """A test of an instance by some of the terms."""
        known = (each for each in terms if not _wrong(each))
        either = grouped((each if each.key in ("", "tag") else each.key, _test(each)) for each in known)
        groups = list(either.values())
        return lambda row: all(any(test(row) for test in group) for group in groups)

    def address(self, **changes: Any) -> str:
        """The query of an address, with some of it changed; a change leads to the first page. Empty without any."""
        to = replace(self, **{"page": 1, **changes}) if changes else self
        return query_text({"q": to.text, "sort": str(to.sort), "page": to.page if to.page > 1 else ""})

    def url(self, **changes: Any) -> str:
        address = self.address(**changes)
        return f"/?{address}" if address else "/"

    def sorted_by(self, text: str) -> str:
        return self.url(sort=Sort.read(text, COLUMNS))

    @property
    def command(self) -> str:
        """The command that lists the same; empty if none does."""
        once = [each.key for each in self.terms if each.key != "tag"]
        if self.wrong or len({*once}) < len(once) or not _OF_COMMAND.issuperset(each.key for each in self.terms):
            return ""
        options = chain.from_iterable((f"--{each.key}", each.value) for each in self.terms)
        return shlex.join(["rolekeeper", "fleet", *options])


def _wrong(term: Term) -> str:
    """What is wrong with a term; empty if it can be read."""
    key, value = term.key, term.value
    if key and key not in FILTERS:
        meant = Term(near(key, FILTERS)[0], value) if near(key, FILTERS) else Term("tag", key_text(key, value))
        return f"there is no filter '{key}'; did you mean {meant}?"
    if key and not value.strip():
        return f"'{key}:' has no value"
    words: Mapping[str, Sequence[str]] = {"status": CONDITIONS, "state": STATES}
    if key in words and value not in words[key]:
        return f"there is no {key} '{value}'; {did_you_mean(value, words[key]) or f'use {", ".join(words[key])}'}"
    try:
        {"tag": names.tag_filter, "mapping": names.mapping_key}.get(key, str)(value)
    except UsageError as error:
        return f"{error.what}; {error.remedy}"
    return ""


# The most suggestions of the search field, and of one filter's.
_SUGGESTED, _OF_ONE = 200, 40


def suggestions(fleet: Fleet) -> list[str]:
    """Filters that some instance passes, of each key the most frequent first."""
    counted: dict[str, Counter[Any]] = {key: Counter() for key in FILTERS if key != "reason"}
    for row in fleet.rows:
        for key in ("state", "mapping", "account", "region"):
            counted[key][getattr(row, key)] += 1
        counted["status"][row.standing.value] += 1
        counted["role"].update({*row.roles})
        counted["tag"].update(each for each in row.tags if each[0] != "Name")
    found = ((key, each) for key, values in counted.items() for each, _ in values.most_common(_OF_ONE))
    terms = (Term(key, key_text(*each) if key == "tag" else each) for key, each in found)
    return [str(each) for each in terms if not _wrong(each)][:_SUGGESTED]


# ---- a page of the fleet ----


def view_of(fleet: Fleet, query: Query) -> dict[str, Any]:
    """The page that a query asks for."""
    others = query.having(status="")
    of_any_status = list(filter(query.passes(others), fleet.rows))
    rows = list(filter(query.passes({*query.terms} - {*others}), of_any_status))
    counted = Counter(row.standing for row in of_any_status)
    shares = {each: counted[each] for each in (InstanceStatus.OK, *InstanceStatus) if counted[each]}
    return paged(query.sort.ordered(rows, COLUMNS), query.page, lambda number: query.url(page=number)) | {
        "version": fleet.version,
        "query": query,
        "several": len({*fleet.targets, *(row.target for row in fleet.rows)}) > 1,
        "shares": list(zip(shares.items(), bar([*shares.values()]), strict=True)),
        "hint": "" if rows else _hint(fleet, query),
    }


def _hint(fleet: Fleet, query: Query) -> str:
    """What may have been meant by a filter that nothing passes; empty if each names something that exists."""
    known = {"role": {role for row in fleet.rows for role in row.roles}, "mapping": {row.mapping for row in fleet.rows}}
    for each in query.terms:
        if each.key in known and each.value not in known[each.key] and not _wrong(each):
            meant = did_you_mean(each.value, known[each.key])
            return f"no instance has {each.key} {each.value}{f'; {meant}' if meant else ''}"
    return ""


# ---- the page ----


def fleet(request: Request) -> Response:
    if _FORMER.keys() & request.query_params.keys():
        return see_other(Query.read(request.query_params).url(), said=request.query_params.get("said", ""))
    values = _values(request, FIRST_READ_SECONDS)
    known = values["fleet"]
    found = request.app.state.site.reads.get(("suggestions", known.version), partial(suggestions, known))
    return page(request, "fleet.html", title="Fleet", suggestions=found, **values)


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
    return see_other(Query.read(request.query_params).url())


def _values(request: Request, patience: float = 0.0) -> dict[str, Any]:
    site, query = request.app.state.site, Query.read(request.query_params)
    known = site.fleet.ask(patience)
    view = site.reads.get((known.version, query), lambda: view_of(known, query))
    return {"view": view, "query": query, "fleet": known, "cache": site.fleet}


ROUTES = [Route("/", fleet), Route("/fleet/rows", rows), Route("/fleet/reads", reads), Route("/fleet/again", again)]
