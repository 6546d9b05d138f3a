"""What a verification proved, and what one left."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

from rolekeeper_cli.shell.view import View


class ReportView(View):
    """A whole verification."""

    rolekeeper_verify: Annotated[int, "the format's version"]
    outcome: Annotated[str, "passed, failed or skipped"]
    seconds: Annotated[float, "how long its steps took"]
    id: Annotated[str, "its id"]
    version: Annotated[str, "the version that was proven"]
    region: Annotated[str, "the Region"]
    began: Annotated[str, "when it began"]
    steps: Annotated[Sequence[Mapping[str, Any]], "each step: name, what, outcome, seconds, why"]
    probes: Annotated[Sequence[Mapping[str, Any]], "each fact: name, fact, expected, outcome, observed, why"]
    answers: Annotated[Sequence[Mapping[str, Any]], "EC2's answers, with names of AWS's own"]
    events: Annotated[Sequence[Mapping[str, Any]], "EventBridge's events, as they were received"]
    left: Annotated[Sequence[str], "what of it is still there"]


class LeftoverView(View):
    """A thing that a verification made."""

    kind: Annotated[str, "what it is"]
    name: Annotated[str, "its name"]
    id: Annotated[str, "its id"]
    since: Annotated[datetime | None, "when it was made"]


class UnprovenView(LeftoverView):
    """A thing that isn't touched, because no record proves that a verification made it."""

    by_hand: Annotated[str, "the command that removes it; empty for none"]


class SweptVerificationView(View):
    """What a verification left."""

    id: Annotated[str, "the verification's id"]
    verification: Annotated[str, "the same"]
    newest: Annotated[datetime | None, "when the newest of it was made"]
    may_be_running: Annotated[bool, "whether it may still be running"]
    left: Annotated[Sequence[LeftoverView], "what it left"]
    removed: Annotated[bool | None, "whether all of that is removed"]


class ElsewhereView(View):
    """A verification in another Region."""

    id: Annotated[str, "its id"]
    region: Annotated[str, "the Region"]


class VerificationsView(View):
    """What verifications left, and what is still there."""

    verifications: Annotated[Sequence[SweptVerificationView], "those that were found"]
    left: Annotated[Sequence[LeftoverView], "what is still there"]
    unknown: Annotated[Sequence[str], "what couldn't be read"]
    unproven: Annotated[Sequence[UnprovenView], "what isn't touched"]
    elsewhere: Annotated[Sequence[ElsewhereView], "verifications in other Regions"]
