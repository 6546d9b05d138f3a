"""The mappings: what is in effect of each row, what waits, and what Rolekeeper says of it; and each by itself."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from operator import attrgetter, methodcaller
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolekeeper.instances.decide import InstanceStatus
from rolekeeper.mappings.verdict import Status
from rolekeeper.model.mapping import MappingKey, MappingSpec
from rolekeeper.model.problem import Kind, Remedy, advice
from rolekeeper_cli.console.errors import EXPLAINED, explain
from rolekeeper_cli.console.page import Asked, Sort, contains, listed, live, page, query_of, version_of
from rolekeeper_cli.errors import CommandError, UsageError
from rolekeeper_cli.row import use as mappings
from rolekeeper_cli.row.effect import published_there
from rolekeeper_cli.row.overlaps import Overlap, overlaps
from rolekeeper_cli.row.view import MappingView

UNJUDGED = "Not judged yet"
# What wants a person comes first.
_ORDER = (
    *(Status.HALTED, Status.CONFLICT, Status.REJECTED, Status.HELD, Status.WAITING, UNJUDGED),
    *(Status.ROLLING_OUT, Status.EXPIRED, Status.PUBLISHED),
)
_REVISIONS = 50
# A tab that shows the mappings asks every two seconds, and the fleet changes now and then.
_OVERLAPS_SECONDS = 5.0
# What the table's keys may hold (DynamoDB developer guide, "Quotas": partition and sort keys).
_KEY_BYTES, _VALUE_BYTES = 2048, 1024


def key_of(values: Mapping[str, str]) -> MappingKey:
    """The mapping that a link or a form names. UsageError if it names none."""
    key, remedy = (
        MappingKey(values.get("key", ""), values.get("value", "")),
        advice("choose one: ", Remedy(Kind.MAPPINGS)),
    )
    if not (key.tag_key and key.tag_value):
        raise UsageError("no mapping is named", remedy)
    if len(key.tag_key.encode()) > _KEY_BYTES or len(key.tag_value.encode()) > _VALUE_BYTES:
        raise UsageError("no mapping is named: the table has no key that long", remedy)
    return key


def status_of(view: MappingView) -> str:
    """The status in the row; a row without one isn't judged yet."""
    return view.status or UNJUDGED


def one(request: Request) -> Response:
    try:
        return page(request, "mapping.html", **_about(request))
    except CommandError:
        key = key_of(request.query_params)
        deployment = request.app.state.site.look()
        left = deployment.app.revisions.read(key).published
        if left and not left.deleted and deployment.app.table.get_row(key) is None:
            return page(request, "mapping_left.html", title=str(key), key=key, left=left)
        raise


def _about(request: Request) -> dict[str, Any]:
    key = key_of(request.query_params)
    deployment = request.app.state.site.look()
    [mapping] = mappings.views(deployment, [key])
    history = mappings.history(deployment, key, _REVISIONS)
    diffs = mappings.diffs(deployment, key, history, limit=_REVISIONS)
    number, drift = (counted[mapping.mapping] for counted in _governed(request))
    shown = {
        "mapping": mapping,
        "revisions": [(entry, mappings.consent(entry), diff) for entry, diff in zip(history, diffs, strict=True)],
        "number": number,
        "drift": drift,
        "overlaps": _overlaps(request, key),
        "rollout": _rollout(mapping),
    }
    about = {"key": key, "title": str(key), "command": str(key.remedy(Kind.MAPPING))}
    return {**shown, **about, "version": version_of(shown)}


@dataclass(frozen=True, slots=True)
class RolloutBar:
    """How far a rollout has come: `moved` of `total` instances, and how many may have moved in each of its `waves`."""

    moved: int
    total: int
    wave: int
    waves: Sequence[int]

    def percent(self, number: int) -> int:
        return min(100, 100 * number // max(1, self.total))


def _rollout(view: MappingView) -> RolloutBar | None:
    """Return how far the rollout of a row has come, by what the row says; None if none goes on."""
    says: Mapping[str, Any] = next((each for each in view.status_details or () if "counts" in each), {})
    # Anybody may write there what can't be read.
    with suppress(AttributeError, KeyError, TypeError, ValueError):
        found = {"moved": view.moved or 0, "total": int(says["total"]), "wave": int(says["wave"])}
        return RolloutBar(**found, waves=[*map(int, says["counts"].split(", "))])
    return None


@dataclass(frozen=True, slots=True)
class Listed:
    """A row of the list: with what columns show of it beside, its last edit, its instances, and defaults."""

    mapping: MappingView
    number: int  # of the instances that it governs
    drift: int  # of those, that are in drift
    at: str = ""  # when it was edited last, and who claims to have done it; empty if unknown
    by: str = ""

    @property
    def priority(self) -> int:
        # A row that can't be read may have anything there.
        priority = self.mapping.columns.get("priority", _PRIORITY)
        return priority if isinstance(priority, int) else _PRIORITY

    def text(self, column: str) -> str:
        return str(self.mapping.columns.get(column, ""))


def _shown(request: Request) -> dict[str, Any]:
    """All mappings, those of one status, or those with a text in them."""
    (number, drift), shared, asked = _governed(request), _overlaps(request), Asked.of(request)
    status, text, sort = asked["status"], asked["text"], Sort.read(asked["sort"], _KEYS)
    everything = [Listed(view, number[view.mapping], drift[view.mapping]) for view in request.app.state.site.mappings()]
    # Edits take as long to read as all else: it is done for what is shown, unless they say what that is.
    if text or sort.column in ("at", "by"):
        everything = _with_edits(request, everything)
    found = [
        row
        for row in everything
        if status in ("", status_of(row.mapping))
        and contains(text, row.mapping.mapping, row.by, *map(str, row.mapping.columns.values()))
    ]
    counts = Counter(status_of(row.mapping) for row in everything)
    shown = listed(request, sort.ordered(sorted(found, key=_place), _KEYS))
    shown["rows"] = _with_edits(request, shown["rows"])
    return {
        "title": "Mappings",
        "key_in": mappings.key_of,
        "mappings": shown,
        "sort": sort,
        "address": lambda column: f"/mappings?{query_of(request, sort=column, page='')}",
        "statuses": [(each, counts[each]) for each in _ORDER if counts[each]],
        "total": len(everything),
        "overlaps": shared,
        "version": version_of([status, text, str(sort), shown, counts, shared]),
    }


def _with_edits(request: Request, rows: Sequence[Listed]) -> list[Listed]:
    site, views = request.app.state.site, [row.mapping for row in rows if not row.at]
    # What is stored of an edit stays as it is.
    judged = version_of([view.but(columns={}) for view in views])
    edits = site.reads.get(("edits", judged), lambda: mappings.last_edits(site.look(), views))
    return [replace(row, **edits.get(row.mapping.mapping, {})) for row in rows]


def _governed(request: Request) -> tuple[Counter[str], Counter[str]]:
    """How many instances each mapping governs now, and how many of them are in drift; as far as the fleet was read."""
    rows = request.app.state.site.fleet.ask().rows
    drift = Counter(each.mapping for each in rows if each.standing is InstanceStatus.DRIFT)
    return Counter(each.mapping for each in rows), drift


def _place(row: Listed) -> tuple[int, str]:
    status = status_of(row.mapping)
    return _ORDER.index(status) if status in _ORDER else 0, row.mapping.mapping


_PRIORITY = MappingSpec(MappingKey("", ""), "").priority
_KEYS: Mapping[str, Callable[[Listed], Any]] = {
    "status": _place,
    "mapping": attrgetter("mapping.mapping"),
    "role": lambda row: row.mapping.in_effect.role if row.mapping.in_effect else "",
    **{name: attrgetter(name) for name in ("at", "by", "priority", "number", "drift")},
    **{name: methodcaller("text", name) for name in ("owner", "expires_at")},
}


def _shared(request: Request) -> dict[str, Any]:
    """All overlaps and the rows in conflict, or those of one mapping."""
    key = key_of(request.query_params) if request.query_params.get("key") else None
    rows = [view for view in request.app.state.site.mappings() if view.status == Status.CONFLICT]
    conflicts = [view for view in rows if key in (None, mappings.key_of(view))]
    shown = {"overlaps": _overlaps(request, key), "conflicts": conflicts, "key": key}
    title = f"Overlaps of {key}" if key else "Overlaps"
    return {"title": title, "key_in": mappings.key_of, **shown, "version": version_of(shown)}


def _overlaps(request: Request, key: MappingKey | None = None) -> list[Overlap] | None:
    """What the fleet's tags meet, or those with this mapping; None until the fleet was read."""
    site = request.app.state.site
    fleet = site.fleet.ask()

    def read() -> list[Overlap]:
        deployment = site.look()
        published = deployment.app.state.read([], map(mappings.key_of, site.mappings())).published
        at = cache(deployment.at)
        tagged = ((each.target, each.tags, each.mapping) for each in fleet.rows)
        return overlaps(tagged, published, lambda there, each: published_there(at(there), each), now=deployment.now())

    if not fleet.read_at:
        return None
    found: list[Overlap] = site.reads.get("overlaps", read, _OVERLAPS_SECONDS)
    return [each for each in found if key is None or any(spec.key == key for spec in each.specs)]


# ---- what needs a person, at the top of the fleet's page: `needs.html` has the step of each ----

# The causes of instances' reasons, and the statuses of rows.
CAUSES = {"tie:", "unexplained role", "contested: another actor reverts it", "denied by AWS", "refused by EC2"}
CAUSES |= {"suspended:", "mapping missing:", "unclear tag", "unclear pin", "damaged record"}
_EDITS = {Status.HELD, Status.REJECTED, Status.CONFLICT}
# As many instances with another cause are counted too.
_MANY = 5


def _needs(request: Request) -> dict[str, Any]:
    """Instances by status and cause, and rows by status: how many there are, and the first; and what else many have."""
    site, failed, ties = request.app.state.site, "", list[Overlap]()
    found: dict[tuple[str, str], list[Any]] = defaultdict(list)
    try:
        for row in site.fleet.ask().rows:
            if row.short.cause and row.standing is not InstanceStatus.OK:
                found[row.standing, row.short.cause].append(row)
        for view in (each for each in site.mappings() if each.status in _EDITS):
            found[view.status, ""].append(view)
        if (InstanceStatus.BLOCKED, "tie:") in found:
            ties = [each for each in _overlaps(request) or () if each.tied]
    except EXPLAINED as error:
        failed = explain(error, writing=False).what
    # An edit that is held is a person's only step; of the others what concerns instances comes first, and most of them.
    kinds = sorted(found.items(), key=lambda each: (each[0][0] != Status.HELD, not each[0][1], -len(each[1])))
    counted = [(*kind, len(some), some[0]) for kind, some in kinds]
    needs = [each for each in counted if not each[1] or each[1] in CAUSES]
    others = [each for each in counted if each not in needs and each[2] >= _MANY]
    shown = {"needs": needs, "others": others, "ties": ties, "failed": failed, "read": bool(site.fleet.ask().read_at)}
    return {"title": "What needs a person", "key_in": mappings.key_of, **shown, "version": version_of(shown)}


ROUTES = [
    *live("/fleet/needs", _needs, "needs.html"),
    *live("/mappings", _shown, "mappings.html"),
    *live("/mappings/overlaps", _shared, "mapping_overlaps.html"),
    # Before the page that is live: of a mapping without a row there may be something left.
    Route("/mapping", one),
    *live("/mapping", _about, "mapping.html"),
]
