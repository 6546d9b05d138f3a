"""What was meant: names a slip away, and none that only look alike to a machine."""

import pytest

from rolekeeper_cli.suggest import did_you_mean, near

ROLES = ["batch", "db", "ssm-only", "web", "web-debug"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("wbe", ["web"]),  # two swapped
        ("ewb", ["web"]),
        ("weeb", ["web"]),
        ("Web", ["web", "web-debug"]),
        ("WEB-DEBUG", ["web-debug"]),
        ("bacth", ["batch"]),
        ("ssm", ["ssm-only"]),  # the beginning
        ("web-debgu", ["web-debug"]),
        ("nosuch", []),
        ("profile", []),
        ("", []),
    ],
)
def test_a_slip_finds_the_name_that_was_meant(typed: str, meant: list[str]) -> None:
    assert near(typed, ROLES) == meant


def test_the_nearest_comes_first_and_three_at_most() -> None:
    assert near("web-1", ["web-10", "web-2", "web-1x", "web-11", "web-21"]) == ["web-10", "web-11", "web-1x"]
    assert near("production", ["prodution", "production-eu", "productoin"]) == [
        "productoin",
        "prodution",
        "production-eu",
    ]


def test_options_are_compared_without_their_dashes() -> None:
    assert near("--role", ["--profile", "--stack", "--region"]) == []
    assert near("--regoin", ["--profile", "--stack", "--region"]) == ["--region"]
    assert near("--prof", ["--profile", "--prune"]) == ["--profile"]


def test_it_is_asked_as_a_question() -> None:
    assert did_you_mean("wbe", ROLES) == "did you mean web?"
    assert did_you_mean("wxb", ["web", "wab"]) == "did you mean wab or web?"
    assert did_you_mean("nosuch", ROLES) == ""
