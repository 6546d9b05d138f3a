"""What `rolekeeper wait` waited for."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from rolekeeper_cli.instance.uptake_view import CallView, FirstCallView
from rolekeeper_cli.instance.view import InstanceNameView
from rolekeeper_cli.row.view import NotInEffectView
from rolekeeper_cli.shell.view import View


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
