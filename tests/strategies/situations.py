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
KEEPS = published("workload=web", "web", when_unmatched=WhenUnmatched.KEEP)
RIVAL = published("env=prod", "prod")

GAVE_WEB, GAVE_DB = grant("web", "workload=web"), grant("db", "workload=db")
GAVE_DB_BY_TIER, TOOK = grant("db", "tier=db"), grant("NONE", "quarantine=*")
PINNED_ONCE = MappingKey(PIN_TAG, KEY.id)
GAVE_PIN = Grant(arn("web"), "web", PINNED_ONCE, 0, NOW)
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
    worker = world.reconciler().worker
    assert worker
    room = worker.window.reserve_or_wait(WEB.key, 1, world.clock.now(), quarantines=False)
    assert isinstance(room, Reservation)
    world.store.write(room.take)


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
WAIT_STOPPED = "Wait stopped"
FOREIGN_SAME_NAME = "a foreign role of the same name"

SITUATIONS: Mapping[str, Situation] = {
    # ---- it carries nothing ----
    "nothing, and a role": Situation("Attach unoccupied", WEB),
    "nothing, and a role, while it is stopped": Situation("Attach unoccupied", WEB, state="stopped"),
    "nothing, and a role, where EC2 lets more changes wait": Situation(
        "Attach unoccupied", WEB, answer="RequestLimitExceeded", ends="Wait throttled"
    ),
    "nothing, and a role that EC2 doesn't know yet": Situation(
        "Attach unoccupied", WEB, answer="InvalidParameterValue", ends="Wait propagating"
    ),
    "nothing, and a role that nobody may pass": Situation(
        "Attach unoccupied", WEB, answer="UnauthorizedOperation", ends="Hold denied"
    ),
    "nothing, and a role that EC2 doesn't give": Situation(
        "Attach unoccupied", WEB, answer="UnsupportedOperation", ends="Hold refused"
    ),
    "nothing, and a role that another actor takes away each time": Situation("Hold contested", WEB, made=MADE_THRICE),
    "nothing, and no role": Situation("Nothing converged", QUARANTINE),
    "nothing, and still no role": Situation("Nothing converged", QUARANTINE, gave=(grant("NONE", "workload=web"),)),
    "nothing, and no mapping": Situation("Nothing unmatched"),
    "nothing, and a pin": Situation("Attach unoccupied", QUARANTINE, pin=PIN),
    "nothing after a quarantine, and a role": Situation("Attach unoccupied", WEB, gave=(TOOK,)),
    "nothing after a quarantine that was deleted, and a role": Situation(
        "Attach unoccupied",
        WEB,
        gave=(TOOK,),
        owner=published("quarantine=*", "NONE", deleted=True),
        tags={"quarantine": "yes"},
    ),
    "nothing after a quarantine whose record is missing, and a role": Situation(
        "Hold mapping-missing", WEB, gave=(TOOK,), tags={"quarantine": "yes"}
    ),
    "nothing after a quarantine whose record is missing": Situation(
        "Hold mapping-missing", gave=(TOOK,), tags={"quarantine": "yes"}
    ),
    "nothing after a quarantine whose record and tag are missing": Situation("Nothing unmatched", gave=(TOOK,)),
    "nothing, and a mapping that is suspended": Situation("Hold suspended", SUSPENDED),
    "nothing, and a rival": Situation("Hold tie", WEB, rival=RIVAL),
    "nothing, and a service": Situation("Nothing service-managed", WEB, managed_by=EKS),
    "nothing, and its own tag": Situation("Nothing ignored", WEB, tags={IGNORE_TAG: "true"}),
    "nothing, and its own tag until later": Situation("Wait ignored", WEB, tags={IGNORE_TAG: LATER}),
    "nothing, and its own tag that can't be read": Situation("Hold ignore-unclear", WEB, tags={IGNORE_TAG: "soon"}),
    "nothing, and a pin that can't be read": Situation("Hold pin-unclear", WEB, pin=PIN_UNCLEAR),
    # ---- it carries what it should ----
    "its role, ours": Situation("Nothing converged", WEB, association("web"), gave=(GAVE_WEB, GAVE_DB)),
    "its role after a quarantine": Situation("Nothing converged", WEB, association("web"), gave=(GAVE_WEB, TOOK)),
    "its role, another actor's": Situation("Nothing converged", SWAPS, association("web")),
    "its role, where foreign ones are taken over": Situation(
        "Nothing converged", TAKES, association("web"), take_over=True
    ),
    "its role, given by a mapping whose record is missing": Situation(
        "Nothing converged", WEB, association("web"), gave=(grant("web", "tier=web"),), tags={"tier": "web"}
    ),
    "its role, by a pin": Situation("Nothing converged", None, association("debug"), pin=PIN),
    "its role, by a pin that ends": Situation(
        "Nothing converged", None, association("debug"), pin=replace(PIN, expires_at=NOW + timedelta(days=1))
    ),
    "its role, which EC2 still attaches": Situation("Wait associating", WEB, association("web", state="associating")),
    "its role, and a mapping that is suspended": Situation("Hold suspended", SUSPENDED, association("web")),
    "its role, and a rival": Situation("Hold tie", WEB, association("web"), rival=RIVAL),
    "its role, and a pin that can't be read": Situation("Hold pin-unclear", WEB, association("web"), pin=PIN_UNCLEAR),
    # ---- EC2 takes away what it carries ----
    "what EC2 still detaches, and a role": Situation("Wait disassociating", WEB, LEAVING, gave=(GAVE_DB,)),
    "what EC2 still detaches, and no role": Situation("Wait disassociating", QUARANTINE, FOREIGN_LEAVING),
    "what EC2 still detaches, and no mapping": Situation("Wait disassociating", None, LEAVING, gave=(GAVE_DB,)),
    "what EC2 still detaches, and its own tag": Situation(
        "Nothing ignored", None, LEAVING, gave=(GAVE_DB,), tags={IGNORE_TAG: "true"}
    ),
    # ---- it carries another managed role ----
    "another role, ours": Situation("Replace differs", WEB, association("db"), gave=(GAVE_DB,), stopped=WAIT_STOPPED),
    "another role, ours, while it is stopped": Situation(
        WAIT_STOPPED, WEB, association("db"), gave=(GAVE_DB,), state="stopped"
    ),
    "another role, ours, and no room for changes": Situation(
        "Replace differs", WEB, association("db"), gave=(GAVE_DB,), full=True, ends="Wait window", stopped=WAIT_STOPPED
    ),
    "another role, another actor's": Situation("Replace differs", TAKES, association("db"), stopped=WAIT_STOPPED),
    "another role, to be swapped": Situation("Replace differs", SWAPS, association("db"), gave=(GAVE_DB,)),
    "another role, to be swapped while it is stopped": Situation(
        "Replace differs", SWAPS, association("db"), gave=(GAVE_DB,), state="stopped", ends="Attach unoccupied"
    ),
    "another role, and a pin": Situation(
        "Replace differs", WEB, association("db"), gave=(GAVE_DB,), pin=PIN, stopped=WAIT_STOPPED
    ),
    "another role of a mapping whose record is missing": Situation(
        "Hold mapping-missing", WEB, association("db"), gave=(GAVE_DB_BY_TIER,), tags={"tier": "db"}
    ),
    "another role of a mapping whose record is missing, and a pin": Situation(
        "Replace differs",
        None,
        association("db"),
        gave=(GAVE_DB_BY_TIER,),
        tags={"tier": "db"},
        pin=PIN,
        stopped=WAIT_STOPPED,
    ),
    "another role of a mapping whose record and tag are missing": Situation(
        "Replace differs", WEB, association("db"), gave=(GAVE_DB_BY_TIER,), stopped=WAIT_STOPPED
    ),
    "another role of a mapping that was deleted": Situation(
        "Replace differs",
        WEB,
        association("db"),
        gave=(GAVE_DB_BY_TIER,),
        owner=published("tier=db", "db", deleted=True),
        tags={"tier": "db"},
        stopped=WAIT_STOPPED,
    ),
    "another role of a mapping that is disabled": Situation(
        "Replace differs",
        WEB,
        association("db"),
        gave=(GAVE_DB_BY_TIER,),
        rival=published("tier=db", "db", enabled=False),
        stopped=WAIT_STOPPED,
    ),
    "another role, and a mapping that is suspended": Situation(
        "Hold suspended", SUSPENDED, association("db"), gave=(GAVE_DB,)
    ),
    "another role, and a rival": Situation("Hold tie", WEB, association("db"), gave=(GAVE_DB,), rival=RIVAL),
    "another role, a rival, and a service": Situation(
        "Nothing service-managed", WEB, association("db"), gave=(GAVE_DB,), rival=RIVAL, managed_by=EKS
    ),
    "another role, and its own tag": Situation(
        "Nothing ignored", WEB, association("db"), gave=(GAVE_DB,), tags={IGNORE_TAG: "true"}
    ),
    "another role, a rival, and its own tag that can't be read": Situation(
        "Hold ignore-unclear", WEB, association("db"), gave=(GAVE_DB,), rival=RIVAL, tags={IGNORE_TAG: "soon"}
    ),
    "a managed role, and no role": Situation("Detach quarantined", QUARANTINE, association("db"), gave=(GAVE_DB,)),
    "a managed role after a quarantine, and no role": Situation(
        "Detach quarantined", QUARANTINE, association("db"), gave=(GAVE_DB, grant("NONE", "workload=web"))
    ),
    **{
        f"a managed role, no role, and its own tag that says {text}": Situation(
            "Detach quarantined", QUARANTINE, association("db"), gave=(GAVE_DB,), tags={IGNORE_TAG: text}
        )
        for text in ("true", LATER, "perhaps")
    },
    "a managed role, no role but from a later mapping, and its own tag": Situation(
        "Nothing ignored",
        WEB,
        association("web"),
        rival=published("quarantine=yes", "NONE", priority=200),
        tags={IGNORE_TAG: "true"},
    ),
    "a managed role, no role from a rival, and its own tag": Situation(
        "Nothing ignored",
        WEB,
        association("web"),
        rival=published("quarantine=yes", "NONE"),
        tags={IGNORE_TAG: "true"},
    ),
    "a managed role, another actor's, and no role": Situation("Detach quarantined", QUARANTINE, association("db")),
    # ---- it carries a foreign role ----
    "a foreign role": Situation("Hold occupied", WEB, foreign()),
    FOREIGN_SAME_NAME: Situation("Hold occupied", WEB, foreign("web")),
    "a foreign role, and the row's word": Situation("Hold occupied", TAKES, foreign()),
    "a foreign role, and the stack's word": Situation("Hold occupied", WEB, foreign(), take_over=True),
    "a foreign role, and both words": Situation(
        "Replace differs", TAKES, foreign(), take_over=True, stopped=WAIT_STOPPED
    ),
    "a foreign role, to be swapped": Situation("Replace differs", TAKES_AND_SWAPS, foreign(), take_over=True),
    "a foreign role, to be swapped while it is stopped": Situation(
        "Replace differs", TAKES_AND_SWAPS, foreign(), take_over=True, state="stopped", ends="Attach unoccupied"
    ),
    "a foreign role, and no role": Situation("Hold occupied", QUARANTINE, foreign()),
    "a foreign role, no role, and the row's word": Situation("Hold occupied", TAKES_ALL, foreign()),
    "a foreign role, no role, and the stack's word": Situation("Hold occupied", QUARANTINE, foreign(), take_over=True),
    "a foreign role, no role, and both words": Situation("Detach quarantined", TAKES_ALL, foreign(), take_over=True),
    "a foreign role, and a pin": Situation("Hold occupied", WEB, foreign(), pin=PIN),
    "a foreign role, a pin, and the stack's word": Situation(
        "Replace differs", WEB, foreign(), pin=PIN, take_over=True, stopped=WAIT_STOPPED
    ),
    "a foreign role, a pin to none, and the stack's word": Situation(
        "Detach quarantined", WEB, foreign(), pin=PIN_TO_NONE, take_over=True
    ),
    "a foreign role, and a mapping that is suspended": Situation(
        "Hold suspended", SUSPENDED, foreign(), take_over=True
    ),
    "a foreign role, and no mapping": Situation("Nothing not-ours", None, foreign()),
    "a foreign role, no mapping, and the stack's word": Situation("Nothing not-ours", None, foreign(), take_over=True),
    "a foreign role, and a rival": Situation("Hold tie", TAKES, foreign(), rival=RIVAL, take_over=True),
    "a foreign role, a pin, its own tag, and a service": Situation(
        "Nothing service-managed",
        TAKES,
        foreign(),
        pin=PIN,
        tags={IGNORE_TAG: "soon"},
        managed_by=EKS,
        take_over=True,
    ),
    "a foreign role, and its own tag until later": Situation(
        "Wait ignored", TAKES, foreign(), tags={IGNORE_TAG: LATER}, take_over=True
    ),
    "a foreign role, and a pin that can't be read": Situation("Hold pin-unclear", TAKES, foreign(), pin=PIN_UNCLEAR),
    # ---- nothing governs it any longer ----
    "a role whose mapping no longer matches": Situation(
        "Detach unmatched", None, association("web"), gave=(GAVE_WEB,), owner=owner()
    ),
    "a role whose row was deleted": Situation(
        "Detach unmatched", None, association("web"), gave=(GAVE_WEB,), owner=owner(deleted=True)
    ),
    "a role whose row was disabled": Situation(
        "Detach unmatched", owner(enabled=False), association("web"), gave=(GAVE_WEB,)
    ),
    "a role whose row expired": Situation(
        "Detach unmatched", owner(expires_at=NOW), association("web"), gave=(GAVE_WEB,)
    ),
    "a role whose mapping says keep": Situation(
        "Nothing kept", None, association("web"), gave=(GAVE_WEB,), owner=owner(WhenUnmatched.KEEP)
    ),
    "a role whose deleted row says keep": Situation(
        "Nothing kept", None, association("web"), gave=(GAVE_WEB,), owner=owner(WhenUnmatched.KEEP, deleted=True)
    ),
    "a role whose pin is over": Situation(
        "Detach unmatched", None, association("web"), gave=(GAVE_PIN,), owner=pin_over(PINNED_ONCE)
    ),
    "a role whose mapping's record is missing": Situation(
        "Hold mapping-missing", None, association("web"), gave=(GAVE_WEB,)
    ),
    "a role whose mapping's record is missing, though its tag is there": Situation(
        "Hold mapping-missing", None, association("web"), gave=(GAVE_WEB,), tags={"workload": "web"}
    ),
    "a managed role that nobody can explain": Situation("Hold unexplained", None, association("web")),
    # ---- the instance itself passes ----
    "nothing, and a role, while it starts": Situation("Wait changing", WEB, state="pending"),
    "its role, and its end": Situation("Nothing ended", WEB, association("web"), gave=(GAVE_WEB,), state="terminated"),
    "nothing, and EC2 doesn't know it": Situation("Nothing gone", state=""),
    "its role, and EC2 doesn't know it": Situation("Nothing gone", WEB, gave=(GAVE_WEB,), state=""),
    # ---- operators withhold what would be changed ----
    "nothing, and a role, while Rolekeeper observes": Situation("Hold observed", WEB, control={"mode": "observe"}),
    "nothing, and a role, while Rolekeeper is paused": Situation("Hold paused", WEB, control={"paused": True}),
    "nothing, and a role, while nobody knows whether to": Situation(
        "Hold control-unclear", WEB, control={"mode": "perhaps"}
    ),
    "nothing, and a role, before the first sweep, while Rolekeeper is paused": Situation(
        "Hold paused", WEB, control={"paused": True}, swept=False
    ),
    "nothing, and a role, before the first sweep, while Rolekeeper observes": Situation(
        "Hold observed", WEB, control={"mode": "observe"}, swept=False
    ),
    "nothing, and a role that another actor takes away each time, before the first sweep": Situation(
        "Hold contested", WEB, made=MADE_THRICE, swept=False
    ),
    "nothing, and a role, before the first sweep": Situation("Hold unswept", WEB, swept=False),
}


# What can't be brought about in an account: there a profile's name is unique.
ARRANGED = [story for story in SITUATIONS if story != FOREIGN_SAME_NAME]
