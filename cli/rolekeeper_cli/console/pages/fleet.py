"""The fleet: each instance with the role that it carries and the one that it should carry."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolekeeper_cli.console.page import page


def fleet(request: Request) -> Response:
    """The first page."""
    return page(request, "fleet.html", title="Fleet")


ROUTES = [Route("/", fleet)]
