"""An organization in the embedded AWS: its targets, and what is done side by side in them."""

from threading import Event

import pytest

from rolekeeper_local.settings import ACCOUNTS
from rolekeeper_local.spokes import side_by_side, targets


@pytest.mark.parametrize("accounts", [2, 3])
def test_each_account_is_there_in_two_regions_and_the_hubs_own_is_the_first(accounts: int) -> None:
    assert [str(each) for each in targets(accounts)] == [
        f"{account}/{region}" for account in ACCOUNTS[:accounts] for region in ("us-east-1", "eu-west-1")
    ]


def test_ctrl_c_waits_for_no_deployment_that_goes_on_beside_others() -> None:
    goes_on, ended = Event(), Event()

    def deploy(interrupted: str) -> None:
        if interrupted:
            raise KeyboardInterrupt
        goes_on.wait(10)
        ended.set()

    with pytest.raises(KeyboardInterrupt):
        side_by_side(deploy, ["Ctrl-C", ""])
    assert not ended.is_set()
    goes_on.set()
