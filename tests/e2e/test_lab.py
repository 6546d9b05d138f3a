"""The lab (docs/lab.md) is typed as it stands, with the wheel alone; after each step EC2 is asked whether it is so."""

import re
from pathlib import Path

import pytest

from fixtures.wheel import Running
from rolekeeper_local.account import EmulatedAccount
from rolekeeper_local.embedded import EmbeddedAws
from support.pages import ROOT, Shell, blocks, text_blocks
from support.waiting import stays

pytestmark = pytest.mark.emulator


class _Lab:
    """The page, block after block, and EC2's own answers."""

    def __init__(self, aws: EmbeddedAws, shell: Shell) -> None:
        self.world = EmulatedAccount(aws)
        # The first one starts the embedded AWS.
        self._blocks = iter(blocks("docs/lab.md")[1:])
        self._shell = shell

    def type_next(self) -> str:
        """What the next block says."""
        # The AWS CLI looks every 15 seconds; what it waits for takes two here.
        return self._shell(next(self._blocks).replace("aws ec2 wait", "sleep 3; aws ec2 wait"))

    def instances(self) -> list[str]:
        """The ids that the blocks keep."""
        return self._shell('echo "$by_tag $by_hand $stopped_by_tag $stopped_by_hand"').split()

    def changes(self) -> list[str]:
        """What EC2 took of the one that is changed by hand, newest first; another reconcile may have tried it too."""
        return self._shell("""rolekeeper history "$by_hand" --query "[?outcome=='done'].action" """).split()

    def association(self, instance: str, role: str) -> str:
        """The id under which EC2 shows a role on an instance."""
        shown = self.world.carries(instance, role)
        assert shown, f"{instance} should carry {role}, and EC2 shows {self.world.shown(instance)}"
        return shown.association_id

    def line(self, instance: str, role: str) -> str:
        """What `ask` has to say of it."""
        arn = f"arn:aws:iam::{self.world.account}:instance-profile/rolekeeper/{role}"
        return f"{self.association(instance, role)}\tassociated\t{arn}"

    def has_ended(self) -> bool:
        """Whether the whole page was typed."""
        return next(self._blocks, None) is None


@pytest.fixture
def lab(running: Running, aws_function: str, tmp_path: Path) -> _Lab:
    shell = running.shell(tmp_path)
    shell(aws_function)
    return _Lab(running.aws, shell.at_a_terminal("plain", "docs/lab.md"))


def test_the_lab_comes_true(lab: _Lab) -> None:
    ec2 = lab.world
    for _ in ("where AWS is", "roles", "mappings", "instances"):
        lab.type_next()
    by_tag, by_hand, stopped_by_tag, stopped_by_hand = everyone = lab.instances()
    assert [ec2.state(each) for each in everyone] == ["running", "running", "stopped", "stopped"]
    assert lab.type_next() == "", "it asks EC2: no role yet"
    assert [ec2.shown(each) for each in everyone] == [None] * 4

    # Exercise 1: attach, a running one by tag and by hand, then stopped ones.
    told = lab.type_next()
    assert lab.line(by_tag, "reader") in told
    told = lab.type_next()
    assert lab.line(by_hand, "reader") in told
    told = lab.type_next()
    assert all(lab.line(each, "reader") in told for each in (stopped_by_tag, stopped_by_hand))
    assert ec2.state(stopped_by_tag) == ec2.state(stopped_by_hand) == "stopped"
    attached = {each: lab.association(each, "reader") for each in everyone}

    # Exercise 2: replace; each time under another id.
    told = lab.type_next()
    assert attached[by_tag] in told, "it asks before"
    assert lab.line(by_tag, "writer") in told, "and after"
    told = lab.type_next()
    assert lab.line(by_hand, "writer") in told
    told = lab.type_next()
    for each in (stopped_by_tag, stopped_by_hand):
        assert attached[each] in told
        stays(lambda each=each: lab.association(each, "reader") == attached[each])  # type: ignore[misc]  # bound at once
    told = lab.type_next()
    assert all(lab.line(each, "writer") in told for each in (stopped_by_tag, stopped_by_hand))
    assert ec2.state(stopped_by_tag) == ec2.state(stopped_by_hand) == "running"
    assert not set(attached.values()) & {lab.association(each, "writer") for each in everyone}

    # Exercise 3: detach.
    assert lab.type_next().endswith("carries no role.\n"), "nothing follows"
    assert ec2.shown(by_tag) is None
    assert "Cancelled" in lab.type_next(), "it asks what the page shows, and nobody answers"
    assert "iip-assoc" not in lab.type_next()
    assert ec2.shown(by_hand) is None

    # Release: a tag doesn't bring back what a pin took; without the pin it does.
    told = lab.type_next()
    assert all(word in told for word in ("job=reader", "pin", f"rolekeeper release {by_hand}"))
    assert "associated\t" not in told
    stays(lambda: ec2.shown(by_hand) is None)
    told = lab.type_next()
    assert lab.line(by_hand, "reader") in told
    told = lab.type_next()
    assert lab.changes() == ["Attach", "Detach", "Replace", "Attach"]
    assert {*re.findall(r"(\w+) \(", told)} >= {"Attach", "Detach", "Replace"}

    # Nothing is left of it.
    lab.type_next()
    assert lab.has_ended()
    assert [ec2.mapping("job", role) for role in ("reader", "writer")] == [{}, {}]
    assert all(ec2.state(each) in {"shutting-down", "terminated"} for each in everyone)


def shown(text: str) -> str:
    """What a terminal shows, however wide it is, of any instance, role and time."""
    text = re.sub(r"i-[0-9a-f]{17}( \([\w-]+\))?|\d{4}-\d\d-\d\dT[\d:]{8}Z", "…", " ".join(text.split()))
    return re.sub(r"… carries [\w-]+\.", "… carries this.", text)


@pytest.mark.parametrize("text", text_blocks("docs/lab.md"))
def test_what_the_page_shows_is_what_a_terminal_shows(text: str) -> None:
    assert shown(text) in shown("".join(path.read_text() for path in (ROOT / "tests/transcripts").glob("*.md")))
