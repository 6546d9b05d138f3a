"""An edit goes out in waves: how many may have moved by now, what others get meanwhile, and what halts it."""

from datetime import timedelta

import pytest

from fixtures.account import mapping_key, refusing
from fixtures.mappings import Desk
from fixtures.organization import OTHER, SPOKE
from fixtures.organization_desk import OrganizationDesk
from rolekeeper.mappings.revisions import AccountRecord
from rolekeeper.mappings.verdict import Status
from rolekeeper.model.instance import Target
from rolekeeper.model.waves import Progress, Waves
from rolekeeper.settings import Limits
from rolekeeper.storage import layout

TAG, WAVES = "workload=web", "1, 50%, 100% every 15m"
REPLACE = "ReplaceIamInstanceProfileAssociation"


class Rolling:
    """A desk where `workload=web` gives six instances the role web, and an edit gives them api in waves."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.world = desk, desk.world
        desk.clients |= {"sqs": self.world.queue, "cloudwatch": self.world.alarms}
        self.world.limits = Limits(100, 100)
        desk.edit(TAG, role="web")
        self.fleet = [desk.converged("web", workload="web") for _ in range(6)]
        self.world.later(minutes=30)
        desk.quiet()

    def edit(self, **columns: object) -> Status:
        verdict = self.desk.edit(TAG, **{"role": "api", "rollout": WAVES, **columns})
        self.settle()
        return verdict.status

    def settle(self) -> None:
        """Reconcile every instance that is there."""
        self.world.queue.clear()
        rows, _ = self.world.truth.describe_instances()
        self.world.reconcile_all(*(row.id for row in rows))

    def minutes(self, number: int = 15) -> None:
        """Let minutes pass, each with its task, and every instance reconciled at the end."""
        for _ in range(number):
            self.minute()
        self.settle()

    def minute(self) -> None:
        self.world.later(minutes=1)
        expiries = self.desk.app().expiries("minute", waits=False)
        expiries.run()
        expiries.telemetry.flush()

    def until_it_ends_with_the_next_minute(self) -> None:
        for _ in range(50):
            if self.progress.is_last and self.progress.next_at <= self.world.clock.now() + timedelta(minutes=1):
                break
            self.minute()
        self.settle()

    def open_the_second_wave(self) -> None:
        self.world.revisions.roll(mapping_key(TAG), self.progress, self.progress.opened(2, self.world.clock.now()))

    @property
    def progress(self) -> Progress:
        progress = self.world.revisions.read(mapping_key(TAG)).progress
        assert progress
        return progress

    def resume(self, revision: int = 2) -> None:
        self.desk.amend(TAG, resume_revision=revision)
        self.settle()

    @property
    def moved(self) -> int:
        return [self.world.carries(each) for each in self.fleet].count("api")

    @property
    def row(self) -> dict[str, object]:
        return self.desk.row(TAG)

    def says(self, status: str) -> bool:
        return self.row["status"] == status


@pytest.fixture
def rolling(desk: Desk) -> Rolling:
    desk.usable("web", "api")
    return Rolling(desk)


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("1, 10%, 50%, 100% every 15m", (1, 10, 50, 100)),
        ("linear 30% every 5m", (30, 60, 90, 100)),
        ("200, 1%, 100% every 1h", (100, 100, 100)),
        ("100% every 2d", (100,)),
        ("111122223333, 444455556666,100% every 1h", (100, 100, 100)),
        ("111122223333, linear 50% every 1h", (100, 50, 100)),
        ("at once", None),
        ("", None),
    ],
)
def test_waves_count_what_may_have_moved(text: str, counts: tuple[int, ...] | None) -> None:
    waves = Waves.read(text)
    assert (waves and waves.counts(100)) == counts


def test_of_a_small_fleet_each_wave_moves_at_least_one() -> None:
    assert (waves := Waves.read("1%, 100% every 5m"))
    assert waves.counts(3) == (1, 3)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1, 10% every 5m", "can't be read; write shares that end with 100%"),
        ("1, 101%, 100% every 5m", "can't be read"),
        ("0, 100% every 5m", "can't be read"),
        ("linear 0% every 5m", "can't be read"),
        ("100% every 8d", "can't be read"),
        ("slowly", "as 1, 10%, 50%, 100% every 15m, or linear 10% every 5m; accounts may come first"),
    ],
)
def test_waves_that_cant_be_read_say_what_to_write(rolling: Rolling, text: str, why: str) -> None:
    assert rolling.edit(rollout=text) is Status.REJECTED
    assert why in str(rolling.row["status_reason"])
    assert rolling.moved == 0


def test_an_edit_goes_out_wave_by_wave(rolling: Rolling) -> None:
    assert rolling.edit() is Status.ROLLING_OUT
    assert rolling.moved == 1
    reason = str(rolling.row["status_reason"])
    assert reason.startswith("it goes out in waves: in wave 1 of 3, 1 of 6 instances may move; the next one begins at ")
    rolling.minutes(14)
    assert (rolling.moved, rolling.row["moved"]) == (1, 1)
    rolling.minutes(2)
    assert rolling.moved == 3
    rolling.minutes()
    assert (rolling.moved, rolling.row["status"]) == (6, "Rolling out")
    assert "the rollout ends at" in str(rolling.row["status_reason"])
    rolling.minutes()
    assert (rolling.row["status"], rolling.row["status_reason"]) == ("Published", "in effect")
    assert "moved" not in rolling.row
    assert rolling.desk.in_effect(TAG).former is None
    kinds = rolling.world.events.kinds
    assert [kind for kind in kinds if kind.startswith("Mapping")] == [*["Mapping Rolling out"] * 3, "Mapping Published"]


def test_all_at_once_without_waves_and_where_nothing_moves(rolling: Rolling) -> None:
    assert rolling.edit(rollout="at once") is Status.PUBLISHED
    assert rolling.moved == 6
    assert rolling.edit(description="the same role") is Status.PUBLISHED


def test_a_default_of_the_deployment_holds_for_rows_that_say_nothing_but_for_no_quarantine(rolling: Rolling) -> None:
    made, rolling.world.rollout = rolling.world.settings.rollout, WAVES
    assert not made
    assert rolling.desk.edit(TAG, role="NONE").status is Status.PUBLISHED
    rolling.settle()
    assert rolling.desk.edit(TAG, role="web").status is Status.PUBLISHED, "an attach is no move"
    rolling.settle()
    assert rolling.desk.edit(TAG, role="api").status is Status.ROLLING_OUT
    rolling.settle()
    assert rolling.moved == 1


def test_until_the_last_wave_a_launch_and_a_retag_get_the_former_role(rolling: Rolling) -> None:
    other = rolling.world.running(workload="other")
    rolling.edit()
    launched = rolling.world.running(workload="web")
    rolling.world.tag(other, workload="web")
    for _ in range(3):
        rolling.settle()
        assert [rolling.world.carries(each) for each in (launched, other)] == ["web", "web"]
    rolling.minutes(16)
    assert rolling.moved == 3
    assert [rolling.world.carries(each) for each in (launched, other)] == ["web", "web"]
    rolling.minutes(15)
    assert [rolling.world.carries(each) for each in (launched, other)] == ["api", "api"]
    late = rolling.world.running(workload="web")
    rolling.settle()
    assert rolling.world.carries(late) == "api"


@pytest.mark.parametrize("columns", [{"role": "NONE"}, {"role": "web", "enabled": False}])
def test_roles_are_taken_away_in_waves_too_and_none_comes_back(rolling: Rolling, columns: dict[str, object]) -> None:
    assert rolling.edit(**columns) is Status.ROLLING_OUT
    for _ in range(3):
        rolling.settle()
        assert [rolling.world.carries(each) for each in rolling.fleet].count("web") == 5
    rolling.minutes(16)
    assert [rolling.world.carries(each) for each in rolling.fleet].count("web") == 3
    rolling.minutes(30)
    assert [rolling.world.carries(each) for each in rolling.fleet].count("web") == 0
    rolling.settle()
    assert not any(rolling.world.carries(each) for each in rolling.fleet)


def test_a_stopped_instance_that_is_swapped_counts_once_and_keeps_what_it_got(rolling: Rolling) -> None:
    rolling.edit(rollout="at once", role="web", when_stopped="swap")
    for each in rolling.fleet:
        rolling.world.stop(each)
    rolling.edit(when_stopped="swap")
    rolling.settle()
    assert rolling.moved == 1


def test_an_instance_that_waits_for_its_wave_costs_no_write_and_says_why(rolling: Rolling) -> None:
    rolling.edit()
    waiting = next(each for each in rolling.fleet if rolling.world.carries(each) == "web")
    rolling.desk.quiet()
    assert (decision := rolling.world.reconcile(waiting).decision)
    assert (decision.action.value, decision.code) == ("Nothing", "rollout")
    assert decision.reason.endswith("revision 2 of workload=web would change that, and its wave is still to come")
    assert rolling.world.writes == []


def test_an_instance_that_waits_for_its_wave_shows_that_its_former_role_cant_be_used(rolling: Rolling) -> None:
    rolling.desk.delete_role("web")
    rolling.desk.recheck(TAG)
    assert rolling.edit(require_tags={"tier": "x"}) is Status.ROLLING_OUT
    assert (decision := rolling.world.reconcile(rolling.world.running(workload="web")).decision)
    assert (decision.code, decision.revision) == ("suspended", 1)


# ---- what halts it ----


def test_an_alarm_halts_it_until_a_person_resumes_it(rolling: Rolling) -> None:
    rolling.world.alarms.states["errors"] = "OK"
    rolling.edit(halt_on={"errors"})
    rolling.minutes(16)
    assert rolling.moved == 3
    rolling.world.alarms.states["errors"] = "ALARM"
    rolling.minutes(1)
    assert rolling.says("Halted")
    assert rolling.row["status_reason"] == (
        "halted in wave 2 of 3, because alarm errors is in ALARM; to go on: rolekeeper mapping resume workload=web; "
        "to go back: rolekeeper mapping rollback workload=web --to 1"
    )
    subjects = [subject for subject, _ in rolling.world.topic.mails]
    assert "Rolekeeper: Mapping Halted: workload=web" in subjects
    rolling.world.alarms.states["errors"] = "OK"
    rolling.minutes(60)
    assert rolling.moved == 3
    launched = rolling.world.running(workload="web")
    rolling.settle()
    assert rolling.world.carries(launched) == "web"
    rolling.resume()
    assert "resume_revision" not in rolling.row
    assert rolling.says("Rolling out")
    rolling.minutes(16)
    assert rolling.moved == 6
    rolling.minutes(16)
    assert rolling.says("Published")


def test_resuming_another_revision_resumes_nothing(rolling: Rolling) -> None:
    rolling.edit(halt_on={"errors"})
    rolling.minutes(1)
    rolling.resume(1)
    assert rolling.says("Halted")
    assert "resume_revision" not in rolling.row


@pytest.mark.parametrize("name", ["both", "arn:aws:cloudwatch:us-east-1:123456789012:alarm:both"])
def test_a_composite_alarm_halts_it_by_name_and_by_arn(rolling: Rolling, name: str) -> None:
    rolling.world.alarms.composite["both"] = "OK"
    rolling.edit(halt_on={name})
    rolling.minutes(1)
    assert rolling.says("Rolling out")
    rolling.world.alarms.composite["both"] = "ALARM"
    rolling.minutes(1)
    assert rolling.says("Halted")


def test_an_alarm_without_data_lets_it_go_on(rolling: Rolling) -> None:
    rolling.world.alarms.states["errors"] = "INSUFFICIENT_DATA"
    rolling.edit(halt_on={"errors"})
    rolling.minutes(16)
    assert rolling.moved == 3


@pytest.mark.parametrize("code", ["", "AccessDenied", "Throttling"])
def test_an_alarm_that_cant_be_read_halts_it(rolling: Rolling, code: str) -> None:
    if code:
        rolling.world.alarms.states["errors"] = "OK"
        rolling.world.calls.always("DescribeAlarms", refusing(code))
    rolling.edit(halt_on={"errors"})
    rolling.minutes(1)
    assert f"alarm errors can't be read ({code or 'NotFound'})" in str(rolling.row["status_reason"])


def test_all_alarms_of_all_rollouts_are_read_together_and_none_without_one(rolling: Rolling) -> None:
    rolling.world.halt_on = "fleet, errors"
    rolling.world.alarms.states |= {"errors": "OK", "fleet": "OK", "other": "OK"}
    rolling.minutes(1)
    assert rolling.world.calls["DescribeAlarms"] == 0
    rolling.desk.edit("app=x", role="web")
    rolling.desk.converged("web", app="x")
    rolling.desk.edit("app=x", role="api", rollout="1, 100% every 1h", halt_on={"other"})
    rolling.edit()
    rolling.minutes(1)
    assert rolling.world.calls["DescribeAlarms"] == 1
    rolling.world.alarms.states["fleet"] = "ALARM"
    rolling.minutes(1)
    assert [rolling.desk.row(tag)["status"] for tag in (TAG, "app=x")] == ["Halted", "Halted"]


@pytest.mark.parametrize(("halt_after", "status"), [(0, "Halted"), (1, "Rolling out")])
def test_instances_that_dont_converge_halt_it(rolling: Rolling, halt_after: int, status: str) -> None:
    rolling.world.calls.always(REPLACE, refusing("UnauthorizedOperation"))
    rolling.edit(halt_after=halt_after)
    rolling.settle()
    rolling.minutes(1)
    assert rolling.says(status)
    if status == "Halted":
        assert "because 1 instances did not converge (halt_after allows 0)" in str(rolling.row["status_reason"])


def test_a_refused_move_still_counts(rolling: Rolling) -> None:
    rolling.world.calls.before(REPLACE, refusing("UnauthorizedOperation"))
    rolling.edit(halt_after=5)
    for _ in range(3):
        rolling.settle()
    assert rolling.moved <= 1
    assert (rolling.progress.moved, rolling.progress.failed) == (1, 1)


def test_a_pause_is_no_failure(rolling: Rolling) -> None:
    rolling.edit()
    rolling.world.control(paused=True)
    rolling.minutes(16)
    assert (rolling.progress.moved, rolling.progress.failed) == (1, 0)


# ---- going back ----


def test_going_back_is_never_held_and_goes_in_one_wave(rolling: Rolling) -> None:
    rolling.edit()
    rolling.minutes(16)
    assert rolling.moved == 3
    rolling.desk.limits = Limits(0, 0)
    rolling.world.limits = Limits(0, 0)
    assert rolling.desk.edit(TAG, role="web", rollout=WAVES).status is Status.PUBLISHED
    rolling.settle()
    assert rolling.moved == 0
    assert all(rolling.world.carries(each) == "web" for each in rolling.fleet)


def test_it_goes_back_by_itself_where_the_row_says_so(rolling: Rolling) -> None:
    rolling.edit(halt_on={"missing"}, on_halt="rollback")
    rolling.minutes(1)
    assert rolling.row["role"] == "web"
    assert rolling.row["edited_by"] == "Rolekeeper, as its rollout halted (on_halt: rollback)"
    assert rolling.desk.publish(TAG).status is Status.PUBLISHED
    rolling.settle()
    assert rolling.moved == 0
    rolling.minutes(30)
    assert rolling.says("Published")


def test_a_new_row_goes_back_by_being_disabled(rolling: Rolling) -> None:
    verdict = rolling.desk.edit(
        "workload=*", role="api", priority=1, rollout=WAVES, halt_on={"missing"}, on_halt="rollback"
    )
    assert verdict.status is Status.ROLLING_OUT
    rolling.settle()
    assert rolling.moved == 1
    rolling.minutes(1)
    assert rolling.desk.row("workload=*")["enabled"] is False
    rolling.desk.limits = Limits(0, 0)
    assert rolling.desk.publish("workload=*").status is Status.PUBLISHED
    rolling.settle()
    assert rolling.moved == 0


def test_another_edit_waits_for_the_end_of_the_rollout(rolling: Rolling) -> None:
    rolling.desk.usable("other")
    rolling.edit()
    assert rolling.desk.edit(TAG, role="other", rollout=WAVES).status is Status.REJECTED
    assert "revision 2 still goes out in waves; wait for its end, resume it, or take it back first" in str(
        rolling.row["status_reason"]
    )
    rolling.settle()
    assert rolling.moved == 1


def test_a_row_that_was_edited_meanwhile_says_that_its_rollout_halted(rolling: Rolling) -> None:
    rolling.world.alarms.states["errors"] = "OK"
    rolling.edit(halt_on={"errors"})
    rolling.desk.amend(TAG, owner="me")
    rolling.world.alarms.states["errors"] = "ALARM"
    rolling.minutes(1)
    assert rolling.says("Rejected")
    assert "still goes out in waves" in str(rolling.row["status_reason"])
    assert "halted in wave 1 of 3, because alarm errors is in ALARM" in str(rolling.row["status_reason"])
    assert [subject for subject, _ in rolling.world.topic.mails] == ["Rolekeeper: Mapping Rejected: workload=web"] * 2


def test_an_instance_that_one_rollout_moved_counts_in_another_one_too(rolling: Rolling) -> None:
    rolling.desk.usable("other")
    rolling.edit()
    moved = next(each for each in rolling.fleet if rolling.world.carries(each) == "api")
    for each in (moved, rolling.fleet[-1]):
        rolling.world.tag(each, tier="x")
    rolling.desk.edit("tier=x", role="other", priority=1, rollout="1, 100% every 15m")
    rolling.settle()
    assert [rolling.world.carries(each) for each in (moved, rolling.fleet[-1])].count("other") == 1


def test_what_one_rollout_moved_stays_moved_while_another_one_concerns_it(rolling: Rolling) -> None:
    rolling.desk.edit("workload=*", role="web", priority=900)
    rolling.desk.converged("web", workload="other")
    rolling.edit()
    moved = next(each for each in rolling.fleet if rolling.world.carries(each) == "api")
    rolling.world.tag(moved, workload="elsewhere")
    rolling.settle()
    assert rolling.world.carries(moved) == "web"
    rolling.world.tag(moved, workload="web")
    rolling.desk.edit("workload=*", role="api", priority=900, rollout=WAVES)
    rolling.settle()
    assert rolling.world.carries(moved) == "api", "as its own rollout gave it"
    key = rolling.world.key(moved)
    grants = rolling.world.state.read([key], ()).record(key).grants.values()
    assert [grant.rolls for grant in grants if grant.role == "api"] == ["workload=web 2"]


def test_an_approved_edit_goes_out_in_waves_too(rolling: Rolling) -> None:
    rolling.desk.limits = Limits(1, 0)
    assert rolling.edit() is Status.HELD
    assert rolling.moved == 0
    assert rolling.desk.approve(TAG, 2).status is Status.ROLLING_OUT
    rolling.settle()
    assert rolling.moved == 1


# ---- what may go wrong ----


def test_nothing_moves_after_a_halt_that_came_while_it_was_decided(rolling: Rolling) -> None:
    rolling.edit(halt_on={"missing"})
    rolling.world.later(minutes=16)
    rolling.open_the_second_wave()
    rolling.world.calls.before("TransactWriteItems", lambda: rolling.minutes(1))
    waiting = next(each for each in rolling.fleet if rolling.world.carries(each) == "web")
    rolling.world.reconcile(waiting)
    assert rolling.says("Halted")
    assert rolling.moved == 1


def test_a_launch_takes_no_room_of_a_wave(rolling: Rolling) -> None:
    rolling.edit()
    launched = rolling.world.running(workload="web")
    rolling.world.reconcile(launched)
    rolling.world.later(minutes=16)
    rolling.open_the_second_wave()
    rolling.world.reconcile(launched)
    assert rolling.world.carries(launched) == "web"


def test_a_sweep_changes_nothing_of_a_rollout_and_finds_one_that_nobody_looks_at(rolling: Rolling) -> None:
    rolling.edit()
    rolling.desk.quiet()
    assert rolling.desk.recheck(TAG).status is Status.ROLLING_OUT
    assert rolling.world.events.kinds == []
    for timer in rolling.world.state.timers_due(rolling.world.clock.now(), layout.FOLLOW_UPS):
        rolling.world.state.clear_timers(timer)  # type: ignore[arg-type]  # none is damaged
    rolling.minutes(25)
    assert rolling.moved == 1
    rolling.desk.recheck(TAG)
    rolling.minutes(1)
    assert rolling.moved == 3


def test_a_minute_that_is_cut_off_at_the_end_leaves_its_work_to_the_next_one(rolling: Rolling) -> None:
    rolling.edit()
    rolling.until_it_ends_with_the_next_minute()
    rolling.world.calls.always("SendMessageBatch", refusing("InternalError", status=500))
    rolling.minute()
    assert rolling.desk.in_effect(TAG).former is None
    assert rolling.world.queue.instances == []
    rolling.world.calls.forget()
    rolling.minute()
    assert rolling.world.queue.instances
    assert rolling.says("Published")


def test_a_rollout_that_ends_meanwhile_is_neither_halted_nor_taken_back(rolling: Rolling) -> None:
    rolling.world.alarms.states["errors"] = "OK"
    rolling.edit(halt_on={"errors"}, on_halt="rollback")
    rolling.until_it_ends_with_the_next_minute()

    def ends() -> None:
        rolling.minute()
        rolling.world.alarms.states["errors"] = "ALARM"

    rolling.world.calls.before("DescribeAlarms", ends)
    rolling.minute()
    assert rolling.desk.in_effect(TAG).former is None
    assert (rolling.row["role"], rolling.row["status"]) == ("api", "Published")


def test_a_run_that_lost_its_step_to_another_one_has_the_next_minute_look_again(rolling: Rolling) -> None:
    rolling.world.alarms.states["errors"] = "OK"
    rolling.edit(halt_on={"errors"})
    rolling.minutes(14)
    rolling.world.later(minutes=1)
    rolling.world.calls.before("DescribeAlarms", rolling.open_the_second_wave)
    rolling.minute()
    rolling.minutes(31)
    assert rolling.moved == 6


def test_what_is_lost_of_a_rollout_moves_nothing_more(rolling: Rolling) -> None:
    rolling.edit()
    store = rolling.world.store
    store.write(store.delete(layout.rollout_key(mapping_key(TAG))))
    rolling.minutes(30)
    assert rolling.moved == 1
    assert rolling.desk.recheck(TAG).status is Status.HALTED
    assert "can't be read; to go back: rolekeeper mapping rollback" in str(rolling.row["status_reason"])
    assert rolling.desk.edit(TAG, role="web").status is Status.PUBLISHED
    rolling.settle()
    assert rolling.moved == 0


def test_a_deletion_counts_those_that_wait_for_their_wave(rolling: Rolling) -> None:
    rolling.edit()
    rolling.desk.limits = Limits(1, 0)
    assert rolling.desk.remove(TAG).status is Status.HELD
    assert "detach 6 instances" in str(rolling.row["status_reason"])


def test_while_it_goes_on_the_former_revision_does_not_expire(rolling: Rolling) -> None:
    soon = rolling.world.clock.now() + timedelta(minutes=5)
    rolling.edit(rollout="at once", role="web", expires_at=f"{soon:%Y-%m-%dT%H:%M:%SZ}")
    rolling.edit()
    rolling.minutes(10)
    assert [rolling.world.carries(each) for each in rolling.fleet].count("web") == 5


# ---- in several accounts ----


class Organized:
    """A hub where two instances each of two other accounts carry web, and an edit gives them api in waves."""

    def __init__(self, hub: OrganizationDesk) -> None:
        self.hub = hub
        hub.usable("api")
        for target in (SPOKE, OTHER):
            hub.spoke(target).profile("api")
        self.edit(role="web")
        self.fleet = [(target, each) for target in (SPOKE, OTHER) for each in hub.launched(2, target)]
        self.settle()
        self.later(5)
        assert self.carrying("web") == {SPOKE: 2, OTHER: 2}

    def edit(self, **columns: object) -> Status:
        status = self.hub.edit(TAG, **columns).status
        self.settle()
        return status

    def settle(self) -> None:
        self.hub.sent()
        for target, instance in self.fleet if hasattr(self, "fleet") else ():
            self.hub.organization.reconcile(self.hub.spoke(target).key(instance))
        self.hub.organization.wait(seconds=2)

    def later(self, minutes: int) -> None:
        for _ in range(minutes):
            self.hub.organization.wait(minutes=1)
            self.hub.app().expiries("minute", waits=False).run()
        self.settle()

    def carrying(self, role: str) -> dict[Target, int]:
        return {
            target: [self.hub.spoke(target).carries(each) for at, each in self.fleet if at == target].count(role)
            for target in (SPOKE, OTHER)
        }


@pytest.fixture
def organized(hub: OrganizationDesk) -> Organized:
    return Organized(hub)


def test_waves_run_over_all_accounts_as_one_fleet(organized: Organized) -> None:
    assert organized.edit(role="api", rollout="1, 75%, 100% every 15m") is Status.ROLLING_OUT
    assert sum(organized.carrying("api").values()) == 1
    assert "1 of 4 instances may move" in organized.hub.shows(TAG)[1]
    organized.later(16)
    assert sum(organized.carrying("api").values()) == 3
    organized.later(15)
    assert organized.carrying("api") == {SPOKE: 2, OTHER: 2}
    organized.later(15)
    assert organized.hub.shows(TAG)[0] == "Published"
    assert [organized.hub.published_for(each.account).former for each in (SPOKE, OTHER)] == [None, None]


def test_the_accounts_that_a_rollout_names_come_first_and_one_by_one(organized: Organized) -> None:
    first, second = OTHER.account, SPOKE.account
    organized.edit(role="api", rollout=f"{first}, {second}, 100% every 15m")
    assert organized.carrying("api") == {SPOKE: 0, OTHER: 2}
    assert f"4 of 4 instances may move, those in {first}; the next" in organized.hub.shows(TAG)[1]
    organized.later(16)
    assert organized.carrying("api") == {SPOKE: 2, OTHER: 2}


def test_of_an_account_that_is_not_named_nothing_moves_before_the_others(organized: Organized) -> None:
    organized.edit(role="api", rollout=f"{OTHER.account}, 1, 75%, 100% every 15m")
    organized.later(16)
    assert organized.carrying("api") == {SPOKE: 0, OTHER: 2}, "two have moved, and one may"
    organized.later(15)
    assert organized.carrying("api") == {SPOKE: 1, OTHER: 2}


def test_an_account_that_gave_no_answer_joins_the_rollout_with_its_sweep(organized: Organized) -> None:
    organized.hub.silence(OTHER, "AssumeRole")
    assert organized.edit(role="api", rollout="1, 100% every 15m") is Status.ROLLING_OUT
    organized.hub.answers(OTHER)
    organized.hub.sweep(OTHER)
    organized.settle()
    assert organized.hub.published_for(OTHER.account).former is not None
    assert sum(organized.carrying("api").values()) == 1


def test_a_rollout_that_ended_is_over_in_an_account_too_whose_record_is_written_later(organized: Organized) -> None:
    organized.edit(role="api", rollout="1, 100% every 15m")
    organized.later(16)
    rolling = organized.hub.published_for(OTHER.account)
    organized.later(15)
    assert (rolling.former is None, organized.hub.published_for(OTHER.account).former) == (False, None)
    organized.hub.app().revisions.write(OTHER.account, AccountRecord(rolling))
    for _ in range(2):
        [instance] = organized.hub.launched(1, OTHER)
        organized.fleet.append((OTHER, instance))
        organized.settle()
    assert organized.carrying("api") == {SPOKE: 2, OTHER: 4}


def test_by_a_rollout_that_was_taken_back_nothing_moves_in_an_account_that_gave_no_answer(organized: Organized) -> None:
    organized.hub.edit(TAG, role="api", rollout="75%, 100% every 15m")
    again = {"role": "api", "rollout": "100% every 15m"}
    key = next(organized.hub.spoke(target).key(each) for target, each in organized.fleet if target == OTHER)
    for columns, why in (({"role": "web"}, "that, and it was taken back"), (again, "is lost")):
        organized.hub.silence(OTHER, "AssumeRole")
        assert organized.hub.edit(TAG, **columns).status in (Status.PUBLISHED, Status.ROLLING_OUT)
        organized.hub.answers(OTHER)
        organized.settle()
        assert organized.hub.published_for(OTHER.account).revision == 2, "it isn't written yet"
        assert organized.carrying("web")[OTHER] == 2
        assert (decision := organized.hub.organization.reconcile(key)[key].decision)
        assert decision.reason.endswith(why)


def test_a_spokes_instances_go_back_with_all_others(organized: Organized) -> None:
    organized.edit(role="api", rollout="75%, 100% every 15m")
    assert sum(organized.carrying("api").values()) == 3
    assert organized.edit(role="web") is Status.PUBLISHED
    assert organized.carrying("web") == {SPOKE: 2, OTHER: 2}
