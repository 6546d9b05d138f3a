"""The promises of docs/guarantees.md, watched while a schedule plays: at each change that EC2 makes for us, and at each
write to our tables. What holds only once all is quiet is in `settled`.

Nothing here asks the code what it meant: it goes by EC2's truth, by what is written in the tables, and by when each run
read what.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from rolekeeper import codec
from rolekeeper.codec import INTENT
from rolekeeper.limits import Limits
from rolekeeper.model import (
    Action,
    InstanceKey,
    Intent,
    MappingKey,
    Pin,
    PublishedMapping,
    WhenOccupied,
    WhenUnmatched,
)
from rolekeeper.ownership import IN_FLIGHT
from rolekeeper_local.ec2_model import Association, State
from simulation.account import ACCOUNT, REGION, Account, Maker
from simulation.engine import START, Engine, Run

STATE, ROWS = "state", "rows"

PROMISES: Mapping[int, str] = {
    1: "never a role outside the ceiling",
    2: "never a detach, nor a replace that the mapping doesn't allow, of what somebody else attached",
    3: "at most one change takes effect per observed association",
    4: "it converges, or the instance shows why not",
    5: "every accepted message ends converged, parked or as a dead letter",
    6: "unreadable or empty mappings hold",
    7: "at most the allowed number of changes per edit and per window",
    8: "a converged reconcile writes nothing",
    9: "an intent before each change, an outcome after it, and the history explains it",
    10: "every role was justified by a tag and a mapping that held during the reconcile",
}

type Attributes = Mapping[str, Any] | None


@dataclass(frozen=True)
class Violation:
    """A broken promise, by its number."""

    promise: int
    text: str

    def __str__(self) -> str:
        return f"promise {self.promise} ({PROMISES[self.promise]}): {self.text}"


@dataclass(frozen=True)
class Asked:
    """A change that a run asks EC2 for.

    Attributes:
        since: the moment whose truth the run went by at the oldest: when it looked at the association, or earlier where
            EC2 showed it the past.
    """

    run: str
    operation: str
    instance: str
    association: str
    arn: str
    intent: Intent | None
    at: float
    since: float

    @property
    def maker(self) -> Maker:
        """Who makes the association, if one is made."""
        return Maker.GIVEN_BACK if self.intent and self.intent.gives_back else Maker.US

    @property
    def gives_up(self) -> bool:
        """Whether it is done because no mapping governs any more."""
        intent = self.intent
        return intent is not None and (intent.gives_back or (intent.action is Action.DETACH and intent.role != "NONE"))

    def __str__(self) -> str:
        what = f"to {self.arn.rsplit('/', 1)[-1]} " if self.arn else ""
        by = f"{self.intent.mapping} revision {self.intent.revision}" if self.intent else "nothing"
        return f"{self.run}'s {self.operation} {what}on {self.instance[-4:]} {self.association[-4:]} by {by}"


@dataclass
class Promises:
    """See the module.

    Attributes:
        violations: the broken promises.
        checked: how often each promise was looked at.
        writer: the run whose write is under way.
        writes: writes to the state table so far.
        ambiguous: associations of others that can't be told from ours: they carry exactly what an open intent of ours
            was to attach. EC2 offers nothing to tell the two apart.
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
    ambiguous: set[str] = field(default_factory=set)
    changes: list[tuple[Asked, Association]] = field(default_factory=list)
    published: defaultdict[MappingKey, list[tuple[float, PublishedMapping | None]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    pins: defaultdict[str, list[tuple[float, Pin | None]]] = field(default_factory=lambda: defaultdict(list))
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    table_lost: bool = False
    _taken: set[str] = field(default_factory=set)
    _counted: defaultdict[MappingKey, list[float]] = field(default_factory=lambda: defaultdict(list))
    _credit: defaultdict[MappingKey, int] = field(default_factory=lambda: defaultdict(int))

    def broken(self, promise: int, text: str) -> None:
        """Note a broken promise."""
        self.engine.say(f"!!!! promise {promise} is broken: {text}")
        self.violations.append(Violation(promise, text))

    def check(self, promise: int, holds: bool, text: Callable[[], str]) -> None:  # noqa: FBT001  # it is what is asked
        """Look at a promise."""
        self.checked[promise] += 1
        if not holds:
            self.broken(promise, text())

    # ---- what runs read ----

    def saw_associations(self, run: Run | None, at: float) -> None:
        """A run looked at associations, as they were then."""
        if run:
            run.notes["associations"] = at

    def saw_instances(self, run: Run | None, at: float) -> None:
        """A run looked at instances, as they were then. What EC2 shows of the past is not the run's fault."""
        if run:
            run.notes["instances"] = at if at < self.engine.seconds else None

    # ---- what they ask of EC2 ----

    def asked(self, run: Run | None, operation: str, instance: str, association: str, arn: str) -> Asked:
        """A run is about to ask EC2 for a change."""
        assert run, "nobody else changes anything through the functions' client"
        intent: Intent | None = run.notes.get("intents", {}).get(instance)
        looks = (run.notes.get("associations"), run.notes.get("instances"))
        seen = min((at for at in looks if at is not None), default=self.engine.seconds)
        asked = Asked(run.name, operation, instance, association, arn, intent, self.engine.seconds, seen)
        self.check(9, _announces(intent, asked), lambda: f"{asked} has no intent that says so: {intent}")
        if arn and asked.maker is Maker.GIVEN_BACK:
            under = self.account.under_the_path(arn, seen - self.lag)
            self.check(1, under, lambda: f"{asked} puts back what lies outside")
        return asked

    def happened(self, asked: Asked, before: Association | None, row: Association) -> None:
        """EC2 did what a run asked for."""
        self.changes.append((asked, row))
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
            if self.account.makers.get(asked.association) is not Maker.US and asked.association not in self.ambiguous:
                self.check(2, self._may_take(asked), lambda: f"{asked} takes what somebody else attached")
        if asked.intent:
            self._justified(asked, asked.intent)
            self._within_the_window(asked, asked.intent)

    def _may_take(self, asked: Asked) -> bool:
        """Whether a mapping lets us take a role that somebody else attached."""
        intent = asked.intent
        if intent is None or asked.gives_up:
            return False
        if intent.mapping.pins:
            return True
        served = _held(self.published[intent.mapping], asked.since, asked.at)
        return any(
            each and each.revision == intent.revision and each.spec.when_occupied is WhenOccupied.REPLACE
            for each in served
        )

    def _justified(self, asked: Asked, intent: Intent) -> None:
        since, until = asked.since, asked.at
        tags = _held(self.account.tags[asked.instance], since, until) or [{}]
        if intent.mapping.pins:
            self._justified_by_pin(asked, intent, _held(self.pins[asked.instance], since, until))
            return
        self._not_overruled(asked, intent, tags)
        served = _held(self.published[intent.mapping], since, until)
        known = [each for each in served if each]
        if asked.gives_up:
            self.check(6, bool(known), lambda: f"{asked}, though its published record was lost all the while")
            let_go = any(not _governs(each, one, self._clock(until)) for each in known for one in tags)
            meant = any(each.spec.when_unmatched is not WhenUnmatched.KEEP for each in known)
            self.check(10, let_go and meant, lambda: f"{asked}, though the mapping governed all the while: {tags}")
            return
        same = [each for each in known if each.revision == intent.revision and not each.deleted and each.spec.enabled]
        matched = any(_matches(each, one) for each in same for one in tags)
        self.check(10, matched, lambda: f"{asked}: tags {tags}, published {[each.revision for each in known]}")
        right = any(each.profile_arn == intent.target_profile_arn for each in same) or not asked.arn
        self.check(10, right, lambda: f"{asked}: the mapping says another profile")

    def _not_overruled(self, asked: Asked, intent: Intent, tags: Sequence[Mapping[str, str]]) -> None:
        """Nothing that comes before this mapping held all the while: it was there to be read."""
        since, until, now = asked.since, asked.at, self._clock(asked.at)
        pin = _steady(self.pins[asked.instance], since, until)
        self.check(10, pin is None or pin.expired(now), lambda: f"{asked}, though it is pinned: {pin}")
        own = [each for each in _held(self.published[intent.mapping], since, until) if each]
        lowest = min((each.spec.priority for each in own), default=0)
        for key, log in self.published.items():
            rival = _steady(log, since, until) if key != intent.mapping else None
            if rival and all(_governs(rival, one, now) for one in tags):
                self.check(
                    10,
                    not asked.gives_up and rival.spec.priority >= lowest,
                    lambda rival=rival: f"{asked}, though {rival.key} governed all the while",  # type: ignore[misc]  # a default binds the loop's
                )

    def _justified_by_pin(self, asked: Asked, intent: Intent, held: Sequence[Pin | None]) -> None:
        if asked.gives_up:
            over = any(each is None or each.expired(self._clock(asked.at)) for each in held) or not held
            self.check(10, over, lambda: f"{asked}, though the pin held all the while")
        else:
            meant = any(each and each.profile_arn == intent.target_profile_arn for each in held)
            self.check(10, meant, lambda: f"{asked}: no such pin: {held}")

    def _clock(self, seconds: float) -> Any:
        """The latest that any function may take it for then: clocks are off by a little."""
        return START + timedelta(seconds=seconds + self.skew)

    def _within_the_window(self, asked: Asked, intent: Intent) -> None:
        if intent.action is Action.ATTACH or intent.mapping.pins or intent.mapping.tag_key.startswith("rolekeeper:"):
            return
        times = self._counted[intent.mapping]
        times.append(asked.at)
        # A minute's count is taken by the counting function's own clock.
        length = self.window.total_seconds() - 2 * self.skew
        recent = sum(at > asked.at - length for at in times)
        allowed = self.limits.allowed(len(self.account.instances)) + self._credit[intent.mapping]
        self.check(7, recent <= allowed, lambda: f"{asked}: change {recent} in the window, {allowed} are allowed")

    # ---- what others do ----

    def made_by_other(self, row: Association) -> None:
        """Somebody else attached something."""
        record = self.records.get(row.instance_id, {})
        if any(self._claims(intent, row) for intent in _intents(record)):
            self.ambiguous.add(row.id)

    def _claims(self, intent: Intent, row: Association) -> bool:
        young = (self.engine.seconds - (intent.at - START).total_seconds()) < (
            IN_FLIGHT.total_seconds() + 2 * self.skew + 60
        )
        return (
            intent.action is not Action.DETACH
            and intent.target_profile_arn == row.profile_arn
            and intent.from_association_id != row.id
            and young
        )

    # ---- what is written ----

    def wrote(self, table: str, key: tuple[str, str], old: Attributes, new: Attributes) -> None:
        """An item changed."""
        if table != STATE:
            # A table with a row in it is an edit like any other.
            self.table_lost = self.table_lost and new is None
            return
        self.writes += 1
        pk, sk = key
        if sk == "record":
            self._wrote_record(pk, old, new)
        elif sk == "pin":
            if owner := codec.instance_key_from(pk):
                pin = codec.pin_from(codec.from_attributes(new)) if new else None
                self.pins[owner.id].append((self.engine.seconds, pin))
        elif sk == "published":
            self._wrote_published(codec.mapping_of(pk), new)
        elif sk == "window" and new and new.get("credit") != (old or {}).get("credit"):
            before, after = (int((each or {}).get("credit", {}).get("N", 0)) for each in (old, new))
            if after > before:
                self._credit[codec.mapping_of(pk)] += after

    def _wrote_record(self, pk: str, old: Attributes, new: Attributes) -> None:
        owner = codec.instance_key_from(pk)
        if owner is None:
            return
        fresh = [name for name in new or {} if name.startswith(INTENT) and name not in (old or {})]
        self.records[owner.id] = dict(new or {})
        if not fresh:
            return
        intents = _intents({name: value for name, value in (new or {}).items() if name in fresh})
        if self.writer:
            self.writer.notes.setdefault("intents", {})[owner.id] = intents[-1]
        row = self.account.truth.association_of(owner.id) if self.account.truth.knows(owner.id) else None
        if row and self.account.makers.get(row.id) is not Maker.US and any(self._claims(each, row) for each in intents):
            # Opened from a look that was too early to see that somebody else had just attached that very profile.
            self.ambiguous.add(row.id)

    def _wrote_published(self, key: MappingKey, new: Attributes) -> None:
        log = self.published[key]
        if new is None:
            log.append((self.engine.seconds, None))
            return
        mapping = codec.published_from(codec.from_attributes(new))
        former = next((each for _, each in reversed(log) if each), None)
        log.append((self.engine.seconds, mapping))
        if mapping == former:
            return  # a note beside it
        run = self.writer
        if mapping.deleted and run and not (former and former.deleted):
            swept = run.name.startswith("sweep")
            self.check(6, not (swept and self.table_lost), lambda: f"{run.name} removes {key} on an empty read")
        if mapping.profile_arn and not mapping.deleted and not mapping.suspended and run:
            there = self.account.find_profile(mapping.profile_arn) is None or self.account.under_the_path(
                mapping.profile_arn, run.began - self.lag
            )
            self.check(1, there, lambda: f"{run.name} serves {key} with {mapping.profile_arn}, which is outside")
        if run and former and not former.deleted:
            # After the whole transaction: an approval is written in it too.
            credit = self._credit[key]
            self.engine.after(0, lambda: self._within_the_edit(run, former, mapping, credit))

    def _within_the_edit(self, run: Run, former: PublishedMapping, mapping: PublishedMapping, credit: int) -> None:
        """A new revision that would take more roles than are allowed at once is served only when it is approved."""
        if self._credit[mapping.key] > credit or mapping.revision == former.revision:
            return
        if not mapping.deleted and (mapping.spec.priority > former.spec.priority or not mapping.spec.enabled):
            return  # then another mapping may govern instead, and what changes is its doing
        if (mapping.profile_arn == former.profile_arn and not mapping.deleted) or _narrower(mapping, self.engine.now()):
            return
        taken = sum(self._loses(instance, former, run.began) for instance in self.account.instances)
        allowed = self.limits.allowed(len(self.account.instances))
        self.check(
            7,
            taken <= allowed,
            lambda: f"{run.name} serves {mapping.key} {mapping.revision}, which takes {taken} roles; {allowed} may go",
        )

    def _loses(self, instance: str, former: PublishedMapping, since: float) -> bool:
        """Whether an instance has carried what this mapping gave it, under its tag and no other, all the while."""
        tags = self.account.tags[instance]
        row = self.account.truth.association_of(instance) if self.account.truth.knows(instance) else None
        if not row or not tags or row.profile_arn != former.profile_arn or self.pins[instance]:
            return False
        if self.account.truth.instance(instance).state not in (State.RUNNING, State.STOPPED):
            return False
        settled = max(row.timestamp, tags[-1][0]) < since - self.lag - 1
        live = [key for key, log in self.published.items() if (last := log[-1][1]) and not last.deleted]
        rivals = any(key.matches(tags[-1][1]) for key in live if key != former.key)
        ours = self.account.makers.get(row.id) is Maker.US and former.key.matches(tags[-1][1])
        return settled and ours and not rivals and set(tags[-1][1]) == {former.key.tag_key}


def _announces(intent: Intent | None, asked: Asked) -> bool:
    """Whether an intent is of this very call."""
    if intent is None:
        return False
    if asked.operation == "Associate":
        return intent.action is Action.ATTACH and intent.target_profile_arn == asked.arn
    same = intent.from_association_id == asked.association
    if asked.operation == "Replace":
        return same and intent.action is Action.REPLACE and intent.target_profile_arn == asked.arn
    return same and (intent.action is Action.DETACH or intent.swap)


def _intents(record: Mapping[str, Any]) -> list[Intent]:
    intents = {name: value for name, value in record.items() if name.startswith(INTENT)}
    try:
        return list(codec.record_from(codec.from_attributes(intents)).intents.values())
    except (KeyError, TypeError, ValueError, AttributeError):
        return []  # garbled by the schedule


def _held[Value](log: Sequence[tuple[float, Value]], since: float, until: float) -> list[Value]:
    """What held at some time between two moments."""
    before = [value for at, value in log if at <= since][-1:]
    return [*before, *(value for at, value in log if since < at <= until)]


def _steady[Value](log: Sequence[tuple[float, Value | None]], since: float, until: float) -> Value | None:
    """What held from one moment to another without a change, if anything did."""
    changes = any(since < at <= until for at, _ in log)
    return None if changes else next((value for at, value in reversed(log) if at <= since), None)


def _matches(mapping: PublishedMapping, tags: Mapping[str, str]) -> bool:
    required = (MappingKey(key, value).matches(tags) for key, value in mapping.spec.require_tags.items())
    return mapping.key.matches(tags) and all(required)


def _governs(mapping: PublishedMapping, tags: Mapping[str, str], now: Any) -> bool:
    return not mapping.deleted and mapping.spec.enabled and not mapping.spec.expired(now) and _matches(mapping, tags)


def _narrower(mapping: PublishedMapping, now: Any) -> bool:
    """Whether a mapping leaves some of its instances alone: then what it takes can't be told from outside."""
    spec = mapping.spec
    return bool(spec.require_tags) or spec.expired(now) or spec.when_unmatched is not WhenUnmatched.DETACH


def instance_key(instance: str) -> InstanceKey:
    """An instance's key."""
    return InstanceKey(ACCOUNT, REGION, instance)
