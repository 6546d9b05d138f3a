"""Two workers publish, hold, suspend and block mappings, each by what it read some time ago.

A write by something that is no longer true is refused whole: not one item of the table is another. What was written is
read as it was, and numbers only rise.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from fakes.clock import START
from fixtures.state_table import STATE_TABLE
from fixtures.workers import TARGET, Worker, state_table, texts, tricky_keys, tricky_specs, worker
from rolekeeper.aws.errors import ConflictError
from rolekeeper.mappings.revisions import FOLLOWED_UP, AccountRecord, StoredMapping
from rolekeeper.model.instance import Timer
from rolekeeper.model.mapping import ANY_VALUE, Approval, Held, MappingKey, PublishedMapping
from rolekeeper.model.text import escaped
from rolekeeper.storage import layout
from strategies.happenings import at_most

ENTRY = {"reason": "somebody edited it"}
workers = st.integers(0, 1)
which = st.integers(0, 1)


@dataclass(frozen=True)
class Reads:
    """Which worker goes by what it read of which mapping: now, or when it read that last."""

    who: int
    at: int
    now: bool


readers = st.builds(Reads, workers, which, st.booleans())
SIGNERS = ("AIDAGRACE", "AROAPEOPLE:grace", "AROAPEOPLE:grace#1")
signers = st.sampled_from(SIGNERS)


class Mappings(RuleBasedStateMachine):
    """See the module. The model: what is published, held and blocked, by key."""

    def __init__(self) -> None:
        super().__init__()
        self.client = state_table()
        self.workers: list[Worker] = [worker(self.client) for _ in range(2)]
        self.keys: list[MappingKey] = []
        self.kept: dict[tuple[int, MappingKey], StoredMapping] = {}
        self.published: dict[MappingKey, PublishedMapping] = {}
        self.held: dict[MappingKey, Held] = {}
        self.in_conflict: dict[MappingKey, frozenset[MappingKey]] = {}
        # With the accounts for which each is being published.
        self.unsent: dict[MappingKey, frozenset[str]] = {}
        self.signed: dict[tuple[str, MappingKey], Approval] = {}
        self.budget: dict[MappingKey, tuple[int, int]] = {}
        self.revisions: dict[tuple[MappingKey, int], PublishedMapping] = {}
        self.entries = Counter[MappingKey]()
        self.timers: set[Timer] = set()
        self.now: datetime = START

    @initialize(one=tricky_keys, other=tricky_keys | st.just(MappingKey("a", ANY_VALUE)))
    def name_mappings(self, one: MappingKey, other: MappingKey) -> None:
        self.keys = [one, other if other != one else MappingKey(one.tag_key, one.tag_value + "#")]

    @rule(minutes=st.integers(1, 3))
    def time_passes(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @rule(
        reads=readers,
        spec=tricky_specs,
        why=st.sampled_from(["", "", "its role is gone"]),
        deleted=st.booleans(),
        arn=texts,
        budget=st.integers(0, 2),
        approved=st.booleans(),
    )
    def publish(
        self, reads: Reads, spec: Any, why: str, arn: str, budget: int, *, deleted: bool, approved: bool
    ) -> None:
        who, key, kept = self._read_by(reads)
        spec = replace(spec, key=key)
        made = PublishedMapping(spec, kept.last + 1, arn, why, deleted)
        if approved and kept.held:
            made = kept.held.mapping
        former = self.published.get(key)
        fits = former is None or (
            former.revision < made.revision and self.in_conflict.get(key, frozenset()) == kept.in_conflict
        )
        revisions = self.workers[who].revisions
        self._write(
            lambda: revisions.publish(made, ENTRY, self.now, budget=budget, blocks=kept.in_conflict),
            fits=fits,
        )
        if fits:
            self.published[key], self.in_conflict[key] = made, kept.in_conflict
            self.unsent[key] = frozenset({TARGET.account})
            self.revisions[key, made.revision] = made
            self.entries[key] += 1
            self.budget |= {key: (budget, made.revision)} if budget else {}
            due = self.now + FOLLOWED_UP if made.deleted else made.spec.expires_at
            if due and due > self.now:
                self.timers.add(Timer(due, key))

    @rule(reads=readers, spec=tricky_specs, by=texts)
    def hold(self, reads: Reads, spec: Any, by: str) -> None:
        who, key, kept = self._read_by(reads)
        held = Held(PublishedMapping(replace(spec, key=key), kept.last + 1, "arn"), self.now, escaped(by))
        former = self.held.get(key)
        fits = former is None or former.mapping.revision < held.mapping.revision
        self._write(lambda: self.workers[who].revisions.hold(held, ENTRY, self.now), fits=fits)
        if fits:
            self.held[key] = held
            self.entries[key] += 1

    @rule(reads=readers, by=signers, arn=texts)
    def sign(self, reads: Reads, by: str, arn: str) -> None:
        """A person signs what they saw held last, and a run notes that at what is held now."""
        who, key, kept = self._read_by(reads)
        if not key.tag_value:
            return  # no row has such a key
        number = kept.held.mapping.revision if kept.held else 1
        item = {**layout.key_attributes(layout.approval_key(by, key)), "revision": number, "arn": arn}
        store = self.workers[who].store
        store.write(store.put(item))
        self.signed[by, key] = Approval(by, number, arn=arn)
        held = self.held.get(key)
        self._write(lambda: self.workers[who].revisions.note_signer(key, by), fits=held is not None)
        if held:
            self.held[key] = replace(held, signers=held.signers | {by})

    @rule(reads=readers, why=texts)
    def suspend(self, reads: Reads, why: str) -> None:
        who, key, kept = self._read_by(reads)
        if not kept.published:
            return
        read, there = kept.published, self.published.get(key)
        fits = there is not None and there.revision == read.revision
        self._write(
            lambda: self.workers[who].revisions.refresh(replace(read, suspended_because=why), ENTRY, self.now),
            fits=fits,
        )
        if fits and there:
            self.published[key] = replace(there, suspended_because=why)
            self.unsent[key] = frozenset()
            self.entries[key] += 1

    @rule(reads=readers)
    def tell(self, reads: Reads) -> None:
        who, key, kept = self._read_by(reads)
        if not kept.published:
            return
        read, there = kept.published, self.published.get(key)
        fits = there is not None and there.revision == read.revision
        self._write(lambda: self.workers[who].revisions.note_sent(read), fits=fits)
        if fits:
            self.unsent.pop(key, None)

    @rule(reads=readers, row=tricky_keys)
    def block(self, reads: Reads, row: MappingKey) -> None:
        who, key, kept = self._read_by(reads)
        if not kept.published:
            return
        read, there = kept.published, self.published.get(key)
        fits = there is not None and there.revision == read.revision
        self._write(lambda: self.workers[who].revisions.add_conflict(read, row), fits=fits)
        if fits:
            self.in_conflict[key] |= {row}

    @rule(reads=readers)
    def unblock(self, reads: Reads) -> None:
        who, key, kept = self._read_by(reads)
        if not kept.in_conflict:
            return
        self._write(
            lambda: self.workers[who].revisions.remove_conflicts(key, kept.in_conflict), fits=key in self.published
        )
        self.in_conflict[key] -= kept.in_conflict

    @rule(who=workers, at=which)
    def unblock_what_was_never_published(self, who: int, at: int) -> None:
        key = self.keys[at]
        if key not in self.published:
            self._write(lambda: self.workers[who].revisions.remove_conflicts(key, [key]), fits=False)

    # ---- what holds ----

    @invariant()
    def what_is_read_is_what_was_written(self) -> None:
        fresh = worker(self.client)
        for key in self.keys:
            published = self.published.get(key)
            expected = StoredMapping(
                TARGET.account,
                {TARGET.account: AccountRecord(published)} if published else {},
                self.held.get(key),
                self.published.get(MappingKey(key.tag_key, ANY_VALUE)),
                in_conflict=self.in_conflict.get(key, frozenset()),
                unsent=key in self.unsent,
                publishing=self.unsent.get(key, frozenset()),
            )
            kept = fresh.revisions.read(key)
            assert kept == expected
            held = kept.held.mapping if kept.held else None
            signed = {self.signed[by, key] for by in kept.held.signers} if kept.held else set()
            assert set(fresh.revisions.approvals(kept.held)) == signed, "whose it is, and of which number"
            given_out = [each.revision for each in (kept.published, held) if each]
            assert kept.last == max(given_out, default=0)
        assert fresh.state.read([], self.keys).published == self.published
        assert set(fresh.state.timers_due(START + timedelta(days=1))) == self.timers

    def teardown(self) -> None:
        store = self.workers[0].store
        for key in self.keys:
            pk = layout.mapping_pk(key)
            kept = [layout.published_from(each) for each in store.last(pk, "revision#", 50)]
            numbers = sorted((each.revision for each in kept), reverse=True)
            assert [each.revision for each in kept] == numbers
            assert {(key, each.revision): each for each in kept} == {
                at: each for at, each in self.revisions.items() if at[0] == key
            }
            assert len(store.history(pk)) == min(50, self.entries[key])
            window = store.get([layout.budget_key(key)]).get(layout.budget_key(key), {})
            revision = window.get("credit_revision", 0)
            granted = (window[layout.credit_of(revision)], revision) if window else None
            assert granted == self.budget.get(key)

    # ---- how ----

    def _write(self, write: Callable[[], None], *, fits: bool) -> None:
        before = self._table()
        if fits:
            write()
            return
        with pytest.raises(ConflictError):
            write()
        assert self._table() == before, "a write that is refused writes nothing at all"

    def _table(self) -> list[Any]:
        return self.client.items(STATE_TABLE)

    def _read_by(self, reads: Reads) -> tuple[int, MappingKey, StoredMapping]:
        """What a worker read last, now or however long ago; one that never did knows of nothing."""
        key = self.keys[reads.at]
        if reads.now:
            self.kept[reads.who, key] = self.workers[reads.who].revisions.read(key)
        return reads.who, key, self.kept.get((reads.who, key), StoredMapping(TARGET.account))


def test_of_workers_that_publish_at_once_one_is_told_to_look_again_and_nothing_is_lost() -> None:
    run_state_machine_as_test(Mappings, settings=at_most(150, 30))
