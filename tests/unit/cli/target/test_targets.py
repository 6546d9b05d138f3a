"""targets: the accounts and Regions that a deployment looks after, which are asked, and taking one out of the list."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from fakes.organizations import Organizations
from fixtures.account import ACCOUNT, REGION, refusing
from fixtures.mappings import Desk
from fixtures.spokes import SpokeFixture
from fixtures.terminal import Terminal, lines
from rolekeeper.aws.errors import AccessDeniedError
from rolekeeper.fleet.targets import WIRE_FORMAT, Registry
from rolekeeper.model.instance import Target
from rolekeeper.storage import layout
from rolekeeper_cli import installed
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.options import Options
from rolekeeper_cli.target.use import Places

OTHER, THIRD = "111111111111", "222222222222"
VERSION = installed.version()


pytestmark = pytest.mark.usefixtures("hub")


@pytest.fixture(autouse=True)
def three(desk: Desk) -> None:
    """The deployment's own sweeps saw three instances."""
    desk.world.swept(3)


def registered(desk: Desk, account: str, region: str, **attributes: Any) -> None:
    """A target as the functions write it; it was swept a minute ago unless told."""
    now = desk.world.clock.now()
    swept = layout.timestamp(now - timedelta(minutes=1))
    since = layout.timestamp(now - timedelta(days=3))
    item = {"version": VERSION, "since": since, "last_event": swept, "last_sweep": swept, "instances": 5, "drift": 0}
    item |= {"wire_format": WIRE_FORMAT}
    item = {name: value for name, value in {**item, **attributes}.items() if value is not None}
    store = desk.world.store
    store.write(store.put({**layout.key_attributes(layout.target_key(Target(account, region))), **item}))


def test_the_hubs_own_is_first_then_each_by_account_and_region(terminal: Terminal, desk: Desk) -> None:
    registered(desk, OTHER, "us-east-1")
    registered(desk, OTHER, "eu-west-1", drift=2)
    registered(desk, "999999999999", "eu-west-1")
    found = terminal.document("targets")
    assert [(each["account"], each["region"], each["hub"]) for each in found] == [
        (ACCOUNT, REGION, True),
        (OTHER, "eu-west-1", False),
        (OTHER, "us-east-1", False),
        ("999999999999", "eu-west-1", False),
    ]
    assert [(each["instances"], each["drift"]) for each in found] == [(3, 0), (5, 2), (5, 0), (5, 0)]
    assert {each["state"] for each in found} == {"well"}
    assert terminal("targets").stderr == "4 targets in 3 accounts: 4 ok.\n"


def test_a_target_without_a_spoke_that_sends_events_is_unknown(terminal: Terminal, desk: Desk) -> None:
    at, registry = desk.world.clock.now(), Registry(desk.world.store)
    for region in ("eu-west-1", "us-east-1"):
        registry.note_unknown(Target(OTHER, region), "sts:AssumeRole is refused", at, 1_200)
    registered(desk, OTHER, "us-east-1")
    assert [each["state"] for each in terminal.document("targets")] == ["well", "well", "unknown"]
    ran = terminal("targets")
    reason = "1,200 events were dropped: sts:AssumeRole is refused"
    assert lines(ran.stdout)[-1] == f"{OTHER} eu-west-1 unknown 2026-03-01T09:00:00Z {reason}"
    assert ran.stderr == "3 targets in 2 accounts: 2 ok, 1 unknown.\n"


def test_what_is_wrong_with_one_is_a_word_and_its_reason(terminal: Terminal, desk: Desk) -> None:
    now = desk.world.clock.now()
    late = layout.timestamp(now - timedelta(minutes=31))
    problem = "it refuses sts:AssumeRole on the role rolekeeper-reader"
    registered(desk, OTHER, "eu-north-1", last_sweep=None, since=layout.timestamp(now), instances=None, drift=None)
    registered(desk, OTHER, "eu-west-1", last_sweep=late)
    registered(desk, OTHER, "eu-west-2", problem=problem, problem_since=late)
    registered(desk, OTHER, "eu-west-3", last_sweep=layout.timestamp(now - timedelta(minutes=29)))
    registered(desk, OTHER, "us-east-2", last_sweep=None, since=late)
    states = {each["region"]: (each["state"], each["reason"]) for each in terminal.document("targets")}
    assert states == {
        REGION: ("well", ""),
        "eu-north-1": ("new", "its first sweep is still to come"),
        "eu-west-1": ("overdue", "its last sweep was at 2026-03-01 08:29 UTC"),
        "eu-west-2": ("problem", problem),
        "eu-west-3": ("well", ""),
        "us-east-2": ("overdue", "it was never swept"),
    }
    ran = terminal("targets")
    assert any(line.endswith(problem) for line in lines(ran.stdout))
    assert ran.stderr == "6 targets in 2 accounts: 2 ok, 2 overdue, 1 new, 1 problem.\n"


def test_how_old_a_sweep_may_be_is_two_intervals_or_the_alarms_time(terminal: Terminal, desk: Desk) -> None:
    registered(desk, OTHER, "eu-west-1", last_sweep=layout.timestamp(desk.world.clock.now() - timedelta(hours=3)))

    def state() -> str:
        return str(terminal.document("targets")[1]["state"])

    assert state() == "overdue"
    terminal.parameters["SweepSchedule"] = "rate(1 hour)"
    assert state() == "overdue"
    terminal.parameters["SweepSchedule"] = "rate(2 hours)"
    assert state() == "well"
    terminal.parameters |= {"SweepSchedule": "cron(0 * * * ? *)", "SweepOverdueHours": "4"}
    assert state() == "well"
    terminal.parameters["SweepOverdueHours"] = "2"
    assert state() == "overdue"


def test_a_target_without_instances_is_swept_once_an_hour_and_not_overdue_for_that(
    terminal: Terminal, desk: Desk
) -> None:
    now = desk.world.clock.now()
    for region, minutes in (("eu-west-1", 31 + 54), ("eu-west-2", 31 + 56)):
        swept = layout.timestamp(now - timedelta(minutes=minutes))
        registered(desk, OTHER, region, last_sweep=swept, instances=0, drift=0)
    assert [each["state"] for each in terminal.document("targets")] == ["well", "well", "overdue"]


@pytest.mark.parametrize(
    ("version", "compared"), [("0.0.9", "older"), ("99.0.0", "newer"), (VERSION, "same"), (None, None), ("main", None)]
)
def test_a_version_that_isnt_the_hubs_is_marked(
    terminal: Terminal, desk: Desk, version: str | None, compared: str | None
) -> None:
    registered(desk, OTHER, "eu-west-1", version=version)
    assert terminal.document("targets")[1]["version_is"] == compared
    shown = lines(terminal("targets").stdout)[2]
    assert (f"{version} ({compared})" in shown) == (compared in {"older", "newer"})


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"wire_format": None}, "its spoke is of an edition without a wire format"),
        ({"wire_format": WIRE_FORMAT + 2}, f"wire format {WIRE_FORMAT + 2}, and this hub takes 1 to {WIRE_FORMAT + 1}"),
        ({"wire_format": WIRE_FORMAT + 1}, ""),
        ({"last_event": "2026-02-27T08:59:00.000000Z"}, "no event came since 2026-02-27 08:59 UTC"),
        ({"last_event": "2026-02-27T09:00:00.000000Z"}, ""),
    ],
)
def test_one_whose_events_do_not_reach_the_hub_is_silent_whatever_its_version_and_its_sweeps(
    terminal: Terminal, desk: Desk, said: dict[str, Any], reason: str
) -> None:
    registered(desk, OTHER, "eu-west-1", **said)
    shown = terminal.document("targets")[1]
    assert (shown["state"], shown["version_is"]) == ("silent" if reason else "well", "same")
    assert (reason in shown["reason"], bool(shown["reason"])) == (True, bool(reason))


# ---- forget ----


def test_one_that_is_forgotten_is_no_longer_listed(terminal: Terminal, desk: Desk) -> None:
    registered(desk, OTHER, "eu-west-1", problem="it refuses sts:AssumeRole")
    registered(desk, OTHER, "eu-west-2")
    ran = terminal.types("y\n", "targets", "forget", f"{OTHER}/eu-west-1")
    assert (ran.exit_code, ran.stdout) == (0, f"{OTHER}/eu-west-1 is forgotten.\n")
    assert "is problem; its last sweep saw 5 instances. Its instances keep their roles. No changes" in ran.stderr
    assert [each["region"] for each in terminal.document("targets")] == [REGION, "eu-west-2"]
    assert terminal.document("targets", "forget", f"{OTHER}/eu-west-2", "--yes") == {"forgotten": f"{OTHER}/eu-west-2"}


def test_none_is_forgotten_unasked(terminal: Terminal, desk: Desk) -> None:
    registered(desk, OTHER, "eu-west-1")
    assert terminal("targets", "forget", f"{OTHER}/eu-west-1").exit_code == 252
    assert terminal.types("n\n", "targets", "forget", f"{OTHER}/eu-west-1").exit_code == 1
    assert len(terminal.document("targets")) == 2


# ---- accounts and Regions without a spoke ----


@pytest.fixture
def organization(terminal: Terminal) -> Organizations:
    """The hub's account, two others, and one that was closed."""
    made = terminal.clients["organizations"] = Organizations()
    made.accounts = [
        {"Id": THIRD, "Name": "Data", "State": "ACTIVE"},
        {"Id": ACCOUNT, "Name": "Hub", "Status": "ACTIVE"},
        {"Id": OTHER, "Name": "Web", "State": "ACTIVE", "Status": "ACTIVE"},
        {"Id": "444444444444", "Name": "Old", "State": "CLOSED", "Status": "SUSPENDED"},
    ]
    return made


def spoke(terminal: Terminal, desk: Desk, region: str) -> SpokeFixture:
    """The account OTHER in a Region, which the caller may look into."""
    return SpokeFixture(terminal, desk, Target(OTHER, region))


def missing(terminal: Terminal, *more: str) -> dict[str, Any]:
    found = terminal.document("targets", "--missing", *more, "--region", REGION)
    return {f"{each['account']}/{each['region']}": each["instances"] for each in found}


def test_every_active_account_is_missing_in_the_regions_where_others_have_a_spoke(
    terminal: Terminal, desk: Desk, organization: Organizations
) -> None:
    registered(desk, OTHER, "eu-west-1")
    assert organization.accounts
    found = terminal.document("targets", "--missing")
    assert [(each["account"], each["account_name"], each["region"]) for each in found] == [
        (OTHER, "Web", REGION),
        (ACCOUNT, "Hub", "eu-west-1"),
        (THIRD, "Data", "eu-west-1"),
        (THIRD, "Data", REGION),
    ]
    assert list(missing(terminal, "--regions", "eu-west-1")) == [f"{ACCOUNT}/eu-west-1", f"{THIRD}/eu-west-1"]


@pytest.mark.usefixtures("organization")
def test_a_spoke_in_another_region_of_the_account_counts_the_instances_that_are_there(
    terminal: Terminal, desk: Desk
) -> None:
    spoke(terminal, desk, "eu-west-1").registered()
    world = spoke(terminal, desk, REGION).world
    for _ in range(3):
        world.running()
    world.truth.terminate(world.running())
    world.wait(2)
    assert missing(terminal) == {
        f"{OTHER}/{REGION}": 3,
        f"{ACCOUNT}/eu-west-1": None,
        f"{THIRD}/eu-west-1": None,
        f"{THIRD}/{REGION}": None,
    }
    ran = terminal("targets", "--missing")
    assert lines(ran.stdout) == [
        "ACCOUNT ACCOUNT NAME REGION INSTANCES",
        f"{OTHER} Web {REGION} 3",
        f"{ACCOUNT} Hub eu-west-1 ?",
        f"{THIRD} Data eu-west-1 ?",
        f"{THIRD} Data {REGION} ?",
    ]
    said = "4 without a spoke, in 3 accounts, with 3 instances. Of 3 the number isn't known. To deploy one: "
    assert ran.stderr.startswith(said)


@pytest.mark.usefixtures("organization")
@pytest.mark.parametrize(
    ("code", "shown"), [("AuthFailure", {}), ("UnauthorizedOperation", {f"{OTHER}/{REGION}": None})]
)
def test_a_region_that_the_account_has_not_enabled_is_not_missing(
    terminal: Terminal, desk: Desk, code: str, shown: dict[str, None]
) -> None:
    spoke(terminal, desk, "eu-west-1").registered()
    spoke(terminal, desk, REGION).world.calls.before("DescribeInstances", refusing(code))
    assert missing(terminal, "--regions", REGION) == {**shown, f"{THIRD}/{REGION}": None}


def test_where_all_have_a_spoke_it_says_so(terminal: Terminal, organization: Organizations) -> None:
    organization.accounts = organization.accounts[1:2]
    ran = terminal("targets", "--missing", "--region", REGION)
    assert (ran.exit_code, ran.stdout) == (0, "")
    assert ran.stderr.startswith("Every active account of the organization has a spoke")


def test_who_may_not_list_the_accounts_hears_what_to_do(terminal: Terminal, organization: Organizations) -> None:
    organization.refuses = "AccessDeniedException"
    ran = terminal("targets", "--missing")
    said = "you aren't allowed organizations:ListAccounts\n  allow it in"
    assert (ran.exit_code, said in ran.stderr) == (1, True), ran.stderr


# ---- which are asked ----


def test_each_account_is_asked_once_and_all_targets_of_one_that_refuses_are_unseen(
    terminal: Terminal, desk: Desk
) -> None:
    found = [
        Target(ACCOUNT, "us-east-2"),
        *(Target(each, at) for each in (OTHER, THIRD) for at in (REGION, "us-west-2")),
    ]
    for each in found:
        SpokeFixture(terminal, desk, each).registered()

    def question(place: Deployment) -> Iterator[Target]:
        if place.settings.account == OTHER:
            raise AccessDeniedError("AccessDenied", "no", "iam:GetRole", "*")
        yield place.settings.target

    places = Places.chosen(Deployment(Options(region=REGION)))
    assert list(places.ask_accounts(question)) == [Target(ACCOUNT, REGION), Target(THIRD, REGION)]
    assert [*places.unseen] == [Target(OTHER, REGION), Target(OTHER, "us-west-2")]
    assert places.unseen_in_words() == [
        f"{OTHER}/{REGION}, {OTHER}/us-west-2 are left out: you aren't allowed iam:GetRole on *"
    ]
