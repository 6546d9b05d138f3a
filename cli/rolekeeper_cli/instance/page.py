"""One instance: what it carries and should carry, why, what its role may do, what happened, and how to undo that."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from http import HTTPStatus
from itertools import chain, groupby, pairwise
from operator import attrgetter
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper.model.mapping import MappingKey
from rolekeeper.model.problem import Kind
from rolekeeper.permissions.policies import TooManyRulesError
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.aws.explained import refusal
from rolekeeper_cli.console.jobs import PATIENCE_SECONDS
from rolekeeper_cli.console.page import axis, mapping_url, page, place, see_other
from rolekeeper_cli.errors import CommandError, ConfigurationError, ServiceError
from rolekeeper_cli.instance import explanation, facts, history
from rolekeeper_cli.instance.explanation import Explanation, Step
from rolekeeper_cli.instance.history import Span
from rolekeeper_cli.instance.seen import profile_name
from rolekeeper_cli.instance.uptake import of_instance_if_readable
from rolekeeper_cli.instance.use import ID, SeveralNamedError, account_options, addressed, key_of
from rolekeeper_cli.instance.view import EntryView, ExplanationView, RoleUseView, UptakeView, UseStatus
from rolekeeper_cli.shell.suggest import near

# The newest entries of the timeline that are shown, that are read, and how many more an address may ask for.
ENTRIES, _READ, _MOST = 50, 100, 1000
_MORE = {"200": 200, "1000": _MOST}
# The newest entries of a history that CloudTrail is asked about: each takes a call or more, two a second.
_ASKED = 10
# What a form on the page may be given beforehand, as its address says it.
_PREFILLED = ("open", "verb", "role", "instance_profile", "length", "reason", "key", "value")


class NoSuchInstanceError(CommandError):
    """There is none, and no history of one."""


# ---- what they show ----


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the role that is carried may do, or why that is `unknown`."""

    role: str = ""  # empty where none is carried
    phrases: Sequence[str] = ()
    unknown: str = ""


@dataclass(frozen=True, slots=True)
class UndoLink:
    """A step that undoes a change: the `action` of a form with `fields`, another page's `address`, or a `command`."""

    command: str
    does: str
    label: str = ""
    action: str = ""
    fields: Mapping[str, str] = MappingProxyType({})
    address: str = ""


@dataclass(frozen=True, slots=True)
class Story:
    """What is read of an instance; of one that is `gone`, which says why, its history is all there is."""

    id: str
    entries: Sequence[EntryView]  # the newest first
    spans: Sequence[Span]
    found: Explanation | None = None
    may: Allowed | None = None
    gone: str = ""

    @property
    def shown(self) -> ExplanationView | None:
        return self.found.view if self.found else None


# ---- the pages ----


def instance(request: Request) -> Response:
    """The page; a name leads to the page of the id, and one that several have to all of them."""
    text = request.path_params["id"]
    if not ID.fullmatch(text):
        known = request.app.state.site.fleet.ask(PATIENCE_SECONDS).rows
        if named := [row.id for row in known if row.name == text]:
            return see_other(f"/instance/{named[0]}") if len(named) == 1 else see_other("/", tag=f"Name={text}")
    stamp = _stamp(request, text)
    try:
        found = story(request, text)
    except SeveralNamedError as error:
        return see_other("/", tag=f"Name={error.name}")
    except NoSuchInstanceError as error:
        return _unknown(request, error)
    if found.id != text:
        return see_other(f"/instance/{quote(found.id)}")
    form = {name: request.query_params.get(name, "") for name in _PREFILLED}
    title = (found.shown and found.shown.name) or found.id
    return page(request, "instance.html", title=title, form=form, **_values(request, found, stamp))


def news(request: Request) -> Response:
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
    changed = page(request, "instance.html", part="part", **_values(request, found, stamp))
    # What CloudTrail says of it is asked again then.
    changed.headers["HX-Trigger"] = "refreshed"
    return changed


def who(request: Request) -> Response:
    """Who did it, as CloudTrail has it, which takes seconds: a part for htmx, a page for a browser without scripts.

    With `?history=yes`, who did what led to each of the newest entries of its history.
    """
    site, id_ = request.app.state.site, request.path_params["id"]

    def ask() -> ExplanationView:
        # Two calls a second in an account and Region: one page asks at a time.
        with site.asking_who:
            return explanation.explanation(site.look_at(id_), id_, ask_who=True).view

    account = site.deployment.home.account
    if request.query_params.get("history"):
        with site.asking_who:
            entries = history.entries(site.look_at(id_), id_, _ASKED, ask_who=True)
        row = site.fleet.row(id_)
        title = f"Who did it: {row.name or id_ if row else id_}"
        each = [(entry, [*facts.of_who(entry.who or (), account)]) for entry in entries]
        return page(request, "instance_who.html", title=title, id=id_, answers=[], entries=each)
    shown = read_once(request, "who", id_, read=ask)
    part, title = _part(request), f"Who did it: {shown.name or id_}"
    answers = [*facts.of_who(shown.who, account)]
    return page(request, "instance_who.html", part=part, title=title, id=id_, answers=answers, entries=None)


def uptake(request: Request) -> Response:
    """What CloudTrail says, which takes seconds: a part for htmx, a page for a browser without scripts."""
    site, id_ = request.app.state.site, request.path_params["id"]
    if not ID.fullmatch(id_):
        return see_other(f"/instance/{quote(id_)}")
    deployment, row = site.look_at(id_), site.fleet.row(id_)
    name = row.name if row else ""

    def ask() -> UptakeView:
        # Two calls a second in an account and Region: one page asks at a time.
        with site.asking_who:
            return of_instance_if_readable(deployment, key_of(deployment, id_), name)

    found = read_once(request, "uptake", id_, read=ask)
    told, past = story(request, id_), request.query_params.get("span", "")
    drawn = lane(told.spans, found.roles, deployment.now(), past=past, entries=told.entries)
    lines = [*facts.of_uptake(found, addressed(deployment, id_))]
    title = f"Does software use it: {name or id_}"
    return page(
        request, "instance_uptake.html", part=_part(request), title=title, id=id_, shown=found, lines=lines, lane=drawn
    )


def _part(request: Request) -> str:
    """The block that htmx asks for; all of the page for a browser without scripts."""
    return "part" if "HX-Request" in request.headers else ""


def read_once[T](request: Request, what: str, text: str, *, read: Callable[[], T]) -> T:
    """What was read of an instance: again if its stamp is another, a minute is over, or the fleet doesn't know it."""
    stamp = _stamp(request, text)
    found: T = request.app.state.site.reads.get((what, text, stamp, _minute(request)), read) if stamp else read()
    return found


def story(request: Request, text: str) -> Story:
    """`story_of` the instance that a text names, read once for all of its page's parts."""
    limit = _MOST if {"span", "entries"} & request.query_params.keys() else _READ
    look_at = request.app.state.site.look_at
    return read_once(request, f"story {limit}", text, read=lambda: story_of(look_at(text), text, limit))


def _stamp(request: Request, text: str) -> int:
    """The stamp of what the fleet knows of it; 0 if it is no id, or the fleet doesn't know it."""
    return request.app.state.site.fleet.stamp(text) if ID.fullmatch(text) else 0


def _minute(request: Request) -> int:
    """The time in minutes: what isn't the instance's own, such as its role's policies, is read again each minute."""
    return int(request.app.state.site.clock() // 60)


def _values(request: Request, found: Story, stamp: int) -> Mapping[str, Any]:
    site, span, more = (request.app.state.site, *(request.query_params.get(name, "") for name in ("span", "entries")))
    shown, there = _MORE.get(more, ENTRIES), site.look_at(found.id)
    return {
        "story": found,
        "lines": [*facts.of_instance(found.shown, addressed(there, found.id))] if found.shown else (),
        "undo": [undo_link(found.id, each) for each in found.found.undo] if found.found else (),
        "since": next((span.since for span in found.spans if span.carried), None),
        # As commands name it, and what those of the AWS CLI need in another account.
        "address": addressed(there, found.id),
        "options": account_options(there),
        "asked": {"stamp": stamp, "minute": _minute(request), "entries": more},
        "row": site.fleet.row(found.id),
        "lane": lane(found.spans, (), site.deployment.now(), past=span, entries=found.entries),
        "timeline": grouped(found.entries[:shown]),
        "whole": len(found.entries) < min(shown + 1, _MOST),
    }


def _unknown(request: Request, error: NoSuchInstanceError) -> Response:
    """The page that suggests ids and names of the fleet."""
    rows = request.app.state.site.fleet.ask().rows
    known = [name for row in rows for name in (row.id, row.name) if name]
    meant = near(request.path_params["id"], known)
    title, status = "No such instance", HTTPStatus.NOT_FOUND
    return page(request, "instance_unknown.html", status, title=title, error=error, meant=meant)


# ---- how it is read ----


def story_of(deployment: Deployment, text: str, limit: int) -> Story:
    """Read the story of the instance that a text, its id or its name, names, with up to `limit` entries.

    NoSuchInstanceError if there is none, and no history of one; SeveralNamedError if several have this name.
    """
    try:
        found = explanation.explanation(deployment, text, ask_who=False, limit=limit)
    except (ConfigurationError, ServiceError, SeveralNamedError):
        raise
    except CommandError as error:
        key = key_of(deployment, text)
        entries = history.newest(deployment, key, limit) if ID.fullmatch(text) else []
        if not entries:
            raise NoSuchInstanceError(error.what, error.remedy) from error
        spans = history.spans(entries, None)
        return Story(text, entries, spans, gone=error.what)
    return Story(found.view.instance, found.entries, found.spans, found=found, may=_may(deployment, found.view))


def _may(deployment: Deployment, shown: ExplanationView) -> Allowed:
    """Ask IAM which role the profile that is carried holds."""
    if not shown.carries:
        return Allowed()
    name, unknown = str(shown.carries.instance_profile), ""
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
    return Allowed(name, phrases, unknown)


def undo_link(instance: str, step: Step) -> UndoLink:
    """Return the step as a link; commands of the AWS CLI that attach foreign roles stay commands."""
    draw = partial(UndoLink, str(step.remedy), step.does)
    if step.remedy.options:
        # Only the credentials of that other account can do it.
        return draw()
    here = f"/instance/{instance}"
    match step.remedy.kind, step.remedy.arguments:
        case Kind.RELEASE, _:
            return draw("Release", f"{here}/release")
        case Kind.ATTACH | Kind.REPLACE | Kind.DETACH as verb, (_, *wanted):
            role, profile, *_ = [*wanted, "", ""]
            fields = {"verb": verb.value, "role": role, "instance_profile": profile}
            return draw(f"Pin it to {role or 'no role'}", f"{here}/pin", fields=fields)
        case Kind.REMOVE_MAPPING | Kind.ROLL_BACK, (tag_key, tag_value, *_):
            key = MappingKey(tag_key, tag_value)
            return draw(f"Go to {key}", address=mapping_url(key))
        case Kind.UNTAG, (_, tag):
            return draw("Remove the tag", f"{here}/tag", fields={"do": "remove", "key": tag})
        case Kind.TAG, (_, tag, value):
            return draw("Set the tag", f"{here}/tag", fields={"do": "set", "key": tag, "value": value})
        case _:
            return draw()


# ---- its timeline ----


def grouped(entries: Sequence[EntryView]) -> list[list[EntryView]]:
    """The entries, those of the same kind that follow each other together."""
    kind = attrgetter("action", "code", "outcome", "overtaken", "from_", "to", "mapping", "revision")
    return [list(same) for _, same in groupby(entries, kind)]


# ---- its roles on a line of time ----

# What of the past can be asked for.
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_PASTS = {"1h": _HOUR, "6h": 6 * _HOUR, "24h": _DAY, "7d": 7 * _DAY, "30d": 30 * _DAY}
# What is shown before the oldest change, if nothing is asked for: where a bar begins can be seen.
_BEFORE = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A bar until a time, or a mark without one, of a `kind` that `instance.html` names; `x` and `width` in percent."""

    role: str
    kind: str
    since: datetime
    until: datetime | None = None
    mapping: str = ""
    x: float = 0.0
    width: float = 0.0


@dataclass(frozen=True, slots=True)
class LaneRow:
    """A role's bars and marks."""

    role: str
    carried: bool
    bars: list[Drawn] = field(default_factory=list)
    marks: list[Drawn] = field(default_factory=list)


def lane(
    spans: Sequence[Span],
    roles: Sequence[RoleUseView],
    now: datetime,
    *,
    past: str = "",
    entries: Sequence[EntryView] = (),
) -> Mapping[str, Any]:
    """What an instance carried by its history, with what CloudTrail says of its roles, if it was asked.

    The `entries` of its history say what people did. Places are in percent of the width. Without a known `past` it
    begins before the oldest change of the last 24 hours.
    """
    length, known, acts = _PASTS.get(past, _DAY), _known(spans, roles), [*_acts(entries)]
    times = [*(act.since for act in acts), *(at for span, _ in known for at in (span.since, span.until) if at)]
    begin, recent = now - length, [at for at in times if now - length < at]
    begin = begin if past in _PASTS else min(recent, default=begin) - _BEFORE
    end = max([now, *(min(at, now + length) for each in roles if not each.carried and (at := _valid_until(each, now)))])
    x_of = partial(place, begin=begin, end=end)
    carried = {profile_name(span.profile_arn) for span, _ in known if span.carried}
    rows: dict[str, LaneRow] = {}
    for each in _drawn(known, begin, now):
        if (each.until or each.since) >= begin:
            # The order is that of their last times.
            row = rows[each.role] = rows.pop(each.role, LaneRow(each.role, each.role in carried))
            x, ends = x_of(each.since), x_of(each.until or each.since)
            (row.bars if each.until else row.marks).append(replace(each, x=x, width=max(0, round(ends - x, 2))))
    shown = [row for row in reversed(rows.values()) if row.bars]
    done = [replace(each, x=x_of(each.since)) for each in acts if each.since >= begin]
    kinds = {each.kind for each in chain(done, *((*row.bars, *row.marks) for row in shown))}
    found = {"rows": shown, "acts": done, "kinds": kinds, "past": past, "hours": axis(begin, end)}
    return found | {"begin": begin, "end": end, "now": x_of(now)}


def _acts(entries: Sequence[EntryView]) -> Iterator[Drawn]:
    """What people did, each at the entry that saw it first: pins, tags that mappings read, and edits of its mapping."""
    revisions: dict[str | None, int] = {}
    for older, entry in pairwise((None, *reversed(entries))):
        assert entry
        draw = partial(Drawn, "", since=datetime.fromisoformat(entry.at))
        before, tags = (older or entry).seen.tags, entry.seen.tags
        changed = [key for key in sorted({*before, *tags}) if before.get(key) != tags.get(key)]
        if entry.code in {"pin-set", "pin-removed"}:
            yield draw("pin", mapping=entry.reason)
        elif changed:
            texts = (f"{key}: {before.get(key, 'none')} → {tags.get(key, 'none')}" for key in changed)
            yield draw("tag", mapping=", ".join(texts))
        elif entry.revision > revisions.get(entry.mapping, entry.revision):
            yield draw("edit", mapping=f"{entry.mapping}, revision {entry.revision}")
        revisions[entry.mapping] = entry.revision


def _known(spans: Sequence[Span], roles: Sequence[RoleUseView]) -> list[tuple[Span, RoleUseView | None]]:
    """The spans, each role's last one with what CloudTrail says, after what only it knows; the carried one last."""
    held = {each.instance_profile or each.role: each for each in roles}
    known = [(each, held.pop(profile_name(each.profile_arn) or "", None)) for each in reversed(spans)]
    known += [(Span(name, each.since, until=each.until, carried=each.carried), each) for name, each in held.items()]
    known.reverse()
    return sorted(known, key=lambda each: each[0].carried)


def _drawn(known: Iterable[tuple[Span, RoleUseView | None]], begin: datetime, now: datetime) -> Iterator[Drawn]:
    """Two roles are never attached at once: what another actor attached begins when the one before it was gone."""
    free = begin
    for span, held in known:
        draw = partial(Drawn, profile_name(span.profile_arn) or "", mapping=span.mapping)
        since = span.since or max(free, span.after or begin)
        # Of a former role it may not be known when it was taken, but when it was seen last.
        seen = [since, span.before_end, held.delivered_at if held else None]
        free = until = now if span.carried else span.until or max(filter(None, seen))
        yield draw("ours" if span.attached_by == "Rolekeeper" else "others", since, until)
        if span.since:
            yield draw("attached", since)
        if held and not held.carried:
            yield draw("valid", until, _valid_until(held, now) or until)
        if held:
            first, last = (use.at if use else None for use in (held.first_use, held.last_use))
            calls = {"first": first, "last" if held.carried else "still": last if last != first else None}
            marks = {"delivered": held.delivered_at, **calls}
            yield from (draw(kind, at) for kind, at in marks.items() if at)


def _valid_until(held: RoleUseView, now: datetime) -> datetime | None:
    """Until when credentials of a former role can be used: a policy may deny what is valid, and what is to come."""
    if held.status is UseStatus.CUT_OFF and held.denied_before:
        return min(held.denied_before, now)
    return held.valid_until


ROUTES = [
    Route("/instance/{id}", instance),
    Route("/instance/{id}/facts", news),
    Route("/instance/{id}/who", who),
    Route("/instance/{id}/uptake", uptake),
]
