"""Changing one instance: a form leads to the page of what it would do, and that to doing it."""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http import HTTPStatus

import click
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolekeeper.model.instance import InstanceState
from rolekeeper.model.mapping import NO_ROLE, Pin
from rolekeeper.model.problem import Advice, Kind, Remedy, advice
from rolekeeper_cli.arguments import Duration
from rolekeeper_cli.console.forms import Form, Outcome, do_once, keep, plan_of, posted, reason_of, require_word, trimmed
from rolekeeper_cli.console.page import Notice, done, page
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError, ServiceError, UsageError
from rolekeeper_cli.uses import instances, pins, preview
from rolekeeper_cli.uses.fleet import Seen, profile_name, seen_now
from rolekeeper_cli.uses.instances import addressed, title
from rolekeeper_cli.uses.pins import Pinned, Release, Wish
from rolekeeper_cli.uses.preview import Preview

DETACH = "Detach"
_VERBS = ("attach", "replace", "detach")
_UNTOUCHED = "nothing was changed"
# What is done as the caller, who is of the deployment's own account; all else is done by the functions.
_BY_CALLER = frozenset({"tag", "start"})


@dataclass(frozen=True, slots=True)
class Plan:
    """What an edit would do to an instance, as it was `seen`."""

    what: str  # the edit, as a title: `Attach s3-read to web-1`
    seen: Seen
    do: Callable[[], Notice]
    preview: Preview | None = None  # None where it changes no role
    notes: tuple[str | Advice, ...] = ()  # sentences about what else happens
    word: str = ""  # what has to be typed to do it; empty for nothing
    command: str = ""  # what does the same in a terminal
    kind: str = ""  # pin, release, tag or start, and `form` says more of it
    form: Form = field(default_factory=dict)

    @property
    def id(self) -> str:
        return self.seen.instance.key.id


def planned_edit(deployment: Deployment, id_: str, kind: str, form: Form) -> Plan:
    """What an edit (pin, release, tag or start) would do. CommandError if it can't be done."""
    if deployment.elsewhere and kind in _BY_CALLER:
        account = deployment.settings.account
        raise UsageError(f"only the credentials of account {account} can do that to {id_}", _UNTOUCHED)
    plan = _PLANS[kind](deployment, seen_now(deployment, instances.key_of(deployment, id_)), form)
    return replace(plan, kind=kind, form=form)


def wish(form: Form, verb: str, remedy: str = "name the role, under the role path") -> Wish:
    """The pin that a form asks for."""
    role, profile = (NO_ROLE, "") if verb == "detach" else (trimmed(form, "role"), trimmed(form, "instance_profile"))
    if not role:
        raise UsageError("no role is named", remedy)
    return Wish(verb, role, profile, length=length(trimmed(form, "length")), reason=reason_of(form))


def length(text: str) -> timedelta | None:
    """How long a pin lasts, as `8h`; None where nothing is said."""
    try:
        return Duration().convert(text, None, None) if text else None
    except click.UsageError as error:
        raise UsageError(error.message, _UNTOUCHED) from error


def _plan_pin(deployment: Deployment, seen: Seen, form: Form) -> Plan:
    verb = form.get("verb", "")
    if verb not in _VERBS:
        raise UsageError(f"{verb!r} is none of {', '.join(_VERBS)}", _UNTOUCHED)
    wished = wish(form, verb)
    planned = pins.planned(deployment, seen.instance.key.id, wished)
    carries = planned.carries
    whats = {
        "attach": f"Attach {wished.role} to",
        "replace": f"Replace {carries} by {wished.role} on",
        "detach": f"Detach {carries} from",
    }
    keeps = planned.pin.profile_arn == (planned.shown.profile_arn if planned.shown else "")
    what = f"Keep {carries or 'no role'} on" if keeps else whats[verb]
    former = seen.pin
    replaced = f"It is pinned to {_role(former)} now; that pin ends." if former else ""
    warning = f"{planned.warning.removesuffix('.')}." if planned.warning else ""
    return Plan(
        f"{what} {title(seen.instance)}{_until(planned.pin) or ' until it is released'}",
        seen,
        lambda: _pinned(pins.write(deployment, planned)),
        preview=preview.of_pin(deployment, seen, planned.pin),
        notes=tuple(filter(None, (warning, replaced, pins.outlives(deployment, planned)))),
        word=DETACH if verb == "detach" and carries else "",
        command=_pin_command(deployment, seen, wished, length=trimmed(form, "length")),
    )


def _pin_command(deployment: Deployment, seen: Seen, wish: Wish, length: str) -> str:
    names = [] if wish.verb == "detach" else [wish.role, wish.instance_profile]
    remedy = Remedy(Kind(wish.verb), (addressed(deployment, seen.instance.key.id), *filter(None, names)))
    options = {"--for": length, "--reason": wish.reason}
    return " ".join([str(remedy), *(shlex.join(each) for each in options.items() if each[1])])


def _pinned(pinned: Pinned) -> Notice:
    text = f"{title(pinned.instance)} is pinned to {_role(pinned.pin)}{_until(pinned.pin)}"
    delay, ends = pinned.awaited.delay, pinned.awaited.remedy
    if not delay:
        return Notice(f"{text}.", ("EC2 shows it within seconds; this page follows.",))
    lines = (advice("What ends that: ", ends),) if ends else ()
    return Notice(f"{text}, and EC2 doesn't show it yet", lines, "warn", cause=delay)


def _until(pin: Pin) -> str:
    return f" until {pin.expires_at:%Y-%m-%d %H:%M} UTC" if pin.expires_at else ""


def _role(pin: Pin) -> str:
    return "no role" if pin.role == NO_ROLE else pin.role or "something unclear"


def _plan_release(deployment: Deployment, seen: Seen, _: Form) -> Plan:
    pin, name = seen.pin, title(seen.instance)
    if pin is None and seen.decision.code != "contested":
        raise CommandError(f"{name} has no pin", "its tags rule already")
    return Plan(
        f"Release {name}" + (f" from its pin to {_role(pin)}" if pin else ""),
        seen,
        lambda: _released(deployment, pins.to_release(deployment, seen.instance.key.id)),
        preview=preview.of_tags(deployment, seen, seen.instance.tags, released=True),
        command=str(Remedy(Kind.RELEASE, (addressed(deployment, seen.instance.key.id),))),
    )


def _released(deployment: Deployment, found: Release) -> Notice:
    pins.release(deployment, found)
    name = title(found.instance)
    text = f"{name} is released and goes back to its tags." if found.pin else f"{name} has no pin; its tags rule."
    again = "Another actor kept reverting Rolekeeper's change to it; Rolekeeper tries again."
    return Notice(text, (again,) if found.contested else ())


def _plan_tag(deployment: Deployment, seen: Seen, form: Form) -> Plan:
    """A tag is what the form says, blanks at its ends too: EC2 keeps them."""
    removes = form.get("do") == "remove"
    key, value = form.get("key", ""), "" if removes else form.get("value", "")
    if not key.strip():
        raise UsageError("a tag's key can't be empty", _UNTOUCHED)
    now, name, id_ = seen.instance.tags, title(seen.instance), seen.instance.key.id
    then = {each: text for each, text in now.items() if each != key} | ({} if removes else {key: value})
    if then == now:
        had = f"{name} has no tag {key}" if removes else f"{name} has the tag {key} with this value already"
        raise CommandError(had, _UNTOUCHED)
    if removes:
        what = f"Remove tag {key}={now[key]} from {name}"
    elif key in now:
        what = f"Change tag {key} from {now[key]} to {value} on {name}"
    else:
        what = f"Set tag {key}={value} on {name}"

    def do() -> Notice:
        if removes:
            instances.remove_tag(deployment, [id_], key)
        else:
            instances.set_tag(deployment, [id_], key, value=value)
        text = f"Tag {key} is removed from {id_}." if removes else f"Tag {key}={value} is set on {id_}."
        return Notice(text, ("Rolekeeper hears of it within seconds.",))

    blanks = [f"'{each}'" for each in (key, value) if each != each.strip()]
    notes = (f"The blanks at the ends of {' and '.join(blanks)} are part of the tag.",) if blanks else ()
    remedy = Remedy(Kind.UNTAG, (id_, key)) if removes else Remedy(Kind.TAG, (id_, key, value))
    return Plan(what, seen, do, preview=preview.of_tags(deployment, seen, then), notes=notes, command=str(remedy))


def _plan_start(deployment: Deployment, seen: Seen, _: Form) -> Plan:
    name, id_ = title(seen.instance), seen.instance.key.id
    if seen.instance.state is not InstanceState.STOPPED:
        raise CommandError(f"{name} is {seen.instance.state}", "only a stopped instance can be started")
    notes = ["What it runs, and what it costs, begin with its start."]
    if seen.should_carry != seen.carries:
        due = profile_name(seen.should_carry) or "no role"
        notes.insert(0, f"It should carry {due}, which Rolekeeper gives it once it runs.")

    def do() -> Notice:
        return Notice(f"{id_} is started: EC2 says {instances.start(deployment, id_)}.", ("This page follows.",))

    command = f"aws ec2 start-instances --instance-ids {id_}"
    return Plan(f"Start {name}", seen, do, notes=tuple(notes), command=command)


_PLANS: Mapping[str, Callable[[Deployment, Seen, Form], Plan]] = {
    "pin": _plan_pin,
    "release": _plan_release,
    "tag": _plan_tag,
    "start": _plan_start,
}


# What a form keeps where it is sent back.
_FIELDS = ("verb", "role", "instance_profile", "length", "reason", "do", "key", "value")
# Of what was typed into a field; an address has its length.
_KEPT = 512


@posted
def plan(request: Request, form: Form) -> Response:
    """What the edit would do, as a page of its own; an invalid form goes back with what is wrong."""
    id_, kind = request.path_params["id"], request.path_params["kind"]
    if kind not in _PLANS:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    try:
        planned = planned_edit(request.app.state.site.look_at(id_), id_, kind, form=form)
    except ServiceError:
        raise
    except CommandError as error:
        return _back(request, error, form)
    return keep(request, f"/instance/{planned.id}", planned)


def show(request: Request) -> Response:
    kept = plan_of(request, Plan)
    kept.shown, plan = True, kept.what
    return page(request, "instance_plan.html", title=plan.what, kept=kept, plan=plan, id=plan.id)


@posted
def write(request: Request, form: Form) -> Response:
    """Do it, if it is still what was shown, and go to the instance's page, which shows what happened."""
    site, kept = request.app.state.site, plan_of(request, Plan)
    shown = kept.what

    def do() -> Outcome:
        # Or another plan is done between the look and the write.
        with site.changing_instances:
            planned = planned_edit(site.look_at(shown.id), shown.id, shown.kind, form=shown.form)
            if planned.seen.facts != shown.seen.facts:
                what = f"{_UNTOUCHED}: the instance is not as it was when this was planned"
                raise UsageError(what, "look at it again")
            require_word(form, planned.word)
            notice = planned.do()
        # The fleet looks at it next.
        site.fleet.row(shown.id)
        return Outcome(f"/instance/{shown.id}", notice)

    try:
        return do_once(request, kept, do)
    except UsageError as error:
        return _back(request, error, shown.form)


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
