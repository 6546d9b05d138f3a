"""Changing one instance, by a form of its page, or many that were chosen in the fleet's list: one plan, done once."""

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import click
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolekeeper.instances.decide import exclusion
from rolekeeper.model.instance import Target
from rolekeeper.model.mapping import IGNORE_TAG, NO_ROLE
from rolekeeper.model.problem import Kind, Remedy, advice
from rolekeeper_cli.act import pins, use
from rolekeeper_cli.act.use import Act, Pin, Plan, Planned, Release, Result, Start, Tag, Untag
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.console import forms
from rolekeeper_cli.console.forms import Form, Outcome, do_once, keep, plan_of, posted, reason_of, trimmed
from rolekeeper_cli.console.jobs import Job
from rolekeeper_cli.console.page import Notice, done, grouped, live, query_of, see_other
from rolekeeper_cli.errors import CommandError, ServiceError, UsageError
from rolekeeper_cli.fleet.cache import OPEN
from rolekeeper_cli.fleet.page import Query
from rolekeeper_cli.instance import use as instances
from rolekeeper_cli.mapping.edits_page import PlannedInstance
from rolekeeper_cli.shell.arguments import Duration
from rolekeeper_cli.shell.layout import amount, second

_VERBS = ("attach", "replace", "detach")
_UNTOUCHED = "nothing was changed"
# The most that are changed at once; a form holds the ids of about twice as many.
MOST = 1_000
_MANY = "/fleet/many"

# ---- a form about instances, one or many ----


def act_of(kind: str, form: Form, now: datetime) -> Act:
    """The act that a form asks for. UsageError if it can't be meant.

    A tag is what the form says, blanks at its ends too: EC2 keeps them.
    """
    match kind:
        case "pin":
            return _pin(form)
        case "release":
            return Release(reason_of(form))
        case "tag" if form.get("do") == "remove":
            return Untag(form.get("key", ""))
        case "tag":
            return Tag(form.get("key", ""), form.get("value", ""))
        case "ignore":
            return Tag(IGNORE_TAG, _until(trimmed(form, "until"), now))
        case "start":
            return Start()
    raise UsageError("the form doesn't say what to do", "choose what to do")


def _pin(form: Form) -> Pin:
    """The pin that a form asks for: with a verb, in the page of an instance, or for whatever they carry."""
    verb = form.get("verb", "")
    if verb not in {"", *_VERBS}:
        raise UsageError(f"{verb!r} is none of {', '.join(_VERBS)}", _UNTOUCHED)
    role = NO_ROLE if verb == "detach" else trimmed(form, "role")
    if not role:
        raise UsageError("no role is named", f"name the role, under the role path, or {NO_ROLE}")
    profile, length = trimmed(form, "instance_profile"), _length(trimmed(form, "length"))
    return Pin(role, "" if role == NO_ROLE else profile, length, reason=reason_of(form), verb=verb)


def _length(text: str) -> timedelta | None:
    """How long a pin lasts, as `8h`; None where nothing is said."""
    try:
        return Duration().convert(text, None, None) if text else None
    except click.UsageError as error:
        raise UsageError(error.message, _UNTOUCHED) from error


def _until(text: str, now: datetime) -> str:
    """The value of the tag that has instances ignored until a time, which is written as itself or as a duration."""
    value = text
    with suppress(UsageError):
        value = second(now + (_length(text) or timedelta()))
    found = exclusion({IGNORE_TAG: value}, now)
    if found is None or found.code != "ignored":
        what = f"{text!r} is no time to come" if text else "no time is given until which they are ignored"
        raise UsageError(what, "write how long, as 8h or 7d, or a time with its zone")
    return value


# ---- planning ----


@dataclass(eq=False, slots=True)
class Batch:
    """A form about chosen instances, by id, the job that finds out what it would do, and the one that does it.

    `path` is where the plan's page is: below an instance's own, if the form is that page's, or below that of many.
    """

    form: Form
    path: str
    chosen: Mapping[str, Target | None]
    job: Job
    doing: Job | None = None

    @property
    def plan(self) -> Plan | None:
        """None while it is being made, or where it can't be."""
        return self.job.found[0] if self.job.found else None

    @property
    def one(self) -> Planned | None:
        """The instance whose page the form is of."""
        return self.plan.planned[0] if self.plan and self.path != _MANY else None

    @property
    def word(self) -> str:
        """What has to be typed to do it: a role that is taken away is missed at once."""
        return "Detach" if self.plan and self.plan.preview.impact.detach else ""

    @property
    def command(self) -> str:
        """What does the same in a terminal; empty for many."""
        if self.one is None:
            return ""
        place, id_ = self.one.place, self.one.id
        address = instances.addressed(place.deployment, id_)
        match place.act:
            case Pin(role, profile) as pin:
                named = filter(None, () if role == NO_ROLE else (role, profile))
                options = {"--for": trimmed(self.form, "length"), "--reason": pin.reason}
                words = [shlex.join(option) for option in options.items() if option[1]]
                verb = pin.verb or ("detach" if role == NO_ROLE else "replace" if self.one.carries else "attach")
                return " ".join([str(Remedy(Kind(verb), (address, *named))), *words])
            case Release():
                return str(Remedy(Kind.RELEASE, (address,)))
            case Tag(key, value):
                return str(Remedy(Kind.TAG, (id_, key, value), instances.account_options(place.deployment)))
            case Untag(key):
                return str(Remedy(Kind.UNTAG, (id_, key), instances.account_options(place.deployment)))
            case Start():
                return instances.starts(place.deployment, self.one.now.instance)


# What a form keeps where it is sent back.
_FIELDS = ("verb", "role", "instance_profile", "length", "reason", "do", "key", "value")
# Of what was typed into a field; an address has its length.
_KEPT = 512


@posted
def plan_one(request: Request, form: Form) -> Response:
    """Plan what an instance's page asks for; an invalid form goes back with what is wrong."""
    id_ = request.path_params["id"]
    path, deployment = f"/instance/{id_}", request.app.state.site.look_at(id_)
    chosen = {id_: deployment.settings.target}
    try:
        act = act_of(request.path_params["kind"], form, deployment.now())
        job = Job(deployment.now(), found=[use.plan(deployment, act, chosen)])
    except ServiceError:
        raise
    except CommandError as error:
        typed = {name: form[name] for name in _FIELDS if 0 < len(form.get(name, "")) <= _KEPT}
        return done(request, path, Notice(error.what, (error.remedy,), "bad"), **typed)
    job.end.set()
    return keep(request, path, Batch(form, path, chosen, job=job))


@posted
def plan_many(request: Request, form: Form) -> Response:
    site, chosen = request.app.state.site, _chosen(request, form)
    fleet = Counter(row.target for row in site.fleet.ask().rows)

    def work(deployment: Deployment) -> Iterator[Plan]:
        yield use.plan(deployment, act_of(form.get("act", ""), form, deployment.now()), chosen, fleet=fleet)

    return keep(request, _MANY, Batch(form, _MANY, chosen, job=site.jobs.begin(work)))


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
        found = {each: site.fleet.target(each) for each in forms.several(form, "instance")}
    if not found:
        raise UsageError("no instance is chosen", "choose some in the fleet's list")
    if len(found) > MOST:
        raise UsageError(f"{len(found):,} instances are chosen; at most {MOST:,} are changed at once", "choose fewer")
    return found


# ---- the plan, and doing it ----


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
    planned: Sequence[Planned] = found.planned if found else ()
    those = [_instance(one, results.get(one.id), batch) for one in planned]
    if found and not batch.doing:
        those += (
            PlannedInstance(out.id, out.name, "left out", kind="unknown", cause=out.why) for out in found.left_out
        )
    whom = batch.one.title if batch.one else amount(len(planned) if found else len(batch.chosen), "instance")
    return {
        "title": use.title(found.act, whom) if found else f"Change {whom}",
        "version": version,
        "news": query_of(request, version=version),
        "ended": ended,
        "kept": kept,
        "batch": batch,
        "plan": found,
        "job": job,
        "path": _path(request, batch),
        **grouped(request, those),
    }


def _instance(one: Planned, result: Result | None, batch: Batch) -> PlannedInstance:
    """An instance with what happens to it; once that is being done, with the result."""
    planned = PlannedInstance.of(one.then)
    if not batch.doing:
        return planned
    word = result.word if result else "not tried" if batch.doing.end.is_set() else "to come"
    kind = {"done": "ok", "refused": "bad", "to come": "wait"}.get(word, "unknown")
    happens = f"done: {planned.happens}" if word == "done" else word
    return replace(planned, kind=kind, happens=happens, cause=result.why if result else "", reason="")


def _path(request: Request, batch: Batch) -> str:
    return f"{batch.path}/plan/{request.path_params['plan']}"


@posted
def write(request: Request, form: Form) -> Response:
    """Do it to all that are still as they were planned; of many, it goes on when the page is closed."""
    kept = plan_of(request, Batch)
    batch, path = kept.what, _path(request, kept.what)

    def do() -> Outcome:
        if not (batch.plan and batch.plan.planned):
            raise UsageError("nothing was changed: there is nothing to do", "choose other instances")
        forms.require_word(form, batch.word)
        return _done_to_one(request, batch.one) if batch.one else _begun(request, batch, batch.plan)

    try:
        answer = do_once(request, kept, do)
    except UsageError as error:
        return done(request, path, Notice(error.what, (error.remedy,), "bad"))
    # The page of many shows the results by itself.
    return answer if batch.one else see_other(path)


def _done_to_one(request: Request, one: Planned) -> Outcome:
    site = request.app.state.site
    for result in use.carry_out(site.look_at(one.id), [one], turn=site.changing_instances):
        if result.error:
            raise result.error
    # The fleet looks at it next.
    site.fleet.row(one.id)
    return Outcome(f"/instance/{one.id}", _notice(one))


def _begun(request: Request, batch: Batch, plan: Plan) -> Outcome:
    site = request.app.state.site

    def work(deployment: Deployment) -> Iterator[Result]:
        yield from use.carry_out(deployment, plan.planned, turn=site.changing_instances)
        site.jobs.forget()
        # The fleet looks at them next, and at others once they are decided about.
        for each in plan.planned[:OPEN]:
            site.fleet.row(each.id)

    batch.doing = site.jobs.begin(work)
    return Outcome(_path(request, batch), Notice("Submitted", kind="info"))


def _notice(one: Planned) -> Notice:
    if not isinstance(one.place.act, Pin | Release):
        return Notice(f"{one.outcome}.", ("This page follows.",))
    awaited = pins.awaited(one.place.deployment, one.then, one.place.pin)
    if not awaited.delay:
        return Notice(f"{one.outcome}.", ("EC2 shows it within seconds; this page follows.",))
    lines = (advice("What ends that: ", awaited.remedy),) if awaited.remedy else ()
    return Notice(f"{one.outcome}, and EC2 doesn't show it yet", lines, "warn", cause=awaited.delay)


ROUTES = [
    Route("/fleet/many", plan_many, methods=["POST"]),
    *(
        route
        for path in ("/instance/{id}/plan/{plan}", "/fleet/many/plan/{plan}")
        for route in (*live(path, shown, "plan.html"), Route(path, write, methods=["POST"]))
    ),
    Route("/instance/{id}/{kind}", plan_one, methods=["POST"]),
]
