"""Whether service control policies keep people from changing a tag: pure.

What a condition on the principal exempts isn't judged: somebody has to be allowed to tag.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rolekeeper.aws.iam import Document
from rolekeeper.permissions.policies import listed, pattern_covers, patterns_meet, statements

CREATE_TAGS, DELETE_TAGS = "CreateTags", "DeleteTags"
# ForAllValues is none of them: one more tag in the request, and it doesn't deny.
_HOLDS_ONE: Mapping[str, Callable[[str, str], bool]] = {
    "foranyvalue:stringequals": str.__eq__,
    "foranyvalue:stringlike": pattern_covers,
}


def denies(policies: Iterable[Document], action: str, instances: str, key: str | None) -> bool:
    """Whether policies deny changing a tag of instances.

    Args:
        policies: any of them may deny.
        action: `CreateTags` or `DeleteTags`. A launch with tags needs the first too (EC2 user guide, "Grant permission
            to tag Amazon EC2 resources during creation").
        instances: their ARN, as `arn:aws:ec2:eu-central-1:123456789012:instance/*`.
        key: the tag's key; None: deleting without any, which deletes all tags.
    """
    return any(
        statement.get("Effect") == "Deny"
        and _takes_in(statement, "Action", f"ec2:{action}")
        and _takes_in(statement, "Resource", instances)
        and all(_holds(test, name, values, key=key) for test, name, values in _tests(statement))
        for policy in policies
        for statement in statements(policy)
    )


def _takes_in(statement: Mapping[str, Any], element: str, asked: str) -> bool:
    wide, barred = ([each.lower() for each in listed(statement.get(name))] for name in (element, f"Not{element}"))
    if barred:
        return not any(patterns_meet(each, asked.lower()) for each in barred)
    return any(pattern_covers(each, asked.lower()) for each in wide)


def _tests(statement: Mapping[str, Any]) -> Iterable[tuple[str, str, list[Any]]]:
    return [
        (test.lower(), name.lower(), listed(values))
        for test, names in (statement.get("Condition") or {}).items()
        for name, values in names.items()
    ]


def _holds(test: str, name: str, values: list[Any], key: str | None) -> bool:
    """Whether a condition's test holds for a request with this key, but for exempted principals."""
    if name.startswith("aws:principal"):
        return "not" in test
    if name != "aws:tagkeys":
        return False
    if key is None:
        return test == "null" and values == ["true"]
    return test in _HOLDS_ONE and any(_HOLDS_ONE[test](each, key) for each in values)
