"""A step that undoes a change, as the console does it itself: the page or the form that stands for its command."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from rolekeeper.model.mapping import MappingKey
from rolekeeper.model.problem import Kind
from rolekeeper_cli.console.links import mapping_url
from rolekeeper_cli.views.undo import Step


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


def undo_link(instance: str, step: Step) -> UndoLink:
    """The step for an instance; commands of the AWS CLI that attach foreign roles stay commands."""
    command, does, here = str(step.remedy), step.does, f"/instance/{instance}"
    if step.remedy.options:
        # Only the credentials of that other account can do it.
        return UndoLink(command, does)
    match step.remedy.kind, step.remedy.arguments:
        case Kind.RELEASE, _:
            return UndoLink(command, does, f"{here}/release", fields={}, address="", label="Release")
        case Kind.ATTACH | Kind.REPLACE | Kind.DETACH as verb, (_, *wanted):
            role, profile, *_ = [*wanted, "", ""]
            fields = {"verb": verb.value, "role": role, "instance_profile": profile}
            return UndoLink(command, does, f"{here}/pin", fields=fields, address="", label=verb.capitalize())
        case Kind.REMOVE_MAPPING | Kind.ROLL_BACK, (tag_key, tag_value, *_):
            key = MappingKey(tag_key, tag_value)
            return UndoLink(command, does, address=mapping_url(key), label=f"Go to {key}")
        case Kind.UNTAG, (_, tag):
            return UndoLink(
                command, does, f"{here}/tag", fields={"do": "remove", "key": tag}, address="", label="Remove the tag"
            )
        case Kind.TAG, (_, tag, value):
            fields = {"do": "set", "key": tag, "value": value}
            return UndoLink(command, does, f"{here}/tag", fields=fields, address="", label="Set the tag")
    return UndoLink(command, does)
