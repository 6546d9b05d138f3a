"""What guards the tags, and what remembers who changed one."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from rolekeeper.aws.errors import AccessDeniedError
from rolekeeper.aws.iam import Document
from rolekeeper.model.problem import advice, typed
from rolekeeper.permissions.policies import listed, pattern_covers, patterns_meet, statements
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.doctor.view import Findings, unknown, warn
from rolekeeper_cli.shell.layout import several

# ---- whether service control policies keep people from changing a tag: pure ----

CREATE_TAGS, DELETE_TAGS = "CreateTags", "DeleteTags"
# ForAllValues is none of them: one more tag in the request, and it doesn't deny.
_HOLDS_ONE: Mapping[str, Callable[[str, str], bool]] = {
    "foranyvalue:stringequals": str.__eq__,
    "foranyvalue:stringlike": pattern_covers,
}


def denies(policies: Iterable[Document], action: str, instances: str, key: str | None) -> bool:
    """Whether any of these policies denies changing a tag; without a key, deleting all tags.

    A launch with tags needs `CreateTags` too (EC2 user guide, "Grant permission to tag Amazon EC2 resources during
    creation").
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


_PAGE = 'docs/security.md, "Who may tag"'
_PRINT = advice("print one that does, and attach it: ", typed("rolekeeper guard scp-tags --except ARN"))


def trail(deployment: Deployment) -> Findings:
    """Whether CloudTrail keeps who changed a tag: the events of tags don't say."""
    # Those that reach this Region, the organization's and those of other home Regions too.
    found = deployment.ask("cloudtrail:DescribeTrails", "*", includeShadowTrails=True)["trailList"]
    silent = []
    for each in found:
        arn = each["TrailARN"]
        if not deployment.ask("cloudtrail:GetTrailStatus", arn, Name=arn)["IsLogging"]:
            silent.append(each["Name"])
        elif _has_writes(deployment.ask("cloudtrail:GetEventSelectors", arn, TrailName=arn)):
            return f"trail {each['Name']} keeps who changed a tag"
    what = "no trail of CloudTrail keeps who changed a tag here; its event history does, for 90 days"
    if silent:
        yield warn(
            f"{what} ({several(silent)} logs nothing)", typed(f"aws cloudtrail start-logging --name {silent[0]}")
        )
    elif found:
        name = found[0]["Name"]
        selectors = '[{"ReadWriteType": "All", "IncludeManagementEvents": true}]'
        select = f"aws cloudtrail put-event-selectors --trail-name {name} --event-selectors '{selectors}'"
        yield warn(f"{what} ({name} keeps no management events that write)", typed(select))
    else:
        create = "aws cloudtrail create-trail --name NAME --s3-bucket-name BUCKET --is-multi-region-trail"
        yield warn(what, typed(f"{create} && aws cloudtrail start-logging --name NAME"))
    return ""


def _has_writes(selectors: Mapping[str, Any]) -> bool:
    """Whether a trail's selectors, of either kind, take in management events that write."""
    if any(
        each.get("IncludeManagementEvents") and each.get("ReadWriteType") != "ReadOnly"
        for each in selectors.get("EventSelectors") or ()
    ):
        return True
    fields = [
        {field["Field"]: field.get("Equals", []) for field in each["FieldSelectors"]}
        for each in selectors.get("AdvancedEventSelectors") or ()
    ]
    written = (each for each in fields if "true" not in each.get("readOnly", ()))
    return any("Management" in each.get("eventCategory", ()) for each in written)


def tags(deployment: Deployment) -> Findings:
    keys, account = deployment.mapped_keys, deployment.caller.account
    if not (organization := deployment.organization()):
        what = "the account is in no organization: only IAM can guard the tags, and who may tag can't be seen from here"
        yield unknown(what, f"see that IAM allows ec2:CreateTags and ec2:DeleteTags to few; see {_PAGE}")
        return ""
    manager = organization["MasterAccountId"]
    if manager == account:
        what = "the account manages its organization, so no service control policy can guard the tags"
        yield warn(f"{what} {several(keys)}", f"let IAM allow ec2:CreateTags and ec2:DeleteTags to few; see {_PAGE}")
        return ""
    try:
        found = list(_control_policies(deployment))
    except AccessDeniedError as error:
        # To ask is for the organization's managers only (Organizations API reference, `ListPoliciesForTarget`).
        asked = f"aws organizations list-policies-for-target --target-id {account} --filter SERVICE_CONTROL_POLICY"
        compare = typed("rolekeeper guard scp-tags")
        each = ", and the same for each parent; compare with: "
        remedy = advice(f"in account {manager}: ", typed(asked), each, compare)
        yield unknown(f"whether the tags {several(keys)} are guarded: you aren't allowed {error.action}", remedy)
        return ""
    instances = f"arn:{deployment.caller.partition}:ec2:{deployment.region}:{account}:instance/*"
    for action in (CREATE_TAGS, DELETE_TAGS):
        if bare := [each for each in keys if not denies(found, action, instances, key=each)]:
            yield warn(f"no service control policy denies ec2:{action} of the tags {several(bare)}", _PRINT)
    if not denies(found, DELETE_TAGS, instances, key=None):
        what = "no service control policy denies ec2:DeleteTags without keys, which deletes all tags"
        yield warn(what, _PRINT)
    return f"service control policies guard the tags {several(keys)}"


def _control_policies(deployment: Deployment) -> Iterator[Mapping[str, Any]]:
    """The service control policies that bind an account: its own, and those of all that it is in."""
    target, kind = deployment.caller.account, "ACCOUNT"
    while True:
        asked = {"TargetId": target, "Filter": "SERVICE_CONTROL_POLICY"}
        for policy in deployment.items("organizations:ListPoliciesForTarget", target, "Policies", **asked):
            answer = deployment.ask("organizations:DescribePolicy", policy["Id"], PolicyId=policy["Id"])
            yield json.loads(answer["Policy"]["Content"])
        if kind == "ROOT":
            return
        [parent] = deployment.ask("organizations:ListParents", target, ChildId=target)["Parents"]
        target, kind = parent["Id"], parent["Type"]
