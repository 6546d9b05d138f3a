"""What a pipeline runs around a pull request: `python -m rolekeeper_cli.pipeline.steps review`, `publish` or `nightly`.

GitHub's action (action.yml) and GitLab's template (gitops/gitlab.yml) both run it, as docs/gitops.md says. It decides
nothing: it runs the command, shows what that says where people look, and comes to the job's outcome.
"""

import hashlib
import json
import re
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from rolekeeper.mappings.rows import content
from rolekeeper.mappings.verdict import Status
from rolekeeper.model.mapping import MappingKey
from rolekeeper_cli.errors import CommandError, ExitCode, UsageError
from rolekeeper_cli.pipeline import pull_requests
from rolekeeper_cli.pipeline.pull_requests import MARKER, CommentError, Host
from rolekeeper_cli.row.files import read_file

# In characters: a command's messages in a text, and a comment. GitHub takes 65,536, and GitLab more.
_MESSAGES, _COMMENT = 20_000, 65_000
_PLAN = "change.plan"
_PLAN_IN_MARKER = re.compile(rf"{re.escape(MARKER)} plan=([0-9a-f]{{64}}) -->")
# What isn't a failure of the job: another person's approval is the next step.
_FINE = {ExitCode.DONE, ExitCode.HELD}


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has run."""

    code: int
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        """All that it said, as Markdown that shows it letter by letter."""
        return fenced(self.stdout + self.stderr)

    @property
    def edited(self) -> Sequence[str]:
        """The mappings whose rows `apply` wrote."""
        return json.loads(self.stdout or "{}").get("mappings", ())  # type: ignore[no-any-return]  # JSON

    @property
    def not_in_effect(self) -> Mapping[str, str]:
        """The mappings that aren't in effect after `apply`, each with its status."""
        return {each["mapping"]: each["status"] for each in json.loads(self.stdout or "{}").get("not_in_effect", ())}


@dataclass(frozen=True, slots=True)
class Pipeline:
    """One run: its files, its options, and where it runs (None: on a person's machine)."""

    environ: Mapping[str, str]
    files: Sequence[Path]  # what people wrote; `folder` takes what the run writes
    folder: Path
    options: Sequence[str]  # of the commands that read a file as the whole table, such as `--prune`
    host: Host | None

    def rolekeeper(self, *arguments: str) -> Done:
        """Run the command. The log has all that it says."""
        if stack := self.environ.get("ROLEKEEPER_STACK"):
            arguments = (*arguments, f"--stack={stack}")
        _log(f"rolekeeper {' '.join(arguments)}")
        # -P: no module of the repository that is checked out here is imported. A stranger may have written it.
        line = [sys.executable, "-P", "-m", "rolekeeper_cli", *arguments]
        environ = {name: value for name, value in self.environ.items() if name != "ROLEKEEPER_TOKEN"}
        ran = subprocess.run(line, env=environ, capture_output=True, text=True, encoding="utf-8", check=False)  # noqa: S603  # our own command
        done = Done(ran.returncode, ran.stdout, ran.stderr)
        _log(f"{done.stdout}{done.stderr}rolekeeper: exit code {done.code}")
        return done

    def mappings(self) -> str:
        """The mappings of all files as one, for commands that take one."""
        if len(self.files) == 1:
            return str(self.files[0])
        _refuse_same_rows(self.files)
        merged = self.folder / "all-mappings.yaml"
        merged.write_text(_merged(self.files), encoding="utf-8")
        return str(merged)

    def plan(self) -> tuple[Done, Path]:
        """What these files would change, as Markdown, and the plan to apply; its file isn't there if none can be."""
        plan = self.folder / _PLAN
        plan.unlink(missing_ok=True)
        file = f"--file={self.mappings()}"
        return self.rolekeeper("plan", file, *self.options, f"--out={plan}", "--output=markdown"), plan

    def report(self, number: int | None, *parts: str, digest: str = "") -> None:
        """Show parts of a text in the run's summary, and in the comment on a pull request, which may lack the last."""
        marker = f"{MARKER} plan={digest} -->" if digest else f"{MARKER} -->"
        link, fits = self._link(), parts
        while sum(map(len, fits)) > _COMMENT:
            fits = fits[:-1]
        rest = () if fits == parts else ("The run shows the rest.",)
        if self.host and number:
            try:
                pull_requests.write(self.host, number, _text(marker, *fits, *rest, link))
            except CommentError as error:
                _log(f"The comment couldn't be written: {error}")
                parts = (*parts, "> The comment on the pull request couldn't be written, so this is only here.")
        text = _text(*parts, link)
        if summary := self.environ.get("GITHUB_STEP_SUMMARY"):
            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(text)
        else:
            print(text, flush=True)  # noqa: T201  # on a person's machine, and at GitLab, the log is all there is

    def _link(self) -> str:
        if url := self.environ.get("CI_JOB_URL"):
            return f"<sub>[The job]({url})</sub>"
        if run := self.environ.get("GITHUB_RUN_ID"):
            server, repository = self.environ["GITHUB_SERVER_URL"], self.environ["GITHUB_REPOSITORY"]
            return f"<sub>[The run]({server}/{repository}/actions/runs/{run})</sub>"
        return ""


# ---- the steps ----


def review(pipeline: Pipeline) -> int:
    """Check a pull request's files, and comment what they would change."""
    number = pipeline.host.number if pipeline.host else None
    checked = [pipeline.rolekeeper("mapping", "validate", str(each), "--strict") for each in pipeline.files]
    if bad := [each for each in checked if each.code]:
        pipeline.report(number, "### Rolekeeper: a file is invalid", *(each.text for each in bad))
        return bad[0].code
    pipeline.mappings()  # of a fork too
    if pipeline.host and pipeline.host.from_fork:
        # A fork's run gets no credentials, and should get none: its plan would show what runs in the account.
        pipeline.report(number, "### Rolekeeper: the files are valid", "A pull request from a fork gets no plan.")
        return ExitCode.DONE
    planned, plan = pipeline.plan()
    pipeline.report(number, *_shown(planned), digest=digest(plan))
    # With rows that were refused before it ends so too, and can be applied.
    return ExitCode.DONE if planned.code == ExitCode.REJECTED and plan.exists() else planned.code


def publish(pipeline: Pipeline) -> int:
    """Apply what the merged files change, and wait until it is in effect."""
    number, reviewed = _reviewed(pipeline)
    planned, made, applied = _planned_and_applied(pipeline)
    if applied and applied.code == ExitCode.NO:
        # Perhaps the fleet moved in the seconds between the two.
        planned, made, applied = _planned_and_applied(pipeline)
    if not applied:
        pipeline.report(number, *_shown(planned))
        return planned.code
    code = _code_of(applied)
    rows = _rows(pipeline, applied)
    parts = [_outcome(applied, code, rows), _compared(number, reviewed, made)]
    if code in _FINE:
        waited = [*_waited(pipeline, applied, rows)]
        parts += [each.text for each in waited if each.code]
        # Instances that stay as they are (1) were in the plan. That others don't change is news.
        code = next((each.code for each in waited if each.code not in {ExitCode.DONE, ExitCode.NO}), code)
    plan_shown = f"<details><summary>What was applied</summary>\n\n{planned.stdout}\n\n</details>"
    pipeline.report(number, *parts, plan_shown, digest=reviewed)
    return code


def nightly(pipeline: Pipeline) -> int:
    """Compare the fleet with the mappings, and the mappings with the files."""
    wrong = [f"--status={status}" for status in ("drift", "blocked", "waiting")]
    instances = pipeline.rolekeeper("fleet", *wrong, "--detailed-exitcode")
    if instances.code == ExitCode.DONE and instances.stdout:
        # Those that wait or are blocked aren't in drift, and yet not as the files say.
        instances = replace(instances, code=ExitCode.CHANGES)
    compare = ("plan", f"--file={pipeline.mappings()}", *pipeline.options, "--detailed-exitcode")
    planned = pipeline.rolekeeper(*compare)
    code = planned.code
    edited = (*compare, "--query=mappings[?kind!='unchanged']", "--output=json")
    if code == ExitCode.HELD and json.loads(pipeline.rolekeeper(*edited).stdout):
        # A row that waits doesn't hide that others were edited by hand.
        code = ExitCode.CHANGES
    waiting = pipeline.rolekeeper("mapping", "ls", "--not-in-effect", "--detailed-exitcode")
    code = max(instances.code, code, waiting.code, key=lambda each: (each not in _FINE, each))
    pipeline.report(
        None,
        f"### Rolekeeper: {_NIGHTS.get(code, 'failed')}",
        f"Instances that are in drift, blocked or waiting:\n\n{instances.text}",
        f"What the files would change:\n\n{planned.text}",
        f"Rows of the table that aren't in effect:\n\n{waiting.text}",
    )
    return code


_NIGHTS: Mapping[int, str] = {
    ExitCode.DONE: "all is as the files say",
    ExitCode.CHANGES: "the fleet or the table isn't as the files say",
    ExitCode.REJECTED: "rows are rejected, or in conflict",
    ExitCode.HELD: "rows wait for approval",
}
STEPS: Mapping[str, Callable[[Pipeline], int]] = {"review": review, "publish": publish, "nightly": nightly}


# ---- what was reviewed, and what is applied ----


def digest(plan: Path) -> str:
    """A number for all that a plan is based on and does; empty if it wasn't written. Instances come in any order."""
    documents = _documents(plan)
    if not documents:
        return ""
    for edit in (each["edit"] for each in documents if "edit" in each):
        # Without what Rolekeeper wrote into the row, such as how many instances it matched.
        edit["row"] = content(edit["row"])
    lines = sorted(json.dumps(each, sort_keys=True) for each in documents)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _documents(plan: Path) -> list[dict[str, Any]]:
    lines = plan.read_text(encoding="utf-8").splitlines() if plan.exists() else ()
    return [json.loads(line) for line in lines]


def _reviewed(pipeline: Pipeline) -> tuple[int | None, str]:
    """The pull request that was merged, and the digest of the plan that it showed; each empty if there is none."""
    if not pipeline.host:
        return None, ""
    try:
        number = pull_requests.merged(pipeline.host)
        comment = pull_requests.read(pipeline.host, number) if number else ""
    except CommentError as error:
        _log(f"The comment on the pull request couldn't be read: {error}")
        return None, ""
    found = _PLAN_IN_MARKER.match(comment)
    return number, found[1] if found else ""


def _planned_and_applied(pipeline: Pipeline) -> tuple[Done, str, Done | None]:
    """A plan of the merged files, its digest, and how it was applied; None if it can't be."""
    planned, plan = pipeline.plan()
    if not plan.exists():
        return planned, "", None
    return planned, digest(plan), pipeline.rolekeeper("apply", str(plan), "--hold", "--output=json")


def _code_of(applied: Done) -> int:
    """The job's exit code for what was applied: a row that is refused and held it up in nothing wasn't edited."""
    if applied.code != ExitCode.REJECTED or not applied.stdout:
        return applied.code
    return ExitCode.HELD if Status.HELD in applied.not_in_effect.values() else ExitCode.DONE


def _compared(number: int | None, reviewed: str, made: str) -> str:
    if reviewed == made:
        return "This is exactly the plan shown in the pull request."
    if number and reviewed:
        return (
            "The plan was made again: tags, instances, roles or mappings have changed since the pull request showed it."
        )
    return "The plan was made for this commit: no pull request showed one."


type _Rows = Mapping[str, str | None]


def _rows(pipeline: Pipeline, applied: Done) -> _Rows:
    """Ask why each row isn't in effect by now, if it isn't; one that was deleted since isn't in the answer."""
    left = dict.fromkeys(applied.not_in_effect, applied.stderr)
    if not (left or applied.edited):
        return {}
    listed = pipeline.rolekeeper("mapping", "ls", "--query=[].[mapping, not_in_effect[0].reason]", "--output=json")
    return dict(json.loads(listed.stdout)) if not listed.code else dict.fromkeys(applied.edited) | left


def _waited(pipeline: Pipeline, applied: Done, rows: _Rows) -> Iterator[Done]:
    """Wait for the instances of each mapping that was edited, is there, and is in effect."""
    # Of one that is deleted nothing may be left to name: `apply` saw its instances change.
    edits = [each["edit"] for each in _documents(pipeline.folder / _PLAN) if "edit" in each]
    gone = [edit for edit in edits if edit.get("status") == Status.REMOVED]
    deleted = {str(MappingKey(edit["tag_key"], edit["tag_value"])) for edit in gone}
    for key in applied.edited:
        if key in rows and key not in applied.not_in_effect and key not in deleted:
            yield pipeline.rolekeeper("wait", f"--mapping={key}")


def _outcome(applied: Done, code: int, rows: _Rows) -> str:
    left = applied.not_in_effect
    still = [reason for key in left if (reason := rows.get(key))]
    if applied.code == ExitCode.DONE or (code in _FINE and not still):
        return "### Rolekeeper: published\n\nWhat the files say is in effect."
    # With what to do, unless a part of it is no longer so.
    shown = fenced(applied.stderr if len(still) == len(left) else "\n".join(still))
    if code == ExitCode.DONE:
        refused = "What was edited is in effect. These rows were refused before, and still are:"
        return f"### Rolekeeper: published\n\n{refused}\n\n{shown}"
    if code == ExitCode.HELD:
        waits = (
            "### Rolekeeper: waiting for approval\n\nWhat isn't held is in effect. The rest waits for another person:"
        )
        return f"{waits}\n\n{shown}"
    return _failed("The plan wasn't applied, or not all of it. It", applied)


# ---- texts ----


def fenced(text: str) -> str:
    """A text as Markdown that shows it letter by letter: nothing in it ends the block, or is a link or a mention."""
    text = text.strip()
    if len(text) > _MESSAGES:
        text = f"{text[:_MESSAGES]}…\nThe log of the run has the rest."
    fence = "`" * (max((len(each) for each in re.findall("`+", text)), default=2) + 1)
    return f"{fence}text\n{text}\n{fence}"


def _shown(planned: Done) -> list[str]:
    """A plan, and why it isn't one to apply, unless it says so itself: of rejected rows."""
    known = {*_FINE, ExitCode.REJECTED}
    failed = [] if planned.code in known else [_failed("The plan", planned)]
    return [*failed, *filter(None, [planned.stdout])]


def _failed(what: str, done: Done) -> str:
    return f"### Rolekeeper: failed\n\n{what} ended with exit code {done.code}:\n\n{fenced(done.stderr)}"


def _text(*parts: str) -> str:
    return "\n\n".join(each.strip() for each in parts if each) + "\n"


def _log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201  # the job's log


@contextmanager
def _no_commands(environ: Mapping[str, str]) -> Iterator[None]:
    """Have GitHub's runner take no line of the log as a command to itself: a tag may look like one."""
    token = secrets.token_hex(16)
    if environ.get("GITHUB_ACTIONS") != "true":
        yield
        return
    _log(f"::stop-commands::{token}")
    try:
        yield
    finally:
        _log(f"::{token}::")


# ---- the files ----


def _refuse_same_rows(files: Iterable[Path]) -> None:
    """Refuse a row that two files have, by their names: nobody has the merged one."""
    first: dict[MappingKey, str] = {}
    for file in files:
        for key, line in read_file(file.read_bytes(), str(file), None).lines.items():
            if key in first:
                raise CommandError(f"{file}:{line}: {key}: is the same row as {first[key]}", "keep one")
            first[key] = f"{file}:{line}"


def _merged(files: Iterable[Path]) -> str:
    """One file of the mappings of several valid ones, each text as it is."""
    rows: list[yaml.Node] = []
    for each in files:
        top = yaml.compose(each.read_text(encoding="utf-8-sig"), yaml.SafeLoader)
        rows += [row for _, found in (top.value if top else ()) for row in found.value]
    key = yaml.ScalarNode("tag:yaml.org,2002:str", "mappings")
    every = yaml.SequenceNode("tag:yaml.org,2002:seq", rows)
    return yaml.serialize(yaml.MappingNode("tag:yaml.org,2002:map", [(key, every)]), Dumper=yaml.SafeDumper)


def _files(pattern: str) -> list[Path]:
    try:
        found = sorted(each for each in Path().glob(pattern) if each.is_file())
    except (NotImplementedError, ValueError) as error:
        what = f"{pattern!r} names no files"
        raise UsageError(what, "name them from the repository's top, as mappings/*.yaml") from error
    if not found:
        raise UsageError(f"no file is named {pattern}", "name the mappings' files, as mappings/*.yaml")
    for each in found:
        if each.resolve() != Path.cwd().resolve() / each:
            # It would show a stranger what is in another file of the runner.
            raise UsageError(f"{each} is behind a symbolic link", "put the file itself there")
    return found


def run(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run a step; returns the command's exit code that says its outcome."""
    if len(arguments) != 1 or arguments[0] not in STEPS:
        raise UsageError(f"name one step of {', '.join(STEPS)}", "see docs/gitops.md")
    options = ["--prune"] if environ.get("ROLEKEEPER_PRUNE") == "true" else []
    files, host = _files(environ.get("ROLEKEEPER_MAPPINGS") or "mappings/*.yaml"), pull_requests.host(environ)
    with TemporaryDirectory() as folder:
        pipeline = Pipeline(environ, files, folder=Path(folder), options=options, host=host)
        try:
            return STEPS[arguments[0]](pipeline)
        except CommandError as error:
            pipeline.report(host.number if host else None, f"### Rolekeeper: failed\n\n{fenced(str(error))}")
            raise


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """The job's exit code: 0 too for what waits for another person's approval."""
    with _no_commands(environ):
        try:
            code = run(arguments, environ)
        except CommandError as error:
            _log(f"{error}")
            code = error.exit_code
    if output := environ.get("GITHUB_OUTPUT"):
        with Path(output).open("a", encoding="utf-8") as file:
            file.write(f"exit-code={code}\n")
    return ExitCode.DONE if code in _FINE else code
