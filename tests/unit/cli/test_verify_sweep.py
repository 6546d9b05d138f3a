"""`verify --sweep`: it shows what verifications left, asks, removes it, and says what is left: over moto's AWS."""

import json
from collections.abc import Iterator
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from fixtures.account import ACCOUNT, REGION
from fixtures.terminal import lines
from fixtures.verification import VerifiedAccount, verified_account
from rolekeeper_cli import terminal
from rolekeeper_cli.errors import ConfigurationError, UsageError
from rolekeeper_cli.options import Options
from rolekeeper_cli.verifying.names import Names
from rolekeeper_cli.verifying.removal import find
from rolekeeper_cli.verifying.sweep import swept

OLD, NEW = "abc123", "xyz789"
HERE = f"in {REGION}, account {ACCOUNT}"


@pytest.fixture
def account() -> Iterator[VerifiedAccount]:
    with verified_account() as made:
        yield made


@pytest.fixture
def two(account: VerifiedAccount) -> VerifiedAccount:
    """What was left two hours ago, and half an hour ago."""
    for each, later in ((OLD, 90 * 60), (NEW, 30 * 60)):
        account.make_stack(Names(each).stack, tagged=each)
        account.make_stack(Names(each).scene, tagged=each)
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


def test_it_shows_what_is_left_removes_it_and_says_that_nothing_is_left(two: VerifiedAccount) -> None:
    two.clock.sleep(60 * 60)
    ran = sweep(two)
    assert ran.exit_code == 0, ran.output
    assert lines(ran.stdout) == [
        "ID NEWEST LEFT NOTE",
        "abc123 2026-03-01T09:00:00Z CloudFormation stack: 2",
        "xyz789 2026-03-01T10:30:00Z CloudFormation stack: 2",
    ]
    assert "deleting: CloudFormation stack rolekeeper-verify-abc123-scene\n" in ran.stderr
    assert "deleted: CloudFormation stack rolekeeper-verify-xyz789\n" in ran.stderr
    assert ran.stderr.endswith(f"Nothing is left of abc123, xyz789 {HERE}.\n")
    assert two.stacks == {}


def test_where_nothing_is_left_nobody_is_asked(account: VerifiedAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "is_terminal", lambda: True)
    ran = sweep(account, yes=False)
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "", f"No verification left anything {HERE}.\n")


def test_without_asking_it_takes_also_what_may_still_be_running(two: VerifiedAccount) -> None:
    ran = sweep(two)
    assert (ran.exit_code, two.stacks) == (0, {})
    assert [each.endswith("it may still be running") for each in lines(ran.stdout)[1:]] == [False, True]


def test_an_id_is_of_one_verification(two: VerifiedAccount) -> None:
    assert sweep(two, NEW).stderr.endswith(f"Nothing is left of xyz789 {HERE}.\n")
    assert sweep(two, NEW).stderr == f"Verification xyz789 left nothing {HERE}.\n"
    assert {*two.stacks} == {Names(OLD).stack, Names(OLD).scene}


@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, 0), ("n\n", 1, 4)])
def test_a_person_is_asked_about_all_of_it(
    two: VerifiedAccount, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, left: int
) -> None:
    monkeypatch.setattr(terminal, "is_terminal", lambda: True)
    ran = sweep(two, yes=False, types=answer)
    assert (ran.exit_code, len(two.stacks)) == (code, left)
    assert "Remove what abc123, xyz789 left? [y/N]:" in ran.stderr
    assert [each.endswith("it may still be running") for each in lines(ran.stdout)[1:]] == [False, True]


def test_without_a_terminal_it_needs_yes(two: VerifiedAccount) -> None:
    assert isinstance(sweep(two, yes=False).exception, UsageError)
    assert len(two.stacks) == 4


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


def test_what_is_only_named_like_a_verifications_is_left_even_if_it_is_named(account: VerifiedAccount) -> None:
    account.make_stack("rolekeeper-verify-prod01")
    account.make_stack("rolekeeper-verify-prod01-eu")
    ran = sweep(account, "prod01")
    named = "CloudFormation stack rolekeeper-verify-prod01, CloudFormation stack rolekeeper-verify-prod01-eu"
    assert f"Not touched: {named}. Named like a verification's, but no bucket or tag" in ran.stderr
    assert find(account).leftovers == []
    assert len(account.stacks) == 2
