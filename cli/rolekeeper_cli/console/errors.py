"""What a page says in place of what it should show: what happened, what to do, and the permission that is missing."""

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError, RetryableError, classify
from rolekeeper.model.problem import Advice
from rolekeeper_cli.aws.explained import BAD_CREDENTIALS, explained
from rolekeeper_cli.console.page import STATIC, bare_page, page
from rolekeeper_cli.errors import CommandError, ConfigurationError, ServiceError, UsageError, WaitTimeoutError

_LOGGER = logging.getLogger(__name__)
# What AWS or a person's input makes of a page; any other error is a bug.
EXPLAINED = (CommandError, AwsRefusalError, BotoCoreError, ClientError, ResponseParserError)
_STATUS: tuple[tuple[type[CommandError], HTTPStatus, str], ...] = (
    (UsageError, HTTPStatus.BAD_REQUEST, "That can't be read"),
    (ConfigurationError, HTTPStatus.SERVICE_UNAVAILABLE, "AWS can't be asked"),
    (ServiceError, HTTPStatus.BAD_GATEWAY, "AWS refused"),
    (WaitTimeoutError, HTTPStatus.GATEWAY_TIMEOUT, "It didn't happen in time"),
)


@dataclass(frozen=True, slots=True)
class ErrorPage:
    """Why nothing else is shown, and what to do: a sentence each, without its end.

    `statement` is the policy statement, as JSON, that would allow it, where a permission is missing; with `again`, the
    same may succeed a moment later. `link` is an address of the console's that a bare page leads to; `onward`: at once.
    """

    status: HTTPStatus
    title: str
    what: str
    remedy: str | Advice
    statement: str = ""
    again: bool = False
    link: str = ""
    onward: bool = False

    def bare(self) -> Response:
        """The page without anything of the deployment."""
        return HTMLResponse(bare_page("refused.html", error=self, title=self.title), self.status)


def explain(error: Exception, *, writing: bool) -> ErrorPage:
    """The page for one of `EXPLAINED`; `writing`: a form was sent."""
    refusal = classify(error, error.operation_name, "*") if isinstance(error, ClientError) else error
    if isinstance(refusal, AccessDeniedError) and refusal.code not in BAD_CREDENTIALS:
        return _denied(refusal)
    if isinstance(refusal, AwsRefusalError) and refusal.throttled:
        what = f"AWS asks for fewer calls just now ({refusal.action}: {refusal.code})"
        remedy = "wait a few seconds, then try again; other programs of this account use the same limit"
        return ErrorPage(HTTPStatus.SERVICE_UNAVAILABLE, "AWS is throttling", what, remedy=remedy, again=True)
    reported = error if isinstance(error, CommandError) else explained(error)
    assert reported
    if why_not := _unasked(refusal, reported):
        return why_not
    for kind, status, title in _STATUS:
        if isinstance(reported, kind):
            again = status >= HTTPStatus.INTERNAL_SERVER_ERROR
            return ErrorPage(status, title, reported.what, remedy=reported.remedy, again=again)
    status, title = (HTTPStatus.CONFLICT, "Not done") if writing else (HTTPStatus.NOT_FOUND, "Nothing to show")
    return ErrorPage(status, title, reported.what, remedy=reported.remedy)


def _unasked(error: Exception, reported: CommandError) -> ErrorPage | None:
    """The page if AWS couldn't be asked, or doesn't know who asks; None if it answered."""
    cause = error.__cause__ if isinstance(error, AwsRefusalError) else error
    if isinstance(error, AwsRefusalError | BotoCoreError) and isinstance(reported, ConfigurationError):
        remedy = f"{reported.remedy}; if that doesn't help, start the console again"
    elif isinstance(cause, BotoCoreError | ResponseParserError):
        remedy = f"{reported.remedy}; the console goes on once AWS answers"
    else:
        return None
    return ErrorPage(HTTPStatus.SERVICE_UNAVAILABLE, "AWS can't be asked", reported.what, remedy=remedy, again=True)


def _denied(error: AccessDeniedError) -> ErrorPage:
    what = f"you aren't allowed {error.action} on {error.resource}"
    statement = json.dumps({"Effect": "Allow", "Action": error.action, "Resource": error.resource}, indent=2)
    remedy = "ask for that permission, or start the console with another --profile"
    return ErrorPage(HTTPStatus.BAD_GATEWAY, "AWS refused", what, remedy=remedy, statement=statement, again=True)


def _refused(request: Request, error: Exception) -> Response:
    """An address without a page, or a method that the page doesn't have."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    if status is HTTPStatus.NOT_FOUND:
        what, remedy = "the console has no page at this address", "begin at the fleet"
        return _show(request, ErrorPage(status, "No such page", what, remedy=remedy))
    what = f"the console can't do that: {status.phrase.lower()}"
    remedy = "go back, and use the links and buttons of the page"
    return _show(request, ErrorPage(status, "That can't be asked", what, remedy=remedy))


def _bug(request: Request, _error: Exception) -> Response:
    what = "internal error; details are in the console's terminal"
    remedy = "look there; report it with these lines (CONTRIBUTING.md); the other pages go on working"
    error_page = ErrorPage(HTTPStatus.INTERNAL_SERVER_ERROR, "An error in the console", what, remedy=remedy)
    try:
        return _show(request, error_page)
    except Exception:
        # The head of every page is what fails.
        _LOGGER.exception("the page that says so failed too")
        return error_page.bare()


def _show(request: Request, error_page: ErrorPage) -> Response:
    if request.url.path.startswith(STATIC):
        return error_page.bare()  # for browsers that weren't let in, too
    return page(request, "error.html", error_page.status, title=error_page.title, error=error_page)


HANDLERS: Mapping[Any, Callable[[Request, Exception], Response]] = {
    HTTPException: _refused,
    **dict.fromkeys(EXPLAINED, lambda asked, error: _show(asked, explain(error, writing=asked.method == "POST"))),
    # Starlette raises it again once the page is answered: the server writes it to stderr.
    Exception: _bug,
}


# ---- what hinders the console while it reads, as a note on a page ----


@dataclass(frozen=True, slots=True)
class Note:
    """What hinders the console: what that means to the person, its cause, if any, and the remedy.

    `kind` is a class of the stylesheet; `permission` is the one that is missing. `also` is what else has the cause.
    """

    kind: str
    means: str
    cause: str = ""
    remedy: str | Advice = ""
    permission: str = ""
    unasked: bool = False
    also: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return f"{self.means}: {self.cause}." if self.cause else f"{self.means}."


def one_for_each_cause(notes: Iterable[Note]) -> list[Note]:
    """The same notes, the bad ones first; those that have a cause in common are one."""
    found: dict[object, Note] = {}
    for note in sorted(notes, key=lambda each: each.kind != "bad"):
        # AWS's services say each in its own words that they weren't reached, or gave no answer.
        cause = note.unasked or note.cause or note.means
        first = found.get(cause)
        found[cause] = replace(first, also=(*first.also, note.means)) if first else note
    return list(found.values())


# What each thing that failed means to the person.
_MEANS = {
    "whole": "The fleet can't be read",
    "log": "Changes show late, with the next full read: the functions' log can't be read",
    "look": "Changes show late: some instances can't be looked at again",
    "control": "Whether changes are withheld isn't known",
}


def note_of(name: str, error: Exception) -> Note:
    """The note about an error; one that is a bug of ours is written to standard error too."""
    reported = error if isinstance(error, CommandError) else explained(error)
    kind, means = "bad" if name == "whole" else "warn", _MEANS[name]
    if reported is None:
        _LOGGER.error("the console failed to read the fleet", exc_info=error)
        words = f"{type(error).__name__}: {error}"
        return Note(kind, means, words, remedy="this is a bug; what led to it is where the console was started")
    denied = error.action if isinstance(error, AccessDeniedError) else ""
    unasked = (isinstance(error, RetryableError) and not error.throttled) or _unasked(error, reported) is not None
    return Note(kind, means, reported.what, remedy=reported.remedy, permission=denied, unasked=unasked)
