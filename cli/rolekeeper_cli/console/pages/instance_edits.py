"""Changing one instance: a form leads to what it would do, and that to doing it. Both are POSTs."""

from collections.abc import Sequence
from http import HTTPStatus
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from rolekeeper.model.problem import Advice
from rolekeeper_cli.console import instance_edits
from rolekeeper_cli.console.forms import Form, posted
from rolekeeper_cli.console.instance_edits import KINDS, MovedError
from rolekeeper_cli.console.page import page
from rolekeeper_cli.errors import CommandError, ServiceError, UsageError

# What a form keeps where it is sent back, and what its plan carries on.
_FIELDS = ("verb", "role", "instance_profile", "length", "reason", "do", "key", "value")

# Of what was typed into a field; an address has its length.
_KEPT = 512


@posted
def plan(request: Request, form: Form) -> Response:
    """What the edit would do; a form that can't be meant goes back with what is wrong."""
    site, id_, kind = request.app.state.site, request.path_params["id"], _kind(request)
    try:
        planned = instance_edits.plan(site.look_at(id_), id_, kind, form=form)
    except ServiceError:
        raise
    except CommandError as error:
        return _back(request, "bad", error.what, lines=[error.remedy], form=form)
    fields = {name: form[name] for name in _FIELDS if form.get(name)}
    return page(request, "instance_plan.html", title=planned.what, plan=planned, id=id_, kind=kind, fields=fields)


@posted
def write(request: Request, form: Form) -> Response:
    """Do it, and go to the instance's page, which says what happened."""
    site, id_, kind = request.app.state.site, request.path_params["id"], _kind(request)
    try:
        done = instance_edits.carry_out(site.look_at(id_), id_, kind, form=form)
    except (MovedError, UsageError) as error:
        return _back(request, "bad", error.what, lines=[error.remedy], form=form)
    site.fleet.row(id_)
    return _back(request, done.kind, done.text, lines=done.lines)


def _kind(request: Request) -> str:
    """Which edit it is, by the address; raises HTTPException where there is none such."""
    kind = str(request.path_params["kind"])
    if kind not in KINDS:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    return kind


def _back(request: Request, kind: str, text: str, lines: Sequence[str | Advice], form: Form | None = None) -> Response:
    """To the instance's page with a notice, and with the form as it was where it goes back."""
    said = request.app.state.site.say(kind, text, lines)
    kept = {name: form[name] for name in _FIELDS if 0 < len(form.get(name, "")) <= _KEPT} if form else {}
    return RedirectResponse(f"/instance/{request.path_params['id']}?{urlencode({'said': said, **kept})}", 303)


ROUTES = [
    Route("/instance/{id}/{kind}", plan, methods=["POST"]),
    Route("/instance/{id}/{kind}/write", write, methods=["POST"]),
]
