"""What a spoke lets a hub do, and what it does not, as a table of requests: one line for a story.

It is written from docs/security.md, "The hub and its spokes". The spoke's account is ACCOUNT, the hub's is HUB_ACCOUNT.
`tests/unit/test_spoke_policies.py` asks IAM's evaluator.
"""

from collections.abc import Iterator
from dataclasses import replace

from spec.permitted import (
    ALL_ROLES,
    EC2,
    EVENTBRIDGE,
    LAMBDA,
    ORG,
    OTHER_ACCOUNT,
    OTHER_ORG,
    OTHER_REGION,
    PLACES,
    POLICIES_OF_A_ROLE,
    READING,
    Case,
    Given,
    changes,
    makes_profiles,
    may,
    may_not,
    passes,
    reads_roles,
    sees_instances,
    takes_over,
)
from support.policy_simulation import ACCOUNT, REGION

HUB_ACCOUNT, HUB_REGION = OTHER_ACCOUNT, "eu-west-1"
HUB_BUS = f"arn:aws:events:{HUB_REGION}:{HUB_ACCOUNT}:event-bus/rolekeeper"
READER, VIEWER, CHANGER, FORWARDER, NOTIFIER = ROLES = ("Reader", "Viewer", "Changer", "Forwarder", "Notifier")
ASSUMED = (READER, VIEWER, CHANGER, NOTIFIER)


def _hubs(role: str) -> str:
    return f"arn:aws:iam::{HUB_ACCOUNT}:role/rolekeeper-{role}-1ABC2DEF"


EVENT, RETRY, MAPPING, SCHEDULE = (_hubs(f"{each}Role") for each in ("OnEvent", "OnRetry", "OnMapping", "OnSchedule"))
READERS, CHANGERS, NOTIFIERS = (EVENT, RETRY, MAPPING, SCHEDULE), (EVENT, MAPPING, SCHEDULE), (EVENT, RETRY)
# The names of their sessions; the second is the sweep's.
HUBS_SESSION, SWEEPS_SESSION = SESSION_NAMES = ("rolekeeper", "rolekeeper-sweep")
# The spoke's parameters that name the hub.
HUB = {
    "HubAccount": HUB_ACCOUNT,
    "HubRegion": HUB_REGION,
    "OrganizationId": ORG,
    "HubReaders": ",".join(READERS),
    "HubChangers": ",".join(CHANGERS),
    "HubNotifiers": ",".join(NOTIFIERS),
    "Regions": f"{REGION},{OTHER_REGION}",
}
# A role of the hub's account that people have, which the spoke admits as its viewer.
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
# A Region of the account without a spoke.
NO_SPOKE = "ap-south-1"
# None of the account's default buses.
OTHER_BUSES = ("other bus", "own bus of the name", "hub's default bus", "hub's bus elsewhere", "bus of others")

# What the table of the hub doesn't name.
SPOKE_PLACES = {
    **PLACES,
    "hub's bus": HUB_BUS,
    "hub's default bus": HUB_BUS.replace("/rolekeeper", "/default"),
    "hub's bus elsewhere": HUB_BUS.replace(HUB_REGION, "us-west-2"),
    "own bus of the name": HUB_BUS.replace(HUB_ACCOUNT, ACCOUNT),
    "instance in another Region": PLACES["instance elsewhere"],
    "instance where no spoke is": PLACES["instance"].replace(REGION, NO_SPOKE),
    "bus where no spoke is": PLACES["bus"].replace(REGION, NO_SPOKE),
    "its rule": PLACES["rule"].replace("somebodys", "rolekeeper-tags"),
    "its rule elsewhere": PLACES["rule"].replace("somebodys", "rolekeeper-tags").replace(REGION, OTHER_REGION),
    "rule of others": PLACES["rule of others"].replace("InstanceStateRule", "rolekeeper-tags"),
}

OURS: dict[str, Given] = {"org": ORG, "session": HUBS_SESSION}
ITS_RULE: dict[str, Given] = {"of": ACCOUNT, "by": "its rule"}
TRUST = [
    *may(READERS, SESSIONS, READER, org=ORG, session=[*SESSION_NAMES]),
    *may(CHANGERS, SESSIONS, CHANGER, org=ORG, session=[*SESSION_NAMES]),
    *may(NOTIFIERS, SESSIONS, NOTIFIER, **OURS),
    *may(OPERATORS, SESSIONS, VIEWER, org=ORG, session="anybody"),
    # The functions are no people, and people aren't the functions, by whatever name.
    *may_not(READERS, SESSIONS, VIEWER, **OURS),
    *may_not(OPERATORS, SESSIONS, (READER, CHANGER, NOTIFIER), **OURS),
    *may_not(RETRY, SESSIONS, CHANGER, **OURS),
    *may_not((MAPPING, SCHEDULE), SESSIONS, NOTIFIER, **OURS),
    *may_not((*READERS, OPERATORS), SESSIONS, (READER, CHANGER, NOTIFIER), org=ORG, session="anybody"),
    *may_not((*READERS, OPERATORS), SESSIONS, (READER, CHANGER, NOTIFIER), org=ORG),
    *may_not((*READERS, OPERATORS), SESSIONS, ASSUMED, org=OTHER_ORG, session=HUBS_SESSION),
    *may_not((*READERS, OPERATORS), SESSIONS, ASSUMED, session=HUBS_SESSION),
    *may_not((*READERS, OPERATORS), SESSIONS, FORWARDER, **OURS),
    *may_not(STRANGERS, SESSIONS, ROLES, **OURS),
    *may(EVENTBRIDGE, SESSIONS, FORWARDER, **ITS_RULE),
    *may_not(EVENTBRIDGE, SESSIONS, FORWARDER, of=ACCOUNT, by=["rule", "its rule elsewhere"]),
    *may_not(EVENTBRIDGE, SESSIONS, FORWARDER, of=HUB_ACCOUNT, by=["rule of others", "its rule"]),
    *may_not(EVENTBRIDGE, SESSIONS, FORWARDER, by="its rule"),
    *may_not(EVENTBRIDGE, SESSIONS, FORWARDER, of=ACCOUNT),
    *may_not(EVENTBRIDGE, SESSIONS, ASSUMED, **ITS_RULE),
    *may_not((EC2, LAMBDA), SESSIONS, ROLES, **ITS_RULE),
]

DESCRIBE_LAUNCHES = (
    "ec2:DescribeLaunchTemplateVersions ec2:DescribeFleets ec2:DescribeSpotFleetRequests "
    "autoscaling:DescribeAutoScalingGroups autoscaling:DescribeLaunchConfigurations"
)


def _where_asked(cases: Iterator[Case]) -> Iterator[Case]:
    """Each is asked in the Region of what it is about."""
    for case in cases:
        yield replace(case, given=(*case.given, ("region", SPOKE_PLACES[case.on].split(":")[3])))


LOOKING = (READER, VIEWER)
SWEEPING, READING_ROWS = (f"AROAREADER:{name}" for name in (SWEEPS_SESSION, HUBS_SESSION))
READS = [
    *reads_roles(LOOKING),
    *sees_instances(READER, REGION, OTHER_REGION, elsewhere=NO_SPOKE),
    # Where no spoke is people look for what lacks one.
    *may(VIEWER, READING, "everything", region=[REGION, NO_SPOKE]),
    *may(LOOKING, "iam:GetRole", "reader"),
    *may_not(LOOKING, POLICIES_OF_A_ROLE, "reader"),
    # Users, groups and all inline policies are in it: the sweep's session alone, and no person's.
    *may(READER, ALL_ROLES, "everything", me=SWEEPING),
    *may_not(READER, ALL_ROLES, "everything", me=[READING_ROWS, f"{SWEEPING}er"]),
    *may_not((READER, VIEWER, CHANGER, FORWARDER, NOTIFIER), ALL_ROLES, "everything"),
    *may_not(VIEWER, ALL_ROLES, "everything", me=SWEEPING),
    # Who called, and launch templates' user data: people alone, and no function.
    *may(VIEWER, f"cloudtrail:LookupEvents {DESCRIBE_LAUNCHES}", "everything"),
]

# The spoke's roles are there once for all Regions of its account that have a spoke.
INSTANCES, ELSEWHERE = ("instance", "instance in another Region"), ("instance of others", "instance where no spoke is")
CHANGES = [*_where_asked(changes(CHANGER, INSTANCES, ELSEWHERE))]

TAKE_OVER = [*_where_asked(takes_over(CHANGER, (READER, FORWARDER), INSTANCES, ELSEWHERE))]

PASSES = [*passes(CHANGER), *may_not(CHANGER, "iam:PassRole", ("reader", "changer"), to=EC2), *makes_profiles(CHANGER)]

SENDS = [
    *may(FORWARDER, "events:PutEvents", "hub's bus"),
    *may_not(
        FORWARDER,
        "events:PutEvents",
        ("hub's default bus", "hub's bus elsewhere", "own bus of the name", "bus", "bus of others"),
    ),
    *may(NOTIFIER, "events:PutEvents", "bus", source="rolekeeper", region=REGION),
    *may(NOTIFIER, "events:PutEvents", "bus elsewhere", source="rolekeeper", region=OTHER_REGION),
    *may_not(NOTIFIER, "events:PutEvents", "bus", source=["aws.ec2", ("rolekeeper", "somebody")], region=REGION),
    *may_not(NOTIFIER, "events:PutEvents", "bus where no spoke is", source="rolekeeper", region=NO_SPOKE),
    *may_not(NOTIFIER, "events:PutEvents", "bus", source="rolekeeper"),
    *may_not(NOTIFIER, "events:PutEvents", OTHER_BUSES, source="rolekeeper", region=REGION),
]

CASES = [*TRUST, *READS, *CHANGES, *TAKE_OVER, *PASSES, *SENDS]
