"""Which mapping governs an instance."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekeeper.instances.decide import mapping_keys, not_applicable_because, resolve
from rolekeeper.model.instance import Instance
from rolekeeper.model.mapping import MappingKey, PublishedMapping
from strategies.values import NOW, instance, instances, key, mappings, published


def test_the_mapping_of_the_instances_tag_wins() -> None:
    web, db = published("workload=web", "web"), published("workload=db", "db")
    found = resolve(instance(workload="web"), [db, web], NOW)
    assert found.winner == web
    assert found.overridden == ()


def test_any_value_matches_whatever_the_tag_says() -> None:
    anything = published("workload=*", "base")
    assert resolve(instance(workload="whatever"), [anything], NOW).winner == anything
    assert resolve(instance(workload=""), [anything], NOW).winner == anything
    assert resolve(instance(other="x"), [anything], NOW).winner is None


@pytest.mark.parametrize("tag", ["Workload=web", "workload=Web", "workload=web ", "workload="])
def test_tags_are_case_sensitive_and_compared_whole(tag: str) -> None:
    assert resolve(instance(workload="web"), [published(tag, "web")], NOW).winner is None


def test_an_empty_value_is_a_value() -> None:
    quarantined = published("quarantine=", "NONE")
    assert resolve(instance(quarantine=""), [quarantined], NOW).winner == quarantined
    assert resolve(instance(quarantine="no"), [quarantined], NOW).winner is None


def test_the_lowest_priority_number_wins_and_the_loser_is_told_why() -> None:
    first = published("env=prod", "prod", priority=10)
    second = published("workload=web", "web", priority=20)
    found = resolve(instance(env="prod", workload="web"), [second, first], NOW)
    assert found.winner == first
    (loser,) = found.overridden
    assert loser.mapping == key("workload=web")
    assert loser.why == "priority 20 comes after 10 of env=prod"


def test_two_with_one_priority_and_different_roles_tie() -> None:
    prod, web = published("env=prod", "prod"), published("workload=web", "web")
    found = resolve(instance(env="prod", workload="web"), [web, prod], NOW)
    assert found.winner is None
    assert found.in_conflict == (prod, web)


def test_two_that_want_the_same_role_agree() -> None:
    prod, web = published("env=prod", "web"), published("workload=web", "web")
    found = resolve(instance(env="prod", workload="web"), [web, prod], NOW)
    assert found.winner == prod
    assert [each.why for each in found.overridden] == ["it agrees with env=prod, which stands for it"]


def test_a_tie_further_down_doesnt_matter() -> None:
    best = published("a=1", "web", priority=1)
    rivals = [published("b=1", "x"), published("c=1", "y")]
    found = resolve(instance(a="1", b="1", c="1"), [*rivals, best], NOW)
    assert found.winner == best
    assert len(found.overridden) == 2


def test_the_exact_value_isnt_better_than_any_value_priority_decides() -> None:
    exact, anything = published("workload=web", "web", priority=20), published("workload=*", "base", priority=10)
    assert resolve(instance(workload="web"), [exact, anything], NOW).winner == anything


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"enabled": False}, "it is disabled"),
        ({"expires_at": NOW}, "it expired at 2026-03-01T09:00:00Z"),
        ({"expires_at": NOW - timedelta(days=1)}, "it expired at 2026-02-28T09:00:00Z"),
        ({"accounts": frozenset({"999999999999"})}, "it is not for account 123456789012"),
        ({"regions": frozenset({"eu-west-1"})}, "it is not for region us-east-1"),
        (
            {"units": frozenset({"ou-a1b2-c3d4e5f6"})},
            "it is for organizational units, and this account isn't in one of them",
        ),
        ({"require_tags": {"env": "prod", "team": "a"}}, "it also requires env=prod, team=a"),
        ({"require_tags": {"env": "*"}}, "it also requires env=*"),
        ({"deleted": True}, "its row was deleted"),
    ],
)
def test_a_mapping_that_doesnt_apply_loses_and_says_why(columns: dict[str, object], why: str) -> None:
    excluded = published("workload=web", "web", priority=1, **columns)  # type: ignore[arg-type]  # a table of columns
    fallback = published("workload=*", "base")
    found = resolve(instance(workload="web"), [excluded, fallback], NOW)
    assert found.winner == fallback
    assert [(each.mapping, each.why) for each in found.overridden] == [(excluded.key, why)]


@pytest.mark.parametrize(
    "columns",
    [
        {"expires_at": NOW + timedelta(seconds=1)},
        {"accounts": frozenset({"123456789012", "999999999999"})},
        {"regions": frozenset({"us-east-1"})},
        {"require_tags": {"env": "prod"}},
        {"require_tags": {"env": "*"}},
        {"require_tags": {"workload": "web"}},
    ],
)
def test_a_mapping_within_its_scope_applies(columns: dict[str, object]) -> None:
    mapping = published("workload=web", "web", **columns)  # type: ignore[arg-type]  # a table of columns
    assert resolve(instance(workload="web", env="prod"), [mapping], NOW).winner == mapping


def test_a_suspended_mapping_still_wins_it_holds_its_instances() -> None:
    suspended = published("workload=web", "web", suspended_because="its role is gone", priority=1)
    found = resolve(instance(workload="web"), [suspended, published("workload=*", "base")], NOW)
    assert found.winner == suspended


def test_the_keys_to_read_are_each_tags_exact_value_and_any_value() -> None:
    assert mapping_keys({"env": "prod", "workload": ""}) == [
        MappingKey("env", "prod"),
        MappingKey("env", "*"),
        MappingKey("workload", ""),
        MappingKey("workload", "*"),
    ]


def test_a_tag_whose_value_is_a_star_is_asked_for_once() -> None:
    assert mapping_keys({"env": "*"}) == [MappingKey("env", "*")]


@given(instances, st.lists(mappings, max_size=6, unique_by=lambda each: each.key), st.randoms())
def test_the_order_of_reading_never_matters(
    seen: Instance,
    read: list[PublishedMapping],
    random: "st.random.Random",  # type: ignore[name-defined]  # hypothesis's own
) -> None:
    shuffled = list(read)
    random.shuffle(shuffled)
    assert resolve(seen, read, NOW) == resolve(seen, shuffled, NOW)


@given(instances, st.lists(mappings, max_size=6, unique_by=lambda each: each.key))
def test_every_mapping_of_the_instances_tags_is_accounted_for_once(
    seen: Instance, read: list[PublishedMapping]
) -> None:
    found = resolve(seen, read, NOW)
    named = [each.mapping for each in found.overridden] + [each.key for each in found.in_conflict]
    named += [found.winner.key] if found.winner else []
    assert sorted(named) == sorted(each.key for each in read if each.key.matches(seen.tags))
    assert not (found.winner and found.in_conflict)


@given(instances, st.lists(mappings, max_size=6, unique_by=lambda each: each.key))
def test_nothing_that_doesnt_apply_ever_wins_or_ties(seen: Instance, read: list[PublishedMapping]) -> None:
    found = resolve(seen, read, NOW)
    for each in (*found.in_conflict, *([found.winner] if found.winner else [])):
        assert not not_applicable_because(each, seen, NOW)
