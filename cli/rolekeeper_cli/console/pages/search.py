"""Search, from every page: instances, mappings, roles, tags, accounts and Regions, pages and actions by their names.

It looks through what the pages have read, and asks AWS nothing that they don't ask. An action leads to the page or form
that does it.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from itertools import chain
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolekeeper.model.text import key_text
from rolekeeper_cli.console.errors import EXPLAINED, explain
from rolekeeper_cli.console.fleet_cache import Fleet, FleetRow
from rolekeeper_cli.console.page import SECTIONS, key_of, mapping_url, page, query, see_other
from rolekeeper_cli.console.pages.mappings import status_of
from rolekeeper_cli.uses.instances import ID

# ---- how well a name fits ----


def folded(text: str) -> str:
    """A text without what doesn't matter to a search: its case, and blanks beyond one."""
    return " ".join(text.casefold().split())


def rank(text: str, name: str) -> int | None:
    """How well a name fits a text, both folded: 0 is the text, 1 begins with it, 2 has a word that does, 3 holds it.

    One that holds each of several words is a 3 too; None is no hit.
    """
    if text not in name:
        return 3 if " " in text and all(word in name for word in text.split()) else None
    if name.startswith(text):
        return int(name != text)
    return 2 if re.search(rf"(?<![^\W_]){re.escape(text)}", name) else 3


def ranked[Item](
    text: str, items: Iterable[Item], names: Callable[[Item], Sequence[str]], *, most: int
) -> tuple[list[Item], int, int]:
    """The `most` items whose names fit a text best, equal ones by their first name; the best rank, and how many fit."""
    wanted, found = folded(text), []
    for item in items:
        called = [folded(each) for each in names(item)]
        fits = [each for name in called if (each := rank(wanted, name)) is not None]
        if fits:
            found.append((min(fits), called[0], item))
    best = nsmallest(most, found, key=lambda each: each[:2])
    return [item for _, _, item in best], best[0][0] if best else 4, len(found)


# ---- what can be found ----


# Hits of each kind; and where only that kind is asked for.
MOST, ALONE = 8, 200
# An address has its length, and no name is longer.
LONGEST = 300
# Each key pressed asks again.
_KEPT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Hit:
    """A page to open. It is found by its label and what it is `also` called; `status` is a kind and a word."""

    label: str
    address: str
    about: str = ""
    also: tuple[str, ...] = ()
    status: tuple[str, str] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return self.label, *self.also


@dataclass(frozen=True, slots=True)
class Group:
    """The hits of one kind, the best first, and the `address` of all of them; or why that kind is `unknown`."""

    name: str
    hits: Sequence[Hit] = ()
    total: int = 0
    address: str = ""
    unknown: str = ""


# What is done, by which page, and how else people call it; with True, only in a console that may write.
_ACTIONS = (
    ("New mapping", "/mapping/new", "create add", True),
    ("Pause Rolekeeper", "/settings#why", "stop freeze", True),
    ("Resume Rolekeeper", "/settings/switch?what=resume", "start unpause continue", True),
    ("Set the mode to observe", "/settings/switch?what=observe", "dry run", True),
    ("Set the mode to enforce", "/settings/switch?what=enforce", "", True),
    ("Show blocked instances", "/?condition=blocked", "problems", False),
    ("Show instances in drift", "/?condition=drift", "differ", False),
    ("Read the fleet again", "/fleet/again", "refresh reload", False),
    ("Read roles again", "/roles/again", "refresh reload", False),
    ("Read launches again", "/launches/again", "refresh reload", False),
    ("Check the deployment again", "/doctor/again", "doctor health", False),
    ("Find permissions that roles don't use", "/roles?ask=last-accessed", "unused services last accessed", False),
    ("Show keyboard shortcuts", "/keys", "help", False),
)


def actions(request: Request) -> list[Hit]:
    """What can be done with this console now."""
    site = request.app.state.site
    not_now = "Pause Rolekeeper" if site.here()["paused"] else "Resume Rolekeeper"
    return [
        Hit(label, address, also=(also,))
        for label, address, also, writes in _ACTIONS
        if (site.writes or not writes) and label != not_now
    ]


def _pages(_: Request) -> list[Hit]:
    return [Hit(name, address) for name, address, _within in SECTIONS] + [Hit("Activity", "/activity")]


def _mappings(request: Request) -> list[Hit]:
    return [
        Hit(
            each["mapping"],
            mapping_url(key_of(each)),
            f"{each['columns'].get('role', '')} · {status_of(each)}",
            also=tuple(map(str, each["columns"].values())),
        )
        for each in request.app.state.site.mappings()
    ]


def _roles(request: Request) -> list[Hit]:
    return [Hit(each, f"/role/{quote(each, safe='')}") for each in request.app.state.site.roles()]


def _read(request: Request, name: str, read: Callable[[Request], list[Hit]]) -> list[Hit] | str:
    """What the pages have read; or why it can't be read."""

    def tried() -> list[Hit] | str:
        try:
            return read(request)
        except EXPLAINED as error:
            return explain(error, writing=False).what

    found: list[Hit] | str = request.app.state.site.reads.get(("search", name), tried, _KEPT_SECONDS)
    return found


def _instance(row: FleetRow) -> Hit:
    carries = row.carries or "no role"
    about = f"{row.id} · {carries}" if row.name else carries
    return Hit(row.name or row.id, f"/instance/{quote(row.id)}", about, status=(row.kind, row.standing))


def _tags(fleet: Fleet) -> list[Hit]:
    """The tags of instances, and their keys; a name is rather an instance's."""
    tags = Counter(chain.from_iterable(row.tags for row in fleet.rows))
    counted: Counter[str] = Counter()
    for (key, value), number in tags.items():
        counted[key_text(key, "").removesuffix("=")] += number
        if key != "Name":
            counted[key_text(key, value)] = number
    return [Hit(name, f"/?{query({'tag': name})}", _counted(number)) for name, number in counted.items()]


def _places(fleet: Fleet) -> list[Hit]:
    counted, places = Counter(row.target for row in fleet.rows), Counter[tuple[str, str]]()
    for each in {*fleet.targets, *counted}:
        places[("account", each.account)] += counted[each]
        places[("region", each.region)] += counted[each]
    return [Hit(name, f"/?{query({kind: name})}", _counted(number)) for (kind, name), number in places.items()]


def _counted(number: int) -> str:
    return f"{number:,} {'instance' if number == 1 else 'instances'}"


# ---- what is found ----


def groups(request: Request, text: str, only: str = "") -> list[Group]:
    """What fits a text, by kind, that of the best hit first; `only` asks for more hits of one kind, and no others."""
    fleet, most = request.app.state.site.fleet.ask(), ALONE if only else MOST
    rows, rank_of_rows, total = ranked(text, fleet.rows, lambda row: (row.name or row.id, row.id), most=most)
    why = fleet.unreadable.text if fleet.unreadable else "" if fleet.read_at else f"{fleet.read:,} are read so far"
    instances = Group("Instances", [_instance(row) for row in rows], total, f"/?{query({'text': text})}", why)
    found = [(rank_of_rows, instances)]
    for name, path, hits in (
        ("Mappings", "/mappings", _read(request, "mappings", _mappings)),
        ("Roles", "/roles", _read(request, "roles", _roles)),
        ("Tags", "", _tags(fleet)),
        ("Accounts and Regions", "", _places(fleet)),
        ("Pages", "", _pages(request)),
        ("Actions", "", actions(request)),
    ):
        known = [] if isinstance(hits, str) else hits
        shown, best, total = ranked(text, known, lambda hit: hit.names, most=most)
        address = f"{path}?{query({'text': text})}" if path else f"/search?{query({'q': text, 'only': name})}"
        found.append((best, Group(name, shown, total, address, hits if isinstance(hits, str) else "")))
    found.sort(key=lambda each: each[0])
    return [group for _, group in found if only in ("", group.name)]


def _found(request: Request) -> tuple[str, list[Group]]:
    """The text that is searched for, and what fits; without one, what there is to do."""
    text = request.query_params.get("q", "")[:LONGEST].strip()
    if text:
        return text, groups(request, text, request.query_params.get("only", ""))
    return "", [Group("Actions", some := actions(request), len(some))]


def search(request: Request) -> Response:
    """The page; an instance's id, and the only hit there can be, is opened at once."""
    text, found = _found(request)
    if ID.fullmatch(text):
        return see_other(f"/instance/{text}")
    hits = [hit for group in found for hit in group.hits]
    if text and len(hits) == 1 and not any(group.unknown for group in found):
        return see_other(hits[0].address)
    return page(request, "search.html", title=f"Search: {text}" if text else "Search", text=text, groups=found)


def palette(request: Request) -> Response:
    """The same below the field, while a person types."""
    text, found = _found(request)
    return page(request, "search.html", part="palette", text=text, groups=found)


def keys(request: Request) -> Response:
    return page(request, "keys.html", title="Keyboard shortcuts")


ROUTES = [Route("/search", search), Route("/search/palette", palette), Route("/keys", keys)]
