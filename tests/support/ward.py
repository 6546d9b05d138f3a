"""What of AWS the doctor looks at beside the desk: real clients, answered in the process from what a story says.

Only what isn't in moto without further packages, or can't be set to be ill there. Requests are checked by botocore.
"""

import io
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache, partial
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from rolekeeper.fleet.sweep import SweepResult
from rolekeeper_cli.deployment import Caller, Deployment
from support.desk import Desk, session
from support.templates import load
from support.terminal import Terminal
from support.world import ACCOUNT, MACHINE, REGION

SIMULATED = f"arn:aws:iam::{ACCOUNT}:role/ops/people"
TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:alarms"
_NOBODY_TAGS = {
    "Statement": {"Effect": "Deny", "Action": ["ec2:CreateTags", "ec2:DeleteTags"], "Resource": "*"},
}
_KINDS = {
    "InstanceTagRule": "AWS::Events::Rule",
    "OnScheduleSweep": "AWS::Events::Rule",
    "OnInstanceEvent": "AWS::Lambda::Function",
    "OnRetry": "AWS::Lambda::Function",
    "OnInstanceEventWorkQueue": "AWS::Lambda::EventSourceMapping",
    "DeadLettersAlarm": "AWS::CloudWatch::Alarm",
    "OldestMessageAlarm": "AWS::CloudWatch::Alarm",
    "WorkQueue": "AWS::SQS::Queue",
}


class Ward:
    """A healthy deployment around an operator's desk, in a member account of an organization that guards the tags.

    A story makes something ill by changing an attribute. `denied` holds operations that the caller may not call, or not
    on one thing; `errors` what others are answered.
    """

    def __init__(self, terminal: Terminal, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ids = {name: f"rolekeeper-{name}-1A2B" for name in _KINDS}
        self.ids |= {"DeadLettersAlarm": "rolekeeper-dead-letters", "OldestMessageAlarm": "rolekeeper-work-waits"}
        self.rules = {"InstanceTagRule": "ENABLED", "OnScheduleSweep": "ENABLED"}
        self.functions: dict[str, dict[str, Any]] = {
            name: {"Configuration": {"State": "Active", "LastUpdateStatus": "Successful"}}
            for name in ("OnInstanceEvent", "OnRetry")
        }
        self.sources = {"OnInstanceEventWorkQueue": "Enabled"}
        self.alarms = {
            name: {"StateValue": "OK", "StateReason": "quiet", "Threshold": threshold}
            for name, threshold in (("DeadLettersAlarm", 0.0), ("OldestMessageAlarm", 1200.0))
        }
        self.subscriptions = {"SubscriptionsConfirmed": "1", "SubscriptionsPending": "0"}
        self.ages: list[tuple[datetime, float]] = []
        self.trails: dict[str, dict[str, Any]] = {
            "all": {"logging": True, "EventSelectors": [{"ReadWriteType": "All", "IncludeManagementEvents": True}]}
        }
        self.manager = "999999999999"
        self.parents = {ACCOUNT: ("ou-1", "ORGANIZATIONAL_UNIT"), "ou-1": ("r-1", "ROOT")}
        self.policies: dict[str, list[Any]] = {ACCOUNT: [], "ou-1": [_NOBODY_TAGS], "r-1": []}
        # By an action, or an action on a thing: what IAM says where that isn't that it is allowed.
        self.decisions: dict[str, dict[str, Any]] = {}
        self.denied: set[str] = set()
        self.errors: dict[str, str] = {}
        self._desk = desk
        self._monkeypatch = monkeypatch
        self._answers: Mapping[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {
            "ListStackResources": self._resources,
            "DescribeRule": lambda asked: {"State": self.rules[self._name(asked["Name"], self.rules)]},
            "GetFunction": lambda asked: self.functions[self._name(asked["FunctionName"], self.functions)],
            "GetEventSourceMapping": lambda asked: {"State": self.sources[self._name(asked["UUID"], self.sources)]},
            "DescribeAlarms": self._alarms,
            "GetMetricStatistics": self._statistics,
            "GetTopicAttributes": lambda _: {"Attributes": self.subscriptions},
            "DescribeTrails": lambda _: {
                "trailList": [{"Name": each, "TrailARN": _trail(each)} for each in self.trails]
            },
            "GetTrailStatus": lambda asked: {"IsLogging": self.trails[_short(asked["Name"])]["logging"]},
            "GetEventSelectors": lambda asked: self.trails[_short(asked["TrailName"])],
            "FilterLogEvents": lambda _: {"events": []},
            "Invoke": lambda _: {"Payload": io.BytesIO(json.dumps(SweepResult().document()).encode())},
            # moto has no move tasks.
            "StartMessageMoveTask": lambda _: {"TaskHandle": "task"},
            "ListMessageMoveTasks": lambda _: {"Results": [{"Status": "COMPLETED", "StartedTimestamp": 1}]},
            "DescribeOrganization": lambda _: {"Organization": {"MasterAccountId": self.manager}},
            "ListParents": self._parents,
            "ListPoliciesForTarget": self._policies,
            "DescribePolicy": self._policy,
            "SimulatePrincipalPolicy": self._simulated,
        }
        self._made: dict[str, Any] = {}
        self._serve(desk.iam)
        self._serve(desk.sqs)
        desk.iam.create_role(RoleName="people", Path="/ops/", AssumeRolePolicyDocument="{}")
        self.is_called_by(f"arn:aws:sts::{ACCOUNT}:assumed-role/people/me")
        monkeypatch.setattr(terminal, "client", partial(self._client, terminal.client))
        terminal.parameters |= _defaults()
        terminal.parameters["Mode"] = "enforce"
        dead = desk.sqs.create_queue(QueueName="dead")["QueueUrl"]
        terminal.outputs |= {"DeadLetterQueue": dead, "AlarmTopic": TOPIC, "RetryStateMachine": MACHINE}
        terminal.outputs["Version"] = "0.1.0"
        desk.world.swept(3, 0)

    def is_called_by(self, arn: str) -> None:
        """Say who runs the command."""
        self._monkeypatch.setattr(Deployment, "caller", Caller(arn, ACCOUNT, "aws"))

    def _client(self, at_the_desk: Callable[[str], Any], service: str) -> Any:
        return at_the_desk(service) if service in _AT_THE_DESK else self.client(service)

    def client(self, service: str) -> Any:
        """A client of a service that isn't at the desk."""
        if service not in self._made:
            self._made[service] = session().client(service)  # type: ignore[call-overload]  # the stubs want a literal name
            self._desk.world.calls.watch(self._made[service])
            self._serve(self._made[service])
        return self._made[service]

    def _serve(self, client: Any) -> None:
        # The handler before a call sees only what goes over the wire; what was asked is kept beside it.
        client.meta.events.register("provide-client-params", _keep_asked)
        client.meta.events.register("before-call", self._answer)

    def _answer(self, model: Any, context: Any, **_: object) -> tuple[Any, Mapping[str, Any]] | None:
        if self.denied & {model.name, *(f"{model.name} {each}" for each in context["asked"].values())}:
            raise refusal("AccessDenied", model.name)
        if model.name in self.errors:
            raise refusal(self.errors[model.name], model.name)
        if model.name not in self._answers:
            return None
        return SimpleNamespace(status_code=200), self._answers[model.name](context["asked"])

    def _name(self, physical: str, there: Mapping[str, object]) -> str:
        name = next(name for name, each in self.ids.items() if each == physical)
        if name not in there:
            raise refusal("ResourceNotFoundException", name)
        return name

    def _resources(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """One to a page: CloudFormation pages too."""
        at = int(asked.get("NextToken", 0))
        name, kind = list(_KINDS.items())[at]
        one = {
            "ResourceType": kind,
            "LogicalResourceId": name,
            "PhysicalResourceId": self.ids[name],
            "ResourceStatus": "CREATE_COMPLETE",
        }
        return {"StackResourceSummaries": [one], **({"NextToken": str(at + 1)} if at + 1 < len(_KINDS) else {})}

    def _alarms(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        names = {self.ids[name]: each for name, each in self.alarms.items()}
        return {"MetricAlarms": [{"AlarmName": each, **names[each]} for each in asked["AlarmNames"] if each in names]}

    def _statistics(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        assert asked["Dimensions"] == [{"Name": "QueueName", "Value": "work"}]
        points = [(at, age) for at, age in self.ages if asked["StartTime"] <= at <= asked["EndTime"]]
        return {"Datapoints": [{"Timestamp": at, "Maximum": age} for at, age in points]}

    def _parents(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        parent, kind = self.parents[asked["ChildId"]]
        return {"Parents": [{"Id": parent, "Type": kind}]}

    def _policies(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        target = asked["TargetId"]
        return {"Policies": [{"Id": f"p-{target}-{at}"} for at in range(len(self.policies[target]))]}

    def _policy(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        target, _, at = asked["PolicyId"].removeprefix("p-").rpartition("-")
        return {"Policy": {"Content": json.dumps(self.policies[target][int(at)])}}

    def _simulated(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        assert asked["PolicySourceArn"] == SIMULATED
        [resource] = asked["ResourceArns"]
        return {
            "EvaluationResults": [
                {
                    "EvalActionName": action,
                    "EvalDecision": "allowed",
                    **self.decisions.get(action, self.decisions.get(f"{action} {resource}", {})),
                }
                for action in asked["ActionNames"]
            ]
        }


_AT_THE_DESK = frozenset({"dynamodb", "ec2", "iam", "sqs", "sts"})


def refusal(code: str, operation: str) -> ClientError:
    """What botocore raises when AWS refuses."""
    return ClientError({"Error": {"Code": code, "Message": "no"}}, operation)


@cache
def _defaults() -> dict[str, str]:
    """The template's parameters as they are deployed unless told."""
    return {name: str(each["Default"]) for name, each in load()["Parameters"].items()}


def _keep_asked(params: Any, context: Any, **_: object) -> None:
    context["asked"] = params


def _trail(name: str) -> str:
    return f"arn:aws:cloudtrail:{REGION}:{ACCOUNT}:trail/{name}"


def _short(arn: str) -> str:
    return arn.rsplit("/", 1)[-1]
