"""Looking at every instance with a mapping's tag before the mapping is published, damaged items and all."""

import pytest

from fixtures.account import ACCOUNT, MAPPING_TABLE, FakeAccount, mapping_key, published_at
from fixtures.state_table import table_keys
from rolekeeper.aws.errors import CorruptItemError
from rolekeeper.mappings.impact import Conflicts, Impact, ImpactScanner, Scan
from rolekeeper.mappings.revisions import StoredMapping
from rolekeeper.model.mapping import PublishedMapping
from rolekeeper.storage import layout
from strategies.values import published

WEB, TO_API = published("workload=web", "web"), published("workload=web", "api")


@pytest.fixture
def scanner(world: FakeAccount) -> ImpactScanner:
    """Roles `web` and `api`, and nothing published."""
    for role in ("web", "api"):
        world.profile(role)
    world.dynamodb.add_table(MAPPING_TABLE, table_keys("MappingTable"))
    return anew(world)


def anew(world: FakeAccount) -> ImpactScanner:
    app = world.app()
    return ImpactScanner(
        ec2=app.ec2,
        state=app.state,
        table=app.table,
        limits=app.settings.limits,
        ownership=world.settings.ownership,
    )


def scan(world: FakeAccount, candidate: PublishedMapping, present: PublishedMapping | None = None) -> Scan:
    return anew(world).scan(candidate, present, world.clock.now())


@pytest.mark.usefixtures("scanner")
def test_it_finds_what_a_candidate_governs_changes_and_meets(world: FakeAccount) -> None:
    present = world.publish("workload=web", "web")
    instance = world.running(workload="web")
    world.reconcile(instance)
    world.running(workload="web")
    world.running(profile="theirs", workload="web", **{"eks:cluster-name": "prod"})
    world.running(profile="theirs", workload="other")
    found = scan(world, TO_API, present)
    assert (found.matched, found.published_matched) == (3, 3)
    assert (found.foreign, found.nodes) == (1, {"EKS"})
    assert (found.impact.attach, found.impact.replace, found.impact.detach) == (1, 1, 0)


@pytest.mark.usefixtures("scanner")
def test_an_instance_with_a_damaged_record_is_governed_and_changes_not(world: FakeAccount) -> None:
    present = world.publish("workload=web", "web")
    instance = world.running(profile="theirs", workload="web")
    world.garble(layout.record_key(world.key(instance)))
    found = scan(world, TO_API, present)
    assert (found.matched, found.published_matched) == (1, 1)
    # What it carries isn't looked at.
    assert (found.foreign, found.impact) == (0, Impact())


@pytest.mark.usefixtures("scanner")
def test_an_instance_of_which_a_mapping_is_damaged_isnt_counted_and_hides_no_other(world: FakeAccount) -> None:
    world.publish("team=a", "api")
    world.running(workload="web", team="a")
    world.running(workload="web")
    world.garble(published_at("team=a"))
    found = scan(world, WEB)
    assert (found.matched, found.impact.attach) == (1, 1)


def test_the_fleet_is_counted_once_with_hidden_and_without_terminated_instances(
    world: FakeAccount, scanner: ImpactScanner
) -> None:
    world.running()
    world.truth.launch(operator="eks.amazonaws.com", hidden=True)
    world.truth.terminate(world.running())
    world.wait(5)
    assert scanner.fleet == 2
    world.running()
    assert scanner.fleet == 2, "within one invocation"
    assert anew(world).fleet == 3


def test_a_star_row_looks_for_conflicts_with_the_exact_rows_and_not_past_a_damaged_one(
    world: FakeAccount, scanner: ImpactScanner
) -> None:
    star = published("workload=*", "api")
    for value in ("web", "db"):
        key = layout.to_attributes(layout.encode(mapping_key(f"workload={value}")))
        world.dynamodb.put_item(TableName=MAPPING_TABLE, Item=key)
        world.publish(f"workload={value}", "web")
    conflicts = Conflicts()
    scanner.add_possible_conflicts(conflicts, star, StoredMapping(ACCOUNT), world.clock.now())
    assert {str(each) for each in conflicts} == {"workload=web", "workload=db"}
    assert conflicts.new
    world.garble(published_at("workload=db"))
    with pytest.raises(CorruptItemError):
        scanner.add_possible_conflicts(Conflicts(), star, StoredMapping(ACCOUNT), world.clock.now())
