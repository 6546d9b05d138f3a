"""What hinders the console while it reads, as a note on a page: what happened, and what to do."""

import logging
from dataclasses import dataclass

from rolekeeper.aws.errors import AccessDeniedError
from rolekeeper.model.problem import Advice
from rolekeeper_cli.errors import CommandError, explained

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
