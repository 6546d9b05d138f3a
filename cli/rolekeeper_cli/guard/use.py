"""The documents of `rolekeeper guard`, what to put around a deployment: Jinja templates, in the folder `policies`.

An SCP never binds a service-linked role, nor the account that manages the organization (Organizations user guide,
"Service control policies").
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from rolekeeper.mappings.rows import COLUMNS, KEYS, PASSING
from rolekeeper.settings import Access
from rolekeeper_cli import installed
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.errors import CommandError, UsageError

type Document = dict[str, Any]

# How names begin that `rolekeeper verify` gives, and the tag of all that it makes and that can be tagged.
VERIFY_PREFIX, VERIFY_TAG = "rolekeeper-verify-", "rolekeeper:verify"

# In characters. Organizations counts blanks too, except of what its console saves (Organizations user guide, "Quotas");
# IAM, for a managed policy, doesn't (IAM user guide, "IAM and AWS STS quotas").
SCP_LIMIT, MANAGED_LIMIT = 5_120, 6_144
# The functions' roles that make profiles, and that change associations, by their names in the template; a test compares
# what they may do.
MAKE_PROFILES = ("OnMappingChangeRole", "OnScheduleRole")
CHANGE_ASSOCIATIONS = ("OnInstanceEventRole",)
EDITORS_COLUMNS = [column.name for column in (*KEYS, *COLUMNS, *PASSING)]


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

    @classmethod
    def of(cls, deployment: Deployment) -> "Arns":
        settings, caller = deployment.settings, deployment.caller
        return cls(
            caller.partition,
            caller.account,
            deployment.region,
            path=settings.role_path,
            stack=deployment.stack.name,
            mapping_table=settings.mapping_table,
            state_table=settings.state_table,
            spokes=settings.namespace if settings.organization else "",
        )

    def here(self, service: str, resource: str) -> str:
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{resource}"

    def table(self, name: str) -> str:
        return self.here("dynamodb", f"table/{name}")

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
        roles = (each.replace(":iam:", ":sts:").replace(":role/", ":assumed-role/") for each in self.acting(functions))
        return [f"{each}/*" for each in roles]


_PRINCIPAL = re.compile(r"arn:[a-z*?-]+:iam::[0-9*?]+:(root|(role|user)/[\x21-\x7e]+)")


def principals(patterns: Sequence[str]) -> list[str]:
    """The principals that an SCP excepts. UsageError if there are none, or IAM compares them otherwise."""
    if not patterns:
        what = "no exceptions given: the policy would apply to everyone, including you"
        raise UsageError(what, "name who may: --except arn:aws:iam::123456789012:role/NAME")
    for each in patterns:
        if ":assumed-role/" in each:
            # aws:PrincipalArn of a session is its role's ARN (IAM user guide, "AWS global condition context keys").
            raise UsageError(f"{each} is a session, which IAM knows by its role", "give the role's ARN, with its path")
        if not _PRINCIPAL.fullmatch(each):
            what = f"{each!r} is not the ARN of a role or a user"
            raise UsageError(what, "write it as arn:aws:iam::123456789012:role/NAME")
    return list(patterns)


def tag_policies(arns: Arns, keys: Sequence[str], excepted: Sequence[str]) -> list[Document]:
    """SCPs that together let only some set, change or remove the tags with these keys: as many as fit all keys.

    CommandError if so many are excepted that there is room for no key.
    """
    chunks: list[list[str]] = [[]]
    for key in keys:
        if len(compact(_tag_policy(arns, [*chunks[-1], key], excepted))) > SCP_LIMIT:
            if not chunks[-1]:
                raise CommandError("there is no room for a tag key beside all who are excepted", "except fewer")
            chunks.append([])
        chunks[-1].append(key)
    return [_tag_policy(arns, chunk, excepted) for chunk in chunks]


def _tag_policy(arns: Arns, keys: Sequence[str], excepted: Sequence[str]) -> Document:
    test = "ForAnyValue:StringEquals"
    if not all(map(_writable, keys)):
        # Rather one key too many than one too few.
        test, keys = "ForAnyValue:StringLike", [_pattern(key) for key in keys]
    return rendered("scp-tags", arns=arns, test=test, keys=list(keys), excepted=list(excepted))


def editors_policy(arns: Arns, tag_keys: Sequence[str] = ()) -> Document:
    """The policy of those who edit rows: all, or those of some tag keys."""
    return rendered("editors", arns=arns, columns=EDITORS_COLUMNS, leading=_leading(tag_keys))


def approvers_policy(arns: Arns, tag_keys: Sequence[str] = ()) -> Document:
    """The policy of those who approve held edits: all, or those of some tag keys."""
    return rendered("approvers", arns=arns, tag_keys=_leading(tag_keys).get("dynamodb:LeadingKeys", []))


def _leading(tag_keys: Sequence[str]) -> dict[str, list[str]]:
    """The partitions that may be written: of the rows of these tag keys, or none to limit."""
    for each in tag_keys:
        if not _writable(each):
            what = f"no policy can hold the tag key {each!r}"
            raise UsageError(what, "it takes the characters of Latin-1, and no ${; leave it out")
    return {"dynamodb:LeadingKeys": list(tag_keys)} if tag_keys else {}


def deploying_policy(arns: Arns, own: str) -> Document:
    """What deploying a stack takes; `own` is how the names of all that is in it begin, with a star."""
    return rendered("verifiers-deploy", arns=arns, own=own, stack=arns.stack)


def verifiers_policies(partition: str, account: str, region: str) -> list[Document]:
    """The policies that those who run `rolekeeper verify` need, both: one alone would be too long."""
    own = f"{VERIFY_PREFIX}*"
    arns = Arns(partition, account, region, path=f"/{own}/", stack=own, mapping_table=own, state_table=own)
    return [deploying_policy(arns, own), rendered("verifiers", arns=arns, own=own, tag=VERIFY_TAG)]


# ---- a document: what may be in it, and how long it may be ----


@cache
def _templates() -> Environment:
    # They are JSON, in which `tojson` escapes; an order is as it is written.
    found = Environment(loader=FileSystemLoader(installed.POLICIES), undefined=StrictUndefined, autoescape=False)  # noqa: S701  # no HTML
    found.policies["json.dumps_kwargs"] = {"sort_keys": False}
    return found


def rendered(name: str, **values: object) -> Document:
    """The document of a template, by its name without the ending."""
    document: Document = json.loads(_templates().get_template(f"{name}.json.j2").render(values))
    return document


def _writable(value: str) -> bool:
    """Whether a policy can hold a text as it is: in its characters, and without what it would take for a variable."""
    return "${" not in value and all(map(_is_plain, value))


def _pattern(value: str) -> str:
    """A pattern that covers a text, with any one character for each that can't be written, or would mean another."""
    return "".join("?" if each in "*?$" or not _is_plain(each) else each for each in value)


def _is_plain(character: str) -> bool:
    # A policy takes these and no others (DynamoDB developer guide, "Using IAM policy conditions").
    return " " <= character <= "\u00ff"


def compact(document: Mapping[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


def readable(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False)


def fitting(document: Mapping[str, Any], limit: int) -> str:
    """A document for people, or without blanks where they make it too long. CommandError if it still is."""
    if len(text := readable(document)) <= limit or len(text := compact(document)) <= limit:
        return text
    what = f"the policy has {len(text):,} characters, and AWS takes {limit:,}"
    raise CommandError(what, "name fewer keys or fewer principals")
