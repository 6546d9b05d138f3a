"""The installed `aws` command, as a person types it, and what they look at with it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

type Aws = Callable[..., Any]

TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
    }
)


def aws_command(env: Mapping[str, str]) -> Aws:
    """The `aws` command under these variables: a process for each call, its answer as JSON values."""

    def run(*arguments: str) -> Any:
        command = [str(Path(sys.executable).parent / "aws"), *arguments, "--output", "json"]
        done = subprocess.run(
            command, env={"PATH": os.environ["PATH"], **env}, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}"
        return json.loads(done.stdout) if done.stdout.strip() else None

    return run


def make_role(cli: Aws, name: str, *allowed: str, path: str = "/rolekeeper/") -> None:
    """Make a role with its profile, that may do these actions on everything."""
    cli("iam", "create-role", "--role-name", name, "--path", path, "--assume-role-policy-document", TRUST)
    if allowed:
        statement = {"Effect": "Allow", "Action": allowed, "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        cli("iam", "put-role-policy", "--role-name", name, "--policy-name", "it", "--policy-document", policy)
    cli("iam", "create-instance-profile", "--instance-profile-name", name, "--path", path)
    cli("iam", "add-role-to-instance-profile", "--instance-profile-name", name, "--role-name", name)


def association(cli: Aws, instance: str) -> Any:
    """The association that EC2 shows for an instance, if any."""
    answer = cli(
        "ec2", "describe-iam-instance-profile-associations", "--filters", f"Name=instance-id,Values={instance}"
    )
    rows = [row for row in answer["IamInstanceProfileAssociations"] if row["State"] != "disassociated"]
    assert len(rows) <= 1, rows
    return rows[0] if rows else None


def carries(cli: Aws, instance: str, profile: str) -> Any:
    """The association, once EC2 shows this profile as associated."""
    found = association(cli, instance)
    ready = found and found["State"] == "associated" and found["IamInstanceProfile"]["Arn"].endswith(f"/{profile}")
    return found if ready else None


def roles_of(cli: Aws, tag: str, value: str) -> dict[str, str]:
    """The profile's name of every instance that isn't terminated and carries a tag, empty for none."""
    filters = [f"Name=tag:{tag},Values={value}", "Name=instance-state-name,Values=pending,running,stopping,stopped"]
    described = cli("ec2", "describe-instances", "--filters", *filters)
    ids = [each["InstanceId"] for group in described["Reservations"] for each in group["Instances"]]
    shown = cli("ec2", "describe-iam-instance-profile-associations", "--filters", "Name=state,Values=associated")
    profiles = {
        row["InstanceId"]: row["IamInstanceProfile"]["Arn"].rsplit("/", 1)[-1]
        for row in shown["IamInstanceProfileAssociations"]
    }
    return {instance: profiles.get(instance, "") for instance in ids}
