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


def registered(desk: Desk, region: str, **attributes: Any) -> None:
    """A target as the functions write it, each time as how long ago; it was swept a minute ago unless told."""
    now, swept = desk.world.clock.now(), timedelta(minutes=1)
    item = {"version": VERSION, "since": timedelta(days=3), "last_event": swept, "last_sweep": swept, "instances": 5}
    item |= {"drift": 0, "wire_format": WIRE_FORMAT, **attributes}
    times = {name: layout.timestamp(now - value) for name, value in item.items() if isinstance(value, timedelta)}
    stored = {name: value for name, value in {**item, **times}.items() if value is not None}
    store = desk.world.store
    store.write(store.put({**layout.key_attributes(layout.target_key(Target(OTHER, region))), **stored}))


def test_a_target_without_a_spoke_that_sends_events_is_unknown(terminal: Terminal, desk: Desk) -> None:
    at, registry = desk.world.clock.now(), Registry(desk.world.store)
    for region in ("eu-west-1", "us-east-1"):
        registry.note_unknown(Target(OTHER, region), "sts:AssumeRole is refused", at, 1_200)
    registered(desk, "us-east-1")
    assert [each["state"] for each in terminal.document("targets")] == ["well", "well", "unknown"]
    ran = terminal("targets")
    reason = "1,200 events were dropped: sts:AssumeRole is refused"
    assert lines(ran.stdout)[-1] == f"{OTHER} eu-west-1 unknown 2026-03-01T09:00:00Z {reason}"
    assert ran.stderr == "3 targets in 2 accounts: 2 ok, 1 unknown.\n"


PROBLEM = "it refuses sts:AssumeRole on the role rolekeeper-reader"
LATE, OLD = timedelta(minutes=31), timedelta(days=2, minutes=1)
STATES: dict[str, tuple[dict[str, Any], str, str]] = {
    "registered now": ({"last_sweep": None, "since": timedelta(0)}, "new", "its first sweep is still to come"),
    "never swept": ({"last_sweep": None, "since": LATE}, "overdue", "it was never swept"),
    "swept late": ({"last_sweep": LATE}, "overdue", "its last sweep was at 2026-03-01 08:29 UTC"),
    "swept in time": ({"last_sweep": timedelta(minutes=29)}, "well", ""),
    "without instances, swept once an hour": ({"last_sweep": timedelta(minutes=85), "instances": 0}, "well", ""),
    "without instances, late": (
        {"last_sweep": timedelta(minutes=87), "instances": 0},
        "overdue",
        "at 2026-03-01 07:33",
    ),
    "refused": ({"problem": PROBLEM, "problem_since": LATE}, "problem", PROBLEM),
    "without a wire format": ({"wire_format": None}, "silent", "its spoke is of an edition without a wire format"),
    "far ahead": (
        {"wire_format": WIRE_FORMAT + 2},
        "silent",
        f"wire format {WIRE_FORMAT + 2}, and this hub takes 1 to {WIRE_FORMAT + 1}",
    ),
    "one ahead": ({"wire_format": WIRE_FORMAT + 1}, "well", ""),
    "not heard of for two days": ({"last_event": OLD}, "silent", "no event came since 2026-02-27 08:59 UTC"),
    "heard of two days ago": ({"last_event": timedelta(days=2)}, "well", ""),
}


@pytest.mark.parametrize(("attributes", "state", "reason"), STATES.values(), ids=STATES)
def test_the_state_of_a_target_and_why(
    terminal: Terminal, desk: Desk, attributes: dict[str, Any], state: str, reason: str
) -> None:
    registered(desk, "eu-west-1", **attributes)
    shown = terminal.document("targets")[1]
    assert (shown["state"], bool(shown["reason"])) == (state, bool(reason))
    assert reason in shown["reason"]


def test_how_old_a_sweep_may_be_is_two_intervals_or_the_alarms_time(terminal: Terminal, desk: Desk) -> None:
    registered(desk, "eu-west-1", last_sweep=timedelta(hours=3))

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


@pytest.mark.parametrize(
    ("version", "compared"), [("0.0.9", "older"), ("99.0.0", "newer"), (VERSION, "same"), (None, None), ("main", None)]
)
def test_a_version_that_isnt_the_hubs_is_marked(
    terminal: Terminal, desk: Desk, version: str | None, compared: str | None
) -> None:
    registered(desk, "eu-west-1", version=version)
    assert terminal.document("targets")[1]["version_is"] == compared


# ---- forget ----


def test_one_that_is_forgotten_is_no_longer_listed_and_none_is_unasked(terminal: Terminal, desk: Desk) -> None:
    registered(desk, "eu-west-1", problem="it refuses sts:AssumeRole")
    line = ("targets", "forget", f"{OTHER}/eu-west-1")
    assert terminal(*line).exit_code == 252
    ran = terminal.types("n\n", *line)
    assert "is problem; its last sweep saw 5 instances. Its instances keep their roles. No changes" in ran.stderr
    assert (ran.exit_code, len(terminal.document("targets"))) == (1, 2)
    assert terminal.document(*line, "--yes") == {"forgotten": f"{OTHER}/eu-west-1"}
    assert [each["region"] for each in terminal.document("targets")] == [REGION]


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
    assert list(missing(terminal, "--regions", "eu-west-1")) == [f"{ACCOUNT}/eu-west-1", f"{THIRD}/eu-west-1"]
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
