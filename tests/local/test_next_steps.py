"""What `rolekeeper local` says to type next; tests/e2e/test_wheel.py and test_organization.py type it."""

import sys
from pathlib import Path

import pytest

from rolekeeper_local.embedded import EmbeddedAws
from rolekeeper_local.next_steps import next_steps

OURS = Path(sys.executable).with_name("rolekeeper")


@pytest.mark.parametrize(
    ("programs", "path_is_given", "launches"),
    [
        ({"rolekeeper": OURS}, False, sys.executable),
        ({"rolekeeper": OURS, "aws": Path("/bin/true")}, False, "aws ec2 run-instances"),
        # That of another installation: ours comes first, and in a clone the AWS CLI is beside it.
        ({"rolekeeper": Path("/bin/true")}, True, "aws ec2 run-instances"),
        ({}, True, "aws ec2 run-instances"),
    ],
)
def test_the_block_finds_the_command_and_launches_by_what_there_is(
    tmp_path: Path, programs: dict[str, Path], launches: str, *, path_is_given: bool
) -> None:
    for name, program in programs.items():
        (tmp_path / name).symlink_to(program)
    said = next_steps(EmbeddedAws(port=4599), 1, {"PATH": str(tmp_path)})
    assert (f'export PATH={OURS.parent}:"$PATH"\n' in said) is path_is_given
    assert f"\ninstance=$({launches}" in said
    assert said.endswith("\nCtrl-C ends this AWS. It keeps nothing.")


@pytest.mark.parametrize(("accounts", "others"), [(2, "web (111111111111)"), (3, "web (111111111111), data (2222")])
def test_the_block_acts_as_the_hubs_operators_where_there_are_several_accounts(accounts: int, others: str) -> None:
    said = next_steps(EmbeddedAws(port=4599), accounts)
    assert "AWS_PROFILE=hub\n" in said
    assert "AWS_ACCESS_KEY_ID=" not in said, "a key would come before the profile"
    assert "instance=111111111111/us-east-1/$(" in said
    assert f"hub (sees all accounts), {others}" in said
    assert ("data" in said) is (accounts == 3)
