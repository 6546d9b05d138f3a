"""Every situation of an instance: its story, what EC2 and the state table hold, and what is decided.

The table of `decide`, records, costs, crashes, short reasons and the page of the decisions all ask this catalogue.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from fixtures.account import PATH, FakeAccount, refusing, settings_of
from rolekeeper.instances.decide import Observation, pin_over, resolve
from rolekeeper.instances.window import Reservation
from rolekeeper.model.instance import (
    NO_PROFILE,
    AppliedChange,
    Association,
    AssociationState,
    Candidates,
    DesiredChange,
    Grant,
    Instance,
    InstanceRecord,
    InstanceState,
    RecordChange,
)
from rolekeeper.model.mapping import (
    IGNORE_TAG,
    PIN_TAG,
    Control,
    MappingKey,
    Pin,
    PublishedMapping,
    WhenOccupied,
    WhenStopped,
    WhenUnmatched,
)
from rolekeeper.settings import Limits, Ownership, Settings
from strategies.values import KEY, NOW, OWNERSHIP, TAKES_OVER, arn, association, foreign, grant, published

STATES = tuple(map(str, InstanceState))
NEVER = float("inf")
EKS, LATER = "eks.amazonaws.com", "2099-01-01T00:00:00Z"

WEB = published("workload=web", "web")
SWAPS = published("workload=web", "web", when_stopped=WhenStopped.SWAP)
TAKES = published("workload=web", "web", when_occupied=WhenOccupied.REPLACE)
TAKES_AND_SWAPS = replace(TAKES, spec=replace(TAKES.spec, when_stopped=WhenStopped.SWAP))
QUARANTINE = published("workload=web", "NONE")
TAKES_ALL = published("workload=web", "NONE", when_occupied=WhenOccupied.REPLACE)
SUSPENDED = replace(TAKES, suspended_because="its role is gone")
RIVAL = published("env=prod", "prod")
# A rollout of one that gave db before; no wave of it is known to be open.
ROLLS = replace(WEB, revision=2, former=published("workload=web", "db"))

GAVE_WEB, GAVE_DB = grant("web", "workload=web"), grant("db", "workload=db")
GAVE_DB_BY_TIER, TOOK = grant("db", "tier=db"), grant("NONE", "quarantine=*")
PINNED_ONCE = MappingKey(PIN_TAG, KEY.id)
GAVE_PIN = Grant(arn("web"), "web", PINNED_ONCE, 0, NOW)
PIN_ENDS = Pin("debug", arn("debug"), NOW + timedelta(days=1))
PIN, PIN_TO_NONE, PIN_UNCLEAR = Pin("debug", arn("debug")), Pin("NONE"), Pin("", unclear="the pin names no role")

LEAVING = association("db", state="disassociating")
FOREIGN_LEAVING = replace(foreign(), state=AssociationState.DISASSOCIATING)
MADE_THRICE = tuple(AppliedChange(DesiredChange(WEB.key, 1, arn("web")), NOW - timedelta(minutes=n)) for n in (3, 2, 1))


@dataclass(frozen=True)
class Situation:
    """One instance, and what is decided for it while it is in its `state`.

    Attributes:
        decides: action and code.
        governs: the mapping whose tag the instance carries, if any; `rival` is another one.
        carries: its association.
        gave: the grants in its record; `owner` is the mapping or tombstone of the one that explains what it carries.
        tags: further tags.
        made: the changes that EC2 took.
        control: the control item.
        stopped: what is decided if it is stopped instead, where that differs.
        answer: what AWS answers to the change; a `full` window has no room for it. A reconcile then `ends` otherwise.
        state: empty where EC2 doesn't know it.
    """

    decides: str
    governs: PublishedMapping | None = None
    carries: Association | None = None
    gave: tuple[Grant, ...] = ()
    owner: PublishedMapping | None = None
    rival: PublishedMapping | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    pin: Pin | None = None
    managed_by: str = ""
    take_over: bool = False
    made: tuple[AppliedChange, ...] = ()
    control: Mapping[str, Any] = field(default_factory=dict)
    swept: bool = True
    stopped: str = ""
    answer: str = ""
    full: bool = False
    ends: str = ""
    state: str = "running"

    def but(self, decides: str = "", **changes: Any) -> "Situation":
        """Return the same with some changes, and what is decided then, in each state, if that is something else."""
        other = {"decides": decides, "stopped": ""} if decides else {}
        return replace(self, **{**other, **changes})

    # ---- as values ----

    @property
    def code(self) -> str:
        """How a reconcile ends that comes upon it."""
        return (self.ends or self.decides).split()[1]

    @property
    def tried(self) -> bool:
        """Whether a reconcile tries a change that can't be made now."""
        return bool(self.answer or self.full)

    @property
    def mutates(self) -> bool:
        return self.decides.split()[0] in {"Attach", "Replace", "Detach"}

    @property
    def published(self) -> tuple[PublishedMapping, ...]:
        """The mappings for its tags."""
        return tuple(mapping for mapping in (self.governs, self.rival) if mapping)

    @property
    def all_tags(self) -> Mapping[str, str]:
        tags = {mapping.key.tag_key: mapping.key.tag_value for mapping in self.published}
        return {**tags, **self.tags} or {"Name": "x"}

    @property
    def ownership(self) -> Ownership:
        return TAKES_OVER if self.take_over else OWNERSHIP

    @property
    def settings(self) -> Settings:
        return settings_of(KEY.target, take_over=self.take_over)

    @property
    def instance(self) -> Instance | None:
        return Instance(KEY, InstanceState(self.state), self.all_tags, self.managed_by) if self.state else None

    @property
    def record(self) -> InstanceRecord:
        grants = {given.profile_arn: given for given in self.gave}
        return InstanceRecord(grants, None, self.made, writes=int(bool(self.gave or self.made)))

    @property
    def observation(self) -> Observation:
        """What a look at it sees."""
        explains = self.record.grants.get(self.carries.profile_arn if self.carries else NO_PROFILE)
        owners = [mapping for mapping in (*self.published, self.owner) if mapping and explains]
        return Observation(
            key=KEY,
            asked_at=NOW,
            instance=self.instance,
            association=self.carries,
            record=self.record,
            control=replace(Control.read(self.control), swept=self.swept),
            grant=explains,
            candidates=resolve(self.instance, self.published, NOW, self.pin) if self.instance else Candidates(),
            owner=next((mapping for mapping in owners if explains and mapping.key == explains.mapping), None),
            published=self.published,
            pin=self.pin,
            rollouts={mapping.key: None for mapping in self.published if mapping.former},
        )

    def decides_in(self, state: str) -> str:
        """What is decided if the instance is in another state, and all else is the same."""
        if state in ("shutting-down", "terminated"):
            return "Nothing ended"
        if state in ("pending", "stopping") and (self.mutates or self.code in {"contested", *WITHHELD}):
            return "Wait changing"
        return self.stopped or self.decides if state == "stopped" else self.decides

    # ---- in an account ----

    def arrange(self, world: FakeAccount) -> str:
        """Bring it about; return the instance."""
        world.take_over = self.take_over
        if self.full:
            _fill_window(world)
        for mapping in (*self.published, *((self.owner,) if self.owner and not self.owner.key.pins else ())):
            _publish(world, mapping)
        if self.control:
            world.control(**self.control)
        if not self.swept:
            world.never_swept()
        instance = world.truth.launch(tags=self.all_tags, operator=self.managed_by).id
        world.wait(0 if self.state == "pending" else 2)
        if self.carries:
            _attach(world, instance, self.carries)
        self._remember(world, instance)
        self._enter_state(world, instance)
        if self.pin:
            world.pin(instance, self.pin)
        if self.pin and self.pin.profile_arn and self.pin.role not in world.profiles:
            world.profile(self.pin.role)
        return instance

    def refuse(self, world: FakeAccount, *calls: str) -> None:
        """Have AWS give its answer to the next of each of these calls."""
        for call in calls if self.answer else ():
            world.calls.before(call, refusing(self.answer, "Invalid IAM Instance Profile name"))

    def _remember(self, world: FakeAccount, instance: str) -> None:
        grants = (replace(g, mapping=MappingKey(PIN_TAG, instance)) if g.mapping.pins else g for g in self.gave)
        world.state.save(world.key(instance), RecordChange(tuple(grants)), NOW)
        for change in self.made:
            world.state.save(world.key(instance), RecordChange(applied=change), NOW)

    def _enter_state(self, world: FakeAccount, instance: str) -> None:
        if self.state == "pending":
            world.truth.instance(instance).changes_at = NEVER
        elif self.state == "stopped":
            world.stop(instance)
        elif self.state != "running":
            world.truth.terminate(instance)
            for _ in range(2 if not self.state else 0):
                world.later(hours=1)


def _fill_window(world: FakeAccount) -> None:
    """Count as many changes as may be within two hours."""
    world.limits, world.window_minutes = Limits(1, 0), 120
    window = world.reconciler().window
    assert window
    room = window.reserve_or_wait(WEB.key, 1, world.clock.now(), quarantines=False)
    assert isinstance(room, Reservation)
    world.store.write(room.reserve)


def _publish(world: FakeAccount, mapping: PublishedMapping) -> None:
    if mapping.profile_arn and mapping.spec.role not in world.profiles:
        world.profile(mapping.spec.role)
    if world.revisions.read(mapping.key).published != mapping:
        world.revisions.publish(mapping, {"cause": "test"}, world.clock.now())
        world.revisions.refresh(mapping, None, world.clock.now())


def _attach(world: FakeAccount, instance: str, carries: Association) -> None:
    """Associate its profile, which takes EC2 a moment, or for good; and so does a detach."""
    name = carries.profile_arn.rpartition("/")[2]
    if name not in world.profiles:
        world.profile(name, path=PATH if OWNERSHIP.manages(carries.profile_arn) else "/")
    made = world.truth.associate(instance, name)
    if carries.state is AssociationState.ASSOCIATING:
        made.changes_at = NEVER
    world.wait(2)
    if carries.state is AssociationState.DISASSOCIATING:
        world.truth.disassociate(made.id)
        made.changes_at = NEVER


def owner(when: WhenUnmatched = WhenUnmatched.DETACH, *, deleted: bool = False, **columns: Any) -> PublishedMapping:
    """Return the mapping that gave an instance its role, as it is now."""
    return replace(published("workload=web", "web", when_unmatched=when, deleted=deleted, **columns), revision=7)


WITHHELD = ("observed", "control-unclear", "unswept", "paused")
FOREIGN_SAME_NAME = "a foreign role of the same name"
WAITS = "Wait stopped"  # what a replace does while the instance is stopped

# What situations differ from: an instance that carries nothing, its role, another one, a foreign one, or a role whose
# mapping no longer matches; one that is to carry nothing.
BARE = Situation("Attach unoccupied", WEB)
OURS = Situation("Nothing converged", WEB, association("web"), gave=(GAVE_WEB, GAVE_DB))
OTHER = Situation("Replace differs", WEB, association("db"), gave=(GAVE_DB,), stopped=WAITS)
FOREIGN = Situation("Hold occupied", WEB, foreign())
TAKEN = Situation("Replace differs", TAKES, foreign(), take_over=True, stopped=WAITS)
LEFT = Situation("Detach unmatched", None, association("web"), gave=(GAVE_WEB,))
EXPELLED = Situation("Detach quarantined", QUARANTINE, association("db"), gave=(GAVE_DB,))
LOST = OTHER.but("Hold mapping-missing", gave=(GAVE_DB_BY_TIER,), tags={"tier": "db"})
IGNORED, IGNORED_UNTIL, UNCLEAR = ({IGNORE_TAG: text} for text in ("true", LATER, "soon"))

SITUATIONS: Mapping[str, Situation] = {
    # ---- it carries nothing ----
    "nothing, and a role": BARE,
    "nothing, and a role, while it starts": BARE.but("Wait changing", state="pending"),
    "nothing, and a role, while it is stopped": BARE.but(state="stopped"),
    "nothing, and a role, where EC2 throttles": BARE.but(answer="RequestLimitExceeded", ends="Wait throttled"),
    "nothing, and a role that EC2 doesn't know yet": BARE.but(answer="InvalidParameterValue", ends="Wait propagating"),
    "nothing, and a role that nobody may pass": BARE.but(answer="UnauthorizedOperation", ends="Hold denied"),
    "nothing, and a role that EC2 doesn't give": BARE.but(answer="UnsupportedOperation", ends="Hold refused"),
    "nothing, and a role that another actor takes away each time": BARE.but("Hold contested", made=MADE_THRICE),
    "nothing, and no role": Situation("Nothing converged", QUARANTINE),
    "nothing, and still no role": Situation("Nothing converged", QUARANTINE, gave=(grant("NONE", "workload=web"),)),
    "nothing, and no mapping": Situation("Nothing unmatched"),
    "nothing, and EC2 doesn't know it": Situation("Nothing gone", state=""),
    "nothing, and a pin": BARE.but(governs=QUARANTINE, pin=PIN),
    "nothing after a quarantine, and a role": BARE.but(gave=(TOOK,)),
    "nothing after a quarantine that was deleted, and a role": BARE.but(
        gave=(TOOK,), owner=published("quarantine=*", "NONE", deleted=True), tags={"quarantine": "yes"}
    ),
    "nothing after a quarantine whose record is missing, and a role": BARE.but(
        "Hold mapping-missing", gave=(TOOK,), tags={"quarantine": "yes"}
    ),
    "nothing after a quarantine whose record is missing": Situation(
        "Hold mapping-missing", gave=(TOOK,), tags={"quarantine": "yes"}
    ),
    "nothing after a quarantine whose record and tag are missing": Situation("Nothing unmatched", gave=(TOOK,)),
    "nothing, and a mapping that is suspended": BARE.but("Hold suspended", governs=SUSPENDED),
    "nothing, and a rival": BARE.but("Hold tie", rival=RIVAL),
    "nothing, and a service": BARE.but("Nothing service-managed", managed_by=EKS),
    "nothing, and its own tag": BARE.but("Nothing ignored", tags=IGNORED),
    "nothing, and its own tag until later": BARE.but("Wait ignored", tags=IGNORED_UNTIL),
    "nothing, and its own tag that can't be read": BARE.but("Hold ignore-unclear", tags=UNCLEAR),
    "nothing, and a pin that can't be read": BARE.but("Hold pin-unclear", pin=PIN_UNCLEAR),
    # ---- it carries what it should ----
    "its role, ours": OURS,
    "its role, another actor's": OURS.but(gave=()),
    "its role, where foreign ones are taken over": OURS.but(governs=TAKES, gave=(), take_over=True),
    "its role after a quarantine": OURS.but(gave=(GAVE_WEB, TOOK)),
    "its role, given by a mapping whose record is missing": OURS.but(
        gave=(grant("web", "tier=web"),), tags={"tier": "web"}
    ),
    "its role, by a pin": Situation("Nothing converged", None, association("debug"), pin=PIN),
    "its role, by a pin that ends": Situation("Nothing converged", None, association("debug"), pin=PIN_ENDS),
    "its role, which EC2 still attaches": OURS.but(
        "Wait associating", carries=association("web", state="associating"), gave=()
    ),
    "its role, and a mapping that is suspended": OURS.but("Hold suspended", governs=SUSPENDED),
    "its role, and a rival": OURS.but("Hold tie", rival=RIVAL),
    "its role, and a pin that can't be read": OURS.but("Hold pin-unclear", pin=PIN_UNCLEAR),
    "its role, and its end": OURS.but("Nothing ended", state="terminated"),
    "its role, and EC2 doesn't know it": OURS.but("Nothing gone", carries=None, state=""),
    "what it carried before a rollout, which hasn't reached it": Situation(
        "Nothing rollout", ROLLS, association("db"), gave=(grant("db", "workload=web"),)
    ),
    # ---- EC2 takes away what it carries ----
    "what EC2 still detaches, and a role": OTHER.but("Wait disassociating", carries=LEAVING),
    "what EC2 still detaches, and no role": Situation("Wait disassociating", QUARANTINE, FOREIGN_LEAVING),
    "what EC2 still detaches, and no mapping": Situation("Wait disassociating", None, LEAVING, gave=(GAVE_DB,)),
    "what EC2 still detaches, and its own tag": Situation(
        "Nothing ignored", None, LEAVING, gave=(GAVE_DB,), tags=IGNORED
    ),
    # ---- it carries another managed role ----
    "another role, ours": OTHER,
    "another role, ours, while it is stopped": OTHER.but(WAITS, state="stopped"),
    "another role, ours, and no room for changes": OTHER.but(full=True, ends="Wait window"),
    "another role, another actor's": OTHER.but(governs=TAKES, gave=()),
    "another role, to be swapped": OTHER.but(governs=SWAPS, stopped=""),
    "another role, to be swapped while it is stopped": OTHER.but(
        governs=SWAPS, state="stopped", ends="Attach unoccupied"
    ),
    "another role, and a pin": OTHER.but(pin=PIN),
    "another role of a mapping whose record is missing": LOST,
    "another role of a mapping whose record is missing, and a pin": LOST.but(
        "Replace differs", governs=None, pin=PIN, stopped=WAITS
    ),
    "another role of a mapping whose record and tag are missing": OTHER.but(gave=(GAVE_DB_BY_TIER,)),
    "another role of a mapping that was deleted": LOST.but(
        "Replace differs", owner=published("tier=db", "db", deleted=True), stopped=WAITS
    ),
    "another role of a mapping that is disabled": LOST.but(
        "Replace differs", rival=published("tier=db", "db", enabled=False), stopped=WAITS
    ),
    "another role, and a mapping that is suspended": OTHER.but("Hold suspended", governs=SUSPENDED),
    "another role, and a rival": OTHER.but("Hold tie", rival=RIVAL),
    "another role, a rival, and a service": OTHER.but("Nothing service-managed", rival=RIVAL, managed_by=EKS),
    "another role, and its own tag": OTHER.but("Nothing ignored", tags=IGNORED),
    "another role, a rival, and its own tag that can't be read": OTHER.but(
        "Hold ignore-unclear", rival=RIVAL, tags=UNCLEAR
    ),
    "a managed role, and no role": EXPELLED,
    "a managed role, another actor's, and no role": EXPELLED.but(gave=()),
    "a managed role after a quarantine, and no role": EXPELLED.but(gave=(GAVE_DB, grant("NONE", "workload=web"))),
    "a managed role, no role, and its own tag": EXPELLED.but(tags=IGNORED),
    "a managed role, no role, and its own tag until later": EXPELLED.but(tags=IGNORED_UNTIL),
    "a managed role, no role, and its own tag that can't be read": EXPELLED.but(tags=UNCLEAR),
    "a managed role, no role by a later mapping, and its own tag": OURS.but(
        "Nothing ignored", gave=(), rival=published("quarantine=yes", "NONE", priority=200), tags=IGNORED
    ),
    "a managed role, no role by a rival, and its own tag": OURS.but(
        "Nothing ignored", gave=(), rival=published("quarantine=yes", "NONE"), tags=IGNORED
    ),
    # ---- it carries a foreign role ----
    "a foreign role": FOREIGN,
    FOREIGN_SAME_NAME: FOREIGN.but(carries=foreign("web")),
    "a foreign role, and the row's word": FOREIGN.but(governs=TAKES),
    "a foreign role, and the stack's word": FOREIGN.but(take_over=True),
    "a foreign role, and both words": TAKEN,
    "a foreign role, to be swapped": TAKEN.but(governs=TAKES_AND_SWAPS, stopped=""),
    "a foreign role, to be swapped while it is stopped": TAKEN.but(
        governs=TAKES_AND_SWAPS, state="stopped", ends="Attach unoccupied"
    ),
    "a foreign role, and no role": FOREIGN.but(governs=QUARANTINE),
    "a foreign role, no role, and the row's word": FOREIGN.but(governs=TAKES_ALL),
    "a foreign role, no role, and the stack's word": FOREIGN.but(governs=QUARANTINE, take_over=True),
    "a foreign role, no role, and both words": TAKEN.but("Detach quarantined", governs=TAKES_ALL),
    "a foreign role, and a pin": FOREIGN.but(pin=PIN),
    "a foreign role, a pin, and the stack's word": TAKEN.but(governs=WEB, pin=PIN),
    "a foreign role, a pin to none, and the stack's word": TAKEN.but(
        "Detach quarantined", governs=WEB, pin=PIN_TO_NONE
    ),
    "a foreign role, and a mapping that is suspended": TAKEN.but("Hold suspended", governs=SUSPENDED),
    "a foreign role, and no mapping": FOREIGN.but("Nothing not-ours", governs=None),
    "a foreign role, no mapping, and the stack's word": TAKEN.but("Nothing not-ours", governs=None),
    "a foreign role, and a rival": TAKEN.but("Hold tie", rival=RIVAL),
    "a foreign role, a pin, its own tag, and a service": TAKEN.but(
        "Nothing service-managed", pin=PIN, tags=UNCLEAR, managed_by=EKS
    ),
    "a foreign role, and its own tag until later": TAKEN.but("Wait ignored", tags=IGNORED_UNTIL),
    "a foreign role, and a pin that can't be read": FOREIGN.but("Hold pin-unclear", governs=TAKES, pin=PIN_UNCLEAR),
    # ---- nothing governs it any longer ----
    "a role whose mapping no longer matches": LEFT.but(owner=owner()),
    "a role whose row was deleted": LEFT.but(owner=owner(deleted=True)),
    "a role whose row was disabled": LEFT.but(governs=owner(enabled=False)),
    "a role whose row expired": LEFT.but(governs=owner(expires_at=NOW)),
    "a role whose mapping says keep": LEFT.but("Nothing kept", owner=owner(WhenUnmatched.KEEP)),
    "a role whose deleted row says keep": LEFT.but("Nothing kept", owner=owner(WhenUnmatched.KEEP, deleted=True)),
    "a role whose pin is over": LEFT.but(gave=(GAVE_PIN,), owner=pin_over(PINNED_ONCE)),
    "a role whose mapping's record is missing": LEFT.but("Hold mapping-missing"),
    "a role whose mapping's record is missing, though its tag is there": LEFT.but(
        "Hold mapping-missing", tags={"workload": "web"}
    ),
    "a managed role that nobody can explain": LEFT.but("Hold unexplained", gave=()),
    # ---- operators withhold what would be changed ----
    "nothing, and a role, while Rolekeeper observes": BARE.but("Hold observed", control={"mode": "observe"}),
    "nothing, and a role, while Rolekeeper is paused": BARE.but("Hold paused", control={"paused": True}),
    "nothing, and a role, while nobody knows whether to": BARE.but("Hold control-unclear", control={"mode": "perhaps"}),
    "nothing, and a role, before the first sweep": BARE.but("Hold unswept", swept=False),
    "nothing, and a role, before the first sweep, while Rolekeeper observes": BARE.but(
        "Hold observed", control={"mode": "observe"}, swept=False
    ),
    "nothing, and a role, before the first sweep, while Rolekeeper is paused": BARE.but(
        "Hold paused", control={"paused": True}, swept=False
    ),
    "nothing, and a role that another actor takes away each time, before the first sweep": BARE.but(
        "Hold contested", made=MADE_THRICE, swept=False
    ),
}
# What can't be brought about in an account: there a profile's name is unique.
ARRANGED = [story for story in SITUATIONS if story != FOREIGN_SAME_NAME]
