"""The instances and their status."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from rolekeeper_cli.instance.uptake_view import UptakeView
from rolekeeper_cli.instance.view import InstanceNameView
from rolekeeper_cli.row.view import NotInEffectView


class FleetRowView(InstanceNameView):
    """An instance. While its record is damaged, what Rolekeeper would decide is null."""

    name: Annotated[str, "its Name tag"]
    state: Annotated[str, "EC2's state"]
    carries: Annotated[str | None, "the instance profile that it carries"]
    should_carry: Annotated[str | None, "the one that it should carry"]
    mapping: Annotated[str | None, "the mapping that governs it"]
    revision: Annotated[int | None, "that mapping's revision; 0 for none"]
    stands: Annotated[str, "its status: ok, drift, waiting, blocked, foreign or unknown"]
    action: Annotated[str | None, "what is decided: Attach, Replace, Detach, Wait, Hold or Nothing"]
    code: Annotated[str | None, "the decision's code"]
    reason: Annotated[str, "why it has its status"]
    association: Annotated[str | None, "its association"]
    managed: Annotated[bool | None, "whether its role is under the role path"]
    not_in_effect: Annotated[Sequence[NotInEffectView] | None, "what concerns it and isn't in effect"]
    tags: Annotated[Mapping[str, str], "its tags"]
    uptake: Annotated[UptakeView | None, "with --uptake: what software does with its roles"] = None
