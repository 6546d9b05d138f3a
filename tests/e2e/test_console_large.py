"""The console over 10,000 instances of which 200 carry a foreign role, in a real browser, over the benchmarks' AWS."""

from collections.abc import Iterator

import pytest
from bench.programs import bench
from playwright.sync_api import Browser, StorageState, expect

from fixtures.browser import ConsoleProcess, Visitor, console, enter, needs_chromium, visitor

pytestmark = [pytest.mark.emulator, needs_chromium]

INSTANCES, FOREIGN, ROWS = 10_000, 200, 500
SIZES = {"phone": (390, 844), "laptop": (1_280, 900), "wide": (1_920, 1_080)}


@pytest.fixture(scope="module")
def large() -> Iterator[ConsoleProcess]:
    with pytest.MonkeyPatch.context() as patch:
        # The benchmarks' AWS is a process of its own, and answers with the tests' fakes.
        patch.setenv("PYTHONPATH", "tests")
        yield from _large()


def _large() -> Iterator[ConsoleProcess]:
    with bench() as aws:
        aws.begin("fleet", instances=INSTANCES, rows=ROWS, foreign=FOREIGN)
        with console(aws.env, "--port", "0") as process:
            yield process


@pytest.fixture(scope="module")
def entered(browser: Browser, large: ConsoleProcess) -> StorageState:
    with visitor(browser) as first:
        return enter(first, large)


@pytest.fixture
def person(browser: Browser, large: ConsoleProcess, entered: StorageState) -> Iterator[Visitor]:
    with visitor(browser, entered, "large", base_url=large.origin) as made:
        made.goes("/")
        expect(made.page.locator("#share")).to_contain_text(f"{INSTANCES - FOREIGN:,} as they should be")
        yield made


def test_those_that_want_a_person_are_first_counted_by_reason_and_a_row_each(person: Visitor) -> None:
    person.sees(f"200 of {INSTANCES:,} instances", f"{FOREIGN} with a foreign role")
    rows = person.page.locator("#rows tr")
    expect(rows).to_have_count(200)
    expect(rows.filter(has_text="foreign role")).to_have_count(FOREIGN)
    for width, height in SIZES.values():
        person.page.set_viewport_size({"width": width, "height": height})
        assert person.overflow() == 0
        heights: list[float] = rows.evaluate_all("rows => rows.map(each => each.getBoundingClientRect().height)")
        assert max(heights) - min(heights) <= 1, "none has a line more than the others"


def test_the_head_stays_in_sight_while_a_person_scrolls(person: Visitor) -> None:
    person.page.locator("#rows tr").last.scroll_into_view_if_needed()
    expect(person.page.get_by_role("columnheader", name="Reason")).to_be_in_viewport()
