"""Which mapping governs an instance, and why another doesn't, in words.

Whatever else the mappings say is in `machines/test_resolution_machine.py`.
"""

from datetime import timedelta

import pytest

from rolekeeper.instances.decide import mapping_keys, resolve
from rolekeeper.model.mapping import MappingKey
from strategies.values import NOW, instance, key, published


@pytest.mark.parametrize("tag", ["Workload=web", "workload=Web", "workload=web ", "workload="])
def test_tags_are_case_sensitive_and_compared_whole(tag: str) -> None:
    assert resolve(instance(workload="web"), [published(tag, "web")], NOW).winner is None


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


def test_the_keys_to_read_are_each_tags_exact_value_and_any_value() -> None:
    assert mapping_keys({"env": "prod", "workload": ""}) == [
        MappingKey("env", "prod"),
        MappingKey("env", "*"),
        MappingKey("workload", ""),
        MappingKey("workload", "*"),
    ]


def test_a_tag_whose_value_is_a_star_is_asked_for_once() -> None:
    assert mapping_keys({"env": "*"}) == [MappingKey("env", "*")]
