"""One instance: what it carries and should carry, why, what its role may do, what happened, and how to undo that."""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
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

# ---- a step that undoes a change, as the console does it itself ----


@dataclass(frozen=True, slots=True)
class UndoLink:
    """A step.

    Attributes:
        command: what is typed for it.
        does: what it does.
        action: the address of the form's plan; empty where the console can't do it.
        fields: what the form says.
        address: the page on which it is done, where that is another one.
        label: what the button or the link is called.
    """

    command: str
    does: str
    action: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    address: str = ""
    label: str = ""


def undo_link(instance: str, step: Step) -> UndoLink:
    """The step for an instance; commands of the AWS CLI that attach foreign roles stay commands."""
    command, does, here = str(step.remedy), step.does, f"/instance/{instance}"
    if step.remedy.options:
        # Only the credentials of that other account can do it.
        return UndoLink(command, does)
    match step.remedy.kind, step.remedy.arguments:
        case Kind.RELEASE, _:
            return UndoLink(command, does, f"{here}/release", fields={}, address="", label="Release")
        case Kind.ATTACH | Kind.REPLACE | Kind.DETACH as verb, (_, *wanted):
            role, profile, *_ = [*wanted, "", ""]
            fields = {"verb": verb.value, "role": role, "instance_profile": profile}
            return UndoLink(command, does, f"{here}/pin", fields=fields, address="", label=verb.capitalize())
        case Kind.REMOVE_MAPPING | Kind.ROLL_BACK, (tag_key, tag_value, *_):
            key = MappingKey(tag_key, tag_value)
            return UndoLink(command, does, address=mapping_url(key), label=f"Go to {key}")
        case Kind.UNTAG, (_, tag):
            return UndoLink(
                command, does, f"{here}/tag", fields={"do": "remove", "key": tag}, address="", label="Remove the tag"
            )
        case Kind.TAG, (_, tag, value):
            fields = {"do": "set", "key": tag, "value": value}
            return UndoLink(command, does, f"{here}/tag", fields=fields, address="", label="Set the tag")
    return UndoLink(command, does)


# ---- all that the page of one instance shows ----


type Document = Mapping[str, Any]

# The newest entries of the timeline; the command shows more.
ENTRIES = 50
_KEPT = 64


@dataclass(frozen=True, slots=True)
class May:
    """What a role may do, in words; `unknown` says why that isn't known. `role` is empty where none is carried."""

    role: str = ""
    phrases: tuple[str, ...] = ()
    unknown: str = ""


@dataclass(frozen=True, slots=True)
class Story:
    """See the module.

    Attributes:
        id: the instance's id.
        shown: what `explain` says of it; None of one that is gone.
        tags: its tags.
        may: what the role that it carries may do.
        timeline: its history, newest first.
        undo: how to undo the last change.
        gone: why there is no more to say, in words; empty where it is there.
    """

    id: str
    shown: Document | None
    tags: Mapping[str, str]
    may: May
    timeline: Sequence[Document]
    undo: Sequence[UndoLink]
    gone: str = ""

    @property
    def whole(self) -> bool:
        """Whether the timeline goes back as far as there is history."""
        return len(self.timeline) < ENTRIES


class NoSuchInstanceError(CommandError):
    """There is none; `near` are ids and names that may have been meant."""

    def __init__(self, error: CommandError, names: Sequence[str]) -> None:
        super().__init__(error.what, error.remedy)
        self.near = tuple(names)


def tell(deployment: Deployment, text: str, known: Callable[[], Sequence[str]]) -> Story:
    """The story of the instance that a text, its id or its name, names.

    Args:
        deployment: where; one that has asked nothing yet.
        text: what names it.
        known: gives the ids and names that there are.

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
    instance = deployment.app.ec2.instances([id_]).get(id_)
    tags = dict(instance.tags) if instance else {}
    timeline = history.entries(deployment, id_, ENTRIES) if shown["last"] else ()
    undo = [undo_link(id_, each) for each in found.undo]
    return Story(id_, shown, tags, may=_may(deployment, shown), timeline=timeline, undo=undo)


def _gone(deployment: Deployment, text: str, error: CommandError, known: Callable[[], Sequence[str]]) -> Story:
    """What is kept of one that is gone."""
    try:
        timeline = history.entries(deployment, text, ENTRIES) if ID.fullmatch(text) else ()
    except CommandError:
        timeline = ()
    if not timeline:
        raise NoSuchInstanceError(error, near(text, known())) from error
    return Story(text, None, {}, may=May(), timeline=timeline, undo=(), gone=error.what)


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


class Stories[T]:
    """The last stories, by instance and stamp: of several tabs that ask for the same one, the first makes it.

    What a role may do has no stamp, so each minute has its own.
    """

    def __init__(self) -> None:
        self._made: OrderedDict[tuple[str, int, int], _Once[T]] = OrderedDict()
        self._lock = Lock()

    def get(self, instance: str, stamp: int, minute: int, make: Callable[[], T]) -> T:
        """The story; `make` makes it."""
        with self._lock:
            once = self._made.setdefault((instance, stamp, minute), _Once())
            while len(self._made) > _KEPT:
                self._made.popitem(last=False)
        return once.get(make)


class _Once[T]:
    """Made once. What fails is the error of all who waited for it, and made again by the next one who asks."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._story: T | None = None
        self._failed: tuple[float, Exception] | None = None

    def get(self, make: Callable[[], T]) -> T:
        asked = time.monotonic()
        with self._lock:
            if self._failed and self._failed[0] >= asked:
                raise self._failed[1]
            if self._story is None:
                try:
                    self._story = make()
                except Exception as error:
                    self._failed = (time.monotonic(), error)
                    raise
            return self._story


# ---- one instance ----


_NOTHING_NEW, _NOT_FOUND = 204, 404
# The newest entries of a history that CloudTrail is asked about: each takes a call or more, two a second.
_ASKED = 10
# What a form on the page may be given beforehand, as its address says it.
_PREFILLED = ("verb", "role", "instance_profile", "length", "reason", "key", "value")


def instance(request: Request) -> Response:
    """The page; a name leads to the page of the id, and one that several have to all of them."""
    text = request.path_params["id"]
    stamp = _stamp(request, text)
    try:
        found = _story(request, text, stamp)
    except SeveralNamedError as error:
        return RedirectResponse(f"/?{urlencode({'tag': f'Name={error.name}'})}", 303)
    except NoSuchInstanceError as error:
        return page(request, "instance_unknown.html", _NOT_FOUND, title="No such instance", error=error)
    if found.id != text:
        return RedirectResponse(f"/instance/{quote(found.id)}", 303)
    form = {name: request.query_params.get(name, "") for name in _PREFILLED}
    return page(request, "instance.html", title=_title(found), form=form, part=False, **_values(request, found, stamp))


def facts(request: Request) -> Response:
    """What of the page changes while it is open, for htmx; 204 where nothing has."""
    id_ = request.path_params["id"]
    stamp = _stamp(request, id_)
    asked = request.query_params
    if (asked.get("stamp"), asked.get("minute")) == (str(stamp), str(_minute(request))):
        return Response(status_code=_NOTHING_NEW)
    try:
        found = _story(request, id_, stamp)
    except NoSuchInstanceError as error:
        return page(request, "instance_unknown.html", _NOT_FOUND, title="No such instance", error=error)
    return page(request, "instance_facts.html", part=True, **_values(request, found, stamp))


def who(request: Request) -> Response:
    """Who did it, as CloudTrail has it, which takes seconds: a part for htmx, a page for a browser without scripts.

    With `?history=yes`, who did what led to each of the newest entries of its history.
    """
    site, id_ = request.app.state.site, request.path_params["id"]

    def ask() -> Mapping[str, Any]:
        # Two calls a second in an account and Region: one page asks at a time.
        with site.asking_who:
            return explanation.explained(site.look_at(id_), id_, ask_who=True)

    if request.query_params.get("history"):
        with site.asking_who:
            entries = history.entries(site.look_at(id_), id_, _ASKED, ask_who=True)
        row = site.fleet.row(id_)
        title = f"Who did it: {row.name or id_ if row else id_}"
        return page(request, "instance_who.html", title=title, id=id_, answers=[], entries=entries)
    stamp = _stamp(request, id_)
    shown = site.answers.get(id_, stamp, _minute(request), make=ask) if stamp else ask()
    template = "instance_who_part.html" if "HX-Request" in request.headers else "instance_who.html"
    title = f"Who did it: {shown['name'] or id_}"
    return page(request, template, title=title, id=id_, answers=shown["who"], entries=None)


def _story(request: Request, text: str, stamp: int) -> Story:
    """The story as it was told for this stamp; while the fleet doesn't know the instance, it is told each time."""
    site = request.app.state.site

    def make() -> Story:
        return tell(site.look_at(text), text, lambda: _names(request))

    return site.stories.get(text, stamp, _minute(request), make=make) if stamp else make()


def _stamp(request: Request, text: str) -> int:
    """What the fleet knows of it has this stamp; 0 where it is no id, or the fleet doesn't know it."""
    return request.app.state.site.fleet.stamp(text) if ID.fullmatch(text) else 0


def _minute(request: Request) -> int:
    """The time in minutes: what isn't the instance's own, as its role's policies, is read again each minute."""
    return int(request.app.state.site.time() // 60)


def _names(request: Request) -> list[str]:
    """The ids and names that there are, as far as the fleet was read."""
    rows = request.app.state.site.fleet.ask().rows
    return [name for row in rows for name in (row.id, row.name) if name]


def _values(request: Request, story: Story, stamp: int) -> Mapping[str, Any]:
    row = request.app.state.site.fleet.row(story.id)
    return {"story": story, "stamp": stamp, "minute": _minute(request), "row": row}


def _title(story: Story) -> str:
    name = story.shown["name"] if story.shown else ""
    return name or story.id


ROUTES = [
    Route("/instance/{id}", instance),
    Route("/instance/{id}/facts", facts),
    Route("/instance/{id}/who", who),
]
