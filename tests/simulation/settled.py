"""What holds once all is quiet: every instance is as its tags and the mappings ask, or shows why not.

What it should carry is worked out here again, from the rows of docs/mappings.md, without the code under test.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from rolekeeper import codec
from rolekeeper.model import InstanceRecord, MappingKey, Pin, PublishedMapping, WhenOccupied, WhenUnmatched
from rolekeeper_local.ec2_model import Association, Instance, State
from simulation.account import Account, Maker
from simulation.engine import Engine
from simulation.people import IGNORE
from simulation.promises import STATE, Asked, Promises, instance_key
from support.fake_dynamodb import FakeDynamoDB

ENDED = frozenset({State.SHUTTING_DOWN, State.TERMINATED})
# The promise that is about the sweep too.
CONVERGES = 4
# An intent that nobody can tell the end of is kept for so long, plus the time to the next sweep.
OLD_INTENT = timedelta(minutes=40)


class Settled:
    """Looks at the whole account, once all is quiet."""

    def __init__(self, engine: Engine, account: Account, tables: FakeDynamoDB, promises: Promises) -> None:
        self._engine = engine
        self._account = account
        self._tables = tables
        self._promises = promises
        # Instances that EC2 shows no more, before a sweep came by: what is recorded of them is of no use, and no harm.
        self.forgotten: set[str] = set()

    def check(self, when: str, *, only: set[str] | None = None, promise: int = 4, strict: bool = False) -> None:
        """Every instance is as it should be, or shows why not.

        Args:
            when: for the story.
            only: these instances alone.
            promise: the one that this is about.
            strict: whether nothing may be left over either, in the records.
        """
        for instance in self._account.instances:
            if only is None or instance in only:
                self._instance(instance, when, promise, strict=strict)

    def _instance(self, instance: str, when: str, promise: int, *, strict: bool) -> None:
        record = self.record(instance)
        here = f"{when}: {instance[-4:]}"
        known = self._account.truth.instance(instance) if self._account.truth.knows(instance) else None
        if known is None or known.state in ENDED:
            if strict and instance not in self.forgotten:
                self._promises.check(
                    4, record is None, lambda: f"{here} has ended and its record is still there: {record}"
                )
            return
        record = record or InstanceRecord()
        row = self._account.association_of(instance)
        if not record.standing:
            wrong = self._wrong(known, record)
            if promise != CONVERGES and self._edited_since(known, record):
                return  # an edit reaches those that carry the tag; the others wait for the sweep
            self._promises.check(promise, not wrong, lambda: f"{here} is {known.state} and shows nothing, but {wrong}")
        if row and row.id not in self._promises.ambiguous:
            ours = row.id in record.assignments
            made = self._account.makers[row.id]
            held = record.standing and record.intents
            self._promises.check(
                2,
                not (ours and made is not Maker.US),
                lambda: f"{here}: {row.id} was made by {made}, and is recorded as ours",
            )
            self._promises.check(
                9,
                ours or made is not Maker.US or bool(held),
                lambda: f"{here}: we made {row.id} ({row.profile_arn}), and the record doesn't know: {record}",
            )
        if strict:
            old = [each for each in record.intents.values() if self._engine.now() - each.at > OLD_INTENT]
            self._promises.check(9, not old, lambda: f"{here} keeps intents that are long over: {old}")
            if record.standing:
                idle = not self._wrong(known, record) and record.standing.code in ("stopped", "changing", "associating")
                self._promises.check(4, not idle, lambda: f"{here} shows {record.standing}, and is as it should be")

    def _edited_since(self, instance: Instance, record: InstanceRecord) -> bool:
        """Whether a mapping whose tag the instance lost, and whose role it still carries, was edited after that."""
        lost = [each.mapping for each in record.assignments.values() if not each.mapping.matches(instance.tags)]
        since = self._account.tags[instance.id][-1][0] if self._account.tags[instance.id] else 0
        return any(at >= since for mapping in lost for at, _ in self._promises.published[mapping])

    def record(self, instance: str) -> InstanceRecord | None:
        """Our record of an instance."""
        item = self.item(codec.record_key(instance_key(instance)))
        return codec.record_from(item) if item else None

    def item(self, key: codec.Key) -> Mapping[str, Any] | None:
        """An item of the state table."""
        pk, sk = key
        found = self._tables.get_item(TableName=STATE, Key=codec.to_attributes({"pk": pk, "sk": sk})).get("Item")
        return codec.from_attributes(found) if found else None

    # ---- what it should carry ----

    def _wrong(self, instance: Instance, record: InstanceRecord) -> str:
        """What is wrong with what an instance carries; empty if nothing is."""
        row = self._account.association_of(instance.id)
        carried = row.profile_arn if row else ""
        ours = row is not None and (
            self._account.makers[row.id] is Maker.US
            or (row.id in self._promises.ambiguous and row.id in record.assignments)
        )
        pin = self._pin(instance.id)
        if pin and not pin.expired(self._engine.now()):
            return "" if carried == pin.profile_arn else f"carries {carried or 'nothing'} and is pinned to {pin.role}"
        if self._ignored(instance.tags):
            return ""
        governing = self._governing(instance.tags)
        if governing:
            return self._under(governing, carried, ours=ours) or self._outlived(row)
        if not ours or row is None:
            return ""
        assignment = record.assignments.get(row.id)
        owner = self._last(assignment.mapping) if assignment else None
        if owner and owner.spec.when_unmatched is WhenUnmatched.KEEP:
            return ""
        if owner and owner.spec.when_unmatched is WhenUnmatched.RESTORE and assignment:
            return (
                "" if assignment.restore_profile_arn == carried else f"carries {carried} of {owner.key}, which is over"
            )
        return f"carries {carried}, which we gave, and nothing governs it"

    def _under(self, governing: list[PublishedMapping], carried: str, *, ours: bool) -> str:
        wanted = {each.profile_arn for each in governing}
        if len(wanted) > 1:
            return f"ties between {', '.join(str(each.key) for each in governing)}"
        first = governing[0]
        if carried == first.profile_arn:
            return ""
        if carried and not ours and first.spec.when_occupied is WhenOccupied.KEEP:
            return f"keeps {carried} without a word"
        return f"carries {carried or 'nothing'} where {first.key} asks for {first.spec.role}"

    def _outlived(self, row: Association | None) -> str:
        """Whether the profile that is carried was deleted, though another has its name by now."""
        there = self._account.find_profile(row.profile_arn) if row else None
        if row is None or there is None or there.id == row.profile_id:
            return ""
        return f"carries {there.name} as it was before it was made anew"

    def _governing(self, tags: Mapping[str, str]) -> list[PublishedMapping]:
        """The mappings of the lowest number that match, as docs/mappings.md tells it."""
        now = self._engine.now()
        matching = []
        for key in self._promises.published:
            each = self._last(key)
            if each is None or each.deleted or not each.spec.enabled or each.spec.expired(now):
                continue
            wanted = {key.tag_key: key.tag_value, **each.spec.require_tags}
            if all(name in tags and value in ("*", tags[name]) for name, value in wanted.items()):
                matching.append(each)
        lowest = min((each.spec.priority for each in matching), default=0)
        return [each for each in matching if each.spec.priority == lowest]

    def _last(self, key: MappingKey) -> PublishedMapping | None:
        item = self.item(codec.published_key(key))
        return codec.published_from(item) if item else None

    def _pin(self, instance: str) -> Pin | None:
        item = self.item(codec.pin_key(instance_key(instance)))
        return codec.pin_from(item) if item else None

    def _ignored(self, tags: Mapping[str, str]) -> bool:
        said = tags.get(IGNORE, "false")
        return said != "false" and not (said[:1].isdigit() and codec.parse_time(said) <= self._engine.now())

    # ---- what the history tells ----

    def check_history(self) -> None:
        """Every change that EC2 made for us is told by the instance's history."""
        for asked, row in self._promises.changes:
            entries = self._history(asked.instance)
            told = any(_tells(entry, asked, row) for entry in entries)
            self._promises.check(9, told, lambda asked=asked: f"no history entry explains {asked}")  # type: ignore[misc]  # a default binds the loop's

    def _history(self, instance: str) -> list[Mapping[str, Any]]:
        pk = codec.instance_pk(instance_key(instance))
        answer = self._tables.query(
            TableName=STATE,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :sk)",
            ExpressionAttributeValues=codec.to_attributes({":pk": pk, ":sk": "history#"}),
        )
        return [codec.from_attributes(each) for each in answer["Items"]]


def _tells(entry: Mapping[str, Any], asked: Asked, row: Association) -> bool:
    """Whether a history entry tells of a change: of what it made or took, or of its end."""
    known = entry.get("answer", {}).get("association-id", "")
    begun = {each["intent"] for each in entry.get("closes", ())}
    return row.id == known or (asked.intent is not None and asked.intent.id in begun)
