"""Forms: what a page posts, as text fields, for a handler that runs in a thread as all others do; and their plans.

A plan is what a form would do. It is a page with an address, where it is done, at most once.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import wraps
from http import HTTPStatus
from threading import Lock
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import ImmutableMultiDict
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from rolekeeper_cli.console.page import Notice, done, see_other
from rolekeeper_cli.errors import CommandError, UsageError

_LONGEST_REASON = 500

# What was shown is then too old to be done.
_KEPT = timedelta(hours=1)

type Form = Mapping[str, str]
"""A posted form: the fields' texts by name; of a field given twice, the last (all of them: `several`).

Blanks stay: `web ` is another tag than `web`, and a hidden field names one of them. See `trimmed`.
"""


def trimmed(form: Form, name: str) -> str:
    """What a person typed into a field, without the blanks at its ends, which nobody sees; empty where it isn't there.

    For fields that a person fills in, not for those that say what the page was about.
    """
    return form.get(name, "").strip()


def several(form: Form, name: str) -> list[str]:
    """All texts of a field that may be given several times."""
    assert isinstance(form, ImmutableMultiDict)  # it is posted
    return list(form.getlist(name))


def reason_of(form: Form) -> str:
    """Why a person does it. UsageError if it is longer than a reason may be."""
    reason = trimmed(form, "reason")
    if len(reason) > _LONGEST_REASON:
        raise UsageError(f"the reason has more than {_LONGEST_REASON} characters", "say it shorter")
    return reason


def require_word(form: Form, word: str) -> None:
    """Refuse a form that lacks the `word` a person should have typed, by a UsageError; empty asks for none."""
    if word and trimmed(form, "confirm") != word:
        raise UsageError(f"nothing was changed: the word to type is {word}", f"type {word}, or leave it")


def posted(handler: Callable[[Request, Form], Response]) -> Callable[[Request], Awaitable[Response]]:
    """A handler of a POST, given its form. Handlers wait for AWS, so they may not run in the server's own thread."""

    @wraps(handler)
    async def endpoint(request: Request) -> Response:
        try:
            body = await request.body()
        except ClientDisconnect:
            return Response(status_code=HTTPStatus.BAD_REQUEST)  # nobody waits for it
        fields = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
        # A browser writes each line end as two characters, whatever the page said.
        form = ImmutableMultiDict([(name, value.replace("\r\n", "\n")) for name, value in fields])
        return await run_in_threadpool(handler, request, form)

    return endpoint


@dataclass(frozen=True, slots=True)
class Outcome:
    """What doing a plan did: a notice, and the page that shows it."""

    path: str
    notice: Notice


@dataclass(eq=False)
class Plan[What]:
    """`what` a form would do, and once that is done, its outcome. It is done only after it was `shown`."""

    what: What
    made: datetime
    shown: bool = False
    outcome: Outcome | None = None
    doing: Lock = field(default_factory=Lock)


def keep(request: Request, path: str, what: object) -> Response:
    """Go to the page of a new plan, below this path: the browser's way back to it sends no form again."""
    site = request.app.state.site
    return see_other(f"{path}/plan/{site.plans.keep(Plan(what, site.deployment.now()))}")


def plan_of[What](request: Request, kind: type[What]) -> Plan[What]:
    """The plan that the address names. CommandError if there is none, or no longer."""
    site = request.app.state.site
    found = site.plans.known(request.path_params["plan"])
    if found is None or not isinstance(found.what, kind) or site.deployment.now() - found.made > _KEPT:
        raise CommandError("this plan is no longer known", "plans are kept for an hour; go back, and plan it again")
    plan: Plan[What] = found
    return plan


def do_once[What](request: Request, plan: Plan[What], do: Callable[[], Outcome]) -> Response:
    """Do it, and go to what it did; done already, to the plan, which says so. CommandError if nobody saw the plan."""
    if not plan.shown:
        raise CommandError("nothing was changed: this plan wasn't shown yet", "open it, and read what it would do")
    with plan.doing:
        if plan.outcome:
            return see_other(request.url.path)
        plan.outcome = do()
    return done(request, plan.outcome.path, plan.outcome.notice)
