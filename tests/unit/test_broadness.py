"""What is broad: each rule, whatever the spelling, and what takes it away again.

The rules are those of `tests/data/escalation_paths.yaml`, which says of each where it comes from.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rolekeeper.aws.iam import Policies
from rolekeeper.permissions import comparison
from rolekeeper.permissions.comparison import ON_ALL, ON_ANY, severe
from rolekeeper.permissions.policies import TooManyRulesError, permissions
from support.grants import allow, deny, policy

ROLE = "arn:aws:iam::123456789012:role/app/web"
BUCKET = "arn:aws:s3:::bucket/*"
MFA = {"Condition": {"Bool": {"aws:MultiFactorAuthPresent": "true"}}}
FACTS = yaml.safe_load(Path(__file__).parents[1].joinpath("data/escalation_paths.yaml").read_text())
PATHS, CREDENTIALS = FACTS["paths"], FACTS["credentials"]


def rules(where: str) -> list[str]:
    documented = FACTS["documented"][where].values()
    return [*PATHS[where], *(rule for names in documented for rule in names.split())]


ANY, ALL = rules("on_any_resource"), rules("on_all_resources")
TOGETHER = [rule for rule in ALL if "+" in rule]


def broad_actions(*actions: str) -> set[str]:
    """What is broad of what may be done on all resources, each action as it is shown."""
    found = severe(permissions(Policies((policy(*map(allow, actions)),), None)))
    return {action.shown for rule in found for action in rule.actions}


def broad(*statements: Any, boundary: Any = None) -> list[str]:
    """What is broad of a policy of these statements, as `actions on resources`."""
    found = severe(permissions(Policies((policy(*statements),), boundary)))
    return [
        f"{', '.join(each.shown for each in rule.actions)} on {', '.join(each.shown for each in rule.resources)}"
        for rule in found
    ]


# ---- the list ----


@pytest.mark.parametrize("action", ["*", "*:*", "**"])
@pytest.mark.parametrize("resource", ["*", "arn:*", "arn:aws:*", ["arn:aws:s3:::x", "*"]])
def test_everything_is_an_administrator(action: str, resource: Any) -> None:
    [found] = broad(allow(action, resource))
    assert found.startswith(f"administrator access ({action}) on ")


def test_everything_but_something_is_as_broad() -> None:
    power = {"Effect": "Allow", "NotAction": ["iam:*", "organizations:*"], "Resource": "*"}
    [found] = broad(power)
    assert found == "everything but iam:* and organizations:* on *"
    assert broad({**power, "Resource": BUCKET}) == [], "not on one bucket"


@pytest.mark.parametrize(
    "action", ["iam:*", "IAM:*", "i*:*", "iam:Put*", "iam:CreateRole", "iam:TagRole", "*:CreateUser", "iam:PassRole"]
)
@pytest.mark.parametrize(
    "resource", ["*", "arn:aws:iam::*:*", "arn:*:iam::*:role/*", "arn:aws:iam::123456789012:user/*"]
)
def test_writes_in_iam_on_all_are_broad(action: str, resource: str) -> None:
    assert broad(allow(action, resource))


@pytest.mark.parametrize(
    "action", ["iam:Get*", "iam:ListRoles", "iam:SimulatePrincipalPolicy", "iam:CreateServiceLinkedRole"]
)
def test_reads_in_iam_are_not_nor_roles_that_a_service_defines(action: str) -> None:
    assert broad(allow(action)) == []


@pytest.mark.parametrize("action", ANY)
def test_on_any_resource(action: str) -> None:
    resource = ROLE if action.startswith("iam:") else "arn:aws:sso:::instance/ssoins-1"
    for spelt in (action, action.upper(), f"{action[:-2]}*", f"{action[:-1]}?"):
        assert any(action in each or spelt in each for each in broad(allow(spelt, resource))), spelt
    assert broad(allow(action))


@pytest.mark.parametrize("rule", ALL)
def test_where_all_resources_are_reached(rule: str) -> None:
    actions = rule.split("+")
    for spelt in (actions, rule.lower().split("+"), [f"{action[:-1]}*" for action in actions]):
        assert broad(*map(allow, spelt)), spelt
    service = actions[0].split(":")[0]
    theirs = {"sts": "iam", "ec2-instance-connect": "ec2", "ssm": "ec2"}.get(service, service)
    for name in ("kind/*", "kind:*", "kind/*/*", "kind/*:*", "*"):
        assert broad(allow(actions, f"arn:aws:{theirs}:*:*:{name}")), name
    assert broad(allow(actions, f"arn:aws:{theirs}:eu-west-1:123456789012:kind/mine")) == [], "not on one"


@pytest.mark.parametrize("rule", TOGETHER)
def test_what_is_broad_only_together(rule: str) -> None:
    actions = rule.split("+")
    for action in actions:
        assert broad(allow(action)) == [], action
        assert broad(allow(actions), deny(action)) == [], action
    assert broad_actions("iam:PutRolePolicy", *actions) == {"iam:PutRolePolicy", *actions}
    assert broad(allow(actions[0], **MFA), allow(actions[1:])), "whatever the statements"


# ---- what public collections know ----


@pytest.mark.parametrize(
    ("rule", "needs"),
    [
        pytest.param(rule, needs.split(), id=path)
        for places in PATHS.values()
        for rule, paths in places.items()
        for path, needs in paths.items()
    ],
)
def test_each_path_of_pathfinding_cloud_is_broad_by_the_rule_that_covers_it(rule: str, needs: list[str]) -> None:
    assert set(rule.split("+")) <= broad_actions(*needs)


@pytest.mark.parametrize("action", CREDENTIALS["covered"].split())
def test_what_returns_a_roles_or_a_users_credentials_is_broad(action: str) -> None:
    assert broad_actions(action) == {action}


@pytest.mark.parametrize("action", [name for names in CREDENTIALS["left out"].values() for name in names.split()])
def test_what_returns_other_credentials_is_not(action: str) -> None:
    assert broad(allow(action)) == []


def test_no_rule_is_without_a_fact() -> None:
    assert sorted(name for names in ON_ANY.values() for name in names) == sorted(ANY)
    assert sorted(name for names in ON_ALL.values() for name in names) == sorted(ALL)


@pytest.mark.parametrize(
    "action", ["organizations:*", "organizations:DetachPolicy", "organizations:Leave*", "*:CreateAccount"]
)
def test_writes_in_organizations_on_all_are_broad(action: str) -> None:
    assert broad(allow(action))
    assert broad(allow(action, "arn:aws:organizations::123456789012:account/o-1/222222222222")) == [], "not of one"


def test_reads_in_organizations_are_not() -> None:
    assert broad(allow(["organizations:Describe*", "organizations:ListAccounts"])) == []


@pytest.mark.parametrize("action", ["iam:PassRole", "sts:AssumeRole"])
@pytest.mark.parametrize(
    "role", ["role/*", "role*", "*", "role/?*", "role/????*", "role/*/*", "ro?e/*", "role/${aws:PrincipalTag/team}"]
)
@pytest.mark.parametrize("account", ["*", "123456789012", "${aws:PrincipalAccount}"])
def test_patterns_that_reach_all_roles(action: str, role: str, account: str) -> None:
    assert broad(allow(action, ["arn:aws:s3:::x", f"arn:aws:iam::{account}:{role}"]))


@pytest.mark.parametrize("role", ["role/web", "role/web-*", "role/rolekeeper/*", "role/*-reader"])
@pytest.mark.parametrize("action", ["iam:PassRole", "sts:AssumeRole"])
def test_patterns_that_reach_some(action: str, role: str) -> None:
    assert broad(allow(action, f"arn:aws:iam::123456789012:{role}")) == []


def test_all_but_some_roles_are_taken_for_all() -> None:
    assert broad({"Effect": "Allow", "Action": "sts:AssumeRole", "NotResource": ROLE})


# AWS managed policy reference, "AmazonSSMManagedInstanceCore".
SSM_CORE = """ssm:DescribeAssociation ssm:GetDeployablePatchSnapshotForInstance ssm:GetDocument ssm:DescribeDocument
    ssm:GetManifest ssm:GetParameter ssm:GetParameters ssm:ListAssociations ssm:ListInstanceAssociations
    ssm:PutInventory ssm:PutComplianceItems ssm:PutConfigurePackageResult ssm:UpdateAssociationStatus
    ssm:UpdateInstanceAssociationStatus ssm:UpdateInstanceInformation ssmmessages:CreateControlChannel
    ssmmessages:CreateDataChannel ssmmessages:OpenControlChannel ssmmessages:OpenDataChannel
    ec2messages:AcknowledgeMessage ec2messages:DeleteMessage
    ec2messages:FailMessage ec2messages:GetEndpoint ec2messages:GetMessages ec2messages:SendReply"""
# The same, "AmazonEC2ContainerServiceforEC2Role".
CONTAINER_HOST = """ec2:DescribeTags ecs:CreateCluster ecs:DeregisterContainerInstance ecs:DiscoverPollEndpoint ecs:Poll
    ecs:RegisterContainerInstance ecs:StartTelemetrySession ecs:UpdateContainerInstancesState ecs:Submit*
    ecr:GetAuthorizationToken ecr:BatchCheckLayerAvailability ecr:GetDownloadUrlForLayer ecr:BatchGetImage
    logs:CreateLogStream logs:PutLogEvents ecs:TagResource"""


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("s3:*", "*"),
        ("*", BUCKET),
        ("*", "arn:aws:s3:::*"),
        (["dynamodb:*", "sqs:*", "sns:*", "secretsmanager:GetSecretValue", "kms:Decrypt", "ssm:GetParameter*"], "*"),
        (SSM_CORE.split(), "*"),
        (CONTAINER_HOST.split(), "*"),
        (["ecr:*", "eks:DescribeCluster", "eks-auth:AssumeRoleForPodIdentity", "xray:Put*", "events:PutEvents"], "*"),
        (["ec2:Describe*", "cloudwatch:PutMetricData", "logs:*"], "*"),
        (["lambda:InvokeFunction", "states:StartExecution", "ecs:Describe*", "batch:DescribeJobs"], "*"),
        ("batch:SubmitJob", "arn:aws:batch:eu-west-1:123456789012:job-queue/mine"),
        ("lambda:UpdateFunctionCode", "arn:aws:lambda:eu-west-1:123456789012:function:mine"),
        ("ssm:SendCommand", "arn:aws:ec2:eu-west-1:123456789012:instance/i-1"),
        ("sts:GetCallerIdentity", "*"),
    ],
)
def test_what_ordinary_roles_may_do_is_not(action: Any, resource: str) -> None:
    assert broad(allow(action, resource)) == []


def test_what_one_permission_covers_is_said_once() -> None:
    assert broad(allow("*"), allow("iam:PutRolePolicy", ROLE)) == ["administrator access (*) on *"]
    assert broad(allow(["iam:*", "sts:AssumeRole"]), allow("iam:PutRolePolicy", ROLE)) == [
        "IAM writes on *",
        "sts:AssumeRole on *",
    ]


# ---- what takes it away ----


@pytest.mark.parametrize("action", ["iam:PutRolePolicy", "iam:*", "*"])
def test_a_deny_that_takes_all_of_it_away(action: str) -> None:
    assert broad(allow("iam:PutRolePolicy"), deny(action)) == []
    assert broad(allow("iam:PutRolePolicy", **MFA), deny(action)) == []
    assert broad(allow("iam:PutRolePolicy"), {"Effect": "Deny", "NotAction": "s3:*", "Resource": "*"}) == []


def test_a_deny_takes_what_is_broad_of_a_wildcard() -> None:
    stacks = deny(["cloudformation:UpdateStack*", "cloudformation:ExecuteChangeSet", "cloudformation:CreateStackSet"])
    assert broad(allow("cloudformation:*"), stacks) == []
    assert broad(allow("eks:*"), deny("eks:*AccessEntry")) == ["eks:AssociateAccessPolicy on *"]


@pytest.mark.parametrize("less", [deny("iam:*", ROLE), deny("iam:*", **MFA), deny("iam:PutUserPolicy")])
def test_a_deny_that_leaves_some(less: Any) -> None:
    assert broad(allow("iam:PutRolePolicy"), less) == ["iam:PutRolePolicy on *"]


def test_an_administrator_who_may_not_write_in_iam_is_one() -> None:
    assert broad(allow("*"), deny("iam:*")) == ["administrator access (*) on *"]


def test_a_boundary_counts() -> None:
    assert broad(allow("*"), boundary=policy(allow(["s3:*", "sqs:*"]))) == []
    assert broad(allow("*"), boundary=policy(allow("*"), deny("*"))) == []
    assert broad(allow("iam:PutRolePolicy"), boundary=policy(allow("iam:*", ROLE))) == [f"iam:PutRolePolicy on {ROLE}"]
    assert broad(allow("*"), boundary=policy(allow("*"))) == ["administrator access (*) on *"]
    assert broad(allow("s3:*"), boundary=policy(allow("*"))) == [], "a boundary allows nothing"


def test_a_condition_of_what_is_allowed_is_not_evaluated() -> None:
    assert broad(allow("*", **MFA)) == ["administrator access (*) on *"]


def test_more_rules_than_can_be_compared_are_an_error() -> None:
    many = [allow("s3:GetObject", f"arn:aws:s3:::bucket-{at}/*", **_when(at)) for at in range(501)]
    with pytest.raises(TooManyRulesError):
        broad(*many)


def _when(at: int) -> dict[str, Any]:
    return {"Condition": {"StringEquals": {"aws:SourceVpc": f"vpc-{at}"}}}


@given(st.sampled_from(ANY), st.data())
def test_no_wildcard_hides_an_action(action: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(4, len(action) - 1))
    to = data.draw(st.integers(at, len(action)))
    wildcard = data.draw(st.sampled_from(["*", "?" * (to - at), "*?" if to > at else "*"]))
    assert broad(allow(action[:at] + wildcard + action[to:]))


def test_every_line_names_a_source() -> None:
    assert all('"' in source for source in (*ON_ANY, *ON_ALL))


def test_a_name_that_stands_for_all_is_as_long_as_iam_takes() -> None:
    assert len(comparison._ANY_NAME) == 64  # noqa: SLF001  # what patterns of single characters are compared with
