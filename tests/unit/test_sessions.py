"""Clients in other accounts: one session for as long as it lasts, reads as the reader, changes as the changer."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar
from unittest.mock import MagicMock

import pytest
from botocore.exceptions import ClientError

from fakes.clock import Clock
from fakes.ec2 import client_error
from fixtures.account import FakeAccount
from rolekeeper.aws.errors import AccessDeniedError
from rolekeeper.model.instance import Target
from sessions import Sessions, SpokeClient

READER, CHANGER = (f"arn:aws:iam::111111111111:role/rolekeeper-{access}" for access in ("reader", "changer"))
# Seconds of a session that a role asks for, at most (IAM user guide, "Methods to assume a role": role chaining).
HOUR = 3_600
# Seconds of an invocation, and files that it may have open, at most (Lambda developer guide, "Lambda quotas").
INVOCATION, OPEN_FILES = 900, 1_024


@dataclass
class FakeSts:
    """Gives a session's credentials, named by their number; or refuses."""

    clock: Clock
    asked: list[dict[str, Any]] = field(default_factory=list)
    refuses: bool = False

    def assume_role(self, **arguments: Any) -> dict[str, Any]:
        self.asked.append(arguments)
        if self.refuses:
            raise client_error("AccessDenied", f"not authorized to perform: sts:AssumeRole on resource: {READER}")
        if arguments["DurationSeconds"] > HOUR:
            raise client_error(
                "ValidationError", "The requested DurationSeconds exceeds the 1 hour session limit for roles …"
            )
        number, until = len(self.asked), self.clock.now() + timedelta(seconds=arguments["DurationSeconds"])
        names = {name: f"{name}-{number}" for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")}
        return {"Credentials": {**names, "Expiration": until}}


@dataclass
class Made:
    """A client as it was made."""

    service: str
    region_name: str
    aws_access_key_id: str
    aws_secret_access_key: str
    aws_session_token: str
    closed: bool = False

    def close(self) -> None:
        self.closed = True

    ended: ClassVar[set[str]] = set()

    def describe_instances(self) -> str:
        """Who asks."""
        if self.aws_access_key_id in self.ended:
            raise client_error("AuthFailure", "AWS was not able to validate the provided access credentials")
        return self.aws_access_key_id

    associate_iam_instance_profile = describe_instances

    def get_paginator(self, operation: str) -> "Made":
        assert operation == "describe_instances"
        return self

    def paginate(self) -> Iterator[str]:
        yield self.describe_instances()


@pytest.fixture
def sts() -> FakeSts:
    return FakeSts(Clock())


@pytest.fixture
def sessions(sts: FakeSts) -> Sessions:
    return Sessions(sts, Made, sts.clock.now)  # type: ignore[arg-type]  # shaped like a client


def test_a_session_is_asked_for_once_for_all_services_and_regions(sts: FakeSts, sessions: Sessions) -> None:
    ec2, iam = sessions.of(READER, "eu-west-1", "ec2"), sessions.of(READER, "us-east-1", "iam")
    assert sessions.of(READER, "eu-west-1", "ec2") is ec2
    assert (ec2.service, ec2.region_name, ec2.aws_access_key_id) == ("ec2", "eu-west-1", "AccessKeyId-1")
    assert (iam.service, iam.region_name, iam.aws_session_token) == ("iam", "us-east-1", "SessionToken-1")
    assert sts.asked == [{"RoleArn": READER, "RoleSessionName": "rolekeeper", "DurationSeconds": HOUR}]


def test_what_lasts_for_no_whole_invocation_is_made_anew(sts: FakeSts, sessions: Sessions) -> None:
    first = sessions.of(READER, "eu-west-1", "ec2")
    sts.clock.sleep(HOUR - INVOCATION - 120)
    assert sessions.of(READER, "eu-west-1", "ec2") is first
    sts.clock.sleep(120)
    assert sessions.of(READER, "eu-west-1", "ec2").aws_access_key_id == "AccessKeyId-2"


def test_a_refusal_names_the_role_and_is_asked_again(sts: FakeSts, sessions: Sessions) -> None:
    sts.refuses = True
    with pytest.raises(AccessDeniedError) as refused:
        sessions.of(READER, "eu-west-1", "ec2")
    assert (refused.value.action, refused.value.resource) == ("sts:AssumeRole", READER)
    sts.refuses = False
    assert sessions.of(READER, "eu-west-1", "ec2").service == "ec2"


def test_of_very_many_targets_the_oldest_clients_are_closed(sessions: Sessions) -> None:
    made = [sessions.of(READER, f"eu-west-{number}", "ec2") for number in range(OPEN_FILES)]
    kept = [each for each in made if not each.closed]
    assert kept == made[-len(kept) :]
    assert len(kept) <= OPEN_FILES / 2, "an open connection each, at least"
    assert sessions.of(READER, f"eu-west-{OPEN_FILES - 1}", "ec2") is made[-1]
    assert sessions.of(READER, "eu-west-0", "ec2") is not made[0]


@pytest.fixture
def reads(sessions: Sessions, world: FakeAccount) -> SpokeClient:
    """The client of a spoke."""
    return sessions.client_of(world.settings.at(Target("111111111111", "eu-west-1")), "ec2")


def test_what_is_forgotten_is_assumed_anew(
    sts: FakeSts, sessions: Sessions, reads: SpokeClient, world: FakeAccount
) -> None:
    calls = reads.describe_instances, reads.associate_iam_instance_profile
    assert [call() for call in (*calls, *calls)] == ["AccessKeyId-1", "AccessKeyId-2"] * 2
    sessions.forget(world.settings.at(Target("111111111111", "us-east-1")))
    assert [call() for call in calls] == ["AccessKeyId-3", "AccessKeyId-4"]
    assert [each["RoleArn"] for each in sts.asked] == [READER, CHANGER] * 2


def test_a_session_that_ended_with_its_role_is_followed_by_one_of_the_role_that_is_there_now(
    monkeypatch: pytest.MonkeyPatch, sts: FakeSts, reads: SpokeClient
) -> None:
    reads.describe_instances()
    monkeypatch.setattr(Made, "ended", {"AccessKeyId-1"})
    assert list(reads.get_paginator("describe_instances").paginate()) == ["AccessKeyId-2"]
    monkeypatch.setattr(Made, "ended", {"AccessKeyId-2"})
    assert reads.describe_instances() == "AccessKeyId-3"
    assert len(sts.asked) == 3


def test_a_role_that_is_gone_is_said_to_be_what_cannot_be_assumed(
    monkeypatch: pytest.MonkeyPatch, sts: FakeSts, reads: SpokeClient
) -> None:
    reads.describe_instances()
    monkeypatch.setattr(Made, "ended", {"AccessKeyId-1"})
    sts.refuses = True
    with pytest.raises(AccessDeniedError, match="sts:AssumeRole"):
        reads.describe_instances()


def test_a_new_session_that_is_refused_too_is_no_reason_for_a_third(
    monkeypatch: pytest.MonkeyPatch, sts: FakeSts, reads: SpokeClient
) -> None:
    """As in a Region that isn't enabled in the account."""
    monkeypatch.setattr(Made, "ended", {f"AccessKeyId-{number}" for number in range(1, 9)})
    with pytest.raises(ClientError, match="AuthFailure"):
        reads.describe_instances()
    assert len(sts.asked) == 2


@pytest.mark.parametrize(
    ("operation", "role"),
    [
        ("describe_instances", "reader"),
        ("get_paginator", "reader"),
        ("list_role_policies", "reader"),
        ("meta", "reader"),
        ("associate_iam_instance_profile", "changer"),
        ("replace_iam_instance_profile_association", "changer"),
        ("disassociate_iam_instance_profile", "changer"),
        ("create_instance_profile", "changer"),
        ("add_role_to_instance_profile", "changer"),
    ],
)
def test_a_spoke_is_read_as_its_reader_and_changed_as_its_changer(
    operation: str, role: str, world: FakeAccount
) -> None:
    class Recorded(Sessions):
        def of(self, role_arn: str, region: str, service: str) -> Any:
            asked.append((role_arn.rpartition("-")[2], region, service))
            return MagicMock()

    asked: list[tuple[str, str, str]] = []
    there = world.settings.at(Target("111111111111", "eu-west-1"))
    found = getattr(Recorded(None, None, None).client_of(there, "ec2"), operation)  # type: ignore[arg-type]  # not asked
    if operation == "get_paginator":
        found("describe_instances").paginate()
    elif operation != "meta":
        found()
    assert asked == [(role, "eu-west-1", "ec2")]
