"""Roles of other actors stay where they are, by plain AWS CLI calls: unless both the stack and a row let them go."""

import json
from collections.abc import Callable, Iterator

import pytest

from fixtures.aws_cli import ANYBODY, Aws, association, aws_command, carries, make_role
from rolekeeper_local.ec2_model import Timings
from rolekeeper_local.embedded import STACK, EmbeddedAws
from support.waiting import eventually, stays

pytestmark = pytest.mark.emulator


@pytest.fixture(scope="module")
def own(free_port: Callable[[], int]) -> Iterator[EmbeddedAws]:
    """An AWS of its own: the stack is deployed a second time here."""
    with EmbeddedAws(port=free_port(), timings=Timings()) as embedded:
        embedded.deploy(Mode="enforce")
        yield embedded


@pytest.fixture(scope="module")
def cli(own: EmbeddedAws) -> Aws:
    """The installed `aws` command, on that AWS."""
    command = aws_command(own.env)
    for name, path in (("team", "/rolekeeper/"), ("node", "/")):
        make_role(command, name, path=path)
    return command


def launch(cli: Aws, profile: str = "", tags: str = "") -> str:
    given = ["--iam-instance-profile", f"Name={profile}"] if profile else []
    tagged = ["--tag-specifications", f"ResourceType=instance,Tags=[{tags}]"] if tags else []
    launched = cli("ec2", "run-instances", "--image-id", "ami-12345678", *given, *tagged)
    return str(launched["Instances"][0]["InstanceId"])


def put_row(cli: Aws, aws: EmbeddedAws, **columns: str) -> None:
    row = {"tag_key": "team", "tag_value": "*", "role": "team", **columns}
    item = json.dumps({name: {"S": value} for name, value in row.items()})
    cli("dynamodb", "put-item", "--table-name", aws.stack_outputs()["MappingTable"], "--item", item)


def row(cli: Aws, aws: EmbeddedAws) -> dict[str, str]:
    key = json.dumps({"tag_key": {"S": "team"}, "tag_value": {"S": "*"}})
    found = cli("dynamodb", "get-item", "--table-name", aws.stack_outputs()["MappingTable"], "--key", key)
    return {name: next(iter(value.values())) for name, value in found["Item"].items()}


def as_function(cli: Aws, aws: EmbeddedAws, role: str) -> Aws:
    """The `aws` command with the credentials of one of the functions' roles."""
    found = cli("cloudformation", "describe-stack-resource", "--stack-name", STACK, "--logical-resource-id", role)
    name = found["StackResourceDetail"]["PhysicalResourceId"]
    trusted = cli("iam", "get-role", "--role-name", name)["Role"]["AssumeRolePolicyDocument"]
    cli("iam", "update-assume-role-policy", "--role-name", name, "--policy-document", ANYBODY)
    arn = cli("iam", "get-role", "--role-name", name)["Role"]["Arn"]
    got = cli("sts", "assume-role", "--role-arn", arn, "--role-session-name", "function")["Credentials"]
    cli("iam", "update-assume-role-policy", "--role-name", name, "--policy-document", json.dumps(trusted))
    keys = {
        "AWS_ACCESS_KEY_ID": got["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": got["SecretAccessKey"],
        "AWS_SESSION_TOKEN": got["SessionToken"],
    }
    return aws_command({**aws.env, **keys})


def test_a_foreign_role_stays_and_iam_keeps_the_functions_from_it(cli: Aws, own: EmbeddedAws) -> None:
    put_row(cli, own)
    eventually(lambda: row(cli, own).get("status") == "Published")
    node = eventually(lambda: launch_with_profile(cli), 30)
    eventually(lambda: carries(cli, node, "node"), 30)
    stays(lambda: carries(cli, node, "node") is not None, 3)

    cli("lambda", "invoke", "--function-name", function(cli, "OnSchedule"), "--payload", "e30=", "/dev/null")
    assert row(cli, own)["occupied"] == "1"
    assert "instances that carry foreign roles keep them" in row(cli, own)["status_reason"]

    present = association(cli, node)["AssociationId"]
    for role in ("OnInstanceEventRole", "OnRetryRole"):
        limited = as_function(cli, own, role)
        for call in (
            ("disassociate-iam-instance-profile", "--association-id", present),
            (
                *("replace-iam-instance-profile-association", "--association-id", present),
                *("--iam-instance-profile", "Name=team"),
            ),
        ):
            with pytest.raises(AssertionError, match="UnauthorizedOperation"):
                limited("ec2", *call)
    assert carries(cli, node, "node")

    bare = launch(cli, tags="{Key=team,Value=a}")
    eventually(lambda: carries(cli, bare, "team"), 30)
    key = json.dumps({"tag_key": {"S": "team"}, "tag_value": {"S": "*"}})
    cli("dynamodb", "delete-item", "--table-name", own.stack_outputs()["MappingTable"], "--key", key)
    eventually(lambda: association(cli, bare) is None, 30)
    assert carries(cli, node, "node"), "a deleted mapping takes away managed roles only"


def test_where_stack_and_row_both_say_so_it_is_taken_over(cli: Aws, own: EmbeddedAws) -> None:
    own.deploy(Mode="enforce", TakeOver="true")
    node = launch(cli, "node", "{Key=team,Value=b}")
    put_row(cli, own)
    eventually(lambda: row(cli, own).get("status") == "Published")
    eventually(lambda: carries(cli, node, "node"), 30)
    stays(lambda: carries(cli, node, "node") is not None, 3)

    put_row(cli, own, when_occupied="replace")
    eventually(lambda: carries(cli, node, "team"), 30)
    history = {":pk": {"S": f"instance#000000000000#us-east-1#{node}"}, ":sk": {"S": "history#"}}
    entries = cli(
        *("dynamodb", "query", "--table-name", own.stack_outputs()["StateTable"], "--no-scan-index-forward"),
        *("--key-condition-expression", "pk = :pk AND begins_with(sk, :sk)"),
        *("--expression-attribute-values", json.dumps(history)),
    )["Items"]
    taken = next(each for each in entries if each["decision"]["M"]["takes-over"]["BOOL"])
    assert taken["seen"]["M"]["profile-arn"]["S"] == "arn:aws:iam::000000000000:instance-profile/node"
    assert taken["outcome"]["S"] == "done"


def launch_with_profile(cli: Aws) -> str:
    """Launch, once EC2 knows the profile."""
    try:
        return launch(cli, "node", "{Key=team,Value=a}")
    except AssertionError as error:
        if "Invalid IAM Instance Profile" in str(error):
            return ""
        raise


def function(cli: Aws, name: str) -> str:
    found = cli("cloudformation", "describe-stack-resource", "--stack-name", STACK, "--logical-resource-id", name)
    return str(found["StackResourceDetail"]["PhysicalResourceId"])
