"""An organization of hundreds of targets, with the real code in virtual time: one sweep of each in every interval."""

from contextlib import ExitStack
from math import ceil

from fixtures.account import mapping_key
from rolekeeper.settings import Limits
from rolekeeper.storage.state import PAGE
from support.large_fleet import TAG
from support.large_organization import SILENCE, Scale

INTERVAL = 15 * 60  # seconds (template.yaml, SweepSchedule)


def test_four_hundred_targets_are_each_swept_once_in_an_interval_though_one_in_ten_is_bad() -> None:
    with ExitStack() as closing:
        scale = Scale(closing, 400, 250)
        bad = set(scale.bad)
        good = [each for each in scale.targets if each not in bad]
        assert len(bad) == 40
        began = scale.hub.clock.now()
        swept = scale.sweep()
        assert sorted(swept.started) == scale.targets
        assert swept.longest <= 2 * (SILENCE + 1), "no other account waits for a silent one"
        assert swept.instances == 360 * 250
        assert swept.sent == dict.fromkeys(scale.tagged(good), 1), "each once, and none of a bad target's"
        registered = {each.target: each for each in scale.app.registry.all()}
        assert {target for target, each in registered.items() if each.problem} == bad
        assert {target for target, each in registered.items() if each.last_sweep and each.last_sweep < began} == bad
        assert scale.hub.metrics.counts["SweepUnfinished"] == 0
        # The next interval: those that answer again are swept by runs of their own, and nothing of theirs was lost.
        scale.repair()
        scale.hub.later(seconds=INTERVAL)
        swept = scale.sweep()
        assert set(swept.alone) == bad
        assert len(swept.started) == 400
        assert set(scale.tagged(bad)) <= swept.sent.keys()
        registered = {each.target: each for each in scale.app.registry.all()}
        assert [each for each in registered.values() if each.problem or (each.last_sweep or began) < began] == []


def test_a_round_takes_the_hub_one_call_and_an_account_so_many_for_each_target() -> None:
    with ExitStack() as closing:
        scale = Scale(closing, 800, 250)
        scale.repair()
        swept = scale.sweep()
        assert len(swept.calls) == 400
        assert swept.starting == {"StartExecution": 1}
        assert swept.listing == {"Query": ceil(801 / PAGE), "BatchGetItem": 1, "PutItem": 1}
        assert swept.alone == []
        # IAM is the account's: it is asked once for both Regions.
        asked = {"DescribeInstances": 4, "GetRole": 1, "GetInstanceProfile": 1}
        for account, calls in swept.calls.items():
            assert {name: calls[name] for name in asked} == asked, account
            assert calls.total() <= 2 * 23, calls


def test_an_edit_is_judged_in_four_hundred_targets_within_a_minute_though_one_in_ten_is_bad() -> None:
    with ExitStack() as closing:
        scale = Scale(closing, 400, 250)
        scale.hub.limits = Limits(100_000, 100)
        bad = {each.account for each in scale.bad}
        good = [each for each in scale.targets if each.account not in bad]
        edited = scale.edit(role="db")
        assert edited.judged < 60
        assert edited.done < 90
        assert edited.row["status"] == "Published"
        assert edited.row["status_reason"].startswith(f"in effect in {len(good) // 2 + 1} of 201 accounts; ")
        assert edited.sent == dict.fromkeys(scale.tagged(good), 1), "each once, and none of an account that is silent"
        records = scale.hub.revisions.records(mapping_key(TAG))
        assert {account for account, record in records.items() if record.mapping.spec.role == "web"} == bad
