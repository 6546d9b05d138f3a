"""Bad mapping rows on the embedded AWS: refused in words, and what was published stays in effect."""

import json
from typing import Any

import pytest

from rolekeeper_local.account import EmulatedAccount
from support.waiting import eventually

pytestmark = pytest.mark.emulator

SERVED = "s3-read"
TRUSTS_LAMBDA = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


@pytest.fixture(scope="module", autouse=True)
def roles(deployed: EmulatedAccount) -> None:
    """A role outside the path, and one that EC2 can't assume."""
    iam = deployed.aws.session().client("iam")
    ec2_trust = json.dumps(TRUSTS_LAMBDA).replace("lambda", "ec2")
    iam.create_role(RoleName="bad-outside", Path="/", AssumeRolePolicyDocument=ec2_trust)
    iam.create_role(RoleName="bad-trust", Path="/rolekeeper/", AssumeRolePolicyDocument=json.dumps(TRUSTS_LAMBDA))


@pytest.fixture(scope="module")
def row(deployed: EmulatedAccount) -> dict[str, Any]:
    """A good row that serves an instance."""
    deployed.put_mapping("bad", "row", role=SERVED)
    eventually(lambda: deployed.mapping_status("bad", "row", "Published"))
    return {"tag_key": {"S": "bad"}, "tag_value": {"S": "row"}, "role": {"S": SERVED}}


@pytest.mark.parametrize(
    ("column", "value", "status", "words"),
    [
        ("role", {"N": "7"}, "Rejected", "role"),
        ("role", {"S": "no-such-role"}, "Rejected", "doesn't exist"),
        ("role", {"S": "bad-outside"}, "Rejected", "must be under /rolekeeper/"),
        ("role", {"S": "bad-trust"}, "Rejected", "ec2.amazonaws.com"),
        ("role", {"S": "arn:aws:iam::000000000000:role/rolekeeper/s3-read"}, "Rejected", "not its ARN"),
        ("role", {"S": "arn:aws:iam::999999999999:role/rolekeeper/s3-read"}, "Rejected", "999999999999"),
        ("role", {"S": "s3-re\u0430d"}, "Rejected", "CYRILLIC SMALL LETTER A"),
        ("role", {"S": "s3-read\u200b"}, "Rejected", "ZERO WIDTH SPACE"),
        ("enabled", {"S": "false"}, "Rejected", "enabled"),
        ("priority", {"N": "1.5"}, "Rejected", "priority"),
        ("expires_at", {"S": "tomorrow"}, "Rejected", "expires_at"),
        ("description", {"S": "x" * 390_000}, "Rejected", "description"),
    ],
)
def test_a_bad_row_says_why_and_changes_nothing(
    deployed: EmulatedAccount, row: dict[str, Any], column: str, value: Any, status: str, words: str
) -> None:
    deployed.dynamodb.put_item(TableName=deployed.mapping_table, Item={**row, column: value})
    shown = eventually(lambda: deployed.mapping_status("bad", "row", status))
    assert words in shown["status_reason"]
    assert "stays in effect" in shown["status_reason"]
    assert shown["status_revision"] == 1
    deployed.dynamodb.put_item(TableName=deployed.mapping_table, Item=row)
    eventually(lambda: deployed.mapping_status("bad", "row", "Published"))


def test_a_tie_is_a_conflict_that_names_the_other_row(deployed: EmulatedAccount, row: dict[str, Any]) -> None:
    tie = {**row, "tag_value": {"S": "*"}, "role": {"S": "s3-write"}}
    deployed.dynamodb.put_item(TableName=deployed.mapping_table, Item=tie)
    shown = eventually(lambda: deployed.mapping_status("bad", "*", "Conflict"))
    assert "bad=row" in shown["status_reason"]
    instance = deployed.launch("tie", bad="row")
    eventually(lambda: deployed.carries(instance, SERVED))
