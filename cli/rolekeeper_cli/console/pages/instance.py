"""One instance: what it carries and should carry, why, what its role may do, what happened, and how to undo that."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from rolekeeper_cli.console.instance_story import NoSuchInstanceError, Story, tell
from rolekeeper_cli.console.page import page
from rolekeeper_cli.instances import ID, SeveralNamedError
from rolekeeper_cli.views import explain, history

_NOTHING_NEW, _NOT_FOUND = 204, 404
# The newest entries of a history that CloudTrail is asked about: each takes a call or more, two a second.
_ASKED = 10
# What a form on the page may be given beforehand, as its address says it.
_PREFILLED = ("verb", "role", "instance_profile", "length", "reason", "key", "value")


def instance(request: Request) -> Response:
    """The page; a name leads to the page of the id, and one that several have to all of them."""
    text = request.path_params["id"]
    stamp = _stamp(request, text)
    try:
        found = _story(request, text, stamp)
    except SeveralNamedError as error:
        return RedirectResponse(f"/?{urlencode({'tag': f'Name={error.name}'})}", 303)
    except NoSuchInstanceError as error:
        return page(request, "instance_unknown.html", _NOT_FOUND, title="No such instance", error=error)
    if found.id != text:
        return RedirectResponse(f"/instance/{quote(found.id)}", 303)
    form = {name: request.query_params.get(name, "") for name in _PREFILLED}
    return page(request, "instance.html", title=_title(found), form=form, part=False, **_values(request, found, stamp))


def facts(request: Request) -> Response:
    """What of the page changes while it is open, for htmx; 204 where nothing has."""
    id_ = request.path_params["id"]
    stamp = _stamp(request, id_)
    asked = request.query_params
    if (asked.get("stamp"), asked.get("minute")) == (str(stamp), str(_minute(request))):
        return Response(status_code=_NOTHING_NEW)
    try:
        found = _story(request, id_, stamp)
    except NoSuchInstanceError as error:
        return page(request, "instance_unknown.html", _NOT_FOUND, title="No such instance", error=error)
    return page(request, "instance_facts.html", part=True, **_values(request, found, stamp))


def who(request: Request) -> Response:
    """Who did it, as CloudTrail has it, which takes seconds: a part for htmx, a page for a browser without scripts.

    With `?history=yes`, who did what led to each of the newest entries of its history.
    """
    site, id_ = request.app.state.site, request.path_params["id"]

    def ask() -> Mapping[str, Any]:
        # Two calls a second in an account and Region: one page asks at a time.
        with site.asking_who:
            return explain.explained(site.look_at(id_), id_, ask_who=True)

    if request.query_params.get("history"):
        with site.asking_who:
            entries = history.entries(site.look_at(id_), id_, _ASKED, ask_who=True)
        row = site.fleet.row(id_)
        title = f"Who did it: {row.name or id_ if row else id_}"
        return page(request, "instance_who.html", title=title, id=id_, answers=[], entries=entries)
    stamp = _stamp(request, id_)
    shown = site.answers.get(id_, stamp, _minute(request), make=ask) if stamp else ask()
    template = "instance_who_part.html" if "HX-Request" in request.headers else "instance_who.html"
    title = f"Who did it: {shown['name'] or id_}"
    return page(request, template, title=title, id=id_, answers=shown["who"], entries=None)


def _story(request: Request, text: str, stamp: int) -> Story:
    """The story as it was told for this stamp; while the fleet doesn't know the instance, it is told each time."""
    site = request.app.state.site

    def make() -> Story:
        return tell(site.look_at(text), text, lambda: _names(request))

    return site.stories.get(text, stamp, _minute(request), make=make) if stamp else make()


def _stamp(request: Request, text: str) -> int:
    """What the fleet knows of it has this stamp; 0 where it is no id, or the fleet doesn't know it."""
    return request.app.state.site.fleet.stamp(text) if ID.fullmatch(text) else 0


def _minute(request: Request) -> int:
    """The time in minutes: what isn't the instance's own, as its role's policies, is read again each minute."""
    return int(request.app.state.site.time() // 60)


def _names(request: Request) -> list[str]:
    """The ids and names that there are, as far as the fleet was read."""
    rows = request.app.state.site.fleet.ask().rows
    return [name for row in rows for name in (row.id, row.name) if name]


def _values(request: Request, story: Story, stamp: int) -> Mapping[str, Any]:
    row = request.app.state.site.fleet.row(story.id)
    return {"story": story, "stamp": stamp, "minute": _minute(request), "row": row}


def _title(story: Story) -> str:
    name = story.shown["name"] if story.shown else ""
    return name or story.id


ROUTES = [
    Route("/instance/{id}", instance),
    Route("/instance/{id}/facts", facts),
    Route("/instance/{id}/who", who),
]
