"""An edit that is held: what it would do, and beside that the buttons that approve and discard it."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from rolekeeper.aws.errors import AccessDeniedError
from rolekeeper.model.mapping import same_person
from rolekeeper_cli.console.edit_plans import EditPlan, planned
from rolekeeper_cli.console.forms import Form, number, posted
from rolekeeper_cli.console.page import mapping_url, page
from rolekeeper_cli.console.pages.mapping_edits import PATIENCE_SECONDS, said
from rolekeeper_cli.console.pages.mappings import key_of
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import UsageError
from rolekeeper_cli.uses import approvals, mappings, preview
from rolekeeper_cli.uses.proposal import foresee_held
from rolekeeper_cli.uses.rows import RowPlan


def held(request: Request) -> Response:
    """What approving would do."""
    there, key = request.app.state.site.look(), key_of(request.query_params)
    edit = approvals.held_edit(there, key)
    stored = there.app.revisions.read(key).held
    by = stored.by if stored else ""
    return page(
        request,
        "mapping_held.html",
        title=f"Held: {key}",
        key=key,
        mapping=mappings.row(there, key),
        edit=edit,
        by=by,
        own=same_person(by, there.caller.arn),
        plan=_plan(there, edit),
    )


@posted
def approve(request: Request, form: Form) -> Response:
    """Approve the revision that was shown, and no other."""
    site, key, revision = request.app.state.site, key_of(form), _revision(form)
    done = approvals.approve(site.look(), {key: revision}, patience=PATIENCE_SECONDS)
    site.mappings.forget()
    return RedirectResponse(said(site, mapping_url(key), done), 303)


@posted
def discard(request: Request, form: Form) -> Response:
    """Drop the revision that was shown, and no other."""
    site, key, revision = request.app.state.site, key_of(form), _revision(form)
    done = approvals.discard(site.look(), key, revision, patience=PATIENCE_SECONDS)
    well = f"Revision {revision} of {key} is discarded; no instance changes"
    site.mappings.forget()
    gone = site.look().app.table.get_row(key) is None
    return RedirectResponse(said(site, "/mappings" if gone else mapping_url(key), done, well=well), 303)


def _plan(there: Deployment, edit: approvals.HeldEdit) -> EditPlan:
    try:
        return planned(there, edit.key, RowPlan(), proposal=foresee_held(there, edit.key, edit.row))
    except AccessDeniedError:
        # Who may not look sees what the function counted.
        return EditPlan(
            edit.key, RowPlan(), None, preview=preview.of_held(there, edit.key, edit.row, number=edit.revision)
        )


def _revision(form: Form) -> int:
    found = number(form, "revision")
    if found is None:
        raise UsageError("the form names no revision", "look at the mapping again")
    return found


ROUTES = [
    Route("/mapping/held", held),
    Route("/mapping/approve", approve, methods=["POST"]),
    Route("/mapping/discard", discard, methods=["POST"]),
]
