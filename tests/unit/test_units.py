"""Rows for organizational units: which accounts they are published for, as their spokes say their units."""

from dataclasses import replace
from typing import Any

import pytest

from fixtures.account import ACCOUNT, mapping_key
from fixtures.mappings import Desk
from fixtures.organization import OTHER, SAME_ACCOUNT, SPOKE, daily_event, new_organization, wired_organization
from fixtures.organization_desk import TAG, OrganizationDesk, Swept, profile
from rolekeeper.mappings.impact import Scan
from rolekeeper.mappings.verdict import Status
from rolekeeper.model.instance import InstanceKey, Target

WEB, DATA, ROOT = "ou-a1b2-webwebweb", "ou-a1b2-datadata", "r-a1b2"
NOT_IN_ONE = "it is for organizational units, and this account isn't in one of them"


@pytest.fixture
def desk(hub: OrganizationDesk) -> OrganizationDesk:
    """A hub, an account of the unit WEB in two Regions, and one of the unit DATA."""
    move(hub, SPOKE, WEB)
    move(hub, OTHER, DATA)
    return hub


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


# ---- units below others, and what is excluded ----


@pytest.mark.parametrize(
    ("scope", "says", "named"),
    [
        ({"units": {f"{DATA}/*"}}, WEB, True),
        ({"units": {f"{DATA}/*"}}, f"{ROOT}/{WEB}", False),
        ({"units": {f"{DATA}/*"}}, "", False),
        ({"units": {WEB}}, WEB, False),
        ({"units": {WEB}, "not_units": {DATA}}, WEB, False),
        ({"units": {WEB}, "not_units": {f"{DATA}/*"}}, WEB, True),
        ({"not_units": {WEB}}, WEB, False),
        ({"not_units": {WEB}}, "", True),
        ({"not_units": {WEB}, "accounts": {OTHER.account}}, "", False),
    ],
    ids=str,
)
def test_the_row_names_accounts_whose_spokes_say_too_little(
    desk: OrganizationDesk, scope: dict[str, Any], says: str, *, named: bool
) -> None:
    move(desk, OTHER, f"{ROOT}/{DATA}")
    move(desk, SPOKE, says)
    desk.edit(TAG, role="web", **scope)
    said = f"units: {SPOKE.account} may be in more units than their spokes say; deploy those with the units from"
    assert (said in desk.shows(TAG)[1]) == named


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
        assert desk.sweep(SPOKE) == Swept(changed=True, in_effect=False)
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
    assert desk.sweep(SPOKE) == Swept(changed=False, in_effect=False)


def test_a_brief_sweep_too_sees_that_an_account_came_and_went(desk: OrganizationDesk) -> None:
    """One that doesn't ask IAM about what governs nothing."""
    desk.edit(TAG, role="web", units={WEB})

    def brief() -> Swept:
        found = desk.app().at(SPOKE).record_checks(lambda: False).recheck(mapping_key(TAG), "sweep-1", Scan())
        return Swept(found.changed, found.is_in_effect)

    for unit, check in ((DATA, Swept(changed=True)), (WEB, Swept(changed=True, in_effect=True))):
        brief()
        move(desk, SPOKE, unit)
        assert brief() == check
        desk.spoke(SPOKE).calls.clear()
        assert brief() == check._replace(changed=False)
        assert desk.spoke(SPOKE).calls.made == []


# ---- how the hub knows ----


def test_what_the_spoke_of_the_hubs_own_account_says_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Target(ACCOUNT, "eu-west-1")
    with wired_organization(monkeypatch) as organization:
        organization.say_unit(own, WEB)
        assert organization.batch(daily_event(own)) == []
        served = organization.app().registry.get(own)
        assert served is not None
        assert served.unit == ""


# ---- without an organization ----


def test_without_an_organization_a_row_for_units_governs_nothing_and_says_so() -> None:
    with new_organization() as organization:
        desk = Desk(organization.hub)
        desk.world.running(workload="web")
        assert desk.edit(TAG, role="of-no-account", units={WEB}).matched == 0
        reason = (
            "no account in its scope has a spoke; units: it governs no instance, because the stack is deployed without "
            "OrganizationId"
        )
        assert desk.shows(TAG) == ("Published", reason, 1)
