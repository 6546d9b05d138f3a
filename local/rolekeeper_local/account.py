"""A person's calls to the embedded AWS in the demo and the end-to-end tests: EC2, IAM and the mapping table."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import yaml

from rolekeeper.model.instance import Condition, InstanceKey, Target
from rolekeeper.model.mapping import MappingKey
from rolekeeper.storage import layout
from rolekeeper.storage.state import State, Store
from rolekeeper_cli import installed
from rolekeeper_cli.deploy.rollout import NAMED_ROLES, Template
from rolekeeper_local.embedded import ACCOUNT, REGION, EmbeddedAws, make_stack

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import InstanceTypeDef, TagTypeDef

IMAGE = "ami-0abcdef1234567890"
STARTER_STACK = "rolekeeper-starter-roles"


@dataclass(frozen=True, slots=True)
class Shown:
    """EC2's own answer about an instance's role; `profile` is its name, its account is in `arn`."""

    association_id: str
    profile: str
    state: str
    arn: str = ""


class EmulatedAccount:
    """Instances and roles of an account and Region; tables and functions of the deployment, in whatever account."""

    def __init__(self, aws: EmbeddedAws, account: str = ACCOUNT, region: str = REGION) -> None:
        self.aws, self.account, self.region = aws, account, region
        self.target = Target(account, region)
        here, session = aws.session(account=account, region=region), aws.session()
        self.ec2 = here.client("ec2")
        self.iam = here.client("iam")
        self.stacks = here.client("cloudformation")
        self.dynamodb = session.client("dynamodb")
        self.lambda_ = session.client("lambda")
        self.cloudformation = session.client("cloudformation")
        outputs = aws.stack_outputs()
        self.mapping_table, self.state_table = outputs["MappingTable"], outputs["StateTable"]
        # A client that takes and gives plain values; unlike a Table it may be shared by threads.
        self.rows = session.resource("dynamodb", endpoint_url=aws.endpoint).meta.client

    # ---- seeding ----

    def forget_changes(self) -> None:
        """Empty the windows of the account and Region, and that of all edits."""
        windows = [layout.changes_key(self.target, quarantines=each) for each in (False, True)]
        with self.without_table_policy():
            for pk, sk in (*windows, layout.EDITS):
                self.dynamodb.delete_item(TableName=self.state_table, Key={"pk": {"S": pk}, "sk": {"S": sk}})

    @contextmanager
    def without_table_policy(self) -> Iterator[None]:
        """Lift the state table's own policy meanwhile, as only who may change that can (docs/security.md)."""
        arn = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{self.state_table}"
        policy = self.dynamodb.get_resource_policy(ResourceArn=arn)["Policy"]
        self.dynamodb.delete_resource_policy(ResourceArn=arn)
        try:
            yield
        finally:
            self.dynamodb.put_resource_policy(ResourceArn=arn, Policy=policy)

    def deploy_starter_roles(self) -> None:
        template = Template({"TemplateBody": installed.file("examples/roles.yaml").read_text()}, NAMED_ROLES)
        names = {"BucketName": "example-reports", "TableName": "example-orders"}
        make_stack(self.stacks, STARTER_STACK, template, parameters=names)

    def make_role(self, name: str, *, path: str = "/rolekeeper/") -> None:
        """Make a role for EC2, with its instance profile beside it as the console does."""
        allow = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
        trust = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
        self.iam.create_role(RoleName=name, Path=path, AssumeRolePolicyDocument=trust)
        self.iam.create_instance_profile(InstanceProfileName=name, Path=path)
        self.iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)

    def seed_mappings(self) -> int:
        """Put the rows of examples/mappings.yaml; returns how many."""
        rows = starter_mappings()
        for row in rows:
            self.put_mapping(**row)
        return len(rows)

    # ---- instances ----

    def launch(self, name: str, *, profile: str = "", **tags: str) -> str:
        """Launch an instance with these tags, and a profile as a launch template gives one; returns its id."""
        given: dict[str, Any] = {"IamInstanceProfile": {"Name": profile}} if profile else {}
        answer = self.ec2.run_instances(
            ImageId=IMAGE,
            InstanceType="t3.micro",
            MinCount=1,
            MaxCount=1,
            TagSpecifications=[{"ResourceType": "instance", "Tags": _tags({"Name": name, **tags})}],
            **given,
        )
        return str(answer["Instances"][0]["InstanceId"])

    def tag(self, instance_id: str, **tags: str) -> None:
        self.ec2.create_tags(Resources=[instance_id], Tags=_tags(tags))

    def untag(self, instance_id: str, key: str) -> None:
        self.ec2.delete_tags(Resources=[instance_id], Tags=[{"Key": key}])

    def state(self, instance_id: str) -> str:
        answer = self.ec2.describe_instances(InstanceIds=[instance_id])
        return str(answer["Reservations"][0]["Instances"][0]["State"]["Name"])

    def shown(self, instance_id: str) -> Shown | None:
        wanted = {"instance-id": [instance_id], "state": ["associating", "associated"]}
        answer = self.ec2.describe_iam_instance_profile_associations(
            Filters=[{"Name": name, "Values": values} for name, values in wanted.items()]
        )
        rows = answer["IamInstanceProfileAssociations"]
        if not rows:
            return None
        assert len(rows) == 1, f"{instance_id} has {len(rows)} associations: {rows}"
        row = rows[0]
        arn = row["IamInstanceProfile"]["Arn"]
        return Shown(row["AssociationId"], arn.rsplit("/", 1)[-1], row["State"], arn=arn)

    def carries(self, instance_id: str, profile: str) -> Shown | None:
        """The association, once EC2 shows this profile as associated."""
        shown = self.shown(instance_id)
        return shown if shown and (shown.profile, shown.state) == (profile, "associated") else None

    def fleet(self) -> Iterator["InstanceTypeDef"]:
        for page in self.ec2.get_paginator("describe_instances").paginate():
            for group in page["Reservations"]:
                yield from (row for row in group["Instances"] if row["State"]["Name"] != "terminated")

    # ---- mappings ----

    def put_mapping(self, tag_key: str, tag_value: str, **columns: Any) -> None:
        """Write a row, as a person does in the console."""
        row = {"tag_key": tag_key, "tag_value": tag_value, **columns}
        self.rows.put_item(TableName=self.mapping_table, Item={name: _sets(value) for name, value in row.items()})

    def set_column(self, tag_key: str, tag_value: str, column: str, value: Any) -> None:
        self.rows.update_item(
            TableName=self.mapping_table,
            Key={"tag_key": tag_key, "tag_value": tag_value},
            UpdateExpression="SET #column = :value",
            ExpressionAttributeNames={"#column": column},
            ExpressionAttributeValues={":value": _sets(value)},
        )

    def approve(self, tag_key: str, tag_value: str) -> None:
        """Approve what is held of a mapping, as the root of the deployment's account."""
        mapping = MappingKey(tag_key, tag_value)
        at, signed = layout.held_key(mapping), layout.key_attributes(layout.approval_key(ACCOUNT, mapping))
        store = Store(self.dynamodb, self.state_table)
        shown = {name: store.get([at])[at][name] for name in ("revision", "digest", "changes", "takes")}
        store.write(store.put({**signed, **shown, "at": layout.timestamp(datetime.now(UTC))}))

    def delete_mapping(self, tag_key: str, tag_value: str) -> None:
        self.rows.delete_item(TableName=self.mapping_table, Key={"tag_key": tag_key, "tag_value": tag_value})

    def mapping(self, tag_key: str, tag_value: str) -> dict[str, Any]:
        """A row as it is now; empty if there is none."""
        key = {"tag_key": tag_key, "tag_value": tag_value}
        answer = self.rows.get_item(TableName=self.mapping_table, Key=key, ConsistentRead=True)
        return dict(answer.get("Item", {}))

    def mapping_status(self, tag_key: str, tag_value: str, status: str) -> dict[str, Any] | None:
        """The row, once it shows this status."""
        row = self.mapping(tag_key, tag_value)
        return row if row.get("status") == status else None

    # ---- Rolekeeper ----

    def condition(self, instance_id: str, code: str) -> Condition | None:
        """What the instance shows, once it is this code."""
        key = InstanceKey(self.account, self.region, instance_id)
        state = State(Store(self.dynamodb, self.state_table), key.target, home=key.target, check_pin=lambda pin: pin)
        found = state.read([key]).record(key).condition
        return found if found and found.code == code else None

    def sweep(self) -> dict[str, Any]:
        return self.aws.sweep()


def _tags(tags: Mapping[str, str]) -> "list[TagTypeDef]":
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def starter_mappings() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = yaml.safe_load(installed.file("examples/mappings.yaml").read_text())["mappings"]
    return rows


def _sets(value: Any) -> Any:
    """YAML has no sets: the columns that are string sets are lists in a file."""
    if isinstance(value, list):
        return set(value)
    return dict(value) if isinstance(value, Mapping) else value
