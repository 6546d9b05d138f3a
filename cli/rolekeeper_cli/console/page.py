"""A page: a template filled in. Every value is escaped, and an undefined one is a fault."""

from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from rolekeeper_cli import installed


@cache
def templates() -> Environment:
    """The templates, each read once."""
    return Environment(
        loader=FileSystemLoader(installed.TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Fill in a template; `site`, `request` and `caller` are there for all of them."""
    site = request.app.state.site
    text = templates().get_template(template).render(site=site, request=request, **values)
    return HTMLResponse(text, status)
