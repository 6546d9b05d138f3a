"""Rows in an organization: one verdict over all accounts and Regions, and what is published for each account."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from fixtures.account import ACCOUNT, FakeAccount, mapping_key, refusing
from fixtures.mappings import TRUSTS_EC2
from fixtures.organization import OTHER, SAME_ACCOUNT, SPOKE
from fixtures.organization_desk import TAG, OrganizationDesk, Swept, profile
from rolekeeper.aws.errors import AccessDeniedError, RetryableError
from rolekeeper.mappings.impact import Scan
from rolekeeper.mappings.verdict import Status
from rolekeeper.model.instance import Target
from rolekeeper.settings import Limits
from rolekeeper.storage import layout
from support.grants import allow, policy


def test_a_row_is_published_for_each_account_with_its_own_profile(hub: OrganizationDesk) -> None:
    assert hub.edit(TAG, role="web").status is Status.PUBLISHED
    published = hub.in_effect(TAG)
    assert published.profile_arn == profile(ACCOUNT)
    for account in (SPOKE.account, OTHER.account):
        record = hub.published_for(account)
        assert (record.profile_arn, record.revision, record.spec) == (profile(account), 1, published.spec)
    assert hub.shows(TAG) == ("Published", "in effect in 3 accounts", 1)


def test_a_mapping_that_expired_while_an_edit_of_it_is_held_has_its_instances_sent_too(hub: OrganizationDesk) -> None:
    ends = hub.world.clock.now() + timedelta(minutes=5)
    hub.edit(TAG, role="web", expires_at=ends.isoformat())
    hub.organization.reconcile(*map(hub.spoke(OTHER).key, hub.launched(1, OTHER)))
    hub.limits = Limits(0, 0)
    assert hub.edit(TAG, role="NONE").status is Status.HELD
    for minutes in (2, 4):
        hub.sent()
        hub.world.later(minutes=minutes)
        assert hub.app().expiries("minute", waits=False).run().problems == []
    assert (hub.shows(TAG)[0], hub.sent_to()) == ("Held", [(OTHER.account, OTHER.region)])


# ---- where the role can't be used ----


def lose(place: FakeAccount, role: str = "web") -> None:
    """An account has a role no longer."""
    del place.profiles[role]


def test_a_role_that_no_account_has_is_rejected_once_for_all(hub: OrganizationDesk) -> None:
    assert hub.edit(TAG, role="wbe").status is Status.REJECTED
    reason = (
        "role 'wbe' doesn't exist in 111111111111, 123456789012, 222222222222; create it under the path /rolekeeper/, "
        "or correct the name"
    )
    assert hub.shows(TAG) == ("Rejected", reason, 0)
    assert (hub.served(TAG), hub.record(SPOKE.account)) == (None, None)


def test_an_edit_is_held_for_what_it_takes_once_an_account_that_cant_use_its_role_yet_can(
    hub: OrganizationDesk,
) -> None:
    """Nobody is asked again when the role comes to be usable there."""
    hub.edit(TAG, role="web")
    hub.organization.reconcile(*(hub.spoke(OTHER).key(each) for each in hub.launched(2, OTHER)))
    make_api(hub)
    lose(hub.spoke(OTHER), "api")
    hub.limits = Limits(1, 0)
    verdict = hub.edit(TAG, role="api")
    assert verdict.status is Status.HELD
    assert "replace 2" in hub.shows(TAG)[1]


# ---- targets that give no answer ----


def test_its_own_sweep_brings_it_up_to_date_and_sends_its_instances(hub: OrganizationDesk) -> None:
    hub.edit(TAG, role="web")
    hub.launched(2, OTHER)
    hub.organization.refuse(OTHER)
    hub.edit(TAG, role="web", owner="ops")
    hub.quiet()
    with pytest.raises(AccessDeniedError):
        hub.sweep(OTHER)
    assert (hub.published_for(OTHER.account).revision, hub.sent_to()) == (1, [])
    hub.organization.admit(OTHER)
    hub.recheck(TAG)
    assert hub.published_for(OTHER.account).revision == 1, "the hub's sweep leaves it to that"
    assert hub.sweep(OTHER) == Swept(changed=True, in_effect=True)
    assert hub.published_for(OTHER.account).revision == 2
    assert hub.sent_to() == [(OTHER.account, OTHER.region)] * 2
    assert hub.sweep(OTHER) == Swept(changed=False, in_effect=True)
    assert hub.sent_to() == []
    hub.recheck(TAG)
    assert hub.shows(TAG)[1] == "in effect in 3 accounts"


def make_api(desk: OrganizationDesk) -> None:
    """Every account has the role `api` too."""
    desk.role("api")
    for target in (SPOKE, OTHER):
        desk.spoke(target).profile("api")


def test_the_hubs_own_table_refusing_is_no_fault_of_a_target(hub: OrganizationDesk) -> None:
    hub.launched(1)
    spoke = hub.spoke(SPOKE)
    spoke.calls.before(
        "DescribeInstances", lambda: hub.world.calls.before("BatchGetItem", refusing("ThrottlingException"))
    )
    with pytest.raises(RetryableError):
        hub.edit(TAG, role="web")
    assert hub.served(TAG) is None


# ---- deletions ----


def test_a_tombstone_is_written_whatever_its_account_answers(hub: OrganizationDesk) -> None:
    """What an instance is tagged with later must give it no role of a mapping that is gone."""
    hub.edit(TAG, role="web")
    hub.organization.refuse(OTHER)
    hub.remove(TAG)
    why = "222222222222 gave no answer (AccessDenied to sts:AssumeRole), its sweep removes it there"
    assert hub.history(TAG)[-1]["reason"] == f"its row was deleted; {why}"
    assert hub.published_for(OTHER.account).deleted
    hub.organization.admit(OTHER)
    instance = hub.launched(1, OTHER)[0]
    hub.organization.reconcile(hub.spoke(OTHER).key(instance))
    assert hub.spoke(OTHER).carries(instance) == ""


@pytest.mark.parametrize("held", [False, True])
def test_what_is_deleted_while_the_deployment_is_no_hub_is_gone_when_it_is_one_again(
    hub: OrganizationDesk, monkeypatch: pytest.MonkeyPatch, *, held: bool
) -> None:
    """Instances there are looked at before the first sweep comes by the mapping."""
    instance = hub.launched(1, OTHER)[0]
    hub.edit(TAG, role="web")
    with monkeypatch.context() as alone:
        alone.setattr("fixtures.organization.ORGANIZATION", "")
        if held:
            hub.limits = Limits(0, 0)
            hub.world.reconcile(hub.world.running(workload="web"))
        verdict = hub.remove(TAG)
        if held:
            assert verdict.status is Status.HELD
            verdict = hub.approve(TAG, 2)
        assert verdict.status is Status.REMOVED
    assert [hub.published_for(account).deleted for account in (SPOKE.account, OTHER.account)] == [True, True]
    hub.organization.reconcile(hub.spoke(OTHER).key(instance))
    assert hub.spoke(OTHER).carries(instance) == ""


# ---- limits ----


@pytest.mark.parametrize("call", ["AssumeRole", "DescribeInstances"])
def test_a_held_edit_stays_held_while_an_account_gives_no_answer(hub: OrganizationDesk, call: str) -> None:
    hub.limits = Limits(2, 0)
    hub.join(OTHER, instances=1)
    hub.launched(3, OTHER)
    assert hub.edit(TAG, role="web").status is Status.HELD
    hub.silence(call=call)
    assert hub.recheck(TAG).status is Status.HELD
    assert "222222222222 gave no answer" in hub.shows(TAG)[1]
    assert hub.served(TAG) is None


def test_the_share_of_one_target_is_a_limit_too(hub: OrganizationDesk) -> None:
    """Of all instances two are few, and of the ten in one Region they are too many."""
    hub.limits = Limits(1, 10)
    for target in (SPOKE, OTHER):
        for _ in range(8):
            hub.spoke(target).running()
    hub.launched(2)
    assert hub.edit(TAG, role="web").status is Status.HELD
    alone = "of the 10 in 111111111111/eu-west-1 it would change 2 (1 may change without approval)"
    assert alone in hub.shows(TAG)[1]
    hub.launched(2, OTHER)
    assert hub.edit(TAG, role="web").status is Status.HELD
    assert f"{alone}, and too many in 1 more target;" in hub.shows(TAG)[1]


def test_what_an_edit_takes_later_counts_where_nobody_answers(hub: OrganizationDesk) -> None:
    fleet = hub.launched(3, OTHER)
    hub.edit(TAG, role="web")
    hub.organization.reconcile(*map(hub.spoke(OTHER).key, fleet))
    hub.sweep(OTHER)
    hub.limits = Limits(2, 0)
    hub.organization.refuse(OTHER)
    ends = hub.world.clock.now() + timedelta(days=1)
    assert hub.edit(TAG, role="web", expires_at=ends.isoformat()).status is Status.HELD
    assert f"at {ends:%Y-%m-%dT%H:%M:%SZ}, when it expires, detach 3" in hub.shows(TAG)[1]


@pytest.mark.parametrize("silent", [False, True], ids=["", "silent"])
def test_roles_that_were_kept_out_of_the_scope_count_when_they_are_kept_no_longer(
    hub: OrganizationDesk, *, silent: bool
) -> None:
    there = hub.spoke(OTHER)
    hub.edit(TAG, role="web", when_unmatched="keep")
    fleet = hub.launched(3, OTHER)
    hub.organization.reconcile(*map(there.key, fleet))
    elsewhere: dict[str, Any] = {"role": "web", "accounts": {ACCOUNT, SPOKE.account}}
    hub.edit(TAG, **elsewhere, when_unmatched="keep")
    for each in fleet:
        there.untag(each, "workload")
    hub.join(OTHER, instances=3)
    hub.limits = Limits(2, 0)
    if silent:
        hub.organization.refuse(OTHER)
    assert hub.edit(TAG, **elsewhere).status is Status.HELD
    assert "would detach 3 instances" in hub.shows(TAG)[1]


def test_what_would_change_is_never_more_than_there_is(hub: OrganizationDesk) -> None:
    """The last sweep of a target may have counted fewer than it has by now."""
    hub.join(OTHER, instances=2)
    hub.launched(4, OTHER)
    hub.limits = Limits(1, 0)
    hub.edit(TAG, role="web")
    assert "(4 of 204; 1 may change without approval)" in hub.shows(TAG)[1]
    assert "of the 4 in 222222222222/eu-west-1 it would change 4" in hub.shows(TAG)[1]


def test_permissions_are_compared_by_the_policies_of_each_account(hub: OrganizationDesk) -> None:
    hub.edit(TAG, role="web")
    key = hub.spoke(OTHER).key(hub.launched(1, OTHER)[0])
    hub.organization.reconcile(key)
    make_api(hub)
    hub.spoke(OTHER).clients["iam"].inline["api"] = policy(allow("s3:GetObject"))
    verdict = hub.edit(TAG, role="api")
    assert verdict.impact is not None
    assert verdict.impact.difference.gained == ("s3:GetObject on *",)


def test_a_conflict_with_a_mapping_that_an_account_has_in_an_older_revision(hub: OrganizationDesk) -> None:
    make_api(hub)
    hub.edit("team=a", role="api")
    hub.organization.refuse(SPOKE)
    hub.edit("team=a", role="api", owner="team a")
    hub.organization.admit(SPOKE)
    hub.launched(1, team="a")
    assert hub.edit(TAG, role="web").status is Status.CONFLICT
    assert hub.edit("team=a", role="api", priority=7).status is Status.PUBLISHED
    assert hub.shows(TAG)[0] == "Published"


# ---- counts ----


def test_a_row_that_is_rejected_shows_what_is_governed_everywhere(hub: OrganizationDesk) -> None:
    hub.launched(2)
    hub.world.running(workload="web")
    hub.edit(TAG, role="web")
    hub.edit(TAG, role="wbe")
    assert hub.row(TAG)["matched"] == 3
    hub.sweep(SPOKE, scan=Scan(matched=7))
    hub.recheck(TAG, Scan(matched=4))
    assert hub.row(TAG)["matched"] == 11


def test_the_hubs_sweep_asks_no_account_whose_copy_is_there(hub: OrganizationDesk) -> None:
    hub.edit(TAG, role="web")
    places = [hub.spoke(target) for target in (SPOKE, SAME_ACCOUNT, OTHER)]
    for place in places:
        place.calls.clear()
    hub.recheck(TAG)
    assert [place.calls.made for place in places] == [[], [], []]


def test_another_region_of_the_hubs_own_account_shares_what_is_published(hub: OrganizationDesk) -> None:
    beside = Target(ACCOUNT, "eu-north-1")
    place = hub.join(beside, "web")
    instance = place.running(workload="web")
    assert hub.edit(TAG, role="web").matched == 1
    assert hub.shows(TAG)[1] == "in effect in 3 accounts"
    assert hub.sent_to() == [(ACCOUNT, beside.region)]
    assert [hub.edit(TAG, role="web").matched, hub.recheck(TAG).matched] == [1, 1], "as it was counted then"
    place.running(workload="web")
    assert hub.sweep(beside) == Swept(changed=False, in_effect=True)
    hub.recheck(TAG)
    assert hub.row(TAG)["matched"] == 2
    hub.organization.reconcile(place.key(instance))
    assert place.carries(instance) == "web"


# ---- the sweep of a target ----


def test_a_mapping_that_is_not_published_is_left_alone(hub: OrganizationDesk) -> None:
    assert hub.sweep(SPOKE) == Swept()
    hub.edit(TAG, role="web")
    hub.world.damage(TAG)
    assert hub.sweep(SPOKE) == Swept(), "a record that is missing detaches nothing"
    assert not hub.published_for(SPOKE.account).deleted


def test_a_record_that_cant_be_read_is_written_anew(hub: OrganizationDesk) -> None:
    hub.edit(TAG, role="web")
    hub.world.garble(layout.published_key(mapping_key(TAG), OTHER.account))
    hub.sweep(OTHER)
    assert hub.published_for(OTHER.account).revision == 1


# ---- profiles ----

ROLE_ARN = f"arn:aws:iam::{OTHER.account}:role/rolekeeper/web"


def unprofiled(desk: OrganizationDesk) -> FakeAccount:
    """An account that has the role, and no instance profile for it."""
    place = desk.spoke(OTHER)
    lose(place)
    named = {"RoleName": "web", "Arn": ROLE_ARN, "Path": "/rolekeeper/", "CreateDate": None}
    place.clients["iam"].others["web"] = {**named, "AssumeRolePolicyDocument": TRUSTS_EC2}
    return place


def test_a_profile_that_may_not_be_made_leaves_the_account_to_its_sweep(hub: OrganizationDesk) -> None:
    unprofiled(hub).calls.before("CreateInstanceProfile", refusing("AccessDenied"))
    assert hub.edit(TAG, role="web").status is Status.PUBLISHED
    assert hub.record(OTHER.account) is None
    assert hub.world.metrics.counts["WillRetry"] == 1
    hub.sweep(OTHER)
    assert hub.published_for(OTHER.account).revision == 1


def test_what_is_in_effect_in_an_account_stays_usable_while_a_later_edit_is_held_there(hub: OrganizationDesk) -> None:
    hub.launched(2, OTHER)
    place = unprofiled(hub)
    hub.world.control(paused=True)
    hub.edit(TAG, role="web")
    hub.world.control()
    hub.usable("api")
    for target in (SPOKE, OTHER):
        hub.spoke(target).profile("api")
    hub.silence(OTHER)
    assert hub.edit(TAG, role="api").status is Status.PUBLISHED
    hub.answers(OTHER)
    hub.limits = Limits(0, 0)
    assert (hub.published_for(OTHER.account).revision, "web" in place.profiles) == (1, False)
    hub.sweep(OTHER)
    assert (hub.published_for(OTHER.account).revision, "web" in place.profiles) == (1, True)


# ---- where what is published was lost, and records of other accounts weren't ----


def test_numbers_that_began_anew_before_records_were_seen_are_left_behind_at_the_next_check(
    hub: OrganizationDesk,
) -> None:
    hub.edit(TAG, role="web")
    record = hub.record(OTHER.account)
    assert record
    ahead = replace(record, mapping=replace(record.mapping, revision=5))
    hub.world.revisions.write(OTHER.account, ahead)
    assert not hub.sweep(OTHER).changed, "the target's own sweep leaves it to the hub"
    hub.recheck(TAG)
    assert hub.shows(TAG) == ("Published", "in effect in 3 accounts", 6)
    assert {hub.published_for(account).revision for account in (SPOKE.account, OTHER.account)} == {6}
