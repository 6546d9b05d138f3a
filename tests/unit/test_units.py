"""Rows for organizational units: which accounts they are published for, as their spokes say their units."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from fixtures.account import ACCOUNT, HOME, mapping_key
from fixtures.mappings import Desk
from fixtures.organization import OTHER, SAME_ACCOUNT, SPOKE, daily_event, new_organization, wired_organization
from fixtures.organization_desk import TAG, OrganizationDesk, Swept, profile
from rolekeeper.mappings.impact import Scan
from rolekeeper.mappings.verdict import Status
from rolekeeper.model.instance import InstanceKey, Target
from rolekeeper.settings import Limits

WEB, DATA, ROOT, TEAM = "ou-a1b2-webwebweb", "ou-a1b2-datadata", "r-a1b2", "ou-a1b2-teamteam"
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
    assert desk.sweep(there) == Swept(changed=False, in_effect=False)
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


# ---- units below others, and what is excluded ----


@pytest.mark.parametrize(
    ("scope", "found"),
    [
        ({"units": {f"{ROOT}/*"}}, {SPOKE, SAME_ACCOUNT, OTHER}),
        ({"units": {f"{WEB}/*"}}, {SPOKE, SAME_ACCOUNT}),
        ({"units": {TEAM}}, {OTHER}),
        ({"units": {f"{DATA}/*"}}, {OTHER}),
        ({"units": {DATA}}, set()),
        ({"units": {f"{ROOT}/*"}, "not_units": {TEAM}}, {SPOKE, SAME_ACCOUNT}),
        ({"not_units": {f"{DATA}/*"}}, {HOME, SPOKE, SAME_ACCOUNT}),
        ({"not_units": {DATA}}, {HOME, SPOKE, SAME_ACCOUNT, OTHER}),
        ({"not_units": {f"{ROOT}/*"}}, {HOME}),
        ({"not_accounts": {SPOKE.account}}, {HOME, OTHER}),
        ({"units": {f"{ROOT}/*"}, "not_accounts": {OTHER.account, ACCOUNT}}, {SPOKE, SAME_ACCOUNT}),
    ],
)
def test_a_row_reaches_the_units_below_and_nothing_that_it_excludes(
    desk: OrganizationDesk, scope: dict[str, Any], found: set[Target]
) -> None:
    move(desk, SPOKE, f"{ROOT}/{WEB}")
    move(desk, OTHER, f"{ROOT}/{DATA}/{TEAM}")
    desk.edit(TAG, role="web", **scope)
    instances = {target: desk.launched(1, target)[0] for target in (SPOKE, SAME_ACCOUNT, OTHER)}
    instances[HOME] = desk.world.running(workload="web")
    assert {target for target, instance in instances.items() if reconciled(desk, instance, target)} == found
    assert desk.shows(TAG)[0] == "Published"


@pytest.mark.parametrize(
    ("excluding", "why"),
    [
        ({"not_accounts": {SPOKE.account}}, f"it excludes account {SPOKE.account}"),
        ({"not_units": {WEB}}, "it excludes organizational units, and this account is in one of them"),
    ],
    ids=["account", "unit"],
)
def test_an_exclusion_that_takes_too_many_roles_away_is_held(
    desk: OrganizationDesk, excluding: dict[str, Any], why: str
) -> None:
    desk.limits = Limits(2, 0)
    desk.edit(TAG, role="web")
    given = [*desk.launched(3), *desk.launched(1, OTHER)]
    for each in given[:3]:
        assert reconciled(desk, each, SPOKE) == "web"
    verdict = desk.edit(TAG, role="web", **excluding)
    assert verdict.status is Status.HELD
    assert verdict.impact is not None
    assert (verdict.impact.attach, verdict.impact.detach) == (0, 3)
    desk.approve(TAG, 2)
    assert desk.shows(TAG)[:2] == ("Published", "in effect in 2 accounts")
    key = desk.spoke(SPOKE).key(given[0])
    decision = desk.organization.reconcile(key)[key].decision
    assert decision is not None
    assert [each.why for each in decision.overridden] == [why]
    assert {reconciled(desk, each, SPOKE) for each in given[1:3]} == {""}


@pytest.mark.parametrize("sweeps", ["its own", "the hub's"])
def test_an_account_that_moves_into_an_excluded_unit_gives_the_role_back(desk: OrganizationDesk, sweeps: str) -> None:
    move(desk, SPOKE, f"{ROOT}/{WEB}")
    desk.edit(TAG, role="web", not_units={f"{DATA}/*"})
    instance = desk.launched(1)[0]
    assert reconciled(desk, instance, SPOKE) == "web"
    move(desk, SPOKE, f"{ROOT}/{DATA}/{TEAM}")
    if sweeps == "its own":
        assert desk.sweep(SPOKE) == Swept(changed=True, in_effect=False)
        assert desk.sweep(SPOKE) == Swept(changed=False, in_effect=False)
    else:
        desk.recheck(TAG)
    assert reconciled(desk, instance, SPOKE) == ""
    move(desk, SPOKE, f"{ROOT}/{WEB}")
    assert desk.sweep(SPOKE) == Swept(changed=True, in_effect=True)
    assert reconciled(desk, instance, SPOKE) == "web"


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


def test_an_account_that_joins_gets_the_role(desk: OrganizationDesk) -> None:
    desk.edit(TAG, role="web", units={WEB})
    instance = desk.launched(1, OTHER)[0]
    desk.quiet()
    move(desk, OTHER, WEB)
    desk.recheck(TAG)
    assert desk.shows(TAG)[1] == "in effect in 2 accounts"
    assert desk.sweep(OTHER) == Swept(changed=True, in_effect=True), "its own sweep counts what that changes"
    assert desk.sent_to() == [(OTHER.account, OTHER.region)]
    assert reconciled(desk, instance, OTHER) == "web"


def test_one_that_comes_back_is_asked_about_its_role_again(desk: OrganizationDesk) -> None:
    given(desk)
    move(desk, SPOKE, DATA)
    desk.sweep(SPOKE)
    del desk.spoke(SPOKE).profiles["web"]
    move(desk, SPOKE, WEB)
    assert desk.sweep(SPOKE) == Swept(changed=True, in_effect=False)
    assert str(desk.published_for(SPOKE.account).problem).startswith(
        "role 'web' doesn't exist in account 111111111111;"
    )


def test_a_brief_sweep_too_sees_that_an_account_came_and_went(desk: OrganizationDesk) -> None:
    """One that doesn't ask IAM about what governs nothing."""
    desk.edit(TAG, role="web", units={WEB})

    def brief() -> Swept:
        found = desk.app().publisher.accounts.recheck(mapping_key(TAG), SPOKE, "sweep-1", scan=Scan(), thorough=False)
        return Swept(found.changed, found.is_in_effect)

    for unit, check in ((DATA, Swept(changed=True)), (WEB, Swept(changed=True, in_effect=True))):
        brief()
        move(desk, SPOKE, unit)
        assert brief() == check
        desk.spoke(SPOKE).calls.clear()
        assert brief() == check._replace(changed=False)
        assert desk.spoke(SPOKE).calls.made == []


# ---- how the hub knows ----


def test_from_its_daily_event_to_its_sweep_an_account_gets_and_loses_a_role(monkeypatch: pytest.MonkeyPatch) -> None:
    with wired_organization(monkeypatch) as organization:
        desk = OrganizationDesk(organization)
        organization.spoke(SPOKE).profile("web")
        organization.batch(daily_event(SPOKE))
        desk.edit(TAG, role="web", units={WEB})
        instance = organization.spoke(SPOKE).running(workload="web")
        carried = []
        for unit in (WEB, DATA, WEB):
            organization.say_unit(SPOKE, unit)
            organization.wait(days=1)
            organization.batch(daily_event(SPOKE))
            task = {"task": "sweep", "id": "s", "target": {"account": SPOKE.account, "region": SPOKE.region}}
            assert organization.scheduled(task)["mappings_changed"] == 1
            carried.append(reconciled(desk, instance, SPOKE))
        assert carried == ["web", "", "web"]


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
            "no account in its scope has a spoke; units: it governs no instance, as the stack is deployed without "
            "OrganizationId"
        )
        assert desk.shows(TAG) == ("Published", reason, 1)
