"""What guards the tags, and what remembers who changed one."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rolekeeper.aws.errors import AccessDeniedError, PermanentError, classified
from rolekeeper.model.problem import advice, typed
from rolekeeper_cli.doctor_deployment import DoctorDeployment
from rolekeeper_cli.findings import Findings, several, unknown, warn
from rolekeeper_cli.policies.deployed import mapped_keys
from rolekeeper_cli.tag_guard import CREATE_TAGS, DELETE_TAGS, denies

_PAGE = 'docs/security.md, "Who may tag"'
_PRINT = advice("print one that does, and attach it: ", typed("rolekeeper guard scp-tags --except ARN"))


def trail(deployment: DoctorDeployment) -> Findings:
    """Whether CloudTrail keeps who changed a tag: the events of tags don't say."""
    client = deployment.client("cloudtrail")
    with classified("cloudtrail:DescribeTrails", "*"):
        # Those that reach this Region, the organization's and those of other home Regions too.
        found = client.describe_trails(includeShadowTrails=True)["trailList"]
    silent = []
    for each in found:
        with classified("cloudtrail:GetTrailStatus", each["TrailARN"]):
            logging = client.get_trail_status(Name=each["TrailARN"])["IsLogging"]
        if not logging:
            silent.append(each["Name"])
            continue
        with classified("cloudtrail:GetEventSelectors", each["TrailARN"]):
            selectors = client.get_event_selectors(TrailName=each["TrailARN"])
        if _has_writes(selectors):
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
    return any(
        "Management" in each.get("eventCategory", ()) and "true" not in each.get("readOnly", ()) for each in fields
    )


def tags(deployment: DoctorDeployment) -> Findings:
    """Whether service control policies guard the tags that mean a role."""
    keys = mapped_keys(deployment.rows, deployment.specs)
    account, client = deployment.caller.account, deployment.client("organizations")
    try:
        with classified("organizations:DescribeOrganization", "*"):
            manager = client.describe_organization()["Organization"]["MasterAccountId"]
    except PermanentError as error:
        if error.code != "AWSOrganizationsNotInUseException":
            raise
        what = "the account is in no organization: only IAM can guard the tags, and who may tag can't be seen from here"
        yield unknown(what, f"see that IAM allows ec2:CreateTags and ec2:DeleteTags to few; see {_PAGE}")
        return ""
    if manager == account:
        what = "the account manages its organization, so no service control policy can guard the tags"
        yield warn(f"{what} {several(keys)}", f"let IAM allow ec2:CreateTags and ec2:DeleteTags to few; see {_PAGE}")
        return ""
    try:
        found = list(_control_policies(client, account))
    except AccessDeniedError as error:
        # To ask is for the organization's managers only (Organizations API reference, `ListPoliciesForTarget`).
        asked = f"aws organizations list-policies-for-target --target-id {account} --filter SERVICE_CONTROL_POLICY"
        compare = typed("rolekeeper guard scp-tags")
        each = ", and the same for each parent; compare with: "
        remedy = advice(f"in account {manager}: ", typed(asked), each, compare)
        yield unknown(f"whether the tags {several(keys)} are guarded: you aren't allowed {error.action}", remedy)
        return ""
    instances = f"arn:{deployment.caller.partition}:ec2:{deployment.session.region_name}:{account}:instance/*"
    for action in (CREATE_TAGS, DELETE_TAGS):
        if bare := [each for each in keys if not denies(found, action, instances, key=each)]:
            yield warn(f"no service control policy denies ec2:{action} of the tags {several(bare)}", _PRINT)
    if not denies(found, DELETE_TAGS, instances, key=None):
        what = "no service control policy denies ec2:DeleteTags without keys, which deletes all tags"
        yield warn(what, _PRINT)
    return f"service control policies guard the tags {several(keys)}"


def _control_policies(client: Any, account: str) -> Iterator[Mapping[str, Any]]:
    """The service control policies that bind an account: its own, and those of all that it is in."""
    target, kind = account, "ACCOUNT"
    while True:
        with classified("organizations:ListPoliciesForTarget", target):
            pages = client.get_paginator("list_policies_for_target").paginate(
                TargetId=target, Filter="SERVICE_CONTROL_POLICY"
            )
            ids = [each["Id"] for page in pages for each in page["Policies"]]
        for each in ids:
            with classified("organizations:DescribePolicy", each):
                yield json.loads(client.describe_policy(PolicyId=each)["Policy"]["Content"])
        if kind == "ROOT":
            return
        with classified("organizations:ListParents", target):
            [parent] = client.list_parents(ChildId=target)["Parents"]
        target, kind = parent["Id"], parent["Type"]
