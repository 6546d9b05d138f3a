"""Whether software on an instance uses its roles, and until when former ones are valid: on a line of time, in words."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper.model.problem import Kind, Remedy, typed
from rolekeeper_cli.console.page import page, see_other
from rolekeeper_cli.console.pages.instance import read_once
from rolekeeper_cli.explained import refusal
from rolekeeper_cli.uses.instances import ID, addressed, key_of
from rolekeeper_cli.uses.uptake import Held, Status, Uptake, of_instance, sdk

# What is shown of the past, and before its oldest change: where a bar begins can be seen.
_PAST = timedelta(hours=6)
_BEFORE = timedelta(minutes=15)
# How far apart the times on the axis are: the first step of which at most that many fit.
_STEPS = [timedelta(minutes=each) for each in (5, 15, 30, 60, 120)]
_HOURS = 7
# In percent: there the text of an hour would be cut off.
_EDGE = 6


def uptake(request: Request) -> Response:
    """What CloudTrail says, which takes seconds: a part for htmx, a page for a browser without scripts."""
    site, id_ = request.app.state.site, request.path_params["id"]
    if not ID.fullmatch(id_):
        return see_other(f"/instance/{quote(id_)}")
    deployment, row = site.look_at(id_), site.fleet.row(id_)
    name = row.name if row else ""

    def ask() -> Uptake:
        # Two calls a second in an account and Region: one page asks at a time.
        with site.asking_who:
            return of_instance(deployment, key_of(deployment, id_), name)

    values: dict[str, Any] = {"id": id_, "title": f"Does software use it: {name or id_}", "sdk": sdk}
    part = "part" if "HX-Request" in request.headers else ""
    try:
        found = read_once(request, "uptake", id_, read=ask)
    except AwsRefusalError as error:
        return page(request, "instance_uptake.html", part=part, shown=None, unknown=refusal(error).what, **values)
    revoke = Remedy(Kind.REVOKE, (addressed(deployment, id_),))
    commands = {each.role: typed(f"{revoke} --role {each.role}") for each in found.former}
    values |= {"shown": found.document(), "commands": commands, "lane": lane(found, deployment.now())}
    return page(request, "instance_uptake.html", part=part, unknown=found.unknown_because, **values)


def lane(found: Uptake, now: datetime) -> Mapping[str, Any]:
    """Each role on a line of time, since its oldest change of the past hours until the last credentials expire.

    Places are in percent of its width: `bars` have `x`, `width` and a kind, `marks` and `hours` an `x`.
    """
    changes = [at for each in found.roles for at in (each.since, each.until) if at and at > now - _PAST]
    begin = min(changes, default=now - _PAST) - _BEFORE
    # Of what another actor attached it isn't known since when, but two roles are never attached at once.
    free = max([begin, *(_taken(each, begin) for each in found.former)])
    end = max([now, *(at for each in found.former if (at := _valid_until(each)))])

    def place(at: datetime) -> float:
        return round(100 * min(max((at - begin) / (end - begin), 0), 1), 2)

    rows: list[dict[str, Any]] = [
        {
            "role": each.role,
            "carried": each.carried,
            "bars": [
                {"kind": kind, "x": place(since), "width": max(0, round(place(until) - place(since), 2))}
                for kind, since, until in _bars(each, free if each.carried else begin, now)
            ],
            "marks": [{"kind": kind, "x": place(at)} for kind, at in _marks(each) if at >= begin],
        }
        for each in found.roles
    ]
    hours = [{"x": place(each), "at": each} for each in _hours(begin, end)]
    kinds = {drawn["kind"] for row in rows for drawn in (*row["bars"], *row["marks"])}
    return {"begin": begin, "end": end, "now": place(now), "rows": rows, "hours": hours, "kinds": kinds}


def _bars(held: Held, begin: datetime, now: datetime) -> Iterator[tuple[str, datetime, datetime]]:
    """When it was carried, and from when until when credentials of a former role may be valid."""
    if held.carried:
        yield "carried", held.since or begin, now
        return
    taken = _taken(held, begin)
    yield "carried", held.since or begin, taken
    yield "valid", taken, _valid_until(held) or taken


def _valid_until(held: Held) -> datetime | None:
    """Until when credentials of a former role can be used: a policy may deny what is valid."""
    return held.denied_before if held.status is Status.CUT_OFF else held.valid_until


def _taken(held: Held, begin: datetime) -> datetime:
    """When a former role was taken; if that isn't known, when it was seen last."""
    since = held.since or begin
    return held.until or max(since, held.delivered.at if held.delivered else since)


def _marks(held: Held) -> Iterator[tuple[str, datetime]]:
    if held.delivered:
        yield "delivered", held.delivered.at
    if held.first_use:
        yield "first", held.first_use.at
    if held.last_use and held.last_use != held.first_use:
        yield "last" if held.carried else "still", held.last_use.at


def _hours(begin: datetime, end: datetime) -> Iterator[datetime]:
    """The times that are written below: full hours, or what is between them."""
    step = next((each for each in _STEPS if (end - begin) / each <= _HOURS), _STEPS[-1])
    edge = (end - begin) * _EDGE / 100
    at = begin.replace(hour=0, minute=0, second=0, microsecond=0)
    at += step * -((begin + edge - at) // -step)
    while at <= end - edge:
        yield at
        at += step


ROUTES = [Route("/instance/{id}/uptake", uptake)]
