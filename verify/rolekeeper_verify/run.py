"""A verification from its deployment to the proof that nothing of it is left."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper_cli import installed
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.aws.explained import explained
from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.instance.event_history import ASSOCIATE, DISASSOCIATE, REPLACE
from rolekeeper_verify import probes, removal
from rolekeeper_verify.aws import wait_out
from rolekeeper_verify.kinds import Leftover
from rolekeeper_verify.machine import Machine
from rolekeeper_verify.names import Names
from rolekeeper_verify.proof import Record
from rolekeeper_verify.redact import Redacted, redacted
from rolekeeper_verify.scene import Scene, deploy
from rolekeeper_verify.story import Act, StepFailedError, StepSkippedError, Story
from rolekeeper_verify.view import Answer, Outcome, Probe, Report, Step, outcome_of

# EC2's answers that the report keeps.
_ASSOCIATIONS = {ASSOCIATE, DISASSOCIATE, REPLACE, "DescribeIamInstanceProfileAssociations"}
_KEPT = _ASSOCIATIONS | {f"{verb}Instances" for verb in ("Describe", "Run", "Start", "Stop", "Terminate")}

# The step that is done whatever happens.
REMOVAL = "removal"
# What begins before the probes that wait for CloudTrail.
TRAIL = "CloudTrail's records"


class Verification:
    """See the module."""

    def __init__(
        self,
        caller: Deployment,
        names: Names,
        *,
        patience: float,  # how many seconds each answer of EC2's may take
        trail_patience: float,  # how many seconds CloudTrail's records may take, once all else is done
        begins: Callable[[str], None],  # takes the name of a step that begins
        ended: Callable[[Step | Probe], None],  # takes each step and each probe as it ends
        removed: Callable[[removal.Removal], None],  # takes what becomes of each thing that is removed
    ) -> None:
        self._caller, self._record = caller, Record(names)
        self._patience, self._trail_patience = patience, trail_patience
        self._begins, self._ended, self._removal = begins, ended, removed
        self._began = caller.now()
        # What has only its tag at the end, and what others need too.
        self.untouched: Sequence[Leftover] = ()
        self._steps, self._probes, self._answers = list[Step](), list[Probe](), list[Answer]()
        self._events: Sequence[Mapping[str, Any]] = ()
        self._left: Sequence[str] = ()

    @property
    def report(self) -> Redacted:
        """What was found until now, and is left."""
        whole = Report.of(
            self._steps,
            self._left,
            id=self._record.names.id,
            version=installed.version(),
            region=self._caller.region,
            began=self._began.isoformat(timespec="seconds"),
            probes=self._probes,
            answers=self._answers,
            events=self._events,
        )
        return redacted(whole, self._caller.caller.arn)

    @property
    def _failed(self) -> bool:
        return outcome_of(self._steps, self._left) is Outcome.FAILED

    def run(self, machine: Machine) -> None:
        """Go through it all. What was made is removed, whatever happens; the report says what is left."""
        events = self._caller.session.events
        wait_out(events, self._patience)
        events.register(
            "provide-client-params.ec2", lambda params, context, **_: context.update(rolekeeper_asked=params)
        )
        events.register("after-call.ec2", self._note)
        try:
            self._play(machine)
        except BaseException as error:
            why = "it was interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}"
            what = "the verification comes to its end"
            self._end(Step(name="end", what=what, outcome=Outcome.FAILED, seconds=0, why=why))
            raise
        finally:
            self._left = ["unknown: the removal was interrupted"]
            self._try(REMOVAL, "everything is removed, and no service lists any of it", self._removed)

    def _play(self, machine: Machine) -> None:
        made: list[Scene] = []

        def make() -> None:
            made.append(deploy(self._caller, self._record, machine))

        self._step("deploy", "this version is deployed under a path of its own", make)
        if not made:
            return
        story = Story(made[0], self._patience, self._trail_patience)
        for name, what, act in story.steps():
            self._step(name, what, act)
        if not self._failed:
            self._probe(story)

    def _probe(self, story: Story) -> None:
        self._facts("probes", probes.RUNNING, story)
        self._facts(TRAIL, probes.RECORDED, story)
        self._step("delivered", "EC2 got credentials of the role that was attached", story.delivered)
        self._step("in-use", "software on the instance called with the role that was attached", story.in_use)
        self._facts("probes", probes.CHANGED, story)
        self._step("terminate", "an instance is terminated", story.terminate_a)
        if not self._failed:
            self._facts("probes", probes.ENDED, story)
        self._events = [*story.received.values()]

    def _facts(self, name: str, facts: Sequence[probes.Fact], story: Story) -> None:
        self._begins(name)
        for each in probes.run(facts, story):
            self._probes.append(each)
            self._ended(each)
            self._begins("probes")

    def _step(self, name: str, what: str, act: Act) -> None:
        """Do a step, unless one before it failed, and tell how it ended."""
        if not self._failed:
            self._try(name, what, act)

    def _try(self, name: str, what: str, act: Act) -> None:
        self._begins(name)
        began = self._caller.now()
        outcome, seconds, why = _tried(act)
        if seconds is None:
            seconds = (self._caller.now() - began).total_seconds()
        self._end(Step(name=name, what=what, outcome=outcome, seconds=round(seconds, 1), why=why))

    def _end(self, step: Step) -> None:
        self._steps.append(step)
        self._ended(step)

    def _removed(self) -> None:
        for each in removal.remove(self._caller, [self._record]):
            self._removal(each)
        found = removal.find(self._caller, self._record)
        self._left = found.lines
        self.untouched = [each for each in found.unproven if not each.is_named]
        if self._left:
            raise StepFailedError(f"left: {'; '.join(self._left)}")

    # ---- EC2's own answers, for the report ----

    def _note(self, parsed: Mapping[str, Any], model: Any, context: Mapping[str, Any], **_: object) -> None:
        """Keep an answer, unless the last one to the same call was equal: a wait asks the same again and again."""
        if model.name not in _KEPT:
            return
        asked = context.get("rolekeeper_asked", {})
        answer = {name: each for name, each in parsed.items() if name != "ResponseMetadata"}
        last = next((each for each in reversed(self._answers) if each.operation == model.name), None)
        if last and (last.asked, last.answer) == (asked, answer):
            return
        at = (self._caller.now() - self._began).total_seconds()
        self._answers.append(Answer(at=round(at, 3), operation=model.name, asked=asked, answer=answer))


def _tried(act: Act) -> tuple[Outcome, float | None, str]:
    """How a step ends, its seconds if it knows them, and why it didn't pass."""
    try:
        return Outcome.PASSED, act(), ""
    except StepSkippedError as skipped:
        return Outcome.SKIPPED, None, str(skipped)
    except StepFailedError as failed:
        return Outcome.FAILED, None, str(failed)
    except (AwsRefusalError, CommandError, ClientError, BotoCoreError) as error:
        shown = error if isinstance(error, CommandError) else explained(error)
        assert shown  # it is AWS's or its SDK's
        return Outcome.FAILED, None, f"{shown.what}; {shown.remedy}"
