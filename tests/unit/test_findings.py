"""A row that is judged in many accounts: a run for each asks there, and one more judges by what they found."""

from collections import Counter
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.account import ACCOUNT, HOME, FakeAccount, KilledError, kill, mapping_key
from fixtures.functions import wire
from fixtures.organization import OTHER, SAME_ACCOUNT, SPOKE, new_organization
from fixtures.organization_desk import TAG, OrganizationDesk
from rolekeeper.aws.errors import AwsRefusalError, CorruptItemError, RetryableError
from rolekeeper.mappings import account_runs, findings, job_batches
from rolekeeper.mappings.impact import Conflict, Conflicts, Impact, Moment, Scan
from rolekeeper.mappings.verdict import Status
from rolekeeper.model.instance import Action, InstanceKey, Target
from rolekeeper.model.mapping import MappingSpec, PublishedMapping
from rolekeeper.model.problem import Problem
from rolekeeper.permissions.comparison import Difference, Gain
from rolekeeper.permissions.roles import RoleCheck
from rolekeeper.settings import Limits
from rolekeeper.storage import layout

HOME_TOO = Target(ACCOUNT, "eu-central-1")
PLACES = (SPOKE, SAME_ACCOUNT, OTHER, HOME_TOO)
EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


# ---- the verdict is the same ----

accounts = st.frozensets(st.sampled_from([ACCOUNT, SPOKE.account, OTHER.account]), min_size=1, max_size=2)
rows = st.fixed_dictionaries(
    {"role": st.sampled_from(["web", "api", "admin", "NONE", "gone"])},
    optional={
        "priority": st.sampled_from([50, 100]),
        "accounts": accounts,
        "regions": st.just(frozenset({"eu-west-1"})),
        "when_unmatched": st.sampled_from(["detach", "keep"]),
        "when_occupied": st.just("replace"),
        "enabled": st.booleans(),
        "allow_broad": st.just(True),  # noqa: FBT003  # a column
        "expires_at": st.just("2030-01-01T00:00:00Z"),
    },
)
tags = st.fixed_dictionaries(
    {}, optional={"workload": st.sampled_from(["web", "db"]), "team": st.just("a"), "other": st.just("x")}
)
instances = st.lists(st.tuples(st.sampled_from((None, *PLACES)), tags, st.sampled_from([None, "foreign"])), max_size=8)
silent = st.sets(st.sampled_from(["assume", "describe", "role"]), max_size=1)


def story(desk: OrganizationDesk, edits: list[Any], fleet: list[Any], silent: set[str], limit: int) -> list[Any]:
    """Edits of a row, one after the other; what it and all that is published say after each."""
    desk.world.take_over = desk.world.allow_broad_roles = True
    desk.limits = Limits(limit, 0)
    keys = [launched(desk.spoke(place) if place else desk.world, profile, tagged) for place, tagged, profile in fleet]
    desk.edit("team=a", role="api")
    seen: list[Any] = []
    for number, columns in enumerate(edits):
        if number == len(edits) - 1:
            fail(desk, silent)
        verdict = desk.remove(TAG) if columns is None else desk.edit(TAG, **columns)
        seen.append((verdict.status, verdict.reason, verdict.matched, verdict.occupied, verdict.impact))
        seen.append({name: value for name, value in desk.row(TAG).items() if name != "edited_by"})
        records = desk.world.revisions.records(mapping_key(TAG))
        # Moto's ids are random.
        seen.append({account: {**each.content, "profile_id": ""} for account, each in sorted(records.items())})
        seen.append([{**each, "at": "", "sk": "", "expires": 0} for each in desk.history(TAG)])
        desk.organization.reconcile(*keys)
        desk.organization.wait(seconds=5)
    return seen


def launched(place: FakeAccount, profile: str | None, tagged: dict[str, str]) -> InstanceKey:
    return place.key(place.running(profile=profile, **tagged))


def fail(desk: OrganizationDesk, how: set[str]) -> None:
    of = {"assume": (OTHER, "AssumeRole"), "describe": (SAME_ACCOUNT, "DescribeInstances"), "role": (SPOKE, "GetRole")}
    for each in how & of.keys():
        desk.silence(*of[each])


def told(few: int, *parts: Any) -> list[Any]:
    with mock.patch.object(account_runs, "ASKED", few), new_organization() as organization:
        desk = OrganizationDesk.of_three(organization)
        desk.join(HOME_TOO, "web", "api", instances=100)
        for role in ("api", "admin"):
            desk.role(role)
            desk.spoke(OTHER).profile(role)
        desk.spoke(SPOKE).profile("api")
        desk.grant("admin", "*")
        desk.spoke(OTHER).clients["iam"].inline["admin"] = EVERYTHING
        return story(desk, *parts)


@settings(max_examples=25)
@given(
    edits=st.lists(st.none() | rows, min_size=1, max_size=3),
    fleet=instances,
    silent=silent,
    limit=st.sampled_from([0, 1, 25]),
)
def test_what_accounts_found_gives_the_verdict_that_asking_them_gives(
    edits: list[Any], fleet: list[Any], silent: set[str], limit: int
) -> None:
    parts = edits, fleet, silent, limit
    assert told(0, *parts) == told(20, *parts)


# ---- the runs ----


class Machine:
    """An operator's desk, and what the accounts machine does, step by step."""

    def __init__(self, desk: OrganizationDesk) -> None:
        self.desk = desk

    def begun(self, tag: str = TAG, **columns: Any) -> dict[str, Any]:
        """The input of the execution that an edit starts."""
        self.desk.put(tag, **columns)
        return self.asked(tag)

    def edits(self, *tags: str, **columns: Any) -> None:
        """Edit these rows at once."""
        for tag in tags:
            self.desk.put(tag, **columns)
            self.desk.app().publisher.publish(mapping_key(tag), f"edit of {tag}")

    def asked(self, tag: str = TAG) -> dict[str, Any]:
        """The same, by the stream's next look at the row."""
        app = self.desk.app()
        assert app.publisher.publish(mapping_key(tag), f"edit of {tag}").status is Status.WAITING
        return self.started()[-1]

    def started(self) -> list[dict[str, Any]]:
        found, self.desk.world.machine.started = self.desk.world.machine.started, []
        return [{**each["input"], "name": each["name"], **self.listed(each["input"]["batch"])} for each in found]

    def listed(self, batch: str) -> dict[str, Any]:
        """What the first step finds in a batch, once it may take no more rows."""
        app = self.desk.app()
        return {"accounts": app.batches.close(batch), "jobs": app.publisher.runs.jobs(batch)}

    def find(self, asked: dict[str, Any], *accounts: str, in_time: bool = True) -> None:
        for account in accounts or asked["accounts"]:
            self.desk.app().ask_account(asked["batch"], account, lambda: in_time)

    def judged(self, asked: dict[str, Any]) -> Status:
        [verdict] = self.desk.app().publisher.finish(asked["then"]["batch"]).values()
        return verdict.status

    def seen(self, *places: Target) -> list[list[str]]:
        """What these targets were asked since last time."""
        made = [list(self.desk.spoke(each).calls.made) for each in places]
        for each in places:
            self.desk.spoke(each).calls.clear()
        return made


@pytest.fixture
def machine(hub: OrganizationDesk, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(account_runs, "ASKED", 2)
    return Machine(hub)


def test_an_edit_waits_while_a_run_for_each_account_asks_there_and_nobody_else(machine: Machine) -> None:
    desk = machine.desk
    machine.seen(SPOKE, OTHER)
    asked = machine.begun(role="web")
    assert desk.shows(TAG) == ("Waiting", "it is being judged in 2 accounts", 0)
    assert desk.row(TAG)["judging"] == 2, "a value, by which the command knows that it isn't judged yet"
    assert (asked["task"], asked["accounts"]) == ("judge", [SPOKE.account, OTHER.account])
    assert machine.seen(SPOKE, OTHER) == [[], []], "the run that was told of the edit asks no account"
    desk.world.calls.clear()
    machine.find(asked, OTHER.account)
    mine, theirs = machine.seen(SPOKE, OTHER)
    assert not mine
    assert {"GetRole", "DescribeInstances"} <= set(theirs)
    assert desk.world.calls["DescribeInstances"] == desk.world.calls["Query"] - 3 == 0, "the batch, and the registry"
    machine.find(asked, SPOKE.account)
    machine.seen(SPOKE, OTHER)
    machine.judged(asked)
    mine, theirs = machine.seen(SPOKE, OTHER)
    assert (mine, theirs) == (["DescribeInstances"], ["DescribeInstances"]), "it sends the instances, and asks no more"
    assert desk.shows(TAG) == ("Published", "in effect in 3 accounts", 1)
    assert "judging" not in desk.row(TAG)


def test_a_row_for_few_targets_is_judged_at_once(machine: Machine) -> None:
    assert machine.desk.edit(TAG, role="web", accounts={ACCOUNT, OTHER.account}).status is Status.PUBLISHED
    assert machine.desk.judging == []


def test_instances_count_also_where_the_role_is_missing(machine: Machine) -> None:
    """The run for that account knows no other account of the scope."""
    machine.desk.role("new")
    machine.desk.spoke(OTHER).profile("new")
    machine.desk.launched(2, SPOKE)
    asked = machine.begun(role="new", accounts={SPOKE.account, OTHER.account})
    machine.find(asked)
    assert (machine.judged(asked), machine.desk.row(TAG)["matched"]) == (Status.PUBLISHED, 2)


def test_rows_that_are_edited_at_once_are_asked_about_together(machine: Machine) -> None:
    desk, tags = machine.desk, [f"team={number}" for number in range(10)]
    machine.edits(*tags, tags[3], role="web")
    names = {each["name"] for each in desk.world.machine.started}
    assert len(names) == 1, "one execution, however often it is started"
    asked = machine.started()[0]
    assert asked["wait"] == job_batches.GATHERED
    machine.seen(SPOKE, OTHER)
    machine.find(asked)
    assert [made.count("GetInstanceProfile") for made in machine.seen(SPOKE, OTHER)] == [1, 1], "once for all rows"
    verdicts = desk.app().publisher.finish(asked["batch"])
    assert {str(key): verdict.status for key, verdict in verdicts.items()} == dict.fromkeys(tags, Status.PUBLISHED)


def test_a_row_that_comes_once_a_batch_is_closed_or_full_is_in_the_next(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_batches, "MOST", 2)
    batches = [machine.begun("team=1", role="web")["batch"]]
    machine.edits("team=2", "team=3", "team=4", role="web")
    started = machine.started()
    batches += [each["batch"] for each in started]
    assert [each["wait"] <= job_batches.GATHERED for each in started] == [False] * 3, "the next slot begins later"
    numbers = [int(each.removeprefix("judge-")) for each in batches]
    assert [(number - numbers[0]) // job_batches.SLOT for number in numbers] == [0, 1, 1, 2]
    monkeypatch.setattr(job_batches, "FULL", 3)
    with pytest.raises(RetryableError, match="BatchesFull"):
        machine.begun("team=5", role="web")


def test_a_mapping_that_has_just_ended_is_judged_so_whatever_else_rang_in_that_minute(machine: Machine) -> None:
    machine.desk.put(TAG, role="web")
    for ended in (True, False):
        machine.desk.app().publisher.recheck(mapping_key(TAG), "minute-1", ended=ended)
    assert {job.trigger.ended for job in machine.started()[0]["jobs"]} == {True, False}


def test_an_account_is_asked_only_about_the_rows_that_concern_it(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_runs, "ASKED", 0)
    machine.edits("team=1", role="web", accounts={SPOKE.account})
    machine.edits("team=2", role="web", accounts={SPOKE.account, OTHER.account})
    batch, runs = machine.started()[0]["batch"], machine.desk.app().publisher.runs
    asked = {
        account: sorted(str(job.key) for job in runs.jobs(batch, account)) for account in (SPOKE.account, OTHER.account)
    }
    assert asked == {SPOKE.account: ["team=1", "team=2"], OTHER.account: ["team=2"]}


def test_a_target_that_gave_no_answer_is_asked_once_for_a_batch(machine: Machine) -> None:
    machine.edits("team=1", "team=2", "team=3", role="web")
    asked = machine.started()[0]
    machine.desk.silence(OTHER, "DescribeInstances")
    machine.seen(OTHER)
    machine.find(asked, OTHER.account)
    assert machine.seen(OTHER)[0].count("DescribeInstances") == 1


def test_a_target_that_gave_no_answer_about_one_row_holds_up_no_row_that_doesnt_concern_it(
    hub: OrganizationDesk,
) -> None:
    hub.edit("team=2", role="web")
    hub.edit("team=2", role="web", accounts={ACCOUNT, SPOKE.account})
    hub.silence(OTHER, "DescribeInstances")
    hub.put("team=1", role="web")
    hub.put("team=2", role="web", accounts={ACCOUNT, SPOKE.account}, priority=7)
    publisher = hub.app().publisher
    assert "gave no answer" in publisher.publish(mapping_key("team=1"), "edit-1").reason
    assert publisher.publish(mapping_key("team=2"), "edit-2").reason == "in effect in 2 accounts"


def test_a_row_that_cant_be_judged_delays_no_other_of_its_batch(machine: Machine) -> None:
    machine.edits("team=1", "team=2", "team=3", role="web")
    asked = machine.started()[0]
    machine.find(asked)
    first, *others = [job.key for job in asked["jobs"]]
    machine.desk.world.put(layout.published_key(first, ACCOUNT), garbled=True)
    with pytest.raises(CorruptItemError):
        machine.desk.app().publisher.finish(asked["batch"])
    assert [machine.desk.shows(str(key))[0] for key in others] == ["Published", "Published"]


def test_an_account_whose_run_failed_is_asked_once_more_and_then_holds_nothing_up(machine: Machine) -> None:
    machine.desk.join(OTHER, instances=20)
    first = machine.begun(role="web")
    machine.find(first, SPOKE.account)
    assert machine.judged(first) is Status.WAITING
    (second,) = machine.started()
    machine.find(second, SPOKE.account)
    assert machine.judged(second) is Status.PUBLISHED
    why = "222222222222 gave no answer (TimedOut to lambda:InvokeFunction), its sweep publishes it there"
    assert machine.desk.shows(TAG)[1] == f"in effect in 2 of 3 accounts; {why}"
    assert machine.desk.record(OTHER.account) is None


def test_where_no_run_came_to_its_end_nothing_is_published(machine: Machine) -> None:
    machine.judged(machine.begun(role="web"))
    (second,) = machine.started()
    with pytest.raises(RetryableError):
        machine.judged(second)
    assert machine.desk.served(TAG) is None
    assert machine.desk.shows(TAG)[1].startswith("AWS gave no answer (NoFindings to lambda:InvokeFunction)")


def test_an_edit_that_another_one_overtook_is_left_to_that(machine: Machine) -> None:
    first = machine.begun(role="web")
    machine.find(first, SPOKE.account)
    second = machine.begun(role="web", priority=7)
    machine.seen(OTHER)
    machine.find(first, OTHER.account)
    assert machine.seen(OTHER) == [[]], "nobody is asked about an edit that is over"
    assert machine.judged(first) is Status.WAITING
    assert (machine.desk.served(TAG), machine.started()) == (None, [])
    machine.find(second)
    assert machine.judged(second) is Status.PUBLISHED
    assert machine.desk.in_effect(TAG).spec.priority == 7


def test_what_changed_there_meanwhile_is_asked_again_a_few_times_and_then_left_to_the_sweep(machine: Machine) -> None:
    desk = machine.desk
    asked = machine.begun(role="web")
    machine.find(asked)
    machine.judged(asked)
    asked = machine.begun(role="web", priority=7)
    profile = desk.spoke(OTHER).profiles["web"]
    for attempt in range(account_runs.ATTEMPTS):
        machine.find(asked)
        # Its sweep suspends what is published there, or resumes it.
        if not desk.spoke(OTHER).profiles.pop("web", None):
            desk.spoke(OTHER).profiles["web"] = profile
        desk.app().at(OTHER).record_checks().recheck(mapping_key(TAG), "sweep-1")
        assert machine.judged(asked) is Status.WAITING
        (asked,) = machine.started() or [asked]
        assert asked["jobs"][0].attempt == min(attempt + 1, account_runs.ATTEMPTS - 1)
    assert desk.in_effect(TAG).revision == 1
    assert desk.recheck(TAG).status is Status.PUBLISHED


def test_whatever_cut_a_publication_off_the_answers_that_led_to_it_finish_it(machine: Machine) -> None:
    """Each step before and after a call to AWS: the machine has the same run made once more."""
    desk = machine.desk
    desk.limits = Limits(10_000, 0)
    places = (HOME, SPOKE, SAME_ACCOUNT, OTHER)
    for place in places[1:]:
        desk.launched(1, place)
    desk.world.running(workload="web")
    step = 1
    while True:
        desk.world.clock.sleep(job_batches.SLOT)
        asked = machine.begun(role="web", priority=step)
        machine.find(asked)
        desk.quiet()
        desk.world.calls.at_step(step, kill)
        with suppress(KilledError):
            machine.judged(asked)
        if not desk.world.calls.reached():
            break
        stored = desk.world.revisions.read(mapping_key(TAG))
        over = stored.published and stored.published.spec.priority == step and not stored.unsent
        assert over or (machine.judged(asked), machine.started()) == (Status.PUBLISHED, []), step
        assert {*desk.sent_to()} == {(place.account, place.region) for place in places}, step
        assert not desk.world.revisions.read(mapping_key(TAG)).unsent
        step += 1
    assert step > 10


def test_answers_that_are_old_are_asked_for_again(machine: Machine) -> None:
    asked = machine.begun(role="web")
    machine.find(asked)
    machine.desk.world.clock.sleep(account_runs.FRESH.total_seconds() + 1)
    assert machine.judged(asked) is Status.WAITING
    (asked,) = machine.started()
    machine.find(asked)
    assert machine.judged(asked) is Status.PUBLISHED


def test_a_target_for_which_its_accounts_run_has_no_time_left_gave_no_answer(machine: Machine) -> None:
    asked = machine.begun(role="web")
    machine.find(asked, SPOKE.account)
    machine.find(asked, OTHER.account, in_time=False)
    machine.judged(asked)
    assert "222222222222 gave no answer (TimedOut to ec2:DescribeInstances)" in machine.desk.shows(TAG)[1]


def test_answers_that_an_item_cant_hold_are_none(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = machine.begun(role="web")
    machine.find(asked, SPOKE.account)
    monkeypatch.setattr(findings, "MOST", 50)
    machine.find(asked, OTHER.account)
    machine.judged(asked)
    assert "222222222222 gave no answer (TooLarge to dynamodb:PutItem)" in machine.desk.shows(TAG)[1]


def test_answers_that_cant_be_read_are_none(machine: Machine) -> None:
    asked = machine.begun(role="web")
    machine.find(asked)
    machine.desk.world.put(layout.finding_key(asked["jobs"][0].run, OTHER.account), found=b"garbled")
    assert machine.judged(asked) is Status.WAITING
    assert len(machine.started()) == 1


def test_answers_expire_after_a_day(machine: Machine) -> None:
    asked = machine.begun(role="web")
    machine.find(asked)
    (item, _) = machine.desk.world.store.items(f"judging#{asked['jobs'][0].run}", "~")
    assert int(item["expires"]) - machine.desk.world.clock.now().timestamp() == pytest.approx(86_400, abs=60)


def test_a_held_row_stays_held_while_the_sweep_has_it_judged_again(machine: Machine) -> None:
    desk = machine.desk
    desk.limits = Limits(1, 0)
    desk.launched(2)
    asked = machine.begun(role="web")
    machine.find(asked)
    machine.seen(SPOKE, OTHER)
    assert machine.judged(asked) is Status.HELD
    assert all("DescribeInstances" not in made for made in machine.seen(SPOKE, OTHER)), "nor to count all instances"
    said = desk.shows(TAG)
    assert desk.app().publisher.recheck(mapping_key(TAG), "sweep-1").status is Status.HELD
    assert desk.shows(TAG) == said
    (asked,) = machine.started()
    machine.find(asked)
    assert machine.judged(asked) is Status.HELD
    assert desk.shows(TAG) == said
    assert desk.approve(TAG, 1).status is Status.PUBLISHED


def test_all_that_was_found_is_kept() -> None:
    at = datetime(2030, 1, 1, tzinfo=UTC)
    other = PublishedMapping(MappingSpec(mapping_key("team=a"), "api", expires_at=at), 3, "arn:api")
    later = {Moment(at, other.key): Counter({Action.DETACH: 4}), Moment(at): Counter({Action.ATTACH: 1})}
    impact = Impact(1, 2, 3, later, only_later=5, moves=Counter({("arn:a", "arn:b"): 6}))
    conflicts = Conflicts({other.key: Conflict(other, ["i-1"], 1, new=True, elsewhere=True)})
    scan = Scan(7, 8, conflicts, foreign=9, nodes={"EKS"}, profile_ids={"AIPA1"}, impact=impact)
    why = AwsRefusalError("Throttling", "slow down", "ec2:DescribeInstances", resource="here")
    check = RoleCheck(Problem("no role", "make it", "role"), "note", "arn:b", "profile", "AIPA2")
    difference = Difference(("s3:GetObject on *",), ("sqs:* on *",), "unknown")
    found = findings.AccountVerdict(
        *("stamp", why, check, {"eu-west-1": why}, {"us-west-2": 10}),
        gains=(Gain("a", "b", ("iam:* on *",), difference),),
        scans={"us-west-2": scan},
    )
    read = findings.AccountVerdict.from_bytes(found.to_bytes())
    assert replace(read, refusal=None, refused={}) == replace(found, refusal=None, refused={})
    for error in (read.refusal, read.refused["eu-west-1"]):
        assert error is not None
        assert (error.code, error.message, error.action, error.resource) == (
            *("Throttling", "slow down", "ec2:DescribeInstances", "here"),
        )


def test_a_row_that_nobody_judged_yet_isnt_judged_for_the_sweep_that_has_it_judged(machine: Machine) -> None:
    """Before every row is judged a first sweep lets nothing change."""
    machine.desk.put(TAG, role="web", status="Published")
    assert machine.desk.app().publisher.recheck(mapping_key(TAG), "sweep-1").status is Status.WAITING


def test_the_schedules_function_does_both_steps(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = machine.desk
    wire(monkeypatch, desk.app)
    asked = machine.begun(role="web")
    of = {name: asked[name] for name in ("task", "id", "batch", "then")}
    assert desk.organization.scheduled({"task": "accounts", "id": "1", "of": of}) == {"accounts": asked["accounts"]}
    for account in asked["accounts"]:
        desk.organization.scheduled({"task": "judge", "id": "1", "account": account, "of": of})
    assert desk.organization.scheduled(asked["then"])["judged"] == {TAG: "Published"}


def test_a_row_is_judged_again_once_its_rival_expires_though_an_edit_of_that_is_held(
    hub: OrganizationDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_runs, "ASKED", 0)
    for place in (hub.world, hub.spoke(SPOKE), hub.spoke(OTHER)):
        place.profile("db")
    ends = hub.world.clock.now() + timedelta(minutes=2)
    hub.edit("tier=x", role="web", expires_at=f"{ends:%Y-%m-%dT%H:%M:%SZ}")
    instance = hub.world.running(workload="db", tier="x")
    hub.organization.reconcile(hub.world.key(instance))
    assert hub.world.carries(instance) == "web"
    assert hub.edit("workload=*", role="db").status is Status.CONFLICT
    hub.limits = Limits(0, 0)
    hub.edit("tier=x", role="db", priority=7)
    assert (hub.shows("tier=x")[0], hub.shows("workload=*")[0]) == ("Held", "Conflict")
    hub.world.wait(3 * 60)
    hub.judged(lambda publisher: publisher.recheck(mapping_key("tier=x"), "minute-1", ended=True))
    assert hub.shows("workload=*")[0] == "Held"
