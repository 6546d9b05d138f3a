"""The parameters of template.yaml, as the help shows them. Made by `parameter_options.py`."""

from typing import Any

PARAMETERS: dict[str, dict[str, Any]] = {
    "Mode": {
        "Type": "String",
        "Description": "observe - only report what would be done. enforce - do it. Begins as observe, until you say enforce.",
        "Default": "observe",
        "AllowedValues": [
            "observe",
            "enforce"
        ]
    },
    "RolePath": {
        "Type": "String",
        "Description": "Only roles and instance profiles under this IAM path can ever be given to an instance, whatever the mappings say, and only those are taken away again. Who may make roles here decides what tags can grant, so guard the path.",
        "Default": "/rolekeeper/"
    },
    "TakeOver": {
        "Type": "String",
        "Description": "true - a mapping that says when_occupied: replace may take away a role that is outside RolePath, which another actor attached. false - nobody's mapping may, and IAM refuses it.",
        "Default": "false",
        "AllowedValues": [
            "true",
            "false"
        ]
    },
    "CreateMissingProfiles": {
        "Type": "String",
        "Description": "Make a mapped role's instance profile where it has none, as the IAM console does. false - reject the mapping.",
        "Default": "true",
        "AllowedValues": [
            "true",
            "false"
        ]
    },
    "AllowBroadRoles": {
        "Type": "String",
        "Description": "true - a row that says allow_broad: true may give a broad role (docs/mappings.md). false - no row may.",
        "Default": "false",
        "AllowedValues": [
            "true",
            "false"
        ]
    },
    "RequirePermissionsBoundary": {
        "Type": "String",
        "Description": "ARN of the permissions boundary that a role must have to be given, * and ? as wildcards. Empty - none.",
        "Default": ""
    },
    "MaxChangesPerEdit": {
        "Type": "Number",
        "Description": "Instances whose role edits of mappings may change without approval within ChangeWindowMinutes, all together. The larger of this and MaxChangesPercent counts. An edit beyond that is held until a person approves it.",
        "Default": 25
    },
    "MaxChangesPercent": {
        "Type": "Number",
        "Description": "The same as per cent of the fleet, which is every instance of the account and Region that is not terminated. Also bounds the replaces and detaches in a window of ChangeWindowMinutes, whatever causes them.",
        "Default": 20
    },
    "ChangeWindowMinutes": {
        "Type": "Number",
        "Description": "The time in which edits together may change no more instances without approval; nor may more roles be replaced and detached. Further changes wait, and an alarm rings. Attaching to an instance without a role never waits.",
        "Default": 10
    },
    "ChangesPerSecond": {
        "Type": "Number",
        "Description": "How many changes of roles Rolekeeper asks of EC2 in a second. EC2 refills 5 in a second for the whole account and Region, so what is left is for others. Of a burst each change waits for its turn, and nobody is throttled.",
        "Default": 4.8
    },
    "ContestedAfter": {
        "Type": "Number",
        "Description": "How often another actor may revert the same change on an instance, within ContestedWindowMinutes, before Rolekeeper leaves the instance alone as contested and an alarm rings.",
        "Default": 3
    },
    "ContestedWindowMinutes": {
        "Type": "Number",
        "Description": "The minutes in which a reverted change counts towards ContestedAfter.",
        "Default": 30
    },
    "SweepSchedule": {
        "Type": "String",
        "Description": "How often the whole fleet is compared with the mappings, as an EventBridge schedule expression. It bounds how long an event that AWS never delivered can go unnoticed (tag events are best effort).",
        "Default": "rate(15 minutes)"
    },
    "SweepOverdueHours": {
        "Type": "Number",
        "Description": "An alarm rings when no sweep has finished for this many hours. Keep it above SweepSchedule plus the time that a sweep takes (15 minutes or less up to some ten thousands of instances).",
        "Default": 2
    },
    "RetryTimeoutMinutes": {
        "Type": "Number",
        "Description": "How long the retry loop waits for an instance that is not yet running, or for a new profile to be known to EC2, before it parks the instance. A parked instance resumes when it runs, or at a sweep.",
        "Default": 60
    },
    "OrganizationId": {
        "Type": "String",
        "Description": "Id of your organization, o-..., to look from here after all its accounts and Regions that deploy spoke.yaml, too. Empty - this account and Region only.",
        "Default": ""
    },
    "Namespace": {
        "Type": "String",
        "Description": "In the names of the hub's event bus and of its spokes' roles and rules. Another one for a second hub.",
        "Default": "rolekeeper"
    },
    "HistoryDays": {
        "Type": "Number",
        "Description": "Days after which an entry of an instance's history expires from the state table.",
        "Default": 90
    },
    "LogRetentionDays": {
        "Type": "Number",
        "Description": "Days that CloudWatch Logs keeps the functions' and the retry loop's logs.",
        "Default": 30,
        "AllowedValues": [
            1,
            3,
            5,
            7,
            14,
            30,
            60,
            90,
            120,
            150,
            180,
            365,
            400,
            545,
            731,
            1096,
            1827,
            2192,
            2557,
            2922,
            3288,
            3653
        ]
    },
    "LogLevel": {
        "Type": "String",
        "Description": "Least severe level that the functions log. Every decision is logged at INFO.",
        "Default": "INFO",
        "AllowedValues": [
            "DEBUG",
            "INFO",
            "WARNING",
            "ERROR"
        ]
    },
    "AlarmEmail": {
        "Type": "String",
        "Description": "Address that the alarms are mailed to; AWS asks it to confirm. Empty - nobody is mailed, subscribe to the alarm topic yourself.",
        "Default": ""
    },
    "CreateDashboard": {
        "Type": "String",
        "Description": "Make a CloudWatch dashboard, 3 USD a month where it isn't one of the account's first three. false - none.",
        "Default": "false",
        "AllowedValues": [
            "true",
            "false"
        ]
    },
    "Architecture": {
        "Type": "String",
        "Description": "Processor of the functions. arm64 costs a fifth less; x86_64 is there in every Region.",
        "Default": "arm64",
        "AllowedValues": [
            "arm64",
            "x86_64"
        ]
    },
    "Workers": {
        "Type": "Number",
        "Description": "How many runs may change instances at once. Each has its share of ChangesPerSecond, and manages about 2 changes in a second; so 5 are enough unless EC2 gave you a higher limit.",
        "Default": 5
    },
    "RetryConcurrency": {
        "Type": "Number",
        "Description": "How many retry loops may look at their instances at once; this number of the account's concurrent executions is then set aside for them. 0 - no limit. A thirtieth of the instances that wait at the same time is enough.",
        "Default": 0
    },
    "KmsKeyArn": {
        "Type": "String",
        "Description": "ARN of a KMS key of yours for tables, queues and logs; its policy must let them use it (docs/deploy.md). The stack then makes one for the alarm topic. Empty - keys that AWS manages.",
        "Default": ""
    },
    "PermissionsBoundary": {
        "Type": "String",
        "Description": "ARN of a policy that bounds what the stack's own roles may do. Empty - none.",
        "Default": ""
    }
}
