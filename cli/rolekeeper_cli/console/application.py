"""The web application: all pages over one deployment, and what it answers to what fails."""

import logging

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from rolekeeper_cli import installed
from rolekeeper_cli.console import errors
from rolekeeper_cli.console.guard import STATIC
from rolekeeper_cli.console.page import page
from rolekeeper_cli.console.pages import (
    doctor,
    fleet,
    instance,
    instance_edits,
    mapping_edits,
    mapping_plans,
    mappings,
    roles,
    settings,
    targets,
)
from rolekeeper_cli.console.site import Site

PAGES = (fleet, instance, instance_edits, mappings, mapping_edits, mapping_plans, roles, doctor, targets, settings)


def application(site: Site) -> Starlette:
    """The pages. Who may ask is the guard's to say."""
    pages = [route for each in PAGES for route in each.ROUTES]
    made = Starlette(
        routes=[*pages, Mount("/static", StaticFiles(directory=installed.STATIC))],
        exception_handlers={
            HTTPException: _refused,
            **dict.fromkeys(errors.EXPLAINED, _explained),
            # Starlette raises it again once the page is answered: the server writes it to stderr.
            Exception: _bug,
        },
    )
    made.state.site = site
    return made


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _show(request, errors.refused(error))


def _explained(request: Request, error: Exception) -> Response:
    return _show(request, errors.explain(error, writing=request.method == "POST"))


def _bug(request: Request, _error: Exception) -> Response:
    mishap = errors.bug()
    try:
        return _show(request, mishap)
    except Exception:
        # It is what every page has that fails.
        logging.getLogger(__name__).exception("the page that says so failed too")
        return mishap.answer()


def _show(request: Request, mishap: errors.Mishap) -> Response:
    if request.url.path.startswith(STATIC):
        return mishap.answer()  # for browsers that weren't let in, too
    return page(request, "mishap.html", mishap.status, title=mishap.title, mishap=mishap)
