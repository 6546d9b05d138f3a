"""The stack as it is before it is deployed to or deleted: whether there is one, its version and its parameters."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rolekeeper_cli import installed
from rolekeeper_cli.deploying.change_set import REVIEWED, describe
from rolekeeper_cli.errors import CommandError, ConfigurationError

# A stack whose creation failed is empty, and can only be deleted (CloudFormation user guide, "Stack status codes").
NEVER_WORKED = "ROLLBACK_COMPLETE"
# How the descriptions of the two templates begin: a stack of another description is none of ours.
HUB, SPOKE = "Rolekeeper.", "Rolekeeper, a spoke."
TABLES = frozenset({"MappingTable", "StateTable"})
_WORKS = frozenset(
    {"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE", "IMPORT_ROLLBACK_COMPLETE"}
)


@dataclass(frozen=True, slots=True)
class Present:
    """What is deployed; without a status there is nothing."""

    status: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    version: str | None = None
    id: str = ""

    @classmethod
    def read(cls, client: Any, stack: str, kind: str = HUB) -> "Present":
        """Ask CloudFormation for a stack of a kind, `HUB` or `SPOKE`.

        Raises:
            ConfigurationError: the stack isn't one, or can't be deployed to as it is.
        """
        found = describe(client, stack)
        if found is None:
            return cls()
        status = found["StackStatus"]
        outputs = {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", ())}
        if status != REVIEWED:
            _require_kind(found, stack, kind)
        if status in {NEVER_WORKED, REVIEWED}:
            return cls(status, id=found["StackId"])
        if status not in _WORKS:
            busy = status.endswith("_IN_PROGRESS")
            what = f"stack '{stack}' is {status}" + (": CloudFormation is at work on it" if busy else "")
            raise ConfigurationError(what, "try again when it is done" if busy else "repair it in CloudFormation first")
        parameters = {each["ParameterKey"]: each["ParameterValue"] for each in found.get("Parameters", ())}
        return cls(status, parameters, outputs.get("Version"), found["StackId"])

    @property
    def is_deployed(self) -> bool:
        """Whether there is a deployment that works."""
        return self.status in _WORKS


def existing(client: Any, stack: str, kind: str = HUB) -> Mapping[str, Any]:
    """A stack that is to be deleted, as DescribeStacks answers.

    Raises:
        ConfigurationError: there is none, it isn't of this kind, or CloudFormation is at work on it.
    """
    found = describe(client, stack)
    if found is None:
        raise ConfigurationError(f"there is no stack '{stack}'", "say where it is: --stack, --region, --profile")
    _require_kind(found, stack, kind)
    if found["StackStatus"].endswith("_IN_PROGRESS"):
        raise ConfigurationError(f"stack '{stack}' is {found['StackStatus']}", "try again when it is done")
    return found


def _require_kind(found: Mapping[str, Any], stack: str, kind: str) -> None:
    if not str(found.get("Description", "")).startswith(kind):
        whose = "Rolekeeper's" if kind == HUB else "a spoke of Rolekeeper"
        raise ConfigurationError(f"stack '{stack}' isn't {whose}", "give another name: --stack")


def refuse_downgrade(present: Present, *, allowed: bool) -> None:
    """Refuse to replace a newer version by this one, unless that is allowed.

    Raises:
        CommandError: it would.
    """
    ours = installed.version()
    if present.version and ordered(present.version) > ordered(ours) and not allowed:
        raise CommandError(
            f"version {present.version} is deployed, which is newer than this {ours}",
            "upgrade the command, or go back with --allow-downgrade",
        )


def ordered(version: str) -> tuple[int, ...]:
    """A version's numbers: `1.10.0` is above `1.9.2`."""
    return tuple(int(each) for each in re.findall("[0-9]+", version))


def versions(present: Present) -> str:
    ours = installed.version()
    if not present.is_deployed:
        return f"new, with version {ours}"
    deployed = present.version or "an earlier one, which has no number"
    return f"version {ours} is deployed" if deployed == ours else f"version {deployed} is deployed, and would be {ours}"
