"""An organization of any size, in virtual time: EC2 makes each page of each target when it is asked for it.

`Scale(400, 250).sweep()` sweeps it with the real code: the hub's run, then those of the accounts machine, as if side by
side; `edit` has a row judged.
One target in ten doesn't answer as it should, until `repair`: of forty two refuse, one throttles and one is silent.
Bench and tests call it.
"""

import heapq
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from botocore.exceptions import ReadTimeoutError

import on_schedule
from fakes.calls import Calls
from fakes.clock import Clock
from fakes.ec2 import EC2_META, client_error
from fakes.others import FakeIam
from fixtures.account import ACCOUNT, MAPPING_TABLE, FakeAccount, mapping_key
from fixtures.organization import ORGANIZATION, VERSION
from fixtures.state_table import table_keys
from rolekeeper.app import App
from rolekeeper.aws import AT_ONCE, one_by_one
from rolekeeper.aws.errors import classified
from rolekeeper.aws.queue import Task, resumable
from rolekeeper.fleet.targets import ServedTarget
from rolekeeper.model.instance import InstanceKey, Target
from rolekeeper.settings import Settings
from rolekeeper.storage import layout
from rolekeeper_local.ec2_model import Profile
from support.large_fleet import RUN_SECONDS, TAG, GeneratedEc2

REGIONS = ("eu-west-1", "us-west-2")
TAGGED = 10  # every tenth instance of a target carries the mapping's tag
SILENCE = 15.0  # seconds, after which the SDK gives a target up that gives no answer
CALL = 0.1  # what a call to IAM takes, in seconds


def _refused(_sleep: Callable[[float], None]) -> None:
    with classified("sts:AssumeRole", "the reader"):
        raise client_error("AccessDenied")


def _throttled(_sleep: Callable[[float], None]) -> None:
    raise client_error("RequestLimitExceeded", "Request limit exceeded.")


def _silent(sleep: Callable[[float], None]) -> None:
    sleep(SILENCE)
    raise ReadTimeoutError(endpoint_url="https://ec2")


# By the number of a target, of forty. A role is an account's own, so one that is gone is so in both of its Regions; all
# else is of one Region's EC2.
TROUBLES = {0: _refused, 1: _refused, 12: _throttled, 23: _silent}


class _SlowCalls(Calls):
    """Calls that take time; `counts` has those since it was cleared."""

    def __init__(self, counts: Counter[str], sleep: Callable[[float], None]) -> None:
        super().__init__()
        self._counts, self._sleep = counts, sleep

    def starts(self, operation: str) -> None:
        self._counts[operation] += 1
        self._sleep(CALL)


def _iam(account: str, calls: Calls) -> FakeIam:
    """IAM of any account: it has the roles that rows name, and their profiles, and they do nothing."""
    profiles = {
        role: Profile(
            name=role,
            arn=f"arn:aws:iam::{account}:instance-profile/rolekeeper/{role}",
            id=f"AIPA{account}",
            roles=(f"arn:aws:iam::{account}:role/rolekeeper/{role}",),
            created_at=0,
        )
        for role in ("web", "db")
    }
    return FakeIam(profiles, calls, account)


class SentInstances:
    """SQS that keeps which instances were named, and how often."""

    def __init__(self) -> None:
        self.sent: Counter[InstanceKey] = Counter()

    def get_queue_attributes(self, **_: Any) -> dict[str, Any]:
        return {"Attributes": {"ApproximateNumberOfMessages": "0", "ApproximateNumberOfMessagesDelayed": "0"}}

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803, ARG002  # boto3's own names
        for entry in Entries:
            body = json.loads(entry["MessageBody"])
            self.sent[InstanceKey(body["account"], body["region"], body["detail"]["instance-id"])] += 1
        return {}


@dataclass
class Swept:
    """What one round of all targets took: the `longest` run of an account, in seconds, and the calls to AWS.

    `starting` are those of the hub's run, `listing` those of the machine's first step, `calls` an account's. `alone`
    are the targets with runs of their own. `sent` counts how often each instance was sent.
    """

    starting: Counter[str] = field(default_factory=Counter)
    listing: Counter[str] = field(default_factory=Counter)
    calls: dict[str, Counter[str]] = field(default_factory=dict)
    started: list[Target] = field(default_factory=list)
    alone: list[Target] = field(default_factory=list)
    longest: float = 0.0
    instances: int = 0
    sent: Counter[InstanceKey] = field(default_factory=Counter)


@dataclass(frozen=True)
class Edited:
    """What came of an edit: what the `row` says, the seconds until it was `judged` and `done`, and what was sent."""

    row: dict[str, Any]
    judged: float
    done: float
    sent: Counter[InstanceKey]


class Scale:
    """See the module. Accounts have two Regions each; `bad` are the targets that don't answer."""

    def __init__(self, closing: ExitStack, targets: int, instances: int) -> None:
        self.instances = instances
        self.targets = [Target(f"{100_000_000_000 + at // 2}", REGIONS[at % 2]) for at in range(targets)]
        self.bad = {each: TROUBLES[at % 40] for at, each in enumerate(self.targets) if at % 40 in TROUBLES}
        self.hub = FakeAccount(closing)
        self.hub.large_pages()
        self.hub.dynamodb.add_table(MAPPING_TABLE, table_keys("MappingTable"))
        self._there: dict[tuple[Target, str], Any] = {}
        self._asked: Counter[str] = Counter()  # of IAM, by a run
        self._queue = SentInstances()
        self._clients = {
            **self.hub.clients,
            "sqs": self._queue,
            "iam": _iam(ACCOUNT, _SlowCalls(Counter(), self.hub.clock.sleep)),
        }
        self._prepare()

    def _prepare(self) -> None:
        self.hub.profile("web")
        row = layout.to_attributes({**layout.encode(mapping_key(TAG)), "role": "web"})
        self.hub.dynamodb.put_item(TableName=MAPPING_TABLE, Item=row)
        made, registry, at = self.hub.publish(TAG, "web"), self.app.registry, self.hub.clock.now()
        for each in self.targets:
            registry.add(ServedTarget(each, VERSION, at, last_sweep=at - timedelta(hours=1), instances=self.instances))
        for account in sorted({each.account for each in self.targets}):
            arn = f"arn:aws:iam::{account}:instance-profile/rolekeeper/web"
            there = replace(made, profile_arn=arn, profile_id=f"AIPA{account}")
            self.hub.store.write(self.hub.store.put(layout.published_item(there, account)))

    @property
    def app(self) -> App:
        parts = self.hub.app(replace(self.hub.settings, organization=ORGANIZATION), self._clients)
        return replace(parts, client_of=self._client_of, each=one_by_one)

    def _client_of(self, there: Settings, service: str) -> Any:
        target = there.target
        trouble = self.bad.get(target)
        if trouble and (service == "ec2" or trouble is _refused):
            return _Trouble(lambda: trouble(self.hub.clock.sleep))
        if (target, service) not in self._there:
            made = GeneratedEc2(self.instances, TAGGED, self.hub.clock.sleep)
            iam = _iam(target.account, _SlowCalls(self._asked, self.hub.clock.sleep))
            self._there[target, service] = made if service == "ec2" else iam
        return self._there[target, service]

    def repair(self) -> None:
        self.bad.clear()

    def tagged(self, targets: Iterable[Target]) -> list[InstanceKey]:
        """The instances of these targets that carry the mapping's tag, and no role yet."""
        numbers = range(0, self.instances, TAGGED)
        return [InstanceKey(each.account, each.region, f"i-{number:017x}") for each in targets for number in numbers]

    def sweep(self) -> Swept:
        """One round of all; the clock is where it was, as all go side by side."""
        swept, hub, before = Swept(), self.hub, len(self.hub.logged())
        self._queue.sent = swept.sent
        hub.lambda_.invoked.clear()
        app = self.app
        swept.starting = self._counted(lambda: app.targets.start_sweeps("run-1", "sweep-1", since=hub.clock.now()))
        of, accounts = hub.machine.started[-1]["input"], list[str]()
        swept.listing = self._counted(lambda: accounts.extend(on_schedule.accounts(app, of)))
        app.telemetry.flush()
        for account in accounts:
            self._run({"task": "sweep", "id": "sweep-1", "account": account, "of": of}, swept)
        for event in list(hub.lambda_.invoked):
            swept.alone.append(Target(**event["target"]))
            self._run(event, swept)
        lines = [line for line in hub.logged()[before:] if line["message"] == "sweep"]
        swept.started = [Target(**line["target"]) for line in lines]
        swept.instances = sum(line["instances"] for line in lines)
        return swept

    def _counted(self, work: Callable[[], object]) -> Counter[str]:
        self.hub.calls.clear()
        work()
        return Counter(self.hub.calls.counted())

    def edit(self, **columns: Any) -> Edited:
        """Edit the row, and have it judged and its instances sent."""
        clock, key = self.hub.clock, layout.encode(mapping_key(TAG))
        self.hub.dynamodb.put_item(TableName=MAPPING_TABLE, Item=layout.to_attributes({**key, **columns}))
        self._queue.sent = Counter()
        began, judged = clock.seconds, list[float]()
        self.hub.calls.before("TransactWriteItems", lambda: judged.append(clock.seconds - began))
        app = replace(self.app, each=SideBySide(clock))
        app.publisher.publish(mapping_key(TAG), "edit-1")
        self._fan_out(app)
        app.telemetry.flush()
        (row,) = map(layout.from_attributes, self.hub.dynamodb.items(MAPPING_TABLE))
        return Edited(row, judged[0], clock.seconds - began, self._queue.sent)

    def _fan_out(self, app: App) -> None:
        """The accounts machine sends the mapping's instances, as many accounts at once as threads."""
        of = self.hub.machine.started[-1]["input"]
        run = {"task": "fan-out", "id": "edit-1", "of": of}
        runs = [{**run, "account": each} for each in on_schedule.accounts(app, of)]
        app.each(lambda event: on_schedule.in_account(app, event, lambda: RUN_SECONDS, "run-1"), runs)

    def _run(self, event: dict[str, Any], swept: Swept) -> None:
        """A run for an account, or one of a target's own."""
        clock, app, began = self.hub.clock, self.app, self.hub.clock.seconds
        account = event["account"] if "account" in event else event["target"]["account"]
        self._asked.clear()
        for made in self._there.values():
            if isinstance(made, GeneratedEc2):
                made.pages = 0

        def seconds_left() -> float:
            return RUN_SECONDS - (clock.seconds - began)

        def run() -> None:
            if "account" in event:
                on_schedule.in_account(app, event, lambda: seconds_left() - on_schedule.EARLIER, "run-1")
                return
            ran = app.at(Target(**event["target"])).sweep("sweep-1", seconds_left, "run-1", event).run()
            app.telemetry.logger.info("sweep", extra=resumable(Task.SWEEP, "sweep-1", ran, Target(**event["target"])))

        calls = self._counted(run)
        app.telemetry.flush()
        swept.longest = max(swept.longest, clock.seconds - began)
        pages = sum(made.pages for made in self._there.values() if isinstance(made, GeneratedEc2))
        swept.calls[account] = calls + self._asked + Counter({"DescribeInstances": pages})
        clock.seconds = began


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

    def __init__(self, trouble: Callable[[], None]) -> None:
        self._trouble = trouble

    def __getattr__(self, name: str) -> Any:
        def asked(*_: Any, **__: Any) -> None:
            self._trouble()

        return asked
