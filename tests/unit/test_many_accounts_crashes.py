"""Killing the function anywhere while a row is published for many accounts: judging it again makes that good.

And fan-outs over many targets, which are resumed where they stopped.
"""

import json
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from threading import Barrier, get_ident

import pytest

from fixtures.account import HOME, RESUME_MACHINE, KilledError, kill, mapping_key, refusing
from fixtures.organization import OTHER, SAME_ACCOUNT, SPOKE
from fixtures.organization_desk import TAG, OrganizationDesk, profile
from rolekeeper.aws import AT_ONCE, in_threads
from rolekeeper.aws.errors import RetryableError
from rolekeeper.aws.queue import Task, resumable
from rolekeeper.mappings import fan_out
from rolekeeper.mappings.fan_out import FEW, FanOut
from rolekeeper.model.instance import Target
from rolekeeper.settings import Limits
from rolekeeper.storage import state

ACCOUNTS = (SPOKE.account, OTHER.account)


def edit(desk: OrganizationDesk) -> None:
    desk.put(TAG, role="api")


def delete(desk: OrganizationDesk) -> None:
    desk.delete(TAG)


@pytest.mark.parametrize("again", ["publish", "recheck"])
@pytest.mark.parametrize("act", [edit, delete])
def test_a_crash_anywhere_is_made_good(
    hub: OrganizationDesk, act: Callable[[OrganizationDesk], None], again: str
) -> None:
    """Each step before and after a call to AWS, until the judge comes through."""
    hub.role("api")
    hub.limits = Limits(10_000, 0)  # one edit for each step count together
    for target in (SPOKE, OTHER):
        hub.spoke(target).profile("api")
    targets = (HOME, SPOKE, SAME_ACCOUNT, OTHER)
    hub.edit(TAG, role="web")
    for target in targets[1:]:
        hub.launched(1, target)
    hub.world.running(workload="web")
    step, killed = 1, 0
    while True:
        hub.edit(TAG, role="web")
        hub.quiet()
        act(hub)
        hub.world.calls.at_step(step, kill)
        with suppress(KilledError):
            hub.publish(TAG)
        if not hub.world.calls.reached():
            break
        killed += 1
        sent = hub.sent_to()
        if again == "publish" or not hub.row(TAG):
            hub.publish(TAG)
        else:
            hub.recheck(TAG)
        published = hub.in_effect(TAG)
        for account in ACCOUNTS:
            record = hub.published_for(account)
            assert (record.revision, record.deleted) == (published.revision, published.deleted), (step, account)
            assert published.deleted or record.profile_arn == profile(account, published.spec.role)
        stored = hub.world.revisions.read(mapping_key(TAG))
        assert not stored.unsent
        # What an edit was published for is sent everywhere by one of the two.
        everywhere = sorted((each.account, each.region) for each in targets)
        assert set(sent + hub.sent_to()) == set(everywhere), step
        step += 2
    assert killed > 10


def test_a_role_that_an_account_can_use_by_now_reaches_its_instances_whatever_was_cut_off(
    hub: OrganizationDesk,
) -> None:
    hub.launched(1, SPOKE)
    hub.launched(1, OTHER)
    step = 1
    while True:
        hub.spoke(OTHER).profiles.pop("web")
        hub.edit(TAG, role="web", priority=step)
        assert hub.published_for(OTHER.account).suspended_because
        hub.spoke(OTHER).profile("web")
        hub.quiet()
        hub.world.calls.at_step(step, kill)
        with suppress(KilledError):
            hub.publish(TAG)
        if not hub.world.calls.reached():
            break
        hub.publish(TAG)
        assert not hub.published_for(OTHER.account).suspended_because
        assert (OTHER.account, OTHER.region) in hub.sent_to(), step
        assert not hub.world.revisions.read(mapping_key(TAG)).unsent
        step += 1
    assert step > 10


def test_a_tombstone_is_brought_to_accounts_that_are_served_no_longer_after_a_crash_too(hub: OrganizationDesk) -> None:
    hub.edit(TAG, role="web")
    for target in (SPOKE, SAME_ACCOUNT, OTHER):
        hub.app().registry.remove(target)
    hub.delete(TAG)
    hub.world.calls.after("TransactWriteItems", kill)
    with pytest.raises(KilledError):
        hub.publish(TAG)
    hub.publish(TAG)
    assert [hub.published_for(account).deleted for account in ACCOUNTS] == [True, True]


def test_a_deletion_that_was_cut_off_is_finished_minutes_later_though_the_stream_gave_up(hub: OrganizationDesk) -> None:
    hub.edit(TAG, role="web")
    hub.launched(1)
    hub.quiet()
    hub.delete(TAG)
    hub.world.calls.after("TransactWriteItems", kill)
    with pytest.raises(KilledError):
        hub.publish(TAG)
    for minutes, deleted in ((4, False), (2, True)):
        hub.world.later(minutes=minutes)
        hub.app().expiries("minute", waits=False).run()
        assert [hub.published_for(account).deleted for account in ACCOUNTS] == [deleted] * 2
    assert hub.sent_to() == [(SPOKE.account, SPOKE.region)]
    assert list(hub.world.state.timers_due(hub.world.clock.now())) == []


@pytest.mark.parametrize("silent", [None, SAME_ACCOUNT])
def test_a_publication_that_was_cut_off_is_counted_when_it_goes_on(
    hub: OrganizationDesk, silent: Target | None
) -> None:
    """Where no answer comes by then, it goes on as it was counted; the account's own sweep counts it again."""
    hub.launched(3)
    hub.launched(2, SAME_ACCOUNT)
    hub.edit(TAG, role="web", when_unmatched="keep")
    hub.put(TAG, role="web")
    hub.world.calls.after("TransactWriteItems", kill)
    with pytest.raises(KilledError):
        hub.publish(TAG)
    hub.launched(1)
    if silent:
        hub.silence(silent)
    matched = hub.publish(TAG).matched
    found, there = hub.record(SPOKE.account), {SPOKE.region: (4 - bool(silent), 0), SAME_ACCOUNT.region: (2, 0)}
    assert found
    assert (found.mapping.revision, found.counts, matched) == (2, there, sum(count for count, _ in there.values()))


def test_records_are_read_in_as_many_reads_as_they_take(hub: OrganizationDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "PAGE", 1)
    hub.edit(TAG, role="web")
    assert set(hub.world.revisions.records(mapping_key(TAG))) == {HOME.account, *ACCOUNTS}


# ---- fan-outs ----


def many(desk: OrganizationDesk, count: int) -> list[Target]:
    """So many accounts, each with an instance."""
    targets = [Target(f"{500000000000 + number}", "eu-west-1") for number in range(count)]
    for target in targets:
        desk.join(target, "web").launch(workload="web")
    return targets


def test_a_fan_out_goes_through_all_targets_and_is_resumed_where_it_was(hub: OrganizationDesk) -> None:
    targets = many(hub, 2 * AT_ONCE + 3)
    begun = FanOut.to(mapping_key(TAG), [HOME, *targets])
    event, runs = resumable(Task.FAN_OUT, "edit-1", begun), 0
    while not event["finished"]:
        event, runs = resumable(Task.FAN_OUT, "edit-1", hub.goes_on(event)), runs + 1
    assert hub.sent_to() == [(each.account, each.region) for each in targets]
    assert runs == 4, "the hub's own, and three times a few targets"
    assert event["sent"] == len(targets)


def test_in_many_targets_each_account_gets_a_run_that_sends_its_instances(hub: OrganizationDesk) -> None:
    targets = many(hub, FEW - 3)
    hub.put(TAG, role="web")
    hub.publish(TAG)
    assert hub.sent_to() == []
    [started] = hub.world.machine.started
    accounts = sorted({HOME.account, SPOKE.account, OTHER.account, *(each.account for each in targets)})
    assert len(json.dumps(started["input"])) < 200, "no account and no target: an input has 256 KB"
    assert [each["account"] for each in hub.each_account()] == accounts
    assert hub.sent_to() == [(each.account, each.region) for each in targets]


def test_a_run_for_an_account_hands_over_what_it_has_no_time_to_send(
    hub: OrganizationDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fan_out, "FEW", 0)
    for target in (SPOKE, SAME_ACCOUNT):
        hub.launched(3, target)
    hub.put(TAG, role="web")
    hub.publish(TAG)
    hub.each_account(seconds_left=0)
    rest = [each["input"] for each in hub.world.machine.started if each["stateMachineArn"] == RESUME_MACHINE]
    assert [[left["target"]["account"] for left in each["left"]] for each in rest] == [[SPOKE.account] * 2]
    for each in rest:
        hub.goes_on(each, in_time=True)
    assert Counter(hub.sent_to()) == {(each.account, each.region): 3 for each in (SPOKE, SAME_ACCOUNT)}


def test_a_fan_out_leaves_what_a_target_refuses_to_its_sweep(hub: OrganizationDesk) -> None:
    hub.launched(1)
    hub.launched(1, OTHER)
    hub.organization.refuse(OTHER)
    done = hub.goes_on(resumable(Task.FAN_OUT, "edit-1", FanOut.to(mapping_key(TAG), [SPOKE, OTHER])), in_time=True)
    assert (done.finished, done.sent) == (True, 1)
    assert hub.sent_to() == [(SPOKE.account, SPOKE.region)]
    (line,) = [each for each in hub.world.logged() if each["message"] == "a target's instances are left to its sweep"]
    assert (line["target"], line["mapping"]) == (str(OTHER), TAG)


def test_the_queue_refusing_is_no_fault_of_a_target(hub: OrganizationDesk) -> None:
    hub.launched(1)
    hub.world.calls.before("SendMessageBatch", refusing("ServiceUnavailable", status=503))
    with pytest.raises(RetryableError):
        hub.goes_on(resumable(Task.FAN_OUT, "edit-1", FanOut.to(mapping_key(TAG), [SPOKE])), in_time=True)


# ---- a few at once ----


@pytest.mark.parametrize(("items", "threads"), [(0, 0), (1, 0), (2, 2), (100, AT_ONCE)])
def test_for_a_single_target_no_thread_is_made(items: int, threads: int) -> None:
    started = Barrier(threads) if threads else None

    def work(_: int) -> int:
        if started and threads == items:
            started.wait(timeout=10)
        return get_ident()

    used = set(in_threads(work, list(range(items))))
    if threads:
        assert get_ident() not in used
        assert len(used) <= threads
    else:
        assert used <= {get_ident()}


def test_a_row_is_judged_the_same_by_several_threads(hub: OrganizationDesk) -> None:
    targets = many(hub, 3 * AT_ONCE)
    del hub.spoke(targets[1]).profiles["web"]
    hub.map_concurrently = in_threads
    verdict = hub.edit(TAG, role="web")
    assert verdict.matched == len(targets) - 1 + 1
    missing = f"role 'web' doesn't exist in {targets[1].account}"
    assert hub.shows(TAG)[1] == f"in effect in {len(targets) + 2} of {len(targets) + 3} accounts; {missing}"
    hub.each_account()
    assert hub.sent_to() == [(each.account, each.region) for each in targets]
