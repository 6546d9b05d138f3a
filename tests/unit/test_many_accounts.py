"""Rows in an organization: one verdict over all accounts and Regions, and what is published for each account."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from fixtures.account import ACCOUNT, HOME, FakeAccount, mapping_key, refusing
from fixtures.mappings import TRUSTS_EC2
from fixtures.organization import OTHER, SAME_ACCOUNT, SPOKE, new_organization
from fixtures.organization_desk import TAG, OrganizationDesk, Swept, profile
from rolekeeper.aws.errors import AccessDeniedError, ConflictError, RetryableError
from rolekeeper.mappings.impact import Scan
from rolekeeper.mappings.verdict import Status
from rolekeeper.model.instance import Target
from rolekeeper.model.mapping import Mode
from rolekeeper.settings import Access, Limits
from rolekeeper.storage import layout
from support.grants import allow, policy


@pytest.fixture
def desk() -> Iterator[OrganizationDesk]:
    with new_organization() as organization:
        yield OrganizationDesk.of_three(organization)


def test_a_row_is_published_for_each_account_with_its_own_profile(desk: OrganizationDesk) -> None:
    assert desk.edit(TAG, role="web").status is Status.PUBLISHED
    published = desk.in_effect(TAG)
    assert published.profile_arn == profile(ACCOUNT)
    for account in (SPOKE.account, OTHER.account):
        record = desk.published_for(account)
        assert (record.profile_arn, record.revision, record.spec) == (profile(account), 1, published.spec)
    assert desk.shows(TAG) == ("Published", "in effect in 3 accounts", 1)


def test_its_instances_are_sent_in_every_target_and_get_their_accounts_role(desk: OrganizationDesk) -> None:
    places = {target: desk.organization.spoke(target) for target in (SPOKE, SAME_ACCOUNT, OTHER)}
    instances = {target: place.running(workload="web") for target, place in places.items()}
    desk.world.running(workload="web")
    verdict = desk.edit(TAG, role="web")
    assert (verdict.matched, desk.row(TAG)["matched"]) == (4, 4)
    assert desk.sent_to() == sorted((each.account, each.region) for each in (HOME, SPOKE, SAME_ACCOUNT, OTHER))
    desk.organization.reconcile(*(place.key(instances[target]) for target, place in places.items()))
    for target, place in places.items():
        assert place.carries(instances[target]) == "web", target


def test_a_mapping_that_expired_has_its_instances_sent_in_every_target_and_waits_for_none(
    desk: OrganizationDesk,
) -> None:
    ends = desk.world.clock.now() + timedelta(minutes=5)
    desk.edit(TAG, role="web", expires_at=ends.isoformat())
    for target in (SPOKE, OTHER):
        desk.launched(1, target)
    desk.sent()
    desk.organization.refuse(SPOKE)
    desk.world.later(minutes=4)
    asked = [len(desk.spoke(target).calls.made) for target in (SPOKE, OTHER)]
    desk.app().expiries("minute", waits=False).run()
    assert ([len(desk.spoke(target).calls.made) for target in (SPOKE, OTHER)], desk.sent_to()) == (asked, [])
    desk.world.later(minutes=2)
    assert desk.app().expiries("minute", waits=False).run().problems == []
    assert (desk.shows(TAG)[0], desk.sent_to()) == ("Expired", [(OTHER.account, OTHER.region)])
    assert list(desk.world.state.timers_due(desk.world.clock.now())) == []


def test_a_mapping_that_expired_while_an_edit_of_it_is_held_has_its_instances_sent_too(desk: OrganizationDesk) -> None:
    ends = desk.world.clock.now() + timedelta(minutes=5)
    desk.edit(TAG, role="web", expires_at=ends.isoformat())
    desk.organization.reconcile(*map(desk.spoke(OTHER).key, desk.launched(1, OTHER)))
    desk.limits = Limits(0, 0)
    assert desk.edit(TAG, role="NONE").status is Status.HELD
    for minutes in (2, 4):
        desk.sent()
        desk.world.later(minutes=minutes)
        assert desk.app().expiries("minute", waits=False).run().problems == []
    assert (desk.shows(TAG)[0], desk.sent_to()) == ("Held", [(OTHER.account, OTHER.region)])


# ---- where the role can't be used ----


def lose(place: FakeAccount, role: str = "web") -> None:
    """An account has a role no longer."""
    del place.profiles[role]


def test_an_account_without_the_role_is_named_and_its_instances_stay_as_they_are(desk: OrganizationDesk) -> None:
    lose(desk.spoke(OTHER))
    instance = desk.launched(1, OTHER)[0]
    assert desk.edit(TAG, role="web").status is Status.PUBLISHED
    assert desk.shows(TAG)[1] == "in effect in 2 of 3 accounts; role 'web' doesn't exist in 222222222222"
    assert str(desk.published_for(OTHER.account).problem).startswith(
        "role 'web' doesn't exist in account 222222222222;"
    )
    outcome = desk.organization.reconcile(desk.spoke(OTHER).key(instance))[desk.spoke(OTHER).key(instance)]
    assert outcome.decision is not None
    assert (outcome.decision.code, desk.spoke(OTHER).carries(instance)) == ("suspended", "")


def test_a_role_that_no_account_has_is_rejected_once_for_all(desk: OrganizationDesk) -> None:
    assert desk.edit(TAG, role="wbe").status is Status.REJECTED
    reason = (
        "role 'wbe' doesn't exist in 111111111111, 123456789012, 222222222222; create it under the path /rolekeeper/, "
        "or correct the name"
    )
    assert desk.shows(TAG) == ("Rejected", reason, 0)
    assert (desk.served(TAG), desk.record(SPOKE.account)) == (None, None)


def test_the_hubs_own_account_may_be_the_one_that_lacks_it(desk: OrganizationDesk) -> None:
    desk.delete_role("web")
    ours = desk.world.running(workload="web")
    theirs = desk.launched(1)[0]
    assert desk.edit(TAG, role="web").status is Status.PUBLISHED
    assert desk.shows(TAG)[1] == "in effect in 2 of 3 accounts; role 'web' doesn't exist in 123456789012"
    assert desk.in_effect(TAG).suspended_because
    desk.organization.reconcile(desk.world.key(ours), desk.spoke(SPOKE).key(theirs))
    assert (desk.world.carries(ours), desk.spoke(SPOKE).carries(theirs)) == ("", "web")
    desk.role("web")
    assert desk.recheck(TAG).status is Status.PUBLISHED
    resumed = desk.in_effect(TAG)
    assert (resumed.suspended_because, resumed.revision) == ("", 1)
    assert desk.shows(TAG)[1] == "in effect in 3 accounts"


def test_an_edit_that_the_hubs_own_account_cant_use_is_held_and_approved_all_the_same(desk: OrganizationDesk) -> None:
    desk.delete_role("web")
    desk.limits = Limits(1, 0)
    desk.launched(2)
    assert desk.edit(TAG, role="web").status is Status.HELD
    missing = "role 'web' doesn't exist in 123456789012"
    assert f"--revision 1; {missing}" in desk.shows(TAG)[1]
    desk.role("web", path="/elsewhere/")
    assert desk.recheck(TAG).held == 1, "another reason makes it no other edit"
    assert desk.approve(TAG, 1).status is Status.PUBLISHED
    assert "/elsewhere/" in desk.in_effect(TAG).suspended_because


def test_an_edit_is_held_for_what_it_takes_once_an_account_that_cant_use_its_role_yet_can(
    desk: OrganizationDesk,
) -> None:
    """Nobody is asked again when the role comes to be usable there."""
    desk.edit(TAG, role="web")
    desk.organization.reconcile(*(desk.spoke(OTHER).key(each) for each in desk.launched(2, OTHER)))
    make_api(desk)
    lose(desk.spoke(OTHER), "api")
    desk.limits = Limits(1, 0)
    verdict = desk.edit(TAG, role="api")
    assert verdict.status is Status.HELD
    assert "attach 0, replace 2 and detach 0" in desk.shows(TAG)[1]


@pytest.mark.parametrize("days", [0, 2])
def test_an_account_that_cant_use_the_role_counts_no_instance_that_would_gain_it(
    desk: OrganizationDesk, days: int
) -> None:
    """Nor one that would then lose it again, as the row expires."""
    lose(desk.spoke(OTHER))
    desk.launched(2, OTHER)
    desk.limits = Limits(1, 0)
    ends = {"expires_at": (desk.world.clock.now() + timedelta(days=days)).isoformat()} if days else {}
    assert desk.edit(TAG, role="web", **ends).status is Status.PUBLISHED


# ---- scopes ----


def test_an_account_out_of_the_scope_has_no_copy_and_is_not_asked(desk: OrganizationDesk) -> None:
    desk.spoke(OTHER).calls.clear()
    desk.edit(TAG, role="web", accounts={ACCOUNT, SPOKE.account})
    assert desk.record(OTHER.account) is None
    assert desk.shows(TAG)[1] == "in effect in 2 accounts"
    assert desk.spoke(OTHER).calls.made == []


def test_the_hubs_own_account_out_of_the_scope_is_not_asked(desk: OrganizationDesk) -> None:
    desk.delete_role("web")
    desk.world.calls.clear()
    assert desk.edit(TAG, role="web", accounts={SPOKE.account}).status is Status.PUBLISHED
    assert desk.shows(TAG)[1] == "in effect"
    assert desk.world.calls["GetRole"] == 0
    assert desk.published_for(SPOKE.account).profile_arn == profile(SPOKE.account)
    assert desk.recheck(TAG).status is Status.PUBLISHED, "nor by the sweep"
    assert desk.world.calls["GetRole"] == 0


def test_a_row_for_accounts_without_a_spoke_waits_for_them(desk: OrganizationDesk) -> None:
    new = Target("333333333333", "eu-west-1")
    assert desk.edit(TAG, role="web", accounts={new.account}).status is Status.PUBLISHED
    assert desk.shows(TAG)[1] == "no account in its scope has a spoke"
    desk.join(new, "web").running(workload="web")
    desk.quiet()
    assert desk.sweep(new) == Swept(changed=True, in_effect=True)
    assert desk.sent_to() == [(new.account, new.region)]
    assert desk.published_for(new.account).profile_arn == profile(new.account)
    desk.recheck(TAG)
    assert desk.shows(TAG)[1] == "in effect"


def test_an_account_that_leaves_the_scope_gives_the_role_back(desk: OrganizationDesk) -> None:
    desk.edit(TAG, role="web")
    instance = desk.launched(1, OTHER)[0]
    key = desk.spoke(OTHER).key(instance)
    desk.organization.reconcile(key)
    assert desk.spoke(OTHER).carries(instance) == "web"
    desk.quiet()
    verdict = desk.edit(TAG, role="web", accounts={ACCOUNT, SPOKE.account})
    assert verdict.impact is not None
    assert verdict.impact.detach == 1
    assert desk.published_for(OTHER.account).revision == 2
    assert (OTHER.account, OTHER.region) in desk.sent_to()
    desk.organization.reconcile(key)
    desk.organization.wait(seconds=5)
    assert desk.spoke(OTHER).carries(instance) == ""


# ---- targets that give no answer ----


def test_an_account_that_refuses_holds_nothing_up_and_its_record_stays_as_it_was(desk: OrganizationDesk) -> None:
    desk.edit(TAG, role="web")
    desk.organization.refuse(OTHER)
    assert desk.edit(TAG, role="web", owner="ops").status is Status.PUBLISHED
    reason = (
        "in effect in 2 of 3 accounts; 222222222222 gave no answer (AccessDenied to sts:AssumeRole), its sweep "
        "publishes it there"
    )
    assert desk.shows(TAG) == ("Published", reason, 2)
    assert (desk.published_for(SPOKE.account).revision, desk.published_for(OTHER.account).revision) == (2, 1)


def test_its_own_sweep_brings_it_up_to_date_and_sends_its_instances(desk: OrganizationDesk) -> None:
    desk.edit(TAG, role="web")
    desk.launched(2, OTHER)
    desk.organization.refuse(OTHER)
    desk.edit(TAG, role="web", owner="ops")
    desk.quiet()
    with pytest.raises(AccessDeniedError):
        desk.sweep(OTHER)
    assert (desk.published_for(OTHER.account).revision, desk.sent_to()) == (1, [])
    desk.organization.admit(OTHER)
    desk.recheck(TAG)
    assert desk.published_for(OTHER.account).revision == 1, "the hub's sweep leaves it to that"
    assert desk.sweep(OTHER) == Swept(changed=True, in_effect=True)
    assert desk.published_for(OTHER.account).revision == 2
    assert desk.sent_to() == [(OTHER.account, OTHER.region)] * 2
    assert desk.sweep(OTHER) == Swept(changed=False, in_effect=True)
    assert desk.sent_to() == []
    desk.recheck(TAG)
    assert desk.shows(TAG)[1] == "in effect in 3 accounts"


def make_api(desk: OrganizationDesk) -> None:
    """Every account has the role `api` too."""
    desk.role("api")
    for target in (SPOKE, OTHER):
        desk.spoke(target).profile("api")


@pytest.mark.parametrize("call", ["GetRole", "GetInstanceProfile", "DescribeInstances"])
def test_a_target_that_throttles_is_left_to_its_sweep(desk: OrganizationDesk, call: str) -> None:
    desk.edit(TAG, role="web")
    desk.spoke(SAME_ACCOUNT if call == "DescribeInstances" else SPOKE).calls.before(
        call, refusing("RequestLimitExceeded")
    )
    assert desk.edit(TAG, role="web", owner="ops").status is Status.PUBLISHED
    assert "; 111111111111 gave no answer (RequestLimitExceeded to " in desk.shows(TAG)[1]
    assert (desk.published_for(SPOKE.account).revision, desk.published_for(OTHER.account).revision) == (1, 2)


def test_where_nobody_answers_the_row_waits(desk: OrganizationDesk) -> None:
    desk.organization.refuse(OTHER)
    assert desk.edit(TAG, role="web", accounts={OTHER.account}).status is Status.WAITING
    assert desk.shows(TAG) == ("Waiting", "222222222222 gave no answer (AccessDenied to sts:AssumeRole)", 0)
    desk.organization.admit(OTHER)
    assert desk.recheck(TAG).status is Status.PUBLISHED


def test_an_account_that_refuses_is_asked_once_in_an_invocation(desk: OrganizationDesk) -> None:
    desk.organization.refuse(OTHER)
    app = desk.app()
    for tag in (TAG, "team=a", "team=b"):
        desk.put(tag, role="web")
        app.publisher.publish(mapping_key(tag), "edit-1")
    assert desk.organization.assumed[desk.organization.role(OTHER, Access.READER)] == 1


def test_the_hubs_own_table_refusing_is_no_fault_of_a_target(desk: OrganizationDesk) -> None:
    desk.launched(1)
    spoke = desk.spoke(SPOKE)
    spoke.calls.before(
        "DescribeInstances", lambda: desk.world.calls.before("BatchGetItem", refusing("ThrottlingException"))
    )
    with pytest.raises(RetryableError):
        desk.edit(TAG, role="web")
    assert desk.served(TAG) is None


# ---- deletions ----


def test_a_tombstone_is_written_whatever_its_account_answers(desk: OrganizationDesk) -> None:
    """What an instance is tagged with later must give it no role of a mapping that is gone."""
    desk.edit(TAG, role="web")
    desk.organization.refuse(OTHER)
    desk.remove(TAG)
    why = "222222222222 gave no answer (AccessDenied to sts:AssumeRole), its sweep removes it there"
    assert desk.history(TAG)[-1]["reason"] == f"its row was deleted; {why}"
    assert desk.published_for(OTHER.account).deleted
    desk.organization.admit(OTHER)
    instance = desk.launched(1, OTHER)[0]
    desk.organization.reconcile(desk.spoke(OTHER).key(instance))
    assert desk.spoke(OTHER).carries(instance) == ""


@pytest.mark.parametrize(("column", "status"), [("detach", Status.HELD), ("keep", Status.REMOVED)])
def test_what_a_deletion_takes_where_nobody_answers_is_what_was_counted_last(
    desk: OrganizationDesk, column: str, status: Status
) -> None:
    desk.launched(3, OTHER)
    desk.edit(TAG, role="web", when_unmatched=column)
    desk.limits = Limits(2, 0)
    desk.organization.refuse(OTHER)
    assert desk.remove(TAG).status is status
    if status is Status.HELD:
        assert "attach 0, replace 0 and detach 3 instances" in desk.shows(TAG)[1]
        assert desk.row(TAG)["matched"] == 3, "what is published governs them still"
        assert not desk.published_for(OTHER.account).deleted


@pytest.mark.parametrize("held", [False, True])
def test_what_is_deleted_while_the_deployment_is_no_hub_is_gone_when_it_is_one_again(
    desk: OrganizationDesk, monkeypatch: pytest.MonkeyPatch, *, held: bool
) -> None:
    """Instances there are looked at before the first sweep comes by the mapping."""
    instance = desk.launched(1, OTHER)[0]
    desk.edit(TAG, role="web")
    with monkeypatch.context() as alone:
        alone.setattr("fixtures.organization.ORGANIZATION", "")
        if held:
            desk.limits = Limits(0, 0)
            desk.world.reconcile(desk.world.running(workload="web"))
        verdict = desk.remove(TAG)
        if held:
            assert verdict.status is Status.HELD
            verdict = desk.approve(TAG, 2)
        assert verdict.status is Status.REMOVED
    assert [desk.published_for(account).deleted for account in (SPOKE.account, OTHER.account)] == [True, True]
    desk.organization.reconcile(desk.spoke(OTHER).key(instance))
    assert desk.spoke(OTHER).carries(instance) == ""


def test_a_tombstone_that_an_account_missed_is_brought_by_its_sweep(desk: OrganizationDesk) -> None:
    desk.edit(TAG, role="web")
    old = desk.record(OTHER.account)
    assert old is not None
    desk.remove(TAG)
    desk.world.store.write(desk.world.store.delete(layout.published_key(mapping_key(TAG), OTHER.account)))
    desk.world.revisions.write(OTHER.account, old)
    assert desk.sweep(OTHER) == Swept(changed=True, in_effect=False)
    assert desk.published_for(OTHER.account).deleted
    assert desk.sweep(OTHER) == Swept()


# ---- limits ----


def test_what_would_change_is_counted_over_all_targets(desk: OrganizationDesk) -> None:
    desk.limits = Limits(3, 0)
    for target in (SPOKE, SAME_ACCOUNT, OTHER):
        desk.launched(1, target)
    desk.world.running(workload="web")
    assert desk.edit(TAG, role="web").status is Status.HELD
    counts = "attach 4, replace 0 and detach 0 instances (4 of 4; 3 may change without approval)"
    assert counts in desk.shows(TAG)[1]
    assert desk.record(SPOKE.account) is None
    assert desk.approve(TAG, 1).status is Status.PUBLISHED
    assert desk.published_for(SPOKE.account).revision == 1


@pytest.mark.parametrize("call", ["AssumeRole", "DescribeInstances"])
def test_a_held_edit_stays_held_while_an_account_gives_no_answer(desk: OrganizationDesk, call: str) -> None:
    desk.limits = Limits(2, 0)
    desk.join(OTHER, instances=1)
    desk.launched(3, OTHER)
    assert desk.edit(TAG, role="web").status is Status.HELD
    if call == "AssumeRole":
        desk.organization.refuse(OTHER)
    else:
        desk.spoke(OTHER).calls.before(call, refusing("RequestLimitExceeded"))
    assert desk.recheck(TAG).status is Status.HELD
    assert "222222222222 gave no answer" in desk.shows(TAG)[1]
    assert desk.served(TAG) is None


def test_the_share_of_one_target_is_a_limit_too(desk: OrganizationDesk) -> None:
    """Of all instances two are few, and of the ten in one Region they are too many."""
    desk.limits = Limits(1, 10)
    for target in (SPOKE, OTHER):
        for _ in range(8):
            desk.spoke(target).running()
    desk.launched(2)
    assert desk.edit(TAG, role="web").status is Status.HELD
    alone = "of the 10 in 111111111111/eu-west-1 it would change 2 (1 may change without approval)"
    assert alone in desk.shows(TAG)[1]
    desk.launched(2, OTHER)
    assert desk.edit(TAG, role="web").status is Status.HELD
    assert f"{alone}, and too many in 1 more target;" in desk.shows(TAG)[1]


def test_as_many_in_a_large_target_need_no_approval(desk: OrganizationDesk) -> None:
    desk.limits = Limits(1, 10)
    for _ in range(18):
        desk.spoke(SPOKE).running()
    desk.launched(2)
    assert desk.edit(TAG, role="web").status is Status.PUBLISHED


@pytest.mark.parametrize("call", ["AssumeRole", "DescribeInstances"])
def test_where_nobody_answers_what_was_counted_last_counts_as_changed(desk: OrganizationDesk, call: str) -> None:
    """Else an edit that is too large would be in effect there after the next sweep, without approval."""
    make_api(desk)
    desk.edit(TAG, role="web")
    desk.launched(3, OTHER)
    desk.sweep(OTHER)
    desk.limits = Limits(2, 0)

    def falls_silent() -> None:
        if call == "AssumeRole":
            desk.organization.refuse(OTHER)
        else:
            desk.spoke(OTHER).calls.before(call, refusing("RequestLimitExceeded"))

    falls_silent()
    assert desk.edit(TAG, role="web", owner="ops").status is Status.PUBLISHED, "they keep their role"
    assert desk.row(TAG)["matched"] == 3
    edits: list[tuple[dict[str, Any], str]] = [
        ({"role": "api"}, "replace 3 and detach 0"),
        ({"role": "web", "enabled": False}, "replace 0 and detach 3"),
        ({"role": "web", "accounts": {ACCOUNT, SPOKE.account}}, "replace 0 and detach 3"),
        ({"role": "web", "regions": {SAME_ACCOUNT.region, OTHER.region}, "require_tags": {"a": "b"}}, "replace 3 and"),
    ]
    for columns, counts in edits:
        falls_silent()
        assert desk.edit(TAG, **columns).status is Status.HELD
        assert f"attach 0, {counts}" in desk.shows(TAG)[1]
        assert "; 222222222222 gave no answer (" in desk.shows(TAG)[1]


@pytest.mark.parametrize("silent", [False, True], ids=["", "silent"])
def test_what_an_edit_takes_later_counts_in_all_targets(desk: OrganizationDesk, *, silent: bool) -> None:
    fleet = desk.launched(3, OTHER)
    desk.edit(TAG, role="web")
    desk.organization.reconcile(*map(desk.spoke(OTHER).key, fleet))
    desk.sweep(OTHER)
    desk.limits = Limits(2, 0)
    if silent:
        desk.organization.refuse(OTHER)
    ends = desk.world.clock.now() + timedelta(days=1)
    assert desk.edit(TAG, role="web", expires_at=ends.isoformat()).status is Status.HELD
    assert f"at {ends:%Y-%m-%dT%H:%M:%SZ}, when it expires, attach 0, replace 0 and detach 3" in desk.shows(TAG)[1]


def test_what_an_edit_changes_when_another_row_expires_counts_in_all_targets(desk: OrganizationDesk) -> None:
    fleet = desk.launched(3, OTHER)
    ends = desk.world.clock.now() + timedelta(days=1)
    desk.edit(TAG, role="web", priority=1, expires_at=ends.isoformat())
    desk.organization.reconcile(*map(desk.spoke(OTHER).key, fleet))
    desk.limits = Limits(2, 0)
    behind = "workload=*"
    assert desk.edit(behind, role="NONE", accounts={OTHER.account}).status is Status.HELD
    text = f"at {ends:%Y-%m-%dT%H:%M:%SZ}, when {TAG} expires, attach 0, replace 0 and detach 3"
    assert text in desk.shows(behind)[1]


@pytest.mark.parametrize("silent", [False, True], ids=["", "silent"])
def test_roles_that_were_kept_out_of_the_scope_count_when_they_are_kept_no_longer(
    desk: OrganizationDesk, *, silent: bool
) -> None:
    there = desk.spoke(OTHER)
    desk.edit(TAG, role="web", when_unmatched="keep")
    fleet = desk.launched(3, OTHER)
    desk.organization.reconcile(*map(there.key, fleet))
    elsewhere: dict[str, Any] = {"role": "web", "accounts": {ACCOUNT, SPOKE.account}}
    desk.edit(TAG, **elsewhere, when_unmatched="keep")
    for each in fleet:
        there.untag(each, "workload")
    desk.join(OTHER, instances=3)
    desk.limits = Limits(2, 0)
    if silent:
        desk.organization.refuse(OTHER)
    assert desk.edit(TAG, **elsewhere).status is Status.HELD
    assert "replace 0 and detach 3 instances" in desk.shows(TAG)[1]


def test_what_would_change_is_never_more_than_there_is(desk: OrganizationDesk) -> None:
    """The last sweep of a target may have counted fewer than it has by now."""
    desk.join(OTHER, instances=2)
    desk.launched(4, OTHER)
    desk.limits = Limits(1, 0)
    desk.edit(TAG, role="web")
    assert "(4 of 204; 1 may change without approval)" in desk.shows(TAG)[1]
    assert "of the 4 in 222222222222/eu-west-1 it would change 4" in desk.shows(TAG)[1]


def test_a_severe_permission_in_one_account_is_held(desk: OrganizationDesk) -> None:
    desk.world.allow_broad_roles = True
    desk.spoke(OTHER).clients["iam"].inline["web"] = policy(allow("*"))
    assert desk.edit(TAG, role="web", allow_broad=True).status is Status.HELD
    assert "give severe permissions: administrator access (*) on *" in desk.shows(TAG)[1]


def test_permissions_are_compared_by_the_policies_of_each_account(desk: OrganizationDesk) -> None:
    desk.edit(TAG, role="web")
    key = desk.spoke(OTHER).key(desk.launched(1, OTHER)[0])
    desk.organization.reconcile(key)
    make_api(desk)
    desk.spoke(OTHER).clients["iam"].inline["api"] = policy(allow("s3:GetObject"))
    verdict = desk.edit(TAG, role="api")
    assert verdict.impact is not None
    assert verdict.impact.difference.gained == ("s3:GetObject on *",)


def test_a_conflict_in_another_account_refuses_the_row(desk: OrganizationDesk) -> None:
    desk.role("api")
    desk.spoke(SPOKE).profile("api")
    desk.edit("team=a", role="api")
    instance = desk.launched(1, team="a")[0]
    assert desk.edit(TAG, role="web").status is Status.CONFLICT
    assert desk.shows(TAG)[1].startswith(f"conflicts with team=a (priority 100, role api) on {instance}; ")
    assert desk.edit("team=a", role="api", priority=7).status is Status.PUBLISHED
    assert desk.shows(TAG)[0] == "Published", "the row in conflict was freed"


def test_a_conflict_with_a_mapping_that_an_account_has_in_an_older_revision(desk: OrganizationDesk) -> None:
    make_api(desk)
    desk.edit("team=a", role="api")
    desk.organization.refuse(SPOKE)
    desk.edit("team=a", role="api", owner="team a")
    desk.organization.admit(SPOKE)
    desk.launched(1, team="a")
    assert desk.edit(TAG, role="web").status is Status.CONFLICT
    assert desk.edit("team=a", role="api", priority=7).status is Status.PUBLISHED
    assert desk.shows(TAG)[0] == "Published"


# ---- counts ----


def test_a_row_that_is_rejected_shows_what_is_governed_everywhere(desk: OrganizationDesk) -> None:
    desk.launched(2)
    desk.world.running(workload="web")
    desk.edit(TAG, role="web")
    desk.edit(TAG, role="wbe")
    assert desk.row(TAG)["matched"] == 3
    desk.sweep(SPOKE, scan=Scan(matched=7))
    desk.recheck(TAG, Scan(matched=4))
    assert desk.row(TAG)["matched"] == 11


def test_the_hubs_sweep_asks_no_account_whose_copy_is_there(desk: OrganizationDesk) -> None:
    desk.edit(TAG, role="web")
    places = [desk.spoke(target) for target in (SPOKE, SAME_ACCOUNT, OTHER)]
    for place in places:
        place.calls.clear()
    desk.recheck(TAG)
    assert [place.calls.made for place in places] == [[], [], []]


def test_another_region_of_the_hubs_own_account_shares_what_is_published(desk: OrganizationDesk) -> None:
    beside = Target(ACCOUNT, "eu-north-1")
    place = desk.join(beside, "web")
    instance = place.running(workload="web")
    assert desk.edit(TAG, role="web").matched == 1
    assert desk.shows(TAG)[1] == "in effect in 3 accounts"
    assert desk.sent_to() == [(ACCOUNT, beside.region)]
    desk.recheck(TAG)
    assert desk.row(TAG)["matched"] == 1, "as it was counted then"
    place.running(workload="web")
    assert desk.sweep(beside) == Swept(changed=False, in_effect=True)
    desk.recheck(TAG)
    assert desk.row(TAG)["matched"] == 2
    desk.organization.reconcile(place.key(instance))
    assert place.carries(instance) == "web"


# ---- the sweep of a target ----


def test_a_role_that_goes_suspends_its_accounts_copy_and_one_that_is_back_resumes_it(desk: OrganizationDesk) -> None:
    desk.edit(TAG, role="web")
    desk.launched(1, OTHER)
    desk.quiet()
    lose(desk.spoke(OTHER))
    assert desk.sweep(OTHER) == Swept(changed=True, in_effect=False)
    assert desk.published_for(OTHER.account).suspended_because
    desk.recheck(TAG)
    assert desk.shows(TAG)[1] == "in effect in 2 of 3 accounts; role 'web' doesn't exist in 222222222222"
    assert desk.sent_to() == [(OTHER.account, OTHER.region)], "the sweep's, and none for a mere reason"
    desk.spoke(OTHER).profile("web")
    assert desk.sweep(OTHER) == Swept(changed=True, in_effect=True)
    assert desk.published_for(OTHER.account).suspended_because == ""


def test_a_profile_that_an_account_made_anew_replaces_the_former_there(desk: OrganizationDesk) -> None:
    desk.edit(TAG, role="web")
    place, instance = desk.spoke(OTHER), desk.launched(1, OTHER)[0]
    desk.organization.reconcile(place.key(instance))
    desk.organization.wait(seconds=5)
    place.profile_ids["web"] = "AIPAANEW"
    place.profile("web")
    desk.quiet()
    assert desk.sweep(OTHER) == Swept(changed=True, in_effect=True)
    assert desk.published_for(OTHER.account).former_profile_ids == {"AIPAWEB"}
    assert desk.sent_to() == [(OTHER.account, OTHER.region)]
    desk.organization.reconcile(place.key(instance))
    desk.organization.wait(seconds=5)
    row = place.association(instance)
    assert row is not None
    assert row.profile_id == "AIPAANEW"
    desk.edit(TAG, role="web", priority=7)
    assert desk.published_for(OTHER.account).former_profile_ids == {"AIPAWEB"}, (
        "of instances that nobody looked at since"
    )


def test_a_mapping_that_is_not_published_is_left_alone(desk: OrganizationDesk) -> None:
    assert desk.sweep(SPOKE) == Swept()
    desk.edit(TAG, role="web")
    desk.world.damage(TAG)
    assert desk.sweep(SPOKE) == Swept(), "a record that is missing detaches nothing"
    assert not desk.published_for(SPOKE.account).deleted


def test_a_record_never_goes_back(desk: OrganizationDesk) -> None:
    """A judge that was slow writes after one that published a newer revision."""
    desk.edit(TAG, role="web")
    old = desk.record(SPOKE.account)
    assert old is not None
    desk.edit(TAG, role="web", priority=7)
    with pytest.raises(ConflictError):
        desk.world.revisions.write(SPOKE.account, old)
    assert desk.published_for(SPOKE.account).revision == 2


def test_a_record_that_cant_be_read_is_written_anew(desk: OrganizationDesk) -> None:
    desk.edit(TAG, role="web")
    desk.world.garble(layout.published_key(mapping_key(TAG), OTHER.account))
    desk.sweep(OTHER)
    assert desk.published_for(OTHER.account).revision == 1


# ---- profiles ----

ROLE_ARN = f"arn:aws:iam::{OTHER.account}:role/rolekeeper/web"


def unprofiled(desk: OrganizationDesk) -> FakeAccount:
    """An account that has the role, and no instance profile for it."""
    place = desk.spoke(OTHER)
    lose(place)
    named = {"RoleName": "web", "Arn": ROLE_ARN, "Path": "/rolekeeper/", "CreateDate": None}
    place.clients["iam"].others["web"] = {**named, "AssumeRolePolicyDocument": TRUSTS_EC2}
    return place


def test_a_profile_that_is_missing_is_made_in_its_account(desk: OrganizationDesk) -> None:
    place = unprofiled(desk)
    assert desk.edit(TAG, role="web").status is Status.PUBLISHED
    assert place.profiles["web"].roles == (ROLE_ARN,)
    record = desk.published_for(OTHER.account)
    assert (record.profile_id, record.suspended_because) == ("AIPAWEB", "")


def test_while_only_observing_no_profile_is_made(desk: OrganizationDesk) -> None:
    desk.world.mode = Mode.OBSERVE
    place = unprofiled(desk)
    assert desk.edit(TAG, role="web").status is Status.PUBLISHED
    desk.sweep(OTHER)
    assert "web" not in place.profiles


def test_a_profile_that_may_not_be_made_leaves_the_account_to_its_sweep(desk: OrganizationDesk) -> None:
    unprofiled(desk).calls.before("CreateInstanceProfile", refusing("AccessDenied"))
    assert desk.edit(TAG, role="web").status is Status.PUBLISHED
    assert desk.record(OTHER.account) is None
    assert desk.world.metrics.counts["WillRetry"] == 1
    desk.sweep(OTHER)
    assert desk.published_for(OTHER.account).revision == 1


# ---- where what is published was lost, and records of other accounts weren't ----


def test_what_is_published_anew_after_a_loss_has_a_higher_number_than_its_records(desk: OrganizationDesk) -> None:
    desk.edit(TAG, role="web")
    desk.edit(TAG, role="web", owner="ops")
    desk.world.damage(TAG)
    desk.publish(TAG)
    assert desk.shows(TAG) == ("Published", "in effect in 3 accounts", 3)
    assert {desk.published_for(account).revision for account in (SPOKE.account, OTHER.account)} == {3}


def test_numbers_that_began_anew_before_records_were_seen_are_left_behind_at_the_next_check(
    desk: OrganizationDesk,
) -> None:
    desk.edit(TAG, role="web")
    record = desk.record(OTHER.account)
    assert record
    ahead = replace(record, mapping=replace(record.mapping, revision=5))
    desk.world.revisions.write(OTHER.account, ahead)
    assert not desk.sweep(OTHER).changed, "the target's own sweep leaves it to the hub"
    desk.recheck(TAG)
    assert desk.shows(TAG) == ("Published", "in effect in 3 accounts", 6)
    assert {desk.published_for(account).revision for account in (SPOKE.account, OTHER.account)} == {6}
