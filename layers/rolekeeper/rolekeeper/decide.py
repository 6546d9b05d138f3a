"""What to do for one instance, and why: pure, with no I/O and no clock of its own.

The same function serves the reconciler, the sweep and the command line.
"""

from rolekeeper.model import (
    Action,
    Assignment,
    Association,
    AssociationState,
    Candidates,
    Decision,
    Instance,
    InstanceState,
    PublishedMapping,
    WhenOccupied,
    WhenStopped,
    WhenUnmatched,
)

ENDED = {InstanceState.SHUTTING_DOWN, InstanceState.TERMINATED}
_CHANGING = {InstanceState.PENDING, InstanceState.STOPPING}


def decide(
    instance: Instance,
    association: Association | None,
    assignment: Assignment | None,
    candidates: Candidates,
    owner: PublishedMapping | None = None,
) -> Decision:
    """Decide what one instance needs.

    Args:
        instance: as EC2 describes it now.
        association: the one that EC2 shows now, if any.
        assignment: our record of having made that very association; None when somebody else did.
        candidates: the published mappings, ranked by `resolve` for this instance.
        owner: the published mapping of `assignment` (or its tombstone) as it reads now; it says what happens when the
            tag goes. None where there is no assignment, or where the mapping's record is missing, or where neither the
            instance carries its tag any more nor is it asked for because another mapping governs.

    Returns:
        One decision. A `Wait` with `polls` needs the retry loop; one without is ended by an event.
    """
    if instance.state in ENDED:
        return Decision(Action.NOTHING, "ended", f"the instance is {instance.state}", losers=candidates.losers)
    if excluded := candidates.exclusion:
        return Decision(excluded.action, excluded.code, excluded.reason, losers=candidates.losers, until=excluded.until)
    if association and association.state is AssociationState.DISASSOCIATING:
        return Decision(
            Action.WAIT,
            "disassociating",
            "EC2 is still detaching the former role",
            association_id=association.id,
            polls=True,
            losers=candidates.losers,
        )
    if candidates.tied:
        return _hold_tie(candidates)
    if candidates.winner:
        return _serve(instance, association, assignment, candidates.winner, candidates, owner)
    return _unmatched(instance, association, assignment, candidates, owner)


def _hold_tie(candidates: Candidates) -> Decision:
    rivals = " and ".join(f"{each.key} (role {each.spec.role})" for each in candidates.tied)
    return Decision(
        Action.HOLD,
        "tie",
        f"{rivals} share priority {candidates.tied[0].spec.priority} but want different roles; give one a lower number",
        losers=candidates.losers,
    )


def _serve(  # noqa: C901, PLR0912, PLR0913, PLR0917  # one ladder, one rung per rule of the design
    instance: Instance,
    association: Association | None,
    assignment: Assignment | None,
    winner: PublishedMapping,
    candidates: Candidates,
    owner: PublishedMapping | None,
) -> Decision:
    """The instance has a governing mapping: attach, replace or (for `NONE`) detach."""
    spec = winner.spec

    def decision(action: Action, code: str, reason: str, *, polls: bool = False, swap: bool = False) -> Decision:
        return Decision(
            action,
            code,
            reason,
            mapping=winner.key,
            revision=winner.revision,
            role=spec.role,
            profile_arn=winner.profile_arn,
            association_id=association.id if association else "",
            restore_profile_arn=_restorable(association, assignment),
            polls=polls,
            swap=swap,
            losers=candidates.losers,
        )

    if winner.suspended:
        return decision(Action.HOLD, "suspended", f"mapping {winner.key} can't be served: {winner.suspended}")
    missing = _lost(instance, assignment, winner, owner)
    if not association:
        if not spec.carries_role:
            return decision(Action.NOTHING, "converged", f"it carries no role, as {winner.key} asks")
        if missing:
            return decision(Action.HOLD, "mapping-missing", missing)
        if instance.state in _CHANGING:
            return decision(Action.WAIT, "changing", _until_settled(instance, f"role {spec.role}"), polls=True)
        return decision(Action.ATTACH, "unoccupied", f"{winner.key} gives it role {spec.role}")
    remade = association.profile_id in winner.former_profile_ids
    same = association.profile_arn == winner.profile_arn and not remade
    if same and association.state is AssociationState.ASSOCIATING:
        return decision(Action.WAIT, "associating", f"EC2 is still attaching role {spec.role}", polls=True)
    if same:
        return decision(Action.NOTHING, "converged", f"it carries role {spec.role}, as {winner.key} asks")
    if missing:
        return decision(Action.HOLD, "mapping-missing", missing)
    if not assignment and spec.when_occupied is WhenOccupied.KEEP:
        return decision(
            Action.HOLD,
            "occupied",
            f"it carries {association.profile_arn}, which somebody else attached, and {winner.key} says keep",
        )
    if instance.state in _CHANGING:
        return decision(Action.WAIT, "changing", _until_settled(instance, f"role {spec.role}"), polls=True)
    if not spec.carries_role:
        return decision(Action.DETACH, "quarantined", f"{winner.key} says that it carries no role")
    anew = f"; its instance profile {spec.profile_name} was deleted and made anew" if remade else ""
    if instance.state is InstanceState.RUNNING:
        return decision(Action.REPLACE, "differs", f"{winner.key} gives it role {spec.role}{anew}")
    if spec.when_stopped is WhenStopped.SWAP:
        return decision(
            Action.REPLACE, "differs", f"{winner.key} gives it role {spec.role}, swapped while stopped", swap=True
        )
    return decision(Action.WAIT, "stopped", f"role {spec.role} replaces the present one when the instance runs again")


def _unmatched(
    instance: Instance,
    association: Association | None,
    assignment: Assignment | None,
    candidates: Candidates,
    owner: PublishedMapping | None,
) -> Decision:
    """No mapping governs the instance: give up what is ours, as the mapping that gave it says."""
    if not association:
        return _given_back(instance, assignment, candidates, owner)
    if not assignment:
        return Decision(
            Action.NOTHING,
            "not-ours",
            f"no mapping for its tags; somebody else attached {association.profile_arn}",
            association_id=association.id,
            losers=candidates.losers,
        )

    def decision(action: Action, code: str, reason: str, *, polls: bool = False) -> Decision:
        return Decision(
            action,
            code,
            reason,
            mapping=assignment.mapping,
            revision=owner.revision if owner else assignment.revision,
            role=assignment.role,
            profile_arn=assignment.restore_profile_arn if code == "restored" else "",
            association_id=association.id,
            polls=polls,
            gives_back=code == "restored",
            losers=candidates.losers,
        )

    if owner is None:
        return decision(Action.HOLD, "mapping-missing", _missing(assignment))
    policy = owner.spec.when_unmatched
    if policy is WhenUnmatched.KEEP:
        return decision(Action.NOTHING, "kept", f"{owner.key} no longer matches and says keep")
    if policy is WhenUnmatched.RESTORE and assignment.restore_profile_arn == association.profile_arn:
        return decision(Action.NOTHING, "kept", f"{owner.key} no longer matches; it carries what was there before")
    if instance.state in _CHANGING:
        return decision(Action.WAIT, "changing", _until_settled(instance, "what follows the removed tag"), polls=True)
    if policy is WhenUnmatched.RESTORE and assignment.restore_profile_arn:
        reason = f"{owner.key} no longer matches; {assignment.restore_profile_arn} was there before"
        if instance.state is InstanceState.RUNNING:
            return decision(Action.REPLACE, "restored", reason)
        # Never swapped: between detach and attach nothing would remember what to give back.
        return decision(Action.WAIT, "stopped", f"{reason}; it comes back when the instance runs again")
    over = "is over" if owner.key.pins else "no longer matches"
    return decision(Action.DETACH, "unmatched", f"{owner.key}, which gave it role {assignment.role}, {over}")


def _given_back(
    instance: Instance, assignment: Assignment | None, candidates: Candidates, owner: PublishedMapping | None
) -> Decision:
    """Nothing is attached and no mapping governs: put back what a mapping to `NONE` took, if it says so."""
    if assignment and not owner:
        return Decision(
            Action.HOLD, "mapping-missing", _missing(assignment), mapping=assignment.mapping, losers=candidates.losers
        )
    if not (assignment and owner and owner.spec.when_unmatched is WhenUnmatched.RESTORE):
        return Decision(Action.NOTHING, "unmatched", "no mapping for its tags", losers=candidates.losers)

    def decision(action: Action, code: str, reason: str, *, waits: bool) -> Decision:
        return Decision(
            action,
            code,
            reason,
            mapping=assignment.mapping,
            revision=owner.revision,
            role=assignment.role,
            profile_arn=assignment.restore_profile_arn,
            gives_back=not waits,
            polls=waits,
            losers=candidates.losers,
        )

    if instance.state in _CHANGING:
        return decision(Action.WAIT, "changing", _until_settled(instance, "what was there before"), waits=True)
    reason = f"{owner.key} no longer matches; {assignment.restore_profile_arn} was there before"
    return decision(Action.ATTACH, "restored", reason, waits=False)


def _lost(
    instance: Instance, assignment: Assignment | None, winner: PublishedMapping, owner: PublishedMapping | None
) -> str:
    """Why another mapping doesn't take over from the one that gave the role, or took it; empty when it may.

    Its tag is still there and no row was deleted, so nobody meant that. A pin is meant.
    """
    if not assignment or owner or assignment.mapping == winner.key or winner.key.pins:
        return ""
    return _missing(assignment) if assignment.mapping.matches(instance.tags) else ""


def _missing(assignment: Assignment) -> str:
    return f"the published record of {assignment.mapping} can't be found; a missing record changes nothing"


def _restorable(association: Association | None, assignment: Assignment | None) -> str:
    """What `restore` would put back later: the role before our first one, carried through our own replaces."""
    if assignment:
        return assignment.restore_profile_arn
    return association.profile_arn if association else ""


def _until_settled(instance: Instance, what: str) -> str:
    return f"the instance is {instance.state}; {what} waits until it is running or stopped"
