"""A deployment that changes the mode is reported, once: as an event and as a mail."""

import pytest

from fixtures.account import FakeAccount, refusing
from rolekeeper.model.mapping import Mode
from rolekeeper.storage import layout


def deploy(world: FakeAccount, mode: Mode) -> None:
    """A deployment, and the next minute."""
    world.mode = mode
    app = world.app()
    app.overrides.report_deployed_mode("minute-1")
    app.telemetry.flush()


def test_a_first_deployment_is_no_change(world: FakeAccount) -> None:
    deploy(world, Mode.OBSERVE)
    assert world.events.kinds == []
    assert world.store.get([layout.DEPLOYED])[layout.DEPLOYED]["mode"] == "observe"


def test_a_change_is_reported_once_and_says_what_is_in_effect(world: FakeAccount) -> None:
    deploy(world, Mode.ENFORCE)
    for _ in range(3):
        deploy(world, Mode.OBSERVE)
    (detail,) = world.events.named("Mode Changed")
    assert (detail["from"], detail["to"], detail["in-effect"]) == ("enforce", "observe", "observe")
    ((subject, text),) = world.topic.mails
    assert subject == "Rolekeeper: Mode Changed: observe"
    assert "A deployment changed the mode from enforce to observe." in text
    assert "in effect is observe: Rolekeeper decides and reports what it would do, and changes nothing." in text
    assert "rolekeeper mode enforce" in text


def test_the_control_item_is_what_is_in_effect(world: FakeAccount) -> None:
    deploy(world, Mode.ENFORCE)
    world.control(mode="enforce")
    deploy(world, Mode.OBSERVE)
    (detail,) = world.events.named("Mode Changed")
    assert (detail["to"], detail["in-effect"]) == ("observe", "enforce")


def test_an_unchanged_mode_costs_a_read_and_no_write(world: FakeAccount) -> None:
    deploy(world, Mode.ENFORCE)
    world.quiet()
    deploy(world, Mode.ENFORCE)
    assert world.calls.made == ["BatchGetItem"]


def test_of_two_that_see_it_at_once_one_reports_it(world: FakeAccount) -> None:
    deploy(world, Mode.ENFORCE)
    world.calls.after("BatchGetItem", lambda: deploy(world, Mode.OBSERVE))
    deploy(world, Mode.OBSERVE)
    assert world.events.kinds == ["Mode Changed"]


@pytest.mark.parametrize("code", ["ProvisionedThroughputExceededException", "AccessDeniedException"])
def test_what_aws_refuses_in_one_minute_is_reported_in_the_next(world: FakeAccount, code: str) -> None:
    deploy(world, Mode.ENFORCE)
    world.calls.before("UpdateItem", refusing(code))
    deploy(world, Mode.OBSERVE)
    assert world.events.kinds == []
    assert world.metrics.counts["WillRetry"] == 1
    deploy(world, Mode.OBSERVE)
    assert world.events.kinds == ["Mode Changed"]
