"""Search, from every page: instances, mappings, roles, tags, accounts and Regions, pages and actions by their names.

It looks through what the pages have read, and asks AWS nothing else. An action leads to the page or form that does it.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from itertools import chain

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolekeeper.model.text import key_text
from rolekeeper_cli.console.errors import EXPLAINED, explain
from rolekeeper_cli.console.page import SECTIONS, mapping_url, page, query, see_other
from rolekeeper_cli.fleet.cache import Fleet, FleetRow
from rolekeeper_cli.instance.use import ID
from rolekeeper_cli.mapping.page import status_of
from rolekeeper_cli.row.use import key_of


def folded(text: str) -> str:
    """A text without what doesn't matter to a search: its case, and blanks beyond one."""
    return " ".join(text.casefold().split())


def rank(text: str, name: str) -> int | None:
    """How well a name fits a text, both folded; None if it doesn't.

    0 is the text, 1 begins with it, 2 has a word that does, 3 holds it, or each of several words.
    """
    if text not in name:
        return 3 if " " in text and all(word in name for word in text.split()) else None
    if name.startswith(text):
        return int(name != text)
    return 2 if re.search(rf"(?<![^\W_]){re.escape(text)}", name) else 3


def ranked[Item](
    text: str, items: Iterable[Item], names: Callable[[Item], Sequence[str]], *, most: int
) -> tuple[list[Item], int, int]:
    """The `most` items that fit best, equal ones by their first name; the rank of the first, and how many fit."""
    wanted, found = folded(text), []
    for item in items:
        called = [folded(each) for each in names(item)]
        fits = [each for name in called if (each := rank(wanted, name)) is not None]
        if fits:
            found.append((min(fits), called[0], item))
    best = nsmallest(most, found, key=lambda each: each[:2])
    return [item for _, _, item in best], best[0][0] if best else 4, len(found)


# Hits of each kind; and where only that kind is asked for.
MOST, ALONE = 8, 200
# Each key that is pressed asks again.
_KEPT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Hit:
    """A page to open, found by its label and what it is `also` called; `status` is a kind and a word."""

    label: str
    address: str
    about: str = ""
    also: tuple[str, ...] = ()
    status: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """The hits of one kind, the best first, and the `address` of all of them; or why that kind is `unknown`."""

    name: str
    hits: Sequence[Hit]
    total: int
    address: str
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
    ("Check the deployment again", "/doctor/again", "doctor health", False),
    ("Find permissions that roles don't use", "/roles?ask=last-accessed", "unused services", False),
    ("Show keyboard shortcuts", "/search#shortcuts", "keys help", False),
    *((name, address, "", False) for name, address, _ in SECTIONS),
)


def _actions(request: Request) -> list[Hit]:
    """The pages, and what can be done with this console now."""
    site = request.app.state.site
    not_now = "Pause Rolekeeper" if site.here()["paused"] else "Resume Rolekeeper"
    return [
        Hit(label, address, also=(also,))
        for label, address, also, writes in _ACTIONS
        if (site.writes or not writes) and label != not_now
    ]


def _mappings(request: Request) -> list[Hit] | str:
    try:
        rows = request.app.state.site.mappings()
    except EXPLAINED as error:
        return explain(error, writing=False).what
    return [
        Hit(row.mapping, mapping_url(key_of(row)), status_of(row), also=tuple(map(str, row.columns.values())))
        for row in rows
    ]


def _roles(request: Request, fleet: Fleet) -> list[Hit] | str:
    """The roles under the path, and what else instances carry: foreign roles have no page of their own."""
    names = request.app.state.site.role_names()
    carried = Counter(row.carries for row in fleet.rows if row.carries and row.carries not in names)
    hits = [Hit(each, f"/role/{each}") for each in names] + [_filter("role", *each) for each in carried.items()]
    return hits or "IAM lists none under the role path"


def _instance(row: FleetRow) -> Hit:
    carries = row.carries or "no role"
    about = f"{carries} · {row.id}" if row.name else carries
    return Hit(row.name or row.id, f"/instance/{row.id}", about, status=(row.kind, row.standing))


def _tags(fleet: Fleet) -> list[Hit]:
    """The tags of instances, and their keys; a name is rather an instance's."""
    tags = Counter(chain.from_iterable(row.tags for row in fleet.rows))
    counted: Counter[str] = Counter()
    for (key, value), number in tags.items():
        counted[key_text(key, "").removesuffix("=")] += number
        if key != "Name":
            counted[key_text(key, value)] = number
    return [_filter("tag", name, number) for name, number in counted.items()]


def _places(fleet: Fleet) -> list[Hit]:
    counted, places = Counter(row.target for row in fleet.rows), Counter[tuple[str, str]]()
    for each in {*fleet.targets, *counted}:
        places["account", each.account] += counted[each]
        places["region", each.region] += counted[each]
    return [_filter(kind, name, number) for (kind, name), number in places.items()]


def _filter(kind: str, name: str, number: int) -> Hit:
    about = f"{number:,} {'instance' if number == 1 else 'instances'}"
    return Hit(name, f"/?{query({kind: name})}", about)


def groups(request: Request, text: str, only: str = "") -> list[Group]:
    """What fits a text, by kind, that of the best hit first; `only` asks for more hits of one kind, and no others."""
    site, most = request.app.state.site, ALONE if only else MOST
    fleet = site.fleet.ask()
    rows, best, total = ranked(text, fleet.rows, lambda row: (row.name or row.id, row.id), most=most)
    why = fleet.unreadable.text if fleet.unreadable else "" if fleet.read_at else f"{fleet.read:,} are read so far"
    found = [
        (best, Group("Instances", [*map(_instance, rows)], total, address=f"/?{query({'text': text})}", unknown=why))
    ]
    for name, path, hits in (
        ("Mappings", "/mappings", site.reads.get("search", lambda: _mappings(request), _KEPT_SECONDS)),
        ("Roles", "/roles", _roles(request, fleet)),
        ("Tags", "", _tags(fleet)),
        ("Accounts and Regions", "", _places(fleet)),
        ("Pages and actions", "", _actions(request)),
    ):
        known, why = ([], hits) if isinstance(hits, str) else (hits, "")
        shown, best, total = ranked(text, known, lambda hit: (hit.label, *hit.also), most=most)
        address = f"{path}?{query({'text': text})}" if path else f"/search?{query({'q': text, 'only': name})}"
        found.append((best, Group(name, shown, total, address=address, unknown=why)))
    return [group for _, group in sorted(found, key=lambda each: each[0]) if only in ("", group.name)]


def search(request: Request) -> Response:
    """The page, or what a script shows below the field. An instance's id and the only hit are opened at once."""
    text, part = request.query_params.get("q", "").strip(), "hx-request" in request.headers
    if ID.fullmatch(text) and not part:
        return see_other(f"/instance/{text}")
    if text:
        found = groups(request, text, request.query_params.get("only", ""))
    else:
        found = [Group("Pages and actions", listed := _actions(request), len(listed), address="")]
    hits = [hit for group in found for hit in group.hits]
    if text and len(hits) == 1 and not part and not any(group.unknown for group in found):
        return see_other(hits[0].address)
    title = f"Search: {text}" if text else "Search"
    return page(request, "search.html", part="palette" if part else "", title=title, text=text, groups=found)


ROUTES = [Route("/search", search)]
