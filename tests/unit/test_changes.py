"""What differs between two revisions, in words."""

from dataclasses import replace
from datetime import timedelta, timezone
from typing import Any

import pytest

from rolekeeper.mappings.rows import changes
from strategies.values import NOW, arn, published

TAG = "a=1"
WEB = published(TAG, "web")


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("role", "db", "role: web → db"),
        ("instance_profile", "special", "instance_profile: none → special"),
        ("priority", 7, "priority: 100 → 7"),
        ("enabled", False, "enabled: true → false"),
        ("when_stopped", "swap", "when_stopped: wait → swap"),
        ("require_tags", {"b": "2", "a": "*"}, "require_tags: none → a=*, b=2"),
        ("regions", frozenset({"eu-west-1", "eu-central-1"}), "regions: none → eu-central-1, eu-west-1"),
        ("units", frozenset({"r-a1b2"}), "units: none → r-a1b2"),
        (
            "expires_at",
            NOW.astimezone(timezone(timedelta(hours=2))),
            "expires_at: none → 2026-03-01T09:00:00Z",
        ),
        ("description", "x" * 200, f"description: none → {'x' * 79}…"),
    ],
)
def test_each_column_that_differs_is_told(column: str, value: Any, said: str) -> None:
    after = replace(WEB, spec=replace(WEB.spec, **{column: value}), revision=2)
    assert changes(WEB, after) == [said]


def test_nothing_is_told_where_nothing_differs() -> None:
    assert changes(WEB, replace(WEB, revision=2)) == []


def test_a_first_revision_tells_what_it_sets() -> None:
    assert changes(None, published(TAG, "web", priority=7)) == ["a new row", "role: web", "priority: 7"]


def test_a_row_that_comes_back_tells_what_it_sets() -> None:
    assert changes(replace(WEB, deleted=True), WEB) == ["the row is back", "role: web"]


def test_a_deletion_is_told_as_such() -> None:
    assert changes(WEB, replace(WEB, deleted=True)) == ["the row was deleted"]


def test_a_profile_that_was_made_anew_elsewhere_is_told() -> None:
    moved = replace(WEB, profile_arn=arn("new/web"))
    assert changes(WEB, moved) == [f"the instance profile: {arn('web')} → {arn('new/web')}"]
