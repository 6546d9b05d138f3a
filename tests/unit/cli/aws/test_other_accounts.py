"""Clients in other accounts: of the viewer's session, which is asked for once while it lasts."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from fakes.clock import Clock
from fakes.ec2 import client_error
from fixtures.account import FakeAccount
from rolekeeper.aws.errors import AccessDeniedError
from rolekeeper.model.instance import Target
from rolekeeper.settings import Settings
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.options import Options

VIEWER = "arn:aws:iam::{}:role/rolekeeper-viewer"


@dataclass
class Sts:
    """STS's AssumeRole; its sessions last an hour."""

    clock: Clock
    asked: list[dict[str, Any]] = field(default_factory=list)
    refuses: bool = False

    def assume_role(self, **asked: Any) -> dict[str, Any]:
        self.asked.append(asked)
        if self.refuses:
            raise client_error("AccessDenied", "not authorized")
        number, until = len(self.asked), self.clock.now() + timedelta(hours=1)
        keys = {"AccessKeyId": f"key-{number}", "SecretAccessKey": "secret", "SessionToken": f"token-{number}"}
        return {"Credentials": {**keys, "Expiration": until}}


@pytest.fixture
def sts(world: FakeAccount) -> Sts:
    return Sts(world.clock)


@pytest.fixture
def others(world: FakeAccount, sts: Sts, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    def make(_: Deployment, service: str, region: str, credentials: Mapping[str, str]) -> tuple[str, str, str]:
        return service, region, credentials["aws_session_token"]

    monkeypatch.setattr(Deployment, "client", lambda _, service: {"sts": sts}[service])
    monkeypatch.setattr(Deployment, "_make", make)
    monkeypatch.setattr(Deployment, "now", lambda _: world.clock.now())
    return Deployment(Options())


def at(world: FakeAccount, account: str, region: str) -> Settings:
    return replace(world.settings, organization="o-example0000").at(Target(account, region))


def test_one_session_of_the_viewer_is_for_all_regions_of_an_account(
    world: FakeAccount, sts: Sts, others: Deployment
) -> None:
    first = others.client_in(at(world, "111111111111", "eu-west-1"), "ec2")
    assert first == ("ec2", "eu-west-1", "token-1")
    assert others.client_in(at(world, "111111111111", "eu-west-1"), "ec2") is first
    assert others.client_in(at(world, "111111111111", "us-east-2"), "iam") == ("iam", "us-east-2", "token-1")
    assert others.client_in(at(world, "222222222222", "eu-west-1"), "ec2") == ("ec2", "eu-west-1", "token-2")
    asked = {"RoleSessionName": "rolekeeper-command", "DurationSeconds": 3_600}
    accounts = ("111111111111", "222222222222")
    assert sts.asked == [{"RoleArn": VIEWER.format(account), **asked} for account in accounts]


def test_a_session_that_is_about_to_end_is_asked_for_anew(world: FakeAccount, sts: Sts, others: Deployment) -> None:
    there = at(world, "111111111111", "eu-west-1")
    others.client_in(there, "ec2")
    world.clock.sleep(54 * 60)
    assert others.client_in(there, "ec2")[2] == "token-1"
    world.clock.sleep(2 * 60)
    assert others.client_in(there, "ec2")[2] == "token-2"
    assert len(sts.asked) == 2


def test_a_refusal_names_the_role_and_is_asked_again(world: FakeAccount, sts: Sts, others: Deployment) -> None:
    sts.refuses = True
    there = at(world, "111111111111", "eu-west-1")
    with pytest.raises(AccessDeniedError) as refused:
        others.client_in(there, "ec2")
    assert (refused.value.action, refused.value.resource) == ("sts:AssumeRole", VIEWER.format("111111111111"))
    sts.refuses = False
    assert others.client_in(there, "ec2")
