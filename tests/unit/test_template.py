"""What matters in template.yaml: safe defaults, least privilege, nothing lost; and what spoke.yaml shares with it."""

import json
import re
import tomllib
from datetime import UTC, datetime
from typing import Any

import pytest
from moto.events.models import EventPattern

from rolekeeper.aws.queue import Task
from rolekeeper.model.mapping import MappingKey, Pin
from rolekeeper.settings import Settings
from rolekeeper.storage import layout
from rolekeeper_cli.act.pins import pin_item
from rolekeeper_cli.deploy.stack import is_allowed
from spec.permitted_in_spokes import HUB, OPERATORS, READERS
from strategies.values import KEY
from support import templates
from support.deployment import deployment, translated
from support.policy_simulation import REGION
from support.templates import ROOT, listed, of_type

TEMPLATE = templates.load()
PARAMETERS, RESOURCES = TEMPLATE["Parameters"], TEMPLATE["Resources"]
DECLARED = {"template.yaml": PARAMETERS, "spoke.yaml": templates.load("spoke.yaml")["Parameters"]}
VARIABLES = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
FUNCTIONS = [*of_type("AWS::Serverless::Function")]
MACHINES = ["Retry", "Resume", "Accounts"]
RULES = of_type("AWS::Events::Rule")
SPOKE_RULES = ["SpokeStateRule", "SpokeTagRule", "SpokePresentRule"]
STATES = "arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}"
NO_VALUE, OWN_KEY = {"Ref": "AWS::NoValue"}, {"Ref": "KmsKeyArn"}
DEAD_LETTERS = {"GetAtt": "DeadLetterQueue.Arn"}
ON_FAILURE = {"OnFailure": {"Type": "SQS", "Destination": DEAD_LETTERS}}


def at(path: str) -> Any:
    """What is at a path of the template; a resource's properties are by its own name."""
    name, *keys = path.split(".")
    node = TEMPLATE[name] if name in TEMPLATE else RESOURCES[name]
    for key in keys:
        node = (node | node.get("Properties", {}))[key]
    return node


def properties(name: str) -> Any:
    return RESOURCES[name]["Properties"]


def set_by(parameter: str) -> dict[str, Any]:
    """A condition that holds where a parameter isn't empty."""
    return {"Not": [{"Equals": [{"Ref": parameter}, ""]}]}


def only_if(condition: str, value: Any, otherwise: Any = NO_VALUE) -> Any:
    """A property that a parameter sets, and that is otherwise as AWS has it."""
    return {"If": [condition, value, otherwise]}


# ---- values that promises need ----

VALUES = {
    # A new deployment only observes, and takes no foreign role away.
    "Parameters.Mode.Default": "observe",
    "Parameters.Mode.AllowedValues": ["observe", "enforce"],
    "Parameters.TakeOver.Default": "false",
    # A parameter that is empty sets nothing.
    "Conditions.HasKey": set_by("KmsKeyArn"),
    "Conditions.HasBoundary": set_by("PermissionsBoundary"),
    "Conditions.ServesOrganization": set_by("OrganizationId"),
    "Conditions.LimitsRetries": {"Not": [{"Equals": [{"Ref": "RetryConcurrency"}, "0"]}]},
    "UseKeyPolicy.Condition": "HasKey",
    # A message that keeps failing becomes a dead letter that is kept (docs/concepts.md).
    "WorkQueue.RedrivePolicy": {"deadLetterTargetArn": DEAD_LETTERS, "maxReceiveCount": 8},
    "DeadLetterQueue.MessageRetentionPeriod": 14 * 24 * 3600,
    # Of a batch only the messages that failed come again. A wait would be added to every tag's way to its role.
    "OnInstanceEvent.Events.WorkQueue.FunctionResponseTypes": ["ReportBatchItemFailures"],
    "OnInstanceEvent.Events.WorkQueue.BatchSize": 10,
    "OnInstanceEvent.Events.WorkQueue.MaximumBatchingWindowInSeconds": 0,
    # By which each knows its share.
    "OnInstanceEvent.Events.WorkQueue.ScalingConfig.MaximumConcurrency": {"Ref": "Workers"},
    # A bad stream record is tried some times, then dead-lettered (docs/runbook.md). With a wait an edit, a pause or a
    # pin would take effect later.
    **{
        f"{stream}.{name}": value
        for stream in ("OnMappingChange.Events.MappingStream", "OnStateChange.Events.StateStream")
        for name, value in {
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
            "BisectBatchOnFunctionError": True,
            "MaximumRetryAttempts": 10,
            "MaximumRecordAgeInSeconds": 3600,
            "MaximumBatchingWindowInSeconds": 0,
            "DestinationConfig": ON_FAILURE,
            "StartingPosition": "TRIM_HORIZON",
        }.items()
    },
    "OnStateChange.Events.StateStream.Stream": {"GetAtt": "StateTable.StreamArn"},
    # A sweep is tried again, then becomes a dead letter: what can't be handed to Lambda until the next is due; what
    # failed in it once, within an hour. What expires is looked at each minute; one that is late is overtaken.
    "OnSchedule.EventInvokeConfig.DestinationConfig": ON_FAILURE,
    "OnSchedule.EventInvokeConfig.MaximumRetryAttempts": 1,
    "OnSchedule.EventInvokeConfig.MaximumEventAgeInSeconds": 3600,
    "OnSchedule.Events.Sweep.Schedule": {"Ref": "SweepSchedule"},
    "OnSchedule.Events.Sweep.RetryPolicy": {"MaximumRetryAttempts": 5, "MaximumEventAgeInSeconds": 15 * 60},
    "OnSchedule.Events.Sweep.DeadLetterConfig": {"Arn": DEAD_LETTERS},
    "OnSchedule.Events.Expiries.Schedule": "rate(1 minute)",
    "OnSchedule.Events.Expiries.Input": json.dumps({"task": Task.EXPIRIES.value, "waits": True}),
    "OnSchedule.Events.Expiries.RetryPolicy": {"MaximumRetryAttempts": 1, "MaximumEventAgeInSeconds": 60},
    "OnSchedule.Events.Expiries.DeadLetterConfig": {"Arn": DEAD_LETTERS},
    "Parameters.SweepOverdueHours.Default": 2,
    # A table survives mistakes. The stream of rows has what a row was and is; the other's function reads the item.
    **{
        f"{table}.{name}": value
        for table in ("MappingTable", "StateTable")
        for name, value in {
            "DeletionPolicy": "Retain",
            "UpdateReplacePolicy": "Retain",
            "DeletionProtectionEnabled": True,
            "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
            "BillingMode": "PAY_PER_REQUEST",
        }.items()
    },
    "MappingTable.StreamSpecification": {"StreamViewType": "NEW_AND_OLD_IMAGES"},
    "StateTable.StreamSpecification": {"StreamViewType": "KEYS_ONLY"},
    "StateTable.TimeToLiveSpecification": {"AttributeName": "expires", "Enabled": True},
    # The keys of the contract.
    "MappingTable.KeySchema": [
        {"AttributeName": "tag_key", "KeyType": "HASH"},
        {"AttributeName": "tag_value", "KeyType": "RANGE"},
    ],
    "StateTable.KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    # A machine runs its own definition for as long as it takes, and logs what fails. An Express one ends after five
    # minutes (Step Functions developer guide, "Choosing workflow type"). Two stacks of an account share no name; and
    # on_schedule starts two by their names, because a reference would be a circle.
    **{
        f"{machine}StateMachine.{name}": value
        for machine in MACHINES
        for name, value in {
            "Type": "STANDARD",
            "DefinitionUri": f"statemachines/{machine.lower()}.asl.json",
            "Name": {"Sub": f"${{AWS::StackName}}-{machine.lower()}"},
            "Logging.Level": "ERROR",
        }.items()
    },
    "RolekeeperLayer.LayerName": {"Sub": "${AWS::StackName}-layer"},
    # With less of a processor a cold start takes seconds (docs/performance.md).
    "Globals.Function.MemorySize": 512,
    "Globals.Function.Runtime": "python3.13",
    "Globals.Function.Architectures": [{"Ref": "Architecture"}],
    "Parameters.Architecture.Default": "arm64",
    # A key costs a dollar a month, so the topic's is made only beside a key of the user's.
    "AlarmTopic.KmsMasterKeyId": only_if("HasKey", {"Ref": "AlarmKey"}),
    "AlarmKey.Condition": "HasKey",
    # A dashboard would cost more than everything else together (docs/cost.md).
    "Dashboard.Condition": "DrawsDashboard",
    "Conditions.DrawsDashboard": {"Equals": [{"Ref": "CreateDashboard"}, "true"]},
    "Parameters.CreateDashboard.Default": "false",
    # The bus that spoke.yaml sends to.
    "SpokeBus.Name": {"Ref": "Namespace"},
}


@pytest.mark.parametrize("path", VALUES)
def test_a_value_that_a_promise_needs_is_set(path: str) -> None:
    assert at(path) == VALUES[path]


# ---- parameters, of the spoke too ----


@pytest.mark.parametrize(("file", "name"), [(file, name) for file, names in DECLARED.items() for name in names])
def test_a_parameter_is_described_bounded_and_in_one_group(file: str, name: str) -> None:
    parameter = DECLARED[file][name]
    assert parameter["Description"]
    assert parameter["ConstraintDescription"]
    assert parameter.keys() & {"AllowedValues", "AllowedPattern", "MinValue"}
    interface = templates.load(file)["Metadata"]["AWS::CloudFormation::Interface"]
    assert [name in group["Parameters"] for group in interface["ParameterGroups"]].count(True) == 1
    assert file == "spoke.yaml" or interface["ParameterLabels"][name]


def test_only_what_says_which_hub_it_is_has_no_default() -> None:
    required = {*HUB, "HomeRegion"} - {"HubNotifiers", "Regions"}
    assert {name for file in DECLARED for name, each in DECLARED[file].items() if "Default" not in each} == required


@pytest.mark.parametrize("name", ["Namespace", "RolePath", "PermissionsBoundary", "TakeOver", "CreateMissingProfiles"])
def test_what_hub_and_spoke_both_have_takes_the_same_values_and_has_the_same_default(name: str) -> None:
    told = ("Type", "Default", "AllowedPattern", "AllowedValues", "MaxLength", "ConstraintDescription")
    hubs, spokes = ({key: each[name].get(key) for key in told} for each in DECLARED.values())
    assert spokes == hubs


KMS_KEY = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
BOUNDARY = "arn:aws:iam::123456789012:policy/org/bounds-all"
ROLE_ARNS = [*READERS, "arn:aws-cn:iam::999999999999:role/some/path/role"]
NO_ROLE_ARNS = [
    # ArnEquals takes wildcards, and would then trust others too.
    *("arn:aws:iam::999999999999:role/*", "arn:aws:iam::999999999999:role/rolekeeper-OnEvent?"),
    *("arn:aws:iam::*:role/rolekeeper-OnEvent", "*"),
    *("arn:aws:iam::999999999999:root", "arn:aws:iam::999999999999:user/admin"),
]
REGIONS, NO_REGIONS = ["eu-west-1", "us-gov-east-1"], ["*", "", "eu-west"]
# What a parameter takes, its default first if it has one; and what it refuses.
TAKEN_AND_REFUSED = {
    # IAM compares paths with their case; AWS's own are in lower case and first (IAM user guide, "IAM identifiers").
    # Services make their roles there, with trust and permissions that nobody here chose.
    "RolePath": (
        [*("/rolekeeper/", "/org/rolekeeper/", "/org/service-role/", "/service-roles/", "/aws/", "/my-aws-reserved/")],
        [
            *("/", "//", "", "rolekeeper", "/rolekeeper", "rolekeeper/", "/a*/", "/a b/", "/a?/"),
            *(
                f"/{folder}/{below}"
                for folder in ("aws-service-role", "service-role", "aws-reserved")
                for below in ("", "ec2.amazonaws.com/", "rolekeeper/", "a/b/")
            ),
        ],
    ),
    "SweepSchedule": (
        [
            *("rate(15 minutes)", "rate(2 minutes)", "rate(10 hours)", "rate(1 hour)", "rate(1 day)"),
            "cron(0/30 * * * ? *)",
        ],
        [
            *("", "15 minutes", "rate(0 minutes)", "rate(5 seconds)", "cron()"),
            *(
                "rate(1 minutes)",
                "rate(5 minute)",
                "rate(1 hours)",
                "rate(10 hour)",
                "rate(1 days)",
                "rate(01 minutes)",
            ),
            *("cron(0/30 * * * ?)", "cron(0/30 * * * ? * *)"),
        ],
    ),
    "KmsKeyArn": (
        ["", KMS_KEY, KMS_KEY.replace("aws", "aws-cn")],
        ["alias/mine", KMS_KEY.replace("key/", "alias/"), "1234abcd"],
    ),
    "PermissionsBoundary": (
        ["", BOUNDARY, "arn:aws:iam::aws:policy/PowerUserAccess"],
        ["bounds-all", "arn:aws:iam::123456789012:role/bounds-all", f"{BOUNDARY}*"],
    ),
    # Its value is compared with wildcards nowhere, and would admit everybody if it were.
    "OrganizationId": (
        ["", "o-a1b2c3d4e5", "o-embeddedaws"],
        ["*", "o-*", "a1b2c3d4e5", "o-short", "r-a1b2", "o-A1B2C3D4E5"],
    ),
    # Those of the spoke.
    "HubReaders": (ROLE_ARNS, [*NO_ROLE_ARNS, ""]),
    "HubChangers": (ROLE_ARNS, [*NO_ROLE_ARNS, ""]),
    "HubNotifiers": (["", *ROLE_ARNS], NO_ROLE_ARNS),
    "OtherReaders": (["", *ROLE_ARNS], NO_ROLE_ARNS),
    "Regions": (["", "us-east-1", "us-gov-west-1"], ["us-east", "*", "eu west-1"]),
    "HubAccount": (["999999999999"], ["99999999999"]),
    "HubRegion": (REGIONS, NO_REGIONS),
    "HomeRegion": (REGIONS, NO_REGIONS),
    "OrganizationalUnit": (
        ["", "ou-a1b2-c3d4e5f6", "r-a1b2", "r-a1b2/ou-a1b2-c3d4e5f6", f"r-a1b2{'/ou-a1b2-c3d4e5f6' * 5}"],
        ["Workloads", "ou-a1b2", "ou-a1b2-c3d4e5f6/*", "ou-a1b2-c3d4e5f6/ou-a1b2-d4e5f6a7", "r-a1b2/", "x" * 257],
    ),
}


@pytest.mark.parametrize("name", TAKEN_AND_REFUSED)
def test_a_parameter_takes_what_aws_takes_and_refuses_what_would_reach_further(name: str) -> None:
    taken, refused = TAKEN_AND_REFUSED[name]
    for parameter in (each[name] for each in DECLARED.values() if name in each):
        # A spoke is always of an organization.
        fits = [each for each in taken if each or parameter.get("Default") == ""]
        assert [each for each in fits if not is_allowed(each, parameter)] == []
        assert [each for each in refused if is_allowed(each, parameter)] == []
        assert parameter.get("Default", fits[0]) == fits[0]


# ---- linters ----


def test_a_check_that_is_left_out_says_why() -> None:
    skipped = [
        (name, each)
        for name, resource in RESOURCES.items()
        for each in resource.get("Metadata", {}).get("checkov", {}).get("skip", [])
    ]
    assert ("WorkQueue", "CKV_AWS_27") in [(name, each["id"]) for name, each in skipped], "the scan finds less"
    assert [(name, each["id"]) for name, each in skipped if len(each.get("comment", "").split()) < 4] == []


# ---- what a parameter adds everywhere ----


@pytest.mark.parametrize(
    ("file", "given"),
    [
        ("template.yaml", {"OrganizationId": "o-a1b2c3d4e5"}),
        ("spoke.yaml", {**HUB, "HomeRegion": REGION, "EventsToAccount": "true", "OtherReaders": OPERATORS}),
    ],
)
def test_a_permissions_boundary_bounds_every_role(file: str, given: dict[str, str]) -> None:
    """Without one there is none."""
    made = [deployment(translated(file), **given, **more) for more in ({}, {"PermissionsBoundary": BOUNDARY})]
    unbound, bound = (
        {name: each.get("PermissionsBoundary") for name, each in every.of_type("AWS::IAM::Role").items()}
        for every in made
    )
    assert unbound == dict.fromkeys(of_type("AWS::IAM::Role", file))
    assert bound == dict.fromkeys(of_type("AWS::IAM::Role", file), BOUNDARY)


def test_only_the_retry_function_can_be_limited_and_is_not_by_default() -> None:
    """Its callers are as many as instances wait; the others are bounded by what calls them."""
    limits = {each: limit for each in FUNCTIONS if (limit := properties(each).get("ReservedConcurrentExecutions"))}
    assert limits == {"OnRetry": only_if("LimitsRetries", {"Ref": "RetryConcurrency"})}
    assert PARAMETERS["RetryConcurrency"]["Default"] == 0


def test_tables_queues_and_logs_take_a_key_of_the_users() -> None:
    for table in of_type("AWS::DynamoDB::Table").values():
        encrypted = {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": OWN_KEY}
        assert table["SSESpecification"] == only_if("HasKey", encrypted, {"SSEEnabled": True})
    for queue in of_type("AWS::SQS::Queue").values():
        assert queue["KmsMasterKeyId"] == only_if("HasKey", OWN_KEY)
        assert queue["SqsManagedSseEnabled"] == only_if("HasKey", NO_VALUE, otherwise=True)
    groups = of_type("AWS::Logs::LogGroup")
    assert groups.keys() == {*(f"{each}Logs" for each in FUNCTIONS), *(f"{each}StateMachineLogs" for each in MACHINES)}
    for group in groups.values():
        assert group["KmsKeyId"] == only_if("HasKey", OWN_KEY)
        assert group["RetentionInDays"] == {"Ref": "LogRetentionDays"}


def test_a_deployment_is_a_hub_only_with_an_organization() -> None:
    made = {name for name, each in RESOURCES.items() if each.get("Condition") == "ServesOrganization"}
    assert made == OF_A_HUB


OF_A_HUB = {
    *("SpokeBus", "SpokeBusPolicy", *SPOKE_RULES),
    *("ReadSpokesPolicy", "ChangeSpokesPolicy", "NotifySpokesPolicy", "SweepTargetsPolicy"),
    *("AccountsStateMachine", "AccountsStateMachineLogs", "AccountsStateMachineRole"),
}


def test_the_sam_cli_asks_before_it_deploys_and_is_given_no_parameters() -> None:
    """A parameter in this file would undo, at the next deployment, what was deployed since."""
    config = tomllib.loads((ROOT / "samconfig.toml").read_text())["default"]
    deploys = {"capabilities": "CAPABILITY_IAM", "resolve_s3": True, "confirm_changeset": True}
    assert config["deploy"] == {"parameters": {**deploys, "fail_on_empty_changeset": False}}
    assert "parameter_overrides" not in json.dumps(config)


# ---- every partition, and every Region ----


@pytest.mark.parametrize(
    "path",
    [
        *("template.yaml", "spoke.yaml", "examples/roles.yaml"),
        *(f"statemachines/{each.lower()}.asl.json" for each in MACHINES),
    ],
)
def test_no_partition_is_written_out(path: str) -> None:
    text = re.sub(r"AllowedPattern: .*", "", (ROOT / path).read_text())
    assert re.findall(r"arn:aws[a-z-]*:", text) == []


# What is global in an account, by the property that names it.
GLOBAL_NAMES = {
    "AWS::CloudWatch::Dashboard": "DashboardName",
    "AWS::IAM::ManagedPolicy": "ManagedPolicyName",
    "AWS::IAM::Role": "RoleName",
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


# ---- permissions: which there are; spec/permitted.py has what they allow ----


def test_every_function_has_a_role_of_its_own() -> None:
    assert [properties(each)["Role"] for each in FUNCTIONS] == [{"GetAtt": f"{each}Role.Arn"} for each in FUNCTIONS]


@pytest.mark.parametrize("policy", of_type("AWS::IAM::ManagedPolicy"))
def test_a_shared_policy_is_attached_by_the_roles_that_share_it_and_iam_takes_its_size(policy: str) -> None:
    """With a name of its own, a second stack of the account would be refused."""
    declared = properties(policy)
    assert set(declared) - {"Roles"} == {"Description", "PolicyDocument"}
    roles = declared.get("Roles") or [
        name
        for name, role in of_type("AWS::IAM::Role").items()
        if json.dumps({"Ref": policy}) in json.dumps(role.get("ManagedPolicyArns", []))
    ]
    assert len(roles) > 1, "what only one function does is in its own role"
    # 6,144 characters without spaces (IAM quotas), with a path as long as it may be, and ARNs with the names that
    # CloudFormation makes of the longest of a stack (128). What is filled in for ${AWS::...} is no longer than that.
    text = json.dumps(declared["PolicyDocument"], separators=(",", ":"))
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
        for statement in templates.policy_statements(RESOURCES, f"{function}Role", met=["MakesProfiles"])
        for action in listed(statement["Action"])
        if "*" in listed(statement["Resource"])
    }
    at_sweeps = (
        {"iam:GetAccountAuthorizationDetails", "cloudwatch:DescribeAlarms"} if function == "OnSchedule" else set()
    )
    assert everywhere <= {"ec2:DescribeInstances", "ec2:DescribeIamInstanceProfileAssociations", *at_sweeps}


def test_only_the_functions_write_the_state_table_but_for_what_people_may() -> None:
    """What people may is in spec/permitted.py, as IAM answers it; here, that it is the fields of a pin."""
    policy = properties("StateTable")["ResourcePolicy"]["PolicyDocument"]
    denying = [each["Condition"] for each in policy["Statement"] if "ArnNotEquals" in each.get("Condition", {})]
    allowed = set(pin_item(KEY, Pin("web", "arn", datetime(2026, 12, 1, tzinfo=UTC), "at", "by", "why")))
    # And what `release` writes into a record of an instance that is contested.
    allowed |= {"version", layout.WRITES, f"{layout.CHANGE}*"}
    [grants] = [each for each in denying if "ForAnyValue:StringLike" in each]
    assert set(grants["ForAnyValue:StringNotLike"]["dynamodb:Attributes"]) == allowed
    assert len(json.dumps(policy)) < 20_000, "DynamoDB's limit, with ARNs as long as they get"


# ---- events ----


@pytest.mark.parametrize("rule", RULES)
def test_an_event_reaches_the_work_queue_as_it_is_or_becomes_a_dead_letter(rule: str) -> None:
    """One account's backlog delays no other's. Spokes send to a bus of their own."""
    assert RULES[rule]["Targets"] == [
        {
            "Id": "WorkQueue",
            "Arn": {"GetAtt": "WorkQueue.Arn"},
            "SqsParameters": {"MessageGroupId": "$.account"},
            "DeadLetterConfig": {"Arn": DEAD_LETTERS},
        }
    ]
    assert RULES[rule].get("EventBusName") == ({"Ref": "SpokeBus"} if rule in SPOKE_RULES else None)


def test_no_event_becomes_a_mail_whoever_sent_it() -> None:
    """Anybody who may `events:PutEvents` can name `rolekeeper` as the source: so no rule reads those, to no target."""
    sources = {source for rule in RULES.values() for source in rule["EventPattern"]["source"]}
    assert sources == {"aws.ec2", "aws.tag", "aws.events"}, "nobody but AWS sends in these names"
    assert not [name for name in FUNCTIONS if "EventBridgeRule" in json.dumps(properties(name).get("Events", {}))]
    protocols = {each["Protocol"] for each in of_type("AWS::SNS::Subscription").values()}
    assert protocols == {"email"}


def test_of_the_state_table_only_what_steers_reaches_its_function() -> None:
    """What a reconcile writes there must not wake anybody, or each would cost an invocation more."""
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
    filters = at("OnStateChange.Events.StateStream.FilterCriteria")["Filters"]

    def steers(event: str, pk: str, sk: str) -> bool:
        record: Any = {"eventName": event, "dynamodb": {"Keys": {"pk": {"S": pk}, "sk": {"S": sk}}}}
        return any(EventPattern.load(each["Pattern"]).matches_event(record) for each in filters)

    assert {each for each in passing | others if steers(*each)} == passing


def test_no_schedule_is_switched_off() -> None:
    assert [
        name for name, each in at("OnSchedule.Events").items() if each["Properties"].keys() & {"State", "Enabled"}
    ] == []


# ---- what the code reads ----


def test_functions_get_the_environment_that_the_code_reads() -> None:
    """Each setting is that of its own parameter or resource, by its name: MAX_CHANGES_PERCENT is MaxChangesPercent."""
    code = (ROOT / "layers/rolekeeper/rolekeeper/settings.py").read_text()
    by_field = {*Settings.__dataclass_fields__} - {*re.findall(r'^ +"(\w+)": ', code, re.MULTILINE)}
    read = {*re.findall(r'environ(?:\["|\.get\(")(\w+)"', code), *map(str.upper, by_field)}
    named = {name: {"Ref": name.title().replace("_", "")} for name in VARIABLES}
    others = {
        "WORK_QUEUE_URL": {"Ref": "WorkQueue"},
        "RESUME_STATE_MACHINE_ARN": {"Sub": f"{STATES}:stateMachine:${{AWS::StackName}}-resume"},
        "ACCOUNTS_STATE_MACHINE_ARN": {"Sub": f"{STATES}:stateMachine:${{AWS::StackName}}-accounts"},
        "POWERTOOLS_LOG_LEVEL": {"Ref": "LogLevel"},
        "POWERTOOLS_SERVICE_NAME": "rolekeeper",
        "POWERTOOLS_METRICS_NAMESPACE": "Rolekeeper",
    }
    assert named | others == VARIABLES
    own = {name: properties(name).get("Environment", {}).get("Variables", {}) for name in FUNCTIONS}
    assert {name: each for name, each in own.items() if each} == {
        "OnInstanceEvent": {"RETRY_STATE_MACHINE_ARN": {"Ref": "RetryStateMachine"}},
        "OnSchedule": {"SPOKE_SESSION": "rolekeeper-sweep"},
        # on_schedule has its own name from Lambda.
        "OnStateChange": {"SWEEP_FUNCTION": {"Ref": "OnSchedule"}},
    }
    given = {*VARIABLES, "RETRY_STATE_MACHINE_ARN", "SWEEP_FUNCTION", "AWS_LAMBDA_FUNCTION_NAME"}
    assert {name for name in given if not name.startswith("POWERTOOLS_")} == read


def test_a_function_runs_its_own_module_and_logs_to_its_own_group() -> None:
    for name in FUNCTIONS:
        module = re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()
        assert properties(name)["Handler"] == f"{module}.handler"
        assert properties(name)["LoggingConfig"] == {"LogGroup": {"Ref": f"{name}Logs"}}


# ---- outputs ----


def test_the_contracts_outputs_are_there_and_described() -> None:
    outputs = TEMPLATE["Outputs"]
    contract = {"MappingTable", "StateTable", "WorkQueue", "DeadLetterQueue", "RetryStateMachine"}
    assert {name: outputs[name]["Value"] for name in contract} == {name: {"Ref": name} for name in contract}
    assert all(output["Description"] for output in outputs.values())


@pytest.mark.parametrize("file", DECLARED)
def test_the_output_version_is_the_projects(file: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert templates.load(file)["Outputs"]["Version"]["Value"] == project["version"]
