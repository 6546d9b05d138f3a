"""Policy documents as IAM and Organizations take them: what may be in them, and how long they may be."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rolekeeper.mappings.rows.reader import read_row
from rolekeeper.model.mapping import IGNORE_TAG, MappingSpec
from rolekeeper.settings import Access
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.uses.rows import Rows

type Statement = Mapping[str, Any]

# In characters. Organizations counts blanks too, except of what its console saves (Organizations user guide, "Quotas");
# IAM, for a managed policy, doesn't (IAM user guide, "IAM and AWS STS quotas").
SCP_LIMIT, MANAGED_LIMIT = 5_120, 6_144
# A policy takes these and no others (DynamoDB developer guide, "Using IAM policy conditions").
_FIRST, _LAST = " ", "\u00ff"


def statement(sid: str, effect: str, actions: Sequence[str], resources: Sequence[str], **conditions: Any) -> Statement:
    """One statement. Conditions are given by operator; an empty one is left out."""
    held = {operator: keys for operator, keys in conditions.items() if keys}
    said = {"Sid": sid, "Effect": effect, "Action": list(actions), "Resource": list(resources)}
    return {**said, "Condition": held} if held else said


def policy(statements: Iterable[Statement]) -> dict[str, Any]:
    """A whole document."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def writable(value: str) -> bool:
    """Whether a policy can hold a text as it is: in these characters, and without what it would take for a variable."""
    return "${" not in value and all(map(_is_plain, value))


def pattern(value: str) -> str:
    """A pattern that covers a text, with any one character for each that can't be written, or would mean another."""
    return "".join("?" if each in "*?$" or not _is_plain(each) else each for each in value)


def _is_plain(character: str) -> bool:
    return _FIRST <= character <= _LAST


def compact(document: Mapping[str, Any]) -> str:
    """A document without blanks."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


def readable(document: Mapping[str, Any]) -> str:
    """A document for people."""
    return json.dumps(document, indent=2, ensure_ascii=False)


def fitting(document: Mapping[str, Any], limit: int) -> str:
    """A document for people, or without blanks where they would make it too long.

    Raises:
        CommandError: it is too long without them, too.
    """
    if len(text := readable(document)) <= limit or len(text := compact(document)) <= limit:
        return text
    raise CommandError(
        f"the policy has {len(text):,} characters, and AWS takes {limit:,}", "name fewer keys or fewer principals"
    )


# ---- what the documents name of a deployment ----


# By their names in the template; a test compares what they may do.
_MAKE_PROFILES = ("OnMappingChangeRole", "OnScheduleRole")
_CHANGE_ASSOCIATIONS = ("OnInstanceEventRole",)


@dataclass(frozen=True, slots=True)
class Arns:
    """The ARNs of one deployment, in its account and Region. `path` is the role path.

    A hub has the namespace of its `spokes`: what it serves is in any account and Region.
    """

    partition: str
    account: str
    region: str
    path: str
    stack: str
    mapping_table: str
    state_table: str
    spokes: str = ""

    def here(self, service: str, resource: str) -> str:
        """Something of the Region."""
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{resource}"

    def served(self, service: str, resource: str) -> str:
        """Something of the Region, or of each that a hub serves."""
        region, account = ("*", "*") if self.spokes else (self.region, self.account)
        return f"arn:{self.partition}:{service}:{region}:{account}:{resource}"

    def served_iam(self, kind: str, name: str) -> str:
        """Something of IAM's, in each account that is served; `name` with its path, as `/rolekeeper/*`."""
        return f"arn:{self.partition}:iam::{'*' if self.spokes else self.account}:{kind}{name}"

    def acting(self, functions: Iterable[str]) -> list[str]:
        """The roles that change what is served: the functions', by name, and each spoke's changer."""
        own = [f"arn:{self.partition}:iam::{self.account}:role/{name}" for name in functions]
        return [*own, self.served_iam("role", f"/{self.spokes}-{Access.CHANGER}")] if self.spokes else own

    def sessions(self, functions: Iterable[str]) -> list[str]:
        """The sessions of the same."""
        roles = (each.replace(":iam:", ":sts:").replace(":role/", ":assumed-role/") for each in self.acting(functions))
        return [f"{each}/*" for each in roles]


def arns(deployment: Deployment) -> Arns:
    """The deployment's ARNs."""
    settings, caller = deployment.settings, deployment.caller
    return Arns(
        caller.partition,
        caller.account,
        str(deployment.session.region_name),
        path=settings.role_path,
        stack=deployment.stack.name,
        mapping_table=settings.mapping_table,
        state_table=settings.state_table,
        spokes=settings.namespace if settings.organization else "",
    )


def roles_that_make_profiles(deployment: Deployment) -> list[str]:
    """The roles of the functions that make instance profiles, by name."""
    return [deployment.resource(each) for each in _MAKE_PROFILES]


def roles_that_change_associations(deployment: Deployment) -> list[str]:
    """The roles of the functions that attach, replace and detach, by name."""
    return [deployment.resource(each) for each in _CHANGE_ASSOCIATIONS]


def specs(deployment: Deployment, rows: Rows) -> list[MappingSpec]:
    """Every mapping: as its row says, where that can be read, and as it is published."""
    published = deployment.app.state.read([], rows).published.values()
    written = [spec for row in rows.values() if (spec := read_row(row, deployment.app.home).spec)]
    return [*written, *(each.spec for each in published if not each.deleted)]


def mapped_keys(rows: Rows, mappings: Iterable[MappingSpec]) -> Sequence[str]:
    """The tag keys by which a person who tags chooses a role, or keeps Rolekeeper away."""
    required = {key for each in mappings for key in each.require_tags}
    return sorted({each.tag_key for each in rows} | required | {IGNORE_TAG})
