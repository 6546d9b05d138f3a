"""Each function's policy against what that function calls, both ways: all that it calls is allowed, and no more.

What it calls is heard at its clients, in schedules of the simulation, which plays all functions, and in the stories
below for what is rare there. No list has to be kept. That no call is left unheard is asked of all functions together,
by the operations that the layer is built with.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

import on_instance_event
import on_mapping_change
import on_retry
import on_schedule
import slim
from fixtures.account import MAPPING_TABLE, FakeAccount, mapping_key, new_account, refusing
from fixtures.functions import lambda_context, wire
from fixtures.mappings import Desk
from fixtures.organization import SPOKE, Organization, new_organization
from fixtures.state_table import STATE_TABLE
from rolekeeper.app import App
from rolekeeper.aws.errors import AccessDeniedError
from rolekeeper.aws.queue import Task, event_of, request
from rolekeeper.fleet import sweep
from rolekeeper.fleet.targets import WIRE_FORMAT, ServedTarget
from rolekeeper.instances.retry import RetryState
from rolekeeper.mappings import account_runs
from rolekeeper.model.instance import InstanceKey
from rolekeeper.model.mapping import IGNORE_TAG, Pin
from rolekeeper.settings import Limits
from rolekeeper.storage import layout
from rolekeeper_cli.uses.pins import pin_item
from sessions import SESSION, Sessions
from simulation.deployment import FUNCTIONS
from simulation.invariants import ROWS
from simulation.schedule import Schedule
from support import templates
from support.iam_requests import IamRequest, Recorded, action_of

RESOURCES = templates.load()["Resources"]
NAMES = sorted(set(FUNCTIONS.values()))
# The schedules of the simulation that are heard: in some dozens each function does most of what it can. In the last
# one a reconcile is denied a call, and mails that.
SEEDS = (*range(40), 168)
# What Lambda calls on a function's behalf, and SNS for a mail (SNS developer guide, "Key management").
LOGS = {"logs:CreateLogStream", "logs:PutLogEvents"}
STREAM = {"dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams"}
PLUMBING = {
    "OnInstanceEvent": LOGS | {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"},
    "OnRetry": LOGS,
    "OnMappingChange": LOGS | STREAM,
    "OnSchedule": LOGS,
    "OnStateChange": LOGS | STREAM,
}
# Lambda sends it what a stream or a schedule gave up, as the function.
DEAD_LETTERS = "SendDeadLetters"
TABLES = {STATE_TABLE: "StateTable", "state": "StateTable", MAPPING_TABLE: "MappingTable", ROWS: "MappingTable"}

# The template's conditions as a hub meets them that makes profiles.
DEPLOYED = ("MakesProfiles", "ServesOrganization")

type Heard = dict[str, list[list[IamRequest]]]


def statements(function: str, *met: str) -> list[dict[str, Any]]:
    """What a function's own calls may do, where these conditions of the template are met; without the plumbing."""
    found = templates.policy_statements(RESOURCES, f"{function}Role", met=met)
    own = [each for each in found if not set(templates.listed(each["Action"])) <= PLUMBING[function]]
    return [each for each in own if each["Sid"] != DEAD_LETTERS]


def table(request: IamRequest) -> str:
    return TABLES[request.table] if request.table else ""


# ---- what is heard ----


def simulated(seed: int, heard: Heard) -> None:
    """Play a schedule, and hear each function's calls."""
    schedule = Schedule(seed)

    def hear(requests: list[IamRequest]) -> None:
        if running := schedule.engine.running:
            heard[FUNCTIONS[running.name.split()[0]]].append(requests)

    clients = schedule.deployment.clients
    clients.update({service: Recorded(service, client, hear) for service, client in clients.items()})
    assert not schedule.play().violations


class Stories:
    """The functions over one account; the calls of the one that runs are heard."""

    def __init__(self, world: FakeAccount, heard: Heard, patch: pytest.MonkeyPatch) -> None:
        self.desk, self.world = Desk(world), world
        self._heard, self._running = heard, ""
        self.desk.clients = {
            service: Recorded(service, client, self._hear) for service, client in self.desk.clients.items()
        }
        wire(patch, self.desk.app)

    def _hear(self, asked: list[IamRequest]) -> None:
        self._heard[self._running].append(asked)

    def run(self, function: str, event: Any) -> Any:
        """Run a function once; what it calls is heard."""
        self._running = function
        self.world.clock.sleep(1)
        handlers: dict[str, Callable[[Any, Any], Any]] = {
            "OnMappingChange": on_mapping_change.handler,
            "OnSchedule": on_schedule.handler,
            "OnRetry": on_retry.handler,
            "OnInstanceEvent": on_instance_event.handler,
        }
        return handlers[function](event, lambda_context(function, 840))

    def judge(self, function: str, tag: str) -> str:
        """A row changed: the stream says so, or the sweep comes by. What the row shows then."""
        names = layout.to_attributes(layout.encode(mapping_key(tag)))
        record = {"eventID": "1", "dynamodb": {"Keys": names, "SequenceNumber": "1"}}
        self.run(function, {"Records": [record]} if function == "OnMappingChange" else {"id": "sweep"})
        return str(self.desk.row(tag).get("status", "gone"))

    def approve(self, function: str, tag: str, revision: int) -> str:
        """A person approves what is held; another run noted that already when a row's stream record comes."""
        self.desk.sign(tag, revision)
        if function == "OnMappingChange":
            self.world.revisions.note_signer(mapping_key(tag), "AIDAGRACE")
            return self.judge(function, tag)
        self.run(function, event_of(Task.APPROVED, "1", by="AIDAGRACE", mapping=layout.encode(mapping_key(tag))))
        return str(self.desk.row(tag).get("status", "gone"))

    def wake(self, instance: str) -> Any:
        return self.wake_by(self.world.key(instance))

    def wake_by(self, key: InstanceKey) -> Any:
        """A message names an instance by its account and Region too."""
        body = json.dumps(request(key, "test", "correlation-1", self.world.clock.now()))
        return self.run("OnInstanceEvent", {"Records": [{"body": body, "messageId": "message-1"}]})

    def retry(self, instance: str) -> Any:
        """The retry loop looks at an instance for the last time."""
        now = self.world.clock.now()
        state = RetryState(self.world.key(instance), "test", "correlation-1", now, now, 0)
        return self.run("OnRetry", layout.encode(state))


def a_mapping_lives(stories: Stories, function: str) -> None:
    """It is published with its profile, held, approved, and at last deleted as a person approved."""
    desk, world, tag = stories.desk, stories.world, "workload=web"
    expires_at = layout.timestamp(world.clock.now().replace(year=world.clock.now().year + 1))
    for role in ("web", "api"):
        desk.role(role, profile=False)
        desk.grant(role, "s3:GetObject")
        document = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sqs:*", "Resource": "*"}]}'
        policy = desk.iam.create_policy(PolicyName=role, PolicyDocument=document)["Policy"]["Arn"]
        desk.iam.attach_role_policy(RoleName=role, PolicyArn=policy)
    desk.put(tag, role="web", expires_at=expires_at)
    assert stories.judge(function, tag) == "Published"
    for _ in range(3):
        desk.converged("web", workload="web")
    desk.limits = Limits(1, 0)
    desk.put(tag, role="api", expires_at=expires_at)
    assert stories.judge(function, tag) == "Held"
    assert stories.approve(function, tag, 2) == "Published"
    desk.delete(tag)
    assert stories.judge(function, tag) == ("Held" if function == "OnMappingChange" else "gone")
    if function == "OnSchedule":
        # The table reads empty to a sweep, which then holds everything: another row shows that it isn't lost.
        desk.put("workload=other", role="web")
        assert stories.judge(function, tag) == "Held"
    assert stories.approve(function, tag, 3) == "gone"


def instances_are_ignored_and_pinned(stories: Stories, function: str) -> None:
    """All other changes of instances are heard in the simulation."""
    world = stories.world
    world.publish("workload=web", "web")
    instance = world.running(workload="web")
    stories.wake(instance)
    until = world.clock.now().replace(year=world.clock.now().year + 1)
    world.tag(instance, **{IGNORE_TAG: layout.timestamp(until)})
    stories.wake(instance)
    assert world.shows(instance) == "ignored"
    pinned(stories, function)


def a_loop_looks_at_an_instance(stories: Stories, function: str) -> None:
    """It is ignored, pinned, gone, and may no longer be asked for."""
    world = stories.world
    world.publish("workload=web", "web")
    instance = world.running(workload="web")
    until = world.clock.now().replace(year=world.clock.now().year + 1)
    world.tag(instance, **{IGNORE_TAG: layout.timestamp(until)})
    stories.retry(instance)
    assert world.shows(instance) == "ignored"
    pinned(stories, function)
    world.truth.terminate(instance)
    world.wait(2)
    stories.retry(instance)
    world.calls.before("DescribeInstances", refusing("UnauthorizedOperation", status=403))
    with suppress(AccessDeniedError):
        stories.retry(instance)
    assert world.topic.mails


def pinned(stories: Stories, function: str) -> None:
    """A pin is checked like a row: its role's policies are read."""
    desk, world, instance = stories.desk, stories.world, stories.world.running()
    desk.role("pinned")
    desk.grant("pinned", "s3:GetObject")
    document = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sqs:Send*", "Resource": "*"}]}'
    policy = desk.iam.create_policy(PolicyName="pinned", PolicyDocument=document)["Policy"]["Arn"]
    desk.iam.attach_role_policy(RoleName="pinned", PolicyArn=policy)
    pin = pin_item(world.key(instance), Pin("pinned", world.profile("pinned")))
    world.store.write(world.store.put(pin))
    if function == "OnRetry":
        stories.retry(instance)
    else:
        stories.wake(instance)
        assert world.carries(instance) == "pinned"


class HubStories(Stories):
    """The same of a hub. `spoke` is an account and Region that deployed spoke.yaml."""

    def __init__(self, organization: Organization, heard: Heard, patch: pytest.MonkeyPatch) -> None:
        super().__init__(organization.hub, heard, patch)
        self.organization, self.spoke = organization, organization.spoke(SPOKE)
        wire(patch, self.app)

    def run(self, function: str, event: Any) -> Any:
        """The same; each function has sessions of its own in the spokes, by a name of its own."""
        own = RESOURCES[function]["Properties"].get("Environment", {}).get("Variables", {})
        sts: Any = Recorded("sts", self.organization, self._hear)
        name, now = own.get("SPOKE_SESSION", SESSION), self.world.clock.now
        self.organization._sessions = Sessions(sts, self.organization._client, now, name)  # noqa: SLF001
        return super().run(function, event)

    def registered(self) -> None:
        now = self.world.clock.now()
        self.organization.app().registry.add(
            ServedTarget(SPOKE, "1.2.3", now, now, notifies=True, wire_format=WIRE_FORMAT)
        )

    def app(self) -> App:
        parts = self.organization.app()
        settings = replace(parts.settings, work_queue_url=self.desk.queue_url)
        return replace(parts, settings=settings, client=self.desk.clients.__getitem__)


def a_spoke_says_that_it_is_there(stories: HubStories, function: str) -> None:
    """It is registered, an instance gets its role, of which its account hears, and it says so again the next day."""
    del function
    stories.organization.ask_for_events(SPOKE)
    instance = stories.spoke.running(workload="web")
    stories.wake_by(stories.spoke.key(instance))
    stories.organization.publish("workload=web", "web")
    for _ in range(2):
        stories.wake_by(stories.spoke.key(instance))
        stories.organization.wait(hours=25)
    assert stories.spoke.carries(instance) == "web"
    assert [each.target for each in stories.app().registry.others()] == [SPOKE]


def a_spoke_is_known_to_iam_late(stories: HubStories, function: str) -> None:
    stories.organization.refuse(SPOKE)
    stories.wake_by(stories.spoke.key(stories.spoke.running(workload="web")))
    stories.organization.admit(SPOKE)
    stories.run(function, {"id": "minute", "task": "expiries"})
    assert [each.target for each in stories.app().registry.others()] == [SPOKE]


def a_loop_looks_at_an_instance_of_a_spoke(stories: HubStories, function: str) -> None:
    """It gives up, of which the account hears."""
    del function
    stories.organization.publish("workload=web", "web")
    stories.registered()
    instance = stories.spoke.launch(workload="web")
    now = stories.world.clock.now()
    state = RetryState(stories.spoke.key(instance), "test", "correlation-1", now, now, 0)
    stories.run("OnRetry", layout.encode(state))
    assert stories.spoke.events.kinds == ["Instance Parked"]


def a_mapping_is_published_for_a_spoke(stories: HubStories, function: str) -> None:
    """Its profile there is empty, so the role is put into it."""
    stories.registered()
    stories.desk.role("web")
    spoke = stories.spoke
    spoke.profile("web")
    iam: Any = spoke.clients["iam"]
    iam.others["web"] = iam.get_role("web")["Role"]
    spoke.profile("web", empty=True)
    iam.add_role_to_instance_profile = lambda InstanceProfileName, RoleName: spoke.profile(RoleName)  # noqa: N803, ARG005  # boto3's own names
    stories.desk.put("workload=web", role="web")
    assert stories.judge(function, "workload=web") == "Published"
    assert spoke.profiles["web"].roles


def an_account_joins_that_a_mapping_is_for(stories: HubStories, function: str) -> None:
    """Too much would change there, unless that was counted or approved before."""
    stories.desk.role("web")
    stories.world.profile("web")
    stories.desk.put("workload=web", role="web")
    assert stories.judge(function, "workload=web") == "Published"
    stories.spoke.profile("web")
    stories.registered()
    for _ in range(30):
        stories.spoke.running(workload="web")
    assert stories.judge(function, "workload=web") == "Held"


def a_spoke_is_swept(stories: HubStories, function: str) -> None:
    stories.organization.publish("workload=web", "web")
    stories.registered()
    stories.spoke.running(workload="web")
    stories.run(function, {"id": "sweep", "time": stories.world.clock.now().isoformat()})
    [of] = [each["input"] for each in stories.world.machine.started]
    [account] = stories.run(function, {"task": "accounts", "id": "sweep", "of": of})["accounts"]
    stories.spoke.calls.before("DescribeInstances", kill_by_a_bug)
    stories.run(function, {"task": "sweep", "id": "sweep", "account": account, "of": of})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "BACKLOG", -1)  # the queue is crowded
        stories.run(function, stories.world.lambda_.invoked[0])


def a_row_is_judged_by_a_run_for_each_account(stories: HubStories, function: str) -> None:
    stories.registered()
    stories.desk.role("web")
    stories.spoke.profile("web")
    stories.desk.put("workload=web", role="web")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(account_runs, "ASKED", 0)
        assert stories.judge(function, "workload=web") == "Waiting"
        (of, *_) = [each["input"] for each in stories.world.machine.started if each["name"].startswith("judge-")]
        for account in of["accounts"]:
            stories.run(function, {"task": "judge", "id": "sweep", "account": account, "of": of})
        assert stories.run(function, of["then"])["status"] == "Published"


def kill_by_a_bug() -> None:
    raise LookupError


HUB_STORIES = [
    (a_spoke_says_that_it_is_there, "OnInstanceEvent"),
    (a_loop_looks_at_an_instance_of_a_spoke, "OnRetry"),
    (a_mapping_is_published_for_a_spoke, "OnMappingChange"),
    (a_mapping_is_published_for_a_spoke, "OnSchedule"),
    (an_account_joins_that_a_mapping_is_for, "OnMappingChange"),
    (an_account_joins_that_a_mapping_is_for, "OnSchedule"),
    (a_spoke_is_swept, "OnSchedule"),
    (a_row_is_judged_by_a_run_for_each_account, "OnSchedule"),
    (a_spoke_is_known_to_iam_late, "OnSchedule"),
]
STORIES = [
    (a_mapping_lives, "OnMappingChange"),
    (a_mapping_lives, "OnSchedule"),
    (a_loop_looks_at_an_instance, "OnRetry"),
    (instances_are_ignored_and_pinned, "OnInstanceEvent"),
]


@pytest.fixture(scope="module")
def heard() -> Heard:
    found: Heard = defaultdict(list)
    for seed in SEEDS:
        simulated(seed, found)
    for story, function in STORIES:
        with new_account() as world, pytest.MonkeyPatch.context() as patch:
            story(Stories(world, found, patch), function)
    for of_a_hub, function in HUB_STORIES:
        with new_organization() as organization, pytest.MonkeyPatch.context() as patch:
            of_a_hub(HubStories(organization, found, patch), function)
    return found


# ---- both ways ----


@pytest.mark.parametrize("function", NAMES)
def test_all_that_a_function_calls_is_allowed(heard: Heard, function: str) -> None:
    allowed = statements(function, *DEPLOYED)
    # However IAM judges the items of a transaction: each by its own key, or by those of all.
    asked = {each for call in heard[function] for own in call for each in (own, own.joined(call))}
    assert _refused(asked, allowed)[:3] == []


@pytest.mark.parametrize("function", NAMES)
def test_a_function_may_do_nothing_that_it_does_not(heard: Heard, function: str) -> None:
    """Without any one action, or any one family of items, something that the function called would be refused."""
    asked = {_family(each) for call in heard[function] for each in call}
    allowed = statements(function, *DEPLOYED)
    assert _refused(asked, allowed) == [], "else nothing could be unused"
    unused = [
        (statement["Sid"], what)
        for at, statement in enumerate(allowed)
        for what, less in _narrower(statement)
        if not _refused(asked, [*allowed[:at], less, *allowed[at + 1 :]])
    ]
    assert unused == []


def test_every_call_in_the_code_is_allowed_to_some_function_and_nothing_else_is() -> None:
    """Also one that no run makes: test_slim reads the code for it."""
    called = {action_of(service, each) for service, operations in slim.OPERATIONS.items() for each in operations}
    allowed = {
        action
        for each in NAMES
        for statement in statements(each, *DEPLOYED)
        for action in templates.listed(statement["Action"])
    }
    # A transaction is allowed by its items' own actions; EC2 and IAM ask for the other beside the call.
    assert allowed - {"iam:PassRole"} == called - {"dynamodb:TransactWriteItems"}


def _refused(asked: set[IamRequest], allowed: list[dict[str, Any]]) -> list[IamRequest]:
    return [each for each in asked if not any(each.passes(statement, table(each)) for statement in allowed)]


def _family(request: IamRequest) -> IamRequest:
    """One request for many that differ in nothing that a policy can tell apart."""
    keys = frozenset(_family_of_items(key) if table(request) == "StateTable" else "any" for key in request.keys)
    attributes = frozenset({"pk" if table(request) == "StateTable" else "tag_key"} if request.attributes else ())
    return replace(request, keys=keys, attributes=attributes)


def _family_of_items(key: str) -> str:
    """A partition's family: of the windows, a mapping's are one beside those of all edits and all changes."""
    return re.sub("#.*:.*", "#*:*", key) if key.startswith("window#") else re.sub("#.*", "#*", key)


def _narrower(statement: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """A statement without one of its actions, or without one of its families of items."""
    actions = templates.listed(statement["Action"])
    for action in actions:
        yield action, {**statement, "Action": [each for each in actions if each != action]}
    condition = statement.get("Condition", {})
    families = templates.listed(condition.get("ForAllValues:StringLike", {}).get("dynamodb:LeadingKeys"))
    for family in families if families != [None] else []:
        fewer = {"dynamodb:LeadingKeys": [each for each in families if each != family]}
        yield family, {**statement, "Condition": {**condition, "ForAllValues:StringLike": fewer}}


@pytest.mark.parametrize("function", NAMES)
def test_a_request_without_a_key_reaches_no_item_of_the_state_table(function: str) -> None:
    """ForAllValues is true of nothing at all: PartiQL, a scan, or whatever DynamoDB learns."""
    for statement in statements(function):
        if statement["Resource"] == {"GetAtt": "StateTable.Arn"}:
            assert statement["Condition"]["Null"]["dynamodb:LeadingKeys"] == "false", statement["Sid"]
            for action in templates.listed(statement["Action"]):
                assert not IamRequest(action, STATE_TABLE, attributes=frozenset({"pk"})).passes(statement, "StateTable")


@pytest.mark.parametrize("function", NAMES)
def test_a_function_may_send_dead_letters_where_lambda_does_so_in_its_name(function: str) -> None:
    found = templates.policy_statements(RESOURCES, f"{function}Role")
    allowed = [each["Resource"] for each in found if each["Sid"] == DEAD_LETTERS]
    sent = "OnFailure" in json.dumps(RESOURCES[function])
    assert allowed == ([{"GetAtt": "DeadLetterQueue.Arn"}] if sent else [])


@pytest.mark.parametrize("function", NAMES)
def test_lambda_may_do_what_it_does_in_a_functions_name_and_no_more(function: str) -> None:
    found = templates.policy_statements(RESOURCES, f"{function}Role")
    allowed = {action for each in found for action in templates.listed(each["Action"])}
    own = {action for each in statements(function) for action in templates.listed(each["Action"])}
    assert allowed - own - PLUMBING[function] <= {"sqs:SendMessage"}
    assert allowed >= PLUMBING[function]


@pytest.mark.parametrize("function", ["OnMappingChange", "OnSchedule"])
def test_a_deployment_that_makes_no_profiles_may_make_none_and_pass_no_role_to_them(function: str) -> None:
    more = [each["Sid"] for each in statements(function, "MakesProfiles") if each not in statements(function)]
    assert more == ["MakeProfilesUnderThePath", "PassOnlyUnderThePath"]
