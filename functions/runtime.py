"""What every function shares: its clock, its logger, its metrics, and its collaborators.

Nothing here talks to AWS at import.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache

from aws_lambda_powertools import Logger, Metrics

from rolekeeper.announce import Announcer
from rolekeeper.apply import Applier
from rolekeeper.clients import Settings, client
from rolekeeper.ec2 import Ec2
from rolekeeper.expiry import Expiries
from rolekeeper.iam import Iam
from rolekeeper.mails import Mailer
from rolekeeper.mapping_table import MappingTable
from rolekeeper.modes import DeployedMode
from rolekeeper.publish import Publisher
from rolekeeper.reconcile import Reconciler
from rolekeeper.retry import RetryLoop
from rolekeeper.revisions import Revisions
from rolekeeper.state import State
from rolekeeper.steering import Steering
from rolekeeper.store import Store
from rolekeeper.sweep import Sweep
from rolekeeper.tasks import Tasks
from rolekeeper.timers import Timers
from rolekeeper.window import ChangeWindow
from rolekeeper.work import WorkQueue

logger = Logger()
metrics = Metrics()
sleep = time.sleep


def now() -> datetime:
    """The time (UTC): what every part of a function goes by."""
    return datetime.now(UTC)


@cache
def settings(function_arn: str) -> Settings:
    """The deployment's settings."""
    return Settings.read(function_arn)


def announcer(settings: Settings) -> Announcer:
    """The announcer of one invocation; `flush` it at the end."""
    where = f"account {settings.account}, {settings.region}"
    mailer = Mailer(lambda: client("sns"), settings.alarm_topic, where, now)
    return Announcer(client("events"), logger, metrics, mailer)


def store(settings: Settings) -> Store:
    """The state table."""
    return Store(client("dynamodb"), settings.state_table, settings.history_days, sleep)


def state(settings: Settings) -> State:
    """What the state table knows of instances."""
    return State(store(settings))


def ec2(settings: Settings) -> Ec2:
    """EC2 in our account and Region."""
    return Ec2(client("ec2"), settings.account, settings.region, settings.partition)


def iam(settings: Settings) -> Iam:
    """IAM in our account."""
    return Iam(client("iam"), settings.account, settings.partition)


def mapping_table(settings: Settings) -> MappingTable:
    """The mapping table."""
    return MappingTable(client("dynamodb"), settings.mapping_table)


def work_queue(settings: Settings) -> WorkQueue:
    """The work queue."""
    return WorkQueue(client("sqs"), settings.work_queue_url, now)


def retry_loop(settings: Settings) -> RetryLoop:
    """Has instances that aren't ready looked at again."""
    return RetryLoop(client("stepfunctions"), settings.retry_state_machine_arn, settings.retry_timeout_minutes)


def reconciler(settings: Settings, announcer: Announcer, retries: RetryLoop | None = None) -> Reconciler:
    """The reconciler; one that starts no retry loops runs inside one."""
    applier = Applier(
        ec2=ec2(settings),
        state=state(settings),
        window=ChangeWindow(store(settings), settings.limits, settings.change_window_minutes),
        announce=announcer,
        rules=settings.rules,
        now=now,
        sleep=sleep,
    )
    return Reconciler(
        ec2=ec2(settings),
        state=state(settings),
        announce=announcer,
        applier=applier,
        rules=settings.rules,
        retries=retries,
        now=now,
        sleep=sleep,
    )


def publisher(settings: Settings, announcer: Announcer) -> Publisher:
    """The judge of mapping rows, for one invocation."""
    return Publisher(
        settings,
        table=mapping_table(settings),
        state=state(settings),
        revisions=Revisions(store(settings)),
        iam=iam(settings),
        ec2=ec2(settings),
        queue=work_queue(settings),
        announcer=announcer,
        now=now,
    )


def steering(settings: Settings) -> Steering:
    """Acts on what people write into the state table, for one batch."""
    return Steering(
        state=state(settings),
        timers=Timers(store(settings)),
        queue=work_queue(settings),
        tasks=Tasks(client("lambda"), settings.sweep_function),
        now=now,
    )


def sweep(settings: Settings, announcer: Announcer, correlation_id: str, seconds_left: Callable[[], float]) -> Sweep:
    """The pass over the fleet and the mappings."""
    return Sweep(
        ec2=ec2(settings),
        state=state(settings),
        table=mapping_table(settings),
        publisher=publisher(settings, announcer),
        queue=work_queue(settings),
        announce=announcer,
        rules=settings.rules,
        correlation_id=correlation_id,
        seconds_left=seconds_left,
        now=now,
    )


def deployed_mode(settings: Settings, announcer: Announcer) -> DeployedMode:
    """Reports a mode that a deployment changed."""
    return DeployedMode(store(settings), announcer, settings.mode)


def expiries(settings: Settings, announcer: Announcer, correlation_id: str, *, waits: bool) -> Expiries:
    """A minute's work."""
    return Expiries(
        ec2=ec2(settings),
        state=state(settings),
        timers=Timers(store(settings)),
        publisher=publisher(settings, announcer),
        queue=work_queue(settings),
        announce=announcer,
        correlation_id=correlation_id,
        now=now,
        waits=waits,
        sleep=sleep,
    )
