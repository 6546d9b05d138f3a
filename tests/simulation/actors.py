"""Everybody but Rolekeeper: who tags and launches, who edits mappings, who operates it, and who works against it."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from fakes.dynamodb import FakeDynamoDB
from rolekeeper.mappings.rows import row_of
from rolekeeper.model.mapping import IGNORE_TAG, MappingKey, Pin
from rolekeeper.storage import Update, layout
from rolekeeper_cli.act.pins import pin_item
from rolekeeper_local.ec2_model import Ec2Error, State
from simulation.account import ACCOUNT, ALARMS, HUB, PATH, SPOKE, UNITS, Account, Maker, instance_key
from simulation.deployment import Deployment
from simulation.engine import Engine
from simulation.faults import Fault, Kind, Weather
from simulation.invariants import ROWS, STATE, Promises

TAGS = ("app=web", "app=db", "app=web", "app=db", "team=x", "lock=y", "app=")
MAPPINGS = ("app=web", "app=db", "app=*", "team=x", "lock=*")
UNMAPPED = "stack=blue"
ROLES = ("web", "db", "ops")
# In which waves rows go out, how many of them do, and how often somebody resumes what isn't halted.
ROLLOUTS, IN_WAVES, CARELESS = ("1, 50%, 100% every 1m", "linear 30% every 1m", "1, 2, 100% every 2m"), 0.7, 0.2
# Which accounts come first; those of spokes are there or not.
FIRST = ("", "", f"{SPOKE.account}, ", f"{HUB.account}, ", f"{HUB.account}, {SPOKE.account}, ")
# Where there is a spoke, this share of the rows is for some accounts only.
EXCLUDING = 0.3
SCOPES: Sequence[dict[str, set[str]]] = (
    {"not_accounts": {SPOKE.account}},
    {"not_accounts": {HUB.account}},
    {"units": {f"{UNITS[0]}/*"}},
    {"units": {f"{UNITS[1]}/*"}, "not_units": {UNITS[2]}},
    {"not_units": {f"{UNITS[1]}/*"}},
)
# With a limit of so few, people split wide changes over rows.
FEW = 3
# The tag of the instances that `Approvers` edit the role of.
WIDE = "wide=y"
# The row that governs them when that one has expired.
BEHIND = "wide=*"
# And of others: most of them are in the spoke, which may move to another unit.
FAR, ELSEWHERE = "far=z", "ou-a1b2-elsewher"
# Who edits too widely, and who signs, by the id and the ARN that IAM knows them by.
EDITOR, GRACE, MALLORY = ("AIDAALICE", "alice"), ("AIDAGRACE", "grace"), ("AIDAMALLORY", "mallory")
THEIRS = "theirs"
# A profile outside the path that holds a role inside.
LOOSE = "loose"
ADMIN = "/admin/"
# An AWS service that manages instances of its own in the account.
OPERATOR = "eks.amazonaws.com"


@dataclass(frozen=True)
class Habits:
    """Who is about in a schedule, and what they do."""

    others: bool = True
    edits: bool = True
    ends: bool = False
    operators: bool = False
    damage: bool = False
    expiry: bool = False
    refuses: bool = False
    away: bool = False
    rolls: bool = False


@dataclass
class People:
    """See the module. `act` does one thing, by chance."""

    _rng: random.Random
    _engine: Engine
    _weather: Weather
    _account: Account
    _tables: FakeDynamoDB
    _deployment: Deployment
    _promises: Promises
    _habits: Habits

    def __post_init__(self) -> None:
        self._split, self._excluding, self._waves = (
            random.Random(f"{self._rng.getstate()}{each}") for each in ("", "excluding", "waves")
        )
        self._hidden: list[dict[str, Any]] = []
        self._swapped: set[str] = set()
        self._controlled = False
        self.damaged: set[str] = set()
        self._acts = self._repertoire()

    def _repertoire(self) -> list[Callable[[], object]]:
        habits = self._habits
        acts: list[Callable[[], object]] = [
            *[self.tag] * 5,
            *[self.untag] * 3,
            *[self.stop] * 2,
            *[self.start] * 2,
            self.flap,
            self.nudge,
            self._deployment.sweep,
        ]
        if habits.others:
            acts += [*[self.attach_by_hand] * 3, self.detach_by_hand]
        if habits.edits:
            acts += [*[self.edit] * 3, *[self.change_role] * 2, self.delete_row, self.approve]
        if habits.rolls:
            acts += [*[self.ring] * 2, *[self.resume_rollout] * 2, *[self.take_rollout_back] * 2]
            acts += [*[self.change_role] * 3] if habits.edits else []
        if habits.ends:
            acts += [self.terminate, self.launch]
        if habits.operators:
            acts += [self.pause, self.observe, self.resume, self.pin, self.pin, self.release, self.ignore]
        if habits.refuses:
            acts += [self.region_fails if habits.away else self.refuse] * 3
        if habits.damage:
            acts += [self.damage, self.lose_published, self.empty_the_table, self.poison_row, self.poison_message]
            acts += [*[self.swap_role] * 2, self.drop_role, *[self.outage] * 3]
            acts += [self.recreate_profile] * 3
            acts += [self.broaden] * 3
            acts += [self.lose_state]
        return acts

    def act(self) -> None:
        self._act(self._acts)

    def act_alone(self) -> None:
        """Do something that needs nothing of the hub's Region."""
        others = [self.attach_by_hand, self.detach_by_hand] if self._habits.others else []
        self._act([self.tag, self.tag, self.untag, self.stop, self.start, self.terminate, self.launch, *others])

    def _act(self, acts: list[Callable[[], object]]) -> None:
        try:
            self._rng.choice(acts)()
        except Ec2Error as error:
            self._engine.say(f"* is refused: {error}")

    def _one(self) -> str:
        return self._rng.choice(self._account.instances)

    def _say(self, text: str) -> None:
        self._engine.say(f"* {text}")

    # ---- who uses instances ----

    def launch(self) -> None:
        key, value = self._rng.choice(TAGS).split("=")
        profile = self._rng.choice((None, None, THEIRS, "web"))
        operator = OPERATOR if self._rng.random() < 0.1 else ""
        made = self._account.launch({key: value}, profile, operator)
        self._say(f"launch {made[-4:]} with {key}={value} and {profile or 'no profile'} {operator}".rstrip())

    def tag(self, instance: str = "", tag: str = "") -> None:
        instance, tag = instance or self._one(), tag or self._rng.choice(TAGS)
        self._say(f"tag {instance[-4:]} {tag}")
        key, value = tag.split("=")
        self._account.truth.create_tags(instance, {key: value})
        self._account.changed()

    def retag_all(self, tag: str) -> None:
        self._say(f"tag all {len(self._account.instances)} {tag}")
        key, value = tag.split("=")
        for instance in self._account.instances:
            self._account.truth.create_tags(instance, {key: value})
        self._account.changed()

    def untag(self) -> None:
        instance, key = self._one(), self._rng.choice(("app", "app", "team", "lock", IGNORE_TAG))
        self._say(f"untag {instance[-4:]} {key}")
        self._account.truth.delete_tags(instance, {key: None})
        self._account.changed()

    def ignore(self) -> None:
        later = layout.timestamp(self._engine.now() + timedelta(seconds=self._rng.uniform(5, 200)))
        self.tag(tag=f"{IGNORE_TAG}={self._rng.choice(('true', 'false', later, 'perhaps'))}")

    def stop(self) -> None:
        instance = self._one()
        self._say(f"stop {instance[-4:]}")
        self._account.truth.stop(instance)
        self._account.changed()

    def start(self) -> None:
        instance = self._one()
        self._say(f"start {instance[-4:]}")
        self._account.truth.start(instance)
        self._account.changed()

    def flap(self) -> None:
        instance = self._one()
        self._say(f"{instance[-4:]} begins to flap")
        self._weather.count(Fault.FLAPPING)

        def turn(left: int) -> None:
            if not self._account.truth.knows(instance):
                return
            state = self._account.truth.instance(instance).state
            if state is State.RUNNING:
                self._account.truth.stop(instance)
            elif state is State.STOPPED:
                self._account.truth.start(instance)
            self._account.changed()
            if left:
                self._engine.after(self._rng.uniform(0.5, 4), lambda: turn(left - 1))

        turn(self._rng.randint(2, 5))

    def terminate(self) -> None:
        instance = self._one()
        self._say(f"terminate {instance[-4:]}")
        if self._engine.active:
            self._weather.count(Fault.TERMINATION)
        self._account.truth.terminate(instance)
        self._account.changed()

    def nudge(self, instance: str = "") -> None:
        key = instance_key(instance or self._one())
        body = {
            "source": "rolekeeper",
            "detail-type": "Reconcile Requested",
            "account": key.account,
            "region": key.region,
            "time": layout.timestamp(self._engine.now()),
            "detail": {"instance-id": key.id, "cause": "nudged", "correlation-id": "nudge"},
        }
        self._deployment.send(body)

    # ---- who works against it ----

    def attach_by_hand(self) -> None:
        instance, name = self._one(), self._rng.choice((THEIRS, THEIRS, "web", "db"))
        present = self._account.association_of(instance)
        self._say(f"somebody gives {name} to {instance[-4:]}")
        if present:
            self._account.replace(present.id, name, Maker.THEM)
            self._weather.count(Fault.OTHER_REPLACES)
        else:
            self._account.associate(instance, name, Maker.THEM)
            self._weather.count(Fault.OTHER_ATTACHES)
        # No event tells of it (AWS_FACTS.md, "Events"): only the sweep need find it.
        self._deployment.unheard.add(instance)

    def detach_by_hand(self) -> None:
        instance = self._one()
        present = self._account.association_of(instance)
        if present:
            self._say(f"somebody detaches {present.id[-4:]} from {instance[-4:]}")
            self._account.disassociate(present.id, Maker.THEM)
            self._deployment.unheard.add(instance)
            self._weather.count(Fault.OTHER_DETACHES)

    def swap_role(self) -> None:
        name = self._rng.choice(("web", "db"))
        if name not in self._account.profiles:
            return
        self._weather.count(Fault.ROLE_SWAPPED)
        if name in self._swapped:
            self.mend_profile(name)
        else:
            self._say(f"the role in profile {name} is swapped for an administrator's")
            self._swapped.add(name)
            self._account.put_role_into(name, self._account.role_arn("admin", ADMIN))

    def mend_profile(self, name: str) -> None:
        self._swapped.discard(name)
        self._say(f"profile {name} holds its own role again")
        self._account.put_role_into(name, self._account.role_arn(name))

    def recreate_profile(self) -> None:
        """A profile is deleted and made anew under its name: the same ARN, another profile."""
        name = self._rng.choice(("web", "db"))
        if name in self._swapped:
            return
        self._say(f"profile {name} is deleted and made anew")
        self._weather.count(Fault.PROFILE_RECREATED)
        # Nothing tells of it: the sweep finds it.
        self._deployment.miss()
        self._account.profile(name)

    def drop_role(self) -> None:
        if "db" in self._account.roles:
            self._say("role db is deleted")
            self._weather.count(Fault.ROLE_DELETED)
            del self._account.roles["db"]
        else:
            self._say("role db is there again")
            self._account.roles["db"] = PATH
        self._account.iam_changed()

    def broaden(self) -> None:
        name = self._rng.choice(("web", "db"))
        self._say(f"role {name} is {'narrow again' if name in self._account.broad else 'made broad'}")
        self._weather.count(Fault.ROLE_BROADENED)
        self._account.broad ^= {name}
        self._account.iam_changed()

    # ---- who edits mappings ----

    def edit(self, tag: str = "", **columns: Any) -> None:
        tag = tag or self._rng.choice(MAPPINGS)
        self.put(tag, **(columns or self.row()))

    def change_role(self) -> None:
        """Edit nothing but the role of a row; where few may change, of all rows at the same moment."""
        if rows := self._rows():
            chosen, role = self._rng.choice(rows), self._rng.choice((*ROLES, "web", "db", "NONE"))
            # A chance of its own, so that other schedules stay as they are.
            wide = self._promises.limits.per_edit <= FEW and self._split.random() < 1 / 2
            for each in rows if wide else [chosen]:
                row = layout.from_attributes(each)
                self.put(f"{row.pop('tag_key')}={row.pop('tag_value')}", **{**row, "role": role})

    def row(self) -> dict[str, Any]:
        rng, habits = self._rng, self._habits
        columns: dict[str, Any] = {
            "role": rng.choice(("web", "db", "ops", "web", "db", "NONE")),
            "priority": rng.choice((1, 5, 50, 100, rng.randint(2, 99), rng.randint(2, 99))),
            "when_unmatched": rng.choice(("detach", "detach", "keep")),
        }
        if rng.random() < 0.6:
            columns["when_occupied"] = "replace"
        if rng.random() < 0.4:
            columns["when_stopped"] = "swap"
        if rng.random() < 0.1:
            columns["enabled"] = False
        if habits.expiry and rng.random() < 0.3:
            columns["expires_at"] = layout.timestamp(self._engine.now() + timedelta(seconds=rng.uniform(1, 300)))
        if rng.random() < 0.1:
            columns["require_tags"] = {"team": "x"}
        if rng.random() < 0.2:
            columns["allow_broad"] = True
        if self._deployment.spokes and self._excluding.random() < EXCLUDING:
            columns |= self._excluding.choice(SCOPES)
        return columns

    # ---- who watches a rollout ----

    def ring(self) -> None:
        """An alarm rings, has no data, is gone, or is fine again."""
        name, state = self._waves.choice(ALARMS), self._waves.choice(("ALARM", "INSUFFICIENT_DATA", "", "OK", "OK"))
        self._say(f"alarm {name}: {state or 'deleted'}")
        self._account.alarms.pop(name, None)
        self._account.alarms |= {name: state} if state else {}

    def resume_rollout(self) -> None:
        """Write the revision of each rollout into its row; most of the time that of one that halted."""
        for row in map(layout.from_attributes, self._rows()):
            if row.get("status") == "Halted" or self._waves.random() < CARELESS:
                revision = int(row.get("status_revision", 0)) or 1
                self._say(f"resume {row['tag_key']}={row['tag_value']} {revision}")
                update = Update().only_if_present("tag_key").set({"resume_revision": revision}).arguments()
                key = {name: {"S": row[name]} for name in ("tag_key", "tag_value")}
                self._tables.update_item(TableName=ROWS, Key=key, **update)

    def take_rollout_back(self) -> None:
        """Write a row as it was before its rollout."""
        for key, log in sorted(self._promises.published.items()):
            if log and (mapping := log[-1][1]) and mapping.former and not mapping.deleted:
                self._say(f"take {key} back")
                self._tables.put_item(TableName=ROWS, Item=row_of(mapping.spec_before))

    @property
    def rollouts(self) -> bool:
        """Whether a rollout goes on, or is halted."""
        return any(log and log[-1][1] and log[-1][1].former for log in self._promises.published.values())

    def put(self, tag: str, **columns: Any) -> None:
        if self._habits.rolls and self._waves.random() < IN_WAVES:
            first = self._waves.choice(FIRST)
            columns |= {
                "rollout": first + self._waves.choice(ROLLOUTS),
                "on_halt": self._waves.choice(("wait", "rollback")),
            }
            columns |= {"halt_on": {self._waves.choice(ALARMS)}} if self._waves.random() < 1 / 2 else {}
            columns |= {"halt_after": 2} if self._waves.random() < 1 / 2 else {}
        self._say(f"row {tag}: {columns}")
        if any(run.name.startswith(("reconcile", "retry", "publish", "sweep")) for run in self._engine.active):
            self._weather.count(Fault.EDIT_MIDWAY)
        key = MappingKey(*tag.split("=", 1))
        self._tables.put_item(
            TableName=ROWS, Item=layout.to_attributes({**columns, "tag_key": key.tag_key, "tag_value": key.tag_value})
        )

    def delete_row(self) -> None:
        tag = self._rng.choice(MAPPINGS)
        self._say(f"delete row {tag}")
        self._tables.delete_item(TableName=ROWS, Key=_row_key(tag))

    def approve(self) -> None:
        """Approve what is held; half the time, not as it was shown."""
        for row in self._rows():
            if held := row.get("held_revision"):
                tag, number = f"{row['tag_key']['S']}={row['tag_value']['S']}", int(held["N"])
                signs = self._rng.random() < 0.5
                self._say(f"approve {tag} {number}{'' if signs else ', and not what was shown'}")
                self.sign(tag, number, GRACE, **({} if signs else {"digest": "of something else"}))
                return

    def sign(self, tag: str, number: int, who: tuple[str, str], **differing: Any) -> None:
        """A person signs a revision, as IAM lets them: under their own id.

        They sign what they see: nothing that isn't held under that number, as after the state table was lost.
        """
        (by, arn), key = who, MappingKey(*tag.split("=", 1))
        if (held := self._stored(layout.held_key(key))) and held["revision"] == number:
            shown = {name: held[name] for name in ("revision", "digest", "changes", "takes")}
            self._put_state(layout.approval_key(by, key), arn=arn, **{**shown, **differing})

    def _stored(self, key: layout.Key) -> dict[str, Any]:
        """An item of the state table, plain; empty for none."""
        names = layout.to_attributes(layout.key_attributes(key))
        answer = self._tables.get_item(TableName=STATE, Key=names, ConsistentRead=True)
        return layout.from_attributes(answer.get("Item", {}))

    def _rows(self) -> list[dict[str, Any]]:
        return self._tables.items(ROWS)

    # ---- who operates it ----

    def pause(self) -> None:
        self._control(paused=True)

    def observe(self) -> None:
        self._control(mode="observe")

    def resume(self) -> None:
        self._control()

    def _control(self, **attributes: Any) -> None:
        self._say(f"control {attributes}")
        self._controlled = bool(attributes)
        self._put_state(layout.CONTROL, **attributes)

    def pin(self) -> None:
        instance = self._one()
        role = self._rng.choice(("web", "db", "NONE"))
        profile = "" if role == "NONE" else self._account.profiles[role].arn
        until = self._engine.now() + timedelta(seconds=self._rng.uniform(5, 300)) if self._rng.random() < 0.5 else None
        self._say(f"pin {instance[-4:]} to {role} until {until or 'released'}")
        item = pin_item(instance_key(instance), Pin(role, profile, until, by="somebody"))
        self._tables.put_item(TableName=STATE, Item=layout.to_attributes(item))

    def release(self) -> None:
        instance = self._one()
        self._say(f"release {instance[-4:]}")
        pk, sk = layout.pin_key(instance_key(instance))
        self._tables.delete_item(TableName=STATE, Key=layout.to_attributes({"pk": pk, "sk": sk}))

    # ---- what breaks ----

    def damage(self) -> None:
        instance = self._one()
        self._say(f"the record of {instance[-4:]} is garbled")
        self._weather.count(Fault.RECORD_GARBLED)
        self.damaged.add(instance)
        self._promises.damaged.add(instance)
        self._deployment.unheard.add(instance)
        self._garble(instance, {"S": "garbage"})

    def mend_records(self) -> None:
        """Somebody takes the garbage away, and has the dead letters tried again."""
        for instance in sorted(self.damaged):
            self._garble(instance, None)
        self._promises.damaged.clear()

    def _garble(self, instance: str, garbage: Any) -> None:
        pk, sk = layout.record_key(instance_key(instance))
        update: dict[str, Any] = {"UpdateExpression": "REMOVE #g"}
        if garbage:
            update = {"UpdateExpression": "SET #g = :g", "ExpressionAttributeValues": {":g": garbage}}
        self._tables.update_item(
            TableName=STATE,
            Key=layout.to_attributes({"pk": pk, "sk": sk}),
            ExpressionAttributeNames={"#g": f"{layout.GRANT}garbage"},
            **update,
        )

    def lose_published(self) -> None:
        """A published record that governs an instance is lost, with no tombstone: nobody meant that."""
        carried = [self._account.tags[each][-1][1] for each in self._account.instances if self._account.tags[each]]
        used = [tag for tag in MAPPINGS if any(MappingKey(*tag.split("=", 1)).matches(tags) for tags in carried)]
        tag = self._rng.choice(used or MAPPINGS)
        self._say(f"the published record of {tag} is lost")
        self._weather.count(Fault.PUBLISHED_LOST)
        self._deployment.miss()
        pk, sk = layout.published_key(MappingKey(*tag.split("=", 1)), ACCOUNT)
        self._tables.delete_item(TableName=STATE, Key=layout.to_attributes({"pk": pk, "sk": sk}))
        if self._rng.random() < 0.5:
            # It comes back while somebody looks.
            self._deployment.sweep()
            for _ in range(8):
                self._engine.after(self._rng.uniform(0, 4), self.nudge)

    def lose_state(self) -> None:
        """The state table is empty, as one that was made anew: nobody told anybody to detach anything."""
        self._say("the state table is empty")
        self._weather.count(Fault.STATE_LOST)
        self._deployment.miss()
        self._promises.state_lost()
        for item in self._tables.items(STATE):
            self._tables.delete_item(TableName=STATE, Key={name: item[name] for name in ("pk", "sk")})

    def empty_the_table(self) -> None:
        """The mapping table reads empty for a while, and nobody deleted a row."""
        if self._hidden:
            return
        self._hidden = self._rows()
        self._say(f"the mapping table reads empty; it held {len(self._hidden)} rows")
        self._weather.count(Fault.EMPTY_TABLE)
        self._deployment.miss()
        self._promises.hidden = {MappingKey(row["tag_key"]["S"], row["tag_value"]["S"]) for row in self._hidden}
        with self._unseen():
            for row in self._hidden:
                self._tables.delete_item(TableName=ROWS, Key={name: row[name] for name in ("tag_key", "tag_value")})
        self._deployment.sweep()
        self._engine.after(self._rng.uniform(30, 200), self.refill_the_table)

    def refill_the_table(self) -> None:
        """The rows are there again; what somebody wrote meanwhile stays."""
        hidden, self._hidden = self._hidden, []
        self._say(f"{len(hidden)} rows are there again")
        self._promises.hidden = set()
        there = {(row["tag_key"]["S"], row["tag_value"]["S"]) for row in self._rows()}
        with self._unseen():
            for row in hidden:
                if (row["tag_key"]["S"], row["tag_value"]["S"]) not in there:
                    self._tables.put_item(TableName=ROWS, Item=row)

    @contextmanager
    def _unseen(self) -> Iterator[None]:
        """Changes that no stream tells of."""
        hook, self._tables.on_change = self._tables.on_change, None
        yield
        self._tables.on_change = hook

    def poison_row(self) -> None:
        self._weather.count(Fault.POISON_ROW)
        nonsense = self._rng.choice(
            (
                {"role": 7},
                {"role": "web", "priority": "first"},
                {"role": "../admin"},
                {"role": "admin"},
                {"rolle": "web"},
                {"role": "web", "instance_profile": LOOSE},
                {"role": "web", "instance_profile": "db"},
            )
        )
        self.put(self._rng.choice(MAPPINGS), **nonsense)

    def poison_message(self) -> None:
        self._say("a poisoned message")
        self._weather.count(Fault.POISON_MESSAGE)
        self._deployment.send(self._rng.choice((["garbage"], {"source": "aws.ec2"}, {"detail": {"instance-id": "x"}})))

    def outage(self) -> None:
        """For a while no call of one kind gets through."""
        if self._weather.down:
            return
        self._weather.down = self._rng.choice(list(Kind))
        self._weather.count(Fault.OUTAGE)
        self._say(f"no {self._weather.down} gets through")
        self._engine.after(self._rng.choice((5, 60, 600, 4000, 4000)), self.recover)

    def refuse(self) -> None:
        """For a while the account lets Rolekeeper assume no role."""
        target = self._account.target
        self._deployment.refusing.add(target)
        self._deployment.miss(target)
        self._weather.count(Fault.ROLES_REFUSED)
        self._say(f"{target} refuses its roles")
        self._engine.after(self._rng.choice((5, 60, 600, 4000)), self.admit)

    def admit(self) -> None:
        self._deployment.refusing.discard(self._account.target)
        self._weather.away = False

    def region_fails(self) -> None:
        """For a while nothing in the account's Region gives an answer."""
        self._weather.away = True
        self._deployment.miss(self._account.target)
        self._weather.count(Fault.TARGET_AWAY)
        self._say(f"{self._account.target} gives no answer")
        self._engine.after(self._rng.choice((60, 600, 4000)), self.admit)

    def recover(self) -> None:
        self._say(f"{self._weather.down} gets through again")
        self._weather.down = None

    # ---- peace ----

    def peace(self) -> None:
        """Everybody stops, and mends what was broken."""
        self._weather.down = None
        self.admit()
        if self._hidden:
            self.refill_the_table()
        for name in sorted(self._swapped):
            self.mend_profile(name)
        if "db" not in self._account.roles:
            self.drop_role()
        self._account.alarms |= dict.fromkeys(ALARMS, "OK")
        if self._controlled:
            self.resume()  # and every write to the control item starts a sweep
        self.mend_records()

    def _put_state(self, key: layout.Key, **attributes: Any) -> None:
        pk, sk = key
        self._tables.put_item(TableName=STATE, Item=layout.to_attributes({"pk": pk, "sk": sk, **attributes}))


class Approvers(People):
    """Who edits more than may change without approval, who signs that, and who tries to do without a signature.

    Where there is a spoke, it gives no answer now and then just as they edit, and its account moves from unit to unit.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self._tag = WIDE
        # A chance of its own, so that schedules without a spoke stay as they are.
        self._apart = random.Random(f"{self._rng.getstate()}apart")

    def launch_wide(self, count: int, account: Account | None = None, tag: str = WIDE) -> None:
        key, value = tag.split("=")
        made = [(account or self._account).launch({key: value}, None)[-4:] for _ in range(count)]
        self._say(f"launch {', '.join(made)} with {tag}")

    def act(self) -> None:
        """Edit; or if the edit is held, have it published or dropped, or try to."""
        for spoke in self._deployment.spokes.values():
            self._tag = self._apart.choice((WIDE, FAR))
            self._apart.choice((self._silence, self._move, self._move, self._leave))(spoke)
        rows = map(layout.from_attributes, self._rows())
        row = next((each for each in rows if f"{each['tag_key']}={each['tag_value']}" == self._tag), {})
        if number := int(row.get("held_revision", 0)):
            ways = (*[self.approve_it] * 6, self.approve_own, self.approve_wrongly, self.change_signed, self.drop)
            self._rng.choice(ways)(number)
        else:
            self.widen(str(row.get("role", "")))

    def widen(self, role: str = "") -> None:
        """Give all of them another role, or none; or end what gives them one."""
        how = self._rng.random()
        if role and how < 0.15:
            self._say(f"delete row {self._tag}")
            self._tables.delete_item(TableName=ROWS, Key=_row_key(self._tag))
            return
        other = self._rng.choice([each for each in (*ROLES, "web", "db", "NONE") if each != role])
        ends = {"enabled": False} if role and how < 0.3 else {}
        columns: dict[str, Any] = {
            "role": role if ends else other,
            "when_unmatched": "detach",
            "when_stopped": "swap",
            **ends,
        }
        if self._deployment.spokes and self._apart.random() < 1 / 2:
            columns["not_units"] = {UNITS[2]}
        self.put(self._tag, **columns, edited_by=EDITOR[1])

    def _silence(self, spoke: Account) -> None:
        """The spoke lets nobody assume its roles for a moment."""
        self._say(f"{spoke.target} refuses its roles for a moment")
        self._weather.count(Fault.SILENT_AT_EDIT)
        self._deployment.miss(spoke.target)
        self._deployment.refusing.add(spoke.target)
        wait = self._apart.uniform(3, 40)
        self._engine.after(wait, lambda: self._deployment.refusing.discard(spoke.target))

    def _move(self, spoke: Account) -> None:
        """The spoke's account is in another unit from here on, and the hub knows that."""
        spoke.units = (*UNITS[:2], self._apart.choice((UNITS[2], ELSEWHERE)))
        self._say(f"{spoke.target} is in {spoke.units[-1]}")
        self._weather.count(Fault.UNIT_MOVED)
        key = layout.key_attributes(layout.target_key(spoke.target))
        known = self._tables.get_item(TableName=STATE, Key=layout.to_attributes(key)).get("Item")
        if known:
            unit = layout.to_attributes({"unit": "/".join(spoke.units)})
            self._tables.put_item(TableName=STATE, Item={**known, **unit})

    def _leave(self, spoke: Account) -> None:
        """Leave the spoke alone."""

    def approve_it(self, number: int) -> None:
        self._say(f"grace approves {self._tag} {number}")
        self.sign(self._tag, number, GRACE)

    def approve_own(self, number: int) -> None:
        self._say(f"its editor approves {self._tag} {number}")
        self.sign(self._tag, number, EDITOR)

    def approve_wrongly(self, number: int) -> None:
        """Someone signs another number, another content, or fewer changes than were shown."""
        shown: dict[str, Any] = self._rng.choice(
            ({"revision": number + 1}, {"digest": "x"}, {"changes": 0, "takes": 0})
        )
        self._say(f"mallory approves {self._tag} {number} with {shown}")
        self.sign(self._tag, number, MALLORY, **shown)

    def change_signed(self, number: int) -> None:
        """What was signed is changed in the same moment."""
        self._say(f"grace approves {self._tag} {number} as it is changed")
        signs_first = self._rng.random() < 0.5
        if signs_first:
            self.sign(self._tag, number, GRACE)
        self.widen(self._rng.choice(ROLES))
        if not signs_first:
            self.sign(self._tag, number, GRACE)

    def drop(self, number: int) -> None:
        """Write the row as it is published; perhaps what is held was just signed."""
        self._say(f"discard {self._tag} {number}")
        if self._rng.random() < 0.5:
            self.sign(self._tag, number, GRACE)
        key = MappingKey(*self._tag.split("=", 1))
        published = self._stored(layout.published_key(key, ACCOUNT))
        if published and not published.get("deleted"):
            row = row_of(layout.published_from(published).spec)
            self._tables.put_item(TableName=ROWS, Item={**row, "edited_by": {"S": EDITOR[1]}})
        else:
            self._tables.delete_item(TableName=ROWS, Key=_row_key(self._tag))


class Lenders(Approvers):
    """Approvers who give roles for a while only, and who edit the row behind those, which governs from then on."""

    def act(self) -> None:
        if self._rng.random() < 0.6:
            super().act()
        elif self._rng.random() < 0.3:
            self.approve()
        else:
            role = self._rng.choice((*ROLES, "NONE"))
            self.put(BEHIND, role=role, priority=200, when_stopped="swap", edited_by=EDITOR[1])

    def put(self, tag: str, **columns: Any) -> None:
        if tag == WIDE and self._rng.random() < 0.6:
            ends = self._engine.now() + timedelta(seconds=self._rng.uniform(20, 300))
            columns["expires_at"] = layout.timestamp(ends)
        super().put(tag, **columns)


def _row_key(tag: str) -> dict[str, Any]:
    key = MappingKey(*tag.split("=", 1))
    return layout.to_attributes({"tag_key": key.tag_key, "tag_value": key.tag_value})
