"""`verify --sweep` says what it couldn't remove or look at. Transcripts show the rest."""

import click
from click.testing import CliRunner, Result

from fixtures.verification import VerifiedAccount
from rolekeeper_cli.options import Options
from rolekeeper_verify.names import Names
from rolekeeper_verify.sweep import swept


def sweep(account: VerifiedAccount) -> Result:
    command = click.Command("sweep", callback=lambda: click.get_current_context().exit(swept(account, yes=True)))
    return CliRunner().invoke(command, obj=Options())


def test_what_couldn_t_be_removed_is_named_with_the_reason(account: VerifiedAccount) -> None:
    account.artifacts("abc123")
    stack = Names("abc123").stack
    id_ = account.make_stack(stack, of="abc123")
    account.denied.add("DeleteStack")
    ran = sweep(account)
    why = f"you aren't allowed cloudformation:DeleteStack on {id_}"
    assert f"! not deleted: CloudFormation stack {stack}: {why}\n" in ran.stderr
    assert f"! Still there: CloudFormation stack {stack}\n" in ran.stderr
    assert (ran.exit_code, "Nothing is left" in ran.stderr) == (1, False)


def test_it_claims_nothing_if_a_service_doesn_t_answer(account: VerifiedAccount) -> None:
    account.denied.add("ListRoles")
    ran = sweep(account)
    assert (ran.exit_code, ran.stderr) == (1, "! It isn't known what is left: you aren't allowed iam:ListRoles on *\n")
