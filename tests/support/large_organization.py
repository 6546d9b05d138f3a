"""An organization of any size, in virtual time: 400 accounts in 17 Regions are `Scale(closing, 400)`.

The real functions run, as Lambda and the state machines run them: each run has a clock of its own, a process that is
new takes a second more, and each call takes its time. With fewer accounts fewer children of a map go at once, so each
takes its turn as late as in the whole. `sweep` plays a round, `edit` some edits at once. EC2 makes each page when it is
asked for it. Of 20 accounts one refuses the hub's roles, one throttles it and one gives no answer, until `repair`.
"""

import heapq
import inspect
import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from itertools import accumulate
from types import SimpleNamespace
from typing import Any
from unittest import mock

from botocore.exceptions import ReadTimeoutError

import on_mapping_change
import on_schedule
import runtime
from fakes.calls import Calls
from fakes.clock import Clock
from fakes.ec2 import EC2_META, client_error
from fakes.others import FakeIam
from fixtures.account import ACCOUNT, ACCOUNTS_MACHINE, MAPPING_TABLE, FakeAccount, mapping_key
from fixtures.organization import ORGANIZATION, VERSION
from fixtures.state_table import table_keys
from rolekeeper.app import App
from rolekeeper.aws import AT_ONCE
from rolekeeper.aws.errors import RetryableError, classified
from rolekeeper.fleet.targets import WIRE_FORMAT, ServedTarget
from rolekeeper.model.instance import InstanceKey, Target
from rolekeeper.settings import Limits, Settings
from rolekeeper.storage import layout
from rolekeeper_local.ec2_model import Profile
from support import templates
from support.table_capacity import UNITS, Capacity

REGIONS = tuple(f"eu-north-{number}" for number in range(1, 18))
ROWS = 10  # row `n` governs each tenth instance of a target, from the `n`th on
SILENCE = 15.0  # seconds, after which the SDK gives a target up that gives no answer
# What calls take, in seconds: those to EC2, IAM and the services, with the part of a page of a thousand instances; and
# those to the tables. A new process takes a second, and a machine a moment from step to step.
CALL, PAGE, TABLES, COLD, STEP = 0.1, 1.0, 0.02, 1.0, 0.1
AGAIN = 60.0  # seconds until Lambda tries a run again that failed (template.yaml has it do so once)
_LOADED = templates.load()["Resources"]
_TIMEOUTS = {name: _LOADED[name]["Properties"]["Timeout"] for name in ("OnSchedule", "OnMappingChange")}
_EACH = json.loads((templates.ROOT / "statemachines/accounts.asl.json").read_text())["States"]["Each"]
CHILDREN, ACCOUNTS = _EACH["MaxConcurrency"], 400
CHILD_SECONDS = _EACH["ItemProcessor"]["States"]["Run"]["TimeoutSeconds"]

type Trouble = Callable[[Callable[[float], None]], None]


def _refused(_sleep: Callable[[float], None]) -> None:
    with classified("sts:AssumeRole", "the reader"):
        raise client_error("AccessDenied")


def _throttled(_sleep: Callable[[float], None]) -> None:
    raise client_error("RequestLimitExceeded", "Request limit exceeded.")


def _silent(sleep: Callable[[float], None]) -> None:
    sleep(SILENCE)
    raise ReadTimeoutError(endpoint_url="https://ec2")


# By the number of an account, of twenty. One that is throttled or silent is so in every second Region: its IAM answers.
TROUBLES: dict[int, Trouble] = {0: _refused, 6: _throttled, 11: _silent}


class _Account(Calls):
    """Calls to IAM of one account, which take time; `asked` says when each was made."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self.asked: list[float] = []

    def starts(self, operation: str) -> None:
        self.made.append(operation)
        self.asked.append(self._clock.seconds)
        self._clock.sleep(CALL)


class _Ec2:
    """EC2's reads in a target of so many instances, none of which has a profile."""

    meta = EC2_META

    def __init__(self, size: int, clock: Clock, asked: Callable[[], object] = lambda: None) -> None:
        self._size, self._clock, self._asked = size, clock, asked

    def describe_instances(self, **asked: Any) -> dict[str, Any]:
        values = [int(each["Values"][0]) for each in asked["Filters"] if each["Name"] == "tag:team"]
        step, first = (ROWS, values[0]) if values else (1, 0)
        first = int(asked.get("NextToken", first))
        end = min(first + asked["MaxResults"] * step, self._size)
        self._asked()
        self._clock.sleep(CALL + PAGE * (end - first) / step / 1000)
        rows = [self._row(number) for number in range(first, end, step)]
        return {"Reservations": [{"Instances": rows}], **({"NextToken": str(end)} if end < self._size else {})}

    def _row(self, number: int) -> dict[str, Any]:
        tags = {"Name": f"host-{number}", "env": "prod", "team": str(number % ROWS)}
        named = [{"Key": key, "Value": value} for key, value in tags.items()]
        return {"InstanceId": f"i-{number:017x}", "State": {"Name": "running", "Code": 16}, "Tags": named}

    def get_paginator(self, _name: str) -> "_Ec2":
        self._clock.sleep(CALL)
        return self

    def paginate(self, **_: Any) -> list[dict[str, Any]]:
        return [{"IamInstanceProfileAssociations": []}]


@dataclass
class Played:
    """What came of it; times in seconds since it began.

    Attributes:
        began: when each target was first asked something.
        done: when the last run ended, and `last_sent` when the last instance was sent.
        judged: when each row's edit was published.
        sent: how often each instance was sent.
        runs: how many runs of Lambda there were, and the `longest` of them; `cut` had not the time that the map gives.
        first: the calls of the first run in the hub.
        tables, iam: the calls to the tables, and to the IAM of all accounts.
        a_second: the most calls to the IAM of one account within a second.
        registry: the most writes to the registry's partition within a second; `units` are all write units, and
            `throttled` the writes that had to be sent again.
        at_once: the most runs at the same time.
    """

    began: dict[Target, float] = field(default_factory=dict)
    done: float = 0.0
    last_sent: float = 0.0
    judged: dict[str, float] = field(default_factory=dict)
    sent: Counter[InstanceKey] = field(default_factory=Counter)
    runs: int = 0
    longest: float = 0.0
    cut: list[str] = field(default_factory=list)
    first: Counter[str] = field(default_factory=Counter)
    tables: int = 0
    iam: int = 0
    a_second: int = 0
    registry: int = 0
    units: int = 0
    throttled: int = 0
    at_once: int = 0

    @property
    def brief(self) -> str:
        begun, judged = (round(max(each.values(), default=0)) for each in (self.began, self.judged))
        return (
            f"{len(self.began):,} targets begun in {begun} s, {len(self.judged)} edits judged in {judged} s, "
            f"{self.sent.total():,} instances sent in {self.last_sent:.0f} s; done in {self.done:.0f} s, "
            f"the longest of {self.runs:,} runs took {self.longest:.0f} s"
        )


class Scale:
    """See the module. `bad` are the targets that don't answer. Each target has 15 `instances`.

    A partition of the tables takes so many write `units` a second; `failed` are the events of runs that were too few.
    """

    def __init__(self, closing: ExitStack, accounts: int, *, rows: int = ROWS, troubled: bool = True) -> None:
        numbers = range(100_000_000_000, 100_000_000_000 + accounts)
        self.instances, self.targets = 15, [Target(str(each), region) for each in numbers for region in REGIONS]
        self.bad = {each: trouble for each in self.targets if troubled and (trouble := _trouble(each))}
        self.hub = FakeAccount(closing)
        self.hub.large_pages()
        self.hub.limits = Limits(10_000_000, 100)
        self.hub.dynamodb.add_table(MAPPING_TABLE, table_keys("MappingTable"))
        self.played, self.units = Played(), UNITS * accounts // ACCOUNTS
        self._iam = {each.account: _Account(self.hub.clock) for each in self.targets}
        self._clients: dict[tuple[Target, str], Any] = {}
        self._planned: list[tuple[float, int, Callable[[], object]]] = []
        self._plans, self._began = 0, 0.0
        self._warm: list[float] = []  # until when each process is busy
        self._started: set[str] = set()
        self.failed: set[str] = set()
        self._registered: list[float] = []  # when the registry was written
        self._busy: list[tuple[float, int]] = []  # when a run began, and when one ended
        self._prepare(rows)
        self._install(closing)

    def _prepare(self, rows: int) -> None:
        clock, registry, store = self.hub.clock, self.app.registry, self.hub.store
        for role in ("web", "db"):
            self.hub.profile(role)
        for each in self.targets:
            registry.add(ServedTarget(each, VERSION, clock.now(), instances=self.instances, wire_format=WIRE_FORMAT))
            registry.note_sweep(each, layout.timestamp(clock.now()), instances=self.instances, drift=0, at=clock.now())
        for row in range(rows):
            self._write(row, "web", status="Published", status_revision=1)
            made = self.hub.publish(f"team={row}", "web")
            self.hub.revisions.note_sent(made)
            for account in self._iam:
                arn = f"arn:aws:iam::{account}:instance-profile/rolekeeper/web"
                there = replace(made, profile_arn=arn, profile_id=f"AIPA{account}")
                store.write(store.put(layout.published_item(there, account)))
        clock.sleep(timedelta(hours=1).total_seconds())

    def _install(self, closing: ExitStack) -> None:
        """From now on functions run here, and each call of theirs takes its time."""
        nothing = SimpleNamespace(info=lambda *_, **__: None, exception=lambda *_, **__: None)
        for name, value in (("app", lambda _: self.app), ("logger", nothing)):
            closing.enter_context(mock.patch.object(runtime, name, value))
        starts = self.hub.calls.starts

        def takes_time(operation: str) -> None:
            table = operation.endswith(("Item", "Items", "Query", "Scan"))
            self.played.tables += table
            self.hub.clock.sleep(TABLES if table else CALL)
            starts(operation)

        closing.enter_context(mock.patch.object(self.hub.calls, "starts", takes_time))
        self.hub.dynamodb.on_change = self._changed

    @property
    def app(self) -> App:
        settings = replace(self.hub.settings, organization=ORGANIZATION)
        ours = {"sqs": self, "lambda": self, "stepfunctions": self, "iam": self._iam_of(ACCOUNT)}
        parts = self.hub.app(settings, {**self.hub.clients, "ec2": _Ec2(0, self.hub.clock), **ours})
        return replace(parts, client_of=self._client_of, map_concurrently=SideBySide(self.hub.clock), kept={})

    def _client_of(self, there: Settings, service: str) -> Any:
        target, clock = there.target, self.hub.clock
        trouble = self.bad.get(target)

        def asked() -> None:
            self.played.began.setdefault(target, clock.seconds - self._began)

        def troubles() -> None:
            asked()
            if trouble:
                trouble(clock.sleep)

        if trouble and (service == "ec2" or trouble is _refused):
            return _Trouble(troubles)
        if (target, service) not in self._clients:
            made = _Ec2(self.instances, clock, asked) if service == "ec2" else self._iam_of(target.account)
            self._clients[target, service] = made
        return self._clients[target, service]

    def _iam_of(self, account: str) -> FakeIam:
        """IAM of an account: it has the roles that rows name, and their profiles, and they do nothing."""
        arn = f"arn:aws:iam::{account}"
        profiles = {
            role: Profile(
                name=role,
                arn=f"{arn}:instance-profile/rolekeeper/{role}",
                id=f"AIPA{account}",
                roles=(f"{arn}:role/rolekeeper/{role}",),
                created_at=0,
            )
            for role in ("web", "db")
        }
        return FakeIam(profiles, self._iam.get(account) or _Account(self.hub.clock), account)

    def repair(self) -> None:
        self.bad.clear()

    def tagged(self, targets: Iterable[Target], rows: int = ROWS) -> list[InstanceKey]:
        """The instances of these targets that one of the first so many rows governs."""
        numbers = [number for number in range(self.instances) if number % ROWS < rows]
        return [InstanceKey(each.account, each.region, f"i-{number:017x}") for each in targets for number in numbers]

    # ---- what happens ----

    def sweep(self) -> Played:
        """One round, as the schedule begins it: until the last run that it started is over."""
        return self._play(lambda: self._run("OnSchedule", {"id": "sweep", "time": f"{self.hub.clock.now():%FT%TZ}"}))

    def edit(self, rows: int) -> Played:
        """The first so many rows are edited at once: one batch of the table's stream."""
        for row in range(rows):
            self._write(row, "db")
        keys = [{"tag_key": {"S": "team"}, "tag_value": {"S": str(row)}} for row in range(rows)]
        changes = [{"Keys": key, "NewImage": {**key, "role": {"S": "db"}}, "SequenceNumber": "1"} for key in keys]
        records = [{"eventID": f"edit-{at}", "dynamodb": change} for at, change in enumerate(changes)]
        return self._play(lambda: self._run("OnMappingChange", {"Records": records}))

    def row(self, number: int) -> dict[str, Any]:
        rows = map(layout.from_attributes, self.hub.dynamodb.items(MAPPING_TABLE))
        return next(each for each in rows if each["tag_value"] == str(number))

    def _write(self, row: int, role: str, **columns: Any) -> None:
        item = layout.to_attributes({**layout.encode(mapping_key(f"team={row}")), "role": role, **columns})
        self.hub.dynamodb.put_item(TableName=MAPPING_TABLE, Item=item)

    def _changed(self, table: str, key: tuple[str, ...], _old: Any, new: Any) -> None:
        said = {name: each.get("S") for name, each in (new or {}).items()}
        if key[0] == layout.TARGETS:
            self._registered.append(self.hub.clock.seconds)
        if table == MAPPING_TABLE and (said["role"], said.get("status")) == ("db", "Published"):
            self.played.judged.setdefault(key[1], self.hub.clock.seconds - self._began)

    def _play(self, begin: Callable[[], object]) -> Played:
        self.played, self._began = Played(), self.hub.clock.seconds
        capacity = Capacity(lambda: self.hub.clock.seconds, self.hub.clock.sleep, units=self.units)
        self.hub.dynamodb.before_writes = capacity.take
        self._busy.clear()
        for times in (self._registered, *(each.asked for each in self._iam.values())):
            times.clear()
        self._plan(0, begin)
        while self._planned:
            self.hub.clock.seconds, _, act = heapq.heappop(self._planned)
            act()
        self.hub.clock.seconds = self._began + self.played.done
        self.played.a_second = max(_within_a_second(each.asked) for each in self._iam.values())
        self.played.at_once = max(accumulate(more for _, more in sorted(self._busy)))
        self.played.registry = _within_a_second(self._registered)
        self.played.units, self.played.throttled = capacity.most, capacity.throttled
        self.played.iam = sum(len(each.asked) for each in self._iam.values())
        return self.played

    def _plan(self, after: float, act: Callable[[], object]) -> None:
        self._plans += 1
        heapq.heappush(self._planned, (self.hub.clock.seconds + after, self._plans, act))

    # ---- Lambda and the state machines ----

    def _run(
        self, function: str, event: dict[str, Any], then: Callable[[Any], object] = lambda _: None, limit: float = 0
    ) -> None:
        """One run of a function, by the clock as if it were alone; `then` is told its answer, once it has one."""
        clock, played = self.hub.clock, self.played
        warm = bool(self._warm) and self._warm[0] <= clock.seconds
        clock.sleep(0 if warm else COLD)
        began = clock.seconds
        if warm:
            heapq.heappop(self._warm)
        self.hub.calls.clear()
        context = SimpleNamespace(
            invoked_function_arn="",
            aws_request_id=f"run-{self._began}-{played.runs}",
            get_remaining_time_in_millis=lambda: (_TIMEOUTS[function] - (clock.seconds - began)) * 1000,
        )
        handler = {"OnSchedule": on_schedule.handler, "OnMappingChange": on_mapping_change.handler}[function]
        ended: Callable[[], object]
        try:
            ended = partial(then, json.loads(json.dumps(inspect.unwrap(handler)(event, context))))
        except RetryableError:
            if repr(event) in self.failed:
                raise
            self.failed.add(repr(event))
            ended = partial(self._plan, AGAIN, lambda: self._run(function, event, then, limit))
        took = clock.seconds - began
        if took > (limit or _TIMEOUTS[function]):
            played.cut.append(f"{function} {event.get('task')} {event.get('account')}: {took:.0f} s")
        self._busy += [(began, 1), (clock.seconds, -1)]
        played.runs += 1
        played.first = played.first or Counter(self.hub.calls.counted())
        played.longest, played.done = max(played.longest, took), max(played.done, clock.seconds - self._began)
        heapq.heappush(self._warm, clock.seconds)
        ended()

    def invoke(self, *, Payload: bytes, **_: Any) -> None:  # noqa: N803  # boto3's own name
        self.hub.calls.starts("Invoke")
        event = json.loads(Payload)
        self._plan(STEP, lambda: self._run("OnSchedule", event))

    def start_execution(self, *, stateMachineArn: str, name: str, input: str) -> None:  # noqa: A002, N803  # the same
        self.hub.calls.starts("StartExecution")
        if name in self._started:
            return
        self._started.add(name)
        of = json.loads(input)
        self._plan(STEP, lambda: self._each(of) if stateMachineArn == ACCOUNTS_MACHINE else self._resume(of))

    def _resume(self, event: dict[str, Any]) -> None:
        def ended(answer: Any) -> None:
            if not answer["finished"]:
                self._plan(STEP, lambda: self._resume(answer))

        self._run("OnSchedule", event, ended)

    def _each(self, of: dict[str, Any]) -> None:
        """The accounts machine: List, its children side by side, Then."""
        waiting, going = deque[str](), set[str]()

        def listed(answer: Any) -> None:
            waiting.extend(answer["accounts"])
            for _ in range(max(1, CHILDREN * len(self._iam) // ACCOUNTS)):
                begin()

        def begin() -> None:
            if waiting:
                account = waiting.popleft()
                going.add(account)
                event = {"task": of["task"], "id": of["id"], "account": account, "of": of}
                self._plan(STEP, lambda: self._run("OnSchedule", event, ended, CHILD_SECONDS))
            elif not going and "then" in of:
                self._plan(STEP, lambda: self._run("OnSchedule", of.pop("then")))

        def ended(answer: Any) -> None:
            # Whoever is at it later ends later: the next begins when this one ended, in the order of time.
            self._plan(0, lambda: next_after(answer["account"]))

        def next_after(account: str) -> None:
            going.discard(account)
            begin()

        listing = {"task": "accounts", "id": of["id"], "of": of}
        self._plan(of.get("wait", 0), lambda: self._run("OnSchedule", listing, listed))

    # ---- SQS ----

    def get_queue_attributes(self, **_: Any) -> dict[str, Any]:
        return {"Attributes": {"ApproximateNumberOfMessages": "0", "ApproximateNumberOfMessagesDelayed": "0"}}

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803, ARG002  # boto3's own names
        self.hub.calls.starts("SendMessageBatch")
        self.played.last_sent = max(self.played.last_sent, self.hub.clock.seconds - self._began)
        for entry in Entries:
            body = json.loads(entry["MessageBody"])
            self.played.sent[InstanceKey(body["account"], body["region"], body["detail"]["instance-id"])] += 1
        return {}


def _trouble(target: Target) -> Trouble | None:
    trouble = TROUBLES.get(int(target.account) % 20)
    return trouble if trouble is _refused or REGIONS.index(target.region) % 2 else None


def _within_a_second(times: Sequence[float]) -> int:
    """The most of these that lie within a second."""
    window, most = deque[float](), 0
    for each in sorted(times):
        window.append(each)
        while window[0] <= each - 1:
            window.popleft()
        most = max(most, len(window))
    return most


@dataclass(frozen=True)
class SideBySide:
    """Threads in virtual time: each item begins once one of them is free, and the clock is then where the last ends."""

    clock: Clock

    def __call__[Item, Result](self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        free, results = [self.clock.seconds] * AT_ONCE, list[Result]()
        for item in items:
            self.clock.seconds = heapq.heappop(free)
            results.append(work(item))
            heapq.heappush(free, self.clock.seconds)
        self.clock.seconds = max(free)
        return results


class _Trouble:
    """A client of a target that doesn't answer: whatever is asked of it ends so."""

    meta = EC2_META

    def __init__(self, trouble: Callable[[], object]) -> None:
        self._trouble = trouble

    def __getattr__(self, name: str) -> Any:
        def asked(*_: Any, **__: Any) -> None:
            self._trouble()

        return asked
