"""One schedule: a seed plays a small world through trouble, then lets it come to rest, and the promises are checked."""

import math
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta

from fakes.dynamodb import FakeDynamoDB
from fixtures.state_table import swept_item
from rolekeeper.fleet.targets import CHECKED_FOR
from rolekeeper.settings import Limits
from rolekeeper.storage import layout
from rolekeeper_local.ec2_model import Event, Timings
from simulation.account import APART, HUB, PATH, Account
from simulation.actors import (
    FAR,
    LOOSE,
    MAPPINGS,
    OPERATOR,
    ROLES,
    TAGS,
    THEIRS,
    UNMAPPED,
    Approvers,
    Habits,
    Lenders,
    People,
)
from simulation.clients import AlarmsClient, Budget, DynamoDbClient, Ec2Client, IamClient, Senders
from simulation.convergence import Settled
from simulation.deployment import Deployment, settings
from simulation.engine import Engine
from simulation.faults import STRIKES, Fault, Hurry, Kind, Weather
from simulation.faulty_clients import LATEST
from simulation.invariants import ROWS, STATE, Promises, Violation
from simulation.spokes import ORGANIZATION, Spoke, calm, check_copies, hub_is_away, join, present, register, spokes_of

WINDOW_MINUTES = 10
# Of a hundred schedules so many retag 500 instances at once, and so many more work on a small fleet.
STORMS, FLEETS = 1.3, 6
STORM = 500
# As long as a profile usually takes to propagate, in seconds.
QUICK = 3
# In this share of the schedules a sweep or a fan-out takes several runs.
HURRIED = 0.15
# This share of the instances is managed by an AWS service.
MANAGED = 0.03
# In this share of the schedules EC2's budget of changes runs dry.
DRY = 0.25
# In this share people edit too widely, and others have to approve it.
APPROVED = 0.2
# In one of so many of those what they give expires, with a row behind it.
LENDS = 5
# The longest backoff: a retry loop's hour, and eight receives of a message that fails.
BACKOFF = 66 * 60.0
SKEW = 300.0
# How much longer, in seconds, the last change may wait for its turn in the window.
LATEST_TURN = 3 * 3600.0
# How many schedules have edits in waves, and how often somebody resumes what halted.
ROLLS, MINUTES_OF_WAVES = 0.15, 40
# The most sweeps after which no held edit may be left to publish: a schedule holds fewer.
SWEEPS_AT_REST = 20


@dataclass(frozen=True)
class Plan:
    """What one schedule is like.

    Attributes:
        instances: how many there are at first.
        actions: how many things people do, in `span` seconds.
        calm: whether all may settle before the trouble begins.
        take_over: whether the deployment may take over foreign roles.
        allow_broad: whether it may give broad roles.
        swept: whether a sweep came to its end before.
        limits: how much may change at once.
        approvals: how often somebody edits too widely, signs, or tries to do without a signature.
    """

    weather: Weather
    habits: Habits
    timings: Timings
    limits: Limits
    instances: int
    actions: int
    span: float
    approvals: int
    calm: bool
    storm: bool
    take_over: bool
    allow_broad: bool
    swept: bool


@dataclass
class Played:
    """What became of a schedule."""

    seed: int
    violations: list[Violation]
    met: Counter[Fault]
    checked: Counter[int]
    story: list[str] = field(default_factory=list)


def plan(seed: int) -> Plan:
    rng = random.Random(seed * 7919 + 1)
    dice = rng.uniform(0, 100)
    storm, fleet = dice < STORMS, dice < STORMS + FLEETS
    quiet = rng.random() < 0.1
    rough = 0.0 if quiet else rng.choice((0.003, 0.01, 0.03, 0.08)) * (0.1 if storm else 1)
    boost = rng.choice((1, 4, 10))
    chances = {
        Kind.READ: rough,
        Kind.EFFECT: min(0.5, 3 * rough * boost),
        Kind.RECORD: min(0.3, rough * boost),
        Kind.SEND: min(0.3, rough * boost),
    }
    strikes = {kind: tuple(rng.sample(all_, rng.randint(1, len(all_)))) for kind, all_ in STRIKES.items()}
    slow_iam = rng.random() < 0.2
    weather = Weather(
        rng=random.Random(seed),
        chances=chances,
        strikes=strikes,
        stale=0 if storm or fleet else rng.choice((0, 0, 0, 0.1, 0.3)),
        lag=rng.choice((1, 3, 10)),
        unread=rough / 2,
        skew=rng.choice((0, 0, 0, 0, 0.5, SKEW)),
        slow=rng.choice((2, 5, 20)),
        drop=rng.choice((0, 0, 0.1, 0.4)),
        copy=rng.choice((0, 0.2)),
        late=rng.choice((0, 0.2)),
        delay=rng.choice((2, 30, 300)),
        hurry=None if storm else hurry(seed),
    )
    timings = Timings(
        pending=rng.choice((2, 20)),
        stopping=rng.choice((2, 20)),
        shutting_down=rng.choice((1, 30)),
        associating=rng.choice((0.2, 0.2, 3)),
        disassociating=rng.choice((0.2, 0.2, 3)),
        propagation=rng.choice((60, 400)) if slow_iam else QUICK,
    )
    habits = Habits(
        others=rng.random() < 0.6,
        edits=rng.random() < 0.7,
        ends=rng.random() < 0.3,
        operators=rng.random() < 0.25,
        damage=rng.random() < 0.2 and not storm,
        expiry=rng.random() < 0.25,
        rolls=rolls(seed) and not storm,
    )
    small = rng.choice((Limits(25, 20), Limits(25, 20), Limits(25, 20), Limits(1, 0)))
    few = rng.choice((Limits(2, 0), Limits(3, 20))) if fleet else small
    approvals = 0 if storm else approved_edits(seed)
    return Plan(
        weather=weather,
        habits=habits,
        timings=timings,
        limits=Limits(STORM, 100) if storm else Limits(1, 0) if approvals else few,
        approvals=approvals,
        instances=STORM if storm else rng.randint(6, 20) if fleet else rng.choice((1, 1, 1, 2, 3)),
        actions=rng.choice((1, 3)) if storm else rng.choice((2, 3, 5, 8, 14, 25)),
        span=rng.choice((1, 4, 15, 60, 600, 3000)),
        calm=rng.random() < 0.7 and not storm,
        storm=storm,
        take_over=rng.random() < 0.5,
        swept=storm or rng.random() < 0.9,
        allow_broad=rng.random() < 0.5,
    )


def approved_edits(seed: int) -> int:
    """How much approvers do in a seed's schedule, if they are about; decided apart, as what is hurried."""
    rng = random.Random(f"wide edits {seed}")
    return rng.randint(12, 24) if rng.random() < APPROVED else 0


def rolls(seed: int) -> bool:
    """Whether edits go out in waves in a seed's schedule; decided apart, so that the others stay as they are."""
    return random.Random(f"waves {seed}").random() < ROLLS


def lends(seed: int) -> bool:
    """Whether what a seed's approvers give expires; decided apart, so that the others are as without it."""
    return seed % LENDS == 3  # any remainder


def hurry(seed: int) -> Hurry | None:
    """How little time runs have in a seed's schedule; decided apart, so that the others are as without it."""
    rng = random.Random(seed * 101 + 29)
    if rng.random() >= HURRIED:
        return None
    seconds, page = rng.choice((0, 0.1, 1)), rng.choice((1, 1, 3))
    return Hurry(rng, seconds, page, twice=rng.choice((0, 0.1)), lost=rng.choice((0, 0.3)))


class Schedule:
    def __init__(self, seed: int, *, tells: bool = False) -> None:
        self.seed = seed
        self.plan = plan(seed)
        self.weather = self.plan.weather
        self.engine = Engine(seed, tells=tells)
        keys = {STATE: ("pk", "sk"), ROWS: ("tag_key", "tag_value")}
        self.tables = FakeDynamoDB(keys, page_items=None, guarded={STATE})
        self.account = Account(
            self.engine,
            self.plan.timings,
            self._emitted,
            keeps_past=self.weather.stale > 0,
            take_over=self.plan.take_over,
            allow_broad=self.plan.allow_broad,
        )
        self.promises = Promises(
            engine=self.engine,
            account=self.account,
            limits=self.plan.limits,
            window=timedelta(minutes=WINDOW_MINUTES),
            skew=self.weather.skew,
            lag=self.weather.lag if self.weather.stale else 0,
        )
        # What goes wrong goes wrong in one account; tables and queues are the hub's.
        targets, elsewhere = spokes_of(seed), calm(self.weather, seed)
        spoke_is_struck = targets and random.Random(seed * 223 + 47).random() < 1 / 2
        self.here, there = (elsewhere, self.weather) if spoke_is_struck else (self.weather, elsewhere)
        self.deployment = Deployment(
            self.engine,
            self.here,
            self.account,
            self.tables,
            self.promises,
            settings(
                self.plan.limits,
                WINDOW_MINUTES,
                take_over=self.plan.take_over,
                allow_broad=self.plan.allow_broad,
                organization=ORGANIZATION if targets else "",
            ),
        )
        rng = random.Random(seed * 53 + 11)
        dry = rng.random() < DRY
        # Others use EC2's buckets too: what they leave refills slowly, and there is little at first.
        self.weather.drop_changes = rng.choice((0, 0, 0.1, 0.3))
        others, left = (rng.choice((4.5, 4.9, 4.99)), rng.choice((0, 0, 1))) if dry else (0, math.inf)
        self.budget = Budget(lambda: self.engine.seconds, others, left)
        world = self.engine, self.here, self.account, self.tables, self.deployment, self.promises, self.plan.habits
        self.people = People(random.Random(seed * 31 + 7), *world)
        approvers = Lenders if lends(seed) else Approvers
        self.approvers = approvers(random.Random(f"approvers {seed}"), *world) if self.plan.approvals else None
        self.settled = Settled(self.engine, self.account, self.tables, self.promises)
        self._connect()
        joined = self.promises, self.deployment, self.tables, self.plan.habits
        self.spokes = [
            join(seed + APART * at, self.engine, elsewhere if at else there, *joined, target)
            for at, target in enumerate(targets)
        ]
        self._apart = random.Random(f"spokes {seed}")

    def _emitted(self, event: Event) -> None:
        self.deployment.emitted(event)

    def _connect(self) -> None:
        outside = self.deployment.outside
        self.deployment.clients.update(
            {
                "ec2": Ec2Client(self.engine, self.here, outside, self.account, self.promises, self.budget),
                "dynamodb": DynamoDbClient(self.engine, self.here, outside, self.tables, self.promises),
                "iam": IamClient(self.here, outside, self.account),
                "cloudwatch": AlarmsClient(outside, self.account),
                **Senders.of(self.deployment),
            }
        )

    def play(self) -> Played:
        """Play it to its end, or to the first broken promise after the trouble."""
        with self.deployment.installed(self.seed):
            self._begin()
            if self.approvers:
                self.engine.play(self._approve())
            self._trouble()
            if self.spokes and (seconds := hub_is_away(self.seed)):
                self._lose_hub(seconds)
            self._rest()
        if self.plan.timings.propagation > QUICK and any(
            each.created_at > 0 for each in self.account.profiles.values()
        ):
            self.weather.count(Fault.PROPAGATION)
        checked = sum((Counter(each.checked) for each in (self.promises, *self.promises.spokes)), Counter[int]())
        return Played(self.seed, self.violations, self.weather.met, checked, self.engine.story)

    def _begin(self) -> None:
        rng = random.Random(self.seed * 17 + 3)
        pk, sk = layout.DEPLOYED
        deployed = layout.to_attributes({"pk": pk, "sk": sk, "mode": "enforce"})
        self.tables.put_item(TableName=STATE, Item=deployed)
        if self.plan.swept:
            self.tables.put_item(TableName=STATE, Item=swept_item(HUB, self.engine.now()))
        self.deployment.tick()
        self.account.roles.update(dict.fromkeys(ROLES, PATH))
        _furnish(self.account)
        self.account.profile(LOOSE, path="/")
        self.account.put_role_into(LOOSE, self.account.role_arn("web"))
        if rng.random() < 0.5:
            self.account.profile("ops")
        for tag in rng.sample(MAPPINGS, rng.choice((1, 3, 4, 5, 5))):
            self.people.edit(tag)
        for _ in range(self.plan.instances):
            profile = None if self.plan.storm else rng.choice((None, None, THEIRS, "web"))
            key, value = (UNMAPPED if self.plan.storm else rng.choice(TAGS)).split("=")
            operator = OPERATOR if not self.plan.storm and rng.random() < MANAGED else ""
            made = self.account.launch({key: value}, profile, operator)
            shown = f"{key}={value} and {profile or 'no profile'} {operator}".rstrip()
            self.engine.say(f"* launch {made[-4:]} with {shown}")
        for spoke in self.spokes:
            self._begin_in(spoke)
        self._launch_wide()
        if self.plan.calm:
            self.engine.play(40)

    def _launch_wide(self) -> None:
        if self.approvers:
            self.approvers.launch_wide(4)
            for spoke in self.spokes:
                self.approvers.launch_wide(2, spoke.account)
                self.approvers.launch_wide(1, tag=FAR)
                self.approvers.launch_wide(3, spoke.account, FAR)

    def _begin_in(self, spoke: Spoke) -> None:
        """The same roles are in the spoke; now and then one is missing there."""
        rng, account = random.Random(self.seed * 19 + 23 + self.spokes.index(spoke)), spoke.account
        register(self.tables, layout.timestamp(self.engine.now()), account.target)
        for role in ROLES:
            if role != "ops" or rng.random() < 1 / 2:
                account.roles[role] = PATH
        _furnish(account)
        for _ in range(rng.choice((1, 1, 2, 3))):
            profile = rng.choice((None, None, THEIRS, "web"))
            key, value = rng.choice(TAGS).split("=")
            made = account.launch({key: value}, profile)
            shown = f"{key}={value} and {profile or 'no profile'}"
            self.engine.say(f"* launch {made[-4:]} in {account.target} with {shown}")

    def _trouble(self) -> None:
        rng = random.Random(self.seed * 13 + 5)
        self.engine.say("==== trouble")
        self.weather.rough = True
        if self.plan.storm:
            self.engine.play(self.engine.seconds + 40)
            self.weather.count(Fault.RETAGGED)
            self.people.retag_all(rng.choice(("app=web", "app=db")))
        at = self.engine.seconds
        for _ in range(self.plan.actions):
            more = (
                rng.expovariate(1) * self.plan.span / self.plan.actions if rng.random() < 0.8 else rng.uniform(0, 0.05)
            )
            at += more
            there = self._apart.choice(self.spokes) if self.spokes and rng.random() < 1 / 2 else self
            self.engine.after(at - self.engine.seconds, there.people.act)
        self.engine.play(max(at, self._approve()) + rng.choice((0, 1, 20, 200)))

    def _lose_hub(self, seconds: float) -> None:
        """The hub's Region is down, and nothing that it does changes an instance; others go on in the spokes."""
        rng, engine, began = random.Random(f"hub away {self.seed}"), self.engine, self.engine.seconds
        self.deployment.region_fails()
        for _ in range(rng.choice((1, 3, 6))):
            engine.after(rng.uniform(0, seconds), self._apart.choice(self.spokes).people.act_alone)
        engine.play(began + LATEST)  # a call that was sent before may land
        made = [each.changes for each in (self.promises, *self.promises.spokes)]
        before = [*map(len, made)]
        engine.play(began + seconds)
        self.promises.check(4, before == [*map(len, made)], lambda: "the hub is down, and changes instances")
        self.deployment.region_returns()
        engine.play(engine.seconds + rng.choice((1, 60, 900)))

    def _approve(self) -> float:
        """Have the approvers about for a while; returns until when. Mostly an edit is judged before they go on."""
        rng, at = random.Random(f"approving {self.seed}"), self.engine.seconds
        if self.approvers:
            for _ in range(self.plan.approvals // 2):
                at += rng.choice((rng.uniform(0, 3), *[rng.uniform(10, 40)] * 3))
                self.engine.after(at - self.engine.seconds, self.approvers.act)
            at += 30
        return at

    def _rest(self) -> None:
        """AWS is healthy, nobody does anything any more."""
        engine, deployment = self.engine, self.deployment
        engine.say("==== rest")
        self.weather.rough = False
        self.budget.others = 0
        self.people.peace()
        for spoke in self.spokes:
            spoke.people.peace()
            self.deployment.send(present(engine.now(), spoke.account.target))
        self._play_out()
        self._end_rollouts()
        self._check_unswept()
        gone = self._note_ended()
        deployment.redrive()
        deployment.sweep()
        self._play_out()
        for settled in self.all_settled:
            settled.check("after one sweep")
        if self.violations:
            return
        self.promises.check(
            5,
            not (deployment.waiting or deployment.loops or deployment.resumed or deployment.dead_letters),
            lambda: (
                f"{[each.id for each in deployment.waiting]}, {deployment.loops + deployment.resumed} executions go on"
            ),
        )
        moved = self._moved()
        deployment.sweep()
        engine.play(engine.seconds + 600)
        self._check_swept_twice()
        if not self.violations:
            self._sweep_until_rest(moved)
            self._check_converged(gone)

    def _end_rollouts(self) -> None:
        """Somebody resumes what is halted, until no rollout is left."""
        for _ in range(MINUTES_OF_WAVES):
            if not self.people.rollouts:
                break
            self.people.resume_rollout()
            self.engine.play(self.engine.seconds + 120)
        if self.plan.habits.rolls:
            left = self.people.rollouts
            self.promises.check(13, not left, lambda: "a rollout never ends, though somebody resumes it")
            self._play_out()

    def _sweep_until_rest(self, moved: int) -> None:
        """Sweep until nothing was published or changed: a held row says what the window holds, and may find room.

        The hub's sweep also tells in the rows what the sweep of a spoke before it found.
        """
        engine, more = self.engine, bool(self.spokes)
        if self.spokes:
            # Until then its sweep doesn't ask IAM about mappings that govern nothing there.
            engine.play(engine.seconds + CHECKED_FOR.total_seconds())
            self.deployment.sweep()
        for _ in range(SWEEPS_AT_REST):
            if not (more or self._moved() != moved):
                break
            more, moved = False, self._moved()
            engine.play(engine.seconds + 60 * (WINDOW_MINUTES + 1))
            self.deployment.sweep()
            engine.play(engine.seconds + 600)

    def _check_converged(self, gone: set[str]) -> None:
        """Neither a sweep nor an event writes anything by now."""
        engine, writes = self.engine, self.promises.writes
        self.deployment.sweep()
        engine.play(engine.seconds + 120)
        for settled in self.all_settled:
            for instance in settled.account.instances:
                if instance not in settled.forgotten and not (instance in gone and settled.record(instance)):
                    self.people.nudge(instance)
        engine.play(engine.seconds + 120)
        self.promises.check(8, self.promises.writes == writes, lambda: "a converged account was written to")

    def _play_out(self) -> None:
        """Until nothing is left to be done.

        A change may wait for its turn even longer than the backoff, and EC2 may drop it: its follow-up finds that.
        """
        self.engine.play(self.engine.seconds + BACKOFF)
        self.deployment.settle(LATEST_TURN)

    def _moved(self) -> int:
        """How often a mapping was published or an instance changed so far."""
        changes = (len(each.changes) for each in (self.promises, *self.promises.spokes))
        return sum(map(len, self.promises.published.values())) + sum(changes)

    def _check_unswept(self) -> None:
        """What nothing was lost for needs no sweep."""
        unheard = self.deployment.unheard | self.people.damaged
        # A clock that is off rings a timer too early, and for that too there is the sweep.
        timed = self.plan.habits.expiry or self.plan.habits.operators or lends(self.seed)
        early = self.weather.skew == SKEW or (self.weather.skew and timed)
        if not (self.weather.stale or self.deployment.dead_letters or early):
            for settled in self.all_settled:
                settled.check("before the sweep", only=set(settled.account.instances) - unheard, promise=5)

    def _note_ended(self) -> set[str]:
        """The instances that EC2 shows no more, before a sweep."""
        gone: set[str] = set()
        for settled in self.all_settled:
            settled.account.truth.tick()
            ended = {each for each in settled.account.instances if not settled.account.truth.knows(each)}
            settled.forgotten = ended if self.weather.stale else ended & self.deployment.unheard
            settled.swept_at = self.engine.seconds
            gone |= ended
        return gone

    def _check_swept_twice(self) -> None:
        for settled in self.all_settled:
            settled.check("after two sweeps", strict=True)
            settled.check_history()
            settled.check_broad()
        for spoke in self.spokes:
            check_copies(self.settled, self.promises, spoke.account)

    @property
    def all_settled(self) -> list[Settled]:
        """What is looked at once all is quiet, of each account."""
        return [self.settled, *(spoke.settled for spoke in self.spokes)]

    @property
    def violations(self) -> list[Violation]:
        return [one for each in (self.promises, *self.promises.spokes) for one in each.violations]


def _furnish(account: Account) -> None:
    account.roles["admin"] = "/admin/"
    account.profile(THEIRS, path="/")
    account.profile("web")
    account.profile("db")


def play(seed: int) -> Played:
    """Play a seed; if it breaks a promise, once more with its story."""
    played = Schedule(seed).play()
    return Schedule(seed, tells=True).play() if played.violations else played
