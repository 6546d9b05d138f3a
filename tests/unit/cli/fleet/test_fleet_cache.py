"""One cache for all tabs: what it reads of AWS, and when."""

from collections import Counter
from typing import Any

import pytest

from fakes.logs import FakeLogs
from fixtures.account import refusing
from fixtures.mappings import Desk
from fixtures.terminal import Terminal
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.fleet import cache as fleet_cache
from rolekeeper_cli.fleet.cache import (
    AGAIN_SECONDS,
    ASKED_SECONDS,
    RETRY_SECONDS,
    WHOLE_SECONDS,
    Fleet,
    FleetCache,
    FleetReader,
)
from rolekeeper_cli.options import Options

pytestmark = pytest.mark.desk(roles=("web",), rows={"app=web": "web"})

READS = ("DescribeInstances", "DescribeIamInstanceProfileAssociations")
# The thread's own start, which no other test has.
START = FleetCache._start  # noqa: SLF001  # the same


class Story:
    """The thread's work, step by step, over the account in the process."""

    def __init__(self, terminal: Terminal, most: int = 50_000) -> None:
        self.world = terminal.desk.world
        self.logs = FakeLogs(self.world.logged, self.world.clock.now)
        terminal.clients["logs"] = self.logs
        self.cache = FleetCache(Deployment(Options()).anew, self.clock, most)

    def clock(self) -> float:
        """The world's seconds."""
        return self.world.clock.seconds

    def step(self) -> Fleet:
        """One turn of the thread, and what is known after it."""
        pause = self.cache.step()
        self.world.wait(pause)
        return self.cache.ask()

    def reads_all(self) -> Fleet:
        """The thread's turns until the whole fleet was read."""
        self.step()
        while self.cache.reading:
            self.step()
        self.world.calls.clear()
        self.logs.asked.clear()
        return self.cache.ask()

    def turns(self, seconds: float) -> Counter[str]:
        """The calls that were made in so many seconds."""
        self.world.calls.clear()
        until = self.clock() + seconds
        while self.clock() < until:
            self.step()
        return Counter(self.world.calls.made)

    def later(self) -> None:
        """A minute later: what was decided until now is no news to a log that is begun then."""
        self.logs.events()
        self.world.wait(60)

    def carries(self, instance: str) -> str:
        """What the cache says that an instance carries."""
        [row] = [each for each in self.cache.ask().rows if each.id == instance]
        return row.carries


@pytest.fixture
def story(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> Story:
    monkeypatch.setattr(FleetCache, "_start", lambda _: None)
    return Story(terminal)


def test_while_nothing_happens_ec2_is_left_alone(story: Story, desk: Desk) -> None:
    desk.converged("web", app="web")
    version = story.reads_all().version
    made = story.turns(60)
    assert not any(made[each] for each in READS)
    assert len(story.logs.asked) <= 2 * 61, "two calls to the logs a second"
    assert story.cache.ask().version == version, "so a poll is answered that nothing changed"


def test_what_ec2_changes_by_itself_is_looked_at_until_it_has(story: Story, desk: Desk) -> None:
    one = desk.world.launch(app="other")
    row = story.reads_all().rows[0]
    assert (row.state, row.moves) == ("pending", True)
    made = story.turns(5)
    assert made["DescribeInstances"] >= 1
    row = story.cache.ask().rows[0]
    assert (row.id, row.state, row.moves) == (one, "running", False)
    assert not story.turns(20)["DescribeInstances"], "and then no more"


def test_an_instance_whose_page_is_open_is_looked_at_every_second(story: Story, desk: Desk) -> None:
    one = desk.converged("web", app="web")
    story.reads_all()
    assert story.cache.row(one)
    desk.world.tag(one, Name="renamed")
    story.step()
    row = story.cache.row(one)
    assert row
    assert row.name == "renamed", "though nothing was decided"
    assert story.turns(10)["DescribeInstances"] <= 11


def test_the_whole_is_read_every_few_minutes_and_finds_what_no_log_named(story: Story, desk: Desk) -> None:
    one = desk.converged("web", app="web")
    story.reads_all()
    desk.world.attach_by_hand(one, "theirs")
    story.turns(WHOLE_SECONDS - 60)
    assert story.carries(one) == "web"
    made = story.turns(120)
    assert story.carries(one) == "theirs"
    assert made["DescribeInstances"] == 1


def test_it_can_be_read_again_but_not_over_and_over(story: Story, desk: Desk) -> None:
    one = desk.converged("web", app="web")
    story.later()
    story.reads_all()
    desk.world.truth.terminate(one)
    desk.world.wait(10)
    for _ in range(10):
        story.cache.read_again()
    assert story.turns(AGAIN_SECONDS + 1)["DescribeInstances"] == 1
    assert story.cache.ask().rows == (), "what is gone then is gone"
    for _ in range(3):
        story.cache.read_again()
        story.step()
    assert story.turns(2)["DescribeInstances"] == 0, "not within ten seconds"


# ---- what hinders it ----


def test_without_the_log_the_page_says_so_and_the_whole_is_read_more_often(
    story: Story, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.converged("web", app="web")

    def denied(**_: Any) -> None:
        story.logs.asked.append({})
        refusing("AccessDeniedException", "not authorized to perform: logs:FilterLogEvents on resource: arn:aws:x")()

    monkeypatch.setattr(story.logs, "filter_log_events", denied)
    note = story.reads_all().notes["log"]
    assert note.text.startswith("Changes show late, with the next full read")
    assert (note.permission, note.kind) == ("logs:FilterLogEvents", "warn")
    made = story.turns(600)
    assert 8 <= made["DescribeInstances"] <= 10, "once a minute"
    assert len(story.logs.asked) <= 600 / RETRY_SECONDS + 1


def test_a_log_that_can_be_read_again_ends_its_note(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(story.logs, "filter_log_events", lambda **_: refusing("ThrottlingException", "slower")())
        assert "log" in story.reads_all().notes
    story.turns(RETRY_SECONDS + 2)
    assert not story.cache.ask().notes


def test_a_bug_is_a_note_and_goes_to_standard_error(
    story: Story, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: FleetReader) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(FleetReader, "pages", broken)
    note = story.step().notes["whole"]
    assert "ZeroDivisionError: oh" in note.text
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_memory_is_bounded(terminal: Terminal, desk: Desk) -> None:
    story = Story(terminal, most=2)
    for _ in range(4):
        desk.world.running()
    fleet = story.reads_all()
    assert len(fleet.rows) == 2
    assert fleet.cut


# ---- the thread ----


@pytest.fixture
def quick(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001  # it is the last to say how it starts
    """The real thread, with turns of a hundredth of a second, as no test waits for seconds."""
    monkeypatch.setattr(FleetCache, "_start", START)
    monkeypatch.setattr(fleet_cache, "TURN_SECONDS", 0.01)
    monkeypatch.setattr(fleet_cache, "PAGE_SECONDS", 0.0)


@pytest.mark.usefixtures("quick")
def test_ten_tabs_cost_what_one_does(story: Story, desk: Desk) -> None:
    desk.converged("web", app="web")
    story.later()
    deployment = Deployment(Options())
    cache = FleetCache(deployment.anew)
    desk.world.calls.clear()
    try:
        seen = {cache.ask(10).version for _ in range(10)}
        assert len(seen) == 1
        assert len(cache.ask().rows) == 1
        assert {each: desk.world.calls[each] for each in READS} == dict.fromkeys(READS, 1)
        assert cache.calls.last_minute == 2
    finally:
        cache.close()


@pytest.mark.usefixtures("quick", "story")
def test_the_thread_ends_when_no_page_asks_and_comes_back_with_the_next(desk: Desk) -> None:
    desk.converged("web", app="web")
    seconds = 0.0
    cache = FleetCache(Deployment(Options()).anew, lambda: seconds)
    try:
        cache.ask(10)
        thread = cache._thread  # noqa: SLF001  # to wait for its end
        assert cache.working
        assert thread
        seconds += ASKED_SECONDS + 1
        thread.join(10)
        assert not thread.is_alive()
        assert not cache.working
        assert len(cache.ask().rows) == 1, "what was known stays"
        assert cache.working
    finally:
        cache.close()
    assert not cache.working
    cache.ask()
    assert not cache.working, "one that was closed stays so"
