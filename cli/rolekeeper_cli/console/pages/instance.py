"""One instance: what it carries and should carry, why, what its role may do, what happened, and how to undo that."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from rolekeeper_cli.console.instance_story import NoSuchInstanceError, Story, tell
from rolekeeper_cli.console.page import page
from rolekeeper_cli.instances import ID
from rolekeeper_cli.views import explain, history

_NOTHING_NEW, _NOT_FOUND = 204, 404
# The newest entries of a history that CloudTrail is asked about: each takes a call or more, two a second.
_ASKED = 10
# What a form on the page may be given beforehand, as its address says it.
_PREFILLED = ("verb", "role", "instance_profile", "length", "reason", "key", "value")


def instance(request: Request) -> Response:
    """The page; a name leads to the page of the id."""
    site, text = request.app.state.site, request.path_params["id"]
    stamp = site.fleet.stamp(text) if ID.fullmatch(text) else 0
    try:
        found = _story(request, text, stamp)
    except NoSuchInstanceError as error:
        return page(request, "instance_unknown.html", _NOT_FOUND, title="No such instance", error=error)
    if found.id != text:
        return RedirectResponse(f"/instance/{quote(found.id)}", 303)
    form = {name: request.query_params.get(name, "") for name in _PREFILLED}
    return page(request, "instance.html", title=_title(found), form=form, part=False, **_values(request, found, stamp))


def facts(request: Request) -> Response:
    """What of the page changes while it is open, for htmx; 204 where nothing has."""
    site, id_ = request.app.state.site, request.path_params["id"]
    stamp = site.fleet.stamp(id_)
    if request.query_params.get("stamp") == str(stamp):
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
    # Two calls a second in an account and Region: one page asks at a time.
    with site.asking_who:
        if request.query_params.get("history"):
            entries = history.entries(site.look(), id_, _ASKED, ask_who=True)
            row = site.fleet.row(id_)
            title = f"Who did it: {row.name or id_ if row else id_}"
            return page(request, "instance_who.html", title=title, id=id_, answers=[], entries=entries)
        shown = explain.explained(site.look(), id_, ask_who=True)
    template = "instance_who_part.html" if "HX-Request" in request.headers else "instance_who.html"
    title = f"Who did it: {shown['name'] or id_}"
    return page(request, template, title=title, id=id_, answers=shown["who"], entries=None)


def _story(request: Request, text: str, stamp: int) -> Story:
    """The story as it was told for this stamp; while the fleet doesn't know the instance, it is told each time."""
    site = request.app.state.site

    def make() -> Story:
        return tell(site.look(), text, lambda: _names(request))

    return site.stories.get(text, stamp, make) if stamp else make()


def _names(request: Request) -> list[str]:
    """The ids and names that there are, as far as the fleet was read."""
    rows = request.app.state.site.fleet.ask().rows
    return [name for row in rows for name in (row.id, row.name) if name]


def _values(request: Request, story: Story, stamp: int) -> Mapping[str, Any]:
    row = request.app.state.site.fleet.row(story.id)
    return {"story": story, "stamp": stamp, "row": row}


def _title(story: Story) -> str:
    name = story.shown["name"] if story.shown else ""
    return name or story.id


ROUTES = [
    Route("/instance/{id}", instance),
    Route("/instance/{id}/facts", facts),
    Route("/instance/{id}/who", who),
]
