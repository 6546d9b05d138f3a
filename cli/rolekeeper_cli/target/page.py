"""The accounts and Regions that the deployment manages: of a hub as a grid, and what is wrong as a list."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from rolekeeper_cli.console.page import Asked, contains, listed, live, query, version_of
from rolekeeper_cli.shell.layout import minute
from rolekeeper_cli.target import use as views
from rolekeeper_cli.target.view import TargetView

_RANKS = {state: rank for rank, state in enumerate(views.KINDS)}


class TargetOnPage(TargetView):
    """A target with how many of its instances are blocked now, as far as the fleet was read."""

    blocked: int = 0

    @property
    def trouble(self) -> str:
        """What is wrong with it or its instances, in short; empty if nothing is."""
        counted = ((self.blocked, "blocked"), (self.drift, "in drift"))
        said = [f"{number:,} {word}" for number, word in counted if number]
        return ", ".join([*([] if self.state == views.WELL else [self.state]), *said])

    @property
    def kind(self) -> str:
        worse = "bad" if self.blocked else "drift" if self.drift else "ok"
        return worse if self.state == views.WELL else views.KINDS[self.state]


@dataclass(frozen=True, slots=True)
class Cell:
    """A target in the grid: its shape, where it leads, what it says on hover, and how many instances it has.

    `state` says what is wrong. The template does as little as it can: there are thousands of them.
    """

    kind: str
    address: str
    says: str
    state: str
    instances: str

    @classmethod
    def of(cls, target: TargetOnPage) -> "Cell":
        where = {"account": target.account, "region": target.region}
        named = {"view": "list", "text": f"{target.account}/{target.region}"}
        instances, trouble = target.instances, target.trouble
        said = [trouble or target.state, *([f"swept {minute(target.last_sweep)}"] if target.last_sweep else [])]
        return cls(
            target.kind if instances else f"{target.kind} none",
            f"?{query(named)}" if target.state == views.UNKNOWN else f"/?{query(where)}",
            ": ".join(filter(None, (", ".join(said), target.reason))),
            state=f"{trouble} " if trouble else "",
            instances="?" if instances is None else f"{instances:,}",
        )


@dataclass(frozen=True, slots=True)
class Account:
    """A row of the grid: an account's targets, by Region."""

    id: str
    hub: bool
    unit: str
    place: tuple[int, ...]
    instances: int
    targets: Mapping[str, TargetOnPage]

    def cells(self, regions: Sequence[str]) -> list[Cell | None]:
        return [Cell.of(self.targets[each]) if each in self.targets else None for each in regions]


def accounts(targets: Sequence[TargetOnPage]) -> list[Account]:
    """The grid's rows, the worst first, then the hub's own."""
    found: dict[str, dict[str, TargetOnPage]] = {}
    for each in targets:
        found.setdefault(each.account, {})[each.region] = each
    rows = [_row(account, of_region) for account, of_region in found.items()]
    return sorted(rows, key=lambda each: (each.place, not each.hub, each.id))


def _place(*targets: TargetOnPage) -> tuple[int, ...]:
    """Where targets come together: the worst state first, then the most that are blocked, and in drift."""
    worst = min(_RANKS[each.state] for each in targets)
    return worst, -sum(each.blocked for each in targets), -sum(each.drift or 0 for each in targets)


def _row(account: str, of_region: Mapping[str, TargetOnPage]) -> Account:
    targets = of_region.values()
    return Account(
        account,
        hub=any(each.hub for each in targets),
        unit=next((each.unit for each in targets if each.unit), ""),
        place=_place(*targets),
        instances=sum(each.instances or 0 for each in targets),
        targets=of_region,
    )


def _shown(request: Request) -> dict[str, Any]:
    """All targets, those of one state, or those with a text in them; a deployment alone has a list only."""
    site = request.app.state.site
    blocked = Counter((row.account, row.region) for row in site.fleet.ask().rows if row.kind == "bad")
    everything = [TargetOnPage(**vars(each), blocked=blocked[each.account, each.region]) for each in site.targets()]
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
        "found": len(found),
        "blocked": blocked.total(),
        "counts": Counter(each.state for each in everything),
        "total": len(everything),
        "accounts": len({each.account for each in everything}),
        "states": views.KINDS,
        "alone": views.why_alone(site.look(), len(everything)),
        "has_units": any(each.unit for each in everything),
        "version": version_of([asked["state"], asked["text"], asked["view"], found]),
    }


def _holds(target: TargetView, text: str) -> bool:
    name = f"{target.account}/{target.region}"
    return contains(text, name, target.version or "", target.unit or "", target.reason)


ROUTES = live("/targets", _shown, "targets.html")
