"""What the story of a verification reads of CloudTrail's records, and its race with follow-ups.

The rest of it is played on the embedded AWS.
"""

from datetime import UTC, datetime, timedelta
from itertools import repeat
from types import SimpleNamespace

import pytest

from fixtures.account import ACCOUNT, REGION
from rolekeeper.model.instance import Association, AssociationState, InstanceKey, Target
from rolekeeper_cli.uses.uptake import Delivery, Held, Uptake, Use
from rolekeeper_cli.verifying import story
from rolekeeper_cli.verifying.story import StepSkippedError, Story

ROLE = f"arn:aws:iam::{ACCOUNT}:role/a"
SINCE = datetime(2026, 3, 2, 9, 15, 4, tzinfo=UTC)


def held(delivered: float | None = None, used: float | None = None, since: datetime | None = SINCE) -> Held:
    """A carried role with what was recorded, in seconds since it was attached."""
    delivery = None if delivered is None else Delivery(ROLE, SINCE + timedelta(seconds=delivered), SINCE)
    use = None if used is None else Use(ROLE, SINCE + timedelta(seconds=used), "sts:GetCallerIdentity", "aws-cli/2")
    return Held(
        ROLE,
        "a",
        carried=True,
        since=since,
        until=None,
        delivered=delivery,
        first_use=use,
        last_use=use,
        valid_until=None,
        recorded=True,
    )


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Story:
    deployment = SimpleNamespace(settings=Target(ACCOUNT, REGION), now=lambda: SINCE, sleep=None)
    monkeypatch.setattr(story, "Aws", lambda _deployment: None)
    return Story(SimpleNamespace(deployment=deployment, names=None), 180, 600, a="i-1")  # type: ignore[arg-type]  # no scene is asked


def records(monkeypatch: pytest.MonkeyPatch, *roles: Held, unknown: str = "") -> None:
    found = Uptake(InstanceKey(ACCOUNT, REGION, "i-1"), "", roles, SINCE, whole=True, unknown_because=unknown)
    monkeypatch.setattr(story, "of_instance", lambda _deployment, _key, _name: found)


def test_delivery_and_use_take_the_seconds_since_the_role_was_attached(
    played: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    records(monkeypatch, held(delivered=3, used=21))
    assert (played.delivered(), played.in_use()) == (3, 21)


@pytest.mark.parametrize("roles", [(), (held(),), (held(3, 21, since=None),)])
def test_without_a_record_the_steps_are_skipped(
    played: Story, monkeypatch: pytest.MonkeyPatch, roles: tuple[Held, ...]
) -> None:
    records(monkeypatch, *roles)
    played.trail_until = SINCE
    for step in (played.delivered, played.in_use):
        with pytest.raises(StepSkippedError, match=r"^not in CloudTrail's event history within 600 seconds$"):
            step()


def test_a_record_that_comes_late_is_waited_for(played: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    records(monkeypatch)
    monkeypatch.setattr(played.deployment, "sleep", lambda _seconds: records(monkeypatch, held(delivered=3)))
    assert played.delivered() == 3


def test_without_an_answer_the_steps_say_why(played: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    records(monkeypatch, unknown="you aren't allowed cloudtrail:LookupEvents")
    with pytest.raises(StepSkippedError, match="LookupEvents"):
        played.in_use()


def test_a_role_that_a_follow_up_gives_back_unseen_is_taken_again(
    played: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    def carried(id_: str) -> Association:
        return Association(id_, "i-1", "profile/b", AssociationState.ASSOCIATED)

    shown = iter([carried("1"), carried("2"), carried("2"), None, carried("3")])
    swept = iter([{}, {"sent": 1}])
    taken: list[str] = []
    at_once = SimpleNamespace(is_over=True)
    played.deployment = SimpleNamespace(now=lambda: SINCE, looks=lambda *_: repeat(at_once))  # type: ignore[assignment]  # the same
    played.names = SimpleNamespace(role=str)  # type: ignore[assignment]  # the same
    played.scene = SimpleNamespace(profiles={"b": "profile/b"})  # type: ignore[assignment]  # the same
    played.aws = SimpleNamespace(call=lambda _action, **asked: taken.append(asked["AssociationId"]))  # type: ignore[assignment]  # the same
    monkeypatch.setattr(played, "association", lambda _instance: next(shown))
    monkeypatch.setattr(story, "sweep", lambda *_, **__: next(swept))
    assert played.sweep() == 0
    assert taken == ["1", "2"]
