"""The stack's parameters: what is deployed stays, what is given changes, and what is refused is said beforehand."""

from typing import Any

import pytest

from rolekeeper_cli.deploying.stack import declared, merged, refused

KNOWN: dict[str, dict[str, Any]] = {
    "Mode": {"Type": "String", "Default": "observe", "Description": "observe or\n  enforce"},
    "SweepSchedule": {"Type": "String", "Default": "rate(15 minutes)", "Description": "how often"},
    "MaxChangesPerEdit": {"Type": "Number", "Default": 25, "Description": "how many"},
}


def test_every_parameter_of_the_template_is_found_with_its_default() -> None:
    known = declared()
    assert known["Mode"]["Default"] == "observe"
    assert all("Default" in each for each in known.values())


def test_what_is_deployed_stays_but_for_what_is_given() -> None:
    present = {"Mode": "enforce", "MaxChangesPerEdit": "50", "GoneParameter": "x"}
    assert merged(KNOWN, present, {"SweepSchedule": "rate(1 hour)"}) == {
        "Mode": "enforce",
        "SweepSchedule": "rate(1 hour)",
        "MaxChangesPerEdit": "50",
    }


def test_a_first_deployment_takes_the_templates_defaults() -> None:
    assert merged(KNOWN, {}, {}) == {"Mode": "observe", "SweepSchedule": "rate(15 minutes)", "MaxChangesPerEdit": "25"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RolePath", "/service-role/rolekeeper/"),
        ("RolePath", "/"),
        ("RolePath", f"/{'x' * 200}/"),
        ("Mode", "on"),
        ("LogRetentionDays", "31"),
        ("MaxChangesPercent", "101"),
        ("MaxChangesPercent", "-1"),
        ("RetryTimeoutMinutes", "4"),
        ("KmsKeyArn", "alias/mine"),
        ("ChangesPerSecond", "0"),
        ("ChangesPerSecond", "1e3"),
        ("ChangesPerSecond", "101"),
        ("Workers", "2.5"),
    ],
)
def test_what_cloudformation_would_refuse_is_refused_with_the_templates_reason(name: str, value: str) -> None:
    known = declared()
    assert refused(known, {name: value}) == [f"{name}={value}: {known[name]['ConstraintDescription']}"]


def test_what_a_template_has_by_default_and_what_it_takes_is_not_refused() -> None:
    known = declared()
    assert refused(known, merged(known, {}, {"RolePath": "/org/roles/", "ChangesPerSecond": "12.5"})) == []
