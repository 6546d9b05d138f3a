"""When instances get credentials of their role, and when software that keeps them asks for new ones; no emulator."""

import itertools

import pytest

from rolekeeper_local import software
from rolekeeper_local.ec2_credentials import CredentialSchedule
from rolekeeper_local.ec2_model import Profile, Timings
from rolekeeper_local.ec2_truth import Ec2Truth
from rolekeeper_local.software import Sdk

HOUR = 3600.0


class Fleet:
    """Instances in virtual time, and which of them get credentials: the profile of each delivery."""

    def __init__(self) -> None:
        self.time = 0.0
        numbers = itertools.count(1)
        self.ec2 = Ec2Truth(
            now=lambda: self.time,
            new_id=lambda kind: f"{kind}-{next(numbers):017x}",
            find_profile=lambda name: Profile(name, arn=name, id=f"AIPA{name}", roles=(f"role-{name}",)),
            emit=lambda _event: None,
            timings=Timings(pending=0, stopping=0, associating=1, disassociating=1, hour=HOUR),
        )
        self.schedule = CredentialSchedule(self.ec2)

    def launch(self, profile: str) -> str:
        return self.ec2.launch(profile=profile).id

    def after(self, seconds: float) -> list[str]:
        """What was delivered once this time has passed."""
        self.time += seconds
        self.ec2.tick()
        return [row.profile_arn for row in self.schedule.due(self.time)]


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


def test_credentials_are_delivered_once_a_role_is_associated_and_then_each_hour(fleet: Fleet) -> None:
    fleet.launch("web")
    assert fleet.after(0) == [], "it is associating"
    assert fleet.after(1) == ["web"]
    assert fleet.after(0) == []
    assert fleet.after(HOUR - 1) == []
    assert fleet.after(1) == ["web"]
    assert fleet.after(HOUR) == ["web"]


def test_a_replace_delivers_the_new_role_at_once_and_the_former_one_never_again(fleet: Fleet) -> None:
    instance = fleet.launch("web")
    fleet.after(1)
    association = fleet.ec2.association_of(instance)
    assert association
    fleet.after(HOUR / 2)
    fleet.ec2.replace(association.id, "db")
    assert fleet.after(1) == ["db"]
    assert fleet.after(HOUR / 2) == [], "its own hour has begun"
    assert fleet.after(HOUR / 2) == ["db"]


def test_nothing_is_delivered_after_a_detach(fleet: Fleet) -> None:
    instance = fleet.launch("web")
    fleet.after(1)
    association = fleet.ec2.association_of(instance)
    assert association
    fleet.ec2.disassociate(association.id)
    assert fleet.after(1) == []
    assert fleet.after(HOUR) == []


def test_a_stopped_instance_gets_none_until_it_starts(fleet: Fleet) -> None:
    instance = fleet.launch("web")
    fleet.after(1)
    fleet.ec2.stop(instance)
    assert fleet.after(HOUR) == []
    fleet.ec2.start(instance)
    assert fleet.after(0) == ["web"]


@pytest.mark.parametrize(
    ("sdk", "hour"),
    [
        (software.BOTOCORE, 15.75),
        (software.GO, 11),
        (software.JAVA, 13),
        (software.DOTNET, float("inf")),
        (software.CURL, 10),
    ],
)
def test_each_sdk_asks_again_by_its_own_rule(sdk: Sdk, hour: float) -> None:
    assert sdk.asks_again(10, 16) == hour
