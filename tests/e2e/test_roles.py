"""`rolekeeper roles` on the embedded AWS: what a role really called, and that a smaller policy takes nothing else."""

import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fixtures.aws_cli import ANYBODY, TRUST, Aws, aws_command, make_role, session
from fixtures.command import Command
from rolekeeper_cli.checks.caller import NEEDS
from rolekeeper_local.account import EmulatedAccount
from support.waiting import eventually

pytestmark = pytest.mark.emulator

WEB, OLD = "roles-web", "roles-old"
SSM = "AmazonSSMManagedInstanceCore"
SSM_ARN = f"arn:aws:iam::aws:policy/{SSM}"


@pytest.fixture(scope="module")
def rolekeeper(deployed: EmulatedAccount) -> Command:
    return Command(deployed.aws.env)


@pytest.fixture(scope="module")
def at_work(deployed: EmulatedAccount, cli: Aws) -> Iterator[str]:
    """A role that is a year old and called S3 today, SQS 200 days ago and SNS never; an instance carries it."""
    make_role(cli, WEB, "s3:ListAllMyBuckets", "sns:ListTopics", "sqs:ListQueues")
    make_role(cli, OLD, "s3:ListAllMyBuckets")
    now = datetime.now(UTC)
    year = (now - timedelta(days=365)).isoformat()
    services = {"sqs": (now - timedelta(days=200)).isoformat()}
    deployed.aws.control("role-past", {"role": WEB, "created": year, "services": services})
    deployed.aws.control("role-past", {"role": OLD, "created": year})
    cli("iam", "update-assume-role-policy", "--role-name", WEB, "--policy-document", ANYBODY)
    role_session(deployed, cli)("s3api", "list-buckets")
    cli("iam", "update-assume-role-policy", "--role-name", WEB, "--policy-document", TRUST)
    deployed.put_mapping("roles", "web", role=WEB)
    eventually(lambda: deployed.mapping_status("roles", "web", "Published"))
    instance = deployed.launch("roles", roles="web")
    eventually(lambda: deployed.carries(instance, WEB))
    yield instance
    deployed.ec2.terminate_instances(InstanceIds=[instance])
    deployed.delete_mapping("roles", "web")


def role_session(deployed: EmulatedAccount, cli: Aws) -> Aws:
    """The `aws` command in a session of the role."""
    arn = f"arn:aws:iam::{deployed.account}:role/rolekeeper/{WEB}"
    got = cli("sts", "assume-role", "--role-arn", arn, "--role-session-name", "instance")["Credentials"]
    keys = {
        "AWS_ACCESS_KEY_ID": got["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": got["SecretAccessKey"],
        "AWS_SESSION_TOKEN": got["SessionToken"],
    }
    return aws_command({**deployed.aws.env, **keys})


def allow(resource: str, *actions: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": actions, "Resource": resource}


def shown(rolekeeper: Command, name: str) -> Any:
    [found] = rolekeeper.json("roles", "--role", name)["roles"]
    return found


def test_the_smaller_policy_takes_what_was_never_called_and_nothing_else(
    deployed: EmulatedAccount, rolekeeper: Command, cli: Aws, at_work: str
) -> None:
    del at_work
    cli("iam", "attach-role-policy", "--role-name", WEB, "--policy-arn", SSM_ARN)
    commands = {each["policy"]: shlex.split(each["command"]) for each in shown(rolekeeper, WEB)["smaller"]}
    assert commands.keys() == {"it", SSM_ARN}
    cli("iam", "update-assume-role-policy", "--role-name", WEB, "--policy-document", ANYBODY)
    for name, *arguments in commands.values():
        assert name == "aws"
        cli(*arguments)
    instance = role_session(deployed, cli)
    instance("s3api", "list-buckets")
    instance("sqs", "list-queues", "--endpoint-url", deployed.aws.endpoint)
    with pytest.raises(AssertionError, match=r"AuthorizationError|AccessDenied"):
        instance("sns", "list-topics")
    assert cli("iam", "list-attached-role-policies", "--role-name", WEB)["AttachedPolicies"] == []
    # That attempt counts, though it was denied; but no policy allows the service now, so no report lists it.
    web = shown(rolekeeper, WEB)
    assert (web["smaller"], sorted(web["services_last_used"])) == ([], ["s3", "sqs"])


def test_the_permissions_that_are_listed_for_it_are_enough(
    deployed: EmulatedAccount, rolekeeper: Command, cli: Aws, at_work: str
) -> None:
    del at_work
    on_roles = [
        action for need in NEEDS if (need.purpose, need.on) == ("roles", "roles") for action in need.actions.split()
    ]
    on_all = [
        action for need in NEEDS if need.purpose == "roles" and need.on != "roles" for action in need.actions.split()
    ]
    statements = (
        allow(f"arn:aws:iam::{deployed.account}:role/rolekeeper/*", *on_roles),
        # Which tables, stack and policies there are is another test's.
        allow("*", "cloudformation:DescribeStacks", *on_all),
    )
    person = Command({**deployed.aws.env, **session(cli, "roles-reader", "ann", *statements)})
    ran = person("roles")
    assert ran.stderr == ""
    assert ran.stdout == rolekeeper("roles").stdout
    # Of a role that isn't there it can't be told whether it is under the path: IAM refuses to say that it is missing.
    seen, all_ = (
        [each for each in command.json("roles", "must-include", SSM, code=1) if not each["unknown_because"]]
        for command in (person, rolekeeper)
    )
    assert seen == all_ != []
