"""Whether somebody else keeps undoing our change on an instance: pure.

Our change was undone when the very same one is to be made again, though neither tags nor mappings changed: the last
change that we made was for this wish, and what it left is no longer there. Each change of ours can be undone once, so
an undoing is known by the change that it undid, and seeing it twice counts once.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from rolekeeper.model import Association, Decision, InstanceRecord, Made, Undone


@dataclass(frozen=True, slots=True)
class ContestRule:
    """How often within which time somebody else may undo a change before we leave the instance alone."""

    after: int = 3
    within: timedelta = timedelta(minutes=30)

    def contested(self, undone: Iterable[Undone]) -> bool:
        """Whether these undoings are too many. They are one after the other: it stays so however long they are past."""
        times = sorted(each.at for each in undone)
        return any(last - first <= self.within for first, last in zip(times, times[self.after - 1 :], strict=False))


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a change tells of who undoes what: what to write into the record, and what no longer counts in it.

    `over`: the instance was given up, so nobody can undo anything any more.
    """

    made: Made | None = None
    undone: Undone | None = None
    lapsed: tuple[Undone, ...] = ()
    over: bool = False


def seen_undone(
    record: InstanceRecord, decision: Decision, association: Association | None, at: datetime
) -> Undone | None:
    """The undoing of our last change, if that is what is seen now, and isn't recorded yet.

    An open intent means that one of ours may be changing it this very moment; then nothing is said.
    """
    made = record.made
    if made is None or record.intents or made.wish != decision.wish:
        return None
    if any(each.made_at == made.at for each in record.undone):
        return None
    if not association:
        return Undone(made.wish, made.at, at) if made.association_id else None
    if association.id == made.association_id:
        return None
    return Undone(made.wish, made.at, at, association.id, association.profile_arn)


def undoings(
    record: InstanceRecord, decision: Decision, association: Association | None, at: datetime
) -> tuple[Undone, ...]:
    """All undoings of this change, oldest first, with the one that is seen now."""
    known = [each for each in record.undone if each.wish == decision.wish]
    if seen := seen_undone(record, decision, association, at):
        known.append(seen)
    return tuple(sorted(known, key=lambda each: each.at))


def lapsed(record: InstanceRecord, decision: Decision, rule: ContestRule, at: datetime) -> tuple[Undone, ...]:
    """The undoings in the record that no longer count: of another wish, or too long ago for one more to matter."""
    return tuple(each for each in record.undone if each.wish != decision.wish or at - each.at > rule.within)
