"""The promises of docs/guarantees.md, watched while a schedule plays: at each change that EC2 makes for us, and at each
write to our tables. What holds only once all is quiet is in `convergence.py`.

Nothing here asks the code what it meant: it goes by EC2's truth, by what is written in the tables, and by when each run
read what.
"""

import math
from bisect import bisect_right, insort
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import starmap
from typing import Any

from rolekeeper.instances.pace import BURST, LATE
from rolekeeper.mappings.account_runs import FRESH
from rolekeeper.model.instance import Target
from rolekeeper.model.mapping import PIN_TAG, Held, MappingKey, Pin, PublishedMapping, WhenOccupied, WhenUnmatched
from rolekeeper.settings import Limits
from rolekeeper.storage import layout
from rolekeeper.storage.layout import GRANT, STARTED
from rolekeeper_local.ec2_model import Association, State
from simulation.account import HUB, Account, Maker
from simulation.engine import START, Engine, Run
from spec.carries import applies, carries, ignored, in_scope
from spec.over_time import TimedInstance

STATE, ROWS = "state", "rows"
# How many changes a target may seem ahead of its pace: what its workers' SDKs send again they know only afterwards.
SLACK = 3

PROMISES: Mapping[int, str] = {
    1: "never a role outside the ceiling",
    2: "never a change to a foreign profile, unless stack and row both allow it",
    3: "at most one change takes effect per observed association",
    4: "it converges, or the instance shows why not",
    5: "every accepted message ends converged, parked or as a dead letter",
    6: "unreadable or empty mappings hold",
    7: "at most the allowed number of changes by edits, per window unless approved, and in a second",
    8: "a converged reconcile writes nothing",
    9: "a grant and the start of a history entry before each change, its outcome after it",
    10: "every role was justified by a tag and a mapping that held during the reconcile",
    11: "never a role that is broad, unless stack and row both allow it",
    12: "an edit that is too large is published only when a person signed it",
    13: "no more instances move than a rollout's waves allow by now, and none once it halted",
}

# No association is of this profile: what EC2 doesn't know, it refuses.
PATH_OF_NOBODY = ":instance-profile/rolekeeper/"

type Attributes = Mapping[str, Any] | None


@dataclass(frozen=True)
class Violation:
    """A broken promise, by its number."""

    promise: int
    text: str

    def __str__(self) -> str:
        return f"promise {self.promise} ({PROMISES[self.promise]}): {self.text}"


@dataclass(frozen=True)
class Started:
    """What a run wrote before a change, in its history entry: the change, and for which mapping.

    `approved`: it was taken from the budget of an approved revision.
    """

    action: str
    code: str
    mapping: MappingKey
    revision: int
    role: str
    profile_arn: str
    association: str
    state: str
    at: float
    approved: bool = False

    @property
    def gives_up(self) -> bool:
        """Whether it is done because no mapping governs any more."""
        return self.code == "unmatched"


@dataclass(frozen=True)
class Asked:
    """A change that a run asks EC2 for.

    Attributes:
        started: what the run wrote before.
        since: the moment whose truth the run went by at the oldest: when it looked at the association, or earlier where
            EC2 showed it the past.
    """

    run: str
    operation: str
    instance: str
    association: str
    arn: str
    started: Started | None
    at: float
    since: float

    def __str__(self) -> str:
        what = f"to {self.arn.rsplit('/', 1)[-1]} " if self.arn else ""
        by = f"{self.started.mapping} revision {self.started.revision}" if self.started else "nothing"
        return f"{self.run}'s {self.operation} {what}on {self.instance[-4:]} {self.association[-4:]} by {by}"


@dataclass
class Signed:
    """An approval as a person wrote it, what was held then, and until when it stood: a run may have read it by then."""

    item: layout.Item
    held: Held | None
    until: float = math.inf


@dataclass
class Approvals:
    held: dict[str, Held] = field(default_factory=dict)
    signed: defaultdict[layout.Key, list[Signed]] = field(default_factory=lambda: defaultdict(list))

    def wrote(self, key: layout.Key, new: Attributes, at: float) -> None:
        """A revision was held, or its outcome noted; or a person signed one: as what it was held then counts."""
        pk, sk = key
        item = layout.from_attributes(new) if new else {}
        if sk == "held":
            self.held.pop(pk, None)
            if item:
                self.held[pk] = layout.held_from(item)
        elif pk.startswith("approval#"):
            for signed in self.signed[key]:
                signed.until = min(signed.until, at)
            if item:
                held = self.held.get(layout.mapping_pk(layout.approval_of(key)[1]))
                self.signed[key].append(Signed(item, held))

    def of(self, by: str, mapping: PublishedMapping, since: float) -> tuple[Signed | None, str]:
        """Return the approval of this very content that stood at some time `since`, under that name; or why none is."""
        now = self.held.get(layout.mapping_pk(mapping.key))
        if now and now.mapping.revision == mapping.revision and now.outcome == layout.DISCARDED:
            return None, "it was discarded"
        why_not = f"{by or 'nobody'} signed nothing"
        for signed in self.signed[layout.approval_key(by, mapping.key)]:
            if signed.until >= since:
                why_not = self._why_not(signed, mapping)
                if not why_not:
                    return signed, ""
        return None, why_not

    def _why_not(self, signed: Signed, mapping: PublishedMapping) -> str:
        item, held = signed.item, signed.held
        if item["revision"] != mapping.revision:
            return f"another number was signed: {item}"
        if held is None or _content(held.mapping) != _content(mapping) or held.digest != item["digest"]:
            return f"other content was signed: {held}"
        return "its editor signed it" if held.by == item["arn"] else ""


def _content(mapping: PublishedMapping) -> tuple[Any, ...]:
    return mapping.spec, mapping.profile_arn, mapping.deleted


def may_move(text: str, total: int, wave: int) -> tuple[float, list[str]]:
    """How many of so many instances may have moved in a wave, and in which accounts alone.

    See docs/mappings.md, "In waves".
    """
    listed, _, _ = text.partition(" every ")
    shares = listed.replace(" ", "").split(",")
    accounts = [share for share in shares if len(share) == len("123456789012")]
    if wave <= len(accounts):
        return total, accounts[:wave]
    wave, shares = wave - len(accounts), shares[len(accounts) :]
    if shares[0].startswith("linear"):
        step = int(shares[0].strip("linear%"))
        shares = [f"{min(100, at)}%" for at in range(step, 100 + step, step)]
    if wave >= len(shares):
        return math.inf, []
    counts = (total * int(share.strip("%")) // 100 if "%" in share else int(share) for share in shares[:wave])
    return max(1, *counts), []


@dataclass
class Rolling:
    """A rollout: since when it goes on, its item, and the instances that it has moved, or tried to.

    It attached the role to those of `attached`, which is no move.
    """

    since: float
    item: layout.Item = field(default_factory=dict)
    moved: set[str] = field(default_factory=set)
    attached: set[str] = field(default_factory=set)

    @property
    def is_over(self) -> bool:
        return int(self.item["wave"]) > len(self.item["counts"])


@dataclass
class Promises:
    """See the module.

    Attributes:
        violations: the broken promises.
        checked: how often each promise was looked at.
        writer: the run whose write is under way.
        hidden: the rows that were lost with the mapping table, for as long as it reads empty.
        damaged: the instances whose record can't be read now.
        writes: writes of the functions to their tables so far, also those that change nothing.
        per_second: the changes that may be asked of EC2.
        hub: those of the hub's own account, where these are of a spoke, and there its `spokes`: what counts over all
            accounts is counted by the hub's.
    """

    engine: Engine
    account: Account
    limits: Limits
    window: timedelta
    skew: float
    lag: float
    violations: list[Violation] = field(default_factory=list)
    checked: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    writer: Run | None = None
    writes: int = 0
    changes: list[tuple[Asked, Association]] = field(default_factory=list)
    published: defaultdict[MappingKey, list[tuple[float, PublishedMapping | None]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    pins: defaultdict[str, list[tuple[float, Pin | None]]] = field(default_factory=lambda: defaultdict(list))
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    hidden: set[MappingKey] = field(default_factory=set)
    lost_at: float = float("-inf")
    damaged: set[str] = field(default_factory=set)
    marked: list[tuple[float, bool]] = field(default_factory=list)
    approvals: Approvals = field(default_factory=Approvals)
    per_second: float = 0
    hub: "Promises | None" = None
    spokes: "list[Promises]" = field(default_factory=list)
    _bucket: tuple[float, float] | None = None
    _taken: set[str] = field(default_factory=set)
    _counted: dict[bool, list[float]] = field(default_factory=lambda: {True: [], False: []})
    _edited: list[tuple[float, int]] = field(default_factory=list)
    _granted: dict[tuple[MappingKey, int], int] = field(default_factory=dict)
    _approved: set[tuple[MappingKey, int]] = field(default_factory=set)
    _used: Counter[tuple[MappingKey, int]] = field(default_factory=Counter)
    _shown: dict[tuple[MappingKey, int], int] = field(default_factory=dict)
    _changed: defaultdict[tuple[MappingKey, int], dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    _rolling: dict[str, Rolling] = field(default_factory=dict)

    @property
    def published_for(self) -> str:
        """The account for which mappings are published."""
        return self.account.target.account

    def broken(self, promise: int, text: str) -> None:
        self.engine.say(f"!!!! promise {promise} is broken: {text}")
        self.violations.append(Violation(promise, text))

    def check(self, promise: int, holds: bool, text: Callable[[], str]) -> None:  # noqa: FBT001  # it is what is asked
        self.checked[promise] += 1
        if not holds:
            self.broken(promise, text())

    # ---- what runs read ----

    def saw_associations(self, run: Run | None, instances: Iterable[str], at: float) -> None:
        """A run looked at the associations of these instances, as they were then."""
        if run:
            run.notes.setdefault("associations", {}).update(dict.fromkeys(instances, at))

    def saw_instances(self, run: Run | None, at: float) -> None:
        """A run looked at instances, as they were then. What EC2 shows of the past is not the run's fault."""
        if run:
            run.notes["instances"] = at if at < self.engine.seconds else None

    def state_lost(self) -> None:
        """The state table is about to be emptied: what was counted and granted is known to nobody any more."""
        self.lost_at = self.engine.seconds
        for spoke in self.spokes:
            spoke.state_lost()
        for counted in self._counted.values():
            counted.clear()
        for each in (self._edited, self._granted, self._approved, self._used, self._shown, self._changed):
            each.clear()

    # ---- what they ask of EC2 ----

    def asked(self, run: Run | None, operation: str, instance: str, association: str, arn: str) -> Asked:
        """A run is about to ask EC2 for a change."""
        assert run, "nobody else changes anything through the functions' client"
        started: Started | None = run.notes.get("started", {}).get(instance)
        looks = (run.notes.get("associations", {}).get(instance), run.notes.get("instances"))
        seen = min((at for at in looks if at is not None), default=self.engine.seconds)
        asked = Asked(run.name, operation, instance, association, arn, started, self.engine.seconds, seen)
        self.check(9, _announces(started, asked), lambda: f"{asked} has no history entry that says so: {started}")
        wanted = started.profile_arn if started and not started.gives_up else ""
        # An instance's record goes when the instance has ended: EC2 refuses the change then.
        forgot = asked.since <= self.lost_at or self._ended(instance)
        granted = not wanted or forgot or GRANT + wanted in self.records.get(instance, {})
        self.check(9, granted, lambda: f"{asked} has no grant")
        left = self.sent()
        # A clock that differs from run to run keeps no pace.
        self.check(7, bool(self.skew) or left > -SLACK, lambda: f"{asked} is {-left:.1f} changes ahead of its pace")
        foreign = association and not self.account.manages(self.account.profile_of.get(association, PATH_OF_NOBODY))
        operator = self.account.truth.instance(instance).operator if self.account.truth.knows(instance) else ""
        self.check(2, not operator, lambda: f"{asked} asks for a change where {operator} manages the instance")
        self.check(2, not foreign or self._may_take_over(asked), lambda: f"{asked} asks for what is foreign")
        return asked

    def sent(self) -> float:
        """Count a change that EC2 is asked for, or once more by the SDK; returns how many others the pace leaves."""
        most, now = BURST + LATE.total_seconds() * self.per_second, self.engine.seconds
        tokens, at = self._bucket or (most, now)
        left = min(most, tokens + (now - at) * self.per_second) - 1
        self._bucket = left, now
        return left

    def happened(self, asked: Asked, before: Association | None, row: Association) -> None:
        """EC2 did what a run asked for."""
        self.changes.append((asked, row))
        swept = any(_held(self.marked, asked.since, self.engine.seconds))
        self.check(6, swept, lambda: f"{asked}, though no sweep came to its end on this state table")
        if asked.arn:
            under = self.account.under_the_path(asked.arn, self.engine.seconds)
            self.check(1, under, lambda: f"{asked} passed a role outside the path")
        if asked.association:
            self.check(3, asked.association not in self._taken, lambda: f"{asked}: a second change of one association")
            self._taken.add(asked.association)
            self.check(
                3,
                before is not None and before.id == asked.association,
                lambda: f"{asked} changed {before and before.id}, which it hadn't seen",
            )
        if asked.started:
            self._in_waves(asked, asked.started, before)
            self._justified(asked, asked.started)
            self._within_the_window(asked, asked.started)

    def _ended(self, instance: str) -> bool:
        truth = self.account.truth
        return not truth.knows(instance) or truth.instance(instance).state in (State.SHUTTING_DOWN, State.TERMINATED)

    def _may_take_over(self, asked: Asked) -> bool:
        """Whether the stack lets a foreign profile be changed, and the mapping, or a pin."""
        started = asked.started
        if started is None or started.gives_up or not self.account.take_over:
            return False
        if started.mapping.pins:
            return True
        served = _held(self.published[started.mapping], asked.since, asked.at)
        known = [one for each in served if each for one in (each, each.former) if one]
        return any(
            each.revision == started.revision and each.spec.when_occupied is WhenOccupied.REPLACE for each in known
        )

    def _justified(self, asked: Asked, started: Started) -> None:
        since, until = asked.since, asked.at
        tags = _held(self.account.tags[asked.instance], since, until) or [{}]
        if started.mapping.pins:
            self._justified_by_pin(asked, started, _held(self.pins[asked.instance], since, until))
            return
        self._not_overruled(asked, started, tags)
        served = _held(self.published[started.mapping], since, until)
        # While a rollout goes on, what was published before governs those whose wave is still to come.
        known = [one for each in served if each for one in (each, each.former) if one]
        if started.gives_up:
            self.check(6, bool(known), lambda: f"{asked}, though its published record was lost all the while")
            let_go = any(not applies(each, one, self._clock(until), *self._where) for each in known for one in tags)
            meant = any(each.spec.when_unmatched is not WhenUnmatched.KEEP for each in known)
            self.check(10, let_go and meant, lambda: f"{asked}, though the mapping governed all the while: {tags}")
            return
        same = [each for each in known if each.revision == started.revision and not each.deleted and each.spec.enabled]
        matched = any(is_for(each, self.account.target) and _matches(each, one) for each in same for one in tags)
        self.check(10, matched, lambda: f"{asked}: tags {tags}, published {[each.revision for each in known]}")
        free = any(not each.suspended_because for each in same)
        self.check(11, free, lambda: f"{asked}, though the mapping was suspended all the while: {same}")
        right = any(each.profile_arn == started.profile_arn for each in same) or not asked.arn
        self.check(10, right, lambda: f"{asked}: the mapping says another profile")

    def _not_overruled(self, asked: Asked, started: Started, tags: Sequence[Mapping[str, str]]) -> None:
        """Nothing that comes before this mapping held all the while: it was there to be read."""
        since, until, now = asked.since, asked.at, self._clock(asked.at)
        pin = _steady(self.pins[asked.instance], since, until)
        self.check(10, pin is None or pin.expired(now), lambda: f"{asked}, though it is pinned: {pin}")
        quarantines = started.role == "NONE" and not started.gives_up
        left_alone = not quarantines and all(ignored(one, now) for one in tags)
        self.check(10, not left_alone, lambda: f"{asked}, though a tag excludes the instance all the while")
        held = _held(self.published[started.mapping], since, until)
        own = [one for each in held if each for one in (each, each.former) if one]
        lowest = min((each.spec.priority for each in own), default=0)
        for key, log in self.published.items():
            rival = _steady(log, since, until) if key != started.mapping else None
            if rival and not rival.former and all(applies(rival, one, now, *self._where) for one in tags):
                self.check(
                    10,
                    not started.gives_up and rival.spec.priority >= lowest,
                    lambda rival=rival: f"{asked}, though {rival.key} governed all the while",  # type: ignore[misc]  # a default binds the loop's
                )

    def _justified_by_pin(self, asked: Asked, started: Started, held: Sequence[Pin | None]) -> None:
        if started.gives_up:
            over = any(each is None or each.expired(self._clock(asked.at)) for each in held) or not held
            self.check(10, over, lambda: f"{asked}, though the pin held all the while")
        else:
            meant = any(each and each.profile_arn == started.profile_arn for each in held)
            self.check(10, meant, lambda: f"{asked}: no such pin: {held}")

    def _clock(self, seconds: float) -> Any:
        """The latest that any function may take it for then: clocks are off by a little."""
        return START + timedelta(seconds=seconds + self.skew)

    def _within_the_window(self, asked: Asked, started: Started) -> None:
        """What this target counts: detaches by mappings to `NONE` by themselves."""
        if started.action == "Attach" or started.mapping.pins or started.mapping.tag_key.startswith("rolekeeper:"):
            return
        if started.at <= self.lost_at:
            return  # it was counted in a table that was emptied before EC2 was asked
        if started.approved:
            revision = started.mapping, started.revision
            hub = self.hub or self  # an approval is for all targets
            hub._used[revision] += 1  # noqa: SLF001  # the same class
            used, granted = hub._used[revision], hub._granted.get(revision, 0)  # noqa: SLF001  # the same class
            self.check(7, used <= granted, lambda: f"{asked}: change {used} of the {granted} that were approved")
            return
        counted = self._counted[started.code == "quarantined"]
        allowed = self.limits.allowed(len(self.account.instances))
        # In order, though the clocks of those that count differ: so few are looked at each time.
        insort(counted, started.at)
        recent = len(counted) - bisect_right(counted, started.at - self._length)
        self.check(7, recent <= allowed, lambda: f"{asked}: change {recent} in its window, {allowed} are allowed")

    @property
    def _length(self) -> float:
        """How many seconds a window lasts at least: a minute's count is taken by the counting function's own clock."""
        return self.window.total_seconds() - 2 * self.skew

    @property
    def _allowed(self) -> int:
        return self.limits.allowed(sum(len(each.account.instances) for each in (self, *self.spokes)))

    # ---- what is written ----

    def wrote(self, table: str, key: tuple[str, str], old: Attributes, new: Attributes) -> None:
        for spoke in self.spokes:
            spoke.writer = self.writer
            spoke.wrote(table, key, old, new)
        if table != STATE:
            # A table with a row in it is an edit like any other.
            self.hidden = self.hidden if new is None else set()
            return
        pk, sk = key
        if key == layout.target_key(HUB):
            self.marked.append((self.engine.seconds, bool(new and layout.LAST_SWEEP in new)))
        owner = layout.instance_key_from(pk)
        if owner and owner.target != self.account.target:
            return
        if sk == "record":
            self._wrote_record(pk, new)
        elif sk.startswith("history#"):
            self._wrote_entry(pk, new)
        elif sk == "pin":
            if owner:
                pin = Pin.read(layout.from_attributes(new)) if new else None
                self.pins[owner.id].append((self.engine.seconds, pin))
        elif pk.startswith("approval#") or sk == "held":
            self.approvals.wrote(key, new, self.engine.seconds)
        else:
            self._wrote_of_mapping(pk, sk, old, new)

    def _wrote_of_mapping(self, pk: str, sk: str, old: Attributes, new: Attributes) -> None:
        if sk == f"published#{self.published_for}":
            self._wrote_published(layout.mapping_of(pk), new)
        elif self.hub:
            return  # what is told once for all accounts
        elif sk == "rollout" and new:
            self._wrote_rollout(layout.mapping_of(pk), layout.from_attributes(new))
        elif sk.startswith("revision#") and new:
            self._wrote_revision(layout.from_attributes(new))
        elif sk == "window" and new and "credit_revision" in new:
            self._wrote_budget(layout.mapping_of(pk), layout.from_attributes(old or {}), layout.from_attributes(new))

    def _wrote_record(self, pk: str, new: Attributes) -> None:
        if owner := layout.instance_key_from(pk):
            known, self.records[owner.id] = self.records.get(owner.id, {}), dict(new or {})
            for name, value in (new or {}).items():
                grant = layout.plain(value) if name.startswith(GRANT) and value != known.get(name) else None
                started = self.writer.notes.get("started", {}).get(owner.id) if self.writer else None
                if isinstance(grant, Mapping) and "rolls" in grant:
                    self._moves(owner.id, grant["rolls"], attaches=started is not None and started.action == "Attach")

    def _wrote_rollout(self, key: MappingKey, item: layout.Item) -> None:
        name = f"{key} {item['revision']}"
        if name not in self._rolling or self._rolling[name].item["since"] != item["since"]:
            # A number comes again once what was published is lost. A wave begins once the row was read that opens it.
            began = (datetime.fromisoformat(item["since"]) - START).total_seconds()
            self._rolling[name] = Rolling(min(self.engine.seconds, began))
        self._rolling[name].item = item

    def rollout(self, rolls: str) -> Rolling | None:
        return (self.hub or self)._rolling.get(rolls)  # noqa: SLF001  # the same class

    def _moves(self, instance: str, rolls: str, *, attaches: bool) -> None:
        """A grant says that a rollout moves an instance, in the very write that counts it."""
        known = self.rollout(rolls)
        if known is None or instance in known.moved | known.attached:
            return
        if attaches:
            known.attached.add(instance)
            return
        known.moved.add(instance)
        self.check(13, not known.item["halted"], lambda: f"{rolls} moves {instance[-4:]}, and is halted")
        waves = self._begun(known)
        texts = {one.rollout: one.spec.rollout for log in self.published.values() for _, one in log if one}
        wave = int(known.item["wave"])
        may, first = may_move(texts[rolls], int(known.item["total"]), wave)
        self.check(13, wave <= waves, lambda: f"{rolls} moves {instance[-4:]} in wave {wave}, and {waves} began")
        self.check(13, len(known.moved) <= may, lambda: f"{rolls} moves {len(known.moved)} in wave {wave}, {may} may")
        comes = not first or self.published_for in first
        self.check(13, comes, lambda: f"{rolls} moves {instance[-4:]} of {self.published_for} in wave {wave}")

    def _begun(self, known: Rolling) -> int:
        """How many waves have begun by any clock, and one more once the last is over."""
        seconds = int(known.item["minutes"]) * 60
        return 1 + int((self.engine.seconds - known.since + 2 * self.skew) // seconds)

    def _in_waves(self, asked: Asked, started: Started, before: Association | None) -> None:
        """A rollout's change is one that it counted, and what it moved never goes back."""
        mapping = self.published[started.mapping][-1][1] if self.published[started.mapping] else None
        known = self.rollout(mapping.rollout) if mapping and mapping.former else None
        if mapping is None or mapping.former is None or known is None or started.at <= self.lost_at:
            return
        if mapping.spec.expired(self._clock(asked.at)):
            return  # that takes all roles at once
        if known.is_over:
            self.check(13, known.item["wave"] <= self._begun(known), lambda: f"{asked}, as its rollout ended early")
            return
        former, counted = mapping.former, asked.instance in known.moved | known.attached
        if started.revision == mapping.revision and before and before.profile_arn == former.profile_arn != "":
            self.check(13, counted, lambda: f"{asked} isn't counted by its rollout")
        elif (
            started.revision == former.revision < mapping.revision
            and not started.gives_up
            and asked.arn == former.profile_arn
        ):
            self.check(13, not counted, lambda: f"{asked} goes back, though its rollout had moved it")

    def _goes_back(self, mapping: PublishedMapping) -> bool:
        """Whether a revision says what was published before a rollout that it ends: that is never held."""
        log = (self.hub or self).published[mapping.key]
        was = next((each for _, each in reversed(log) if each and each.revision < mapping.revision), None)
        if was is None or was.former is None:
            return False
        if was.former.deleted:
            return mapping.deleted or not mapping.spec.enabled
        return not mapping.deleted and mapping.spec.gives_as(was.former.spec)

    def _wrote_entry(self, pk: str, new: Attributes) -> None:
        owner = layout.instance_key_from(pk)
        if new and pk.startswith("mapping#"):
            self._wrote_verdict(layout.mapping_of(pk), layout.from_attributes(new))
        if owner is None or new is None or not self.writer:
            return
        entry = layout.from_attributes(new)
        if entry.get("outcome") == STARTED:
            self.writer.notes.setdefault("started", {})[owner.id] = _started(entry)
            self.writer.notes["last"] = owner.id

    def _wrote_budget(self, key: MappingKey, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        """A revision was approved, or a change is taken from what was, in the very transaction that starts it."""
        credit = layout.credit_of(revision := int(new["credit_revision"]))
        if old.get("credit_revision") != revision:
            self._granted[key, revision] = int(new[credit])
        elif new[credit] < old[credit] and self.writer:
            last, started = self.writer.notes["last"], self.writer.notes["started"]
            started[last] = replace(started[last], approved=True)

    def _wrote_published(self, key: MappingKey, new: Attributes) -> None:
        log = self.published[key]
        if new is None:
            log.append((self.engine.seconds, None))
            return
        mapping = layout.published_from(layout.from_attributes(new))
        former = next((each for at, each in reversed(log) if each and at > self.lost_at), None)
        log.append((self.engine.seconds, mapping))
        if mapping == former:
            return  # a note beside it
        run = self.writer
        if mapping.deleted and run and not (former and former.deleted):
            swept = run.name.startswith("sweep")
            self.check(6, not (swept and key in self.hidden), lambda: f"{run.name} removes {key} on an empty read")
        if mapping.profile_arn and not mapping.deleted and not mapping.suspended_because and run:
            # IAM isn't asked about a row that isn't for this account, and it gives nothing here.
            elsewhere = not is_for(mapping, self.account.target)
            there = (
                elsewhere
                or self.account.find_profile(mapping.profile_arn) is None
                or self.account.under_the_path(mapping.profile_arn, run.began - self.lag)
            )
            self.check(1, there, lambda: f"{run.name} serves {key} with {mapping.profile_arn}, which is outside")
            allowed = mapping.spec.allow_broad and self.account.allow_broad
            fits = allowed or elsewhere or self.account.narrow(mapping.spec.role, run.began - self.lag)
            self.check(11, fits, lambda: f"{run.name} serves {key} with {mapping.spec.role}, which is broad")
        if run and self._goes_back(mapping):
            return
        if run:
            self.engine.after(0, lambda: self._as_shown(run, former, mapping))
        if run and former and not former.deleted and self.hub is None:
            # After the whole transaction: an approval is written in it too.
            self.engine.after(0, lambda: self._within_the_edits(run, former, mapping))

    def _wrote_verdict(self, key: MappingKey, entry: Mapping[str, Any]) -> None:
        """People are shown what an edit would do that is held: by that they approve it."""
        if entry["event"] == "Mapping Held":
            revision = key, int(entry["revision"])
            self._shown[revision] = max(self._shown.get(revision, 0), _effect(entry))

    def _wrote_revision(self, revision: layout.Item) -> None:
        changes, by, mapping = _effect(revision), revision["approved_by"], layout.published_from(revision)
        if self._goes_back(mapping):
            return
        if by or changes > self._allowed:
            since = self.writer.began if self.writer else self.engine.seconds
            signed, why_not = self.approvals.of(by, mapping, since)
            text = f"{mapping.key} {mapping.revision}, which changes {changes}, is published, though {why_not}"
            self.check(12, not why_not, lambda: text)
            if signed:
                self._approved.add(which := (mapping.key, mapping.revision))
                self._shown[which] = min(self._shown.get(which, 0), int(signed.item["changes"]))
        if not by and self.writer:
            since = self.writer.began - self.lag - 1
            later = [each for each in self.account.instances if self._changes_later(each, mapping, since)]
            self.check(
                12,
                len(later) <= self._allowed,
                lambda: f"{mapping.key} {mapping.revision} changes {later} later, as time passes, and nobody signed it",
            )

    def _changes_later(self, instance: str, mapping: PublishedMapping, since: float) -> bool:
        """Whether a revision changes an instance, unchanged until now, at a moment at which something ends."""
        tags, now = self.account.tags[instance], self.engine.now() + timedelta(seconds=2 * self.skew)
        row = None if self._ended(instance) else self.account.truth.association_of(instance)
        if not (row and tags) or instance in self.damaged or not self.lost_at < row.timestamp < since:
            return False
        of_tags = {key: log for key, log in self.published.items() if carries(tags[-1][1], key)}
        others = {key: log[-1][1] for key, log in of_tags.items() if key != mapping.key}
        logs: list[Sequence[tuple[float, Any]]] = [tags, self.pins[instance]]
        logs += [log for key, log in of_tags.items() if key != mapping.key]
        former = next((each for _, each in reversed(of_tags.get(mapping.key, ())) if each != mapping), None)
        if any(log[-1][0] >= since for log in logs if log) or self.account.truth.instance(instance).operator:
            return False
        account, region = self._where
        met = TimedInstance(
            tags[-1][1],
            row.profile_arn,
            self.pins[instance][-1][1] if self.pins[instance] else None,
            take_over=self.account.take_over,
            mappings={key: each for key, each in {**others, mapping.key: former}.items() if each},
            grants=_grants_in(self.records.get(instance, {})),
            account=account,
            region=region,
        )
        return any(each.at > now for each in met.brought_by(mapping, self.engine.now(), now + timedelta(days=1)))

    def _as_shown(self, run: Run, former: PublishedMapping | None, mapping: PublishedMapping) -> None:
        """By a revision no more instances change, over all accounts, than its approver saw and than may unapproved.

        Unapproved that is within a window.
        """
        hub, revision, target = self.hub or self, (mapping.key, mapping.revision), self.account.target
        if mapping.is_idle(self.engine.now()) or mapping.suspended_because or not is_for(mapping, target):
            return
        if former and (former.revision, former.spec) == (mapping.revision, mapping.spec):
            return  # its role can be used again
        # What an account's run found holds that long; what was cut off goes on as it was counted when it was published.
        at = [at for at, each in hub.published[mapping.key] if each and each.revision == mapping.revision]
        since = min(run.began, *at) - (FRESH.total_seconds() if run.name.startswith("judged") else 0)
        if former and (former.deleted or former.suspended_because or not is_for(former, target)):
            former = None
        if former and former.is_idle(self.engine.now()) and former.profile_arn == mapping.profile_arn:
            former = None  # what it gave and nobody took, as while it is observed, doesn't change
        gave = "" if former is None or former.is_idle(self.engine.now()) else former.profile_arn
        for instance in self.account.instances if mapping.profile_arn != gave else ():
            loses = former and self._loses(instance, former, since) and not self._is_left(instance, mapping)
            if loses or self._gains(instance, mapping, since):
                hub._changed[revision][instance] = self.engine.seconds  # noqa: SLF001  # the same class
        changed = hub._changed[revision].values()  # noqa: SLF001  # the same
        recent = sum(at > self.engine.seconds - self._length for at in changed)
        may = hub._allowed + (hub._shown.get(revision, 0) if revision in hub._approved else 0)  # noqa: SLF001  # the same
        serves = f"{run.name} serves {mapping.key} {mapping.revision} in {target}"
        self.check(12, recent <= may, lambda: f"{serves}, by which {recent} change, and {may} may")

    def _gains(self, instance: str, mapping: PublishedMapping, since: float) -> bool:
        """Whether an instance has carried nothing, under a mapping's tag and no other, all the while."""
        tags = self.account.tags[instance]
        if not (tags and mapping.profile_arn) or self.pins[instance] or instance in self.damaged:
            return False
        known = self.account.truth
        if self._ended(instance) or known.association_of(instance) or known.instance(instance).operator:
            return False  # the service that manages one gives it its role
        given = _grants_in(self.records.get(instance, {})).values()
        if any(log[-1][1] is None for key in given if (log := self.published.get(key))):
            return False  # what gave it no role can't be found, and until then it stays as it is
        only = self._is_only(mapping.key, tags[-1][1]) and not mapping.spec.require_tags
        settled = max(tags[-1][0], self.account.emptied.get(instance, 0)) < since - self.lag - 1
        return only and settled

    def _is_only(self, key: MappingKey, tags: Mapping[str, str]) -> bool:
        """Whether no other mapping than this is for these tags."""
        live = [each for each, log in self.published.items() if log and (last := log[-1][1]) and not last.deleted]
        rivals = any(each.matches(tags) for each in live if each != key)
        return key.matches(tags) and not rivals and set(tags) == {key.tag_key}

    def _within_the_edits(self, run: Run, former: PublishedMapping, mapping: PublishedMapping) -> None:
        """Of revisions that nobody approved only so many are served in a window that together they take few roles."""
        if (mapping.key, mapping.revision) in self._approved or mapping.revision == former.revision:
            return
        if former.is_idle(self.engine.now()):
            return  # what it gave is taken already, as was approved
        if not mapping.deleted and (mapping.spec.priority > former.spec.priority or not mapping.spec.enabled):
            return  # then another mapping may govern instead, and what changes is its doing
        if (mapping.profile_arn == former.profile_arn and not mapping.deleted) or _narrower(mapping, self.engine.now()):
            return
        taken = sum(self._loses(instance, former, run.began) for instance in self.account.instances)
        now = self.engine.seconds
        self._edited.append((now, taken))
        together = sum(number for at, number in self._edited if at > now - self._length)
        self.check(
            7,
            together <= self._allowed,
            lambda: (
                f"{run.name} serves {mapping.key} {mapping.revision}, which takes {taken} roles, and {together} "
                f"with the edits before it; {self._allowed} may go"
            ),
        )

    @property
    def _where(self) -> tuple[str, str]:
        return self.account.target.account, self.account.target.region

    def _loses(self, instance: str, former: PublishedMapping, since: float) -> bool:
        """Whether an instance has carried what this mapping gave it, under its tag and no other, all the while."""
        tags = self.account.tags[instance]
        # What is disassociating goes already, by what was published before.
        row = self.account.settled_association_of(instance) if self.account.truth.knows(instance) else None
        if not row or not tags or row.profile_arn != former.profile_arn or self.pins[instance]:
            return False
        if row.timestamp <= self.lost_at or instance in self.damaged:
            return False  # no grant explains it, or its record can't be read, so it is held
        if self.account.truth.instance(instance).state not in (State.RUNNING, State.STOPPED):
            return False
        settled = max(row.timestamp, tags[-1][0]) < since - self.lag - 1
        ours = self.account.makers.get(row.id) is Maker.US
        return settled and ours and self._is_only(former.key, tags[-1][1])

    def _is_left(self, instance: str, mapping: PublishedMapping) -> bool:
        """Whether an edit leaves an instance as it is: it lacks a required tag, and the row says keep."""
        tags, spec = self.account.tags[instance][-1][1], mapping.spec
        matches = all(carries(tags, MappingKey(*tag)) for tag in spec.require_tags.items())
        return not matches and spec.when_unmatched is WhenUnmatched.KEEP


def is_for(mapping: PublishedMapping, target: Target) -> bool:
    """Whether what is published for an account is for a target of it; the hub found whether it is in its units."""
    anywhere = replace(mapping.spec, units=frozenset(), not_units=frozenset())
    return mapping.in_scope and in_scope(anywhere, target.account, target.region, ())


def _grants_in(record: Mapping[str, Any]) -> dict[str, MappingKey]:
    """By a profile's ARN, the mapping for which it was given, as an instance's record says it."""
    grants = layout.record_from(layout.from_attributes(record)).grants
    return {arn: grant.mapping for arn, grant in grants.items()}


def _effect(entry: Mapping[str, Any]) -> int:
    """How many instances an edit changes, by what is told of it."""
    effect = entry.get("effect", {})
    changes = sum(int(effect.get(name, 0)) for name in ("attach", "replace", "detach"))
    return changes + int(effect.get("only_later", 0))


def _started(entry: Mapping[str, Any]) -> Started:
    decision = entry["decision"]
    pinned = decision["mapping"] == "the pin"
    key = MappingKey(PIN_TAG, "") if pinned else MappingKey(*decision["mapping"].split("=", 1))
    return Started(
        decision["action"],
        decision["code"],
        key,
        int(decision["revision"]),
        decision["role"],
        decision["profile-arn"],
        entry["seen"]["association-id"],
        entry["seen"]["state"],
        (datetime.fromisoformat(entry["at"]) - START).total_seconds(),
    )


def _announces(started: Started | None, asked: Asked) -> bool:
    """Whether a history entry is of this very call."""
    if started is None:
        return False
    if asked.operation == "Associate":
        return started.action == "Attach" and started.profile_arn == asked.arn
    same = started.association == asked.association
    if asked.operation == "Replace":
        return same and started.action == "Replace" and started.profile_arn == asked.arn
    # Only a stopped instance is swapped: a running one would be without a role in between.
    return same and (started.action == "Detach" or (started.action == "Replace" and started.state == "stopped"))


def _held[Value](log: Sequence[tuple[float, Value]], since: float, until: float) -> list[Value]:
    """What held at some time between two moments."""
    before = [value for at, value in log if at <= since][-1:]
    return [*before, *(value for at, value in log if since < at <= until)]


def _steady[Value](log: Sequence[tuple[float, Value | None]], since: float, until: float) -> Value | None:
    """What held from one moment to another without a change, if anything did."""
    changes = any(since < at <= until for at, _ in log)
    return None if changes else next((value for at, value in reversed(log) if at <= since), None)


def _matches(mapping: PublishedMapping, tags: Mapping[str, str]) -> bool:
    return all(carries(tags, key) for key in (mapping.key, *starmap(MappingKey, mapping.spec.require_tags.items())))


def _narrower(mapping: PublishedMapping, now: Any) -> bool:
    """Whether a mapping leaves some of its instances alone: then what it takes can't be told from outside."""
    spec = mapping.spec
    return bool(spec.require_tags) or spec.expired(now) or spec.when_unmatched is not WhenUnmatched.DETACH
