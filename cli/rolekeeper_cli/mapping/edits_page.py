"""Editing a mapping: a form, then what it would do, then the writing of that very plan, and what that did.

An edit that is held has its plan too, with the buttons that approve and discard it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from itertools import islice
from sys import intern
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolekeeper.aws.errors import AccessDeniedError
from rolekeeper.mappings.rows import COLUMNS, Attributes, content
from rolekeeper.mappings.verdict import Status
from rolekeeper.model.instance import Action
from rolekeeper.model.mapping import MappingKey
from rolekeeper.model.problem import Kind, Remedy, advice
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.console.forms import Form, Outcome, do_once, keep, plan_of, posted, trimmed
from rolekeeper_cli.console.jobs import followed, look
from rolekeeper_cli.console.page import HINTS, Notice, done, grouped, mapping_url, number, page, see_other, version_of
from rolekeeper_cli.errors import CommandError, UsageError
from rolekeeper_cli.instance.seen import Seen, pages, profile_name, short_reason
from rolekeeper_cli.instance.use import name_of
from rolekeeper_cli.mapping import preview
from rolekeeper_cli.mapping.page import key_of
from rolekeeper_cli.mapping.preview import FleetPlan, Preview
from rolekeeper_cli.mapping.rehearsal import foresee
from rolekeeper_cli.row import edits, names, schema
from rolekeeper_cli.row import use as mappings
from rolekeeper_cli.row.edits import OpenEdit, RowPlan, UnreadableRowError, Written, to_text
from rolekeeper_cli.row.view import PlannedEditView
from rolekeeper_cli.shell.layout import second
from rolekeeper_cli.target.use import Places

# ---- the form: a field for each column ----

# What a person wants to say of nearly every mapping; the others wait below a fold.
_FIRST = ("role", "description", "owner", "priority", "enabled", "expires_at")


def fields(row: Attributes, typed: Form | None = None) -> list[dict[str, Any]]:
    """The form of a row, a field for each column; with what was typed into it, where it comes back.

    `text` is what is filled in, as `mapping set` takes it; `default` is what holds where nothing is filled in, empty
    for a required column; `choices` is empty where a person types.
    """
    texts = columns_of(row) if typed is None else typed
    found = [
        {
            "name": column.name,
            "label": column.name.replace("_", " ").capitalize(),
            "text": texts.get(column.name, ""),
            "default": "" if column.default == "required" else column.default,
            "choices": schema.choices(column.name),
            "first": column.name in _FIRST,
        }
        for column in COLUMNS
    ]
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


# ---- the pages ----

_MOVED = (
    "Another actor edited this mapping since this form was opened. The form below shows what you typed; "
    "the row says now what is shown beside it."
)
# How long from now a mapping may be let to live by one click.
HOURS = (1, 8, 24, 168)


class _MovedRowError(CommandError):
    """Another actor edited the row since the form was opened."""


def edit(request: Request) -> Response:
    """The form of a mapping, or of a new one, which may begin with the columns of another; none that can't be sent."""
    if not request.app.state.site.writes:
        raise CommandError("this console only shows", "to edit mappings, start it again: rolekeeper console --write")
    is_new = request.url.path.endswith("/new")
    if is_new and not request.query_params.get("key"):
        return _form(request, None, {})
    key = key_of(request.query_params)
    row = request.app.state.site.look().app.table.get_row(key)
    if row is None:
        raise CommandError(f"there is no mapping {key}", advice("see: ", Remedy(Kind.MAPPINGS)))
    # A step of another page may propose a priority.
    typed = {**columns_of(row), **{name: text for name, text in request.query_params.items() if name == "priority"}}
    return _form(request, None if is_new else key, row, typed=typed)


@posted
def planned(request: Request, form: Form) -> Response:
    """What the form would do. An invalid form, or one whose row was edited meanwhile, comes back as it was typed."""
    deployment, is_new = request.app.state.site.look(), bool(form.get("new"))
    try:
        # Typed into a new one, otherwise as the page named it.
        key = key_of({name: trimmed(form, name) for name in ("key", "value")} if is_new else form)
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
    """What writing it would change. CommandError if nothing, or nothing that can be meant."""
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
    """What one button of a mapping's page would do: disable, enable, expire, delete, discard, or roll back."""
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
    """What it would write; None to discard a held edit, which has a page of its own."""
    match form.get("what"):
        case "delete":
            return edits.remove(deployment, key)
        case "roll-back":
            to = number(form, "to")
            if to is None and form.get("to"):
                raise UsageError("the form names no revision", "choose one on the mapping's page")
            return edits.restoring(deployment, edits.revision_to_restore(deployment, key, to))
        case "discard":
            edit = edits.open_edit(deployment, key)
            return None if edit.revision else edit.discarding(deployment)
        case "disable" | "enable" as what:
            return edits.set_columns(deployment, key, [f"enabled={'true' if what == 'enable' else 'false'}"])
        case "expire":
            hours = number(form, "hours")
            if hours is None or hours not in HOURS:
                raise UsageError("no time is chosen", "choose when the mapping ends")
            at = deployment.now() + timedelta(hours=hours)
            return edits.set_columns(deployment, key, [f"expires_at={second(at)}"])
    raise UsageError("the form doesn't say what to do", "use the buttons of the mapping's page")


# ---- what an edit would do ----

# Rolekeeper judges a row in about a second; who waits longer for it is better shown the page, which follows.
PATIENCE_SECONDS = 20
# At most this many instances are kept of each plan, as memory is bounded; the counts are of all.
MOST = 10_000


@dataclass(frozen=True, slots=True)
class EditPlan:
    """An edit of one mapping. The rows are those that it was planned on: `write` refuses others.

    `form` is what the form shows that it came from; None where it came from a button.
    """

    key: MappingKey
    rows: RowPlan
    form: Mapping[str, Any] | None = None

    @property
    def deletes(self) -> bool:
        return any(each.kind == "deleted" for each in self.rows.changes)


@dataclass(frozen=True, slots=True)
class PlannedInstance:
    """An instance of a plan, and what `happens` to it, as to others. Of an exception, `kind` is its status."""

    id: str
    name: str
    happens: str
    kind: str = ""
    cause: str = ""  # why it is an exception: in a few words, and in full
    reason: str = ""
    will_carry: str = ""

    @classmethod
    def of(cls, seen: Seen) -> "PlannedInstance":
        before, after = (profile_name(arn) or "no role" for arn in (seen.carries, seen.should_carry))
        kind = {Action.WAIT: "wait", Action.HOLD: "bad"}.get(seen.decision.action, "" if before != after else "ok")
        stays = kind == "bad" or before == after
        found = cls(
            seen.instance.key.id,
            name_of(seen.instance),
            # Each text once in memory: most instances share them.
            happens=intern(f"keeps {before}" if stays else f"{before} → {after}"),
            kind=kind,
            will_carry=intern(after),
        )
        return replace(found, cause=short_reason(seen).cause, reason=intern(seen.reason)) if seen.waits else found


@dataclass(frozen=True, slots=True)
class Expected:
    """What an edit would do."""

    # What Rolekeeper would make of the row, as `plan` shows it; None where it is in effect by now.
    edit: PlannedEditView | None
    preview: Preview  # what would happen to instances, in sum
    why: str = ""  # what else there is to know of the verdict; empty where it says only what follows
    # The first `MOST` of those that don't stay as they are, and `more`, how many others there are.
    instances: Sequence[PlannedInstance] = ()
    more: int = 0


def expected(deployment: Deployment, key: MappingKey, wanted: RowPlan | OpenEdit) -> Expected:
    """What writing rows, or approving a held edit, would do; in sum only, and as far as that is known, where denied."""
    asked = [wanted] if isinstance(wanted, OpenEdit) else wanted
    try:
        proposal = foresee(deployment, asked)
        # What the verdict says stands beside it, so it is no note.
        will = preview.of_proposal(deployment, proposal, approved=True)
        looked = Places.chosen(deployment).look(partial(pages, tags=[key]), proposal.enforced)
        fleet = FleetPlan(deployment)
        found = map(PlannedInstance.of, fleet.changing(each for each in looked if isinstance(each, Seen)))
        kept, others = tuple(islice(found, MOST)), sum(1 for _ in found)
    except AccessDeniedError:
        return Expected(None, preview.of_edit(deployment, asked))
    edit = next((row for row in proposal.edits if row.key == key), None)
    return Expected(
        edit.view() if edit else None,
        replace(will, foreign=fleet.foreign),
        why=edit.note(HINTS) if edit else "",
        instances=kept,
        more=others,
    )


def _looked_at(request: Request, path: str, key: MappingKey, wanted: RowPlan | OpenEdit) -> dict[str, Any]:
    """What an edit would do, as a look: it is kept until something is written, or the fleet is read anew."""
    fleet, name = request.app.state.site.fleet, f"{type(wanted).__name__} {version_of(wanted)}"
    seen = look(request, name, lambda deployment: [expected(deployment, key, wanted)], since=fleet.read_at).seen()
    will: Expected | None = seen.newest
    tagged = 0 if will else sum(key.matches(dict(row.tags)) for row in fleet.known())
    about = {"will": will, "path": path, "tagged": tagged}
    return {**vars(seen), **about, **grouped(request, will.instances if will else ())}


# ---- the plan of an edit ----


def shown(request: Request) -> dict[str, Any]:
    """A plan with the button that writes it, and the form that it came from, if any."""
    kept = plan_of(request, EditPlan)
    plan = kept.what
    values: dict[str, Any] = {"ended": True, "version": ""}
    path = f"/mapping/plan/{request.path_params['plan']}"
    if not kept.outcome:
        values = _looked_at(request, path, plan.key, wanted=plan.rows)
        kept.shown = kept.shown or values["ended"]
    about = {"title": f"Plan: {plan.key}", "key": plan.key, "plan": plan, "kept": kept}
    return {**about, **(plan.form or {"fields": None}), **values}


@posted
def written(request: Request, _form: Form) -> Response:
    site, plan = request.app.state.site, plan_of(request, EditPlan)
    chosen = plan.what

    def do() -> Outcome:
        result = edits.write(site.look(), chosen.rows, patience=PATIENCE_SECONDS)
        # A deletion that is held leaves the row; one that isn't judged yet, maybe not.
        stays = not chosen.deletes or result.moved or result.bad
        return Outcome(mapping_url(chosen.key) if stays else "/mappings", _notice(site.look(), result))

    return do_once(request, plan, do)


# ---- the plan of an edit that is held ----


def held(request: Request) -> dict[str, Any]:
    deployment, key = request.app.state.site.look(), key_of(request.query_params)
    edit = edits.open_edit(deployment, key, is_held=True)
    own = edits.is_own(deployment, edit.held)
    return _looked_at(request, "/mapping/held", key, wanted=edit) | {
        "title": f"Held: {key}",
        "key": key,
        "mapping": mappings.views(deployment, [key])[0],
        "edit": edit,
        "by": edit.held.by if edit.held else "",
        "own": own,
        "command": str(key.remedy(Kind.DISCARD if own else Kind.APPROVE, str(edit.revision))),
    }


@posted
def approve(request: Request, form: Form) -> Response:
    """Approve the revision that was shown, and no other."""
    site, (key, revision) = request.app.state.site, _chosen(form)
    result = edits.approve(site.look(), {key: revision}, patience=PATIENCE_SECONDS)
    return done(request, "/mappings" if form.get("from") == "list" else mapping_url(key), _notice(site.look(), result))


@posted
def discard(request: Request, form: Form) -> Response:
    """Drop the revision that was shown, and no other."""
    site, (key, revision) = request.app.state.site, _chosen(form)
    edit = edits.open_edit(site.look(), key, revision, is_held=True)
    result = edits.discard(site.look(), edit, patience=PATIENCE_SECONDS)
    notice = _notice(site.look(), result, f"Revision {revision} of {key} is discarded; no instance changes")
    gone = site.look().app.table.get_row(key) is None
    return done(request, "/mappings" if gone or form.get("from") == "list" else mapping_url(key), notice)


def _chosen(form: Form) -> tuple[MappingKey, int]:
    """The mapping, and the revision that was shown."""
    revision = number(form, "revision")
    if revision is None:
        raise UsageError("the form names no revision", "look at the mapping again")
    return key_of(form), revision


# ---- what a write did ----


def _notice(deployment: Deployment, result: Written, well: str = "") -> Notice:
    """What a write did; `well` says it where the row is in effect as written."""
    if result.moved:
        rows = ", ".join(map(str, result.moved))
        what = f"Nothing was written: another actor changed {rows} since the plan"
        return Notice(what, ("look at it, and plan anew",), "bad")
    if result.unjudged:
        return Notice("Written. Rolekeeper has not judged it yet; this page follows", kind="info")
    [row] = result.rows
    if row.is_done:
        if well or row.is_gone:
            return Notice(well or f"{row.key} is deleted")
        return Notice(
            f"{row.key} is {row.status} as written: revision {row.revision} is in effect; its instances follow"
        )
    if row.is_held:
        cause = f"it changes much, so revision {row.held_revision} waits until another person approves it"
        return Notice("Written, and not in effect yet", kind="warn", cause=cause)
    reason = row.view().reason or ""
    if row.status == Status.WAITING:
        return Notice(f"{row.key} is {row.status}: {reason}", kind="warn")
    meant = names.nearest_role(row.role, names.path_roles(deployment)) if row.is_rejected else ""
    hints = (f"did you mean the role {meant}?",) if meant else ()
    return Notice(f"Written: {row.key} is {row.status}", hints, "bad", cause=reason)


ROUTES = [
    Route("/mapping/new", edit),
    Route("/mapping/edit", edit),
    Route("/mapping/plan", planned, methods=["POST"]),
    Route("/mapping/change", changed, methods=["POST"]),
    *followed("/mapping/plan/{plan}", shown, "mapping_plan.html"),
    Route("/mapping/plan/{plan}", written, methods=["POST"]),
    *followed("/mapping/held", held, "mapping_held.html"),
    Route("/mapping/approve", approve, methods=["POST"]),
    Route("/mapping/discard", discard, methods=["POST"]),
]
