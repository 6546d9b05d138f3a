"""Each write of a mapping has a condition: one by something that is no longer true is refused whole."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from fakes.clock import START
from fixtures.state_table import STATE_TABLE
from fixtures.workers import state_table, worker
from rolekeeper.aws.errors import ConflictError
from rolekeeper.mappings.revisions import AccountRecord, Revisions
from rolekeeper.model.mapping import Held, MappingKey, PublishedMapping
from strategies.values import published

ENTRY = {"reason": "a person edited it"}
ROW, OTHER = MappingKey("a", "1#*"), MappingKey("b", "2")
FIRST = replace(published("a=1", "web"), spec=replace(published("a=1", "web").spec, key=ROW))
SECOND = replace(FIRST, revision=2)

type Writes = Callable[[Revisions], object]


def publish(mapping: PublishedMapping, *blocks: MappingKey) -> Writes:
    return lambda revisions: revisions.publish(mapping, ENTRY, START, blocks=blocks)


def of_account(mapping: PublishedMapping) -> Writes:
    return lambda revisions: revisions.write("222222222222", AccountRecord(mapping))


def hold(mapping: PublishedMapping) -> Writes:
    return lambda revisions: revisions.hold(Held(mapping, START, "ada"), ENTRY, START)


# What was written meanwhile, and what a worker then writes by what it read before.
STALE: dict[str, tuple[list[Writes], Writes]] = {
    "a revision beside a newer one": ([publish(FIRST), publish(SECOND)], publish(FIRST)),
    "the same revision again": ([publish(FIRST)], publish(replace(FIRST, suspended_because="its role is gone"))),
    "without a conflict that was noted": (
        [publish(FIRST), lambda revisions: revisions.note_conflict(OTHER, FIRST)],
        publish(SECOND),
    ),
    "as held under a number that was discarded": (
        [hold(FIRST), lambda revisions: revisions.discard(FIRST, ENTRY, START)],
        lambda revisions: revisions.publish(FIRST, ENTRY, START, held=True),
    ),
    "a held edit beside a newer one": ([hold(SECOND)], hold(FIRST)),
    "a discard of what was held before another edit": (
        [hold(FIRST), hold(SECOND)],
        lambda revisions: revisions.discard(FIRST, ENTRY, START),
    ),
    "a discard of what was published": (
        [hold(FIRST), lambda revisions: revisions.publish(FIRST, ENTRY, START, held=True)],
        lambda revisions: revisions.discard(FIRST, ENTRY, START),
    ),
    "a suspension of a former revision": (
        [publish(FIRST), publish(SECOND)],
        lambda revisions: revisions.refresh(replace(FIRST, suspended_because="its role is gone"), ENTRY, START),
    ),
    "that a former revision was sent": (
        [publish(FIRST), publish(SECOND)],
        lambda revisions: revisions.note_sent(FIRST),
    ),
    "a conflict with a former revision": (
        [publish(FIRST), publish(SECOND)],
        lambda revisions: revisions.note_conflict(OTHER, FIRST),
    ),
    "the end of a conflict with what was never published": (
        [],
        lambda revisions: revisions.remove_conflicts(ROW, [OTHER]),
    ),
    "an account's record beside a newer one": ([of_account(SECOND)], of_account(FIRST)),
    "who signed what was never held": ([], lambda revisions: revisions.note_signer(ROW, "AIDAGRACE")),
    "a second report of its end": (
        [publish(FIRST), lambda revisions: revisions.report_end(FIRST, ENTRY, START)],
        lambda revisions: revisions.report_end(FIRST, ENTRY, START),
    ),
}


@pytest.mark.parametrize(("meanwhile", "writes"), STALE.values(), ids=STALE)
def test_a_write_by_what_is_no_longer_true_writes_nothing_at_all(meanwhile: list[Writes], writes: Writes) -> None:
    client = state_table()
    revisions = worker(client).revisions
    for write in meanwhile:
        write(revisions)
    before = client.items(STATE_TABLE)
    with pytest.raises(ConflictError):
        writes(revisions)
    assert client.items(STATE_TABLE) == before


def test_a_mapping_is_read_as_it_was_written_whatever_its_tag_is() -> None:
    revisions = worker(state_table()).revisions
    publish(FIRST)(revisions)
    revisions.note_conflict(OTHER, FIRST)
    publish(SECOND, OTHER)(revisions)
    hold(replace(FIRST, revision=3))(revisions)
    stored = revisions.read(ROW)
    assert (stored.published, stored.in_conflict, stored.unsent, stored.last) == (SECOND, frozenset({OTHER}), True, 3)
    assert stored.held
    assert stored.held.mapping == replace(FIRST, revision=3)
    revisions.note_sent(SECOND)
    revisions.remove_conflicts(ROW, [OTHER])
    stored = revisions.read(ROW)
    assert (stored.in_conflict, stored.unsent) == (frozenset(), False)
