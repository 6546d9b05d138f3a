"""Reading the truth: in the order that makes the association id a lock, and what the sweep may leave out."""

from collections.abc import Callable
from typing import Any

import pytest

from fakes.ec2 import client_error
from fixtures.account import FakeAccount, published_at
from fixtures.state_table import STATE_TABLE
from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError, CorruptItemError, PermanentError
from rolekeeper.instances.decide import Observation, decide
from rolekeeper.instances.observe import Observed, Unreadable, observe, observe_page
from rolekeeper.model.instance import Action
from rolekeeper.model.mapping import Pin
from rolekeeper.storage import layout

pytestmark = pytest.mark.world(published={"workload=web": "web"})


def _observe(world: FakeAccount, *instances: str) -> list[Observed]:
    found = observe([world.key(each) for each in instances], world.app().ec2, world.state, world.clock.now())
    return list(found.values())


# ---- what is read, and in which order ----


def test_the_association_is_read_first_then_the_tags_then_the_mappings(world: FakeAccount) -> None:
    instance = world.running(workload="web")
    world.quiet()
    _observe(world, instance)
    assert world.calls.made == ["DescribeIamInstanceProfileAssociations", "DescribeInstances", "BatchGetItem"]


def test_more_instances_than_a_filter_takes_are_read_in_several_calls(world: FakeAccount) -> None:
    world.large_pages()
    fleet = [world.launch() for _ in range(201)]
    world.quiet()
    seen = _observe(world, *fleet)
    assert all(each.instance for each in seen)
    assert world.calls["DescribeInstances"] == 2
    assert world.calls["DescribeIamInstanceProfileAssociations"] == 2


def test_a_pin_that_is_over_stands_for_itself_without_being_read(world: FakeAccount) -> None:
    instance = world.running()
    world.pin(instance, Pin("web", world.profile("web"), by="me"))
    world.reconcile(instance)
    world.delete(layout.pin_key(world.key(instance)))
    world.quiet()
    owner = world.observed(instance).owner
    assert owner
    assert owner.key.pins
    assert world.calls["BatchGetItem"] == 1
    assert world.decided(instance).action is Action.DETACH


# ---- what isn't what we wrote ----


def test_a_damaged_record_is_reported_beside_the_sound_ones_with_the_mappings_of_its_tags(world: FakeAccount) -> None:
    web = world.publish("workload=web", "web")
    damaged, sound = world.running(workload="web"), world.running(workload="web")
    world.garble(layout.record_key(world.key(damaged)))
    world.quiet()
    unreadable, seen = _observe(world, damaged, sound)
    assert isinstance(unreadable, Unreadable)
    assert (unreadable.key, unreadable.published) == (world.key(damaged), (web,))
    assert unreadable.instance
    assert damaged in str(unreadable.error)
    assert isinstance(seen, Observation)
    assert decide(seen, world.settings).action is Action.ATTACH
    assert world.calls["BatchGetItem"] == 1, "the damage costs no further read"


def test_a_damaged_mapping_makes_unreadable_whichever_carries_its_tag(world: FakeAccount) -> None:
    world.publish("team=a", "a", priority=1)
    world.publish("workload=db", "db")
    world.garble(published_at("workload=web"))
    first, second, other = world.running(workload="web"), world.running(workload="web", team="a"), world.running()
    world.tag(other, workload="db")
    *unreadable, seen = _observe(world, first, second, other)
    for each in unreadable:
        assert isinstance(each, Unreadable)
        assert each.published is None, "how the instance is governed can't be known"
        assert "workload#web" in str(each.error)
    assert isinstance(seen, Observation)


def test_a_damaged_mapping_that_gave_a_role_makes_the_instance_unreadable_once_its_tag_is_gone(
    world: FakeAccount,
) -> None:
    base = world.publish("workload=db", "db", enabled=False)
    instance = world.converged(workload="web")
    world.tag(instance, workload="db")
    world.garble(published_at("workload=web"))
    (unreadable,) = _observe(world, instance)
    assert isinstance(unreadable, Unreadable)
    assert isinstance(unreadable.error, CorruptItemError)
    assert unreadable.published == (base,)


@pytest.mark.parametrize("character", list("\n\r\v\x85\u2028\u2029\u200b\u202e\xa0\ufe0f"))
def test_no_key_is_asked_for_that_no_row_may_have(
    world: FakeAccount, monkeypatch: pytest.MonkeyPatch, character: str
) -> None:
    """EC2 takes any character in a tag; policies on partitions match not every one, and deny the whole batch."""
    web = world.publish("workload=web", "web")
    any_value = world.publish("team=*", "base", priority=200)
    odd = {"team": f"a{character}b", f"no{character}te": "x", "note": character}
    instance = world.running(workload="web", **odd)
    _refuse(world, monkeypatch, lambda partition: character in partition)
    world.quiet()
    assert world.observed(instance).published == (web, any_value)
    assert world.calls["BatchGetItem"] == 1


def _refuse(
    world: FakeAccount, monkeypatch: pytest.MonkeyPatch, which: Callable[[str], bool], code: str = "AccessDenied"
) -> None:
    """Have each read refused that asks for such a partition."""
    answer = world.dynamodb.batch_get_item

    def asked(**request: Any) -> Any:
        partitions = [key["pk"]["S"] for key in request["RequestItems"][STATE_TABLE]["Keys"]]
        if any(map(which, partitions)):
            world.calls.starts("BatchGetItem")
            raise client_error(code, "no")
        return answer(**request)

    monkeypatch.setattr(world.dynamodb, "batch_get_item", asked)


@pytest.mark.parametrize(
    ("code", "kind"), [("AccessDenied", AccessDeniedError), ("ValidationException", PermanentError)]
)
def test_an_item_that_cant_be_asked_for_makes_unreadable_only_whose_it_is(
    world: FakeAccount, monkeypatch: pytest.MonkeyPatch, code: str, kind: type[AwsRefusalError]
) -> None:
    web = world.publish("workload=web", "web")
    fleet = [world.running(workload="web", **{f"key-{number}": "v" for number in range(20)}) for _ in range(3)]
    denied, tagged = world.running(workload="web"), world.running(odd="one")
    _refuse(world, monkeypatch, lambda partition: denied in partition or "odd#one" in partition, code)
    world.quiet()
    found = _observe(world, *fleet, denied, tagged)
    for each in found[:3]:
        assert isinstance(each, Observation)
        assert each.candidates.winner == web
    for each, published in zip(found[3:], [(web,), None], strict=True):
        assert isinstance(each, Unreadable)
        assert type(each.error) is kind
        assert each.published == published
    assert world.calls["BatchGetItem"] <= 1 + 3 * 2 * 6, "it is narrowed by halves: of 57 keys, three"


def test_a_read_of_which_all_is_refused_is_refused_after_a_few_calls(
    world: FakeAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    instances = [world.running(workload="web") for _ in range(40)]
    _refuse(world, monkeypatch, lambda _: True)
    world.quiet()
    with pytest.raises(AccessDeniedError):
        _observe(world, *instances)
    assert world.calls["BatchGetItem"] <= 20


# ---- what an observation says of itself ----


def test_an_event_names_the_tags_that_a_mapping_reads_and_no_others(world: FakeAccount) -> None:
    world.publish("workload=web", "web", require_tags={"env": "prod"})
    instance = world.running(workload="web", Name="secret", env="test")
    assert world.observed(instance).tags_read == {"workload", "env", "rolekeeper:ignore"}


def test_the_tag_of_the_mapping_that_gave_the_role_is_named_when_it_says_another_thing(world: FakeAccount) -> None:
    instance = world.converged(workload="web")
    world.tag(instance, workload="unknown", Name="secret")
    assert world.observed(instance).tags_read == {"workload", "rolekeeper:ignore"}


def test_a_look_is_outdated_when_the_record_shows_what_was_seen_after_it_began(world: FakeAccount) -> None:
    instance = world.launch(workload="web")

    def meanwhile() -> None:
        world.wait(1)
        world.reconcile(instance)

    world.calls.before("BatchGetItem", meanwhile)
    assert world.observed(instance).outdated
    assert not world.observed(instance).outdated


# ---- what the sweep sends ----


def test_the_sweeps_own_reading_of_a_page_decides_the_same(world: FakeAccount) -> None:
    instance, damaged = (world.running(workload="web") for _ in range(2))
    world.garble(layout.record_key(world.key(damaged)))
    ec2 = world.app().ec2
    (page,) = ec2.fleet()
    world.quiet()
    found = list(observe_page(page, ec2, world.state, world.clock.now()))
    assert world.calls.made == ["DescribeIamInstanceProfileAssociations", "BatchGetItem"]
    # An error equals no other, so the damaged one is compared by what it is about.
    assert [each.key for each in found] == [each.key for each in _observe(world, instance, damaged)]
    assert found[0] == world.observed(instance)
    assert isinstance(found[1], Unreadable)
