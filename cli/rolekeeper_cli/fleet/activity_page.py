"""What happened over time: the fleet by status, and the changes; of all targets, of an account, or of a Region."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolekeeper.instances.decide import InstanceStatus
from rolekeeper.model.instance import Target
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.console.errors import EXPLAINED, ErrorPage, explain
from rolekeeper_cli.console.jobs import followed, look
from rolekeeper_cli.console.page import Asked, listed, page, query
from rolekeeper_cli.errors import UsageError
from rolekeeper_cli.fleet import activity as views
from rolekeeper_cli.fleet.cache import KINDS
from rolekeeper_cli.fleet.plots import stacked
from rolekeeper_cli.instance.history import DecisionLog, level_missing
from rolekeeper_cli.instance.view import EntryView
from rolekeeper_cli.row.use import consent
from rolekeeper_cli.target.use import UNKNOWN, sweep_interval

_HEIGHT, _STRIP = 180, 40
_OF_TARGET = ("account", "region")
SPANS = {"24h": views.DAY, "30d": views.MONTH}  # as an address calls them
# The stylesheet's classes, from the lowest part of a stack: what should be looked at is on top.
STANDINGS = {each.value: KINDS.get(each, each.value) for each in reversed(InstanceStatus)}
CHANGES = dict(zip(views.CHANGES.values(), ("ok", "info", "wait", "bad"), strict=True))


def _read(request: Request) -> tuple[views.Span, views.Activity, dict[str, Any]]:
    """What the address asks for by `span`, `account` and `region`, with what templates know of it."""
    site = request.app.state.site
    asked = {name: request.query_params.get(name, "").strip() for name in _OF_TARGET}
    name = request.query_params.get("span", "")
    span = SPANS.get(name, views.DAY)
    known = [each for each in site.targets() if each.state != UNKNOWN]
    meant = [each for each in known if all(text in ("", getattr(each, name)) for name, text in asked.items())]
    largest = sorted(meant, key=lambda each: -(each.instances or 0))[: span.most]
    targets = [Target(each.account, each.region) for each in largest]
    key = ("activity", *targets, span.length)
    found = site.reads.get(key, lambda: views.read(site.look(), targets, span), span.seconds, stale=True)
    values = asked | {
        "span": name if name in SPANS else "24h",
        "words": span.words,
        "found": found,
        "targets": len(targets),
        "meant": len(meant),
        "every": int(sweep_interval(site.look()).total_seconds()) // 60,
        "choices": {name: sorted({getattr(each, name) for each in known}) for name in asked},
        "changes": sum((each.counts for each in found.changed if each.counts), Counter[str]()),
        "query": lambda **more: query({**asked, **more}),
    }
    return span, found, values


def activity(request: Request) -> Response:
    site, (span, read, values) = request.app.state.site, _read(request)
    found, since = read.from_first_data, site.deployment.now() - span.length
    key = ("acts", span.length)
    acts = site.reads.get(key, lambda: views.acts(site.look(), site.mappings(), since), span.seconds, stale=True)
    now = next((each.counts for each in reversed(found.stood) if each.counts is not None), Counter[str]())
    stood = stacked(found.stood, STANDINGS, height=_HEIGHT, step=span.point, acts=acts)
    return page(
        request,
        "activity.html",
        title="Activity",
        spans=SPANS,
        statuses=dict(reversed(STANDINGS.items())),
        kinds=CHANGES,
        latest=now,
        consent=consent,
        stood=stood,
        changed=stacked(found.changed, CHANGES, height=_HEIGHT, step=span.bar, acts=acts),
        **values | {"found": found},
    )


def strip(request: Request) -> Response:
    """A day in short, for the fleet's page. Why there is none is said within it: that page shows all the rest."""
    try:
        span, found, values = _read(request)
    except EXPLAINED as error:
        failed: ErrorPage | None = explain(error, writing=False)
        return page(request, "activity.html", part="strip", failed=failed)
    plot = stacked(found.stood, STANDINGS, height=_STRIP, step=span.point)
    return page(request, "activity.html", part="strip", failed=None, plot=plot, kinds=CHANGES, **values)


def _bar(request: Request) -> dict[str, Any]:
    """The changes behind a bar, the newest first, by the functions' log."""
    asked, site = Asked.of(request), request.app.state.site
    span = SPANS.get(asked["span"], views.DAY)
    try:
        at = datetime.fromisoformat(asked["at"]).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError("no time is named", "choose a bar of Activity") from error

    def changed(deployment: Deployment) -> Iterator[EntryView]:
        yield from (each for each in DecisionLog(deployment, at).news(at + span.bar) if each.outcome)

    seen = look(request, f"bar {at} {span.bar}", changed).seen()
    meant = [each for each in seen.found if all(asked[name] in ("", getattr(each, name)) for name in _OF_TARGET)]
    return vars(seen) | {
        "title": f"Changes from {at:%Y-%m-%d %H:%M} UTC",
        "at": at,
        "until": at + span.bar,
        "shown": listed(request, meant[::-1]),
        "names": {each.id: each.name for each in site.fleet.ask().rows},
        "missing": level_missing(site.look()),
    }


ROUTES = [
    Route("/activity", activity),
    Route("/activity/strip", strip),
    *followed("/activity/changes", _bar, "activity_changes.html"),
]
