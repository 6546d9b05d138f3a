"""Longer looks at AWS beside a page: shared, kept for a while, and never longer than they are wanted."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from markupsafe import escape

from fixtures import console
from fixtures.console import Slow, words
from fixtures.doctor import DoctorFixture
from fixtures.mappings import Desk
from fixtures.terminal import Terminal
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.console import jobs as module
from rolekeeper_cli.console.jobs import Jobs
from rolekeeper_cli.console.page import Notice
from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.options import Options
from rolekeeper_cli.site import Site

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Story:
    """Looks that begin at once, or when the story says so."""

    def __init__(self) -> None:
        self.now, self.begun, self.seconds = START, 0, 0.0
        self.waiting: list[Callable[[], None]] = []
        self.jobs = Jobs(
            lambda: Deployment(Options()), lambda: self.now, self.waiting.append, clock=lambda: self.seconds
        )

    def work(self, deployment: Deployment) -> Iterator[int]:
        self.begun += 1
        with deployment.progress(3, "things") as progress:
            yield from progress.over(range(3))

    def runs(self) -> None:
        """What was begun comes to its end."""
        while self.waiting:
            self.waiting.pop()()


@pytest.fixture
def story(monkeypatch: pytest.MonkeyPatch) -> Story:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0)
    return Story()


def test_what_it_finds_is_there_while_it_runs_and_how_far_it_is(story: Story) -> None:
    seen = []

    def watched(deployment: Deployment) -> Iterator[int]:
        for each in story.work(deployment):
            seen.append((job.end.is_set(), list(job.found), job.step, job.version))
            yield each

    job = story.jobs.get("look", watched)
    assert (job.end.is_set(), job.found, job.step) == (False, [], "")
    story.runs()
    assert [each[:3] for each in seen] == [
        (False, [], "0 of 3 things"),
        (False, [0], "1 of 3 things"),
        (False, [0, 1], "2 of 3 things"),
    ]
    assert (job.end.is_set(), job.found) == (True, [0, 1, 2])
    versions = [each[3] for each in seen] + [job.version]
    assert versions == sorted(set(versions)), "a page that polls sees each step"


def test_it_is_kept_ten_minutes_and_made_anew_where_that_is_asked(story: Story) -> None:
    first = story.jobs.get("look", story.work)
    assert story.jobs.get("look", story.work, anew=True) is first, "it runs: nobody begins another"
    story.runs()
    second = story.jobs.get("look", story.work, anew=True)
    assert second is not first
    story.runs()
    story.now += timedelta(minutes=10, seconds=1)
    assert story.jobs.get("look", story.work) is not second


def test_an_open_page_doesnt_begin_a_look_that_fails_each_second(story: Story) -> None:
    def fails(_deployment: Deployment) -> Iterator[int]:
        story.begun += 1
        raise CommandError("not now", "later")
        yield 1

    story.jobs.get("look", fails)
    for _second in range(60):
        story.runs()
        story.now += timedelta(seconds=1)
        story.jobs.get("look", fails, polled=True)
    assert story.begun == 4, "every 15 seconds"
    story.runs()
    with pytest.raises(CommandError):
        story.jobs.get("look", fails).seen()
    assert not story.waiting, "who opens the page reads why"
    story.jobs.get("look", fails)
    assert len(story.waiting) == 1, "and has it tried again at once"


def test_a_bug_goes_to_standard_error_and_is_raised_by_a_page(story: Story, capsys: pytest.CaptureFixture[str]) -> None:
    def fails(_deployment: Deployment) -> Iterator[int]:
        yield 1
        raise ZeroDivisionError

    job = story.jobs.get("look", fails)
    story.runs()
    assert "ZeroDivisionError" in capsys.readouterr().err
    with pytest.raises(ZeroDivisionError):
        job.seen()


def test_writes_begin_no_second_look_beside_one_that_runs(story: Story) -> None:
    first = story.jobs.get("look", story.work)
    for _ in range(5):
        story.jobs.forget()
        assert story.jobs.get("look", story.work) is first
    story.runs()
    assert story.begun == 1
    second = story.jobs.get("look", story.work)
    assert second is not first, "what it found may be old"
    story.runs()
    assert story.jobs.get("look", story.work) is second


def test_one_that_no_page_asks_for_stops_at_its_next_step_and_begins_anew_for_the_next_page(story: Story) -> None:
    steps: list[int] = []

    def watched(deployment: Deployment) -> Iterator[int]:
        for each in story.work(deployment):
            steps.append(each)
            yield each
            story.seconds += 10

    job = story.jobs.get("look", watched)
    story.runs()
    assert (steps, job.end.is_set(), job.error) == ([0, 1], True, None)
    assert not job.seen().ended, "a page that is open goes on asking"
    again = story.jobs.get("look", story.work)
    assert again is not job
    assert again.version > job.version, "and sees that it is another one"
    story.runs()
    assert again.seen().found == [0, 1, 2]


def test_one_that_a_page_asks_for_goes_on_however_long_it_takes(story: Story) -> None:
    def watched(deployment: Deployment) -> Iterator[int]:
        for each in story.work(deployment):
            yield each
            story.seconds += 10
            story.jobs.get("look", watched)

    job = story.jobs.get("look", watched)
    story.runs()
    assert job.seen().found == [0, 1, 2]


# ---- pages that take longer ----


@pytest.fixture
def slow(site: Site, monkeypatch: pytest.MonkeyPatch) -> Slow:
    return Slow(site, monkeypatch)


@pytest.mark.parametrize(
    ("page", "title"),
    [
        *(("/", "Fleet"), ("/instance/web", "web"), ("/mappings", "Mappings"), ("/mapping/new", "Mappings")),
        *(("/mapping?key=app&value=web", "Mappings"), ("/mapping/held?key=app&value=web", "Mappings")),
        *(("/role/web", "web"), ("/roles", "Roles"), ("/launches", "Launches"), ("/doctor", "Doctor")),
        *(("/targets", "Targets"), ("/settings", "Settings"), ("/settings/switch?what=pause", "Settings")),
    ],
)
def test_no_page_waits_for_aws(slow: Slow, desk: Desk, page: str, title: str) -> None:
    desk.world.calls.clear()
    answer = slow.browser.get(page)
    assert (answer.status_code, len(slow.begun)) == (202, 1)
    assert console.main(answer) == f"{title} Reading from AWS."
    assert '<noscript><meta http-equiv="refresh"' in answer.text
    assert console.news(answer) == page
    assert not desk.world.calls.made
    assert (slow.fills(page).status_code, slow.fills(page).text) == (204, "")


def test_a_page_that_is_known_in_part_fills_itself_in(slow: Slow, desk: Desk) -> None:
    desk.edit("app=web", role="web")
    assert "app=web" in console.main(slow.opens("/mappings?text=app"))
    assert not slow.begun, "it was made once"


def test_a_page_is_shown_as_it_was_last_until_aws_answers(slow: Slow, desk: Desk, terminal: Terminal) -> None:
    desk.edit("app=web", role="web")
    slow.opens("/mappings?text=app")
    desk.edit("app=app2", role="web")
    terminal.wait(60)
    former = slow.browser.get("/mappings?text=app")
    assert former.status_code == 202
    assert console.main(former).startswith("As it was 1 min ago . Reading it again.")
    assert "app=web" in console.main(former)
    assert console.news(former) == "/mappings?text=app"
    slow.begun.pop()()
    assert "app=app2" in console.main(slow.fills("/mappings?text=app"))
    assert console.main(slow.browser.get("/mappings?text=other")) == "Mappings Reading from AWS.", "another question"


def test_what_was_known_before_a_write_isnt_shown_after_it(slow: Slow) -> None:
    slow.opens("/mappings")
    slow.site.say(Notice("Paused"))
    assert console.main(slow.browser.get("/mappings")) == "Mappings Reading from AWS."


def test_an_instance_is_shown_as_the_fleet_has_it(slow: Slow, desk: Desk) -> None:
    desk.role("web")
    desk.edit("app=web", role="web")
    id_ = desk.world.running(Name="web-1", app="web")
    slow.site.fleet.ask(5)
    answer = slow.browser.get(f"/instance/{id_}")
    assert console.main(answer) == f"web-1 Reading from AWS. Status drift Carries NONE Should carry web Id {id_}"


@pytest.mark.parametrize("page", ["/mapping?key=app&value=none", "/instance/web/who"])
def test_an_error_and_another_page_are_opened(slow: Slow, page: str) -> None:
    answer = slow.opens(page)
    assert (answer.status_code, answer.headers.get("HX-Refresh")) == (204, "true")
    assert slow.browser.get(page).status_code == 404


def test_what_was_made_while_nobody_waited_is_made_again(slow: Slow, terminal: Terminal) -> None:
    slow.browser.get("/mappings")
    slow.begun.pop()()
    terminal.wait(11)
    slow.browser.get("/mappings")
    assert len(slow.begun) == 1


def test_what_an_open_page_asks_for_isnt_hurried(slow: Slow) -> None:
    assert slow.browser.get("/mappings/part", headers={"HX-Request": "true"}).status_code == 200


# ---- the pages that show them ----


@pytest.fixture
def ward(terminal: Terminal, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> DoctorFixture:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0)
    return DoctorFixture(terminal, desk, monkeypatch)


@pytest.mark.usefixtures("ward")
@pytest.mark.parametrize(
    ("page", "part", "name", "said", "stays"),
    [
        ("/doctor", "/doctor/part?", "doctor", "Checking: 2 of 3 things.", '<h2 id="level-ok">'),
        ("/roles?only=broad", "/roles/part?only=broad&", "roles", "Reading the roles: 2 of 3 things.", "Filter"),
        (
            "/settings/switch?what=pause&reason=x",
            "/settings/switch/part?what=pause&reason=x&",
            "switch pause",
            "Counting what it does to instances: 2 of 3 things. You need not wait for that.",
            '<button class="button danger">Pause Rolekeeper</button>',
        ),
    ],
)
def test_a_page_that_waits_says_how_far_it_is_and_asks_for_what_is_new(
    page: str, part: str, name: str, said: str, stays: str
) -> None:
    site = console.site(writes=True)
    browser = console.browser(site)
    browser.get(page)
    job = site.jobs.get(name, lambda _: ())
    assert browser.get(f"{part}version={job.version}").status_code == 204
    job.end.clear()
    job.found[:] = job.found[:2] if name == "doctor" else []
    job.step = "2 of 3 things"
    new = browser.get(f"{part}version=0")
    assert said in words(new)
    assert escape(f"{part}version={job.version}") in new.text
    whole = browser.get(page).text
    assert stays in whole
    assert "<noscript>" in whole
