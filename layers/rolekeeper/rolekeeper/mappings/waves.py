"""Each minute's look at the rollouts that go on: the next wave opens, or an alarm or failed instances halt it.

A rollout is looked at by a follow-up of its mapping, so a minute without one costs no call. All alarms are read
together, and what can't be read halts. A step is one conditional write: of two runs at once, one makes it.
"""

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass

from rolekeeper.aws.alarms import RINGS, Alarms
from rolekeeper.aws.errors import ConflictError
from rolekeeper.mappings.publish import Publisher
from rolekeeper.mappings.revisions import StoredMapping
from rolekeeper.mappings.rows import COLUMNS, EDITED_BY, read_row, row_of
from rolekeeper.mappings.table import if_as_read, number_in
from rolekeeper.mappings.verdict import Status, in_waves
from rolekeeper.model.mapping import MappingKey, OnHalt, PublishedMapping
from rolekeeper.model.problem import ReasonCode, sentence
from rolekeeper.model.waves import Progress
from rolekeeper.storage import layout

# Who claims to have written a row that goes back by itself.
BY_ITSELF = "Rolekeeper, as its rollout halted (on_halt: rollback)"
# What CloudWatch answers of an alarm that can be read. One without data lets a rollout go on.
_READ = frozenset({"OK", "INSUFFICIENT_DATA", RINGS})


@dataclass(frozen=True)
class Rollouts:
    """Takes rollouts on by a step each. `halt_on` are the deployment's own alarms, which every rollout has."""

    publisher: Publisher
    alarms: Alarms
    halt_on: frozenset[str]

    def step(self, keys: Collection[MappingKey], correlation_id: str) -> set[MappingKey]:
        """Look at these rollouts; returns those to look at again in the next minute."""
        known = {key: self.publisher.revisions.read(key) for key in keys}
        for key in [key for key, one in known.items() if one.unsent and not one.progress]:
            # The run that ended it was cut off.
            self.publisher.recheck(key, correlation_id, ended=True)
        going = {key: one for key, one in known.items() if one.progress}
        watched = {name for one in going.values() if one.progress and not one.progress.halted for name in self._of(one)}
        states = self.alarms.states(watched) if watched else {}
        over: set[MappingKey] = set()
        for key, one in going.items():
            # If another run made the step, it may die before it has the next minute look again.
            with suppress(ConflictError):
                if not self._step(one, states, correlation_id):
                    over.add(key)
        return going.keys() - over

    def _of(self, stored: StoredMapping) -> frozenset[str]:
        return self.halt_on | ((stored.published and stored.published.spec.halt_on) or frozenset())

    def _step(self, stored: StoredMapping, states: Mapping[str, str], correlation_id: str) -> bool:
        """Take one rollout on; returns whether it goes on."""
        mapping, progress, now = stored.published, stored.progress, self.publisher.now()
        assert mapping is not None  # what goes out in waves is published
        assert progress is not None  # as it was asked for
        revisions, key = self.publisher.revisions, mapping.key
        alarms = {name: states[name] for name in sorted(self._of(stored)) if name in states}
        if halted := _halted(progress, alarms, mapping.spec.halt_after or 0):
            if halted != progress:
                revisions.roll(key, progress, halted)
            self.publisher.recheck(key, correlation_id)
            self._go_back(mapping)
            return False
        if now < progress.next_at:
            self._show(mapping, progress, correlation_id)
            return True
        if progress.is_last:
            revisions.end_rollout(mapping, progress)
        else:
            revisions.roll(key, progress, progress.opened(progress.wave + 1, now))
        self.publisher.recheck(key, correlation_id, ended=True)
        return not progress.is_last

    def _go_back(self, mapping: PublishedMapping) -> None:
        """Write the row as it was before, if it says so itself; the table's stream has it published."""
        table, row = self.publisher.table, self.publisher.table.get_row(mapping.key) or {}
        says = read_row(row, self.publisher.home).spec
        if says == mapping.spec and says.on_halt is OnHalt.ROLLBACK:
            by = layout.to_attributes({EDITED_BY.name: BY_ITSELF})
            as_read = ("status", *(column.name for column in COLUMNS))
            table.put(row_of(mapping.spec_before) | by, if_as_read(row, as_read))

    def _show(self, mapping: PublishedMapping, progress: Progress, correlation_id: str) -> None:
        """Say in the row how many have moved by now; a run that ended early may have left it at another wave."""
        table, row = self.publisher.table, self.publisher.table.get_row(mapping.key) or {}
        status, why = in_waves(mapping, progress)
        if row.get("status", {}).get("S") not in (Status.ROLLING_OUT, Status.HALTED):
            return
        if row["status"]["S"] != status or not row.get("status_reason", {}).get("S", "").startswith(sentence(why)):
            self.publisher.recheck(mapping.key, correlation_id, ended=True)
        elif number_in(row, "moved") != progress.moved:
            table.update(mapping.key, if_as_read(row, ("status", "status_revision")).set({"moved": progress.moved}))


def _halted(progress: Progress, alarms: Mapping[str, str], halt_after: int) -> Progress | None:
    """Return the rollout as it halts, if something halts it: an alarm, one that can't be read, or failed instances."""
    if progress.halted:
        return progress
    for name, state in alarms.items():
        if state == RINGS:
            return progress.halt(ReasonCode.ALARM_RINGS.name, alarm=name)
        if state not in _READ:
            return progress.halt(ReasonCode.ALARM_UNREADABLE.name, alarm=name, error=state)
    if progress.failed > halt_after:
        return progress.halt(ReasonCode.TOO_MANY_FAILED.name, failed=str(progress.failed), allowed=str(halt_after))
    return None
