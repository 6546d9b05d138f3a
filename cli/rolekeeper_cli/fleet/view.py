"""The instances, their status, and what `rolekeeper wait` waited for."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated

from rolekeeper_cli.instance.view import CallView, FirstCallView, InstanceNameView, UptakeView
from rolekeeper_cli.row.view import NotInEffectView
from rolekeeper_cli.shell.view import View


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


class CarriedView(InstanceNameView):
    """An instance that carries the role that was waited for."""

    role: Annotated[str | None, "the role that it carries; null for none"]
    instance_profile: Annotated[str | None, "its instance profile"]
    association: Annotated[str | None, "its association"]


class InUseView(CarriedView):
    """The same, with what software does with it."""

    since: Annotated[datetime | None, "when Rolekeeper attached it"]
    delivered_at: Annotated[datetime | None, "when EC2 got its credentials first"]
    first_use: Annotated[FirstCallView | None, "the first call since it was attached"]
    last_use: Annotated[CallView | None, "the last call"]
    last_accepted_use: Annotated[CallView | None, "the last call that AWS didn't refuse"]


class StuckView(View):
    """An instance that a person has to do something about."""

    instance: Annotated[str, "the instance, as a command names it"]
    reason: Annotated[str, "why it doesn't carry what it should"]


class FollowedView(View):
    """The instances of a mapping at the last look."""

    mapping: Annotated[str, "the mapping"]
    instances: Annotated[int, "how many there are"]
    done: Annotated[int, "how many carry what they should"]
    coming: Annotated[int, "how many are still changed"]
    stuck: Annotated[Sequence[StuckView], "those that a person has to do something about"]
    unseen: Annotated[Sequence[str], "the targets that couldn't be read"]
    not_in_effect: Annotated[Sequence[NotInEffectView] | None, "what of the mapping isn't in effect"]
