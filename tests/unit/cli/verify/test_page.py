"""docs/verify.md says what the code does: its checks, what it needs, launches and costs."""

import re
from collections import Counter
from collections.abc import Mapping

import click
import pytest
from bench import bill, cost
from bench.assumed import IDLE, MONTH

from rolekeeper_verify.command import verify
from rolekeeper_verify.machine import SMALLEST, Wanted
from rolekeeper_verify.preflight import NEEDED, VCPUS, checks
from rolekeeper_verify.scene import CONFIG_USD, COST_USD, LIVES_MINUTES
from support.templates import ROOT

PAGE = (ROOT / "docs/verify.md").read_text()
WORDS = " ".join(PAGE.split())
# Two instances of half an hour, with a public address and 8 GB each; and an hour of the deployment.
HOURS, GB = 2 * 0.5, 2 * 8
COSTS: dict[str, Mapping[str, float]] = {
    "two instances": {"t3_micro_hours": HOURS},
    "their public addresses": {"ipv4_hours": HOURS},
    "their volumes": {"gp3_gb_months": GB * 30 / MONTH},
    "an hour of the deployment": Counter({name: units * 60 / MONTH for name, units in cost.ours(IDLE).items()}),
    "100 replaced roles": cost.happening("replace", 100) + cost.happening("wait", 20),
}


def test_every_check_is_explained_in_its_order() -> None:
    assert re.findall(r"^\| `([a-z-]+)` \|", PAGE, re.MULTILINE) == list(checks(Wanted()))


@pytest.mark.parametrize("section", sorted({section for section, _ in checks(Wanted()).values()}))
def test_what_a_check_points_to_is_a_section(section: str) -> None:
    headings = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    assert section in {each.lower().replace(" ", "-") for each in headings}


def test_the_page_says_how_much_room_it_needs() -> None:
    words = WORDS.replace("customer managed policies", "policies").replace(" on the default event bus", "")
    needed = ", ".join(f"{count} {what}" for what, count in NEEDED.items())
    assert f"A verification takes {needed} and {VCPUS} vCPUs." in words


def test_the_page_names_the_types_and_how_long_an_instance_lives() -> None:
    assert re.findall(r"`(t\d\w*\.\w+)`", PAGE) == list(SMALLEST)
    assert f"end themselves {LIVES_MINUTES} minutes after each start" in WORDS


def test_the_page_sums_up_what_the_prices_say_and_the_command_says_no_less() -> None:
    rows = re.findall(r"^\| (.+?) \| (0\.\d{3}) \|$", PAGE, re.MULTILINE)
    shown = {next((what for what in COSTS if row.startswith(what)), row): usd for row, usd in rows}
    sums = {what: bill.total(usage) for what, usage in COSTS.items()}
    assert shown == {what: f"{usd:.3f}" for what, usd in {**sums, "all": sum(sums.values())}.items()}
    assert sum(sums.values()) < COST_USD
    assert f"At most {COST_USD:.2f} USD" in PAGE
    assert f"less than {COST_USD:.2f} USD" in (ROOT / "README.md").read_text()
    assert f"so about {CONFIG_USD:.2f} USD. A second trail" in WORDS


def test_a_day_of_what_a_killed_run_leaves_costs_what_the_page_says() -> None:
    assert f"about {bill.total(cost.ours(IDLE)) / 30:.2f} USD a day" in WORDS


def test_records_can_be_waited_for_as_long_as_the_instances_live() -> None:
    [option] = [each for each in verify.params if each.name == "trail_patience"]
    assert isinstance(option.type, click.FloatRange)
    assert option.type.max == 1800 < LIVES_MINUTES * 60 - 600, "the story goes on for ten minutes before"
    assert "1800 is the most" in PAGE
