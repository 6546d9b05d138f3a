"""The accounts and Regions that a deployment looks after, or could."""

from datetime import datetime
from typing import Annotated

from rolekeeper_cli.shell.view import View


class TargetView(View):
    """An account and Region that the deployment looks after, or whose events reach it."""

    account: Annotated[str, "the account's id"]
    region: Annotated[str, "the Region"]
    hub: Annotated[bool, "whether it is the deployment's own"]
    state: Annotated[str, "well, new, overdue, problem, silent or unknown"]
    reason: Annotated[str, "why it isn't well; empty if it is"]
    version: Annotated[str | None, "the version of its spoke"]
    version_is: Annotated[str | None, "that, compared with the hub's: same, older or newer"]
    version_gap: Annotated[int | None, "how many minor versions it is ahead of the hub; negative if behind"]
    since: Annotated[datetime | None, "when it was registered"]
    last_event: Annotated[datetime | None, "when the last event came"]
    last_sweep: Annotated[datetime | None, "when the last sweep ended"]
    instances: Annotated[int | None, "how many instances that sweep saw"]
    drift: Annotated[int | None, "how many of those were in drift"]
    withheld: Annotated[int | None, "how many of those weren't sent, because too many changes wait already"]
    problem_since: Annotated[datetime | None, "since when the hub can't manage it"]
    wire_format: Annotated[int | None, "the version of what hub and spoke send each other"]
    unit: Annotated[str | None, "the organizational unit, as the spoke says"]
    events_to_account: Annotated[bool, "whether its account gets the events too"]


class MissingTargetView(View):
    """An active account of the organization, and a Region, without a spoke."""

    account: Annotated[str, "the account's id"]
    account_name: Annotated[str, "the account's name"]
    region: Annotated[str, "the Region"]
    instances: Annotated[int | None, "how many instances are there; null if nobody here can count them"]


class ForgottenTargetView(View):
    """A target that was taken out of the list."""

    forgotten: Annotated[str, "the target, as ACCOUNT/REGION"]


class UnseenTargetView(View):
    """A target that couldn't be read."""

    account: Annotated[str, "the account's id"]
    region: Annotated[str, "the Region"]
    reason: Annotated[str, "why it couldn't be read"]
