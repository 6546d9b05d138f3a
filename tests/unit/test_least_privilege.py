"""Each function's policy against what that function calls, both ways: all that it calls is allowed, and no more.

What it calls is heard at its clients: in schedules of the simulation, which plays all functions, and in the stories
here, each of which plays for some functions what is rare there. No list of calls has to be kept.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from itertools import batched
from typing import Any

import pytest

import on_instance_event
import on_mapping_change
import on_retry
import on_schedule
import slim
from fixtures.account import MAPPING_TABLE, mapping_key, refusing
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
from rolekeeper.model.mapping import IGNORE_TAG, MappingKey, Pin
from rolekeeper.settings import Limits
from rolekeeper.storage import layout
from rolekeeper_cli.act.pins import pin_item
from sessions import SESSION, Sessions
from simulation.deployment import FUNCTIONS
from simulation.invariants import ROWS
from simulation.schedule import Schedule
from support import templates
from support.deployment import deployment, translated
from support.iam_requests import IamRequest, Recorded, action_of
from support.policy_simulation import Policies, Request, needs_node, simulate

RESOURCES = templates.load()["Resources"]
NAMES = sorted(set(FUNCTIONS.values()))
# The template's conditions as a hub meets them that makes profiles; that stack, as IAM sees it.
MET = ("MakesProfiles", "ServesOrganization")
DEPLOYED = deployment(translated(), OrganizationId="o-a1b2c3d4e5")
TABLES = {STATE_TABLE: "StateTable", "state": "StateTable", MAPPING_TABLE: "MappingTable", ROWS: "MappingTable"}

# What Lambda calls on a function's behalf. In the name of three it sends what a stream or a schedule gave up, too.
LOGS = {"logs:CreateLogStream", "logs:PutLogEvents"}
QUEUE = {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"}
STREAM = {"dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams"}
PLUMBING = {
    "OnInstanceEvent": LOGS | QUEUE,
    "OnRetry": LOGS,
    "OnMappingChange": LOGS | STREAM,
    "OnSchedule": LOGS,
    "OnStateChange": LOGS | STREAM,
}
DEAD_LETTERS = "SendDeadLetters", "sqs:SendMessage"

type Call = list[IamRequest]
"""What one call asks of IAM: one request, or one for each item of a transaction."""
type Heard = dict[str, list[Call]]
"""The calls of each function."""


# ---- what is rare in the simulation ----


class Stories:
    """The functions over a hub, and over an account that deployed spoke.yaml; what the one that runs calls is heard."""

    def __init__(self, organization: Organization, heard: Heard, patch: pytest.MonkeyPatch) -> None:
        self.organization, self.world, self._heard = organization, organization.hub, heard
        self.desk = Desk(self.world)
        self.desk.clients = {name: Recorded(name, client, self._hear) for name, client in self.desk.clients.items()}
        self.spoke = organization.spoke(SPOKE)
        self._running = ""
        wire(patch, self.app)

    def _hear(self, call: Call) -> None:
        self._heard[self._running].append(call)

    def app(self) -> App:
        app = self.organization.app()
        settings = replace(app.settings, work_queue_url=self.desk.queue_url, limits=self.desk.limits)
        return replace(app, settings=settings, client=self.desk.clients.__getitem__)

    def run(self, function: str, event: Any) -> Any:
        """Run a function once, with sessions in the spokes of its own, by its own name."""
        self._running = function
        self.world.clock.sleep(1)
        variables = RESOURCES[function]["Properties"].get("Environment", {}).get("Variables", {})
        sts: Any = Recorded("sts", self.organization, self._hear)
        name, now = variables.get("SPOKE_SESSION", SESSION), self.world.clock.now
        self.organization._sessions = Sessions(sts, self.organization._client, now, name)  # noqa: SLF001
        handlers: dict[str, Callable[[Any, Any], Any]] = {
            "OnMappingChange": on_mapping_change.handler,
            "OnSchedule": on_schedule.handler,
            "OnRetry": on_retry.handler,
            "OnInstanceEvent": on_instance_event.handler,
        }
        return handlers[function](event, lambda_context(function, 840))

    def status_after(self, function: str, tag: str) -> str:
        """A row changed: the stream says so, or the sweep comes by. What the row shows then."""
        names = layout.to_attributes(layout.encode(mapping_key(tag)))
        record = {"eventID": "1", "dynamodb": {"Keys": names, "SequenceNumber": "1"}}
        self.run(function, {"Records": [record]} if function == "OnMappingChange" else {"id": "sweep"})
        return str(self.desk.row(tag).get("status", "gone"))

    def status_once_approved(self, function: str, tag: str, revision: int) -> str:
        """A person approves what is held; another run noted that already when a row's stream record comes."""
        self.desk.sign(tag, revision)
        if function == "OnMappingChange":
            self.world.revisions.note_signer(mapping_key(tag), "AIDAGRACE")
            return self.status_after(function, tag)
        self.run(function, event_of(Task.APPROVED, "1", by="AIDAGRACE", mapping=layout.encode(mapping_key(tag))))
        return str(self.desk.row(tag).get("status", "gone"))

    def looks(self, function: str, key: InstanceKey) -> None:
        """A message of the work queue names an instance, or its retry loop looks at it for the last time."""
        now = self.world.clock.now()
        if function == "OnRetry":
            self.run(function, layout.encode(RetryState(key, "test", "correlation-1", now, now, 0)))
        else:
            body = json.dumps(request(key, "test", "correlation-1", now))
            self.run(function, {"Records": [{"body": body, "messageId": "message-1"}]})

    def join(self) -> None:
        now = self.world.clock.now()
        self.organization.app().registry.add(
            ServedTarget(SPOKE, "1.2.3", now, now, notifies=True, wire_format=WIRE_FORMAT)
        )

    def role(self, name: str) -> None:
        """A role without a profile, with an inline policy and a managed one, which both are read."""
        self.desk.role(name, profile=False)
        self.desk.grant(name, "s3:GetObject")
        document = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sqs:*", "Resource": "*"}]}'
        policy = self.desk.iam.create_policy(PolicyName=name, PolicyDocument=document)["Policy"]["Arn"]
        self.desk.iam.attach_role_policy(RoleName=name, PolicyArn=policy)


def a_mapping_lives(stories: Stories, function: str) -> None:
    """It is published with its profile, held, approved, and at last deleted as a person approved."""
    desk, world, tag = stories.desk, stories.world, "workload=web"
    expires_at = layout.timestamp(world.clock.now() + timedelta(days=365))
    for role in ("web", "api"):
        stories.role(role)
    desk.put(tag, role="web", expires_at=expires_at)
    assert stories.status_after(function, tag) == "Published"
    for _ in range(3):
        desk.converged("web", workload="web")
    desk.limits = Limits(1, 0)
    desk.put(tag, role="api", expires_at=expires_at)
    assert stories.status_after(function, tag) == "Held"
    assert stories.status_once_approved(function, tag, 2) == "Published"
    desk.delete(tag)
    assert stories.status_after(function, tag) == ("Held" if function == "OnMappingChange" else "gone")
    if function == "OnSchedule":
        # The table reads empty to a sweep, which then holds everything: another row shows that it isn't lost.
        desk.put("workload=other", role="web")
        assert stories.status_after(function, tag) == "Held"
    assert stories.status_once_approved(function, tag, 3) == "gone"


def instances_are_ignored_pinned_and_gone(stories: Stories, function: str) -> None:
    """A pin is checked like a row. At last the instance may no longer be asked for."""
    world = stories.world
    world.publish("workload=web", "web")
    ignored, pinned = world.running(workload="web"), world.running()
    stories.looks(function, world.key(ignored))
    world.tag(ignored, **{IGNORE_TAG: layout.timestamp(world.clock.now() + timedelta(days=365))})
    stories.looks(function, world.key(ignored))
    assert world.shows(ignored) == "ignored"
    stories.role("pinned")
    world.store.write(world.store.put(pin_item(world.key(pinned), Pin("pinned", world.profile("pinned")))))
    stories.looks(function, world.key(pinned))
    world.truth.terminate(ignored)
    world.wait(2)
    stories.looks(function, world.key(ignored))
    world.calls.before("DescribeInstances", refusing("UnauthorizedOperation", status=403))
    with suppress(AccessDeniedError):
        stories.looks(function, world.key(ignored))
    assert world.topic.mails


def a_spoke_says_that_it_is_there(stories: Stories, function: str) -> None:
    """It is registered, an instance gets its role, of which its account hears, and it says so again the next day."""
    stories.organization.ask_for_events(SPOKE)
    instance = stories.spoke.running(workload="web")
    stories.looks(function, stories.spoke.key(instance))
    stories.organization.publish("workload=web", "web")
    for _ in range(2):
        stories.looks(function, stories.spoke.key(instance))
        stories.organization.wait(hours=25)
    assert stories.spoke.carries(instance) == "web"
    assert [served.target for served in stories.app().registry.others()] == [SPOKE]


def a_loop_gives_up_an_instance_of_a_spoke(stories: Stories, function: str) -> None:
    """Its account hears of it."""
    stories.organization.publish("workload=web", "web")
    stories.join()
    stories.looks(function, stories.spoke.key(stories.spoke.launch(workload="web")))
    assert stories.spoke.events.kinds == ["Instance Parked"]


def a_mapping_is_published_for_a_spoke(stories: Stories, function: str) -> None:
    """Its profile there is empty, so the role is put into it."""
    stories.join()
    stories.desk.role("web")
    spoke = stories.spoke
    spoke.profile("web")
    iam: Any = spoke.clients["iam"]
    iam.others["web"] = iam.get_role("web")["Role"]
    spoke.profile("web", empty=True)
    iam.add_role_to_instance_profile = lambda InstanceProfileName, RoleName: spoke.profile(RoleName)  # noqa: N803, ARG005  # boto3's own names
    stories.desk.put("workload=web", role="web")
    assert stories.status_after(function, "workload=web") == "Published"
    assert spoke.profiles["web"].roles


def a_spoke_is_swept(stories: Stories, function: str) -> None:
    """By the run for its account, which fails there; and by a run of its own, while the queue is crowded."""
    stories.organization.publish("workload=web", "web")
    stories.join()
    stories.spoke.running(workload="web")
    stories.run(function, {"id": "sweep", "time": stories.world.clock.now().isoformat()})
    [of] = [started["input"] for started in stories.world.machine.started]
    [account] = stories.run(function, {"task": "accounts", "id": "sweep", "of": of})["accounts"]
    stories.spoke.calls.before("DescribeInstances", kill_by_a_bug)
    stories.run(function, {"task": "sweep", "id": "sweep", "account": account, "of": of})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "BACKLOG", -1)
        stories.run(function, stories.world.lambda_.invoked[0])


def an_edit_goes_out_in_waves(stories: Stories, function: str) -> None:
    """A loop looks at an instance that waits for its wave; an alarm that isn't there halts, and a person resumes it."""
    desk, world, tag = stories.desk, stories.world, "workload=web"
    desk.usable("web", "api")
    desk.edit(tag, role="web")
    instance = desk.converged("web", workload="web")
    desk.put(tag, role="api", rollout="1, 100% every 15m", halt_on={"missing"})
    assert stories.status_after("OnMappingChange" if function == "OnRetry" else function, tag) == "Rolling out"
    stories.looks("OnRetry" if function == "OnRetry" else "OnInstanceEvent", world.key(instance))
    world.later(minutes=1)
    stories.run("OnSchedule", {"id": "minute", "task": "expiries"})
    assert desk.row(tag)["status"] == "Halted"
    desk.set(tag, resume_revision=2)
    assert stories.status_after("OnMappingChange", tag) == "Rolling out"


def kill_by_a_bug() -> None:
    raise LookupError


def a_row_is_judged_by_a_run_for_each_account(stories: Stories, function: str) -> None:
    stories.join()
    stories.desk.role("web")
    stories.spoke.profile("web")
    stories.desk.put("workload=web", role="web")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(account_runs, "ASKED", 0)
        assert stories.status_after(function, "workload=web") == "Waiting"
        runs = [run["input"] for run in stories.world.machine.started if run["name"].startswith("judge-")]
        [of] = runs
        for account in stories.run(function, {"task": "accounts", "id": "sweep", "of": of})["accounts"]:
            stories.run(function, {"task": "judge", "id": "sweep", "account": account, "of": of})
        assert stories.run(function, of["then"])["judged"] == {"workload=web": "Published"}


def a_spoke_is_known_to_iam_late(stories: Stories, function: str) -> None:
    stories.organization.refuse(SPOKE)
    stories.looks("OnInstanceEvent", stories.spoke.key(stories.spoke.running(workload="web")))
    stories.organization.admit(SPOKE)
    stories.run(function, {"id": "minute", "task": "expiries"})
    assert [served.target for served in stories.app().registry.others()] == [SPOKE]


PLAYED = {
    "OnInstanceEvent": [instances_are_ignored_pinned_and_gone, a_spoke_says_that_it_is_there],
    "OnRetry": [
        instances_are_ignored_pinned_and_gone,
        a_loop_gives_up_an_instance_of_a_spoke,
        an_edit_goes_out_in_waves,
    ],
    "OnMappingChange": [a_mapping_lives, a_mapping_is_published_for_a_spoke, an_edit_goes_out_in_waves],
    "OnSchedule": [
        a_mapping_lives,
        an_edit_goes_out_in_waves,
        a_mapping_is_published_for_a_spoke,
        a_spoke_is_swept,
        a_row_is_judged_by_a_run_for_each_account,
        a_spoke_is_known_to_iam_late,
    ],
}
# The schedules of the simulation that are heard: in ten each function does most of what it can. In the last
# one a reconcile is denied a call, and mails that.
SEEDS = (*range(10), 168)


def play_a_schedule(seed: int, heard: Heard) -> None:
    schedule = Schedule(seed)

    def hear(call: Call) -> None:
        if running := schedule.engine.running:
            heard[FUNCTIONS[running.name.split()[0]]].append(call)

    clients = schedule.deployment.clients
    clients.update({service: Recorded(service, client, hear) for service, client in clients.items()})
    assert not schedule.play().violations


@pytest.fixture(scope="module")
def heard() -> Heard:
    found: Heard = defaultdict(list)
    for seed in SEEDS:
        play_a_schedule(seed, found)
    for function, played in PLAYED.items():
        for story in played:
            with new_organization() as organization, pytest.MonkeyPatch.context() as patch:
                story(Stories(organization, found, patch), function)
    return found


# ---- both ways ----


@dataclass(frozen=True)
class Permission:
    """One action of a statement, or one family of items: what it is, and the statement `without` it."""

    name: str
    without: dict[str, Any]


def statements(function: str, *met: str) -> list[dict[str, Any]]:
    """What a function's own calls may do, where these conditions of the template are met; without the plumbing."""
    found = templates.policy_statements(RESOURCES, f"{function}Role", met=met)
    return [
        statement
        for statement in found
        if not set(templates.listed(statement["Action"])) <= PLUMBING[function]
        if (statement["Sid"], statement["Action"]) != DEAD_LETTERS
    ]


def permissions(statement: dict[str, Any]) -> Iterator[Permission]:
    actions = templates.listed(statement["Action"])
    for action in actions:
        yield Permission(action, {**statement, "Action": [other for other in actions if other != action]})
    condition = statement.get("Condition", {})
    for family in families(statement):
        fewer = {"dynamodb:LeadingKeys": [other for other in families(statement) if other != family]}
        yield Permission(family, {**statement, "Condition": {**condition, "ForAllValues:StringLike": fewer}})


def families(statement: dict[str, Any]) -> list[str]:
    """The families of the state table's items that a statement is about, as their partition keys begin."""
    keys = statement.get("Condition", {}).get("ForAllValues:StringLike", {}).get("dynamodb:LeadingKeys", [])
    return templates.listed(keys)


def table(request: IamRequest) -> str:
    return TABLES[request.table] if request.table else ""


def of_a_kind(request: IamRequest) -> IamRequest:
    """One request for many that differ in nothing that a policy can tell apart: the families of their items."""
    in_state = table(request) == "StateTable"
    keys = frozenset(
        re.sub("#.*:.*", "#*:*", key) if key.startswith("window#") else re.sub("#.*", "#*", key) for key in request.keys
    )
    attributes = frozenset({"pk" if in_state else "tag_key"} if request.attributes else ())
    return replace(request, keys=keys if in_state else frozenset({"any"} if keys else ()), attributes=attributes)


def refused(asked: set[IamRequest], allowed: list[dict[str, Any]]) -> list[IamRequest]:
    return [one for one in asked if not any(one.passes(statement, table(one)) for statement in allowed)]


@pytest.mark.parametrize("function", NAMES)
def test_all_that_a_function_calls_is_allowed(heard: Heard, function: str) -> None:
    # However IAM judges the items of a transaction: each by its own key, or by those of all.
    asked = {judged for call in heard[function] for own in call for judged in (own, own.joined(call))}
    assert refused(asked, statements(function, *MET))[:3] == []


@pytest.mark.parametrize("function", NAMES)
def test_a_function_may_do_nothing_that_it_does_not(heard: Heard, function: str) -> None:
    """Without any one permission something that the function called would be refused."""
    asked = {of_a_kind(request) for call in heard[function] for request in call}
    allowed = statements(function, *MET)
    assert refused(asked, allowed) == [], "else nothing could be unused"
    unused = [
        f"{statement['Sid']}: {permission.name}"
        for at, statement in enumerate(allowed)
        for permission in permissions(statement)
        if not refused(asked, [*allowed[:at], permission.without, *allowed[at + 1 :]])
    ]
    assert unused == []


def test_every_call_in_the_code_is_allowed_to_some_function_and_nothing_else_is() -> None:
    """Also one that no run makes: test_slim reads the code for it."""
    called = {action_of(service, name) for service, operations in slim.OPERATIONS.items() for name in operations}
    allowed = {
        action
        for function in NAMES
        for statement in statements(function, *MET)
        for action in templates.listed(statement["Action"])
    }
    # A transaction is allowed by its items' own actions; EC2 and IAM ask for the other beside the call.
    assert allowed - {"iam:PassRole"} == called - {"dynamodb:TransactWriteItems"}


# ---- what only a parameter allows ----


@pytest.mark.parametrize("function", ["OnMappingChange", "OnSchedule"])
def test_a_deployment_that_makes_no_profiles_may_make_none_and_pass_no_role_to_them(function: str) -> None:
    always = statements(function)
    more = [statement["Sid"] for statement in statements(function, "MakesProfiles") if statement not in always]
    assert more == ["MakeProfilesUnderThePath", "PassOnlyUnderThePath"]


@pytest.mark.parametrize("function", NAMES)
def test_without_an_organization_no_function_has_anything_to_do_with_spokes(function: str) -> None:
    written = json.dumps(statements(function, "MakesProfiles", "MayTakeOver"))
    assert "sts:AssumeRole" not in written
    assert "-accounts" not in written, "the machine that has a run for each account"


# ---- items of the state table ----


def test_what_makes_a_pin_is_what_no_reconcile_may_write() -> None:
    [kept] = [statement for statement in statements("OnRetry") if statement["Sid"] == "KeepRecordsButNoPins"]
    forbidden = set(kept["Condition"]["ForAllValues:StringNotEquals"]["dynamodb:Attributes"])
    # `at` a history entry has too, and `unclear` is never stored.
    assert forbidden == {field.name for field in fields(Pin)} - {"at", "unclear"}


def of_iam(function: str, request: IamRequest) -> tuple[Request, Policies]:
    role = f"{function}Role"
    context = {"dynamodb:LeadingKeys": sorted(request.keys), "dynamodb:Attributes": sorted(request.attributes)}
    asked = Request(
        principal=DEPLOYED.arns[role],
        action=request.action,
        resource=DEPLOYED.arns["StateTable"],
        context={key: values for key, values in context.items() if values},
    )
    return asked, Policies(identity=DEPLOYED.identity_policies(role))


@needs_node
def test_iam_answers_as_these_tests_do(heard: Heard) -> None:
    """For each function: what any of them asked of the state table, and the same of an item with a pin's attributes."""
    kinds = {of_a_kind(one) for calls in heard.values() for call in calls for one in call if table(one) == "StateTable"}
    kinds |= {replace(kind, attributes=frozenset({"pk", "sk", "role"})) for kind in kinds}
    cases = [(function, kind) for function in NAMES for kind in kinds]
    answers = [answer.allowed for answer in simulate([of_iam(*case) for case in cases])]
    expected = [not refused({kind}, statements(function, *MET)) for function, kind in cases]
    assert [case for case, answer, ours in zip(cases, answers, expected, strict=True) if answer != ours] == []
    assert 0 < sum(answers) < len(answers)


@needs_node
def test_iam_lets_every_mapping_be_read_that_a_row_may_have_and_none_with_a_line_break() -> None:
    """All characters of the basic plane, some beyond it; what a row may not have isn't asked for (layout.py)."""
    characters = [chr(number) for number in (*range(0x10000), *range(0x1F000, 0x1FB00))]
    plain = [character for character in characters if layout.is_partition(character)]
    assert len(plain) > 60_000
    good = [layout.mapping_pk(MappingKey("".join(some), "x")) for some in batched(plain, 500)]
    bad = [layout.mapping_pk(MappingKey("a", f"b{line_break}c")) for line_break in "\n\r\u2028\u2029"]
    for function in set(NAMES) - {"OnStateChange"}:
        asked = [IamRequest("dynamodb:BatchGetItem", keys=frozenset(keys)) for keys in (good, *([key] for key in bad))]
        answers = [answer.allowed for answer in simulate([of_iam(function, one) for one in asked])]
        assert answers == [True, False, False, False, False], function
