"""A rehearsal: the functions' own Publisher publishes a plan's rows, over copies of the two tables in memory.

Reads fall through to AWS, and writes stay in the copies. EC2 and IAM are only read; nothing is sent or reported.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Never

from rolekeeper.app import App, shared
from rolekeeper.aws.errors import AccessDeniedError, ConflictError, PermanentError
from rolekeeper.fleet.targets import Registry, ServedTarget
from rolekeeper.mappings.account_runs import AccountRuns
from rolekeeper.mappings.assess import Assessor
from rolekeeper.mappings.impact import Impact, Scan
from rolekeeper.mappings.rows import Attributes
from rolekeeper.mappings.snapshot import RowSnapshot
from rolekeeper.mappings.table import MappingTable, number_in
from rolekeeper.mappings.verdict import Ending, Status, Verdict
from rolekeeper.model.instance import Target
from rolekeeper.model.mapping import MappingKey, MappingSpec
from rolekeeper.model.problem import HINTS, Reason, ReasonCode, sentence
from rolekeeper.permissions.comparison import PolicyReader
from rolekeeper.permissions.roles import RoleCheck, Roles
from rolekeeper.storage import State, Store, Update, layout
from rolekeeper.storage.layout import Item, Key
from rolekeeper.storage.state import ABSENT, PRESENT, Write
from rolekeeper_cli.aws.deployment import Caller, Deployment
from rolekeeper_cli.instance.seen import Enforced
from rolekeeper_cli.progress import Silent
from rolekeeper_cli.row import edits, names
from rolekeeper_cli.row.edits import Change, OpenEdit, RowPlan
from rolekeeper_cli.row.effect import GOOD, text_in, worth_saying
from rolekeeper_cli.row.view import ImpactView, PlannedEditView
from rolekeeper_cli.target.use import Places

# ---- the two tables, with what is written in a rehearsal ----

# By its sign, whether a comparison holds for an attribute, None for one that isn't there.
_HOLDS: Mapping[str, Callable[[Any, Any], bool]] = {
    ABSENT: lambda found, _: found is None,
    PRESENT: lambda found, _: found is not None,
    "=": lambda found, value: bool(found == value),
    "<>": lambda found, value: bool(found != value),
    "<": lambda found, value: found is not None and found < value,
    "<=": lambda found, value: found is not None and found <= value,
    ">": lambda found, value: found is not None and found > value,
    ">=": lambda found, value: found is not None and found >= value,
}


def _updated(item: Item, update: Update) -> Item:
    """Return an item, empty for none, as an update leaves it; ConflictError if a condition doesn't hold."""
    for comparisons, name, value in update.conditions:
        found = item.get(name)
        if not any(_HOLDS[comparison](found, *(value or (None,))) for comparison in comparisons):
            raise ConflictError("ConditionalCheckFailedException", f"{name} isn't as it was read")
    after = dict(item)
    for clause, name, value in update.changes:
        before = after.pop(name, None)
        match clause, value:
            case "SET", (new,):
                after[name] = new
            case "ADD", (frozenset() as more,):
                after[name] = {*(before or ()), *more}
            case "ADD", (more,):
                after[name] = (before or 0) + more
            case "DELETE", (fewer,) if left := {*(before or ())} - fewer:
                after[name] = left
    return after


@dataclass(frozen=True)
class StoreCopy(Store):
    """The state table. Items of mappings are read once; a publication writes none on a condition that it didn't read.

    None stands for an item that isn't there.
    """

    _read: dict[Key, Item | None] = field(default_factory=dict)
    _written: dict[Key, Item | None] = field(default_factory=dict)

    def get(self, keys: Iterable[Key], refused: dict[Key, PermanentError] | None = None) -> dict[Key, Item]:
        wanted = list(keys)
        unknown = [key for key in wanted if key not in self._written and key not in self._read]
        found = super().get(unknown, refused) if unknown else {}
        # A plan goes by every instance, each only once.
        kept = (key for key in unknown if not (key[0].startswith("instance#") or key in (refused or ())))
        self._read.update({key: found.get(key) for key in kept})
        return found | {key: item for key in wanted if (item := self._item(key)) is not None}

    def _item(self, key: Key) -> Item | None:
        if key in self._written:
            item = self._written[key]
            return layout.from_attributes(layout.to_attributes(item)) if item is not None else None
        return self._read.get(key)

    def items(self, pk: str, until: str, after: str = "") -> Iterator[Item]:
        for read in super().items(pk, until, after):
            self._read.setdefault((pk, read["sk"]), read)
        found = sorted(key for key in self._read | self._written if key[0] == pk and after < key[1] <= until)
        yield from (item for key in found if (item := self._item(key)) is not None)

    def last(self, pk: str, prefix: str, limit: int) -> list[Item]:
        found = [item for item in self.items(pk, f"{prefix}\U0010ffff") if item["sk"].startswith(prefix)]
        return found[::-1][:limit]

    def put(self, item: Mapping[str, Any], *, if_higher: str = "", if_same: Sequence[str] = ()) -> Write:
        key, older = (item["pk"], item["sk"]), Update()
        if if_higher and self._item(key):
            older.only_if(if_higher, "<", item[if_higher]).only_as(item, *if_same)
        return {"key": key, "update": older, "item": dict(item)}

    def update(self, key: Key, update: Update) -> Write:
        return {"key": key, "update": update}

    def delete(self, key: Key, only: Update | None = None) -> Write:
        return {"key": key, "update": only or Update(), "item": None}

    def write(self, *writes: Write) -> None:
        after: dict[Key, Item | None] = {}
        for write in writes:
            updated = _updated(self._item(write["key"]) or {}, write["update"])
            after[write["key"]] = write.get("item", updated | layout.key_attributes(write["key"]))
        self._written.update(after)


@dataclass(frozen=True)
class TableCopy(MappingTable):
    """The mapping table; `rows` are those that are known, an empty one isn't there."""

    rows: dict[MappingKey, Attributes] = field(default_factory=dict)

    def get_rows(self, keys: Iterable[MappingKey]) -> dict[MappingKey, Attributes]:
        wanted = list(keys)
        if unknown := [key for key in wanted if key not in self.rows]:
            found = super().get_rows(unknown)
            self.rows.update({key: found.get(key, {}) for key in unknown})
        return {key: self.rows[key] for key in wanted if self.rows[key]}

    def get_row(self, key: MappingKey) -> Attributes | None:
        return self.get_rows([key]).get(key)

    def keys_of(self, tag_key: str) -> Iterator[list[MappingKey]]:
        yield from super().keys_of(tag_key)
        # Those that are new; it does no harm that others come twice.
        yield [key for key, row in self.rows.items() if row and key.tag_key == tag_key]

    def put(self, row: Attributes, condition: Update | None = None) -> None:
        key = MappingKey(row["tag_key"]["S"], row["tag_value"]["S"])
        self._write(key, condition or Update().only_as({}, "tag_key"), row)

    def update(self, key: MappingKey, update: Update) -> None:
        self._write(key, update, None)

    def delete(self, key: MappingKey, condition: Update) -> None:
        self._write(key, condition, {})

    def _write(self, key: MappingKey, update: Update, row: Attributes | None) -> None:
        updated = _updated(layout.from_attributes(self.get_row(key) or {}), update)
        self.rows[key] = layout.to_attributes(updated) if row is None else row


# ---- the other parts ----


class _Mute:
    """Stands for what sends and reports. A refusal is the caller's: a function would leave the row to its sweep."""

    def denied(self, error: AccessDeniedError, **_: Any) -> Never:
        raise error

    def begin(self, *_: Any, **__: Any) -> None:
        """Do nothing."""

    mapping = will_retry = dropped = begin


class _MadeRoles(Roles):
    """A profile that would be made counts as made."""

    def make(self, spec: MappingSpec, missing: str) -> RoleCheck:  # noqa: ARG002  # whatever is missing
        return RoleCheck()


@dataclass(frozen=True)
class _ReachableTargets(Registry):
    """The registered targets, without those into which the caller can't look."""

    reachable: Collection[Target] = ()

    def all(self, account: str = "") -> list[ServedTarget]:
        return [served for served in super().all(account) if served.target in self.reachable]


class _InLine(AccountRuns):
    """Starts no runs: however many accounts are concerned, they are asked here."""

    def are_needed(self, snapshot: RowSnapshot) -> bool:  # noqa: ARG002  # whatever the row
        return False


@dataclass(frozen=True, kw_only=True)
class RehearsedApp(App):
    """The functions' parts in the `reachable` targets, with these `rows`; `count` gets how many instances were read."""

    rows: dict[MappingKey, Attributes]
    reachable: Collection[Target]
    count: Callable[[int], object]

    @shared
    def table(self) -> MappingTable:
        return TableCopy(self.client("dynamodb"), self.settings.mapping_table, self.sleep, rows=self.rows)

    @shared
    def store(self) -> Store:
        return StoreCopy(self.client("dynamodb"), self.settings.state_table, sleep=self.sleep)

    @cached_property
    def state(self) -> State:
        return Enforced(**vars(super().state), count=self.count)

    @cached_property
    def roles(self) -> Roles:
        # A command rehearses several times: what IAM says is asked once.
        made = _MadeRoles(PolicyReader(self.iam), self.settings)
        kept: Roles = self.kept.setdefault(f"rehearsed roles {self.settings.target}", made)
        return kept

    @shared
    def registry(self) -> Registry:
        return _ReachableTargets(**vars(super().registry), reachable=self.reachable)

    telemetry, sender = shared[Any](lambda _: _Mute()), shared[Any](lambda _: _Mute())

    def _runs(self, assessor: Assessor) -> AccountRuns:
        return _InLine(**vars(super()._runs(assessor)))


# ---- what comes of each row ----

_NOTHING = "nothing of it is published"
# These put what a row says in the place of what is published, or will once it is approved.
_PUBLISHES = frozenset({Ending.PUBLISH, Ending.REMOVE, Ending.HOLD})


@dataclass(frozen=True)
class PlannedRow:
    """One mapping of a plan, and the verdict on its row."""

    key: MappingKey
    verdict: Verdict
    takes_effect: bool  # whether it would be in effect as asked, without a person
    needs_approval: bool  # whether it would be so once a person approves it: a plan counts it as approved
    own: bool  # whether that has to be another person, as the caller would be, or is, its author
    revision: int  # what its row says is in effect now, 0 for nothing
    change: Change | None = None  # the change of its row; None if the row is already as asked
    asks: str = ""  # whether a row that is refused means another role

    @property
    def status(self) -> Status:
        """What Rolekeeper would write into its row; `Removed` if none is left."""
        return self.verdict.status

    @property
    def impact(self) -> Impact | None:
        """What it would do to instances, once it takes effect; None if it would publish nothing."""
        return self.verdict.impact

    @property
    def foreign(self) -> int:
        """How many instances with a foreign role it would govern."""
        return self.verdict.scan.foreign if self.verdict.scan else 0

    @property
    def applies(self) -> bool:
        """Whether it would be in effect once the plan is applied, and approved if need be."""
        return self.takes_effect or self.needs_approval

    @property
    def blocks(self) -> bool:
        """Whether no plan with it can be applied: a row that is refused, and isn't edited, holds up no other."""
        return not self.applies and (self.change is not None or self.status is Status.HELD)

    @cached_property
    def _notes(self) -> list[Reason]:
        """Why, beyond the change itself and `impact`."""
        return [] if self.status is Status.REMOVED else worth_saying(self.verdict.reasons)

    @property
    def says_more(self) -> bool:
        """Whether the reason says more than the change itself does."""
        return self.status is not Status.REMOVED and (self.status is not Status.PUBLISHED or bool(self._notes))

    @property
    def reason(self) -> str:
        parts = [self.verdict.reason] if self._notes else []
        parts += [f"foreign roles: {self.foreign:,}"] if self._notes and self.foreign else []
        parts += [f"it would {self.impact}"] if self.impact and self.verdict.ending is not Ending.HOLD else []
        return f"{'; '.join(parts) or _NOTHING}{self.asks}"

    def note(self, hints: Mapping[ReasonCode, str] = HINTS) -> str:
        """What of the reason is neither the change itself nor `impact`."""
        notes = [reason for reason in self._notes if reason.code is not ReasonCode.PERMISSIONS]
        says_nothing = not (self._notes or self.impact or self.status is Status.PUBLISHED)
        return f"{_NOTHING if says_nothing else sentence(notes, hints)}{self.asks}"

    def view(self) -> PlannedEditView:
        return PlannedEditView(
            mapping=str(self.key),
            kind=self.change.kind if self.change else "unchanged",
            columns=self.change.columns if self.change else {},
            status=self.status.value,
            takes_effect=self.takes_effect,
            needs_approval=self.needs_approval,
            own_edit=self.own,
            reason=self.reason,
            note=self.note() or None,
            effect=ImpactView.of(self.impact.document()) if self.impact else None,
            foreign=self.foreign,
        )


# ---- the rehearsal ----

ID = "rehearsal"
# Who approves what is held: nobody's own edit is theirs.
APPROVER = Caller("the approver of a rehearsal", "rehearsal", account="", partition="")

type Report = Callable[[PlannedRow], object]


class Rehearsal:
    """Publishes rows one after the other, as the functions would, in all targets into which the caller may look."""

    def __init__(self, deployment: Deployment, plan: RowPlan, table: Mapping[MappingKey, Attributes]) -> None:
        """`table` are rows as they were read, beside those of the plan."""
        self._plan, self._places = plan, Places.chosen(deployment)
        self._changes = {change.key: change for change in plan.changes}
        self._wanted = self._changes | {change.key: change for change in plan.same}
        self._table = {**table, **{key: change.row for key, change in self._wanted.items()}}
        self.app = RehearsedApp(
            **{each.name: getattr(deployment.app, each.name) for each in fields(App) if each.init},
            rows=dict(self._table),
            reachable=[place.settings.target for place in self._places.reachable()],
            count=self._count,
        )
        self._deployment = deployment.over(self.app)
        self._rows: dict[MappingKey, PlannedRow] = {}
        self._progress, self._judged, self._looked_at = Silent(None, ""), 0, 0

    def publish(self, report: Report) -> None:
        """Write the plan's changes, have them judged in order, and judge the rows that say already what is wanted.

        `report` gets a row as soon as what is said of it is final; one in conflict is so only with all of them.
        """
        with self._deployment.progress(len(self._wanted), "mappings judged") as self._progress:
            # What changes first: a person waits for it, and a row that stays asks AWS as much.
            for key in self._wanted:
                self._note(key, self._written(self._changes[key]) if key in self._changes else self._again(key))
                row = self._rows[key]
                if self._is_news(row) and row.status is not Status.CONFLICT:
                    self._progress.hide()
                    report(row)
                self._judged += 1
                self._count(0)

    def _written(self, change: Change) -> Verdict:
        """Write a row, or delete it, and have that judged."""
        edits.write_change(self._deployment, change)
        by = "" if change.spec else self._deployment.caller.arn
        return self.app.publisher.publish(change.key, ID, claimed_by=by)

    def _again(self, key: MappingKey) -> Verdict:
        """Judge a row as it is. The instances of one that is published are only looked at if some are in conflict."""
        in_conflict = text_in(self.app.table.get_row(key) or {}, "status") == Status.CONFLICT
        return self.app.publisher.recheck(key, ID, None if in_conflict else Scan())

    def _count(self, instances: int) -> None:
        """Show how far it is: one row may match the whole fleet."""
        self._looked_at += instances
        self._progress.at(self._judged, rest=f"{self._looked_at:,} instances looked at")

    def settle(self) -> None:
        """Judge rows in conflict again until none of them changes: of two rows, editing either clears both."""
        others = self._table.keys() - self._wanted.keys()
        left = {key for key in others if text_in(self._table[key], "status") == Status.CONFLICT}
        left |= {key for key, row in self._rows.items() if row.status is Status.CONFLICT}
        before: set[MappingKey] = set()
        while left != before:
            before = left
            for key in sorted(left):
                self._note(key, self._again(key))
            left = {key for key in left if self._rows[key].status is Status.CONFLICT}

    def _note(self, key: MappingKey, verdict: Verdict) -> None:
        """Keep a verdict, and those on rows that it freed; one that was published stays so."""
        for freed, again in verdict.freed.items():
            self._note(freed, again)
        known = self._rows.get(key)
        if not (known and known.verdict.ending in _PUBLISHES and verdict.ending is Ending.KEEP):
            self._rows[key] = self._row(key, verdict)

    def _row(self, key: MappingKey, verdict: Verdict) -> PlannedRow:
        wanted, mapping, verdict = self._wanted.get(key), verdict.mapping, self._with_rows_before(verdict)
        spec = wanted.spec if wanted else None
        # A deletion that is held isn't what a file asks for that has the row.
        applies = verdict.ending is not Ending.SAY and not (spec and mapping and mapping.deleted)
        held = verdict.ending is Ending.HOLD
        meant = names.nearest_role(spec.role, self._roles) if spec and verdict.status is Status.REJECTED else ""
        return PlannedRow(
            key,
            verdict,
            takes_effect=applies and not held,
            needs_approval=applies and held,
            own=held and edits.is_own(self._deployment, self.app.revisions.read(key).held),
            revision=number_in(self._table.get(key, {}), "status_revision"),
            change=self._changes.get(key),
            asks=f"; did you mean '{meant}'?" if meant else "",
        )

    def _with_rows_before(self, verdict: Verdict) -> Verdict:
        """Say of a held row how many instances the plan changes with those before it: nobody wrote these edits yet."""
        impact = verdict.impact if verdict.ending is Ending.HOLD else None
        done = [row.impact for row in self._rows.values() if row.change and row.takes_effect and row.impact]
        if impact is None or not (planned := min(sum(each.changes for each in done), impact.took)):
            return verdict
        alone = replace(impact, took=impact.took - planned).extent
        said = {"extent": f"{alone}, {impact.changes + planned:,} with the rows before it in the plan"}
        first, *others = verdict.reasons  # what it would do
        return replace(verdict, reasons=(replace(first, arguments={**first.arguments, **said}), *others))

    @cached_property
    def _roles(self) -> Sequence[str]:
        return names.path_roles(self._deployment)

    def _is_news(self, row: PlannedRow) -> bool:
        """Return whether a row of the plan isn't just in effect as it says, or another takes effect by the plan."""
        if row.key not in self._wanted:
            return row.verdict.ending in _PUBLISHES
        return bool(row.change) or row.verdict.ending is not Ending.KEEP or row.status not in GOOD

    def proposal(self) -> "Proposal":
        found = [row for _, row in sorted(self._rows.items()) if self._is_news(row)]
        return Proposal(self._plan, found, unseen=self._places.unseen_in_words(), rehearsal=self)

    def approved(self, rows: Iterable[PlannedRow]) -> Deployment:
        """Approve what is held of these rows; returns the deployment as it would be then."""
        for row in rows:
            held = self.app.revisions.read(row.key).held if row.needs_approval else None
            if held:
                edits.sign(self._deployment, held, APPROVER)
                self.app.publisher.approved(row.key, APPROVER.id, ID)
        return self._deployment


@dataclass(frozen=True)
class Proposal:
    """A plan of rows, and what comes of each (`edits`, by key).

    `unseen` are sentences about targets that the caller can't look into: they aren't counted.
    """

    rows: RowPlan = field(default_factory=RowPlan)
    edits: Sequence[PlannedRow] = ()
    unseen: Sequence[str] = ()
    rehearsal: Rehearsal | None = None

    @cached_property
    def deployment(self) -> Deployment | None:
        """The deployment as it would be then, also what needs approval; None if the plan is of no rows."""
        return self.rehearsal.approved(self.edits) if self.rehearsal else None

    @property
    def enforced(self) -> Callable[[Deployment], Enforced]:
        """What makes the state table of a target as it would be then."""
        then = self.deployment
        return lambda place: Enforced.of(then.at(place.settings.target) if then else place, {})


def propose(
    deployment: Deployment, specs: Sequence[MappingSpec], *, prune: bool, show: Report = lambda _: None
) -> Proposal:
    """Rehearse mappings as if they were written into the table; with `prune`, all other rows were deleted.

    `show` takes a row as soon as what is said of it is final.
    """
    table = deployment.app.table.all_rows()
    rows = written_again(deployment, edits.planned(specs, table, deployment.app.home, prune=prune))
    rehearsal = Rehearsal(deployment, rows, table)
    rehearsal.publish(show)
    rehearsal.settle()
    return rehearsal.proposal()


def written_again(deployment: Deployment, plan: RowPlan) -> RowPlan:
    """The same plan, which also writes held rows that no longer need approval: they are published then."""
    held = tuple(each for each in plan.same if text_in(each.row, "status") == Status.HELD)
    try:
        rows = foresee(deployment, RowPlan(held)).edits if held else ()
    except AccessDeniedError:
        # The sweep publishes them too.
        return plan
    free = {each.key for each in rows if each.takes_effect and each.impact}
    again = (each for each in held if each.key in free)
    return replace(
        plan,
        changes=tuple(sorted((*plan.changes, *again), key=lambda each: each.key)),
        same=tuple(each for each in plan.same if each.key not in free),
        not_in_effect=tuple(each for each in plan.not_in_effect if each.key not in free),
    )


def foresee(deployment: Deployment, wanted: RowPlan | Sequence[OpenEdit]) -> Proposal:
    """Rehearse what a plan writes into the table; or judge what is held by its rows, as they are."""
    edits = () if isinstance(wanted, RowPlan) else wanted
    same = tuple(Change(edit.key, edit.row, was=None, spec=None) for edit in edits)
    plan = wanted if isinstance(wanted, RowPlan) else RowPlan(same=same)
    rehearsal = Rehearsal(deployment, plan, {})
    rehearsal.publish(lambda _: None)
    return rehearsal.proposal()
