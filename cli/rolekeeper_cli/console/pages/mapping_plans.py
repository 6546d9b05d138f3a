"""A plan of an edit of one mapping: the page that shows it, the button that writes that very plan, and what that did.

An edit that is held has its plan too, with the buttons that approve and discard it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from sys import intern
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolekeeper.aws.errors import AccessDeniedError
from rolekeeper.mappings.verdict import Status
from rolekeeper.model.mapping import MappingKey, same_person
from rolekeeper.model.problem import Kind
from rolekeeper_cli.console.forms import Form, Outcome, do_once, number, plan_of, posted
from rolekeeper_cli.console.jobs import followed, listed, look, query_of
from rolekeeper_cli.console.page import Notice, done, mapping_url, version_of
from rolekeeper_cli.console.pages.mappings import key_of
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import UsageError
from rolekeeper_cli.uses import edits, mappings, preview
from rolekeeper_cli.uses.edits import RowPlan, RowVerdict, Unpublished, Written
from rolekeeper_cli.uses.fleet import Seen, pages
from rolekeeper_cli.uses.preview import FleetPlan, Preview, Proposal, foresee, foresee_held
from rolekeeper_cli.uses.targets import Places

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
    """An instance that would change, wait or be blocked, as `plan` shows it, without what no page shows."""

    id: str
    name: str
    action: str
    carries: str
    will_carry: str
    reason: str

    @classmethod
    def of(cls, shown: Mapping[str, Any]) -> "PlannedInstance":
        # Each text once in memory: most instances share them.
        action, before, after, reason = (intern(shown[name] or "") for name in ("action", "from", "to", "reason"))
        return cls(shown["instance"], shown["name"], action, carries=before, will_carry=after, reason=reason)


@dataclass(frozen=True, slots=True)
class Expected:
    """What an edit would do.

    Attributes:
        edit: what Rolekeeper would make of the row, as `plan` shows it; None where it is in effect by now.
        preview: what would happen to instances, in sum.
        why: what else there is to know of the verdict; empty where it says only what follows.
        instances: the first `MOST` of those that don't stay as they are, and `more`, how many others there are.
    """

    edit: Mapping[str, Any] | None
    preview: Preview
    why: str = ""
    instances: Sequence[PlannedInstance] = ()
    more: int = 0


def expected(deployment: Deployment, plan: EditPlan) -> Expected:
    """What writing its rows would do; the preview says so if the caller lacks a permission."""
    try:
        return foreseen(deployment, plan.key, foresee(deployment, plan.rows))
    except AccessDeniedError as error:
        unknown = f"you aren't allowed {error.action} on {error.resource}"
        return Expected(None, Preview(unknown=unknown))


def expected_of_held(deployment: Deployment, edit: Unpublished) -> Expected:
    try:
        return foreseen(deployment, edit.key, foresee_held(deployment, edit))
    except AccessDeniedError:
        # Who may not look sees what the function counted.
        return Expected(None, preview.of_held(deployment, edit))


def foreseen(deployment: Deployment, key: MappingKey, proposal: Proposal) -> Expected:
    """What assessed rows would do to instances once they are in effect."""
    edit = next(iter(proposal.edits), None)
    # What the verdict says stands beside it, so it is no note.
    will = preview.of_proposal(deployment, proposal, approved=True)
    fleet = FleetPlan(deployment)
    found = map(PlannedInstance.of, fleet.documents(_instances(deployment, key, proposal)))
    kept, others = tuple(islice(found, MOST)), sum(1 for _ in found)
    return Expected(
        edit.document() if edit else None,
        replace(will, foreign=fleet.foreign),
        why=edit.besides if edit else "",
        instances=kept,
        more=others,
    )


def _instances(deployment: Deployment, key: MappingKey, proposal: Proposal) -> Iterator[Seen]:
    places = Places.chosen(deployment)
    for each in places.look(partial(pages, tags=[key]), proposal.enforced):
        if isinstance(each, Seen):
            yield each


def _looked_at(request: Request, name: str, path: str, expect: Callable[[Deployment], Expected]) -> dict[str, Any]:
    """What an edit would do, as a look: it is kept until something is written, or the fleet is read anew."""
    read_at = request.app.state.site.fleet.read_at
    values = look(request, name, lambda deployment: [expect(deployment)], since=read_at).values()
    will: Expected | None = values["first"]
    found = listed(request, will.instances if will else ())
    return values | {"will": will, "listed": found, "path": path, "query": partial(query_of, request)}


# ---- the plan of an edit ----


def shown(request: Request) -> dict[str, Any]:
    """A plan with the button that writes it, and the form that it came from, if any."""
    kept = plan_of(request, EditPlan)
    plan = kept.what
    values: dict[str, Any] = {"ended": True, "version": ""}
    path = f"/mapping/plan/{request.path_params['plan']}"
    if not kept.outcome:
        values = _looked_at(request, f"plan {version_of(plan.rows)}", path, expect=partial(expected, plan=plan))
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
        return Outcome(mapping_url(chosen.key) if stays else "/mappings", _notice(result))

    return do_once(request, plan, do)


# ---- the plan of an edit that is held ----


def held(request: Request) -> dict[str, Any]:
    deployment, key = request.app.state.site.look(), key_of(request.query_params)
    edit = edits.held_edit(deployment, key)
    stored = deployment.app.revisions.read(key).held
    by = stored.by if stored else ""
    own, expect = same_person(by, deployment.caller.arn), partial(expected_of_held, edit=edit)
    return _looked_at(request, f"held {version_of(edit)}", "/mapping/held", expect=expect) | {
        "title": f"Held: {key}",
        "key": key,
        "mapping": mappings.row(deployment, key),
        "edit": edit,
        "by": by,
        "own": own,
        "command": str(key.remedy(Kind.DISCARD if own else Kind.APPROVE, str(edit.revision))),
    }


@posted
def approve(request: Request, form: Form) -> Response:
    """Approve the revision that was shown, and no other."""
    site, key, revision = request.app.state.site, key_of(form), _revision(form)
    result = edits.approve(site.look(), {key: revision}, patience=PATIENCE_SECONDS)
    return done(request, "/mappings" if form.get("from") == "list" else mapping_url(key), _notice(result))


@posted
def discard(request: Request, form: Form) -> Response:
    """Drop the revision that was shown, and no other."""
    site, key, revision = request.app.state.site, key_of(form), _revision(form)
    result = edits.discard(site.look(), key, revision, patience=PATIENCE_SECONDS)
    well = f"Revision {revision} of {key} is discarded; no instance changes"
    gone = site.look().app.table.get_row(key) is None
    return done(request, "/mappings" if gone or form.get("from") == "list" else mapping_url(key), _notice(result, well))


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
        cause = f"it changes much, so revision {revision} waits until another person approves it"
        return Notice("Written, and not in effect yet", hints, "warn", cause=cause)
    if verdict.status == Status.WAITING:
        return Notice(f"{verdict.key} is {verdict.status}: {verdict.reason}", hints, "warn")
    return Notice(f"Written: {verdict.key} is {verdict.status}", hints, "bad", cause=verdict.reason)


def _well(verdict: RowVerdict) -> str:
    if verdict.gone:
        return f"{verdict.key} is deleted"
    revision = verdict.number("status_revision")
    return f"{verdict.key} is {verdict.status} as written: revision {revision} is in effect; its instances follow"


ROUTES = [
    *followed("/mapping/plan/{plan}", shown, "mapping_plan.html"),
    Route("/mapping/plan/{plan}", written, methods=["POST"]),
    *followed("/mapping/held", held, "mapping_held.html"),
    Route("/mapping/approve", approve, methods=["POST"]),
    Route("/mapping/discard", discard, methods=["POST"]),
]
