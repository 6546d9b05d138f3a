"""Editing a mapping: a form, then what it would do, then the writing of that very plan."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolekeeper.mappings.rows import COLUMNS, Attributes, Column, content
from rolekeeper.model.mapping import MappingKey, WhenOccupied, WhenStopped, WhenUnmatched
from rolekeeper.model.problem import Kind, Remedy, advice
from rolekeeper_cli.console.forms import Form, keep, number, posted, trimmed
from rolekeeper_cli.console.page import mapping_url, page, see_other, version_of
from rolekeeper_cli.console.pages.mapping_plans import EditPlan
from rolekeeper_cli.console.pages.mappings import key_of
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError, UsageError
from rolekeeper_cli.uses import edits
from rolekeeper_cli.uses.edits import RowPlan, UnreadableRowError, to_text

# ---- the form: a field for each column ----


_CHOICES = {"when_occupied": WhenOccupied, "when_unmatched": WhenUnmatched, "when_stopped": WhenStopped}
# What a person wants to say of nearly every mapping; the others wait below a fold.
_FIRST = ("role", "description", "owner", "priority", "enabled", "expires_at")


def fields(row: Attributes, typed: Form | None = None) -> list[dict[str, Any]]:
    """The form of a row, a field for each column; with what was typed into it, where it comes back.

    `text` is what is filled in, as `mapping set` takes it; `default` is what holds where nothing is filled in, empty
    for a required column; `choices` is empty where a person types.
    """
    texts = columns_of(row) if typed is None else typed
    found = [_field(column, texts.get(column.name, "")) for column in COLUMNS]
    return sorted(found, key=lambda each: _FIRST.index(each["name"]) if each["first"] else len(_FIRST))


def assignments(row: Attributes, typed: Form) -> list[str]:
    """The columns that were changed, as `mapping set` takes them: the others stay as they are."""
    names, texts = [column.name for column in COLUMNS if column.name in typed], columns_of(row)
    return [f"{name}={typed[name].strip()}" for name in names if not _is_same(typed[name], texts.get(name, ""))]


def columns_of(row: Attributes) -> Mapping[str, str]:
    """The columns that a row has, as text."""
    return {column.name: to_text(row[column.name]) for column in COLUMNS if column.name in row}


def _is_same(typed: str, text: str) -> bool:
    """Whether a field is unchanged: a browser leaves out line ends, and a person adds blanks."""
    filled = text.replace("\r", "").replace("\n", "")
    return typed in {text, filled} or typed.strip() == text


def _field(column: Column, text: str) -> dict[str, Any]:
    name = column.name
    return {
        "name": name,
        "label": name.replace("_", " ").capitalize(),
        "text": text,
        "default": "" if column.default == "required" else column.default,
        "choices": ["true", "false"] if column.kind.type == "BOOL" else [each.value for each in _CHOICES.get(name, ())],
        "first": name in _FIRST,
    }


# ---- the pages ----


_MOVED = (
    "Another actor edited this mapping since this form was opened. The form below shows what you typed; "
    "the row says now what is shown beside it."
)
# How long from now a mapping may be let to live by one click.
HOURS = (1, 8, 24, 168)


class _MovedRowError(CommandError):
    """Another actor edited the row since the form was opened."""


def new(request: Request) -> Response:
    _require_writes(request)
    row: Attributes = {}
    if request.query_params.get("key"):
        row = _row(request.app.state.site.look(), key_of(request.query_params))
    return _form(request, None, row)


def edit(request: Request) -> Response:
    _require_writes(request)
    key = key_of(request.query_params)
    row = _row(request.app.state.site.look(), key)
    return _form(request, key, row)


@posted
def planned(request: Request, form: Form) -> Response:
    """What the form would do. An invalid form, or one whose row was edited meanwhile, comes back as it was typed."""
    deployment, is_new = request.app.state.site.look(), bool(form.get("new"))
    try:
        key = _key(form)
    except UsageError:
        if not is_new:
            raise
        unnamed = UsageError("no tag is named", "fill in its key and its value; * stands for any value")
        return _form(request, None, {}, typed=form, problem=unnamed)
    row = deployment.app.table.get_row(key) or {}
    shown = (None, {}) if is_new else (key, row)
    try:
        rows = _typed(deployment, key, row, form=form)
    except CommandError as error:
        return _form(request, *shown, typed=form, problem=error)
    return keep(request, "/mapping", EditPlan(key, rows, _fields(shown[0], row, form) | {"slip": ""}))


def _typed(deployment: Deployment, key: MappingKey, row: Attributes, form: Form) -> RowPlan:
    """What writing it would change.

    Raises:
        CommandError: nothing, or nothing that can be meant.
    """
    is_new = bool(form.get("new"))
    if is_new and row:
        raise UsageError(f"there is a mapping {key} already", "edit that one, or name another tag")
    if not is_new and version_of(content(row)) != form.get("version"):
        raise _MovedRowError(_MOVED, "look, and plan again")
    changed = assignments(row, form)
    rows = edits.set_columns(deployment, key, changed) if changed else RowPlan()
    if rows.changes:
        return rows
    if is_new:
        raise UsageError("no role is named", "name the role that these instances carry, or NONE")
    raise CommandError("nothing was changed", "edit a field")


@posted
def changed(request: Request, form: Form) -> Response:
    """What one button of a mapping's page would do: disable, enable, expire, delete, or roll back."""
    deployment, key = request.app.state.site.look(), key_of(form)
    rows = _rows(deployment, key, form)
    if rows is None:
        return see_other(mapping_url(key, "/mapping/held"))
    if not rows.changes:
        raise CommandError("nothing would change: the row says so already", "go back to the mapping")
    return keep(request, "/mapping", EditPlan(key, rows))


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
        "fields": fields(row, typed),
        "row_version": version_of(content(row)),
        "columns": columns_of(row),
        "typed": typed or {},
        "is_new": key is None or bool(typed and typed.get("new")),
    }


def _rows(deployment: Deployment, key: MappingKey, form: Form) -> RowPlan | None:
    """What it would write; None to undo a held edit, which has a page of its own."""
    match form.get("what"):
        case "delete":
            return edits.remove(deployment, key)
        case "roll-back":
            to = number(form, "to")
            if to is None and form.get("to"):
                raise UsageError("the form names no revision", "choose one on the mapping's page")
            if to is None and (edit := edits.unpublished(deployment, key)):
                return None if edit.revision else edits.back_to_published(deployment, edit)
            return edits.restoring(deployment, edits.revision_to_restore(deployment, key, to))
        case "disable" | "enable" as what:
            return edits.set_columns(deployment, key, [f"enabled={'true' if what == 'enable' else 'false'}"])
        case "expire":
            hours = number(form, "hours")
            if hours is None or hours not in HOURS:
                raise UsageError("no time is chosen", "choose when the mapping ends")
            at = deployment.now() + timedelta(hours=hours)
            return edits.set_columns(deployment, key, [f"expires_at={at:%Y-%m-%dT%H:%M:%SZ}"])
    raise UsageError("the form doesn't say what to do", "use the buttons of the mapping's page")


def _key(form: Form) -> MappingKey:
    """The mapping that the form is about: typed into a new one, otherwise as the page named it."""
    if form.get("new"):
        form = {name: trimmed(form, name) for name in ("key", "value")}
    return key_of(form)


def _require_writes(request: Request) -> None:
    """Show nobody a form that can't be sent."""
    if not request.app.state.site.writes:
        raise CommandError("this console only shows", "to edit mappings, start it again: rolekeeper console --write")


def _row(deployment: Deployment, key: MappingKey) -> Attributes:
    row = deployment.app.table.get_row(key)
    if row is None:
        raise CommandError(f"there is no mapping {key}", advice("see: ", Remedy(Kind.MAPPINGS)))
    return row


ROUTES = [
    Route("/mapping/new", new),
    Route("/mapping/edit", edit),
    Route("/mapping/plan", planned, methods=["POST"]),
    Route("/mapping/change", changed, methods=["POST"]),
]
