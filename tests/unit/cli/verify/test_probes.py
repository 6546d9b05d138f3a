"""The probes of `rolekeeper verify`, on EC2 as docs/AWS_FACTS.md has it, and on an AWS that does otherwise."""

import json
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from fakes.cloudtrail import FakeCloudTrail, role, user
from fakes.ec2 import client_error
from fakes.others import FakeIam
from fixtures.account import ACCOUNT, REGION, FakeAccount
from fixtures.history_entries import stored_entry
from fixtures.mappings import session
from rolekeeper.aws import Ec2
from rolekeeper.model.instance import Target
from rolekeeper_cli.aws.deployment import Caller, Deployment
from rolekeeper_cli.options import Options
from rolekeeper_local.ec2_model import Event, Profile
from rolekeeper_verify.machine import Machine
from rolekeeper_verify.names import TAG, Names
from rolekeeper_verify.probes import CHANGED, ENDED, RECORDED, RUNNING, run
from rolekeeper_verify.proof import Record
from rolekeeper_verify.scene import Scene
from rolekeeper_verify.story import Story
from rolekeeper_verify.view import Outcome, Probe

NAMES = Names("abc123")
ALL = [*RUNNING, *RECORDED, *CHANGED, *ENDED]


class Iam(FakeIam):
    """Instance profiles are made and deleted too, each with an id of its own; roles are there."""

    def __init__(self, world: FakeAccount) -> None:
        super().__init__(world.profiles, world.calls, ACCOUNT)
        self.world, self.made = world, 0
        self.policies: dict[str, Any] = {}
        self.denied: Callable[[], object] = lambda: None

    def create_instance_profile(self, InstanceProfileName: str, Path: str, Tags: Any = ()) -> dict[str, Any]:  # noqa: N803  # boto3's own names
        assert {"Key": TAG, "Value": NAMES.id} in Tags
        if InstanceProfileName in self._profiles:
            raise client_error("EntityAlreadyExists")
        self.made += 1
        self.world.profile(InstanceProfileName, path=Path, made_now=True)
        made = self.world.profiles[InstanceProfileName]
        self._profiles[InstanceProfileName] = Profile(
            made.name, made.arn, id=f"AIPA{self.made}", roles=made.roles, created_at=made.created_at
        )
        return self.get_instance_profile(InstanceProfileName)

    def get_instance_profile(self, InstanceProfileName: str) -> dict[str, Any]:  # noqa: N803  # the same
        found = super().get_instance_profile(InstanceProfileName)
        return {"InstanceProfile": {**found["InstanceProfile"], "InstanceProfileName": InstanceProfileName}}

    def add_role_to_instance_profile(self, InstanceProfileName: str, RoleName: str) -> dict[str, Any]:  # noqa: N803, ARG002  # the same
        return {}

    remove_role_from_instance_profile = add_role_to_instance_profile

    def get_role(self, RoleName: str) -> dict[str, Any]:  # noqa: N803, ARG002  # the same
        return {"Role": {"RoleId": "AROA1"}}

    def put_role_policy(self, RoleName: str, PolicyName: str, PolicyDocument: str) -> None:  # noqa: N803, ARG002  # the same
        self.policies[RoleName] = json.loads(PolicyDocument)
        self.denied()

    def delete_role_policy(self, RoleName: str, PolicyName: str) -> None:  # noqa: N803, ARG002  # the same
        del self.policies[RoleName]

    def delete_instance_profile(self, InstanceProfileName: str) -> None:  # noqa: N803  # the same
        if self._profiles.pop(InstanceProfileName, None) is None:
            raise client_error("NoSuchEntity")


class Account:
    """A verification's account after its story: each service answers as docs/AWS_FACTS.md has it."""

    def __init__(self, world: FakeAccount, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world, began = world, world.clock.now()
        self.ec2, self.iam, self.trail = world.ec2, Iam(world), FakeCloudTrail(world.calls, world.clock.now)
        self.a, self.b = (world.profile(NAMES.role(each), path=NAMES.role_path) for each in "ab")
        carrying, free = (world.truth.launch(tags={TAG: NAMES.id}).id for _ in range(2))
        self.trail.launched(user("bob"), free, profile_arn=self.b)
        world.clock.sleep(5)
        former = world.truth.associate(carrying, self.b).id
        self.trail.delivered(role_of(self.b), free)
        self.used(carrying, self.b)
        at = world.clock.now().isoformat()
        self.entries = [stored_entry(at, saw="iip-assoc-1", carries=self.b, made="iip-assoc-2", to=self.a)]
        world.truth.replace(former, self.a)
        world.clock.sleep(5)
        self.used(carrying, self.a)
        self.events = SimpleNamespace(
            put_events=None,
            test_event_pattern=lambda Event, **_: {"Result": json.loads(Event)["detail"].get("by") == "them"},  # noqa: N803  # the same
            put_rule=answers(),
            put_targets=refuses("ValidationException", "Provided role 'x' cannot be assumed by principal 'y'."),
            remove_targets=answers(),
            delete_rule=answers(),
        )
        refuse_elsewhere("ValidationException")(self)
        self.dynamodb = SimpleNamespace(get_resource_policy=answers(Policy="{}"), put_item=puts())
        self.sqs = SimpleNamespace(receive_message=self.receive)
        self.groups: Callable[[Event], str] = lambda event: str(event.detail.get("instance-id", ""))
        self.trail.tagged(user("bob"), carrying, app="web")
        self.trail.tagged(user("bob"), carrying, removed=True, app="")
        record_changes(self)
        self.iam.denied = lambda: self.lists_regions(7, errorCode="Client.UnauthorizedOperation")
        scene = Scene(
            Record(NAMES),
            self.deployment(monkeypatch),
            machine=Machine("t4g.nano", "arm64", subnets=("subnet-1",), vpc="vpc-1", image="ami-1"),
            profiles={"a": self.a, "b": self.b, "foreign": self.b},
            security_group="sg-1",
            events="https://sqs/events",
        )
        self.story = Story(scene, patience=180, trail_patience=600, a=carrying, b=free, former=[former])
        self.story.began = began
        self.story.changer = SimpleNamespace(replace_iam_instance_profile_association=self.as_function())

    def as_function(self, stale: str = "UnauthorizedOperation", present: str = "") -> Callable[..., Any]:
        """Replacing as the function's session: IAM knows no profile of an association that is gone."""

        def replace(AssociationId: str, IamInstanceProfile: Any) -> Any:  # noqa: N803  # boto3's own names
            now = self.world.truth.association_of(self.story.a)
            assert now
            if code := present if AssociationId == now.id else stale:
                raise client_error(code, "Encoded: x")
            return self.ec2.replace_iam_instance_profile_association(
                AssociationId=AssociationId, IamInstanceProfile=IamInstanceProfile
            )

        return replace

    def deployment(self, monkeypatch: pytest.MonkeyPatch) -> Deployment:
        """A deployment whose clients are this account's services, at this world's time."""
        world, deployment = self.world, Deployment(Options(region=REGION))
        monkeypatch.setattr(deployment, "client", lambda service, _config=None: getattr(self, service, self.trail))
        monkeypatch.setattr(deployment, "now", world.clock.now)
        monkeypatch.setattr(deployment, "sleep", world.clock.sleep)
        monkeypatch.setitem(deployment.__dict__, "caller", Caller("arn:aws:iam::1:user/me", "AIDA", ACCOUNT, "aws"))
        monkeypatch.setitem(deployment.__dict__, "outputs", {"StateTable": "state"})
        monkeypatch.setitem(deployment.__dict__, "session", session())
        settings = SimpleNamespace(target=Target(ACCOUNT, REGION), account=ACCOUNT, region=REGION)
        app: Any = SimpleNamespace(
            settings=settings,
            ec2=Ec2(world.ec2, ACCOUNT, REGION),  # type: ignore[arg-type]  # the fake
            at=lambda: app,
            store=SimpleNamespace(history=lambda _partition, _most: self.entries),
            iam=SimpleNamespace(
                get_instance_profile=profile,
                get_role=lambda _: None,
                client=SimpleNamespace(get_role_policy=refuses("NoSuchEntity", "The role has no such policy.")),
            ),
        )
        monkeypatch.setitem(deployment.__dict__, "app", app)
        monkeypatch.setitem(deployment.__dict__, "settings", settings)
        return deployment

    def used(self, instance: str, profile: str) -> None:
        """EC2 delivers a profile's role, and the AWS CLI calls with it."""
        self.trail.delivered(role_of(profile), instance)
        self.trail.called(role_of(profile), instance, agent="aws-cli/2.30.0")
        self.trail.called(role_of(profile), instance, "DescribeRegions")

    def lists_regions(self, seconds: float, **record: Any) -> None:
        """The instance calls what can be denied, some seconds later; the record comes late."""
        self.world.clock.sleep(seconds)
        self.trail.called(role_of(self.a), self.story.a, "DescribeRegions", late=200, **record)

    def receive(self, **_: object) -> dict[str, Any]:
        """SQS gives each event once."""
        events, self.world.emitted[:] = self.world.emitted[:], []
        return {"Messages": [self.message(at, each) for at, each in enumerate(events)]} if events else {}

    def message(self, at: int, event: Event) -> dict[str, Any]:
        body = {"id": str(at), "source": event.source, "resources": event.resources, "detail": event.detail}
        return {"Body": json.dumps(body), "Attributes": {"MessageGroupId": self.groups(event)}}

    def probe(self, name: str) -> Probe:
        if name == "terminated-instance":
            self.world.truth.terminate(self.story.a)
        [found] = run([each for each in ALL if each.name == name], self.story)
        return found


def role_of(profile: str) -> str:
    return profile.replace(":instance-profile/", ":role/")


def profile(name: str) -> Any:
    arn = f"arn:aws:iam::{ACCOUNT}:instance-profile{NAMES.role_path}{name}"
    return SimpleNamespace(arn=arn, role_arn=role_of(arn))


def answers(**answer: Any) -> Callable[..., Any]:
    return lambda **_: answer


def refuses(code: str, message: str = "") -> Callable[..., Any]:
    def refuse(**_: object) -> Any:
        raise client_error(code, message)

    return refuse


def puts(partition: str = "instance#", *, any_attribute: bool = False) -> Callable[..., Any]:
    """PutItem, as the state table's policy has it; the condition of what it allows fails."""

    def put(Item: Any, **_: object) -> Any:  # noqa: N803  # the same
        allowed = Item["pk"]["S"].startswith(partition) and (any_attribute or Item.keys() == {"pk", "sk"})
        raise client_error("ConditionalCheckFailedException" if allowed else "AccessDeniedException")

    return put


@pytest.fixture
def account(world: FakeAccount, monkeypatch: pytest.MonkeyPatch) -> Account:
    return Account(world, monkeypatch)


def test_an_account_that_does_as_the_page_has_it_passes_every_probe(account: Account) -> None:
    probes = list(run([*RUNNING, *RECORDED, *CHANGED], account.story))
    account.world.truth.terminate(account.story.a)
    probes += run(ENDED, account.story)
    assert [(each.name, each.observed, each.why) for each in probes if each.outcome is not Outcome.PASSED] == []
    assert len(probes) == len(ALL)
    assert all(each.observed and each.expected and each.fact for each in probes)


def test_what_the_probes_made_is_gone(account: Account) -> None:
    before = dict(account.world.profiles)
    list(run([*RUNNING, *CHANGED], account.story))
    assert account.iam.made == 3, "a new profile, and one that was made again"
    assert account.world.profiles == before
    assert account.world.truth.association_of(account.story.b) is None
    present = account.world.truth.association_of(account.story.a)
    assert present
    assert present.profile_arn == account.a


# ---- AWS does otherwise ----

type Change = Callable[[Account], object]
ACCEPTS = answers(Entries=[{"EventId": "1"}], FailedEntries=[])
STOPPING = refuses("IncorrectState", "is stopping")
ASSOCIATE, DISASSOCIATE = (f"ec2.{each}_iam_instance_profile" for each in ("associate", "disassociate"))
REPLACE, SHOW = "ec2.replace_iam_instance_profile_association", "ec2.describe_iam_instance_profile_associations"


def answering(call: str, answer: Callable[..., Any]) -> Change:
    """Have a call of a service answered otherwise."""
    service, operation = call.split(".")
    return lambda account: setattr(getattr(account, service), operation, answer)


def answer_replace(state: str, *, keeps: bool) -> Change:
    def change(account: Account) -> None:
        present = account.world.truth.association_of(account.story.a)
        assert present
        answer = {"AssociationId": present.id if keeps else "iip-assoc-9", "State": state}
        answering(REPLACE, answers(IamInstanceProfileAssociation=answer))(account)

    return change


def take_long(account: Account, seconds: float) -> None:
    account.world.truth.timings = type(account.world.truth.timings)(propagation=seconds)


def emit(source: str, **detail: Any) -> Change:
    def change(account: Account) -> None:
        arn = f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/{account.story.b}"
        account.world.emitted.append(Event(source, "x", resources=(arn,), detail=detail))

    return change


def forget_launch_tags(account: Account) -> None:
    account.world.emitted[:] = [each for each in account.world.emitted if each.source != "aws.tag"]
    account.world.truth.create_tags(account.story.b, {"app": "web"})


def show_new_id(account: Account) -> None:
    """EC2 shows the id that the profile has now."""
    describe = account.ec2.describe_iam_instance_profile_associations

    def shown(**asked: Any) -> Any:
        found = describe(**asked)
        for each in found["IamInstanceProfileAssociations"]:
            name = each["IamInstanceProfile"]["Arn"].rpartition("/")[2]
            each["IamInstanceProfile"]["Id"] = account.world.profiles[name].id
        return found

    answering(SHOW, shown)(account)


def keep_association(account: Account) -> None:
    row = {"State": "associated", "AssociationId": "iip-assoc-1", "IamInstanceProfile": {"Arn": account.a}}
    rows = [{**row, "InstanceId": account.story.a}]
    answering(SHOW, answers(IamInstanceProfileAssociations=rows, NextToken=None))(account)


def keep_profile(account: Account) -> None:
    account.world.truth.terminate(account.story.a)
    account.world.clock.sleep(5)
    row = {"InstanceId": account.story.a, "State": {"Name": "terminated"}, "IamInstanceProfile": {"Arn": account.a}}
    answering("ec2.describe_instances", answers(Reservations=[{"Instances": [row]}]))(account)


def accept_the_second(account: Account) -> None:
    real, asked = account.ec2.disassociate_iam_instance_profile, set[str]()

    def disassociate(AssociationId: str) -> Any:  # noqa: N803  # the same
        if AssociationId in asked:
            return {}
        asked.add(AssociationId)
        return real(AssociationId=AssociationId)

    answering(DISASSOCIATE, disassociate)(account)


def record_changes(account: Account, *, asked: str = "iip-assoc-1", made: str = "iip-assoc-2") -> None:
    """All three calls on associations."""
    answer = {"iamInstanceProfileAssociation": {"associationId": made, "iamInstanceProfile": {"arn": account.a}}}
    for verb, end in (("Associate", ""), ("Replace", "Association"), ("Disassociate", "")):
        name = f"{verb}IamInstanceProfile{end}"
        request = {f"{name}Request": {"AssociationId": asked}}
        account.trail.happened(name, user("bob"), request, {f"{name}Response": answer})


def record_otherwise(**ids: str) -> Change:
    def change(account: Account) -> None:
        account.trail.events.clear()
        record_changes(account, **ids)

    return change


def make_again_as_it_was(account: Account) -> None:
    create = account.iam.create_instance_profile

    def made(**asked: Any) -> Any:
        account.iam.made = 0
        return create(**asked)

    answering("iam.create_instance_profile", made)(account)


def refuse_elsewhere(code: str, region: str = "") -> Change:
    """An entry for a bus of another Region, or of this one, is refused with a code."""

    def put(Entries: Any) -> Any:  # noqa: N803  # boto3's own name
        is_here = f":{REGION}:" in Entries[0]["EventBusName"]
        refused = code if is_here == (region == REGION) else "" if is_here else "ValidationException"
        return {"Entries": [{"ErrorCode": refused} if refused else {"EventId": "1"}]}

    return answering("events.put_events", put)


def on_deny(act: Change) -> Change:
    """What happens once the deny is written."""
    return lambda account: setattr(account.iam, "denied", lambda: act(account))


def record_refusals(code: str, role: str = "a") -> Change:
    """The instance's calls are refused otherwise than by the deny, or with another role."""

    def records(account: Account) -> None:
        account.world.clock.sleep(7)
        arn = role_of(getattr(account, role))
        account.trail.called(arn, account.story.a, "DescribeRegions", late=200, errorCode=code)

    return on_deny(records)


def name_nobody(account: Account) -> None:
    for each in account.trail.events:
        each.pop("Username", None)


def use_the_former(account: Account) -> None:
    account.world.clock.sleep(120)
    account.trail.called(role_of(account.b), account.story.a)


def deliver_otherwise(hours: float | None = None, by: str = "") -> Change:
    """The only event of the history; without hours its expiration has another form."""

    def change(account: Account) -> None:
        at = account.world.clock.now() + timedelta(hours=hours or 0)
        account.trail.events.clear()
        account.trail.happened(
            "AssumeRole",
            {"type": "AWSService", "invokedBy": "ec2.amazonaws.com"} | ({"arn": by} if by else {}),
            {"roleArn": role_of(account.a), "roleSessionName": account.story.a},
            {"credentials": {"expiration": f"{at:%b %d, %Y %I:%M:%S %p}" if hours else at.isoformat()}},
            resources=(account.story.a,),
        )

    return change


def deliver_when_asked(account: Account) -> None:
    """Nothing asked on the instance that doesn't call."""
    of_b = {"ResourceName": account.story.b}
    account.trail.events[:] = [each for each in account.trail.events if of_b not in each["Resources"]]


def record_bare_launch(account: Account) -> None:
    account.trail.events.clear()
    account.trail.launched(user("bob"), account.story.b)


def list_no_resources(account: Account) -> None:
    for each in account.trail.events:
        each["Resources"] = []


INSTANCE_TAGS = {"service": "ec2", "resource-type": "instance", "tags": {TAG: NAMES.id, "app": "web"}}
TAG_CHANGE = {**INSTANCE_TAGS, "changed-tag-keys": ["app"], "version": 2.0}
OTHERWISE: list[tuple[str, Change]] = [
    ("replace-makes-an-id", answer_replace("associating", keeps=True)),
    ("replace-makes-an-id", answer_replace("associated", keeps=False)),
    ("stale-replace", answering(REPLACE, ACCEPTS)),
    ("stale-disassociate", answering(DISASSOCIATE, ACCEPTS)),
    ("stale-as-changer", lambda account: setattr(account.story, "changer", account.ec2)),
    ("second-associate", answering(ASSOCIATE, ACCEPTS)),
    ("second-associate", answering(ASSOCIATE, STOPPING)),
    ("stale-replace", answering(REPLACE, STOPPING)),
    ("stopped-replace", answering(REPLACE, STOPPING)),
    ("second-disassociate", accept_the_second),
    ("remade-profile", make_again_as_it_was),
    ("transaction-keys", lambda account: account.entries.clear()),
    ("wrong-token", answering("ec2.describe_instances", ACCEPTS)),
    ("unknown-profile", answering(ASSOCIATE, ACCEPTS)),
    ("unknown-profile", answering(ASSOCIATE, refuses("InvalidParameterValue", "other"))),
    ("new-profile", lambda account: take_long(account, 150)),
    ("profile-id", answering("iam.get_instance_profile", answers(InstanceProfile={"InstanceProfileId": "AIPAOTHER"}))),
    ("remade-profile", show_new_id),
    ("absent-field", answering("events.test_event_pattern", answers(Result=True))),
    ("wildcard-list", answering("events.test_event_pattern", answers(Result=True))),
    ("state-event", emit("aws.ec2", **{"instance-id": "i-1", "state": "x", "tags": {}})),
    ("tag-event", emit("aws.tag", **{**TAG_CHANGE, "tags": {"app": "web"}})),
    ("tag-event", emit("aws.tag", **{**TAG_CHANGE, "service": "s3"})),
    ("tag-event", emit("aws.tag", **INSTANCE_TAGS)),
    ("launch-tag-event", forget_launch_tags),
    ("message-group", lambda account: setattr(account, "groups", lambda _: "$.detail.instance-id")),
    ("another-region", answering("events.put_events", ACCEPTS)),
    ("wrong-target-role", answering("events.put_targets", ACCEPTS)),
    ("wrong-target-role", answering("events.put_targets", refuses("ValidationException"))),
    ("table-policy-keys", answering("dynamodb.put_item", puts(partition=""))),
    ("table-policy-keys", answering("dynamodb.put_item", puts(any_attribute=True))),
    ("denied-credentials", on_deny(lambda account: account.lists_regions(240))),
    ("record-delay", lambda account: account.world.clock.sleep(1_000)),
    ("calls-by-username", name_nobody),
    ("replaced-role", use_the_former),
    ("delivery-record", deliver_otherwise()),
    ("delivery-record", deliver_otherwise(hours=5)),
    ("delivery-record", deliver_otherwise(hours=7)),
    ("delivery-record", deliver_otherwise(hours=6, by="arn:me")),
    ("delivery-unasked", deliver_when_asked),
    ("stopped-replace", answering(REPLACE, ACCEPTS)),
    ("terminated-instance", keep_association),
    ("terminated-instance", keep_profile),
    ("launch-in-history", record_bare_launch),
    ("tags-in-history", list_no_resources),
    ("associations-in-history", record_otherwise(asked="")),
    ("associations-in-history", record_otherwise(made="")),
]


@pytest.mark.parametrize(("name", "does_otherwise"), OTHERWISE)
def test_another_answer_fails_the_probe_with_what_was_observed(
    account: Account, name: str, does_otherwise: Change
) -> None:
    does_otherwise(account)
    found = account.probe(name)
    assert (found.outcome, found.why) == (Outcome.FAILED, "")
    assert found.observed


def test_an_answer_of_another_shape_fails_the_probe_too(account: Account) -> None:
    answering("iam.get_instance_profile", answers())(account)
    found = account.probe("profile-id")
    assert (found.outcome, found.observed) == (Outcome.FAILED, "KeyError: 'InstanceProfile'")


# ---- it can't be asked ----


# One of each way in which a call is made.
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("replace-makes-an-id", REPLACE),
        ("stale-replace", REPLACE),
        ("second-disassociate", ASSOCIATE),
        ("new-profile", "iam.create_instance_profile"),
        ("remade-profile", "iam.delete_instance_profile"),
        ("absent-field", "events.test_event_pattern"),
        ("state-event", "sqs.receive_message"),
        ("another-region", "events.put_events"),
        ("wrong-target-role", "events.put_targets"),
        ("table-policy-keys", "dynamodb.get_resource_policy"),
        ("denied-credentials", "iam.put_role_policy"),
        ("delivery-unasked", "trail.lookup_events"),
        ("stopped-replace", "ec2.stop_instances"),
        ("terminated-instance", "ec2.describe_instances"),
    ],
)
@pytest.mark.parametrize(
    ("code", "why"), [("AccessDenied", "you aren't allowed "), ("RequestLimitExceeded", "got no answer (Request")]
)
def test_a_missing_permission_or_no_answer_skips_the_probe(
    account: Account, name: str, call: str, code: str, why: str
) -> None:
    answering(call, refuses(code))(account)
    found = account.probe(name)
    assert (found.outcome, found.observed) == (Outcome.SKIPPED, "")
    assert why in found.why
    assert call.partition(".")[2].replace("_", "") in found.why.lower()


def forget(name: str) -> Change:
    def forgotten(account: Account) -> None:
        account.trail.events[:] = [each for each in account.trail.events if each["EventName"] != name]

    return forgotten


def lack(attribute: str, value: Any) -> Change:
    return lambda account: setattr(account.story, attribute, value)


def change_as_function(**codes: str) -> Change:
    return lambda account: lack("changer", SimpleNamespace(**{REPLACE[4:]: account.as_function(**codes)}))(account)


NOT_THERE = "not in CloudTrail's event history within 600 seconds, and records may take 15 minutes: --trail-patience"
MAY_NOT = "the function may not do what it has to: ec2:ReplaceIamInstanceProfileAssociation got UnauthorizedOperation"
DENIED = "Client.UnauthorizedOperation"
POLICY, PUT = "dynamodb.get_resource_policy", "dynamodb.put_item"


@pytest.mark.parametrize(
    ("name", "missing", "why"),
    [
        ("stale-replace", lack("former", []), "the story replaced no association"),
        ("stale-as-changer", lack("changer", None), "the changer's role couldn't be assumed"),
        ("launch-in-history", lambda account: account.trail.events.clear(), NOT_THERE),
        ("tags-in-history", forget("DeleteTags"), NOT_THERE),
        ("associations-in-history", forget("AssociateIamInstanceProfile"), NOT_THERE),
        ("denied-credentials", record_refusals("Client.RequestLimitExceeded"), NOT_THERE),
        ("denied-credentials", record_refusals(DENIED, "b"), NOT_THERE),
        ("another-region", refuse_elsewhere("AccessDeniedException"), "you aren't allowed events:PutEvents"),
        ("another-region", refuse_elsewhere("ThrottlingException"), "events:PutEvents got no answer (Throttling"),
        ("another-region", refuse_elsewhere("ValidationException", REGION), "the same to the bus of this Region got"),
        ("stale-as-changer", change_as_function(stale="AuthFailure"), "you aren't allowed ec2:ReplaceIamInstance"),
        ("stale-as-changer", change_as_function(present="UnauthorizedOperation"), MAY_NOT),
        ("denied-credentials", forget("DescribeRegions"), "DescribeRegions wasn't allowed before"),
        ("denied-credentials", on_deny(lambda _: None), NOT_THERE),
        ("replaced-role", answering("trail.lookup_events", refuses("AccessDenied")), "you aren't allowed cloudtrail:"),
        ("state-event", lambda account: account.world.emitted.clear(), "the queue got no event of aws.ec2 about the"),
        ("table-policy-keys", answering(POLICY, refuses("PolicyNotFoundException")), "the state table has no policy"),
        ("table-policy-keys", answering(PUT, refuses("AccessDeniedException")), "a put that the policy doesn't deny"),
    ],
)
def test_what_is_missing_skips_the_probe(account: Account, name: str, missing: Change, why: str) -> None:
    missing(account)
    found = account.probe(name)
    assert found.outcome is Outcome.SKIPPED
    assert found.why.startswith(why)


def test_the_deny_is_of_what_one_instance_got_and_ends_with_the_probe(account: Account) -> None:
    written: list[Any] = []
    account.iam.denied = lambda: written.extend(account.iam.policies.values())
    account.probe("denied-credentials")
    [[statement]] = [each["Statement"] for each in written]
    assert (statement["Effect"], statement["Action"], statement["Resource"]) == ("Deny", "*", "*")
    assert statement["Condition"]["StringEquals"] == {"aws:userid": f"AROA1:{account.story.a}"}
    assert statement["Condition"].keys() == {"StringEquals", "DateLessThan"}
    assert account.iam.policies == {}


def test_a_launch_in_the_second_in_which_the_verification_began_is_found(account: Account) -> None:
    account.story.began = account.trail.events[0]["EventTime"] + timedelta(seconds=0.4)
    assert account.probe("launch-in-history").outcome is Outcome.PASSED


def test_records_that_come_late_are_waited_for(account: Account) -> None:
    account.trail.events.clear()
    account.trail.happened(
        "GetCallerIdentity", role(NAMES.role("a"), account.story.a), late=300, eventSource="sts.amazonaws.com"
    )
    assert account.probe("record-delay").observed == "the newest call was made 300 seconds ago"


def test_all_records_together_take_no_longer_than_the_patience_for_them(account: Account) -> None:
    account.trail.events.clear()
    account.iam.denied = lambda: None
    began = account.world.clock.now()
    assert {each.outcome for each in run(RECORDED, account.story)} == {Outcome.SKIPPED}
    assert account.world.clock.now() - began < timedelta(seconds=660)


def test_a_probe_that_fails_leaves_nothing_behind(account: Account) -> None:
    take_long(account, 1_000)
    assert account.probe("new-profile").observed == "not within 180 s: EC2 knows a new profile"
    assert NAMES.role("probe-new") not in account.world.profiles


def test_another_instances_events_are_no_part_of_the_report(account: Account) -> None:
    account.world.truth.launch(tags={"theirs": "secret"})
    account.probe("state-event")
    assert account.story.received
    assert "secret" not in json.dumps(account.story.received)


def test_a_refusal_of_the_whole_request_is_one_too(account: Account) -> None:
    elsewhere = refuses("ResourceNotFoundException")
    put = account.events.put_events

    def refuse(Entries: Any) -> Any:  # noqa: N803  # boto3's own name
        return (put if REGION in Entries[0]["EventBusName"] else elsewhere)(Entries=Entries)

    account.events.put_events = refuse
    assert account.probe("another-region").outcome is Outcome.PASSED
