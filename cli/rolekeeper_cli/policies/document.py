"""Policy documents as IAM and Organizations take them: what may be in them, and how long they may be."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rolekeeper_cli.errors import CommandError

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
