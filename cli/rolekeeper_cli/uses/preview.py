"""What an edit or a file's mappings would change: in the mapping table, in the fleet, and in sum.

The functions' own modules decide it: `assess` rows, `decide` instances. Nothing is written.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import cached_property
from itertools import islice, takewhile
from typing import Any

from rolekeeper.aws.errors import AccessDeniedError
from rolekeeper.fleet.targets import ServedTarget
from rolekeeper.instances.decide import resolve
from rolekeeper.instances.observe import Unreadable
from rolekeeper.instances.window import approved_budget, counted, with_later
from rolekeeper.mappings.accounts import TargetScope
from rolekeeper.mappings.assess import Assessor
from rolekeeper.mappings.impact import MOVES, PHRASES, WORDS, Impact, Scan
from rolekeeper.mappings.revisions import AccountRecord, StoredMapping
from rolekeeper.mappings.rows import Attributes, read_row
from rolekeeper.mappings.snapshot import RowSnapshot, Trigger
from rolekeeper.mappings.verdict import Ending, Status, Verdict
from rolekeeper.model.instance import Action, Target
from rolekeeper.model.mapping import ANY_VALUE, Control, MappingKey, MappingSpec, Pin, PublishedMapping, same_person
from rolekeeper.model.problem import HINTS, Advice, Kind, Reason, ReasonCode, Remedy, advice, sentence
from rolekeeper.permissions import comparison
from rolekeeper.permissions.comparison import Difference, PolicyReader
from rolekeeper.storage import layout
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.layout import amount, several
from rolekeeper_cli.progress import Silent
from rolekeeper_cli.uses import fleet, mappings
from rolekeeper_cli.uses import names as known
from rolekeeper_cli.uses.edits import GOOD, Change, RowPlan, Unpublished, is_own, planned, text_in, worth_saying
from rolekeeper_cli.uses.fleet import Enforced, Seen, left_out, pages, profile_name, seen_now, withheld
from rolekeeper_cli.uses.revoked_policy import LIVES
from rolekeeper_cli.uses.targets import Places

# ---- mappings as if they were published ----

_NOTHING = "nothing of it is published"


@dataclass(frozen=True, slots=True)
class Edit:
    """One mapping whose row, or whose published revision, would change."""

    key: MappingKey
    status: Status  # what Rolekeeper would write into its row (`Removed` if none is left), and `reason` why
    reason: str
    takes_effect: bool  # whether it would be in effect as asked, without a person
    needs_approval: bool  # whether it would be so once a person approves it: a plan counts it as approved
    own: bool  # whether that has to be another person, as the caller would be, or is, its author
    revision: int  # what is published now, 0 for nothing
    change: Change | None = None  # the change of its row; None if the row is already as asked
    notes: tuple[Reason, ...] = ()  # why, beyond the change itself and `impact`
    asks: str = ""  # whether a row that is refused means another role
    # What it would do to instances, once it takes effect; None if it would publish nothing.
    impact: Impact | None = None
    foreign: int = 0  # how many instances with a foreign role it would govern

    @property
    def applies(self) -> bool:
        """Whether it would be in effect once the plan is applied, and approved if need be."""
        return self.takes_effect or self.needs_approval

    @property
    def blocks(self) -> bool:
        """Whether no plan with it can be applied: a row that is refused, and isn't edited, holds up no other."""
        return not self.applies and (self.change is not None or self.status is Status.HELD)

    @property
    def says_more(self) -> bool:
        """Whether the reason says more than the change itself does."""
        return self.status is not Status.REMOVED and (self.status is not Status.PUBLISHED or bool(self.notes))

    def note(self, hints: Mapping[ReasonCode, str] = HINTS) -> str:
        """What of the reason is neither the change itself nor `impact`."""
        return f"{sentence(self.notes, hints)}{self.asks}"

    def document(self) -> dict[str, Any]:
        return {
            "mapping": str(self.key),
            **(self.change.document() if self.change else {"kind": "unchanged", "columns": {}}),
            "status": self.status.value,
            "takes_effect": self.takes_effect,
            "needs_approval": self.needs_approval,
            "own_edit": self.own,
            "reason": self.reason,
            "note": self.note() or None,
            "effect": self.impact.document() if self.impact else None,
            "foreign": self.foreign,
        }


@dataclass(frozen=True, slots=True)
class Proposal:
    """A plan of rows, and the assessment of each (`edits`, by key).

    `published` are the mappings and tombstones, by account, that would be published instead of what is. `unseen` are
    sentences about targets that the caller can't look into: they aren't counted.
    """

    rows: RowPlan = field(default_factory=RowPlan)
    edits: Sequence[Edit] = ()
    published: Mapping[str, Mapping[MappingKey, PublishedMapping]] = field(default_factory=dict)
    unseen: Sequence[str] = ()

    def enforced(self, place: Deployment) -> Enforced:
        """The state table of a target as it would be then."""
        return Enforced.of(place, dict(self.published.get(place.settings.account, {})))


def propose(
    deployment: Deployment,
    specs: Sequence[MappingSpec],
    *,
    prune: bool,
    judged: Callable[[Edit], object] = lambda _: None,
) -> Proposal:
    """Judge mappings as if they were written into the table; with `prune`, all other rows were deleted.

    `judged` takes an edit as soon as what is said of it is final; one in conflict is so only with all of them.
    """
    table = deployment.app.table.all_rows()
    rows = written_again(deployment, planned(specs, table, deployment.app.home, prune=prune))
    wanted: dict[MappingKey, MappingSpec | None] = {each.key: each for each in specs}
    wanted |= {each.key: None for each in rows.changes if each.spec is None}
    freed = {} if prune else _in_conflict(table, deployment, wanted)
    return _Judge(deployment, table, rows, report=judged).proposal(wanted, freed)


def written_again(deployment: Deployment, plan: RowPlan) -> RowPlan:
    """The same plan, which also writes held rows that no longer need approval: they are published then."""
    held = tuple(each for each in plan.same if text_in(each.row, "status") == Status.HELD)
    try:
        edits = foresee(deployment, RowPlan(held)).edits if held else ()
    except AccessDeniedError:
        # The sweep publishes them too.
        return plan
    free = {each.key for each in edits if each.takes_effect and each.impact}
    again = (each for each in held if each.key in free)
    return replace(
        plan,
        changes=tuple(sorted((*plan.changes, *again), key=lambda each: each.key)),
        same=tuple(each for each in plan.same if each.key not in free),
        not_in_effect=tuple(each for each in plan.not_in_effect if each.key not in free),
    )


def foresee(deployment: Deployment, rows: RowPlan) -> Proposal:
    """Judge what a plan writes into the table, and no other row."""
    return _Judge(deployment, {}, rows).proposal({each.key: each.spec for each in rows.changes})


def foresee_held(deployment: Deployment, held: Unpublished) -> Proposal:
    """Judge a held edit, or deletion, by its row as it is; without an edit if it is in effect by now."""
    return _Judge(deployment, {held.key: held.row}, RowPlan()).proposal({held.key: None})


def _reasons(verdict: Verdict) -> tuple[str, tuple[Reason, ...]]:
    """The reason of an edit, and what of it is neither the change itself nor its impact."""
    notes = [] if verdict.status is Status.REMOVED else worth_saying(verdict.reasons)
    parts = [verdict.reason] if notes else []
    if notes and verdict.scan and verdict.scan.foreign:
        parts.append(f"foreign roles: {verdict.scan.foreign:,}")
    if verdict.impact and verdict.ending is not Ending.HOLD:
        parts.append(str(verdict.impact))
    if not parts and verdict.status is not Status.PUBLISHED:
        notes = [ReasonCode.TEXT(text=_NOTHING)]
    return "; ".join(parts) or _NOTHING, tuple(each for each in notes if each.code is not ReasonCode.PERMISSIONS)


def _in_conflict(
    table: Mapping[MappingKey, Attributes], deployment: Deployment, wanted: Collection[MappingKey]
) -> dict[MappingKey, MappingSpec]:
    """The table's other mappings that aren't published because of a conflict."""
    rows = {key: row for key, row in table.items() if key not in wanted and text_in(row, "status") == Status.CONFLICT}
    specs = {key: read_row(row, deployment.app.home).spec for key, row in rows.items()}
    return {key: spec for key, spec in specs.items() if spec}


class _Judge:
    """Judges one row after the other with the functions' own assessor, each as if those before it were published.

    It judges for all targets, as the functions do, as far as the caller can look into them.
    """

    def __init__(
        self,
        deployment: Deployment,
        table: Mapping[MappingKey, Attributes],
        rows: RowPlan,
        *,
        report: Callable[[Edit], object] = lambda _: None,
    ) -> None:
        self._deployment = deployment
        self._report = report
        self._table = table
        self._rows = rows
        self._changes = {each.key: each for each in rows.changes}
        self._places = Places.chosen(deployment)
        # By account: it is the same in all its Regions.
        self._published: dict[str, dict[MappingKey, PublishedMapping]] = {}
        self._records: dict[MappingKey, Mapping[str, AccountRecord]] = {}
        self._assessor = self._made()
        self._took, self._later = 0, Counter[datetime]()
        self._progress = Silent(None, "")
        self._judged = self._looked_at = 0

    def _made(self) -> Assessor:
        app, home = self._deployment.app, self._deployment.home
        roles = {home.account: app.roles}

        def mapped(place: Deployment) -> TargetScope:
            target = place.settings.target
            served = registered.get(target) or ServedTarget(target)
            published = self._published.setdefault(target.account, {})
            # The very dictionary: what is judged later sees what was published before.
            scanner = place.app.scanner(replace(Enforced.of(place, published), count=self._count))
            known, swept = roles.setdefault(target.account, place.app.roles), served.last_sweep is not None
            return TargetScope(target, known, scanner, instances=served.instances, unit=served.unit, swept=swept)

        places = self._places.reachable()
        # Read only if there are others.
        registered = {each.target: each for each in app.registry.all()} if len(places) > 1 else {}
        listed = [mapped(each) for each in places if each.elsewhere]
        targets = replace(app.mapped, own=mapped(self._deployment), listed=lambda: listed)
        return Assessor(targets, app.revisions, app.settings.mode)

    @cached_property
    def _roles(self) -> Sequence[str]:
        return known.path_roles(self._deployment)

    def proposal(
        self, wanted: Mapping[MappingKey, MappingSpec | None], freed: Mapping[MappingKey, MappingSpec] | None = None
    ) -> Proposal:
        """Judge what each row is to say; None deletes it. `freed` are other rows that may no longer be in conflict."""
        with self._deployment.progress(len(wanted), "mappings judged") as self._progress:
            edits = self._edits(wanted, freed or {})
        found = [edits[key] for key in sorted(edits)]
        return Proposal(self._rows, found, self._published, unseen=self._places.unseen_in_words())

    def _edits(
        self, wanted: Mapping[MappingKey, MappingSpec | None], freed: Mapping[MappingKey, MappingSpec]
    ) -> dict[MappingKey, Edit]:
        edits: dict[MappingKey, Edit] = {}
        # What changes first: a person waits for it, and a row that stays asks AWS as much.
        for key in sorted(wanted, key=lambda key: (key not in self._changes, key)):
            if edit := self._edit(key, wanted[key]):
                edits[key] = edit
                if edit.status is not Status.CONFLICT:
                    self._progress.hide()
                    self._report(edit)
            self._judged += 1
            self._count(0)
        # Of two rows in conflict, editing either clears both: so do the file's rows that of others.
        in_conflict = {key: wanted[key] for key, edit in edits.items() if edit.status is Status.CONFLICT}
        in_conflict |= freed
        before = -1
        while len(in_conflict) != before:
            before = len(in_conflict)
            again = {key: self._edit(key, in_conflict[key]) for key in sorted(in_conflict)}
            edits = {key: edit for key, edit in edits.items() if again.get(key, edit)}
            still = {key for key, edit in again.items() if edit and edit.status is Status.CONFLICT}
            edits |= {key: edit for key, edit in again.items() if edit and edit.applies and key not in still}
            in_conflict = {key: in_conflict[key] for key in still}
        return edits

    def _count(self, instances: int) -> None:
        """Show how far it is: one row may match the whole fleet."""
        self._looked_at += instances
        self._progress.at(self._judged, rest=f"{self._looked_at:,} instances looked at")

    def _edit(self, key: MappingKey, spec: MappingSpec | None) -> Edit | None:
        """What one row's edit would do; None if it is published already as it says."""
        change, stored = self._changes.get(key), self._deployment.app.revisions.read(key)
        snapshot = self._snapshot(key, stored, change)
        verdict = self._assessor.assess(snapshot)
        mapping = verdict.mapping
        if verdict.ending is Ending.KEEP and change is None and verdict.status in GOOD:
            return None
        # A deletion that is held isn't what a file asks for that has the row.
        applies = verdict.ending is not Ending.SAY and not (spec and mapping and mapping.deleted)
        held = verdict.ending is Ending.HOLD
        if applies and mapping and verdict.ending is not Ending.KEEP:
            own = {stored.home: AccountRecord(mapping)}
            self._records[key] = {**(verdict.records or {}), **own}
            for account, record in self._records[key].items():
                self._published.setdefault(account, {})[key] = record.mapping
            if verdict.impact and not held and not verdict.approval:
                self._took += verdict.impact.now
                self._later.update(verdict.impact.changes_at)
        meant = known.nearest_role(spec.role, self._roles) if spec and verdict.status is Status.REJECTED else ""
        asks, (reason, notes) = f"; did you mean '{meant}'?" if meant else "", _reasons(verdict)
        return Edit(
            key,
            verdict.status,
            f"{reason}{asks}",
            takes_effect=applies and not held,
            needs_approval=applies and held,
            own=held and self._is_own(stored, change),
            revision=stored.published.revision if stored.published else 0,
            change=change,
            notes=notes,
            asks=asks,
            impact=verdict.impact,
            foreign=verdict.scan.foreign if verdict.scan else 0,
        )

    def _is_own(self, stored: StoredMapping, change: Change | None) -> bool:
        """Whether an edit that would be held is the caller's: the one who writes it is its author."""
        caller = self._deployment.caller.arn
        return same_person(caller, caller) if change else is_own(self._deployment, stored.held)

    def _snapshot(self, key: MappingKey, stored: StoredMapping, change: Change | None) -> RowSnapshot:
        """The row as it would be, with what would be stored and counted by then."""
        row = change.written if change else self._table[key]
        any_value = MappingKey(key.tag_key, ANY_VALUE)
        several, revisions = self._assessor.targets.several, self._deployment.app.revisions
        records = {**(revisions.records(key) if several else {}), **stored.records}
        published = self._published[self._deployment.home.account]
        stored = replace(
            stored,
            records={**records, **self._records.get(key, {})},
            any_value=published.get(any_value, stored.any_value),
            edits={
                **stored.edits,
                "total": stored.edits.get("total", 0) + self._took,
                "later": with_later(stored.edits, self._later),
            },
        )
        parsed = read_row(row, self._deployment.app.home)
        # The instances of a row that is published as it says are only looked at if some are in conflict.
        scan = None if text_in(row, "status") == Status.CONFLICT else Scan()
        trigger = Trigger("planned", "") if change else Trigger("planned", "", recheck=True, scan=scan)
        approvals, now = revisions.approvals(stored.held), self._deployment.now()
        return RowSnapshot(key, row, parsed, stored=stored, at=now, trigger=trigger, approvals=approvals)


# ---- the fleet, counted while its instances go by ----

# The most mappings, rows, and kinds of changes that are named one by one.
_NAMED = 5
# What a row may come to without a note.
_FINE = GOOD | {Status.REMOVED}


@dataclass(frozen=True, slots=True)
class Move:
    """Instances of an account that go from one profile to another, by ARN, and get this role; each empty for none."""

    before: str
    after: str
    role: str
    account: str

    @property
    def roles(self) -> tuple[str, str]:
        """The two as `PolicyReader` takes them."""
        return self.before, self.role or self.after


@dataclass(slots=True)
class FleetPlan:
    """What would change in the fleet, counted while the instances go by."""

    deployment: Deployment
    proposal: Proposal = field(default_factory=Proposal)  # the edits as if they were published
    places: Places | None = None  # the targets that are looked into; None if nothing is said about them
    # The table's other rows that say something else than what is in effect (`mappings.waiting`).
    waiting: Sequence[Mapping[str, Any]] = ()
    narrowed: bool = False  # whether these are only some instances: then nothing is said about the window of changes
    # How many instances each target has, and `changed`, how many of them change.
    there: Counter[Target] = field(default_factory=Counter)
    changed: Counter[Target] = field(default_factory=Counter)
    actions: Counter[Action] = field(default_factory=Counter)
    moves: Counter[Move] = field(default_factory=Counter)
    # The roles that each revision takes away; `taken_in`, those of each target, by whether a mapping to `NONE` takes
    # them away.
    taken: Counter[tuple[MappingKey, int]] = field(default_factory=Counter)
    taken_in: Counter[tuple[Target, bool]] = field(default_factory=Counter)
    foreign: int = 0  # how many carry a foreign role that matters
    _readers: dict[str, PolicyReader] = field(default_factory=dict)

    @property
    def instances(self) -> int:
        return self.there.total()

    @property
    def changes(self) -> int:
        return self.changed.total()

    @property
    def nothing(self) -> str:
        """Why no instance is listed, in words; empty if one is."""
        unseen = bool(self.places and self.places.unseen)
        if unseen and not self.instances:
            return "No instance was looked at."
        if not self.instances:
            return "There are no instances to look at: see --region and --profile, or launch one."
        if self.actions[Action.NOTHING] == self.instances:
            seen = " that was looked at" if unseen else ""
            return f"Every instance{seen} is as it should be: see them with rolekeeper fleet."
        return ""

    def count(self, seen: Seen) -> None:
        decision, target = seen.decision, seen.instance.key.target
        self.there[target] += 1
        self.actions[decision.action] += 1
        self.foreign += decision.takes_over or decision.code == "occupied"
        if decision.action.mutates:
            self.changed[target] += 1
            self._move(seen)

    def becomes(self, then: Seen) -> Action:
        """Count an instance as it would be; returns its change, whether that is made at once or later."""
        action = Action.NOTHING
        if then.should_carry != then.carries:
            action = Action.DETACH if not then.should_carry else Action.REPLACE if then.carries else Action.ATTACH
            self._move(then)
        self.there.setdefault(then.instance.key.target, 0)
        self.actions[action] += 1
        self.foreign += bool(then.carries) and not then.managed
        return action

    def _move(self, seen: Seen) -> None:
        decision, target = seen.decision, seen.instance.key.target
        role = decision.role if decision.profile_arn else ""
        move = Move(seen.carries, seen.should_carry, role, account=target.account)
        if move in self.moves or len(self.moves) < MOVES:
            self.moves[move] += 1
        if decision.action.mutates and (counted_for := decision.counted_for):
            self.taken[counted_for, decision.revision] += 1
            self.taken_in[target, decision.quarantines] += 1

    def documents(
        self, seen: Iterable[Seen], keep: Callable[[Seen], object] = lambda _: None
    ) -> Iterator[dict[str, Any]]:
        """The instances that don't stay as they are, while all are counted; `keep` takes each of those."""
        for each in seen:
            self.count(each)
            if each.decision.action is not Action.NOTHING:
                keep(each)
                yield document(each)

    def rest(self) -> dict[str, Any]:
        """The other fields of a plan's document, once all instances are counted."""
        return {
            "mappings": [each.document() for each in self.proposal.edits],
            "permissions": [
                {
                    "account": move.account,
                    "from": profile_name(move.before),
                    "to": profile_name(move.after),
                    "instances": instances,
                    **asdict(found),
                    "severe": self._reader(move.account).severe_gain(*move.roles),
                }
                for move, instances, found in self.permissions()
            ],
            "paced": self.paced(),
            "waiting": list(self.waiting),
            "withheld": withheld(self.deployment),
            "unseen": [target.as_mapping() for target in self.places.unseen_views()] if self.places else [],
            "summary": self.summary(),
        }

    def summary(self) -> dict[str, Any]:
        counts = {action.value.lower(): self.actions[action] for action in Action}
        percent = round(100 * self.changes / self.instances, 1) if self.instances else 0.0
        whole = {"changes": self.changes, "instances": self.instances, "percent": percent}
        return {**counts, **whole, "accounts": self.accounts()}

    def accounts(self) -> list[dict[str, Any]]:
        found: dict[str, Counter[str]] = {}
        for target, instances in self.there.items():
            found.setdefault(target.account, Counter()).update(instances=instances, changes=self.changed[target])
        return [{"account": account, **counts} for account, counts in sorted(found.items())]

    def __str__(self) -> str:
        return (
            "{attach:,} to attach, {replace:,} to replace, {detach:,} to detach; {wait:,} waiting, {hold:,} blocked: "
            "{changes:,} of {instances:,} instances change ({percent} %)"
        ).format(**self.summary())

    def permissions(self) -> Iterator[tuple[Move, int, Difference]]:
        """What each change of role gains and loses, those of the most instances first."""
        for move, instances in self.moves.most_common():
            yield move, instances, self._reader(move.account).difference(*move.roles)

    def _reader(self, account: str) -> PolicyReader:
        if account not in self._readers:
            target = next(each for each in self.there if each.account == account)
            self._readers[account] = PolicyReader(self.deployment.at(target).app.iam)
        return self._readers[account]

    def paced(self) -> list[dict[str, Any]]:
        """The mappings that take roles away, if together they take more than the window lets through at once.

        Of each, how many `changes`, and how many of them go at once because they are `approved`, or are to be;
        `at_once` go at once besides, of all mappings, in the `minutes` of the window.
        """
        if self.narrowed or not self.taken:
            return []
        deployment, limits = self.deployment, self.deployment.settings.limits
        budgets = {key: layout.budget_key(key) for key, _ in self.taken}
        windows = {each: layout.changes_key(each[0], quarantines=each[1]) for each in self.taken_in}
        items = deployment.app.store.get([*windows.values(), *budgets.values()])

        def room_in(key: layout.Key, instances: int) -> int:
            taken = counted(items.get(key, {}), limits.minutes, deployment.now())
            return max(0, limits.allowed(instances) - taken)

        room = sum(min(self.taken_in[each], room_in(key, self.there[each[0]])) for each, key in windows.items())
        # The approval that a file's edit is held for lets its changes through.
        edits = self.proposal.edits
        held = {each.key: each.impact.takes for each in edits if each.status is Status.HELD and each.impact}
        approved = {}
        for (key, revision), changes in self.taken.items():
            credit = approved_budget(items.get(budgets[key], {}), revision)
            approved[key, revision] = min(changes, held.get(key, credit))
        if self.taken.total() <= room + sum(approved.values()):
            return []
        beside = {"at_once": room, "minutes": limits.minutes}
        return [
            {"mapping": str(each[0]), "changes": changes, "approved": approved[each], **beside}
            for each, changes in self.taken.most_common()
        ]


def document(seen: Seen) -> dict[str, Any]:
    shown = fleet.document(seen)
    first = ("instance", "account", "region", "name", "state", "action", "code")
    return {
        **{name: shown[name] for name in first},
        "from": shown["carries"],
        "to": shown["should_carry"],
        "role": seen.decision.role or None,
        **{name: shown[name] for name in ("mapping", "revision", "reason")},
    }


def in_words(found: Difference) -> str:
    """What a change of role gains and loses."""
    return comparison.in_words(found, WORDS)


def pace_in_words(pace: Sequence[Mapping[str, Any]]) -> str:
    by = several([f"{each['mapping']} {each['changes']:,}" for each in pace])
    approved = sum(each["approved"] for each in pace)
    too = f", and {approved:,} that are approved" if approved else ""
    return (
        f"{sum(each['changes'] for each in pace):,} roles are taken away ({by}), {pace[0]['at_once']:,} of them in "
        f"{pace[0]['minutes']} minutes{too}; the others wait their turn"
    )


def waiting_rows(deployment: Deployment, leave: Sequence[MappingKey]) -> tuple[list[dict[str, Any]], str]:
    """The rows that say something else than what is in effect, except some; or why they aren't known."""
    try:
        rows = deployment.app.table.all_rows()
    except AccessDeniedError as error:
        return [], f"whether rows wait isn't known: {_denied(error)}"
    others = {key: row for key, row in rows.items() if key not in leave}
    return mappings.waiting(mappings.documents(deployment, others)), ""


def waiting_in_words(waiting: Sequence[Mapping[str, Any]]) -> str:
    named = several([f"{each['mapping']}: {mappings.role_in_words(each)}" for each in waiting])
    rows = "1 row waits and isn't" if len(waiting) == 1 else f"{len(waiting):,} rows wait and aren't"
    return f"{rows} counted here: {named}"


# ---- in sum, for a person who is asked whether to do it ----


@dataclass(frozen=True, slots=True)
class Preview:
    """What something would do to instances."""

    impact: Impact = field(default_factory=Impact)
    approval: Impact = field(default_factory=Impact)  # what it would do once a person approves it, beside `impact`
    # Instances concerned that carry a foreign role; None: not counted, as in the verdict on a held edit.
    foreign: int | None = 0
    notes: tuple[str | Advice, ...] = ()  # what else to know, each a sentence
    unknown: str = ""  # why nothing of it is known; empty if it is
    withheld: bool = False  # whether these are changes that would be made, and then aren't
    # Those of the rows, if it is about rows, and `unpublished` why some wouldn't be published as written.
    statuses: Sequence[Status] = ()
    unpublished: Sequence[str] = ()
    paused: bool = False  # whether no changes are made now

    def lines(self) -> Iterator[str]:
        difference = Difference.of_all([self.impact.difference, self.approval.difference], PHRASES)
        if self.unknown:
            yield f"What it would do to instances isn't known: {self.unknown}."
        else:
            foreign = "" if self.foreign is None else f"; {self.foreign:,} with a foreign role"
            yield f"{'Withheld' if self.withheld else 'Instances'}: {_counts(self.impact)}{foreign}."
            if self.approval.changes:
                yield f"Once approved: {_counts(self.approval)}."
        if (self.impact.changes or self.approval.changes) and not self.withheld:
            compared = Difference(difference.gained, difference.lost)
            if compared != Difference():
                yield f"Permissions: {in_words(compared)}."
            if difference.unknown:
                yield f"Not all permissions could be compared: {difference.unknown}."
            elif compared == Difference():
                yield "Permissions: no change."
        yield from self.unpublished
        yield from map(str, self.notes)


def outlives(deployment: Deployment, instance: str = "INSTANCE") -> Advice:
    """Until when software may use a role that is taken away now, and what ends that."""
    until = deployment.now() + LIVES
    return advice(
        f"Software may use the former role's credentials until {until:%Y-%m-%dT%H:%M:%SZ} at the latest; to end them, "
        "once the role is taken away: ",
        Remedy(Kind.REVOKE, (instance,)),
    )


def of_rows(deployment: Deployment, rows: RowPlan) -> Preview:
    try:
        proposed = foresee(deployment, rows)
    except AccessDeniedError as error:
        return Preview(unknown=_denied(error))
    return of_proposal(deployment, proposed)


def of_held(deployment: Deployment, held: Unpublished) -> Preview:
    """What approving a held edit would do; if the caller may not look, what the function counted."""
    try:
        proposed = foresee_held(deployment, held)
    except AccessDeniedError as error:
        return _as_held(deployment.app.revisions.history(held.key), held.revision) or Preview(unknown=_denied(error))
    return of_proposal(deployment, proposed, approved=True)


def of_pin(deployment: Deployment, seen: Seen, pin: Pin) -> Preview:
    if seen.pin:
        note = f"It is pinned to {profile_name(seen.should_carry) or 'none'} now."
    else:
        wanted = profile_name(seen.should_carry)
        note = f"Its tags ask for {wanted}." if wanted else "Its tags match no mapping that gives a role."
    return _of_one(deployment, as_pinned(deployment, seen, pin), note=note)


def as_pinned(deployment: Deployment, seen: Seen, pin: Pin) -> Seen:
    candidates = resolve(seen.instance, seen.observed.published, seen.observed.asked_at, pin=pin)
    return Seen.of(replace(seen.observed, pin=pin, candidates=candidates), deployment)


def of_tags(deployment: Deployment, seen: Seen, tags: Mapping[str, str], *, released: bool = False) -> Preview:
    """What it would do to an instance to have these tags, or to be released from its pin; raises as `seen_now`."""
    described = replace(seen.instance, tags=tags)
    then = seen_now(deployment, seen.instance.key, described=described, released=released)
    return _of_one(deployment, then, note=f"It should carry {profile_name(then.should_carry) or 'none'} then.")


def of_switch(deployment: Deployment, after: Control, seconds: float) -> Preview:
    """What changing the control item would do: the changes that it lets through, or withholds.

    It looks at the fleet for this many seconds: a person who has to stop everything can't wait for 100,000 instances.
    """
    will = after.withholds(deployment.settings.mode)
    until = deployment.now().timestamp() + seconds
    plan, damaged, places = FleetPlan(deployment), list[str](), Places.chosen(deployment)
    try:
        found = places.look(pages, Enforced.of)
        for seen in takewhile(lambda _: deployment.now().timestamp() < until, found):
            if isinstance(seen, Unreadable):
                damaged.append(f"{left_out(seen)}.")
            else:
                plan.count(seen)
        whole = deployment.now().timestamp() < until
    except AccessDeniedError as error:
        return Preview(unknown=_denied(error))
    number = f"{'' if whole else 'the first '}{plan.instances:,} instances"
    differences = [] if will else [found for _, _, found in islice(plan.permissions(), _NAMED)]
    until_now = "They were withheld until now" if plan.changes else ""
    note = f"Nothing changes from then on: {will.reason}" if will else until_now or "Nothing was withheld until now"
    return Preview(
        _impact(plan.actions, differences),
        foreign=plan.foreign,
        notes=(
            f"{note}. {number[0].upper()}{number[1:]} were counted.",
            *(f"{each}." for each in places.unseen_in_words()),
            *_first(damaged, "more instances are left out"),
        ),
        withheld=bool(will),
    )


# What happens to a row that isn't published as written.
_OUTCOMES: Mapping[Status, str] = {
    Status.HELD: "wait for approval",
    Status.REJECTED: "be rejected",
    Status.CONFLICT: "be in conflict",
    Status.WAITING: "wait for AWS",
}

type Consequence = Callable[[Impact], str]
"""What a task does to instances at once, as the end of its question."""


def question(task: str, preview: Preview, consequence: Consequence | None = None) -> str:
    """Whether to do a task, and what comes of it unless every row is published as written."""
    does = consequence(preview.impact) if consequence and not preview.paused else ""
    sentences = [f"{task}{does}?"]
    for status, text in _OUTCOMES.items():
        count = preview.statuses.count(status)
        rows = "It" if len(preview.statuses) == 1 else "1 row" if count == 1 else f"{count:,} rows"
        sentences += [f"{rows} will {text}."] if count else []
    return " ".join(sentences)


def changes(impact: Impact) -> str:
    return f", which changes {amount(impact.changes, 'instance')}" if impact.changes else ""


def takes(impact: Impact) -> str:
    taken = f" and take the role from {amount(impact.detach, 'instance')}" if impact.detach else ""
    return taken + (f" and give {amount(impact.replace, 'instance')} another role" if impact.replace else "")


def of_proposal(deployment: Deployment, proposed: Proposal, *, approved: bool = False) -> Preview:
    """The sum over rows that were judged, and why others wouldn't be published; `approved`: those that are held are."""
    statuses = [Status.PUBLISHED if approved and each.needs_approval else each.status for each in proposed.edits]
    bad = [each for each, status in zip(proposed.edits, statuses, strict=True) if status not in _FINE]
    why_not = [f"{each.key} would be {each.status}: {each.note()}." for each in bad]
    notes = [f"{each}." for each in proposed.unseen]
    done = [(each, each.impact) for each in proposed.edits if each.applies and each.impact]
    later = [f"{each.key}: at {text}." for each, impact in done for text in impact.later_in_words]
    notes += _first(later, "more moments at which instances change")
    why = _why_not_now(deployment)
    held = any(each.needs_approval for each in proposed.edits)
    at_once = _sum([impact for each, impact in done if approved or each.takes_effect])
    former = [outlives(deployment)] if at_once.detach and not why else []
    return Preview(
        at_once,
        _sum([impact for each, impact in done if each.needs_approval and not approved]),
        foreign=None if held else sum(each.foreign for each in proposed.edits),
        notes=(*notes, *why, *former),
        statuses=statuses,
        unpublished=_first(why_not, "more rows wouldn't be published as written"),
        paused=bool(why),
    )


def _sum(impacts: Sequence[Impact]) -> Impact:
    total = Impact(difference=Difference.of_all([each.difference for each in impacts], PHRASES))
    for each in impacts:
        total.include(each)
    return total


def _counts(impact: Impact) -> str:
    later = f", {impact.only_later:,} to change only later" if impact.only_later else ""
    return f"{impact.attach:,} to attach, {impact.replace:,} to replace, {impact.detach:,} to detach{later}"


def _first(sentences: Sequence[str], more: str) -> list[str]:
    """As many as a person reads, and then how many more there are."""
    others = [f"{len(sentences) - _NAMED:,} {more}."] if len(sentences) > _NAMED else []
    return [*sentences[:_NAMED], *others]


def _as_held(history: Iterable[Mapping[str, Any]], number: int) -> Preview | None:
    for entry in history:
        if entry.get("revision") == number and (effect := entry.get("effect")):
            difference = Difference(tuple(effect["gained"]), tuple(effect["lost"]), effect.get("unknown", ""))
            attach, replaced, detach = (int(effect[name]) for name in ("attach", "replace", "detach"))
            only_later = int(effect.get("only_later", 0))
            impact = Impact(attach, replaced, detach, only_later=only_later, difference=difference)
            counted = f"It was counted at {entry['at'][:19]}Z."
            moments = [f"More instances change at {moment['at'][:19]}Z." for moment in effect.get("later", ())]
            return Preview(impact, notes=(counted, *_first(moments, "more moments at which instances change")))
    return None


def _impact(actions: Mapping[Action, int], differences: Sequence[Difference]) -> Impact:
    attach, replaced, detach = (actions.get(each, 0) for each in (Action.ATTACH, Action.REPLACE, Action.DETACH))
    return Impact(attach, replaced, detach, difference=Difference.of_all(differences, PHRASES))


def _of_one(deployment: Deployment, then: Seen, note: str) -> Preview:
    plan, notes = FleetPlan(deployment), [note]
    plan.becomes(then)
    if plan.foreign:
        notes.append(f"It carries the foreign {then.carries}, which Rolekeeper can't put back.")
    if then.waits:
        notes.append(f"It doesn't change at once: {then.waits}.")
    return of_several(plan, notes)


def of_several(plan: FleetPlan, notes: Sequence[str | Advice]) -> Preview:
    """The sum over the instances of a plan, each counted as it would be (`FleetPlan.becomes`)."""
    differences = [found for _, _, found in plan.permissions()]
    notes = (*notes, *_why_not_now(plan.deployment))
    return Preview(_impact(plan.actions, differences), foreign=plan.foreign, notes=notes)


def _why_not_now(deployment: Deployment) -> list[str]:
    why = withheld(deployment)
    return [f"No changes will be made now: {why}."] if why else []


def _denied(error: AccessDeniedError) -> str:
    return f"you aren't allowed {error.action} on {error.resource}"
