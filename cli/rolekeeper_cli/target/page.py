"""The accounts and Regions that the deployment manages: of a hub as a grid, and what is wrong as a list."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from rolekeeper.instances.decide import InstanceStatus
from rolekeeper.model.instance import Target
from rolekeeper_cli.console.page import Asked, contains, listed, live, query, version_of
from rolekeeper_cli.fleet.page import bar
from rolekeeper_cli.shell.layout import minute
from rolekeeper_cli.target import use as views
from rolekeeper_cli.target.view import TargetView

# How thin a part of a cell's bar may be, and the states of targets that answer.
_THINNEST, _HEARD = 80.0, {views.WELL, views.NEW}
_RANKS = {state: rank for rank, state in enumerate(views.KINDS)}


class TargetOnPage(TargetView):
    """A target with how many of its instances have each status now, as far as the fleet was read."""

    statuses: Counter[InstanceStatus]

    @property
    def blocked(self) -> int:
        return self.statuses[InstanceStatus.BLOCKED]

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
    bar: Sequence[Mapping[str, Any]]

    @classmethod
    def of(cls, target: TargetOnPage) -> "Cell":
        where = {"account": target.account, "region": target.region}
        named = {"view": "list", "text": f"{target.account}/{target.region}"}
        instances, trouble = target.instances, target.trouble
        said = [trouble or target.state, *([f"swept {minute(target.last_sweep)}"] if target.last_sweep else [])]
        return cls(
            f"{target.kind}{'' if instances else ' none'}{'' if target.state in _HEARD else ' silent'}",
            f"?{query(named)}" if target.state == views.UNKNOWN else f"/?{query(where)}",
            ": ".join(filter(None, (", ".join(said), target.reason))),
            state=f"{trouble} " if trouble else "",
            instances="?" if instances is None else f"{instances:,}",
            bar=bar(target.statuses, _THINNEST),
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
    bar: Sequence[Mapping[str, Any]]

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
    """Where targets come together: the most that are blocked first, then the worst state, and the most in drift."""
    worst = min(_RANKS[each.state] for each in targets)
    return -sum(each.blocked for each in targets), worst, -sum(each.drift or 0 for each in targets)


def _row(account: str, of_region: Mapping[str, TargetOnPage]) -> Account:
    targets = of_region.values()
    return Account(
        account,
        hub=any(each.hub for each in targets),
        unit=next((each.unit for each in targets if each.unit), ""),
        place=_place(*targets),
        instances=sum(each.instances or 0 for each in targets),
        targets=of_region,
        bar=_bar(targets),
    )


def _bar(targets: Iterable[TargetOnPage]) -> list[dict[str, Any]]:
    """The fleet's bar, of the instances of some targets."""
    return bar(sum((each.statuses for each in targets), Counter()), _THINNEST)


def _shown(request: Request) -> dict[str, Any]:
    """All targets, those of one state, or those with a text in them; a deployment alone has a list only."""
    site = request.app.state.site
    there: dict[Target, Counter[InstanceStatus]] = defaultdict(Counter)
    for row in site.fleet.ask().rows:
        there[row.target][row.standing] += 1
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
        "regions": {region: _total(found, region) for region in sorted({each.region for each in found})},
        "found": len(found),
        "blocked": sum(each.blocked for each in everything),
        "counts": Counter(each.state for each in everything),
        "total": len(everything),
        "accounts": len({each.account for each in everything}),
        "states": views.KINDS,
        "alone": views.why_alone(site.look(), len(everything)),
        "has_units": any(each.unit for each in everything),
        "version": version_of([asked["state"], asked["text"], asked["view"], found]),
    }


def _total(targets: Iterable[TargetOnPage], region: str) -> Mapping[str, Any]:
    """How many instances a Region has, and their bar."""
    there = [each for each in targets if each.region == region]
    return {"instances": sum(each.instances or 0 for each in there), "bar": _bar(there)}


def _holds(target: TargetView, text: str) -> bool:
    name = f"{target.account}/{target.region}"
    return contains(text, name, target.version or "", target.unit or "", target.reason)


ROUTES = live("/targets", _shown, "targets.html")
