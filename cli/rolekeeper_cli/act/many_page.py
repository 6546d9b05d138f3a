"""Changing many instances at once: those that were chosen in the fleet's list, with one plan of all, done once."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolekeeper.model.instance import Target
from rolekeeper_cli.act import use
from rolekeeper_cli.act.page import act_of, word_of
from rolekeeper_cli.act.use import Plan, Result
from rolekeeper_cli.aws.inventory import DoctorDeployment
from rolekeeper_cli.console.forms import Form, Outcome, do_once, keep, plan_of, posted, require_word, several
from rolekeeper_cli.console.jobs import Job
from rolekeeper_cli.console.page import Notice, done, listed, live, query_of, see_other
from rolekeeper_cli.errors import CommandError, UsageError
from rolekeeper_cli.fleet.cache import OPEN
from rolekeeper_cli.fleet.page import Query
from rolekeeper_cli.shell.layout import amount

# The most that are changed at once; a form holds the ids of about twice as many.
MOST = 1_000


@dataclass(eq=False, slots=True)
class Batch:
    """A form about chosen instances, by id, the job that finds out what it would do, and the one that does it."""

    form: Form
    chosen: Mapping[str, Target | None]
    job: Job
    doing: Job | None = None

    @property
    def plan(self) -> Plan | None:
        """None while it is being made, or where it can't be."""
        return self.job.found[0] if self.job.found else None


def _chosen(request: Request, form: Form) -> dict[str, Target | None]:
    """The instances that a form is about, each with its target where that is known."""
    site = request.app.state.site
    if former := form.get("of"):
        kept = site.plans.known(former)
        found = dict(kept.what.chosen) if kept and isinstance(kept.what, Batch) else {}
    elif "all" in form:
        query, fleet = Query.read(QueryParams(form["all"])), site.fleet.ask()
        if query.wrong or fleet.read_at is None:
            raise UsageError("which instances pass the filters isn't known", "look at the list again, and choose there")
        found = {row.id: row.target for row in filter(query.passes(query.terms), fleet.rows)}
    else:
        found = {each: site.fleet.target(each) for each in several(form, "instance")}
    if not found:
        raise UsageError("no instance is chosen", "choose some in the fleet's list")
    if len(found) > MOST:
        raise UsageError(f"{len(found):,} instances are chosen; at most {MOST:,} are changed at once", "choose fewer")
    return found


@posted
def plan(request: Request, form: Form) -> Response:
    site, chosen = request.app.state.site, _chosen(request, form)
    fleet = Counter(row.target for row in site.fleet.ask().rows)

    def work(deployment: DoctorDeployment) -> Iterator[Plan]:
        yield use.plan(deployment, act_of(form.get("act", ""), form, deployment.now()), chosen, fleet=fleet)

    return keep(request, "/fleet/many", Batch(form, chosen, site.jobs.begin(work)))


def shown(request: Request) -> dict[str, Any]:
    """A plan, with what hinders it, or with the results once it is being done."""
    kept = plan_of(request, Batch)
    batch = kept.what
    job, found, error = batch.doing or batch.job, batch.plan, batch.job.error
    version, ended = f"{batch.job.version}.{job.version}", job.end.is_set()
    if error and not isinstance(error, CommandError):
        raise error
    kept.shown = kept.shown or bool(ended and found)
    results: dict[str, Result] = {each.id: each for each in list(job.found)} if batch.doing else {}
    # What was refused comes first.
    rows = sorted(found.planned if found else (), key=lambda each: each.id not in results or not results[each.id].why)
    whom = amount(len(rows) if found else len(batch.chosen), "instance")
    return {
        "title": use.title(found.act, whom) if found else f"Change {whom}",
        "version": version,
        "news": query_of(request, version=version),
        "ended": ended,
        "kept": kept,
        "batch": batch,
        "plan": found,
        "job": job,
        "results": results,
        "counted": Counter(each.word for each in results.values()),
        "listed": listed(request, rows, "#instances"),
        "word": word_of(found) if found else "",
        "path": f"/fleet/many/plan/{request.path_params['plan']}",
    }


@posted
def write(request: Request, form: Form) -> Response:
    """Do it to all that are still as they were planned. It goes on when the page is closed, and is done once."""
    site, kept = request.app.state.site, plan_of(request, Batch)
    batch = kept.what

    def do() -> Outcome:
        found = batch.plan
        if not (found and found.planned):
            raise UsageError("nothing was changed: there is nothing to do", "choose other instances")
        require_word(form, word_of(found))

        def work(deployment: DoctorDeployment) -> Iterator[Result]:
            yield from use.carry_out(deployment, found.planned, turn=site.changing_instances)
            site.jobs.forget()
            # The fleet looks at them next, and at others once they are decided about.
            for each in found.planned[:OPEN]:
                site.fleet.row(each.id)

        batch.doing = site.jobs.begin(work)
        return Outcome(request.url.path, Notice("Submitted", kind="info"))

    try:
        do_once(request, kept, do)
    except UsageError as error:
        return done(request, request.url.path, Notice(error.what, (error.remedy,), "bad"))
    # It shows the results by itself.
    return see_other(request.url.path)


ROUTES = [
    Route("/fleet/many", plan, methods=["POST"]),
    *live("/fleet/many/plan/{plan}", shown, "many.html"),
    Route("/fleet/many/plan/{plan}", write, methods=["POST"]),
]
