"""What would change, by an edit or by a file's mappings: in the mapping table, in the fleet, and in sum.

The functions' own modules say it: `assess` of rows, `decide` of instances. Nothing is written.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import islice, takewhile
from typing import Any

from rolekeeper.aws.errors import AccessDeniedError
from rolekeeper.fleet.targets import ServedTarget
from rolekeeper.instances.decide import resolve
from rolekeeper.instances.observe import Unreadable
from rolekeeper.instances.window import approved_budget, counted
from rolekeeper.mappings.accounts import MappedTarget
from rolekeeper.mappings.impact import MOVES, PHRASES, WORDS, Impact, Scan
from rolekeeper.mappings.revisions import AccountRecord, StoredMapping
from rolekeeper.mappings.rows.columns import COLUMNS, Attributes
from rolekeeper.mappings.rows.reader import read_row
from rolekeeper.mappings.verdict import Assessor, Ending, RowSnapshot, Status, Trigger
from rolekeeper.model.instance import Action, Target
from rolekeeper.model.mapping import ANY_VALUE, Control, MappingKey, MappingSpec, Pin, PublishedMapping
from rolekeeper.permissions import compare
from rolekeeper.permissions.compare import Difference, PolicyReader
from rolekeeper.storage import layout
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.layout import several
from rolekeeper_cli.uses import mappings
from rolekeeper_cli.uses import names as known
from rolekeeper_cli.uses.edits import Change, RowPlan, all_is_well, planned, said
from rolekeeper_cli.uses.fleet import Enforced, Seen, left_out, pages, profile_name, seen_now, withheld
from rolekeeper_cli.uses.instances import name_of, where
from rolekeeper_cli.uses.targets import Places

# ---- mappings as if they were published ----

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

    @property
    def says_more(self) -> bool:
        """Whether there is more to tell than the change itself."""
        return self.warns or self.status not in {Status.PUBLISHED, Status.REMOVED}

    def document(self) -> dict[str, Any]:
        return {
            "mapping": str(self.key),
            **(self.change.document() if self.change else {"kind": "unchanged", "columns": {}}),
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
    table = deployment.app.table.all_rows()
    rows = planned(specs, table, deployment.app.home, prune=prune)
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
        return Enforced.of(place, self._served.setdefault(place.settings.account, {}))

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
    """A row after its change (`edits.write_change`): empty when it is deleted."""
    if change.spec is None:
        return {}
    content = {column.name for column in COLUMNS}
    kept = {name: value for name, value in change.row.items() if name not in content | {"status"}}
    return {**kept, **change.after}


# ---- the fleet, counted while its instances go by ----

# The most mappings, rows, and kinds of changes that are named one by one.
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Move:
    """Instances of an account that go from one profile to another, by ARN; empty for none.

    `role` is the one that they get.
    """

    before: str
    after: str
    role: str
    account: str


@dataclass(frozen=True, slots=True)
class Paced:
    """A mapping that takes roles away, where together they take more than goes at once.

    Attributes:
        changes: the roles that it takes away.
        approved: as many of them go beyond the number, as a person approved that revision, or is to.
        at_once: the changes of all mappings that have room now, without those.
        minutes: the time in which that is counted.
    """

    mapping: str
    changes: int
    approved: int
    at_once: int
    minutes: int


@dataclass(slots=True)
class FleetPlan:
    """What would change in the fleet, counted while the instances go by.

    Attributes:
        proposal: the mappings as if they were published; none by default.
        places: the targets that are looked into; None where nothing is said of them.
        narrowed: whether these are only some instances: then nothing is said of what a window lets through.
        there: how many instances each target has, and `changed`, how many of them change.
        taken: the roles that each revision takes away; `taken_in`, those of each target, by whether a mapping to
            `NONE` takes them away.
        foreign: how many carry a foreign role that matters.
    """

    deployment: Deployment
    proposal: Proposal = field(default_factory=Proposal)
    places: Places | None = None
    narrowed: bool = False
    there: Counter[Target] = field(default_factory=Counter)
    changed: Counter[Target] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)
    moves: Counter[Move] = field(default_factory=Counter)
    taken: Counter[tuple[MappingKey, int]] = field(default_factory=Counter)
    taken_in: Counter[tuple[Target, bool]] = field(default_factory=Counter)
    foreign: int = 0

    @property
    def instances(self) -> int:
        return self.there.total()

    @property
    def changes(self) -> int:
        """The instances that would change."""
        return self.changed.total()

    @property
    def nothing(self) -> str:
        """Why there is no line, in words; empty where there is one. With targets left out, it speaks of the others."""
        unseen = bool(self.places and self.places.unseen)
        if unseen and not self.instances:
            return "No instance was looked at."
        if not self.instances:
            return "There are no instances to look at: see --region and --profile, or launch one."
        if self.actions[Action.NOTHING.value] == self.instances:
            seen = " that was looked at" if unseen else ""
            return f"Every instance{seen} is as it should be: see them with rolekeeper fleet."
        return ""

    def count(self, seen: Seen) -> None:
        decision, target = seen.decision, seen.instance.key.target
        self.there[target] += 1
        self.actions[decision.action.value] += 1
        self.foreign += decision.takes_over or decision.code == "occupied"
        if decision.action.mutates:
            self.changed[target] += 1
            role = decision.role if decision.profile_arn else ""
            move = Move(seen.carries, seen.should_carry, role, account=target.account)
            if move in self.moves or len(self.moves) < MOVES:
                self.moves[move] += 1
            if counted_for := decision.counted_for:
                self.taken[counted_for, decision.revision] += 1
                self.taken_in[target, decision.quarantines] += 1

    def documents(
        self, seen: Iterable[Seen], keep: Callable[[Seen], object] = lambda _: None
    ) -> Iterator[dict[str, Any]]:
        """The instances that don't stay as they are, while all of them are counted; `keep` takes each of those."""
        for each in seen:
            self.count(each)
            if each.decision.action is not Action.NOTHING:
                keep(each)
                yield document(each)

    def rest(self) -> dict[str, Any]:
        """What a plan says beside its changes, once all instances are counted."""
        return {
            "mappings": [each.document() for each in self.proposal.edits],
            "permissions": [
                {
                    "account": move.account,
                    "from": profile_name(move.before),
                    "to": profile_name(move.after),
                    "instances": instances,
                    **asdict(found),
                }
                for move, instances, found in self.permissions()
            ],
            "paced": [asdict(each) for each in self.paced()],
            "waiting": list(self.proposal.waiting),
            "withheld": withheld(self.deployment),
            "unseen": self.places.unseen_documents() if self.places else [],
            "summary": self.summary(),
        }

    def summary(self) -> dict[str, Any]:
        counts = {action.value.lower(): self.actions[action.value] for action in Action}
        percent = round(100 * self.changes / self.instances, 1) if self.instances else 0.0
        whole = {"changes": self.changes, "instances": self.instances, "percent": percent}
        return {**counts, **whole, "accounts": self.accounts()}

    def accounts(self) -> list[dict[str, Any]]:
        """How many instances each account has, and how many of them change."""
        found: dict[str, Counter[str]] = {}
        for target, instances in self.there.items():
            found.setdefault(target.account, Counter()).update(instances=instances, changes=self.changed[target])
        return [{"account": account, **counts} for account, counts in sorted(found.items())]

    def __str__(self) -> str:
        said = self.summary()
        return (
            f"{said['attach']:,} to attach, {said['replace']:,} to replace, {said['detach']:,} to detach; "
            f"{said['wait']:,} waiting, {said['hold']:,} blocked: "
            f"{said['changes']:,} of {said['instances']:,} instances change ({said['percent']} %)"
        )

    def permissions(self) -> Iterator[tuple[Move, int, Difference]]:
        """What each change of role gains and loses, those of the most instances first."""
        of_account = {target.account: target for target in reversed(self.there)}
        readers: dict[str, PolicyReader] = {}
        for move, instances in self.moves.most_common():
            if move.account not in readers:
                readers[move.account] = PolicyReader(self.deployment.at(of_account[move.account]).app.iam)
            yield move, instances, readers[move.account].difference(move.before, move.role or move.after)

    def paced(self) -> list[Paced]:
        """The mappings whose changes don't all go at once: the window's number and approvals let some through."""
        if self.narrowed or not self.taken:
            return []
        deployment, limits = self.deployment, self.deployment.settings.limits
        budgets = {(key, revision): layout.budget_key(key) for key, revision in self.taken}
        windows = {each: layout.changes_key(each[0], quarantines=each[1]) for each in self.taken_in}
        items = deployment.app.store.get([*windows.values(), *dict.fromkeys(budgets.values())])

        def room_in(key: layout.Key, instances: int) -> int:
            taken = counted(items.get(key, {}), limits.minutes, deployment.now())
            return max(0, limits.allowed(instances) - taken)

        room = sum(min(self.taken_in[each], room_in(key, self.there[each[0]])) for each, key in windows.items())
        # What a file's edit is held for, its approval lets through.
        edits = self.proposal.edits
        held = {each.key: each.impact.takes for each in edits if each.status is Status.HELD and each.impact}
        approved = {}
        for (key, revision), changes in self.taken.items():
            credit = approved_budget(items.get(budgets[key, revision], {}), revision)
            approved[key, revision] = min(changes, held.get(key, credit))
        if self.taken.total() <= room + sum(approved.values()):
            return []
        return [
            Paced(str(key), changes, approved[key, revision], at_once=room, minutes=limits.minutes)
            for (key, revision), changes in self.taken.most_common()
        ]


def document(seen: Seen) -> dict[str, Any]:
    """One instance of the plan, for programs."""
    decision = seen.decision
    return {
        **where(seen.instance.key),
        "name": name_of(seen.instance),
        "state": seen.instance.state.value,
        "action": decision.action.value,
        "code": decision.code,
        "from": profile_name(seen.carries),
        "to": profile_name(seen.should_carry),
        "role": decision.role or None,
        "mapping": str(decision.mapping) if decision.mapping else None,
        "revision": decision.revision,
        "reason": decision.reason,
    }


def in_words(found: Difference) -> str:
    """What a change of role gains and loses."""
    return compare.in_words(found, WORDS)


def pace_in_words(pace: Sequence[Paced]) -> str:
    """The pace in a sentence, for people."""
    by = several([f"{each.mapping} {each.changes:,}" for each in pace])
    approved = sum(each.approved for each in pace)
    too = f", and {approved:,} that are approved" if approved else ""
    return (
        f"{sum(each.changes for each in pace):,} roles are taken away ({by}), {pace[0].at_once:,} of them in "
        f"{pace[0].minutes} minutes{too}; the others wait their turn"
    )


def waiting_rows(deployment: Deployment, leave: Sequence[MappingKey]) -> tuple[list[dict[str, Any]], str]:
    """The rows that say something else than what is in effect, but for some; or why that isn't known."""
    try:
        rows = deployment.app.table.all_rows()
    except AccessDeniedError as error:
        return [], f"whether rows wait isn't known: {_denied(error)}"
    others = {key: row for key, row in rows.items() if key not in leave}
    return mappings.waiting(mappings.documents(deployment, others)), ""


def waiting_in_words(waiting: Sequence[Mapping[str, Any]]) -> str:
    """The rows that wait in a sentence, for people."""
    named = several([f"{each['mapping']}: {mappings.role_in_words(each)}" for each in waiting])
    rows = "1 row waits and isn't" if len(waiting) == 1 else f"{len(waiting):,} rows wait and aren't"
    return f"{rows} counted here: {named}"


# ---- in sum, for a person who is asked whether to do it ----


@dataclass(frozen=True, slots=True)
class Preview:
    """What something would do to instances.

    Attributes:
        attach: instances that get a role, `replace`: another one, and `detach`: none; `only_later`: others, which
            change when a mapping expires.
        difference: the permissions that they gain and lose.
        foreign: instances concerned that carry a foreign role.
        notes: what else is to be known, each a sentence.
        unknown: why nothing of it is known; empty where it is.
        withheld: whether these are changes that would be made and then aren't.
    """

    attach: int = 0
    replace: int = 0
    detach: int = 0
    difference: Difference = Difference()  # noqa: RUF009  # frozen
    foreign: int = 0
    notes: tuple[str, ...] = ()
    unknown: str = ""
    withheld: bool = False
    only_later: int = 0

    @property
    def changes(self) -> int:
        return self.attach + self.replace + self.detach + self.only_later

    def lines(self) -> Iterator[str]:
        if self.unknown:
            yield f"What it would do to instances isn't known: {self.unknown}."
        else:
            counts = f"{self.attach:,} to attach, {self.replace:,} to replace, {self.detach:,} to detach"
            counts += f", {self.only_later:,} to change only later" if self.only_later else ""
            yield f"{'Withheld' if self.withheld else 'Instances'}: {counts}; {self.foreign:,} with a foreign role."
        if self.changes and not self.withheld:
            known = Difference(self.difference.gained, self.difference.lost)
            if known != Difference():
                yield f"Permissions: {in_words(known)}."
            if self.difference.unknown:
                yield f"Not all permissions could be compared: {self.difference.unknown}."
            elif known == Difference():
                yield "Permissions: no change."
        yield from self.notes


def of_rows(deployment: Deployment, rows: RowPlan) -> Preview:
    """What writing a plan's rows would do."""
    try:
        proposed = foresee(deployment, rows)
    except AccessDeniedError as error:
        return Preview(unknown=_denied(error))
    return of_proposal(proposed, withheld(deployment))


def of_held(deployment: Deployment, key: MappingKey, row: Attributes, number: int) -> Preview:
    """What approving a held revision would do; where the caller may not look, what the function counted."""
    try:
        proposed = foresee_held(deployment, key, row)
    except AccessDeniedError as error:
        return _as_held(deployment.app.revisions.history(key), number) or Preview(unknown=_denied(error))
    return of_proposal(proposed, withheld(deployment), approved=True)


def of_pin(deployment: Deployment, seen: Seen, pin: Pin) -> Preview:
    """What pinning an instance would do."""
    candidates = resolve(seen.instance, seen.observed.published, seen.observed.asked_at, pin=pin)
    then = Seen.of(replace(seen.observed, pin=pin, candidates=candidates), deployment)
    if seen.observed.pin:
        note = f"It is pinned to {_named(seen.should_carry)} now."
    else:
        wanted = profile_name(seen.should_carry)
        note = f"Its tags ask for {wanted}." if wanted else "Its tags match no mapping that gives a role."
    return _of_one(deployment, seen, then, note=note)


def of_tags(deployment: Deployment, seen: Seen, tags: Mapping[str, str], *, released: bool = False) -> Preview:
    """What it would do to an instance to have these tags, or to be released from its pin.

    Raises:
        CorruptItemError: its record, or a mapping for such tags, is damaged.
    """
    described = replace(seen.instance, tags=tags)
    then = seen_now(deployment, seen.instance.key, described=described, released=released)
    return _of_one(deployment, seen, then, note=f"It should carry {_named(then.should_carry)} then.")


def of_switch(deployment: Deployment, after: Control, seconds: float) -> Preview:
    """What changing the control item would do: the changes that it lets through, or withholds.

    The fleet is looked at for that many seconds: who has to stop everything at once can't wait for 100,000 instances.
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
    actions = plan.actions
    moves = [] if will else [found for _, _, found in islice(plan.permissions(), _NAMED)]
    until_now = "They were withheld until now" if plan.changes else ""
    note = f"Nothing changes from then on: {will.reason}" if will else until_now or "Nothing was withheld until now"
    return Preview(
        actions[Action.ATTACH],
        actions[Action.REPLACE],
        actions[Action.DETACH],
        difference=_together(moves),
        foreign=plan.foreign,
        notes=(
            f"{note}. {number[0].upper()}{number[1:]} were counted.",
            *(f"{each}." for each in places.unseen_in_words()),
            *_first(damaged, "more instances are left out"),
        ),
        withheld=bool(will),
    )


def question(key: MappingKey, preview: Preview, *, deletes: bool, revision: int = 0) -> str:
    """Whether to delete a mapping, or to publish a revision of it."""
    if preview.unknown:
        return f"Delete {key}?" if deletes else f"Publish revision {revision} of {key}?"
    if not deletes:
        return f"Publish revision {revision} of {key}, which changes {_instances(preview.changes)}?"
    takes = [f"take the role from {_instances(preview.detach)}"] if preview.detach else []
    gives = [f"give {_instances(preview.replace)} another role"] if preview.replace else []
    return f"Delete {' and '.join([str(key), *takes, *gives])}?"


# ---- how ----


def of_proposal(proposed: Proposal, why_not: str, *, approved: bool = False) -> Preview:
    """The sum over rows that were judged, and of those that wouldn't be published, why.

    `why_not` says why nothing changes now; it is empty where something does.
    """
    edits = proposed.edits
    done = [each for each in edits if each.takes_effect]
    impacts = [each.impact for each in done if each.impact]
    bad = [each for each in edits if each.status not in {Status.PUBLISHED, Status.REMOVED, Status.EXPIRED}]
    said = [] if approved else [f"{each.key} would be {each.status}: {each.reason}." for each in bad]
    notes = [*_first(said, "more rows wouldn't be published as written"), *(f"{each}." for each in proposed.unseen)]
    ends = [f"{each.key}: at {each.impact.at_expiry}." for each in done if each.impact and each.impact.at_expiry]
    notes += _first(ends, "more rows change instances when they expire")
    if why_not:
        notes.append(f"No changes will be made now: {why_not}.")
    return Preview(
        sum(each.attach for each in impacts),
        sum(each.replace for each in impacts),
        sum(each.detach for each in impacts),
        difference=_together([each.difference for each in impacts]),
        foreign=sum(each.foreign for each in edits),
        notes=tuple(notes),
        only_later=sum(each.only_later for each in impacts),
    )


def _first(sentences: Sequence[str], more: str) -> list[str]:
    """Not more of them than a person reads, and then how many more there are."""
    others = [f"{len(sentences) - _NAMED:,} {more}."] if len(sentences) > _NAMED else []
    return [*sentences[:_NAMED], *others]


def _as_held(history: Iterable[Mapping[str, Any]], number: int) -> Preview | None:
    for entry in history:
        if entry.get("revision") == number and (effect := entry.get("effect")):
            difference = Difference(tuple(effect["gained"]), tuple(effect["lost"]), effect.get("unknown", ""))
            attach, replaced, detach = (int(effect[name]) for name in ("attach", "replace", "detach"))
            only_later = int(effect.get("later", {}).get("only_then", 0))
            notes = (f"It was counted at {entry['at'][:19]}Z.",)
            return Preview(attach, replaced, detach, difference=difference, notes=notes, only_later=only_later)
    return None


def _together(found: Sequence[Difference]) -> Difference:
    return Difference(
        gained=tuple(dict.fromkeys(phrase for each in found for phrase in each.gained))[:PHRASES],
        lost=tuple(dict.fromkeys(phrase for each in found for phrase in each.lost))[:PHRASES],
        unknown="; ".join(dict.fromkeys(each.unknown for each in found if each.unknown)),
    )


def _of_one(deployment: Deployment, seen: Seen, then: Seen, note: str) -> Preview:
    """What happens to one instance, seen as it is and as it would be."""
    changes = then.should_carry != seen.carries
    counts = {action: int(changes and action is _kind(seen, then)) for action in Action}
    notes = [note]
    if seen.carries and not seen.managed:
        notes.append(f"It carries the foreign {seen.carries}, which Rolekeeper can't put back.")
    if then.decision.action in {Action.WAIT, Action.HOLD}:
        notes.append(f"It doesn't change at once: {then.decision.reason}.")
    if why := withheld(deployment):
        notes.append(f"No changes will be made now: {why}.")
    reader = PolicyReader(deployment.app.iam)
    role = then.decision.role if then.should_carry else ""
    return Preview(
        counts[Action.ATTACH],
        counts[Action.REPLACE],
        counts[Action.DETACH],
        difference=reader.difference(seen.carries, role) if changes else Difference(),
        foreign=int(bool(seen.carries) and not seen.managed),
        notes=tuple(notes),
    )


def _named(profile_arn: str) -> str:
    return profile_name(profile_arn) or "none"


def _kind(seen: Seen, then: Seen) -> Action:
    if not then.should_carry:
        return Action.DETACH
    return Action.REPLACE if seen.carries else Action.ATTACH


def _instances(number: int) -> str:
    return f"{number:,} {'instance' if number == 1 else 'instances'}"


def _denied(error: AccessDeniedError) -> str:
    return f"you aren't allowed {error.action} on {error.resource}"
