"""A pipeline's steps: which commands they run, what they show where, and when the job fails."""

import json
from collections.abc import Mapping
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from fakes.code_host import SHA, TOKEN, CodeHost, variables
from rolekeeper_cli.pipeline import pull_requests, steps
from rolekeeper_cli.row.files import read_file

PLAN = """{"rolekeeper_plan": 3}
{"edit": {"row": {"role": {"S": "web"}, "matched": {"N": "1"}}, "revision": 2}}
{"change": {"instance": "i-1"}}
{"change": {"instance": "i-2"}}
{"end": true}
"""
DIGEST = "f06651c6aa6c782439277bc38e4e5169ce2f08afd15b1df3f410b5e824caa6ee"
APPLIED = json.dumps({"mappings": ["app=web", "app=db"], "not_in_effect": [{"mapping": "app=db", "status": "Held"}]})


class Job:
    """A run of a step, with a command that answers as the story has it: by its first words, code, stdout, stderr."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.host = folder, CodeHost(merged={SHA: 5})
        # The rows: what app=web says is in effect, and what others say isn't.
        rows = json.dumps([["app=web", None], ["app=db", "app=db is held"], ["their=row", "their=row is rejected"]])
        self.answers = {"plan": (0, "the plan", ""), "apply": (0, "{}", ""), "mapping ls": (0, rows, "")}
        self.ran: list[list[str]] = []
        self.planned, self.applicable, self.more = b"", False, ""
        self.environ = {
            "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
            "GITHUB_OUTPUT": str(folder / "output"),
            "GITHUB_EVENT_PATH": str(folder / "event.json"),
            "GITHUB_SERVER_URL": "http://host",
            "GITHUB_RUN_ID": "77",
            **variables(self.host),
        }
        self.file("a.yaml", "app: web")
        self.pull_request("o/r")
        monkeypatch.chdir(folder)
        monkeypatch.setattr(pull_requests, "urlopen", self.host.urlopen)
        monkeypatch.setattr("subprocess.run", self._command)

    def file(self, name: str, tag: str, role: str = "web") -> None:
        key, value = tag.split(": ")
        (self.folder / "mappings").mkdir(exist_ok=True)
        text = f"mappings:\n  - tag_key: {key}\n    tag_value: {value}\n    role: {role}\n"
        (self.folder / "mappings" / name).write_text(text)

    def pull_request(self, repository: str) -> None:
        event = {"pull_request": {"number": 5, "head": {"repo": {"full_name": repository}}}}
        (self.folder / "event.json").write_text(json.dumps(event))

    def __call__(self, step: str) -> int:
        return steps.main([step], self.environ)

    @property
    def commands(self) -> list[str]:
        return [" ".join(each[:2]) if each[0] == "mapping" else each[0] for each in self.ran]

    @property
    def summary(self) -> str:
        return (self.folder / "summary.md").read_text()

    @property
    def comment(self) -> str:
        [body] = self.host.bodies
        return str(body)

    def _command(self, line: list[str], *, env: Mapping[str, str], **_: Any) -> CompletedProcess[str]:
        assert line[1:4] == ["-P", "-m", "rolekeeper_cli"], "a module of the checked out repository could be imported"
        assert TOKEN not in str([line, env])
        self.ran.append(line[4:])
        code, stdout, stderr = self.answers.get(self.commands[-1], (0, "", ""))
        for each in line:
            if each.startswith("--out=") and (code in {0, 4} or self.applicable):
                Path(each.removeprefix("--out=")).write_text(PLAN + self.more)
            if each.startswith("--file="):
                self.planned = Path(each.removeprefix("--file=")).read_bytes()
        return CompletedProcess(line, code, stdout, stderr)


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    return Job(tmp_path, monkeypatch)


# ---- review ----


@pytest.mark.parametrize(("code", "outcome"), [(0, 0), (4, 0), (3, 3)], ids=["published", "held", "rejected"])
def test_a_review_comments_the_plan_and_fails_for_what_would_be_rejected(job: Job, code: int, outcome: int) -> None:
    job.answers["plan"] = (code, "the plan", "")
    assert job("review") == outcome
    assert job.commands == ["mapping validate", "plan"]
    marker = "" if code == 3 else f" plan={DIGEST}"
    link = "<sub>[The run](http://host/o/r/actions/runs/77)</sub>"
    assert job.comment == f"<!-- rolekeeper pipeline{marker} -->\n\nthe plan\n\n{link}\n"
    assert job.summary == f"the plan\n\n{link}\n"
    assert (job.folder / "output").read_text() == f"exit-code={code}\n"


def test_a_review_shows_what_is_wrong_with_a_file_and_asks_aws_nothing(job: Job) -> None:
    job.answers["mapping validate"] = (1, "", "Error: a.yaml:2: role: is empty\n  write its name")
    assert job("review") == 1
    assert job.commands == ["mapping validate"]
    assert "```text\nError: a.yaml:2: role: is empty\n  write its name\n```" in job.comment


@pytest.mark.parametrize(
    ("code", "plan", "message"),
    [(254, "", "Error: AWS refused"), (1, "the plan", "Error: the plan leaves targets out")],
)
def test_a_review_shows_why_there_is_no_plan_or_not_a_whole_one(job: Job, code: int, plan: str, message: str) -> None:
    job.answers["plan"] = (code, plan, message)
    assert job("review") == code
    assert f"The plan ended with exit code {code}:\n\n```text\n{message}\n```\n\n{plan}" in job.comment


def test_a_forks_files_are_checked_without_aws_and_without_a_comment(job: Job) -> None:
    job.pull_request("eve/r")
    job.host.readonly = True
    assert job("review") == 0
    assert (job.commands, job.host.bodies) == (["mapping validate"], [])
    assert "A pull request from a fork gets no plan." in job.summary
    assert "couldn't be written, so this is only here" in job.summary


def test_a_row_that_was_refused_before_and_isnt_edited_fails_neither_review_nor_publish(job: Job) -> None:
    """It is another team's: the plan shows it, and can be applied without it."""
    job.answers["plan"], job.applicable = (3, "the plan", ""), True
    assert job("review") == 0
    assert f"plan={DIGEST}" in job.comment
    refused = json.dumps({"mappings": ["app=web"], "not_in_effect": [{"mapping": "their=row", "status": "Rejected"}]})
    job.answers["apply"] = (3, refused, "! their=row is Rejected")
    job.ran.clear()
    assert job("publish") == 0
    assert job.commands == ["plan", "apply", "mapping ls", "wait"]
    assert "Rolekeeper: published" in job.comment
    assert "These rows were refused before, and still are:\n\n```text\n! their=row is Rejected" in job.comment
    job.answers["apply"] = (3, "", "not every row was published as planned")
    assert job("publish") == 3


# ---- publish ----


@pytest.mark.parametrize(
    ("author", "reviewed", "said"),
    [
        ("github-actions[bot]", DIGEST, "This is exactly the plan shown in the pull request."),
        ("github-actions[bot]", "0" * 64, "The plan was made again"),
        ("eve", DIGEST, "no pull request showed one"),
    ],
)
def test_what_is_published_is_compared_with_what_was_reviewed(job: Job, author: str, reviewed: str, said: str) -> None:
    job.host.says(author, f"<!-- rolekeeper pipeline plan={reviewed} -->\nthe plan")
    assert job("publish") == 0
    assert said in job.summary
    assert said in job.host.bodies[-1]
    # If the job runs again, it still is what the pull request showed.
    assert (f"plan={reviewed} -->" in job.host.bodies[-1]) is (author != "eve")
    assert job.commands == ["plan", "apply"]


def test_what_is_held_waits_for_another_person_and_the_rest_is_waited_for(job: Job) -> None:
    job.answers["apply"] = (4, APPLIED, "another person runs: rolekeeper mapping approve app=db")
    assert job("publish") == 0
    assert [job.ran[1][2:], *job.ran[3:]] == [["--hold", "--output=json"], ["wait", "--mapping=app=web"]]
    assert "waiting for approval" in job.comment
    assert "another person runs: rolekeeper mapping approve app=db" in job.comment


def test_a_row_that_was_deleted_since_isnt_in_the_comment_and_is_waited_for_by_nobody(job: Job) -> None:
    left = [{"mapping": "app=db", "status": "Held"}, {"mapping": "app=old", "status": "Held"}]
    applied = json.dumps({"mappings": ["app=gone", "app=db", "app=old"], "not_in_effect": left})
    job.answers["apply"] = (4, applied, "! app=db is Held\n! app=old is Held")
    assert job("publish") == 0
    assert "```text\napp=db is held\n```" in job.comment
    assert "app=old" not in job.comment
    assert job.commands == ["plan", "apply", "mapping ls"]
    job.answers["mapping ls"] = (0, "[]", "")
    assert job("publish") == 0
    assert "Rolekeeper: published" in job.host.bodies[-1]


def test_a_row_that_was_deleted_is_waited_for_by_nobody(job: Job) -> None:
    edit = {"tag_key": "app", "tag_value": "db", "row": {}, "revision": 0, "status": "Removed"}
    job.more = json.dumps({"edit": edit}) + "\n"
    job.answers["apply"] = (0, json.dumps({"mappings": ["app=db", "app=web"], "not_in_effect": []}), "")
    assert job("publish") == 0
    assert job.ran[3:] == [["wait", "--mapping=app=web"]]


@pytest.mark.parametrize(("code", "outcome"), [(1, 0), (255, 255)], ids=["blocked", "late"])
def test_instances_that_arent_there_in_time_fail_the_job_and_blocked_ones_dont(
    job: Job, code: int, outcome: int
) -> None:
    job.answers |= {"apply": (0, APPLIED, ""), "wait": (code, "", "i-1 isn't there")}
    assert job("publish") == outcome
    assert "i-1 isn't there" in job.comment


def test_a_plan_that_went_out_of_date_is_made_again_once(job: Job) -> None:
    job.answers["apply"] = (1, "", "nothing was applied, because the plan is out of date")
    assert job("publish") == 1
    assert job.commands == ["plan", "apply", "plan", "apply"]
    assert "nothing was applied" in job.comment


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ('"matched": {"N": "1"}', '"matched": {"N": "7"}, "status": {"S": "Published"}', True),
        ("i-1", "i-2", False),
        ('"revision": 2', '"revision": 3', False),
        ('"web"', '"db"', False),
    ],
)
def test_a_plan_is_the_same_if_it_rests_on_the_same_and_does_the_same(
    tmp_path: Path, before: str, after: str, *, same: bool
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text(PLAN)
    head, edit, *changes, end = PLAN.replace(before, after).splitlines()
    other.write_text("\n".join([head, edit, *reversed(changes), end]))
    assert (steps.digest(one) == steps.digest(other)) is same


def test_a_host_that_doesnt_answer_keeps_nothing_from_being_published(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull_requests, "_WAITS", ())
    job.host.faults = [503] * 9
    assert job("publish") == 0
    assert job.commands == ["plan", "apply"]


# ---- nightly ----


@pytest.mark.parametrize(
    ("drift", "listed", "rows", "changes", "waiting", "outcome"),
    [
        (0, "", 0, [], 0, 0),
        (0, "i-1", 0, [], 0, 2),  # it is blocked, or waits
        (2, "i-1", 0, [], 0, 2),
        (0, "", 2, [{}], 0, 2),
        (0, "", 4, [], 4, 0),  # a row waits for approval, as before
        (0, "", 4, [{}], 4, 2),  # another was edited by hand
        (0, "", 0, [], 3, 3),  # a row that no file has is rejected
        (0, "", 0, [], 4, 0),
        (2, "i-1", 3, [], 3, 3),
        (2, "i-1", 4, [], 4, 2),
        (254, "", 2, [{}], 0, 254),
    ],
)
def test_a_nightly_run_fails_for_drift_of_the_fleet_or_of_the_table(
    job: Job, drift: int, listed: str, rows: int, changes: list[object], *, waiting: int, outcome: int
) -> None:
    job.answers |= {"fleet": (drift, listed, ""), "plan": (rows, json.dumps(changes), "")}
    job.answers["mapping ls"] = (waiting, "app=other isn't in effect", "")
    assert job("nightly") == outcome
    statuses = [f"--status={status}" for status in ("drift", "blocked", "waiting")]
    assert job.ran[0] == ["fleet", *statuses, "--detailed-exitcode"]
    assert job.ran[-1] == ["mapping", "ls", "--not-in-effect", "--detailed-exitcode"]
    assert listed in job.summary
    assert "Rows of the table that aren't in effect:\n\n```text\napp=other isn't in effect" in job.summary
    assert ("all is as the files say" in job.summary) is (outcome == 0 and not rows and not waiting)


# ---- files and texts ----


def test_several_files_are_one_table(job: Job) -> None:
    job.file("b.yaml", "app: '0123'")
    job.environ["ROLEKEEPER_PRUNE"] = "true"
    assert job("review") == 0
    assert [each.key.tag_value for each in read_file(job.planned, "all", None).specs] == ["web", "0123"]
    assert "--prune" in job.ran[-1]


@pytest.mark.parametrize("step", ["review", "publish", "nightly"])
def test_a_row_that_two_files_have_is_refused_by_their_names(job: Job, step: str) -> None:
    job.file("b.yaml", "app: web", role="db")
    job.pull_request("eve/r")
    assert job(step) == 1
    assert "mappings/b.yaml:2: app=web: is the same row as mappings/a.yaml:2\nkeep one" in job.summary
    assert set(job.commands) <= {"mapping validate", "fleet"}


def test_a_file_behind_a_link_is_refused(job: Job, capfd: pytest.CaptureFixture[str]) -> None:
    (job.folder / "mappings/b.yaml").symlink_to("/proc/self/environ")
    assert job("review") == 252
    assert "mappings/b.yaml is behind a symbolic link" in capfd.readouterr().err
    assert job.ran == []


def test_what_a_tag_says_is_no_command_to_the_runner(job: Job, capfd: pytest.CaptureFixture[str]) -> None:
    job.answers["plan"] = (0, "::add-mask::the", "")
    job("review")
    first, *_, last = capfd.readouterr().err.splitlines()
    assert first.startswith("::stop-commands::")
    assert last == f"::{first.removeprefix('::stop-commands::')}::"


def test_a_comment_that_would_be_too_long_leaves_the_end_to_the_run(job: Job) -> None:
    job.answers["plan"] = (0, "x" * 64_990, "")
    assert job("publish") == 0
    assert "The run shows the rest." in job.comment
    assert "x" * 64_990 in job.summary


@pytest.mark.parametrize("text", ["```\n@team", "a ` and ```` b"])
def test_no_text_ends_its_block(text: str) -> None:
    fence, *_, last = steps.fenced(text).splitlines()
    assert last == fence.removesuffix("text")
    assert last not in text


@pytest.mark.parametrize("pattern", ["/etc/*.yaml", "roles/*.yaml"])
def test_without_files_of_the_repository_there_is_nothing_to_do(job: Job, pattern: str) -> None:
    job.environ["ROLEKEEPER_MAPPINGS"] = pattern
    assert job("review") == 252


@pytest.mark.parametrize("line", [[], ["deploy"], ["review", "publish"]])
def test_a_step_has_to_be_one_of_three(line: list[str]) -> None:
    assert steps.main(line, {}) == 252
