"""Changing one instance: a form leads to what it would do, and that to doing it. Both are POSTs."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from urllib.parse import urlencode

import click
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from rolekeeper.instances.observe import Unreadable, observe
from rolekeeper.model.instance import InstanceKey, InstanceState
from rolekeeper.model.mapping import NO_ROLE, Pin
from rolekeeper.model.problem import Advice, advice
from rolekeeper_cli.arguments import Duration
from rolekeeper_cli.console.forms import Form, posted, trimmed
from rolekeeper_cli.console.page import page
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError, ServiceError, UsageError
from rolekeeper_cli.uses import instances, pins, preview
from rolekeeper_cli.uses import instances as tags
from rolekeeper_cli.uses.fleet import Enforced, Seen, profile_name
from rolekeeper_cli.uses.instances import title
from rolekeeper_cli.uses.pins import Pinned, Released, Wish
from rolekeeper_cli.uses.preview import Preview

# ---- changing one instance ----


DETACH = "Detach"
_VERBS = ("attach", "replace", "detach")
_UNTOUCHED = "nothing was changed"
_LONGEST_REASON = 500
# What is done as the caller, who is of the deployment's own account; all else is done by the functions.
_BY_CALLER = frozenset({"tag", "start"})


@dataclass(frozen=True, slots=True)
class Plan:
    """What an edit would do.

    Attributes:
        what: the edit, as a sentence's beginning: `Attach s3-read to web-1`.
        preview: what it would do to the instance; None where it changes no role.
        notes: what else is to be known, each a sentence.
        rests_on: stands for the instance as it was looked at.
        word: what has to be typed to do it; empty for nothing.
    """

    what: str
    preview: Preview | None
    notes: tuple[str, ...]
    rests_on: str
    word: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """What an edit did: the kind of its notice, a sentence, and details."""

    kind: str
    text: str
    lines: tuple[str | Advice, ...] = ()


class MovedError(CommandError):
    """The instance isn't as it was when the edit was planned: nothing was written."""


type Planner = Callable[[Deployment, Seen, Form], Plan]
type Doer = Callable[[Deployment, str, Form], Done]


def planned_edit(deployment: Deployment, id_: str, kind: str, form: Form) -> Plan:
    """What an edit would do.

    Args:
        deployment: where; one that has asked nothing yet.
        id_: the instance's id.
        kind: pin, release, tag or start.
        form: what the person wrote.

    Raises:
        CommandError: it can't be done.
    """
    if deployment.elsewhere and kind in _BY_CALLER:
        account = deployment.settings.account
        raise UsageError(f"only the credentials of account {account} can do that to {id_}", _UNTOUCHED)
    return _PLANS[kind](deployment, _seen(deployment, id_), form)


def carry_out(deployment: Deployment, id_: str, kind: str, form: Form) -> Done:
    """Do it; arguments as for `plan`.

    Raises:
        MovedError: the instance isn't as it was planned on.
        CommandError: it can't be done.
    """
    planned = planned_edit(deployment, id_, kind, form=form)
    if form.get("rests_on") != planned.rests_on:
        raise MovedError("nothing was changed: the instance is not as it was when this was planned", "look at it again")
    if planned.word and trimmed(form, "confirm") != planned.word:
        raise UsageError(f"{_UNTOUCHED}: the word to type is {planned.word}", f"type {planned.word}, or leave it")
    return _DOERS[kind](deployment, id_, form)


def _seen(deployment: Deployment, id_: str) -> Seen:
    settings = deployment.settings
    key = InstanceKey(settings.account, settings.region, id_)
    state = Enforced.of(deployment)
    found = observe([key], deployment.app.ec2, state, now=deployment.now())[key]
    if found.instance is None:
        raise CommandError(f"there is no instance {id_}", "it is gone, or in another Region")
    if isinstance(found, Unreadable):
        raise found.error
    return Seen.of(found, deployment)


def _rests_on(seen: Seen) -> str:
    """A short text that is another one if the instance's state, tags, role or pin are."""
    association, pin = seen.observed.association, seen.observed.pin
    facts = (
        seen.instance.state.value,
        sorted(seen.instance.tags.items()),
        association.id if association else "",
        (pin.role, pin.at) if pin else "",
    )
    return hashlib.sha256(repr(facts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


# ---- pins ----


def _wish(form: Form) -> Wish:
    verb = form.get("verb", "")
    if verb not in _VERBS:
        raise UsageError(f"{verb!r} is none of {', '.join(_VERBS)}", _UNTOUCHED)
    role = NO_ROLE if verb == "detach" else trimmed(form, "role")
    if not role:
        raise UsageError("no role is named", "name the role, under the role path")
    reason = trimmed(form, "reason")
    if len(reason) > _LONGEST_REASON:
        raise UsageError(f"the reason has more than {_LONGEST_REASON} characters", "say it shorter")
    profile = "" if verb == "detach" else trimmed(form, "instance_profile")
    return Wish(verb, role, profile, length=_length(trimmed(form, "length")), reason=reason)


def _length(text: str) -> timedelta | None:
    if not text:
        return None
    try:
        return Duration().convert(text, None, None)
    except click.UsageError as error:
        raise UsageError(error.message, _UNTOUCHED) from error


def _planned_pin(deployment: Deployment, id_: str, form: Form) -> pins.PlannedPin:
    wish = _wish(form)
    return pins.planned(deployment, id_, wish, profile=pins.usable_profile(deployment, wish))


def _plan_pin(deployment: Deployment, seen: Seen, form: Form) -> Plan:
    planned = _planned_pin(deployment, seen.instance.key.id, form)
    until = f" until {planned.pin.expires_at:%Y-%m-%d %H:%M} UTC" if planned.pin.expires_at else " until it is released"
    name, role = title(seen.instance), planned.pin.role
    whats = {"attach": f"Attach {role} to", "replace": f"Replace {planned.carries} by {role} on"}
    what = f"{whats.get(planned.wish.verb, f'Detach {planned.carries or "no role"} from')} {name}{until}"
    former = seen.observed.pin
    replaced = f"It is pinned to {_role(former)} now; that pin ends." if former else ""
    notes = tuple(filter(None, (replaced, pins.outlives(planned))))
    expected = preview.of_pin(deployment, seen, planned.pin)
    word = DETACH if planned.wish.verb == "detach" else ""
    return Plan(what, expected, (*map(_sentence, planned.warnings), *notes), rests_on=_rests_on(seen), word=word)


def _pin(deployment: Deployment, id_: str, form: Form) -> Done:
    return _pinned(pins.write(deployment, _planned_pin(deployment, id_, form)))


def _pinned(pinned: Pinned) -> Done:
    role = _role(pinned.pin)
    until = f" until {pinned.pin.expires_at:%Y-%m-%d %H:%M} UTC" if pinned.pin.expires_at else ""
    text = f"{title(pinned.instance)} is pinned to {role}{until}."
    if not pinned.delay:
        return Done("good", text, ("EC2 shows it within seconds; this page follows.",))
    remedy = (advice("What ends that: ", pinned.remedy),) if pinned.remedy else ()
    return Done("warn", text, (pinned.delay, *remedy))


def _role(pin: Pin) -> str:
    return "no role" if pin.role == NO_ROLE else pin.role or "something unclear"


def _plan_release(deployment: Deployment, seen: Seen, _: Form) -> Plan:
    pin = seen.observed.pin
    if pin is None and seen.decision.code != "contested":
        raise CommandError(f"{title(seen.instance)} has no pin", "its tags rule already")
    expected = preview.of_tags(deployment, seen, seen.instance.tags, released=True)
    what = f"Release {title(seen.instance)}" + (f" from its pin to {_role(pin)}" if pin else "")
    return Plan(what, expected, (), rests_on=_rests_on(seen))


def _release(deployment: Deployment, id_: str, _: Form) -> Done:
    return _released(pins.release(deployment, id_))


def _released(done: Released) -> Done:
    name = title(done.instance)
    text = f"{name} is released and goes back to its tags." if done.former else f"{name} has no pin; its tags rule."
    again = (
        ("Another actor kept reverting Rolekeeper's change to it; Rolekeeper tries again.",) if done.contested else ()
    )
    return Done("good", text, again)


# ---- tags ----


def _removes(form: Form) -> bool:
    return form.get("do") == "remove"


def _tag_of(form: Form) -> tuple[str, str]:
    """The tag: as it is where it goes, as a person typed it where it is set."""
    return (form.get("key", ""), "") if _removes(form) else (trimmed(form, "key"), trimmed(form, "value"))


def _tags_then(seen: Seen, form: Form) -> Mapping[str, str]:
    """Its tags after the edit; raises UsageError where that says nothing."""
    key, value = _tag_of(form)
    if not key:
        raise UsageError("a tag's key can't be empty", _UNTOUCHED)
    if _removes(form):
        return {name: text for name, text in seen.instance.tags.items() if name != key}
    return {**seen.instance.tags, key: value}


def _plan_tag(deployment: Deployment, seen: Seen, form: Form) -> Plan:
    then, (key, _), name = _tags_then(seen, form), _tag_of(form), title(seen.instance)
    if then == seen.instance.tags:
        had = f"{name} has the tag {key} with this value already" if key in then else f"{name} has no tag {key}"
        raise CommandError(had, _UNTOUCHED)
    before = seen.instance.tags.get(key)
    if key not in then:
        what = f"Remove tag {key}={before} from {name}"
    elif before is None:
        what = f"Set tag {key}={then[key]} on {name}"
    else:
        what = f"Change tag {key} from {before} to {then[key]} on {name}"
    return Plan(what, preview.of_tags(deployment, seen, then), (), rests_on=_rests_on(seen))


def _tag(deployment: Deployment, id_: str, form: Form) -> Done:
    key, value = _tag_of(form)
    if _removes(form):
        tags.remove_tag(deployment, id_, key)
        return Done("good", f"Tag {key} is removed from {id_}.", ("Rolekeeper hears of it within seconds.",))
    tags.set_tag(deployment, id_, key, value=value)
    return Done("good", f"Tag {key}={value} is set on {id_}.", ("Rolekeeper hears of it within seconds.",))


# ---- its start ----


def _plan_start(deployment: Deployment, seen: Seen, _: Form) -> Plan:
    del deployment
    if seen.instance.state is not InstanceState.STOPPED:
        raise CommandError(f"{title(seen.instance)} is {seen.instance.state}", "only a stopped instance can be started")
    due = profile_name(seen.should_carry) or "no role"
    note = (
        f"It should carry {due}, which Rolekeeper gives it once it runs." if seen.should_carry != seen.carries else ""
    )
    costs = "What it runs, and what it costs, begin with its start."
    return Plan(f"Start {title(seen.instance)}", None, tuple(filter(None, (note, costs))), rests_on=_rests_on(seen))


def _start(deployment: Deployment, id_: str, _: Form) -> Done:
    state = instances.start(deployment, id_)
    return Done("good", f"{id_} is started: EC2 says {state}.", ("This page follows.",))


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


_PLANS: Mapping[str, Planner] = {
    "pin": _plan_pin,
    "release": _plan_release,
    "tag": _plan_tag,
    "start": _plan_start,
}
_DOERS: Mapping[str, Doer] = {"pin": _pin, "release": _release, "tag": _tag, "start": _start}
KINDS = tuple(_PLANS)


# ---- changing one instance ----


# What a form keeps where it is sent back, and what its plan carries on.
_FIELDS = ("verb", "role", "instance_profile", "length", "reason", "do", "key", "value")

# Of what was typed into a field; an address has its length.
_KEPT = 512


@posted
def plan(request: Request, form: Form) -> Response:
    """What the edit would do; a form that can't be meant goes back with what is wrong."""
    site, id_, kind = request.app.state.site, request.path_params["id"], _kind(request)
    try:
        planned = planned_edit(site.look_at(id_), id_, kind, form=form)
    except ServiceError:
        raise
    except CommandError as error:
        return _back(request, "bad", error.what, lines=[error.remedy], form=form)
    fields = {name: form[name] for name in _FIELDS if form.get(name)}
    return page(request, "instance_plan.html", title=planned.what, plan=planned, id=id_, kind=kind, fields=fields)


@posted
def write(request: Request, form: Form) -> Response:
    """Do it, and go to the instance's page, which says what happened."""
    site, id_, kind = request.app.state.site, request.path_params["id"], _kind(request)
    try:
        done = carry_out(site.look_at(id_), id_, kind, form=form)
    except (MovedError, UsageError) as error:
        return _back(request, "bad", error.what, lines=[error.remedy], form=form)
    site.fleet.row(id_)
    return _back(request, done.kind, done.text, lines=done.lines)


def _kind(request: Request) -> str:
    """Which edit it is, by the address; raises HTTPException where there is none such."""
    kind = str(request.path_params["kind"])
    if kind not in KINDS:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    return kind


def _back(request: Request, kind: str, text: str, lines: Sequence[str | Advice], form: Form | None = None) -> Response:
    """To the instance's page with a notice, and with the form as it was where it goes back."""
    said = request.app.state.site.say(kind, text, lines)
    kept = {name: form[name] for name in _FIELDS if 0 < len(form.get(name, "")) <= _KEPT} if form else {}
    return RedirectResponse(f"/instance/{request.path_params['id']}?{urlencode({'said': said, **kept})}", 303)


ROUTES = [
    Route("/instance/{id}/{kind}", plan, methods=["POST"]),
    Route("/instance/{id}/{kind}/write", write, methods=["POST"]),
]
