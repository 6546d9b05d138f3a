"""What every function here starts with: its logger, its metrics, and the domain's collaborators."""

from functools import cache

from aws_lambda_powertools import Logger, Metrics
from rolekeeper.iam import Iam

from rolekeeper.announce import Announcer
from rolekeeper.clients import Settings, client
from rolekeeper.ec2 import Ec2
from rolekeeper.reconcile import Reconciler
from rolekeeper.retry import RetryLoop
from rolekeeper.state import State
from rolekeeper.work import WorkQueue

logger = Logger()
metrics = Metrics()


@cache
def settings(function_arn: str) -> Settings:
    """The deployment's settings."""
    return Settings.read(function_arn)


def announcer() -> Announcer:
    """A fresh announcer for one invocation; flush it at the end."""
    return Announcer(client("events"), logger, metrics)


def ec2(chosen: Settings) -> Ec2:
    """EC2 in our account and Region."""
    return Ec2(client("ec2"), chosen.account, chosen.region, chosen.partition)


def iam(chosen: Settings) -> Iam:
    """IAM, under the role path."""
    return Iam(client("iam"), chosen.role_path)


def state(chosen: Settings) -> State:
    """The state table."""
    return State(client("dynamodb"), chosen.state_table, chosen.history_days)


def work_queue(chosen: Settings) -> WorkQueue:
    """The work queue."""
    return WorkQueue(client("sqs"), chosen.work_queue_url)


def reconciler(chosen: Settings, announce: Announcer, loop: RetryLoop | None = None) -> Reconciler:
    """The reconciler; without a loop it is inside one."""
    return Reconciler(
        ec2=ec2(chosen),
        state=state(chosen),
        announce=announce,
        may_restore=iam(chosen).may_pass,
        mode=chosen.mode,
        loop=loop,
    )
