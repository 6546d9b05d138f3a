"""What a role may do as a person reads it: which services it may read, write, or manage the permissions of.

IAM's answer to which access level an action has is in no API, so it is taken from the verb that the action's name
begins with; where that tells nothing, the role "may use" the service.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from rolekeeper.aws.iam import Role
from rolekeeper.permissions.comparison import PolicyReader
from rolekeeper.permissions.policies import Rule, Scope
from rolekeeper_cli.shell.layout import grouped

_READS = ("get", "list", "describe", "head", "batchget", "query", "scan", "search", "lookup", "select", "receive")
_WRITES = (
    *("put", "create", "delete", "update", "modify", "batchwrite", "batchdelete", "upload", "write", "set", "send"),
    *("publish", "start", "stop", "run", "terminate", "reboot", "tag", "untag", "add", "remove", "attach", "detach"),
    *("register", "deregister", "enable", "disable", "associate", "disassociate", "replace", "restore", "import"),
)
# In an action that writes: what it writes says who may do what. Other policies say when to scale, or what to keep.
_OF_PERMISSIONS = re.compile(
    "permission|grant|(bucket|object|version)acl|"
    "(role|user|group|bucket|point|key|resource|repository|registry|vault|create|default)polic"
)
EVERYTHING = "everything"
# As AWS writes them; any other as a policy does, in capitals if it is short.
_NAMES = {each.lower(): each for each in ("CloudFormation", "CloudWatch", "DynamoDB", "Kinesis", "Lambda")} | {
    "events": "EventBridge",
    "logs": "CloudWatch Logs",
    "secretsmanager": "Secrets Manager",
    "ssm": "Systems Manager",
    "states": "Step Functions",
}
_SHORT = 3


class Level(StrEnum):
    """How far an action goes, as it is said of a service; what a person should see first comes first."""

    FULL = "full access to"
    PERMISSIONS = "manages permissions of"
    WRITES = "writes"
    READS = "reads"
    UNSURE = "may use"


_NARROWEST = (Level.READS, Level.PERMISSIONS, Level.WRITES, Level.UNSURE, Level.FULL)


@dataclass(frozen=True, slots=True)
class Access:
    """Actions of one service and level, on which resources, and on which conditions; each as policies write it."""

    service: str
    level: Level
    actions: tuple[str, ...]
    on: tuple[str, ...]
    conditions: tuple[str, ...]


def accesses(rules: Iterable[Rule]) -> list[Access]:
    """What is allowed, by service; what concerns all services comes first, and of each what goes furthest."""
    levels = list(Level)
    found = []
    for rule in rules:
        by_level = grouped(((_service(scope), _level(scope)), scope.shown) for scope in rule.actions)
        on = tuple(each.shown for each in rule.resources)
        found += [
            Access(service, level, actions=tuple(actions), on=on, conditions=tuple(sorted(rule.conditions)))
            for (service, level), actions in by_level.items()
        ]
    return sorted(found, key=lambda each: (each.service != EVERYTHING, each.service, levels.index(each.level)))


def summary(found: Sequence[Access]) -> str:
    """All of it in a line: `writes DynamoDB; reads S3 and SQS`."""
    phrases = []
    for each in found:
        if each.service == EVERYTHING:
            actions = [EVERYTHING if action.strip("*:") == "" else action for action in each.actions]
            phrases.append(f"{', '.join(actions)} on {', '.join(each.on)}")
    for level in Level:
        names = dict.fromkeys(each.service for each in found if each.level == level and each.service != EVERYTHING)
        if names:
            *others, last = names
            phrases.append(f"{level} {' and '.join(filter(None, (', '.join(others), last)))}")
    return "; ".join(dict.fromkeys(phrases))


def _service(scope: Scope) -> str:
    """The service of all that is in a scope, as AWS calls it."""
    for pattern in scope.within:
        prefix = pattern.partition(":")[0]
        if not {*"*?"} & {*prefix}:
            return _NAMES.get(prefix) or (prefix.upper() if len(prefix) <= _SHORT else prefix)
    return EVERYTHING


def _level(scope: Scope) -> Level:
    # Its patterns are narrowed by each other.
    found = {_level_of(pattern.partition(":")[2]) for pattern in scope.within} or {Level.FULL}
    return next(each for each in _NARROWEST if each in found)


def _level_of(action: str) -> Level:
    if action.strip("*") == "":
        return Level.FULL
    if action.startswith(_READS):
        return Level.READS
    if action.startswith(_WRITES):
        return Level.PERMISSIONS if _OF_PERMISSIONS.search(action) else Level.WRITES
    return Level.UNSURE


def with_policies(reader: PolicyReader, role: Role) -> dict[str, Any]:
    """What a role may do, and in JSON the documents that say so, by name, and who may assume it."""
    policies = reader.policies(role.name)
    documents = dict(zip(policies.names, policies.documents, strict=True))
    if policies.boundary is not None:
        documents[f"permissions boundary {role.boundary_arn}"] = policies.boundary
    found = accesses(reader.permissions(role.name).allowed)
    return {
        "access": found,
        "in_short": summary(found) or "nothing",
        "policies": {name: json.dumps(each, indent=2) for name, each in documents.items()},
        "trust": json.dumps(role.trust, indent=2),
    }
