"""The demo's story at the console: what is clicked there happens on EC2, and what happens on EC2 is shown there."""

import re
from collections.abc import Callable
from contextlib import suppress

import pytest
from playwright.sync_api import Browser, Error, StorageState, expect

from fixtures.browser import ConsoleProcess, Visitor, needs_chromium, visitor
from rolekeeper_local.account import EmulatedAccount
from support.waiting import eventually

pytestmark = [pytest.mark.emulator, needs_chromium]

READ, WRITE, TABLE = "s3-read", "s3-write", "dynamodb-app"

type Launch = Callable[..., str]


@pytest.fixture
def launch(deployed: EmulatedAccount) -> Launch:
    """Launches an instance and waits until it runs, carrying `role` if that is given."""

    def made(name: str, role: str = "", **tags: str) -> str:
        instance = deployed.launch(name, **tags)
        eventually(lambda: deployed.state(instance) == "running")
        if role:
            eventually(lambda: deployed.carries(instance, role))
        return instance

    return made


def marks(person: Visitor) -> None:
    """Leave a mark in the page, which is gone once it is loaded again."""
    person.page.evaluate("window.mark = true")


def is_marked(person: Visitor) -> bool:
    marked: bool = person.page.evaluate("window.mark === true")
    return marked


# ---- what happens on EC2 is shown ----


def test_a_launched_instance_appears_in_an_open_page_with_its_role(
    person: Visitor, deployed: EmulatedAccount, launch: Launch
) -> None:
    person.goes("/")
    marks(person)
    instance = launch("web", READ, workload="s3-reader")
    row = person.row(instance)
    expect(row).to_contain_text("ok")
    expect(row).to_contain_text("workload=s3-reader")
    assert is_marked(person), "the page was not loaded again"
    row.get_by_role("link", name="web").click()
    person.sees("running", READ, "workload=s3-reader", "Attach", deployed.mapping("workload", "s3-reader")["role"])


def test_a_page_that_stays_open_says_how_long_ago_things_are_now(person: Visitor) -> None:
    person.page.clock.install()
    person.goes("/doctor")
    person.sees(re.compile(r"Checked \d+ s ago"))
    person.page.clock.fast_forward("05:00")
    person.sees("Checked 5 min ago")


def test_what_a_person_typed_stays_while_the_page_follows(
    person: Visitor, deployed: EmulatedAccount, launch: Launch
) -> None:
    instance = launch("typing")
    person.goes(f"/instance/{instance}")
    form = person.unfolds("Pin a role")
    person.fills("Reason", "half of a reas", form)
    deployed.tag(instance, workload="s3-reader")
    eventually(lambda: deployed.carries(instance, READ))
    expect(form.locator("[name=verb]")).to_have_value("replace")
    expect(person.page.locator("#tags")).to_contain_text("s3-reader")
    field = form.get_by_label("Reason", exact=True)
    expect(field).to_have_value("half of a reas")
    expect(field).to_be_focused()


# ---- what is clicked happens on EC2 ----


def reloaded_until_listed(person: Visitor, instance: str) -> None:
    """Without JavaScript a page stays as it was when it was made, from what the console then knew of the fleet."""

    def is_listed() -> bool:
        # A page that is still filled in reloads itself, maybe at this moment.
        with suppress(Error):
            person.page.reload()
        return person.row(instance).is_visible()

    eventually(is_listed)


def test_without_javascript_the_fleet_is_filtered_and_an_edit_written(
    browser: Browser, writing: ConsoleProcess, entered: StorageState, deployed: EmulatedAccount, launch: Launch
) -> None:
    deployed.put_mapping("console", "plain", role=READ)
    instance, other = launch("plain", READ, console="plain"), launch("other")
    with visitor(browser, entered, "without-js", base_url=writing.origin, java_script_enabled=False) as person:
        person.page.goto("/")
        person.page.get_by_label("Filter the instances").fill("tag:console=plain")
        person.presses("Filter")
        reloaded_until_listed(person, instance)
        expect(person.row(other)).to_have_count(0)
        person.page.goto("/mapping/edit?key=console&value=plain")
        person.page.get_by_label("Role", exact=True).fill(WRITE)
        person.presses("Plan it")
        person.sees("→ ")
        person.presses("Apply")
        person.sees("revision 2 is in effect")
        eventually(lambda: deployed.carries(instance, WRITE))
        for page in ("/roles", "/doctor", "/settings", f"/instance/{instance}"):
            person.page.goto(page)
            expect(person.page.locator(".working")).to_have_count(0)


def test_many_instances_are_chosen_and_tagged_with_one_plan(
    person: Visitor, deployed: EmulatedAccount, launch: Launch
) -> None:
    both = [launch("many-1"), launch("many-2")]
    person.goes("/?text=many-")
    person.page.get_by_text("Change many at once").click()
    person.page.get_by_label("What to do").select_option("tag")
    expect(person.page.get_by_label("Tag key")).to_be_visible()
    boxes = person.page.locator("#rows input[type=checkbox]")
    expect(boxes).to_have_count(2)  # what was launched comes into the list while it is open
    page = person.page.get_by_label("Choose all of this page")
    page.check()
    person.sees("2 chosen")
    page.uncheck()
    boxes.first.check()
    boxes.last.click(modifiers=["Shift"])
    person.goes("/?text=many-1")
    person.sees("2 chosen, 1 not on this page")
    person.page.get_by_role("button", name="Choose many-1 no longer").click()
    expect(person.page.locator("#many-names a")).to_have_text("many-2")
    person.goes("/?text=many-")
    for key in ("j", "x", "j", "X", "c"):
        person.page.keyboard.press(key)
    expect(person.page.get_by_label("What to do")).to_be_focused()
    expect(page).to_be_checked()
    deployed.tag(both[0], workload="s3-writer")
    expect(person.row(both[0])).to_contain_text("workload=s3-writer")
    expect(person.row(both[0]).get_by_role("checkbox")).to_be_checked()
    expect(person.page.get_by_label("Tag key")).to_be_hidden()
    person.page.get_by_label("What to do").select_option("tag")
    person.page.get_by_label("Tag key").fill("workload")
    person.page.get_by_label("Tag value").fill("s3-reader")
    person.presses("Show what it would do")
    person.sees("Set tag workload=s3-reader on 2 instances")
    person.presses("Do it")
    person.sees("done: ", "Back to the fleet")
    eventually(lambda: all(deployed.carries(each, READ) for each in both))


# ---- search, and keys ----


def test_the_search_completes_its_last_word(person: Visitor, launch: Launch) -> None:
    instance = launch("chosen", READ, workload="s3-reader")
    person.goes("/")
    expect(person.row(instance)).to_contain_text("ok")
    person.page.get_by_label("Filter the instances").press_sequentially("cho status:o")
    options = "Array.from(document.getElementById('q').list.options, each => each.value)"
    found: list[str] = eventually(lambda: person.page.evaluate(options))
    assert all(each.startswith("cho ") for each in found)


def test_a_person_finds_an_instance_by_keys_alone(person: Visitor, launch: Launch) -> None:
    instance = launch("needle")
    person.goes("/")
    expect(person.row(instance)).to_be_visible()
    person.goes("/mappings")
    page, press = person.page, person.page.keyboard.press
    press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    field = page.get_by_role("combobox", name="Search")
    press("/")
    expect(field).to_be_focused()
    expect(page.get_by_role("option", name="Fleet", exact=True).first).to_be_visible()
    page.keyboard.type("needl")
    option = page.get_by_role("option").filter(has_text=instance)
    expect(option).to_have_attribute("aria-selected", "false")
    press("ArrowDown")
    expect(option).to_have_attribute("aria-selected", "true")
    assert field.get_attribute("aria-activedescendant") == option.get_attribute("id")
    assert person.barriers() == []
    press("Escape")
    expect(option).to_be_hidden()
    expect(field).not_to_be_focused()
    press("Control+k")
    expect(option).to_be_visible()
    press("ArrowDown")
    press("Enter")
    person.arrives(f"**/instance/{instance}")


def test_keys_lead_between_pages_and_rows_until_they_are_turned_off(person: Visitor, launch: Launch) -> None:
    instance = launch("by-keys")
    person.goes("/?text=by-keys")
    expect(person.row(instance)).to_be_visible()
    page, press = person.page, person.page.keyboard.press
    press("j")
    expect(page.get_by_role("link", name="by-keys", exact=True)).to_be_focused()
    press("o")
    person.arrives(f"**/instance/{instance}")
    press("g")
    press("m")
    person.arrives("**/mappings")
    page.locator("main").get_by_role("searchbox").press_sequentially("gs?")
    expect(page.locator("main").get_by_role("searchbox")).to_have_value("gs?")
    page.locator("h1").click()
    press("?")
    shortcuts = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(shortcuts).to_be_visible()
    assert person.barriers() == []
    press("g")
    press("r")
    shortcuts.get_by_label("Use shortcuts of a single key").uncheck()
    press("Escape")
    expect(shortcuts).to_be_hidden()
    press("?")
    press("g")
    press("r")
    expect(shortcuts).to_be_hidden()
    assert page.url.endswith("/mappings")
    press("Control+k")
    expect(page.get_by_role("combobox", name="Search")).to_be_focused()
