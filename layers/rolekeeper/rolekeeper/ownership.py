"""Which association is ours, and which open intents are settled: pure.

An association is ours if its id is recorded, or if an open intent explains it: it carries the profile that we meant
to attach and isn't the one that we set out from. So a crash between the call and its record loses nothing. An intent
that was open for so long that nobody can have looked in between explains nothing any more: what it would claim may as
well be somebody else's, and what isn't surely ours is left alone.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from rolekeeper.model import NO_ROLE, Action, Assignment, Association, InstanceRecord, Intent

# The association id of an assignment to carry no role.
NOTHING = ""

# A call can be in flight for no longer than a function may run (15 minutes, Lambda's limit), plus clock skew.
IN_FLIGHT = timedelta(minutes=20)


def assignment_for(record: InstanceRecord, association: Association | None, asked_at: datetime) -> Assignment | None:
    """Our assignment of the association that EC2 showed when it was asked, or None when somebody else made it.

    Where EC2 showed none, it is our assignment to carry no role, if there was a role that could be given back.
    """
    if association is None:
        return record.assignments.get(NOTHING) or _quarantine(record.intents)
    if recorded := record.assignments.get(association.id):
        return recorded
    intent = explaining_intent(record.intents, association, asked_at)
    if intent is None or intent.gives_back:
        return None
    return assignment_of(intent, association.id)


def explaining_intent(intents: Mapping[str, Intent], association: Association, asked_at: datetime) -> Intent | None:
    """The newest open intent that this association fulfils, of those whose call may have been in flight till lately."""
    fulfilled = [
        intent
        for intent in intents.values()
        if intent.action is not Action.DETACH
        and intent.target_profile_arn == association.profile_arn
        and intent.from_association_id != association.id
        and asked_at - intent.at <= IN_FLIGHT
    ]
    return max(fulfilled, key=lambda intent: intent.at, default=None)


def _quarantine(intents: Mapping[str, Intent]) -> Assignment | None:
    """What an open detach for `NONE` becomes once nothing is attached."""
    taken = [
        each
        for each in intents.values()
        if each.action is Action.DETACH and each.role == NO_ROLE and each.restore_profile_arn
    ]
    newest = max(taken, key=lambda intent: intent.at, default=None)
    return assignment_of(newest, NOTHING) if newest else None


def assignment_of(intent: Intent, association_id: str) -> Assignment:
    """The assignment that a fulfilled intent becomes."""
    return Assignment(
        association_id=association_id,
        profile_arn=intent.target_profile_arn,
        role=intent.role,
        mapping=intent.mapping,
        revision=intent.revision,
        restore_profile_arn=intent.restore_profile_arn,
    )


def settled_intents(record: InstanceRecord, association: Association | None, asked_at: datetime) -> list[Intent]:
    """The open intents that can no longer change anything, oldest first.

    One by association id is settled once EC2 shows another id (a stale one is refused), an attach once EC2 shows its
    result; any is settled when no call can still be in flight.

    Args:
        record: read after the association, so it may know more.
        association: the one that EC2 showed.
        asked_at: when EC2 was asked for it: it says nothing of an intent written since.
    """
    fulfilled = explaining_intent(record.intents, association, asked_at) if association else None

    def settled(intent: Intent) -> bool:
        if intent.at > asked_at:
            return False
        moved_on = intent.from_association_id and (association is None or association.id != intent.from_association_id)
        # A swap detaches before it attaches: while nothing is attached it may be between the two. A plain replace isn't
        # excused: left open, it would claim the same role when somebody else attaches it later.
        swapping = association is None and intent.swap
        return intent is fulfilled or (bool(moved_on) and not swapping) or asked_at - intent.at > IN_FLIGHT

    return sorted((each for each in record.intents.values() if settled(each)), key=lambda intent: intent.at)
