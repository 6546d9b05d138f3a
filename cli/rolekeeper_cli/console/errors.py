"""What a page says in place of what it should show: what happened, what to do, and the permission that is missing."""

import json
import logging
from dataclasses import dataclass
from http import HTTPStatus

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError, classify
from rolekeeper.model.problem import Advice
from rolekeeper_cli.console.page import bare_page
from rolekeeper_cli.errors import CommandError, ConfigurationError, ServiceError, UsageError, WaitTimeoutError
from rolekeeper_cli.explained import BAD_CREDENTIALS, explained

# What AWS or a person's input makes of a page; any other error is a bug.
EXPLAINED = (CommandError, AwsRefusalError, BotoCoreError, ClientError, ResponseParserError)
_STATUS: tuple[tuple[type[CommandError], HTTPStatus, str], ...] = (
    (UsageError, HTTPStatus.BAD_REQUEST, "That can't be read"),
    (ConfigurationError, HTTPStatus.SERVICE_UNAVAILABLE, "AWS can't be asked"),
    (ServiceError, HTTPStatus.BAD_GATEWAY, "AWS refused"),
    (WaitTimeoutError, HTTPStatus.GATEWAY_TIMEOUT, "It didn't happen in time"),
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing else is shown, and what to do: a sentence each, without its end."""

    status: HTTPStatus
    title: str
    what: str
    remedy: str | Advice

    def answer(self) -> Response:
        text = bare_page("refused.html", title=self.title, what=self.what, remedy=self.remedy)
        return HTMLResponse(text, self.status)


@dataclass(frozen=True, slots=True)
class Mishap(Refusal):
    """As the page `mishap.html` says it.

    `statement` is the policy statement, as JSON, that would allow it, where a permission is missing; with `again`, the
    same may succeed a moment later.
    """

    statement: str = ""
    again: bool = False


def explain(error: Exception, *, writing: bool) -> Mishap:
    """The mishap of one of `EXPLAINED`, which a page raised, maybe one that is `writing`."""
    refusal = classify(error, error.operation_name, "*") if isinstance(error, ClientError) else error
    if isinstance(refusal, AccessDeniedError) and refusal.code not in BAD_CREDENTIALS:
        return _denied(refusal)
    if isinstance(refusal, AwsRefusalError) and refusal.throttled:
        what = f"AWS asks for fewer calls just now ({refusal.action}: {refusal.code})"
        remedy = "wait a few seconds, then try again; other programs of this account use the same limit"
        return Mishap(HTTPStatus.SERVICE_UNAVAILABLE, "AWS is throttling", what, remedy=remedy, again=True)
    told = error if isinstance(error, CommandError) else explained(error)
    assert told
    if why_not := _unasked(refusal, told):
        return why_not
    for kind, status, title in _STATUS:
        if isinstance(told, kind):
            again = status >= HTTPStatus.INTERNAL_SERVER_ERROR
            return Mishap(status, title, told.what, remedy=told.remedy, again=again)
    status, title = (HTTPStatus.CONFLICT, "Not done") if writing else (HTTPStatus.NOT_FOUND, "Nothing to show")
    return Mishap(status, title, told.what, remedy=told.remedy)


def _unasked(error: Exception, told: CommandError) -> Mishap | None:
    """The mishap where AWS wasn't even asked, or doesn't know who asks; None where it answered."""
    cause = error.__cause__ if isinstance(error, AwsRefusalError) else error
    if isinstance(error, AwsRefusalError | BotoCoreError) and isinstance(told, ConfigurationError):
        remedy = f"{told.remedy}; if that doesn't help, start the console again"
    elif isinstance(cause, BotoCoreError):
        remedy = f"{told.remedy}; the console goes on once AWS answers"
    else:
        return None
    return Mishap(HTTPStatus.SERVICE_UNAVAILABLE, "AWS can't be asked", told.what, remedy=remedy, again=True)


def refused(error: HTTPException) -> Mishap:
    """What Starlette refuses: an address without a page, or a method that the page hasn't."""
    status = HTTPStatus(error.status_code)
    if status is HTTPStatus.NOT_FOUND:
        return Mishap(status, "No such page", "the console has no page at this address", remedy="begin at the fleet")
    what = f"the console can't do that: {status.phrase.lower()}"
    return Mishap(status, "That can't be asked", what, remedy="go back, and use the links and buttons of the page")


def bug() -> Mishap:
    what = "internal error; details are in the console's terminal"
    remedy = "look there; report it with these lines (CONTRIBUTING.md); the other pages go on working"
    return Mishap(HTTPStatus.INTERNAL_SERVER_ERROR, "An error in the console", what, remedy=remedy)


def _denied(error: AccessDeniedError) -> Mishap:
    what = f"you aren't allowed {error.action} on {error.resource}"
    statement = json.dumps({"Effect": "Allow", "Action": error.action, "Resource": error.resource}, indent=2)
    remedy = "have it allowed, or start the console with another --profile"
    return Mishap(HTTPStatus.BAD_GATEWAY, "AWS refused", what, remedy=remedy, statement=statement, again=True)


# ---- what hinders the console while it reads, as a note on a page ----


_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence with its remedy. `kind` is a class of the stylesheet; `permission` is the one that is missing."""

    kind: str
    text: str
    remedy: str | Advice = ""
    permission: str = ""


# What each thing that failed means to the person.
_MEANS = {
    "whole": "The fleet can't be read",
    "log": "Changes show late, with the next full read: the functions' log can't be read",
    "look": "Changes show late: some instances can't be looked at again",
    "control": "Whether changes are withheld isn't known",
}


def note_of(name: str, error: Exception) -> Note:
    """The note about an error; one that is a bug of ours is written to standard error too."""
    told = error if isinstance(error, CommandError) else explained(error)
    kind, means = "bad" if name == "whole" else "warn", _MEANS[name]
    if told is None:
        _LOGGER.error("the console failed to read the fleet", exc_info=error)
        words = f"{type(error).__name__}: {error}"
        return Note(kind, f"{means}: {words}.", "this is a bug; what led to it is where the console was started")
    denied = error.action if isinstance(error, AccessDeniedError) else ""
    return Note(kind, f"{means}: {told.what}.", told.remedy, permission=denied)
