"""Which role instances will get before they are launched."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated

from rolekeeper_cli.instance.view import StepView
from rolekeeper_cli.row.view import NotInEffectView
from rolekeeper_cli.shell.view import View


class Kind(StrEnum):
    """What launches instances."""

    TEMPLATE = "launch-template"
    GROUP = "auto-scaling-group"
    FLEET = "ec2-fleet"
    SPOT_FLEET = "spot-fleet"
    INSTANCE = "instance"  # only in files, as what follows
    OTHER = "other"

    def __str__(self) -> str:
        short = {"launch-template": "template", "auto-scaling-group": "group", "ec2-fleet": "fleet"}
        return short.get(self.value, self.value.replace("-", " "))


class Verdict(StrEnum):
    """What happens to the role of an instance that is launched, those first that a person should look at."""

    OCCUPIED = "will-stay-occupied"
    BLOCKED = "blocked"
    REPLACED = "replaced"
    LATE = "a-few-seconds-late"
    UNKNOWN = "unknown"
    BORN_RIGHT = "born-right"
    LEFT_ALONE = "left-alone"
    NO_MAPPING = "no-mapping"

    def __str__(self) -> str:
        return self.value.replace("-", " ")


class TemplateVersionView(View):
    id: Annotated[str | None, "the template's id"]
    name: Annotated[str, "its name"]
    version: Annotated[str | None, "how the launcher names the version"]
    number: Annotated[int | None, "the version's number"]


class LaunchView(View):
    """What launches instances, and the role that they will get."""

    kind: Annotated[str, "what it is, as launch template or Auto Scaling group"]
    name: Annotated[str, "its name"]
    id: Annotated[str | None, "its id"]
    account: Annotated[str | None, "its account"]
    region: Annotated[str | None, "its Region"]
    place: Annotated[str | None, "where a file declares it"]
    verdict: Annotated[
        str, "born-right, a-few-seconds-late, replaced, will-stay-occupied, blocked, unknown, no-mapping or left-alone"
    ]
    code: Annotated[str, "the decision's code"]
    reason: Annotated[str, "why"]
    carries: Annotated[str | None, "the instance profile that instances start with"]
    should_carry: Annotated[str | None, "the one that they have in the end"]
    mapping: Annotated[str | None, "the mapping that governs them"]
    template: Annotated[TemplateVersionView | None, "the launch template behind it"]
    used_by: Annotated[Sequence[str], "what launches from this template"]
    tags: Annotated[Mapping[str, str], "the tags that instances have from their launch on"]
    steps: Annotated[Sequence[StepView], "what to change"]
    not_in_effect: Annotated[Sequence[NotInEffectView] | None, "what concerns it and isn't in effect"]
