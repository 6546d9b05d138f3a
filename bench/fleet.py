"""A fleet of any size that the server on loopback answers for: made from a number, so that it holds nothing of it.

Instance n has four tags, of which `app` names the mapping `app-<n mod rows>`; it carries that mapping's role, and the
state table explains it; but the first `foreign` ones carry a profile outside the role path. Without rows nothing is
carried and nothing known.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import Any

from botocore import xform_name

from bench import wire
from bench.instance_fields import FIELDS
from fakes.clock import START
from fixtures.account import ACCOUNT, MAPPING_TABLE, PATH, QUEUE_URL, FakeAccount, mapping_key
from fixtures.mappings import TRUSTS_LAMBDA
from fixtures.state_table import STATE_TABLE, table_keys
from rolekeeper.storage import layout
from support import templates
from support.grants import allow, policy

TAG = "app"
# What a role of software on an instance may do.
MAY = policy(
    allow(["logs:CreateLogStream", "logs:PutLogEvents"], f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:/web/*"),
    allow(["s3:GetObject", "s3:ListBucket"], ["arn:aws:s3:::web-assets", "arn:aws:s3:::web-assets/*"]),
    allow("ssm:GetParametersByPath", f"arn:aws:ssm:us-east-1:{ACCOUNT}:parameter/web/*"),
)
# As many as EC2 gives where nobody says how many (DescribeInstances, DescribeTags).
PAGE = 1_000
ID = "i-{:017x}"
type Filters = Mapping[str, list[str]]


class Fleet:
    """See the module. With `edited` the one row was just edited, and gives another role.

    With `policies` the roles have some, and the account has others beside them.
    """

    def __init__(
        self, instances: int, rows: int, *, edited: bool = False, foreign: int = 0, policies: bool = False
    ) -> None:
        self._instances, self._rows, self._foreign = instances, rows, foreign
        base = _Base(rows) if edited else _base(rows, policies)
        self._world, self._record = base.world, base.record
        self._world.swept(instances, rows)
        if edited:
            base.edit()

    def answer(self, request: wire.Request) -> Mapping[str, Any] | bytes:
        self._world.clock.seconds = (datetime.now(UTC) - START).total_seconds()
        if listing := _LISTINGS.get(request.operation):
            return self._listed(request, *listing)
        params = request.params
        if request.operation == "BatchGetItem":
            return self._items(params)
        if told := _TOLD.get(request.operation):
            return told()
        if request.operation in _OF_ACCOUNT:
            return self._of_account()
        client, name = self._world.clients[request.service], xform_name(request.operation)
        if request.service == "iam" and request.operation.startswith("List"):
            page: Mapping[str, Any] = next(iter(client.get_paginator(name).paginate(**params)))
            return page
        answer: Mapping[str, Any] = getattr(client, name)(**params)
        return answer

    def _of_account(self) -> Mapping[str, Any]:
        """All roles and instance profiles of the account."""
        profiles, client = self._world.profiles, self._world.clients["iam"]
        roles = [client.get_role(RoleName=name)["Role"] for name in profiles]
        held = [client.get_instance_profile(InstanceProfileName=name)["InstanceProfile"] for name in profiles]
        return {"Roles": roles, "InstanceProfiles": held, "IsTruncated": False}

    # ---- EC2 ----

    def _listed(self, request: wire.Request, element: str, one: Callable[[int, int], str]) -> bytes:
        filters = {each["Name"]: each["Values"] for each in request.params.get("Filters", ())}
        size, after = int(request.params.get("MaxResults") or PAGE), int(request.params.get("NextToken") or 0)
        wanted = self._numbers(request, filters)
        page = wanted[after : after + size]
        token = f"<nextToken>{after + size}</nextToken>" if after + size < len(wanted) else ""
        rows = "".join(one(number, self._rows) for number in page)
        if one is _association:
            rows = "".join(_association(number, self._rows, foreign=number < self._foreign) for number in page)
        name = f"{request.operation}Response"
        return f"<{name}><requestId>r</requestId><{element}>{rows}</{element}>{token}</{name}>".encode()

    def _numbers(self, request: wire.Request, filters: Filters) -> "range | list[int]":
        """The numbers of the instances that a request asks for."""
        unknown = filters.keys() - {"instance-id", f"tag:{TAG}", "instance-state-name", "resource-type", "key", "value"}
        unknown -= {"tag-key", "state"}
        if "Association" in request.operation and not self._rows:
            return []
        if unknown:
            raise NotImplementedError(f"filters {sorted(unknown)}")
        if ids := filters.get("instance-id") or request.params.get("InstanceIds"):
            return [_number(each) for each in ids]
        keys = filters.get("key", filters.get("tag-key", [TAG]))
        if TAG not in keys:
            raise NotImplementedError(f"tags {keys}")
        values = filters.get(f"tag:{TAG}", filters.get("value"))
        if values is None:
            return range(self._instances)
        rows = {int(each.removeprefix("app-")) for each in values}
        if rows == set(range(self._rows)):
            return range(self._instances)
        return [each for each in range(self._instances) if self._rows and each % self._rows in rows]

    # ---- the state table ----

    def _items(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        asked = params["RequestItems"].get(STATE_TABLE)
        if not asked:
            found: Mapping[str, Any] = self._world.dynamodb.batch_get_item(**params)
            return found
        ours = [each for each in asked["Keys"] if not each["pk"]["S"].startswith("instance#")]
        items = list(self._records(asked["Keys"]))
        if ours:
            rest = self._world.dynamodb.batch_get_item(RequestItems={STATE_TABLE: {**asked, "Keys": ours}})
            items += rest["Responses"][STATE_TABLE]
        return {"Responses": {STATE_TABLE: items}, "UnprocessedKeys": {}}

    def _records(self, keys: Iterable[Any]) -> Iterator[Any]:
        for each in keys if self._rows else ():
            pk = each["pk"]["S"]
            if pk.startswith("instance#") and each["sk"]["S"] == "record":
                number = _number(pk.rpartition("#")[2])
                yield json.loads(self._record(number % self._rows, ID.format(number)))


class _Base:
    """The mappings of so many rows, published by the real code, and what the state table says of an instance."""

    def __init__(self, rows: int, policies: bool = False) -> None:  # noqa: FBT001, FBT002  # what it is cached by
        self.world = FakeAccount(ExitStack())
        self.world.large_pages()
        self.world.clock.seconds = (datetime.now(UTC) - START).total_seconds()
        self.world.dynamodb.add_table(MAPPING_TABLE, table_keys("MappingTable"))
        self.world.profile("node", path="/")
        if policies:
            iam, names = self.world.clients["iam"], [f"role-{row}" for row in range(rows)]
            for name in (f"other-{row}" for row in range(rows)):
                arn = f"arn:aws:iam::{ACCOUNT}:role/{name}"
                named = {"RoleName": name, "RoleId": "AROAOTHER", "Arn": arn, "Path": "/", "CreateDate": START}
                iam.others[name] = {**named, "AssumeRolePolicyDocument": TRUSTS_LAMBDA}
                names.append(name)
            iam.inline.update(dict.fromkeys(names, MAY))
        for row in range(rows):
            self.world.profile(f"role-{row}")
            self._put(row, f"role-{row}")
            verdict = self.world.app().publisher.publish(mapping_key(f"{TAG}=app-{row}"), "edit")
            if verdict.revision != 1:
                raise RuntimeError(f"row {row} isn't published: {verdict}")
        self._one = self._reconciled() if rows else ("", "")

    def _put(self, row: int, role: str) -> None:
        key = layout.to_attributes(layout.encode(mapping_key(f"{TAG}=app-{row}")))
        self.world.dynamodb.put_item(TableName=MAPPING_TABLE, Item={**key, "role": {"S": role}})

    def edit(self) -> None:
        self.world.profile("role-new")
        self._put(0, "role-new")

    def _reconciled(self) -> tuple[str, str]:
        """What the state table says of an instance that got the first row's role, as JSON; and the instance."""
        instance = self.world.running(**{TAG: "app-0"})
        self.world.reconcile(instance)
        pk, sk = layout.record_key(self.world.key(instance))
        key = {"pk": {"S": pk}, "sk": {"S": sk}}
        found = self.world.dynamodb.get_item(TableName=STATE_TABLE, Key=key, ConsistentRead=True)
        return json.dumps(found["Item"]), instance

    def record(self, row: int, instance: str) -> str:
        text, one = self._one
        return text.replace(one, instance).replace("role-0", f"role-{row}").replace("app-0", f"app-{row}")


_base = cache(_Base)


def _number(instance: str) -> int:
    return int(instance.removeprefix("i-").lstrip("0") or "0", 16)


@cache
def _instance_xml() -> str:
    """A reservation with one instance, whose number is `NUMBER` and whose row is `app-ROW`."""
    tags = {"Name": "web-NUMBER", TAG: "app-ROW", "env": "prod", "team": "payments"}
    row = {
        **FIELDS,
        "InstanceId": "i-NUMBER",
        "State": {"Name": "running", "Code": 16},
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
    }
    reservation = {"ReservationId": "r-NUMBER", "OwnerId": ACCOUNT, "Groups": [], "Instances": [row]}
    text = wire.xml("ec2", "DescribeInstances", {"Reservations": [reservation]})
    return text.removeprefix("<reservationSet>").removesuffix("</reservationSet>")


def _instance(number: int, rows: int) -> str:
    return _instance_xml().replace("NUMBER", f"{number:017x}").replace("app-ROW", f"app-{number % rows if rows else 0}")


def _association(number: int, rows: int, *, foreign: bool = False) -> str:
    arn = f"arn:aws:iam::{ACCOUNT}:instance-profile{'/node' if foreign else f'{PATH}role-{number % rows}'}"
    profile = f"<iamInstanceProfile><arn>{arn}</arn><id>AIPAROLE-{number % rows}</id></iamInstanceProfile>"
    ids = f"<associationId>iip-assoc-{number:017x}</associationId><instanceId>{ID.format(number)}</instanceId>"
    return f"<item>{ids}{profile}<state>associated</state></item>"


def _tag(number: int, rows: int) -> str:
    said = f"<key>{TAG}</key><value>app-{number % rows if rows else 0}</value>"
    return f"<item><resourceId>{ID.format(number)}</resourceId><resourceType>instance</resourceType>{said}</item>"


@cache
def _stack() -> Mapping[str, Any]:
    """What CloudFormation says of the deployment, as the command reads it."""
    parameters = {name: str(said["Default"]) for name, said in templates.load()["Parameters"].items()}
    parameters["Mode"] = "enforce"
    outputs = {"MappingTable": MAPPING_TABLE, "StateTable": STATE_TABLE, "WorkQueue": QUEUE_URL}
    outputs["Version"] = version("rolekeeper")
    stack = {
        "StackName": "rolekeeper",
        "StackStatus": "CREATE_COMPLETE",
        "CreationTime": START,
        "Parameters": [{"ParameterKey": name, "ParameterValue": said} for name, said in parameters.items()],
        "Outputs": [{"OutputKey": name, "OutputValue": said} for name, said in outputs.items()],
    }
    return {"Stacks": [stack]}


def _caller() -> Mapping[str, Any]:
    return {"UserId": "AIDAGRACE", "Account": ACCOUNT, "Arn": f"arn:aws:iam::{ACCOUNT}:user/grace"}


def _resource() -> Mapping[str, Any]:
    """A resource of the stack: its log groups are what is asked for, and what is in them is the same for all."""
    return {"StackResourceDetail": {"PhysicalResourceId": "/aws/lambda/rolekeeper"}}


def _report() -> Mapping[str, Any]:
    """IAM's report of last use of a role."""
    at = {"JobCreationDate": START, "JobCompletionDate": START}
    return {"JobStatus": "COMPLETED", **at, "ServicesLastAccessed": [], "IsTruncated": False}


_COUNTED = ("InstanceProfiles", "InstanceProfilesQuota", "Roles", "RolesQuota")
_TOLD: Mapping[str, Callable[[], Mapping[str, Any]]] = {
    "DescribeStacks": _stack,
    "DescribeStackResource": _resource,
    "GetAccountSummary": lambda: {"SummaryMap": dict.fromkeys(_COUNTED, 1)},
    "GenerateServiceLastAccessedDetails": lambda: {"JobId": "01234567-89ab-cdef-0123-456789abcdef"},
    "GetServiceLastAccessedDetails": _report,
    "FilterLogEvents": lambda: {"events": []},
    "LookupEvents": lambda: {"Events": []},
    "GetCallerIdentity": _caller,
    "ListAccountAliases": lambda: {"AccountAliases": ["example"], "IsTruncated": False},
}
_OF_ACCOUNT = frozenset({"ListRoles", "ListInstanceProfiles"})
_LISTINGS: Mapping[str, tuple[str, Callable[[int, int], str]]] = {
    "DescribeInstances": ("reservationSet", _instance),
    "DescribeIamInstanceProfileAssociations": ("iamInstanceProfileAssociationSet", _association),
    "DescribeTags": ("tagSet", _tag),
}
