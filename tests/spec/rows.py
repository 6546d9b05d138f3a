"""What a row is worth: docs/mappings.md told a second time, over a single account or all accounts of a hub.

It shares nothing with `mappings/`: it knows what people did, and what AWS would answer where it is asked. What an edit
would change of an instance is `over_time.py`'s to say, and what an instance carries `carries.py`'s. The adapter of the
test plays each verb here and on the code under test.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from rolekeeper.model.instance import Action
from rolekeeper.model.mapping import MappingKey, MappingSpec, PublishedMapping, WhenOccupied, WhenUnmatched
from spec.carries import Ranked, carries, in_scope, managed, rank
from spec.over_time import Change, TimedInstance

EVER, NEVER = timedelta(days=10_000), datetime.max.replace(tzinfo=UTC)
FOLLOWED_UP, MARGIN = timedelta(minutes=5), timedelta(seconds=2)


def arn_of(account: str, role: str) -> str:
    return "" if role == "NONE" else f"arn:aws:iam::{account}:instance-profile/rolekeeper/{role}"


def minute(at: datetime) -> int:
    """Edits are counted by the minute."""
    return int(at.timestamp()) // 60


@dataclass(frozen=True)
class Place:
    """An account with one Region: which roles can be used there (and are `broad`), its instances, and its silence.

    It gives no answer to `IAM` (then not to EC2 either), to `EC2` alone, or it answers everything.
    """

    account: str
    region: str
    roles: frozenset[str] = frozenset()
    broad: frozenset[str] = frozenset()
    instances: Sequence[TimedInstance] = ()
    silent: str = ""


@dataclass(frozen=True)
class Deployment:
    """What the stack says: whom the limits bind, and what it lets rows do."""

    home: str
    per_edit: int
    percent: int
    minutes: int
    takes_over: bool = False
    allows_broad: bool = False

    def allowed(self, fleet: int) -> int:
        return max(self.per_edit, fleet * self.percent // 100)


@dataclass(frozen=True)
class Effect:
    """What is in effect in an account, and how many instances it governed when that was last counted."""

    spec: MappingSpec
    revision: int
    suspended: bool = False
    deleted: bool = False
    matched: int = 0
    occupied: int = 0

    def idle(self, now: datetime) -> bool:
        return self.deleted or not self.spec.enabled or (self.spec.expires_at or NEVER) <= now

    def published(self, account: str) -> PublishedMapping:
        profile = arn_of(account, self.spec.role)
        return PublishedMapping(self.spec, self.revision, profile, "suspended" if self.suspended else "", self.deleted)


@dataclass(frozen=True)
class Held:
    """An edit or a deletion that waits for approval: what its number stands for, and what was shown with it."""

    spec: MappingSpec
    deleted: bool
    number: int
    by: str
    took: int
    changes: int
    takes: int
    severe: bool


@dataclass
class Row:
    """One row, what it says of itself, and what is kept of its mapping. `says` None: there is no row."""

    says: MappingSpec | None = None
    bad: bool = False
    by: str = ""
    status: str = ""
    held_revision: int = 0
    effect: dict[str, Effect] = field(default_factory=dict)
    held: Held | None = None
    last: int = 0
    approvals: dict[str, int] = field(default_factory=dict)
    in_conflict: set[MappingKey] = field(default_factory=set)
    unseen: tuple[int, int, datetime | None] = (0, 0, None)  # of a revision; counted when, unless it was approved
    timers: set[datetime] = field(default_factory=set)


@dataclass
class Impact:
    """What an edit would change: now, at later moments, and of whom nobody knows yet (`assumed`)."""

    now: int = 0
    only_later: int = 0
    takes: int = 0
    later: Counter[datetime] = field(default_factory=Counter)
    severe: bool = False
    shares: Counter[str] = field(default_factory=Counter)
    assumed: int = 0
    assumed_takes: int = 0
    conflicts: set[MappingKey] = field(default_factory=set)
    new_conflict: bool = False
    took: int = 0
    allowed: int = 0
    alone: bool = False

    @property
    def changes(self) -> int:
        return self.now + self.only_later

    @property
    def needs_approval(self) -> bool:
        return self.severe or (self.changes > 0 and (self.alone or self.changes + self.took > self.allowed))

    def add(self, account: str, changes: Sequence[Change], at: datetime) -> None:
        """Add what is brought to one instance, which counts once."""
        self.now += any(each.at == at for each in changes)
        self.only_later += bool(changes) and not any(each.at == at for each in changes)
        self.takes += sum(each.action is not Action.ATTACH for each in changes)
        self.later.update(each.at for each in changes if each.at != at)
        self.shares[account] += bool(changes)


@dataclass
class Verdicts:
    """What accounts answer about a candidate: `usable`, `refused`, or `silent` for none; and what it becomes."""

    answers: dict[str, str] = field(default_factory=dict)
    effect: dict[str, Effect] = field(default_factory=dict)
    impact: Impact = field(default_factory=Impact)

    def of(self, *answers: str) -> set[str]:
        return {account for account, answer in self.answers.items() if answer in answers}

    @property
    def nowhere(self) -> bool:
        return bool(self.answers) and not self.of("usable")


class Rows:
    """All rows. `places` and `now` are set before each verb: what AWS would answer then."""

    def __init__(self, deployment: Deployment, keys: Iterable[MappingKey], swept: Mapping[str, int]) -> None:
        self.deployment, self.home = deployment, deployment.home
        self.rows = {key: Row() for key in keys}
        self.swept = Counter(swept)
        self.fleet = sum(swept.values())
        self.counted: list[tuple[int, int]] = []
        self.later = Counter[int]()
        self.places: Mapping[str, Place] = {}
        self.now = datetime.min.replace(tzinfo=UTC)
        # Whether a run for each account asks there: a row that was in conflict is then judged once more than it needs.
        self.many = False
        # What was in effect in other accounts when they were asked about rows that are judged together.
        self.as_asked: Mapping[str, Mapping[MappingKey, Effect]] = {}
        # What a sweep that is under way counted first.
        self.seen: dict[MappingKey, Impact] = {}

    def write(self, key: MappingKey, spec: MappingSpec | None, by: str = "", *, bad: bool = False) -> None:
        """A person puts a row, or deletes it: as it is published, that takes back what is held."""
        row = self.rows[key]
        row.says, row.bad, row.by, row.status, row.held_revision = spec, bad, by, "", 0
        self._judge_all(key)

    def approve(self, key: MappingKey, number: int, by: str) -> None:
        """Each person has one approval of a row, of the content and the accounts that are held by then."""
        self.rows[key].approvals[by] = number
        self._judge_all(key)

    def sweep(self, account: str, order: Sequence[MappingKey], later: Collection[MappingKey] = ()) -> None:
        """Check every row at home, those `later` about which other accounts are asked by runs of their own.

        What is published in another account is checked there. One that is silent isn't swept.
        """
        if account == self.home:
            self.seen = {key: self._conflicts(key) for key in order}
            self._judge_all(*(key for key in order if key not in later), swept=True, later=later)
            self.seen = {}
        elif self.places[account].silent:
            return
        else:
            for key in order:
                self._check_in(key, account)
        self.swept[account] = len(self.places[account].instances)
        if account == self.home:
            self.fleet = sum(self.swept.values())

    def minute(self) -> None:
        """Judge again what expired, and each deletion some minutes later."""
        due = sorted((at, key) for key, row in self.rows.items() for at in row.timers if at + MARGIN <= self.now)
        ended = {key for at, key in due if (own := self._own(key)) and own.spec.expires_at == at}
        # Also of a timer that an edit overtook: what rang it may have been cut off.
        self._judge_all(*(key for _, key in due), swept=True, ended=ended)
        for at, key in due:
            self.rows[key].timers.discard(at)

    # ---- judging ----

    def _judge_all(
        self,
        *keys: MappingKey,
        swept: bool = False,
        ended: Collection[MappingKey] = (),
        later: Iterable[MappingKey] = (),
    ) -> None:
        """Judge rows, and then those about which other accounts are asked by runs of their own: `later`, and more.

        All of these are asked about before the first of them is judged.
        """
        asked = {*self._judge_each(keys, swept=swept, ended=ended), *later}
        while asked:
            self.as_asked = {account: self._effects(account) for account in self.places if account != self.home}
            asked = {*self._judge_each(sorted(asked), swept=True)}
        self.as_asked = {}

    def _judge_each(
        self, keys: Iterable[MappingKey], *, swept: bool, ended: Collection[MappingKey] = ()
    ) -> Iterator[MappingKey]:
        """Judge rows; one that was put back is judged again.

        Those that were in conflict with one that was edited, deleted, has `ended`, or says something else, are judged
        too; returns those about which other accounts have yet to answer.
        """
        for key in keys:
            row = self.rows[key]
            before, others = (row.status, row.last), set(row.in_conflict)
            if self._judge(key, swept=swept):
                self._judge(key)
            for other in sorted(others) if not swept or key in ended or (row.status, row.last) != before else ():
                self.seen.pop(other, None)
                # Until other accounts have answered, a row says what it said.
                if self.many and self._asks(other):
                    yield other
                else:
                    self._judge(other, swept=True)
                if self.rows[other].status not in ("Conflict", "Waiting"):
                    row.in_conflict.discard(other)

    def _asks(self, key: MappingKey) -> bool:
        """Whether other accounts are asked about a row that is checked again."""
        row, own = self.rows[key], self._own(key)
        if row.says is None or (own and own.spec == row.says):
            return bool(self._late(key))
        return any(each != self.home and self._is_for(row.says, each) for each in self.places) or len(row.effect) > 1

    def _judge(self, key: MappingKey, *, swept: bool = False) -> bool:
        """Return whether the row was put back, as it is published: that is judged too."""
        row, own = self.rows[key], self._own(key)
        says_it = own is not None and row.says == own.spec and not row.bad
        if row.says and own and (swept or says_it) and self._is_for(own.spec, self.home):
            own = row.effect[self.home] = replace(own, suspended=not self._usable(own.spec, self.home))
        held, gone = row.held, row.says is None
        again = held is not None and own is not None and (held.spec, held.deleted) == (own.spec, False)
        written_back = says_it and not self._holds_deletion(key) and not again
        if written_back or (gone and own is None and not swept):
            row.held = None
        if row.says is None or self._holds_deletion(key):
            self._judge_deletion(key, swept=swept)
        elif row.bad or row.says.accounts & row.says.not_accounts:
            self._say(row, "Rejected")
        else:
            self._judge_edit(key, row.says, swept=swept)
        row.by = ""
        return gone and row.says is not None

    def _judge_edit(self, key: MappingKey, spec: MappingSpec, *, swept: bool) -> None:
        row, own = self.rows[key], self._own(key)
        same = own is not None and own.spec == spec
        found = self._ask(key, spec, known=same and swept)
        if found.nowhere:
            self._say(row, "Rejected" if found.of("refused") else "Waiting")
        elif same:
            self._judge_unchanged(key, found, swept=swept)
        else:
            self._spread(key, then := Effect(spec, 0), found)
            if found.nowhere:
                self._say(row, "Waiting")
                return
            self._add_possible(key, spec, found.impact)
            if found.impact.new_conflict:
                self._note_conflicts(key, found.impact)
                self._say(row, "Conflict")
            else:
                self._hold_or_publish(key, then, found, swept=swept)

    def _judge_unchanged(self, key: MappingKey, found: Verdicts, *, swept: bool) -> None:
        """A row as it is published: in accounts that answer only now it may do too much."""
        row = self.rows[key]
        late = self._late(key)
        for account in found.of("usable", "refused") - late - {self.home}:
            row.effect[account] = replace(row.effect[account], suspended=found.answers[account] == "refused")
        own = row.effect[self.home]
        # What a sweep has seen counts, unless the row would say something else by it.
        impact = self.seen.get(key) or self._conflicts(key)
        if self._in_effect(own, impact) != row.status:
            impact = self._conflicts(key)
        self._note_conflicts(key, impact)
        again = self._holding(key, own) is not None
        # One that gives no answer is left to its own sweep, which counts what changes there.
        asked = late if again else {account for account in late if not self.places[account].silent}
        if asked:
            edit = replace(found, impact=Impact(), effect={})
            self._spread(key, own, edit, only=asked)
            covered = self._is_covered(row, self._weighed(key, own, edit, swept=swept))
            if again or (edit.impact.needs_approval and not covered):
                edit.impact.conflicts = impact.conflicts
                self._hold_or_publish(key, own, edit, swept=swept)
                return
        self._say(row, self._in_effect(own, impact))

    def _judge_deletion(self, key: MappingKey, *, swept: bool) -> None:
        row, own = self.rows[key], self._own(key)
        if own is None:
            row.says, row.status = None, ""
            return
        then, found = replace(own, deleted=True), Verdicts()
        self._spread(key, then, found)
        self._hold_or_publish(key, then, found, swept=swept)

    def _hold_or_publish(self, key: MappingKey, then: Effect, found: Verdicts, *, swept: bool) -> None:
        row, impact, held = self.rows[key], self._weighed(key, then, found, swept=swept), self._holding(key, then)
        number, outgrown = held.number if held else self._next(row), False
        if held:
            more = self._beyond(held, impact)
            took = self._took(impact) if more else 0
            outgrown = more + took > impact.allowed or (impact.severe and not held.severe)
        signed = held is not None and any(each == number and by != held.by for by, each in row.approvals.items())
        approved = signed and not outgrown
        if not approved and (outgrown or impact.needs_approval or (held and found.of("silent"))):
            if outgrown:
                number = self._next(row)
            if outgrown or not held:
                by = held.by if held else row.by
                shown = (impact.took, impact.changes, impact.takes, impact.severe)
                row.held, row.last = Held(then.spec, then.deleted, number, by, *shown), number
            row.says = then.spec
            self._say(row, "Held", number)
            return
        self._publish(key, found, held if approved else None, number)

    def _publish(self, key: MappingKey, found: Verdicts, approved: Held | None, number: int) -> None:
        row, impact = self.rows[key], found.impact
        counts, unseen = impact.changes, impact.assumed
        if approved:
            counts = self._beyond(approved, impact)
            unseen = max(0, min(unseen, approved.changes - impact.changes + unseen))
        self._count(impact, counts)
        if unseen:
            row.unseen = (number, unseen, None if approved else self.now)
        row.effect |= {account: replace(each, revision=number) for account, each in found.effect.items()}
        row.held, row.last = None, number
        own = row.effect[self.home]
        due = self.now + FOLLOWED_UP if own.deleted else own.spec.expires_at
        if due and due > self.now:
            row.timers.add(due)
        if own.deleted:
            row.says = None
            self._say(row, "")
        else:
            self._note_conflicts(key, impact)
            self._say(row, self._in_effect(own, impact))

    def _check_in(self, key: MappingKey, account: str) -> None:
        """What an account's own sweep does: suspend, resume, count; and publish what missed the account."""
        row = self.rows[key]
        own, before = row.effect.get(self.home), row.effect.get(account)
        if own is None or own.deleted or not (before or self._is_for(own.spec, account)):
            return
        found = self._ask(key, own.spec, only={account})
        self._spread(key, own, found, only={account})
        if account in self._late(key):
            impact = found.impact
            self._weigh(impact, self._took(impact), {account}, fleet=self.fleet)
            covered = self._is_covered(row, impact)
            if self._holding(key, own) or (impact.needs_approval and not covered):
                return
            if covered:
                revision, unseen, since = row.unseen
                row.unseen = (revision, unseen - impact.changes, since)
                if since:
                    self.counted += [(minute(since), -impact.changes), (minute(self.now), impact.changes)]
            else:
                self._count(impact, impact.changes)
        row.effect[account] = found.effect[account]

    # ---- who can use it ----

    def _is_for(self, spec: MappingSpec, account: str) -> bool:
        return len(self.places) == 1 or in_scope(spec, account, self.places[account].region, ())

    def _usable(self, spec: MappingSpec, account: str) -> bool:
        place = self.places[account]
        consented = self.deployment.allows_broad and spec.allow_broad
        return spec.role == "NONE" or (spec.role in place.roles and (consented or spec.role not in place.broad))

    def _ask(
        self, key: MappingKey, spec: MappingSpec, *, known: bool = False, only: Iterable[str] | None = None
    ) -> Verdicts:
        """Ask each account in the scope; where its sweep checked the row as it is, that is `known`."""
        row, found, late = self.rows[key], Verdicts(), self._late(key)
        for account, place in self.places.items():
            if not self._is_for(spec, account) or (only is not None and account not in only):
                continue
            checked = known and account not in late | {self.home}
            usable = not row.effect[account].suspended if checked else self._usable(spec, account)
            found.answers[account] = "usable" if usable else "refused"
            if place.silent == "IAM" and not checked and spec.role != "NONE":  # of which IAM isn't asked
                found.answers[account] = "silent"
        return found

    # ---- what it would change ----

    def _spread(self, key: MappingKey, then: Effect, found: Verdicts, only: Iterable[str] | None = None) -> None:
        """Work out what an edit becomes in each account, and what it changes there."""
        row, impact = self.rows[key], found.impact
        for account, place in self.places.items():
            before = row.effect.get(account)
            inside = self._is_for(then.spec, account) and not then.deleted
            concerned = inside or (before is not None and self._is_for(before.spec, account))
            if account != self.home and not (before or inside):
                continue
            answer = found.answers.get(account)
            made = replace(then, suspended=answer == "refused", matched=0, occupied=0)
            if only is not None and account not in only:
                if before:
                    found.effect[account] = before
                continue
            if answer == "silent" or (place.silent and concerned):
                found.answers[account], known = "silent", then.deleted and before is not None
                self._assume(impact, account, before, then, known=known)
                if known:
                    found.effect[account] = made
                continue
            self._add_impact(impact, account, before, made)
            impact.severe |= self._names_severe(before, made, account, found)
            found.effect[account] = self._counting(account, made)

    def _add_impact(self, found: Impact, account: str, before: Effect | None, then: Effect) -> None:
        place, mapping = self.places[account], then.published(account)
        for one in self.instances(account, then.spec.key):
            changes = one.brought_by(mapping, self.now, self.now + EVER)
            found.add(account, changes, self.now)
            if not then.suspended or then.idle(self.now):  # then others give their roles
                found.severe |= any(self._gains(place, *each.move) for each in changes)
            self._conflicts_on(one, before, mapping, found)

    def _conflicts(self, key: MappingKey) -> Impact:
        """Return with what a published row conflicts by now."""
        impact, own = Impact(), self._own(key)
        if own:
            self._add_impact(impact, self.home, own, own)
            self._add_possible(key, own.spec, impact)
        return impact

    def _conflicts_on(
        self, one: TimedInstance, before: Effect | None, mapping: PublishedMapping, found: Impact
    ) -> None:
        if not carries(one.tags, mapping.key):
            return
        was, then = _ranked(one, self.now), _ranked(one.edited(mapping), self.now)
        if mapping in then.best:
            for other in (each for each in then.best if each.wants != mapping.wants):
                there = before is not None and was.tie and {mapping.key, other.key} <= {each.key for each in was.best}
                found.conflicts.add(other.key)
                found.new_conflict |= not there

    def _effects(self, account: str) -> dict[MappingKey, Effect]:
        return {key: row.effect[account] for key, row in self.rows.items() if account in row.effect}

    def instances(self, account: str, about: MappingKey | None = None) -> Iterator[TimedInstance]:
        """Those of an account, as it sees them where it is asked `about` a row."""
        now = self._effects(account)
        asked = self.as_asked.get(account, now)
        effects = {key: each[key] for key in self.rows if key in (each := now if key == about else asked)}
        mappings = {key: each.published(account) for key, each in effects.items()}
        place = self.places[account]
        for one in place.instances:
            yield replace(
                one, mappings=mappings, take_over=self.deployment.takes_over, account=account, region=place.region
            )

    def _counting(self, account: str, made: Effect) -> Effect:
        """The same with how many instances it governs, and how many of those carry a foreign role."""
        mapping = made.published(account)
        ranked = [(one, _ranked(one.edited(mapping), self.now)) for one in self.instances(account, made.spec.key)]
        governed = [one for one, each in ranked if each.best and not each.tie and min(each.best, key=_key) == mapping]
        foreign = [one for one in governed if one.carries and not managed(one.carries)]
        return replace(made, matched=len(governed), occupied=len(foreign))

    def _gains(self, place: Place, was: str, to: str) -> bool:
        broad = {arn_of(place.account, role) for role in place.broad}
        return to in broad and was not in broad

    def _names_severe(self, before: Effect | None, then: Effect, account: str, found: Verdicts) -> bool:
        """Whether it names a role with severe permissions that what is in effect doesn't have."""
        if then.deleted or found.answers.get(account) != "usable":
            return False
        was = arn_of(account, before.spec.role) if before and not before.deleted and before.spec.allow_broad else ""
        return self._gains(self.places[account], was, arn_of(account, then.spec.role))

    def _assume(self, impact: Impact, account: str, before: Effect | None, then: Effect, *, known: bool) -> None:
        """Count the most that could change where no answer came: what was counted last, and all if it governs more."""
        fleet, spec = self.swept[account], then.spec
        now = before if before and not before.idle(self.now) and self._is_for(before.spec, account) else None
        matched, occupied = (now.matched, now.occupied) if now else (0, 0)
        gone = then.idle(self.now) or not self._is_for(spec, account)
        detaches = spec.when_unmatched is WhenUnmatched.DETACH
        detach, replaced, attach, more = matched if gone and detaches else 0, 0, 0, 0
        if before and before.spec.when_unmatched is WhenUnmatched.KEEP and detaches:
            detach = max(detach, fleet - (0 if gone else matched))
        if not gone and now:
            same = (now.spec.role, now.spec.require_tags) == (spec.role, spec.require_tags)
            newly = spec.when_occupied is WhenOccupied.REPLACE is not now.spec.when_occupied
            replaced = (occupied if newly else 0) if same and spec.priority <= now.spec.priority else matched
        wider = now is None or spec.priority < now.spec.priority
        if not gone and (wider or (now and not now.spec.require_tags.items() <= spec.require_tags.items())):
            more = max(0, fleet - matched - detach)
            attach, detach = (0, detach + more) if spec.role == "NONE" else (more, detach)
        changes, takes = attach + replaced + detach, replaced + detach
        impact.now += changes
        if spec.expires_at and detaches and not gone:
            sooner = matched if now is None or (now.spec.expires_at or NEVER) > spec.expires_at else 0
            impact.later.update({spec.expires_at: sooner + more} if sooner + more else {})
            only, takes = 0 if replaced else sooner, takes + sooner + more
            impact.only_later += only
            changes += only
        impact.takes += takes
        if known:
            impact.shares[account] += changes
        else:
            impact.assumed += changes
            impact.assumed_takes += takes

    # ---- the limits ----

    def _weighed(self, key: MappingKey, then: Effect, found: Verdicts, *, swept: bool) -> Impact:
        held, took = self._holding(key, then), self._took(found.impact)
        self._weigh(found.impact, max(took, held.took) if held and swept else took, self.places)
        return found.impact

    def _weigh(self, impact: Impact, took: int, known: Iterable[str], fleet: int = 0) -> None:
        """Compare with what may change of all instances, and of each account's own."""
        sizes = {account: self._size(account, impact) for account in known}
        impact.took, impact.allowed = took, self.deployment.allowed(max(fleet, sum(sizes.values())))
        if len(self.places) > 1:
            impact.alone = any(
                changes > self.deployment.allowed(sizes[account]) for account, changes in impact.shares.items()
            )

    def _size(self, account: str, impact: Impact) -> int:
        """Instances are counted with the edit at home, and where it changes some; elsewhere the last sweep did."""
        place = self.places[account]
        counted_now = account == self.home or (impact.shares[account] and not place.silent)
        return len(place.instances) if counted_now else self.swept[account]

    def _took(self, impact: Impact) -> int:
        """What other edits change within the same minutes, now or around a later moment of this one."""
        minutes = self.deployment.minutes

        def near(at: datetime) -> int:
            return sum(number for then, number in self.later.items() if abs(then - minute(at)) <= minutes)

        lately = sum(number for then, number in self.counted if minute(self.now) - then <= minutes)
        return max([lately + near(self.now), *map(near, impact.later)])

    def _count(self, impact: Impact, changes: int) -> None:
        """Count what nobody approved."""
        if changes < impact.changes:
            self.counted.append((minute(self.now), changes))
        else:
            self.counted.append((minute(self.now), impact.now))
            for at, number in impact.later.items():
                self.later[minute(at)] += number

    def _beyond(self, held: Held, impact: Impact) -> int:
        """How many more change, or lose a role, than were shown."""
        more = impact.changes - impact.assumed - held.changes
        return max(0, more, impact.takes - impact.assumed_takes - held.takes)

    def _is_covered(self, row: Row, impact: Impact) -> bool:
        """Whether as many were counted and still count, or were approved, while the account gave no answer."""
        revision, unseen, since = row.unseen
        if impact.severe or not impact.changes or revision != row.effect[self.home].revision:
            return False
        counts = since is None or self.now - since <= timedelta(minutes=self.deployment.minutes)
        return impact.changes <= unseen and counts and not (since and impact.alone)

    # ---- numbers and words ----

    def _own(self, key: MappingKey) -> Effect | None:
        found = self.rows[key].effect.get(self.home)
        return None if found is None or found.deleted else found

    def _late(self, key: MappingKey) -> set[str]:
        """The accounts in which the revision isn't in effect yet: in its scope, or with what was in effect before."""
        row, own = self.rows[key], self._own(key)
        if own is None:
            return set()
        concerned = {account for account in self.places if self._is_for(own.spec, account)} | row.effect.keys()
        return {each for each in concerned if each not in row.effect or row.effect[each].revision < own.revision}

    def _next(self, row: Row) -> int:
        """No number is given twice."""
        return row.last + 1

    def _holding(self, key: MappingKey, then: Effect) -> Held | None:
        """What waits, if it says just that."""
        held = self.rows[key].held
        return held if held and (held.spec, held.deleted) == (then.spec, then.deleted) else None

    def _holds_deletion(self, key: MappingKey) -> bool:
        row, own = self.rows[key], self._own(key)
        if own is None or row.says != own.spec or not row.status or not row.held_revision:
            return False
        held = self._holding(key, replace(own, deleted=True))
        return held is not None and held.number == row.held_revision

    def _add_possible(self, key: MappingKey, spec: MappingSpec, impact: Impact) -> None:
        """Add the rows of the same tag key with which some instance could meet a conflict, though none does today."""
        own = self._own(key)
        for other in self.rows:
            one = self._own(other)
            values = {other.tag_value, key.tag_value}
            if one and other != key and other.tag_key == key.tag_key and "*" in values and self._could(spec, one.spec):
                impact.conflicts.add(other)
                impact.new_conflict |= not (own and self._could(own.spec, one.spec))

    def _could(self, one: MappingSpec, other: MappingSpec) -> bool:
        if one.priority != other.priority or one.role == other.role:
            return False
        if any(Effect(each, 0).idle(self.now) for each in (one, other)):
            return False
        everyone = frozenset({*self.swept, "one that joins"})
        accounts = (one.accounts or everyone) & (other.accounts or everyone)
        if not accounts - one.not_accounts - other.not_accounts:
            return False
        asked: dict[str, str] = {}
        pairs = [(each.key.tag_key, each.key.tag_value) for each in (one, other)]
        for tag, value in (*pairs, *one.require_tags.items(), *other.require_tags.items()):
            if value != "*" and asked.setdefault(tag, value) != value:
                return False
        return True

    def _note_conflicts(self, key: MappingKey, impact: Impact) -> None:
        for other in impact.conflicts:
            self.rows[other].in_conflict.add(key)

    def _in_effect(self, own: Effect, impact: Impact) -> str:
        expired = own.spec.expires_at is not None and own.spec.expires_at <= self.now
        return "Conflict" if impact.conflicts else "Expired" if expired else "Published"

    def _say(self, row: Row, status: str, held: int = 0) -> None:
        row.status, row.held_revision = status, held


def _key(mapping: PublishedMapping) -> MappingKey:
    return mapping.key


def _ranked(one: TimedInstance, now: datetime) -> Ranked:
    return rank(one.mappings.values(), one.tags, now, one.account, one.region)
