"""Editing a mapping: a form, then what it would do, then the writing of that very plan."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from rolekeeper.mappings.rows.columns import Attributes
from rolekeeper.model.mapping import MappingKey
from rolekeeper.model.problem import Kind, Remedy, advice
from rolekeeper_cli.console import mapping_form
from rolekeeper_cli.console.edit_plans import EditPlan, plan
from rolekeeper_cli.console.forms import Form, number, posted, trimmed
from rolekeeper_cli.console.links import mapping_url
from rolekeeper_cli.console.page import page
from rolekeeper_cli.console.pages.mappings import key_of
from rolekeeper_cli.console.written import said
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError, UsageError
from rolekeeper_cli.writes import mappings as writes
from rolekeeper_cli.writes.row_plan import RowPlan
from rolekeeper_cli.writes.set_columns import UnreadableRowError

# Rolekeeper judges a row in about a second; who waits longer for it is better shown the page, which follows.
PATIENCE_SECONDS = 20
_MOVED = (
    "Another actor edited this mapping since this form was opened. The form below shows what you typed; "
    "the row says now what is shown beside it."
)
# How long from now a mapping may be let to live by one click.
HOURS = (1, 8, 24, 168)


class _MovedRowError(CommandError):
    """Another actor edited the row meanwhile."""


def new(request: Request) -> Response:
    """An empty form, or one filled from another mapping."""
    _require_writes(request)
    row: Attributes = {}
    if request.query_params.get("key"):
        row = _row(request.app.state.site.look(), key_of(request.query_params))
    return _form(request, None, row)


def edit(request: Request) -> Response:
    """The form of one mapping."""
    _require_writes(request)
    key = key_of(request.query_params)
    row = _row(request.app.state.site.look(), key)
    return _form(request, key, row)


@posted
def planned(request: Request, form: Form) -> Response:
    """What the form would do. A form that can't be meant, or whose row moved, comes back as it was typed."""
    there = request.app.state.site.look()
    try:
        key = _key(form)
    except UsageError:
        if not form.get("new"):
            raise
        unnamed = UsageError("no tag is named", "fill in its key and its value; * stands for any value")
        return _form(request, None, {}, typed=form, problem=unnamed)
    row = there.app.table.get_row(key) or {}
    known_key = None if form.get("new") else key
    if form.get("new") and row:
        taken = UsageError(f"there is a mapping {key} already", "edit that one, or name another tag")
        return _form(request, None, {}, typed=form, problem=taken)
    if known_key and mapping_form.version(row) != form.get("version"):
        return _form(request, key, row, typed=form, problem=_MovedRowError(_MOVED, "look, and plan again"))
    changed = mapping_form.assignments(row, form)
    try:
        rows = writes.set_columns(there, key, changed) if changed else RowPlan()
    except CommandError as error:
        return _form(request, known_key, row, typed=form, problem=error)
    if not rows.changes:
        unchanged = CommandError("nothing was changed", "edit a field")
        if form.get("new"):
            unchanged = UsageError("no role is named", "name the role that these instances carry, or NONE")
        return _form(request, known_key, row, typed=form, problem=unchanged)
    return _show(request, replace(plan(there, key, rows), typed=(form, row)))


@posted
def changed(request: Request, form: Form) -> Response:
    """What one button of a mapping's page would do: disable, enable, expire, delete, or roll back."""
    there, key = request.app.state.site.look(), key_of(form)
    rows = _rows(there, key, form)
    if rows is None:
        return RedirectResponse(mapping_url(key, "/mapping/held"), 303)
    if not rows.changes:
        raise CommandError("nothing would change: the row says so already", "go back to the mapping")
    return _show(request, plan(there, key, rows))


def plan_made(request: Request) -> Response:
    """A plan, with the button that writes it; beside it the form that it came from, if it did."""
    id_ = request.query_params.get("plan", "")
    found = _known(request.app.state.site.plans.get(id_))
    again: dict[str, Any] = {"fields": None}
    if found.typed:
        form, row = found.typed
        again = _fields(found.key, row, form) | {"slip": ""}
    return page(request, "mapping_plan.html", id=id_, plan=found, key=found.key, title=f"Plan: {found.key}", **again)


@posted
def written(request: Request, form: Form) -> Response:
    """Write a plan, and say what Rolekeeper made of it."""
    site = request.app.state.site
    chosen = _known(site.plans.take(form.get("plan", "")))
    done = writes.write(site.look(), chosen.rows, patience=PATIENCE_SECONDS)
    site.mappings.forget()
    # A deletion that is held leaves the row; one that isn't judged yet, maybe not.
    there = not chosen.deletes or done.moved or done.bad
    target = mapping_url(chosen.key) if there else "/mappings"
    return RedirectResponse(said(site, target, done), 303)


def _show(request: Request, found: EditPlan) -> Response:
    # A page of its own, or the browser's way back to it would ask to send the form once more.
    return RedirectResponse(f"/mapping/planned?plan={request.app.state.site.plans.keep(found)}", 303)


def _known(found: EditPlan | None) -> EditPlan:
    if found is None:
        raise CommandError("this plan was written already, or is no longer known", "look at the mapping, and plan anew")
    return found


def _form(
    request: Request,
    key: MappingKey | None,
    row: Attributes,
    *,
    typed: Form | None = None,
    problem: CommandError | None = None,
) -> Response:
    slip = problem.column if isinstance(problem, UnreadableRowError) else ""
    values = _fields(key, row, typed) | {"moved": isinstance(problem, _MovedRowError), "slip": slip}
    title = f"Edit {key}" if key else "New mapping"
    status = 409 if problem else 200
    return page(request, "mapping_form.html", status, title=title, key=key, problem=problem, **values)


def _fields(key: MappingKey | None, row: Attributes, typed: Form | None) -> dict[str, Any]:
    return {
        "fields": mapping_form.fields(row, typed),
        "version": mapping_form.version(row),
        "columns": mapping_form.columns_of(row),
        "typed": typed or {},
        "is_new": key is None or bool(typed and typed.get("new")),
    }


def _rows(there: Deployment, key: MappingKey, form: Form) -> RowPlan | None:
    """What it would write; None where it undoes an edit that is held, which has a page of its own."""
    match form.get("what"):
        case "delete":
            return writes.remove(there, key)
        case "roll-back":
            to = number(form, "to")
            if to is None and form.get("to"):
                raise UsageError("the form names no revision", "choose one on the mapping's page")
            back = writes.roll_back(there, key, to)
            return None if back.edit and back.edit.held else back.plan
        case "disable" | "enable" as what:
            return writes.set_columns(there, key, [f"enabled={'true' if what == 'enable' else 'false'}"])
        case "expire":
            hours = number(form, "hours")
            if hours is None or hours not in HOURS:
                raise UsageError("no time is chosen", "choose when the mapping ends")
            at = there.now() + timedelta(hours=hours)
            return writes.set_columns(there, key, [f"expires_at={at:%Y-%m-%dT%H:%M:%SZ}"])
    raise UsageError("the form doesn't say what to do", "use the buttons of the mapping's page")


def _key(form: Form) -> MappingKey:
    """The mapping that the form is about: typed into a new one, else as the page named it.

    Raises:
        UsageError: it names none.
    """
    if form.get("new"):
        form = {name: trimmed(form, name) for name in ("key", "value")}
    return key_of(form)


def _require_writes(request: Request) -> None:
    """Show nobody a form that can't be sent.

    Raises:
        CommandError: the console only shows.
    """
    if not request.app.state.site.writes:
        raise CommandError("this console only shows", "to edit mappings, start it again: rolekeeper console --write")


def _row(there: Deployment, key: MappingKey) -> Attributes:
    row = there.app.table.get_row(key)
    if row is None:
        raise CommandError(f"there is no mapping {key}", advice("see: ", Remedy(Kind.MAPPINGS)))
    return row


ROUTES = [
    Route("/mapping/new", new),
    Route("/mapping/edit", edit),
    Route("/mapping/plan", planned, methods=["POST"]),
    Route("/mapping/change", changed, methods=["POST"]),
    Route("/mapping/planned", plan_made),
    Route("/mapping/write", written, methods=["POST"]),
]
