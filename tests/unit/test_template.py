"""What matters in template.yaml: safe defaults, least privilege, nothing lost."""

import json
import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from moto.events.models import EventPattern

from rolekeeper.aws.queue import Task
from rolekeeper.model.mapping import MappingKey, Pin
from rolekeeper.storage import layout
from rolekeeper_cli.uses.pins import pin_item
from strategies.values import KEY
from support import templates
from support.templates import listed, of_type

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "template.yaml").read_text()

# The rules of the hub's own account and Region; those of its spokes; and those that SAM makes of the schedules.
OWN_RULES = ["InstanceStateRule", "InstanceTagRule"]
SPOKE_RULES = ["SpokeStateRule", "SpokeTagRule", "SpokePresentRule"]
TEMPLATE = templates.load()
PARAMETERS = TEMPLATE["Parameters"]
RESOURCES = TEMPLATE["Resources"]
FUNCTIONS = [*of_type("AWS::Serverless::Function")]
# Where a function has the name of the one that sweeps: from the template, or the sweep's own from Lambda.
SWEEPS = {"SWEEP_FUNCTION", "AWS_LAMBDA_FUNCTION_NAME"}
MACHINE_ARNS = {"RESUME_STATE_MACHINE_ARN", "ACCOUNTS_STATE_MACHINE_ARN"}
STATES = "arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}"
ROLES = [*of_type("AWS::IAM::Role")]


def _properties(name: str) -> Any:
    return RESOURCES[name]["Properties"]


def _statements(function: str, *met: str) -> list[dict[str, Any]]:
    """What a function may do where these conditions of the template are met."""
    role = _properties(function)["Role"]["GetAtt"].removesuffix(".Arn")
    return templates.policy_statements(RESOURCES, role, met=("MakesProfiles", *met))


# ---- parameters ----


def test_a_new_deployment_only_observes_and_takes_no_foreign_role_away() -> None:
    assert PARAMETERS["TakeOver"]["Default"] == "false"
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


KMS_KEY = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
BOUNDARY = "arn:aws:iam::123456789012:policy/org/bounds-all"
TAKEN = {
    # IAM compares paths with their case; AWS's own are in lower case and first (IAM user guide, "IAM identifiers").
    "RolePath": [
        *("/rolekeeper/", "/org/rolekeeper/", "/org/service-role/", "/service-roles/", "/aws/", "/my-aws-reserved/"),
    ],
    "SweepSchedule": [
        *("rate(15 minutes)", "rate(2 minutes)", "rate(10 hours)", "rate(1 hour)", "rate(1 day)"),
        "cron(0/30 * * * ? *)",
    ],
    "KmsKeyArn": ["", KMS_KEY, KMS_KEY.replace("aws", "aws-cn")],
    "PermissionsBoundary": ["", BOUNDARY, "arn:aws:iam::aws:policy/PowerUserAccess"],
    "OrganizationId": ["", "o-a1b2c3d4e5", "o-embeddedaws"],
}
REFUSED = {
    "RolePath": [
        *("/", "//", "", "rolekeeper", "/rolekeeper", "rolekeeper/", "/a*/", "/a b/", "/a?/"),
        # Services make their roles there, with trust and permissions that nobody here chose.
        *(
            f"/{folder}/{below}"
            for folder in ("aws-service-role", "service-role", "aws-reserved")
            for below in ("", "ec2.amazonaws.com/", "rolekeeper/", "a/b/")
        ),
    ],
    "SweepSchedule": [
        *("", "15 minutes", "rate(0 minutes)", "rate(5 seconds)", "cron()"),
        *("rate(1 minutes)", "rate(5 minute)", "rate(1 hours)", "rate(10 hour)", "rate(1 days)", "rate(01 minutes)"),
        *("cron(0/30 * * * ?)", "cron(0/30 * * * ? * *)"),
    ],
    "KmsKeyArn": ["alias/mine", KMS_KEY.replace("key/", "alias/"), "1234abcd"],
    "PermissionsBoundary": ["bounds-all", "arn:aws:iam::123456789012:role/bounds-all", f"{BOUNDARY}*"],
    # Its value is compared with wildcards nowhere, and would admit everybody if it were.
    "OrganizationId": ["*", "o-*", "a1b2c3d4e5", "o-short", "r-a1b2", "o-A1B2C3D4E5"],
}


@pytest.mark.parametrize("name", TAKEN)
def test_a_parameter_takes_what_aws_takes_and_refuses_what_would_reach_further(name: str) -> None:
    pattern = PARAMETERS[name]["AllowedPattern"]
    assert [each for each in TAKEN[name] if not re.search(pattern, each)] == []
    assert [each for each in REFUSED[name] if re.search(pattern, each)] == []
    assert PARAMETERS[name]["Default"] == TAKEN[name][0]


# ---- linters ----


def test_a_check_that_is_left_out_says_why() -> None:
    skipped = [
        (name, each)
        for name, resource in RESOURCES.items()
        for each in resource.get("Metadata", {}).get("checkov", {}).get("skip", [])
    ]
    assert ("WorkQueue", "CKV_AWS_27") in [(name, each["id"]) for name, each in skipped], "the scan finds less"
    assert [(name, each["id"]) for name, each in skipped if len(each.get("comment", "").split()) < 4] == []


def _only_if(condition: str, value: Any, otherwise: Any = None) -> Any:
    """A property that a parameter sets, and that is otherwise as AWS has it."""
    return {"If": [condition, value, {"Ref": "AWS::NoValue"} if otherwise is None else otherwise]}


def test_a_parameter_that_is_empty_sets_nothing() -> None:
    assert TEMPLATE["Conditions"]["HasKey"] == {"Not": [{"Equals": [{"Ref": "KmsKeyArn"}, ""]}]}
    assert TEMPLATE["Conditions"]["HasBoundary"] == {"Not": [{"Equals": [{"Ref": "PermissionsBoundary"}, ""]}]}
    assert TEMPLATE["Conditions"]["LimitsRetries"] == {"Not": [{"Equals": [{"Ref": "RetryConcurrency"}, "0"]}]}
    assert RESOURCES["UseKeyPolicy"]["Condition"] == "HasKey"
    assert [each for each in ROLES if "kms:" in json.dumps(templates.policy_statements(RESOURCES, each))] == []


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
    for table in of_type("AWS::DynamoDB::Table"):
        encrypted = {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": own}
        assert _properties(table)["SSESpecification"] == _only_if("HasKey", encrypted, {"SSEEnabled": True})
    for queue in of_type("AWS::SQS::Queue"):
        assert _properties(queue)["KmsMasterKeyId"] == _only_if("HasKey", own)
        assert _properties(queue)["SqsManagedSseEnabled"] == {"If": ["HasKey", {"Ref": "AWS::NoValue"}, True]}
    groups = of_type("AWS::Logs::LogGroup")
    assert len(groups) == 8
    assert all(_properties(group)["KmsKeyId"] == _only_if("HasKey", own) for group in groups)


# ---- every partition ----


@pytest.mark.parametrize(
    "path",
    [
        *("template.yaml", "spoke.yaml", "examples/roles.yaml"),
        *("statemachines/retry.asl.json", "statemachines/resume.asl.json", "statemachines/accounts.asl.json"),
    ],
)
def test_no_partition_is_written_out(path: str) -> None:
    text = re.sub(r"AllowedPattern: .*", "", (ROOT / path).read_text())
    assert re.findall(r"arn:aws[a-z-]*:", text) == []


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


def test_no_role_has_a_managed_policy_but_our_own() -> None:
    for role in of_type("AWS::IAM::Role"):
        assert templates.policy_statements(RESOURCES, role)


@pytest.mark.parametrize("policy", of_type("AWS::IAM::ManagedPolicy"))
def test_a_shared_policy_is_attached_by_the_roles_that_share_it_and_iam_takes_its_size(policy: str) -> None:
    """With a name of its own, a second stack of the account would be refused."""
    properties = _properties(policy)
    assert set(properties) - {"Roles"} == {"Description", "PolicyDocument"}
    roles = properties.get("Roles") or [
        name
        for name, role in of_type("AWS::IAM::Role").items()
        if json.dumps({"Ref": policy}) in json.dumps(role.get("ManagedPolicyArns", []))
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
    policies = of_type("AWS::IAM::Policy") | of_type("AWS::IAM::ManagedPolicy")
    naming = {name for name, each in policies.items() if f'"{function}Role"' in json.dumps(each.get("Roles", []))}
    # Those of a hub name the functions.
    assert set(RESOURCES[function]["DependsOn"]) == naming - OF_A_HUB != set()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_only_what_knows_nothing_narrower_is_allowed_on_everything(function: str) -> None:
    everywhere = {
        action
        for statement in _statements(function)
        for action in listed(statement["Action"])
        if "*" in listed(statement["Resource"])
    }
    at_sweeps = {"iam:GetAccountAuthorizationDetails"} if function == "OnSchedule" else set()
    assert everywhere <= {"ec2:DescribeInstances", "ec2:DescribeIamInstanceProfileAssociations", *at_sweeps}


@pytest.mark.parametrize(
    ("machine", "function"), [("Retry", "OnRetry"), ("Resume", "OnSchedule"), ("Accounts", "OnSchedule")]
)
def test_a_machine_may_ask_its_function_and_send_dead_letters(machine: str, function: str) -> None:
    not_logs = [
        (statement["Action"], statement["Resource"])
        for statement in templates.policy_statements(RESOURCES, f"{machine}StateMachineRole")
        if not all(action.startswith("logs:") for action in listed(statement["Action"]))
        if "Children" not in statement["Sid"]
    ]
    assert not_logs == [
        ("lambda:InvokeFunction", {"GetAtt": f"{function}.Arn"}),
        ("sqs:SendMessage", {"GetAtt": "DeadLetterQueue.Arn"}),
    ]


@pytest.mark.parametrize(
    ("resource", "name"),
    [("RolekeeperLayer", "LayerName"), *((f"{each}StateMachine", "Name") for each in ("Retry", "Resume", "Accounts"))],
)
def test_two_stacks_of_an_account_share_no_name(resource: str, name: str) -> None:
    """What CloudFormation itself would name without the stack's name, of which policies and clean-ups know it."""
    assert _properties(resource)[name]["Sub"].startswith("${AWS::StackName}")


@pytest.mark.parametrize("machine", ["Resume", "Accounts"])
def test_a_machine_of_on_schedule_has_the_name_by_which_it_is_started(machine: str) -> None:
    """A reference would be a circle: on_schedule starts the machine, and is its task."""
    arn = f"{STATES}:stateMachine:${{AWS::StackName}}-{machine.lower()}"
    assert _properties(f"{machine}StateMachine")["Name"] == {"Sub": f"${{AWS::StackName}}-{machine.lower()}"}
    variables = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
    assert variables[f"{machine.upper()}_STATE_MACHINE_ARN"] == {"Sub": arn}


def test_the_accounts_machine_may_start_its_own_children_and_nothing_else() -> None:
    """Step Functions developer guide, "IAM policies for using Distributed Map states"."""
    machine = f"{STATES}:stateMachine:${{AWS::StackName}}-accounts"
    executions = {"Sub": f"{STATES}:execution:${{AWS::StackName}}-accounts/Each:*"}
    found = templates.policy_statements(RESOURCES, "AccountsStateMachineRole")
    assert {each["Sid"]: (each["Action"], each["Resource"]) for each in found if "Children" in each["Sid"]} == {
        "StartItsChildren": ("states:StartExecution", {"Sub": machine}),
        "WatchAndStopItsChildren": (["states:DescribeExecution", "states:StopExecution"], executions),
    }


# ---- queues ----


def test_a_message_that_keeps_failing_becomes_a_dead_letter_that_is_kept() -> None:
    redrive = _properties("WorkQueue")["RedrivePolicy"]
    assert redrive["deadLetterTargetArn"] == {"GetAtt": "DeadLetterQueue.Arn"}
    assert redrive["maxReceiveCount"] == 8, "as docs/concepts.md says"
    assert _properties("DeadLetterQueue")["MessageRetentionPeriod"] == 14 * 24 * 3600


@pytest.mark.parametrize("rule", of_type("AWS::Events::Rule"))
def test_what_a_rule_cannot_deliver_becomes_a_dead_letter(rule: str) -> None:
    for target in _properties(rule)["Targets"]:
        assert target["DeadLetterConfig"] == {"Arn": {"GetAtt": "DeadLetterQueue.Arn"}}
        assert target["SqsParameters"] == {"MessageGroupId": "$.account"}, "one account's backlog delays no other's"


@pytest.mark.parametrize("rule", [*OWN_RULES, *SPOKE_RULES])
def test_events_reach_the_work_queue_as_they_are(rule: str) -> None:
    [target] = _properties(rule)["Targets"]
    assert target["Arn"] == {"GetAtt": "WorkQueue.Arn"}
    assert not target.keys() & {"Input", "InputPath", "InputTransformer"}


# ---- a hub ----

ACCOUNTS = {"AccountsStateMachine", "AccountsStateMachineLogs", "AccountsStateMachineRole"}
TO_SPOKES = {"ReadSpokesPolicy", "ChangeSpokesPolicy", "NotifySpokesPolicy", "SweepTargetsPolicy"}
OF_A_HUB = {"SpokeBus", "SpokeBusPolicy", *SPOKE_RULES, *TO_SPOKES, *ACCOUNTS}


def test_a_deployment_is_a_hub_only_with_an_organization() -> None:
    assert PARAMETERS["OrganizationId"]["Default"] == ""
    assert TEMPLATE["Conditions"]["ServesOrganization"] == {"Not": [{"Equals": [{"Ref": "OrganizationId"}, ""]}]}
    made = {name for name, each in RESOURCES.items() if each.get("Condition") == "ServesOrganization"}
    assert made == OF_A_HUB


@pytest.mark.parametrize("rule", SPOKE_RULES)
def test_spokes_send_to_a_bus_of_their_own(rule: str) -> None:
    assert _properties(rule)["EventBusName"] == {"Ref": "SpokeBus"}
    assert _properties("SpokeBus")["Name"] == {"Ref": "Namespace"}, "which spoke.yaml sends to"


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
    assert "SWEEP_FUNCTION" not in json.dumps(_properties("OnSchedule")), "it has its name from Lambda"
    variables = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
    assert {name for name in variables if not name.startswith("POWERTOOLS_")} == required | {
        *("ALARM_TOPIC", *MACHINE_ARNS, "ORGANIZATION_ID", "NAMESPACE"),
    }
    assert _properties("OnInstanceEvent")["Environment"]["Variables"] == {
        "RETRY_STATE_MACHINE_ARN": {"Ref": "RetryStateMachine"}
    }
    assert _properties("OnStateChange")["Environment"]["Variables"] == {"SWEEP_FUNCTION": {"Ref": "OnSchedule"}}
    machines = {*MACHINE_ARNS, "RETRY_STATE_MACHINE_ARN"}
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
    assert variables.keys() == own.keys() | constant.keys() | others.keys() | MACHINE_ARNS


@pytest.mark.parametrize("machine", ["Retry", "Resume", "Accounts"])
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
    assert schedules["Sweep"]["Schedule"] == {"Ref": "SweepSchedule"}
    assert PARAMETERS["SweepSchedule"]["Default"] == "rate(15 minutes)", "as docs/guarantees.md counts on"
    assert PARAMETERS["SweepOverdueHours"]["Default"] == 2
    for schedule in schedules.values():
        assert schedule["DeadLetterConfig"] == {"Arn": {"GetAtt": "DeadLetterQueue.Arn"}}
        assert schedule.keys() & {"State", "Enabled"} == set()
    assert schedules["Sweep"]["RetryPolicy"] == {"MaximumRetryAttempts": 5, "MaximumEventAgeInSeconds": 15 * 60}
    assert schedules["Expiries"]["RetryPolicy"] == {"MaximumRetryAttempts": 1, "MaximumEventAgeInSeconds": 60}


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


def test_only_the_functions_write_the_state_table_but_for_what_people_may() -> None:
    """What people may is in spec/permitted.py, as IAM answers it; here, that it is the fields of a pin."""
    policy = _properties("StateTable")["ResourcePolicy"]["PolicyDocument"]
    [*denying] = [each for each in policy["Statement"] if "ArnNotEquals" in each.get("Condition", {})]
    allowed = set(pin_item(KEY, Pin("web", "arn", datetime(2026, 12, 1, tzinfo=UTC), "at", "by", "why")))
    # And what `release` writes into a record of an instance that is contested.
    allowed |= {"version", layout.WRITES, f"{layout.CHANGE}*"}
    [grants] = [each["Condition"] for each in denying if "ForAnyValue:StringLike" in each["Condition"]]
    assert set(grants["ForAnyValue:StringNotLike"]["dynamodb:Attributes"]) == allowed
    assert len(json.dumps(policy)) < 20_000, "DynamoDB's limit, with ARNs as long as they get"


@pytest.mark.parametrize(("table", "keys"), [("MappingTable", ["tag_key", "tag_value"]), ("StateTable", ["pk", "sk"])])
def test_a_table_has_the_keys_of_the_contract(table: str, keys: list[str]) -> None:
    schema = [(key["AttributeName"], key["KeyType"]) for key in _properties(table)["KeySchema"]]
    assert schema == [(keys[0], "HASH"), (keys[1], "RANGE")]


def test_history_expires_and_the_stream_has_what_a_row_was_and_is() -> None:
    assert _properties("StateTable")["TimeToLiveSpecification"] == {"AttributeName": "expires", "Enabled": True}
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
        ("MODIFY", *layout.target_key(KEY.target)),
    }
    assert {each for each in passing | others if _steers(*each)} == passing


def _steers(event: str, pk: str, sk: str) -> bool:
    criteria = _properties("OnStateChange")["Events"]["StateStream"]["Properties"]["FilterCriteria"]["Filters"]
    record: Any = {"eventName": event, "dynamodb": {"Keys": {"pk": {"S": pk}, "sk": {"S": sk}}}}
    return any(EventPattern.load(each["Pattern"]).matches_event(record) for each in criteria)


# ---- the topic that alarms and messages go to ----


def test_the_topic_has_a_key_where_somebody_wants_keys() -> None:
    """A key costs a dollar a month, so it is made only beside a key of the user's."""
    assert _properties("AlarmTopic")["KmsMasterKeyId"] == _only_if("HasKey", {"Ref": "AlarmKey"})
    assert RESOURCES["AlarmKey"]["Condition"] == "HasKey"


def test_no_event_becomes_a_mail_whoever_sent_it() -> None:
    """Anybody who may `events:PutEvents` can name `rolekeeper` as the source: so no rule reads those, to no target."""
    assert "InputTransformer" not in TEXT, "EventBridge escapes nothing: with a quote in a reason, nothing is delivered"
    rules = of_type("AWS::Events::Rule")
    sources = {source for rule in rules.values() for source in rule["EventPattern"]["source"]}
    assert sources == {"aws.ec2", "aws.tag", "aws.events"}, "nobody but AWS sends in these names"
    assert not [name for name, rule in rules.items() if "AlarmTopic" in json.dumps(rule)]
    assert not [name for name in FUNCTIONS if "EventBridgeRule" in json.dumps(_properties(name).get("Events", {}))]
    protocols = {each["Protocol"] for each in of_type("AWS::SNS::Subscription").values()}
    assert protocols == {"email"}


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
