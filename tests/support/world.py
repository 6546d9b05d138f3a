"""One account and Region, in the process: EC2's truth, the state table, and all that Rolekeeper tells.

A story moves the clock, changes what people may change (tags, mappings, roles, states) and lets Rolekeeper look.
"""

import io
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from aws_lambda_powertools import Logger

from rolekeeper.app import App
from rolekeeper.instances.reconcile import Outcome, Reconciler
from rolekeeper.model import (
    InstanceKey,
    InstanceRecord,
    MappingKey,
    MappingSpec,
    Mode,
    PublishedMapping,
    ReconcileRequest,
)
from rolekeeper.settings import ContentionRule, Limits, Rules, Settings
from rolekeeper.storage import codec, layout
from rolekeeper.telemetry import Telemetry
from rolekeeper_local.ec2_model import Association, Event, Profile
from rolekeeper_local.ec2_truth import Ec2Truth
from support.calls import Calls
from support.clock import Clock
from support.fake_dynamodb import FakeDynamoDB
from support.fake_ec2 import FakeEc2, client_error
from support.fakes import CountedMetrics, FakeEvents, FakeQueue, FakeStepFunctions, FakeTopic
from support.state_table import STATE_TABLE, table_keys

ACCOUNT, REGION = "123456789012", "us-east-1"
PATH = "/rolekeeper/"
MAPPING_TABLE = "rolekeeper-mappings"
QUEUE_URL = "https://sqs/work"
MACHINE = f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:retry"
WINDOW_MINUTES = 10
MUTATIONS: Final = (
    "AssociateIamInstanceProfile",
    "ReplaceIamInstanceProfileAssociation",
    "DisassociateIamInstanceProfile",
)
WRITES: Final = ("PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems", "BatchWriteItem")


class KilledError(BaseException):
    """The function's process ends here: nothing catches it."""


def kill() -> None:
    """End the function's process."""
    raise KilledError


class World:
    """See the module. `truth` is EC2 as it is; `state` is our table; `calls` counts and steps in.

    `closing` is closed when the world ends.
    """

    def __init__(self, closing: ExitStack) -> None:
        self.closing = closing
        self.clock = Clock()
        self.calls = Calls()
        self.emitted: list[Event] = []
        self.profiles: dict[str, Profile] = {}
        # What IAM calls them by itself, where IAM is more than these profiles (see `Desk.role`).
        self.profile_ids: dict[str, str] = {}
        self._ids = 0
        self.truth = Ec2Truth(
            now=lambda: self.clock.seconds,
            new_id=self._next_id,
            find_profile=lambda ref: next((p for p in self.profiles.values() if ref in (p.name, p.arn)), None),
            emit=self.emitted.append,
            arn_prefix=f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/",
        )
        self.ec2 = FakeEc2(self.truth, self.calls)
        self.dynamodb = FakeDynamoDB({STATE_TABLE: table_keys("StateTable")}, self.calls)
        self.events = FakeEvents(self.calls)
        self.topic = FakeTopic(self.calls)
        self.machine = FakeStepFunctions(self.calls)
        self.queue = FakeQueue(self.calls)
        self.metrics = CountedMetrics()
        self.log = io.StringIO()
        # Each world logs for itself: Powertools keeps one logger per service name.
        self._logger = Logger(service=f"world-{uuid.uuid4()}", stream=self.log)
        self.mode = Mode.ENFORCE
        self.take_over = False
        self.limits = Limits(25, 20)
        self.window_minutes = WINDOW_MINUTES
        self.contention = ContentionRule()
        self.makes_profiles = True
        self.clients: dict[str, Any] = {
            "dynamodb": self.dynamodb,
            "ec2": self.ec2,
            "events": self.events,
            "sns": self.topic,
            "sqs": self.queue,
            "stepfunctions": self.machine,
        }
        # To set up and to look at; each invocation has parts of its own.
        parts = self.app()
        self.store, self.state, self.revisions = parts.store, parts.state, parts.revisions
        self.swept(0, 0)
        self.calls.clear()

    def _next_id(self, kind: str) -> str:
        self._ids += 1
        return f"{kind}-{self._ids:017x}"

    # ---- what people do ----

    def swept(self, instances: int, mappings: int) -> None:
        """Let a sweep have come to its end, which saw so much: before the first one nothing is changed."""
        self.state.note_sweep(instances, mappings, self.clock.now())

    def never_swept(self) -> None:
        """Lose the marker that a sweep leaves, as an empty state table or a restored one has none."""
        pk, sk = layout.FLEET
        self.dynamodb.delete_item(TableName=STATE_TABLE, Key=codec.to_attributes({"pk": pk, "sk": sk}))

    def profile(self, name: str, *, path: str = PATH, made_now: bool = False, empty: bool = False) -> str:
        """Make an instance profile with its role; returns its ARN."""
        made = Profile(
            name=name,
            arn=f"arn:aws:iam::{ACCOUNT}:instance-profile{path}{name}",
            id=self.profile_ids.get(name, f"AIPA{name.upper()}"),
            roles=() if empty else (f"arn:aws:iam::{ACCOUNT}:role{path}{name}",),
            created_at=self.clock.seconds if made_now else float("-inf"),
        )
        self.profiles[name] = made
        return made.arn

    def publish(self, tag: str, role: str, **columns: Any) -> PublishedMapping:
        """Publish the next revision of a mapping, `workload=web` say."""
        key = mapping_key(tag)
        former = self.revisions.published(key)
        arn = ""
        if role != "NONE":
            arn = self.profiles[role].arn if role in self.profiles else self.profile(role)
        made = PublishedMapping(MappingSpec(key, role, **columns), (former.revision if former else 0) + 1, arn)
        self.revisions.publish(made, {"cause": "test"}, self.clock.now())
        return made

    def unpublish(self, tag: str) -> None:
        """Delete a mapping's row: it leaves a tombstone."""
        former = self.revisions.published(mapping_key(tag))
        assert former
        gone = replace(former, revision=former.revision + 1, deleted=True)
        self.revisions.publish(gone, {"cause": "test"}, self.clock.now())

    def damage(self, tag: str) -> None:
        """Lose a published mapping without a tombstone: nobody meant that."""
        pk, sk = layout.published_key(mapping_key(tag))
        self.dynamodb.delete_item(TableName=STATE_TABLE, Key=codec.to_attributes({"pk": pk, "sk": sk}))

    def garble(self, key: layout.Key) -> None:
        """Overwrite an item of the state table with what we never wrote."""
        pk, sk = key
        garbled = codec.to_attributes({"pk": pk, "sk": sk, "spec": "garbled", layout.CONDITION: "garbled"})
        self.dynamodb.put_item(TableName=STATE_TABLE, Item=garbled)

    def control(self, **attributes: Any) -> None:
        """Set the control item."""
        pk, sk = layout.CONTROL
        item = codec.to_attributes({"pk": pk, "sk": sk, **attributes})
        self.dynamodb.put_item(TableName=STATE_TABLE, Item=item)

    def launch(self, *, profile: str | None = None, **tags: str) -> str:
        """Launch an instance; it is pending."""
        if profile and profile not in self.profiles:
            self.profile(profile, path="/")
        return self.truth.launch(tags=tags, profile=profile).id

    def running(self, *, profile: str | None = None, **tags: str) -> str:
        """Launch an instance and let it run."""
        instance = self.launch(profile=profile, **tags)
        self.wait(2)
        return instance

    def stopped(self, *, profile: str | None = None, **tags: str) -> str:
        """Launch an instance, let it run and stop it."""
        instance = self.running(profile=profile, **tags)
        self.stop(instance)
        return instance

    def stop(self, instance: str) -> None:
        """Stop an instance, until it is stopped."""
        self.truth.stop(instance)
        self.wait(2)

    def start(self, instance: str) -> None:
        """Start an instance, until it runs."""
        self.truth.start(instance)
        self.wait(2)

    def tag(self, instance: str, **tags: str) -> None:
        """Set tags."""
        self.truth.create_tags(instance, tags)

    def untag(self, instance: str, *names: str) -> None:
        """Remove tags."""
        self.truth.delete_tags(instance, dict.fromkeys(names))

    def attach_by_hand(self, instance: str, profile: str) -> str:
        """Somebody else attaches or replaces a role; returns the association's id."""
        if profile not in self.profiles:
            self.profile(profile, path="/")
        present = self.truth.association_of(instance)
        made = self.truth.replace(present.id, profile) if present else self.truth.associate(instance, profile)
        return made.id

    def detach_by_hand(self, instance: str) -> None:
        """Another actor takes the role away."""
        present = self.truth.association_of(instance)
        assert present
        self.truth.disassociate(present.id)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.sleep(seconds)
        self.truth.tick()

    # ---- what Rolekeeper does ----

    def wake(self, instance: str, *, cause: str = "test") -> ReconcileRequest:
        """A message that names an instance."""
        return ReconcileRequest(self.key(instance), cause, "correlation-1", self.clock.now(), f"message-{instance}")

    @property
    def settings(self) -> Settings:
        """The deployment's settings."""
        return Settings(
            account=ACCOUNT,
            region=REGION,
            partition="aws",
            mapping_table=MAPPING_TABLE,
            state_table=STATE_TABLE,
            work_queue_url=QUEUE_URL,
            role_path=PATH,
            create_missing_profiles=self.makes_profiles,
            mode=self.mode,
            retry_timeout_minutes=60,
            history_days=90,
            max_changes_per_edit=self.limits.per_edit,
            max_changes_percent=self.limits.percent,
            change_window_minutes=self.window_minutes,
            contested_after=self.contention.after,
            contested_window_minutes=int(self.contention.within.total_seconds()) // 60,
            take_over=self.take_over,
            alarm_topic="topic",
            retry_state_machine_arn=MACHINE,
            sweep_function="sweep",
        )

    def app(self, settings: Settings | None = None, clients: Mapping[str, Any] | None = None) -> App:
        """One invocation's parts, on this world's clients and clock."""
        return App(
            settings or self.settings,
            (clients or self.clients).__getitem__,
            logger=self._logger,
            metrics=self.metrics,
            now=self.clock.now,
            sleep=self.clock.sleep,
        )

    @property
    def rules(self) -> Rules:
        """What the deployment allows."""
        return self.settings.rules

    def reconciler(self, *, in_loop: bool = False) -> Reconciler:
        """A function's process, fresh."""
        return self.app().reconciler(in_loop=in_loop)

    def telemetry(self) -> Telemetry:
        """An announcer over the fakes."""
        return self.app().telemetry

    def reconcile(self, *instances: str, in_loop: bool = False) -> Outcome:
        """ReconcileRequest Rolekeeper for these instances, as one batch; returns the first one's outcome."""
        return self.reconcile_all(*instances, in_loop=in_loop)[self.key(instances[0])]

    def reconcile_all(self, *instances: str, in_loop: bool = False) -> Mapping[InstanceKey, Outcome]:
        """The same; returns every outcome."""
        reconciler = self.reconciler(in_loop=in_loop)
        try:
            return reconciler.run([self.wake(each) for each in instances])
        finally:
            reconciler.telemetry.flush()

    # ---- what there is to see ----

    def key(self, instance: str) -> InstanceKey:
        """An instance's key."""
        return InstanceKey(ACCOUNT, REGION, instance)

    def association(self, instance: str) -> Association | None:
        """EC2's own answer, after it settled."""
        self.truth.tick()
        return self.truth.association_of(instance)

    def carries(self, instance: str) -> str:
        """The name of the profile that EC2 shows, empty for none."""
        row = self.association(instance)
        return row.profile_arn.rsplit("/", 1)[-1] if row else ""

    def record(self, instance: str) -> InstanceRecord:
        """Our record of an instance."""
        return self.state.read([self.key(instance)], []).record(self.key(instance))

    def shows(self, instance: str) -> str:
        """The code of the condition that an instance shows, empty for none."""
        condition = self.record(instance).condition
        return condition.code if condition else ""

    def granted(self, instance: str) -> bool:
        """Whether a grant explains what EC2 shows on an instance."""
        row = self.association(instance)
        return row is not None and row.profile_arn in self.record(instance).grants

    def history(self, instance: str) -> list[dict[str, Any]]:
        """The history entries of an instance, oldest first."""
        return self.store.history(layout.instance_pk(self.key(instance)))[::-1]

    @property
    def mutations(self) -> list[str]:
        """The EC2 mutations that were called, in order."""
        return [each for each in self.calls.made if each in MUTATIONS]

    @property
    def writes(self) -> list[str]:
        """The writes to the state table, in order."""
        return [each for each in self.calls.made if each in WRITES]

    def quiet(self) -> None:
        """Count calls and events from here on."""
        self.calls.clear()
        self.events.sent.clear()
        self.topic.mails.clear()
        self.machine.started.clear()
        self.queue.sent.clear()

    def logged(self) -> list[dict[str, Any]]:
        """The log lines."""
        return [json.loads(line) for line in self.log.getvalue().splitlines()]

    def later(self, **delta: float) -> None:
        """Let a long time pass."""
        self.wait(timedelta(**delta).total_seconds())


def refusing(code: str, message: str = "", *, status: int = 400) -> Callable[[], None]:
    """A hook that makes AWS refuse a call."""

    def refuse() -> None:
        raise client_error(code, message, status=status)

    return refuse


def mapping_key(tag: str) -> MappingKey:
    """`workload=web` as a key."""
    return MappingKey(*tag.split("=", 1))


@contextmanager
def new_world() -> Iterator[World]:
    """A world of its own for one test."""
    with ExitStack() as closing:
        yield World(closing)
