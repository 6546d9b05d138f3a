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


@dataclass(frozen=True, slots=True)
class Cell:
    """A target in the grid: its shape, where it leads, what it says on hover, and how many instances it has.

    `state` is said where it isn't well. The template does as little as it can: there are thousands of them.
    """

    kind: str
    address: str
    says: str
    state: str
    instances: str

    @classmethod
    def of(cls, target: TargetView) -> "Cell":
        where = {"account": target.account, "region": target.region}
        named = {"view": "list", "text": f"{target.account}/{target.region}"}
        state, instances = target.state, target.instances
        said = [state, *([f"swept {minute(target.last_sweep)}"] if target.last_sweep else [])]
        said += [f"drift {target.drift:,}"] if target.drift is not None else []
        return cls(
            views.KINDS[state] if instances else f"{views.KINDS[state]} none",
            f"?{query(named)}" if state == views.UNKNOWN else f"/?{query(where)}",
            ": ".join(filter(None, (", ".join(said), target.reason))),
            state="" if state == views.WELL else f"{state} ",
            instances="?" if instances is None else f"{instances:,}",
        )


@dataclass(frozen=True, slots=True)
class Account:
    """A row of the grid: an account's targets, by Region."""

    id: str
    hub: bool
    unit: str
    worst: str
    instances: int
    targets: Mapping[str, TargetView]

    def cells(self, regions: Sequence[str]) -> list[Cell | None]:
        return [Cell.of(self.targets[each]) if each in self.targets else None for each in regions]


def accounts(targets: Sequence[TargetView]) -> list[Account]:
    """The grid's rows, the worst first, then the hub's own."""
    found: dict[str, dict[str, TargetView]] = {}
    for each in targets:
        found.setdefault(each.account, {})[each.region] = each
    rows = [_row(account, of_region) for account, of_region in found.items()]
    return sorted(rows, key=lambda each: (_RANKS[each.worst], not each.hub, each.id))


def _row(account: str, of_region: Mapping[str, TargetView]) -> Account:
    targets = of_region.values()
    return Account(
        account,
        hub=any(each.hub for each in targets),
        unit=next((each.unit for each in targets if each.unit), ""),
        worst=min((each.state for each in targets), key=_RANKS.__getitem__),
        instances=sum(each.instances or 0 for each in targets),
        targets=of_region,
    )


def _shown(request: Request) -> dict[str, Any]:
    """All targets, those of one state, or those with a text in them; a deployment alone has a list only."""
    everything: Sequence[TargetView] = request.app.state.site.targets()
    asked = Asked.of(request)
    found = [each for each in everything if asked["state"] in ("", each.state) and _holds(each, asked["text"])]
    as_list = asked["view"] == "list" or len(everything) == 1
    targets = sorted(found if as_list else (each for each in found if each.reason), key=lambda each: _RANKS[each.state])
    rows: Sequence[Any] = targets if as_list else accounts(found)
    return {
        "title": "Targets",
        "view": listed(request, rows),
        "as_list": as_list,
        "targets": targets,
        "regions": sorted({each.region for each in found}),
        "found": len(found),
        "counts": Counter(each.state for each in everything),
        "total": len(everything),
        "accounts": len({each.account for each in everything}),
        "states": views.KINDS,
        "alone": views.why_alone(request.app.state.site.look(), len(everything)),
        "has_units": any(each.unit for each in everything),
        "version": version_of([asked["state"], asked["text"], asked["view"], found]),
    }


def _holds(target: TargetView, text: str) -> bool:
    name = f"{target.account}/{target.region}"
    return contains(text, name, target.version or "", target.unit or "", target.reason)


ROUTES = live("/targets", _shown, "targets.html")
