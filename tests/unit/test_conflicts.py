"""What one mapping governs, counted instance by instance: foreign roles, its own profiles, and its conflicts."""

from datetime import timedelta
from typing import Any

import pytest

from rolekeeper.instances.decide import resolve
from rolekeeper.mappings.impact import Conflicts, Scan, could_conflict
from rolekeeper.model.instance import Association, Instance
from rolekeeper.model.mapping import Pin, PublishedMapping
from strategies.values import KEY, NOW, OWNERSHIP, TAKES_OVER, arn, association, foreign, instance, published

WEB = published("workload=web", "web")
BOTH = instance(workload="web", env="prod")


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
    scan.add(seen, carries, (served, before), (candidate, after), OWNERSHIP)
    return scan


# ---- what it governs ----


@pytest.mark.parametrize("carries", [None, association("web"), association("api")])
def test_an_instance_without_a_role_or_with_a_managed_one_carries_no_foreign_role(carries: Association | None) -> None:
    scan = scanned(instance(workload="web"), carries)
    assert (scan.matched, scan.foreign) == (1, 0)


@pytest.mark.parametrize("ownership", [OWNERSHIP, TAKES_OVER])
@pytest.mark.parametrize("candidate", [WEB, published("workload=web", "NONE")], ids=lambda each: each.spec.role)
def test_a_governed_instance_with_a_foreign_role_is_counted_whether_or_not_it_may_be_taken_over(
    candidate: PublishedMapping, ownership: Any
) -> None:
    seen, scan = instance(workload="web"), Scan()
    ranked = resolve(seen, [candidate], NOW)
    for _ in range(2):
        scan.add(seen, foreign(), (candidate, ranked), (candidate, ranked), ownership)
    assert (scan.matched, scan.foreign, scan.nodes) == (2, 2, set())


@pytest.mark.parametrize(
    ("seen", "profile", "nodes"),
    [
        (instance(workload="web", **{"eks:cluster-name": "prod"}), "theirs", {"EKS"}),
        (instance(workload="web", **{"aws:ecs:clusterName": "prod"}), "theirs", {"ECS"}),
        (instance(workload="web"), "ecsInstanceRole", {"ECS"}),
        (instance(workload="web"), "theirs", set()),
    ],
)
def test_the_nodes_among_them_are_named(seen: Instance, profile: str, nodes: set[str]) -> None:
    assert scanned(seen, foreign(profile)).nodes == nodes


def test_a_node_with_a_managed_role_loses_no_foreign_one() -> None:
    node = instance(workload="web", **{"eks:cluster-name": "prod"})
    assert scanned(node, association("api")).nodes == set()


def test_the_id_of_its_own_profile_is_noted_where_it_is_carried() -> None:
    carried = Association("iip-assoc-1", KEY.id, arn("web"), association("web").state, "AIPAFORMER")
    assert scanned(instance(workload="web"), carried).profile_ids == {"AIPAFORMER"}
    assert scanned(instance(workload="web"), association("api")).profile_ids == set()


@pytest.mark.parametrize(
    ("seen", "others", "pin"),
    [
        (instance(workload="api"), [], None),
        (BOTH, [published("env=prod", "api", priority=50)], None),
        (BOTH, [published("env=prod", "api")], None),
        (instance(workload="web", **{"rolekeeper:ignore": "true"}), [], None),
        (instance(workload="web"), [], Pin("api", arn("api"))),
        (instance(workload="web"), [], Pin("", unclear="it names no role")),
    ],
    ids=["no such tag", "another wins", "a tie", "ignored", "pinned", "an unclear pin"],
)
def test_what_it_doesnt_govern_it_doesnt_count(seen: Instance, others: list[PublishedMapping], pin: Pin | None) -> None:
    scan = scanned(seen, foreign("ecsInstanceRole"), *others, pin=pin)
    assert (scan.matched, scan.foreign, scan.nodes) == (0, 0, set())


# ---- conflicts ----


def test_a_conflict_is_new_unless_what_is_served_has_it_there_already() -> None:
    rival = published("env=prod", "api")
    assert scanned(BOTH, None, rival).conflicts.new
    assert scanned(BOTH, None, rival, served=published("workload=web", "web", priority=50)).conflicts.new
    there = scanned(BOTH, None, rival, served=published("workload=web", "db"))
    assert (there.conflicts.new, list(there.conflicts)) == (False, [rival.key])


def test_two_that_want_the_same_have_none() -> None:
    assert scanned(BOTH, None, published("env=prod", "web")).conflicts == {}


def test_the_conflicts_on_the_most_instances_are_told_first_and_few_of_them() -> None:
    conflicts = Conflicts()
    for number in range(1, 8):
        rival = published(f"env=e{number}", "api")
        for at in range(number):
            conflicts.of(rival).add(f"i-{at}", new=True)
    text = str(conflicts)
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
        ({"regions": frozenset({"a"})}, {"regions": frozenset({"b"})}),
        ({"units": frozenset({"r-a"})}, {"units": frozenset({"r-b"})}),
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
