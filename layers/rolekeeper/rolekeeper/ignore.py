"""The tag that excludes an instance: `rolekeeper:ignore`. Pure."""

from collections.abc import Mapping
from datetime import datetime

from rolekeeper.model import IGNORE_TAG, Action, Exclusion


def exclusion(tags: Mapping[str, str], now: datetime) -> Exclusion | None:
    """Why the instance is left alone by its own tag; None where it isn't.

    `true` leaves it alone for good, a moment (ISO 8601 with a zone) until then. `false`, or a moment that has passed,
    is as if there were no tag. What can't be read leaves it alone too, and says so.
    """
    text = tags.get(IGNORE_TAG)
    if text is None or text.strip().lower() == "false":
        return None
    if text.strip().lower() == "true":
        return Exclusion(Action.NOTHING, "ignored", f"its tag {IGNORE_TAG} says true")
    try:
        until = datetime.fromisoformat(text.strip())
    except ValueError:
        until = None
    if until is None or until.tzinfo is None:
        wanted = "write true, or a time with its zone, as 2026-12-31T18:00:00Z"
        reason = f"its tag {IGNORE_TAG} says {text!r:.60}; {wanted}"
        return Exclusion(Action.HOLD, "ignore-unclear", reason, text=text)
    if until <= now:
        return None
    return Exclusion(Action.WAIT, "ignored", f"its tag {IGNORE_TAG} says until {text.strip()}", until)
