"""What to do for one instance, and why: pure, with no I/O and no clock of its own.

The same function serves the reconciler, the sweep and the command line.
"""

from rolekeeper.model import (
    Action,
    Association,
    AssociationState,
    Candidates,
    Decision,
    Grant,
    Instance,
    InstanceState,
    PublishedMapping,
    WhenOccupied,
    WhenStopped,
    WhenUnmatched,
)
from rolekeeper.settings import Ownership

ENDED = {InstanceState.SHUTTING_DOWN, InstanceState.TERMINATED}
_CHANGING = {InstanceState.PENDING, InstanceState.STOPPING}


def decide(  # noqa: PLR0913, PLR0917  # all that one decision depends on
    instance: Instance,
    association: Association | None,
    grant: Grant | None,
    candidates: Candidates,
    owner: PublishedMapping | None,
    ownership: Ownership,
) -> Decision:
    """Decide what one instance needs.

    Args:
        instance: as EC2 describes it now.
        association: the one that EC2 shows now, if any.
        grant: the one that explains what it carries: of the association's profile, or of no role where it has none.
        candidates: the published mappings, ranked by `resolve` for this instance.
        owner: the published mapping of `grant` (or its tombstone) as it reads now; it says what happens when the
            tag goes. None where there is no grant, or where the mapping's record is missing, or where neither the
            instance carries its tag any more nor is it asked for because another mapping governs.
        ownership: which profiles are managed.

    Returns:
        One decision. A `Wait` with `polls` needs the retry loop; one without is ended by an event or at `until`.
    """
    if instance.state in ENDED:
        return Decision(Action.NOTHING, "ended", f"the instance is {instance.state}", overridden=candidates.overridden)
    if instance.managed_by:
        reason = f"{instance.managed_by} manages the instance, and its role with it"
        return Decision(Action.NOTHING, "service-managed", reason, overridden=candidates.overridden)
    if excluded := candidates.exclusion:
        return Decision(
            excluded.action,
            excluded.code,
            excluded.reason,
            overridden=candidates.overridden,
            until=excluded.until,
            arguments=(str(excluded.until), excluded.text),
        )
    if association and association.state is AssociationState.DISASSOCIATING:
        return Decision(
            Action.WAIT,
            "disassociating",
            "EC2 is still detaching the former role",
            association_id=association.id,
            polls=True,
            overridden=candidates.overridden,
        )
    if candidates.in_conflict:
        return _hold_conflict(candidates)
    if candidates.winner:
        return _govern(instance, association, grant, candidates.winner, candidates, owner, ownership)
    return _ungoverned(instance, association, grant, candidates, owner, ownership)


def _hold_conflict(candidates: Candidates) -> Decision:
    named = " and ".join(f"{each.key} (role {each.spec.role})" for each in candidates.in_conflict)
    priority = candidates.in_conflict[0].spec.priority
    return Decision(
        Action.HOLD,
        "tie",
        f"{named} share priority {priority} but want different roles; give one a lower number",
        overridden=candidates.overridden,
        arguments=tuple(f"{each.key} {each.revision}" for each in candidates.in_conflict),
    )


def _govern(  # noqa: C901, PLR0912, PLR0913, PLR0917  # one ladder, one rung per rule of the design
    instance: Instance,
    association: Association | None,
    grant: Grant | None,
    winner: PublishedMapping,
    candidates: Candidates,
    owner: PublishedMapping | None,
    ownership: Ownership,
) -> Decision:
    """The instance has a governing mapping: attach, replace or (for `NONE`) detach."""
    spec = winner.spec
    foreign = association is not None and not ownership.manages(association.profile_arn)

    def decision(
        action: Action, code: str, reason: str, *arguments: str, polls: bool = False, swap: bool = False
    ) -> Decision:
        return Decision(
            action,
            code,
            reason,
            mapping=winner.key,
            revision=winner.revision,
            role=spec.role,
            profile_arn=winner.profile_arn,
            association_id=association.id if association else "",
            polls=polls,
            swap=swap,
            takes_over=action.mutates and foreign,
            overridden=candidates.overridden,
            arguments=arguments,
        )

    if winner.suspended_because:
        reason = f"mapping {winner.key} can't be used: {winner.suspended_because}"
        return decision(Action.HOLD, "suspended", reason, winner.suspended_because)
    missing = _lost(instance, grant, winner, owner)
    if not association:
        if not spec.carries_role:
            return decision(Action.NOTHING, "converged", f"it carries no role, as {winner.key} asks")
        if grant and missing:
            return decision(Action.HOLD, "mapping-missing", missing, str(grant.mapping))
        if instance.state in _CHANGING:
            return decision(
                Action.WAIT, "changing", _until_settled(instance, f"role {spec.role}"), instance.state, polls=True
            )
        return decision(Action.ATTACH, "unoccupied", f"{winner.key} gives it role {spec.role}")
    remade = association.profile_id in winner.former_profile_ids
    same = association.profile_arn == winner.profile_arn and not remade
    if same and association.state is AssociationState.ASSOCIATING:
        return decision(Action.WAIT, "associating", f"EC2 is still attaching role {spec.role}", polls=True)
    if same:
        return decision(Action.NOTHING, "converged", f"it carries role {spec.role}, as {winner.key} asks")
    if foreign and not _may_take_over(winner, ownership):
        return decision(Action.HOLD, "occupied", _occupied(association, winner, ownership), str(ownership.take_over))
    if grant and missing:
        return decision(Action.HOLD, "mapping-missing", missing, str(grant.mapping))
    if instance.state in _CHANGING:
        return decision(
            Action.WAIT, "changing", _until_settled(instance, f"role {spec.role}"), instance.state, polls=True
        )
    former = f", in the place of the foreign {association.profile_arn}" if foreign else ""
    if not spec.carries_role:
        return decision(Action.DETACH, "quarantined", f"{winner.key} says that it carries no role{former}")
    former += f"; its instance profile {spec.profile_name} was deleted and made anew" if remade else ""
    if instance.state is InstanceState.RUNNING:
        return decision(Action.REPLACE, "differs", f"{winner.key} gives it role {spec.role}{former}")
    if spec.when_stopped is WhenStopped.SWAP:
        reason = f"{winner.key} gives it role {spec.role}, swapped while stopped{former}"
        return decision(Action.REPLACE, "differs", reason, swap=True)
    return decision(Action.WAIT, "stopped", f"role {spec.role} replaces the present one when the instance runs again")


def _may_take_over(winner: PublishedMapping, ownership: Ownership) -> bool:
    """Whether the stack and the mapping both let a foreign role be replaced. A pin is a person's own word on it."""
    return ownership.take_over and (winner.key.pins or winner.spec.when_occupied is WhenOccupied.REPLACE)


def _occupied(association: Association, winner: PublishedMapping, ownership: Ownership) -> str:
    detach = f"aws ec2 disassociate-iam-instance-profile --association-id {association.id}"
    wants = [] if ownership.take_over else ["deploy with TakeOver=true"]
    if not winner.key.pins and winner.spec.when_occupied is WhenOccupied.KEEP:
        wants.append("set when_occupied=replace")
    return (
        f"it carries the foreign {association.profile_arn}, which is outside the role path, so {winner.key} leaves it; "
        f"to hand the instance over, detach it ({detach}), or {' and '.join(wants)}"
    )


def _ungoverned(  # noqa: PLR0913, PLR0917  # as `decide`
    instance: Instance,
    association: Association | None,
    grant: Grant | None,
    candidates: Candidates,
    owner: PublishedMapping | None,
    ownership: Ownership,
) -> Decision:
    """No mapping governs the instance: give up what a mapping gave, as that mapping says."""

    def decision(action: Action, code: str, reason: str, *arguments: str, polls: bool = False) -> Decision:
        return Decision(
            action,
            code,
            reason,
            mapping=grant.mapping if grant else None,
            revision=(owner.revision if owner else grant.revision) if grant else 0,
            role=grant.role if grant else "",
            association_id=association.id if association else "",
            polls=polls,
            overridden=candidates.overridden,
            arguments=arguments,
        )

    if not association:
        if grant and owner is None and grant.mapping.matches(instance.tags):
            return decision(Action.HOLD, "mapping-missing", _missing(grant))
        return Decision(Action.NOTHING, "unmatched", "no mapping for its tags", overridden=candidates.overridden)
    if not ownership.manages(association.profile_arn):
        return Decision(
            Action.NOTHING,
            "not-ours",
            f"no mapping for its tags; {association.profile_arn} is foreign",
            association_id=association.id,
            overridden=candidates.overridden,
        )
    if grant is None:
        reason = (
            f"it carries {association.profile_arn}, which is under the role path though no mapping gives it and "
            f"Rolekeeper didn't attach it; map its tags, or detach it: "
            f"aws ec2 disassociate-iam-instance-profile --association-id {association.id}"
        )
        return decision(Action.HOLD, "unexplained", reason)
    if owner is None:
        return decision(Action.HOLD, "mapping-missing", _missing(grant))
    if owner.spec.when_unmatched is WhenUnmatched.KEEP:
        return decision(Action.NOTHING, "kept", f"{owner.key} no longer matches and says keep")
    if instance.state in _CHANGING:
        what = _until_settled(instance, "what follows the removed tag")
        return decision(Action.WAIT, "changing", what, instance.state, polls=True)
    over = "is over" if owner.key.pins else "no longer matches"
    return decision(Action.DETACH, "unmatched", f"{owner.key}, which gave it role {grant.role}, {over}")


def _lost(instance: Instance, grant: Grant | None, winner: PublishedMapping, owner: PublishedMapping | None) -> str:
    """Why another mapping doesn't take over from the one that gave the role, or took it; empty when it may.

    Its tag is still there and no row was deleted, so nobody meant that. A pin is meant.
    """
    if not grant or owner or grant.mapping == winner.key or winner.key.pins:
        return ""
    return _missing(grant) if grant.mapping.matches(instance.tags) else ""


def _missing(grant: Grant) -> str:
    return f"the published record of {grant.mapping} can't be found; a missing record changes nothing"


def _until_settled(instance: Instance, what: str) -> str:
    return f"the instance is {instance.state}; {what} waits until it is running or stopped"
