"""The stack's parameters: what CloudFormation would refuse is refused beforehand."""

import pytest

from rolekeeper_cli.deploying.stack import declared, merged, refused


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
