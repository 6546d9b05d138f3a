"""An operator's desk: the mapping table, and IAM and the work queue in moto, over a `World` with EC2's truth.

A story puts and deletes rows, makes roles, and lets Rolekeeper judge.
"""

import json
from dataclasses import replace
from functools import cache
from typing import Any

import boto3
from moto import mock_aws

from rolekeeper.app import App
from rolekeeper.mappings.scan import Scan
from rolekeeper.mappings.verdict import Verdict
from rolekeeper.model import Held, PublishedMapping
from rolekeeper.settings import Limits, Settings
from rolekeeper.storage import codec, layout
from support.state_table import table_keys
from support.world import MAPPING_TABLE, PATH, REGION, World, mapping_key

TRUSTS_EC2 = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"},
    ],
}
TRUSTS_LAMBDA = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"},
    ],
}


@cache
def session() -> boto3.Session:
    """One session for all desks: each new one reads every service's model again, which takes longer than most tests."""
    return boto3.Session("testing", "testing", region_name=REGION)


class Desk:
    """See the module. `world` has the instances, the clock, the state table and what others are told."""

    def __init__(self, world: World) -> None:
        self.world = world
        world.closing.enter_context(mock_aws())
        self.iam = session().client("iam")
        self.sqs = session().client("sqs")
        self.queue_url = self.sqs.create_queue(QueueName="work")["QueueUrl"]
        # How much an edit may change; how much a mapping may change at once is the world's.
        self.limits = Limits(25, 20)
        self.clients = {**world.clients, "iam": self.iam, "sqs": self.sqs}
        world.dynamodb.add_table(MAPPING_TABLE, table_keys("MappingTable"))
        for client in (self.iam, self.sqs):
            world.calls.watch(client)
        world.calls.clear()

    # ---- what people do ----

    def role(self, name: str, *, path: str = PATH, trust: Any = TRUSTS_EC2, profile: bool = True) -> None:
        """Make a role, with its instance profile beside it as the console does."""
        self.iam.create_role(RoleName=name, Path=path, AssumeRolePolicyDocument=json.dumps(trust))
        if profile:
            made = self.iam.create_instance_profile(InstanceProfileName=name, Path=path)["InstanceProfile"]
            self.iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
            self.world.profile_ids[name] = made["InstanceProfileId"]
            if name in self.world.profiles:
                self.world.profile(name, path=path)

    def retrust(self, name: str, trust: Any) -> None:
        """Change who may assume a role."""
        self.iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(trust))

    def delete_role(self, name: str) -> None:
        """Delete a role and its profile."""
        self.iam.remove_role_from_instance_profile(InstanceProfileName=name, RoleName=name)
        self.iam.delete_instance_profile(InstanceProfileName=name)
        self.iam.delete_role(RoleName=name)

    def put(self, tag: str, **columns: Any) -> None:
        """Put a row, plain values; what was in it before is gone, our columns too."""
        self.put_raw(tag, codec.to_attributes(columns))

    def put_raw(self, tag: str, attributes: dict[str, Any]) -> None:
        """Put a row, in DynamoDB's own form."""
        key = codec.to_attributes(layout.mapping_text(mapping_key(tag)))
        self.world.dynamodb.put_item(TableName=MAPPING_TABLE, Item={**attributes, **key})

    def set(self, tag: str, **columns: Any) -> None:
        """Set some columns of a row, plain values; the others stay."""
        table = self.world.dynamodb
        table.update_item(
            TableName=MAPPING_TABLE,
            Key=codec.to_attributes(layout.mapping_text(mapping_key(tag))),
            UpdateExpression="SET " + ", ".join(f"#{name} = :{name}" for name in columns),
            ExpressionAttributeNames={f"#{name}": name for name in columns},
            ExpressionAttributeValues=codec.to_attributes({f":{name}": value for name, value in columns.items()}),
        )

    def unset(self, tag: str, name: str) -> None:
        """Remove a column from a row."""
        self.world.dynamodb.update_item(
            TableName=MAPPING_TABLE,
            Key=codec.to_attributes(layout.mapping_text(mapping_key(tag))),
            UpdateExpression="REMOVE #name",
            ExpressionAttributeNames={"#name": name},
        )

    def grant(self, role: str, action: str, resource: str = "*") -> None:
        """Let a role do something, by an inline policy."""
        statement = {"Effect": "Allow", "Action": action, "Resource": resource}
        policy = {"Version": "2012-10-17", "Statement": [statement]}
        self.iam.put_role_policy(RoleName=role, PolicyName="grants", PolicyDocument=json.dumps(policy))

    def delete(self, tag: str) -> None:
        """Delete a row."""
        key = codec.to_attributes(layout.mapping_text(mapping_key(tag)))
        self.world.dynamodb.delete_item(TableName=MAPPING_TABLE, Key=key)

    # ---- what Rolekeeper does ----

    def settings(self) -> Settings:
        """The deployment's settings."""
        return replace(
            self.world.settings,
            work_queue_url=self.queue_url,
            max_changes_per_edit=self.limits.per_edit,
            max_changes_percent=self.limits.percent,
        )

    def app(self) -> App:
        """One invocation's parts."""
        return self.world.app(self.settings(), self.clients)

    def publish(self, tag: str, by: str = "") -> Verdict:
        """The stream says that a row changed, a moment later, and by whom if it knows."""
        self.world.clock.sleep(1)
        app = self.app()
        try:
            return app.publisher.publish(mapping_key(tag), "edit-1", by)
        finally:
            app.telemetry.flush()

    def recheck(self, tag: str, scan: Scan | None = None) -> Verdict:
        """The sweep comes by a row, a moment later."""
        self.world.clock.sleep(1)
        app = self.app()
        try:
            return app.publisher.recheck(mapping_key(tag), "sweep-1", scan)
        finally:
            app.telemetry.flush()

    def approve(self, tag: str, revision: int) -> Verdict:
        """Approve a revision, and have the row judged."""
        self.set(tag, approve=revision)
        return self.publish(tag)

    def converged(self, role: str, **tags: str) -> str:
        """An instance that runs and carries the role that its tags ask for."""
        self.world.profile(role)
        instance = self.world.running(**tags)
        self.world.reconcile(instance)
        assert self.world.carries(instance) == role
        return instance

    def edit(self, tag: str, **columns: Any) -> Verdict:
        """Put a row and have it judged."""
        self.put(tag, **columns)
        return self.publish(tag)

    # ---- what there is to see ----

    def row(self, tag: str) -> dict[str, Any]:
        """A row, plain."""
        key = codec.to_attributes(layout.mapping_text(mapping_key(tag)))
        item = self.world.dynamodb.get_item(TableName=MAPPING_TABLE, Key=key).get("Item", {})
        return codec.from_attributes(item)

    def shows(self, tag: str) -> tuple[str, str, int]:
        """What a row says of itself: status, reason, revision."""
        row = self.row(tag)
        return row["status"], row["status_reason"], int(row["status_revision"])

    def served(self, tag: str) -> PublishedMapping | None:
        """What is published."""
        return self.world.revisions.published(mapping_key(tag))

    def held(self, tag: str) -> Held | None:
        """What waits for approval, or did last."""
        return self.world.revisions.held(mapping_key(tag))

    def revisions(self, tag: str) -> list[dict[str, Any]]:
        """Every revision that was ever served, oldest first."""
        return self.world.store.last(layout.mapping_pk(mapping_key(tag)), "revision#", 100)[::-1]

    def sent(self) -> list[dict[str, Any]]:
        """What waits in the work queue; taken from it."""
        found: list[dict[str, Any]] = []
        while messages := self.sqs.receive_message(QueueUrl=self.queue_url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                found.append(json.loads(message["Body"]))
                self.sqs.delete_message(QueueUrl=self.queue_url, ReceiptHandle=message["ReceiptHandle"])
        return found

    def sent_ids(self) -> list[str]:
        """The instances that wait in the work queue."""
        return sorted(each["detail"]["instance-id"] for each in self.sent())

    def history(self, tag: str) -> list[dict[str, Any]]:
        """The history of a mapping, oldest first."""
        return self.world.revisions.history(mapping_key(tag))[::-1]

    def quiet(self) -> None:
        """Count calls, events and messages from here on."""
        self.sent()
        self.world.quiet()
