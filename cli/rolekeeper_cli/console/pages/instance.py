"""One instance: what it carries and should carry, why, what its role may do, what happened, and how to undo that."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper.model.mapping import MappingKey
from rolekeeper.model.problem import Kind
from rolekeeper.permissions.policies import TooManyRulesError
from rolekeeper_cli.console.page import mapping_url, page
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError, ConfigurationError, ServiceError
from rolekeeper_cli.explained import explained
from rolekeeper_cli.suggest import near
from rolekeeper_cli.uses import explanation, history
from rolekeeper_cli.uses.explanation import Step
from rolekeeper_cli.uses.instances import ID, SeveralNamedError

type Document = Mapping[str, Any]

# The newest entries of the timeline; the command shows more.
ENTRIES = 50
# The newest entries of a history that CloudTrail is asked about: each takes a call or more, two a second.
_ASKED = 10
# What a form on the page may be given beforehand, as its address says it.
_PREFILLED = ("verb", "role", "instance_profile", "length", "reason", "key", "value")


@dataclass(frozen=True, slots=True)
class UndoLink:
    """A step that undoes a change: the `action` of a form with `fields`, another page's `address`, or a `command`."""

    command: str
    does: str
    label: str = ""
    action: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    address: str = ""


@dataclass(frozen=True, slots=True)
class May:
    """What a role may do, in words; `unknown` says why that isn't known. `role` is empty where none is carried."""

    role: str = ""
    phrases: tuple[str, ...] = ()
    unknown: str = ""


@dataclass(frozen=True, slots=True)
class Story:
    """All that the page shows; of one that is `gone`, which says why, there is the timeline alone.

    `shown` is what `explain` says of it; the timeline begins with the newest entry.
    """

    id: str
    timeline: Sequence[Document]
    shown: Document | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    may: May = May()  # frozen
    undo: Sequence[UndoLink] = ()
    gone: str = ""

    @property
    def whole(self) -> bool:
        """Whether the timeline goes back as far as there is history."""
        return len(self.timeline) < ENTRIES

    @property
    def title(self) -> str:
        return (self.shown["name"] if self.shown else "") or self.id


class NoSuchInstanceError(CommandError):
    """There is none; `near` are ids and names that may have been meant."""

    def __init__(self, error: CommandError, names: Sequence[str]) -> None:
        super().__init__(error.what, error.remedy)
        self.near = tuple(names)


# ---- the pages ----


def instance(request: Request) -> Response:
    """The page; a name leads to the page of the id, and one that several have to all of them."""
    text = request.path_params["id"]
    stamp = _stamp(request, text)
    try:
        found = _story(request, text, stamp)
    except SeveralNamedError as error:
        return RedirectResponse(f"/?{urlencode({'tag': f'Name={error.name}'})}", 303)
    except NoSuchInstanceError as error:
        return _unknown(request, error)
    if found.id != text:
        return RedirectResponse(f"/instance/{quote(found.id)}", 303)
    form = {name: request.query_params.get(name, "") for name in _PREFILLED}
    return page(request, "instance.html", title=found.title, form=form, **_values(request, found, stamp))


def facts(request: Request) -> Response:
    """What of the page changes while it is open, for htmx; 204 where nothing has."""
    id_ = request.path_params["id"]
    stamp = _stamp(request, id_)
    asked = request.query_params
    if (asked.get("stamp"), asked.get("minute")) == (str(stamp), str(_minute(request))):
        return Response(status_code=HTTPStatus.NO_CONTENT)
    try:
        found = _story(request, id_, stamp)
    except NoSuchInstanceError as error:
        return _unknown(request, error)
    return page(request, "instance.html", part="part", **_values(request, found, stamp))


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
    stamp = _stamp(request, id_)
    shown = site.answers.get((id_, stamp, _minute(request)), ask) if stamp else ask()
    part = "part" if "HX-Request" in request.headers else ""
    title = f"Who did it: {shown['name'] or id_}"
    return page(request, "instance_who.html", part=part, title=title, id=id_, answers=shown["who"], entries=None)


def _story(request: Request, text: str, stamp: int) -> Story:
    """The story as it was told for this stamp; while the fleet doesn't know the instance, it is told each time."""
    site = request.app.state.site

    def make() -> Story:
        return tell(site.look_at(text), text, lambda: _names(request))

    return site.stories.get((text, stamp, _minute(request)), make) if stamp else make()


def _stamp(request: Request, text: str) -> int:
    """What the fleet knows of it has this stamp; 0 where it is no id, or the fleet doesn't know it."""
    return request.app.state.site.fleet.stamp(text) if ID.fullmatch(text) else 0


def _minute(request: Request) -> int:
    """The time in minutes: what isn't the instance's own, as its role's policies, is read again each minute."""
    return int(request.app.state.site.time() // 60)


def _names(request: Request) -> list[str]:
    rows = request.app.state.site.fleet.ask().rows
    return [name for row in rows for name in (row.id, row.name) if name]


def _values(request: Request, story: Story, stamp: int) -> Mapping[str, Any]:
    row = request.app.state.site.fleet.row(story.id)
    return {"story": story, "stamp": stamp, "minute": _minute(request), "row": row}


def _unknown(request: Request, error: NoSuchInstanceError) -> Response:
    return page(request, "instance_unknown.html", HTTPStatus.NOT_FOUND, title="No such instance", error=error)


# ---- what they show ----


def tell(deployment: Deployment, text: str, known: Callable[[], Sequence[str]]) -> Story:
    """The story of the instance that a text, its id or its name, names; `known` gives the ids and names that there are.

    Raises:
        NoSuchInstanceError: there is none, and no history of one.
        SeveralNamedError: several have this name.
    """
    try:
        found = explanation.explanation(deployment, text, ask_who=False)
    except (ConfigurationError, ServiceError, SeveralNamedError):
        raise
    except CommandError as error:
        return _gone(deployment, text, error, known=known)
    shown = found.document
    id_ = shown["instance"]
    undo = [undo_link(id_, each) for each in found.undo]
    return Story(id_, found.entries[:ENTRIES], shown, tags=found.tags, may=_may(deployment, shown), undo=undo)


def _gone(deployment: Deployment, text: str, error: CommandError, known: Callable[[], Sequence[str]]) -> Story:
    try:
        timeline = history.entries(deployment, text, ENTRIES) if ID.fullmatch(text) else ()
    except CommandError:
        timeline = ()
    if not timeline:
        raise NoSuchInstanceError(error, near(text, known())) from error
    return Story(text, timeline, gone=error.what)


def _may(deployment: Deployment, shown: Document) -> May:
    """What the role that it carries may do; it is the profile that is carried, and IAM says which role that holds."""
    if not shown["carries"]:
        return May()
    name = str(shown["carries"]["instance_profile"])
    try:
        profile = deployment.app.iam.get_instance_profile(name)
        if profile is None or not profile.role_arn:
            return May(name, unknown="IAM knows no role in this instance profile")
        return May(profile.role_name, deployment.app.roles.policies.allowed(profile.role_name))
    except AwsRefusalError as error:
        told = explained(error)
        return May(name, unknown=told.what if told else str(error))
    except TooManyRulesError as error:
        return May(name, unknown=str(error))


def undo_link(instance: str, step: Step) -> UndoLink:
    """The step for an instance; commands of the AWS CLI that attach foreign roles stay commands."""
    made, here = partial(UndoLink, str(step.remedy), step.does), f"/instance/{instance}"
    if step.remedy.options:
        # Only the credentials of that other account can do it.
        return made()
    match step.remedy.kind, step.remedy.arguments:
        case Kind.RELEASE, _:
            return made("Release", f"{here}/release")
        case Kind.ATTACH | Kind.REPLACE | Kind.DETACH as verb, (_, *wanted):
            role, profile, *_ = [*wanted, "", ""]
            fields = {"verb": verb.value, "role": role, "instance_profile": profile}
            return made(verb.capitalize(), f"{here}/pin", fields)
        case Kind.REMOVE_MAPPING | Kind.ROLL_BACK, (tag_key, tag_value, *_):
            key = MappingKey(tag_key, tag_value)
            return made(f"Go to {key}", address=mapping_url(key))
        case Kind.UNTAG, (_, tag):
            return made("Remove the tag", f"{here}/tag", {"do": "remove", "key": tag})
        case Kind.TAG, (_, tag, value):
            return made("Set the tag", f"{here}/tag", {"do": "set", "key": tag, "value": value})
    return made()


ROUTES = [
    Route("/instance/{id}", instance),
    Route("/instance/{id}/facts", facts),
    Route("/instance/{id}/who", who),
]
