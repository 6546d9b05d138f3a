"""`rolekeeper verify --pre`: can this account and Region take a deployment, and what may the caller do? Read-only."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError, PermanentError, classified
from rolekeeper.aws.iam import Iam
from rolekeeper.permissions.policies import listed
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.aws.explained import refusal
from rolekeeper_cli.doctor import stack
from rolekeeper_cli.doctor.caller import Need, Request, lacking, no_principal, operating, principal_of
from rolekeeper_cli.doctor.run import Check, run
from rolekeeper_cli.doctor.run import findings as found_by
from rolekeeper_cli.doctor.view import Finding, Findings, Level, fail, unknown, warn
from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.guard.use import Arns, Document, deploying_policy, verifiers_policies
from rolekeeper_cli.shell.layout import amount, several
from rolekeeper_verify.machine import Wanted, resolve
from rolekeeper_verify.names import PREFIX, TAG
from rolekeeper_verify.removal import find

# What a verification makes beside what is there; a test counts it in both templates.
NEEDED = {"roles": 10, "instance profiles": 4, "policies": 3, "rules": 7, "stacks": 2}
_RULES: Mapping[str, Any] = {"lists": "events:ListRules", "code": "L-244521F2", "default": 300}
_STACKS: Mapping[str, Any] = {"lists": "cloudformation:DescribeStacks", "code": "L-0485CB21", "default": 2_000}
# Two instances of the smallest types.
VCPUS = 4
# The last tenth is near.
_NEAR = 0.9
_PAGE = "docs/verify.md"
# Of what IAM refuses, this many lines are shown for each check.
_SHOWN = 3


def preflight(deployment: Deployment, wanted: Wanted) -> Iterator[Finding]:
    """What every check finds, with the section of the docs; if AWS takes no credentials, only that."""
    table = checks(wanted)
    by_name = {name: check for name, (_, check) in table.items()}
    first = run("credentials", by_name.pop("credentials"), deployment)
    goes_on = all(each.level is not Level.FAIL for each in first)
    for each in chain(first, found_by(deployment, by_name) if goes_on else ()):
        remedy = f"{each.remedy}; see {_PAGE}#{table[each.check][0]}"
        yield each if each.level is Level.OK else replace(each, remedy=remedy)


def checks(wanted: Wanted) -> Mapping[str, tuple[str, Check]]:
    """By name, in their order: the section of the page, and the check."""
    return {
        "credentials": ("permissions", credentials),
        "verify": ("permissions", verify),
        "deploy": ("permissions", deploy),
        "operate": ("permissions", operate),
        "boundary": ("permissions", boundary),
        "tag-policy": ("permissions", tag_policy),
        "machine": ("the-instances", partial(machine, wanted=wanted)),
        "iam": ("quotas", iam_quotas),
        "lambda": ("quotas", stack.concurrency),
        "rules": ("quotas", partial(counted, what="rules on the default event bus", **_RULES)),
        "stacks": ("quotas", partial(counted, what="stacks", **_STACKS)),
        "vcpus": ("quotas", vcpus),
    }


# ---- who calls, and what they may ----


def credentials(deployment: Deployment) -> Findings:
    try:
        caller = deployment.caller
    except AwsRefusalError as error:
        shown = refusal(error)
        yield fail(shown.what, shown.remedy)
        return ""
    if caller.arn.endswith(":root"):
        yield warn("you are using the account's root user, which no IAM policy limits", "use an IAM role")
    return f"{caller.arn} in {deployment.region}"


def verify(deployment: Deployment) -> Findings:
    caller = deployment.caller
    policies = verifiers_policies(caller.partition, caller.account, deployment.region)
    needs = [need for policy in policies for need in _needs("verifying", policy)]
    remedy = "attach what rolekeeper guard verifiers prints"
    try:
        yield from _may(deployment, needs, level=Level.FAIL, remedy=remedy)
    except AccessDeniedError as error:
        # The lists by which it proves that nothing is left can be tried.
        if refused := sorted({each.action for each in find(deployment).unknown}):
            yield fail(f"you may not, for verifying: {several(refused, most=20)}", remedy)
        yield unknown(f"whether you may do the rest isn't known: {refusal(error).what}", remedy)
    return "you may do what a verification does"


def deploy(deployment: Deployment) -> Findings:
    arns = _arns(deployment)
    needs = list(_needs(f"deploying {arns.stack}", deploying_policy(arns, f"{arns.stack}-*")))
    remedy = 'ask for that permission: docs/deploy.md, "What the deployer must be allowed"'
    yield from _may(deployment, needs, level=Level.WARN, remedy=remedy)
    return f"you may deploy the stack {arns.stack}"


def operate(deployment: Deployment) -> Findings:
    arns = _arns(deployment)
    needs = operating(arns, f"{arns.stack}-WorkQueue-any", f"{arns.stack}-DeadLetterQueue-any")
    remedy = 'ask for that permission: docs/security.md, "What the command needs"'
    yield from _may(deployment, needs, level=Level.WARN, remedy=remedy)
    return f"you may do what the commands need on the stack {arns.stack}"


def _arns(deployment: Deployment) -> Arns:
    """A deployment's as it would be: CloudFormation adds something of its own to the names."""
    caller, stack = deployment.caller, deployment.stack_name
    return Arns(
        caller.partition,
        caller.account,
        deployment.region,
        path="/rolekeeper/",
        stack=stack,
        mapping_table=f"{stack}-MappingTable-any",
        state_table=f"{stack}-StateTable-any",
    )


def _needs(purpose: str, policy: Document) -> Iterator[Need]:
    """What a policy allows, as needs, without the actions that have a star: they only read."""
    for statement in policy["Statement"]:
        tests = statement.get("Condition", {}).values()
        context = tuple((key, _one(listed(value)[0])) for test in tests for key, value in test.items())
        actions = [each for each in statement["Action"] if "*" not in each]
        for resource in listed(statement["Resource"]):
            yield Need(purpose, actions, Request(resource if resource == "*" else _one(resource), context))


def _one(pattern: str) -> str:
    """What a pattern stands for, by a name that nothing has."""
    return pattern.replace("*", "any")


def _may(deployment: Deployment, needs: Sequence[Need], *, level: Level, remedy: str) -> Iterator[Finding]:
    arn = deployment.caller.arn
    if arn.endswith(":root"):
        yield unknown("IAM doesn't say whether a service control policy limits the root user", "use an IAM role")
    elif (principal := principal_of(deployment)) is None:
        yield no_principal(arn)
    else:
        found = list(lacking(deployment, principal, needs, level=level, remedy=remedy))
        yield from found[:_SHOWN]
        if more := found[_SHOWN:]:
            yield replace(more[0], what=f"{len(more):,} more like these")


def boundary(deployment: Deployment) -> Findings:
    """A boundary often asks that all roles that are made have one too."""
    caller = deployment.caller
    kind, *path = caller.arn.split(":", 5)[5].split("/")
    found = ""
    if kind == "assumed-role":
        role = Iam(deployment.client("iam"), caller.account, caller.partition).get_role(path[0])
        found = role.boundary_arn if role else ""
    elif kind == "user":
        user = deployment.ask("iam:GetUser", caller.arn, UserName=path[-1])["User"]
        found = user.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn", "")
    if found:
        what = f"the permissions boundary {found} limits you, and may ask for one on the roles that a deployment makes"
        yield warn(what, f"deploy with --permissions-boundary {found}")
    return "no permissions boundary limits you"


def tag_policy(deployment: Deployment) -> Findings:
    """Whether the organization's effective tag policy is enforced for the tags of a verification."""
    try:
        answer = deployment.ask("organizations:DescribeEffectivePolicy", "*", PolicyType="TAG_POLICY")
    except PermanentError as error:
        if error.code not in {"EffectivePolicyNotFoundException", "AWSOrganizationsNotInUseException"}:
            raise
        return "no tag policy applies to the account"
    tags = json.loads(answer["EffectivePolicy"]["PolicyContent"]).get("tags", {})
    # Keys of a tag policy are in lower case (Organizations user guide, "Tag policy syntax").
    if enforced := [key for key, each in tags.items() if key.startswith((TAG, PREFIX)) and each.get("enforced_for")]:
        what = f"the organization's tag policy is enforced for {', '.join(enforced)}"
        yield fail(what, "have it leave out these keys, or verify in another account")
    return f"the organization's tag policy says nothing of {TAG}"


def machine(deployment: Deployment, wanted: Wanted) -> Findings:
    """Whether the Region has what is launched, and IAM and EC2 would launch it: a dry run."""
    try:
        found = resolve(deployment, wanted)
    except (CommandError, PermanentError) as error:
        shown = refusal(error) if isinstance(error, PermanentError) else error
        yield fail(shown.what, shown.remedy)
        return ""
    try:
        request = {**found.launch_request("dryrun", tags={}), "SubnetId": found.subnets[0]}
        deployment.ask("ec2:RunInstances", found.subnets[0], **request, DryRun=True)
    except PermanentError as error:
        # What a dry run answers if the real call would succeed (EC2 API reference, `RunInstances`).
        if error.code != "DryRunOperation":
            shown = refusal(error)
            yield fail(shown.what, "choose others: --instance-type, --subnet, --ami; or ask who sets these limits")
    return f"a dry run launches {found.instance_type} ({found.architecture}) with {found.image} in {found.subnets[0]}"


# ---- whether the account and the Region have room: service quotas, with what is in use today ----


def iam_quotas(deployment: Deployment) -> Findings:
    summary = deployment.ask("iam:GetAccountSummary", "*")["SummaryMap"]
    counts = {"roles": "Roles", "instance profiles": "InstanceProfiles", "policies": "Policies"}
    for what, key in counts.items():
        yield from _room(what, summary[key], summary[f"{key}Quota"], needed=NEEDED[what])
    return ", ".join(f"{summary[key]:,} of {summary[f'{key}Quota']:,} {what}" for what, key in counts.items())


def counted(deployment: Deployment, what: str, lists: str, *, code: str, default: int) -> Findings:
    """Whether there is room for more of what a call lists, such as `events:ListRules`."""
    kind = what.partition(" ")[0]
    used = len(deployment.items(lists, "*", kind.title()))
    quota, of = _quota(deployment, lists.partition(":")[0], code, default=default)
    yield from _room(f"{what}{of}", used, quota, needed=NEEDED[kind])
    return f"{used:,} of {quota:,} {what}{of}"


def vcpus(deployment: Deployment) -> Findings:
    """Of on-demand instances of the families A, C, D, H, I, M, R, T and Z. How many are in use isn't counted."""
    quota, of = _quota(deployment, "ec2", "L-1216C47A", default=0)
    shown = f"the account may have {amount(quota, 'vCPU')}, and a verification takes {VCPUS}"
    if of:
        what = f"how many vCPUs the account may have isn't known; a verification takes {VCPUS}"
        yield unknown(what, "look it up in Service Quotas")
    elif quota < VCPUS:
        yield fail(shown, "ask AWS for more")
    return shown


def _quota(deployment: Deployment, service: str, code: str, default: int) -> tuple[int, str]:
    """A quota, and what is to be said of it: if Service Quotas doesn't tell, it is AWS's default."""
    try:
        with classified("servicequotas:GetServiceQuota", f"{service}/{code}"):
            answer = deployment.client("service-quotas").get_service_quota(ServiceCode=service, QuotaCode=code)
    except PermanentError:
        return default, " (AWS's default; yours isn't known)"
    return int(answer["Quota"]["Value"]), ""


def _room(what: str, used: int, quota: int, *, needed: int) -> Iterator[Finding]:
    shown = f"{used:,} of {quota:,} {what} are in use, and a verification takes {needed}"
    remedy = "delete what isn't used, or ask AWS for more: the console of Service Quotas"
    if used + needed > quota:
        yield fail(shown, remedy)
    elif used + needed > quota * _NEAR:
        yield warn(shown, remedy)
