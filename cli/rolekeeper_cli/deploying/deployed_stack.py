"""The stack as it is before it is deployed to or deleted: whether there is one, its version and its parameters."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rolekeeper_cli import installed
from rolekeeper_cli.deploying.change_set import REVIEWED, describe
from rolekeeper_cli.errors import ConfigurationError

# A stack whose creation failed is empty, and can only be deleted (CloudFormation user guide, "Stack status codes").
NEVER_WORKED = "ROLLBACK_COMPLETE"
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
    def read(cls, client: Any, stack: str) -> "Present":
        """Ask CloudFormation.

        Raises:
            ConfigurationError: the stack isn't Rolekeeper's, or can't be deployed to as it is.
        """
        found = describe(client, stack)
        if found is None:
            return cls()
        status = found["StackStatus"]
        outputs = {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", ())}
        if status != REVIEWED and not is_ours(found):
            raise ConfigurationError(f"stack '{stack}' isn't Rolekeeper's", "give another name: --stack")
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


def is_ours(found: Mapping[str, Any]) -> bool:
    """Whether a stack is Rolekeeper's, as DescribeStacks answers: by the description that the template gives it."""
    return str(found.get("Description", "")).startswith("Rolekeeper.")


def ordered(version: str) -> tuple[int, ...]:
    """A version's numbers: `1.10.0` is above `1.9.2`."""
    return tuple(int(each) for each in re.findall("[0-9]+", version))


def versions(present: Present) -> str:
    ours = installed.version()
    if not present.is_deployed:
        return f"new, with version {ours}"
    deployed = present.version or "an earlier one, which has no number"
    return f"version {ours} is deployed" if deployed == ours else f"version {deployed} is deployed, and would be {ours}"
