"""Whether the account and the Region have room for a verification: service quotas, with what is in use today."""

from collections.abc import Iterator, Mapping

from rolekeeper.aws.errors import PermanentError, classified
from rolekeeper_cli.checks.deployment import DoctorDeployment, Finding, Findings, fail, unknown, warn
from rolekeeper_cli.checks.run import Check

# What a verification makes beside what is there; a test counts it in both templates.
NEEDED = {"roles": 10, "instance profiles": 4, "policies": 3, "rules": 7, "stacks": 2}
# Two instances of the smallest types.
VCPUS = 4
# Functions that may run at once: the default of `Workers`, and one of each other.
_RUNS = 9
# The last tenth is near.
_NEAR = 0.9


def iam(deployment: DoctorDeployment) -> Findings:
    with classified("iam:GetAccountSummary", "*"):
        summary = deployment.client("iam").get_account_summary()["SummaryMap"]
    counts = {"roles": "Roles", "instance profiles": "InstanceProfiles", "policies": "Policies"}
    for what, key in counts.items():
        yield from _room(what, summary[key], summary[f"{key}Quota"], needed=NEEDED[what])
    return ", ".join(f"{summary[key]:,} of {summary[f'{key}Quota']:,} {what}" for what, key in counts.items())


def concurrency(deployment: DoctorDeployment) -> Findings:
    with classified("lambda:GetAccountSettings", "*"):
        limit = deployment.client("lambda").get_account_settings()["AccountLimit"]
    quota, left = limit["ConcurrentExecutions"], limit["UnreservedConcurrentExecutions"]
    yield from _room("concurrent executions of Lambda", quota - left, quota, needed=_RUNS)
    return f"{left:,} of {quota:,} concurrent executions of Lambda aren't reserved"


def rules(deployment: DoctorDeployment) -> Findings:
    used = sum(len(page["Rules"]) for page in deployment.pages("events:ListRules", "*"))
    quota, of = _quota(deployment, "events", "L-244521F2", default=300)
    yield from _room(f"rules on the default event bus{of}", used, quota, needed=NEEDED["rules"])
    return f"{used:,} of {quota:,} rules on the default event bus{of}"


def stacks(deployment: DoctorDeployment) -> Findings:
    used = sum(len(page["Stacks"]) for page in deployment.pages("cloudformation:DescribeStacks", "*"))
    quota, of = _quota(deployment, "cloudformation", "L-0485CB21", default=2_000)
    yield from _room(f"stacks{of}", used, quota, needed=NEEDED["stacks"])
    return f"{used:,} of {quota:,} stacks{of}"


def vcpus(deployment: DoctorDeployment) -> Findings:
    """Of on-demand instances of the families A, C, D, H, I, M, R, T and Z. How many are in use isn't counted."""
    quota, of = _quota(deployment, "ec2", "L-1216C47A", default=0)
    if of:
        yield unknown(
            f"how many vCPUs the account may have isn't known; a verification takes {VCPUS}",
            "look it up in Service Quotas",
        )
    elif quota < VCPUS:
        yield fail(f"the account may have {quota:,} vCPUs, and a verification takes {VCPUS}", "ask AWS for more")
    return f"the account may have {quota:,} vCPUs, of which a verification takes {VCPUS}"


def _quota(deployment: DoctorDeployment, service: str, code: str, default: int) -> tuple[int, str]:
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


QUOTAS: Mapping[str, Check] = {
    "iam": iam,
    "lambda": concurrency,
    "rules": rules,
    "stacks": stacks,
    "vcpus": vcpus,
}
