"""Problems and remedies as the command writes them."""

import pytest

from rolekeeper.model.problem import Kind, Problem, Remedy, advice


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem("it is gone"), "it is gone"),
        (Problem("it is gone", "make it"), "it is gone; make it"),
        (Problem("is missing", "give one", column="role"), "role: is missing; give one"),
        (Problem("is missing", column="role"), "role: is missing"),
    ],
)
def test_a_problem_names_its_column_and_then_what_to_do(problem: Problem, text: str) -> None:
    assert str(problem) == text


@pytest.mark.parametrize(
    ("remedy", "command"),
    [
        (Remedy(Kind.MAPPINGS), "rolekeeper mapping ls"),
        (Remedy(Kind.RELEASE, ("i-0abc",)), "rolekeeper release i-0abc"),
        (Remedy(Kind.REVOKE, ("i-0abc",)), "rolekeeper revoke i-0abc"),
        (Remedy(Kind.REPLACE, ("i-0abc", "web")), "rolekeeper replace i-0abc web"),
        (Remedy(Kind.ATTACH, ("i-0abc", "web", "edge")), "rolekeeper attach i-0abc web --instance-profile edge"),
        (Remedy(Kind.ROLL_BACK, ("app", "web", "3")), "rolekeeper mapping rollback app=web --to 3"),
        (Remedy(Kind.APPROVE, ("app", "a b", "3")), "rolekeeper mapping approve 'app=a b' --revision 3"),
        (Remedy(Kind.MAPPING, ("a=b", "*")), r"rolekeeper mapping get 'a\=b=*'"),
        (Remedy(Kind.TAG, ("i", "k", "a b"), " -x"), "aws ec2 create-tags --resources i --tags 'Key=k,Value=a b' -x"),
        (Remedy(Kind.UNTAG, ("i-0abc", "app")), "aws ec2 delete-tags --resources i-0abc --tags Key=app"),
        (Remedy(Kind.OTHER, ("make deploy",)), "make deploy"),
    ],
)
def test_a_remedy_is_the_command_to_type(remedy: Remedy, command: str) -> None:
    assert str(remedy) == command
    assert str(advice("to do it: ", remedy, "; or wait")) == f"to do it: {command}; or wait"
