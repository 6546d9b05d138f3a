"""What a verification finds of each step, of each probe and in all; and what one left."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Self

from rolekeeper_cli.shell.view import View

# Of the report: a reader knows by it what it may expect.
FORMAT = 1


class Outcome(StrEnum):
    """How a step or a probe ended."""

    PASSED = "passed"
    FAILED = "failed"  # of a probe: AWS does otherwise than docs/AWS_FACTS.md says
    SKIPPED = "skipped"  # it couldn't be tried: `why` says what was missing


class Step(View):
    """One step of the story, or of what is made before it and removed after it."""

    name: Annotated[str, "its name, as launch"]
    what: Annotated[str, "what it proves"]
    outcome: Annotated[Outcome, "passed, failed or skipped"]
    seconds: Annotated[float, "from the API call to EC2's answer that shows it; else how long it took"]
    why: Annotated[str, "why it failed or was skipped; empty if it passed"]


class Probe(View):
    """One fact of docs/AWS_FACTS.md, asked of AWS."""

    name: Annotated[str, "its name"]
    fact: Annotated[str, "the section of docs/AWS_FACTS.md, by its heading"]
    expected: Annotated[str, "what that page says"]
    outcome: Annotated[Outcome, "passed, failed or skipped"]
    observed: Annotated[str, "what AWS answered; empty if it couldn't be asked"]
    why: Annotated[str, "why it couldn't be asked"]


class Answer(View):
    """One answer of EC2's, as botocore parses it: of a call that was refused it has `Error`."""

    at: Annotated[float, "seconds since the verification began"]
    operation: Annotated[str, "as the EC2 API reference has it, such as ReplaceIamInstanceProfileAssociation"]
    asked: Annotated[Mapping[str, Any], "the request, with names of AWS's own"]
    answer: Annotated[Mapping[str, Any], "the answer, with names of AWS's own"]


class Report(View):
    rolekeeper_verify: Annotated[int, "the format's version"]
    outcome: Annotated[Outcome, "passed only if every step passed, and nothing is left"]
    seconds: Annotated[float, "how long its steps took"]
    id: Annotated[str, "its id"]
    version: Annotated[str, "the version that was proven"]
    region: Annotated[str, "the Region"]
    began: Annotated[str, "when it began, as ISO 8601 has it"]
    steps: Annotated[Sequence[Step], "the steps"]
    probes: Annotated[Sequence[Probe], "the facts that were asked"]
    answers: Annotated[Sequence[Answer], "EC2's answers"]
    events: Annotated[Sequence[Mapping[str, Any]], "EventBridge's events, as they were received"]
    left: Annotated[Sequence[str], "what of it is still there"]

    @classmethod
    def of(cls, steps: Sequence[Step] = (), left: Sequence[str] = (), **known: Any) -> Self:
        """Make a report of what is known; the rest follows from the steps and what is left."""
        found = {"probes": (), "answers": (), "events": (), **known}
        seconds = round(sum(step.seconds for step in steps), 1)
        outcome = outcome_of(steps, left)
        return cls(rolekeeper_verify=FORMAT, outcome=outcome, seconds=seconds, steps=steps, left=left, **found)


def outcome_of(steps: Iterable[Step], left: Sequence[str]) -> Outcome:
    """Say how a verification ends. Probes don't count: they are about AWS, not about this."""
    found = {step.outcome for step in steps}
    if left or Outcome.FAILED in found:
        return Outcome.FAILED
    return Outcome.SKIPPED if Outcome.SKIPPED in found else Outcome.PASSED


class LeftoverView(View):
    kind: Annotated[str, "what it is"]
    name: Annotated[str, "its name"]
    id: Annotated[str, "its id"]
    since: Annotated[datetime | None, "when it was made"]


class UnprovenView(LeftoverView):
    """A thing that isn't touched, because no record proves that a verification made it."""

    by_hand: Annotated[str, "the command that removes it; empty for none"]


class SweptVerificationView(View):
    id: Annotated[str, "the verification's id"]
    verification: Annotated[str, "the same"]
    newest: Annotated[datetime | None, "when the newest of it was made"]
    may_be_running: Annotated[bool, "whether it may still be running"]
    left: Annotated[Sequence[LeftoverView], "what it left"]
    removed: Annotated[bool | None, "whether all of that is removed"]


class ElsewhereView(View):
    id: Annotated[str, "its id"]
    region: Annotated[str, "the Region"]


class VerificationsView(View):
    verifications: Annotated[Sequence[SweptVerificationView], "those that were found"]
    left: Annotated[Sequence[LeftoverView], "what is still there"]
    unknown: Annotated[Sequence[str], "what couldn't be read"]
    unproven: Annotated[Sequence[UnprovenView], "what isn't touched"]
    elsewhere: Annotated[Sequence[ElsewhereView], "verifications in other Regions"]
