"""The cost model: it counts what the template holds and what the code does, and the docs say what it says."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from bench import bill, cost, others
from bench.assumed import FLEETS, IDLE

from fakes.dynamodb_values import item_size
from fixtures.account import FakeAccount
from fixtures.mappings import Desk
from fixtures.organization import SPOKE, VERSION, Organization, wired_organization
from fixtures.state_table import STATE_TABLE
from rolekeeper.fleet.targets import CHECKED_FOR, WIRE_FORMAT, ServedTarget
from rolekeeper.model.instance import Target
from support import templates
from support.deployment import deployment, translated

TAGS = {"workload": "web", "Name": "web-1", "env": "prod", "team": "payments", "cost-center": "4711"}


# ---- what an event takes ----


class Meter:
    """DynamoDB's request units of what a world does: strongly consistent reads, and writes, each of whole KB."""

    def __init__(self, world: FakeAccount, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reads = self.writes = 0
        self._get, self._calls = world.dynamodb.get_item, world.calls.made
        for name, units in (
            ("batch_get_item", self._read),
            ("transact_write_items", self._transaction),
            ("delete_item", self._single),
            ("update_item", self._single),
        ):
            monkeypatch.setattr(world.dynamodb, name, self._metered(getattr(world.dynamodb, name), units))

    def _metered(self, call: Callable[..., Any], units: Callable[..., Callable[[], None]]) -> Callable[..., Any]:
        def metered(**request: Any) -> Any:
            after = units(request)
            answer = call(**request)
            after()
            return answer

        return metered

    def _size(self, key: Mapping[str, Any]) -> int:
        made = len(self._calls)
        item = self._get(TableName=STATE_TABLE, Key=key, ConsistentRead=True).get("Item", {})
        del self._calls[made:]
        return item_size(item)

    def _read(self, request: Mapping[str, Any]) -> Callable[[], None]:
        asked = request["RequestItems"].get(STATE_TABLE, {"Keys": (), "ConsistentRead": True})
        assert asked["ConsistentRead"]
        self.reads += sum(max(1, math.ceil(self._size(key) / 4096)) for key in asked["Keys"])
        return lambda: None

    def _transaction(self, request: Mapping[str, Any]) -> Callable[[], None]:
        written = [next(iter(each.values())) for each in request["TransactItems"]]
        keys = [each.get("Key") or {name: each["Item"][name] for name in ("pk", "sk")} for each in written]
        before = [self._size(key) for key in keys]

        def after() -> None:
            sizes = [max(size, self._size(key)) for size, key in zip(before, keys, strict=True)]
            self.writes += sum(2 * max(1, math.ceil(size / 1024)) for size in sizes)

        return after

    def _single(self, request: Mapping[str, Any]) -> Callable[[], None]:
        self.writes += max(1, math.ceil(self._size(request["Key"]) / 1024))
        return lambda: None


def _instance(world: FakeAccount, kind: str) -> str:
    """An instance of which the next look is of this kind."""
    instance = world.launch(**TAGS)
    if kind == "wait":
        return instance
    world.wait(2)
    if kind != "attach":
        world.reconcile(instance)
    if kind == "replace":
        world.tag(instance, workload="db")
    if kind == "ended":
        world.truth.terminate(instance)
        world.wait(3)
    return instance


@pytest.mark.parametrize("kind", IDLE.happenings)
def test_an_event_takes_what_the_model_says(world: FakeAccount, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Where it fails the code takes more or less than before: COUNTS wants the figures, then `make cost DOCS=1`."""
    world.publish("workload=web", "web")
    world.publish("workload=db", "db")
    instance = _instance(world, kind)
    world.quiet()
    meter, logged = Meter(world, monkeypatch), len(world.log.getvalue())
    world.reconcile(instance)
    said = cost.COUNTS[kind]
    assert (len(world.calls.made), meter.reads, meter.writes, len(world.events.sent)) == (
        said.calls,
        said.reads,
        said.writes,
        said.events,
    )
    assert len(world.log.getvalue()) - logged == pytest.approx(said.log, rel=0.1)


# ---- what stands idle ----


def test_what_stands_in_the_template_is_billed() -> None:
    alarms = templates.of_type("AWS::CloudWatch::Alarm").values()
    metrics = sum(len(cost.watched(each)) for each in alarms)
    usage = cost.ours(IDLE)
    assert usage["alarm_metrics"] == metrics > len(alarms)
    assert usage["custom_metrics"] == 1, "idle, only sweeps are counted"
    assert (usage["dashboards"], usage["kms_keys"]) == (0, 0)


def test_the_clock_is_the_templates() -> None:
    assert cost.schedules(deployment(translated())) == {"minute": 1, "sweep": 15}
    seldom = cost.ours(FLEETS["10,000"], SweepSchedule="rate(1 hour)")
    assert bill.total(seldom) < bill.total(cost.ours(FLEETS["10,000"]))


def test_an_account_is_asked_once_for_all_its_regions() -> None:
    whole, one_region = cost.organization(cost.REGIONS), cost.organization(1)
    children = cost.ACCOUNTS * cost.IDLE_SWEEPS * 30
    assert whole["express_requests"] == children == one_region["express_requests"]
    assert whole["states_transitions"] > children


ROWS = 5


@contextmanager
def organization_at_rest(monkeypatch: pytest.MonkeyPatch, *regions: str) -> Iterator[Organization]:
    """A hub and an account with these Regions, and rows that are published there; a sweep has noted it all."""
    with wired_organization(monkeypatch) as made:
        made.hub.large_pages()
        for number in range(ROWS):
            made.publish(f"workload=w{number}", f"role{number}")
        for region in regions:
            target = Target(SPOKE.account, region)
            made.spoke(target).large_pages()
            for number in range(ROWS):
                made.spoke(target).profile(f"role{number}")
            made.app().registry.add(ServedTarget(target, VERSION, made.hub.clock.now(), wire_format=WIRE_FORMAT))
        for _ in range(2):
            made.sweep()
        made.wait(minutes=61)
        yield made


def of_an_account(made: Organization, monkeypatch: pytest.MonkeyPatch) -> tuple[Counter[str], int, int]:
    """The calls, read units and writes of a run of the accounts machine."""
    made.scheduled()
    made.forget_sessions()
    made.assumed.clear()
    for each in (made.hub, *made.spokes.values()):
        each.calls.clear()
    meter, logged = Meter(made.hub, monkeypatch), len(made.hub.log.getvalue())
    of = made.hub.machine.started[-1]["input"]
    made.scheduled({"task": of["task"], "id": of["id"], "account": SPOKE.account, "of": of})
    calls = sum((Counter(each.calls.made) for each in (made.hub, *made.spokes.values())), Counter(made.assumed))
    return calls, meter.reads, len(made.hub.log.getvalue()) - logged


def test_a_run_for_an_account_takes_what_the_model_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Queries and scans aren't metered: of the account's targets, and of the keys of the rows."""
    account, target, copy = (cost.COUNTS[name] for name in ("account", "target", "a copy"))
    for regions in (["eu-west-1"], ["eu-west-1", "us-west-2", "us-east-1"]):
        with organization_at_rest(monkeypatch, *regions) as made:
            calls, reads, logged = of_an_account(made, monkeypatch)
        number = len(regions)
        together = math.ceil(ROWS * copy.calls)
        assert calls.total() == account.calls + together + number * target.calls
        assert calls["BatchGetItem"] == together, "all rows together, once for all Regions"
        assert reads == ROWS * copy.reads
        assert calls["UpdateItem"] == number * target.writes
        assert logged == pytest.approx(number * target.log, rel=0.1)


def test_iam_is_asked_about_an_accounts_roles_as_often_as_the_model_says(monkeypatch: pytest.MonkeyPatch) -> None:
    with organization_at_rest(monkeypatch, "eu-west-1", "us-west-2") as made:
        counted = Counter[str]()
        for _ in range(6):
            counted += of_an_account(made, monkeypatch)[0]
            made.wait(minutes=61)
    roles = ROWS * 6 / (CHECKED_FOR / timedelta(hours=1))
    assert counted["GetRole"] == counted["GetInstanceProfile"] == roles


def test_a_sweep_of_rows_takes_what_the_model_says(world: FakeAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the mapping table aren't metered, nor the calls to IAM: a fake's role has no inline policy."""
    world.large_pages()
    desk = Desk(world, *(f"role{number}" for number in range(ROWS)))
    for number in range(ROWS):
        desk.edit(f"workload=w{number}", role=f"role{number}")
    meter = Meter(world, monkeypatch)
    for _ in range(2):
        world.calls.clear()
        meter.reads, app = 0, desk.app()
        app.sweep("sweep-1", lambda: 840, "run-1", {}).run()
        app.telemetry.flush()
    calls, sweep, row = world.calls.counted(), cost.COUNTS["sweep"], cost.COUNTS["a row"]
    iam = {name: each for name, each in calls.items() if name.startswith(("GetRole", "List", "GetInstanceProfile"))}
    assert sum(iam.values()) == ROWS * (cost.IAM_CALLS - 1)
    assert sum(calls.values()) - sum(iam.values()) <= sweep.calls
    assert ROWS * (row.reads - 1) < meter.reads <= sweep.reads + ROWS * (row.reads - 1)


def test_what_was_written_is_looked_at_once_more_as_the_model_says(
    world: FakeAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.publish("workload=web", "web")
    world.reconcile(_instance(world, "attach"), _instance(world, "attach"))
    meter = Meter(world, monkeypatch)
    world.follow()
    look, minute = cost.COUNTS["converged"], cost.COUNTS["minute"]
    assert meter.writes == 2 * cost.TAKEN_AWAY + 1, "and one that counts what was changed in the hour"
    assert look.reads <= meter.reads <= 2 * look.reads + minute.reads


# ---- prices ----


def test_each_price_has_a_page_and_says_where_it_was_seen() -> None:
    text = bill.PRICES.read_text()
    assert re.search(r"^date: \d{4}-\d\d-\d\d$", text, re.MULTILINE)
    for name, price in bill.prices().items():
        assert ("usd" in price) != ("tiers" in price), name
        assert price["seen"] in {"aws", "others", "no"}, name
        assert re.fullmatch(r"https://aws\.amazon\.com/[a-z0-9/-]+/pricing/(on-demand/)?", price["page"]), name


def test_a_bill_multiplies_and_takes_off_what_is_free() -> None:
    assert bill.total({"alarm_metrics": 23}) == pytest.approx(2.30)
    assert bill.total({"alarm_metrics": 23}, free=True) == pytest.approx(1.30)
    assert bill.total({"alarm_metrics": 3}, free=True) == 0
    assert bill.total({"sqs_requests": 1_500_000}) == pytest.approx(0.60)


def test_a_bill_goes_through_the_tiers() -> None:
    """AWS Config: 0.001 up to 100,000, 0.0008 up to 500,000, then 0.0005."""
    assert bill.total({"config_evaluations": 100_000}) == pytest.approx(100)
    assert bill.total({"config_evaluations": 600_000}) == pytest.approx(100 + 400_000 * 0.0008 + 100_000 * 0.0005)


# ---- the others ----


def test_the_others_have_the_same_fleet() -> None:
    fleet = FLEETS["100"]
    items = others.config_rule(fleet)["config_items"]
    # Of each instance: a launch, an end, 4 stops and starts, 4.5 changes of tags, and 1.5 changes by remediation.
    assert items == 100 * (1 + 1 + 8 + 4.5 + 1.5)
    woken = others.custodian(fleet, 15)["lambda_requests"]
    # Each of 5 policies: 5 starts and 5.5 tag calls of each instance, and a sweep every 15 minutes.
    assert woken == 5 * (100 * (5 + 5.5) + 2880)


# ---- what is said ----


def test_the_docs_show_what_the_model_says() -> None:
    """`make cost DOCS=1` writes it."""
    text = cost.DOCS.read_text()
    assert f"costs about {bill.total(cost.ours(IDLE)):.2f} USD a month" in text
    for heading, rows in cost.tables().items():
        assert f"<!-- {heading} -->\n\n{cost.markdown(rows)}\n" in text
    assert cost.page(text) == text


def test_the_bench_gets_a_row_for_each_month_that_has_a_target_and_for_each_kind_of_event() -> None:
    """Without the free tier. 6,800 targets are 400 accounts with all their Regions."""
    rows = {each.name.partition(", prices of ")[0]: each for each in cost.rows(lambda _text: None)}
    assert {name: str(each.target) for name, each in rows.items() if each.held} == {
        "idle month": "ours <= 5",
        "idle month of another target": "ours <= 0.1",
        "idle month of 6,800 targets, 50 rows": "ours <= 350",
        "idle month of 400 accounts in one Region, 50 rows": "ours <= 40",
    }
    assert rows["idle month, free tier"].ours < rows["idle month"].ours
    parts = [each.ours for name, each in rows.items() if name.startswith("idle month: ")]
    assert sum(parts) == pytest.approx(rows["idle month"].ours, abs=0.02)
    assert {name for name in rows if name.startswith("million")} == {
        f"million events: {kind}" for kind in IDLE.happenings
    }
