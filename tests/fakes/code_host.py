"""GitHub's and GitLab's comments, as their documentation says; in the process, or for a server on loopback."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from io import BytesIO
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qsl, urlsplit
from urllib.request import Request

TOKEN, SHA = "token-of-the-run", "5a1e"
_LONGEST_BODY = 65_536


@dataclass
class CodeHost:
    """Answers requests.

    Attributes:
        kind: "GitHub" or "GitLab".
        me: whose the token is. `readonly` if it may not write, as that of a fork's run.
        merged: numbers of pull requests by the commit that merged them.
        faults: the statuses of the next requests, which do nothing. `loses`: methods whose next answer is lost.
        asked: each request, as METHOD path.
    """

    kind: str = "GitHub"
    me: str = "github-actions[bot]"
    readonly: bool = False
    comments: list[dict[str, Any]] = field(default_factory=list)
    merged: dict[str, int] = field(default_factory=dict)
    faults: list[int] = field(default_factory=list)
    loses: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def says(self, who: str, body: str) -> None:
        """Add a comment, as a person does."""
        name = "user" if self.kind == "GitHub" else "author"
        self.comments.append({"id": 1000 + len(self.comments), "body": body, name: self._person(who)})

    @property
    def bodies(self) -> list[str]:
        return [each["body"] for each in self.comments]

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> tuple[int, Any]:
        """A status and a document."""
        self.asked.append(f"{method} {target}")
        if self.faults:
            return self.faults.pop(0), {"message": "as asked"}
        found = self._answer(method, target, headers, json.loads(body or b"{}"))
        if method in self.loses:
            self.loses.remove(method)
            return 504, None
        return found

    def _answer(self, method: str, target: str, headers: Mapping[str, str], body: Mapping[str, str]) -> tuple[int, Any]:
        token = {name.casefold(): value for name, value in headers.items()}
        if TOKEN not in (token.get("authorization", "").removeprefix("Bearer "), token.get("private-token")):
            return 401, {"message": "Bad credentials"}
        parts, query = urlsplit(target).path.strip("/").split("/"), dict(parse_qsl(urlsplit(target).query))
        if parts == ["user"]:
            return 200, self._person(self.me)
        if method != "GET" and self.readonly:
            return 403, {"message": "Resource not accessible by integration"}
        if "commits" in parts:
            [sha] = [each for each in self.merged if each in parts] or [""]
            other = {"number": 1, "iid": 1, "state": "opened", "merge_commit_sha": "0ther"}  # it has the commit too
            merged = {**other, "state": "merged", "merge_commit_sha": sha} if sha else other
            number = self.merged.get(sha, 1)
            return 200, [other, {**merged, "number": number, "iid": number}]
        if len(body.get("body", "")) > _LONGEST_BODY:
            return 422, {"message": "body is too long (maximum is 65536 characters)"}
        return getattr(self, f"_{method.lower()}")(parts[-1], query, body)  # type: ignore[no-any-return]

    def _get(self, _: str, query: Mapping[str, str], __: Mapping[str, str]) -> tuple[int, Any]:
        size, page = min(int(query.get("per_page", 30)), 100), int(query.get("page", 1))
        return 200, self.comments[(page - 1) * size : page * size]

    def _post(self, _: str, __: Mapping[str, str], body: Mapping[str, str]) -> tuple[int, Any]:
        self.says(self.me, body["body"])
        return 201, self.comments[-1]

    def _change(self, id_: str, _: Mapping[str, str], body: Mapping[str, str]) -> tuple[int, Any]:
        for each in self.comments:
            if str(each["id"]) == id_:
                each["body"] = body["body"]
                return 200, each
        return 404, {"message": "Not Found"}

    _patch = _put = _change

    def _delete(self, id_: str, _: Mapping[str, str], __: Mapping[str, str]) -> tuple[int, Any]:
        self.comments = [each for each in self.comments if str(each["id"]) != id_]
        return 204, None

    def _person(self, who: str) -> dict[str, Any]:
        return {"login": who} if self.kind == "GitHub" else {"id": sum(who.encode()), "username": who}

    # ---- in the place of urllib's urlopen ----

    def urlopen(self, request: Request, timeout: float) -> BytesIO:
        assert timeout
        assert TOKEN not in str(request.headers), "another host would get the token, if this one redirects there"
        headers = {**request.headers, **request.unredirected_hdrs}
        data = request.data if isinstance(request.data, bytes) else None
        status, document = self.answer(request.get_method(), request.selector, headers, data)
        if status >= 400:
            raise HTTPError(request.full_url, status, "as documented", Message(), None)
        return BytesIO(b"" if document is None else json.dumps(document).encode())


def variables(host: CodeHost, **more: str) -> dict[str, str]:
    """What a run's environment has of the host."""
    if host.kind == "GitLab":
        own = {"GITLAB_CI": "true", "CI_API_V4_URL": "http://host", "CI_PROJECT_ID": "7", "CI_COMMIT_SHA": SHA}
    else:
        own = {"GITHUB_ACTIONS": "true", "GITHUB_API_URL": "http://host", "GITHUB_REPOSITORY": "o/r", "GITHUB_SHA": SHA}
    return {**own, "ROLEKEEPER_TOKEN": TOKEN, **more}
