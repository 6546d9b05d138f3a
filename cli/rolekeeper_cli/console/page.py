"""A page: a template filled in. Every value is escaped, and an undefined one is a fault.

Control, bidirectional and other unseen characters of a value are shown by their numbers, as the command shows them. An
attribute `value="{{ … }}"` keeps them: a form sends it back.

The filters: `{{ at|ago }}` is a time as people say it with the exact one on hover, `{{ at|when }}` has the exact one
beside it, for what is compared with logs, `{{ number|count }}` is 1,234, and `{{ what|sentence }}` has a capital and
a full stop (messages of commands have neither), and `{{ remedy|linked }}` leads to the page that does what it says.
`{{ at|written }}` is `ago` of what a person wrote, which may be no time. A macro that uses `ago` or `when` is
imported "with context": it needs the page's `now`. The macros of `parts.html` are known everywhere.
"""

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from http import HTTPStatus
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemBytecodeCache, FileSystemLoader, StrictUndefined, pass_context
from jinja2.bccache import Bucket
from jinja2.ext import Extension
from jinja2.runtime import Context
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from rolekeeper.model.mapping import MappingKey
from rolekeeper.model.problem import STEPS, Advice, Kind, Reason, ReasonCode, Remedy, stored
from rolekeeper.model.problem import sentence as reasons_sentence
from rolekeeper.model.text import escaped, in_words, split_key
from rolekeeper_cli import installed
from rolekeeper_cli.shell.layout import day, second

# ---- addresses of pages ----

STATIC = "/static/"


def mapping_url(key: MappingKey, path: str = "/mapping", **more: str) -> str:
    return f"{path}?{urlencode({'key': key.tag_key, 'value': key.tag_value, **more})}"


def mapping_named(text: str) -> str:
    """The page of the mapping that a document names."""
    key, _, value = split_key(text)
    return mapping_url(MappingKey(key, value))


def query(values: Mapping[str, object]) -> str:
    """The query of an address; empty values are left out."""
    return urlencode({name: value for name, value in values.items() if value not in ("", None)})


class Asked(dict[str, str]):
    """What an address asks for, without the blanks at its ends; empty where it says nothing."""

    @classmethod
    def of(cls, request: Request) -> "Asked":
        return cls({name: value.strip() for name, value in request.query_params.items()})

    def __missing__(self, _name: str) -> str:
        return ""


def query_of(request: Request, **changes: object) -> str:
    """The query of a page, with some of it changed; without what is of one showing only."""
    asked = {name: value for name, value in request.query_params.items() if name not in ("version", "said")}
    return query({**asked, **changes})


def see_other(path: str, **values: str) -> Response:
    """Have the browser open another page by a GET."""
    more = query(values)
    return RedirectResponse(f"{path}{'&' if '?' in path else '?'}{more}" if more else path, HTTPStatus.SEE_OTHER)


# ---- texts of the command as the console's pages say them ----

# A word that begins a sentence; a name, an id or an action of AWS isn't changed.
_WORD = re.compile(r"(see:|[a-z]+('[a-z]+)?[,;.?!]?)(\s|$)")
_PAGES = {
    Kind.FLEET: ("/", "Fleet"),
    Kind.ROLES: ("/roles", "Roles"),
    Kind.TARGETS: ("/targets", "Targets"),
    Kind.MAPPINGS: ("/mappings", "Mappings"),
    Kind.SETTINGS: ("/settings", "Settings"),
    Kind.RESUME: ("/settings", "resume it in Settings"),
    Kind.ENFORCE: ("/settings", "set the mode to enforce in Settings"),
}
# Where to read on about foreign roles.
HINTS = {ReasonCode.FOREIGN_ROLES_STAY: " (the page of each says what to do)"}


def sentence[Text: (str, Advice)](text: Text) -> Text:
    """A text with a capital and a full stop: messages of commands have neither."""
    if isinstance(text, Advice):
        first, *others = text.parts
        begun = _begun(first) if isinstance(first, str) else first
        return Advice((begun, *others, _end(str(text))))
    return f"{_begun(text)}{_end(text)}"


def _begun(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}" if _WORD.match(text) else text


def _end(text: str) -> str:
    return "" if text.endswith((".", "!", "?")) else "."


def linked(text: str | Remedy | Advice) -> Markup:
    """A text as markup: a link to the page that does a step of it, and a command to copy where none does."""
    parts = text.parts if isinstance(text, Advice) else (text,)
    return Markup().join(
        _step(part, begins=not at) if isinstance(part, Remedy) else escape(part) for at, part in enumerate(parts)
    )


def _step(remedy: Remedy, *, begins: bool) -> Markup:
    address, label = page_of(remedy)
    if not address:
        # The macro is typed as what any module may hold.
        copy: Callable[[str, str], Markup] = templates().globals["parts"].copy  # type: ignore[attr-defined]
        return Markup("<code>{}</code> {}").format(str(remedy), copy(str(remedy), "the command"))
    if begins:
        label = f"{label[0].upper()}{label[1:]}"
    return Markup('<a href="{}">{}</a>').format(address, label)


def row_reason(view: Any) -> str:
    """Why a row has its status; empty if it is in effect, as all of it."""
    found = stored(view.status_reason or "", view.status_details)
    return "" if found == (ReasonCode.IN_EFFECT(),) else reasons_text(found)


def reasons_text(reasons: Iterable[Reason]) -> str:
    """Reasons as a text, without the steps that buttons take."""
    return reasons_sentence((each for each in reasons if each.code not in STEPS), HINTS)


def page_of(remedy: Remedy) -> tuple[str, str]:
    """The address of the page that takes a step, and what a link to it says; empty where no page does."""
    match remedy.kind, remedy.arguments:
        case Kind.APPROVE | Kind.DISCARD, (tag_key, tag_value, *_):
            key = MappingKey(tag_key, tag_value)
            return mapping_url(key, "/mapping/held"), f"the plan of {key}"
        case Kind.MAPPING | Kind.MAPPING_HISTORY | Kind.REMOVE_MAPPING | Kind.ROLL_BACK, (tag_key, tag_value, *_):
            key = MappingKey(tag_key, tag_value)
            return mapping_url(key), f"the page of {key}"
        case Kind.EXPLAIN | Kind.ATTACH | Kind.REPLACE | Kind.DETACH | Kind.RELEASE, (instance, *_) if (
            "/" not in instance
        ):
            return f"/instance/{quote(instance)}", f"the page of {instance}"
    return _PAGES.get(remedy.kind, ("", ""))


# ---- pages ----


@dataclass(frozen=True, slots=True)
class Notice:
    """What a write says on the page that follows it.

    `text` is a sentence, `lines` are details; `kind` is a box's: info, good, warn or bad. That page shows the `cause`
    itself, so its notice doesn't.
    """

    text: str
    lines: tuple[str | Advice, ...] = ()
    kind: str = "good"
    cause: str = ""

    @property
    def whole(self) -> str:
        """The text with its cause, for another page."""
        return f"{self.text}: {self.cause}" if self.cause else self.text


def done(request: Request, path: str, notice: Notice, **values: str) -> Response:
    """Go to a page that shows what a write did."""
    return see_other(path, said=request.app.state.site.say(notice), **values)


# The navigation: what a section is called, where it begins, and the pages that belong to it.
SECTIONS = (
    ("Fleet", "/", ("/instance", "/fleet")),
    ("Mappings", "/mappings", ("/mapping",)),
    ("Roles", "/roles", ("/role",)),
    ("Launches", "/launches", ()),
    ("Activity", "/activity", ()),
    ("Doctor", "/doctor", ()),
    ("Targets", "/targets", ()),
    ("Settings", "/settings", ()),
)
# Up to this age (left out), what one of the units is called and how long it is, in seconds. The script reads it too.
_UNITS = ((60, "s", 1), (3_600, "min", 60), (48 * 3_600, "h", 3_600), (60 * 86_400, "days", 86_400))


def page(
    request: Request, template: str, status: int = HTTPStatus.OK, *, part: str = "", **values: Any
) -> HTMLResponse:
    """Fill in a template, or the `part` of it that one of its blocks is.

    All of them know `site`, `request`, `asked`, `query`, `here`, `notice`, `sections` and `now` too.
    """
    site = request.app.state.site
    here = values["here"] if "here" in values else site.here()
    sections = _sections(request.url.path, hub=bool(here.get("organization")))
    title = next((name for name, _, current in sections if current), "Rolekeeper")
    values = {"asked": Asked.of(request), "query": partial(query_of, request), "title": title} | values
    values |= {
        "layout": "part.html" if part else "base.html",
        "part": part,
        "site": site,
        "request": request,
        "here": here,
        "notice": site.notices.known(request.query_params.get("said", "")),
        "sections": sections,
        "now": site.deployment.now(),
    }
    return HTMLResponse(bare_page(template, **values), status)


def live(path: str, values: Callable[[Request], dict[str, Any]], template: str) -> list[Route]:
    """A page, and below it its block `part`, which an open page asks for."""

    def show(request: Request) -> Response:
        return page(request, template, **values(request))

    def show_news(request: Request) -> Response:
        found = values(request)
        return unless_seen(request, found["version"]) or page(request, template, part="part", **found)

    return [Route(path, show), Route(f"{path}/part", show_news)]


def unless_seen(request: Request, version: object) -> Response | None:
    """204, on which htmx changes nothing, if the browser shows this version already."""
    seen = request.query_params.get("version") == str(version)
    return Response(status_code=HTTPStatus.NO_CONTENT) if seen else None


def version_of(shown: object) -> str:
    """A text that changes with the documents."""
    return hashlib.sha256(json.dumps(shown, default=str, sort_keys=True).encode()).hexdigest()[:16]


# ---- lists ----


@dataclass(frozen=True, slots=True)
class Sort:
    """The column that a list is sorted by; an empty one leaves the list in its own order."""

    column: str = ""
    descending: bool = False

    @classmethod
    def read(cls, text: str, columns: Collection[str]) -> "Sort":
        """The order that an address asks for; one by an unknown column is the list's own."""
        column = text.removeprefix("-")
        return cls(column, text.startswith("-")) if column in columns else cls()

    def __str__(self) -> str:
        return f"{'-' if self.descending else ''}{self.column}"

    def aria(self, column: str) -> str:
        """The `aria-sort` of a column's head; empty if the list is sorted by another one."""
        return "" if column != self.column else "descending" if self.descending else "ascending"

    def following(self, column: str) -> str:
        """What a click on a column's head asks for: ascending, then descending, then the list's own order."""
        turns = {"": column, "ascending": f"-{column}", "descending": ""}
        return turns[self.aria(column)]

    def ordered[Row](self, rows: Iterable[Row], keys: Mapping[str, Callable[[Row], Any]]) -> list[Row]:
        """The rows in this order; equal ones stay as they were."""
        if not self.column:
            return list(rows)
        return sorted(rows, key=keys[self.column], reverse=self.descending)


# Rows of a page.
PAGE = 100
# Of a revision's number, and more than enough.
_DIGITS = 18


def number(values: Mapping[str, str], name: str) -> int | None:
    """The whole number in a field; None if there is none, or a longer one than any page has."""
    text = values.get(name, "")
    return int(text) if text.isdecimal() and len(text) <= _DIGITS else None


def paged[Row](rows: Sequence[Row], number: int, address: Callable[[int], str]) -> dict[str, Any]:
    """The rows of one page, counted from 1; of the last one there is, where it is behind that.

    `first` and `last` are the numbers of the rows, from 1; both 0 where there is none. `others` are the addresses of
    the pages around it, by what a link to each says.
    """
    pages = max(1, -(-len(rows) // PAGE))
    page = min(max(number, 1), pages)
    begin = (page - 1) * PAGE
    shown = rows[begin : begin + PAGE]
    near = (("first", 1), ("previous", page - 1), ("next", page + 1), ("last", pages))
    return {
        "rows": shown,
        "total": len(rows),
        "first": begin + 1 if shown else 0,
        "last": begin + len(shown),
        "page": page,
        "pages": pages,
        "others": [(name, address(each)) for name, each in near if 1 <= each <= pages and each != page],
    }


def listed[Row](request: Request, rows: Sequence[Row], anchor: str = "") -> dict[str, Any]:
    """The rows of a page's list that its address asks for, as `paged` gives them."""
    wanted = number(request.query_params, "page") or 1
    return paged(rows, wanted, lambda page: f"?{query_of(request, page=page)}{anchor}")


# Up to this many instances of a plan are listed at once, each group below its line.
FEW = 10
# The order of groups: exceptions, what changes, and what is ok.
_KINDS = ("bad", "wait", "unknown", "", "ok")


def grouped(request: Request, rows: Iterable[Any]) -> dict[str, Any]:
    """Rows to which the same `happens`, of one `kind` and `cause`, by an id; the group that is asked for as a list."""
    found: dict[tuple[str, str, str], list[Any]] = {}
    for row in rows:
        found.setdefault((row.kind, row.happens, row.cause), []).append(row)
    ordered = sorted(found.items(), key=lambda group: (_KINDS.index(group[0][0]), -len(group[1])))
    groups, asked = {version_of(key): some for key, some in ordered}, Asked.of(request)
    wanted = [row for row in groups.get(asked["group"], ()) if contains(asked["text"], row.id, row.name)]
    few = sum(map(len, groups.values())) <= FEW
    return {"groups": groups, "few": few, "listed": listed(request, wanted, f"#g-{asked['group']}")}


def bar(numbers: Sequence[int], *, thinnest: float = 4.0) -> list[tuple[float, float]]:
    """Where each part of a bar begins, and its width, in thousandths; it can be seen, however few of many it is."""
    wide = [max(thinnest, 1_000 * each / sum(numbers)) for each in numbers]
    ends = accumulate((1_000 * each / sum(wide) for each in wide), initial=0.0)
    return [(round(x, 2), round(end - x, 2)) for x, end in pairwise(ends)]


# How far apart the times on an axis are: the first step of which at most that many fit.
_DAY = timedelta(days=1)
_STEPS = [*(timedelta(minutes=each) for each in (5, 15, 30, 60, 120, 240, 360)), _DAY, 2 * _DAY, 5 * _DAY]
_HOURS = 7
# In percent: there the text of an hour would be cut off.
_EDGE = 6


def place(at: datetime, begin: datetime, end: datetime) -> float:
    """Where a time is between two others, in percent; what is before or behind them is at their ends."""
    return round(100 * min(max((at - begin) / (end - begin), 0), 1), 2)


def axis(begin: datetime, end: datetime) -> list[dict[str, Any]]:
    """The times below a plot, each with its place (`x`) and its `text`: full hours, what is between them, or days."""
    step = next((each for each in _STEPS if (end - begin) / each <= _HOURS), _STEPS[-1])
    edge = (end - begin) * _EDGE / 100
    first = begin.replace(hour=0, minute=0, second=0, microsecond=0)
    first += step * -((begin + edge - first) // -step)
    times = (first + number * step for number in range((end - begin) // step + 1))
    return [
        {"x": place(at, begin, end), "at": at, "text": f"{at:%H:%M}" if step < _DAY else f"{at:%b} {at.day}"}
        for at in times
        if at <= end - edge
    ]


def contains(text: str, *fields: str) -> bool:
    """Whether one of the fields has the text of a filter in it, whatever its case."""
    return any(text.casefold() in each.casefold() for each in fields)


# ---- templates ----


def bare_page(template: str, **values: Any) -> str:
    """Fill in a template that shows nothing of the deployment: for a browser that may see none of it."""
    return templates().get_template(template).render(**values)


# Markup has line ends of its own, and those of `<pre>{{ text|e }}</pre>`. C1 controls have no reference: HTML reads
# those numbers as other characters ("numeric character reference end state").
_C1 = "".join(map(chr, range(0x80, 0xA0)))


def _visible(value: object) -> str:
    """What a page shows in place of a value."""
    if isinstance(value, Markup):
        return Markup(escaped(value, keep=f"\n{_C1}"))  # noqa: S704  # it was markup before
    return escaped(in_words(value))


def _sent_back(value: object) -> Markup:
    """An attribute from which a browser reads the very value."""
    return Markup(escaped(escape(value), keep=_C1, escape=lambda each: f"&#{ord(each)};"))  # noqa: S704  # it is escaped


class _SentBack(Extension):
    """Applies the filter `sent_back` to each attribute `value`: no form can forget it."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:  # noqa: ARG002  # Jinja's
        return re.sub(r' value="\{\{ (.+?) \}\}"', r' value="{{ (\1)|sent_back }}"', source)


class _Compiled(FileSystemBytecodeCache):
    """Keeps compiled templates for the next console: to compile one takes longer than to fill it in."""

    def get_source_checksum(self, source: str) -> str:
        return super().get_source_checksum(source + installed.TEMPLATES.read_text(encoding="utf-8"))

    def dump_bytecode(self, bucket: Bucket) -> None:
        with suppress(OSError):
            Path(self.directory).mkdir(mode=0o700, parents=True, exist_ok=True)
            super().dump_bytecode(bucket)


@cache
def templates() -> Environment:
    made = Environment(
        loader=FileSystemLoader(installed.template_folders()),
        autoescape=True,
        finalize=_visible,
        extensions=[_SentBack],
        undefined=StrictUndefined,
        bytecode_cache=_Compiled(str(installed.cache_folder() / "pages")),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "sent_back": _sent_back,
        "ago": pass_context(partial(_time, beside=False)),
        # A phone, paper and the keyboard have no hover.
        "when": pass_context(partial(_time, beside=True)),
        "written": _written,
        "count": "{:,}".format,
        "sentence": sentence,
        "linked": linked,
        "row_reason": row_reason,
        "reasons": lambda entry: reasons_text(stored(entry.reason, entry.details)),
        "mapping_url": mapping_url,
        "mapping_named": mapping_named,
        "query": query,
    }
    made.globals["units"] = json.dumps(_UNITS)
    made.globals["parts"] = made.get_template("parts.html").module
    return made


def relative(at: datetime, now: datetime) -> str:
    """A time as people say it: `5 min ago`, `in 3 h`; the date where it is over 60 days away."""
    away = abs((now - at).total_seconds())
    for limit, unit, seconds in _UNITS:
        if away < limit:
            number = int(away) // seconds
            return f"{number} {unit} ago" if at <= now else f"in {number} {unit}"
    return day(at)


def _time(context: Context, at: datetime | str, *, beside: bool) -> Markup:
    """A time as people say it, with the exact one on hover or `beside` it."""
    when = datetime.fromisoformat(at) if isinstance(at, str) else at
    if when.tzinfo is None:
        raise ValueError(f"{at} has no time zone")
    now = context.resolve("now")
    assert isinstance(now, datetime), "the template is imported without context"
    utc = when.astimezone(UTC)
    written, exact, text = second(utc), f"{utc:%Y-%m-%d %H:%M:%S} UTC", relative(when, now)
    if beside:
        shown = Markup('<time datetime="{}">{}</time> <span class="muted nowrap">({})</span>')
        return shown.format(written, text, exact)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(written, exact, text)


@pass_context
def _written(context: Context, at: object) -> Markup | str:
    """A time as a person wrote it; what is none stays as it is."""
    try:
        return _time(context, str(at), beside=False)
    except (ValueError, OverflowError):
        return in_words(at)


def _sections(path: str, *, hub: bool) -> list[tuple[str, str, str]]:
    """The navigation's names and addresses, and `aria-current` of each: page, true (a page within it), or none.

    Only a hub has targets to list.
    """
    found = []
    for name, address, within in SECTIONS:
        if name == "Targets" and not (hub or path == address):
            continue
        inside = path.startswith(tuple(f"{each}/" for each in (address.rstrip("/"), *within) if each)) or path in within
        found.append((name, address, "page" if path == address else "true" if inside else ""))
    return found
