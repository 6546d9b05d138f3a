"""What an account that asked for it sees: the hub's events about its instances, on its own default bus."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from fixtures.account import HOME, refusing
from fixtures.organization import OTHER, SPOKE, Organization
from rolekeeper.instances.reconcile import WORK
from rolekeeper.model.instance import InstanceKey, Target
from rolekeeper.settings import Access

NOTIFIER = f"arn:aws:iam::{SPOKE.account}:role/rolekeeper-notifier"


@pytest.fixture(autouse=True)
def asked(organization: Organization) -> None:
    """SPOKE asked for the events, OTHER didn't; both gave an instance a role."""
    organization.spoke(OTHER)
    organization.ask_for_events(SPOKE)
    organization.publish("workload=web", "web")
    registered(organization)


def registered(organization: Organization) -> None:
    """The daily event of each target came, by which the hub knows what its spoke says."""
    for target in organization.spokes:
        assert organization.app().targets.register(target, "daily", asks=True) is None


def attached(organization: Organization, *targets: Target) -> list[InstanceKey]:
    """An instance of each target gets its role, all in one batch; none of the messages is retried."""
    places = [organization.hub if each == HOME else organization.spoke(each) for each in targets]
    keys = [place.key(place.running(workload="web")) for place in places]
    for place in {organization.hub, *organization.spokes.values()}:
        place.events.sent.clear()
        place.calls.clear()
    organization.assumed.clear()
    assert organization.batch(*keys) == []
    assert [place.carries(key.id) for place, key in zip(places, keys, strict=True)] == ["web"] * len(keys)
    return keys


def test_it_gets_the_event_that_the_hub_has_with_the_fields_of_the_history(organization: Organization) -> None:
    [key] = attached(organization, SPOKE)
    [event] = organization.spoke(SPOKE).events.sent
    assert [event] == organization.hub.events.sent
    assert (event["Source"], event["DetailType"], event["Resources"]) == ("rolekeeper", "Role Attached", [key.arn])
    detail = event["Detail"]
    assert (detail["account"], detail["region"], detail["instance-id"]) == (SPOKE.account, SPOKE.region, key.id)
    assert {"cause", "seen", "decision", "answer", "seconds"} <= detail.keys()
    assert organization.assumed[NOTIFIER] == 1


def test_nothing_is_called_for_an_account_that_did_not_ask_and_the_hub_gets_its_own_once(
    organization: Organization,
) -> None:
    attached(organization, OTHER, HOME)
    assert organization.spoke(OTHER).calls["PutEvents"] == 0
    assert [each for each in organization.assumed if each.endswith(Access.NOTIFIER)] == []
    assert organization.hub.events.kinds == ["Role Attached"] * 2


def test_a_batch_is_one_call_for_each_target_that_asked(organization: Organization) -> None:
    organization.ask_for_events(OTHER)
    registered(organization)
    attached(organization, *[SPOKE] * 3, *[OTHER] * 2)
    assert [organization.spoke(each).events.batches for each in (SPOKE, OTHER)] == [[3], [2]]


def test_it_hears_of_an_instance_that_the_retry_loop_gave_up(organization: Organization) -> None:
    spoke = organization.spoke(SPOKE)
    key = spoke.key(spoke.launch(workload="web"))
    assert organization.retried(key, hours=0)["outcome"] == "parked"
    assert spoke.events.kinds == ["Instance Parked"]


def no_answer() -> None:
    raise ReadTimeoutError(endpoint_url="https://events")


@pytest.mark.parametrize("hook", [refusing("AccessDeniedException"), refusing("ThrottlingException"), no_answer])
def test_a_bus_that_takes_none_fails_no_message_keeps_none_from_the_hub_and_rings_no_alarm(
    organization: Organization, hook: Callable[[], Any]
) -> None:
    organization.spoke(SPOKE).calls.before("PutEvents", hook)
    attached(organization, SPOKE)
    assert organization.hub.events.kinds == ["Role Attached"]
    assert organization.hub.metrics.counts == {}
    logged = [each for each in organization.hub.logged() if "to their account" in each["message"]]
    assert [(each["level"], each["events"], each["target"]) for each in logged] == [("WARNING", 1, str(SPOKE))]


def test_an_entry_that_a_bus_refuses_rings_no_alarm(organization: Organization) -> None:
    organization.spoke(SPOKE).events.refuses = 1
    attached(organization, SPOKE)
    assert organization.hub.metrics.counts == {}


def test_a_notifier_that_is_gone_is_asked_once_and_keeps_no_other_account_from_its_events(
    organization: Organization,
) -> None:
    """As after --events-to-account false, or where a member tags its reader: no daily event came since."""
    organization.ask_for_events(OTHER)
    registered(organization)
    organization.refuse(SPOKE, Access.NOTIFIER)
    attached(organization, SPOKE, OTHER)
    assert organization.spoke(OTHER).events.kinds == ["Role Attached"]
    assert organization.assumed[NOTIFIER] == 1
    attached(organization, SPOKE)
    assert (organization.assumed[NOTIFIER], organization.hub.metrics.counts) == (0, {})
    organization.admit(SPOKE)
    registered(organization)
    attached(organization, SPOKE)
    assert organization.spoke(SPOKE).events.kinds == ["Role Attached"]


def test_a_batch_that_took_its_time_waits_for_no_accounts_bus(organization: Organization) -> None:
    """The function has to answer in time: otherwise its messages are retried."""
    organization.hub.calls.before("PutEvents", lambda: organization.hub.clock.sleep(WORK.total_seconds()))
    attached(organization, SPOKE)
    assert organization.spoke(SPOKE).calls["PutEvents"] == 0
    assert organization.hub.events.kinds == ["Role Attached"]
    assert organization.hub.metrics.counts == {}


def test_one_that_asks_no_longer_gets_none_after_its_daily_event(organization: Organization) -> None:
    organization.ask_for_events(SPOKE, asked=False)
    registered(organization)
    attached(organization, SPOKE)
    assert organization.spoke(SPOKE).calls["PutEvents"] == 0
