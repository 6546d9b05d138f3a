"""The accounts and Regions that the deployment manages: of a hub as a grid, and what is wrong as a list."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from starlette.requests import Request

from rolekeeper.model.instance import Target
from rolekeeper_cli.console.page import Asked, bar, contains, listed, live, version_of
from rolekeeper_cli.target import use as views
from rolekeeper_cli.target.view import TargetView

# The fleet's statuses, as they are drawn.
_STATUSES = ("ok", "drift", "wait", "bad", "foreign", "unknown")
_RANKS = {state: rank for rank, state in enumerate(views.KINDS)}


class TargetOnPage(TargetView):
    """A target with how many of its instances are drawn as what now, as far as the fleet was read."""

    statuses: Counter[str]

    @property
    def blocked(self) -> int:
        return self.statuses["bad"]


def accounts(targets: Sequence[TargetOnPage]) -> list[Mapping[str, TargetOnPage]]:
    """The grid's rows, each an account's targets by Region: the worst first, then the hub's own."""
    found: dict[str, dict[str, TargetOnPage]] = defaultdict(dict)
    for each in sorted(targets, key=lambda each: (not each.hub, each.account)):
        found[each.account][each.region] = each
    return sorted(found.values(), key=lambda of_region: _place(*of_region.values()))


def _place(*targets: TargetOnPage) -> tuple[int, ...]:
    """Where targets come together: the most that are blocked first, then the worst state, and the most in drift."""
    worst = min(_RANKS[each.state] for each in targets)
    return -sum(each.blocked for each in targets), worst, -sum(each.drift or 0 for each in targets)


def _bar(targets: Iterable[TargetOnPage]) -> list[tuple[str, tuple[float, float]]]:
    """The fleet's bar, of the instances of some targets; a cell is small."""
    counted: Counter[str] = sum((each.statuses for each in targets), Counter())
    kinds = [each for each in _STATUSES if counted[each]]
    return list(zip(kinds, bar([counted[each] for each in kinds], thinnest=80), strict=True))


def _shown(request: Request) -> dict[str, Any]:
    """All targets, those of one state, or those with a text in them; a deployment alone has a list only."""
    site = request.app.state.site
    there: dict[Target, Counter[str]] = defaultdict(Counter)
    for row in site.fleet.ask().rows:
        there[row.target][row.kind] += 1
    everything = [
        TargetOnPage(**vars(each), statuses=there[Target(each.account, each.region)]) for each in site.targets()
    ]
    asked = Asked.of(request)
    found = [each for each in everything if asked["state"] in ("", each.state) and _holds(each, asked["text"])]
    as_list = asked["view"] == "list" or len(everything) == 1
    targets = sorted(found if as_list else (each for each in found if each.reason or each.blocked), key=_place)
    rows: Sequence[Any] = targets if as_list else accounts(found)
    return {
        "title": "Targets",
        "view": listed(request, rows),
        "as_list": as_list,
        "targets": targets,
        "regions": sorted({each.region for each in found}),
        "found": found,
        "bar_of": _bar,
        "blocked": sum(each.blocked for each in everything),
        "counts": Counter(each.state for each in everything),
        "total": len(everything),
        "accounts": len({each.account for each in everything}),
        "states": views.KINDS,
        "well": views.WELL,
        "unknown": views.UNKNOWN,
        "alone": views.why_alone(site.look(), len(everything)),
        "has_units": any(each.unit for each in everything),
        "version": version_of([asked["state"], asked["text"], asked["view"], found]),
    }


def _holds(target: TargetView, text: str) -> bool:
    name = f"{target.account}/{target.region}"
    return contains(text, name, target.version or "", target.unit or "", target.reason)


ROUTES = live("/targets", _shown, "targets.html")
