"""What holds once all is quiet: every instance is as its tags and the mappings ask, or shows why not.

What it should carry is told by `spec.carries`, without the code under test.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from fakes.dynamodb import FakeDynamoDB
from rolekeeper.model.instance import InstanceRecord
from rolekeeper.model.mapping import MappingKey, Pin, PublishedMapping
from rolekeeper.storage import layout
from rolekeeper.storage.layout import STARTED
from rolekeeper_local.ec2_model import Association, Instance, State
from simulation.account import Account, Maker, instance_key
from simulation.engine import Engine
from simulation.invariants import ROWS, STATE, Asked, Promises, is_for
from spec.carries import Situation, ignored, pinned, wanted

ENDED = frozenset({State.SHUTTING_DOWN, State.TERMINATED})
# A timer rings at its minute, and what it wakes takes its time.
OVERDUE = timedelta(minutes=5)
# The promise that is about the sweep too.
CONVERGES = 4


@dataclass
class Settled:
    """Looks at the whole account, once all is quiet.

    Attributes:
        forgotten: instances that EC2 shows no more, before a sweep came by: what is recorded of them is of no use, and
            no harm.
        swept_at: when the last sweep began.
    """

    _engine: Engine
    account: Account
    _tables: FakeDynamoDB
    _promises: Promises
    forgotten: set[str] = field(default_factory=set)
    swept_at: float = 0

    def check(self, when: str, *, only: set[str] | None = None, promise: int = 4, strict: bool = False) -> None:
        """Every instance is as it should be, or shows why not.

        Args:
            when: for the story.
            only: these instances alone.
            promise: the one that this is about.
            strict: whether nothing may be left over either, in the records.
        """
        for instance in self.account.instances:
            if only is None or instance in only:
                self._instance(instance, when, promise, strict=strict)

    def _instance(self, instance: str, when: str, promise: int, *, strict: bool) -> None:
        record = self.record(instance)
        here = f"{when}: {instance[-4:]}"
        known = self.account.truth.instance(instance) if self.account.truth.knows(instance) else None
        if known is None or known.state in ENDED:
            if strict and instance not in self.forgotten:
                # A look that was slow may leave what it saw of an instance that ended meanwhile: no grant is in it.
                kept = record is not None and bool(record.grants or record.changes)
                self._promises.check(4, not kept, lambda: f"{here} has ended and its record is still there: {record}")
            return
        record = record or InstanceRecord()
        row = self.account.association_of(instance)
        if not record.condition:
            wrong = self._wrong(known, record)
            if not strict and self._edited_since(known, record, self.swept_at if promise == CONVERGES else None):
                return  # an edit reaches those that carry the tag; the others wait for the next sweep
            self._promises.check(promise, not wrong, lambda: f"{here} is {known.state} and shows nothing, but {wrong}")
        if promise == CONVERGES and record.condition:
            late = record.condition.code == "unswept"
            self._promises.check(4, not late, lambda: f"{here} shows {record.condition}, and a sweep came to its end")
        if promise != CONVERGES and record.condition and (until := record.condition.watched_until):
            rang = until + OVERDUE > self._engine.now()
            self._promises.check(promise, rang, lambda: f"{here} shows what nobody watches any more: {record}")
        if row and self.account.makers[row.id] is Maker.US and self._promises.lost_at < 0:
            self._promises.check(
                9,
                row.profile_arn in record.grants,
                lambda: f"{here}: we made {row.id} ({row.profile_arn}), and no grant explains it: {record}",
            )
        if strict and record.condition:
            idle = not self._wrong(known, record) and record.condition.code in ("stopped", "changing", "associating")
            self._promises.check(4, not idle, lambda: f"{here} shows {record.condition}, and is as it should be")

    def _edited_since(self, instance: Instance, record: InstanceRecord, since: float | None) -> bool:
        """Whether a mapping whose tag the instance lost, and whose role it still carries, was edited after that.

        Given a time, whether it was since then: a sweep looks at the instances before it publishes what is left.
        """
        lost = [each.mapping for each in record.grants.values() if not each.mapping.matches(instance.tags)]
        if since is None:
            since = self.account.tags[instance.id][-1][0] if self.account.tags[instance.id] else 0
        return any(at >= since for mapping in lost for at, _ in self._promises.published[mapping])

    def record(self, instance: str) -> InstanceRecord | None:
        item = self.item(layout.record_key(instance_key(instance)))
        return layout.record_from(item) if item else None

    def item(self, key: layout.Key) -> Mapping[str, Any] | None:
        pk, sk = key
        found = self._found(STATE, pk=pk, sk=sk)
        return layout.from_attributes(found) if found else None

    def _found(self, table: str, **key: str) -> Any:
        return self._tables.get_item(TableName=table, Key=layout.to_attributes(key), ConsistentRead=True).get("Item")

    # ---- what it should carry ----

    def _wrong(self, instance: Instance, record: InstanceRecord) -> str:
        """What is wrong with what an instance carries; empty if nothing is."""
        row = self.account.association_of(instance.id)
        carries = row.profile_arn if row else ""
        situation = Situation(
            tags=instance.tags,
            carries=carries,
            mappings=[self._for(record, each) for key in self._promises.published if (each := self._last(key))],
            now=self._engine.now(),
            grants={arn: grant.mapping for arn, grant in record.grants.items()},
            pin=self._pin(instance.id),
            state=str(instance.state),
            service=bool(instance.operator),
            take_over=self.account.take_over,
            account=self.account.target.account,
            region=self.account.target.region,
        )
        found = wanted(situation)
        if found.shows:
            return f"should show {found.shows} with {carries or 'no role'}"
        if carries != found.carries:
            return f"carries {carries or 'nothing'} and should carry {found.carries or 'nothing'}"
        asks = situation.ranked.best and not (situation.service or ignored(instance.tags, situation.now))
        return self._outlived(row) if asks and not pinned(situation.pin, situation.now) else ""

    def _for(self, record: InstanceRecord, mapping: PublishedMapping) -> PublishedMapping:
        """What a mapping says of an instance: where its rollout was taken back and moved it not, what was before."""
        known = self._promises.rollout(mapping.rollout) if mapping.former else None
        moved = any(grant.rolls == mapping.rollout for grant in record.grants.values())
        if mapping.former is None or known is None or known.is_over or moved:
            return mapping
        return replace(mapping.former, spec=replace(mapping.former.spec, expires_at=None))

    def _outlived(self, row: Association | None) -> str:
        """Whether the profile that is carried was deleted, though another has its name by now."""
        there = self.account.find_profile(row.profile_arn) if row else None
        if row is None or there is None or there.id == row.profile_id:
            return ""
        return f"carries {there.name} as it was before it was made anew"

    def _last(self, key: MappingKey) -> PublishedMapping | None:
        item = self.item(layout.published_key(key, self._promises.published_for))
        return layout.published_from(item) if item else None

    def is_held(self, key: MappingKey) -> bool:
        row = self._found(ROWS, tag_key=key.tag_key, tag_value=key.tag_value) or {}
        return "held_revision" in row

    def says_missing(self, key: MappingKey, account: str) -> bool:
        """Whether the row of another edit shows that what is published isn't in effect in an account."""
        row = layout.from_attributes(self._found(ROWS, tag_key=key.tag_key, tag_value=key.tag_value) or {})
        lacks = (each for each in row.get("status_details", ()) if each["code"] == "not-in-effect-in")
        return any(account in each["accounts"] for each in lacks)

    def has_row(self, key: MappingKey) -> bool:
        return self._found(ROWS, tag_key=key.tag_key, tag_value=key.tag_value) is not None

    def _pin(self, instance: str) -> Pin | None:
        item = self.item(layout.pin_key(instance_key(instance)))
        pin = Pin.read(item) if item else None
        if pin is None or not pin.profile_arn:
            return pin
        profile = self.account.find_profile(pin.profile_arn)
        role = self.account.role_arn(pin.role, self.account.roles.get(pin.role, "nowhere"))
        belongs = profile is not None and role in profile.roles
        return pin if belongs else replace(pin, unclear="its profile doesn't hold its role")

    # ---- what was published before its role became broad ----

    def check_broad(self) -> None:
        """What gives a broad role without both words is suspended."""
        for key in self._promises.published:
            mapping = self._last(key)
            if mapping and not mapping.deleted and mapping.spec.role in self.account.broad:
                allowed = mapping.spec.allow_broad and self.account.allow_broad
                held = allowed or not is_for(mapping, self.account.target) or bool(mapping.suspended_because)
                self._promises.check(11, held, lambda mapping=mapping: f"{mapping} gives a broad role")  # type: ignore[misc]  # a default binds the loop's

    # ---- what the history tells ----

    def check_history(self) -> None:
        """Every change that EC2 made for us is told by the instance's history."""
        for asked, row in self._promises.changes:
            if asked.since <= self._promises.lost_at:
                continue
            entries = self._history(asked.instance)
            told = any(_tells(entry, asked, row) for entry in entries) or any(
                _tells(entry, asked, each) for each in self._of_the_call(asked) for entry in entries
            )
            self._promises.check(9, told, lambda asked=asked: f"no history entry explains {asked}")  # type: ignore[misc]  # a default binds the loop's

    def _of_the_call(self, asked: Asked) -> list[Association]:
        """What EC2 made for one call: where the SDK sends it twice and EC2 drops the first, both; one is the answer."""
        call = (asked.run, asked.operation, asked.instance, asked.started)
        changes = self._promises.changes
        return [row for each, row in changes if (each.run, each.operation, each.instance, each.started) == call]

    def _history(self, instance: str) -> list[Mapping[str, Any]]:
        pk = layout.instance_pk(instance_key(instance))
        answer = self._tables.query(
            TableName=STATE,
            ConsistentRead=True,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :sk)",
            ExpressionAttributeValues=layout.to_attributes({":pk": pk, ":sk": "history#"}),
        )
        return [layout.from_attributes(each) for each in answer["Items"]]


def _tells(entry: Mapping[str, Any], asked: Asked, row: Association) -> bool:
    """Whether a history entry tells of a change: of what it made or took, or that it was started."""
    if row.id == entry.get("answer", {}).get("association-id", ""):
        return True
    decision, seen = entry["decision"], entry["seen"]
    same = decision["profile-arn"] == asked.arn or not asked.arn
    return entry.get("outcome") == STARTED and same and seen["association-id"] == asked.association
