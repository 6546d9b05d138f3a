"""Rolekeeper as deployed, in virtual time: the real handlers, and what the template puts around them.

The work queue with its poller and its dead letters, the two tables' streams, the retry machine and the schedules follow
template.yaml and the state machines in the numbers that matter: batch sizes, timeouts, attempts.
"""

import inspect
import json
import random
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import on_instance_event
import on_mapping_change
import on_retry
import on_schedule
import on_state_change
import runtime
from fakes.dynamodb import FakeDynamoDB
from fakes.ec2 import client_error
from rolekeeper import app
from rolekeeper.aws import one_by_one
from rolekeeper.aws import queue as work
from rolekeeper.aws.errors import AccessDeniedError
from rolekeeper.fleet.sweep import RESERVE
from rolekeeper.instances import reconcile, retry, window
from rolekeeper.mappings import account_runs, fan_out
from rolekeeper.model.instance import Target
from rolekeeper.model.mapping import Mode
from rolekeeper.permissions import roles
from rolekeeper.settings import Access, ContentionRule, Limits, Settings
from rolekeeper.storage import layout
from rolekeeper.storage import state as store
from rolekeeper_local.ec2_model import Event
from simulation.account import ACCOUNT, HUB, PATH, REGION, Account
from simulation.engine import Engine
from simulation.faults import Fault, Weather
from simulation.faulty_clients import Outside
from simulation.invariants import ROWS, STATE, Promises
from support import templates

ARN = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:rolekeeper"
TEMPLATE = templates.load()
RESOURCES, PARAMETERS = TEMPLATE["Resources"], TEMPLATE["Parameters"]
# What EventBridge forwards of state changes.
FORWARDED = frozenset(RESOURCES["InstanceStateRule"]["Properties"]["EventPattern"]["detail"]["state"])
_POLLER = RESOURCES["OnInstanceEvent"]["Properties"]["Events"]["WorkQueue"]["Properties"]
_QUEUE = RESOURCES["WorkQueue"]["Properties"]
_STREAM = RESOURCES["OnMappingChange"]["Properties"]["Events"]["MappingStream"]["Properties"]
BATCH, WORKERS = _POLLER["BatchSize"], PARAMETERS[_POLLER["ScalingConfig"]["MaximumConcurrency"]["Ref"]]["Default"]
VISIBILITY, RECEIVES = _QUEUE["VisibilityTimeout"], _QUEUE["RedrivePolicy"]["maxReceiveCount"]
# A group of messages is noisy that has so many in flight, and more than a tenth of all.
NOISY = 30
# The state table's stream may bring more at once; small batches meet more.
STREAM_BATCH, STREAM_ATTEMPTS = _STREAM["BatchSize"], _STREAM["MaximumRetryAttempts"]
# Lambda's own troubles are tried again so often.
_MACHINES = Path(__file__).parents[2] / "statemachines"
_MACHINE = json.loads((_MACHINES / "retry.asl.json").read_text())
MACHINE_ATTEMPTS = _MACHINE["States"]["Reconcile"]["Retry"][0]["MaxAttempts"]
# So is a run of a long task, which also names the errors of ours for which it is made again.
_RUN = json.loads((_MACHINES / "resume.asl.json").read_text())["States"]["Run"]["Retry"][0]
# Few instances and rows, each by a run of its own, need fewer.
RUNS = 200
RUN_ATTEMPTS, RUN_ERRORS = _RUN["MaxAttempts"], frozenset(_RUN["ErrorEquals"])
# And a run for an account, of which this many go on at once.
_ACCOUNTS = json.loads((_MACHINES / "accounts.asl.json").read_text())["States"]
_EACH = _ACCOUNTS["Each"]
_CHILD = _EACH["ItemProcessor"]["States"]["Run"]["Retry"][0]
FUNCTIONS = {
    "reconcile": "OnInstanceEvent",
    "retry": "OnRetry",
    "publish": "OnMappingChange",
    "steer": "OnStateChange",
    "sweep": "OnSchedule",
    "expiries": "OnSchedule",
    "fan-out": "OnSchedule",
    **dict.fromkeys(("accounts", "judge", "judged", "approved"), "OnSchedule"),
}
TIMEOUTS = {name: RESOURCES[function]["Properties"]["Timeout"] for name, function in FUNCTIONS.items()}
# Those whose message or execution is tried again if another target gives no answer.
TRIED_AGAIN = frozenset({"reconcile", "retry"})
# Lambda stops a chain of messages that has invoked the same function so often (AWS_FACTS.md, "Lambda, SQS, ...").
LOOP = 16
LOOPS = frozenset(name for name, each in RESOURCES.items() if each["Properties"].get("RecursiveLoop") == "Allow")
# How old, in seconds, a stream's record and an asynchronous invocation may get until their function is invoked.
RECORD_AGE = _STREAM["MaximumRecordAgeInSeconds"]
INVOKED_AGE = RESOURCES["OnSchedule"]["Properties"]["EventInvokeConfig"]["MaximumEventAgeInSeconds"]
# How long EventBridge tries to deliver an event, by default (AWS_FACTS.md, "When a Region is down"). The time between
# two attempts isn't documented: 185 in a day are one in eight minutes.
DELIVERED_FOR, NEXT_ATTEMPT = 24 * 3600.0, 600.0

type Chain = Mapping[str, int]
"""How often each function was invoked on the way to a message, as the trace header counts it."""

type Ended = Callable[[str, Any], None]
type Handler = Callable[[dict[str, Any], Any], Any]
HANDLERS: dict[str, Handler] = {
    # Without Powertools' decorators, which write logs and metrics.
    "reconcile": inspect.unwrap(on_instance_event.handler),
    "retry": inspect.unwrap(on_retry.handler),
    "publish": inspect.unwrap(on_mapping_change.handler),
    "steer": inspect.unwrap(on_state_change.handler),
    "sweep": inspect.unwrap(on_schedule.handler),
    "expiries": inspect.unwrap(on_schedule.handler),
    "fan-out": inspect.unwrap(on_schedule.handler),
    **dict.fromkeys(("accounts", "judge", "judged", "approved"), inspect.unwrap(on_schedule.handler)),
}


@dataclass(eq=False)
class Message:
    """A message in the work queue. `told` is when it was sent, `chain` what led to it."""

    id: str
    body: Any
    told: float
    chain: Chain
    group: str = ""
    receives: int = 0

    @property
    def instance(self) -> str:
        if not isinstance(self.body, dict):
            return ""
        named = self.body.get("detail", {}).get("instance-id") or (self.body.get("resources") or ("",))[0]
        return str(named).rsplit("/", 1)[-1]


@dataclass
class Deployment:
    """See the module.

    Attributes:
        dead_letters: what is in the dead-letter queue.
        waiting: messages that are accepted and not yet deleted.
        loops: executions of the retry machine that go on.
        resumed: executions of the resume and the accounts machine that go on.
        unheard: instances for which something was lost: only the sweep need find them.
        spokes: the accounts that are served beside the hub's own, with their `clients_of`; in those that are `refusing`
            nobody may assume a role at the moment.
        away: whether the Region of the hub is down: nothing runs there, and nothing is taken.
    """

    _engine: Engine
    _weather: Weather
    _account: Account
    _tables: FakeDynamoDB
    _promises: Promises
    _settings: Settings

    def __post_init__(self) -> None:
        self.outside = Outside(self._engine, self._weather)
        self.clients: dict[str, Any] = {}
        self.spokes: dict[Target, Account] = {}
        self.clients_of: dict[Target, dict[str, Any]] = {}
        self.refusing: set[Target] = set()
        self.away = False
        self._postponed: list[Callable[[], None]] = []
        self.dead_letters: list[Message] = []
        self.waiting: set[Message] = set()
        self.loops = 0
        self.resumed = 0
        self._executions: dict[str, dict[str, Any]] = {}
        self.unheard: set[str] = set()
        self._ready: list[Message] = []
        self._in_flight = Counter[str]()  # by group
        # What the process of each worker keeps; those at work aren't here.
        self._idle: list[dict[str, Any]] = [{} for _ in range(WORKERS)]
        self._promises.per_second = self._settings.changes_per_second
        self._runs = 0
        self._messages = 0
        self._delivered: dict[str, float] = {}
        self._timers: set[tuple[str, str]] = set()
        self._ticking = False
        self._swept = False
        self._rows = [Stream(self, "publish"), Stream(self, "publish")]
        self._state = Stream(self, "steer")
        self._tables.on_change = self._wrote

    @property
    def kept(self) -> list[dict[str, Any]]:
        """What the processes keep of the workers that are idle."""
        return self._idle

    @property
    def ready(self) -> int:
        return len(self._ready)

    # ---- functions ----

    def run(
        self,
        function: str,
        event: dict[str, Any],
        ended: Callable[[str, Any], None],
        chain: Chain | None = None,
        kept: dict[str, Any] | None = None,
    ) -> None:
        """Start a run of a function, in a process that `kept` this from its last one."""
        if self._postpones(lambda: self.run(function, event, ended, chain, kept)):
            return
        self._runs += 1
        name, limit = f"{function} {self._runs}", TIMEOUTS[function]
        # One that is hurried hands over soon; Lambda stops it no earlier than any other. What an account's run has no
        # time to ask about a row nobody asks later.
        hurry = self._weather.hurry if function != "judge" else None
        ends_by = self._engine.seconds + (min(limit, RESERVE + hurry.seconds) if hurry else limit)
        context = SimpleNamespace(
            invoked_function_arn=ARN,
            aws_request_id=name,
            get_remaining_time_in_millis=lambda: (ends_by - self._engine.seconds) * 1000,
        )
        self._engine.say(f"{name} starts")

        def body() -> Any:
            runtime.kept = {} if kept is None else kept
            return HANDLERS[function](event, context)

        self._engine.start(
            name,
            body,
            limit=limit,
            ended=ended,
            skew=self._weather.skewed(),
            notes={"function": function, "chain": Counter(chain) + Counter([FUNCTIONS[function]])},
        )

    def _chain(self) -> Chain:
        """What led to what whoever runs now sends: the SDK passes the trace header on."""
        return dict(self._engine.running.notes["chain"]) if self._engine.running else {}

    # ---- events and the work queue ----

    def emitted(self, event: Event, target: Target = HUB) -> None:
        """EC2 told EventBridge something: its rules forward it, or lose it."""
        if event.source == "aws.ec2" and event.detail["state"] not in FORWARDED:
            return
        body = {
            "version": "0",
            "id": f"event-{self._messages}",
            "source": event.source,
            "detail-type": event.detail_type,
            "account": target.account,
            "region": target.region,
            "time": self._engine.now().strftime("%Y-%m-%dT%H:%M:%SZ"),
            "resources": list(event.resources),
            "detail": event.detail,
        }
        self._deliver(body, event.resources[0].rsplit("/", 1)[-1], self._engine.seconds)

    def _deliver(self, body: dict[str, Any], instance: str, since: float) -> None:
        """Have a rule's event arrive, or be lost; while the hub's Region is down the rule goes on trying."""
        if self._postpones(lambda: self._deliver_late(body, instance, since)):
            return
        arrivals = self._weather.arrivals()
        if not arrivals:
            self.unheard.add(instance)
        for delay in arrivals:
            self.send(body, delay)

    def _deliver_late(self, body: dict[str, Any], instance: str, since: float) -> None:
        delay = self._weather.rng.uniform(0, NEXT_ATTEMPT)
        # What a Region that was down knows of its own events later isn't documented.
        told = body["region"] != REGION or self._weather.rng.random() < 1 / 2
        if not told or self._engine.seconds + delay - since > DELIVERED_FOR:
            self._weather.count(Fault.EVENT_DROPPED)
            self.unheard.add(instance)
        else:
            self._engine.after(delay, lambda: self._deliver(body, instance, since))

    def send(self, body: Any, delay: float = 0, *, group: str = "") -> None:
        """A message for the work queue, which it gives out after so many seconds; a rule groups by account."""
        self._messages += 1
        group = group or (str(body.get("account", "")) if isinstance(body, dict) else "")
        message = Message(f"message-{self._messages}", body, self._engine.seconds, self._chain(), group)
        self.waiting.add(message)
        self._engine.after(delay, lambda: self._arrives(message))

    def _arrives(self, message: Message) -> None:
        self._ready.append(message)
        self._engine.after(self._weather.rng.choice((0, 0, 0.3)), self._poll)

    def _poll(self) -> None:
        while self._ready and self._idle:
            if self._weather.rough:
                self._weather.rng.shuffle(self._ready)  # a standard queue keeps no order
            batch = self._received()
            for each in [each for each in batch if self._loops(each)]:
                batch.remove(each)
                self.waiting.discard(each)
                self._dies(each)
            if not batch:
                continue
            kept = self._idle.pop()
            self._in_flight.update(each.group for each in batch)
            for each in batch:
                if each.told < self._delivered.get(each.instance, 0):
                    self._weather.count(Fault.EVENT_REORDERED)
                self._delivered[each.instance] = max(each.told, self._delivered.get(each.instance, 0))
            records = [{"messageId": each.id, "body": json.dumps(each.body)} for each in batch]
            chain = max((each.chain for each in batch), key=lambda each: sum(each.values()))
            self.run(
                "reconcile",
                {"Records": records},
                lambda how, answer, batch=batch, kept=kept: self._done(batch, kept, how, answer),  # type: ignore[misc]  # defaults bind the loop's
                chain,
                kept,
            )

    def _received(self) -> list[Message]:
        """The next batch: a fair queue gives messages of noisy groups out last (AWS_FACTS.md, "Lambda, SQS, ...")."""
        flying = self._in_flight
        noisy = {group for group, number in flying.items() if number >= NOISY and number > flying.total() / 10}
        if noisy:
            self._ready.sort(key=lambda each: each.group in noisy)
        batch = self._ready[:BATCH]
        del self._ready[:BATCH]
        return batch

    def _loops(self, message: Message) -> bool:
        """Whether Lambda takes a message for a link of an endless loop, and stops it."""
        function = FUNCTIONS["reconcile"]
        stopped = function not in LOOPS and message.chain.get(function, 0) >= LOOP
        self._promises.check(
            5, not stopped, lambda: f"Lambda stops {message.id} for {message.instance[-4:]} as a loop of {function}"
        )
        return stopped

    def _done(self, batch: list[Message], kept: dict[str, Any], how: str, answer: Any) -> None:
        self._idle.append({} if how == "killed" else kept)  # a process that died is another one
        self._in_flight -= Counter(each.group for each in batch)  # keeps none that has none left
        failed = {each["itemIdentifier"] for each in answer["batchItemFailures"]} if how == "answered" else None
        for each in batch:
            if failed is not None and each.id not in failed:
                self.waiting.discard(each)
                continue
            each.receives += 1
            if each.receives >= RECEIVES:
                self.waiting.discard(each)
                self._dies(each)
            else:
                self._engine.after(VISIBILITY, lambda each=each: self._arrives(each))  # type: ignore[misc]  # the same
        self._poll()

    def _dies(self, message: Message) -> None:
        self._engine.say(f"{message.id} for {message.instance[-4:]} becomes a dead letter")
        self._weather.count(Fault.DEAD_LETTER)
        self.dead_letters.append(message)
        self.unheard.add(message.instance)

    def redrive(self) -> None:
        """An operator has the dead letters tried again."""
        letters, self.dead_letters = self.dead_letters, []
        if letters:
            self._engine.say(f"{len(letters)} dead letters are redriven")
        for each in letters:
            self.send(each.body, group=each.group)

    def settle(self, longest: float) -> None:
        """Play until no message waits and nothing is to be looked at again, or for so many seconds."""
        until = self._engine.seconds + longest
        while (self.waiting or any(pk in layout.FOLLOW_UPS for pk, _ in self._timers)) and self._engine.seconds < until:
            self._engine.play(self._engine.seconds + 60)

    # ---- the hub's Region ----

    def region_fails(self) -> None:
        """The Region of the hub is down."""
        self._engine.say("* the hub's Region is down")
        self._weather.count(Fault.HUB_AWAY)
        self.away = True
        self._engine.stop()

    def region_returns(self) -> None:
        """It is there again: what was kept goes on."""
        self._engine.say("* the hub's Region is there again")
        self.away, postponed, self._postponed = False, self._postponed, []
        for each in postponed:
            each()

    def _postpones(self, action: Callable[[], None]) -> bool:
        """Whether something has to wait until the Region is there again."""
        if self.away:
            self._postponed.append(action)
        return self.away

    # ---- streams ----

    def _wrote(self, table: str, key: tuple[str, ...], old: Any, new: Any) -> None:
        pk, sk = key
        self._promises.wrote(table, (pk, sk), old, new)
        if table == ROWS:
            names = {"tag_key": {"S": pk}, "tag_value": {"S": sk}}
            shard = self._rows[sum(map(ord, pk + sk)) % len(self._rows)]
            shard.add(names, old, new)
        elif (
            pk == "control"
            or sk == "pin"
            or (pk == layout.TIMERS and old is None)
            or (pk.startswith(layout.APPROVALS) and new)
        ):
            self._state.add({"pk": {"S": pk}, "sk": {"S": sk}}, old, new)
        if pk in (layout.TIMERS, *layout.FOLLOW_UPS):
            (self._timers.add if new else self._timers.discard)((pk, sk))
            self.tick()
        if (pk, sk) == layout.target_key(HUB):
            self._swept = bool(new and layout.LAST_SWEEP in new)
            self.tick()

    def put_aside(self, function: str, record: dict[str, Any]) -> None:
        """A stream record was tried too often: the failure destination is the dead-letter queue, the sweep finds it."""
        self._engine.say(f"a record for {function} is put aside: {record['dynamodb']['Keys']}")
        self._weather.count(Fault.DEAD_LETTER)
        self.miss()

    def miss(self, target: Target | None = None) -> None:
        """Something was lost for all instances, or those of a target: only the sweep need find them."""
        for account in (self._account, *self.spokes.values()):
            if target in (None, account.target):
                self.unheard.update(account.instances)

    def struck(self, target: Target) -> None:
        """A call in another target failed: messages are tried again, and anything else is left to its sweep."""
        if self._engine.running and self._engine.running.notes["function"] not in TRIED_AGAIN:
            self.miss(target)

    # ---- the retry machine ----

    def loop(self, document: dict[str, Any]) -> None:
        """An execution of retry.asl.json begins."""
        self.loops += 1
        self._wait(document)

    def _wait(self, document: dict[str, Any]) -> None:
        self._engine.after(document["wait_seconds"], lambda: self._look(document, 0))

    def _look(self, document: dict[str, Any], attempt: int) -> None:
        def ended(how: str, answer: Any) -> None:
            if how == "answered" and answer["outcome"] == "waiting":
                self._wait(answer)
            elif how == "answered":
                self.loops -= 1
            elif how == "killed" and attempt < MACHINE_ATTEMPTS:
                wait = self._weather.rng.uniform(0, min(60, 2 * 2**attempt))
                self._engine.after(wait, lambda: self._look(document, attempt + 1))
            else:
                self.loops -= 1
                self._messages += 1
                body = {
                    "version": "0",
                    "id": "dead",
                    "source": "rolekeeper",
                    "detail-type": work.RECONCILE_REQUESTED,
                    "account": document["instance"]["account"],
                    "region": document["instance"]["region"],
                    "time": self._engine.now().strftime("%Y-%m-%dT%H:%M:%SZ"),
                    "resources": [],
                    "detail": {
                        "instance-id": document["instance"]["id"],
                        "cause": "the retry loop failed",
                        "correlation-id": document["correlation_id"],
                        "loop-failed": True,
                    },
                }
                self._dies(Message(f"message-{self._messages}", body, self._engine.seconds, {}))

        self.run("retry", document, ended)

    # ---- the resume machine ----

    def resume(self, name: str, document: dict[str, Any]) -> None:
        """An execution of resume.asl.json begins, if its name is new (Step Functions API reference, StartExecution)."""
        if name in self._executions:
            if self._executions[name] != document:
                raise client_error("ExecutionAlreadyExists", "Execution Already Exists")
            return
        self._executions[name] = document
        self.resumed += 1
        self._weather.count(Fault.TIME_UP)
        self._engine.after(0.05, lambda: self._go_on(document, 0, 1))

    # ---- the accounts machine ----

    def each_account(self, name: str, document: dict[str, Any]) -> None:
        """An execution of accounts.asl.json begins, if its name is new: List, Each side by side, Then."""
        key = f"accounts {name}"  # a name is unique in its machine
        if key in self._executions:
            raise client_error("ExecutionAlreadyExists", "Execution Already Exists")
        self._executions[key] = document
        self.resumed += 1
        listing = {"task": "accounts", "id": document["id"], "of": document}
        ended = partial(self._listed, document)
        self._engine.after(document.get("wait", 0), lambda: self._step("accounts", listing, _RUN, ended))

    def _listed(self, document: dict[str, Any], how: str, answer: Any) -> None:
        if how != "answered":
            self._ends_accounts(how)
            return
        waiting, going = json.loads(json.dumps(answer["accounts"])), set[str]()

        def ended(account: str, how: str) -> None:
            going.discard(account)
            if how != "answered":
                self._misses(account)
            start()

        def start() -> None:
            while waiting and len(going) < _EACH["MaxConcurrency"]:
                account = waiting.pop(0)
                going.add(account)
                event = {"task": document["task"], "id": document["id"], "account": account, "of": document}
                self._step(document["task"], event, _CHILD, lambda how, _, account=account: ended(account, how))  # type: ignore[misc]  # defaults bind the loop's
            if not going and "then" in document:
                then = document["then"]
                self._step(then["task"], then, _RUN, lambda how, _: self._ends_accounts(how))
            elif not going:
                self._ends_accounts("answered")

        start()

    def _ends_accounts(self, how: str) -> None:
        self.resumed -= 1
        if how != "answered":
            self._weather.count(Fault.DEAD_LETTER)
            self.miss()

    def _misses(self, account: str) -> None:
        """A run for an account becomes a dead letter: its targets are left to the next round."""
        self._weather.count(Fault.DEAD_LETTER)
        for target in (self._account.target, *self.spokes):
            if target.account == account:
                self.miss(target)

    def _step(self, task: str, event: dict[str, Any], retry: Mapping[str, Any], ended: Ended, attempt: int = 0) -> None:
        """A step of the machine, which is tried again as its `retry` says."""

        def over(how: str, answer: Any) -> None:
            self._engine.say(f"{task} of the accounts machine: {answer if how == 'answered' else how}")
            passing = how == "killed" or (how == "failed" and type(answer).__name__ in retry["ErrorEquals"])
            if passing and attempt < retry["MaxAttempts"]:
                wait = min(retry["MaxDelaySeconds"], retry["IntervalSeconds"] * 2**attempt)
                again = partial(self._step, task, event, retry, ended, attempt + 1)
                self._engine.after(self._weather.rng.uniform(0, wait), again)
            else:
                ended(how, answer)

        self._engine.after(0.05, lambda: self.run(task, event, over))

    def _go_on(self, document: dict[str, Any], attempt: int, runs: int) -> None:
        task, hurry = document["task"], self._weather.hurry
        self._promises.check(5, runs < RUNS, lambda: f"a {task} goes on and on")
        if runs == RUNS:
            return

        def ended(how: str, answer: Any) -> None:
            self._engine.say(f"{task} resumed: {answer if how == 'answered' else how}")
            passing = how == "killed" or (how == "failed" and type(answer).__name__ in RUN_ERRORS)
            if how == "answered" and not answer["finished"]:
                self._engine.after(0.05, lambda: self._go_on(json.loads(json.dumps(answer)), 0, runs + 1))
            elif passing and attempt < RUN_ATTEMPTS:
                wait = self._weather.rng.uniform(0, min(_RUN["MaxDelaySeconds"], _RUN["IntervalSeconds"] * 2**attempt))
                self._engine.after(wait, lambda: self._go_on(document, attempt + 1, runs))
            else:
                self.resumed -= 1
                if how != "answered" or answer.get("problems"):
                    self._weather.count(Fault.DEAD_LETTER)
                    self.miss(_target(document))

        self.run(task, document, ended)
        if hurry and hurry.rng.random() < hurry.twice:
            self._weather.count(Fault.RUN_TWICE)
            self._engine.after(hurry.rng.choice((0, 1)), lambda: self.run(task, document, lambda *_: None))

    # ---- schedules ----

    def invoke(self, event: dict[str, Any], attempt: int = 0) -> None:
        """The scheduled function is invoked asynchronously: tried once more a minute later, then a dead letter."""
        task = str(event.get("task")) if event.get("task") in ("expiries", "approved") else "sweep"
        chain = self._chain()

        def ended(how: str, answer: Any) -> None:
            self._engine.say(f"{task}: {answer if how == 'answered' else how}")
            if how != "answered" and attempt < 1:
                self._engine.after(60, lambda: self.invoke(event, attempt + 1))
            if task != "expiries" and (how != "answered" or answer.get("problems")):
                # What it suspended, say, it may have told nobody: the next sweep does.
                self.miss(_target(event))

        accepted = self._engine.seconds

        def begin() -> None:
            if self._postpones(begin):
                return
            if self._engine.seconds - accepted <= INVOKED_AGE:
                self.run(task, event, ended, chain)
            else:
                self.miss(_target(event))

        # Lambda accepts it now and runs it a moment later.
        self._engine.after(0.05, begin)

    def sweep(self) -> None:
        self.invoke({"id": f"sweep-{self._runs}"})

    def tick(self) -> None:
        """Each minute what expires. Without a timer and after a sweep a minute finds nothing, so none is played."""
        if (self._timers or not self._swept) and not self._ticking:
            self._ticking = True
            self._engine.after(60 - self._engine.seconds % 60, self._minute)

    def _minute(self) -> None:
        self._ticking = False
        if self._timers or not self._swept:
            if not self.away:
                self.invoke({"task": "expiries", "waits": True, "id": f"minute-{self._runs}"})
            self._ticking = True
            self._engine.after(60, self._minute)

    # ---- the real code in this world ----

    @contextmanager
    def installed(self, seed: int) -> Iterator[None]:
        """While this lasts, the functions run here: on this clock, on these clients, with this chance."""
        chance = random.Random(seed)
        seeded = SimpleNamespace(Random=lambda: chance)
        ids = SimpleNamespace(uuid4=lambda: uuid.UUID(int=chance.getrandbits(128)))
        hurry = self._weather.hurry
        sessions = SimpleNamespace(client_of=lambda *of: Spoke(self, *of), forget=lambda _: None)
        replaced: list[tuple[Any, str, Any]] = [
            # A row is judged in other accounts, and its instances are sent, by one run, or by a run for each.
            (account_runs, "ASKED", 0 if seed % 2 else account_runs.ASKED),
            # A sweep reads the list of all roles, or asks for each.
            (roles, "MANY", 1 if seed % 14 == 4 else roles.MANY),
            (roles, "ROLES_A_PAGE", 1),
            (fan_out, "FEW", 0 if seed % 4 > 1 and self.spokes else fan_out.FEW),
            (app, "FANS_OUT", timedelta(seconds=hurry.seconds) if hurry else app.FANS_OUT),
            (runtime, "client", self.clients.__getitem__),
            (runtime, "sessions", lambda: sessions),
            # In one thread, as all that is played is.
            (runtime, "App", partial(app.App, map_concurrently=one_by_one)),
            (runtime, "now", self._engine.now),
            (runtime, "sleep", self._engine.pause),
            (runtime, "settings", lambda _: self._settings),
            (runtime, "logger", Silent()),
            (runtime, "metrics", Silent()),
            (runtime, "kept", {}),
            *((module, "random", seeded) for module in (reconcile, retry, window)),
            *((module, "uuid", ids) for module in (retry, store, work)),
        ]
        with ExitStack() as stack:
            for module, name, value in replaced:
                stack.enter_context(mock.patch.object(module, name, value))
            yield


@dataclass(frozen=True)
class Spoke:
    """A client in a spoke, which fails as long as that refuses its roles."""

    deployment: Deployment
    there: Settings
    service: str

    def __getattr__(self, name: str) -> Any:
        if self.there.target in self.deployment.refusing:
            role = self.there.spoke_role(Access.READER)
            raise AccessDeniedError("AccessDenied", "not authorized", "sts:AssumeRole", role)
        return getattr(self.deployment.clients_of[self.there.target][self.service], name)


def _target(event: Mapping[str, Any]) -> Target | None:
    """The target that a task is about, if it is about one."""
    return Target(**event["target"]) if event.get("target") else None


class Stream:
    """One shard of a table's stream, with what reads it: in order, bisecting, with a bounded number of attempts."""

    def __init__(self, deployment: Deployment, function: str) -> None:
        self._deployment = deployment
        self._engine = deployment._engine  # noqa: SLF001  # a part of it
        self._weather = deployment._weather  # noqa: SLF001  # the same
        self._function = function
        self._records: list[dict[str, Any]] = []
        self._count = 0
        self._busy = False
        self._attempts = 0
        self._size = STREAM_BATCH

    def add(self, keys: Any, old: Any, new: Any) -> None:
        self._count += 1
        name = "REMOVE" if new is None else "MODIFY" if old else "INSERT"
        at = float(int(self._engine.now().timestamp()))
        change_ = {"Keys": keys, "SequenceNumber": str(self._count), "ApproximateCreationDateTime": at}
        change_ |= ({"OldImage": old} if old else {}) | ({"NewImage": new} if new else {})
        self._records.append({"eventID": f"record-{self._count}", "eventName": name, "dynamodb": change_})
        self._soon()

    def _soon(self, wait: float | None = None) -> None:
        if not self._busy and self._records:
            self._busy = True
            rng = self._weather.rng
            self._engine.after(rng.uniform(0.1, 1) if wait is None else wait, self._read)

    def _read(self) -> None:
        if self._deployment._postpones(self._read):  # noqa: SLF001  # the same
            return
        self._drop_old()
        if not self._records:
            self._busy = False
            return
        batch = self._records[: self._size]
        self._deployment.run(self._function, {"Records": batch}, lambda how, answer: self._done(batch, how, answer))

    def _drop_old(self) -> None:
        """What became too old while the Region was down is put aside."""
        oldest = self._engine.now().timestamp() - RECORD_AGE
        while self._records and self._records[0]["dynamodb"]["ApproximateCreationDateTime"] < oldest:
            self._deployment.put_aside(self._function, self._records.pop(0))

    def _done(self, batch: list[dict[str, Any]], how: str, answer: Any) -> None:
        self._busy = False
        failed = {each["itemIdentifier"] for each in answer["batchItemFailures"]} if how == "answered" else None
        done = 0
        if failed is not None:
            numbers = [each["dynamodb"]["SequenceNumber"] for each in batch]
            done = next((at for at, number in enumerate(numbers) if number in failed), len(batch))
        self._records = self._records[done:]
        if done == len(batch):
            self._attempts, self._size = 0, STREAM_BATCH
            self._soon()
            return
        self._attempts += 1
        self._size = max(1, (len(batch) - done) // 2)
        if self._attempts > STREAM_ATTEMPTS:
            for record in self._records[: self._size]:
                self._deployment.put_aside(self._function, record)
            self._records = self._records[self._size :]
            self._attempts, self._size = 0, STREAM_BATCH
        self._soon(self._weather.rng.uniform(0.5, 30))


class Silent:
    """Powertools' logger and metrics, without a word."""

    def info(self, *_: Any, **__: Any) -> None:
        """Say nothing."""

    warning = error = exception = debug = add_metric = info


def settings(
    limits: Limits,
    window_minutes: int,
    *,
    take_over: bool,
    allow_broad: bool,
    organization: str = "",
    changes_per_second: float = PARAMETERS["ChangesPerSecond"]["Default"],
) -> Settings:
    return Settings(
        account=ACCOUNT,
        region=REGION,
        partition="aws",
        mapping_table=ROWS,
        state_table=STATE,
        work_queue_url="work",
        retry_state_machine_arn="machine",
        resume_state_machine_arn="resume",
        accounts_state_machine_arn="accounts",
        role_path=PATH,
        create_missing_profiles=True,
        allow_broad_roles=allow_broad,
        require_permissions_boundary="",
        take_over=take_over,
        mode=Mode.ENFORCE,
        retry_timeout_minutes=60,
        history_days=90,
        limits=replace(limits, minutes=window_minutes),
        changes_per_second=changes_per_second,
        contention=ContentionRule(),
        alarm_topic="topic",
        sweep_function="on-schedule",
        organization=organization,
    )
