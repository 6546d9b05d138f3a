"""Smaller policies for a role: without the services that it never called, where that says the same of all others. Pure.

A service goes only if the policies allow nothing of it afterwards: each Allow that names it does so literally, as
`sns:Publish`, in a policy that can be changed for this role alone, or taken from it whole.
"""

import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rolekeeper.aws.iam import Document, Policies
from rolekeeper.permissions.policies import listed, patterns_meet, statements
from rolekeeper_cli.policies.document import compact

# Checked when another service is called, and no call itself, so no report shows that it is used (docs/AWS_FACTS.md).
_UNTRACKED = "iam:passrole"
# Other services call it in the role's name; whether such a call counts no source says.
_KEPT = frozenset({"kms"})


@dataclass(frozen=True, slots=True)
class Smaller:
    """A policy of a role without some services; None as its document where nothing is left of it."""

    policy: str
    drops: tuple[str, ...]
    document: Document | None

    def command(self, role: str) -> str:
        """The AWS CLI's command that makes the policy smaller, or takes it from the role."""
        managed, gone = ":" in self.policy, self.document is None
        named = f"--policy-arn {self.policy}" if managed else f"--policy-name {shlex.quote(self.policy)}"
        document = "" if gone else f" --policy-document {shlex.quote(compact(self.document or {}))}"
        if managed and not gone:
            return f"aws iam create-policy-version {named} --set-as-default{document}"
        does = ("detach" if managed else "delete") if gone else "put"
        return f"aws iam {does}-role-policy --role-name {role} {named}{document}"

    def as_document(self, role: str) -> dict[str, Any]:
        """For programs."""
        return {
            "policy": self.policy,
            "drops": list(self.drops),
            "document": self.document,
            "command": self.command(role),
        }


def smaller(policies: Policies, never: Collection[str], editable: Collection[str]) -> list[Smaller]:
    """What can be taken from a role's policies.

    Args:
        policies: the role's.
        never: the services that it never called, by namespace.
        editable: the names of the policies that can be changed without changing another role; the others stay, or go.
    """
    drops = {each.lower() for each in never} - _KEPT
    named = list(zip(policies.names, policies.documents, strict=True))
    while True:
        edits = [_edit(name, document, drops, editable=name in editable) for name, document in named]
        left = [pattern for edit in edits for pattern in _allowed(edit.document)]
        still = {each for each in drops if any(patterns_meet(pattern, f"{each}:*") for pattern in left)}
        if not still:
            return [edit for edit in edits if edit.drops]
        drops -= still


def _edit(name: str, document: Document, drops: Collection[str], *, editable: bool) -> Smaller:
    """A policy without some services: as it is where none goes, or it can't be changed and doesn't go whole."""
    kept: list[Any] = []
    dropped: set[str] = set()
    for each in listed(document.get("Statement")):
        gone = [action for action in _actions(each) if _service(action) in drops and not _is_untracked(action)]
        dropped |= {_service(action) for action in gone}
        if rest := [action for action in listed(_get(each, "Action")) if action not in gone]:
            kept.append({**each, "Action": rest} if gone else each)
        elif not gone:
            kept.append(each)
    if not dropped or (kept and not editable):
        return Smaller(name, (), document)
    return Smaller(name, tuple(sorted(dropped)), {**document, "Statement": kept} if kept else None)


def _actions(statement: Any) -> list[str]:
    """The actions by which an Allow can be split. Whoever says NotAction, or Deny, says something of all the others."""
    if _get(statement, "Effect") != "Allow" or {"NotAction", "NotResource"} & {*statement}:
        return []
    return [each for each in listed(statement.get("Action")) if isinstance(each, str)]


def _allowed(document: Document | None) -> Iterable[str]:
    """Patterns of all that a policy allows."""
    for each in statements(document or {}):
        if each.get("Effect") == "Allow":
            yield from ["*"] if "NotAction" in each else [str(one).lower() for one in listed(each.get("Action"))]


def _service(action: str) -> str:
    """The namespace that an action names; one with a wildcard in it is none that could go."""
    return action.lower().partition(":")[0]


def _is_untracked(action: str) -> bool:
    return patterns_meet(action.lower(), _UNTRACKED)


def _get(statement: Any, element: str) -> Any:
    return statement.get(element) if isinstance(statement, Mapping) else None


def dropped(found: Sequence[Smaller]) -> list[str]:
    """The services that go, of all policies."""
    return sorted({service for each in found for service in each.drops})
