"""An organization of 400 accounts in 17 Regions, with the real code in virtual time: its sweeps, and its edits.

`make soak` plays all of it; here it is a tenth of the accounts, and of what the machine runs at once.
"""

import os
from contextlib import ExitStack

import pytest

from support.large_organization import ROWS, SILENCE, Scale

ACCOUNTS = int(os.environ.get("ROLEKEEPER_ORGANIZATION") or 40)
INTERVAL = 15 * 60  # seconds (template.yaml, SweepSchedule)
BEGUN, JUDGED, PUBLISHED = 120, 120, 300  # seconds


def test_a_round_sweeps_each_target_once_within_the_interval_though_accounts_are_bad() -> None:
    with ExitStack() as closing:
        scale = Scale(closing, ACCOUNTS, rows=1)
        bad, began = set(scale.bad), scale.hub.clock.now()
        good = [each for each in scale.targets if each not in bad]
        played = scale.sweep()
        print(played.brief)  # noqa: T201  # shown by `make soak`
        assert played.began.keys() == set(scale.targets)
        assert max(played.began.values()) <= BEGUN
        assert played.done < INTERVAL
        assert played.cut == [], "each run has the time that its machine gives it"
        assert played.longest <= 2 * SILENCE, "no run looks at all accounts"
        assert played.sent == dict.fromkeys(scale.tagged(good, 1), 1), "each once, and none of a bad target's"
        assert played.tables <= 15 * len(scale.targets)
        assert played.iam <= 5 * ACCOUNTS, "IAM is asked once an account, not once a Region"
        registered = {each.target: each for each in scale.app.registry.all()}
        assert {target for target, each in registered.items() if each.problem} == bad
        assert {target for target, each in registered.items() if each.last_sweep and each.last_sweep < began} == bad
        assert scale.hub.metrics.counts["SweepUnfinished"] == 0
        # The next interval: those that answer again are swept, and nothing of theirs was lost.
        scale.repair()
        scale.hub.later(seconds=INTERVAL)
        began, played = scale.hub.clock.now(), scale.sweep()
        assert played.sent == dict.fromkeys(scale.tagged(scale.targets, 1), 1)
        registered = {each.target: each for each in scale.app.registry.all()}
        assert [each for each in registered.values() if each.problem or (each.last_sweep or began) < began] == []


def test_what_a_table_throttles_is_written_later_and_nothing_is_lost() -> None:
    with ExitStack() as closing:
        scale = Scale(closing, ACCOUNTS // 2, rows=3)
        scale.units = 15  # so few that some runs fail, and are tried again
        good = [each for each in scale.targets if each not in scale.bad]
        played = scale.sweep()
    assert played.throttled
    assert scale.failed
    assert played.sent == dict.fromkeys(scale.tagged(good, 3), 1)


def test_a_round_takes_the_hub_one_call_whatever_the_number_of_accounts() -> None:
    with ExitStack() as closing:
        first = [Scale(closing, accounts, rows=1, troubled=False).sweep().first for accounts in (2, 10)]
    assert first[0] == first[1]
    assert (first[0]["StartExecution"], first[0]["Invoke"]) == (1, 0)


@pytest.mark.parametrize("rows", [1, ROWS])
def test_edits_that_touch_every_target_are_published_within_five_minutes_though_accounts_are_bad(rows: int) -> None:
    with ExitStack() as closing:
        scale = Scale(closing, ACCOUNTS, rows=rows)
        bad = {each.account for each in scale.bad}
        good = [each for each in scale.targets if each.account not in bad]
        played = scale.edit(rows)
        print(played.brief)  # noqa: T201  # shown by `make soak`
        assert len(played.judged) == rows
        assert max(played.judged.values()) <= (JUDGED if rows == 1 else PUBLISHED)
        assert played.last_sent <= PUBLISHED
        assert played.cut == []
        assert played.longest <= 2 * SILENCE, "no run asks all accounts"
        assert played.iam <= 5 * rows * ACCOUNTS
        assert played.sent == dict.fromkeys(scale.tagged(good, rows), 1), (
            "each once, and none of an account that is bad"
        )
        reason = f"in effect in {len(good) // 17 + 1} of {ACCOUNTS + 1} accounts; "
        assert all(scale.row(number)["status_reason"].startswith(reason) for number in range(rows))
