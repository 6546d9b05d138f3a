"""Clients in other accounts: one session for as long as it lasts, reads as the reader, changes as the changer."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from fakes.clock import Clock
from fakes.ec2 import client_error
from fixtures.account import FakeAccount
from rolekeeper.aws.errors import AccessDeniedError
from rolekeeper.model.instance import Target
from sessions import LASTS, LEFT, MOST, Sessions, SpokeClient

READER = "arn:aws:iam::111111111111:role/rolekeeper-reader"


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

    def describe_instances(self) -> None:
        """Never called: a bound method tells one client from another."""


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
    assert sts.asked == [{"RoleArn": READER, "RoleSessionName": "rolekeeper", "DurationSeconds": LASTS}]


def test_what_lasts_for_no_whole_invocation_is_made_anew(sts: FakeSts, sessions: Sessions) -> None:
    first = sessions.of(READER, "eu-west-1", "ec2")
    sts.clock.sleep(LASTS - LEFT.total_seconds() - 1)
    assert sessions.of(READER, "eu-west-1", "ec2") is first
    sts.clock.sleep(1)
    assert sessions.of(READER, "eu-west-1", "ec2").aws_access_key_id == "AccessKeyId-2"


def test_a_refusal_names_the_role_and_is_asked_again(sts: FakeSts, sessions: Sessions) -> None:
    sts.refuses = True
    with pytest.raises(AccessDeniedError) as refused:
        sessions.of(READER, "eu-west-1", "ec2")
    assert (refused.value.action, refused.value.resource) == ("sts:AssumeRole", READER)
    sts.refuses = False
    assert sessions.of(READER, "eu-west-1", "ec2").service == "ec2"


def test_of_very_many_targets_the_oldest_clients_are_closed(sessions: Sessions) -> None:
    made = [sessions.of(READER, f"eu-west-{number}", "ec2") for number in range(MOST + 2)]
    assert [each.closed for each in made] == [True, True] + [False] * MOST
    assert sessions.of(READER, f"eu-west-{MOST + 1}", "ec2") is made[-1]
    assert sessions.of(READER, "eu-west-0", "ec2") is not made[0]


def test_what_is_forgotten_is_assumed_anew(sts: FakeSts, sessions: Sessions, world: FakeAccount) -> None:
    there = world.settings.at(Target("111111111111", "eu-west-1"))
    first = sessions.client_of(there, "ec2").describe_instances
    assert sessions.client_of(there, "ec2").describe_instances == first
    sessions.forget(there)
    assert sessions.client_of(there, "ec2").describe_instances != first
    assert [each["RoleArn"] for each in sts.asked] == [READER, READER]


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
def test_a_spoke_is_read_as_its_reader_and_changed_as_its_changer(operation: str, role: str) -> None:
    class Of:
        def __init__(self, name: str) -> None:
            self.name = name

        def __getattr__(self, _: str) -> str:
            return self.name

    assert getattr(SpokeClient(Of("reader"), Of("changer")), operation) == role
