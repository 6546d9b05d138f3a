"""The AWS clients and the deployment's settings: made once per function process, and nothing at import."""

import os
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from rolekeeper.contention import ContentionRule
from rolekeeper.limits import Limits
from rolekeeper.model import Mode
from rolekeeper.rules import Ownership, Rules

if TYPE_CHECKING:
    from collections.abc import Mapping

# Connect and read limits keep four attempts well inside a function's 60 seconds; "standard" backs off with jitter.
CONFIG = Config(connect_timeout=2, read_timeout=8, retries={"mode": "standard", "total_max_attempts": 4})


@cache
def client(service: str) -> Any:
    """The client of one AWS service, kept for the life of the process."""
    return boto3.client(service, config=CONFIG)  # type: ignore[call-overload]  # the stubs want a literal name


@dataclass(frozen=True, slots=True)
class Settings:
    """What the template tells the functions."""

    account: str
    region: str
    partition: str
    mapping_table: str
    state_table: str
    work_queue_url: str
    retry_state_machine_arn: str
    role_path: str
    create_missing_profiles: bool
    mode: Mode
    retry_timeout_minutes: int
    history_days: int
    max_changes_per_edit: int
    max_changes_percent: int
    change_window_minutes: int
    contested_after: int
    contested_window_minutes: int
    alarm_topic: str
    take_over: bool = False
    sweep_function: str = ""

    @property
    def limits(self) -> Limits:
        """How many instances may change at once without approval."""
        return Limits(self.max_changes_per_edit, self.max_changes_percent)

    @property
    def rules(self) -> Rules:
        """What the deployment lets Rolekeeper do with an instance."""
        ownership = Ownership.under(self.role_path, self.account, self.partition, take_over=self.take_over)
        contention = ContentionRule(self.contested_after, timedelta(minutes=self.contested_window_minutes))
        return Rules(self.mode, ownership, contention)

    @classmethod
    def read(cls, function_arn: str, environ: "Mapping[str, str]" = os.environ) -> "Settings":
        """Read the environment; the function's own ARN tells partition, Region and account.

        Raises:
            KeyError: a variable is missing: the template and the code have drifted apart.
        """
        _, partition, _, region, account, *_ = function_arn.split(":")
        return cls(
            account=account,
            region=region,
            partition=partition,
            mapping_table=environ["MAPPING_TABLE"],
            state_table=environ["STATE_TABLE"],
            work_queue_url=environ["WORK_QUEUE_URL"],
            retry_state_machine_arn=environ.get("RETRY_STATE_MACHINE_ARN", ""),
            role_path=environ["ROLE_PATH"],
            create_missing_profiles=environ["CREATE_MISSING_PROFILES"] == "true",
            mode=Mode(environ["MODE"]),
            retry_timeout_minutes=int(environ["RETRY_TIMEOUT_MINUTES"]),
            history_days=int(environ["HISTORY_DAYS"]),
            max_changes_per_edit=int(environ["MAX_CHANGES_PER_EDIT"]),
            max_changes_percent=int(environ["MAX_CHANGES_PERCENT"]),
            change_window_minutes=int(environ["CHANGE_WINDOW_MINUTES"]),
            contested_after=int(environ["CONTESTED_AFTER"]),
            contested_window_minutes=int(environ["CONTESTED_WINDOW_MINUTES"]),
            alarm_topic=environ["ALARM_TOPIC"],
            take_over=environ["TAKE_OVER"] == "true",
            sweep_function=environ.get("SWEEP_FUNCTION", ""),
        )
