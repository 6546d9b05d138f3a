"""A function on the embedded AWS that remembers what it was given, and when."""

import io
import json
import uuid
import zipfile
from typing import Any

from rolekeeper_local.embedded import EmbeddedAws

# Tells a table what it was given, then takes its time, fails, passes messages on, or reports what is bad, as asked.
FUNCTION = """
import json, os, time, uuid, boto3

def handler(event, context):
    item = {"pk": {"S": os.environ["HEARD"]}, "sk": {"S": uuid.uuid4().hex}, "event": {"S": json.dumps(event)}}
    boto3.client("dynamodb").put_item(TableName="heard", Item={**item, "at": {"N": str(time.time())}})
    time.sleep(float(os.environ.get("TAKES", "0")))
    if os.environ.get("FAILS") or "FAILS_FOR" in os.environ and event.get("account") == os.environ["FAILS_FOR"]:
        raise RuntimeError("as asked")
    records = event.get("Records", []) if isinstance(event, dict) else []
    for record in records if "PASSES_ON" in os.environ else []:
        boto3.client("sqs").send_message(QueueUrl=os.environ["PASSES_ON"], MessageBody=record["body"])
    written = [record["dynamodb"] for record in records if "dynamodb" in record]
    bad = [each["SequenceNumber"] for each in written if each["Keys"]["pk"]["S"] == "bad"]
    accounts = os.environ.get("ACCOUNTS", "").split()
    return {"batchItemFailures": [{"itemIdentifier": each} for each in bad], "accounts": accounts}
"""


def make_table(aws: EmbeddedAws, name: str, **more: Any) -> Any:
    return (
        aws.session()
        .client("dynamodb")
        .create_table(
            TableName=name,
            AttributeDefinitions=[{"AttributeName": each, "AttributeType": "S"} for each in ("pk", "sk")],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            BillingMode="PAY_PER_REQUEST",
            **more,
        )["TableDescription"]
    )


def make_function(aws: EmbeddedAws, name: str, code: str, *allowed: str, account: str = "", **environment: str) -> str:
    """A function with a role of its own, which may do these actions on everything; its ARN."""
    session = aws.session(account=account)
    iam: Any = session.client("iam")
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps({"Statement": [trust]}))["Role"]["Arn"]
    allow = {"Effect": "Allow", "Action": allowed, "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    iam.put_role_policy(RoleName=name, PolicyName="policy", PolicyDocument=policy)
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("module.py", code)
    made = session.client("lambda").create_function(
        FunctionName=name,
        Runtime="python3.13",
        Role=role,
        Handler="module.handler",
        Timeout=60,
        Environment={"Variables": environment},
        Code={"ZipFile": zipped.getvalue()},
    )
    return str(made["FunctionArn"])


class Listener:
    """A function that remembers what it was given, and when."""

    def __init__(self, aws: EmbeddedAws, **environment: str) -> None:
        self.name = f"listener-{uuid.uuid4().hex[:8]}"
        self._dynamodb = aws.session().client("dynamodb")
        self._lambda: Any = aws.session().client("lambda")
        given = {"HEARD": self.name, **environment}
        self.arn = make_function(aws, self.name, FUNCTION, "dynamodb:*", "sqs:*", **given)

    def reads(self, source: str, **how: Any) -> str:
        """Have it read a queue or a stream; the id of the mapping."""
        made = self._lambda.create_event_source_mapping(FunctionName=self.name, EventSourceArn=source, **how)
        return str(made["UUID"])

    def heard(self) -> list[tuple[float, Any]]:
        items = self._dynamodb.query(
            TableName="heard",
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": self.name}},
            ConsistentRead=True,
        )["Items"]
        return sorted((float(item["at"]["N"]), json.loads(item["event"]["S"])) for item in items)
