"""What a scan of the instances with a mapping's tag finds: foreign roles, nodes, profiles, conflicts, damage."""

from datetime import timedelta
from typing import Any

import pytest

from fixtures.account import ACCOUNT, MAPPING_TABLE, FakeAccount, mapping_key, published_at
from fixtures.state_table import table_keys
from rolekeeper.aws.errors import CorruptItemError
from rolekeeper.instances.decide import Observation, resolve
from rolekeeper.mappings.impact import Conflicts, Edit, ImpactScanner, Scan, could_conflict
from rolekeeper.mappings.revisions import StoredMapping
from rolekeeper.model.instance import Association, Instance, InstanceRecord
from rolekeeper.model.mapping import Control, Pin, PublishedMapping
from rolekeeper.model.problem import sentence
from rolekeeper.storage import layout
from strategies.values import KEY, NOW, OWNERSHIP, arn, association, foreign, instance, published

WEB, TO_API = published("workload=web", "web"), published("workload=web", "api")


@pytest.fixture
def scanner(world: FakeAccount) -> ImpactScanner:
    """Roles `web` and `api`, and nothing published."""
    for role in ("web", "api"):
        world.profile(role)
    world.dynamodb.add_table(MAPPING_TABLE, table_keys("MappingTable"))
    return anew(world)


def anew(world: FakeAccount) -> ImpactScanner:
    return world.app().scanner()


def scan(world: FakeAccount, candidate: PublishedMapping, present: PublishedMapping | None = None) -> Scan:
    return anew(world).scan(Edit(present, candidate, world.clock.now()))


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
def test_an_instance_of_which_a_mapping_is_damaged_isnt_counted_and_hides_no_other(world: FakeAccount) -> None:
    world.publish("team=a", "api")
    world.running(workload="web", team="a")
    world.running(workload="web")
    world.garble(published_at("team=a"))
    found = scan(world, WEB)
    assert (found.matched, found.impact.attach) == (1, 1)


def test_a_star_row_looks_for_conflicts_with_the_exact_rows_and_not_past_a_damaged_one(
    world: FakeAccount, scanner: ImpactScanner
) -> None:
    star = published("workload=*", "api")
    for value in ("web", "db"):
        key = layout.to_attributes(layout.encode(mapping_key(f"workload={value}")))
        world.dynamodb.put_item(TableName=MAPPING_TABLE, Item=key)
        world.publish(f"workload={value}", "web")
    conflicts = Conflicts()
    rivals = list(scanner.rivals(star.key, StoredMapping(ACCOUNT)))
    conflicts.add_possible(star, None, rivals, now=world.clock.now())
    assert {str(each) for each in conflicts} == {"workload=web", "workload=db"}
    assert conflicts.new
    world.garble(published_at("workload=db"))
    with pytest.raises(CorruptItemError):
        list(scanner.rivals(star.key, StoredMapping(ACCOUNT)))


BOTH = instance(workload="web", env="prod")


def observation(seen: Instance, carries: Association | None) -> Observation:
    return Observation(KEY, NOW, seen, carries, InstanceRecord(), Control())


def scanned(
    seen: Instance,
    carries: Association | None = None,
    *others: PublishedMapping,
    candidate: PublishedMapping = WEB,
    served: PublishedMapping | None = None,
    pin: Pin | None = None,
) -> Scan:
    """The scan of one instance, for a candidate among others."""
    after = resolve(seen, [*others, candidate], NOW, pin)
    before = resolve(seen, [*others, served] if served else others, NOW, pin)
    scan = Scan()
    scan.add(observation(seen, carries), (served, before), (candidate, after), ownership=OWNERSHIP)
    return scan


# ---- what it governs ----


def test_the_id_of_its_own_profile_is_noted_where_it_is_carried() -> None:
    carried = Association("iip-assoc-1", KEY.id, arn("web"), association("web").state, "AIPAFORMER")
    assert scanned(instance(workload="web"), carried).profile_ids == {"AIPAFORMER"}
    assert scanned(instance(workload="web"), association("api")).profile_ids == set()
    governs = published("env=prod", "api", priority=1)
    assert scanned(BOTH, carried, governs).profile_ids == {"AIPAFORMER"}, "it may govern after the next edit"


# ---- conflicts ----


def test_a_conflict_is_new_unless_what_is_served_has_it_there_already() -> None:
    rival = published("env=prod", "api")
    assert scanned(BOTH, None, rival).conflicts.new
    assert scanned(BOTH, None, rival, served=published("workload=web", "web", priority=50)).conflicts.new
    there = scanned(BOTH, None, rival, served=published("workload=web", "db"))
    assert (there.conflicts.new, list(there.conflicts)) == (False, [rival.key])


def test_the_conflicts_on_the_most_instances_are_told_first_and_few_of_them() -> None:
    conflicts = Conflicts()
    for number in range(1, 8):
        rival = published(f"env=e{number}", "api")
        for at in range(number):
            conflicts.of(rival).add(f"i-{at}", new=True)
    text = sentence(conflicts.reasons)
    assert text.startswith(
        "conflicts with env=e7 (priority 100, role api) on i-0, i-1, i-2, i-3, i-4 and 2 more; conflicts with env=e6"
    )
    assert text.endswith("; and with 2 more mappings; give one of them a lower number as its priority")


@pytest.mark.parametrize(
    ("columns", "other"),
    [
        ({"priority": 99}, {}),
        ({"enabled": False}, {}),
        ({"deleted": True}, {}),
        ({"expires_at": NOW - timedelta(seconds=1)}, {}),
        ({"accounts": frozenset({"1"})}, {"accounts": frozenset({"2"})}),
        ({"accounts": frozenset({"2"})}, {"not_accounts": frozenset({"2"})}),
        ({"regions": frozenset({"a"})}, {"regions": frozenset({"b"})}),
        ({"units": frozenset({"r-a"})}, {"units": frozenset({"r-b"})}),
        ({"units": frozenset({"ou-a/*"})}, {"units": frozenset({"ou-b"}), "not_units": frozenset({"ou-a/*"})}),
        ({"require_tags": {"env": "prod"}}, {"require_tags": {"env": "test"}}),
        ({"require_tags": {"workload": "api"}}, {}),
    ],
    ids=repr,
)
def test_two_that_no_instance_can_meet_are_never_in_conflict(columns: dict[str, Any], other: dict[str, Any]) -> None:
    one, two = published("workload=web", "web", **columns), published("workload=*", "api", **other)
    assert not could_conflict(one, two, NOW)
    assert not could_conflict(two, one, NOW)


def test_two_that_some_instance_can_meet_could_conflict() -> None:
    star = published("workload=*", "api", require_tags={"env": "*"}, accounts=frozenset({"1", "2"}))
    exact = published("workload=web", "web", require_tags={"env": "prod"}, accounts=frozenset({"2"}))
    assert could_conflict(star, exact, NOW)
    assert not could_conflict(star, star, NOW), "a mapping doesn't tie with itself"


# ---- what people are warned of ----


def foreign_roles(*profiles: str) -> Scan:
    """What is counted of instances that carry these profiles."""
    seen, mapping, found = instance(Name="x"), published("Name=x", "web"), Scan()
    ranked = mapping, resolve(seen, [mapping], NOW)
    for profile in profiles:
        found.add(observation(seen, foreign(profile)), ranked, ranked, ownership=OWNERSHIP)
    return found


@pytest.mark.parametrize("taken", [False, True])
def test_where_no_instance_carries_a_foreign_role_there_is_nothing_to_warn_of(*, taken: bool) -> None:
    assert Scan().about_foreign(taken=taken) == []


@pytest.mark.parametrize("taken", [False, True])
def test_nodes_are_named_by_their_service_each_once(*, taken: bool) -> None:
    found = foreign_roles("eks-1", "team-web", "ecsInstanceRole", "eks-2")
    assert found.foreign == 4
    assert ", ECS and EKS nodes among them" in sentence(found.about_foreign(taken=taken))
    assert ", EKS nodes among them" in sentence(foreign_roles("eks-1").about_foreign(taken=taken))
