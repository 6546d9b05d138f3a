"""Changing one instance: a form leads to the page of what it would do, and that to doing it."""

import shlex
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import click
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolekeeper.instances.decide import exclusion
from rolekeeper.model.mapping import IGNORE_TAG, NO_ROLE
from rolekeeper.model.problem import Kind, Remedy, advice
from rolekeeper_cli.act import pins, use
from rolekeeper_cli.act.use import Act, Pin, Plan, Planned, Release, Start, Tag, Untag
from rolekeeper_cli.console.forms import Form, Outcome, do_once, keep, plan_of, posted, reason_of, require_word, trimmed
from rolekeeper_cli.console.page import Notice, done, page
from rolekeeper_cli.errors import CommandError, ServiceError, UsageError
from rolekeeper_cli.instance import use as instances
from rolekeeper_cli.shell.arguments import Duration
from rolekeeper_cli.shell.layout import second

_VERBS = ("attach", "replace", "detach")
_UNTOUCHED = "nothing was changed"

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
        raise UsageError(f"{text!r} is no time to come", "write how long, as 8h or 7d, or a time with its zone")
    return value


def word_of(plan: Plan) -> str:
    """What has to be typed to do it: a role that is taken away is missed at once."""
    return "Detach" if plan.preview.impact.detach else ""


# ---- one instance ----


@dataclass(frozen=True, slots=True)
class Edit:
    """A form of an instance's page, and the plan of what it asks for."""

    form: Form
    plan: Plan

    @property
    def one(self) -> Planned:
        return self.plan.planned[0]

    @property
    def command(self) -> str:
        """What does the same in a terminal."""
        place, id_ = self.one.place, self.one.id
        address = instances.addressed(place.deployment, id_)
        match place.act:
            case Pin(role, profile) as pin:
                named = filter(None, () if role == NO_ROLE else (role, profile))
                options = {"--for": trimmed(self.form, "length"), "--reason": pin.reason}
                words = [shlex.join(option) for option in options.items() if option[1]]
                return " ".join([str(Remedy(Kind(pin.verb), (address, *named))), *words])
            case Release():
                return str(Remedy(Kind.RELEASE, (address,)))
            case Tag(key, value):
                return str(Remedy(Kind.TAG, (id_, key, value)))
            case Untag(key):
                return str(Remedy(Kind.UNTAG, (id_, key)))
            case Start():
                return instances.starts(place.deployment, self.one.now.instance)


# What a form keeps where it is sent back.
_FIELDS = ("verb", "role", "instance_profile", "length", "reason", "do", "key", "value")
# Of what was typed into a field; an address has its length.
_KEPT = 512


@posted
def plan(request: Request, form: Form) -> Response:
    """What the edit would do, as a page of its own; an invalid form goes back with what is wrong."""
    id_ = request.path_params["id"]
    deployment = request.app.state.site.look_at(id_)
    try:
        act = act_of(request.path_params["kind"], form, deployment.now())
        planned = use.plan(deployment, act, {id_: deployment.settings.target})
        return keep(request, f"/instance/{id_}", Edit(form, planned))
    except ServiceError:
        raise
    except CommandError as error:
        return _back(request, error, form)


def show(request: Request) -> Response:
    kept = plan_of(request, Edit)
    kept.shown, edit = True, kept.what
    title = use.title(edit.plan.act, edit.one.title)
    return page(request, "instance_plan.html", title=title, kept=kept, edit=edit, word=word_of(edit.plan))


@posted
def write(request: Request, form: Form) -> Response:
    """Do it, if the instance is as it was when it was shown, and go to its page, which shows what happened."""
    site, kept = request.app.state.site, plan_of(request, Edit)
    one = kept.what.one

    def do() -> Outcome:
        require_word(form, word_of(kept.what.plan))
        for result in use.carry_out(site.look_at(one.id), [one], turn=site.changing_instances):
            if result.error:
                raise result.error
        # The fleet looks at it next.
        site.fleet.row(one.id)
        return Outcome(f"/instance/{one.id}", _notice(one))

    try:
        return do_once(request, kept, do)
    except UsageError as error:
        return _back(request, error, kept.what.form)


def _notice(one: Planned) -> Notice:
    if not isinstance(one.place.act, Pin | Release):
        return Notice(f"{one.outcome}.", ("This page follows.",))
    awaited = pins.awaited(one.place.deployment, one.then, one.place.pin)
    if not awaited.delay:
        return Notice(f"{one.outcome}.", ("EC2 shows it within seconds; this page follows.",))
    lines = (advice("What ends that: ", awaited.remedy),) if awaited.remedy else ()
    return Notice(f"{one.outcome}, and EC2 doesn't show it yet", lines, "warn", cause=awaited.delay)


def _back(request: Request, error: CommandError, form: Form) -> Response:
    """To the instance's page with what is wrong, and with what was typed into the form that is refused."""
    kept = {name: form[name] for name in _FIELDS if 0 < len(form.get(name, "")) <= _KEPT}
    notice = Notice(error.what, (error.remedy,), "bad")
    return done(request, f"/instance/{request.path_params['id']}", notice, **kept)


ROUTES = [
    Route("/instance/{id}/plan/{plan}", show),
    Route("/instance/{id}/plan/{plan}", write, methods=["POST"]),
    Route("/instance/{id}/{kind}", plan, methods=["POST"]),
]
