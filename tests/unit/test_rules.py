"""Which instance profiles are managed, and what a deployment's parameters allow."""

from datetime import timedelta

import pytest

import runtime
from rolekeeper.model.instance import NO_PROFILE
from rolekeeper.model.mapping import Mode
from rolekeeper.settings import ContentionRule, Ownership, Settings
from strategies.values import OWNERSHIP, PREFIX, arn, foreign_arn

PARAMETERS = {
    "MAPPING_TABLE": "mappings",
    "STATE_TABLE": "state",
    "WORK_QUEUE_URL": "https://queue",
    "ROLE_PATH": "/teams/rolekeeper/",
    "CREATE_MISSING_PROFILES": "true",
    "ALLOW_BROAD_ROLES": "false",
    "REQUIRE_PERMISSIONS_BOUNDARY": "",
    "MODE": "observe",
    "RETRY_TIMEOUT_MINUTES": "60",
    "HISTORY_DAYS": "90",
    "MAX_CHANGES_PER_EDIT": "25",
    "MAX_CHANGES_PERCENT": "20",
    "CHANGE_WINDOW_MINUTES": "10",
    "CHANGES_PER_SECOND": "4.8",
    "CONTESTED_AFTER": "5",
    "CONTESTED_WINDOW_MINUTES": "45",
    "ALARM_TOPIC": "topic",
    "TAKE_OVER": "false",
}
FUNCTION = "arn:aws-cn:lambda:cn-north-1:123456789012:function:rolekeeper"


def settings_with(monkeypatch: pytest.MonkeyPatch, **changed: str) -> Settings:
    """What a function reads of its environment and its own ARN."""
    for name, value in {**PARAMETERS, **changed}.items():
        monkeypatch.setenv(name, value)
    return runtime.settings.__wrapped__(FUNCTION)


@pytest.mark.parametrize("profile", [arn("web"), f"{PREFIX}team-a/web", f"{PREFIX}eks-node"])
def test_a_profile_under_the_role_path_is_managed(profile: str) -> None:
    assert OWNERSHIP.manages(profile)


@pytest.mark.parametrize(
    "profile",
    [
        foreign_arn("web"),
        foreign_arn("rolekeeper"),
        foreign_arn("rolekeeper-web"),
        foreign_arn("rolekeeperx/web"),
        foreign_arn("Rolekeeper/web"),
        foreign_arn("team/rolekeeper/web"),
        PREFIX.replace("123456789012", "999999999999") + "web",
        PREFIX.replace("arn:aws:", "arn:aws-cn:") + "web",
        PREFIX.replace("instance-profile", "role") + "web",
        NO_PROFILE,
    ],
)
def test_every_other_profile_is_foreign(profile: str) -> None:
    assert not OWNERSHIP.manages(profile)


def test_a_deployment_takes_nothing_over_unless_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Ownership(PREFIX).take_over
    assert settings_with(monkeypatch, TAKE_OVER="true").ownership.take_over


def test_the_rules_are_what_the_parameters_say_in_the_functions_own_account_and_partition(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ownership = Ownership("arn:aws-cn:iam::123456789012:instance-profile/teams/rolekeeper/")
    contention = ContentionRule(after=5, within=timedelta(minutes=45))
    read = settings_with(monkeypatch)
    assert (read.mode, read.ownership, read.contention) == (Mode.OBSERVE, ownership, contention)


def test_the_function_that_sweeps_knows_itself_where_no_parameter_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function can't be named in its own environment, but Lambda says which one runs."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "itself")
    assert settings_with(monkeypatch).sweep_function == "itself"
    assert settings_with(monkeypatch, SWEEP_FUNCTION="the-schedules").sweep_function == "the-schedules"
