"""What isn't known counts as the worst it can be: accounts that give no answer, that join, and that move into a scope.

An edit is judged with the most that it could change there, and is published there only once that was counted.
"""

from dataclasses import replace
from itertools import batched

import pytest

from fixtures.account import ACCOUNT, mapping_key, refusing
from fixtures.organization import OTHER, SAME_ACCOUNT, SPOKE
from fixtures.organization_desk import TAG, OrganizationDesk, Swept
from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper.fleet.targets import ServedTarget
from rolekeeper.mappings.impact import Scan
from rolekeeper.mappings.verdict import Status
from rolekeeper.model.instance import Target
from rolekeeper.settings import Limits
from rolekeeper.storage import layout
from support.grants import allow, policy

NEW = Target("333333333333", "eu-west-1")
WEB, DATA = "ou-a1b2-webwebweb", "ou-a1b2-datadata"


@pytest.fixture
def desk(hub: OrganizationDesk) -> OrganizationDesk:
    """Of 100 instances elsewhere 25 may change."""
    for target, instances in ((SPOKE, 50), (SAME_ACCOUNT, 50), (OTHER, 60)):
        hub.join(target, instances=instances)
    return hub


def reconcile(desk: OrganizationDesk, target: Target, instances: list[str]) -> None:
    """In batches as EC2's pace allows."""
    for some in batched(instances, 5):
        desk.organization.reconcile(*map(desk.spoke(target).key, some))
        desk.organization.wait(seconds=5)


def carrying(desk: OrganizationDesk, target: Target, instances: list[str]) -> int:
    """How many of these carry the role once its sweeps and the hub's came by, and all that they sent is reconciled."""
    for _ in range(2):
        desk.sweep(target)
        desk.recheck(TAG)
    if desk.sent_to():
        reconcile(desk, target, instances)
    return sum(desk.spoke(target).carries(instance) == "web" for instance in instances)


def counted_edits(desk: OrganizationDesk) -> int:
    return int(desk.world.store.get([layout.EDITS]).get(layout.EDITS, {}).get("total", 0))


@pytest.mark.parametrize("call", ["AssumeRole", "DescribeInstances", "GetRole"])
def test_a_new_row_counts_all_instances_of_an_account_that_gives_no_answer(desk: OrganizationDesk, call: str) -> None:
    fleet = desk.launched(60, OTHER)
    desk.silence(call=call)
    assert desk.edit(TAG, role="web").status is Status.HELD
    assert desk.shows(TAG)[1].startswith("it would attach 60 instances (60 of 160; 32 may")
    assert "; 222222222222 gave no answer (" in desk.shows(TAG)[1]
    assert "; accounts without an answer count in full: 60" in desk.shows(TAG)[1]
    desk.answers()
    assert (carrying(desk, OTHER, fleet), "attach 60" in desk.shows(TAG)[1]) == (0, True)
    assert desk.approve(TAG, 1).status is Status.PUBLISHED
    assert carrying(desk, OTHER, fleet) == 60


def test_what_came_since_its_last_sweep_is_counted_before_it_is_published_there(desk: OrganizationDesk) -> None:
    """The account's own sweep keeps it back, and the row is held for it under a number of its own."""
    desk.join(OTHER, instances=5)
    fleet = desk.launched(60, OTHER)
    desk.silence()
    assert desk.edit(TAG, role="web").status is Status.PUBLISHED
    desk.answers()
    assert (desk.sweep(OTHER), carrying(desk, OTHER, fleet)) == (Swept(), 0)
    assert (desk.shows(TAG)[0], desk.row(TAG)["held_revision"], desk.in_effect(TAG).revision) == ("Held", 2, 1)
    assert "of the 60 in 222222222222/eu-west-1 it would change 60 (25 may change" in desk.shows(TAG)[1]
    desk.silence(call="DescribeInstances")
    desk.iam.remove_role_from_instance_profile(InstanceProfileName="web", RoleName="web")
    repaired = "AddRoleToInstanceProfile"
    assert (desk.recheck(TAG).held, desk.world.calls[repaired]) == (2, 1), "nor does its silence end that"
    desk.approve(TAG, 2, changes=0)
    assert desk.record(OTHER.account) is None, "nor does one who signs for less than was shown"
    desk.answers()
    assert (desk.sweep(OTHER), desk.recheck(TAG).held, desk.approve(TAG, 3).status) == (Swept(), 3, Status.PUBLISHED)
    assert (carrying(desk, OTHER, fleet), desk.shows(TAG)[1]) == (60, "in effect in 3 accounts")


def test_a_target_that_was_never_swept_may_have_any_number(desk: OrganizationDesk) -> None:
    new = desk.join(NEW, "web")
    desk.app().registry.add(ServedTarget(NEW, since=desk.world.clock.now()))
    fleet = [new.running(workload="web") for _ in range(60)]
    desk.silence(NEW)
    assert desk.edit(TAG, role="web").status is Status.HELD
    assert "nobody counted yet how many instances there are in 333333333333/eu-west-1" in desk.shows(TAG)[1]
    desk.answers(NEW)
    assert (carrying(desk, NEW, fleet), "it would attach 60" in desk.shows(TAG)[1]) == (0, True)


def test_a_region_that_gives_no_answer_later_either_counts_with_its_account(desk: OrganizationDesk) -> None:
    desk.join(SAME_ACCOUNT, instances=10)
    fleet = desk.launched(5)
    desk.silence(SAME_ACCOUNT)
    assert desk.edit(TAG, role="web").status is Status.PUBLISHED
    assert (carrying(desk, SPOKE, fleet), counted_edits(desk)) == (5, 15)


def test_a_swept_target_that_gives_no_answer_again_is_published_by_a_later_sweep(desk: OrganizationDesk) -> None:
    desk.join(OTHER, instances=1)
    desk.silence()
    assert desk.edit(TAG, role="web").status is Status.PUBLISHED
    desk.answers()
    desk.recheck(TAG)
    assert desk.record(OTHER.account) is None, "only its own sweep counts, and then publishes there"
    desk.silence()
    desk.launched(60, OTHER)
    with pytest.raises(AwsRefusalError):
        desk.sweep(OTHER, scan=Scan(matched=60))
    assert desk.record(OTHER.account) is None


@pytest.mark.parametrize(("mute", "says"), [(OTHER, ("Published", None, 1)), (SAME_ACCOUNT, ("Held", 2, 1))])
def test_what_is_published_is_held_again_only_by_an_account_that_answers(
    desk: OrganizationDesk, mute: Target, says: tuple[object, ...]
) -> None:
    """One that gives no answer is left to its own sweep. Of one that answers in another Region, this one counts."""
    desk.join(SPOKE, instances=150)
    desk.join(mute, instances=30)
    desk.silence(mute)
    assert desk.edit(TAG, role="web").status is Status.PUBLISHED
    desk.join(mute, instances=90)
    desk.recheck(TAG)
    assert shown(desk) == says
    desk.answers(mute)
    fleet = desk.launched(30, mute)
    assert (carrying(desk, mute, fleet), shown(desk)) == (0, ("Held", 2, 1))


@pytest.fixture
def silent(desk: OrganizationDesk) -> OrganizationDesk:
    """Of two accounts that give no answer two instances are counted; then each has some, and answers."""
    new = desk.join(NEW, "web", instances=2)
    for target in (SPOKE, SAME_ACCOUNT, OTHER):
        desk.join(target)
    desk.silence(NEW)
    desk.silence(OTHER)
    desk.limits = Limits(2, 0)
    assert (desk.edit(TAG, role="web").status, counted_edits(desk)) == (Status.PUBLISHED, 2)
    for place in (new, new, desk.spoke(OTHER), desk.spoke(OTHER)):
        place.running(workload="web")
    desk.answers(NEW)
    desk.answers(OTHER)
    return desk


@pytest.mark.parametrize("minutes", [5, 20])
def test_what_was_counted_without_an_answer_counts_again_when_it_is_published(
    silent: OrganizationDesk, minutes: int
) -> None:
    silent.organization.wait(seconds=60 * minutes)
    assert (silent.sweep(NEW), counted_edits(silent)) == (Swept(changed=True, in_effect=True), 2)
    silent.organization.wait(seconds=60 * 8)
    assert silent.sweep(OTHER) == Swept(), "two have changed in the last ten minutes"
    silent.organization.wait(seconds=60 * 3)
    assert (silent.sweep(OTHER), counted_edits(silent)) == (Swept(changed=True, in_effect=True), 2)


def test_what_was_counted_without_an_answer_covers_nothing_once_it_counts_no_longer(silent: OrganizationDesk) -> None:
    silent.limits = Limits(3, 0)
    silent.launched(1, OTHER)
    silent.organization.wait(seconds=60 * 11)
    assert silent.sweep(OTHER) == Swept(changed=True, in_effect=True), "three, which are more than were counted"
    assert silent.sweep(NEW) == Swept(), "with these two there are five"


def test_what_answers_only_now_is_weighed_against_the_hubs_own_instances_too(desk: OrganizationDesk) -> None:
    desk.limits = Limits(1, 50)
    for target in (SPOKE, SAME_ACCOUNT, OTHER):
        desk.join(target)
    for place, tags in ((desk.world, ({"workload": "web"}, {}, {}, {})), (desk.spoke(OTHER), ({}, {}))):
        for each in tags:
            place.running(**each)
    desk.silence()
    assert desk.edit(TAG, role="web").status is Status.PUBLISHED
    desk.answers()
    desk.launched(2, OTHER)
    assert desk.recheck(TAG).status is Status.PUBLISHED, "with the hub's one it changes three of eight"


def test_what_was_approved_is_not_held_again_while_an_account_gives_no_answer(desk: OrganizationDesk) -> None:
    desk.world.allow_broad_roles = True
    desk.spoke(OTHER).clients["iam"].inline["web"] = policy(allow("*"))
    desk.silence()
    desk.edit(TAG, role="web", allow_broad=True)
    assert desk.approve(TAG, 1).status is Status.PUBLISHED
    assert (desk.recheck(TAG).status, shown(desk)) == (Status.PUBLISHED, ("Published", None, 1))


def test_an_account_is_checked_again_while_sweeps_of_others_write_in_the_same_moment(desk: OrganizationDesk) -> None:
    desk.join(OTHER, instances=5)
    desk.silence()
    assert desk.edit(TAG, role="web").status is Status.PUBLISHED
    desk.answers()
    desk.launched(1, OTHER)
    for _ in range(9):
        desk.world.calls.before("TransactWriteItems", refusing("TransactionCanceledException", "TransactionConflict"))
    began = desk.world.clock.seconds
    assert desk.sweep(OTHER) == Swept(changed=True, in_effect=True)
    assert desk.world.clock.seconds - began >= 9, "they don't meet again"


def test_a_refused_edit_shows_where_what_stays_in_effect_is_not(desk: OrganizationDesk) -> None:
    desk.join(OTHER, instances=20)
    desk.silence()
    desk.edit(TAG, role="web")
    fleet = desk.launched(60, OTHER)
    desk.answers()
    desk.edit(TAG, role="wbe")
    assert carrying(desk, OTHER, fleet) == 0
    status, reason, revision = desk.shows(TAG)
    assert (status, revision) == ("Rejected", 1)
    assert reason.endswith("; revision 1 isn't in effect in 222222222222 (revision 1 stays in effect)")


def test_what_is_in_effect_already_in_an_account_that_joins_is_published(desk: OrganizationDesk) -> None:
    new = desk.join(NEW, "web")
    desk.edit(TAG, role="web", accounts={NEW.account})
    fleet = [new.running(workload="web") for _ in range(30)]
    reconcile(desk, NEW, fleet)
    desk.world.delete(layout.published_key(mapping_key(TAG), NEW.account))
    assert desk.sweep(NEW) == Swept(changed=True, in_effect=True)
    assert (carrying(desk, NEW, fleet), desk.shows(TAG)[0]) == (30, "Published")


def test_what_is_published_late_is_judged_again_if_an_edit_is_published_meanwhile(desk: OrganizationDesk) -> None:
    desk.edit(TAG, role="web")
    new = desk.join(NEW, "web")
    new.running(workload="web")
    desk.converged("web", workload="web")
    desk.quiet()
    desk.world.calls.before("TransactWriteItems", lambda: desk.edit("workload=*", role="web", accounts={ACCOUNT}))
    assert desk.sweep(NEW) == Swept(changed=True, in_effect=True)
    assert desk.world.calls["TransactWriteItems"] == 3, "the edit's, and two of what is late"


def shown(desk: OrganizationDesk) -> tuple[object, ...]:
    return (
        desk.shows(TAG)[0],
        desk.row(TAG).get("held_revision"),
        desk.in_effect(TAG).revision if desk.served(TAG) else 0,
    )


@pytest.fixture
def moving(desk: OrganizationDesk) -> OrganizationDesk:
    """An edit for a unit is held for 30 instances of an account in it; another account has 30 too."""
    move(desk, SPOKE, WEB)
    move(desk, OTHER, DATA)
    desk.launched(30)
    assert desk.edit(TAG, role="web", units={WEB}).status is Status.HELD
    return desk


def move(desk: OrganizationDesk, target: Target, unit: str) -> None:
    registry = desk.app().registry
    for served in registry.all(target.account):
        registry.add(replace(served, unit=unit))


@pytest.mark.parametrize("first", ["approved", "swept"])
def test_an_approval_covers_no_account_that_came_since(moving: OrganizationDesk, first: str) -> None:
    fleet = moving.launched(30, OTHER)
    move(moving, OTHER, WEB)
    if first == "swept":
        assert moving.recheck(TAG).held == 2
    assert moving.approve(TAG, 1).status is Status.HELD
    assert shown(moving) == ("Held", 2, 0)
    assert moving.shows(TAG)[1].startswith("it would attach 60 instances")
    came = "; as revision 1 it would have changed 30, and 222222222222 came into its scope since"
    assert came in moving.history(TAG)[-1]["reason"]
    assert came in moving.recheck(TAG).reason, "as long as it is held"
    assert carrying(moving, OTHER, fleet) == 0
    assert moving.approve(TAG, 2).status is Status.PUBLISHED
    assert carrying(moving, OTHER, fleet) == 30


def test_severe_permissions_that_were_not_shown_are_not_approved(moving: OrganizationDesk) -> None:
    moving.world.allow_broad_roles = True
    assert moving.edit(TAG, role="web", units={WEB}, allow_broad=True).held == 2
    moving.spoke(OTHER).clients["iam"].inline["web"] = policy(allow("*"))
    move(moving, OTHER, WEB)
    assert moving.approve(TAG, 2).status is Status.HELD
    assert shown(moving) == ("Held", 3, 0)
    assert moving.approve(TAG, 3).status is Status.PUBLISHED


@pytest.mark.parametrize(("more", "carry"), [(0, 60), (10, 0)])
def test_what_was_approved_for_an_account_without_an_answer_is_published_there_later(
    desk: OrganizationDesk, more: int, carry: int
) -> None:
    """As many as were shown, and no more."""
    fleet = desk.launched(60, OTHER)
    desk.silence()
    desk.edit(TAG, role="web")
    assert desk.approve(TAG, 1).status is Status.PUBLISHED
    assert desk.record(OTHER.account) is None
    fleet += desk.launched(more, OTHER)
    desk.answers()
    assert carrying(desk, OTHER, fleet) == carry
    assert shown(desk) == (("Published", None, 1) if carry else ("Held", 2, 1))
    assert counted_edits(desk) == 0
