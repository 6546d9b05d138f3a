"""Clients shaped like boto3's for the functions: each call goes through `Outside` into the account of the schedule."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

from botocore.exceptions import ClientError

from fakes.dynamodb import FakeDynamoDB
from fakes.ec2 import EC2_META, association_row, client_error, instance_row
from rolekeeper.aws import CONFIG
from rolekeeper.aws.ec2 import RESTARTS
from rolekeeper.fleet.targets import WIRE_FORMAT, WIRE_TAG
from rolekeeper.storage import layout
from rolekeeper_local import ec2_filters
from rolekeeper_local.ec2_model import Association, Ec2Error, Instance, Profile
from simulation.account import MADE, TRUSTS_EC2, Account, Maker
from simulation.deployment import Deployment
from simulation.engine import Engine, Run
from simulation.faults import Fault, Hurry, Kind, Weather
from simulation.faulty_clients import Call, Outside, possibly_applied
from simulation.invariants import Promises


class Pages:
    """A paginator of one page: boto3's shape."""

    def __init__(self, page: Callable[..., dict[str, Any]]) -> None:
        self._page = page

    def paginate(self, **arguments: Any) -> Iterator[dict[str, Any]]:
        yield self._page(**arguments)


# EC2's words when a bucket is empty. The SDK itself tries again so often.
DRY = "Request limit exceeded."
# Seconds after a change in which EC2 may still drop it: less than until its follow-up is due.
DROPPED_WITHIN = 10
READER = "rolekeeper-reader"  # of each spoke (spoke.yaml)
ALL = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
SDK_ATTEMPTS: int = vars(CONFIG)["retries"]["total_max_attempts"]


class Budget:
    """EC2's token buckets of the three changes (AWS_FACTS.md, "Throttles"), of which others take a share.

    Attributes:
        others: how many tokens others take from each bucket in a second.
        asked: the attempts, those of the SDK too; `refused` are those that were throttled.
    """

    SIZES: Mapping[str, tuple[float, float]] = {"Associate": (100, 5), "Disassociate": (100, 5), "Replace": (50, 5)}

    def __init__(self, now: Callable[[], float], others: float = 0, left: float = math.inf) -> None:
        self._now = now
        self.others = others
        self.asked = self.refused = 0
        self._tokens = {name: (min(size, left), 0.0) for name, (size, _) in self.SIZES.items()}

    def takes(self, operation: str) -> bool:
        size, refill = self.SIZES[operation]
        tokens, at = self._tokens[operation]
        now = self._now()
        tokens = max(0, min(size, tokens + (now - at) * (refill - self.others)))
        self.asked += 1
        self.refused += tokens < 1
        self._tokens[operation] = (tokens - (tokens >= 1), now)
        return tokens >= 1


@dataclass
class Ec2Client:
    _engine: Engine
    _weather: Weather
    _outside: Outside
    _account: Account
    _promises: Promises
    _budget: Budget

    meta: ClassVar = EC2_META

    def get_paginator(self, name: str) -> Pages:
        return Pages({"describe_iam_instance_profile_associations": self._describe_associations}[name])

    def describe_instances(
        self,
        Filters: Any = (),  # noqa: N803  # boto3's own names
        IncludeManagedResources: bool = False,  # noqa: FBT001, FBT002, N803  # the same
        NextToken: str = "",  # noqa: N803  # the same
        MaxResults: int | None = None,  # noqa: N803  # the same
    ) -> dict[str, Any]:
        filters, run, hurry = _filters(Filters), self._engine.running, self._weather.hurry
        # Who is hurried gets pages of few, and their tokens are no others'.
        page = (None, None) if hurry else (MaxResults, NextToken or None)

        def act() -> dict[str, Any]:
            lag = self._weather.lags(Fault.STALE_EC2)
            view = self._account.view(lag)
            rows, token = (
                (self._past(view.instances, filters), None)
                if view
                else self._account.truth.describe_instances(
                    filters=filters, max_results=page[0], next_token=page[1], managed_too=True
                )
            )
            rows = [row for row in rows if IncludeManagedResources or not row.hidden]
            self._promises.saw_instances(run, view.at if view else self._engine.seconds)
            if hurry and not any(name == "instance-id" for name, _ in filters):
                rows, token = self._page(rows, NextToken, run, hurry)
            return {"Reservations": [{"Instances": [instance_row(row)]} for row in rows], "NextToken": token}

        return self._outside.call(Call("ec2", "DescribeInstances", Kind.READ, act))

    def _page(
        self, rows: list[Instance], token: str, run: Run | None, hurry: Hurry
    ) -> tuple[list[Instance], str | None]:
        """A page of few, from a token on; now and then EC2 takes one no longer that another run got."""
        run_id, _, after = token.partition(" ")
        mine = run.name if run else ""
        # No more often than the code bears: what never lasts is a failure that somebody has to look at.
        bearable = self._weather.met[Fault.TOKEN_LOST] < RESTARTS
        if token and run_id != mine.replace(" ", "-") and bearable and hurry.rng.random() < hurry.lost:
            self._weather.count(Fault.TOKEN_LOST)
            raise client_error("InvalidParameterValue", "Value (x) for parameter NextToken is invalid.")
        rest = [row for row in sorted(rows, key=lambda row: row.number) if not token or row.number > int(after)]
        page = rest[: hurry.page]
        return page, f"{mine.replace(' ', '-')} {page[-1].number}" if len(rest) > len(page) else None

    def _past(self, instances: tuple[Instance, ...], filters: Any) -> list[Instance]:
        """EC2's own filters, on how it was."""
        passes = ec2_filters.passing(filters)
        shown = (({"instance-id": each.id, "instance-state-name": str(each.state)}, each) for each in instances)
        return [each for attributes, each in shown if passes(attributes, each.tags)]

    def _describe_associations(self, Filters: Any, **_: Any) -> dict[str, Any]:  # noqa: N803  # the same
        filters, run = _filters(Filters), self._engine.running

        def act() -> dict[str, Any]:
            lag = self._weather.lags(Fault.STALE_EC2)
            view = self._account.view(lag)
            if view:
                wanted = set(filters[0][1])
                rows = [each for each in view.associations if each.instance_id in wanted]
            else:
                rows = self._account.truth.describe_associations(filters=filters)[0]
            self._promises.saw_associations(run, filters[0][1], view.at if view else self._engine.seconds)
            return {"IamInstanceProfileAssociations": [association_row(row) for row in rows]}

        return self._outside.call(Call("ec2", "DescribeIamInstanceProfileAssociations", Kind.READ, act))

    def associate_iam_instance_profile(self, InstanceId: str, IamInstanceProfile: Any) -> dict[str, Any]:  # noqa: N803  # the same
        arn = IamInstanceProfile["Arn"]
        return self._mutation(
            "Associate", InstanceId, "", arn, lambda maker: self._account.associate(InstanceId, arn, maker)
        )

    def replace_iam_instance_profile_association(self, AssociationId: str, IamInstanceProfile: Any) -> dict[str, Any]:  # noqa: N803  # the same
        arn, instance = IamInstanceProfile["Arn"], self._account.instance_of.get(AssociationId, "")
        return self._mutation(
            "Replace", instance, AssociationId, arn, lambda maker: self._account.replace(AssociationId, arn, maker)
        )

    def disassociate_iam_instance_profile(self, AssociationId: str) -> dict[str, Any]:  # noqa: N803  # the same
        instance = self._account.instance_of.get(AssociationId, "")
        return self._mutation(
            "Disassociate", instance, AssociationId, "", lambda maker: self._account.disassociate(AssociationId, maker)
        )

    def _drop(self, row: Association) -> None:
        """EC2 took a change, and drops it: the instance carries nothing, and no event says so."""
        with suppress(Ec2Error):
            self._account.disassociate(row.id, Maker.THEM)
            self._engine.say(f"EC2 drops {row.id[-4:]} of {row.instance_id[-4:]}")
            self._weather.count(Fault.DROPPED)

    def _mutation(
        self, operation: str, instance: str, association: str, arn: str, change: Callable[[Maker], Association]
    ) -> dict[str, Any]:
        run = self._engine.running
        assert run, "nobody else changes anything through the functions' client"
        asked = self._promises.asked(run, operation, instance, association, arn)

        def act() -> dict[str, Any]:
            if not self._budget.takes(operation):
                self._weather.count(Fault.BUDGET_DRY)
                raise client_error("RequestLimitExceeded", DRY, status=503)
            before = self._account.settled_association_of(instance)
            try:
                row = change(Maker.US)
            except Ec2Error as error:
                raise client_error(error.code, error.message) from error
            self._engine.say(f"EC2: {operation} on {instance[-4:]}: {_shown(before)} -> {row.id[-4:]} {_shown(row)}")
            self._promises.happened(asked, before, row)
            if arn and self._weather.drops():
                self._engine.after(self._weather.rng.uniform(0.1, DROPPED_WITHIN), lambda: self._drop(row))
            return {"IamInstanceProfileAssociation": association_row(row)}

        def text() -> str:
            return f"{instance[-4:]} {association[-4:]} {arn.rsplit('/', 1)[-1]}"

        call = Call("ec2", operation, Kind.EFFECT, act, text)
        retries = 0
        while True:
            try:
                return {**self._outside.call(call), "ResponseMetadata": {"RetryAttempts": retries}}
            except ClientError as error:
                if error.response["Error"]["Message"] != DRY or retries == SDK_ATTEMPTS - 1:
                    before = error.response["ResponseMetadata"].get("RetryAttempts", 0)
                    raise possibly_applied(error, before + retries) from None
                self._engine.pause(self._weather.rng.uniform(0, 2**retries))
                self._promises.sent()
                retries += 1


@dataclass
class DynamoDbClient:
    """DynamoDB, over the fake; only what the functions call."""

    _engine: Engine
    _weather: Weather
    _outside: Outside
    _tables: FakeDynamoDB
    _promises: Promises

    def batch_get_item(self, RequestItems: Any) -> Any:  # noqa: N803  # boto3's own name
        ((table, request),) = RequestItems.items()
        keys = request["Keys"]
        left: list[Any] = []
        if self._weather.rough and len(keys) > 1 and self._weather.rng.random() < self._weather.unread:
            at = self._weather.rng.randrange(len(keys))
            keys, left = keys[at:], keys[:at]

        def act() -> Any:
            answer = self._tables.batch_get_item(RequestItems={table: {**request, "Keys": keys}})
            if left:
                self._weather.count(Fault.PARTIAL_BATCH)
                answer["UnprocessedKeys"] = {table: {**request, "Keys": left}}
            return answer

        return self._outside.call(Call("dynamodb", "BatchGetItem", Kind.READ, act))

    def get_item(self, **arguments: Any) -> Any:
        return self._read("GetItem", lambda: self._tables.get_item(**arguments))

    def query(self, **arguments: Any) -> Any:
        return self._read("Query", lambda: self._tables.query(**arguments))

    def scan(self, **arguments: Any) -> Any:
        return self._read("Scan", lambda: self._tables.scan(**arguments))

    def put_item(self, **arguments: Any) -> Any:
        return self._write("PutItem", lambda: self._tables.put_item(**arguments), [{"Put": arguments}])

    def update_item(self, **arguments: Any) -> Any:
        return self._write("UpdateItem", lambda: self._tables.update_item(**arguments), [{"Update": arguments}])

    def delete_item(self, **arguments: Any) -> Any:
        return self._write("DeleteItem", lambda: self._tables.delete_item(**arguments), [{"Delete": arguments}])

    def transact_write_items(self, TransactItems: Any) -> Any:  # noqa: N803  # the same
        return self._write(
            "TransactWriteItems", lambda: self._tables.transact_write_items(TransactItems=TransactItems), TransactItems
        )

    def _read(self, operation: str, act: Callable[[], Any]) -> Any:
        return self._outside.call(Call("dynamodb", operation, Kind.READ, act))

    def _write(self, operation: str, act: Callable[[], Any], writes: list[dict[str, Any]]) -> Any:
        run = self._engine.running
        keys = [each.get("Key") or each["Item"] for write in writes for each in write.values()]
        # That a sweep goes on, came to a target, or what it saw, is no matter of an instance; nor what accounts answer
        # about a row that is held.
        of_sweeps = (layout.TARGETS, "activity#", "judging#")
        counts = any(not key.get("pk", {"S": ""})["S"].startswith(of_sweeps) for key in keys)

        def by_us() -> Any:
            # A late write lands while nobody runs: it is still this run's.
            self._promises.writer = run
            self._promises.writes += counts
            try:
                return act()
            finally:
                self._promises.writer = None

        return self._outside.call(Call("dynamodb", operation, Kind.RECORD, by_us, lambda: "; ".join(map(told, writes))))


@dataclass
class IamClient:
    """IAM: roles, profiles, and roles without policies or with an administrator's."""

    _weather: Weather
    _outside: Outside
    _account: Account

    def get_role(self, RoleName: str) -> Any:  # noqa: N803  # boto3's own name
        def act() -> Any:
            _, roles, _ = self._account.iam(self._weather.lags(Fault.STALE_IAM))
            if RoleName == READER:
                arn = self._account.role_arn(READER, "/")
                named = {"RoleName": READER, "Arn": arn, "Path": "/", "CreateDate": MADE}
                units = "/".join(self._account.units)
                said = {"rolekeeper:version": "0.1.0", WIRE_TAG: str(WIRE_FORMAT), "rolekeeper:unit": units}
                tags = [{"Key": name, "Value": value} for name, value in said.items()]
                return {"Role": {**named, "AssumeRolePolicyDocument": {}, "Tags": tags}}
            if RoleName not in roles:
                raise client_error("NoSuchEntity", f"The role with name {RoleName} cannot be found.")
            return {"Role": self._role(RoleName, roles[RoleName])}

        return self._outside.call(Call("iam", "GetRole", Kind.READ, act))

    def _role(self, name: str, path: str) -> dict[str, Any]:
        named = {"RoleName": name, "Arn": self._account.role_arn(name, path), "Path": path, "CreateDate": MADE}
        return {**named, "AssumeRolePolicyDocument": TRUSTS_EC2}

    def get_instance_profile(self, InstanceProfileName: str) -> Any:  # noqa: N803  # the same
        def act() -> Any:
            profiles, *_ = self._account.iam(self._weather.lags(Fault.STALE_IAM))
            if InstanceProfileName not in profiles:
                raise client_error("NoSuchEntity", f"Instance Profile {InstanceProfileName} cannot be found.")
            return {"InstanceProfile": _profile_row(profiles[InstanceProfileName])}

        return self._outside.call(Call("iam", "GetInstanceProfile", Kind.READ, act))

    def create_instance_profile(self, InstanceProfileName: str, Path: str) -> Any:  # noqa: N803  # the same
        def act() -> Any:
            if InstanceProfileName in self._account.profiles:
                raise client_error("EntityAlreadyExists", "it exists")
            self._account.profile(InstanceProfileName, path=Path, role=None, made_now=True)
            return {"InstanceProfile": _profile_row(self._account.profiles[InstanceProfileName])}

        return self._outside.call(Call("iam", "CreateInstanceProfile", Kind.RECORD, act, lambda: InstanceProfileName))

    def add_role_to_instance_profile(self, InstanceProfileName: str, RoleName: str) -> Any:  # noqa: N803  # the same
        def act() -> Any:
            profile = self._account.profiles.get(InstanceProfileName)
            if profile is None or RoleName not in self._account.roles:
                raise client_error("NoSuchEntity", "not there")
            if profile.roles:
                raise client_error("LimitExceeded", "it holds one")
            role = self._account.role_arn(RoleName, self._account.roles[RoleName])
            self._account.put_role_into(InstanceProfileName, role)

        return self._outside.call(
            Call("iam", "AddRoleToInstanceProfile", Kind.RECORD, act, lambda: InstanceProfileName)
        )

    def get_paginator(self, name: str) -> Pages:
        if name == "list_role_policies":
            return Pages(self._inline)
        if name == "get_account_authorization_details":
            return Pages(self._details)
        nothing: dict[str, Any] = {"AttachedPolicies": []}
        return Pages(lambda **_: self._outside.call(Call("iam", name, Kind.READ, lambda: nothing)))

    def _inline(self, RoleName: str) -> Any:  # noqa: N803  # the same
        def act() -> Any:
            _, _, broad = self._account.iam(self._weather.lags(Fault.STALE_IAM))
            return {"PolicyNames": ["all"] if RoleName in broad else []}

        return self._outside.call(Call("iam", "ListRolePolicies", Kind.READ, act))

    def _details(self, **_: Any) -> Any:
        def act() -> Any:
            profiles, roles, broad = self._account.iam(self._weather.lags(Fault.STALE_IAM))
            rows = [_profile_row(each) for each in profiles.values()]
            return {
                "RoleDetailList": [
                    {
                        **(role := self._role(name, path)),
                        "InstanceProfileList": [
                            each for each in rows if role["Arn"] in (held["Arn"] for held in each["Roles"])
                        ],
                        "RolePolicyList": [{"PolicyName": "all", "PolicyDocument": ALL}] if name in broad else [],
                        "AttachedManagedPolicies": [],
                    }
                    for name, path in roles.items()
                ]
            }

        return self._outside.call(Call("iam", "GetAccountAuthorizationDetails", Kind.READ, act))

    def get_role_policy(self, RoleName: str, PolicyName: str) -> Any:  # noqa: N803  # the same
        def act() -> Any:
            if RoleName not in self._account.broad:
                raise client_error("NoSuchEntity", f"The role policy with name {PolicyName} cannot be found.")
            return {"PolicyDocument": ALL}

        return self._outside.call(Call("iam", "GetRolePolicy", Kind.READ, act))


@dataclass
class AlarmsClient:
    """CloudWatch's DescribeAlarms, of the account's alarms."""

    _outside: Outside
    _account: Account

    def describe_alarms(self, AlarmNames: list[str], AlarmTypes: list[str]) -> Any:  # noqa: N803  # boto3's own names
        def act() -> Any:
            known = self._account.alarms
            found = [
                {"AlarmName": each, "AlarmArn": each, "StateValue": known[each]} for each in AlarmNames if each in known
            ]
            return {"MetricAlarms": found, "CompositeAlarms": []}

        assert AlarmTypes == ["MetricAlarm", "CompositeAlarm"]
        return self._outside.call(Call("cloudwatch", "DescribeAlarms", Kind.READ, act))


@dataclass
class Senders:
    """Those that only take something: SQS, Step Functions, Lambda, EventBridge, SNS."""

    _deployment: Deployment

    @classmethod
    def of(cls, deployment: Deployment) -> "dict[str, Senders]":
        """One client in the place of each of them."""
        return dict.fromkeys(("sqs", "stepfunctions", "lambda", "events", "sns"), cls(deployment))

    def get_queue_attributes(self, **_: Any) -> Any:
        def act() -> Any:
            ready = str(self._deployment.ready)
            return {"Attributes": {"ApproximateNumberOfMessages": ready, "ApproximateNumberOfMessagesDelayed": "0"}}

        return self._deployment.outside.call(Call("sqs", "GetQueueAttributes", Kind.READ, act))

    def send_message_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> Any:  # noqa: N803, ARG002  # boto3's own names
        def some(entries: list[dict[str, Any]]) -> Any:
            for each in entries:
                body, delay = json.loads(each["MessageBody"]), each.get("DelaySeconds", 0)
                self._deployment.send(body, delay, group=each["MessageGroupId"])
            failed = [{"Id": each["Id"], "Code": "InternalError"} for each in Entries[len(entries) :]]
            return {"Successful": entries, **({"Failed": failed} if failed else {})}

        def text() -> str:
            sent = [json.loads(each["MessageBody"])["detail"]["instance-id"][-4:] for each in Entries]
            return ", ".join(sent) + (f" in {Entries[0]['DelaySeconds']} s" if "DelaySeconds" in Entries[0] else "")

        call = Call(
            "sqs",
            "SendMessageBatch",
            Kind.SEND,
            lambda: some(Entries),
            text,
            lambda: some(Entries[: len(Entries) // 2]),
        )
        return self._deployment.outside.call(call)

    def start_execution(self, **arguments: Any) -> Any:
        document, name = json.loads(arguments["input"]), arguments["name"]

        def act() -> Any:
            if arguments["stateMachineArn"] == "resume":
                self._deployment.resume(name, document)
            elif arguments["stateMachineArn"] == "accounts":
                self._deployment.each_account(name, document)
            else:
                self._deployment.loop(document)
            return {"executionArn": name}

        call = Call("stepfunctions", "StartExecution", Kind.SEND, act, lambda: name[-20:])
        return self._deployment.outside.call(call)

    def invoke(self, Payload: bytes, **_: Any) -> Any:  # noqa: N803  # the same
        event = json.loads(Payload)
        return self._deployment.outside.call(
            Call("lambda", "Invoke", Kind.SEND, lambda: self._deployment.invoke(event), lambda: str(event.get("task")))
        )

    def put_events(self, Entries: list[dict[str, Any]]) -> Any:  # noqa: N803  # the same
        answer = {"FailedEntryCount": 0, "Entries": [{"EventId": "e"} for _ in Entries]}
        return self._deployment.outside.call(Call("events", "PutEvents", Kind.SEND, lambda: answer))

    def publish(self, **_: Any) -> Any:
        return self._deployment.outside.call(Call("sns", "Publish", Kind.SEND, lambda: {"MessageId": "m"}))


def _filters(filters: Any) -> list[tuple[str, Any]]:
    return [(each["Name"], each["Values"]) for each in filters]


def _profile_row(profile: Profile) -> dict[str, Any]:
    path = profile.arn.split(":instance-profile", 1)[1].rsplit("/", 1)[0] + "/"
    roles = [{"Arn": arn, "RoleName": arn.rsplit("/", 1)[-1]} for arn in profile.roles]
    row = {"InstanceProfileName": profile.name, "InstanceProfileId": profile.id, "Arn": profile.arn, "Path": path}
    return {**row, "Roles": roles}


def _shown(row: Association | None) -> str:
    return f"{row.profile_arn.rsplit('/', 1)[-1]} {row.id[-4:]}" if row else "nothing"


def told(write: Mapping[str, Any]) -> str:
    """A write in a line of the story: whose item, and what is said there."""
    ((kind, arguments),) = write.items()
    key = arguments.get("Key") or {
        name: arguments["Item"][name] for name in ("pk", "sk", "tag_key", "tag_value") if name in arguments["Item"]
    }
    at = "/".join(str(value["S"]).rsplit("#", 1)[-1][-20:] for value in key.values())
    if kind == "Put":
        item = layout.from_attributes(arguments["Item"])
        said = item.get("decision") or {}
        brief = f"{said.get('action')}/{said.get('code')} {item.get('answer')}" if said else str(item.get("status", ""))
        return f"Put {at} {brief}".rstrip()
    if kind == "Delete":
        return f"Delete {at}"
    names = arguments.get("ExpressionAttributeNames", {})
    values = layout.from_attributes(arguments.get("ExpressionAttributeValues", {}))
    words = [
        names.get(word, str(values.get(word, word))[:160])
        for word in arguments["UpdateExpression"].replace(",", " ,").split()
    ]
    return f"Update {at}: {' '.join(words)}"
