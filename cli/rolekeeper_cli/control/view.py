"""The switches of the whole deployment, and missed work."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

from rolekeeper_cli.shell.view import View


class SwitchesView(View):
    mode: Annotated[str, "the mode in effect: observe or enforce"]
    deployed: Annotated[str, "the mode that the stack says"]
    paused: Annotated[bool, "whether changes are paused"]
    claimed_by: Annotated[str | None, "who claims to have switched last"]
    claimed_at: Annotated[str | None, "when, as they claim"]
    claimed_reason: Annotated[str | None, "why, as they claim"]


class SweptView(View):
    """What a sweep saw, as the function reports it."""

    instances: Annotated[int, "how many instances it looked at"]
    sent: Annotated[int, "how many differ and were sent to the work queue"]
    withheld: Annotated[int | None, "how many more differ, and weren't sent because the queue is full"] = None
    mappings: Annotated[int, "how many rows it checked"]
    mappings_changed: Annotated[int, "how many of these changed"]
    published: Annotated[int | None, "how many rows were published"] = None
    finished: Annotated[bool, "whether it is finished; else the rest continues automatically"]
    problems: Annotated[Sequence[str], "what it couldn't do"]
    rest: Annotated[Mapping[str, Any] | None, "where it continues"] = None
    stands: Annotated[Mapping[str, int] | None, "how many instances have each status"] = None


class LetterView(View):
    since: Annotated[datetime, "when it was sent"]
    what: Annotated[str, "what it is"]
    of: Annotated[str, "what it is about"]
    why: Annotated[str, "why it is there, if it says so"]
    message_id: Annotated[str, "its id"]
    body: Annotated[str, "its body"]


class LettersView(View):
    letters: Annotated[int, "how many there are"]
    shown: Annotated[Sequence[LetterView], "those that were read"]
