"""Rows for organizational units: which accounts they are published for, as their spokes say their units."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from fixtures.account import ACCOUNT
from fixtures.mappings import MappingsFixture
from fixtures.organization import OTHER, SAME_ACCOUNT, SPOKE, new_organization, wired_organization
from fixtures.organization_desk import TAG, OrganizationDesk, profile
from rolekeeper.mappings.impact import Scan
from rolekeeper.mappings.publish import RecordCheck
from rolekeeper.mappings.verdict import Status
from rolekeeper.model.instance import InstanceKey, Target
from rolekeeper.model.mapping import MappingSpec

WEB, DATA, ROOT = "ou-a1b2-webwebweb", "ou-a1b2-datadata", "r-a1b2"
NOT_IN_ONE = "it is for organizational units, and this account isn't in one of them"


@pytest.fixture
def desk() -> Iterator[OrganizationDesk]:
    """A hub, an account of the unit WEB in two Regions, and one of the unit DATA."""
    with new_organization() as organization:
        made = OrganizationDesk.of_three(organization)
        move(made, SPOKE, WEB)
        move(made, OTHER, DATA)
        yield made


def move(desk: OrganizationDesk, target: Target, unit: str) -> None:
    """An account's spoke says another unit from here on, and the registry knows it, in all its Regions."""
    desk.organization.say_unit(target, unit)
    registry = desk.app().registry
    for each in registry.all(target.account):
        registry.add(replace(each, unit=unit, since=desk.world.clock.now()))


def reconciled(desk: OrganizationDesk, instance: str, target: Target) -> str:
    """The role of an instance, once it is reconciled."""
    desk.organization.reconcile(InstanceKey(target.account, target.region, instance))
    desk.organization.wait(seconds=5)
    place = desk.world if target.account == ACCOUNT else desk.spoke(target)
    return place.carries(instance)


# ---- who is asked, and gets it ----


def test_a_row_is_published_for_the_accounts_of_its_units_alone(desk: OrganizationDesk) -> None:
    desk.spoke(OTHER).calls.clear()
    desk.world.calls.clear()
    assert desk.edit(TAG, role="web", units={WEB, "ou-a1b2-nobodyis"}).status is Status.PUBLISHED
    assert desk.shows(TAG)[1] == "in effect"
    assert desk.record(OTHER.account) is None
    assert (desk.spoke(OTHER).calls.made, desk.world.calls["GetRole"]) == ([], 0)
    assert desk.published_for(SPOKE.account).profile_arn == profile(SPOKE.account)
    instances = {target: desk.launched(1, target)[0] for target in (SPOKE, SAME_ACCOUNT, OTHER)}
    carried = {target: reconciled(desk, instance, target) for target, instance in instances.items()}
    assert carried == {SPOKE: "web", SAME_ACCOUNT: "web", OTHER: ""}


def test_a_unit_bounds_accounts_and_regions_further(desk: OrganizationDesk) -> None:
    desk.edit(TAG, role="web", units={WEB}, accounts={OTHER.account})
    assert desk.shows(TAG)[1] == "no account in its scope has a spoke"
    desk.edit(TAG, role="web", units={WEB, DATA}, regions={SAME_ACCOUNT.region})
    assert (desk.shows(TAG)[1], desk.record(OTHER.account)) == ("in effect", None)
    there, elsewhere = desk.launched(1, SAME_ACCOUNT)[0], desk.launched(1, SPOKE)[0]
    assert reconciled(desk, there, SAME_ACCOUNT) == "web"
    assert reconciled(desk, elsewhere, SPOKE) == ""


def test_a_nested_unit_is_one_of_its_own(desk: OrganizationDesk) -> None:
    """The root, in which all are, is only that of accounts whose spoke says it."""
    desk.edit(TAG, role="web", units={ROOT})
    assert desk.shows(TAG)[1] == "no account in its scope has a spoke"
    move(desk, OTHER, ROOT)
    desk.sweep(OTHER)
    assert (desk.record(SPOKE.account), desk.published_for(OTHER.account).revision) == (None, 1)


def test_an_account_that_says_no_unit_is_in_none(desk: OrganizationDesk) -> None:
    move(desk, OTHER, "")
    desk.edit(TAG, role="web", units={WEB, DATA})
    assert (desk.shows(TAG)[1], desk.record(OTHER.account)) == ("in effect", None)


def test_nor_is_another_region_of_it(desk: OrganizationDesk) -> None:
    there = Target(ACCOUNT, "eu-west-1")
    place = desk.join(there)
    instance = place.running(workload="web")
    assert desk.edit(TAG, role="web", units={WEB}).matched == 0
    assert desk.sweep(there) == RecordCheck(changed=False, in_effect=False)
    assert reconciled(desk, instance, there) == ""


def test_the_hubs_own_account_is_in_no_unit(desk: OrganizationDesk) -> None:
    desk.edit(TAG, role="web")
    instance = desk.world.running(workload="web")
    assert reconciled(desk, instance, desk.world.key(instance).target) == "web"
    verdict = desk.edit(TAG, role="web", units={WEB})
    assert verdict.impact is not None
    assert verdict.impact.detach == 1
    key = desk.world.key(instance)
    decision = desk.organization.reconcile(key)[key].decision
    assert decision is not None
    assert [each.why for each in decision.overridden] == [NOT_IN_ONE]
    desk.organization.wait(seconds=5)
    assert desk.world.carries(instance) == ""


# ---- accounts that move ----


def given(desk: OrganizationDesk, **columns: Any) -> str:
    """A row for the unit WEB is in effect; an instance of an account there, which has its role."""
    desk.edit(TAG, role="web", units={WEB}, **columns)
    instance = desk.launched(1)[0]
    assert reconciled(desk, instance, SPOKE) == "web"
    desk.quiet()
    return instance


@pytest.mark.parametrize("sweeps", ["its own", "the hub's"])
def test_an_account_that_leaves_gives_the_role_back(desk: OrganizationDesk, sweeps: str) -> None:
    instance = given(desk)
    move(desk, SPOKE, DATA)
    if sweeps == "its own":
        assert desk.sweep(SPOKE) == RecordCheck(changed=True, in_effect=False)
    else:
        desk.recheck(TAG)
        assert desk.shows(TAG)[1] == "no account in its scope has a spoke"
    assert desk.sent_to() == [(SPOKE.account, SPOKE.region)]
    key = desk.spoke(SPOKE).key(instance)
    decision = desk.organization.reconcile(key)[key].decision
    assert decision is not None
    assert [each.why for each in decision.overridden] == [NOT_IN_ONE]
    desk.organization.wait(seconds=5)
    assert desk.spoke(SPOKE).carries(instance) == ""
    assert desk.sweep(SPOKE) == RecordCheck(changed=False, in_effect=False)


@pytest.mark.parametrize("sweeps", ["its own", "the hub's"])
def test_an_account_that_joins_gets_the_role(desk: OrganizationDesk, sweeps: str) -> None:
    desk.edit(TAG, role="web", units={WEB})
    instance = desk.launched(1, OTHER)[0]
    desk.quiet()
    move(desk, OTHER, WEB)
    if sweeps == "its own":
        assert desk.sweep(OTHER) == RecordCheck(changed=True, in_effect=True)
    else:
        desk.recheck(TAG)
        assert desk.shows(TAG)[1] == "in effect in 2 accounts"
    assert desk.sent_to() == [(OTHER.account, OTHER.region)]
    assert reconciled(desk, instance, OTHER) == "web"


@pytest.mark.parametrize("sweeps", ["its own", "the hub's"])
def test_one_that_comes_back_is_asked_about_its_role_again(desk: OrganizationDesk, sweeps: str) -> None:
    given(desk)
    move(desk, SPOKE, DATA)
    desk.sweep(SPOKE)
    del desk.spoke(SPOKE).profiles["web"]
    move(desk, SPOKE, WEB)
    if sweeps == "its own":
        assert desk.sweep(SPOKE) == RecordCheck(changed=True, in_effect=False)
    else:
        desk.recheck(TAG)
    assert desk.published_for(SPOKE.account).suspended_because == "role 'web' doesn't exist in account 111111111111"


def test_a_brief_sweep_too_sees_that_an_account_came_and_went(desk: OrganizationDesk) -> None:
    """One that doesn't ask IAM about what governs nothing."""
    desk.edit(TAG, role="web", units={WEB})

    def brief() -> RecordCheck:
        return desk.app().publisher.recheck_in(mapping_of(desk).key, SPOKE, "sweep-1", Scan(), thorough=False)

    for unit, check in ((DATA, RecordCheck(changed=True)), (WEB, RecordCheck(changed=True, in_effect=True))):
        brief()
        move(desk, SPOKE, unit)
        assert brief() == check
        desk.spoke(SPOKE).calls.clear()
        assert brief() == replace(check, changed=False)
        assert desk.spoke(SPOKE).calls.made == []


def mapping_of(desk: OrganizationDesk) -> MappingSpec:
    found = desk.in_effect(TAG)
    return found.spec


# ---- how the hub knows ----


def test_from_its_daily_event_to_its_sweep_an_account_gets_and_loses_a_role(monkeypatch: pytest.MonkeyPatch) -> None:
    with wired_organization(monkeypatch) as organization:
        desk = OrganizationDesk(organization)
        organization.spoke(SPOKE).profile("web")
        organization.batch(present(SPOKE))
        desk.edit(TAG, role="web", units={WEB})
        instance = organization.spoke(SPOKE).running(workload="web")
        carried = []
        for unit in (WEB, DATA, WEB):
            organization.say_unit(SPOKE, unit)
            organization.wait(days=1)
            organization.batch(present(SPOKE))
            task = {"task": "sweep", "id": "s", "target": {"account": SPOKE.account, "region": SPOKE.region}}
            assert organization.scheduled(task)["mappings_changed"] == 1
            carried.append(reconciled(desk, instance, SPOKE))
        assert carried == ["web", "", "web"]


def test_what_the_spoke_of_the_hubs_own_account_says_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Target(ACCOUNT, "eu-west-1")
    with wired_organization(monkeypatch) as organization:
        organization.say_unit(own, WEB)
        assert organization.batch(present(own)) == []
        served = organization.app().registry.get(own)
        assert served is not None
        assert served.unit == ""


def present(target: Target) -> dict[str, Any]:
    """A spoke's daily event."""
    rule = f"arn:aws:events:{target.region}:{target.account}:rule/rolekeeper-present"
    return {
        "source": "aws.events",
        "detail-type": "Scheduled Event",
        "account": target.account,
        "region": target.region,
        "resources": [rule],
        "detail": {},
    }


# ---- without an organization ----


def test_without_an_organization_a_row_for_units_governs_nothing_and_says_so() -> None:
    with new_organization() as organization:
        desk = MappingsFixture(organization.hub)
        desk.world.running(workload="web")
        assert desk.edit(TAG, role="of-no-account", units={WEB}).matched == 0
        reason = (
            "no account in its scope has a spoke; units: it governs no instance, as the stack is deployed without "
            "OrganizationId"
        )
        assert desk.shows(TAG) == ("Published", reason, 1)
