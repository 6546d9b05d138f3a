"""The facts of docs/AWS_FACTS.md that no source states, or that were seen once, asked of AWS.

`RUNNING` and `RECORDED` are asked while both instances run; `CHANGED` replace the role of one and stop it; `ENDED`
are asked once that one is terminated. Most take a few seconds. These wait longer, at most: for a profile that IAM
made just now, `_PROPAGATES` seconds; for EC2's changes of an instance or an association, the story's `patience`; for
CloudTrail's records, all of these probes together, its `trail_patience`.

They act on the story's scene once it was played: `a` carries a managed role, and `b` may be given any role. They make
two instance profiles and a rule, and delete them.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import jmespath
from botocore.exceptions import ClientError

from rolekeeper.aws.errors import (
    AccessDeniedError,
    AwsRefusalError,
    ConflictError,
    NotFoundError,
    NotReadyError,
    PermanentError,
    RetryableError,
    StaleTokenError,
    classify,
)
from rolekeeper.model.instance import Association, AssociationState, InstanceState
from rolekeeper.storage import layout
from rolekeeper_cli.instance.event_history import ASSOCIATE, DISASSOCIATE, REPLACE, Event, EventHistory
from rolekeeper_cli.instance.revoked_policy import LIVES, POLICY, Entry
from rolekeeper_cli.instance.uptake import Delivery
from rolekeeper_cli.instance.use import key_of
from rolekeeper_verify.names import TAG
from rolekeeper_verify.proof import PROFILE, RULE
from rolekeeper_verify.story import REPLACED_SECONDS, UNAUTHORIZED, StepFailedError, StepSkippedError, Story
from rolekeeper_verify.view import Outcome, Probe

_PROPAGATES = 180.0
# docs/AWS_FACTS.md, "CloudTrail's event history", "Credentials on the instance".
_LATE_SECONDS, _DENIES_SECONDS = 900.0, 180.0
# A record's time is earlier or later than the delivery by some seconds.
_EXPIRATION, _LIVE_AT_LEAST = "%b %d, %Y %I:%M:%S %p", timedelta(hours=5, minutes=59)
# docs/AWS_FACTS.md, "Errors": a new profile isn't visible for up to about this long.
_NEW_PROFILE_SECONDS = 120.0
_UNKNOWN_ASSOCIATION = "InvalidAssociationID.NotFound"
# EventBridge has no code of its own for it (docs/AWS_FACTS.md, "Many accounts").
_NOT_ASSUMED = "cannot be assumed"
_NOT_ACTIVE = "not the active association"
_BATCHES = 100
# What the instance that carries a role calls (scene.py).
_CALL, _DENIABLE = "GetCallerIdentity", "DescribeRegions"
# Refusals that say nothing about a fact.
_SKIPPED = AccessDeniedError | RetryableError


@dataclass(frozen=True, slots=True)
class Observed:
    """What AWS answered, and whether docs/AWS_FACTS.md has it so."""

    text: str
    fits: bool


type Ask = Callable[[Story], Observed]


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact that can be asked."""

    section: str  # of docs/AWS_FACTS.md, by its heading
    says: str  # words of that section: the fact, with "inferred" or "recorded" if it is
    ask: Ask  # asks AWS; the first line of its docstring is what is expected

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


def run(facts: Iterable[Fact], story: Story) -> Iterator[Probe]:
    """Ask each fact; whatever AWS does is an outcome."""
    return (_probe(each, story) for each in facts)


def _probe(fact: Fact, story: Story) -> Probe:
    known = {"name": fact.name, "fact": fact.section, "expected": fact.expected}
    skipped = Probe(**known, outcome=Outcome.SKIPPED, observed="", why="")
    try:
        observed = fact.ask(story)
    except (StepSkippedError, StepFailedError) as error:  # a wait was too short to say
        return skipped.but(why=str(error))
    except AccessDeniedError as error:
        return skipped.but(why=f"you aren't allowed {error.action}")
    except RetryableError as error:
        return skipped.but(why=f"{error.action} got no answer ({error.code})")
    except Exception as error:  # noqa: BLE001  # another answer than expected, whatever its shape, is what a probe finds
        return skipped.but(outcome=Outcome.FAILED, observed=f"{type(error).__name__}: {error}")
    outcome = Outcome.PASSED if observed.fits else Outcome.FAILED
    return skipped.but(outcome=outcome, observed=observed.text)


# ---- what several probes do ----


def _refusal(act: Callable[[], object], kind: type[AwsRefusalError], *codes: str, says: str = "") -> Observed:
    """The answer to a call that AWS should refuse with one of these codes, which Rolekeeper takes for this kind.

    A code may stand for several reasons: then the message `says` which.
    """
    try:
        act()
    except AwsRefusalError as error:
        fits = isinstance(error, kind) and error.code in codes and says in error.message
        if not fits and isinstance(error, _SKIPPED):
            raise
        return Observed(str(error), fits)
    return Observed("accepted", fits=False)


def _instance(story: Story, instance: str) -> Any:
    """An instance as EC2 shows it, with its profile."""
    only = [{"Name": "instance-id", "Values": [instance]}]
    groups = story.aws.call("ec2:DescribeInstances", Filters=only)["Reservations"]
    if not groups:
        raise StepFailedError(f"EC2 doesn't show {instance}")
    return groups[0]["Instances"][0]


def _associate(story: Story, instance: str, profile: str) -> Any:
    return story.aws.call(f"ec2:{ASSOCIATE}", InstanceId=instance, IamInstanceProfile={"Arn": profile})


def _replace(story: Story, association: str, profile: str) -> Any:
    answer = story.aws.call(f"ec2:{REPLACE}", AssociationId=association, IamInstanceProfile={"Arn": profile})
    return answer["IamInstanceProfileAssociation"]


def _disassociate(story: Story, association: str) -> Any:
    return story.aws.call(f"ec2:{DISASSOCIATE}", AssociationId=association)


def _associated(story: Story, instance: str) -> Association:
    """The association of an instance, once it is complete; it is given the first profile if it has none."""
    if story.association(instance) is None:
        _associate(story, instance, story.scene.profiles["a"])

    def complete() -> bool:
        found = story.association(instance)
        return found is not None and found.state is AssociationState.ASSOCIATED

    story.until(f"{instance} shows its profile as associated", complete)
    return story.carried(instance)


def _other(story: Story, association: Association) -> str:
    """The one of the two profiles that an association doesn't have."""
    first, second = story.scene.profiles["a"], story.scene.profiles["b"]
    return second if association.profile_arn == first else first


def _arn(story: Story, service: str, resource: str, *, region: str = "") -> str:
    """The ARN of a resource of the account; of IAM without a Region."""
    return f"arn:{story.deployment.caller.partition}:{service}:{region}:{story.aws.account}:{resource}"


def _stale(story: Story) -> str:
    if not story.former:
        raise StepSkippedError("the story replaced no association")
    return story.former[-1]


# ---- associations ----


@_fact(RUNNING, _ERRORS, "the instance is stopped, or the id is stale (aws-cli #5251)")
def stale_replace(story: Story) -> Observed:
    """Replacing by the id of a replaced association is refused with IncorrectState."""
    stale = _stale(story)
    _associated(story, story.a)  # it runs and has a role, so only the id is wrong
    story.becomes(story.a, InstanceState.RUNNING)
    act = partial(_replace, story, stale, story.scene.profiles["a"])
    return _refusal(act, ConflictError, "IncorrectState", says=_NOT_ACTIVE)


@_fact(RUNNING, _ERRORS, "| `InvalidAssociationID.NotFound` | already detached |")
def stale_disassociate(story: Story) -> Observed:
    """Disassociating by the id of a replaced one is refused with IncorrectState or InvalidAssociationID.NotFound."""
    stale = _stale(story)
    return _refusal(lambda: _disassociate(story, stale), AwsRefusalError, "IncorrectState", _UNKNOWN_ASSOCIATION)


@_fact(RUNNING, _ERRORS, "no profile is known of it, so a policy on `ec2:InstanceProfile` may deny the call (inferred;")
def stale_as_changer(story: Story) -> Observed:
    """Replacing by the id of a replaced association, as the function, is refused with UnauthorizedOperation."""
    stale = _stale(story)
    if story.changer is None:
        raise StepSkippedError("the changer's role couldn't be assumed")

    asked = {"AssociationId": stale, "IamInstanceProfile": {"Arn": story.scene.profiles["a"]}}
    story.changer_may()
    act = partial(story.as_function, f"ec2:{REPLACE}", stale, **asked)
    found = _refusal(act, AccessDeniedError, UNAUTHORIZED)
    story.changer_may()
    return found


@_fact(RUNNING, _ERRORS, '`IncorrectState` "There is an existing association for instance …"')
def second_associate(story: Story) -> Observed:
    """Associating a profile with an instance that has one is refused with IncorrectState."""
    other = _other(story, _associated(story, story.a))
    act = partial(_associate, story, story.a, other)
    return _refusal(act, ConflictError, "IncorrectState", says="existing association")


@_fact(RUNNING, _ERRORS, "already detached | detach: done")
def second_disassociate(story: Story) -> Observed:
    """Disassociating a second time is refused with InvalidAssociationID.NotFound."""
    association = _associated(story, story.b).id
    story.free_b()
    return _refusal(lambda: _disassociate(story, association), NotFoundError, _UNKNOWN_ASSOCIATION)


@_fact(RUNNING, _ERRORS, "a token of a page that isn't one (boto3 #2673)")
def wrong_token(story: Story) -> Observed:
    """A NextToken that EC2 never gave is refused with InvalidParameterValue."""
    act = partial(story.aws.call, "ec2:DescribeInstances", MaxResults=5, NextToken=story.names.stack)
    return _refusal(act, StaleTokenError, "InvalidParameterValue")


# ---- instance profiles ----


@_fact(RUNNING, _ERRORS, "or no such profile (terraform-provider-aws #838, #3055)")
def unknown_profile(story: Story) -> Observed:
    """Associating a profile that doesn't exist is refused with InvalidParameterValue."""
    story.free_b()
    unknown = _arn(story, "iam", f"instance-profile{story.names.role_path}{story.names.role('unknown')}")
    return _refusal(lambda: _associate(story, story.b, unknown), NotReadyError, "InvalidParameterValue")


@contextmanager
def _made(story: Story, name: str) -> Iterator[Any]:
    """An instance profile with the first profile's role, as IAM shows it; the free instance may be given it."""
    story.free_b()
    made = story.names.role(name)
    try:
        yield _make(story, made)
    finally:
        story.free_b()
        _delete(story, made)


def _make(story: Story, name: str) -> Any:
    story.scene.record.add(PROFILE, name, story.now())
    tags = [{"Key": TAG, "Value": story.names.id}]
    asked = {"InstanceProfileName": name, "Path": story.names.role_path, "Tags": tags}
    answer = story.aws.call("iam:CreateInstanceProfile", **asked)

    def added() -> bool:
        # A profile that was made just now may not be there yet (AWS_FACTS.md "IAM").
        with suppress(NotFoundError):
            story.aws.call("iam:AddRoleToInstanceProfile", InstanceProfileName=name, RoleName=_role(story))
            return True
        return False

    story.until(f"IAM knows profile {name}", added)
    return answer["InstanceProfile"]


def _delete(story: Story, name: str) -> None:
    """Delete a profile, whatever of it is there."""
    with suppress(NotFoundError):
        story.aws.call("iam:RemoveRoleFromInstanceProfile", InstanceProfileName=name, RoleName=_role(story))
    with suppress(NotFoundError):
        story.aws.call("iam:DeleteInstanceProfile", InstanceProfileName=name)


def _role(story: Story) -> str:
    return story.scene.profiles["a"].rpartition("/")[2]


def _associate_new(story: Story, profile: str) -> float:
    """Give the free instance a profile that was made just now; the seconds until EC2 took it."""
    began = story.now()

    def taken() -> bool:
        with suppress(NotReadyError):
            _associate(story, story.b, profile)
            return True
        return False

    story.until("EC2 knows a new profile", taken, _PROPAGATES)
    return (story.now() - began).total_seconds()


@_fact(RUNNING, _ERRORS, "a new profile not yet visible (up to ~2 min)")
def new_profile(story: Story) -> Observed:
    """EC2 knows a new profile within 120 seconds."""
    with _made(story, "probe-new") as made:
        try:
            seconds = _associate_new(story, made["Arn"])
        except StepFailedError as error:
            return Observed(str(error), fits=False)
        return Observed(f"known after {seconds:.0f} seconds", seconds <= _NEW_PROFILE_SECONDS)


@_fact(RUNNING, _IAM, "show `IamInstanceProfile.Id` beside the ARN (recorded by Cloud Custodian)")
def profile_id(story: Story) -> Observed:
    """The association and DescribeInstances show the profile's id."""
    name = _associated(story, story.a).profile_arn.rpartition("/")[2]
    known = story.aws.call("iam:GetInstanceProfile", InstanceProfileName=name)["InstanceProfile"]
    return _shows(story, story.a, known["InstanceProfileId"])


@_fact(RUNNING, _IAM, "That they go on showing the former id is inferred")
def remade_profile(story: Story) -> Observed:
    """EC2 goes on showing the former id of a profile that was deleted and made again."""
    with _made(story, "probe-again") as former:
        _associate_new(story, former["Arn"])
        _associated(story, story.b)
        _delete(story, former["InstanceProfileName"])
        if _make(story, former["InstanceProfileName"])["InstanceProfileId"] == former["InstanceProfileId"]:
            return Observed("a profile that was made again has the id of the former one", fits=False)
        return _shows(story, story.b, former["InstanceProfileId"])


def _shows(story: Story, instance: str, expected: str) -> Observed:
    """Whether the association of an instance and the instance itself both show this profile's id."""
    association, profile = story.association(instance), _instance(story, instance).get("IamInstanceProfile", {})
    shown = {"association": association and association.profile_id, "instance": profile.get("Id")}
    unlike = [where for where, id_ in shown.items() if id_ != expected]
    return Observed(f"not shown by the {' and the '.join(unlike)}" if unlike else "shown by both", not unlike)


# ---- events ----


def _received(story: Story, source: str) -> list[Any]:
    """The events of a source about the two instances, each with its message `group`; the queue is read once."""
    if not story.received:
        ours = (f"/{story.a}", f"/{story.b}")
        received = (each for each in _messages(story) if any(arn.endswith(ours) for arn in each["resources"]))
        story.received = {each["id"]: each for each in received}
    found = [each for each in story.received.values() if each["source"] == source]
    if not found:
        raise StepSkippedError(f"the queue got no event of {source} about the instances")
    return found


def _messages(story: Story) -> Iterator[Any]:
    asked = {"QueueUrl": story.scene.events, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 1}
    # The account's other instances are in it too: an end, also where they are many.
    for _ in range(_BATCHES):
        answer = story.aws.call("sqs:ReceiveMessage", **asked, MessageSystemAttributeNames=["MessageGroupId"])
        if not answer.get("Messages"):
            return
        for each in answer["Messages"]:
            yield {**json.loads(each["Body"]), "group": each.get("Attributes", {}).get("MessageGroupId", "")}


def _first_unlike(events: Sequence[Any], is_like: Callable[[Any], bool]) -> Observed:
    """Whether all events are like that; the first that isn't."""
    for each in events:
        if not is_like(each):
            return Observed(json.dumps(each), fits=False)
    return Observed(f"all of {len(events)} events", fits=True)


@_fact(RUNNING, _EVENTS, "`detail` has `instance-id` and `state` only")
def state_event(story: Story) -> Observed:
    """The detail of a state change has instance-id and state only, its resources the instance's ARN."""

    def is_like(event: Any) -> bool:
        [arn], detail = event["resources"], event["detail"]
        return bool(detail.keys() == {"instance-id", "state"} and arn.endswith(f":instance/{detail['instance-id']}"))

    return _first_unlike(_received(story, "aws.ec2"), is_like)


@_fact(RUNNING, _EVENTS, "`tags` (the whole set after the change;")
def tag_event(story: Story) -> Observed:
    """A tag change has changed-tag-keys, service, resource-type, version and all tags.

    The tag of the verification is on the instances all the time, so a whole set has it.
    """
    members = {"changed-tag-keys", "service", "resource-type", "version", "tags"}

    def is_like(event: Any) -> bool:
        detail = event["detail"]
        kind = detail.get("service"), detail.get("resource-type")
        return members <= detail.keys() and kind == ("ec2", "instance") and TAG in detail["tags"]

    return _first_unlike(_received(story, "aws.tag"), is_like)


@_fact(RUNNING, _EVENTS, "Emitted for tags given at launch too (strong evidence, no explicit promise)")
def launch_tag_event(story: Story) -> Observed:
    """Tags given at launch cause a tag change.

    Delivery is best effort, so one of the two launches is enough. Nobody changes the tag later.
    """
    events = _received(story, "aws.tag")
    found = {each["resources"][0] for each in events if TAG in each["detail"]["changed-tag-keys"]}
    return Observed(f"events of {len(found)} of 2 launches", bool(found))


@_fact(RUNNING, _QUEUES, "that it is so in a template too is inferred")
def message_group(story: Story) -> Observed:
    """A rule in a template puts each message into the group that its JSON path names."""
    return _first_unlike(_received(story, "aws.ec2"), lambda event: event["group"] == event["detail"]["instance-id"])


@_fact(RUNNING, _EVENTS, "that `anything-but` skips what is absent is inferred")
def absent_field(story: Story) -> Observed:
    """An event without the field doesn't match anything-but."""
    pattern = {"detail": {"by": [{"anything-but": ["us"]}]}}
    return _matching(story, pattern, {"them": {"by": "them"}, "absent": {"to": "them"}}, expected=["them"])


@_fact(RUNNING, _EVENTS, "that one without `*` may be among them is inferred")
def wildcard_list(story: Story) -> Observed:
    """The list of wildcards in anything-but may have one without *."""
    pattern = {"detail": {"by": [{"anything-but": {"wildcard": ["*/us", "we"]}}]}}
    details = {each: {"by": each} for each in ("role/us", "we", "them")}
    return _matching(story, pattern, details, expected=["them"])


def _matching(story: Story, pattern: Any, details: Mapping[str, Any], expected: list[str]) -> Observed:
    """Which events a pattern matches; `details` are theirs, by a name."""
    when, region = f"{story.now():%Y-%m-%dT%H:%M:%SZ}", story.aws.region
    envelope = {"id": "1", "source": story.names.stack, "detail-type": "probe", "time": when, "resources": []}
    envelope |= {"account": story.aws.account, "region": region}

    def matches(detail: Any) -> bool:
        asked = {"EventPattern": json.dumps(pattern), "Event": json.dumps({**envelope, "detail": detail})}
        return bool(story.aws.call("events:TestEventPattern", **asked)["Result"])

    matched = [name for name, detail in details.items() if matches(detail)]
    return Observed(f"matches {', '.join(matched) or 'none'} of {', '.join(details)}", matched == expected)


def _elsewhere(story: Story) -> str:
    """The ARN of the account's default bus in another Region. The last of a partition's is on in each account."""
    regions = story.deployment.session.get_available_regions("events", story.deployment.caller.partition)
    other = next(each for each in sorted(regions, reverse=True) if each != story.aws.region)
    return _arn(story, "events", "event-bus/default", region=other)


def _refused(story: Story, action: str, entries: str, **asked: Any) -> str:
    """Why EventBridge refused a call, or an entry of it; empty if it didn't.

    AwsRefusalError if it is a refusal that says nothing about a fact.
    """
    try:
        answer = story.aws.call(action, **asked)
        for each in answer[entries]:
            if "ErrorCode" in each:
                refusal: Any = {"Error": {"Code": each["ErrorCode"], "Message": each.get("ErrorMessage", "")}}
                raise classify(ClientError(refusal, action), action, "*")
    except AwsRefusalError as error:
        if isinstance(error, _SKIPPED):
            raise
        return str(error)
    return ""


@_fact(RUNNING, _BUSES, "Into another Region it can't send (that is inferred from")
def another_region(story: Story) -> Observed:
    """PutEvents to a bus of another Region is refused."""
    entry = {"Source": story.names.stack, "DetailType": "probe", "Detail": "{}"}

    def put(bus: str) -> str:
        return _refused(story, "events:PutEvents", "Entries", Entries=[{**entry, "EventBusName": bus}])

    if refusal := put(_arn(story, "events", "event-bus/default", region=story.aws.region)):
        raise StepSkippedError(f"the same to the bus of this Region got {refusal}")
    refusal = put(_elsewhere(story))
    return Observed(refusal or "accepted", bool(refusal))


@_fact(RUNNING, _ACCOUNTS, "That `PutTargets` refuses the role of a target so is inferred")
def wrong_target_role(story: Story) -> Observed:
    """PutTargets refuses a role that EventBridge can't assume."""
    rule, role = story.names.role("probe"), f"role{story.names.role_path}{story.names.role('unknown')}"
    target = {"Id": "probe", "Arn": _elsewhere(story), "RoleArn": _arn(story, "iam", role)}
    pattern, tags = json.dumps({"source": [story.names.stack]}), [{"Key": TAG, "Value": story.names.id}]
    story.scene.record.add(RULE, rule, story.now())
    story.aws.call("events:PutRule", Name=rule, EventPattern=pattern, State="DISABLED", Tags=tags)
    try:
        refusal = _refused(story, "events:PutTargets", "FailedEntries", Rule=rule, Targets=[target])
        return Observed(refusal or "accepted", _NOT_ASSUMED in refusal)
    finally:
        story.aws.call("events:RemoveTargets", Rule=rule, Ids=["probe"])
        story.aws.call("events:DeleteRule", Name=rule)


# ---- DynamoDB ----


@_fact(RUNNING, _IAM, "That its items supply `LeadingKeys` is inferred")
def transaction_keys(story: Story) -> Observed:
    """The items of a transaction supply dynamodb:LeadingKeys.

    What a function writes in a transaction, its policy allows by `dynamodb:LeadingKeys` only.
    """
    _stale(story)  # a function replaced it, and wrote that in a transaction
    newest = story.deployment.app.store.history(layout.instance_pk(key_of(story.deployment, story.a)), 1)
    return Observed("a function's transaction was " + ("allowed" if newest else "not written"), fits=bool(newest))


@_fact(RUNNING, _IAM, "that `LeadingKeys` and `Attributes` are among them is inferred")
def table_policy_keys(story: Story) -> Observed:
    """A table's policy can deny by dynamodb:LeadingKeys and dynamodb:Attributes.

    The state table's policy lets only functions write most partitions, and other attributes of the rest.

    Nothing is written: the condition of each put fails where the put is allowed.
    """
    table = story.deployment.outputs["StateTable"]
    arn = _arn(story, "dynamodb", f"table/{table}", region=story.aws.region)
    try:
        story.aws.call("dynamodb:GetResourcePolicy", ResourceArn=arn)
    except PermanentError as error:
        if error.code != "PolicyNotFoundException":
            raise
        raise StepSkippedError("the state table has no policy") from error
    asked = {"TableName": table, "ConditionExpression": "attribute_exists(pk)"}

    def put(partition: str, *attributes: str) -> str:
        item = {name: {"S": story.names.stack} for name in ("sk", *attributes)}
        try:
            story.aws.call("dynamodb:PutItem", **asked, Item={**item, "pk": {"S": partition}})
        except (AccessDeniedError, ConflictError) as error:
            return error.code
        return "accepted"

    partition, allowed = f"instance#{story.names.stack}", "ConditionalCheckFailedException"
    if (code := put(partition)) != allowed:
        raise StepSkippedError(f"a put that the policy doesn't deny got {code}")
    codes = {"another partition": put(story.names.stack), "another attribute": put(partition, story.names.stack)}
    return Observed(json.dumps(codes), set(codes.values()) == {"AccessDeniedException"})


# ---- CloudTrail's event history ----


def _recorded(story: Story, attribute: str, value: str) -> list[Event]:
    """The events with an attribute since the verification began, newest first."""
    return list(EventHistory(story.deployment).lookup(attribute, value, story.began, until=None))


# ---- what EC2 delivers, and software uses: while both instances run ----


def _calls(story: Story, name: str) -> list[Event]:
    """The calls of this name by the instance that carries a role, newest first."""
    return [each for each in _recorded(story, "Username", story.a) if each.name == name]


@_fact(RECORDED, _CREDENTIALS, "That it meets those that EC2 delivered is inferred")
def denied_credentials(story: Story) -> Observed:
    """A deny by aws:TokenIssueTime and aws:userid ends credentials that EC2 delivered before it."""
    role = _associated(story, story.a).profile_arn.rpartition("/")[2]

    def calls(*, refused: bool) -> list[Event]:
        """Those of this role; a throttled call says nothing."""
        found = [each for each in _calls(story, _DENIABLE) if each.by.role.endswith(f"/{role}")]
        return [each for each in found if (UNAUTHORIZED in each.refused if refused else not each.refused)]

    with _denied(story, role) as since:

        def look() -> list[Event]:
            return [each for each in calls(refused=True) if each.at >= since]

        try:
            first = story.arrived(look)[-1]
        except StepSkippedError:
            latest = max((each.at for each in calls(refused=False)), default=since)
            if (latest - since).total_seconds() <= _DENIES_SECONDS:
                raise
            return Observed(f"still allowed {(latest - since).total_seconds():.0f} seconds later", fits=False)
    if all(each.at >= since for each in calls(refused=False)):
        raise StepSkippedError(f"{_DENIABLE} wasn't allowed before")
    return Observed(f"{first.refused} {(first.at - since).total_seconds():.0f} seconds later", fits=True)


@contextmanager
def _denied(story: Story, role: str) -> Iterator[datetime]:
    """Deny the instance that carries a role what it got of it before now; gives the time."""
    id_ = story.aws.call("iam:GetRole", RoleName=role)["Role"]["RoleId"]
    since = story.now().replace(microsecond=0)
    policy = {"RoleName": role, "PolicyName": POLICY}
    entry = Entry(f"{id_}:{story.a}", since)
    document = json.dumps({"Version": "2012-10-17", "Statement": [entry.statement]})
    story.aws.call("iam:PutRolePolicy", **policy, PolicyDocument=document)
    try:
        yield since
    finally:
        story.aws.call("iam:DeleteRolePolicy", **policy)


@_fact(RECORDED, _HISTORY, "No page says how late an event gets there.")
def record_delay(story: Story) -> Observed:
    """A call is in the event history within 15 minutes."""
    newest = story.arrived(lambda: _calls(story, _CALL))[0]
    seconds = (story.now() - newest.at).total_seconds()
    return Observed(f"the newest call was made {seconds:.0f} seconds ago", seconds <= _LATE_SECONDS)


@_fact(RECORDED, _HISTORY, "that LookupEvents finds them by it is inferred")
def calls_by_username(story: Story) -> Observed:
    """LookupEvents finds software's calls by the instance's id as Username."""

    def look() -> list[Event]:
        return [each for each in _recorded(story, "EventName", _CALL) if each.by.session == story.a]

    found = story.arrived(look)
    by_name = {each.id for each in _calls(story, _CALL)}
    missing = [each for each in found if each.id not in by_name]
    return Observed(f"it finds {len(found) - len(missing)} of {len(found)} calls", not missing)


@_fact(RECORDED, _CREDENTIALS, "with them at once is inferred")
def replaced_role(story: Story) -> Observed:
    """A process that starts after a replace calls with the new role, at the latest a minute later."""
    found = story.uptake(lambda found: found if found.carried and found.carried.first_use else None)
    if not found.looked_through:
        raise StepSkippedError("there are too many calls to look through all of them")
    used = [(each.last_use.at, max(each.until, story.given)) for each in found.former if each.last_use and each.until]
    late = [(at - until).total_seconds() for at, until in used]
    if not late:
        return Observed("no call with a former role after its replace", fits=True)
    return Observed(f"a former role was used {max(late):.0f} seconds after its replace", max(late) <= REPLACED_SECONDS)


def _deliveries(story: Story, instance: str) -> list[Event]:
    """EC2's own calls for credentials of an instance's role, newest first."""
    return [each for each in _recorded(story, "ResourceName", instance) if Delivery.read(each, instance)]


@_fact(RECORDED, _HISTORY, "in UTC, six hours later (recorded:")
def delivery_record(story: Story) -> Observed:
    """EC2's AssumeRole names no caller, and expires after 6 h to 6 h 40 min, in the form Jul 4, 2019 4:29:29 PM."""
    found = story.arrived(lambda: _deliveries(story, story.a))
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


def _launches(story: Story) -> list[Event]:
    """The record of the launch of `b`, once it is there."""
    return [each for each in _recorded(story, "ResourceName", story.b) if each.launched(story.b)]


@_fact(RECORDED, _CREDENTIALS, "whether or not anything on the instance asks IMDS, is inferred")
def delivery_unasked(story: Story) -> Observed:
    """EC2 gets credentials of a role that nothing on the instance asks for."""
    story.arrived(lambda: _deliveries(story, story.a))
    try:
        first = story.arrived(lambda: _deliveries(story, story.b))[-1]
    except StepSkippedError:
        return Observed("only if something asks", fits=False)
    seconds = [f", {(first.at - each.at).total_seconds():.0f} seconds after the launch" for each in _launches(story)]
    return Observed(f"it got some that nothing asked for{''.join(seconds)}", fits=True)


# ---- what changes the instance that carries a role, and then stops it: after all that need it ----


@_fact(CHANGED, _ASSOCIATIONS, "a **new** association id, in `associating` (recorded:")
def replace_makes_an_id(story: Story) -> Observed:
    """Replacing a profile answers with a new association id, in state associating."""
    before = _associated(story, story.a)
    after = _replace(story, before.id, _other(story, before))
    try:
        text = f"{before.id} became {after['AssociationId']}, {after['State']}"
        return Observed(text, after["AssociationId"] != before.id and after["State"] == "associating")
    finally:
        _replace(story, _associated(story, story.a).id, before.profile_arn)


@_fact(CHANGED, _ERRORS, "observe again; if stopped, wait or swap")
def stopped_replace(story: Story) -> Observed:
    """Replacing the profile of a stopped instance is refused with IncorrectState.

    The instance is left stopped: it is terminated next.
    """
    present = _associated(story, story.a)
    story.aws.call("ec2:StopInstances", InstanceIds=[story.a])
    story.becomes(story.a, InstanceState.STOPPED)
    if story.carried(story.a).id != present.id:
        raise StepSkippedError("another actor changed the role meanwhile")
    other = _other(story, present)
    return _refusal(lambda: _replace(story, present.id, other), ConflictError, "IncorrectState", says=_NOT_ACTIVE)


@_fact(ENDED, _ASSOCIATIONS, "that its association is gone too is inferred")
def terminated_instance(story: Story) -> Observed:
    """A terminated instance has no profile and no association."""
    story.becomes(story.a, InstanceState.TERMINATED)
    association = story.association(story.a)
    profile = _instance(story, story.a).get("IamInstanceProfile")
    state = str(association.state) if association else "none"
    return Observed(f"association: {state}, profile: {'one' if profile else 'none'}", not association and not profile)


# ---- CloudTrail's event history of both ----


@_fact(ENDED, _HISTORY, "that `iamInstanceProfile` is there as `DescribeInstances` has it is inferred")
def launch_in_history(story: Story) -> Observed:
    """The record of RunInstances has iamInstanceProfile as DescribeInstances has it."""
    [launch] = story.arrived(lambda: _launches(story))
    shown = jmespath.search("instancesSet.items[].iamInstanceProfile", launch.response)
    return Observed(json.dumps(shown), launch.launches_with(story.b, story.scene.profiles["foreign"]))


def _named(story: Story, names: Sequence[str], is_ours: Callable[[Event], bool]) -> tuple[list[Event], set[str]]:
    """The calls of these names that are ours, and the ids of the events that are found by the instance's id."""

    def look() -> list[Event]:
        """None before each name is there: what comes late isn't found by anything."""
        found = [each for name in names for each in _recorded(story, "EventName", name) if is_ours(each)]
        return found if {each.name for each in found} == {*names} else []

    found = story.arrived(look)
    return found, {each.id for each in _recorded(story, "ResourceName", story.a)}


@_fact(ENDED, _HISTORY, "That LookupEvents finds them by the instance's id is inferred")
def tags_in_history(story: Story) -> Observed:
    """LookupEvents finds CreateTags and DeleteTags by the instance's id."""

    def is_ours(event: Event) -> bool:
        return story.a in (jmespath.search("resourcesSet.items[].resourceId", event.request) or ())

    found, by_id = _named(story, ("CreateTags", "DeleteTags"), is_ours)
    missing = [each.name for each in found if each.id not in by_id]
    return Observed(f"the instance's id finds {len(found) - len(missing)} of {len(found)} calls", not missing)


@_fact(ENDED, _HISTORY, "`associationId` in both is inferred")
def associations_in_history(story: Story) -> Observed:
    """The records of the calls on associations have the association's id in request and answer."""

    def is_ours(event: Event) -> bool:
        return story.names.role_path in json.dumps(event.response)

    def is_like(event: Event) -> bool:
        made = jmespath.search(f"{event.name}Response.iamInstanceProfileAssociation.associationId", event.response)
        named = event.name == ASSOCIATE or jmespath.search(f"{event.name}Request.AssociationId", event.request)
        return bool(made and named)

    found, by_id = _named(story, (ASSOCIATE, REPLACE, DISASSOCIATE), is_ours)
    if unlike := [each for each in found if not is_like(each)]:
        return Observed(json.dumps([unlike[0].name, unlike[0].request, unlike[0].response]), fits=False)
    known = sum(each.id in by_id for each in found)
    return Observed(f"all of {len(found)} calls, of which the instance's id finds {known}", fits=True)
