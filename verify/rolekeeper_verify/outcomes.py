"""What a verification finds: of each step of the story, of each probe of a fact, and in all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """How a step or a probe ended."""

    PASSED = "passed"
    FAILED = "failed"  # of a probe: AWS does otherwise than docs/AWS_FACTS.md says
    SKIPPED = "skipped"  # it couldn't be tried: `why` says what was missing


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the story, or of what is made before it and removed after it."""

    name: str  # one word or some with dashes, as `launch`
    what: str  # what it proves, in a sentence
    outcome: Outcome
    seconds: float  # from the API call to EC2's answer that shows it; of a step without such a call, how long it took
    why: str = ""  # why it failed or was skipped; empty if it passed


@dataclass(frozen=True, slots=True)
class Probe:
    """One fact of docs/AWS_FACTS.md, asked of AWS."""

    name: str
    fact: str  # the section of docs/AWS_FACTS.md, by its heading
    expected: str  # what that page says
    outcome: Outcome
    observed: str = ""  # what AWS answered; empty if it couldn't be asked
    why: str = ""  # why it couldn't be asked


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of EC2's, as botocore parses it: of a call that was refused it has `Error`."""

    at: float  # seconds since the verification began
    operation: str  # as the EC2 API reference has it, such as `ReplaceIamInstanceProfileAssociation`
    asked: Mapping[str, Any]
    answer: Mapping[str, Any]


@dataclass(slots=True)
class Report:
    """A whole verification."""

    id: str
    version: str
    region: str
    began: str  # the time, as ISO 8601 has it
    caller: str = ""  # the ARN of who ran it. It is never written: with it, redaction finds the caller's names.
    steps: list[Step] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    events: list[Mapping[str, Any]] = field(default_factory=list)  # EventBridge's, as they were received
    left: Sequence[str] = ()  # names what of it is still there at the end: it should be nothing

    @property
    def failed(self) -> bool:
        """Whether a step failed, or something is left. Probes are about AWS, not about this."""
        return bool(self.left) or any(each.outcome is Outcome.FAILED for each in self.steps)

    @property
    def skipped(self) -> list[str]:
        """The steps that couldn't be tried: what they prove isn't proven."""
        return [each.name for each in self.steps if each.outcome is Outcome.SKIPPED]

    @property
    def outcome(self) -> Outcome:
        """Passed only if every step passed, and nothing is left."""
        if self.failed:
            return Outcome.FAILED
        return Outcome.SKIPPED if self.skipped else Outcome.PASSED
