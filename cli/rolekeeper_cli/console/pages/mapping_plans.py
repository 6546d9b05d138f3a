"""A plan of an edit of one mapping: the page that shows it, the button that writes that very plan, and what that did.

An edit that is held has its plan too, with the buttons that approve and discard it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolekeeper.aws.errors import AccessDeniedError
from rolekeeper.mappings.verdict import Status
from rolekeeper.model.mapping import MappingKey, same_person
from rolekeeper_cli.console.forms import Form, Outcome, do_once, number, plan_of, posted
from rolekeeper_cli.console.page import Notice, done, mapping_url, page
from rolekeeper_cli.console.pages.mappings import key_of
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import UsageError
from rolekeeper_cli.uses import edits, mappings, preview
from rolekeeper_cli.uses.edits import RowPlan, RowVerdict, Written
from rolekeeper_cli.uses.fleet import Seen, pages
from rolekeeper_cli.uses.preview import FleetPlan, Preview, Proposal, foresee, foresee_held
from rolekeeper_cli.uses.targets import Places

# Rolekeeper judges a row in about a second; who waits longer for it is better shown the page, which follows.
PATIENCE_SECONDS = 20
# At most this many instances are shown; the counts are of all.
NAMED = 200


@dataclass(frozen=True, slots=True)
class EditPlan:
    """What an edit of one mapping would do. The rows are those that it was planned on: `write` refuses others.

    Attributes:
        edit: what Rolekeeper would make of the row, as `plan` shows it; None where it is in effect by now.
        why: what else there is to know of the verdict; empty where it says only what follows.
        preview: what would happen to instances, in sum.
        instances: those that would change, wait or be blocked, as `plan` shows them, the first `NAMED`.
        more: how many more of them there are.
        form: what the form shows that it came from; None where it came from a button.
    """

    key: MappingKey
    rows: RowPlan
    edit: Mapping[str, Any] | None
    preview: Preview
    why: str = ""
    instances: Sequence[Mapping[str, Any]] = ()
    more: int = 0
    form: Mapping[str, Any] | None = None

    @property
    def deletes(self) -> bool:
        return any(each.kind == "deleted" for each in self.rows.changes)


def plan(deployment: Deployment, key: MappingKey, rows: RowPlan) -> EditPlan:
    """What writing these rows would do; the preview says so if the caller lacks a permission."""
    try:
        return planned(deployment, key, rows, proposal=foresee(deployment, rows))
    except AccessDeniedError as error:
        unknown = f"you aren't allowed {error.action} on {error.resource}"
        return EditPlan(key, rows, None, preview=Preview(unknown=unknown))


def planned(deployment: Deployment, key: MappingKey, rows: RowPlan, proposal: Proposal) -> EditPlan:
    """A plan of assessed rows, with what it would do to instances once it is in effect."""
    edit = next(iter(proposal.edits), None)
    # What the verdict says stands beside it, so it is no note.
    expected = preview.of_proposal(deployment, proposal, approved=True)
    fleet = FleetPlan(deployment)
    found = fleet.documents(_instances(deployment, key, proposal))
    named, others = list(islice(found, NAMED)), sum(1 for _ in found)
    expected = replace(expected, foreign=fleet.foreign)
    return EditPlan(
        key,
        rows,
        edit.document() if edit else None,
        preview=expected,
        why=edit.besides if edit else "",
        instances=named,
        more=others,
    )


def _instances(deployment: Deployment, key: MappingKey, proposal: Proposal) -> Iterator[Seen]:
    places = Places.chosen(deployment)
    for each in places.look(partial(pages, tags=[key]), proposal.enforced):
        if isinstance(each, Seen):
            yield each


# ---- the plan of an edit ----


def plan_made(request: Request) -> Response:
    """A plan with the button that writes it, and the form that it came from, if any."""
    plan = plan_of(request, EditPlan)
    if plan.outcome:
        return plan.outcome.shown(request, again=True)
    plan.shown = True
    found = plan.what
    again = found.form or {"fields": None}
    return page(request, "mapping_plan.html", plan=found, key=found.key, title=f"Plan: {found.key}", **again)


@posted
def written(request: Request, _form: Form) -> Response:
    site, plan = request.app.state.site, plan_of(request, EditPlan)
    chosen = plan.what

    def do() -> Outcome:
        result = edits.write(site.look(), chosen.rows, patience=PATIENCE_SECONDS)
        # A deletion that is held leaves the row; one that isn't judged yet, maybe not.
        stays = not chosen.deletes or result.moved or result.bad
        return Outcome(mapping_url(chosen.key) if stays else "/mappings", _notice(result))

    return do_once(request, plan, do)


# ---- the plan of an edit that is held ----


def held(request: Request) -> Response:
    deployment, key = request.app.state.site.look(), key_of(request.query_params)
    edit = edits.held_edit(deployment, key)
    stored = deployment.app.revisions.read(key).held
    by = stored.by if stored else ""
    return page(
        request,
        "mapping_held.html",
        title=f"Held: {key}",
        key=key,
        mapping=mappings.row(deployment, key),
        edit=edit,
        by=by,
        own=same_person(by, deployment.caller.arn),
        plan=_plan(deployment, edit),
    )


@posted
def approve(request: Request, form: Form) -> Response:
    """Approve the revision that was shown, and no other."""
    site, key, revision = request.app.state.site, key_of(form), _revision(form)
    result = edits.approve(site.look(), {key: revision}, patience=PATIENCE_SECONDS)
    return done(request, mapping_url(key), _notice(result))


@posted
def discard(request: Request, form: Form) -> Response:
    """Drop the revision that was shown, and no other."""
    site, key, revision = request.app.state.site, key_of(form), _revision(form)
    result = edits.discard(site.look(), key, revision, patience=PATIENCE_SECONDS)
    well = f"Revision {revision} of {key} is discarded; no instance changes"
    gone = site.look().app.table.get_row(key) is None
    return done(request, "/mappings" if gone else mapping_url(key), _notice(result, well))


def _plan(deployment: Deployment, edit: edits.Unpublished) -> EditPlan:
    try:
        return planned(deployment, edit.key, RowPlan(), proposal=foresee_held(deployment, edit))
    except AccessDeniedError:
        # Who may not look sees what the function counted.
        counted = preview.of_held(deployment, edit)
        return EditPlan(edit.key, RowPlan(), None, preview=counted)


def _revision(form: Form) -> int:
    found = number(form, "revision")
    if found is None:
        raise UsageError("the form names no revision", "look at the mapping again")
    return found


# ---- what a write did ----


def _notice(result: Written, well: str = "") -> Notice:
    """What a write did; `well` says it where the row is in effect as written."""
    if result.moved:
        names = ", ".join(map(str, result.moved))
        what = f"Nothing was written: another actor changed {names} since the plan"
        return Notice(what, ("look at it, and plan anew",), "bad")
    if result.unjudged:
        return Notice("Written. Rolekeeper has not judged it yet; this page follows", kind="info")
    [verdict] = result.rows
    if verdict.good:
        return Notice(well or _well(verdict))
    hints = (f"did you mean the role {verdict.meant}?",) if verdict.meant else ()
    if verdict.status == Status.HELD:
        revision = verdict.number("held_revision")
        what = f"Written. It changes much, so revision {revision} waits until another person approves it"
        return Notice(what, hints, "warn")
    kind = "warn" if verdict.status == Status.WAITING else "bad"
    return Notice(f"{verdict.key} is {verdict.status}: {verdict.reason}", hints, kind)


def _well(verdict: RowVerdict) -> str:
    if verdict.gone:
        return f"{verdict.key} is deleted"
    revision = verdict.number("status_revision")
    return f"{verdict.status} as written: revision {revision} is in effect; its instances follow"


ROUTES = [
    Route("/mapping/plan/{plan}", plan_made),
    Route("/mapping/plan/{plan}", written, methods=["POST"]),
    Route("/mapping/held", held),
    Route("/mapping/approve", approve, methods=["POST"]),
    Route("/mapping/discard", discard, methods=["POST"]),
]
