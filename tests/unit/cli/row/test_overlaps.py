"""Which mappings match the same instances: by the rules that decide, over tags that were read before."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fixtures.account import HOME, mapping_key
from rolekeeper.model.instance import Target
from rolekeeper.model.mapping import IGNORE_TAG, NO_ROLE, MappingSpec, PublishedMapping
from rolekeeper_cli.row.overlaps import Tagged, overlaps

NOW = datetime(2026, 3, 1, tzinfo=UTC)
THERE = Target("111111111111", "eu-west-1")


def met(
    *columns: dict[str, Any], at: Target = HOME, governed_by: str = "a=1", ignore: str = "false"
) -> list[tuple[str, int]]:
    """The overlaps of an instance with the tags a=1 and b=2, by the mappings of these, best first, and how many tie."""
    specs = [
        MappingSpec(mapping_key(tag), **{"role": tag[0], **more})
        for tag, more in zip(("a=1", "b=2"), columns, strict=True)
    ]
    published = {each.key: PublishedMapping(each, 1, f"arn:{each.role}") for each in specs}

    def there(target: Target, each: PublishedMapping) -> PublishedMapping:
        """The home account is in no organizational unit, and the other in each."""
        return replace(each, in_scope=each.spec.allows_unit("") if target == HOME else True)

    tagged = (at, tuple({"a": "1", "b": "2", IGNORE_TAG: ignore}.items()), governed_by)
    found = overlaps([tagged], published, there, now=NOW)
    return [(" ".join(str(spec.key) for spec in each.specs), each.tied) for each in found]


@pytest.mark.parametrize(
    ("first", "second", "governed_by", "wanted"),
    [
        ({"priority": 1}, {}, "a=1", [("a=1 b=2", 0)]),
        ({"priority": 200}, {}, "b=2", [("b=2 a=1", 0)]),
        ({}, {}, "", [("a=1 b=2", 2)]),
        ({}, {"role": "a"}, "a=1", [("a=1 b=2", 0)]),
        ({}, {"enabled": False}, "a=1", []),
        ({}, {"expires_at": NOW - timedelta(1)}, "a=1", []),
        ({}, {"require_tags": {"c": "3"}}, "a=1", []),
        ({}, {"accounts": frozenset({THERE.account})}, "a=1", []),
    ],
)
def test_mappings_meet_where_each_would_govern_the_instance_alone(
    first: dict[str, Any], second: dict[str, Any], governed_by: str, wanted: list[tuple[str, int]]
) -> None:
    assert met(first, second, governed_by=governed_by) == wanted


@pytest.mark.parametrize("governed_by", ["the pin", "b=2", ""])
def test_an_instance_that_something_else_governs_isnt_counted(governed_by: str) -> None:
    assert met({"priority": 1}, {}, governed_by=governed_by) == []


def test_the_tag_that_ignores_an_instance_comes_before_all_but_a_quarantine() -> None:
    assert met({"priority": 1}, {}, ignore="true") == []
    assert met({"priority": 1}, {}, governed_by="", ignore="true") == []
    assert met({"priority": 1, "role": NO_ROLE}, {}, ignore="true") == [("a=1 b=2", 0)]


def test_mappings_meet_where_they_are_published() -> None:
    both = {"priority": 1}, {"units": frozenset({"ou-a1b2-c3d4e5f6"})}
    assert (met(*both), met(*both, at=THERE)) == ([], [("a=1 b=2", 0)])


def test_instances_with_the_same_tags_are_counted_once_whatever_else_they_carry() -> None:
    published = {
        key: PublishedMapping(MappingSpec(key, "r", priority=number), 1, "arn:r")
        for number, key in enumerate(map(mapping_key, ("a=1", "b=2", "c=3")), 1)
    }
    few: list[Tagged] = [(HOME, (("b", "2"), ("c", "3")), "b=2")]
    many: list[Tagged] = [(HOME, (("a", "1"), ("Name", str(number)), ("b", "2")), "a=1") for number in range(5)]
    found = overlaps(few + many, published, lambda _, each: each, now=NOW)
    assert [each.instances for each in found] == [5, 1], "those of the most instances come first"
