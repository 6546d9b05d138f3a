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
    deployed.aws.put_role_into_past(WEB, created=year, services={"sqs": (now - timedelta(days=200)).isoformat()})
    deployed.aws.put_role_into_past(OLD, created=year)
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


def test_a_role_shows_who_carries_it_and_what_it_called(
    deployed: EmulatedAccount, rolekeeper: Command, at_work: str
) -> None:
    web = shown(rolekeeper, WEB)
    [carried] = deployed.ec2.describe_iam_instance_profile_associations(
        Filters=[{"Name": "instance-id", "Values": [at_work]}]
    )["IamInstanceProfileAssociations"]
    assert carried["IamInstanceProfile"]["Arn"].endswith(f"/{web['profiles'][0]}")
    assert (web["instances"], web["mappings"], web["profiles"]) == ([at_work], ["roles=web"], [WEB])
    assert web["last_used"][:10] == web["services_last_used"]["s3"][:10]
    assert datetime.now(UTC) - datetime.fromisoformat(web["last_used"]) < timedelta(hours=1)
    assert web["unused_services"] == ["sns", "sqs"]
    assert (web["unused"], web["broad"]) == (False, False)
    assert [(each["policy"], each["drops"]) for each in web["smaller"]] == [("it", ["sns"])]


def test_the_list_fits_80_columns_and_counts_what_iam_counts(
    deployed: EmulatedAccount, rolekeeper: Command, at_work: str
) -> None:
    del at_work
    ran = rolekeeper("roles")
    assert ran.stderr == ""
    lines = ran.stdout.splitlines()
    assert max(map(len, lines)) <= 80, ran.stdout
    assert any(each.split()[:3] == [WEB, "1", "1"] for each in lines)
    assert any(each.startswith(f"Nothing uses {OLD}: no mapping gives it, ") for each in lines)
    summary = deployed.aws.session().client("iam").get_account_summary()["SummaryMap"]
    assert lines[-1].startswith(f"The account has {summary['InstanceProfiles']:,} of 1,000 instance profiles, ")
    unused = [each["role"] for each in rolekeeper.json("roles", "--unused")["roles"]]
    assert OLD in unused
    assert WEB not in unused


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


def test_a_baseline_is_looked_for_in_every_mapped_role(
    rolekeeper: Command, cli: Aws, deployed: EmulatedAccount, at_work: str
) -> None:
    del at_work
    rows = {each["role"]: each for each in rolekeeper.json("roles", "must-include", SSM, code=1)}
    assert rows[WEB]["includes"] is False
    assert "s3-read" in rows
    assert OLD not in rows
    cli("iam", "attach-role-policy", "--role-name", WEB, "--policy-arn", SSM_ARN)
    [row] = [each for each in rolekeeper.json("roles", "must-include", SSM_ARN, code=1) if each["role"] == WEB]
    assert (row["includes"], row["lacks"], row["mappings"]) == (True, [], ["roles=web"])
    text = rolekeeper("roles", "must-include", SSM, code=1).stdout
    assert any(each.split() == [WEB, "roles=web", "yes"] for each in text.splitlines())
    assert deployed.mapping_status("roles", "web", "Published")


def test_the_permissions_that_are_listed_for_it_are_enough(
    deployed: EmulatedAccount, rolekeeper: Command, cli: Aws, at_work: str
) -> None:
    del at_work
    on_roles = [action for need in NEEDS if (need.purpose, need.on) == ("roles", "roles") for action in need.actions]
    on_all = [action for need in NEEDS if need.purpose == "roles" and need.on != "roles" for action in need.actions]
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


def test_without_the_permission_the_rest_is_shown(
    deployed: EmulatedAccount, rolekeeper: Command, cli: Aws, at_work: str
) -> None:
    everything = allow("*", "*")
    but = {"Effect": "Deny", "Action": "iam:GenerateServiceLastAccessedDetails", "Resource": "*"}
    person = Command({**deployed.aws.env, **session(cli, "roles-operator", "bob", everything, but)})
    ran = person("roles", "--role", WEB)
    arn = f"arn:aws:iam::{deployed.account}:role/rolekeeper/{WEB}"
    assert f"you aren't allowed iam:GenerateServiceLastAccessedDetails on {arn}" in ran.stderr
    assert at_work in ran.stdout
    found = shown(person, WEB)
    assert (found["unused_services"], found["smaller"]) == (None, [])
    assert found["may"] == shown(rolekeeper, WEB)["may"]
