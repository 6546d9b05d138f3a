"""The steps of a verification: what people do to two instances, and EC2's own answer to it."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from botocore import xform_name

from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError, NotFoundError, RetryableError, classified
from rolekeeper.fleet.sweep import CAUSE
from rolekeeper.mappings.verdict import Status
from rolekeeper.model.instance import Association, AssociationState, Instance, InstanceState
from rolekeeper.model.mapping import NO_ROLE, MappingKey
from rolekeeper.model.problem import Reason, ReasonCode, sentence
from rolekeeper.storage import layout
from rolekeeper_cli.control.use import sweep
from rolekeeper_cli.instance.uptake import of_instance, seconds_after
from rolekeeper_cli.instance.use import key_of
from rolekeeper_cli.instance.view import RoleUseView, UptakeView
from rolekeeper_cli.row.effect import reasons_in, text_in
from rolekeeper_verify.aws import Aws, wait_out
from rolekeeper_verify.scene import Scene, allow_no_change, launch

# Seconds between two looks at EC2, of whose budget of 20 calls a second others have their share.
_EVERY = 0.25
# How long it looks whether something stays as it is: this share of the patience, at most so many seconds.
_STAYS_SHARE, _STAYS_SECONDS = 0.03, 5.0
# After so many seconds a follow-up may have done it, which has another cause than these.
_PROMPT_SECONDS, _EVENTS = 15.0, ("tags changed", "instance ")
# How often the tag changes in a burst.
_BURST = 10
# How often the role is taken by hand: the follow-up of an earlier change may give it back before the sweep does.
_SWEEPS = 3
# The first wave is one of both, and the second is long after the story's end.
_WAVES = "1, 100% every 1d"
# How long IAM may take to let a role be assumed whose trust policy was changed.
_TRUSTED_SECONDS = 60.0
# How often CloudTrail is asked within its patience: every 10 seconds of 10 minutes.
_TRAIL_LOOKS = 60
_NONE, _MISSING = "none", "missing"
_GAP = "for a moment EC2 showed no role"
# What EC2 says when IAM refuses a call. A session that isn't valid, or a Region that is off, has other codes (docs/
# AWS_FACTS.md, "Errors", "Many accounts").
UNAUTHORIZED = "UnauthorizedOperation"
# A process that starts after a replace calls with the new role, at the latest so many seconds later.
REPLACED_SECONDS = 60.0


class StepFailedError(Exception):
    """What a step expected didn't happen."""


class StepSkippedError(Exception):
    """A step couldn't be tried."""


type _Times = tuple[datetime | None, datetime | None]
type Act = Callable[[], float | None]
"""Does a step, and returns its seconds, if it measures them itself."""


@dataclass
class Story:
    """See the module. `a` has the tag, `b` a foreign role; each step goes on where the one before it ended."""

    scene: Scene
    patience: float  # how many seconds EC2's answer may take to be as expected
    trail_patience: float  # how many seconds CloudTrail's records may take, once all else was asked
    a: str = ""
    b: str = ""
    changer: Any = None  # EC2, called with the credentials of the function that changes roles, if they could be had
    former: list[str] = field(default_factory=list)  # the ids of the associations that were replaced
    trail_until: datetime | None = None  # the end of `trail_patience`, once a step or a probe has begun to wait
    # What the queue had of both instances, once a probe has read it: events by id, each with its message `group`.
    received: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    _foreign: Association | None = None

    def __post_init__(self) -> None:
        self.deployment, self.names = self.scene.deployment, self.scene.names
        self.aws, self.now = Aws(self.deployment), self.deployment.now
        # Before the first launch; and when `a` was last given its role by this story itself.
        self.began = self.given = self.now()

    def steps(self) -> Iterator[tuple[str, str, Act]]:
        """Each step's name, what it proves, and what is to be done for it."""
        yield "mappings", "rows of the mapping table are published", self.mappings
        yield "launch", "an instance that is launched with a tag gets the role", self.launch
        yield "retag", "another tag replaces the role under a new association id, never without a role", self.retag
        yield "restart", "a stopped instance keeps its role, and gets the new one when it has started", self.restart
        yield "foreign-mapped", "a foreign role stays under a tag that asks for another role", self.foreign_mapped
        yield "none", "a tag that asks for no role detaches a managed one", self.none
        yield "foreign-none", "a foreign role stays under a tag that asks for no role", self.foreign_none
        yield "untag", "a tag that is removed detaches the role", self.untag
        yield "bad-row", "a row that names no role is rejected, and changes nothing", self.bad_row
        yield "burst", f"{_BURST} tag changes at once end with the last one's role", self.burst
        yield "sweep", "the sweep gives back a role that was taken by hand", self.sweep
        yield "iam", "IAM refuses the function a foreign role, and any outside its path", self.iam
        yield "free", "a person takes the foreign role away", self.free
        yield "waves", "an edit in waves moves one instance, halts at an alarm, and is taken back at once", self.waves
        yield "held", "an edit that changes more instances than the limit waits for approval", self.held

    # ---- the steps ----

    def mappings(self) -> None:
        for value in ("a", "b"):
            self._put(value, self.names.role(value))
        self._put(_NONE, NO_ROLE)
        for value in ("a", "b", _NONE):
            self._row_becomes(value, Status.PUBLISHED)

    def launch(self) -> float:
        began = self._now()
        self.a = launch(self.scene, role="a")
        self.b = launch(self.scene, profile=self.scene.profiles["foreign"])
        seconds = self._prompt(self._shows(self.a, "a", began))
        self._shows(self.b, "foreign", began)
        return seconds

    def retag(self) -> float:
        return self._replaced("b", self.a)

    def restart(self) -> float:
        before = self.carried(self.a)
        self.aws.call("ec2:StopInstances", InstanceIds=[self.a])
        self.becomes(self.a, InstanceState.STOPPED)
        self._tag("a", self.a)
        self._waits(self.a, before, code="stopped", names=self.names.role("a"))
        self._stays(self.a, before)
        began = self._now()
        self.aws.call("ec2:StartInstances", InstanceIds=[self.a])
        return self._prompt(self._shows(self.a, "a", began))

    def foreign_mapped(self) -> float:
        foreign = self.carried(self.b)
        seconds = self._replaced("b", self.a, self.b)
        self._leaves_foreign("b", foreign)
        self._stays(self.b, foreign)
        return seconds

    def none(self) -> float:
        self._foreign = self.carried(self.b)
        return self._detached(lambda: self._tag(_NONE, self.a, self.b))

    def foreign_none(self) -> float:
        began = self._now()
        self._leaves_foreign(_NONE, self._foreign)
        seconds = self._now() - began
        self._stays(self.b, self._foreign)
        return seconds

    def untag(self) -> float:
        self._tagged("a")
        key = self.names.tag_key
        return self._detached(lambda: self.aws.call("ec2:DeleteTags", Resources=[self.a], Tags=[{"Key": key}]))

    def bad_row(self) -> float:
        self._tagged("a")
        before = self.carried(self.a)
        began = self._now()
        self._put("a", self.names.role(_MISSING))
        self._row_becomes(
            "a", Status.REJECTED, ReasonCode.MISSING(what=f"role '{self.names.role(_MISSING)}' doesn't exist")
        )
        seconds = self._now() - began
        self._stays(self.a, before)
        self._put("a", self.names.role("a"))
        self._row_becomes("a", Status.PUBLISHED)
        return seconds

    def burst(self) -> float:
        for value in "ab" * (_BURST // 2 - 1) + "a":
            self._tag(value, self.a)
        began = self._now()
        self._tag("b", self.a)
        while True:
            seconds = self._shows(self.a, "b", began)
            shown = self.association(self.a)
            try:
                self._stays(self.a, shown)
            except StepFailedError:
                # A look that began before the last tag may end after it; the last event, or the follow-up that comes
                # within two minutes, then puts it right.
                if self._now() - began > self.patience:
                    raise
            else:
                if self._is_associated(shown, "b"):
                    return seconds

    def sweep(self) -> float:
        for _ in range(_SWEEPS):
            before = self._newest()
            self._take_role(self.a)
            began = self._now()
            if (swept := sweep(self.deployment, wait=True)) and swept.sent:
                seconds = self._shows(self.a, "b", began)
                self._is_recorded(before)
                if self._cause().startswith(CAUSE):
                    return seconds
        raise StepFailedError(f"the role was taken {_SWEEPS} times, and no sweep has given it back")

    def iam(self) -> None:
        self.changer = self.changer or self._as_changer()
        foreign, profile = self.carried(self.b), {"Arn": self.scene.profiles["foreign"]}
        self.changer_may()
        present = self.carried(self.a)
        self._refuses("ec2:DisassociateIamInstanceProfile", self.b, AssociationId=foreign.id)
        self._refuses("ec2:AssociateIamInstanceProfile", self.a, InstanceId=self.a, IamInstanceProfile=profile)
        replace = {"AssociationId": present.id, "IamInstanceProfile": profile}
        self._refuses("ec2:ReplaceIamInstanceProfileAssociation", self.a, **replace)
        self._is_still(self.a, present)  # EC2 refuses a stale id with the same code
        self.changer_may()
        self._stays(self.b, foreign)

    def free(self) -> None:
        self.carried(self.b)
        self._take_role(self.b)
        self._stays(self.b, None)

    def waves(self) -> float:
        self._tag("b", self.b)
        self._shows(self.b, "b", self._now())
        before = {each: self.carried(each) for each in (self.a, self.b)}
        moved, stayed = self._moved_in_waves(before)
        seconds = self._halted()
        allow_no_change(self.scene)  # going back is never held, and waits for no room
        self._put("b", self.names.role("b"))
        self._shows(moved, "b", self._now(), gap=_GAP)
        self._row_becomes("b", Status.PUBLISHED)
        self._stays(stayed, before[stayed])
        self._tag(_NONE, self.b)
        self.free_b()
        self.given = self.now()
        return seconds

    def _moved_in_waves(self, before: Mapping[str, Association]) -> tuple[str, str]:
        """Edit the row of both instances in waves; returns the one that moves, and the one that waits for its wave."""
        self._put("b", self.names.role("a"), rollout=_WAVES, halt_on={self.names.alarm})
        self._row_becomes("b", Status.ROLLING_OUT)

        def moved() -> list[str]:
            return [each for each, shown in before.items() if self.association(each) != shown]

        self.until("EC2 shows another role on one of both", moved)
        first = moved()[0]
        [other] = before.keys() - {first}
        self._shows(first, "a", self._now())
        self._stays(other, before[other])
        return first, other

    def _halted(self) -> float:
        """Have the alarm ring, and see that the row says so; returns the seconds until then."""
        alarm, began = self.names.alarm, self._now()
        self.aws.call("cloudwatch:SetAlarmState", AlarmName=alarm, StateValue="ALARM", StateReason="a verification")
        self._row_becomes("b", Status.HALTED, ReasonCode.ALARM_RINGS(alarm=alarm))
        return self._now() - began

    def held(self) -> float:
        """No edit may change anything since the step before."""
        before = self.carried(self.a)
        began = self._now()
        self._put("b", self.names.role("a"))
        self._row_becomes("b", Status.HELD, ReasonCode.WOULD_CHANGE(replace=1))
        seconds = self._now() - began
        self._stays(self.a, before)
        return seconds

    # ---- what CloudTrail records of it, minutes later ----

    def delivered(self) -> float:
        return self._recorded("EC2 got credentials of", lambda held: (held.delivered_at, held.delivered_at))

    def in_use(self) -> float:
        return self._recorded("the instance called with", _calls)

    def _recorded(self, what: str, first_and_last: Callable[[RoleUseView], _Times]) -> float:
        """The seconds from the last time that `a` was given its role until this was first recorded of it.

        StepFailedError if it is recorded of a former role, when a process that started then had to have the new one.
        """

        def seconds(found: UptakeView) -> float | None:
            held = found.carried
            if held is None or held.since is None:
                return None
            replaced = max(held.since, self.given)
            for former in found.former:
                _, last = first_and_last(former)
                if last and (late := (last - replaced).total_seconds()) > REPLACED_SECONDS:
                    raise StepFailedError(f"{what} {former.role} {late:.0f} s after it had been replaced")
            first, _ = first_and_last(held)
            return seconds_after(held.since, first) if first else None

        return self.uptake(seconds)

    def uptake[Told](self, tell: Callable[[UptakeView], Told | None]) -> Told:
        """What CloudTrail's records tell of `a` and its roles, once they do."""

        def look() -> list[Told]:
            found = of_instance(self.deployment, key_of(self.deployment, self.a), "")
            if found.unknown_because:
                raise StepSkippedError(found.unknown_because)
            told = tell(found)
            return [] if told is None else [told]

        return self.arrived(look)[0]

    def arrived[Found](self, look: Callable[[], list[Found]]) -> list[Found]:
        """What a look at the event history finds, once there is any.

        StepSkippedError if there are none within the patience that all who wait for records share.
        """
        self.trail_until = self.trail_until or self.now() + timedelta(seconds=self.trail_patience)
        while not (found := look()):
            if self.now() >= self.trail_until:
                raise StepSkippedError(
                    f"not in CloudTrail's event history within {self.trail_patience:.0f} seconds, and records may take "
                    "15 minutes: --trail-patience waits longer"
                )
            self.deployment.sleep(self.trail_patience / _TRAIL_LOOKS)
        return found

    # ---- what the probes need after it ----

    def free_b(self) -> None:
        """Take the role from `b`, if it has one, as a person does."""
        if self.association(self.b):
            self._take_role(self.b)

    def terminate_a(self) -> None:
        self.carried(self.a)
        self.aws.call("ec2:TerminateInstances", InstanceIds=[self.a])
        self.until(f"{self.a} is terminated", lambda: (found := self._instance(self.a)) is not None and found.ended)

    # ---- what people do ----

    def _put(self, value: str, role: str, **columns: Any) -> None:
        """Write a row as people do, whatever stands there."""
        table = self.deployment.settings.mapping_table
        row = {"tag_key": self.names.tag_key, "tag_value": value, "role": role, **columns}
        self.aws.call("dynamodb:PutItem", TableName=table, Item=layout.to_attributes(row))

    def _tag(self, value: str, *instances: str) -> None:
        tags = [{"Key": self.names.tag_key, "Value": value}]
        self.aws.call("ec2:CreateTags", Resources=list(instances), Tags=tags)

    def _take_role(self, instance: str) -> None:
        """Take the role from an instance that has one; a follow-up may give it another before anybody looks."""
        before = self.carried(instance)
        if before.state is not AssociationState.DISASSOCIATING:
            with suppress(NotFoundError):  # the answer to an earlier sending was lost, or a follow-up was faster
                self.aws.call("ec2:DisassociateIamInstanceProfile", AssociationId=before.id)
        self.until(f"{before.id} is gone", lambda: not (now := self.association(instance)) or now.id != before.id)

    def _tagged(self, value: str) -> None:
        """Tag `a`, which has no role, and wait for it."""
        self._tag(value, self.a)
        self._shows(self.a, value, self._now())

    def _replaced(self, value: str, *instances: str) -> float:
        """Tag, and see that `a` gets the role under a new association id without having been without one."""
        before = self.carried(self.a)
        began = self._now()
        self._tag(value, *instances)
        seconds = self._shows(self.a, value, began, gap=_GAP)
        if self.carried(self.a).id == before.id:
            raise StepFailedError(f"EC2 shows the role under the association id that it had before, {before.id}")
        self.former.append(before.id)
        return self._prompt(seconds)

    def _detached(self, act: Callable[[], object]) -> float:
        """Do it, and see that `a` has its role no longer, and gets none."""
        self.carried(self.a)
        began = self._now()
        act()
        self.until("EC2 shows no role", lambda: self.association(self.a) is None)
        seconds = self._now() - began
        self._stays(self.a, None)
        return self._prompt(seconds)

    def _prompt(self, seconds: float) -> float:
        """See that what happened to `a` so late wasn't caused by a follow-up, which repairs what an event should do."""
        if seconds > _PROMPT_SECONDS and not (cause := self._cause()).startswith(_EVENTS):
            raise StepFailedError(f"it took {seconds:.0f} s, and was caused by {cause!r}: an event was lost")
        return seconds

    def _cause(self) -> str:
        return str(self._newest().get("cause", "nothing"))

    def _is_recorded(self, before: Mapping[str, Any]) -> None:
        """Wait until the history of `a` has a newer entry than that one."""
        self.until(f"Rolekeeper records who gave {self.a} its role", lambda: self._newest() != before)

    def _newest(self) -> Mapping[str, Any]:
        found = self.deployment.app.store.history(layout.instance_pk(key_of(self.deployment, self.a)), 1)
        return found[0] if found else {}

    def _as_changer(self) -> Any:
        """EC2 with the credentials of the function that changes roles, whose role has to trust the caller for that."""
        deployment, role = self.deployment, self.deployment.resource("OnInstanceEventRole")
        caller = deployment.caller
        account = f"arn:{caller.partition}:iam::{caller.account}"
        by_caller = {"StringEquals": {"aws:userid": caller.id}}
        statements: list[dict[str, Any]] = [
            {"Principal": {"Service": "lambda.amazonaws.com"}},
            {"Principal": {"AWS": f"{account}:root"}, "Condition": by_caller},
        ]
        allowed = [{"Effect": "Allow", "Action": "sts:AssumeRole", **each} for each in statements]
        policy = json.dumps({"Version": "2012-10-17", "Statement": allowed})
        try:
            self.aws.call("iam:UpdateAssumeRolePolicy", RoleName=role, PolicyDocument=policy)
            given = self._assumed(f"{account}:role/{role}")
        except AccessDeniedError as error:
            raise StepSkippedError(f"you aren't allowed {error.action} on {role}") from error
        changer = deployment.client_as(given, "ec2")
        wait_out(changer.meta.events, self.patience)
        return changer

    def _assumed(self, arn: str) -> Any:
        for patience in self.deployment.looks(_EVERY * 8, min(self.patience, _TRUSTED_SECONDS)):
            try:
                return self.aws.call("sts:AssumeRole", RoleArn=arn, RoleSessionName="rolekeeper-verify")["Credentials"]
            except AccessDeniedError:
                if patience.is_over:
                    raise
        raise AssertionError  # looks go on

    def changer_may(self) -> None:
        """See that the function's session is valid, and that IAM allows it to give `a` either of its own roles."""
        other, own = ("a", "b") if self.carried(self.a).profile_arn == self.scene.profiles["b"] else ("b", "a")
        action = "ec2:ReplaceIamInstanceProfileAssociation"
        for profile in (self.scene.profiles[other], self.scene.profiles[own]):
            shown = self.carried(self.a)
            try:
                if shown.profile_arn != profile:
                    self.as_function(action, self.a, AssociationId=shown.id, IamInstanceProfile={"Arn": profile})
            except AwsRefusalError as error:
                if self.carried(self.a).id == shown.id:  # else a follow-up was faster, and gave `own` back
                    what = f"the function may not do what it has to: {action} got {error.code}"
                    raise StepFailedError(what) from error
            what = f"the role of {self.a} is associated"
            self.until(what, lambda: self.carried(self.a).state is AssociationState.ASSOCIATED)
        self._shows(self.a, own, self._now())
        self.given = self.now()

    def as_function(self, action: str, instance: str, **asked: Any) -> None:
        with classified(action, instance):
            getattr(self.changer, xform_name(action.removeprefix("ec2:")))(**asked)

    def _refuses(self, action: str, instance: str, **asked: Any) -> None:
        """See that IAM refuses the function's role a call, and that nothing else does."""
        try:
            self.as_function(action, instance, **asked)
        except AwsRefusalError as error:
            if error.code != UNAUTHORIZED:
                what = f"EC2 answers {error.code} to {action}, and not {UNAUTHORIZED}"
                raise StepFailedError(f"{what}, so it isn't known whether IAM refuses it") from error
            return
        raise StepFailedError(f"IAM allows {action} on {instance}")

    # ---- what there is to see ----

    def association(self, instance: str) -> Association | None:
        return self.deployment.app.ec2.associations([instance]).get(instance)

    def carried(self, instance: str) -> Association:
        """What an instance carries, which had a role when it was looked at last."""
        if shown := self.association(instance):
            return shown
        raise StepFailedError(f"EC2 no longer shows a role on {instance}")

    def _shows(self, instance: str, profile: str, began: float, *, gap: str = "") -> float:
        """Wait until EC2 shows a profile as associated; returns the seconds since. With a `gap`, no role fails."""

        def holds() -> bool:
            shown = self.association(instance)
            if gap and shown is None:
                raise StepFailedError(f"{gap} on {instance}")
            return self._is_associated(shown, profile)

        self.until(f"EC2 shows {self.names.role(profile)} on {instance} as associated", holds)
        return self._now() - began

    def _is_associated(self, shown: Association | None, profile: str) -> bool:
        arn = self.scene.profiles[profile]
        return shown is not None and (shown.profile_arn, shown.state) == (arn, AssociationState.ASSOCIATED)

    def _stays(self, instance: str, before: Association | None) -> None:
        until = self._now() + min(self.patience * _STAYS_SHARE, _STAYS_SECONDS)
        while self._now() < until:
            self._is_still(instance, before)
            self.deployment.sleep(_EVERY)

    def _is_still(self, instance: str, before: Association | None) -> None:
        if (shown := self.association(instance)) != before:
            raise StepFailedError(f"EC2 shows {_words(shown)} on {instance}, and not {_words(before)} as before")

    def becomes(self, instance: str, state: InstanceState) -> None:
        self.until(f"{instance} is {state}", lambda: (found := self._instance(instance)) and found.state is state)

    def _instance(self, instance: str) -> Instance | None:
        """An instance, if EC2 shows it: one that was launched just now it may not."""
        return self.deployment.app.ec2.instances([instance]).get(instance)

    def _leaves_foreign(self, value: str, foreign: Association | None) -> None:
        """Wait until Rolekeeper has recorded that it leaves `b` its foreign role, which EC2 has to show meanwhile."""
        self._waits(self.b, foreign, code="occupied", names=str(MappingKey(self.names.tag_key, value)))

    def _waits(self, instance: str, carries: Association | None, *, code: str, names: str) -> None:
        """Wait until Rolekeeper has recorded why an instance doesn't change, which it has to carry on meanwhile."""
        key = key_of(self.deployment, instance)

        def holds() -> bool:
            self._is_still(instance, carries)
            condition = self.deployment.app.state.read([key], []).record(key).condition
            return condition is not None and condition.code == code and names in condition.reason

        self.until(f"Rolekeeper records of {instance} that it is {code}, for {names}", holds)

    def _row_becomes(self, value: str, status: Status, says: Reason | None = None) -> None:
        """Wait for Rolekeeper's verdict on a row that was put; if it is published, no other one can follow.

        A verdict for another reason than what it has to say is none.
        """
        key = MappingKey(self.names.tag_key, value)

        def holds() -> bool:
            row = self.deployment.app.table.get_row(key) or {}
            found, reasons = text_in(row, "status"), reasons_in(row)
            if found == Status.PUBLISHED != status:
                raise StepFailedError(f"the row {key} is {found}, and not {status}")
            said = [each for each in reasons if says and each.code is says.code]
            if found == status and says and not any(says.arguments.items() <= each.arguments.items() for each in said):
                raise StepFailedError(f"the row {key} is {found} for another reason: {sentence(reasons)}")
            return bool(found == status)

        self.until(f"the row {key} is {status}", holds)

    def until(self, what: str, holds: Callable[[], object], seconds: float | None = None) -> None:
        """Wait until it holds, at most the story's patience, or these seconds."""
        seconds = seconds or self.patience
        for patience in self.deployment.looks(_EVERY, seconds):
            try:
                if holds():
                    return
            except RetryableError:
                if patience.is_over:
                    raise
                continue
            if patience.is_over:
                raise StepFailedError(f"not within {seconds:g} s: {what}")

    def _now(self) -> float:
        return self.deployment.now().timestamp()


def _words(shown: Association | None) -> str:
    return f"{shown.profile_arn.rsplit('/', 1)[-1]} ({shown.state}, {shown.id})" if shown else "no role"


def _calls(held: RoleUseView) -> _Times:
    """When AWS first accepted a call with a role, and its last call; a refused one is no use of it."""
    accepted = (use.at for use in (held.first_use, held.last_use) if use and not use.refused)
    return next(accepted, None), held.last_use.at if held.last_use else None
