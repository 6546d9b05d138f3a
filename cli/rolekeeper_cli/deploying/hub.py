"""What a spoke has to know of its hub: parameters of spoke.yaml, asked of the hub or read from a file."""

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rolekeeper_cli import installed
from rolekeeper_cli.deploying.stack import Parameters, declared, refused
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError, ConfigurationError, UsageError

# What an account allows the hub to do; a new spoke begins with what the hub has.
ALLOWED = ("TakeOver", "CreateMissingProfiles")
# What the hub's own parameters of these names say holds in its spokes too.
_ALIKE = ("OrganizationId", "Namespace", "RolePath", *ALLOWED)
_OUTPUTS = ("HubReaders", "HubChangers")
# What isn't said by the hub, but by those who ask it, if they do.
_ASKED = ("HomeRegion", "OrganizationalUnit", "OtherReaders")
NAMES = frozenset({"HubAccount", "HubRegion", *_ALIKE, *_OUTPUTS, *_ASKED})
# The separator of a list of CloudFormation's, and of one that people read.
_COMMA, _AND = ",", ", "


@dataclass(frozen=True, slots=True)
class Hub:
    """The parameters, and the hub's version where it was asked."""

    parameters: Parameters
    version: str | None = None


def asked(hub: Deployment, readers: tuple[str, ...] = (), home: str | None = None, unit: str | None = None) -> Hub:
    """Ask the hub.

    Args:
        hub: where the hub is.
        readers: other roles of the hub's account that may look at what its functions look at.
        home: the Region in which an account's roles are to be made, if it is the same in all accounts.
        unit: the organizational unit of the accounts, if it is to be said.

    Raises:
        CommandError: there is no such stack, it is the hub of no organization, or what is said can't be.
    """
    said = {name: value for name, value in zip(_ASKED, (home, unit, listed(readers)), strict=True) if value}
    if wrong := refused(declared(installed.file("spoke.yaml")), said):
        raise UsageError("; ".join(wrong), "see: rolekeeper spoke parameters --help")
    stack = hub.stack
    if not stack.parameters.get("OrganizationId"):
        raise ConfigurationError(
            f"stack '{stack.name}' looks after its own account and Region only",
            "deploy it with --organization-id first: rolekeeper deploy --organization-id o-…",
        )
    if missing := [each for each in _OUTPUTS if each not in stack.outputs]:
        raise ConfigurationError(f"stack '{stack.name}' has no output {missing[0]}", "rolekeeper upgrade")
    parameters = {
        "HubAccount": hub.caller.account,
        "HubRegion": str(hub.session.region_name),
        **{name: stack.parameters[name] for name in _ALIKE},
        **{name: stack.outputs[name] for name in _OUTPUTS},
    }
    return Hub(parameters | said, stack.outputs.get("Version"))


def listed(readers: Iterable[str]) -> str:
    """ARNs as OtherReaders takes them; an empty one is none."""
    return _COMMA.join(each for each in readers if each)


def written(parameters: Parameters) -> list[dict[str, str]]:
    """The parameters as CloudFormation's own commands take them from a file."""
    return [{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()]


def read(name: str) -> Hub:
    """Read them from a file of that form; `-` is stdin.

    Raises:
        CommandError: it can't be read, or isn't one.
    """
    remedy = "write it with the hub's credentials: rolekeeper spoke parameters > hub.json"
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{name} can't be read: {error.strerror}", remedy) from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{name} is no text", remedy) from error
    try:
        found = json.loads(text)
        parameters = {each["ParameterKey"]: each["ParameterValue"] for each in found}
    except (ValueError, TypeError, KeyError) as error:
        raise CommandError(f"{name} holds no parameters of a hub", remedy) from error
    return Hub(_checked(name, parameters, remedy))


def _checked(name: str, parameters: Mapping[str, object], remedy: str) -> Parameters:
    texts = {key: value for key, value in parameters.items() if isinstance(value, str)}
    if others := sorted(parameters.keys() - NAMES | (parameters.keys() - texts.keys())):
        raise CommandError(f"{name} says what no hub does: {_AND.join(others)}", remedy)
    if missing := sorted(NAMES - {*_ASKED} - texts.keys()):
        raise CommandError(f"{name} lacks {_AND.join(missing)}", remedy)
    return texts
