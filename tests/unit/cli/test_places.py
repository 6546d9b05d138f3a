"""The targets that a command looks at: which are asked, in which order, and which are unseen."""

from collections.abc import Iterator

from fixtures.account import ACCOUNT, REGION
from fixtures.mappings import MappingsFixture
from fixtures.spokes import SpokeFixture
from fixtures.terminal import Terminal
from rolekeeper.aws.errors import AccessDeniedError
from rolekeeper.model.instance import Target
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.options import Options
from rolekeeper_cli.uses.targets import Places

ONE, OTHER = "111111111111", "222222222222"


def test_each_account_is_asked_once_and_all_targets_of_one_that_refuses_are_unseen(
    terminal: Terminal, desk: MappingsFixture
) -> None:
    found = [Target(ACCOUNT, "us-east-2"), *(Target(each, at) for each in (ONE, OTHER) for at in (REGION, "us-west-2"))]
    for each in found:
        SpokeFixture(terminal, desk, each).registered()

    def question(place: Deployment) -> Iterator[Target]:
        if place.settings.account == ONE:
            raise AccessDeniedError("AccessDenied", "no", "iam:GetRole", "*")
        yield place.settings.target

    places = Places.chosen(Deployment(Options(region=REGION)))
    assert list(places.ask_accounts(question)) == [Target(ACCOUNT, REGION), Target(OTHER, REGION)]
    assert [*places.unseen] == [Target(ONE, REGION), Target(ONE, "us-west-2")]
    assert places.unseen_in_words() == [
        f"{ONE}/{REGION}, {ONE}/us-west-2 are left out: you aren't allowed iam:GetRole on *"
    ]
