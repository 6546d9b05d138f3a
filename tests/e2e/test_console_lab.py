"""The lab (docs/lab.md) in the console alone, by a person who never used the command; EC2 is asked after each step.

Set up as the page does with the AWS CLI: two roles and the instances, of which one is stopped. All else is clicks.
"""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, expect

from fixtures.browser import Visitor, needs_chromium
from rolekeeper_local.account import EmulatedAccount
from support.waiting import eventually, stays

pytestmark = [pytest.mark.emulator, needs_chromium]

NAMES = ("lab-by-tag", "lab-by-hand", "lab-stopped")


class Lab:
    """A beginner with one tab, and EC2's own answers."""

    def __init__(self, person: Visitor, world: EmulatedAccount, instances: dict[str, str]) -> None:
        self.person, self.world, self._instances = person, world, instances

    # ---- EC2 ----

    def association(self, name: str, role: str) -> str:
        """The id under which EC2 shows a role on an instance, once it does."""
        return eventually(lambda: self.world.carries(self._instances[name], role)).association_id

    def has_none(self, name: str) -> None:
        """Wait until EC2 shows no role on an instance."""
        eventually(lambda: self.world.shown(self._instances[name]) is None)

    def keeps(self, name: str, role: str) -> None:
        """Watch that EC2 goes on showing this role; empty for none."""
        instance = self._instances[name]
        stays(lambda: bool(self.world.carries(instance, role)) if role else self.world.shown(instance) is None)

    # ---- clicks ----

    def opens(self, name: str) -> None:
        """Find an instance on the first page, and open it."""
        self.person.goes("/")
        self.person.presses(name)
        expect(self.person.page.get_by_role("heading", level=1)).to_contain_text(name)

    def makes_mapping(self, value: str, role: str) -> None:
        person = self.person
        person.goes("/")
        person.page.get_by_role("link", name="Mappings").click()
        person.presses("New mapping")
        person.fills("Tag key", "job")
        person.fills("Tag value", value)
        person.fills("Role", role)
        person.presses("Plan it")
        person.sees("Published")
        person.presses("Apply")
        # Not the first one where the page of the lab was typed before, on the same AWS.
        person.sees(re.compile(r"revision \d+ is in effect"))

    def tags(self, name: str, value: str) -> None:
        self.opens(name)
        form = self.person.unfolds("Set a tag")
        self.person.fills("Key", "job", form)
        self.person.fills("Value", value, form)
        self.does(form)

    def untags(self, name: str) -> None:
        self.opens(name)
        self.person.page.get_by_role("button", name="Remove tag job").click()
        self.person.fills("Type Detach to do it", "Detach")
        self.person.presses("Do it")

    def pins(self, name: str, role: str, reason: str = "") -> None:
        self.opens(name)
        form = self.person.unfolds("Pin a role")
        self.person.fills("Role", role, form)
        self.person.fills("Reason", reason, form)
        self.does(form)

    def detaches(self, name: str) -> None:
        """It takes the word, with a capital D."""
        self.opens(name)
        self.person.presses("Show what it would do", self.person.unfolds("Detach"))
        word = self.person.page.get_by_label("Type Detach to do it")
        word.fill("detach")
        assert not word.evaluate("field => field.checkValidity()")
        word.fill("Detach")
        self.person.presses("Do it")

    def presses(self, name: str, button: str) -> None:
        self.opens(name)
        self.does(self.person.unfolds(button))

    def does(self, form: Locator) -> None:
        """See what a form would do, and do it."""
        self.person.presses("Show what it would do", form)
        expect(self.person.page.get_by_label("What it would do")).to_be_visible()
        self.person.presses("Do it")


@pytest.fixture
def lab(person: Visitor, deployed: EmulatedAccount) -> Iterator[Lab]:
    for role in ("reader", "writer"):
        deployed.make_role(role)
    instances = {name: deployed.launch(name) for name in NAMES}
    eventually(lambda: all(deployed.state(each) == "running" for each in instances.values()))
    stopped = instances[NAMES[-1]]
    deployed.ec2.stop_instances(InstanceIds=[stopped])
    eventually(lambda: deployed.state(stopped) == "stopped")
    yield Lab(person, deployed, instances)
    deployed.ec2.terminate_instances(InstanceIds=[*instances.values()])


def test_the_lab_comes_true_by_clicks_alone(lab: Lab) -> None:
    by_tag, by_hand, stopped = NAMES
    page = lab.person

    # Set up: which tag means which role.
    lab.makes_mapping("reader", "reader")
    lab.makes_mapping("writer", "writer")
    for name in NAMES:
        lab.has_none(name)

    # Exercise 1: attach, running ones by tag and by hand, then a stopped one.
    lab.tags(by_tag, "reader")
    lab.association(by_tag, "reader")
    page.sees("Attach", "reader")
    lab.pins(by_hand, "reader", "first lab")
    lab.association(by_hand, "reader")
    page.sees("first lab")
    lab.pins(stopped, "reader")
    attached = {name: lab.association(name, "reader") for name in NAMES}

    # Exercise 2: replace; each time under another id.
    lab.tags(by_tag, "writer")
    lab.association(by_tag, "writer")
    lab.pins(by_hand, "writer")
    lab.association(by_hand, "writer")
    lab.pins(stopped, "writer")
    page.sees("waiting")
    lab.keeps(stopped, "reader")
    assert lab.association(stopped, "reader") == attached[stopped]
    lab.presses(stopped, "Start")
    written = {name: lab.association(name, "writer") for name in NAMES}
    assert not {*attached.values()} & {*written.values()}

    # Exercise 3: detach, by tag and by hand.
    lab.untags(by_tag)
    lab.has_none(by_tag)
    lab.detaches(by_hand)
    lab.has_none(by_hand)

    # Release: a tag doesn't bring back what a pin took; without the pin it does.
    lab.tags(by_hand, "reader")
    lab.keeps(by_hand, "")
    lab.opens(by_hand)
    page.sees("Pin", "job=reader")
    lab.presses(by_hand, "Release")
    lab.association(by_hand, "reader")

    # What was done to it, newest first.
    lab.opens(by_hand)
    changes = page.page.locator(".steps .state").filter(has_text=re.compile("Attach|Replace|Detach"))
    expect(changes).to_have_text(["Attach", "Detach", "Replace", "Attach"])
