"""`verify --sweep`: it shows what verifications left, asks, removes it, and says what is left: over moto's AWS."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from fixtures.account import ACCOUNT, REGION
from fixtures.terminal import lines
from fixtures.verification import VerifiedAccount, verified_account
from rolekeeper_cli.errors import ConfigurationError
from rolekeeper_cli.options import Options
from rolekeeper_verify.names import TAG, Names
from rolekeeper_verify.sweep import swept

OLD, NEW = "abc123", "xyz789"
HERE = f"in {REGION}, account {ACCOUNT}"


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[VerifiedAccount]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with verified_account() as made:
        yield made


@pytest.fixture
def two(account: VerifiedAccount) -> VerifiedAccount:
    """What was left two hours ago, and half an hour ago."""
    for each, later in ((OLD, 90 * 60), (NEW, 30 * 60)):
        account.artifacts(each)
        account.make_stack(Names(each).stack, of=each)
        account.make_stack(Names(each).scene, of=each)
        account.clock.sleep(later)
    return account


def sweep(
    account: VerifiedAccount, id_: str | None = None, *, yes: bool = True, types: str = "", output: str = "table"
) -> Result:
    command = click.Command("sweep", callback=lambda: click.get_current_context().exit(swept(account, id_, yes=yes)))
    return CliRunner().invoke(command, input=types, obj=Options(output=output))


def document(account: VerifiedAccount, code: int = 0) -> Any:
    ran = sweep(account, output="json")
    assert ran.exit_code == code, ran.output
    return json.loads(ran.stdout)


def test_without_asking_it_takes_also_what_may_still_be_running(two: VerifiedAccount) -> None:
    ran = sweep(two)
    assert (ran.exit_code, two.stacks) == (0, {})
    assert [each.endswith("it may still be running") for each in lines(ran.stdout)[1:]] == [False] * 3 + [True] * 3


def test_what_couldn_t_be_removed_is_named_with_the_reason(two: VerifiedAccount) -> None:
    two.clock.sleep(60 * 60)
    two.denied.add("DeleteStack")
    ran = sweep(two)
    assert ran.exit_code == 1
    why = f"you aren't allowed cloudformation:DeleteStack on {two.stacks[Names(OLD).stack]['StackId']}"
    assert f"! not deleted: CloudFormation stack {Names(OLD).stack}: {why}\n" in ran.stderr
    assert f"! Still there: CloudFormation stack {Names(OLD).stack}\n" in ran.stderr
    assert "Nothing is left" not in ran.stderr


def test_programs_get_what_was_found_and_what_is_left(two: VerifiedAccount) -> None:
    found = document(two)
    assert [
        (each["id"], each["newest"], each["may_be_running"], each["removed"]) for each in found["verifications"]
    ] == [
        (OLD, "2026-03-01T09:00:00.000000Z", False, True),
        (NEW, "2026-03-01T10:30:00.000000Z", True, True),
    ]
    assert (found["left"], found["unknown"], found["elsewhere"]) == ([], [], [])


def test_it_claims_nothing_if_a_service_doesn_t_answer(account: VerifiedAccount) -> None:
    account.denied.add("ListRoles")
    ran = sweep(account)
    assert (ran.exit_code, ran.stderr) == (1, "! It isn't known what is left: you aren't allowed iam:ListRoles on *\n")


def test_what_was_left_in_another_region_is_named_with_the_command(account: VerifiedAccount) -> None:
    account.artifacts(OLD, "eu-west-1")
    ran = sweep(account)
    assert ran.exit_code == 0
    assert f"Left in eu-west-1: {OLD}. See: rolekeeper verify --sweep --region eu-west-1\n" in ran.stderr
    error = sweep(account, OLD).exception
    assert isinstance(error, ConfigurationError)
    assert error.remedy == f"rolekeeper verify --sweep --id {OLD} --region eu-west-1"


def test_what_only_looks_like_a_verifications_is_shown_with_how_a_person_removes_it(account: VerifiedAccount) -> None:
    """Six letters that a tagger typed don't get production terminated, whatever is asked for."""
    instance = account.instance((TAG, "prod01"), ("Name", "prod-api"))
    stack = account.make_stack("rolekeeper-verify-prod01")
    for id_ in (None, "prod01"):
        ran = sweep(account, id_)
        unproven = "Not touched, because no record proves that a verification made it: "
        by_hand = f"EC2 instance {instance} (prod-api). If it isn't in use: aws ec2 terminate-instances --instance-ids"
        assert f"{unproven}{by_hand} {instance}\n" in ran.stderr
        assert f"{unproven}CloudFormation stack {stack}. If it isn't in use: aws cloudformation" in ran.stderr
        assert ran.stderr.endswith(f" that is proven to be its own {HERE}.\n")
        assert (ran.exit_code, ran.stdout) == (0, "")
    assert len(account.stacks) == 1
    assert [each["kind"] for each in document(account)["unproven"]] == [
        "EC2 instance",
        "CloudFormation stack",
        "EBS volume",
    ]
    [group] = account.client("ec2").describe_instances()["Reservations"]
    assert group["Instances"][0]["State"]["Name"] == "running"
