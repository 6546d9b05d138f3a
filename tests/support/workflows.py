"""A runner of GitHub Actions, for the example's workflow and our action: it runs their `run` steps as they are written.

What they use of others is played here: the checkout, Python, and the exchange of GitHub's token for AWS credentials.
"""

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import yaml

from fakes.code_host import TOKEN, CodeHost
from support.repositories import new_repository

ROOT = Path(__file__).parents[2]
REPOSITORY = "example/roles"
# Makes an environment whose Python is this one, and installs nothing into it.
_PYTHON = f"""#!/bin/sh
case "$*" in
"-I -m venv "*) mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
"-I -m pip install "*" --require-hashes --requirement "*) for last; do :; done; test -f "$last" ;;
*) exec {sys.executable} "$@" ;;
esac
"""


@dataclass(frozen=True, slots=True)
class Ran:
    """A job that has run."""

    code: int
    log: str
    summary: str


class Runner:
    """Runs the job of a workflow that an event is for, on a checked out folder.

    `environ` is what leads to AWS; `assume` exchanges a role's ARN, a session's name and a token for variables.
    """

    def __init__(
        self, folder: Path, host: str, environ: Mapping[str, str], assume: Callable[..., Mapping[str, str]]
    ) -> None:
        self._folder, self._host, self._environ, self._assume = folder, host, environ, assume
        self._runs = 0

    def __call__(self, event: str, checkout: Path, commit: str) -> Ran:
        """Run it; a pull request is number 5, and comes from no fork."""
        workflow = yaml.load((checkout / ".github/workflows/rolekeeper.yml").read_text(), Loader=yaml.BaseLoader)
        [job] = [each for each in workflow["jobs"].values() if each["if"] == f"github.event_name == '{event}'"]
        assert event in workflow["on"]
        self._runs += 1
        temp = self._folder / f"run-{self._runs}"
        temp.mkdir(parents=True)
        environ = self._variables(event, temp, commit)
        subject = "pull_request" if event == "pull_request" else "ref:refs/heads/main"
        code, log = 0, ""
        for step in job["steps"]:
            if step["uses"].startswith("actions/checkout@"):
                assert step["with"] == {"persist-credentials": "false"}
                continue
            token = id_token("token.actions.githubusercontent.com", f"repo:{REPOSITORY}:{subject}")
            code, log = self._action(step["with"], checkout, environ, token)
        return Ran(code, log, (temp / "summary").read_text())

    def _variables(self, event: str, temp: Path, commit: str) -> dict[str, str]:
        pull = {"number": 5, "head": {"repo": {"full_name": REPOSITORY}}}
        document = {"pull_request": pull} if event == "pull_request" else {}
        (temp / "event").write_text(json.dumps(document))
        for name in ("summary", "output"):
            (temp / name).touch()
        return {
            "PATH": _path(temp),
            "HOME": str(temp),
            "RUNNER_TEMP": str(temp),
            "GITHUB_ACTIONS": "true",
            "GITHUB_ACTION_PATH": str(ROOT),
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_SHA": commit,
            "GITHUB_API_URL": self._host,
            "GITHUB_SERVER_URL": "https://host",
            "GITHUB_RUN_ID": str(self._runs),
            **{f"GITHUB_{name}": str(temp / path) for name, path in _FILES.items()},
            **{name: value for name, value in self._environ.items() if "KEY" not in name and "TOKEN" not in name},
        }

    def _action(self, given: Mapping[str, str], checkout: Path, environ: dict[str, str], token: str) -> tuple[int, str]:
        action = yaml.load((ROOT / "action.yml").read_text(), Loader=yaml.BaseLoader)
        inputs = {name: each["default"] for name, each in action["inputs"].items() if "default" in each} | dict(given)
        assert inputs.keys() == action["inputs"].keys()
        code, log = 0, ""
        for step in action["runs"]["steps"]:
            if step.get("uses", "").startswith("aws-actions/configure-aws-credentials@"):
                assert step["if"] == f"github.event_name != 'pull_request' || {_NO_FORK}"
                values = {name: _filled(each, inputs) for name, each in step["with"].items()}
                environ |= {"AWS_REGION": values["aws-region"]}
                environ |= self._assume(values["role-to-assume"], values["role-session-name"], token)
            elif "run" in step and code == 0:
                own = {name: _filled(each, inputs) for name, each in step["env"].items()}
                code, log = _bash(step["run"], checkout, environ | own)
        return code, log


def gitlab_job(name: str, checkout: Path, temp: Path, environ: Mapping[str, str]) -> tuple[int, str]:
    """Run a job of our template for GitLab, with the inputs of the example; its exit code and its log."""
    spec, template = yaml.load_all((ROOT / "gitops/gitlab.yml").read_text(), Loader=yaml.BaseLoader)
    [included] = yaml.load((checkout / ".gitlab-ci.yml").read_text(), Loader=yaml.BaseLoader)["include"]
    inputs = {name: each.get("default") for name, each in spec["spec"]["inputs"].items()} | included["inputs"]
    assert None not in inputs.values()
    job, own = template[".rolekeeper"], template[name]
    variables = {**environ, "PATH": _path(temp), "CI_JOB_ID": "1"}
    for key, value in {**job["variables"], **own["variables"]}.items():
        filled = re.sub(r"\$\[\[ inputs\.([^ ]+) ]]", lambda found: inputs[found[1]], value)
        variables[key] = filled.replace("/tmp/rolekeeper-$CI_JOB_ID", str(temp / "home"))
    return _bash("\n".join([*job["before_script"], *job["script"], *job["after_script"]]), checkout, variables)


def _path(temp: Path) -> str:
    python = temp / "bin/python"
    python.parent.mkdir()
    python.write_text(_PYTHON)
    python.chmod(0o755)
    return f"{python.parent}:{os.environ['PATH']}"


def _bash(script: str, folder: Path, environ: Mapping[str, str]) -> tuple[int, str]:
    line = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    done = subprocess.run(line, cwd=folder, env=environ, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout + done.stderr


_NO_FORK = "github.event.pull_request.head.repo.full_name == github.repository"
_FILES = {"EVENT_PATH": "event", "STEP_SUMMARY": "summary", "OUTPUT": "output"}


def _filled(text: str, inputs: Mapping[str, str]) -> str:
    """A value of `env` or `with`, whose expressions are inputs and the run's token."""
    known = {f"inputs.{name}": value for name, value in inputs.items()}
    known |= {"github.token": TOKEN, "steps.python.outputs.python-path": "python"}
    once = re.sub(r"\$\{\{ ([^ ]+) }}", lambda found: known[found[1]], text)
    return re.sub(r"\$\{\{ ([^ ]+) }}", lambda found: known[found[1]], once)


def id_token(issuer: str, subject: str) -> str:
    """A host's token for AWS; nothing here looks at a signature."""
    claims = {"iss": f"https://{issuer}", "aud": "sts.amazonaws.com", "sub": subject}
    return ".".join(base64.urlsafe_b64encode(json.dumps(each).encode()).decode() for each in ({}, claims, {}))


@contextmanager
def served(host: CodeHost) -> Any:
    """A code host on loopback; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, document = host.answer(self.command, self.path, dict(self.headers.items()), body)
            data = b"" if document is None else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _answer  # noqa: N815  # http.server's names

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class Clone:
    """A git repository with branches and pull requests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        new_repository(folder)

    def commit(self, branch: str = "main") -> str:
        """Commit all that changed on a branch, which begins at main; the commit."""
        if branch != "main":
            self._git("switch", "--quiet", "--force-create", branch)
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message", branch)
        return self._git("rev-parse", "HEAD")

    def merge(self, branch: str) -> str:
        self._git("switch", "--quiet", "main")
        self._git("merge", "--quiet", "--no-ff", "--message", f"Merge {branch}", branch)
        return self._git("rev-parse", "HEAD")

    def leave(self) -> None:
        self._git("switch", "--quiet", "main")

    def _git(self, *arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=self.folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()
