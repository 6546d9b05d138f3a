"""A file's mappings as if they were served: what Rolekeeper would make of each row, by its own checks.

Nothing is written. Rows are judged one after the other, as the functions judge them: each with those before it served.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from rolekeeper.fleet.targets import ServedTarget
from rolekeeper.mappings.accounts import MappedTarget
from rolekeeper.mappings.impact import Impact, Scan
from rolekeeper.mappings.revisions import AccountRecord, StoredMapping
from rolekeeper.mappings.rows.columns import COLUMNS, Attributes
from rolekeeper.mappings.rows.reader import read_row
from rolekeeper.mappings.verdict import Assessor, Ending, RowSnapshot, Status, Trigger
from rolekeeper.model.mapping import ANY_VALUE, MappingKey, MappingSpec, PublishedMapping
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.uses import names as known
from rolekeeper_cli.uses import rows as row_plan
from rolekeeper_cli.uses.fleet import Enforced
from rolekeeper_cli.uses.mappings import all_is_well
from rolekeeper_cli.uses.rows import Change, RowPlan, mapping_rows, said
from rolekeeper_cli.uses.targets import Places

_NOTHING = "nothing of it is published"


@dataclass(frozen=True, slots=True)
class Edit:
    """One mapping that would be served otherwise than now.

    Attributes:
        status: what Rolekeeper would write into its row (`Removed` where none is left), and `reason` why.
        takes_effect: whether it would be served as the file asks, if need be once somebody approved it.
        revision: what is published now, 0 for nothing.
        change: the change of its row; None where the row says so already.
        warns: whether `reason` says more than what the change itself does; `besides` is that, without `impact`.
        impact: what it would do to instances, once it takes effect; None where nothing of it would.
        foreign: how many instances it would govern that carry a foreign role.
        deletes: whether the mapping would be gone.
    """

    key: MappingKey
    status: Status
    reason: str
    takes_effect: bool
    revision: int
    change: Change | None = None
    warns: bool = False
    besides: str = ""
    impact: Impact | None = None
    foreign: int = 0
    deletes: bool = False

    @property
    def says_more(self) -> bool:
        """Whether there is more to tell than the change itself."""
        return self.warns or self.status not in {Status.PUBLISHED, Status.REMOVED}

    def document(self) -> dict[str, Any]:
        kind, columns = "unchanged", {}
        if self.change:
            kind = self.change.kind
            columns = {one.column: {"from": one.old, "to": one.new} for one in self.change.differences()}
        return {
            "mapping": str(self.key),
            "kind": kind,
            "columns": columns,
            "status": self.status.value,
            "takes_effect": self.takes_effect,
            "reason": self.reason,
            "effect": self.impact.document() if self.impact else None,
            "foreign": self.foreign,
        }


@dataclass(frozen=True, slots=True)
class Proposal:
    """A file's mappings, judged.

    Attributes:
        rows: what would change in the mapping table.
        edits: what would become of it, by key.
        served: the mappings and tombstones that would be served in the place of what is, by account.
        unseen: sentences about targets that the caller can't look into: they aren't counted.
        waiting: the table's other rows that say something else than what is in effect (`mappings.waiting`).
    """

    rows: RowPlan = field(default_factory=RowPlan)
    edits: Sequence[Edit] = ()
    served: Mapping[str, Mapping[MappingKey, PublishedMapping]] = field(default_factory=dict)
    unseen: Sequence[str] = ()
    waiting: Sequence[Mapping[str, Any]] = ()

    def served_at(self, place: Deployment) -> dict[MappingKey, PublishedMapping]:
        """What would be served in a target in the place of what is."""
        return dict(self.served.get(place.settings.account, {}))


def propose(deployment: Deployment, specs: Sequence[MappingSpec], *, prune: bool) -> Proposal:
    """Judge mappings as if they were written into the table; with `prune`, all other rows were deleted."""
    table = mapping_rows(deployment).all()
    rows = row_plan.planned(specs, table, deployment.app.home, prune=prune)
    changes = {each.key: each for each in rows.changes}
    wanted: dict[MappingKey, MappingSpec | None] = {each.key: each for each in specs}
    wanted |= {key: None for key, change in changes.items() if change.spec is None}
    freed = {} if prune else _in_conflict(table, deployment, wanted)
    return _judged(_Judge(deployment, table, changes), rows, wanted, freed=freed)


def foresee(deployment: Deployment, rows: RowPlan) -> Proposal:
    """Judge what a plan writes into the table, and no other row."""
    changes = {each.key: each for each in rows.changes}
    wanted = {key: change.spec for key, change in changes.items()}
    return _judged(_Judge(deployment, {}, changes), rows, wanted, freed={})


def foresee_held(deployment: Deployment, key: MappingKey, row: Attributes) -> Proposal:
    """Judge a row that is held, as it is; without an edit where it is in effect by now."""
    judge = _Judge(deployment, {key: row}, {})
    # Whichever is held: an edit, or a deletion, of which the row is what is left.
    edit = judge.edit(key, None)
    return judge.proposal(RowPlan(), [edit] if edit else [])


def _judged(
    judge: "_Judge",
    rows: RowPlan,
    wanted: Mapping[MappingKey, MappingSpec | None],
    freed: Mapping[MappingKey, MappingSpec],
) -> Proposal:
    edits: dict[MappingKey, Edit] = {}

    def judged(keys: Iterable[MappingKey], specs: Mapping[MappingKey, MappingSpec | None]) -> dict[MappingKey, Edit]:
        found = {key: judge.edit(key, specs[key]) for key in keys}
        return {key: edit for key, edit in found.items() if edit}

    with judge.deployment.progress(len(wanted), "mappings judged") as progress:
        edits |= judged(progress.over(sorted(wanted)), wanted)
    # Of two rows in conflict, editing either clears both: so do the file's rows that of others.
    in_conflict = {key: wanted[key] for key, edit in edits.items() if edit.status is Status.CONFLICT} | {**freed}
    while True:
        again = judged(sorted(in_conflict), in_conflict)
        edits |= {key: edit for key, edit in again.items() if edit.takes_effect}
        left = {key: in_conflict[key] for key, edit in again.items() if edit.status is Status.CONFLICT}
        if len(left) == len(in_conflict):
            return judge.proposal(rows, sorted(edits.values(), key=lambda each: each.key))
        in_conflict = left


def _in_conflict(
    table: Mapping[MappingKey, Attributes], deployment: Deployment, wanted: Mapping[MappingKey, object]
) -> dict[MappingKey, MappingSpec]:
    """What the table's other rows say that are kept from publishing by a conflict."""
    in_conflict = {
        key: row for key, row in table.items() if key not in wanted and said(row, "status") == Status.CONFLICT
    }
    specs = {key: read_row(row, deployment.app.home).spec for key, row in in_conflict.items()}
    return {key: spec for key, spec in specs.items() if spec}


class _Judge:
    """Has the functions' own assessor judge one row after the other, over what would be served by then.

    In all targets, as the functions do, as far as the caller can look into them.
    """

    def __init__(
        self, deployment: Deployment, rows: Mapping[MappingKey, Attributes], changes: Mapping[MappingKey, Change]
    ) -> None:
        self.deployment = deployment
        self._rows = rows
        self._changes = changes
        self._places = Places.chosen(deployment)
        # By account: it is the same in all its Regions.
        self._served: dict[str, dict[MappingKey, PublishedMapping]] = {}
        self._records: dict[MappingKey, Mapping[str, AccountRecord]] = {}
        self._assessor = self._made()
        self._took = 0

    def _made(self) -> Assessor:
        app, home = self.deployment.app, self.deployment.home
        roles = {home.account: app.roles}

        def mapped(place: Deployment) -> MappedTarget:
            target = place.settings.target
            known = roles.setdefault(target.account, place.app.roles)
            served = registered.get(target) or ServedTarget(target)
            scanner = place.app.scanner(known, self._state(place))
            return MappedTarget(target, known, scanner, instances=served.instances, unit=served.unit)

        places = self._places.reachable()
        # Asked for once there are others.
        registered = {each.target: each for each in app.registry.all()} if len(places) > 1 else {}
        listed = [mapped(each) for each in places if each.elsewhere]
        targets = replace(app.mapped, own=mapped(self.deployment), listed=lambda: listed)
        return Assessor(targets, app.revisions, app.settings.mode)

    def _state(self, place: Deployment) -> Enforced:
        return replace(Enforced.of(place), served=self._served.setdefault(place.settings.account, {}))

    @property
    def served(self) -> dict[MappingKey, PublishedMapping]:
        return self._served[self.deployment.home.account]

    def proposal(self, rows: RowPlan, edits: Sequence[Edit]) -> Proposal:
        return Proposal(rows, edits, self._served, unseen=self._places.unseen_in_words())

    @cached_property
    def _roles(self) -> Sequence[str]:
        return known.path_roles(self.deployment)

    def edit(self, key: MappingKey, spec: MappingSpec | None) -> Edit | None:
        """What would become of one row; None where it is served as it says already."""
        change, stored = self._changes.get(key), self.deployment.app.revisions.read(key)
        seen = self._seen(key, stored, change)
        verdict = self._assessor.assess(seen)
        mapping = verdict.mapping
        if verdict.ending is Ending.KEEP and change is None:
            return None
        # A deletion that is held isn't what a file asks for that has the row.
        takes_effect = verdict.ending is not Ending.SAY and not (spec and mapping and mapping.deleted)
        if takes_effect and mapping and verdict.ending is not Ending.KEEP:
            own = {stored.home: AccountRecord(mapping)}
            self._records[key] = {**(verdict.records or {}), **own}
            for account, record in self._records[key].items():
                self._served.setdefault(account, {})[key] = record.mapping
            if verdict.impact and verdict.ending is not Ending.HOLD and not seen.approves(mapping):
                self._took += verdict.impact.changes
        says_more = bool(verdict.reason) and not all_is_well(verdict.reason)
        warns = says_more and verdict.status is not Status.REMOVED
        told, besides = (verdict.reason, verdict.besides or verdict.reason) if warns else ("", "")
        if warns and verdict.scan and verdict.scan.foreign:
            told += f"; foreign roles: {verdict.scan.foreign:,}"
        if verdict.impact and verdict.ending is not Ending.HOLD:
            told = f"{told}; {verdict.impact}" if told else str(verdict.impact)
        if verdict.status is Status.REJECTED and spec and (meant := known.nearest_role(spec.role, self._roles)):
            told, besides = (f"{each}; did you mean '{meant}'?" for each in (told, besides))
        revision = stored.published.revision if stored.published else 0
        return Edit(
            key,
            verdict.status,
            told or _NOTHING,
            takes_effect=takes_effect,
            revision=revision,
            change=change,
            warns=warns,
            besides=besides or ("" if told else _NOTHING),
            impact=verdict.impact,
            foreign=verdict.scan.foreign if verdict.scan else 0,
            deletes=mapping.deleted if mapping else spec is None,
        )

    def _seen(self, key: MappingKey, stored: StoredMapping, change: Change | None) -> RowSnapshot:
        """The row as it would be, with what would be stored and counted by then."""
        row = _as_written(change) if change else self._rows[key]
        any_value = MappingKey(key.tag_key, ANY_VALUE)
        several, revisions = self._assessor.targets.several, self.deployment.app.revisions
        records = {**(revisions.records(key) if several else {}), **stored.records}
        stored = replace(
            stored,
            records={**records, **self._records.get(key, {})},
            any_value=self.served.get(any_value, stored.any_value),
            edits={**stored.edits, "total": stored.edits.get("total", 0) + self._took},
        )
        parsed = read_row(row, self.deployment.app.home)
        # Of a row that is served as it says, nothing is asked: so its instances aren't looked at.
        trigger = Trigger("planned", "") if change else Trigger("planned", "", recheck=True, scan=Scan())
        signed_as = revisions.signed_as(stored, parsed.approve, parsed.approved_by)
        return RowSnapshot(
            key, row, parsed, stored=stored, at=self.deployment.now(), trigger=trigger, signed_as=signed_as
        )


def _as_written(change: Change) -> Attributes:
    """A row after its change (`MappingRows.write`): empty when it is deleted."""
    if change.spec is None:
        return {}
    content = {column.name for column in COLUMNS}
    kept = {name: value for name, value in change.row.items() if name not in content | {"status"}}
    return {**kept, **change.after}
