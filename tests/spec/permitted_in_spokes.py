"""What a spoke lets a hub do, and what it does not, as a table of requests: one line for a story.

It is written from docs/security.md, "The hub and its spokes". The spoke's account is ACCOUNT, the hub's is HUB_ACCOUNT.
`tests/unit/test_spoke_policies.py` asks IAM's evaluator.
"""

from spec.permitted import (
    ALL_ROLES,
    ATTACH,
    DETACH,
    EC2,
    EVENTBRIDGE,
    LAMBDA,
    MAKING,
    ORG,
    OTHER_ACCOUNT,
    OTHER_ORG,
    PLACES,
    POLICIES_OF_A_ROLE,
    READING,
    changes,
    makes_profiles,
    may,
    may_not,
    passes,
    reads_roles,
    takes_over,
)
from support.policy_simulation import ACCOUNT

HUB_ACCOUNT, HUB_REGION = OTHER_ACCOUNT, "eu-west-1"
HUB_BUS = f"arn:aws:events:{HUB_REGION}:{HUB_ACCOUNT}:event-bus/rolekeeper"
READER, CHANGER, FORWARDER, NOTIFIER = ROLES = ("Reader", "Changer", "Forwarder", "Notifier")


def _hubs(role: str) -> str:
    return f"arn:aws:iam::{HUB_ACCOUNT}:role/rolekeeper-{role}-1ABC2DEF"


EVENT, RETRY, MAPPING, SCHEDULE = (_hubs(f"{each}Role") for each in ("OnEvent", "OnRetry", "OnMapping", "OnSchedule"))
READERS, CHANGERS = (EVENT, RETRY, MAPPING, SCHEDULE), (EVENT, MAPPING, SCHEDULE)
# The spoke's parameters that name the hub.
HUB = {
    "HubAccount": HUB_ACCOUNT,
    "HubRegion": HUB_REGION,
    "OrganizationId": ORG,
    "HubReaders": ",".join(READERS),
    "HubChangers": ",".join(CHANGERS),
}
# Another role of the hub's account, which the spoke admits as its reader.
OPERATORS = f"arn:aws:iam::{HUB_ACCOUNT}:role/team/operators"
# Who is none of them, each an administrator of its own account.
STRANGERS = (
    _hubs("OnStateChangeRole"),
    _hubs("OnEventRole2"),
    f"arn:aws:iam::{HUB_ACCOUNT}:role/team/rolekeeper-OnEventRole-1ABC2DEF",
    f"arn:aws:iam::{HUB_ACCOUNT}:user/admin",
    f"arn:aws:iam::{HUB_ACCOUNT}:role/admin",
    # Of the same name, in an account of the organization that isn't the hub's.
    EVENT.replace(HUB_ACCOUNT, "888888888888"),
    OPERATORS.replace(HUB_ACCOUNT, "888888888888"),
    # The spoke's own, with the hub's roles' names too.
    f"arn:aws:iam::{ACCOUNT}:role/admin",
    EVENT.replace(HUB_ACCOUNT, ACCOUNT),
)
SESSIONS = "sts:AssumeRole"
# The account's default buses, and those that are none of them.
OWN_BUSES = ("bus", "bus elsewhere")
OTHER_BUSES = ("other bus", "own bus of the name", "hub's default bus", "hub's bus elsewhere", "bus of others")

# What the table of the hub doesn't name.
SPOKE_PLACES = {
    **PLACES,
    "hub's bus": HUB_BUS,
    "hub's default bus": HUB_BUS.replace("/rolekeeper", "/default"),
    "hub's bus elsewhere": HUB_BUS.replace(HUB_REGION, "us-west-2"),
    "own bus of the name": HUB_BUS.replace(HUB_ACCOUNT, ACCOUNT),
    "instance in another Region": PLACES["instance elsewhere"],
}

TRUST = [
    *may(READERS, SESSIONS, READER, org=ORG),
    *may(CHANGERS, SESSIONS, CHANGER, org=ORG),
    *may_not(RETRY, SESSIONS, CHANGER, org=ORG),
    *may(READERS, SESSIONS, NOTIFIER, org=ORG),
    *may(OPERATORS, SESSIONS, READER, org=ORG),
    *may_not(OPERATORS, SESSIONS, (CHANGER, NOTIFIER), org=ORG),
    *may_not((*READERS, OPERATORS), SESSIONS, (READER, CHANGER, NOTIFIER), org=OTHER_ORG),
    *may_not((*READERS, OPERATORS), SESSIONS, (READER, CHANGER, NOTIFIER)),
    *may_not((*READERS, OPERATORS), SESSIONS, FORWARDER, org=ORG),
    *may_not((*READERS, OPERATORS), "sts:TagSession sts:SetSourceIdentity", (READER, CHANGER, NOTIFIER), org=ORG),
    *may_not(STRANGERS, SESSIONS, ROLES, org=ORG),
    *may(EVENTBRIDGE, SESSIONS, FORWARDER, of=ACCOUNT),
    *may_not(EVENTBRIDGE, SESSIONS, FORWARDER, of=HUB_ACCOUNT),
    *may_not(EVENTBRIDGE, SESSIONS, FORWARDER),
    *may_not(EVENTBRIDGE, SESSIONS, (READER, CHANGER, NOTIFIER), of=ACCOUNT),
    *may_not(EVENTBRIDGE, "sts:TagSession", FORWARDER, of=ACCOUNT),
    *may_not((EC2, LAMBDA), SESSIONS, ROLES, of=ACCOUNT),
]

DESCRIBE_LAUNCHES = (
    "ec2:DescribeLaunchTemplateVersions ec2:DescribeFleets ec2:DescribeSpotFleetRequests "
    "autoscaling:DescribeAutoScalingGroups autoscaling:DescribeLaunchConfigurations"
)
READS = [
    *reads_roles(READER),
    *may(READER, "iam:GetRole", "reader"),
    *may_not(READER, POLICIES_OF_A_ROLE, "reader"),
    *may(READER, ALL_ROLES, "everything"),
    *may_not((CHANGER, FORWARDER, NOTIFIER), ALL_ROLES, "everything"),
    *may_not((CHANGER, FORWARDER, NOTIFIER), READING, "everything"),
    *may_not(READER, "ec2:DescribeInstanceAttribute", "everything"),
    *may_not(READER, "iam:ListRoles iam:ListUsers", "everything"),
    *may(READER, f"cloudtrail:LookupEvents {DESCRIBE_LAUNCHES}", "everything"),
    *may_not((CHANGER, FORWARDER), f"cloudtrail:LookupEvents {DESCRIBE_LAUNCHES}", "everything"),
    *may_not(READER, "cloudtrail:ListTrails cloudtrail:DeleteTrail", "everything"),
    *may_not(
        READER, "autoscaling:UpdateAutoScalingGroup ec2:ModifyLaunchTemplate ec2:DescribeLaunchTemplates", "everything"
    ),
    *may_not((CHANGER, FORWARDER), "iam:GetRole", ("role", "role outside")),
    *may_not((CHANGER, FORWARDER), "iam:GetPolicy", "policy"),
    *may_not(READER, ATTACH, "instance", new="profile"),
    *may_not(READER, DETACH, "instance", now="profile"),
    *may_not(READER, MAKING, "profile"),
    *may_not(READER, "iam:PassRole", "role", to=EC2),
    *may_not(READER, "iam:TagRole iam:UpdateAssumeRolePolicy iam:PutRolePolicy", ("role", "reader", "changer")),
    *may_not(READER, "iam:CreatePolicyVersion", "policy"),
]

# The spoke's roles are there once for all Regions of its account.
INSTANCES = ("instance", "instance in another Region")
CHANGES = [
    *changes(CHANGER, INSTANCES, "instance of others"),
    *may_not(ROLES, "ec2:DeleteVolume", "volume"),
]

TAKE_OVER = [*takes_over(CHANGER, (READER, FORWARDER), INSTANCES, "instance of others")]

PASSES = [
    *passes(CHANGER),
    *may_not(CHANGER, "iam:PassRole", ("reader", "changer"), to=EC2),
    *may_not(FORWARDER, "iam:PassRole", "role", to=EC2),
    *makes_profiles(CHANGER),
    *may_not(FORWARDER, MAKING, "profile"),
    *may_not(CHANGER, "iam:CreateRole iam:PutRolePolicy iam:AttachRolePolicy", ("role", "reader", "changer")),
    *may_not(ROLES, SESSIONS, ("role", "role outside", "administrator of others")),
    *may_not(ROLES, "iam:CreateAccessKey", "user"),
]

SENDS = [
    *may(FORWARDER, "events:PutEvents", "hub's bus"),
    *may_not(
        FORWARDER,
        "events:PutEvents",
        ("hub's default bus", "hub's bus elsewhere", "own bus of the name", "bus", "bus of others"),
    ),
    *may_not((READER, CHANGER, NOTIFIER), "events:PutEvents", "hub's bus"),
    *may(NOTIFIER, "events:PutEvents", OWN_BUSES, source="rolekeeper"),
    *may_not(NOTIFIER, "events:PutEvents", OWN_BUSES, source=["aws.ec2", ("rolekeeper", "somebody")]),
    *may_not(NOTIFIER, "events:PutEvents", OTHER_BUSES, source="rolekeeper"),
    *may_not((READER, CHANGER), "events:PutEvents", OWN_BUSES, source="rolekeeper"),
    *may_not(NOTIFIER, "events:DeleteEventBus", OWN_BUSES),
    *may_not(FORWARDER, "events:DeleteEventBus", "hub's bus"),
    *may_not(ROLES, "events:PutRule events:PutTargets events:DisableRule", "rule"),
]

CASES = [*TRUST, *READS, *CHANGES, *TAKE_OVER, *PASSES, *SENDS]
