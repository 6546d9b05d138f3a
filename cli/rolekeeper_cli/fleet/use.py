"""An instance of the fleet as it is shown."""

from rolekeeper.instances.decide import InstanceStatus
from rolekeeper.instances.observe import Unreadable
from rolekeeper_cli.fleet.view import FleetRowView
from rolekeeper_cli.instance.seen import Seen, profile_name
from rolekeeper_cli.instance.use import name_of, where


def row_view(seen: Seen | Unreadable) -> FleetRowView:
    """One instance. If its record is damaged, what EC2 shows of it, and why there is no decision."""
    instance = seen.instance
    assert instance is not None  # EC2 listed it
    shown = FleetRowView.of_nothing().but(
        **where(instance.key),
        name=name_of(instance),
        state=instance.state.value,
        tags=dict(instance.tags),
        stands=InstanceStatus.UNKNOWN.value,
        reason=seen.error.message if isinstance(seen, Unreadable) else seen.reason,
    )
    if isinstance(seen, Unreadable):
        return shown
    decision, association = seen.decision, seen.observed.association
    return shown.but(
        carries=profile_name(seen.carries),
        should_carry=profile_name(seen.should_carry),
        mapping=str(decision.mapping) if decision.mapping else None,
        revision=decision.revision,
        stands=seen.standing.value,
        action=decision.action.value,
        code=decision.code,
        association=association.id if association else None,
        managed=seen.managed,
        not_in_effect=seen.effect.views(),
    )
