"""Looking at every instance with a mapping's tag before the mapping is published, damaged items and all."""

import pytest

from rolekeeper import codec
from rolekeeper.conflicts import Survey
from rolekeeper.ec2 import Ec2
from rolekeeper.effect import Effect
from rolekeeper.errors import DamagedError
from rolekeeper.mapping_table import MappingTable
from rolekeeper.model import PublishedMapping, WhenOccupied
from rolekeeper.surveyor import Findings, Surveyor
from support.desk import MAPPING_TABLE
from support.state_table import table_keys
from support.values import published
from support.world import ACCOUNT, REGION, World, mapping_key

WEB, TO_API = published("workload=web", "web"), published("workload=web", "api")


@pytest.fixture
def surveyor(world: World) -> Surveyor:
    """Roles `web` and `api`, and nothing published."""
    for role in ("web", "api"):
        world.profile(role)
    world.dynamodb.add_table(MAPPING_TABLE, table_keys("MappingTable"))
    return anew(world)


def anew(world: World) -> Surveyor:
    ec2 = Ec2(world.ec2, ACCOUNT, REGION)  # type: ignore[arg-type]  # shaped like a client
    table = MappingTable(world.dynamodb, MAPPING_TABLE)  # type: ignore[arg-type]  # the same
    return Surveyor(ec2, world.state, table, world.rules.ownership)


def find(world: World, candidate: PublishedMapping, present: PublishedMapping | None = None) -> Findings:
    return anew(world).find(candidate, present, world.clock.now())


@pytest.mark.usefixtures("surveyor")
def test_it_finds_what_a_candidate_governs_changes_and_meets(world: World) -> None:
    present = world.publish("workload=web", "web")
    instance = world.running(workload="web")
    world.reconcile(instance)
    world.running(workload="web")
    world.running(profile="theirs", workload="web", **{"eks:cluster-name": "prod"})
    world.running(profile="theirs", workload="other")
    found = find(world, TO_API, present)
    assert (found.survey.matched, found.serving) == (3, 3)
    assert (found.survey.foreign.count, found.survey.foreign.nodes) == (1, {"EKS"})
    assert (found.effect.attach, found.effect.replace, found.effect.detach) == (1, 1, 0)


@pytest.mark.parametrize("take_over", [False, True])
def test_a_foreign_role_is_met_either_way_and_changed_only_where_the_stack_lets_it(
    world: World, surveyor: Surveyor, *, take_over: bool
) -> None:
    del surveyor
    world.take_over = take_over
    world.running(profile="theirs", workload="web")
    found = find(world, published("workload=web", "web", when_occupied=WhenOccupied.REPLACE))
    assert (found.survey.foreign.count, found.effect.replace) == (1, take_over)


@pytest.mark.usefixtures("surveyor")
def test_an_instance_with_a_damaged_record_is_governed_and_changes_not(world: World) -> None:
    present = world.publish("workload=web", "web")
    instance = world.running(profile="theirs", workload="web")
    world.garble(codec.record_key(world.key(instance)))
    found = find(world, TO_API, present)
    assert (found.survey.matched, found.serving) == (1, 1)
    # What it carries isn't looked at.
    assert (found.survey.foreign.count, found.effect) == (0, Effect())


@pytest.mark.usefixtures("surveyor")
def test_an_instance_of_which_a_mapping_is_damaged_isnt_counted_and_hides_no_other(world: World) -> None:
    world.publish("team=a", "api")
    world.running(workload="web", team="a")
    world.running(workload="web")
    world.garble(codec.published_key(mapping_key("team=a")))
    found = find(world, WEB)
    assert (found.survey.matched, found.effect.attach) == (1, 1)


def test_the_fleet_is_counted_once_with_hidden_and_without_terminated_instances(
    world: World, surveyor: Surveyor
) -> None:
    world.running()
    world.truth.launch(operator="eks.amazonaws.com", hidden=True)
    world.truth.terminate(world.running())
    world.wait(5)
    assert surveyor.fleet() == 2
    world.running()
    assert surveyor.fleet() == 2, "within one invocation"
    assert anew(world).fleet() == 3


def test_a_star_row_looks_for_ties_with_the_exact_rows_and_not_past_a_damaged_one(
    world: World, surveyor: Surveyor
) -> None:
    star = published("workload=*", "api")
    for value in ("web", "db"):
        key = codec.to_attributes(codec.mapping_text(mapping_key(f"workload={value}")))
        world.dynamodb.put_item(TableName=MAPPING_TABLE, Item=key)
        world.publish(f"workload={value}", "web")
    survey = Survey()
    surveyor.add_possible_ties(survey, star, None, None, world.clock.now())
    assert {str(each) for each in survey.ties} == {"workload=web", "workload=db"}
    assert survey.blocks
    world.garble(codec.published_key(mapping_key("workload=db")))
    with pytest.raises(DamagedError):
        surveyor.add_possible_ties(Survey(), star, None, None, world.clock.now())
