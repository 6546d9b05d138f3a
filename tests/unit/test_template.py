"""What matters in template.yaml: safe defaults, least privilege, nothing lost."""

import json
import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from moto.events.models import EventPattern

from rolekeeper.aws.queue import Task
from rolekeeper.model.mapping import MappingKey, Pin
from rolekeeper.storage import layout
from strategies.values import KEY
from support import templates

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "template.yaml").read_text()

# The rules of the hub's own account and Region; those of its spokes; and those that SAM makes of the schedules.
OWN_RULES = ["InstanceStateRule", "InstanceTagRule"]
SPOKE_RULES = ["SpokeStateRule", "SpokeTagRule", "SpokePresentRule"]
SCHEDULES = ["OnScheduleSweep", "OnScheduleExpiries"]
TEMPLATE = templates.load()
PARAMETERS = TEMPLATE["Parameters"]
RESOURCES = TEMPLATE["Resources"]
FUNCTIONS = [name for name, resource in RESOURCES.items() if resource["Type"] == "AWS::Serverless::Function"]
# Those that look at instances; the fifth only asks others to.
LOOKING = [name for name in FUNCTIONS if name != "OnStateChange"]
# Where a function has the name of the one that sweeps: from the template, or the sweep's own from Lambda.
SWEEPS = {"SWEEP_FUNCTION", "AWS_LAMBDA_FUNCTION_NAME"}
# The work queue's function alone changes instances, so that the pace of its runs is everything's (`ChangesPerSecond`).
CHANGING, PUBLISHING = ["OnInstanceEvent"], ["OnMappingChange", "OnSchedule"]
ROLES = [name for name, resource in RESOURCES.items() if resource["Type"] == "AWS::IAM::Role"]


def _of_type(kind: str) -> dict[str, Any]:
    return {name: resource for name, resource in RESOURCES.items() if resource["Type"] == kind}


def _properties(name: str) -> Any:
    return RESOURCES[name]["Properties"]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _statements(function: str, *met: str) -> list[dict[str, Any]]:
    """What a function may do where these conditions of the template are met."""
    role = _properties(function)["Role"]["GetAtt"].removesuffix(".Arn")
    return templates.policy_statements(RESOURCES, role, met=("MakesProfiles", *met))


def _allowing(function: str, action: str, *met: str) -> list[dict[str, Any]]:
    return [statement for statement in _statements(function, *met) if action in _listed(statement["Action"])]


# ---- parameters ----


def test_a_new_deployment_only_observes() -> None:
    assert PARAMETERS["Mode"]["Default"] == "observe"
    assert PARAMETERS["Mode"]["AllowedValues"] == ["observe", "enforce"]


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameter_is_described_bounded_and_has_a_default(name: str) -> None:
    parameter = PARAMETERS[name]
    assert parameter["Description"]
    assert parameter["ConstraintDescription"]
    assert parameter.keys() & {"AllowedValues", "AllowedPattern", "MinValue"}
    assert "Default" in parameter


def test_every_parameter_stands_in_one_group_and_has_a_label() -> None:
    interface = TEMPLATE["Metadata"]["AWS::CloudFormation::Interface"]
    grouped = [name for group in interface["ParameterGroups"] for name in group["Parameters"]]
    assert sorted(grouped) == sorted(PARAMETERS)
    assert set(interface["ParameterLabels"]) == set(PARAMETERS)


# IAM compares paths with their case; AWS's own are in lower case and first (IAM user guide, "IAM identifiers").
@pytest.mark.parametrize(
    "path",
    ["/rolekeeper/", "/org/rolekeeper/", "/org/service-role/", "/service-roles/", "/aws/", "/my-aws-reserved/"],
)
def test_a_path_below_the_root_is_taken(path: str) -> None:
    assert re.search(PARAMETERS["RolePath"]["AllowedPattern"], path)


@pytest.mark.parametrize("path", ["/", "//", "", "rolekeeper", "/rolekeeper", "rolekeeper/", "/a*/", "/a b/", "/a?/"])
def test_the_root_and_what_is_no_path_or_a_wildcard_is_refused(path: str) -> None:
    assert not re.search(PARAMETERS["RolePath"]["AllowedPattern"], path)


@pytest.mark.parametrize(
    "schedule",
    ["rate(15 minutes)", "rate(2 minutes)", "rate(10 hours)", "rate(1 hour)", "rate(1 day)", "cron(0/30 * * * ? *)"],
)
def test_a_schedule_is_taken(schedule: str) -> None:
    assert re.search(PARAMETERS["SweepSchedule"]["AllowedPattern"], schedule)


@pytest.mark.parametrize(
    "schedule",
    [
        *("", "15 minutes", "rate(0 minutes)", "rate(5 seconds)", "cron()"),
        *("rate(1 minutes)", "rate(5 minute)", "rate(1 hours)", "rate(10 hour)", "rate(1 days)", "rate(01 minutes)"),
        *("cron(0/30 * * * ?)", "cron(0/30 * * * ? * *)"),
    ],
)
def test_what_is_no_schedule_is_refused(schedule: str) -> None:
    assert not re.search(PARAMETERS["SweepSchedule"]["AllowedPattern"], schedule)


# ---- linters ----


def test_a_check_that_is_left_out_says_why() -> None:
    skipped = [
        (name, each)
        for name, resource in RESOURCES.items()
        for each in resource.get("Metadata", {}).get("checkov", {}).get("skip", [])
    ]
    assert ("WorkQueue", "CKV_AWS_27") in [(name, each["id"]) for name, each in skipped], "the scan finds less"
    assert [(name, each["id"]) for name, each in skipped if len(each.get("comment", "").split()) < 4] == []


@pytest.mark.parametrize("folder", ["aws-service-role", "service-role", "aws-reserved"])
@pytest.mark.parametrize("below", ["", "ec2.amazonaws.com/", "rolekeeper/", "a/b/"])
def test_a_path_that_aws_keeps_for_itself_is_refused_and_the_reason_given(folder: str, below: str) -> None:
    """Services make their roles there, with trust and permissions that nobody here chose."""
    assert not re.search(PARAMETERS["RolePath"]["AllowedPattern"], f"/{folder}/{below}")
    assert f"/{folder}/" in PARAMETERS["RolePath"]["ConstraintDescription"]


KMS_KEY = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
BOUNDARY = "arn:aws:iam::123456789012:policy/org/bounds-all"


@pytest.mark.parametrize(
    ("name", "taken", "refused"),
    [
        (
            "KmsKeyArn",
            ["", KMS_KEY, KMS_KEY.replace("aws", "aws-cn")],
            ["alias/mine", KMS_KEY.replace("key/", "alias/"), "1234abcd"],
        ),
        (
            "PermissionsBoundary",
            ["", BOUNDARY, "arn:aws:iam::aws:policy/PowerUserAccess"],
            ["bounds-all", "arn:aws:iam::123456789012:role/bounds-all", f"{BOUNDARY}*"],
        ),
    ],
)
def test_what_is_an_arn_is_one_or_empty_as_it_is_by_default(name: str, taken: list[str], refused: list[str]) -> None:
    pattern = PARAMETERS[name]["AllowedPattern"]
    assert PARAMETERS[name]["Default"] == ""
    assert all(re.search(pattern, each) for each in taken)
    assert not any(re.search(pattern, each) for each in refused)


def _only_if(condition: str, value: Any, otherwise: Any = None) -> Any:
    """A property that a parameter sets, and that is otherwise as AWS has it."""
    return {"If": [condition, value, {"Ref": "AWS::NoValue"} if otherwise is None else otherwise]}


def test_a_parameter_that_is_empty_sets_nothing() -> None:
    assert TEMPLATE["Conditions"]["HasKey"] == {"Not": [{"Equals": [{"Ref": "KmsKeyArn"}, ""]}]}
    assert TEMPLATE["Conditions"]["HasBoundary"] == {"Not": [{"Equals": [{"Ref": "PermissionsBoundary"}, ""]}]}
    assert TEMPLATE["Conditions"]["LimitsRetries"] == {"Not": [{"Equals": [{"Ref": "RetryConcurrency"}, "0"]}]}


@pytest.mark.parametrize("role", ROLES)
def test_a_permissions_boundary_bounds_every_role(role: str) -> None:
    assert _properties(role)["PermissionsBoundary"] == _only_if("HasBoundary", {"Ref": "PermissionsBoundary"})


def test_only_the_retry_function_can_be_limited_and_is_not_by_default() -> None:
    """Its callers are as many as instances wait; the others are bounded by what calls them."""
    limits = {each: _properties(each).get("ReservedConcurrentExecutions") for each in FUNCTIONS}
    assert {name for name, limit in limits.items() if limit} == {"OnRetry"}
    assert limits["OnRetry"] == _only_if("LimitsRetries", {"Ref": "RetryConcurrency"})
    assert PARAMETERS["RetryConcurrency"]["Default"] == 0


# ---- a key of the user's ----


def test_tables_queues_and_logs_take_a_key_of_the_users() -> None:
    own = {"Ref": "KmsKeyArn"}
    for table in _of_type("AWS::DynamoDB::Table"):
        encrypted = {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": own}
        assert _properties(table)["SSESpecification"] == _only_if("HasKey", encrypted, {"SSEEnabled": True})
    for queue in _of_type("AWS::SQS::Queue"):
        assert _properties(queue)["KmsMasterKeyId"] == _only_if("HasKey", own)
        assert _properties(queue)["SqsManagedSseEnabled"] == {"If": ["HasKey", {"Ref": "AWS::NoValue"}, True]}
    groups = _of_type("AWS::Logs::LogGroup")
    assert len(groups) == 7
    assert all(_properties(group)["KmsKeyId"] == _only_if("HasKey", own) for group in groups)


@pytest.mark.parametrize("role", ROLES)
def test_who_uses_tables_and_queues_may_use_the_key_through_them_where_there_is_one(role: str) -> None:
    without, with_key = (templates.policy_statements(RESOURCES, role, met=met) for met in ((), {"HasKey"}))
    [statement] = [each for each in with_key if each not in without and each["Sid"] != "EncryptMails"]
    assert statement["Resource"] == {"Ref": "KmsKeyArn"}
    assert statement["Condition"] == {
        "StringEquals": {
            "kms:ViaService": [
                {"Sub": "dynamodb.${AWS::Region}.${AWS::URLSuffix}"},
                {"Sub": "sqs.${AWS::Region}.${AWS::URLSuffix}"},
            ]
        }
    }
    assert RESOURCES["UseKeyPolicy"]["Condition"] == "HasKey"


# ---- every partition ----


def test_no_partition_is_written_out() -> None:
    assert not re.findall(r"arn:aws[a-z-]*:", TEXT)
    for machine in (ROOT / "statemachines").iterdir():
        assert not re.findall(r"arn:aws[a-z-]*:", machine.read_text())


# ---- every Region ----

# What is global in an account, by the property that names it.
GLOBAL_NAMES = {
    "AWS::CloudWatch::Dashboard": "DashboardName",
    "AWS::IAM::Group": "GroupName",
    "AWS::IAM::InstanceProfile": "InstanceProfileName",
    "AWS::IAM::ManagedPolicy": "ManagedPolicyName",
    "AWS::IAM::Role": "RoleName",
    "AWS::IAM::User": "UserName",
    "AWS::S3::Bucket": "BucketName",
    "AWS::Serverless::Function": "RoleName",
}


def test_a_second_region_of_the_account_can_be_deployed_to() -> None:
    named = {
        name: properties[named_by]
        for name, resource in RESOURCES.items()
        if (named_by := GLOBAL_NAMES.get(resource["Type"], "")) in (properties := resource.get("Properties", {}))
    }
    assert "Dashboard" in named, "the scan finds less"
    assert [name for name, given in named.items() if "${AWS::Region}" not in json.dumps(given)] == []


# ---- permissions ----


def test_every_function_has_a_role_of_its_own() -> None:
    assert [_properties(each)["Role"] for each in FUNCTIONS] == [{"GetAtt": f"{each}Role.Arn"} for each in FUNCTIONS]


def test_a_managed_policy_of_awss_is_not_taken_for_one_of_ours() -> None:
    """AWS's managed policies reach the whole account."""
    for arn in ("arn:aws:iam::aws:policy/AdministratorAccess", {"Sub": "arn:${AWS::Partition}:iam::aws:policy/X"}):
        roles = {"Role": {"Properties": {"Policies": [], "ManagedPolicyArns": [arn]}}}
        with pytest.raises(AssertionError, match="reaches the whole account"):
            templates.policy_statements(roles, "Role")


def test_no_role_has_a_managed_policy_but_our_own() -> None:
    for role in _of_type("AWS::IAM::Role"):
        assert templates.policy_statements(RESOURCES, role)


@pytest.mark.parametrize("policy", _of_type("AWS::IAM::ManagedPolicy"))
def test_a_shared_policy_is_attached_by_the_roles_that_share_it_and_iam_takes_its_size(policy: str) -> None:
    """With a name of its own, a second stack of the account would be refused."""
    properties = _properties(policy)
    assert set(properties) - {"Roles"} == {"Description", "PolicyDocument"}
    roles = properties.get("Roles") or [
        name
        for name, role in _of_type("AWS::IAM::Role").items()
        if json.dumps({"Ref": policy}) in json.dumps(role["Properties"].get("ManagedPolicyArns", []))
    ]
    assert len(roles) > 1, "what only one function does is in its own role"
    # 6,144 characters without spaces (IAM quotas), with a path as long as it may be, and ARNs with the names that
    # CloudFormation makes of the longest of a stack (128). What is filled in for ${AWS::...} is no longer than that.
    text = json.dumps(properties["PolicyDocument"], separators=(",", ":"))
    paths, arns = text.count("${RolePath}"), text.count('"GetAtt"') + text.count('"Ref"')
    assert len(text) + paths * PARAMETERS["RolePath"]["MaxLength"] + arns * 250 <= 6144


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_is_made_only_once_it_may_do_its_work(function: str) -> None:
    """Its queue or stream has it run at once, and its policies are no part of its role."""
    policies = _of_type("AWS::IAM::Policy") | _of_type("AWS::IAM::ManagedPolicy")
    naming = {
        name for name, each in policies.items() if {"Ref": f"{function}Role"} in each["Properties"].get("Roles", [])
    }
    # That one names the function.
    assert set(RESOURCES[function]["DependsOn"]) == naming - {"SweepTargetsPolicy"} != set()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_only_what_knows_nothing_narrower_is_allowed_on_everything(function: str) -> None:
    everywhere = {
        action
        for statement in _statements(function)
        for action in _listed(statement["Action"])
        if "*" in _listed(statement["Resource"])
    }
    assert everywhere <= {"ec2:DescribeInstances", "ec2:DescribeIamInstanceProfileAssociations"}


@pytest.mark.parametrize("function", [*CHANGING, *PUBLISHING])
def test_only_roles_under_the_path_can_be_passed_and_only_to_ec2(function: str) -> None:
    [statement] = _allowing(function, "iam:PassRole")
    assert statement["Resource"] == {"Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:role${RolePath}*"}
    assert statement["Condition"] == {
        "StringEquals": {"iam:PassedToService": ["ec2.amazonaws.com", {"Sub": "ec2.${AWS::URLSuffix}"}]}
    }


UNDER_THE_PATH = {"Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:instance-profile${RolePath}*"}
OUR_INSTANCES = {"Sub": "arn:${AWS::Partition}:ec2:${AWS::Region}:${AWS::AccountId}:instance/*"}


@pytest.mark.parametrize("function", [name for name in FUNCTIONS if name != "OnInstanceEvent"])
def test_no_other_function_may_change_an_instance(function: str) -> None:
    allowed = {action for each in _statements(function, "MayTakeOver") for action in _listed(each["Action"])}
    assert {each for each in allowed if each.startswith("ec2:")} <= {
        "ec2:DescribeInstances",
        "ec2:DescribeIamInstanceProfileAssociations",
    }


@pytest.mark.parametrize("function", CHANGING)
@pytest.mark.parametrize(
    ("action", "keys"),
    [
        ("ec2:AssociateIamInstanceProfile", {"ec2:NewInstanceProfile"}),
        ("ec2:ReplaceIamInstanceProfileAssociation", {"ec2:NewInstanceProfile", "ec2:InstanceProfile"}),
        ("ec2:DisassociateIamInstanceProfile", {"ec2:InstanceProfile"}),
    ],
)
def test_what_an_instance_gets_and_what_it_loses_is_under_the_path(function: str, action: str, keys: set[str]) -> None:
    """All three actions know `ec2:InstanceProfile`: what the instance carries now (AWS_FACTS.md)."""
    [statement] = _allowing(function, action)
    assert statement["Condition"] == {"ArnLike": dict.fromkeys(keys, UNDER_THE_PATH)}
    assert statement["Resource"] == OUR_INSTANCES


@pytest.mark.parametrize("function", CHANGING)
def test_only_a_deployment_that_says_so_may_take_a_foreign_role_away(function: str) -> None:
    assert PARAMETERS["TakeOver"]["Default"] == "false"
    plain, more = _statements(function), _statements(function, "MayTakeOver")
    replace, detach = [each for each in more if each not in plain]
    # What it gives has to be named: IfExists would let a replace through that names no profile.
    assert replace == {
        "Sid": "TakeOverByReplace",
        "Effect": "Allow",
        "Action": "ec2:ReplaceIamInstanceProfileAssociation",
        "Resource": OUR_INSTANCES,
        "Condition": {"ArnLike": {"ec2:NewInstanceProfile": UNDER_THE_PATH}},
    }
    assert detach == {
        "Sid": "TakeOverByDetach",
        "Effect": "Allow",
        "Action": "ec2:DisassociateIamInstanceProfile",
        "Resource": OUR_INSTANCES,
    }
    assert TEMPLATE["Conditions"]["MayTakeOver"] == {"Equals": [{"Ref": "TakeOver"}, "true"]}


@pytest.mark.parametrize("function", PUBLISHING)
@pytest.mark.parametrize("action", ["iam:CreateInstanceProfile", "iam:AddRoleToInstanceProfile"])
def test_profiles_are_made_under_the_path_only(function: str, action: str) -> None:
    [statement] = _allowing(function, action)
    assert statement["Resource"] == {"Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:instance-profile${RolePath}*"}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_events_are_sent_in_our_own_name_only(function: str) -> None:
    [statement] = _allowing(function, "events:PutEvents")
    assert statement["Condition"] == {"ForAllValues:StringEquals": {"events:source": "rolekeeper"}}


@pytest.mark.parametrize("function", ["OnInstanceEvent", "OnRetry", "OnStateChange"])
def test_only_those_that_check_rows_can_touch_the_mapping_table(function: str) -> None:
    assert "MappingTable" not in json.dumps(_statements(function))


@pytest.mark.parametrize(("machine", "function"), [("Retry", "OnRetry"), ("Resume", "OnSchedule")])
def test_a_machine_may_ask_its_function_and_send_dead_letters(machine: str, function: str) -> None:
    not_logs = [
        (statement["Action"], statement["Resource"])
        for statement in templates.policy_statements(RESOURCES, f"{machine}StateMachineRole")
        if not all(action.startswith("logs:") for action in _listed(statement["Action"]))
    ]
    assert not_logs == [
        ("lambda:InvokeFunction", {"GetAtt": f"{function}.Arn"}),
        ("sqs:SendMessage", {"GetAtt": "DeadLetterQueue.Arn"}),
    ]


def test_the_resume_machine_has_the_name_by_which_it_is_started() -> None:
    """A reference would be a circle: on_schedule starts the machine, and is its task."""
    arn = {"Sub": "arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}:stateMachine:${AWS::StackName}-resume"}
    assert _properties("ResumeStateMachine")["Name"] == {"Sub": "${AWS::StackName}-resume"}
    assert TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]["RESUME_STATE_MACHINE_ARN"] == arn
    [statement] = [
        each for each in templates.policy_statements(RESOURCES, "OnScheduleRole") if each["Sid"] == "HandOver"
    ]
    assert (statement["Action"], statement["Resource"]) == ("states:StartExecution", arn)


# ---- queues ----


def test_a_message_that_keeps_failing_becomes_a_dead_letter_that_is_kept() -> None:
    redrive = _properties("WorkQueue")["RedrivePolicy"]
    assert redrive["deadLetterTargetArn"] == {"GetAtt": "DeadLetterQueue.Arn"}
    assert redrive["maxReceiveCount"] == 8, "as docs/concepts.md says"
    assert _properties("DeadLetterQueue")["MessageRetentionPeriod"] == 14 * 24 * 3600


@pytest.mark.parametrize("queue", _of_type("AWS::SQS::Queue"))
def test_a_queue_is_taken_over_tls_only(queue: str) -> None:
    [deny] = [s for s in _policy_of_queue(queue) if s["Effect"] == "Deny"]
    assert (deny["Principal"], deny["Action"]) == ("*", "sqs:*")
    assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def _policy_of_queue(queue: str) -> list[dict[str, Any]]:
    [policy] = [
        policy["Properties"]
        for policy in _of_type("AWS::SQS::QueuePolicy").values()
        if policy["Properties"]["Queues"] == [{"Ref": queue}]
    ]
    return list(policy["PolicyDocument"]["Statement"])


@pytest.mark.parametrize(("met", "of_spokes"), [((), []), (("ServesOrganization",), SPOKE_RULES)])
@pytest.mark.parametrize(("queue", "rules"), [("WorkQueue", OWN_RULES), ("DeadLetterQueue", [*OWN_RULES, *SCHEDULES])])
def test_only_our_own_rules_may_send(queue: str, rules: list[str], met: tuple[str, ...], of_spokes: list[str]) -> None:
    [allow] = [s for s in templates.chosen(_policy_of_queue(queue), met) if s["Effect"] == "Allow"]
    assert allow["Principal"] == {"Service": "events.amazonaws.com"}
    assert allow["Action"] == "sqs:SendMessage"
    senders = [{"GetAtt": f"{rule}.Arn"} for rule in (*rules, *of_spokes)]
    assert allow["Condition"]["ArnEquals"]["aws:SourceArn"] == senders


@pytest.mark.parametrize("rule", _of_type("AWS::Events::Rule"))
def test_what_a_rule_cannot_deliver_becomes_a_dead_letter(rule: str) -> None:
    for target in _properties(rule)["Targets"]:
        assert target["DeadLetterConfig"] == {"Arn": {"GetAtt": "DeadLetterQueue.Arn"}}
        assert target["SqsParameters"] == {"MessageGroupId": "$.account"}, "one account's backlog delays no other's"


@pytest.mark.parametrize("rule", [*OWN_RULES, *SPOKE_RULES])
def test_events_reach_the_work_queue_as_they_are(rule: str) -> None:
    [target] = _properties(rule)["Targets"]
    assert target["Arn"] == {"GetAtt": "WorkQueue.Arn"}
    assert not target.keys() & {"Input", "InputPath", "InputTransformer"}


@pytest.mark.parametrize("rule", OWN_RULES)
def test_the_deployments_own_events_are_on_the_default_bus(rule: str) -> None:
    assert "EventBusName" not in _properties(rule)
    assert "Condition" not in RESOURCES[rule]


# ---- a hub ----

OF_A_HUB = {"SpokeBus", "SpokeBusPolicy", *SPOKE_RULES, "SweepTargetsPolicy"}


def test_a_deployment_is_a_hub_only_with_an_organization() -> None:
    assert PARAMETERS["OrganizationId"]["Default"] == ""
    assert TEMPLATE["Conditions"]["ServesOrganization"] == {"Not": [{"Equals": [{"Ref": "OrganizationId"}, ""]}]}
    made = {name for name, each in RESOURCES.items() if each.get("Condition") == "ServesOrganization"}
    assert made == OF_A_HUB


@pytest.mark.parametrize("organization", ["", "o-a1b2c3d4e5", "o-embeddedaws"])
def test_an_organization_is_named_by_its_id(organization: str) -> None:
    assert re.search(PARAMETERS["OrganizationId"]["AllowedPattern"], organization)


@pytest.mark.parametrize("organization", ["*", "o-*", "a1b2c3d4e5", "o-short", "r-a1b2", "o-A1B2C3D4E5"])
def test_what_is_no_organizations_id_is_refused(organization: str) -> None:
    """Its value is compared with wildcards nowhere, and would admit everybody if it were."""
    assert not re.search(PARAMETERS["OrganizationId"]["AllowedPattern"], organization)


@pytest.mark.parametrize("rule", SPOKE_RULES)
def test_spokes_send_to_a_bus_of_their_own(rule: str) -> None:
    assert _properties(rule)["EventBusName"] == {"Ref": "SpokeBus"}
    assert _properties("SpokeBus")["Name"] == {"Ref": "Namespace"}, "which spoke.yaml sends to"


def test_the_bus_takes_what_forwarders_of_the_organizations_accounts_send_and_nothing_else() -> None:
    statement = _properties("SpokeBusPolicy")["Statement"]
    assert (statement["Action"], statement["Resource"]) == ("events:PutEvents", {"GetAtt": "SpokeBus.Arn"})
    assert statement["Condition"] == {
        "StringEquals": {"aws:PrincipalOrgID": {"Ref": "OrganizationId"}},
        "ArnLike": {"aws:PrincipalArn": {"Sub": "arn:${AWS::Partition}:iam::*:role/${Namespace}-forwarder-*"}},
    }


def test_the_sweep_may_invoke_itself_by_a_policy_beside_its_role() -> None:
    """In the role it would be a circle, and a pattern in the place of the name would fit other functions too."""
    assert _properties("SweepTargetsPolicy")["Roles"] == [{"Ref": "OnScheduleRole"}]
    [statement] = _properties("SweepTargetsPolicy")["PolicyDocument"]["Statement"]
    assert (statement["Action"], statement["Resource"]) == ("lambda:InvokeFunction", {"GetAtt": "OnSchedule.Arn"})
    assert "SWEEP_FUNCTION" not in json.dumps(_properties("OnSchedule")), "it has its name from Lambda"


# ---- functions and what drives them ----


def test_functions_run_lambdas_own_python() -> None:
    function = TEMPLATE["Globals"]["Function"]
    assert function["Runtime"] == "python3.13"
    assert function["Architectures"] == [{"Ref": "Architecture"}]
    assert function["MemorySize"] == 512, "with less of a processor a cold start takes seconds (docs/performance.md)"
    handlers = {each: re.sub(r"(?<!^)([A-Z])", r"_\1", each).lower() for each in FUNCTIONS}
    assert {each: _properties(each)["Handler"] for each in FUNCTIONS} == {
        function: f"{module}.handler" for function, module in handlers.items()
    }
    assert PARAMETERS["Architecture"]["Default"] == "arm64"


def test_functions_get_the_environment_that_the_code_reads() -> None:
    code = (ROOT / "layers/rolekeeper/rolekeeper/settings.py").read_text()
    required = set(re.findall(r'environ\["(\w+)"\]', code))
    optional = set(re.findall(r'environ\.get\("(\w+)"', code))
    assert "STATE_TABLE" in required, "the scan finds less"
    variables = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
    assert {name for name in variables if not name.startswith("POWERTOOLS_")} == required | {
        *("ALARM_TOPIC", "RESUME_STATE_MACHINE_ARN", "ORGANIZATION_ID", "NAMESPACE"),
    }
    assert _properties("OnInstanceEvent")["Environment"]["Variables"] == {
        "RETRY_STATE_MACHINE_ARN": {"Ref": "RetryStateMachine"}
    }
    assert _properties("OnStateChange")["Environment"]["Variables"] == {"SWEEP_FUNCTION": {"Ref": "OnSchedule"}}
    machines = {"RESUME_STATE_MACHINE_ARN", "RETRY_STATE_MACHINE_ARN"}
    assert optional - {"ORGANIZATION_ID", "NAMESPACE"} == {"ALARM_TOPIC", *machines, *SWEEPS}


def test_each_setting_is_that_of_its_own_parameter_or_resource() -> None:
    """By its name: MAX_CHANGES_PERCENT is MaxChangesPercent."""
    variables = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
    named = {name: name.title().replace("_", "") for name in variables}
    own = {name: {"Ref": each} for name, each in named.items() if each in PARAMETERS | RESOURCES}
    assert {name: variables[name] for name in own} == own
    constant = {name: each for name, each in variables.items() if isinstance(each, str)}
    assert constant == {"POWERTOOLS_SERVICE_NAME": "rolekeeper", "POWERTOOLS_METRICS_NAMESPACE": "Rolekeeper"}
    others = {"WORK_QUEUE_URL": {"Ref": "WorkQueue"}, "POWERTOOLS_LOG_LEVEL": {"Ref": "LogLevel"}}
    assert {name: variables[name] for name in others} == others
    assert variables.keys() == own.keys() | constant.keys() | others.keys() | {"RESUME_STATE_MACHINE_ARN"}


@pytest.mark.parametrize("machine", ["Retry", "Resume"])
def test_a_machine_runs_its_own_definition_for_as_long_as_it_takes_and_logs_what_fails(machine: str) -> None:
    """An Express one ends after five minutes (Step Functions developer guide, "Choosing workflow type")."""
    properties = _properties(f"{machine}StateMachine")
    assert properties["Type"] == "STANDARD"
    assert properties["DefinitionUri"] == f"statemachines/{machine.lower()}.asl.json"
    assert properties["Logging"]["Level"] == "ERROR"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_logs_to_a_group_that_forgets(function: str) -> None:
    group = _properties(function)["LoggingConfig"]["LogGroup"]["Ref"]
    assert _properties(group)["RetentionInDays"] == {"Ref": "LogRetentionDays"}


def test_of_a_batch_only_the_messages_that_failed_come_again() -> None:
    source = _properties("OnInstanceEvent")["Events"]["WorkQueue"]["Properties"]
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert source["BatchSize"] == 10
    assert source["MaximumBatchingWindowInSeconds"] == 0, "a wait would be added to every tag's way to its role"
    assert source["ScalingConfig"]["MaximumConcurrency"] == {"Ref": "Workers"}, "by which each knows its share"
    assert TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]["WORKERS"] == {"Ref": "Workers"}


@pytest.mark.parametrize(
    ("function", "stream"), [("OnMappingChange", "MappingStream"), ("OnStateChange", "StateStream")]
)
def test_a_bad_stream_record_is_tried_some_times_then_put_aside(function: str, stream: str) -> None:
    source = _properties(function)["Events"][stream]["Properties"]
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert source["BisectBatchOnFunctionError"] is True
    assert (source["MaximumRetryAttempts"], source["MaximumRecordAgeInSeconds"]) == (10, 3600), "as the runbook says"
    assert source["MaximumBatchingWindowInSeconds"] == 0, "an edit, a pause or a pin would take effect later by it"
    assert source["DestinationConfig"]["OnFailure"]["Destination"] == {"GetAtt": "DeadLetterQueue.Arn"}
    assert source["StartingPosition"] == "TRIM_HORIZON"


def test_a_sweep_is_tried_again_then_becomes_a_dead_letter() -> None:
    """What can't be handed to Lambda until the next is due; what failed in it once, within an hour."""
    config = _properties("OnSchedule")["EventInvokeConfig"]
    assert config["DestinationConfig"]["OnFailure"]["Destination"] == {"GetAtt": "DeadLetterQueue.Arn"}
    assert (config["MaximumRetryAttempts"], config["MaximumEventAgeInSeconds"]) == (1, 3600)
    schedules = {name: each["Properties"] for name, each in _properties("OnSchedule")["Events"].items()}
    for schedule in schedules.values():
        assert schedule["DeadLetterConfig"] == {"Arn": {"GetAtt": "DeadLetterQueue.Arn"}}
        assert schedule.keys() & {"State", "Enabled"} == set()
    assert schedules["Sweep"]["RetryPolicy"] == {"MaximumRetryAttempts": 5, "MaximumEventAgeInSeconds": 15 * 60}
    assert schedules["Expiries"]["RetryPolicy"] == {"MaximumRetryAttempts": 1, "MaximumEventAgeInSeconds": 60}


def test_the_fleet_is_swept_every_15_minutes_unless_a_parameter_says_otherwise() -> None:
    """As docs/concepts.md and docs/guarantees.md count on; a sweep that is overdue is known after two hours."""
    assert _properties("OnSchedule")["Events"]["Sweep"]["Properties"]["Schedule"] == {"Ref": "SweepSchedule"}
    assert PARAMETERS["SweepSchedule"]["Default"] == "rate(15 minutes)"
    assert PARAMETERS["SweepOverdueHours"]["Default"] == 2


def test_what_expires_is_looked_at_each_minute() -> None:
    expiries = _properties("OnSchedule")["Events"]["Expiries"]["Properties"]
    assert expiries["Schedule"] == "rate(1 minute)"
    assert json.loads(expiries["Input"]) == {"task": Task.EXPIRIES.value, "waits": True}


# ---- tables ----


@pytest.mark.parametrize("table", ["MappingTable", "StateTable"])
def test_a_table_survives_mistakes(table: str) -> None:
    assert RESOURCES[table]["DeletionPolicy"] == "Retain"
    assert RESOURCES[table]["UpdateReplacePolicy"] == "Retain"
    properties = _properties(table)
    assert properties["DeletionProtectionEnabled"] is True
    assert properties["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert properties["BillingMode"] == "PAY_PER_REQUEST"


@pytest.mark.parametrize("table", ["MappingTable", "StateTable"])
def test_a_table_is_taken_over_tls_only(table: str) -> None:
    deny, *_ = _properties(table)["ResourcePolicy"]["PolicyDocument"]["Statement"]
    # In a table's own policy "*" is that table; its ARN can't be named in its own properties.
    wanted = {"Effect": "Deny", "Principal": "*", "Action": "dynamodb:*", "Resource": "*"}
    assert deny == {"Sid": "OnlyOverTls", **wanted, "Condition": {"Bool": {"aws:SecureTransport": "false"}}}


def test_only_the_functions_write_the_state_table_but_for_what_people_may() -> None:
    """Who they are is said by their roles' own ARNs; what people may is in spec/permitted.py, as IAM answers it."""
    policy = _properties("StateTable")["ResourcePolicy"]["PolicyDocument"]
    [*denying] = [each for each in policy["Statement"] if "ArnNotEquals" in each.get("Condition", {})]
    roles = [{"GetAtt": f"{each}Role.Arn"} for each in FUNCTIONS]
    assert [each["Condition"]["ArnNotEquals"] for each in denying] == [{"aws:PrincipalArn": roles}] * 3
    allowed = {"pk", "sk", "expires", *(each.name for each in fields(Pin) if each.name != "unclear")}
    # And what `release` writes into a record of an instance that is contested.
    allowed |= {"version", layout.WRITES, f"{layout.CHANGE}*"}
    [grants] = [each["Condition"] for each in denying if "ForAnyValue:StringLike" in each["Condition"]]
    assert set(grants["ForAnyValue:StringNotLike"]["dynamodb:Attributes"]) == allowed
    assert len(json.dumps(policy)) < 20_000, "DynamoDB's limit, with ARNs as long as they get"


@pytest.mark.parametrize(("table", "keys"), [("MappingTable", ["tag_key", "tag_value"]), ("StateTable", ["pk", "sk"])])
def test_a_table_has_the_keys_of_the_contract(table: str, keys: list[str]) -> None:
    schema = [(key["AttributeName"], key["KeyType"]) for key in _properties(table)["KeySchema"]]
    assert schema == [(keys[0], "HASH"), (keys[1], "RANGE")]


def test_history_expires() -> None:
    assert _properties("StateTable")["TimeToLiveSpecification"] == {"AttributeName": "expires", "Enabled": True}


def test_the_stream_tells_what_a_row_was_and_is() -> None:
    assert _properties("MappingTable")["StreamSpecification"] == {"StreamViewType": "NEW_AND_OLD_IMAGES"}


def test_of_the_state_table_only_what_steers_reaches_its_function() -> None:
    """What a reconcile writes there must not wake anybody, or each would cost an invocation more."""
    assert _properties("StateTable")["StreamSpecification"] == {"StreamViewType": "KEYS_ONLY"}
    assert _properties("OnStateChange")["Events"]["StateStream"]["Properties"]["Stream"] == {
        "GetAtt": "StateTable.StreamArn"
    }
    instance, mapping = layout.instance_pk(KEY), MappingKey("a", "b")
    passing = {
        ("INSERT", *layout.CONTROL), ("MODIFY", *layout.CONTROL), ("REMOVE", *layout.CONTROL),
        ("INSERT", instance, "pin"), ("MODIFY", instance, "pin"), ("REMOVE", instance, "pin"),
        ("INSERT", layout.TIMERS, "2026-03-02T09:16:00.000000Z#x"),
    }  # fmt: skip
    others = {
        ("REMOVE", layout.TIMERS, "2026-03-02T09:16:00.000000Z#x"),
        ("MODIFY", *layout.record_key(KEY)),
        ("INSERT", instance, "history#2026-03-02T09:16:00.000000Z#x"),
        ("MODIFY", *layout.published_key(mapping, "123456789012")),
        ("MODIFY", *layout.budget_key(mapping)),
        ("MODIFY", *layout.FLEET),
    }
    assert {each for each in passing | others if _steers(*each)} == passing


def _steers(event: str, pk: str, sk: str) -> bool:
    criteria = _properties("OnStateChange")["Events"]["StateStream"]["Properties"]["FilterCriteria"]["Filters"]
    record: Any = {"eventName": event, "dynamodb": {"Keys": {"pk": {"S": pk}, "sk": {"S": sk}}}}
    return any(EventPattern.load(each["Pattern"]).matches_event(record) for each in criteria)


# ---- the topic that alarms and messages go to ----


def test_alarms_can_use_the_topics_key_where_somebody_wants_keys() -> None:
    """A key costs a dollar a month, so it is made only beside a key of the user's."""
    assert _properties("AlarmTopic")["KmsMasterKeyId"] == _only_if("HasKey", {"Ref": "AlarmKey"})
    assert RESOURCES["AlarmKey"]["Condition"] == "HasKey"
    [using] = [s for s in _properties("AlarmKey")["KeyPolicy"]["Statement"] if "Service" in s["Principal"]]
    assert using["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert set(using["Action"]) == {"kms:GenerateDataKey*", "kms:Decrypt"}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_who_tells_others_can_mail_people_too(function: str) -> None:
    [publish] = _allowing(function, "sns:Publish")
    assert publish["Resource"] == {"Ref": "AlarmTopic"}
    assert _allowing(function, "kms:GenerateDataKey") == []
    [use] = [each for each in _allowing(function, "kms:GenerateDataKey", "HasKey") if "Condition" not in each]
    assert use["Resource"] == {"GetAtt": "AlarmKey.Arn"}


def test_nobody_but_our_functions_and_alarms_can_send_a_mail() -> None:
    """A mail is believed. The alarms come from CloudWatch, which calls as a service."""
    statements = {each["Sid"]: each for each in _properties("AlarmTopicPolicy")["PolicyDocument"]["Statement"]}
    refused = statements["NobodyElseMayPublish"]
    assert (refused["Effect"], refused["Principal"], refused["Action"]) == ("Deny", "*", "sns:Publish")
    assert refused["Condition"] == {
        "BoolIfExists": {"aws:PrincipalIsAWSService": "false"},
        "ArnNotEquals": {"aws:PrincipalArn": [{"GetAtt": f"{each}Role.Arn"} for each in FUNCTIONS]},
    }
    allowing = [each for each in statements.values() if each["Effect"] == "Allow"]
    assert [each["Principal"] for each in allowing] == [{"Service": "cloudwatch.amazonaws.com"}]
    assert [each for each in FUNCTIONS if _allowing(each, "sns:Publish")] == FUNCTIONS


def test_no_event_becomes_a_mail_whoever_sent_it() -> None:
    """Anybody who may `events:PutEvents` can name `rolekeeper` as the source: so no rule reads those, to no target."""
    rules = {name: _properties(name) for name in _of_type("AWS::Events::Rule")}
    sources = {source for rule in rules.values() for source in rule["EventPattern"]["source"]}
    assert sources == {"aws.ec2", "aws.tag", "aws.events"}, "nobody but AWS sends in these names"
    assert not [name for name, rule in rules.items() if "AlarmTopic" in json.dumps(rule)]
    assert not [name for name in FUNCTIONS if "EventBridgeRule" in json.dumps(_properties(name).get("Events", {}))]
    protocols = {each["Properties"]["Protocol"] for each in _of_type("AWS::SNS::Subscription").values()}
    assert protocols == {"email"}


def test_no_rule_puts_what_people_wrote_into_a_text() -> None:
    """EventBridge escapes nothing of it: with a quote in a reason, nothing is delivered."""
    assert "InputTransformer" not in TEXT


# ---- outputs ----


def test_the_contracts_outputs_are_there_and_described() -> None:
    outputs = TEMPLATE["Outputs"]
    contract = {"MappingTable", "StateTable", "WorkQueue", "DeadLetterQueue", "RetryStateMachine"}
    assert contract <= set(outputs)
    assert all(output["Description"] for output in outputs.values())
    assert {name: outputs[name]["Value"] for name in contract} == {name: {"Ref": name} for name in contract}


def test_the_output_version_is_the_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert TEMPLATE["Outputs"]["Version"]["Value"] == project["version"]
