"""The fleet: each instance with the role that it carries and the one that it should carry."""

from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from rolekeeper_cli.console.fleet_cache import Fleet
from rolekeeper_cli.console.fleet_query import CONDITIONS, STATES, Query, choices, view_of
from rolekeeper_cli.console.page import page, unless_seen

# A small fleet is read in that time; of a larger one the first page is.
_PATIENCE_SECONDS = 1.5


def fleet(request: Request) -> Response:
    site, query = request.app.state.site, Query.read(request.query_params)
    known = site.fleet.ask(_PATIENCE_SECONDS)
    return page(
        request,
        "fleet.html",
        title="Fleet",
        states=STATES,
        conditions=CONDITIONS,
        choices=choices(known),
        **_values(request, known, query),
    )


def rows(request: Request) -> Response:
    """What of the page has changed since its version, for htmx; 204 where nothing has."""
    site, query = request.app.state.site, Query.read(request.query_params)
    known = site.fleet.ask()
    return unless_seen(request, known.version) or page(
        request, "fleet.html", part="rows", **_values(request, known, query)
    )


def reads(request: Request) -> Response:
    """How old the last full read is, and what it takes, for htmx."""
    known = request.app.state.site.fleet.ask()
    return page(request, "fleet.html", part="reads", fleet=known, cache=request.app.state.site.fleet)


def again(request: Request) -> Response:
    """Read the whole fleet again, and go back to the page."""
    request.app.state.site.fleet.read_again()
    address = Query.read(request.query_params).address()
    return RedirectResponse(f"/?{address}" if address else "/", 303)


def _values(request: Request, known: Fleet, query: Query) -> dict[str, Any]:
    site = request.app.state.site
    view = site.views.get((known.version, query), lambda: view_of(known, query))
    return {"view": view, "query": query, "fleet": known, "cache": site.fleet}


ROUTES = [
    Route("/", fleet),
    Route("/fleet/rows", rows),
    Route("/fleet/reads", reads),
    Route("/fleet/again", again),
]
