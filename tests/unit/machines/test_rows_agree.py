"""Random histories of rows, people, accounts and crashes: the code says of each row what `spec.rows` says of it.

A history is drawn from its number; one that fails is cut down to the steps that it needs, and printed as a story.
"""

import json
import os
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import batched
from typing import Any

import pytest

from fixtures.account import ACCOUNT, HOME, FakeAccount, KilledError, kill, mapping_key, refusing
from fixtures.organization import new_organization
from fixtures.organization_desk import OrganizationDesk
from rolekeeper.app import App
from rolekeeper.aws.errors import RetryableError
from rolekeeper.aws.queue import Task
from rolekeeper.fleet import targets
from rolekeeper.instances.reconcile import Pace
from rolekeeper.mappings import account_runs
from rolekeeper.mappings.rows import HomeAccount, content, read_row
from rolekeeper.model.instance import InstanceKey, Target
from rolekeeper.model.mapping import MappingKey, MappingSpec, WhenOccupied, WhenUnmatched
from rolekeeper.settings import ContentionRule, Limits
from rolekeeper.storage import layout
from rolekeeper_local.ec2_model import State
from spec.carries import Situation, wanted
from spec.over_time import TimedInstance
from spec.rows import Deployment, Place, Rows
from support.grants import allow, policy

# Of each kind: the gate plays these, `make soak` 100,000 together. Another first one plays others.
HISTORIES = 33_334 if os.environ.get("ROLEKEEPER_SOAK") else 50
FIRST = int(os.environ.get("ROLEKEEPER_ROWS_FROM", "0"))
TAGS = ("team=a", "team=*", "tier=x")
ROLES = ("web", "db")
STATES = ("", "", "gone", "broad")
SPOKES = tuple(Target(account * 12, "eu-west-1") for account in "123")
PEOPLE = {"grace": "AIDAGRACE", "ada": "AIDAADA"}
EDITS = Limits(2, 25)
HOME_ACCOUNT = HomeAccount(ACCOUNT, "aws")

# One account; a hub whose accounts are asked in line, or by a run for each.
ALONE, IN_LINE, BY_ACCOUNT = "alone", "in-line", "by-account"

type Step = tuple[str, dict[str, Any]]


# ---- the histories ----


def drawn(kind: str, seed: int) -> tuple[int, list[Step]]:
    """How many spokes there are, and what happens."""
    chance = random.Random(f"{kind} {seed}")
    spokes = 0 if kind == ALONE else chance.randint(1, 3)
    accounts = [ACCOUNT, *(each.account for each in SPOKES[:spokes])]
    takes_over = chance.random() < 0.3
    fleets = {each: [_tags(chance) for _ in range(chance.choice([0, 1, 2, 4, 7]))] for each in accounts}
    last: list[Step] = [("wait", {"minutes": 12})] if chance.random() < 0.5 else []
    return spokes, [
        ("begin", {"fleets": fleets, "broad": chance.choice(["", "", "db"]), "takes_over": takes_over}),
        *_steps(chance, accounts),
        *last,
    ]


def _steps(chance: random.Random, accounts: list[str]) -> Iterator[Step]:
    """Steps, and a sweep after some of them, by which alone a role that was lost, or is back, is found."""
    for _ in range(chance.randint(6, 12)):
        kind, arguments = _step(chance, accounts)
        yield kind, arguments
        lost = kind == "role" and arguments["state"] == "gone" and chance.random() < 0.5
        if lost or chance.random() < 0.25:
            yield "sweep", {"account": arguments.get("account", ACCOUNT)}
        if lost:
            yield "role", {**arguments, "state": ""}
            yield "sweep", {"account": arguments["account"]}


def _step(chance: random.Random, accounts: list[str]) -> Step:
    account, tag, far = chance.choice(accounts), chance.choice(TAGS), chance.choice(accounts[1:] or accounts)
    crash = chance.choice([0, 0, 0, chance.randint(1, 60)])
    kinds: list[tuple[int, str, Callable[[], dict[str, Any]]]] = [
        (8, "edit", lambda: {"tag": tag, "columns": _columns(chance, accounts), "by": chance.choice(["", "ada"])}),
        (2, "delete", lambda: {"tag": tag}),
        (1, "spoil", lambda: {"tag": tag}),
        (
            4,
            "approve",
            lambda: {"tag": tag, "by": chance.choice(list(PEOPLE)), "off": chance.choice([0, 0, 0, -1, 50])},
        ),
        (3, "take_back", lambda: {"tag": tag}),
        (3, "role", lambda: {"account": account, "name": chance.choice(ROLES), "state": chance.choice(STATES)}),
        (2, "silence", lambda: {"account": far, "of": chance.choice(["IAM", "EC2"])}),
        (1, "answer", lambda: {"account": far}),
        (2, "sweep", lambda: {"account": account}),
        (1, "sweep", lambda: {"account": ACCOUNT}),
        (
            4,
            "launch",
            lambda: {
                "account": account,
                "tags": _tags(chance),
                "number": chance.choice([1, 2, 6]),
                "profile": chance.choice([None, None, None, "theirs"]),
            },
        ),
        (1, "retag", lambda: {"account": account, "which": chance.randint(0, 5), "tags": _tags(chance)}),
        (1, "terminate", lambda: {"account": account, "which": chance.randint(0, 5)}),
        (2, "wait", lambda: {"minutes": chance.choice([1, 3, 6, 12, 45])}),
    ]
    _, kind, arguments = chance.choices(kinds, [weight for weight, *_ in kinds])[0]
    crashes = {"crash": crash} if crash and kind in ("edit", "delete", "approve", "take_back", "sweep", "wait") else {}
    return kind, {**arguments(), **crashes}


def _tags(chance: random.Random) -> dict[str, str]:
    return chance.choice([{"team": "a"}, {"team": "b"}, {"tier": "x"}, {"team": "a", "tier": "x"}, {}])


def _columns(chance: random.Random, accounts: list[str]) -> dict[str, Any]:
    may: dict[str, Callable[[], Any]] = {
        "priority": lambda: chance.choice([50, 100, 200]),
        "enabled": lambda: chance.choice([True, False]),
        "when_occupied": lambda: chance.choice(list(WhenOccupied)).value,
        "when_unmatched": lambda: chance.choice(list(WhenUnmatched)).value,
        "allow_broad": lambda: True,
        "require_tags": lambda: chance.choice([{"tier": "x"}, {"team": "*"}]),
        "accounts": lambda: set(chance.sample(accounts, chance.randint(1, len(accounts)))),
        "not_accounts": lambda: {chance.choice(accounts)},
        "expires_at": lambda: chance.choice([2, 10, 40, 2000]),
    }
    some = chance.sample(list(may), chance.choice([0, 1, 1, 2, 3]))
    role = chance.choice(["web", "web", "db", "db", "NONE"])
    broad = {"allow_broad": True} if role == "db" and chance.random() < 0.5 else {}
    return {"role": role, **broad, **{name: may[name]() for name in some}}


# ---- the adapter: each verb on the code under test and on the telling ----


class History:
    """One history, played on both."""

    def __init__(self, desk: OrganizationDesk, spokes: int) -> None:
        self.desk, self.world, self.organization = desk, desk.world, desk.organization
        self.targets = [HOME, *SPOKES[:spokes]]
        self.silent: dict[str, str] = {}
        self.events = 0
        self.crash = 0
        self.deferred: list[MappingKey] = []
        self.images: dict[MappingKey, Mapping[str, Any]] = {}
        self.began = self.world.clock.now()
        desk.limits = EDITS
        desk.clients = {**desk.clients, "iam": self.world.clients["iam"], "sqs": self.world.queue}
        self.world.limits, self.world.contention = Limits(1000, 100), ContentionRule(1000)
        self.world.makes_profiles, self.world.allow_broad_roles = False, True
        for target in self.targets:
            place = desk.join(target) if target != HOME else self.world
            for role in ROLES:
                place.profile(role)
            self.world.kept[f"pace {target}"] = Pace(1000, self.began, burst=1000)
        self.table = self.app().table
        deployment = Deployment(ACCOUNT, EDITS.per_edit, EDITS.percent, self.world.window_minutes, allows_broad=True)
        self.rows = Rows(deployment, map(mapping_key, TAGS), {each.account: 0 for each in self.targets})
        self.rows.many = account_runs.ASKED == 0

    def play(self, step: Step) -> None:
        """Let it happen, deliver all that follows from it, and compare."""
        kind, arguments = step
        arguments = dict(arguments)
        crash = arguments.pop("crash", 0)
        self.crash = crash
        self.world.clock.sleep(7)
        self._look()
        getattr(self, f"_{kind}")(**arguments)
        self._settle()
        self.compare()

    # ---- verbs of people ----

    def _edit(self, tag: str, columns: dict[str, Any], by: str) -> None:
        columns = dict(columns)
        if "expires_at" in columns:
            columns["expires_at"] = layout.timestamp(self.began + timedelta(minutes=columns["expires_at"], seconds=30))
        self.desk.put(tag, **columns, **({"edited_by": f"arn:{by}"} if by else {}))
        self._delivered(tag)
        self.rows.write(mapping_key(tag), _spec(tag, columns), f"arn:{by}" if by else "")

    def _delete(self, tag: str) -> None:
        self.desk.delete(tag)
        self._delivered(tag)
        self.rows.write(mapping_key(tag), None)

    def _spoil(self, tag: str) -> None:
        self.desk.put(tag, role="web", priority=0)
        self._delivered(tag)
        self.rows.write(mapping_key(tag), _spec(tag, {"role": "web"}), bad=True)

    def _approve(self, tag: str, by: str, off: int) -> None:
        row = self.rows.rows[mapping_key(tag)]
        number = row.held_revision + off
        if not row.says or not row.held_revision or number < 1:
            return
        self.desk.sign(tag, number, PEOPLE[by], f"arn:{by}")
        event = f"approval-{self.events}"
        self._tried(lambda app: app.publisher.approved(mapping_key(tag), PEOPLE[by], event))
        self._delivered(tag)
        self.rows.approve(mapping_key(tag), number, f"arn:{by}")

    def _take_back(self, tag: str) -> None:
        if not self.rows.rows[mapping_key(tag)].held_revision:
            return
        published = self.desk.served(tag)
        self.desk.take_back(tag)
        self._delivered(tag)
        self.rows.write(mapping_key(tag), published.spec if published and not published.deleted else None)

    # ---- what AWS does ----

    def _begin(self, fleets: dict[str, list[dict[str, str]]], broad: str, *, takes_over: bool) -> None:
        """These instances were there when each account was swept last; a role may be broad in all of them."""
        for account, tags in fleets.items():
            if broad:
                self._role(account, broad, "broad")
            for each in tags:
                self._place(account).launch(**each)
            self.rows.swept[account] = len(tags)
            if account != ACCOUNT:
                self.desk.join(self._target(account), instances=len(tags))
        self.world.take_over = takes_over
        self.rows.deployment = replace(self.rows.deployment, takes_over=takes_over)
        self.rows.fleet, own = self.rows.swept.total(), self.rows.swept[ACCOUNT]
        self.world.swept(own, fleet=self.rows.fleet)
        self.organization.wait(seconds=3)

    def _role(self, account: str, name: str, state: str) -> None:
        place = self._place(account)
        place.clients["iam"].inline.pop(name, None)
        if state == "gone":
            place.profiles.pop(name, None)
        elif name not in place.profiles:
            place.profile(name)
        if state == "broad":
            place.clients["iam"].inline[name] = policy(allow("*"))

    def _silence(self, account: str, of: str) -> None:
        if account == ACCOUNT:
            return
        self._answer(account)
        self.silent[account] = of
        if of == "IAM":
            self.organization.refuse(self._target(account))
            return
        calls = self._place(account).calls

        def refuse() -> None:
            calls.before("DescribeInstances", refuse)
            refusing("RequestLimitExceeded")()

        calls.before("DescribeInstances", refuse)

    def _answer(self, account: str) -> None:
        self.silent.pop(account, None)
        if account != ACCOUNT:
            self.organization.admit(self._target(account))
            self._place(account).calls.forget()

    def _launch(self, account: str, tags: dict[str, str], number: int, profile: str | None) -> None:
        for _ in range(number):
            instance = self._place(account).running(profile=profile, **tags)
            self._reconcile(self._place(account).key(instance))

    def _retag(self, account: str, which: int, tags: dict[str, str]) -> None:
        if which < len(running := self._running(account)):
            self._place(account).untag(running[which], "team", "tier")
            self._place(account).tag(running[which], **tags)
            self._reconcile(self._place(account).key(running[which]))

    def _terminate(self, account: str, which: int) -> None:
        if which < len(running := self._running(account)):
            self._place(account).truth.terminate(running[which])

    def _wait(self, minutes: int) -> None:
        for _ in range(minutes if minutes < 10 else 1):
            self.organization.wait(minutes=1 if minutes < 10 else minutes)
            self._look()
            self._tried(lambda app: app.expiries(f"minute-{self.events}", waits=False).run())
            self.rows.minute()
            self._settle()

    def _sweep(self, account: str) -> None:
        if account in self.silent:
            return
        order = sorted(key for page in self.table.keys() for key in page)  # noqa: SIM118  # it reads the table
        run = f"sweep-{self.events}"

        def swept(app: App) -> object:
            return app.at(self._target(account)).sweep(run, lambda: 10_000.0, run, {"task": "sweep"}).run()

        self._tried(swept)
        later = list(dict.fromkeys(self.deferred))
        self.rows.sweep(account, [*(each for each in order if each not in later), *later])

    # ---- how ----

    def app(self) -> App:
        app = self.desk.app()
        return app if len(self.targets) > 1 else replace(app, settings=replace(app.settings, organization=""))

    def _target(self, account: str) -> Target:
        return next(each for each in self.targets if each.account == account)

    def _place(self, account: str) -> FakeAccount:
        return self.world if account == ACCOUNT else self.desk.spoke(self._target(account))

    def _running(self, account: str) -> list[str]:
        found, _ = self._place(account).truth.describe_instances()
        return [each.id for each in found if each.state is State.RUNNING]

    def _tried(self, work: Callable[[App], object]) -> None:
        """Let a function do it; where its process is killed, AWS begins it again. Then the accounts machine's part."""
        self.events += 1
        self.deferred = []
        self._once(work)
        for _ in range(20):
            started, self.world.machine.started = self.world.machine.started, []
            judging = {each["name"]: each["input"] for each in started if each["input"].get("task") == Task.JUDGE}
            if not judging:
                self.world.calls.reached()
                return
            for asked in json.loads(json.dumps(list(judging.values()))):
                self._judge_by_account(**asked)
        raise AssertionError("the accounts machine never ends")

    def _judge_by_account(self, accounts: list[str], judging: dict[str, Any], **_: Any) -> None:
        """The accounts machine has a run for each account, and one that goes on."""
        self.deferred.append(layout.decode(account_runs.AssessmentJob, judging).key)
        for account in accounts:
            self._once(lambda app, account=account: app.judge(judging, account, lambda: True))  # type: ignore[misc]  # bound
        self._once(lambda app: app.judged(judging))

    def _once(self, work: Callable[[App], object]) -> None:
        if self.crash:
            self.world.calls.at_step(self.crash, kill)
        self.crash = 0
        for _ in range(4):
            app = self.app()
            try:
                work(app)
                app.telemetry.flush()
            except (KilledError, RetryableError):
                continue
            else:
                return
        raise AssertionError("it is retried again and again")

    def _delivered(self, *tags: str) -> None:
        """DynamoDB's stream brings each row that changed but by what Rolekeeper says in it."""
        for _ in range(20):
            changed = [tag for tag in tags or TAGS if self._is_news(tag)]
            if not changed:
                return
            for tag in changed:
                self._publish(tag)
        raise AssertionError("the stream never ends")

    def _publish(self, tag: str) -> None:
        event = f"edit-{self.events}"
        self._tried(lambda app: app.publisher.publish(mapping_key(tag), event))

    def _is_news(self, tag: str) -> bool:
        key = mapping_key(tag)
        old, new = self.images.get(key), self.table.get_row(key)
        self.images[key] = new or {}
        if not new:
            return bool(old)
        return not old or "status" not in new or content(old) != content(new)

    def _settle(self) -> None:
        """All that was sent is reconciled, where EC2 answers; and what Rolekeeper wrote into rows is delivered."""
        self._delivered()
        for _ in range(20):
            sent = dict.fromkeys(self.world.queue.instances)
            self.world.queue.clear()
            if not sent:
                return
            for some in batched(sorted(sent), 5):
                self._reconcile(*some)
        raise AssertionError("the work queue never empties")

    def _reconcile(self, *keys: InstanceKey) -> None:
        if asked := [each for each in keys if each.account not in self.silent]:
            self.organization.reconcile(*asked)
            self.organization.wait(seconds=2)

    # ---- what the telling knows ----

    def _look(self) -> None:
        self.rows.places = {each.account: self._seen(each.account) for each in self.targets}
        self.rows.now = self.world.clock.now()

    def _seen(self, account: str) -> Place:
        place, target = self._place(account), self._target(account)
        place.truth.tick()
        roles, broad = frozenset(place.profiles) & {*ROLES}, frozenset(place.clients["iam"].inline)
        running = self._running(account)
        state = self.world.state.read(map(place.key, running))
        instances = [
            TimedInstance(
                dict(place.truth.instance(instance).tags),
                association.profile_arn if (association := place.truth.association_of(instance)) else "",
                grants={arn: grant.mapping for arn, grant in state.record(place.key(instance)).grants.items()},
            )
            for instance in running
        ]
        return Place(account, target.region, roles, broad, instances, self.silent.get(account, ""))

    def compare(self) -> None:
        for tag in TAGS:
            code, telling = self._code_says(tag), self._spec_says(tag)
            differ = [name for name in {**code, **telling} if code.get(name) != telling.get(name)]
            told = [f"{name} is {code.get(name)}, and should be {telling.get(name)}" for name in differ]
            assert not told, f"{tag}: " + "; ".join(told) + f" ({self.desk.row(tag).get('status_reason')})"

    def _code_says(self, tag: str) -> dict[str, Any]:
        key, row = mapping_key(tag), self.table.get_row(mapping_key(tag))
        said: dict[str, Any] = {"row": None}
        if row:
            plain = layout.from_attributes(row)
            said["row"] = read_row(row, HOME_ACCOUNT).spec if plain["status"] != "Rejected" else "?"
            said |= {"status": plain["status"], "in effect": int(plain["status_revision"])}
            said["held_revision"] = int(plain.get("held_revision", 0))
        stored, records = self.world.revisions.read(key), self.world.revisions.records(key)
        held = stored.held
        if row and held and held.mapping.revision == said["held_revision"]:
            said["held"] = (held.mapping.spec, held.mapping.deleted, held.changes)
        if stored.published:
            for account, record in {**records, **stored.records}.items():
                mapping = record.mapping
                said[account] = (mapping.revision, mapping.spec.role, bool(mapping.suspended_because), mapping.deleted)
        return said

    def _spec_says(self, tag: str) -> dict[str, Any]:
        row = self.rows.rows[mapping_key(tag)]
        own = row.effect.get(ACCOUNT)
        said: dict[str, Any] = {"row": None}
        if row.says:
            said |= {"row": row.says if row.status != "Rejected" else "?", "status": row.status}
            said["in effect"] = own.revision if own and not own.deleted else 0
            said["held_revision"] = row.held_revision
        if row.says and row.held and row.held.number == row.held_revision:
            said["held"] = (row.held.spec, row.held.deleted, row.held.changes)
        for account, each in row.effect.items():
            said[account] = (each.revision, each.spec.role, each.suspended, each.deleted)
        return said

    def end(self) -> None:
        """All answer, and all are swept: then each instance carries what it should."""
        for target in self.targets:
            self._answer(target.account)
        for target in (*self.targets[1:], *self.targets):
            self.play(("sweep", {"account": target.account}))
        self.play(("wait", {"minutes": 1}))
        now = self.rows.now
        self._look()
        for target in self.targets:
            for one, instance in zip(self.rows.instances(target.account), self._running(target.account), strict=True):
                found = Situation(
                    one.tags,
                    one.carries,
                    list(one.mappings.values()),
                    now,
                    one.grants,
                    take_over=one.take_over,
                    account=target.account,
                    region=target.region,
                )
                assert wanted(found).carries == one.carries, (target.account, instance, wanted(found))


def _spec(tag: str, columns: Mapping[str, Any]) -> MappingSpec:
    read: dict[str, Callable[[Any], Any]] = {
        "accounts": frozenset,
        "not_accounts": frozenset,
        "when_occupied": WhenOccupied,
        "when_unmatched": WhenUnmatched,
        "expires_at": datetime.fromisoformat,
    }
    said = {name: read[name](each) if name in read else each for name, each in columns.items()}
    return MappingSpec(mapping_key(tag), **said)


# ---- playing ----


def failure(spokes: int, steps: list[Step]) -> str:
    """Play a history; returns what is wrong, empty for nothing."""
    with new_organization() as organization:
        history = History(OrganizationDesk(organization), spokes)
        try:
            for step in steps:
                history.play(step)
            history.end()
        except AssertionError as error:
            return str(error)
    return ""


def shortest(spokes: int, steps: list[Step]) -> list[Step]:
    """Leave out each step without which it still fails."""
    for at in reversed(range(len(steps))):
        fewer = steps[:at] + steps[at + 1 :]
        if failure(spokes, fewer):
            steps = fewer
    return steps


def story(kind: str, seed: int) -> str:
    """What is wrong with a history, and the shortest part of it that shows it; empty if nothing is."""
    spokes, steps = drawn(kind, seed)
    if not failure(spokes, steps):
        return ""
    steps = shortest(spokes, steps)
    told = (" ".join([name, *(f"{what}={each!r}" for what, each in arguments.items())]) for name, arguments in steps)
    lines = [f"  {number}. {line}" for number, line in enumerate(told, 1)]
    return "\n".join([f"history {seed} of {kind}, {spokes} spokes:", *lines, failure(spokes, steps)])


@pytest.mark.parametrize("kind", [ALONE, IN_LINE, BY_ACCOUNT])
def test_of_each_row_the_code_says_what_the_docs_say(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(account_runs, "ASKED", 0 if kind == BY_ACCOUNT else account_runs.ASKED)
    # Each sweep asks IAM about each mapping: how long what governs nothing isn't asked about is another's story.
    monkeypatch.setattr(targets, "CHECKED_FOR", timedelta(0))
    for seed in range(FIRST, FIRST + HISTORIES):
        wrong = story(kind, seed)
        assert not wrong, wrong
