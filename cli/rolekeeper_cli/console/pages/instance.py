"""One instance: what it carries and should carry, why, what its role may do, what happened, and how to undo that."""

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper.model.mapping import MappingKey
from rolekeeper.model.problem import Kind
from rolekeeper.permissions.policies import TooManyRulesError
from rolekeeper.storage import layout
from rolekeeper_cli.console.fleet_cache import FIRST_READ_SECONDS
from rolekeeper_cli.console.page import mapping_url, page, see_other
from rolekeeper_cli.console.pages.instance_story import answer, grouped, lane
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError, ConfigurationError, ServiceError
from rolekeeper_cli.explained import refusal
from rolekeeper_cli.suggest import near
from rolekeeper_cli.uses import explanation, history
from rolekeeper_cli.uses.explanation import Step
from rolekeeper_cli.uses.instances import ID, SeveralNamedError, account_options, addressed, key_of

type Document = Mapping[str, Any]

# The newest entries of the timeline that are shown, that are read, and how many more an address may ask for.
ENTRIES, _READ, _MOST = 50, 100, 1000
_MORE = {"200": 200, "1000": _MOST}
# The newest entries of a history that CloudTrail is asked about: each takes a call or more, two a second.
_ASKED = 10
# What a form on the page may be given beforehand, as its address says it.
_PREFILLED = ("open", "verb", "role", "instance_profile", "length", "reason", "key", "value")


class NoSuchInstanceError(CommandError):
    """There is none, and no history of one."""


# ---- the pages ----


def instance(request: Request) -> Response:
    """The page; a name leads to the page of the id, and one that several have to all of them."""
    text = request.path_params["id"]
    if not ID.fullmatch(text) and (named := _named(request, text)):
        return see_other(f"/instance/{named[0]}") if len(named) == 1 else see_other("/", tag=f"Name={text}")
    stamp = _stamp(request, text)
    try:
        found = story(request, text)
    except SeveralNamedError as error:
        return see_other("/", tag=f"Name={error.name}")
    except NoSuchInstanceError as error:
        return _unknown(request, error)
    if found["id"] != text:
        return see_other(f"/instance/{quote(found['id'])}")
    form = {name: request.query_params.get(name, "") for name in _PREFILLED}
    return page(request, "instance.html", title=_title(found), form=form, **_values(request, found, stamp))


def facts(request: Request) -> Response:
    """The part of the page that changes while it is open; 204 if nothing did."""
    id_ = request.path_params["id"]
    stamp = _stamp(request, id_)
    asked = request.query_params
    if (asked.get("stamp"), asked.get("minute")) == (str(stamp), str(_minute(request))):
        return Response(status_code=HTTPStatus.NO_CONTENT)
    try:
        found = story(request, id_)
    except NoSuchInstanceError as error:
        return _unknown(request, error)
    answer = page(request, "instance.html", part="part", **_values(request, found, stamp))
    # What CloudTrail says of it is asked again then.
    answer.headers["HX-Trigger"] = "refreshed"
    return answer


def who(request: Request) -> Response:
    """Who did it, as CloudTrail has it, which takes seconds: a part for htmx, a page for a browser without scripts.

    With `?history=yes`, who did what led to each of the newest entries of its history.
    """
    site, id_ = request.app.state.site, request.path_params["id"]

    def ask() -> Mapping[str, Any]:
        # Two calls a second in an account and Region: one page asks at a time.
        with site.asking_who:
            return explanation.explanation(site.look_at(id_), id_, ask_who=True).document

    if request.query_params.get("history"):
        with site.asking_who:
            entries = history.entries(site.look_at(id_), id_, _ASKED, ask_who=True)
        row = site.fleet.row(id_)
        title = f"Who did it: {row.name or id_ if row else id_}"
        return page(request, "instance_who.html", title=title, id=id_, answers=[], entries=entries)
    shown = read_once(request, "who", id_, read=ask)
    part = "part" if "HX-Request" in request.headers else ""
    title = f"Who did it: {shown['name'] or id_}"
    return page(request, "instance_who.html", part=part, title=title, id=id_, answers=shown["who"], entries=None)


def read_once[T](request: Request, what: str, text: str, *, read: Callable[[], T]) -> T:
    """What was read of an instance: again if its stamp is another, a minute is over, or the fleet doesn't know it."""
    stamp = _stamp(request, text)
    found: T = request.app.state.site.reads.get((what, text, stamp, _minute(request)), read) if stamp else read()
    return found


def story(request: Request, text: str) -> Document:
    """`story_of` the instance that a text names, read once for all of its page's parts."""
    limit = _MOST if {"span", "entries"} & request.query_params.keys() else _READ
    look_at = request.app.state.site.look_at
    return read_once(request, f"story {limit}", text, read=lambda: story_of(look_at(text), text, limit))


def _named(request: Request, name: str) -> list[str]:
    """The ids of the instances of this name, in all targets, as far as the fleet is read."""
    return [row.id for row in request.app.state.site.fleet.ask(FIRST_READ_SECONDS).rows if row.name == name]


def _title(found: Document) -> str:
    return str((found["shown"]["name"] if found["shown"] else "") or found["id"])


def _stamp(request: Request, text: str) -> int:
    """The stamp of what the fleet knows of it; 0 if it is no id, or the fleet doesn't know it."""
    return request.app.state.site.fleet.stamp(text) if ID.fullmatch(text) else 0


def _minute(request: Request) -> int:
    """The time in minutes: what isn't the instance's own, such as its role's policies, is read again each minute."""
    return int(request.app.state.site.clock() // 60)


def _values(request: Request, found: Document, stamp: int) -> Mapping[str, Any]:
    site, span, more = (request.app.state.site, *(request.query_params.get(name, "") for name in ("span", "entries")))
    shown = _MORE.get(more, ENTRIES)
    return {
        "story": found,
        "asked": {"stamp": stamp, "minute": _minute(request), "entries": more},
        "row": site.fleet.row(found["id"]),
        "lane": lane(found["spans"], (), site.deployment.now(), past=span),
        "timeline": grouped(found["entries"][:shown]),
        "whole": len(found["entries"]) < min(shown + 1, _MOST),
    }


def _unknown(request: Request, error: NoSuchInstanceError) -> Response:
    """The page that suggests ids and names of the fleet."""
    rows = request.app.state.site.fleet.ask().rows
    known = [name for row in rows for name in (row.id, row.name) if name]
    meant = near(request.path_params["id"], known)
    title, status = "No such instance", HTTPStatus.NOT_FOUND
    return page(request, "instance_unknown.html", status, title=title, error=error, meant=meant)


# ---- what they show ----


def story_of(deployment: Deployment, text: str, limit: int) -> Document:
    """All that the page shows of the instance that a text, its id or its name, names.

    `shown` is what `explain` says of it, None of one that is `gone`, which says why: of that, its history is all there
    is. Of that up to `limit` entries are read, the newest first.

    Raises:
        NoSuchInstanceError: there is none, and no history of one.
        SeveralNamedError: several have this name.
    """
    try:
        found = explanation.explanation(deployment, text, ask_who=False, limit=limit)
    except (ConfigurationError, ServiceError, SeveralNamedError):
        raise
    except CommandError as error:
        key = key_of(deployment, text)
        past = deployment.app.store.history(layout.instance_pk(key), limit) if ID.fullmatch(text) else ()
        if not past:
            raise NoSuchInstanceError(error.what, error.remedy) from error
        entries, spans = [history.entry_document(key, each) for each in past], history.spans(past, None)
        return {"id": text, "address": text, "shown": None, "gone": error.what, "entries": entries, "spans": spans}
    id_, shown = found.document["instance"], found.document
    return {
        "id": id_,
        "shown": shown,
        "answer": answer(shown, found.entries),
        "tags": found.tags,
        "may": _may(deployment, shown),
        "undo": [undo_link(id_, each) for each in found.undo],
        # As commands name it, and what those of the AWS CLI need in another account.
        "address": addressed(deployment, id_),
        "options": account_options(deployment),
        "entries": found.entries,
        "spans": found.spans,
    }


def _may(deployment: Deployment, shown: Document) -> Document:
    """What a role may do: its `phrases`, or why that is `unknown`. `role` is empty where none is carried.

    It is the profile that is carried, and IAM says which role that holds.
    """
    if not shown["carries"]:
        return {"role": "", "phrases": (), "unknown": ""}
    name, unknown = str(shown["carries"]["instance_profile"]), ""
    phrases: Sequence[str] = ()
    try:
        profile = deployment.app.iam.get_instance_profile(name)
        if profile is None or not profile.role_arn:
            unknown = "IAM knows no role in this instance profile"
        else:
            name, phrases = profile.role_name, deployment.app.roles.policies.allowed(profile.role_name)
    except AwsRefusalError as error:
        unknown = refusal(error).what
    except TooManyRulesError as error:
        unknown = str(error)
    return {"role": name, "phrases": phrases, "unknown": unknown}


def undo_link(instance: str, step: Step) -> Document:
    """A step that undoes a change: the `action` of a form with `fields`, another page's `address`, or a `command`.

    Commands of the AWS CLI that attach foreign roles stay commands.
    """
    found = {"command": str(step.remedy), "does": step.does, "label": "", "action": "", "fields": {}, "address": ""}
    if step.remedy.options:
        # Only the credentials of that other account can do it.
        return found
    here = f"/instance/{instance}"
    match step.remedy.kind, step.remedy.arguments:
        case Kind.RELEASE, _:
            found |= {"label": "Release", "action": f"{here}/release"}
        case Kind.ATTACH | Kind.REPLACE | Kind.DETACH as verb, (_, *wanted):
            role, profile, *_ = [*wanted, "", ""]
            fields = {"verb": verb.value, "role": role, "instance_profile": profile}
            found |= {"label": f"Pin it to {role or 'no role'}", "action": f"{here}/pin", "fields": fields}
        case Kind.REMOVE_MAPPING | Kind.ROLL_BACK, (tag_key, tag_value, *_):
            key = MappingKey(tag_key, tag_value)
            found |= {"label": f"Go to {key}", "address": mapping_url(key)}
        case Kind.UNTAG, (_, tag):
            fields = {"do": "remove", "key": tag}
            found |= {"label": "Remove the tag", "action": f"{here}/tag", "fields": fields}
        case Kind.TAG, (_, tag, value):
            fields = {"do": "set", "key": tag, "value": value}
            found |= {"label": "Set the tag", "action": f"{here}/tag", "fields": fields}
    return found


ROUTES = [
    Route("/instance/{id}", instance),
    Route("/instance/{id}/facts", facts),
    Route("/instance/{id}/who", who),
]
