"""A step that undoes a change, as the console does it itself: the page or the form that stands for its command."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from rolekeeper.model.mapping import MappingKey
from rolekeeper_cli.arguments import mapping_key
from rolekeeper_cli.console.links import mapping_url

_PINS = {"attach", "replace", "detach"}


@dataclass(frozen=True, slots=True)
class UndoLink:
    """A step.

    Attributes:
        command: what is typed for it.
        does: what it does.
        action: the address of the form's plan; empty where the console can't do it.
        fields: what the form says.
        address: the page on which it is done, where that is another one.
        label: what the button or the link is called.
    """

    command: str
    does: str
    action: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    address: str = ""
    label: str = ""


def undo_link(instance: str, step: Mapping[str, str]) -> UndoLink:
    """The step for an instance; commands of the AWS CLI that attach foreign roles stay commands."""
    command, does = step["command"], step["does"]
    words, here = shlex.split(command), f"/instance/{instance}"
    match words:
        case ["rolekeeper", "release", *_]:
            return UndoLink(command, does, f"{here}/release", {}, "", "Release")
        case ["rolekeeper", verb, _, *rest] if verb in _PINS:
            role = rest[0] if rest else ""
            profile = rest[2] if rest[1:2] == ["--instance-profile"] else ""
            fields = {"verb": verb, "role": role, "instance_profile": profile}
            return UndoLink(command, does, f"{here}/pin", fields, "", verb.capitalize())
        case ["rolekeeper", "mapping", _, "--tag-key", tag_key, "--tag-value", tag_value, *_]:
            return _at_mapping(command, does, MappingKey(tag_key, tag_value))
        case ["rolekeeper", "mapping", _, key, *_]:
            return _at_mapping(command, does, mapping_key(key))
        case ["aws", "ec2", "delete-tags", "--resources", _, "--tags", tag]:
            return UndoLink(
                command, does, f"{here}/tag", {"do": "remove", "key": tag.removeprefix("Key=")}, "", "Remove the tag"
            )
        case ["aws", "ec2", "create-tags", "--resources", _, "--tags", tag]:
            key, _, value = tag.removeprefix("Key=").partition(",Value=")
            fields = {"do": "set", "key": key, "value": value}
            return UndoLink(command, does, f"{here}/tag", fields, "", "Set the tag")
    return UndoLink(command, does)


def _at_mapping(command: str, does: str, key: MappingKey) -> UndoLink:
    return UndoLink(command, does, address=mapping_url(key), label=f"Go to {key}")
