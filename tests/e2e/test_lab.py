"""The lab (docs/lab.md) is typed as it stands, with the wheel alone; after each step EC2 is asked whether it is so."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fixtures.command import Command
from fixtures.wheel import Running
from rolekeeper_local.account import EmulatedAccount
from rolekeeper_local.embedded import EmbeddedAws
from support.pages import PASTED, Shell, blocks, text_blocks
from support.waiting import eventually, stays

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


@pytest.fixture(params=PASTED)
def lab(request: pytest.FixtureRequest, running: Running, aws_function: str, tmp_path: Path) -> _Lab:
    shell = running.shell(tmp_path)
    shell(aws_function)
    return _Lab(running.aws, shell.at_a_terminal(request.param, "docs/lab.md"))


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
    assert "cancelled" in lab.type_next(), "it asks what the page shows, and nobody answers"
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


# ---- what the page shows of questions ----


@pytest.fixture
def stopped(deployed: EmulatedAccount, rolekeeper: Command) -> Iterator[str]:
    """An instance as the page has it in exercise 2: stopped, with a role that was given by hand."""
    made = deployed.launch("lab-by-hand")
    eventually(lambda: deployed.state(made) == "running")
    rolekeeper("attach", made, "s3-read")
    deployed.ec2.stop_instances(InstanceIds=[made])
    eventually(lambda: deployed.state(made) == "stopped")
    yield made
    deployed.ec2.terminate_instances(InstanceIds=[made])


def one_line(text: str) -> str:
    """The text however wide the terminal is, without its colours, and whatever the time."""
    plain = re.sub(r"\x1b\[\d+m", "", " ".join(text.split()))
    return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "AT", plain)


def shown_on_the_page(instance: str) -> list[str]:
    """What the page says that a terminal shows, with this instance and its role."""
    blocks = [one_line(each).replace("i-0123456789abcdef0", instance) for each in text_blocks("docs/lab.md")]
    return [each.replace("carries writer", "carries s3-write") for each in blocks]


def test_the_page_shows_what_is_asked_of_a_stopped_instance(
    rolekeeper: Command, deployed: EmulatedAccount, stopped: str
) -> None:
    question, waiting, word = shown_on_the_page(stopped)
    said = one_line(rolekeeper.types("y\nn", "replace", stopped, "s3-write"))
    assert question in said
    assert waiting not in said
    assert deployed.carries(stopped, "s3-read"), "it is kept until the start"

    # Who answers y is told what to do meanwhile, and it is done then.
    with ThreadPoolExecutor() as other_terminal:
        typed = other_terminal.submit(rolekeeper.types, "y\ny", "replace", stopped, "s3-write", "--reason", "waits")
        eventually(lambda: (rolekeeper.json("explain", stopped)["pin"] or {})["claimed_reason"] == "waits")
        assert not typed.done()
        command = waiting.rpartition("another terminal: ")[2].split()
        assert command == ["aws", "ec2", "start-instances", "--instance-ids", stopped]
        deployed.ec2.start_instances(InstanceIds=[stopped])
        said = one_line(typed.result(120))
    assert question in said
    assert waiting in said
    assert "EC2 shows s3-write on it." in said
    assert deployed.carries(stopped, "s3-write")

    # The word, with its case.
    said = one_line(rolekeeper.types("detach", "detach", stopped, code=1))
    assert word in said
    assert "'detach' isn't 'Detach' (upper and lower case count)" in said
    assert deployed.carries(stopped, "s3-write")
    assert word in one_line(rolekeeper.types("Detach", "detach", stopped))
    eventually(lambda: deployed.shown(stopped) is None)
