"""The comment of a pipeline on its pull request, at GitHub, or on its merge request, at GitLab. There is one.

GitHub: "REST API endpoints for issue comments", "… for commits". GitLab: "Notes API", "Commits API".
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import count
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

# A comment that begins so is the pipeline's, if the pipeline's own account wrote it: anyone can write the text.
MARKER = "<!-- rolekeeper pipeline"
_PAGE = 100
_WAITS = (1, 4, 15)
_BUSY = {HTTPStatus.TOO_MANY_REQUESTS, *range(500, 600)}


class CommentError(Exception):
    """Comments can't be read or written; the text says why."""


class _BusyError(CommentError):
    """The host may answer later."""


@dataclass(frozen=True, slots=True)
class Api:
    """A host's REST API: its address, and the header with the token."""

    url: str
    headers: Mapping[str, str]

    def __call__(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"{self.url}{path}", data, {"Content-Type": "application/json"}, method=method)  # noqa: S310  # the host's own variable
        for name, value in self.headers.items():
            # Not sent on to where an answer redirects.
            request.add_unredirected_header(name, value)
        try:
            with urlopen(request, timeout=30) as answer:  # noqa: S310  # the same
                return json.loads(answer.read() or b"null")
        except HTTPError as error:
            kind = _BusyError if error.code in _BUSY else CommentError
            raise kind(f"{method} {path}: {error.code} {error.reason}") from error
        except (URLError, TimeoutError, ValueError) as error:
            raise _BusyError(f"{method} {path}: {error}") from error

    def pages(self, path: str) -> Iterator[dict[str, Any]]:
        """The items of a list, of all its pages."""
        for number in count(1):
            found: list[dict[str, Any]] = self("GET", f"{path}?per_page={_PAGE}&page={number}")
            yield from found
            if len(found) < _PAGE:
                return


@dataclass(slots=True)
class GitHub:
    """A run of GitHub Actions, by its variables, and by the file that has its event."""

    api: Api
    repository: str
    commit: str
    author: str
    number: int | None = None
    from_fork: bool = False
    update: str = "PATCH"

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "GitHub":
        repository = environ["GITHUB_REPOSITORY"]
        headers = {
            "Authorization": f"Bearer {environ.get('ROLEKEEPER_TOKEN', '')}",
            "Accept": "application/vnd.github+json",
        }
        event = json.loads(Path(environ["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8"))
        pull = event.get("pull_request") or {}
        # The head's repository is null once a fork is deleted.
        head = (pull.get("head", {}).get("repo") or {}).get("full_name")
        return cls(
            Api(environ["GITHUB_API_URL"], headers),
            repository,
            environ["GITHUB_SHA"],
            author=environ.get("ROLEKEEPER_COMMENT_AUTHOR") or "github-actions[bot]",
            number=pull.get("number"),
            from_fork=bool(pull) and head != repository,
        )

    def merged(self) -> int | None:
        found = self.api.pages(f"/repos/{self.repository}/commits/{self.commit}/pulls")
        return next((each["number"] for each in found if each["merge_commit_sha"] == self.commit), None)

    def comments(self, number: int) -> str:
        return f"/repos/{self.repository}/issues/{number}/comments"

    def comment(self, number: int, id_: int) -> str:  # noqa: ARG002  # a comment's id is the repository's
        return f"/repos/{self.repository}/issues/comments/{id_}"

    def is_ours(self, comment: Mapping[str, Any]) -> bool:
        return bool((comment.get("user") or {}).get("login") == self.author)


@dataclass(slots=True)
class GitLab:
    """A job of GitLab CI, by its variables."""

    api: Api
    project: str
    commit: str
    number: int | None = None
    from_fork: bool = False
    update: str = "PUT"
    _own: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "GitLab":
        number = environ.get("CI_MERGE_REQUEST_IID")
        headers = {"PRIVATE-TOKEN": environ.get("ROLEKEEPER_TOKEN", "")}
        source = environ.get("CI_MERGE_REQUEST_SOURCE_PROJECT_ID", environ["CI_PROJECT_ID"])
        return cls(
            Api(environ["CI_API_V4_URL"], headers),
            f"/projects/{environ['CI_PROJECT_ID']}",
            environ["CI_COMMIT_SHA"],
            number=int(number) if number else None,
            from_fork=source != environ.get("CI_MERGE_REQUEST_PROJECT_ID", source),
        )

    def merged(self) -> int | None:
        found = self.api.pages(f"{self.project}/repository/commits/{self.commit}/merge_requests")
        return next((each["iid"] for each in found if each["state"] == "merged"), None)

    def comments(self, number: int) -> str:
        return f"{self.project}/merge_requests/{number}/notes"

    def comment(self, number: int, id_: int) -> str:
        return f"{self.comments(number)}/{id_}"

    def is_ours(self, comment: Mapping[str, Any]) -> bool:
        self._own = self._own or [self.api("GET", "/user")["id"]]
        return (comment.get("author") or {}).get("id") in self._own


type Host = GitHub | GitLab
"""Where a pull request is named by its number, and has comments."""


def host(environ: Mapping[str, str]) -> Host | None:
    """Where this runs; None for a person's machine."""
    if environ.get("GITHUB_ACTIONS") == "true":
        return GitHub.of(environ)
    return GitLab.of(environ) if environ.get("GITLAB_CI") == "true" else None


def merged(host: Host) -> int | None:
    """The pull request that the run's commit merged; None if there is none. CommentError if that can't be read."""
    return _retried(host.merged)


def read(host: Host, number: int) -> str:
    """The pipeline's comment; empty if there is none. CommentError if it can't be read."""
    return _retried(lambda: next((each["body"] for each in _ours(host, number)), ""))


def write(host: Host, number: int, body: str) -> None:
    """Write the pipeline's comment, over the one that is there. CommentError if it can't be written."""

    def once() -> None:
        # All of it is retried: of a comment that was made without an answer, the next try finds the comment.
        ours = [each["id"] for each in _ours(host, number)]
        if ours:
            host.api(host.update, host.comment(number, ours[0]), {"body": body})
        else:
            host.api("POST", host.comments(number), {"body": body})
        for each in ours[1:]:
            host.api("DELETE", host.comment(number, each))

    _retried(once)


def _ours(host: Host, number: int) -> Iterator[dict[str, Any]]:
    for each in host.api.pages(host.comments(number)):
        if (each.get("body") or "").startswith(MARKER) and host.is_ours(each):
            yield each


def _retried[T](call: Callable[[], T]) -> T:
    for seconds in _WAITS:
        try:
            return call()
        except _BusyError:
            time.sleep(seconds)
    return call()
