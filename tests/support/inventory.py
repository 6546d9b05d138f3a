"""What an account has by the services' own lists, for tests that nothing is left, or that something stays as it is."""

from functools import cache
from typing import Any

import boto3
import jmespath

# Service, operation, and what of its answer shows things that are there.
_LISTS = (
    ("ec2", "describe_instances", "Reservations[].Instances[] | [?State.Name != 'terminated']"),
    ("ec2", "describe_iam_instance_profile_associations", "IamInstanceProfileAssociations"),
    ("ec2", "describe_volumes", "Volumes"),
    ("ec2", "describe_security_groups", "SecurityGroups[?GroupName != 'default']"),
    ("iam", "list_roles", "Roles"),
    ("iam", "list_instance_profiles", "InstanceProfiles"),
    ("cloudformation", "list_stacks", "StackSummaries[?StackStatus != 'DELETE_COMPLETE']"),
    ("lambda", "list_functions", "Functions"),
    ("lambda", "list_layers", "Layers"),
    ("lambda", "list_event_source_mappings", "EventSourceMappings"),
    ("dynamodb", "list_tables", "TableNames"),
    ("sqs", "list_queues", "QueueUrls"),
    ("logs", "describe_log_groups", "logGroups[].logGroupName"),
    ("s3", "list_buckets", "Buckets"),
    ("events", "list_rules", "Rules"),
    ("stepfunctions", "list_state_machines", "stateMachines"),
    ("cloudwatch", "describe_alarms", "[MetricAlarms, CompositeAlarms][]"),
    ("cloudwatch", "list_dashboards", "DashboardEntries"),
    ("sns", "list_topics", "Topics"),
)


def inventory(session: boto3.Session) -> dict[str, list[Any]]:
    """What is there, by the operation that lists it; operations that list nothing are left out."""
    client_of = cache(session.client)
    found = {
        f"{service} {operation}": _listed(client_of(service), operation, query) for service, operation, query in _LISTS
    }
    return {operation: things for operation, things in found.items() if things}


def items(session: boto3.Session) -> dict[str, list[Any]]:
    """The items of each table."""
    dynamodb = session.client("dynamodb")
    tables = _listed(dynamodb, "list_tables", "TableNames")
    return {table: _listed(dynamodb, "scan", "Items", TableName=table) for table in tables}


def _listed(client: Any, operation: str, query: str, **asked: Any) -> list[Any]:
    if client.can_paginate(operation):
        pages = client.get_paginator(operation).paginate(**asked)
        return [each for page in pages for each in jmespath.search(query, page) or ()]
    return list(jmespath.search(query, getattr(client, operation)(**asked)) or ())
