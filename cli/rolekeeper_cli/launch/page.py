"""What launch templates, groups and fleets will give their instances; first those that a person should look at."""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from starlette.requests import Request

from rolekeeper.model.mapping import MappingKey
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.console.jobs import followed, look
from rolekeeper_cli.console.page import Asked, contains, listed, query
from rolekeeper_cli.fleet.cache import MOST
from rolekeeper_cli.instance.seen import profile_name
from rolekeeper_cli.launch.launchers import ORIGINS, everywhere
from rolekeeper_cli.launch.use import Forecast
from rolekeeper_cli.launch.view import Verdict
from rolekeeper_cli.row.effect import withheld
from rolekeeper_cli.target.use import Places

# As a status has it: its shape. An instance that stays occupied is a foreign one of the fleet.
VERDICTS = {
    Verdict.OCCUPIED: "foreign",
    Verdict.BLOCKED: "bad",
    Verdict.REPLACED: "drift",
    Verdict.LATE: "wait",
    Verdict.UNKNOWN: "unknown",
    Verdict.BORN_RIGHT: "ok",
    Verdict.LEFT_ALONE: "unknown",
    Verdict.NO_MAPPING: "unknown",
}


def _look(deployment: Deployment) -> Iterator[Forecast | Mapping[str, Any]]:
    """The forecasts, target by target; then what else the page says."""
    places = Places.chosen(deployment)
    found = everywhere(deployment, places)
    yield from islice(found, MOST)
    cut = next(found, None) is not None
    yield {"unseen": places.unseen_in_words(), "withheld": withheld(deployment), "cut": cut}


def _shown(request: Request) -> dict[str, Any]:
    """All of them, those of one verdict, or those with a text in them."""
    seen = look(request, "launches", _look).seen()
    found = sorted((each for each in seen.found if isinstance(each, Forecast)), key=lambda each: each.urgency)
    rest = seen.found[len(found) :]
    asked = Asked.of(request)
    known = [each for each in found if asked["beside"] or not each.is_beside]
    wanted = [each for each in known if asked["verdict"] in ("", each.verdict) and _holds(each, asked["text"])]
    view = listed(request, wanted, "#launches")
    return vars(seen) | {
        "title": "Launches",
        "rest": rest[0] if rest else {"unseen": [], "withheld": "", "cut": False},
        "view": view,
        "rows": [_row(each, request.app.state.site.here()) for each in view["rows"]],
        "verdicts": VERDICTS,
        "counts": Counter(each.verdict for each in known),
        "total": len(known),
        "hidden": len(found) - len(known),
    }


def _holds(found: Forecast, text: str) -> bool:
    launcher, template = found.launcher, found.launcher.template
    names = (launcher.name, launcher.id, template.name if template else "", str(found.target))
    roles = (launcher.profile_name, profile_name(found.should_carry) or "")
    return contains(text, *names, *roles, str(found.mapping or ""), found.reason)


def _row(found: Forecast, here: Mapping[str, Any]) -> dict[str, Any]:
    """Its document, with its target if that isn't the console's own, and the query of a list of its instances.

    AWS gives each of them a tag that names what launched it.
    """
    key, where = ORIGINS[found.launcher.kind], {"account": found.target.account, "region": found.target.region}
    elsewhere = any(here[name] != value for name, value in where.items())
    asked = {"tag": MappingKey(key, found.launcher.tags[key]), **(where if elsewhere else {})}
    more = {"what": str(found.launcher.kind), "target": found.target if elsewhere else "", "instances": query(asked)}
    return found.view().as_mapping() | more


ROUTES = followed("/launches", _shown, "launches.html")
