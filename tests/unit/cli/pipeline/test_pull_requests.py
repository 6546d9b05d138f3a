"""There is one comment of the pipeline on a pull request, and only what the pipeline itself wrote counts."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.code_host import SHA, TOKEN, CodeHost, variables
from rolekeeper_cli.pipeline import pull_requests
from rolekeeper_cli.pipeline.pull_requests import MARKER, CommentError, Host

BODY = f"{MARKER} -->\nthe plan"
type Connect = Callable[[CodeHost], Host]


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Connect:
    """The pipeline's view of a host; waits take no time."""

    def connected(fake: CodeHost) -> Host:
        event = tmp_path / "event.json"
        event.write_text("{}")
        monkeypatch.setattr(pull_requests, "urlopen", fake.urlopen)
        monkeypatch.setattr(pull_requests, "_WAITS", (0, 0, 0))
        host = pull_requests.host(variables(fake, GITHUB_EVENT_PATH=str(event)))
        assert host
        return host

    return connected


@pytest.fixture(params=["GitHub", "GitLab"])
def fake(request: pytest.FixtureRequest) -> CodeHost:
    return CodeHost(request.param)


def test_a_comment_is_made_once_and_updated_after_that(fake: CodeHost, connect: Connect) -> None:
    host = connect(fake)
    pull_requests.write(host, 5, BODY)
    pull_requests.write(host, 5, f"{BODY}, changed")
    assert fake.bodies == [f"{BODY}, changed"]
    assert pull_requests.read(host, 5) == f"{BODY}, changed"


def test_it_is_found_on_a_later_page_among_those_of_others(fake: CodeHost, connect: Connect) -> None:
    fake.says("eve", f"{MARKER} plan={'0' * 64} -->\nforged")
    for number in range(150):
        fake.says("al", f"comment {number}")
    fake.says(fake.me, BODY)
    fake.says(fake.me, BODY)  # of two that were made at the same time one stays
    fake.says(fake.me, f"> {BODY}")  # another workflow quotes it
    others = fake.bodies[:151]
    pull_requests.write(connect(fake), 5, "new")
    assert fake.bodies == [*others, "new", f"> {BODY}"]


def test_a_token_that_may_only_read_is_an_error_at_once(fake: CodeHost, connect: Connect) -> None:
    fake.readonly = True
    with pytest.raises(CommentError, match="403") as raised:
        pull_requests.write(connect(fake), 5, BODY)
    assert [each for each in fake.asked if not each.startswith("GET")] == [fake.asked[-1]]
    assert TOKEN not in str(raised.value)


def test_a_busy_host_is_asked_again(fake: CodeHost, connect: Connect) -> None:
    fake.faults = [502, 503, 429]
    pull_requests.write(connect(fake), 5, BODY)
    assert fake.bodies == [BODY]


def test_after_a_lost_answer_there_is_one_comment(fake: CodeHost, connect: Connect) -> None:
    fake.loses = ["POST"]
    pull_requests.write(connect(fake), 5, BODY)
    assert fake.bodies == [BODY]


def test_a_host_that_stays_busy_is_asked_four_times(fake: CodeHost, connect: Connect) -> None:
    fake.faults = [503] * 9
    with pytest.raises(CommentError, match="503"):
        pull_requests.read(connect(fake), 5)
    assert len(fake.asked) == 4


def test_a_commit_names_the_pull_request_that_it_merged(fake: CodeHost, connect: Connect) -> None:
    host = connect(fake)
    assert pull_requests.merged(host) is None
    fake.merged, fake.faults = {SHA: 12}, [502]
    assert pull_requests.merged(host) == 12


@pytest.mark.parametrize(
    ("head", "from_fork"), [('{"full_name": "o/r"}', False), ('{"full_name": "eve/r"}', True), ("null", True)]
)
def test_a_pull_request_of_a_fork_is_known(head: str, *, from_fork: bool, tmp_path: Path) -> None:
    event = tmp_path / "event.json"
    event.write_text(f'{{"pull_request": {{"number": 5, "head": {{"repo": {head}}}}}}}')
    host = pull_requests.host(variables(CodeHost(), GITHUB_EVENT_PATH=str(event)))
    assert host
    assert (host.number, host.from_fork) == (5, from_fork)


@pytest.mark.parametrize(("source", "from_fork"), [("7", False), ("8", True)])
def test_a_merge_request_of_a_fork_is_known(source: str, *, from_fork: bool) -> None:
    merge_request = {"IID": "5", "PROJECT_ID": "7", "SOURCE_PROJECT_ID": source}
    more = {f"CI_MERGE_REQUEST_{name}": value for name, value in merge_request.items()}
    host = pull_requests.host(variables(CodeHost("GitLab"), **more))
    assert host
    assert (host.number, host.from_fork) == (5, from_fork)


def test_a_persons_machine_has_no_host() -> None:
    assert pull_requests.host({}) is None
