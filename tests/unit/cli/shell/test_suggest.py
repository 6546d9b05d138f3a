"""What was meant: names a slip away, and none that only look alike to a machine."""

import pytest

from rolekeeper_cli.shell.suggest import did_you_mean, near

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
        ("--web", ["web", "web-debug"]),
        ("nosuch", []),
        ("profile", []),
        ("web", []),  # it is there
        ("", []),
    ],
)
def test_a_slip_finds_the_name_that_was_meant(typed: str, meant: list[str]) -> None:
    assert near(typed, ROLES) == meant
    assert did_you_mean(typed, ROLES) == (f"did you mean {' or '.join(meant)}?" if meant else "")


def test_the_nearest_comes_first_and_three_at_most() -> None:
    assert near("web-1", ["web-10", "web-2", "web-1x", "web-11", "web-21"]) == ["web-10", "web-11", "web-1x"]
    assert near("production", ["prodution", "production-eu", "productoin"]) == [
        "productoin",
        "prodution",
        "production-eu",
    ]
