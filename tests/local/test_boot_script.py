"""The boot script that waits for the role, in real shells, against the embedded AWS's metadata service."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rolekeeper_cli import installed
from rolekeeper_local.embedded import EmbeddedAws
from support.roles import make_profile
from support.waiting import eventually

pytestmark = [pytest.mark.emulator, pytest.mark.xdist_group("emulator")]

SCRIPT = installed.BOOT_SCRIPT
# Its own: other tests count what was called in theirs.
ACCOUNT = "800000000000"


class Machine:
    """An instance without a role, in an account with two."""

    def __init__(self, aws: EmbeddedAws) -> None:
        self.aws = aws
        self.ec2: Any = aws.session(account=ACCOUNT).client("ec2")
        for name in ("boot-web", "boot-db"):
            make_profile(aws, name, account=ACCOUNT)
        made = self.ec2.run_instances(ImageId="ami-1", MinCount=1, MaxCount=1)
        self.id = str(made["Instances"][0]["InstanceId"])

    def attach(self, role: str) -> str:
        made = self.ec2.associate_iam_instance_profile(InstanceId=self.id, IamInstanceProfile={"Name": role})
        return str(made["IamInstanceProfileAssociation"]["AssociationId"])

    def replace(self, association: str, role: str) -> None:
        self.ec2.replace_iam_instance_profile_association(AssociationId=association, IamInstanceProfile={"Name": role})

    def boots(self, *arguments: str, shell: str = "sh", **variables: str) -> subprocess.Popen[str]:
        return run(*arguments, shell=shell, endpoint=self.aws.imds(self.id), variables=variables)


@pytest.fixture
def machine(aws: EmbeddedAws) -> Machine:
    return Machine(aws)


def run(*arguments: str, shell: str = "sh", endpoint: str, variables: Mapping[str, str]) -> subprocess.Popen[str]:
    env = {"PATH": os.environ["PATH"], "AWS_EC2_METADATA_SERVICE_ENDPOINT": endpoint, **variables}
    return subprocess.Popen(
        [shell, str(SCRIPT), *arguments], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def with_command(folder: Path, name: str, script: str) -> str:
    """A PATH on which a command is this script."""
    (folder / name).write_text(f"#!/bin/sh\n{script}")
    (folder / name).chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def ended(boot: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = boot.communicate(timeout=20)
    return boot.returncode, said.strip()


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_it_waits_until_a_role_comes(machine: Machine, shell: str) -> None:
    boot = machine.boots(shell=shell)
    with pytest.raises(subprocess.TimeoutExpired):
        boot.wait(1.2)
    machine.attach("boot-web")
    assert ended(boot) == (0, "wait-for-role: it has the role boot-web")


def test_it_waits_until_another_role_is_replaced_by_the_named_one(machine: Machine) -> None:
    association = machine.attach("boot-db")
    boot = machine.boots("boot-web")
    with pytest.raises(subprocess.TimeoutExpired):
        boot.wait(1.2)
    machine.replace(association, "boot-web")
    assert ended(boot) == (0, "wait-for-role: it has the role boot-web")


def test_it_fails_when_the_time_is_over_and_says_what_the_instance_has(machine: Machine) -> None:
    explain = f"to see why: rolekeeper explain {machine.id}"
    assert ended(machine.boots("", "1")) == (1, f"wait-for-role: waited 1 s for a role: it has no role; {explain}")
    machine.attach("boot-db")
    eventually(lambda: ended(machine.boots())[0] == 0)
    assert ended(machine.boots(ROLE="boot-web", TIMEOUT="1")) == (
        1,
        f"wait-for-role: waited 1 s for the role boot-web: it has the role boot-db; {explain}",
    )


def test_a_role_that_ec2_may_not_assume_is_not_enough(tmp_path: Path) -> None:
    answers = {
        "*/token": "t",
        "*-credentials/": "web",
        "*-credentials/web": '{"Code" : "Failed"}',
        "*/instance-id": "i-1",
    }
    cases = "".join(f"{address}) echo '{answer}' ;;\n" for address, answer in answers.items())
    path = with_command(tmp_path, "curl", f'for address do :; done\ncase "$address" in\n{cases}esac\n')
    code, said = ended(run(endpoint="http://imds", variables={"PATH": path, "TIMEOUT": "0"}))
    assert code == 1
    assert "it has the role web without credentials; to see why: rolekeeper explain i-1" in said


def test_it_says_when_nothing_answers() -> None:
    code, said = ended(run(endpoint="http://127.0.0.1:1/", variables={"TIMEOUT": "0"}))
    assert (code, said) == (1, "wait-for-role: waited 0 s for a role: no answer from http://127.0.0.1:1/latest")


def test_it_completes_a_lifecycle_hook_of_which_it_knows_both_names(machine: Machine, tmp_path: Path) -> None:
    """And tries again when the hook's wait begins later."""
    machine.attach("boot-web")
    calls = tmp_path / "calls"
    path = with_command(tmp_path, "aws", f'echo "$@" >> {calls}\n[ "$(wc -l < {calls})" -ge 2 ]\n')
    boot = machine.boots(PATH=path, LIFECYCLE_HOOK="wait-for-role", AUTO_SCALING_GROUP="the web")
    assert ended(boot) == (0, "wait-for-role: it has the role boot-web")
    first, second = calls.read_text().splitlines()
    assert first == second
    assert first == (
        "autoscaling complete-lifecycle-action --lifecycle-action-result CONTINUE --lifecycle-hook-name "
        f"wait-for-role --auto-scaling-group-name the web --instance-id {machine.id} --region us-east-1"
    )
    code, said = ended(machine.boots(LIFECYCLE_HOOK="wait-for-role"))
    assert (code, said) == (1, "wait-for-role: set both LIFECYCLE_HOOK and AUTO_SCALING_GROUP, or none of them")
