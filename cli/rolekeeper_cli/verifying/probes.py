"""The facts of docs/AWS_FACTS.md that no source states, or that were seen once, asked of AWS.

`RUNNING` and `RECORDED` are asked while both instances run; `CHANGED` replace the role of one and stop it; `ENDED`
are asked once that one is terminated. Most take a few seconds. These wait longer, at most: for a profile that IAM
made just now, `_PROPAGATES` seconds; for EC2's changes of an instance or an association, `_CHANGES`; for CloudTrail's
records, all of these probes together, the stage's `trail_patience`.

Of the scene they need two profiles under the path; the queue with EC2's state changes, in a message group by
`$.detail.instance-id`, and with its tag changes; an instance that was launched with a profile, for one of them. They
make two instance profiles and a rule, and delete them.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import jmespath

from rolekeeper.aws.errors import (
    AccessDeniedError,
    AwsRefusalError,
    ConflictError,
    NotFoundError,
    NotReadyError,
    PermanentError,
    RetryableError,
    StaleTokenError,
    classified,
)
from rolekeeper.model.instance import Association, AssociationState
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.uses.event_history import ASSOCIATE, DISASSOCIATE, REPLACE, Event, EventHistory
from rolekeeper_cli.uses.instances import key_of
from rolekeeper_cli.uses.revoked_policy import LIVES, POLICY, Entry
from rolekeeper_cli.uses.uptake import Delivery, Uptake, of_instance
from rolekeeper_cli.verifying.aws import Aws
from rolekeeper_cli.verifying.names import TAG, Names
from rolekeeper_cli.verifying.outcomes import Outcome, Probe, Step

_PROPAGATES, _CHANGES = 180.0, 180.0
# How often CloudTrail is asked within its patience: every 10 seconds of 10 minutes.
_TRAIL_LOOKS = 60
# docs/AWS_FACTS.md, "CloudTrail's event history", "Credentials on the instance".
_LATE_SECONDS, _REPLACED_SECONDS, _DENIES_SECONDS = 900.0, 60.0, 180.0
# A record's time is earlier or later than the delivery by some seconds.
_EXPIRATION, _LIVE_AT_LEAST = "%b %d, %Y %I:%M:%S %p", timedelta(hours=5, minutes=59)
# docs/AWS_FACTS.md, "Errors": a new profile isn't visible for up to about this long.
_NEW_PROFILE_SECONDS = 120.0
# The step of the story in which a function writes a transaction.
_LAUNCH_STEP = "launch"
_UNKNOWN_ASSOCIATION = "InvalidAssociationID.NotFound"
# EventBridge has no code of its own for it (docs/AWS_FACTS.md, "Many accounts").
_NOT_ASSUMED = "cannot be assumed"
_BATCHES = 100
# What the instance that carries a role calls (scene.py).
_CALL, _DENIABLE = "GetCallerIdentity", "DescribeRegions"
# Refusals that say nothing about a fact.
_SKIPPED = AccessDeniedError | RetryableError


class NotAskedError(Exception):
    """AWS couldn't be asked; the text says why."""


@dataclass(slots=True)
class Stage:
    """What the probes act on: the verification's deployment and scene, after its story.

    Attributes:
        carrying: the instance that carries a managed role.
        free: the instance that may be given any role.
        profiles: the ARNs of two profiles under the path.
        queue: the URL of the queue with EC2's events.
        replaced: ids of associations that the story saw replaced.
        changer: an EC2 client with the credentials of the role that changes instances, if it could be assumed.
        began: before the first launch.
        launched: by instance, the ARN of the profile that it was launched with; empty if none.
        trail_patience: how many seconds CloudTrail's records may take, once all else was asked.
        trail_until: the end of that, once a probe has begun to wait.
        received: what the queue had of the two instances, once a probe has read it: message groups and events, by id.
    """

    deployment: Deployment
    names: Names
    carrying: str
    free: str
    profiles: tuple[str, str]
    queue: str
    replaced: Sequence[str]
    changer: Any
    began: datetime
    launched: Mapping[str, str]
    steps: Sequence[Step]
    trail_patience: float
    trail_until: datetime | None = None
    received: dict[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    aws: Aws = field(init=False)

    def __post_init__(self) -> None:
        self.aws = Aws(self.deployment)

    def arn(self, service: str, resource: str, region: str = "") -> str:
        """The ARN of a resource of the account; of IAM without a Region."""
        caller = self.deployment.caller
        return f"arn:{caller.partition}:{service}:{region}:{caller.account}:{resource}"


@dataclass(frozen=True, slots=True)
class Observed:
    """What AWS answered, and whether docs/AWS_FACTS.md has it so."""

    text: str
    fits: bool


type Ask = Callable[[Stage], Observed]


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact that can be asked.

    Attributes:
        section: of docs/AWS_FACTS.md, by its heading.
        says: words of that section: the fact, with "inferred" or "recorded" if it is.
        ask: asks AWS; the first line of its docstring is what is expected.
    """

    section: str
    says: str
    ask: Ask

    @property
    def name(self) -> str:
        return self.ask.__name__.replace("_", "-")

    @property
    def expected(self) -> str:
        return str(self.ask.__doc__).partition("\n")[0]


RUNNING: list[Fact] = []
RECORDED: list[Fact] = []
CHANGED: list[Fact] = []
ENDED: list[Fact] = []
_ASSOCIATIONS, _ERRORS, _IAM, _ACCOUNTS = "Attach, replace, detach", "Errors", "IAM", "Many accounts"
_EVENTS, _BUSES, _HISTORY = "Events", "Events between accounts and Regions", "CloudTrail's event history"
_CREDENTIALS = "Credentials on the instance"
_QUEUES = "Lambda, SQS, DynamoDB streams, Step Functions"


def _fact(facts: list[Fact], section: str, says: str) -> Callable[[Ask], Ask]:
    def add(ask: Ask) -> Ask:
        facts.append(Fact(section, says, ask))
        return ask

    return add


def run(facts: Iterable[Fact], stage: Stage) -> Iterator[Probe]:
    """Ask each fact; whatever AWS does is an outcome."""
    return (_probe(each, stage) for each in facts)


def _probe(fact: Fact, stage: Stage) -> Probe:
    skipped = Probe(fact.name, fact.section, fact.expected, outcome=Outcome.SKIPPED)
    try:
        observed = fact.ask(stage)
    except NotAskedError as error:
        return replace(skipped, why=str(error))
    except AccessDeniedError as error:
        return replace(skipped, why=f"you aren't allowed {error.action}")
    except RetryableError as error:
        return replace(skipped, why=f"{error.action} got no answer ({error.code})")
    except Exception as error:  # noqa: BLE001  # another answer than expected, whatever its shape, is what a probe finds
        return replace(skipped, outcome=Outcome.FAILED, observed=f"{type(error).__name__}: {error}")
    outcome = Outcome.PASSED if observed.fits else Outcome.FAILED
    return replace(skipped, outcome=outcome, observed=observed.text)


# ---- what several probes do ----


def _refusal(act: Callable[[], object], kind: type[AwsRefusalError], *codes: str) -> Observed:
    """The answer to a call that AWS should refuse with one of these codes, which Rolekeeper takes for this kind."""
    try:
        act()
    except AwsRefusalError as error:
        fits = isinstance(error, kind) and error.code in codes
        if not fits and isinstance(error, _SKIPPED):
            raise
        return Observed(str(error), fits)
    return Observed("accepted", fits=False)


def _wait[Found](
    stage: Stage, what: str, look: Callable[[], Found | None], *, seconds: float = _CHANGES, every: float = 0.5
) -> Found:
    """What a look finds, once it is true.

    Raises:
        NotAskedError: it isn't within these seconds.
    """
    until = stage.deployment.now() + timedelta(seconds=seconds)
    while not (found := look()):
        if stage.deployment.now() >= until:
            raise NotAskedError(f"not within {seconds:.0f} seconds: {what}")
        stage.deployment.sleep(every)
    return found


def _association(stage: Stage, instance: str) -> Association | None:
    return stage.deployment.app.ec2.associations([instance]).get(instance)


def _instance(stage: Stage, instance: str) -> Any:
    """An instance as EC2 shows it, with its profile."""
    only = [{"Name": "instance-id", "Values": [instance]}]
    [group] = stage.aws.call("ec2:DescribeInstances", Filters=only)["Reservations"]
    return group["Instances"][0]


def _associate(stage: Stage, instance: str, profile: str) -> Any:
    return stage.aws.call(f"ec2:{ASSOCIATE}", InstanceId=instance, IamInstanceProfile={"Arn": profile})


def _replace(stage: Stage, association: str, profile: str) -> Any:
    answer = stage.aws.call(f"ec2:{REPLACE}", AssociationId=association, IamInstanceProfile={"Arn": profile})
    return answer["IamInstanceProfileAssociation"]


def _disassociate(stage: Stage, association: str) -> Any:
    return stage.aws.call(f"ec2:{DISASSOCIATE}", AssociationId=association)


def _associated(stage: Stage, instance: str) -> Association:
    """The association of an instance, once it is complete; it is given the first profile if it has none."""
    if _association(stage, instance) is None:
        _associate(stage, instance, stage.profiles[0])

    def complete() -> Association | None:
        found = _association(stage, instance)
        return found if found and found.state is AssociationState.ASSOCIATED else None

    return _wait(stage, f"{instance} shows its profile as associated", complete)


def _bare(stage: Stage, instance: str) -> None:
    """Leave an instance without a profile."""
    if found := _association(stage, instance):
        if found.state is not AssociationState.DISASSOCIATING:
            _disassociate(stage, found.id)
        _wait(stage, f"{instance} shows no profile", lambda: _association(stage, instance) is None)


def _other(stage: Stage, association: Association) -> str:
    """The one of the two profiles that an association doesn't have."""
    first, second = stage.profiles
    return second if association.profile_arn == first else first


def _stale(stage: Stage) -> str:
    if not stage.replaced:
        raise NotAskedError("the story replaced no association")
    return stage.replaced[-1]


# ---- associations ----


@_fact(RUNNING, _ERRORS, "the instance is stopped, or the id is stale (aws-cli #5251)")
def stale_replace(stage: Stage) -> Observed:
    """Replacing by the id of a replaced association is refused with IncorrectState."""
    stale = _stale(stage)
    return _refusal(lambda: _replace(stage, stale, stage.profiles[0]), ConflictError, "IncorrectState")


@_fact(RUNNING, _ERRORS, "| `InvalidAssociationID.NotFound` | already detached |")
def stale_disassociate(stage: Stage) -> Observed:
    """Disassociating by the id of a replaced one is refused with IncorrectState or InvalidAssociationID.NotFound."""
    stale = _stale(stage)
    return _refusal(lambda: _disassociate(stage, stale), AwsRefusalError, "IncorrectState", _UNKNOWN_ASSOCIATION)


@_fact(RUNNING, _ERRORS, "no profile is known of it, so a policy on `ec2:InstanceProfile` may deny the call (inferred;")
def stale_as_changer(stage: Stage) -> Observed:
    """Replacing by the id of a replaced association, as the function, is refused with UnauthorizedOperation."""
    stale = _stale(stage)
    if stage.changer is None:
        raise NotAskedError("the changer's role couldn't be assumed")

    def act() -> None:
        with classified(f"ec2:{REPLACE}", stale):
            stage.changer.replace_iam_instance_profile_association(
                AssociationId=stale, IamInstanceProfile={"Arn": stage.profiles[0]}
            )

    return _refusal(act, AccessDeniedError, "UnauthorizedOperation")


@_fact(RUNNING, _ERRORS, '`IncorrectState` "There is an existing association for instance …"')
def second_associate(stage: Stage) -> Observed:
    """Associating a profile with an instance that has one is refused with IncorrectState."""
    other = _other(stage, _associated(stage, stage.carrying))
    return _refusal(lambda: _associate(stage, stage.carrying, other), ConflictError, "IncorrectState")


@_fact(RUNNING, _ERRORS, "already detached | detach: done")
def second_disassociate(stage: Stage) -> Observed:
    """Disassociating a second time is refused with InvalidAssociationID.NotFound."""
    association = _associated(stage, stage.free).id
    _bare(stage, stage.free)
    return _refusal(lambda: _disassociate(stage, association), NotFoundError, _UNKNOWN_ASSOCIATION)


def _in_state(stage: Stage, instance: str, state: str) -> None:
    _wait(stage, f"{instance} is {state}", lambda: _instance(stage, instance)["State"]["Name"] == state)


@_fact(RUNNING, _ERRORS, "a token of a page that isn't one (boto3 #2673)")
def wrong_token(stage: Stage) -> Observed:
    """A NextToken that EC2 never gave is refused with InvalidParameterValue."""

    def act() -> None:
        stage.aws.call("ec2:DescribeInstances", MaxResults=5, NextToken=stage.names.stack)

    return _refusal(act, StaleTokenError, "InvalidParameterValue")


# ---- instance profiles ----


@_fact(RUNNING, _ERRORS, "or no such profile (terraform-provider-aws #838, #3055)")
def unknown_profile(stage: Stage) -> Observed:
    """Associating a profile that doesn't exist is refused with InvalidParameterValue."""
    _bare(stage, stage.free)
    unknown = stage.arn("iam", f"instance-profile{stage.names.role_path}{stage.names.role('unknown')}")
    return _refusal(lambda: _associate(stage, stage.free, unknown), NotReadyError, "InvalidParameterValue")


@contextmanager
def _made(stage: Stage, name: str) -> Iterator[Any]:
    """An instance profile with the first profile's role, as IAM shows it; the free instance may be given it."""
    _bare(stage, stage.free)
    made = stage.names.role(name)
    try:
        yield _make(stage, made)
    finally:
        _bare(stage, stage.free)
        _delete(stage, made)


def _make(stage: Stage, name: str) -> Any:
    tags = [{"Key": TAG, "Value": stage.names.id}]
    answer = stage.aws.call(
        "iam:CreateInstanceProfile", InstanceProfileName=name, Path=stage.names.role_path, Tags=tags
    )

    def added() -> bool:
        # A profile that was made just now may not be there yet (AWS_FACTS.md "IAM").
        with suppress(NotFoundError):
            stage.aws.call("iam:AddRoleToInstanceProfile", InstanceProfileName=name, RoleName=_role(stage))
            return True
        return False

    _wait(stage, f"IAM knows profile {name}", added)
    return answer["InstanceProfile"]


def _delete(stage: Stage, name: str) -> None:
    """Delete a profile, whatever of it is there."""
    with suppress(NotFoundError):
        stage.aws.call("iam:RemoveRoleFromInstanceProfile", InstanceProfileName=name, RoleName=_role(stage))
    with suppress(NotFoundError):
        stage.aws.call("iam:DeleteInstanceProfile", InstanceProfileName=name)


def _role(stage: Stage) -> str:
    return stage.profiles[0].rpartition("/")[2]


def _associate_new(stage: Stage, profile: str) -> float:
    """Give the free instance a profile that was made just now; the seconds until EC2 took it."""
    began = stage.deployment.now()

    def taken() -> bool:
        with suppress(NotReadyError):
            _associate(stage, stage.free, profile)
            return True
        return False

    _wait(stage, "EC2 knows a new profile", taken, seconds=_PROPAGATES)
    return (stage.deployment.now() - began).total_seconds()


@_fact(RUNNING, _ERRORS, "a new profile not yet visible (up to ~2 min)")
def new_profile(stage: Stage) -> Observed:
    """EC2 knows a new profile within 120 seconds."""
    with _made(stage, "probe-new") as made:
        try:
            seconds = _associate_new(stage, made["Arn"])
        except NotAskedError as error:
            return Observed(str(error), fits=False)
        return Observed(f"known after {seconds:.0f} seconds", seconds <= _NEW_PROFILE_SECONDS)


@_fact(RUNNING, _IAM, "show `IamInstanceProfile.Id` beside the ARN (recorded by Cloud Custodian)")
def profile_id(stage: Stage) -> Observed:
    """The association and DescribeInstances show the profile's id."""
    name = _associated(stage, stage.carrying).profile_arn.rpartition("/")[2]
    known = stage.aws.call("iam:GetInstanceProfile", InstanceProfileName=name)["InstanceProfile"]
    return _shows(stage, stage.carrying, known["InstanceProfileId"])


@_fact(RUNNING, _IAM, "That they go on showing the former id is inferred")
def remade_profile(stage: Stage) -> Observed:
    """EC2 goes on showing the former id of a profile that was deleted and made again."""
    with _made(stage, "probe-again") as former:
        _associate_new(stage, former["Arn"])
        _associated(stage, stage.free)
        _delete(stage, former["InstanceProfileName"])
        _make(stage, former["InstanceProfileName"])
        return _shows(stage, stage.free, former["InstanceProfileId"])


def _shows(stage: Stage, instance: str, expected: str) -> Observed:
    """Whether the association of an instance and the instance itself both show this profile's id."""
    association, profile = _association(stage, instance), _instance(stage, instance).get("IamInstanceProfile", {})
    shown = {"association": association and association.profile_id, "instance": profile.get("Id")}
    unlike = [where for where, id_ in shown.items() if id_ != expected]
    return Observed(f"not shown by the {' and the '.join(unlike)}" if unlike else "shown by both", not unlike)


# ---- events ----


def _received(stage: Stage, source: str) -> list[tuple[str, Any]]:
    """The message groups and events of a source about the two instances; the queue is read once.

    Raises:
        NotAskedError: there is none.
    """
    if not stage.received:
        stage.received = {each["id"]: (group, each) for group, each in _messages(stage) if _is_ours(stage, each)}
    found = [(group, each) for group, each in stage.received.values() if each["source"] == source]
    if not found:
        raise NotAskedError(f"the queue got no event of {source} about the instances")
    return found


def _messages(stage: Stage) -> Iterator[tuple[str, Any]]:
    asked = {"QueueUrl": stage.queue, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 1}
    # The account's other instances are in it too: an end, also where they are many.
    for _ in range(_BATCHES):
        answer = stage.aws.call("sqs:ReceiveMessage", **asked, MessageSystemAttributeNames=["MessageGroupId"])
        if not answer.get("Messages"):
            return
        for each in answer["Messages"]:
            yield each.get("Attributes", {}).get("MessageGroupId", ""), json.loads(each["Body"])


def _is_ours(stage: Stage, event: Any) -> bool:
    return any(arn.endswith((f"/{stage.carrying}", f"/{stage.free}")) for arn in event["resources"])


def _first_unlike(events: Sequence[Any], is_like: Callable[[Any], bool]) -> Observed:
    """Whether all events are like that; the first that isn't."""
    for each in events:
        if not is_like(each):
            return Observed(json.dumps(each), fits=False)
    return Observed(f"all of {len(events)} events", fits=True)


@_fact(RUNNING, _EVENTS, "`detail` has `instance-id` and `state` only")
def state_event(stage: Stage) -> Observed:
    """The detail of a state change has instance-id and state only, its resources the instance's ARN."""

    def is_like(event: Any) -> bool:
        [arn], detail = event["resources"], event["detail"]
        return bool(detail.keys() == {"instance-id", "state"} and arn.endswith(f":instance/{detail['instance-id']}"))

    return _first_unlike([each for _, each in _received(stage, "aws.ec2")], is_like)


@_fact(RUNNING, _EVENTS, "`tags` (the whole set after the change;")
def tag_event(stage: Stage) -> Observed:
    """A tag change has changed-tag-keys, service, resource-type, version and all tags.

    The tag of the verification is on the instances all the time, so a whole set has it.
    """
    members = {"changed-tag-keys", "service", "resource-type", "version", "tags"}

    def is_like(event: Any) -> bool:
        detail = event["detail"]
        kind = detail.get("service"), detail.get("resource-type")
        return members <= detail.keys() and kind == ("ec2", "instance") and TAG in detail["tags"]

    return _first_unlike([each for _, each in _received(stage, "aws.tag")], is_like)


@_fact(RUNNING, _EVENTS, "Emitted for tags given at launch too (strong evidence, no explicit promise)")
def launch_tag_event(stage: Stage) -> Observed:
    """Tags given at launch cause a tag change.

    Delivery is best effort, so one of the two launches is enough. Nobody changes the tag later.
    """
    events = [each for _, each in _received(stage, "aws.tag")]
    found = {each["resources"][0] for each in events if TAG in each["detail"]["changed-tag-keys"]}
    return Observed(f"events of {len(found)} of 2 launches", bool(found))


@_fact(RUNNING, _QUEUES, "that it is so in a template too is inferred")
def message_group(stage: Stage) -> Observed:
    """A rule in a template puts each message into the group that its JSON path names."""
    pairs = [{"group": group, "id": each["detail"]["instance-id"]} for group, each in _received(stage, "aws.ec2")]
    return _first_unlike(pairs, lambda pair: pair["group"] == pair["id"])


@_fact(RUNNING, _EVENTS, "that `anything-but` skips what is absent is inferred")
def absent_field(stage: Stage) -> Observed:
    """An event without the field doesn't match anything-but."""
    pattern = {"detail": {"by": [{"anything-but": ["us"]}]}}
    return _matching(stage, pattern, {"them": {"by": "them"}, "absent": {"to": "them"}}, expected=["them"])


@_fact(RUNNING, _EVENTS, "that one without `*` may be among them is inferred")
def wildcard_list(stage: Stage) -> Observed:
    """The list of wildcards in anything-but may have one without *."""
    pattern = {"detail": {"by": [{"anything-but": {"wildcard": ["*/us", "we"]}}]}}
    details = {each: {"by": each} for each in ("role/us", "we", "them")}
    return _matching(stage, pattern, details, expected=["them"])


def _matching(stage: Stage, pattern: Any, details: Mapping[str, Any], expected: list[str]) -> Observed:
    """Which events a pattern matches; `details` are theirs, by a name."""
    when, region = f"{stage.deployment.now():%Y-%m-%dT%H:%M:%SZ}", stage.aws.region
    envelope = {"id": "1", "source": stage.names.stack, "detail-type": "probe", "time": when, "resources": []}
    envelope |= {"account": stage.deployment.caller.account, "region": region}
    matched = [
        name
        for name, detail in details.items()
        if stage.aws.call(
            "events:TestEventPattern",
            EventPattern=json.dumps(pattern),
            Event=json.dumps({**envelope, "detail": detail}),
        )["Result"]
    ]
    return Observed(f"matches {', '.join(matched) or 'none'} of {', '.join(details)}", matched == expected)


def _elsewhere(stage: Stage) -> str:
    """The ARN of the account's default bus in another Region. The last of a partition's is on in each account."""
    regions = stage.deployment.session.get_available_regions("events", stage.deployment.caller.partition)
    other = next(each for each in sorted(regions, reverse=True) if each != stage.aws.region)
    return stage.arn("events", "event-bus/default", other)


def _refused(stage: Stage, action: str, entries: str, **asked: Any) -> str:
    """Why EventBridge refused a call, or an entry of it; empty if it didn't."""
    try:
        answer = stage.aws.call(action, **asked)
    except AwsRefusalError as error:
        if isinstance(error, _SKIPPED):
            raise
        return str(error)
    return ", ".join(
        f"{each['ErrorCode']}: {each.get('ErrorMessage')}" for each in answer[entries] if "ErrorCode" in each
    )


@_fact(RUNNING, _BUSES, "Into another Region it can't send (that is inferred from")
def another_region(stage: Stage) -> Observed:
    """PutEvents to a bus of another Region is refused."""
    entry = {"Source": stage.names.stack, "DetailType": "probe", "Detail": "{}", "EventBusName": _elsewhere(stage)}
    refusal = _refused(stage, "events:PutEvents", "Entries", Entries=[entry])
    return Observed(refusal or "accepted", bool(refusal))


@_fact(RUNNING, _ACCOUNTS, "That `PutTargets` refuses the role of a target so is inferred")
def wrong_target_role(stage: Stage) -> Observed:
    """PutTargets refuses a role that EventBridge can't assume."""
    rule, role = stage.names.role("probe"), f"role{stage.names.role_path}{stage.names.role('unknown')}"
    target = {"Id": "probe", "Arn": _elsewhere(stage), "RoleArn": stage.arn("iam", role)}
    pattern, tags = json.dumps({"source": [stage.names.stack]}), [{"Key": TAG, "Value": stage.names.id}]
    stage.aws.call("events:PutRule", Name=rule, EventPattern=pattern, State="DISABLED", Tags=tags)
    try:
        refusal = _refused(stage, "events:PutTargets", "FailedEntries", Rule=rule, Targets=[target])
        return Observed(refusal or "accepted", _NOT_ASSUMED in refusal)
    finally:
        stage.aws.call("events:RemoveTargets", Rule=rule, Ids=["probe"])
        stage.aws.call("events:DeleteRule", Name=rule)


# ---- DynamoDB ----


@_fact(RUNNING, _IAM, "That its items supply `LeadingKeys` is inferred")
def transaction_keys(stage: Stage) -> Observed:
    """The items of a transaction supply dynamodb:LeadingKeys.

    What a function writes in a transaction, its policy allows by `dynamodb:LeadingKeys` only.
    """
    if not any(each.name == _LAUNCH_STEP and each.outcome is Outcome.PASSED for each in stage.steps):
        raise NotAskedError(f"the story's step {_LAUNCH_STEP} didn't pass")
    return Observed("a function's transaction was allowed", fits=True)


@_fact(RUNNING, _IAM, "that `LeadingKeys` and `Attributes` are among them is inferred")
def table_policy_keys(stage: Stage) -> Observed:
    """A table's policy can deny by dynamodb:LeadingKeys and dynamodb:Attributes.

    The state table's policy lets only functions write most partitions, and other attributes of the rest.

    Nothing is written: the condition of each put fails where the put is allowed.
    """
    table = stage.deployment.outputs["StateTable"]
    try:
        stage.aws.call(
            "dynamodb:GetResourcePolicy", ResourceArn=stage.arn("dynamodb", f"table/{table}", stage.aws.region)
        )
    except PermanentError as error:
        if error.code != "PolicyNotFoundException":
            raise
        raise NotAskedError("the state table has no policy") from error

    def put(partition: str, *attributes: str) -> str:
        item = {name: {"S": stage.names.stack} for name in ("sk", *attributes)}
        try:
            stage.aws.call(
                "dynamodb:PutItem",
                TableName=table,
                Item={**item, "pk": {"S": partition}},
                ConditionExpression="attribute_exists(pk)",
            )
        except (AccessDeniedError, ConflictError) as error:
            return error.code
        return "accepted"

    partition, allowed = f"instance#{stage.names.stack}", "ConditionalCheckFailedException"
    if (code := put(partition)) != allowed:
        raise NotAskedError(f"a put that the policy doesn't deny got {code}")
    codes = {"another partition": put(stage.names.stack), "another attribute": put(partition, stage.names.stack)}
    return Observed(json.dumps(codes), set(codes.values()) == {"AccessDeniedException"})


# ---- CloudTrail's event history ----


def _arrived[Found](stage: Stage, look: Callable[[], list[Found]]) -> list[Found]:
    """What a look at the event history finds, once there is any.

    Raises:
        NotAskedError: there are none within the patience that all who wait for records share.
    """
    now = stage.deployment.now()
    stage.trail_until = until = stage.trail_until or now + timedelta(seconds=stage.trail_patience)
    while not (found := look()):
        if stage.deployment.now() >= until:
            raise NotAskedError(f"not in CloudTrail's event history within {stage.trail_patience:.0f} seconds")
        stage.deployment.sleep(stage.trail_patience / _TRAIL_LOOKS)
    return found


def _recorded(stage: Stage, attribute: str, value: str) -> list[Event]:
    """The events with an attribute since the verification began, newest first."""
    return list(EventHistory(stage.deployment).lookup(attribute, value, stage.began, until=None))


# ---- what EC2 delivers, and software uses: while both instances run ----


def _calls(stage: Stage, name: str) -> list[Event]:
    """The calls of this name by the instance that carries a role, newest first."""
    return [each for each in _recorded(stage, "Username", stage.carrying) if each.name == name]


@_fact(RECORDED, _CREDENTIALS, "That it meets those that EC2 delivered is inferred")
def denied_credentials(stage: Stage) -> Observed:
    """A deny by aws:TokenIssueTime and aws:userid ends credentials that EC2 delivered before it."""
    role = _associated(stage, stage.carrying).profile_arn.rpartition("/")[2]

    def calls(*, refused: bool) -> list[Event]:
        return [each for each in _calls(stage, _DENIABLE) if bool(each.refused) == refused]

    with _denied(stage, role) as since:

        def look() -> list[Event]:
            return [each for each in calls(refused=True) if each.at >= since]

        try:
            first = _arrived(stage, look)[-1]
        except NotAskedError:
            latest = max((each.at for each in calls(refused=False)), default=since)
            if (latest - since).total_seconds() <= _DENIES_SECONDS:
                raise
            return Observed(f"still allowed {(latest - since).total_seconds():.0f} seconds later", fits=False)
    if all(each.at >= since for each in calls(refused=False)):
        raise NotAskedError(f"{_DENIABLE} wasn't allowed before")
    return Observed(f"{first.refused} {(first.at - since).total_seconds():.0f} seconds later", fits=True)


@contextmanager
def _denied(stage: Stage, role: str) -> Iterator[datetime]:
    """Deny the instance that carries a role what it got of it before now; gives the time."""
    id_ = stage.aws.call("iam:GetRole", RoleName=role)["Role"]["RoleId"]
    since = stage.deployment.now().replace(microsecond=0)
    policy = {"RoleName": role, "PolicyName": POLICY}
    entry = Entry(f"{id_}:{stage.carrying}", since)
    document = json.dumps({"Version": "2012-10-17", "Statement": [entry.statement]})
    stage.aws.call("iam:PutRolePolicy", **policy, PolicyDocument=document)
    try:
        yield since
    finally:
        stage.aws.call("iam:DeleteRolePolicy", **policy)


@_fact(RECORDED, _HISTORY, "No page says how late an event gets there.")
def record_delay(stage: Stage) -> Observed:
    """A call is in the event history within 15 minutes."""
    newest = _arrived(stage, lambda: _calls(stage, _CALL))[0]
    seconds = (stage.deployment.now() - newest.at).total_seconds()
    return Observed(f"the newest call was made {seconds:.0f} seconds ago", seconds <= _LATE_SECONDS)


@_fact(RECORDED, _HISTORY, "that LookupEvents finds them by it is inferred")
def calls_by_username(stage: Stage) -> Observed:
    """LookupEvents finds software's calls by the instance's id as Username."""

    def look() -> list[Event]:
        return [each for each in _recorded(stage, "EventName", _CALL) if each.by.session == stage.carrying]

    found = _arrived(stage, look)
    by_name = {each.id for each in _calls(stage, _CALL)}
    missing = [each for each in found if each.id not in by_name]
    return Observed(f"it finds {len(found) - len(missing)} of {len(found)} calls", not missing)


@_fact(RECORDED, _CREDENTIALS, "with them at once is inferred")
def replaced_role(stage: Stage) -> Observed:
    """A process that starts after a replace calls with the new role, at the latest a minute later."""

    def look() -> list[Uptake]:
        found = of_instance(stage.deployment, key_of(stage.deployment, stage.carrying), "")
        if found.unknown_because:
            raise NotAskedError(found.unknown_because)
        return [found] if found.carried and found.carried.first_use else []

    [found] = _arrived(stage, look)
    late = [(each.last_use.at - each.until).total_seconds() for each in found.former if each.last_use and each.until]
    if not late:
        return Observed("no call with a former role after its replace", fits=True)
    return Observed(f"a former role was used {max(late):.0f} seconds after its replace", max(late) <= _REPLACED_SECONDS)


def _deliveries(stage: Stage, instance: str) -> list[Event]:
    """EC2's own calls for credentials of an instance's role, newest first."""
    return [each for each in _recorded(stage, "ResourceName", instance) if Delivery.read(each, instance)]


@_fact(RECORDED, _HISTORY, "in UTC, six hours later (recorded:")
def delivery_record(stage: Stage) -> Observed:
    """EC2's AssumeRole names no caller, and expires after 6 h to 6 h 40 min, in the form Jul 4, 2019 4:29:29 PM."""
    found = _arrived(stage, lambda: _deliveries(stage, stage.carrying))
    lives: list[timedelta] = []
    for each in found:
        written = str(jmespath.search("credentials.expiration", each.response))
        try:
            lives.append(datetime.strptime(written, _EXPIRATION).replace(tzinfo=UTC) - each.at)
        except ValueError:
            return Observed(f"expiration: {written}", fits=False)
    text = f"{len(found)} records, valid for {min(lives)} to {max(lives)}"
    fits = min(lives) >= _LIVE_AT_LEAST and max(lives) <= LIVES
    return Observed(text, fits and not any(each.by.arn for each in found))


@_fact(RECORDED, _CREDENTIALS, "whether or not anything on the instance asks IMDS, is inferred")
def delivery_unasked(stage: Stage) -> Observed:
    """EC2 gets credentials of a role that nothing on the instance asks for."""
    _arrived(stage, lambda: _deliveries(stage, stage.carrying))
    try:
        first = _arrived(stage, lambda: _deliveries(stage, stage.free))[-1]
    except NotAskedError:
        return Observed("only if something asks", fits=False)
    launches = [each for each in _recorded(stage, "ResourceName", stage.free) if each.launched(stage.free)]
    seconds = [f", {(first.at - each.at).total_seconds():.0f} seconds after the launch" for each in launches]
    return Observed(f"it got some that nothing asked for{''.join(seconds)}", fits=True)


# ---- what changes the instance that carries a role, and then stops it: after all that need it ----


@_fact(CHANGED, _ASSOCIATIONS, "a **new** association id, in `associating` (recorded:")
def replace_makes_an_id(stage: Stage) -> Observed:
    """Replacing a profile answers with a new association id, in state associating."""
    before = _associated(stage, stage.carrying)
    after = _replace(stage, before.id, _other(stage, before))
    try:
        text = f"{before.id} became {after['AssociationId']}, {after['State']}"
        return Observed(text, after["AssociationId"] != before.id and after["State"] == "associating")
    finally:
        _replace(stage, _associated(stage, stage.carrying).id, before.profile_arn)


@_fact(CHANGED, _ERRORS, "observe again; if stopped, wait or swap")
def stopped_replace(stage: Stage) -> Observed:
    """Replacing the profile of a stopped instance is refused with IncorrectState.

    The instance is left stopped: it is terminated next.
    """
    present = _associated(stage, stage.carrying)
    stage.aws.call("ec2:StopInstances", InstanceIds=[stage.carrying])
    _in_state(stage, stage.carrying, "stopped")
    other = _other(stage, present)
    return _refusal(lambda: _replace(stage, present.id, other), ConflictError, "IncorrectState")


@_fact(ENDED, _ASSOCIATIONS, "that its association is gone too is inferred")
def terminated_instance(stage: Stage) -> Observed:
    """A terminated instance has no profile and no association."""
    _in_state(stage, stage.carrying, "terminated")
    association = _association(stage, stage.carrying)
    profile = _instance(stage, stage.carrying).get("IamInstanceProfile")
    state = str(association.state) if association else "none"
    return Observed(f"association: {state}, profile: {'one' if profile else 'none'}", not association and not profile)


# ---- CloudTrail's event history of both ----


@_fact(ENDED, _HISTORY, "that `iamInstanceProfile` is there as `DescribeInstances` has it is inferred")
def launch_in_history(stage: Stage) -> Observed:
    """The record of RunInstances has iamInstanceProfile as DescribeInstances has it."""
    instance, profile = next(((one, arn) for one, arn in stage.launched.items() if arn), ("", ""))
    if not instance:
        raise NotAskedError("no instance was launched with a profile")

    def look() -> list[Event]:
        return [each for each in _recorded(stage, "ResourceName", instance) if each.launched(instance)]

    [launch] = _arrived(stage, look)
    shown = jmespath.search("instancesSet.items[].iamInstanceProfile", launch.response)
    return Observed(json.dumps(shown), launch.launches_with(instance, profile))


def _named(stage: Stage, names: Sequence[str], is_ours: Callable[[Event], bool]) -> tuple[list[Event], set[str]]:
    """The calls of these names that are ours, and the ids of the events that are found by the instance's id."""

    def look() -> list[Event]:
        return [each for name in names for each in _recorded(stage, "EventName", name) if is_ours(each)]

    found = _arrived(stage, look)
    return found, {each.id for each in _recorded(stage, "ResourceName", stage.carrying)}


@_fact(ENDED, _HISTORY, "That LookupEvents finds them by the instance's id is inferred")
def tags_in_history(stage: Stage) -> Observed:
    """LookupEvents finds CreateTags and DeleteTags by the instance's id."""

    def is_ours(event: Event) -> bool:
        return stage.carrying in (jmespath.search("resourcesSet.items[].resourceId", event.request) or ())

    found, by_id = _named(stage, ("CreateTags", "DeleteTags"), is_ours)
    missing = [each.name for each in found if each.id not in by_id]
    return Observed(f"the instance's id finds {len(found) - len(missing)} of {len(found)} calls", not missing)


@_fact(ENDED, _HISTORY, "`associationId` in both is inferred")
def associations_in_history(stage: Stage) -> Observed:
    """The records of the calls on associations have the association's id in request and answer."""

    def is_ours(event: Event) -> bool:
        return stage.names.role_path in json.dumps(event.response)

    def is_like(event: Event) -> bool:
        made = jmespath.search(f"{event.name}Response.iamInstanceProfileAssociation.associationId", event.response)
        named = event.name == ASSOCIATE or jmespath.search(f"{event.name}Request.AssociationId", event.request)
        return bool(made and named)

    found, by_id = _named(stage, (ASSOCIATE, REPLACE, DISASSOCIATE), is_ours)
    if unlike := [each for each in found if not is_like(each)]:
        return Observed(json.dumps([unlike[0].name, unlike[0].request, unlike[0].response]), fits=False)
    known = sum(each.id in by_id for each in found)
    return Observed(f"all of {len(found)} calls, of which the instance's id finds {known}", fits=True)


@dataclass(frozen=True, slots=True)
class Unasked:
    """A fact that a verification can't ask; `says` as in `Fact`, `what` and `why` are for people."""

    says: str
    what: str
    why: str


_SECOND_ACCOUNT, _NEXT_BILL = "it takes a second account", "only a bill shows it"
UNASKED: Sequence[Unasked] = (
    Unasked(
        "that an old one is refused so, or with `InvalidNextToken` as other services do, is inferred",
        "how EC2 refuses a NextToken that has expired",
        "nobody documents how long one is valid",
    ),
    Unasked(
        "that the request is refused as a whole is inferred",
        "that PutEvents to another account's bus is refused as a whole",
        _SECOND_ACCOUNT,
    ),
    Unasked(
        "that PutEvents from another account counts as received, is inferred",
        "that an event of another account isn't sent back, whatever brought it",
        _SECOND_ACCOUNT,
    ),
    Unasked(
        "That the tags of a launch template are there is inferred",
        "that CloudTrail's record of a launch has the tags of its template",
        "the instances are launched without one",
    ),
    Unasked(
        "that a given `IamInstanceProfile` replaces the inherited one as a whole is inferred",
        "that a profile given to a new version of a launch template replaces the inherited one",
        "the command names the profile as the former version does, so nothing depends on it",
    ),
    Unasked(
        "that one which is both `$Default` and `$Latest` comes once is inferred",
        "that a version which is default and latest comes once",
        "the command takes each version once, however often it comes",
    ),
    Unasked(
        "an empty `tagSet` for a delete of all tags is inferred",
        "how CloudTrail records that all tags were deleted",
        "the tag by which the instance is found and removed would go with them",
    ),
    Unasked(
        "that it asks for no `iam:PassRole` is inferred",
        "that EMR on EKS asks for no iam:PassRole",
        "it takes a cluster",
    ),
    Unasked(
        "That the caller's own account needn't have enabled the Region is inferred",
        "that a caller's account needn't have enabled the Region of another account",
        _SECOND_ACCOUNT,
    ),
    Unasked(
        "that another Region's costs the same, is inferred",
        "who pays for an event to another account or Region, and how much",
        _NEXT_BILL,
    ),
    Unasked(
        "That `sts:AssumeRole` supplies it is inferred",
        "that sts:AssumeRole supplies aws:ResourceOrgID",
        "it takes an organization with a service control policy",
    ),
)
