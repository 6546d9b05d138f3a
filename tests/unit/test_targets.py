"""The registry of targets: who enters it, what is known of each, and what is written of it how often."""

from datetime import timedelta
from typing import Any

import pytest

from fixtures.account import FakeAccount
from fixtures.organization import OTHER, SAME_ACCOUNT, SPOKE, VERSION, Organization
from rolekeeper.fleet.targets import WIRE_FORMAT, Probed, Registry, ServedTarget, probe
from rolekeeper.model.instance import Target
from rolekeeper.storage import layout


@pytest.fixture
def registry(world: FakeAccount) -> Registry:
    world.calls.clear()
    return Registry(world.store, world.target)


def added(registry: Registry, world: FakeAccount, target: Target = SPOKE) -> ServedTarget:
    served = ServedTarget(target, VERSION, world.clock.now(), world.clock.now(), wire_format=WIRE_FORMAT)
    registry.add(served)
    return served


def known(registry: Registry) -> ServedTarget:
    found = registry.get(SPOKE)
    assert found
    return found


def test_the_targets_of_one_account_are_read_without_the_others(registry: Registry, world: FakeAccount) -> None:
    other, *own = [added(registry, world, each) for each in (OTHER, SPOKE, SAME_ACCOUNT)]
    assert registry.all(SPOKE.account) == own
    assert registry.all(OTHER.account) == [other]
    assert registry.all("1") == registry.all("333333333333") == []


def test_an_event_is_noted_at_most_once_an_hour_by_a_process(registry: Registry, world: FakeAccount) -> None:
    began = added(registry, world).last_event
    world.calls.clear()
    world.later(minutes=59)
    assert registry.note_event(SPOKE, world.clock.now())
    assert world.writes == []
    world.later(minutes=1)
    assert registry.note_event(SPOKE, world.clock.now())
    assert world.writes == ["UpdateItem"]
    found = known(registry)
    assert (found.since, found.last_event) == (began, world.clock.now())


def test_the_deployments_own_target_says_how_many_instances_all_had_when_it_was_swept(
    registry: Registry, world: FakeAccount
) -> None:
    for target, instances in ((SPOKE, 250), (OTHER, 40), (world.target, 3)):
        since = added(registry, world, target).since
        assert since
        registry.note_sweep(target, layout.timestamp(since), instances=instances, at=world.clock.now())
    assert [each.fleet for each in registry.all()] == [None, 293, None]


def test_the_deployments_own_target_is_registered_by_its_first_sweep_alone(
    registry: Registry, world: FakeAccount
) -> None:
    world.never_swept()
    began = world.clock.now()
    for _ in range(2):
        own = registry.begun(world.target, world.clock.now())
        assert own == ServedTarget(world.target, since=began, wire_format=WIRE_FORMAT, fleet=0)
        world.later(minutes=1)
    assert registry.begun(SPOKE, began) is None


def test_an_item_that_isnt_ours_is_a_target_with_that_problem_and_hides_no_other(
    registry: Registry, world: FakeAccount
) -> None:
    there = added(registry, world, OTHER)
    pk, sk = layout.target_key(SPOKE)
    garbled = layout.to_attributes({"pk": pk, "sk": sk, "since": "last year"})
    world.dynamodb.put_item(TableName=world.store.table, Item=garbled)
    damaged, sound = registry.others()
    assert (damaged.target, sound) == (SPOKE, there)
    assert "last year" in damaged.problem
    assert registry.get(SPOKE) == damaged


def test_a_sweep_of_a_target_that_was_forgotten_and_registered_meanwhile_ends_nothing(
    registry: Registry, world: FakeAccount
) -> None:
    """It may have checked a row before that was edited while nobody wrote the target's copies."""
    began = added(registry, world).since
    assert began
    registry.remove(SPOKE)
    world.later(minutes=1)
    again = added(registry, world)
    registry.note_sweep(SPOKE, layout.timestamp(began), instances=3, drift=1, at=world.clock.now())
    assert registry.get(SPOKE) == again


def test_an_unknown_target_is_new_once_and_no_registered_one(registry: Registry, world: FakeAccount) -> None:
    since = world.clock.now()
    assert registry.note_unknown(SPOKE, "refused", since, 2)
    world.later(hours=1)
    at = world.clock.now()
    assert not registry.note_unknown(SPOKE, "refused", at, 3)
    assert registry.unknown() == [ServedTarget(SPOKE, since=since, last_event=at, problem="refused", dropped=5)]
    assert (registry.others(), registry.get(SPOKE)) == ([], None)
    [stored] = world.store.get([layout.unknown_key(SPOKE)]).values()
    assert stored["expires"] == (at + timedelta(days=1)).timestamp()
    registry.remove(SPOKE)
    assert registry.unknown() == []


def probed(organization: Organization, target: Target) -> Probed:
    app = organization.app().at(target)
    return probe(app.settings, app.ec2, app.iam, home=organization.hub.target)


def test_a_probe_asks_as_the_reader_and_tells_the_spokes_version(
    organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoke, asked = organization.spoke(SPOKE), list[int]()
    describe = spoke.ec2.describe_instances

    def asks(**how: Any) -> Any:
        asked.append(how["MaxResults"])
        return describe(**how)

    monkeypatch.setattr(spoke.ec2, "describe_instances", asks)
    for number in range(6):
        spoke.launch(Name=str(number))
    assert probed(organization, SPOKE) == Probed(VERSION, wire_format=WIRE_FORMAT)
    assert asked == [5], "the fewest that EC2 takes (EC2 API reference, DescribeInstances)"
    assert organization.assumed == {"arn:aws:iam::111111111111:role/rolekeeper-reader": 1}


def test_a_probe_tells_the_unit_where_the_spoke_says_one(organization: Organization) -> None:
    organization.say_unit(SPOKE, "ou-a1b2-c3d4e5f6")
    assert probed(organization, SPOKE) == Probed(VERSION, "ou-a1b2-c3d4e5f6", wire_format=WIRE_FORMAT)
